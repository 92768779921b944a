package enginetest

import (
	"math/rand/v2"
	"os"
	"strconv"
)

// Seed returns the seed of PROTORING_SEED, or def.
func Seed(def uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv("PROTORING_SEED"), 0, 64); err == nil {
		return n
	}
	return def
}

// TB is what an Engine needs of a test.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Faults are the probabilities of misbehaviour. The zero value behaves.
type Faults struct {
	Short    float64 // a send takes less than there is room for
	Delay    float64 // an operation that could complete does not, this time
	NoMore   float64 // a receive or an accept ends though nothing is wrong
	NoBufs   float64 // a receive finds no memory though there is some
	Retry    float64 // an operation ends with EINTR or EAGAIN
	Late     float64 // a cancelled operation completes as it would have
	Spurious float64 // a wait returns for nothing
	Abort    float64 // an accept reports ECONNABORTED or EPROTO
	Split    float64 // a receive takes a part of what is there
	World    float64 // something happens elsewhere in the middle of a turn
}

// RandomFaults draws probabilities.
func RandomFaults(r *rand.Rand) (f Faults) {
	for _, p := range []*float64{&f.Short, &f.Delay, &f.NoMore, &f.NoBufs, &f.Retry, &f.Late, &f.Spurious, &f.Abort, &f.Split, &f.World} {
		switch r.IntN(4) {
		case 0: // never
		case 1:
			*p = 0.02
		case 2:
			*p = 0.2
		case 3:
			*p = 0.5
		}
	}
	return f
}

// Config are the choices for an Engine.
type Config struct {
	Seed       uint64
	Faults     Faults
	Buffers    int // receives for which there is memory; if zero, 64
	BufferSize int // bytes; if zero, 4 KiB
	MaxFiles   int // descriptors beyond which accepting fails with EMFILE; if zero, none
	Queue      int // completions that the queue holds; what comes beyond is late, and counted as an overflow. If zero, any number
}
