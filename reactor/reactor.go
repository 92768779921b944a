// Package reactor is what one connection does with its messages. All of it is memory: it knows nothing of sockets, rings or the
// kernel, and a reactor is tested with a []byte (see package reactortest).
//
// A user writes a [Reactor], which brings its codec by embedding it. A [Session] is the connection's inner half: it decodes
// received bytes, calls the reactor, and gathers what the reactor sends. There are two ways to send: [Outbound], on the ring's
// goroutine, and [Sender], from any other.
package reactor

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/protoring/protoring/codec"
)

// Status is a reactor's word on how its connection goes on.
type Status uint8

const (
	// Continue goes on.
	Continue Status = iota
	// Pause stops OnInbound until a function given to Sender.Do returns Continue, or any callback Resume. Receiving stops as well. A
	// peer that resets the connection meanwhile ends it within two seconds.
	Pause
	// Drain takes in nothing more, sends what is pending, then closes.
	Drain
	// Close closes now; what was not sent is dropped, and OnClose is told.
	Close
	// Resume ends a Pause and goes on: OnRoom returns it, for instance, when it has sent the last piece of a large reply.
	Resume
)

// String returns the status's name.
func (s Status) String() string {
	switch s {
	case Continue:
		return "Continue"
	case Pause:
		return "Pause"
	case Drain:
		return "Drain"
	case Close:
		return "Close"
	case Resume:
		return "Resume"
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// A Reactor handles the messages of one connection. All its methods are called on the goroutine of the connection's ring, one
// at a time, and must not block: other connections wait meanwhile. Work that takes long goes to a goroutine of the user's,
// which comes back with Sender.Do.
//
// A Reactor may have any of the methods of the optional interfaces [Opener], [Roomer], [Ender], [Drainer], [Outbounder] and
// [Closer]. A method whose name begins with On and that fits none of them is refused when the listener is made.
type Reactor[In, Out any] interface {
	codec.Codec[In, Out]
	// OnInbound handles a message. m, and what it refers to, is lent until OnInbound returns. It is not called while the
	// output is at its limit.
	OnInbound(m *In, out *Outbound[Out]) Status
}

// An Opener is told of the connection before any message: the server speaks first, or refuses with a message and Drain.
type Opener[Out any] interface {
	OnOpen(out *Outbound[Out]) Status
}

// A Roomer is told when the output, which was at its limit, is at most half of it again: it can produce more. It is told so while
// the connection pauses or drains, too: a large reply is finished first.
type Roomer[Out any] interface {
	OnRoom(out *Outbound[Out]) Status
}

// An Ender is told that the peer has ended its side and can still read. Continue leaves the connection open for output until
// a later status ends it. A reactor without this method drains.
type Ender[Out any] interface {
	OnEnd(out *Outbound[Out]) Status
}

// A Drainer is told that the server is going down. Continue asks for time, which the server's DrainTimeout bounds. A reactor
// without this method drains.
type Drainer[Out any] interface {
	OnDrain(out *Outbound[Out]) Status
}

// An Outbounder sees each message that comes from a Sender before it is encoded, and may change it. OnOutbound is called within
// another method of the reactor where that one finds its own connection's Sender full.
type Outbounder[Out any] interface {
	OnOutbound(m *Out)
}

// A Closer is told of the connection's end, exactly once and last. err is nil after an end that was asked for, by either side,
// in which all was sent. errors.As finds an [*UnsentError] where something was not.
type Closer interface {
	OnClose(err error)
}

// Peer is what a connection's reactor is made from.
type Peer[Out any] struct {
	ID            uint64   // unique within the server's life
	Local, Remote net.Addr // of the socket; a unix peer without a name has an empty one
	Loop          int      // index of the loop that serves the connection
	Sender        *Sender[Out]
}

// Errors that callers act on.
var (
	// ErrFull: the outbound queue is full; nothing of the call was queued. Try again later, or use SendContext.
	ErrFull = errors.New("reactor: outbound queue is full")
	// ErrClosed: the connection has ended, or drains; nothing of the call was queued.
	ErrClosed = os.ErrClosed
	// ErrTooLong: a message exceeds MaxBufferLength.
	ErrTooLong = errors.New("reactor: message exceeds MaxBufferLength")
	// ErrContract: the decoder broke a rule of codec.Decoder. The text says which.
	ErrContract = errors.New("reactor: decoder breaks its contract")
)

// An UnsentError says what a connection's end has left unsent.
type UnsentError struct {
	Bytes    int   // encoded, and not taken by the kernel
	Messages int   // batches and functions still in the Sender's queue
	Err      error // why the connection ended; nil when the reactor or the server chose to
}

func (e *UnsentError) Error() string {
	s := fmt.Sprintf("closed with %d bytes and %d queued messages unsent", e.Bytes, e.Messages)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns why the connection ended.
func (e *UnsentError) Unwrap() error { return e.Err }
