package buffers

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func TestClasses(t *testing.T) {
	for size, want := range map[int]int{0: 4, 1: 4, 4096: 4, 4097: 8, 8193: 12, 16384: 16, 16385: 20, 1 << 20: 1024, 1<<20 + 1: 1280, 32 << 20: 32 << 10, 1 << 40: 1 << 30} {
		require.Equal(t, want<<10, classSize(classOf(size)), "for %d bytes", size)
	}
	for class := 1; class < classes; class++ {
		size := classSize(class)
		require.Equal(t, class, classOf(size))
		require.Equal(t, class, classOf(classSize(class-1)+1))
		require.Zero(t, size%minBlockSize)
		if class >= 4 {
			require.LessOrEqual(t, size-classSize(class-1), size/5)
		}
	}
	p := newPool(t)
	for _, size := range []int{1, 4096, 5000, 64 << 10, 300_000, 3 << 20} {
		b := p.get(size, size)
		require.GreaterOrEqual(t, len(b.mem), size)
		require.Equal(t, classSize(classOf(size)), cap(b.mem))
		require.Zero(t, uintptr(unsafe.Pointer(&b.mem[0]))%64, "alignment")
		p.put(b)
	}
}

func TestPoolIsLIFO(t *testing.T) {
	if Checked {
		t.Skip("checked builds hold freed blocks back: see TestJail")
	}
	p := newPool(t)
	a, b, c := p.get(1, 1), p.get(1, 1), p.get(1, 1)
	p.put(a)
	p.put(c)
	p.put(b)
	require.Same(t, b, p.get(1, 1))
	require.Same(t, c, p.get(1, 1))
	require.Same(t, a, p.get(1, 1))
	require.Len(t, p.slabs, 1)
}

func TestJail(t *testing.T) {
	if !Checked {
		t.Skip("not a checked build")
	}
	p := newPool(t)
	var freed []*Block
	for range quarantine {
		b := p.get(1, 1)
		p.charge(b, 4096)
		copy(b.mem, "secret")
		freed = append(freed, b)
	}
	for _, b := range freed {
		p.put(b)
	}
	require.Len(t, p.jail, quarantine)
	require.Zero(t, p.Idle())
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	require.Contains(t, string(maps), "---p", "they are inaccessible")
	for _, b := range p.free[0].blocks {
		require.False(t, slices.Contains(freed, b), "a freed block is not used again at once")
	}
	b := p.get(1, 1)
	p.put(b)
	require.False(t, slices.Contains(p.jail, freed[0]), "until others have taken its place")
	require.Len(t, p.jail, quarantine)
	require.True(t, Poisoned(freed[0].mem), "and overwritten")
}

func TestPoisoned(t *testing.T) {
	b := []byte("abcdefg")
	require.False(t, Poisoned(b))
	require.False(t, Poisoned(nil))
	Overwrite(b)
	require.Equal(t, strings.Repeat("\xcc", 7), string(b))
	require.True(t, Poisoned(b))
	Overwrite(nil)
	b[3] = 0
	require.False(t, Poisoned(b))
}

// Random operations against a model of who has which memory.
func TestPoolAccounting(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 2))
		p := NewPool()
		type taken struct {
			b    *Block
			mark byte
		}
		var held []taken
		dirty := map[*Block]int{} // all blocks that ever had bytes
		used, adopted := 0, 0
		for step := range 600 {
			switch op := r.IntN(10); {
			case op < 5 && len(held) < 100:
				size := 1 + r.IntN(1<<r.IntN(20))
				b := p.get(size, size)
				for _, other := range held {
					require.NotSame(t, other.b, b)
				}
				n := 1 + r.IntN(len(b.mem))
				n = (n + minBlockSize - 1) &^ (minBlockSize - 1)
				p.charge(b, n)
				b.n = n
				for i := 0; i < n; i += 512 {
					b.mem[i] = byte(step)
				}
				used += n
				dirty[b] = max(dirty[b], n)
				held = append(held, taken{b, byte(step)})
			case op == 5:
				b := p.adopt(make([]byte, 1+r.IntN(1000)))
				used += cap(b.mem)
				adopted += cap(b.mem)
				held = append(held, taken{b: b})
			case op < 9 && len(held) > 0:
				i := r.IntN(len(held))
				h := held[i]
				used -= h.b.charged
				if h.b.heap {
					adopted -= h.b.charged
				} else {
					for i := 0; i < h.b.n; i += 512 {
						require.Equal(t, h.mark, h.b.mem[i], "somebody else's bytes")
					}
				}
				p.put(h.b)
				held = append(held[:i], held[i+1:]...)
			case op == 9:
				before := map[*Block]bool{}
				for class := range p.free {
					for _, b := range p.free[class].blocks {
						before[b] = true
					}
				}
				released := 0
				if r.IntN(5) == 0 {
					released = p.TrimAll()
					require.Zero(t, p.Idle())
				} else {
					released = p.Trim()
				}
				sum := 0
				for b := range before {
					require.LessOrEqual(t, b.dirty, dirty[b])
					sum += dirty[b] - b.dirty
					dirty[b] = b.dirty
				}
				require.Equal(t, sum, released)
			}
			idle, all := 0, adopted
			for class := range p.free {
				for _, b := range p.free[class].blocks {
					idle += dirty[b]
				}
			}
			for _, n := range dirty {
				all += n
			}
			require.Equal(t, used, p.Used())
			require.Equal(t, idle, p.Idle())
			require.Equal(t, all, p.Resident())
			require.LessOrEqual(t, p.Used(), p.Resident())
		}
		for _, h := range held {
			p.put(h.b)
		}
		require.Zero(t, p.Used())
		p.Close()
	}
}

