package uring

import (
	"fmt"
	"math/bits"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A BufRing is a provided buffer ring (Linux 5.19): buffers that the kernel takes from at the moment when data is there, so
// that a receive in flight holds no memory. It belongs to the ring's goroutine.
type BufRing struct {
	ring  *Ring
	group uint16
	mem   []byte
	bufs  []buf
	tail  *uint32 // entry 0's buffer ID and, in the upper half, the tail; shared with the kernel, ours to write
	next  uint16  // where the next Add writes; published by Advance
}

// RegisterBufRing makes a ring of provided buffers with room for entries buffers, a power of two up to 32768. With
// incremental set, the kernel consumes a buffer piece by piece (IOU_PBUF_RING_INC, Linux 6.12): its completions carry
// [CQEBufMore] until it is used up. See [Probe] before that is trusted.
func (r *Ring) RegisterBufRing(group uint16, entries int, incremental bool) (*BufRing, error) {
	if entries < 1 || entries > maxBufRingEntries || bits.OnesCount(uint(entries)) != 1 {
		return nil, fmt.Errorf("register buffer group %d: %d entries: not a power of two from 1 to %d", group, entries, maxBufRingEntries)
	}
	mem, err := unix.Mmap(-1, 0, entries*sizeofBuf, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	_ = unix.Madvise(mem, unix.MADV_DONTFORK) // as for the queues
	reg := bufReg{ringAddr: uint64(uintptr(unsafe.Pointer(&mem[0]))), ringEntries: uint32(entries), group: group}
	if incremental {
		reg.flags |= pbufRingInc
	}
	if _, errno := r.register(registerPbufRing, unsafe.Pointer(&reg), 1); errno != 0 {
		_ = unix.Munmap(mem)
		return nil, fmt.Errorf("register buffer group %d: %w", group, os.NewSyscallError("io_uring_register (PBUF_RING)", errno))
	}
	return &BufRing{
		ring: r, group: group, mem: mem,
		bufs: unsafe.Slice((*buf)(unsafe.Pointer(&mem[0])), entries),
		tail: (*uint32)(unsafe.Pointer(&mem[bufRingTailOffset-2])),
	}, nil
}

// Group returns the group's ID, which a receive names.
func (b *BufRing) Group() uint16 { return b.group }

// Entries returns the number of buffers that fit.
func (b *BufRing) Entries() int { return len(b.bufs) }

// Add puts a buffer into the ring; the kernel sees it with the next Advance. mem is mapped outside the Go heap and belongs to the
// kernel from then on, until completions have used it up. The caller keeps the number of buffers within Entries.
func (b *BufRing) Add(id uint16, mem []byte) {
	e := &b.bufs[int(b.next)&(len(b.bufs)-1)]
	e.addr, e.len, e.bid = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))), uint32(len(mem)), id
	b.next++
}

// Advance publishes all buffers added since the last Advance, with one store.
func (b *BufRing) Advance() {
	// sync/atomic has no 16-bit store. The tail lies in entry 0's padding: the 32-bit word around it holds entry 0's buffer ID in
	// its lower half (of a little-endian machine), which nobody but us writes.
	atomic.StoreUint32(b.tail, uint32(b.next)<<16|uint32(b.bufs[0].bid))
}

// Close takes the group away from the kernel. No receive may be in flight on it.
func (b *BufRing) Close() error {
	reg := bufReg{group: b.group}
	_, errno := b.ring.register(unregisterPbufRing, unsafe.Pointer(&reg), 1)
	if err := unix.Munmap(b.mem); err != nil {
		return os.NewSyscallError("munmap", err)
	}
	if errno != 0 {
		return os.NewSyscallError("io_uring_register (UNREGISTER_PBUF_RING)", errno)
	}
	return nil
}
