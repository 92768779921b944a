package codec

// Raw takes bytes as they come: each receive is a message, and a message is sent as it is.
type Raw struct{}

// Decode makes all of b one message.
func (Raw) Decode(b []byte, m *Frame) (int, error) {
	*m = b[:len(b):len(b)]
	return len(b), nil
}

// Encode appends m as it is.
func (Raw) Encode(dst []byte, m Frame) []byte { return append(dst, m...) }

// Size is len(m).
func (Raw) Size(m Frame) int { return len(m) }
