package memcache

import (
	"bytes"
	"math"
)

// noData is the size of the data of a command without any.
const noData = -1

// maxData is the most bytes of data that memcached can count.
const maxData = math.MaxInt32 - 2

// parse parses a line and returns the size of the data that follows, or noData. Data of a command with m.Err is to be skipped. The error
// is ErrHTTP.
func (r *Requests) parse(line []byte, m *Command) (size int, err error) {
	m.Err, m.Noreply = "", false
	if len(line) > 4 && string(line[:4]) == "get " { // the path of most
		m.Verb = Get
		return m.keys(line[4:])
	}
	words := m.split(line)
	if len(words) == 0 || len(words[0]) < 2 {
		return m.refuse(Unknown, ErrNoCommand)
	}
	name := words[0]
	if len(name) == 2 && name[0] == 'm' {
		return r.meta(name[1], words, m)
	}
	n := len(words)
	switch string(name) {
	case "get", "bget":
		m.Verb = Get
		return m.manyKeys(line, words, 1)
	case "gets":
		m.Verb = Gets
		return m.manyKeys(line, words, 1)
	case "gat":
		m.Verb = Gat
		return m.manyKeys(line, words, 2)
	case "gats":
		m.Verb = Gats
		return m.manyKeys(line, words, 2)
	case "set":
		return r.store(Set, words, m)
	case "add":
		return r.store(Add, words, m)
	case "replace":
		return r.store(Replace, words, m)
	case "append":
		return r.store(Append, words, m)
	case "prepend":
		return r.store(Prepend, words, m)
	case "cas":
		return r.store(Cas, words, m)
	case "incr":
		return m.arithmetic(Incr, words)
	case "decr":
		return m.arithmetic(Decr, words)
	case "delete":
		return m.remove(words)
	case "touch":
		if n != 3 && n != 4 {
			return m.refuse(Touch, ErrNoCommand)
		}
		m.noreply(words)
		if len(words[1]) > MaxKey {
			return m.refuse(Touch, ErrFormat)
		}
		var ok bool
		if m.Exptime, ok = parseInt32(words[2]); !ok {
			return m.refuse(Touch, errExptime)
		}
		m.Verb, m.Key = Touch, words[1]
	case "flush_all":
		return m.flush(words)
	case "verbosity":
		if n != 2 && n != 3 {
			return m.refuse(Verbosity, ErrNoCommand)
		}
		m.noreply(words)
		if _, ok := parseUint32(words[1]); !ok {
			return m.refuse(Verbosity, ErrFormat)
		}
		m.Verb = Verbosity
	case "stats":
		m.Verb, m.Args = Stats, words[1:]
	case "version":
		m.Verb = Version
	case "quit":
		m.Verb = Quit
	case "shutdown", "slabs", "cache_memlimit", "lru", "lru_crawler", "watch", "extstore":
		m.Verb, m.Args = Admin, words
	default:
		if bytes.HasPrefix(words[n-1], []byte("HTTP/")) && bytes.IndexByte([]byte("gsacidt"), name[0]) < 0 {
			return 0, ErrHTTP
		}
		return m.refuse(Unknown, ErrNoCommand)
	}
	return noData, nil
}

// split returns the first words of line, with any number of spaces between them.
func (m *Command) split(line []byte) [][]byte {
	n := 0
	for n < maxTokens {
		word, rest := NextKey(line)
		if word == nil {
			break
		}
		m.tokens[n] = word
		n++
		line = rest
	}
	return m.tokens[:n]
}

// refuse makes m an error, without data.
func (m *Command) refuse(v Verb, err Error) (int, error) {
	m.Verb, m.Err = v, err
	return noData, nil
}

// noreply looks at the last word, whatever the others are.
func (m *Command) noreply(words [][]byte) { m.Noreply = string(words[len(words)-1]) == "noreply" }

