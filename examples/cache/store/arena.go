package store

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Memory is taken in pages. 16 KiB hold 146 entries of 16 bytes of key and 64 of value, and leave little unused where a shard has
// few entries of a size.
const (
	pageShift = 14
	pageSize  = 1 << pageShift
)

// A ref is the place of an entry in the arena, in units of 8 bytes; 0 is none. 32 bits of it bound the arena, not Blobs.
const (
	refShift  = 3
	arenaSize = 1 << (32 + refShift)
	maxPages  = arenaSize / pageSize
)

const (
	mapStep     = 64 << 20 // bytes that are made accessible at once
	keptPages   = 512      // free pages that are kept resident at least: 8 MiB, so that a store that breathes makes no system calls
	keptShare   = 32       // and one for this many in use
	givenAtOnce = 64       // pages that are given back in one step: 1 MiB, for about 100 µs
)

// An arena is address space outside the Go heap, which the collector never reads. The whole range is reserved at once, so that a
// ref becomes an address by an addition; pages become accessible as they are needed.
type arena struct {
	mem   []byte
	pages []page // what is known of each page; one belongs to the shard that the page belongs to

	mu         sync.Mutex
	free       []uint32 // pages that nobody uses and that are resident
	cold       []uint32 // pages that nobody uses and that were given back to the system
	top        int      // pages from here on were never used
	accessible int      // bytes

	end atomic.Uint32 // the entries below are in accessible memory, and so is a cache line behind them
}

func (a *arena) init() {
	a.mem = reserve(arenaSize)
	meta := reserve(maxPages * int(unsafe.Sizeof(page{})))
	if err := unix.Mprotect(meta, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		panic(fmt.Errorf("make %d bytes accessible: %w", len(meta), err))
	}
	a.pages = unsafe.Slice((*page)(unsafe.Pointer(&meta[0])), maxPages)
	a.top = 1 // ref 0 is none
}

// reserve takes address space and no memory: PROT_NONE is not accounted even where the system does not overcommit.
func reserve(bytes int) []byte {
	mem, err := unix.Mmap(-1, 0, bytes, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		panic(fmt.Errorf("reserve %d bytes of address space: %w", bytes, err))
	}
	return mem
}

func (a *arena) close() {
	meta := unsafe.Slice((*byte)(unsafe.Pointer(&a.pages[0])), maxPages*int(unsafe.Sizeof(page{})))
	for _, m := range [][]byte{a.mem, meta} {
		if err := unix.Munmap(m); err != nil {
			panic(fmt.Errorf("unmap %d bytes: %w", len(m), err))
		}
	}
	a.mem, a.pages = nil, nil
}

// take returns a page, with what it held before, or 0 when the arena is full or the system has no memory.
func (a *arena) take() uint32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.free); n > 0 {
		p := a.free[n-1]
		a.free = a.free[:n-1]
		return p
	}
	if n := len(a.cold); n > 0 {
		p := a.cold[n-1]
		a.cold = a.cold[:n-1]
		return p
	}
	if (a.top+1)<<pageShift > a.accessible {
		if a.accessible == arenaSize {
			return 0
		}
		step := a.mem[a.accessible : a.accessible+mapStep]
		if unix.Mprotect(step, unix.PROT_READ|unix.PROT_WRITE) != nil {
			return 0
		}
		_ = unix.Madvise(step, unix.MADV_HUGEPAGE) // a key is a random place: a tenth of a GET's time, where the kernel has them
		a.accessible += mapStep
		a.end.Store(uint32((a.accessible - 2*cacheLine) >> refShift))
	}
	a.top++
	return uint32(a.top - 1)
}

// give takes pages back.
func (a *arena) give(pages ...uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free = append(a.free, pages...)
}

// resident returns the bytes that are in use, or kept for it.
func (a *arena) resident() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return (a.top - len(a.cold)) << pageShift
}

// trim gives some free pages back to the system, when there are many, and reports whether it is worth another call.
func (a *arena) trim() bool {
	a.mu.Lock()
	used := a.top - len(a.cold) - len(a.free)
	n := min(len(a.free)-max(keptPages, used/keptShare), givenAtOnce)
	if n <= 0 {
		a.mu.Unlock()
		return false
	}
	batch := slices.Clone(a.free[:n]) // those that are free for longest
	a.free = slices.Delete(a.free, 0, n)
	a.mu.Unlock()

	slices.Sort(batch)
	for i := 0; i < n; { // a system call for each run of neighbours
		j := i + 1
		for j < n && batch[j] == batch[j-1]+1 {
			j++
		}
		run := a.mem[int(batch[i])<<pageShift : (int(batch[j-1])+1)<<pageShift]
		if err := unix.Madvise(run, unix.MADV_DONTNEED); err != nil {
			panic(fmt.Errorf("give back %d bytes: %w", len(run), err))
		}
		i = j
	}
	a.mu.Lock()
	a.cold = append(a.cold, batch...)
	a.mu.Unlock()
	return true
}

func (a *arena) entry(ref uint32) *entry {
	return (*entry)(unsafe.Pointer(&a.mem[int(ref)<<refShift]))
}

// slot returns n bytes from an entry's place on.
func (a *arena) slot(ref uint32, n int) []byte {
	off := int(ref) << refShift
	return a.mem[off : off+n : off+n]
}

func (a *arena) fresh(p uint32) *freshPage {
	return (*freshPage)(unsafe.Pointer(&a.mem[int(p)<<pageShift]))
}

func (a *arena) bucket(i uint32) *bucket {
	return (*bucket)(unsafe.Pointer(&a.mem[int(i)<<bucketShift]))
}
