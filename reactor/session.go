package reactor

import (
	"fmt"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/codec"
)

// A Host carries a session: the server's connection, or a test.
type Host interface {
	// Wake asks for a call of Pump. It is called from any goroutine, also within Pump, and may still come after Closed.
	Wake()
	// Dirty says that there is output to flush. It is called on the ring's goroutine.
	Dirty()
	// OnRing says whether the caller runs on the ring's goroutine.
	OnRing() bool
}

// Config is what the sessions of one listener and loop share. All of it is required.
type Config struct {
	Pool            *buffers.Pool
	MaxBufferLength int // the most bytes of a message
	MaxOutbound     int // encoded bytes at which the reactor is not called any more
	MaxQueued       int // batches that may wait in a Sender
	MaxMessages     int // messages that one call of Inbound decodes at most

	Messages uint64 // decoded, by all of these sessions
}

// A Session is the inner half of a connection: bytes in, messages to the reactor, bytes out. It belongs to the ring's goroutine.
// Servers and tests drive it; a reactor sees only its Outbound and its Sender.
type Session[In, Out any] struct {
	out    Outbound[Out]
	sender Sender[Out]
	r      Reactor[In, Out]
	in     *In // shared by the sessions of a loop and listener

	status Status
	seen   int // bytes at the input's start that the decoder examined without finding an end
	need   int // the decoder is not called before so many bytes are there
	skip   int // bytes of the input to come that are dropped
}

// NewSession returns a session whose reactor is yet to be bound.
func NewSession[In, Out any](host Host, cfg *Config, in *In) *Session[In, Out] {
	s := &Session[In, Out]{in: in}
	s.out.host, s.out.cfg = host, cfg
	s.sender.s = s
	return s
}

// Sender returns the session's Sender.
func (s *Session[In, Out]) Sender() *Sender[Out] { return &s.sender }

// Bind gives the session its reactor.
func (s *Session[In, Out]) Bind(r Reactor[In, Out]) {
	s.r, s.out.enc = r, r
	s.out.sizer, _ = any(r).(codec.Sizer[Out])
}

// Reactor returns the reactor, for messages about it.
func (s *Session[In, Out]) Reactor() any { return s.r }

// Status returns how the connection goes on.
func (s *Session[In, Out]) Status() Status { return s.status }

// Output returns the bytes to send.
func (s *Session[In, Out]) Output() *buffers.Output { return &s.out.buf }

// Need returns the size that the input must have before the decoder is called again, as far as that is known, or zero.
func (s *Session[In, Out]) Need() int { return s.need }

// Skipping returns how many bytes of the input to come are dropped.
func (s *Session[In, Out]) Skipping() int { return s.skip }

// Accepts says whether the reactor takes messages now: it neither paused nor ended, and its output has room.
func (s *Session[In, Out]) Accepts() bool {
	return s.status == Continue && s.out.buf.Len() < s.out.cfg.MaxOutbound
}

// AwaitsRoom says whether something follows when output has been sent: the reactor or its Sender waits for room, or the connection
// pauses or ends.
func (s *Session[In, Out]) AwaitsRoom() bool {
	return s.status != Continue || s.out.flags&flagFull != 0
}

// apply takes a status that a callback returned. A connection never comes back from Drain or Close.
func (s *Session[In, Out]) apply(st Status) {
	switch {
	case st > Resume:
		panic(fmt.Sprintf("reactor: %T returned %v", s.r, st))
	case st == Resume:
		if st = Continue; s.status == Pause {
			s.status = Continue
		}
	}
	if st > s.status {
		s.status = st
		if st >= Drain {
			s.sender.shut()
		}
	}
	s.noteFull()
}

// noteFull remembers that the output has reached its limit, so that OnRoom is called later.
func (s *Session[In, Out]) noteFull() {
	if s.out.buf.Len() >= s.out.cfg.MaxOutbound {
		s.out.flags |= flagFull
	}
}

// Open tells the reactor of its connection.
func (s *Session[In, Out]) Open() {
	if h, ok := s.r.(Opener[Out]); ok {
		s.apply(h.OnOpen(&s.out))
	}
}

