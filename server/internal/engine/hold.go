package engine

import "time"

// A holder decides whether a loop that is about to sleep keeps its P. Where the scheduler is told of a sleep, Go's monitor thread
// stays awake to take the P away, and takes up to a tenth of the CPU time that a moderate load needs. So a sleep that is likely
// to be short is not told of, for as long as such sleeps have ended with work.
type holder struct {
	may func() bool // whether others have a P meanwhile; nil: never

	yes   bool // what may has said last
	ask   int  // sleeps until it is asked again
	apart int  // sleeps to be told of before the next one that is not
}

const (
	holdLimit = 5 * time.Millisecond // half of what the monitor lets a goroutine run before it stops it
	holdAsk   = 1024                 // sleeps between two questions
	holdApart = 16                   // sleeps that are told of after one that was not, and found nothing
)

// wanted says whether the next sleep keeps the P.
func (h *holder) wanted() bool {
	if h.may == nil {
		return false
	}
	if h.ask--; h.ask < 0 {
		h.ask, h.yes = holdAsk, h.may()
	}
	if h.apart > 0 {
		h.apart--
		return false
	}
	return h.yes
}

// learn notes whether a sleep that has kept the P has found work.
func (h *holder) learn(found bool) {
	if !found {
		h.apart = holdApart
	}
}
