package server

import (
	"sync/atomic"
	"time"
	"unsafe"
)

// Stats are counts since the start, or states of now. Each loop publishes its own before it sleeps, and every few milliseconds
// while it does not: what is read may be that old.
type Stats struct {
	Conns      uint64 // open now
	Accepted   uint64 // connections
	Closed     uint64 // connections whose end was reported
	AcceptErrs uint64 // failed attempts to accept
	Messages   uint64 // decoded and given to reactors
	BytesIn    uint64
	BytesOut   uint64
	Carried    uint64 // bytes of cut or deferred messages that were copied
	Receives   uint64 // completions with bytes
	Sends      uint64 // sends handed to the kernel
	ShortSends uint64 // sends that took less than all
	Rearms     uint64 // receives that were armed again after they had ended
	Missed     uint64 // receives that had told nothing of what was there, and were armed again
	NoBufs     uint64 // receives that ended for want of a buffer
	Enters     uint64 // system calls that submit and wait: io_uring_enter, or epoll_wait
	SQEs       uint64 // operations submitted; with epoll the system calls on sockets
	CQEs       uint64 // completions
	Overflows  uint64 // completion queue overflows
	Turns      uint64 // of the loop
	Spins      uint64 // waits that ended while the loop looked for work
	Sleeps     uint64 // waits that slept, or would have if there had been nothing
	Held       uint64 // of them, those that kept their P: see Config.HoldP
	Wakes      uint64 // sleeps that a Sender or another loop ended
	WakeNanos  uint64 // time from asking for attention to getting it, summed over Notices
	Notices    uint64 // times that a Sender or another loop asked for attention
	Panics     uint64 // in reactors and codecs
	Stale      uint64 // completions of connections that are gone; more than zero is a fault of this package
	TimedOut   uint64 // connections closed by IdleTimeout or WriteTimeout
	CutOff     uint64 // connections that the drain's deadline ended
	Shed       uint64 // connections closed for memory
	Memory     uint64 // bytes held now: to receive into, in carries, and in outputs
	ReceiveMem uint64 // of these, to receive into
}

const statWords = unsafe.Sizeof(Stats{}) / 8

// words are the counts in the order of the fields.
func (s *Stats) words() *[statWords]uint64 { return (*[statWords]uint64)(unsafe.Pointer(s)) }

// Add adds other to s.
func (s *Stats) Add(other *Stats) {
	w := s.words()
	for i, v := range other.words() {
		w[i] += v
	}
}

// WakeLatency is the mean time from asking a loop for attention to getting it.
func (s *Stats) WakeLatency() time.Duration {
	if s.Notices == 0 {
		return 0
	}
	return time.Duration(s.WakeNanos / s.Notices)
}

// published is a loop's copy for others, on cache lines of its own.
type published struct {
	_     [64]byte
	words [statWords]atomic.Uint64
	_     [64]byte
}

func (p *published) store(s *Stats) {
	for i, v := range s.words() {
		if w := &p.words[i]; w.Load() != v { // a load is much cheaper than a store
			w.Store(v)
		}
	}
}

func (p *published) load() (s Stats) {
	w := s.words()
	for i := range p.words {
		w[i] = p.words[i].Load()
	}
	return s
}
