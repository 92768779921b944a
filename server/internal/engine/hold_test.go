package engine

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHolder(t *testing.T) {
	may, asked := true, 0
	h := holder{may: func() bool { asked++; return may }}
	for range 100 {
		require.True(t, h.wanted())
		h.learn(true)
	}
	require.Equal(t, 1, asked)

	h.learn(false)
	for range holdApart {
		require.False(t, h.wanted(), "after a sleep that has found nothing")
	}
	require.True(t, h.wanted())

	may = false
	for range holdAsk {
		h.wanted()
	}
	require.False(t, h.wanted(), "others have no P any more")
	require.False(t, new(holder).wanted())
}

// A collection does not wait for a loop that sleeps with its P: the scheduler's signal ends the sleep.
func TestCollectionEndsHeldSleep(t *testing.T) {
	for _, e := range engines[4:] {
		t.Run(e.name, func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
			d := newDesk(t, e.open, e.opts)
			done := make(chan time.Duration)
			go func() {
				start := time.Now()
				for range 20 {
					runtime.GC()
				}
				done <- time.Since(start)
			}()
			for {
				require.NoError(d, d.e.Wait(patience)) // of which each is holdLimit at most
				select {
				case took := <-done:
					t.Logf("20 collections took %v, %+v", took, d.e.Counters())
					return
				default:
				}
				require.Positive(d, d.e.Counters().Held)
			}
		})
	}
}
