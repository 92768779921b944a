package codec

import (
	"errors"
	"fmt"
)

// ErrFixedSize is the error of a Fixed whose Size is not positive.
var ErrFixedSize = errors.New("codec: Fixed.Size must be at least 1")

// Fixed cuts into messages of one size.
type Fixed struct {
	// Size is the size of each message in bytes, at least 1. It is required.
	Size int
}

// Decode decodes one message of f.Size bytes.
func (f Fixed) Decode(b []byte, m *Frame) (int, error) {
	if f.Size <= 0 {
		return 0, ErrFixedSize
	}
	if len(b) < f.Size {
		return f.Size, More
	}
	*m = b[:f.Size:f.Size]
	return f.Size, nil
}

// Encode appends m. It panics when m has not the size of a message: that would shift all that follows.
func (f Fixed) Encode(dst []byte, m Frame) []byte {
	if len(m) != f.Size {
		panic(fmt.Sprintf("codec: a message of %d bytes for Fixed{Size: %d}", len(m), f.Size))
	}
	return append(dst, m...)
}
