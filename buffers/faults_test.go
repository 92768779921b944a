package buffers

import (
	"runtime"
	"testing"

	"github.com/protoring/protoring/uring"
	"github.com/stretchr/testify/require"
)

// R14, F14: what the kernel writes to is no memory of Go's: the collector neither frees it nor counts it.
func TestMemoryIsNotGos(t *testing.T) {
	allocated := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	eachKind(t, func(t *testing.T, _ *uring.Ring, g *Group) {
		n := allocated(func() {
			for g.Grow() {
			}
		})
		require.Equal(t, 256<<10, g.Held())
		require.Less(t, n, uint64(64<<10))
	})
	p := NewPool()
	defer p.Close()
	var c Carry
	n := allocated(func() { c.Append(p, make([]byte, 1), 8<<20, 8<<20) })
	require.Less(t, n, uint64(1<<20))
	c.Drop(p)
}

// F1: what a carry is past is as dead as a released view.
func TestConsumedIsOverwritten(t *testing.T) {
	if !Checked {
		t.Skip("not a checked build")
	}
	p := NewPool()
	defer p.Close()
	var c Carry
	c.Append(p, []byte("first, second"), 0, 64)
	kept := c.Bytes()[:7]
	c.Consume(p, 7)
	require.True(t, Poisoned(kept))
	require.Equal(t, "second", string(c.Bytes()))
	c.Drop(p)
}
