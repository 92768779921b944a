package memcache

import "strconv"

const lineEnd = "\r\n"

// headSize is the most bytes around the text and the data of a Reply: "VALUE ", three numbers with spaces, two line ends.
const headSize = 6 + 1 + 10 + 1 + 20 + 1 + 20 + 2*len(lineEnd)

// Replies encodes each Reply. It is embedded in the reactor, next to Requests.
type Replies struct{}

// Size is an upper bound of the encoded size of r in bytes.
func (Replies) Size(r Reply) int { return headSize + len(r.key()) + len(r.bytes()) }

// Encode appends r.
func (Replies) Encode(dst []byte, r Reply) []byte {
	switch r.kind() {
	case kindValue, kindUnique:
		dst = append(dst, "VALUE "...)
		dst = append(dst, r.key()...)
		dst = append(dst, ' ')
		dst = appendUint(dst, uint64(r.flags()))
		dst = append(dst, ' ')
		dst = appendUint(dst, uint64(r.size))
		if r.kind() == kindUnique {
			dst = append(dst, ' ')
			dst = appendUint(dst, r.num)
		}
		return appendData(dst, r)
	case kindRaw:
		return append(dst, r.bytes()...)
	case kindLine:
		start := len(dst)
		dst = append(dst, r.bytes()...)
		for i, c := range dst[start:] {
			if c == '\r' || c == '\n' {
				dst[start+i] = ' '
			}
		}
	case kindNumber:
		dst = appendUint(dst, r.num)
	case kindMeta:
		dst = append(dst, r.code()...)
		dst = append(dst, r.bytes()...)
	case kindMetaV:
		dst = append(dst, "VA "...)
		dst = appendUint(dst, uint64(r.size))
		dst = append(dst, r.key()...)
		return appendData(dst, r)
	case kindStat:
		dst = append(dst, "STAT "...)
		dst = append(dst, r.key()...)
		dst = append(dst, ' ')
		dst = append(dst, r.bytes()...)
	}
	return append(dst, lineEnd...)
}

// appendData ends a line, and appends the data where they do not follow in pieces.
func appendData(dst []byte, r Reply) []byte {
	dst = append(dst, lineEnd...)
	if r.data == nil {
		return dst
	}
	dst = append(dst, r.bytes()...)
	return append(dst, lineEnd...)
}

func appendUint(dst []byte, n uint64) []byte {
	if n < 10 {
		return append(dst, byte('0'+n))
	}
	return strconv.AppendUint(dst, n, 10)
}
