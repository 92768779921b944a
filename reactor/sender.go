package reactor

import (
	"context"
	"sync"
)

// A Sender sends messages of one connection from any goroutine. They leave in the order of the calls of one goroutine, behind what
// the reactor sends in the same turn of the loop. Its queue is bounded: a batch counts as one message, and an empty queue
// takes any batch.
type Sender[Out any] struct {
	s pumper[Out] // the session

	mu    sync.Mutex
	fill  []item[Out]   // appended to by senders; swapped with the ring's slice
	count int32         // batches and functions that are queued, in either slice; those in finished are still among them
	armed bool          // the ring has been asked to look, and has not yet found both slices empty
	shutd bool          // nothing more is taken: the connection drains or has closed
	kill  bool          // Close was called: the ring closes the connection at its next look
	gone  bool          // the connection has closed
	room  chan struct{} // closed when the count falls or the connection ends; nil when nobody waits

	drain    []item[Out] // the ring's own: drain[pos:] is to be encoded
	pos      int32
	finished int32 // the ring's own: batches and functions that are done and still counted
}

type item[Out any] struct {
	m    Out
	do   func(*Outbound[Out]) Status // nil for a message
	last bool                        // the end of a batch
}

// pumper is the session, without its inbound type.
type pumper[Out any] interface {
	pump(functions bool)
	ring() Host
	limit() int
}

func (s *Session[In, Out]) ring() Host { return s.out.host }
func (s *Session[In, Out]) limit() int { return s.out.cfg.MaxQueued }

// retainItems is the capacity above which an empty slice is given to the collector: 64, and what append rounds that up to.
const retainItems = 80

// Send queues the messages, all or none. They must not be changed until they have been encoded: what a message refers to passes
// to the connection. The error is ErrFull or ErrClosed.
//
// Called on the connection's own ring with a full queue, it makes room by encoding what is queued, if the output has room.
func (s *Sender[Out]) Send(m ...Out) error {
	if len(m) == 0 {
		return nil
	}
	_, err := s.queue(m, nil, false)
	return err
}

