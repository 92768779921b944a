// Package engine is the one boundary between a server's loop and the kernel. A loop asks an [Engine] for a few asynchronous
// things (accept, receive, send, cancel, wait, wake) and gets completions. [URing] is the engine; [Epoll] has the same behaviour
// where rings are refused; tests have one that misbehaves on purpose.
package engine

import (
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// A Token names an operation: slot (24 bits), generation (32 bits), operation (8 bits). A descriptor or a pointer would not do:
// a late completion would reach whoever has it by then.
type Token uint64

// Op is the kind of an operation.
type Op uint8

// The operations that have completions.
const (
	OpAccept Op = iota + 1 // zero is no operation: completions of an engine's own have token zero
	OpReceive
	OpSend
)

// MaxSlots is the number of slots that a token can name.
const MaxSlots = 1 << 24

// MakeToken returns the token of an operation.
func MakeToken(slot, generation uint32, op Op) Token {
	return Token(slot)<<40 | Token(generation)<<8 | Token(op)
}

// Slot returns the slot.
func (t Token) Slot() uint32 { return uint32(t >> 40) }

// Generation returns the generation.
func (t Token) Generation() uint32 { return uint32(t >> 8) }

// Op returns the kind of the operation.
func (t Token) Op() Op { return Op(t) }

// A Completion is the end of an operation, or one shot of an accept or a receive.
type Completion struct {
	Token Token
	Res   int        // bytes, or an accepted descriptor; 0 bytes received is the peer's end of output
	Err   unix.Errno // 0 when the operation succeeded
	More  bool       // the accept or receive lives on; nothing else says so
	View  []byte     // what was received: valid until Recycle, or until the next call of Next
	first uint16     // IDs of the buffers that View lies in
	last  uint16
}

// ErrLost says that the kernel has lost a completion. The engine cannot be trusted any more.
var ErrLost = errors.New("engine: the kernel has lost a completion")

// An Engine belongs to one goroutine, which is locked to its thread and has made it. Only Wake, OnThread and Now may be called from
// others.
//
// Memory and descriptors given to an operation stay untouched until its completion. An operation has exactly one completion
// without More, also when it is cancelled. The operations on a connection's descriptor have one slot, which is no other's meanwhile.
type Engine interface {
	// Accept accepts connections until an error.
	Accept(t Token, fd int)
	// Receive receives until an error, the peer's end, or as many bytes as the engine finds enough: then the last completion with
	// bytes has no More, and the loop arms the receive again when it wants to. ENOBUFS says that the engine's memory was taken: the loop arms the
	// receive again, not more of them than Buffers says.
	Receive(t Token, fd int)
	// Send sends the segments in order. It may send less. There is one send for a descriptor at a time. Where the completion is not
	// awaited, nothing follows from it: the next Wait may let it lie, if all was sent at once, until something else happens.
	Send(t Token, fd int, segs [][]byte, awaited bool)
	// Cancel ends an operation, which completes with ECANCELED, or as it would have. A token of none is ignored.
	Cancel(t Token)

	// Wait starts what was asked for and waits until there is a completion, a Wake, or the timeout; it may return early
	// without any. A negative timeout waits without end, zero does not wait.
	Wait(timeout time.Duration) error
	// Next takes the next completion.
	Next(c *Completion) bool
	// Recycle says that the completion's view is dead.
	Recycle(c *Completion)
	// Buffers returns for how many receives there is memory now.
	Buffers() int
	// Memory returns the bytes held to receive into.
	Memory() int
	// Trim gives memory back that was not needed since its last call, and says whether it wants to be called again.
	Trim() (again bool)

	// Wake ends a Wait, this one or the next. It is called from any goroutine.
	Wake()
	// Woken says whether Wake was called since its last call.
	Woken() bool
	// OnThread says whether the caller runs on the engine's thread. It is called from any goroutine.
	OnThread() bool
	// Now returns the time in nanoseconds, from any start, monotonic. It is called from any goroutine.
	Now() int64

	// Names returns the addresses of a socket. local may be known already.
	Names(fd int, local net.Addr) (net.Addr, net.Addr)
	// Progress returns a number that changes whenever the peer has taken bytes of a socket.
	Progress(fd int) uint64
	// Missed says whether there is something to receive, or an end, of which a receive that is armed ought to have told.
	Missed(fd int) bool
	// Failed returns the error that a socket was left with, as by a reset, where no receive is armed that would tell; or nil. It is told once.
	Failed(fd int) error
	// EndOutput tells the peer that no more bytes will come.
	EndOutput(fd int)
	// TakeQueued returns a connection that waits at a listening socket on which no accept is in flight, and whether one did.
	TakeQueued(fd int) (conn int, ok bool)
	// CloseSocket closes a descriptor on which nothing is in flight.
	CloseSocket(fd int)

	// Counters returns what crossed the border so far.
	Counters() Counters
	// Close ends the engine. Nothing may be in flight but what is its own.
	Close() error
}

// Counters count what crossed the border to the kernel.
type Counters struct {
	Enters    uint64 // io_uring_enter, or epoll_wait
	SQEs      uint64 // operations handed over; for epoll the system calls on sockets
	CQEs      uint64 // completions
	Overflows uint64 // completion queue overflows seen
	NoBufs    uint64 // receives that ended for want of a buffer
	Wakes     uint64 // times that a sleeping loop was woken by Wake
	Spins     uint64 // waits that ended while spinning
	Sleeps    uint64 // waits that slept, or could have
	Held      uint64 // of them, those that kept their P
}
