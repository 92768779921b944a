package load

import (
	"math"
	"math/rand/v2"
	"time"
)

// A schedule says when the requests of one thread's part of an open loop are due. The times depend on nothing that the server does.
type schedule struct {
	next  int64 // when the next request is due, in nanoseconds since the start
	count int64 // requests before it
	gap   float64
	first float64
	rng   *rand.Rand // nil: constant distances
	exact float64    // the unrounded time of next, of a Poisson process
}

// newSchedule returns that of one thread of several, whose requests alternate.
func newSchedule(rate float64, thread, threads int, arrival Arrival, rng *rand.Rand) *schedule {
	gap := float64(time.Second) / rate * float64(threads)
	s := &schedule{gap: gap, first: gap * float64(thread) / float64(threads)}
	if arrival == Poisson {
		s.rng = rng
		s.exact = s.first + gap*rng.ExpFloat64()
		s.next = int64(s.exact)
		return s
	}
	s.next = int64(s.first)
	return s
}

func (s *schedule) advance() {
	s.count++
	if s.rng != nil {
		s.exact += s.gap * s.rng.ExpFloat64()
		s.next = int64(s.exact)
		return
	}
	// Not a sum of rounded distances: after hours it is still right.
	s.next = int64(math.Round(s.first + float64(s.count)*s.gap))
}
