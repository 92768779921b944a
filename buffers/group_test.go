package buffers

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/protoring/protoring/uring"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// onRing runs body with a ring, on a thread of its own, which ends with it.
func onRing(t *testing.T, body func(ring *uring.Ring)) {
	t.Helper()
	var refused error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		var ring *uring.Ring
		if ring, refused = uring.New(uring.Options{}); refused == nil {
			defer ring.Close()
			body(ring)
		}
	}()
	<-done
	if refused != nil {
		t.Skip(refused)
	}
	if t.Failed() {
		t.FailNow()
	}
}

// eachKind runs body with a group of plain and of incremental buffers: four of 16 KiB in an increment.
func eachKind(t *testing.T, body func(t *testing.T, ring *uring.Ring, g *Group)) {
	for _, incremental := range []bool{false, true} {
		t.Run(fmt.Sprintf("incremental=%v", incremental), func(t *testing.T) {
			if err := uring.Probe().IncrementalBuffers; incremental && err != nil {
				t.Skip(err)
			}
			onRing(t, func(ring *uring.Ring) {
				g, err := NewGroup(ring, 1, GroupConfig{
					Increment: 64 << 10, Max: 256 << 10, BufferSize: 16 << 10, Incremental: incremental, TrimIdle: ring.Setup.Deferred(),
				})
				require.NoError(t, err)
				defer func() { require.NoError(t, g.Close()) }()
				body(t, ring, g)
			})
		})
	}
}

// check says whether each buffer is in exactly one place.
func (g *Group) check(t testing.TB) {
	t.Helper()
	inKernel, staying := 0, 0
	jailed := map[uint16]bool{}
	for _, id := range g.jail {
		require.False(t, jailed[id], "buffer %d is in the quarantine twice", id)
		jailed[id] = true
	}
	for i := range g.incs {
		inc := &g.incs[i]
		parked, taken, jail := 0, 0, 0
		for id := i * g.perInc; id < (i+1)*g.perInc; id++ {
			st := &g.state[id]
			switch {
			case st.parked:
				parked++
				require.Zero(t, st.views)
				require.False(t, jailed[uint16(id)])
			case jailed[uint16(id)]:
				jail++
				require.Zero(t, st.views)
			case st.spent:
				taken++
				require.Positive(t, st.views, "buffer %d is nowhere", id)
			}
			require.LessOrEqual(t, int(st.off), g.cfg.BufferSize)
		}
		require.Equal(t, parked, inc.parked)
		require.Equal(t, g.perInc-parked-taken-jail, inc.inKernel)
		require.Equal(t, parked == g.perInc, !inc.live)
		inKernel += inc.inKernel
		if !inc.retiring {
			staying += inc.inKernel
		}
	}
	require.Equal(t, inKernel, g.inKernel)
	require.Equal(t, staying, g.staying)
	require.LessOrEqual(t, g.minIn, g.staying)
}

// A line is a socket with a multishot receive, whose completions are taken one at a time.
type line struct {
	t          testing.TB
	ring       *uring.Ring
	g          *Group
	ours, peer int
	queue      []uring.CQE
	armed      bool
}

func newLine(t testing.TB, ring *uring.Ring, g *Group) *line {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	return &line{t: t, ring: ring, g: g, ours: fds[0], peer: fds[1]}
}

func (l *line) write(b []byte) {
	n, err := unix.Write(l.peer, b)
	require.NoError(l.t, err)
	require.Equal(l.t, len(b), n)
}

// next returns the next completion.
func (l *line) next() uring.CQE {
	for deadline := time.Now().Add(5 * time.Second); len(l.queue) == 0; {
		if !l.armed {
			l.armed = true
			l.g.Publish()
			sqe := l.ring.SQE()
			sqe.PrepareRecvMultishot(l.ours, l.g.ID(), 0, 0)
			sqe.UserData = 1
		}
		require.True(l.t, time.Now().Before(deadline), "the completion does not come")
		require.NoError(l.t, l.ring.SubmitAndWait(1, time.Second))
		l.take()
	}
	c := l.queue[0]
	l.queue = l.queue[1:]
	if !c.More() {
		l.armed = false
	}
	return c
}