// SendContext is Send that waits for room until ctx is done. On the connection's own ring, which must not wait, it is Send. The
// error is ErrClosed, the context's error, or, on the ring, ErrFull.
func (s *Sender[Out]) SendContext(ctx context.Context, m ...Out) error {
	if len(m) == 0 {
		return nil
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		room, err := s.queue(m, nil, true)
		if room == nil {
			return err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Do queues f, which runs on the ring's goroutine, behind what was sent before. It counts as one message. The status that f
// returns acts like that of a reactor's method, and Continue ends a Pause. f does not run when the connection ends first.
// The error is ErrFull or ErrClosed.
func (s *Sender[Out]) Do(f func(out *Outbound[Out]) Status) error {
	_, err := s.queue(nil, f, false)
	return err
}

// Close closes the connection now; what is not sent is dropped. (To send it first: Do, with a function that returns Drain.) The
// error is ErrClosed.
func (s *Sender[Out]) Close() error {
	s.mu.Lock()
	if s.gone {
		s.mu.Unlock()
		return ErrClosed
	}
	s.kill = true
	s.mu.Unlock()
	s.s.ring().Wake() // in any case: a ring that waits for room to send does not look by itself
	return nil
}

// queue appends a batch or a function. Where the queue is full and the caller wants to wait, it returns a channel to wait for.
func (s *Sender[Out]) queue(m []Out, f func(*Outbound[Out]) Status, wait bool) (<-chan struct{}, error) {
	s.mu.Lock()
	if s.full() {
		s.mu.Unlock()
		onRing := s.s.ring().OnRing()
		if onRing {
			s.s.pump(false)
		}
		s.mu.Lock()
		if s.full() {
			defer s.mu.Unlock()
			if !wait || onRing {
				return nil, ErrFull
			}
			if s.room == nil {
				s.room = make(chan struct{})
			}
			return s.room, ErrFull
		}
	}
	if s.shutd {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	if f != nil {
		s.fill = append(s.fill, item[Out]{do: f, last: true})
	} else {
		for i := range m {
			s.fill = append(s.fill, item[Out]{m: m[i], last: i == len(m)-1})
		}
	}
	s.count++
	wake := !s.armed
	s.armed = true
	s.mu.Unlock()
	if wake {
		s.s.ring().Wake()
	}
	return nil, nil
}

// full says that the queue takes nothing now but may later. The caller holds the lock.
func (s *Sender[Out]) full() bool {
	return s.count > 0 && int(s.count) >= s.s.limit() && !s.shutd
}

// swap exchanges the slices, when the ring's own is done, and returns how many items there are then. Unless take is set, it does
// so only if the other one is empty too. It runs on the ring's goroutine.
func (s *Sender[Out]) swap(take bool) (left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	if len(s.fill) > 0 && !take {
		return len(s.fill)
	}
	clear(s.drain)
	s.drain = s.drain[:0]
	if cap(s.drain) > retainItems {
		s.drain = nil
	}
	s.fill, s.drain, s.pos = s.drain, s.fill, 0
	if len(s.drain) == 0 {
		s.armed = false
	}
	return len(s.drain)
}

// settle takes what is finished off the count, and wakes those who wait for room. The caller runs on the ring's goroutine and
// holds the lock.
func (s *Sender[Out]) settle() {
	s.count -= s.finished
	if s.finished > 0 && s.room != nil {
		close(s.room)
		s.room = nil
	}
	s.finished = 0
}

// pump encodes the queue as far as the output has room. With functions false, it stops before the first function: the caller is a
// method of the reactor, which is not to be called within itself.
//
// Whoever armed the Sender has woken the ring. The Sender stays armed until the ring finds it empty. So a pump that stops
// earlier sees to the next one: at the limit of the output noteFull sets a flag, so that Sent calls it; else it wakes the ring
// again. No wake-up is lost.
func (s *Session[In, Out]) pump(functions bool) {
	o, q := &s.out, &s.sender
	if o.flags&flagClosed != 0 || s.r == nil {
		return
	}
	if o.flags&flagPumping != 0 { // called by what it has called
		q.mu.Lock()
		q.settle()
		q.mu.Unlock()
		return
	}
	if q.killed() {
		s.apply(Close)
		return
	}
	o.flags |= flagPumping
	panicked := true
	defer func() {
		o.flags &^= flagPumping
		if q.finished > 0 {
			q.mu.Lock()
			q.settle()
			q.mu.Unlock()
		}
		s.noteFull()
		if panicked { // what was half done is not gone on with, whoever recovers
			s.apply(Close)
			o.host.Wake()
		}
	}()
	s.encode(functions)
	panicked = false
}

func (s *Session[In, Out]) encode(functions bool) {
	o, q := &s.out, &s.sender
	hook, _ := any(s.r).(Outbounder[Out])
	for swapped := false; s.status != Close; {
		if int(q.pos) == len(q.drain) {
			if q.swap(!swapped) == 0 {
				return
			}
			if swapped { // what was queued meanwhile has its turn after the other connections
				o.host.Wake()
				return
			}
			swapped = true
		}
		if o.buf.Len() >= o.cfg.MaxOutbound {
			return
		}
		it := &q.drain[q.pos]
		if it.do != nil && !functions {
			return
		}
		q.pos++ // first: after a panic it must not run again
		if it.last {
			q.finished++
		}
		if it.do != nil {
			s.resume(it.do(o))
			continue
		}
		if hook != nil {
			hook.OnOutbound(&it.m)
		}
		o.Send(it.m)
	}
}

// resume applies the status of a function, which alone ends a Pause.
func (s *Session[In, Out]) resume(st Status) {
	if st == Continue {
		st = Resume
	}
	s.apply(st)
}

func (s *Sender[Out]) queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.count)
}

func (s *Sender[Out]) killed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kill
}

// shut refuses further messages; those that are queued are still sent.
func (s *Sender[Out]) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shutd = true
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
}

// close drops the queue and returns how many batches were in it.
func (s *Sender[Out]) close() int {
	s.shut()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := int(s.count)
	s.gone = true
	s.fill, s.drain, s.pos, s.count = nil, nil, 0, 0
	return n
}
