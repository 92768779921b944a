package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A spinDesk is a spinner with a clock of its own: work comes after a gap.
type spinDesk struct {
	spinner
	now      int64
	switches int64 // times that the thread was pushed off its CPU
}

func newSpinDesk(limit time.Duration) *spinDesk {
	d := &spinDesk{spinner: spinner{limit: limit}}
	d.pushed = func() (int64, error) { return d.switches, nil }
	return d
}

// wait is one wait of a loop for work that comes after gap. It returns whether the spinner looked for it.
func (d *spinDesk) wait(gap time.Duration) (spun bool) {
	start := d.now
	was := d.spins
	if d.wanted() {
		d.look(func() int64 { return d.now }, func() bool {
			d.now += int64(time.Microsecond)
			return d.now-start >= int64(gap)
		})
	}
	return d.spins > was
}

func TestSpinner(t *testing.T) {
	const limit = 50 * time.Microsecond

	t.Run("on while gaps are short", func(t *testing.T) {
		d := newSpinDesk(limit)
		first := 0
		for !d.wait(10 * time.Microsecond) {
			first++
		}
		require.Equal(t, spinFirst-1, first)
		for range spinTrial - 1 {
			require.True(t, d.wait(10*time.Microsecond))
		}
		require.True(t, d.on)
		for range 50 {
			require.True(t, d.wait(10*time.Microsecond))
		}
		// One long gap now and then does not matter; nearly all do.
		for range 50 {
			d.wait(time.Second)
			for range 9 {
				require.True(t, d.wait(10*time.Microsecond))
			}
		}
		n := 0
		for ; d.on; n++ {
			d.wait(time.Second)
		}
		require.LessOrEqual(t, n, spinWindow-spinKeep+1)
	})

	t.Run("off while gaps are long, and rarer each time", func(t *testing.T) {
		d := newSpinDesk(limit)
		spins := 0
		for range 100_000 {
			before := d.now
			if d.wait(time.Second) {
				spins++
				require.LessOrEqual(t, d.now-before, int64(limit+pollsPerLook*time.Microsecond), "bounded")
			}
		}
		require.False(t, d.on)
		require.Equal(t, spinRarest, d.pause)
		require.LessOrEqual(t, spins, spinTrial*(100_000/spinRarest+10))
		require.GreaterOrEqual(t, spins, spinTrial*(100_000/spinRarest-10), "it is tried again")
		n := 0
		for ; !d.on; n++ {
			d.wait(time.Microsecond)
		}
		require.LessOrEqual(t, n, spinRarest+spinTrial, "and comes back")
	})

	t.Run("never without a limit", func(t *testing.T) {
		d := &spinDesk{}
		for range 10_000 {
			require.False(t, d.wait(time.Microsecond))
		}
	})

	t.Run("off while many connections are active", func(t *testing.T) {
		d := newSpinDesk(limit)
		for !d.on {
			d.wait(time.Microsecond)
		}
		for n := 0; d.on; n++ {
			for slot := range uint32(spinConns + 1) {
				d.active(slot)
			}
			d.wait(time.Microsecond)
			require.Less(t, n, 2*spinSample)
		}
		for range 1000 {
			for slot := range uint32(spinConns + 1) {
				d.active(slot)
			}
			require.False(t, d.wait(time.Microsecond))
		}
		for n := 0; !d.on; n++ {
			d.active(1)
			d.wait(time.Microsecond)
			require.Less(t, n, 5*spinSample)
		}
	})

	t.Run("off while others want the CPU", func(t *testing.T) {
		d := newSpinDesk(limit)
		for !d.on {
			d.wait(time.Microsecond)
		}
		spins := 0
		for range 100_000 { // all find work, but the thread is pushed away all the time
			d.switches++
			if d.wait(time.Microsecond) {
				spins++
			}
		}
		require.Less(t, spins, 2*spinCrowd+100_000/spinFirst)
		for n := 0; !d.on; n++ {
			d.wait(time.Microsecond)
			require.LessOrEqual(t, n, spinRarest+spinTrial, "and comes back")
		}
		for range 20 { // now and then is nothing
			d.switches++
			for range spinCrowd {
				require.True(t, d.wait(time.Microsecond))
			}
		}
	})
}
