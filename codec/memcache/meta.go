package memcache

// maxMetaWords is the most words of a meta command.
const maxMetaWords = 19

// meta takes a meta command, whose second letter is given.
func (r *Requests) meta(letter byte, words [][]byte, m *Command) (int, error) {
	switch letter {
	case 'g':
		return m.metaPlain(MetaGet, words, errFlagsGet)
	case 's':
		return r.metaSet(words, m)
	case 'd':
		return m.metaPlain(MetaDelete, words, errFlags)
	case 'a':
		return m.metaPlain(MetaArithmetic, words, errFlags)
	case 'n':
		m.Verb = MetaNoop
		return noData, nil
	case 'e':
		return m.metaDebug(words)
	}
	return m.refuse(Unknown, ErrNoCommand)
}

// metaPlain takes one without data.
func (m *Command) metaPlain(v Verb, words [][]byte, tooMany Error) (int, error) {
	if len(words) < 2 {
		return m.refuse(v, ErrNoCommand)
	}
	if len(words[1]) > MaxKey {
		return m.refuse(v, ErrFormat)
	}
	if len(words) > maxMetaWords {
		return m.refuse(v, tooMany)
	}
	if err := m.flags(words[1], words[2:]); err != "" {
		if v != MetaGet {
			err = errEither
		}
		return m.refuse(v, err)
	}
	if v == MetaDelete && m.Meta.LongOpaque {
		return m.refuse(v, ErrOpaque)
	}
	if v == MetaArithmetic {
		switch m.Meta.Mode {
		case 0, 'I', '+', 'D', '-':
		default:
			return m.refuse(v, errAddMode)
		}
	}
	m.Verb, m.Noreply = v, m.Meta.Has('q')
	return noData, nil
}

func (r *Requests) metaSet(words [][]byte, m *Command) (int, error) {
	n := len(words)
	if n < 2 {
		return m.refuse(MetaSet, ErrNoCommand)
	}
	if len(words[1]) > MaxKey || n == 2 {
		return m.refuse(MetaSet, ErrFormat)
	}
	if n > maxMetaWords {
		return m.refuse(MetaSet, errFlags)
	}
	size, ok := parseInt32(words[2])
	if !ok || size < 0 || size > maxData {
		return m.refuse(MetaSet, ErrFormat)
	}
	m.Verb = MetaSet
	m.Err = m.flags(words[1], words[3:])
	if m.Err != "" {
		return int(size), nil //nolint:nilerr // it is delivered
	}
	switch m.Meta.Mode {
	case 0, 'E', 'A', 'P', 'R', 'S':
	default:
		m.Err = errSetMode
		return int(size), nil
	}
	switch {
	case m.Meta.LongOpaque:
		m.Err = ErrOpaque
	case ItemSize(len(m.Key), m.Flags, int(size)) > r.maxItem():
		m.Err = ErrTooLarge
	default:
		m.Noreply = m.Meta.Has('q')
	}
	m.Exptime = m.Meta.TTL
	return int(size), nil
}

func (m *Command) metaDebug(words [][]byte) (int, error) {
	if len(words) < 2 || len(words[1]) > MaxKey {
		return m.refuse(MetaDebug, ErrFormat)
	}
	m.Verb, m.Key, m.Meta = MetaDebug, words[1], Meta{}
	if len(words) > 2 && string(words[2]) == "b" {
		if m.Key = decodeKey(m.key[:], words[1]); m.Key == nil {
			return m.refuse(MetaDebug, ErrFormat)
		}
		m.Meta.set |= 1 << ('b' - 'A')
	}
	return noData, nil
}

// flags parses the flags of a meta command and sets Key, Args, Meta, Flags and Delta. Of several errors it returns the last, as memcached
// does, but one that makes no sense of the rest at once.
func (m *Command) flags(key []byte, words [][]byte) (err Error) {
	m.Key, m.Args, m.Meta, m.Flags, m.Delta = key, words, Meta{}, 0, 1
	meta := &m.Meta
	for _, word := range words {
		c, value := word[0], word[1:]
		if c >= 127 {
			return errDuplicate
		}
		if c < 'A' || c > 'z' {
			return errFlag
		}
		bit := uint64(1) << (c - 'A')
		if meta.set&bit != 0 {
			return errDuplicate
		}
		meta.set |= bit
		ok, bad := true, errToken
		switch c {
		case 'b':
			m.Key = decodeKey(m.key[:], key)
			ok, bad = m.Key != nil, errKey
		case 'N':
			meta.Vivify, ok = parseInt32(value)
		case 'T':
			meta.TTL, ok = parseInt32(value)
		case 'R':
			meta.Recache, ok = parseInt32(value)
		case 'F':
			if m.Flags, ok = parseUint32(value); !ok {
				if bad = err; bad == "" { // memcached does not say what
					bad = ErrFormat
				}
			}
		case 'C':
			meta.Unique, ok = ParseUint(value)
		case 'M':
			if ok, bad = len(value) == 1, errMode; ok {
				meta.Mode = value[0]
			}
		case 'J':
			meta.Initial, ok = ParseUint(value)
			bad = errInitial
		case 'D':
			m.Delta, ok = ParseUint(value)
			bad = errMetaDelta
		case 'O':
			meta.LongOpaque = len(word) > MaxOpaque
		case 'P', 'L', 'k', 's', 't', 'c', 'f', 'l', 'v', 'h', 'u', 'q', 'I':
		default:
			return errFlag
		}
		if !ok {
			err = bad
		}
	}
	return err
}
