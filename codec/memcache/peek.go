package memcache

import "bytes"

// PeekKeys looks at commands before they are decoded, for a reactor that wants to have memory fetched for several of them at the same
// time. It stores in keys the first key of each command that lies whole at the beginning of b, as many as keys has room for. It returns
// their number, and the offset behind the last of these commands.
//
// It stops at a command that has no key, or is not as clients write them: words with one space between them, lines with an end of two
// bytes. It checks nothing else and keeps nothing. The keys are parts of b, as they are on the wire: those in base64 too.
func PeekKeys(b []byte, keys [][]byte) (n, end int) {
	for n < len(keys) && end < len(b) {
		i := bytes.IndexByte(b[end:min(len(b), end+maxLine)], '\n')
		if i < 1 || b[end+i-1] != '\r' {
			return n, end
		}
		key, size, ok := peek(b[end : end+i-1])
		next := end + i + 1
		if size != noData {
			next += size + len(lineEnd)
		}
		if !ok || next > len(b) {
			return n, end
		}
		keys[n] = key
		n++
		end = next
	}
	return n, end
}

// peek returns the key of a line, and the size of the data behind it or noData. ok is false where it is nothing to look into.
func peek(line []byte) (key []byte, size int, ok bool) {
	name, rest, _ := bytes.Cut(line, space)
	sizeAt := 0 // words between the key and the size of data; 0: none
	switch string(name) {
	case "get", "gets", "mg", "md", "ma", "incr", "decr", "delete", "touch":
	case "gat", "gats":
		_, rest, _ = bytes.Cut(rest, space)
	case "ms":
		sizeAt = 1
	case "set", "add", "replace", "append", "prepend", "cas":
		sizeAt = 3
	default:
		return nil, noData, false
	}
	key, rest, _ = bytes.Cut(rest, space)
	if len(key) == 0 || len(key) > MaxKey {
		return nil, noData, false
	}
	if sizeAt == 0 {
		return key, noData, true
	}
	var word []byte
	for range sizeAt {
		word, rest, _ = bytes.Cut(rest, space)
	}
	v, ok := parseInt32(word)
	return key, int(v), ok && v >= 0 && v <= maxData
}

var space = []byte(" ")
