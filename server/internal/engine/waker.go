package engine

import (
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A waker lets other goroutines end a wait. No wake is lost: the one side sets woken, then looks at sleeping; the other sets
// sleeping, then looks at woken. Whoever comes second sees the first. A wake costs a system call only when the loop sleeps.
type waker struct {
	fd       int // an eventfd
	woken    atomic.Bool
	sleeping atomic.Bool
	wakes    atomic.Uint64
}

func newWaker() (*waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &waker{fd: fd}, nil
}

func (w *waker) wake() {
	if w.woken.Swap(true) || !w.sleeping.Swap(false) {
		return
	}
	w.wakes.Add(1)
	one := [8]byte{1} // little-endian hosts read 1, others a number that is as good
	for {
		// EAGAIN: the counter is at its end, so the descriptor is readable.
		if _, err := unix.Write(w.fd, one[:]); err != unix.EINTR {
			return
		}
	}
}

// take reports whether there was a wake since its last call. What the waking side has written before is seen after it.
func (w *waker) take() bool { return w.woken.Load() && w.woken.Swap(false) }

// sleep announces that the loop is about to block, and reports whether it may.
func (w *waker) sleep() bool {
	w.sleeping.Store(true)
	if w.woken.Load() {
		w.sleeping.Store(false)
		return false
	}
	return true
}

func (w *waker) awake() { w.sleeping.Store(false) }

func (w *waker) close() error { return unix.Close(w.fd) }
