package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrLength is the error of a length that no message can have: beyond what an int holds, or a varint of more than ten bytes.
var ErrLength = errors.New("codec: impossible message length")

// A Prefix is the kind of length before each message.
type Prefix uint8

// The prefixes, by their size on the wire. The zero value is U32.
const (
	U32 Prefix = iota
	U8
	U16
	U64
	Uvarint // protobuf's base-128 varint, one to ten bytes
)

// LengthPrefixed cuts messages that are preceded by their length. The zero value has a big-endian length of four bytes, which
// does not count itself. A decoded Frame is the message without its prefix.
type LengthPrefixed struct {
	Prefix       Prefix
	LittleEndian bool // order of U16, U32 and U64; false is the network's order
}

// Decode decodes one message.
func (l LengthPrefixed) Decode(b []byte, m *Frame) (int, error) {
	head, body, err := l.header(b)
	if err != nil {
		return head, err
	}
	if body > uint64(math.MaxInt-head) {
		return 0, fmt.Errorf("%w: %d bytes", ErrLength, body)
	}
	n := head + int(body)
	if n > len(b) {
		return n, More
	}
	*m = b[head:n:n]
	return n, nil
}

// header returns the size of the prefix and the length that it holds, or what Decode is to return.
func (l LengthPrefixed) header(b []byte) (head int, body uint64, err error) {
	if l.Prefix == Uvarint {
		body, head = binary.Uvarint(b)
		switch {
		case head < 0:
			return 0, 0, fmt.Errorf("%w: varint beyond 64 bits", ErrLength)
		case head == 0:
			return len(b) + 1, 0, More // at least one more byte, and never more than ten calls
		}
		return head, body, nil
	}
	head = l.Prefix.size()
	if len(b) < head {
		return head, 0, More
	}
	var order binary.ByteOrder = binary.BigEndian
	if l.LittleEndian {
		order = binary.LittleEndian
	}
	switch l.Prefix {
	case U8:
		body = uint64(b[0])
	case U16:
		body = uint64(order.Uint16(b))
	case U64:
		body = order.Uint64(b)
	default:
		body = uint64(order.Uint32(b))
	}
	return head, body, nil
}

// Encode appends the length of m and m. It panics when the prefix cannot hold the length.
func (l LengthPrefixed) Encode(dst []byte, m Frame) []byte {
	var order binary.AppendByteOrder = binary.BigEndian
	if l.LittleEndian {
		order = binary.LittleEndian
	}
	n := uint64(len(m))
	if l.Prefix != Uvarint && n > math.MaxUint64>>(64-8*l.Prefix.size()) {
		panic(fmt.Sprintf("codec: a message of %d bytes behind a length of %d bytes", n, l.Prefix.size()))
	}
	switch l.Prefix {
	case U8:
		dst = append(dst, byte(n))
	case U16:
		dst = order.AppendUint16(dst, uint16(n))
	case U64:
		dst = order.AppendUint64(dst, n)
	case Uvarint:
		dst = binary.AppendUvarint(dst, n)
	default:
		dst = order.AppendUint32(dst, uint32(n))
	}
	return append(dst, m...)
}

// Size is an upper bound: len(m) and the largest prefix.
func (LengthPrefixed) Size(m Frame) int { return len(m) + binary.MaxVarintLen64 }

func (p Prefix) size() int {
	switch p {
	case U8:
		return 1
	case U16:
		return 2
	case U64:
		return 8
	default:
		return 4
	}
}
