package reactor

import (
	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/codec"
)

// An Outbound sends messages of one connection on its ring's goroutine: within the reactor's methods and functions given to
// Sender.Do. It is not used from any other goroutine (that is what Sender is for), nor after OnClose.
type Outbound[Out any] struct {
	host  Host
	cfg   *Config
	enc   codec.Encoder[Out]
	sizer codec.Sizer[Out] // nil when the codec is none
	buf   buffers.Output
	flags flags
}

type flags uint8

const (
	flagDirty  flags = 1 << iota // the host knows that there is output
	flagFull                     // the output has reached its limit, and OnRoom is due when it is below half
	flagClosed                   // OnClose was called, or is about to be
	flagPumping
	flagEnded   // the peer's end was told to the reactor
	flagDrained // the server's end was told to the reactor
)

// Send encodes m at once; m may be reused when Send returns. What is sent within one turn of the loop leaves in one send.
// Send never blocks and never fails: beyond the limit the reactor is not called until there is room, so that the output is
// bounded by the limit and what one call produces. On a connection that has closed, m is dropped.
func (o *Outbound[Out]) Send(m Out) {
	if o.flags&flagClosed != 0 {
		return
	}
	size := 0
	if o.sizer != nil {
		size = o.sizer.Size(m)
	}
	o.buf.Commit(o.cfg.Pool, o.enc.Encode(o.buf.Grab(o.cfg.Pool, size), m))
	if o.flags&flagDirty == 0 {
		o.flags |= flagDirty
		o.host.Dirty()
	}
}

// Len returns the number of encoded bytes that the kernel has not taken.
func (o *Outbound[Out]) Len() int { return o.buf.Len() }

// Room returns how many bytes more can be sent before the limit, or zero. A reactor that produces a large reply piece by piece
// stops when it is zero, and goes on in OnRoom.
func (o *Outbound[Out]) Room() int {
	room := o.cfg.MaxOutbound - o.buf.Len()
	if room <= 0 {
		o.flags |= flagFull
		return 0
	}
	return room
}
