package buffers

import (
	"fmt"
	"math/bits"
	"os"
	"unsafe"

	"github.com/protoring/protoring/uring"
	"golang.org/x/sys/unix"
)

// GroupConfig are the choices for a Group. The zero value is good for a server's loop.
type GroupConfig struct {
	// Increment is the number of bytes by which the group grows and shrinks. If zero, 1 MiB. It is rounded up to whole buffers.
	Increment int
	// Max is the most bytes that the group grows to. If zero, 64 increments.
	Max int
	// Incremental says that the kernel consumes a buffer piece by piece, for several connections; see uring.Probe.
	Incremental bool
	// BufferSize is the size of a buffer in bytes. If zero, a quarter of the increment up to 256 KiB for incremental buffers, and
	// for plain ones a 128th up to 32 KiB: fewer and larger ones starve a loop that has many connections.
	BufferSize int
	// TrimIdle lets Trim give back the memory of buffers that are in the kernel's hands. That is right only where the kernel
	// writes to them within an enter of the loop's own thread (DEFER_TASKRUN).
	TrimIdle bool
}

func (c GroupConfig) withDefaults() GroupConfig {
	if c.Increment <= 0 {
		c.Increment = 1 << 20
	}
	if c.BufferSize <= 0 {
		switch {
		case Checked: // small and many, so that the quarantine leaves some
			c.BufferSize = max(c.Increment/256, 4<<10)
		case c.Incremental:
			c.BufferSize = min(c.Increment/4, 256<<10)
		default:
			c.BufferSize = min(c.Increment/128, 32<<10)
		}
	}
	const maxBuffers = 1 << 15 // of a provided buffer ring
	page := os.Getpagesize()
	c.BufferSize = max(c.BufferSize, c.Increment/maxBuffers, page)
	c.BufferSize = min(c.BufferSize, 1<<30) / page * page
	c.Increment = (c.Increment + c.BufferSize - 1) / c.BufferSize * c.BufferSize
	if c.Max <= 0 {
		c.Max = 64 * c.Increment
	}
	c.Max = min(max(c.Max, c.Increment), max(maxBuffers*c.BufferSize, c.Increment))
	return c
}

// A Group is the memory that one ring receives into: a ring of provided buffers that starts with one increment of memory, grows
// by whole increments when the kernel found it dry, and gives increments back when they are not needed. It belongs to the
// loop's goroutine.
//
// Take turns a completion into a view. Release says that the view is dead; the buffer goes back to the kernel when all its
// views are, with the next Publish.
type Group struct {
	ring    *uring.BufRing
	cfg     GroupConfig
	perInc  int // buffers in an increment
	incs    []increment
	state   []bufState // by buffer ID
	jail    []uint16   // checked builds: buffers held back, oldest first
	waiting bool       // buffers were added and not published

	inKernel int  // buffers that the kernel may take or is filling
	staying  int  // those of them whose increment does not retire
	minIn    int  // the fewest staying since the last Trim: those above were needed by nobody
	calm     int  // Trims in a row that found an increment to spare
	touched  bool // views were taken since the last Trim
	resident bool // memory may be resident

	Grown, Shrunk uint64 // increments, ever
}

type increment struct {
	mem      []byte
	live     bool // its buffers are in use; false when given back
	retiring bool // its buffers are parked as they come back
	inKernel int  // buffers
	parked   int  // buffers
}

type bufState struct {
	off    int32 // bytes of the buffer that completions have covered
	views  int32 // views taken and not released
	spent  bool  // the kernel will not write to it again
	parked bool
}

// calmTrims is how many Trims in a row must find an increment to spare before it goes: growth and shrinking must not take turns.
const calmTrims = 3

// NewGroup registers group id with the ring and gives it its first increment.
func NewGroup(ring *uring.Ring, id uint16, cfg GroupConfig) (*Group, error) {
	cfg = cfg.withDefaults()
	entries := cfg.Max / cfg.BufferSize
	if bits.OnesCount(uint(entries)) != 1 {
		entries = 1 << bits.Len(uint(entries))
	}
	br, err := ring.RegisterBufRing(id, entries, cfg.Incremental)
	if err != nil {
		return nil, err
	}
	g := &Group{ring: br, cfg: cfg, perInc: cfg.Increment / cfg.BufferSize}
	if !g.Grow() {
		_ = br.Close()
		return nil, fmt.Errorf("buffer group %d: no memory for an increment of %d bytes", id, cfg.Increment)
	}
	g.Publish()
	return g, nil
}