// keys takes a list of keys.
func (m *Command) keys(keys []byte) (int, error) {
	if len(keys) > MaxKey || keys[0] == ' ' {
		key, rest := NextKey(keys)
		if key == nil {
			return m.refuse(m.Verb, ErrNoCommand)
		}
		for ; key != nil; key, rest = NextKey(rest) {
			if len(key) > MaxKey {
				return m.refuse(m.Verb, ErrFormat)
			}
		}
	}
	m.Keys = keys
	return noData, nil
}

// manyKeys takes the keys behind the first words.
func (m *Command) manyKeys(line []byte, words [][]byte, first int) (int, error) {
	if len(words) < 2 {
		return m.refuse(m.Verb, ErrNoCommand)
	}
	if first == 2 {
		var ok bool
		if m.Exptime, ok = parseInt32(words[1]); !ok {
			return m.refuse(m.Verb, errExptime)
		}
	}
	for range first {
		_, line = NextKey(line)
	}
	for key, rest := NextKey(line); key != nil; key, rest = NextKey(rest) {
		if len(key) > MaxKey {
			return m.refuse(m.Verb, ErrFormat)
		}
	}
	m.Keys = line
	return noData, nil
}

// store takes a command with data.
func (r *Requests) store(v Verb, words [][]byte, m *Command) (int, error) {
	fixed := 5
	if v == Cas {
		fixed = 6
	}
	if len(words) != fixed && len(words) != fixed+1 {
		return m.refuse(v, ErrNoCommand)
	}
	m.noreply(words)
	key := words[1]
	if len(key) > MaxKey {
		return m.refuse(v, ErrFormat)
	}
	flags, ok := parseUint32(words[2])
	exptime, ok2 := parseInt32(words[3])
	size, ok3 := parseInt32(words[4])
	if !ok || !ok2 || !ok3 {
		return m.refuse(v, ErrFormat)
	}
	if v == Cas {
		if m.Unique, ok = ParseUint(words[5]); !ok {
			return m.refuse(v, ErrFormat)
		}
	}
	if size < 0 || size > maxData {
		return m.refuse(v, ErrFormat)
	}
	m.Verb, m.Key, m.Flags, m.Exptime = v, key, flags, exptime
	if ItemSize(len(key), flags, int(size)) > r.maxItem() {
		m.Err = ErrTooLarge
	}
	return int(size), nil
}

func (m *Command) arithmetic(v Verb, words [][]byte) (int, error) {
	if len(words) != 3 && len(words) != 4 {
		return m.refuse(v, ErrNoCommand)
	}
	m.noreply(words)
	if len(words[1]) > MaxKey {
		return m.refuse(v, ErrFormat)
	}
	var ok bool
	if m.Delta, ok = ParseUint(words[2]); !ok {
		return m.refuse(v, errDelta)
	}
	m.Verb, m.Key = v, words[1]
	return noData, nil
}

// remove takes a delete, which once had a time: a zero is still taken for it.
func (m *Command) remove(words [][]byte) (int, error) {
	n := len(words)
	if n < 2 || n > 4 {
		return m.refuse(Delete, ErrNoCommand)
	}
	if n > 2 {
		zero := string(words[2]) == "0"
		m.noreply(words)
		if !(n == 3 && (zero || m.Noreply) || n == 4 && zero && m.Noreply) {
			return m.refuse(Delete, errDelete)
		}
	}
	if len(words[1]) > MaxKey {
		return m.refuse(Delete, ErrFormat)
	}
	m.Verb, m.Key = Delete, words[1]
	return noData, nil
}

func (m *Command) flush(words [][]byte) (int, error) {
	n := len(words)
	if n > 3 {
		return m.refuse(FlushAll, ErrNoCommand)
	}
	m.noreply(words)
	m.Verb, m.Exptime = FlushAll, 0
	if n == 1 || n == 2 && m.Noreply {
		return noData, nil
	}
	var ok bool
	if m.Exptime, ok = parseInt32(words[1]); !ok {
		return m.refuse(FlushAll, errExptime)
	}
	return noData, nil
}