func (l *line) take() {
	first, second := l.ring.CQEs()
	l.queue = append(append(l.queue, first...), second...)
	l.ring.Seen(len(first) + len(second))
}

// view is the next completion's bytes, and its buffer. It grows the group when there is none.
func (l *line) view() (uint16, []byte) {
	for {
		c := l.next()
		id, ok := c.BufferID()
		switch {
		case unix.Errno(-c.Res) == unix.ENOBUFS:
			if l.g.Available() == 0 {
				require.True(l.t, l.g.Grow(), "the group is at its limit")
			}
		case c.Res > 0:
			require.True(l.t, ok)
			return id, l.g.Take(id, int(c.Res), c.Flags&uring.CQEBufMore != 0)
		default:
			require.FailNow(l.t, "an unexpected completion", "%+v", c)
		}
	}
}

// close ends the line; the receive ends with the peer.
func (l *line) close() {
	unix.Close(l.peer)
	for {
		c := l.next()
		if id, ok := c.BufferID(); ok {
			l.g.Spend(id, c.Flags&uring.CQEBufMore != 0)
		}
		if c.Res == 0 {
			break
		}
	}
	unix.Close(l.ours)
}

func TestGroupConfig(t *testing.T) {
	page := os.Getpagesize()
	c := GroupConfig{}.withDefaults()
	require.Equal(t, 1<<20, c.Increment)
	require.Equal(t, 64<<20, c.Max)
	if !Checked {
		require.Equal(t, 8<<10, c.BufferSize, "a 128th")
		require.Equal(t, 256<<10, GroupConfig{Incremental: true}.withDefaults().BufferSize)
		require.Equal(t, 32<<10, GroupConfig{Increment: 16 << 20}.withDefaults().BufferSize)
	}
	for _, c := range []GroupConfig{
		{Increment: 1}, {Increment: 5000, BufferSize: 4097}, {Max: 1}, {Increment: 3 << 20, BufferSize: 1 << 20, Max: 7 << 20},
		{BufferSize: 1 << 40, Increment: 1 << 40}, {Increment: 1 << 30, BufferSize: 1}, {Max: 1 << 50},
	} {
		d := c.withDefaults()
		require.Zero(t, d.BufferSize%page, "%+v", c)
		require.Positive(t, d.BufferSize)
		require.LessOrEqual(t, d.BufferSize, 1<<30, "what a buffer has covered is counted in 32 bits")
		require.Zero(t, d.Increment%d.BufferSize)
		require.GreaterOrEqual(t, d.Max, d.Increment)
		require.LessOrEqual(t, d.Max/d.BufferSize, 1<<15)
	}
}

func TestGroupReceives(t *testing.T) {
	eachKind(t, func(t *testing.T, ring *uring.Ring, g *Group) {
		require.Equal(t, 4, g.Available())
		require.Equal(t, 64<<10, g.Held())
		require.Equal(t, 16<<10, g.BufferSize())
		l := newLine(t, ring, g)
		defer l.close()
		at := 0
		for i := range 60 {
			n := 1 + i*100
			l.write(text(at, n))
			for n > 0 {
				id, view := l.view()
				g.check(t)
				require.Equal(t, len(view), cap(view))
				require.Equal(t, text(at, len(view)), view)
				at += len(view)
				n -= len(view)
				g.Release(id, id, view)
				require.Equal(t, Checked, Poisoned(view))
				g.Publish()
				g.check(t)
			}
		}
		require.Zero(t, g.Grown-1, "one increment was enough")
		require.Panics(t, func() { g.Release(0, 0, nil) }, "twice")
		g.state[0].views = 0
	})
}

