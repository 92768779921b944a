package buffers

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCarry(t *testing.T) {
	p := newPool(t)
	var c Carry
	require.Zero(t, c.Len())
	require.Nil(t, c.Bytes())
	require.Zero(t, c.Held())
	c.Consume(p, 0)
	c.Drop(p)
	c.Append(p, nil, 1000, 1000)
	require.Zero(t, c.Held(), "nothing is held for nothing")

	c.Append(p, []byte("hello"), 0, 1<<20)
	c.Append(p, []byte(" world"), 0, 1<<20)
	require.Equal(t, "hello world", string(c.Bytes()))
	require.Equal(t, 4096, c.Held())
	kept := c.Bytes()[:6]
	c.Consume(p, 6)
	require.Equal(t, "world", string(c.Bytes()))
	require.Equal(t, Checked, Poisoned(kept))
	c.Consume(p, 5)
	require.Zero(t, c.Held())
	require.Zero(t, p.Used())
	require.EqualValues(t, 11, p.Carried)
}

// Sizes double up to half a MiB; from then on there is room for the limit, and nothing moves again. What moves is less than what comes.
func TestCarryGrows(t *testing.T) {
	p := newPool(t)
	var c Carry
	const limit = 32 << 20
	var sizes []int
	moved, at := 0, (*byte)(nil)
	chunk := text(0, 3000)
	for n := 0; n < limit; n += len(chunk) {
		before := c.Len()
		c.Append(p, chunk, 0, limit)
		if now := &c.Bytes()[0]; now != at {
			at = now
			moved += before
			sizes = append(sizes, len(c.block.mem))
		}
		require.LessOrEqual(t, c.Held(), c.Len()+4096, "charged is what was reached")
	}
	require.Equal(t, []int{4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 32 << 20}, sizes[:9])
	require.LessOrEqual(t, len(sizes), 10, "beyond the limit by the last chunk")
	require.Less(t, moved-c.Len(), 3<<20)
	require.Equal(t, c.Held(), p.Used())
	c.Drop(p)
	require.Zero(t, p.Used())
}

// An announced size is address space: it is resident when its bytes have come.
func TestCarryAnnouncement(t *testing.T) {
	p := newPool(t)
	var c Carry
	const need = 32 << 20
	chunk := text(0, 64<<10)
	c.Append(p, chunk[:100], need, need)
	require.GreaterOrEqual(t, len(c.block.mem), need)
	require.LessOrEqual(t, resident(t, c.block.mem), 4096)
	require.Equal(t, 4096, c.Held())
	at := &c.Bytes()[0]
	for c.Len() < 1<<20 {
		c.Append(p, chunk, need, need)
	}
	pages := (c.Len() + 4095) &^ 4095
	require.Equal(t, pages, c.Held())
	require.Equal(t, pages, resident(t, c.block.mem))
	for c.Len() < need {
		c.Append(p, chunk[:min(len(chunk), need-c.Len())], need, need)
	}
	require.Same(t, at, &c.Bytes()[0], "it does not move, up to the last byte")
	c.Consume(p, need)

	c.Append(p, chunk[:10], 100<<10, need)
	require.Len(t, c.block.mem, 112<<10, "a size that is known is not grown to")
	c.Drop(p)
}

// What was consumed makes room before a larger block is taken, when that is cheaper than what it moves.
func TestCarryCompacts(t *testing.T) {
	p := newPool(t)
	var c Carry
	c.Append(p, text(0, 4096), 0, 1<<20)
	c.Consume(p, 3000)
	block := c.block
	c.Append(p, text(4096, 2000), 0, 1<<20)
	require.Same(t, block, c.block)
	require.Equal(t, text(3000, 3096), c.Bytes())
	require.Equal(t, 4096, c.Held())
	c.Append(p, text(6096, 1000), 0, 1<<20)
	require.Same(t, block, c.block)
	c.Consume(p, 100)
	c.Append(p, text(7096, 100), 5000, 1<<20)
	require.NotSame(t, block, c.block)
	require.Equal(t, text(3100, 4096), c.Bytes())
	c.Drop(p)
}

// A window that slides over the bytes moves no more than comes.
func TestCarrySlides(t *testing.T) {
	for _, live := range []int{100, 2000, 4000, 60_000, 600_000, 900_000} {
		p := newPool(t)
		var c Carry
		c.Append(p, text(0, live), 0, 1<<20)
		appended, moved := live, 0
		for range 20_000 {
			c.Consume(p, 50)
			off := c.block.off
			c.Append(p, text(0, 50), 0, 1<<20)
			appended += 50
			if c.block.off != off {
				moved += live - 50
			}
		}
		require.LessOrEqual(t, moved, 2*appended, "of a window of %d bytes", live)
		c.Drop(p)
	}
}

func TestCarryNeedsAreNotLimits(t *testing.T) {
	p := newPool(t)
	var c Carry
	c.Append(p, make([]byte, 500<<10), 0, 32<<20)
	require.Len(t, c.block.mem, 512<<10)
	c.Append(p, make([]byte, 500<<10), 2<<20, 32<<20)
	require.Len(t, c.block.mem, 2<<20)
	c.Drop(p)
}

// Random use against a plain slice. What moves is in proportion to what comes.
func TestCarryModel(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 3))
		p := NewPool()
		var c Carry
		var model []byte
		at, appended, moved := 0, 0, 0
		const limit = 4 << 20
		for range 300 {
			if n := 1 + r.IntN(1<<r.IntN(17)); r.IntN(3) < 2 && len(model)+n <= limit {
				b := text(at, n)
				var before *byte
				if len(model) > 0 {
					before = &c.Bytes()[0]
				}
				need := 0
				if r.IntN(3) == 0 {
					need = r.IntN(limit)
				}
				c.Append(p, b, need, limit)
				if len(model) > 0 && &c.Bytes()[0] != before {
					moved += len(model)
				}
				model = append(model, b...)
				at += n
				appended += n
			} else if len(model) > 0 {
				n := r.IntN(len(model) + 1)
				if r.IntN(2) == 0 {
					n = min(n, 1000)
				}
				c.Consume(p, n)
				model = model[n:]
			}
			require.Equal(t, len(model), c.Len())
			require.True(t, bytes.Equal(model, c.Bytes()))
			require.Equal(t, p.Used(), c.Held())
			require.GreaterOrEqual(t, c.Held(), c.Len())
		}
		require.LessOrEqual(t, moved, 4*appended+4<<20)
		require.EqualValues(t, appended, p.Carried)
		c.Drop(p)
		require.Zero(t, p.Used())
		p.Close()
	}
}
