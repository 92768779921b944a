// Package buffers says which bytes may be touched now, and by whom.
//
// All of it is memory outside the Go heap, which the kernel may write to and the collector neither scans nor counts:
//
//   - a [Group] holds the memory that the kernel receives into. It belongs to a ring, not to a connection, and grows and
//     shrinks by increments;
//   - a [Pool] holds the blocks of one loop, by sizes, last in first out, so that the block in use is the one in the cache;
//   - a [Carry] joins a message that was cut between two receives;
//   - an [Output] is what a connection has yet to send.
//
// Address space that user code may have seen stays mapped until Close: a view that was kept too long reads wrong bytes, which
// checked builds show (see [Checked]), and never a hole. Memory is given back to the system with MADV_DONTNEED.
package buffers

import (
	"bytes"
	"fmt"
	"math"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"
)

const (
	minBlockSize = 4 << 10 // the smallest class, one page on most machines
	slabSize     = 1 << 20 // classes below this are cut from slabs, so that the process has few mappings
	classes      = 4 * 38  // 4 KiB to some PiB: beyond any message
	quarantine   = 64      // freed blocks, and buffers, that a checked build holds back
	poison       = 0xCC
)

// A Block is a piece of memory with bytes in it. It belongs to its Pool, or to the one Carry or Output that took it.
type Block struct {
	mem     []byte
	off, n  int // the bytes are mem[off:n]
	charged int // bytes that the pool counts as in use for it
	dirty   int // mem[:dirty] may be resident, of this use or an earlier one
	next    *Block
	class   uint8
	heap    bool // mem is adopted from the Go heap, and goes back to it
}

// Bytes returns the bytes that are in the block.
func (b *Block) Bytes() []byte { return b.mem[b.off:b.n:b.n] }

// A Pool is the memory of one loop for carries and output. It belongs to the loop's goroutine.
type Pool struct {
	free     [classes]freeList
	spare    *Block   // Block values without memory, for adopted segments
	slabs    [][]byte // all mappings
	used     int      // bytes charged to blocks that are taken
	adopted  int      // those of them that are on the Go heap
	resident int      // the sum of dirty, over all blocks
	idle     int      // the same, over free blocks

	jail       []*Block // checked builds: freed, inaccessible, oldest first
	Carried    uint64   // bytes that were copied into carries, ever; those that a growing carry moves are not among them
	ReleasedBy uint64   // bytes given back to the system, ever
}

// A freeList has the blocks of a class. The end is the hot side, where blocks are taken and put.
type freeList struct {
	blocks []*Block
	low    int // the fewest blocks since the last Trim: so many were needed by nobody
	clean  int // blocks[:clean] have no memory that is resident
}

// NewPool returns an empty pool. Memory is mapped when it is asked for.
func NewPool() *Pool { return &Pool{} }

// Used returns the bytes that carries and outputs hold.
func (p *Pool) Used() int { return p.used }

// Idle returns the bytes in free blocks that were not given back to the system.
func (p *Pool) Idle() int { return p.idle }

// Resident returns all memory of the pool: what is used, what is idle, and what a block that is taken has from an earlier use beyond
// what its holder has reached.
func (p *Pool) Resident() int { return p.resident + p.adopted }

// classOf returns the smallest class whose blocks have size bytes. There are four of them for each doubling, so that at most a fifth
// of a block is more than was asked for.
func classOf(size int) int {
	if size <= 4*minBlockSize {
		return max(0, (size-1)/minBlockSize)
	}
	units := uint((size - 1) / minBlockSize)
	shift := bits.Len(units) - 3
	return 4*shift + int(units>>shift)
}

// classSize returns the bytes of a block of a class.
func classSize(class int) int {
	if class < 4 {
		return (class + 1) * minBlockSize
	}
	shift := class/4 - 1
	return (class%4 + 5) << shift * minBlockSize
}

// get returns an empty block of at least size bytes, not charged. It has want bytes if the system has the address space.
func (p *Pool) get(size, want int) *Block {
	class := classOf(max(size, want))
	list := &p.free[class]
	if len(list.blocks) == 0 {
		if err := p.grow(class); err != nil {
			if class > classOf(size) { // a peer's announcement must not be more than the process can bear
				return p.get(size, size)
			}
			// As with the Go heap, whose memory comes the same way: this is not an answer that a connection could be given.
			panic(fmt.Sprintf("buffers: mmap for a block of %d bytes: %v", classSize(class), err))
		}
	}
	last := len(list.blocks) - 1
	b := list.blocks[last]
	list.blocks = list.blocks[:last]
	list.low = min(list.low, last)
	list.clean = min(list.clean, last)
	p.idle -= b.dirty
	return b
}