// A buffer is not the kernel's again while one of its views is in use.
func TestGroupKeepsViews(t *testing.T) {
	eachKind(t, func(t *testing.T, ring *uring.Ring, g *Group) {
		l := newLine(t, ring, g)
		defer l.close()
		type kept struct {
			id   uint16
			at   int
			view []byte
		}
		var views []kept
		at := 0
		for g.Held() < 256<<10 || g.Available() > 2 {
			l.write(text(at, 3000))
			for n := 3000; n > 0; {
				id, view := l.view()
				views = append(views, kept{id, at, view})
				at += len(view)
				n -= len(view)
			}
			g.check(t)
		}
		require.EqualValues(t, 4, g.Grown)
		require.False(t, g.Grow(), "it is at its limit")
		for _, k := range views {
			require.True(t, bytes.Equal(text(k.at, len(k.view)), k.view), "the view of bytes %d ff. has changed", k.at)
		}
		rand.Shuffle(len(views), func(i, j int) { views[i], views[j] = views[j], views[i] })
		for i, k := range views {
			require.True(t, bytes.Equal(text(k.at, len(k.view)), k.view))
			g.Release(k.id, k.id, k.view)
			if i%10 == 0 {
				g.check(t)
			}
		}
		g.check(t)
		require.Equal(t, 16, g.Available()+len(g.jail))
	})
}

// What was grown to is given back when it is not needed, and the pages of all when nothing comes.
func TestGroupShrinks(t *testing.T) {
	eachKind(t, func(t *testing.T, ring *uring.Ring, g *Group) {
		l := newLine(t, ring, g)
		defer l.close()
		for g.Grow() {
		}
		traffic := func(rounds int) {
			for range rounds {
				l.write(text(0, 10_000))
				for n := 10_000; n > 0; {
					id, view := l.view()
					n -= len(view)
					g.Release(id, id, view)
				}
				g.Publish()
			}
			g.check(t)
		}
		traffic(40)
		for i := 0; g.Held() > 64<<10; i++ {
			require.Less(t, i, 60, "it does not shrink: %d bytes", g.Held())
			require.True(t, g.Trim())
			g.check(t)
			traffic(20)
		}
		require.EqualValues(t, 3, g.Shrunk)
		for i := 1; i < 4; i++ {
			require.Zero(t, resident(t, g.incs[i].mem))
		}
		require.Positive(t, resident(t, g.incs[0].mem))
		if g.cfg.TrimIdle {
			require.True(t, g.Trim(), "there was traffic")
			require.False(t, g.Trim())
			require.Zero(t, resident(t, g.incs[0].mem))
		}
		require.False(t, g.Trim())
		traffic(20) // the kernel still has the addresses
		require.True(t, g.Grow())
		require.EqualValues(t, 5, g.Grown)
		require.Equal(t, 128<<10, g.Held())
		g.Publish()
		traffic(20)
	})
}

// An increment that retires comes back when it is needed, and Trim has an end when nothing comes at all.
func TestGroupRetiresAndReturns(t *testing.T) {
	eachKind(t, func(t *testing.T, ring *uring.Ring, g *Group) {
		for g.Grow() {
		}
		g.Publish()
		l := newLine(t, ring, g)
		defer l.close()
		for range 16 { // all buffers have been in use, or what a few of them have
			l.write([]byte("x"))
			id, view := l.view()
			g.Release(id, id, view)
		}
		calls := 0
		for g.Trim() {
			calls++
			g.check(t)
			require.Less(t, calls, 30)
		}
		require.False(t, g.incs[0].retiring)
		for i := 1; i < 4; i++ {
			require.True(t, g.incs[i].retiring || !g.incs[i].live, "all but the first retire, though the kernel has their buffers")
		}
		for _, id := range g.jail {
			require.Less(t, int(id), 4, "the quarantine does not hold back what retires")
		}
		require.Equal(t, 4-len(g.jail), g.staying)
		grown := g.Grown
		for range 3 {
			require.True(t, g.Grow())
			g.check(t)
		}
		require.Equal(t, grown, g.Grown, "none of them had gone")
		require.False(t, g.Grow())
		require.Equal(t, 16-len(g.jail), g.staying)
	})
}

func TestGroupRefusals(t *testing.T) {
	onRing(t, func(ring *uring.Ring) {
		g, err := NewGroup(ring, 7, GroupConfig{})
		require.NoError(t, err)
		_, err = NewGroup(ring, 7, GroupConfig{})
		require.ErrorIs(t, err, unix.EEXIST)
		require.NoError(t, g.Close())
		const space = 1 << 45 // a quarter of what a process has
		for range 4 {
			if mem, err := unix.Mmap(-1, 0, space, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE); err == nil {
				defer unix.Munmap(mem)
			}
		}
		_, err = NewGroup(ring, 7, GroupConfig{Increment: space})
		require.ErrorContains(t, err, "no memory for an increment")
		g, err = NewGroup(ring, 7, GroupConfig{})
		require.NoError(t, err)
		require.NoError(t, g.Close())
	})
}