// ID returns the group's ID, which a receive names.
func (g *Group) ID() uint16 { return g.ring.Group() }

// BufferSize returns the size of a buffer in bytes.
func (g *Group) BufferSize() int { return g.cfg.BufferSize }

// Available returns the number of buffers that the kernel may take from.
func (g *Group) Available() int { return g.inKernel }

// Held returns the bytes of all increments in use.
func (g *Group) Held() int {
	n := 0
	for i := range g.incs {
		if g.incs[i].live {
			n += g.cfg.Increment
		}
	}
	return n
}

// Grow adds an increment, and reports whether there was one to be had. The kernel sees it with the next Publish.
func (g *Group) Grow() bool {
	for i := range g.incs { // one that was given back, or is about to be
		inc := &g.incs[i]
		if inc.retiring || !inc.live {
			if !inc.live {
				g.Grown++
			}
			g.staying += inc.inKernel
			inc.retiring, inc.live = false, true
			for id := i * g.perInc; id < (i+1)*g.perInc; id++ {
				if st := &g.state[id]; st.parked {
					st.parked = false
					g.add(uint16(id))
				}
			}
			inc.parked = 0
			return true
		}
	}
	if (len(g.incs)+1)*g.cfg.Increment > g.cfg.Max {
		return false
	}
	mem, err := unix.Mmap(-1, 0, g.cfg.Increment, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return false
	}
	first := len(g.state)
	g.incs = append(g.incs, increment{mem: mem, live: true})
	g.state = append(g.state, make([]bufState, g.perInc)...)
	for id := first; id < len(g.state); id++ {
		g.add(uint16(id))
	}
	g.Grown++
	return true
}

// Take returns the view of a completion that received n bytes into buffer id; more is the completion's BufMore. The view is
// valid until Release.
func (g *Group) Take(id uint16, n int, more bool) []byte {
	st := &g.state[id]
	off := int(st.off)
	view := g.mem(id)[off : off+n : off+n]
	st.off += int32(n)
	st.views++
	if !more {
		st.spent = true
		g.left(id)
	}
	g.touched, g.resident = true, true
	return view
}

// Extend is Take of the completion that follows, where its bytes lie right behind view, which ends in buffer last: then both are
// one view, of both buffers. A message that a cap on shots or a buffer's end has cut is whole again.
func (g *Group) Extend(view []byte, last, id uint16, n int, more bool) (both []byte, ok bool) {
	st, end := &g.state[last], g.end(last, view)
	switch {
	case id == last && end == int(st.off): // no other connection took from the buffer in between
		st.off += int32(n)
	case id == last+1 && end == g.cfg.BufferSize && g.state[id].off == 0 && int(id)%g.perInc != 0:
		st = &g.state[id]
		st.off = int32(n)
		st.views++
	default:
		return view, false
	}
	if !more {
		st.spent = true
		g.left(id)
	}
	return unsafe.Slice(unsafe.SliceData(view), len(view)+n), true
}

// end returns the offset in a buffer at which a view of it, or of buffers before it too, ends.
func (g *Group) end(id uint16, view []byte) int {
	from := uintptr(unsafe.Pointer(unsafe.SliceData(g.mem(id))))
	return int(uintptr(unsafe.Pointer(unsafe.SliceData(view))) + uintptr(len(view)) - from)
}

// left keeps the books when the kernel has used up a buffer.
func (g *Group) left(id uint16) {
	inc := &g.incs[int(id)/g.perInc]
	inc.inKernel--
	g.inKernel--
	if !inc.retiring {
		g.staying--
		g.minIn = min(g.minIn, g.staying)
	}
}

// Spend takes a buffer that the kernel gave up without bytes in it.
func (g *Group) Spend(id uint16, more bool) {
	g.Take(id, 0, more)
	g.release(id)
}

