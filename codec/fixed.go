package codec

import (
	"errors"
	"fmt"
)

// ErrFixedLength is the error of a Fixed whose Length is not positive.
var ErrFixedLength = errors.New("codec: Fixed.Length must be at least 1")

// Fixed cuts into messages of one size.
type Fixed struct {
	// Length is the size of each message in bytes, at least 1. It is required.
	Length int
}

// Decode decodes one message of f.Length bytes.
func (f Fixed) Decode(b []byte, m *Frame) (int, error) {
	if f.Length <= 0 {
		return 0, ErrFixedLength
	}
	if len(b) < f.Length {
		return f.Length, More
	}
	*m = b[:f.Length:f.Length]
	return f.Length, nil
}

// Encode appends m. It panics when m has not the size of a message: that would shift all that follows.
func (f Fixed) Encode(dst []byte, m Frame) []byte {
	if len(m) != f.Length {
		panic(fmt.Sprintf("codec: a message of %d bytes for Fixed{Length: %d}", len(m), f.Length))
	}
	return append(dst, m...)
}

// Size returns the encoded size of m in bytes.
func (Fixed) Size(m Frame) int { return len(m) }
