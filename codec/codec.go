// Package codec says where a message ends and what its bytes are. A codec touches memory only: it knows nothing of
// sockets, rings or goroutines, and is tested with a []byte.
//
// The package has the codecs that need no protocol: [Raw], [Line], [LengthPrefixed] and [Fixed]. Protocols have packages
// of their own below this one. Package codectest checks any codec against the rules that are written here.
package codec

import "errors"

// More and Skip are the results of [Decoder.Decode] that are no failure. They are compared with ==.
var (
	// More says that b holds no whole message yet.
	More = errors.New("codec: more bytes are needed")
	// Skip says that bytes are consumed without a message.
	Skip = errors.New("codec: skip bytes")
)

// A Decoder finds the message at the start of received bytes.
type Decoder[In any] interface {
	// Decode decodes the message at the start of b into m and returns its size on the wire: 0 < n <= len(b), in bytes.
	//
	//   - [More]: b holds no whole message. At least n > len(b) bytes are needed; n == 0 where that is not known. The next
	//     call gets the same first bytes with more behind them, perhaps at another address; when n was given, not before n
	//     bytes are there. A decoder keeps its position between such calls (or is a [Resumer]): the bytes that it examines
	//     must not exceed four times the bytes of the message, for any cuts.
	//   - [Skip]: n > 0 bytes are consumed without a message. n may exceed len(b): the rest is skipped when it comes, and
	//     does not count against the limit on a message.
	//   - Any other error closes the connection, with that error as the reason.
	//
	// b is never empty. It is only lent: m may refer into b until the reactor's OnInbound returns. m is reused from call to
	// call, and from connection to connection of one loop: Decode sets each field that it gives a meaning to.
	Decode(b []byte, m *In) (n int, err error)
}

// A Resumer is a Decoder without memory of its own that is told how much of b it has seen. It is called in the place of
// Decode after a More that named no size: the first seen bytes of b, 0 < seen < len(b), are those that the last call
// examined without finding an end.
type Resumer[In any] interface {
	Resume(b []byte, seen int, m *In) (n int, err error)
}

// An Encoder writes messages. It is called on the ring's goroutine only.
type Encoder[Out any] interface {
	// Encode appends the bytes of m to dst and returns the extended slice, as append does. dst may be empty with room
	// behind it; it is a part of a send buffer, so Encode must not keep it. m and what it refers to are not kept either.
	Encode(dst []byte, m Out) []byte
}

// A Sizer is an Encoder that knows the encoded size of m in bytes, exactly or as an upper bound. It is asked before a message
// is encoded, so that a large one gets memory of its own at once and is not moved while it grows.
type Sizer[Out any] interface {
	Size(m Out) int
}

// A Codec is both directions of one protocol.
type Codec[In, Out any] interface {
	Decoder[In]
	Encoder[Out]
}

// A Frame is a message that is only bytes. A decoded Frame is a view of the received bytes: it is valid until OnInbound
// returns, and whoever keeps it longer copies it.
type Frame []byte