// Inbound decodes the messages in b and gives them to the reactor, as long as it accepts them, and not more than MaxMessages. It
// returns how many bytes of b it has consumed; more says that it stopped early, so that a call with the rest has work to do as
// soon as the reactor accepts. Otherwise the rest is a cut message: the next call gets it again, with more behind it.
//
// An error is the peer's or the decoder's fault, and ends the connection.
func (s *Session[In, Out]) Inbound(b []byte) (used int, more bool, err error) {
	if s.skip > 0 {
		used = min(s.skip, len(b))
		s.skip -= used
	}
	for count := 0; used < len(b); count++ {
		if !s.Accepts() || count == s.out.cfg.MaxMessages {
			return used, true, nil
		}
		if len(b)-used < s.need {
			return used, false, nil
		}
		// The decoder never sees more than a message may have, so that what it may do does not depend on how the bytes came.
		window := b[used:min(len(b), used+s.out.cfg.MaxBufferLength)]
		n, err := s.decode(window)
		switch err {
		case nil:
			if n <= 0 || n > len(window) {
				return used, false, fmt.Errorf("%w: a message of %d bytes in %d", ErrContract, n, len(window))
			}
			used += n
			s.seen, s.need = 0, 0
			s.out.cfg.Messages++
			s.apply(s.r.OnInbound(s.in, &s.out))
		case codec.More:
			return used, false, s.wait(n, len(window))
		case codec.Skip:
			if n <= 0 {
				return used, false, fmt.Errorf("%w: skip of %d bytes", ErrContract, n)
			}
			s.seen, s.need = 0, 0
			s.skip = max(0, n-(len(b)-used))
			used += n - s.skip
		default:
			return used, false, err
		}
	}
	return used, false, nil
}

// decode calls the decoder, or its Resume where it has seen some of b already.
func (s *Session[In, Out]) decode(b []byte) (int, error) {
	if s.seen > 0 && s.seen < len(b) {
		if d, ok := s.r.(codec.Resumer[In]); ok {
			return d.Resume(b, s.seen, s.in)
		}
	}
	return s.r.Decode(b, s.in)
}

// wait remembers what a decoder that saw size bytes asked for.
func (s *Session[In, Out]) wait(n, size int) error {
	s.seen, s.need = 0, n
	if n == 0 {
		s.seen, s.need = size, size+1
	} else if n <= size {
		return fmt.Errorf("%w: %d bytes needed where %d are there", ErrContract, n, size)
	}
	if s.need > s.out.cfg.MaxBufferLength {
		return fmt.Errorf("%w: %d bytes of %d at least", ErrTooLong, s.out.cfg.MaxBufferLength, s.need)
	}
	return nil
}

// Flushed is called when output has been sent or taken for sending: the next Send marks the session dirty again.
func (s *Session[In, Out]) Flushed() { s.out.flags &^= flagDirty }

// Sent is called when the kernel has taken n bytes of the output. It lets the reactor produce more, and sends what waits in the
// Sender's queue.
func (s *Session[In, Out]) Sent(n int) {
	s.out.buf.Sent(s.out.cfg.Pool, n)
	if s.out.flags&flagFull == 0 || s.out.buf.Len() > s.out.cfg.MaxOutbound/2 || s.status == Close {
		return
	}
	s.out.flags &^= flagFull
	if h, ok := s.r.(Roomer[Out]); ok {
		s.apply(h.OnRoom(&s.out))
	}
	s.Pump()
}

// End tells the reactor that the peer has ended its side. It does so once.
func (s *Session[In, Out]) End() {
	if s.out.flags&flagEnded != 0 || s.status == Close {
		return
	}
	s.out.flags |= flagEnded
	if h, ok := s.r.(Ender[Out]); ok {
		s.apply(h.OnEnd(&s.out))
		return
	}
	s.apply(Drain)
}

// Drain tells the reactor that the server is going down. It does so once.
func (s *Session[In, Out]) Drain() {
	if s.status >= Drain || s.out.flags&flagDrained != 0 {
		return
	}
	s.out.flags |= flagDrained
	if h, ok := s.r.(Drainer[Out]); ok {
		s.apply(h.OnDrain(&s.out))
		return
	}
	s.apply(Drain)
}

// Finish applies a status, Drain or Close, without asking the reactor.
func (s *Session[In, Out]) Finish(st Status) { s.apply(st) }

// Pump encodes what waits in the Sender's queue, as far as the output has room.
func (s *Session[In, Out]) Pump() { s.pump(true) }

// Queued returns the number of batches and functions that wait in the Sender's queue.
func (s *Session[In, Out]) Queued() int { return s.sender.queued() }

// Closed tells the reactor of the connection's end, and drops what was not sent. Nothing may be in flight. It does so once, and
// is the last call of a session.
func (s *Session[In, Out]) Closed(err error) {
	if s.out.flags&flagClosed != 0 {
		return
	}
	s.out.flags |= flagClosed
	s.status = Close
	queued := s.sender.close()
	if bytes := s.out.buf.Len(); bytes > 0 || queued > 0 {
		err = &UnsentError{Bytes: bytes, Messages: queued, Err: err}
	}
	s.out.buf.Drop(s.out.cfg.Pool)
	if h, ok := s.r.(Closer); ok {
		h.OnClose(err)
	}
}
