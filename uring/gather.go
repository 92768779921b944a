package uring

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// GatherMax is the number of segments that a Gather takes.
const GatherMax = 64

// A Gather is a vector of memory for one sendmsg. It is in use from the first Add until the operation's completion, and so are the
// segments: it keeps their addresses where the collector does not look, so somebody else keeps them alive.
type Gather struct {
	mem *gatherMem // mapped: the kernel reads it
	n   int        // segments
	len int        // their bytes
}

// gatherMem has numbers where unix.Msghdr and unix.Iovec have pointers: a write barrier of the collector, which reads what a pointer
// field held before, would come upon addresses in memory that was freed long ago.
type gatherMem struct {
	name             uint64
	namelen, _       uint32
	iov, iovlen      uint64
	control, contLen uint64
	flags, _         uint32
	vec              [GatherMax]struct{ base, len uint64 }
}

// The layout is that of a 64-bit kernel's struct msghdr and struct iovec.
var (
	_ [unsafe.Sizeof(unix.Msghdr{}) - unsafe.Offsetof(gatherMem{}.vec)]struct{}
	_ [unsafe.Offsetof(gatherMem{}.vec) - unsafe.Sizeof(unix.Msghdr{})]struct{}
	_ [unsafe.Sizeof(unix.Iovec{}) - 16]struct{}
)

// NewGather maps a gather.
func NewGather() (*Gather, error) {
	b, err := unix.Mmap(-1, 0, int(unsafe.Sizeof(gatherMem{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return &Gather{mem: (*gatherMem)(unsafe.Pointer(unsafe.SliceData(b)))}, nil
}

// Reset empties the gather.
func (g *Gather) Reset() { g.n, g.len = 0, 0 }

// Add appends b, which must not be empty, and reports whether there was room.
func (g *Gather) Add(b []byte) bool {
	if g.n == GatherMax {
		return false
	}
	v := &g.mem.vec[g.n]
	v.base, v.len = address(unsafe.Pointer(unsafe.SliceData(b))), uint64(len(b))
	g.n++
	g.len += len(b)
	return true
}

// Len returns the bytes in the gather.
func (g *Gather) Len() int { return g.len }

// msghdr returns the address of the message to send.
func (g *Gather) msghdr() uint64 {
	g.mem.iov, g.mem.iovlen = uint64(uintptr(unsafe.Pointer(&g.mem.vec))), uint64(g.n)
	return uint64(uintptr(unsafe.Pointer(g.mem)))
}

// Sendmsg sends what is in g at once (MSG_DONTWAIT and msgFlags), for an engine without a ring, and returns the bytes sent.
func (g *Gather) Sendmsg(fd, msgFlags int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(g.msghdr()), uintptr(msgFlags|unix.MSG_DONTWAIT))
	return int(n), errno
}

// Close unmaps the gather. No operation may be in flight on it.
func (g *Gather) Close() error {
	size := unsafe.Sizeof(gatherMem{})
	return unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(g.mem)), size)[:size:size])
}
