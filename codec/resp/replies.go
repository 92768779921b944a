package resp

import (
	"math"
	"strconv"
)

// Replies encodes each Reply in the version of one connection. It is embedded in the reactor, next to Requests; HELLO
// changes Version for the replies that follow.
type Replies struct {
	// Version is 3 for RESP3. Any other value, zero included, means RESP2.
	Version int
}

// headSize is the most bytes of a type byte, a number and line ends around a text: "$", 20 digits, two line ends, and
// the format of a Verbatim.
const headSize = 1 + 20 + 2 + 2 + 4

// numberSize is the most bytes of a Reply without text; the largest is a Double of RESP2: "$24\r\n-1.2345678901234567e-308\r\n".
const numberSize = 40

// Size is an upper bound of the encoded size of r in bytes.
func (Replies) Size(r Reply) int { return max(headSize+len(r.text), numberSize) }

// Encode appends r.
func (e Replies) Encode(dst []byte, r Reply) []byte {
	switch Kind(r.head) {
	case KindBulk:
		return appendBulk(dst, r.text)
	case KindSimple, KindError:
		return appendLine(dst, byte(r.head), r.text)
	case KindInt, KindArray, KindAttribute:
		return appendHead(dst, byte(r.head), r.num)
	case kindRaw:
		return append(dst, r.text...)
	}
	if e.Version == 3 {
		return encode3(dst, r)
	}
	return encode2(dst, r)
}

// encode2 writes in RESP2 what RESP3 has a type for.
func encode2(dst []byte, r Reply) []byte {
	switch Kind(r.head) {
	case KindMap:
		return appendHead(dst, '*', 2*r.num)
	case KindSet, KindPush:
		return appendHead(dst, '*', r.num)
	case KindBool:
		return appendHead(dst, ':', r.num)
	case KindBigNumber, KindVerbatim:
		return appendBulk(dst, r.text)
	case KindDouble:
		var buf [32]byte
		text := appendDouble(buf[:0], r.num)
		dst = appendHead(dst, '$', int64(len(text)))
		dst = append(dst, text...)
		return append(dst, '\r', '\n')
	}
	if r.num != 0 {
		return append(dst, "*-1\r\n"...)
	}
	return append(dst, "$-1\r\n"...)
}

func encode3(dst []byte, r Reply) []byte {
	switch Kind(r.head) {
	case KindMap, KindSet, KindPush:
		return appendHead(dst, byte(r.head), r.num)
	case KindBool:
		if r.num != 0 {
			return append(dst, "#t\r\n"...)
		}
		return append(dst, "#f\r\n"...)
	case KindBigNumber:
		return appendLine(dst, '(', r.text)
	case KindVerbatim:
		dst = appendHead(dst, '=', int64(len(r.text)+4))
		dst = append(dst, byte(r.head>>8), byte(r.head>>16), byte(r.head>>24), ':')
		dst = append(dst, r.text...)
		return append(dst, '\r', '\n')
	case KindDouble:
		dst = append(dst, ',')
		dst = appendDouble(dst, r.num)
		return append(dst, '\r', '\n')
	}
	return append(dst, "_\r\n"...)
}

func appendBulk(dst []byte, text string) []byte {
	dst = appendHead(dst, '$', int64(len(text)))
	dst = append(dst, text...)
	return append(dst, '\r', '\n')
}

// appendHead appends a line of a type byte and a number.
func appendHead(dst []byte, kind byte, n int64) []byte {
	switch {
	case uint64(n) < 10:
		return append(dst, kind, byte('0'+n), '\r', '\n')
	case uint64(n) < 100:
		return append(dst, kind, byte('0'+n/10), byte('0'+n%10), '\r', '\n')
	}
	dst = append(dst, kind)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, '\r', '\n')
}

// appendLine appends a line of a type byte and text. A line end within the text, perhaps from a client's argument, would
// be taken for the end of the reply: it becomes a space, as in Redis.
func appendLine(dst []byte, kind byte, text string) []byte {
	dst = append(dst, kind)
	start := len(dst)
	dst = append(dst, text...)
	for i, c := range dst[start:] {
		if c == '\r' || c == '\n' {
			dst[start+i] = ' '
		}
	}
	return append(dst, '\r', '\n')
}

// appendDouble appends the float of these bits as C's "%.17g" does.
func appendDouble(dst []byte, bits int64) []byte {
	f := math.Float64frombits(uint64(bits))
	switch {
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	case math.IsNaN(f):
		return append(dst, "nan"...)
	}
	return strconv.AppendFloat(dst, f, 'g', 17, 64)
}