// Release says that a view of the buffers from first to last is dead.
func (g *Group) Release(first, last uint16, view []byte) {
	if Checked {
		Overwrite(view)
	}
	for id := first; ; id++ {
		g.release(id)
		if id == last {
			return
		}
	}
}

func (g *Group) release(id uint16) {
	st := &g.state[id]
	if st.views--; st.views < 0 {
		panic(fmt.Sprintf("buffers: a view of buffer %d is released twice", id))
	}
	if !st.spent || st.views > 0 {
		return
	}
	st.off, st.spent = 0, false
	if Checked {
		g.jail = append(g.jail, id)
		if len(g.jail) <= min(quarantine, g.perInc/2) { // a group of few buffers must have some left
			return
		}
		id, g.jail = g.jail[0], g.jail[1:]
	}
	g.recycle(id)
}

// recycle gives a buffer back to the kernel, or keeps it back if its increment retires.
func (g *Group) recycle(id uint16) {
	if inc := &g.incs[int(id)/g.perInc]; inc.retiring {
		g.park(inc, id)
		return
	}
	g.add(id)
}

func (g *Group) add(id uint16) {
	g.ring.Add(id, g.mem(id))
	g.incs[int(id)/g.perInc].inKernel++
	g.inKernel++
	g.staying++
	g.waiting = true
}

func (g *Group) park(inc *increment, id uint16) {
	g.state[id].parked = true
	if inc.parked++; inc.parked == g.perInc {
		inc.retiring, inc.live = false, false
		_ = unix.Madvise(inc.mem, unix.MADV_DONTNEED) // refused: it stays resident, and is still right
		g.Shrunk++
	}
}

// Publish gives released and added buffers to the kernel, with one store.
func (g *Group) Publish() {
	if g.waiting {
		g.waiting = false
		g.ring.Advance()
	}
}

// Trim looks at what the time since the last Trim has needed. Increments that were not needed retire: their buffers are kept
// back as they come in, and given to the system when all are there. When nothing was received at all, the memory of all
// buffers is given back while the kernel keeps their addresses. It is called with no view in use and no completion waiting.
// It reports whether anything is left to do, so whether it wants to be called again.
func (g *Group) Trim() (again bool) {
	live := 0
	for i := range g.incs {
		if g.incs[i].live && !g.incs[i].retiring {
			live++
		}
	}
	// Half an increment more than one is to spare. What the quarantine holds back would be spare as well.
	if live > 1 && g.minIn+len(g.jail) >= g.perInc+(g.perInc+1)/2 {
		g.calm++
	} else {
		g.calm = 0
	}
	if g.calm >= calmTrims {
		g.calm = 0
		g.retire()
	}
	g.free()
	if !g.touched && g.resident && g.cfg.TrimIdle {
		for i := range g.incs {
			_ = unix.Madvise(g.incs[i].mem, unix.MADV_DONTNEED)
		}
		g.resident = false
	}
	again = live > 1 || (g.resident && g.cfg.TrimIdle)
	g.touched, g.minIn = false, g.staying
	return again
}

// retire marks the last live increment.
func (g *Group) retire() {
	for i := len(g.incs) - 1; i > 0; i-- {
		if inc := &g.incs[i]; inc.live && !inc.retiring {
			inc.retiring = true
			g.staying -= inc.inKernel
			return
		}
	}
}

// free lets those buffers of retiring increments out of the quarantine that would hold their increment back.
func (g *Group) free() {
	kept := g.jail[:0]
	for _, id := range g.jail {
		if g.incs[int(id)/g.perInc].retiring {
			g.recycle(id)
		} else {
			kept = append(kept, id)
		}
	}
	g.jail = kept
}

func (g *Group) mem(id uint16) []byte {
	i := int(id) % g.perInc * g.cfg.BufferSize
	return g.incs[int(id)/g.perInc].mem[i : i+g.cfg.BufferSize : i+g.cfg.BufferSize]
}

// Close takes the group from the kernel and unmaps it. No receive may be in flight on it, and no view in use.
func (g *Group) Close() error {
	err := g.ring.Close()
	for i := range g.incs {
		if uerr := unix.Munmap(g.incs[i].mem); err == nil {
			err = uerr
		}
	}
	return err
}
