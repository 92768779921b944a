package enginetest

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/protoring/protoring/server/internal/engine"
)

// A kernel is what engines share: sockets, descriptors, time and chance. All of it belongs to one goroutine, which is that of each loop
// in turn.
type kernel struct {
	// Horizon is the time that no wait goes beyond. A wait that would, ends with Idle set.
	Horizon int64
	// Idle says that the last wait found nothing to do for any engine, nor any that the time until Horizon brings.
	Idle bool
	// World is called within waits, and now and then within other calls: whatever another goroutine may do, it may.
	World func()
	// Attempts is the number of accepts that failed for want of a descriptor.
	Attempts int

	tb      TB
	cfg     Config
	rand    *rand.Rand
	now     int64
	engines []*Engine
	current *Engine // on whose thread the test is; nil elsewhere
	socks   []*socket
	freed   []int
	open    int
	trace   uint64
}

const (
	firstFD    = 1000
	startOfDay = int64(time.Hour)
)

// Trace is a number that is the same for runs that were the same.
func (k *kernel) Trace() uint64 { return k.trace }

func (k *kernel) note(words ...uint64) {
	for _, w := range words {
		hi, lo := bits.Mul64(k.trace^w, 0x9e3779b97f4a7c15)
		k.trace = bits.RotateLeft64(k.trace, 23) ^ hi ^ lo
	}
}

func (k *kernel) fail(format string, args ...any) {
	k.tb.Helper()
	k.tb.Fatalf("PROTORING_SEED=%d at %v: %s", k.cfg.Seed, time.Duration(k.now-startOfDay), fmt.Sprintf(format, args...))
}

func (k *kernel) chance(p float64) bool { return p > 0 && k.rand.Float64() < p }

// Elsewhere runs f as another goroutine would.
func (k *kernel) Elsewhere(f func()) { k.on(nil, f) }

// On runs f as the goroutine of the engine's loop would.
func (e *Engine) On(f func()) { e.on(e, f) }

func (k *kernel) on(e *Engine, f func()) {
	was := k.current
	k.current = e
	f()
	k.current = was
}

func (k *kernel) sock(fd int, what string) *socket {
	if fd < firstFD || fd-firstFD >= len(k.socks) || k.socks[fd-firstFD] == nil {
		k.fail("%s on descriptor %d, which is closed", what, fd)
	}
	return k.socks[fd-firstFD]
}

// busy returns an operation of that kind, of any engine, that is in flight on a socket, or nil. The zero Op is any.
func (k *kernel) busy(s *socket, kind engine.Op) *op {
	for _, e := range k.engines {
		for _, o := range e.ops {
			if o.sock == s && (kind == 0 || o.token.Op() == kind) {
				return o
			}
		}
	}
	return nil
}

// pass lets time go by, to what the first of the sleepers waits for, if all of them sleep.
func (k *kernel) pass() {
	first := int64(math.MaxInt64)
	for _, e := range k.engines {
		if !e.gone && !e.sleeping() {
			return
		}
		if !e.gone {
			first = min(first, e.wakeAt)
		}
	}
	if first > k.Horizon {
		k.now = max(k.now, k.Horizon)
		k.Idle = true
		return
	}
	k.now = max(k.now, first)
	for _, e := range k.engines {
		e.asleep = false
	}
}

// Now is of engine.Engine.
func (k *kernel) Now() int64 { return k.now }

// Advance lets time go by, without a wait: as work does.
func (k *kernel) Advance(d time.Duration) {
	k.now += int64(d)
	k.Horizon = max(k.Horizon, k.now)
}

// Open returns the number of descriptors that are open.
func (k *kernel) Open() int { return k.open }

// SetFaults replaces the faults.
func (k *kernel) SetFaults(f Faults) { k.cfg.Faults = f }

// SetMaxFiles replaces the limit on descriptors.
func (k *kernel) SetMaxFiles(n int) { k.cfg.MaxFiles = n }

// Rand is the engine's source of randomness: a test that draws from it remains a function of the seed.
func (k *kernel) Rand() *rand.Rand { return k.rand }
