package uring

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The Prepare methods fill an SQE that Ring.SQE returned. The caller sets UserData. Memory that is named to them must stay where
// it is, and be left alone, until the operation's last completion; memory that the kernel writes must not be on the Go heap. The
// caller keeps what is on the heap alive: the garbage collector does not look into SQEs.

// PrepareNop prepares an operation that does nothing but complete.
func (s *SQE) PrepareNop() { s.Opcode = OpNop }

// PrepareAcceptMultishot prepares to accept connections, one completion each (Linux 5.19). The result is a descriptor with the
// flags given (SOCK_CLOEXEC). Any error ends it, EMFILE too.
func (s *SQE) PrepareAcceptMultishot(fd int, flags uint32) {
	s.Opcode, s.Fd, s.OpFlags, s.IoPrio = OpAccept, int32(fd), flags, acceptMultishot
}

// PrepareRecvMultishot prepares to receive into buffers of a group, one completion each (Linux 6.0). shotCap is the most
// bytes of one completion; zero for the size of the buffer. Other values need Features.ShotCap. When total bytes have come, or some more
// with the last shot, the operation ends; zero for no such end. Other values need Features.ReceiveTotal.
func (s *SQE) PrepareRecvMultishot(fd int, group uint16, shotCap, total int) {
	s.Opcode, s.Fd, s.IoPrio, s.Flags = OpRecv, int32(fd), recvMultishot, SQEBufferSelect
	s.BufGroup, s.Len, s.FileIdx = group, uint32(shotCap), int32(total)
}

// PrepareRecv prepares one receive into a buffer of a group.
func (s *SQE) PrepareRecv(fd int, group uint16) {
	s.Opcode, s.Fd, s.Flags, s.BufGroup = OpRecv, int32(fd), SQEBufferSelect, group
}

// PrepareSend prepares to send b. msgFlags are those of send(2). The kernel only reads b.
func (s *SQE) PrepareSend(fd int, b []byte, msgFlags uint32) {
	s.Opcode, s.Fd, s.OpFlags = OpSend, int32(fd), msgFlags
	s.Addr, s.Len = address(unsafe.Pointer(unsafe.SliceData(b))), uint32(len(b))
}

// PreparePrompt makes a send that is prepared one that is tried within the enter that takes it, and has no completion where all was sent.
// What it could not send at once is told by a completion, with the bytes that were sent or EAGAIN, which is in the queue, or beyond
// it (Ring.Overflowing), when that enter returns. Needs Features.PromptSend.
func (s *SQE) PreparePrompt() {
	s.OpFlags |= unix.MSG_DONTWAIT | unix.MSG_WAITALL // the latter: all, or it counts as failed
	s.Flags |= SQECQESkipSuccess
}

// PrepareSendmsg prepares sendmsg(2) of what is in g. The kernel reads g, and what it points to, until the completion.
func (s *SQE) PrepareSendmsg(fd int, g *Gather, msgFlags uint32) {
	s.Opcode, s.Fd, s.OpFlags = OpSendmsg, int32(fd), msgFlags
	s.Addr, s.Len = g.msghdr(), 1
}

// PrepareRead prepares read(2) at the descriptor's own position.
func (s *SQE) PrepareRead(fd int, b []byte) {
	s.Opcode, s.Fd, s.Off = OpRead, int32(fd), ^uint64(0)
	s.Addr, s.Len = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), uint32(len(b))
}

// PrepareCancel prepares to cancel the operation with the user data given. Its result is 0, ENOENT, or EALREADY; the
// operation's own completion comes in any case.
func (s *SQE) PrepareCancel(userData uint64) {
	s.Opcode, s.Fd, s.Addr = OpAsyncCancel, -1, userData
}

// PrepareCancelAll prepares to cancel all operations of the ring (Linux 5.19). The result is their number.
func (s *SQE) PrepareCancelAll() {
	s.Opcode, s.Fd, s.OpFlags = OpAsyncCancel, -1, cancelAll|cancelAny
}

// PrepareMsgRing prepares a completion with this user data and result on another ring (Linux 5.18; between rings with
// DEFER_TASKRUN 6.11).
func (s *SQE) PrepareMsgRing(ringFD int, res int32, userData uint64) {
	s.Opcode, s.Fd, s.Addr, s.Len, s.Off = OpMsgRing, int32(ringFD), msgRingData, uint32(res), userData
}

// address returns what the kernel calls p. What p points to must not be on a goroutine's stack, which moves when it grows; to the
// compiler a conversion to a number is no reason to keep it off the stack, an assignment is, also one that never happens.
func address(p unsafe.Pointer) uint64 {
	if escape.never {
		escape.to = p
	}
	return uint64(uintptr(p))
}

var escape struct {
	never bool
	to    unsafe.Pointer
}

// BufferID returns the ID of the buffer that the completion used, and whether it used one.
func (c *CQE) BufferID() (uint16, bool) {
	return uint16(c.Flags >> cqeBufferShift), c.Flags&CQEBuffer != 0
}

// More says that the multishot operation lives on. Nothing else says so: it is looked at on each completion.
func (c *CQE) More() bool { return c.Flags&CQEMore != 0 }