// grow maps memory for a class. Address space costs nothing until it is touched.
func (p *Pool) grow(class int) error {
	size := classSize(class)
	length := size * max(1, min(slabSize/size, 64))
	mem, err := unix.Mmap(-1, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return err
	}
	p.slabs = append(p.slabs, mem)
	list := &p.free[class]
	blocks := make([]Block, length/size)
	for i := range blocks {
		off := length - (i+1)*size // the lowest address is taken first
		blocks[i] = Block{mem: mem[off : off+size : off+size], class: uint8(class)}
		list.blocks = append(list.blocks, &blocks[i])
	}
	list.clean = len(list.blocks)
	return nil
}

// put takes back a block and what it was charged.
func (p *Pool) put(b *Block) {
	p.used -= b.charged
	if b.heap {
		p.adopted -= b.charged
		*b = Block{next: p.spare}
		p.spare = b
		return
	}
	if Checked {
		Overwrite(b.mem[:b.charged])
	}
	b.charged, b.off, b.n = 0, 0, 0
	if Checked {
		if b = p.arrest(b); b == nil {
			return
		}
	}
	list := &p.free[b.class]
	list.blocks = append(list.blocks, b)
	p.idle += b.dirty
}

// arrest makes a freed block inaccessible and returns the one that has been so for longest, if the jail is full.
func (p *Pool) arrest(b *Block) *Block {
	protect(b.mem, unix.PROT_NONE)
	p.jail = append(p.jail, b)
	if len(p.jail) <= quarantine {
		return nil
	}
	b, p.jail = p.jail[0], p.jail[1:]
	protect(b.mem, unix.PROT_READ|unix.PROT_WRITE)
	return b
}

func protect(mem []byte, prot int) {
	if len(mem) < os.Getpagesize() {
		return // overwritten only: it shares its page
	}
	if err := unix.Mprotect(mem, prot); err != nil {
		panic(fmt.Sprintf("buffers: mprotect of %d bytes: %v", len(mem), err))
	}
}

// adopt wraps memory of the Go heap, which the kernel only reads and the collector does not move.
func (p *Pool) adopt(mem []byte) *Block {
	b := p.spare
	if b == nil {
		b = &Block{}
	} else {
		p.spare = b.next
	}
	*b = Block{mem: mem, n: len(mem), heap: true}
	p.charge(b, cap(mem))
	return b
}

// charge counts n bytes more of b as in use.
func (p *Pool) charge(b *Block, n int) {
	b.charged += n
	p.used += n
	if b.heap {
		p.adopted += n
	} else if b.charged > b.dirty {
		p.resident += b.charged - b.dirty
		b.dirty = b.charged
	}
}

const (
	trimBytes = 4 << 20  // the most that one Trim gives back: the kernel takes 0.2 ms for a MiB, and connections wait
	trimCall  = 16 << 10 // what a call of madvise costs, in bytes given back
)

// Trim gives free memory back to the system that was not needed since the last Trim. The loop calls it now and then, never while
// it handles messages: memory that comes and goes costs five times what the work on it does. One call gives back a few MiB at
// most; where it gave back any, there may be more.
func (p *Pool) Trim() (released int) {
	for class := range p.free {
		list := &p.free[class]
		released += p.trim(list, list.low, trimBytes-released)
		list.low = len(list.blocks)
	}
	return released
}

// TrimAll gives all free memory back, at once: for a process that is at its bound.
func (p *Pool) TrimAll() (released int) {
	for class := range p.free {
		list := &p.free[class]
		released += p.trim(list, len(list.blocks), math.MaxInt)
	}
	return released
}

// trim gives back the memory of the first n blocks of a list, as far as the budget in bytes goes.
func (p *Pool) trim(list *freeList, n, budget int) (released int) {
	for list.clean < n && budget > 0 {
		b := list.blocks[list.clean]
		size := b.clean(budget)
		if b.dirty == 0 {
			list.clean++
		}
		released += size
		budget -= size + trimCall
	}
	p.resident -= released
	p.idle -= released
	p.ReleasedBy += uint64(released)
	return released
}

// clean gives back about n bytes of a free block, from its end on, and returns how many.
func (b *Block) clean(n int) int {
	page := os.Getpagesize()
	from := max(0, b.dirty-max(n, page))
	from -= from % page
	n = b.dirty - from
	if n > 0 && len(b.mem) >= page {
		_ = unix.Madvise(b.mem[from:b.dirty], unix.MADV_DONTNEED) // refused: it stays resident, and is still right
	}
	b.dirty = from
	return n
}

// Close unmaps everything. Nothing may be in flight, and no view be in use.
func (p *Pool) Close() {
	for _, mem := range p.slabs {
		_ = unix.Munmap(mem) // cannot fail for a mapping of ours
	}
	*p = Pool{}
}

// Overwrite marks bytes as dead in checked builds.
func Overwrite(b []byte) {
	if len(b) == 0 {
		return
	}
	b[0] = poison
	for n := 1; n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}

// Poisoned says that b, not empty, is dead memory that a checked build has overwritten.
func Poisoned(b []byte) bool {
	return len(b) > 0 && len(bytes.TrimLeft(b, "\xcc")) == 0
}