// Random completions, as the kernel might give them, against a model of the kernel's queue of buffers.
func TestGroupModel(t *testing.T) {
	for _, incremental := range []bool{false, true} {
		extended, across := 0, 0
		onRing(t, func(ring *uring.Ring) {
			for seed := range uint64(8) {
				r := rand.New(rand.NewPCG(seed, 5))
				g, err := NewGroup(ring, 1, GroupConfig{Increment: 32 << 10, Max: 160 << 10, BufferSize: 4 << 10})
				require.NoError(t, err)
				type view struct {
					first, last uint16
					b           []byte
					mark        byte
				}
				var views []view
				var kernel []uint16 // available, oldest first
				known := make([]bool, 1<<10)
				sync := func() { // what was added since
					for i := range g.incs {
						for id := i * g.perInc; id < (i+1)*g.perInc; id++ {
							st := g.state[id]
							in := !st.parked && !st.spent
							for _, j := range g.jail {
								in = in && int(j) != id
							}
							if in && !known[id] {
								known[id] = true
								kernel = append(kernel, uint16(id))
							}
						}
					}
					require.Len(t, kernel, g.Available())
				}
				sync()
				for step := range 1000 {
					switch r.IntN(8) {
					case 0, 1, 2:
						if len(kernel) == 0 {
							g.Grow()
							break
						}
						id := kernel[0]
						n, more := g.cfg.BufferSize, false
						if left := n - int(g.state[id].off); incremental {
							if n = left; r.IntN(3) > 0 {
								n = r.IntN(left + 1)
							}
							more = n < left
						} else if r.IntN(3) > 0 {
							n = r.IntN(n + 1)
						}
						if !more {
							kernel = kernel[1:]
							known[id] = false
						}
						if n == 0 {
							g.Spend(id, more)
							break
						}
						if len(views) > 0 && r.IntN(2) == 0 { // what one connection received in two shots
							v := &views[len(views)-1]
							if both, ok := g.Extend(v.b, v.last, id, n, more); ok {
								require.Len(t, both, len(v.b)+n)
								require.Equal(t, bytes.Repeat([]byte{v.mark}, len(v.b)), both[:len(v.b)])
								for i := range both {
									both[i] = v.mark
								}
								extended++
								if v.last != id {
									across++
								}
								v.b, v.last = both, id
								break
							}
						}
						b := g.Take(id, n, more)
						for i := range b {
							b[i] = byte(step)
						}
						views = append(views, view{id, id, b, byte(step)})
					case 3, 4, 5:
						if len(views) > 0 && r.IntN(100) < 80 {
							i := r.IntN(len(views))
							v := views[i]
							require.Equal(t, bytes.Repeat([]byte{v.mark}, len(v.b)), v.b)
							g.Release(v.first, v.last, v.b)
							views = append(views[:i], views[i+1:]...)
						}
					case 6:
						g.Publish()
					case 7:
						if step/200%2 == 1 {
							for _, v := range views {
								g.Release(v.first, v.last, v.b)
							}
							views = nil
							g.Trim()
						}
					}
					sync()
					g.check(t)
				}
				require.NoError(t, g.Close())
			}
			require.Positive(t, across)
			require.Equal(t, incremental, extended > across, "views of one buffer only where it is consumed piece by piece")
		})
	}
}

func TestGroupDoesNotAllocate(t *testing.T) {
	if Checked {
		t.Skip("checked builds hold buffers back, in a list that grows")
	}
	onRing(t, func(ring *uring.Ring) {
		g, err := NewGroup(ring, 1, GroupConfig{})
		require.NoError(t, err)
		defer g.Close()
		id := uint16(0)
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			g.Release(id, id, g.Take(id, 100, false))
			g.Publish()
			id = (id + 1) % 8
		}))
	})
}
