package engine

import (
	"math/bits"
	"time"

	"golang.org/x/sys/unix"
)

// A spinner decides whether a loop that has nothing to do looks for work for a short while before it sleeps. With one or two
// connections the wake of a halted CPU is most of a round trip: looking for 50 µs gives a multiple of the rate at less CPU per
// operation. With more of them, a sleep ends so soon, and with so much to do, that spinning costs more than it gains (figures in
// docs/figures.md). So it is on while one or two connections are active and nearly every spin finds work, and off otherwise:
// then a few spins are tried now and then, rarer with each failure.
type spinner struct {
	limit time.Duration // zero: never

	seen  uint64 // slots that received something, a bit for each modulo 64
	waits int    // since seen was cleared
	crowd bool   // more than spinConns of them were active

	on     bool
	recent uint16 // the last spins, a bit each: 1 found work
	trial  int    // spins left of a trial
	until  int    // sleeps until the next trial
	pause  int    // sleeps between trials, doubled by each failure
	spins  uint64
	nivcsw int64                 // involuntary context switches of this thread, when last looked at
	pushed func() (int64, error) // these, in tests
}

const (
	spinConns    = 2    // active connections up to which it spins
	spinSample   = 32   // waits in which they are counted
	spinWindow   = 16   // spins that are remembered
	spinKeep     = 12   // of them must have found work to go on
	spinTrial    = 4    // spins of a trial, all but one of which must find work
	spinFirst    = 16   // sleeps before the first trial
	spinRarest   = 1024 // sleeps between trials at most
	spinCrowd    = 1024 // spins between looks at who else wants the CPU: some ten time slices
	spinCrowded  = 3    // times that this thread was pushed off its CPU within them, which end the spinning
	pollsPerLook = 32   // polls between looks at the clock
)

// look calls poll until it reports work, or the limit is over. It returns whether there is work.
func (s *spinner) look(now func() int64, poll func() bool) bool {
	s.spins++
	start := now()
	found := false
	for i := 1; !found; i++ {
		if found = poll(); !found && i%pollsPerLook == 0 && now()-start >= int64(s.limit) {
			break
		}
	}
	s.learn(found)
	return found
}

// active notes that a connection has received something.
func (s *spinner) active(slot uint32) { s.seen |= 1 << (slot & 63) }

// wanted says whether to spin before the sleep that is due.
func (s *spinner) wanted() bool {
	if s.limit <= 0 {
		return false
	}
	if s.waits++; s.waits >= spinSample {
		s.crowd = bits.OnesCount64(s.seen) > spinConns
		s.waits, s.seen = 0, 0
	}
	if s.crowd {
		s.on, s.trial = false, 0
		return false
	}
	if s.on || s.trial > 0 {
		return true
	}
	if s.pause == 0 {
		s.pause = spinFirst
		s.until = s.pause
	}
	if s.until--; s.until > 0 {
		return false
	}
	s.trial, s.recent = spinTrial, 0
	s.crowded(0) // from here on: what pushed this thread away before is no word on the spins to come
	return true
}

func (s *spinner) learn(found bool) {
	s.recent <<= 1
	if found {
		s.recent |= 1
	}
	switch {
	case s.trial > 0:
		if s.trial--; s.trial > 0 {
			return
		}
		if bits.OnesCount16(s.recent&(1<<spinTrial-1)) >= spinTrial-1 && !s.crowded(1) {
			s.on, s.pause, s.recent = true, spinFirst, 1<<spinWindow-1
			return
		}
		s.rest()
	case bits.OnesCount16(s.recent) < spinKeep, s.spins%spinCrowd == 0 && s.crowded(spinCrowded):
		s.on = false
		s.rest()
	}
}

func (s *spinner) rest() {
	s.pause = min(2*s.pause, spinRarest)
	s.until = s.pause
}

// crowded says whether this thread was pushed off its CPU so many times since it was last asked: then others have need of it.
func (s *spinner) crowded(times int64) bool {
	count := involuntarySwitches
	if s.pushed != nil {
		count = s.pushed
	}
	now, err := count()
	before := s.nivcsw
	s.nivcsw = now
	return err != nil || now-before >= times
}

func involuntarySwitches() (int64, error) {
	var ru unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_THREAD, &ru)
	return ru.Nivcsw, err
}