// Trim gives back what nobody needed since the last one, and the coldest first.
func TestTrim(t *testing.T) {
	if Checked {
		t.Skip("checked builds hold freed blocks back")
	}
	p := newPool(t)
	const size = 64 << 10
	take := func(n int) (bs []*Block) {
		for range n {
			b := p.get(size, size)
			p.charge(b, size)
			clear(b.mem[:1])
			for i := 0; i < size; i += 4096 {
				b.mem[i] = 1
			}
			bs = append(bs, b)
		}
		return bs
	}
	put := func(bs []*Block) {
		for _, b := range bs {
			p.put(b)
		}
	}
	ten := take(10)
	put(ten)
	require.Equal(t, 10*size, p.Idle())
	require.Zero(t, p.Trim(), "all were needed in this time")
	four := take(4)
	put(four)
	require.Equal(t, 6*size, p.Trim())
	require.Equal(t, 4*size, p.Idle())
	for _, b := range ten {
		want := 0
		for _, hot := range four {
			if hot == b {
				want = size
			}
		}
		require.Equal(t, want, resident(t, b.mem))
	}
	five := take(5)
	require.Zero(t, p.Trim())
	put(five[:1])
	require.Zero(t, p.Trim())
	require.Equal(t, size, p.Trim(), "nobody needed the one that came back")
	put(five[1:])
	require.Zero(t, p.Trim())
	require.Equal(t, 4*size, p.Trim())
	require.Zero(t, p.Idle())
	require.Zero(t, p.Trim())
	require.EqualValues(t, 11*size, p.ReleasedBy)

	big := p.get(32<<20, 32<<20)
	p.charge(big, 10<<20)
	for i := 0; i < 10<<20; i += 4096 {
		big.mem[i] = 1
	}
	p.put(big)
	require.Equal(t, 10<<20, p.Idle(), "what was touched, not what there is")
	require.Zero(t, p.Trim())
	require.Equal(t, 4<<20, p.Trim(), "a bounded part at a time")
	require.Equal(t, 6<<20, resident(t, big.mem))
	require.Same(t, big, p.get(32<<20, 32<<20))
	require.Equal(t, 6<<20, p.Resident())
	p.charge(big, 4096)
	require.Equal(t, 6<<20, p.Resident())
	p.put(big)
	p.Trim()
	for p.Trim() > 0 {
	}
	require.Zero(t, p.Idle())
	require.Zero(t, resident(t, big.mem))

	big = p.get(32<<20, 32<<20)
	p.charge(big, 10<<20)
	p.put(big)
	put(take(3))
	require.Equal(t, 10<<20+3*size, p.TrimAll())
	require.Zero(t, p.Idle())
	require.Zero(t, p.Resident())
	require.Zero(t, p.TrimAll())
	put(take(3))
	require.Equal(t, 3*size, p.Idle())
}

// A peer's announcement that the system has no address space for is not the process's end.
func TestNoAddressSpace(t *testing.T) {
	p := newPool(t)
	b := p.get(10, 1<<40<<6) // 64 TiB: half of what a process can have
	if len(b.mem) == 4096 {
		return
	}
	p.get(10, 1<<40<<6)
	require.Len(t, p.get(10, 1<<40<<6).mem, 4096)
}

func TestPoolDoesNotAllocate(t *testing.T) {
	if Checked {
		t.Skip("checked builds hold freed blocks back, in a list that grows")
	}
	p := newPool(t)
	var c Carry
	var o Output
	msg := make([]byte, 3000)
	segs := make([][]byte, 0, 16)
	cycle := func() {
		c.Append(p, msg, 0, 1<<20)
		c.Append(p, msg, 0, 1<<20)
		c.Consume(p, 6000)
		for range 5 {
			o.Commit(p, append(o.Grab(p, 0), msg...))
		}
		segs = o.AppendSegments(segs[:0], 16, 1<<30)
		o.Sent(p, o.Len())
		p.Trim()
	}
	cycle()
	cycle()
	require.Zero(t, testing.AllocsPerRun(100, cycle))
}
