package resp

import "github.com/protoring/protoring/codec"

// inline decodes a command that is a line of words, as typed into telnet.
func (r *Requests) inline(b []byte, m *Command) (int, error) {
	end, err := r.line(b, 0, '\n')
	if err == codec.More {
		return 0, err
	}
	if err != nil {
		return r.fail(b, m, errInlineTooBig)
	}
	n := end + 1
	if end > 0 && b[end-1] == '\r' {
		end--
	}
	r.state, r.seen = fresh, 0
	m.trim(0)
	m.clear()
	if !m.split(b[:end]) {
		return r.fail(b, m, errInlineQuoting)
	}
	if len(m.Args) == 0 {
		return n, codec.Skip
	}
	return n, nil
}

// split cuts line into words by the rules of redis-cli and of redis-server's inline commands. Within double quotes \n, \r,
// \t, \b, \a and \xHH are escapes and a backslash before any other byte stands for that byte; within single quotes \' is
// the only escape. Quotes may open within a word; behind a closing one the word must end. It reports whether the quotes
// are balanced.
func (m *Command) split(line []byte) bool {
	m.Args, m.unquoted = m.Args[:0], m.unquoted[:0]
	for i := 0; ; {
		for i < len(line) && isSpace(line[i]) {
			i++
		}
		if i == len(line) {
			return true
		}
		start := i
		for i < len(line) && !isWordEnd(line[i]) && line[i] != '"' && line[i] != '\'' {
			i++
		}
		if i == len(line) || isWordEnd(line[i]) { // no quotes: a view
			m.Args = append(m.Args, line[start:i:i])
			continue
		}
		next, ok := m.unquote(line, start)
		if !ok {
			return false
		}
		i = next
	}
}

// unquote appends the word at line[i:], which has quotes, and returns the offset behind it.
func (m *Command) unquote(line []byte, i int) (int, bool) {
	if cap(m.unquoted) < len(line) {
		m.unquoted = make([]byte, 0, len(line)) // no word is longer than its quoted form: one piece for the whole line
	}
	start := len(m.unquoted)
	for i < len(line) && !isWordEnd(line[i]) {
		var ok bool
		switch line[i] {
		case '"':
			i, ok = m.unquoteDouble(line, i+1)
		case '\'':
			i, ok = m.unquoteSingle(line, i+1)
		default:
			m.unquoted = append(m.unquoted, line[i])
			i++
			continue
		}
		if !ok || i < len(line) && !isSpace(line[i]) {
			return 0, false
		}
		break // a closing quote ends the word, also before \v and \f
	}
	word := m.unquoted[start:len(m.unquoted):len(m.unquoted)]
	m.Args = append(m.Args, word)
	return i, true
}

// unquoteDouble appends up to the closing double quote and returns the offset behind it.
func (m *Command) unquoteDouble(line []byte, i int) (int, bool) {
	for ; i < len(line); i++ {
		c := line[i]
		if c == '"' {
			return i + 1, true
		}
		if c == '\\' && i+1 < len(line) {
			i++
			switch c = line[i]; c {
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			case 'b':
				c = '\b'
			case 'a':
				c = '\a'
			case 'x':
				if i+2 < len(line) && isHex(line[i+1]) && isHex(line[i+2]) {
					c = hex(line[i+1])<<4 | hex(line[i+2])
					i += 2
				}
			}
		}
		m.unquoted = append(m.unquoted, c)
	}
	return 0, false
}

// unquoteSingle appends up to the closing single quote and returns the offset behind it.
func (m *Command) unquoteSingle(line []byte, i int) (int, bool) {
	for ; i < len(line); i++ {
		c := line[i]
		if c == '\'' {
			return i + 1, true
		}
		if c == '\\' && i+1 < len(line) && line[i+1] == '\'' {
			i++
			c = '\''
		}
		m.unquoted = append(m.unquoted, c)
	}
	return 0, false
}

// isSpace is C's isspace: what is skipped between words.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// isWordEnd is what ends a word outside of quotes: a smaller set, because Redis takes \v and \f within a word as they are.
func isWordEnd(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func hex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}
