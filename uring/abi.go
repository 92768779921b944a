package uring

import "unsafe"

// The kernel's layouts and numbers, from include/uapi/linux/io_uring.h. abi_test.go compares each with the kernel that runs:
// structs and enums with its BTF, flags with the C header as far as that goes, and newer ones by their effect.

// An SQE is a submission queue entry: one operation for the kernel. It is the kernel's struct io_uring_sqe, whose unions are
// named here after the member that the operations of this package use.
type SQE struct {
	Opcode   Op
	Flags    uint8 // SQE… flags
	IoPrio   uint16
	Fd       int32
	Off      uint64 // addr2
	Addr     uint64
	Len      uint32
	OpFlags  uint32 // msg_flags, accept_flags, cancel_flags, poll32_events
	UserData uint64
	BufGroup uint16 // buf_index
	_        uint16 // personality
	FileIdx  int32  // splice_fd_in, file_index, addr_len, optlen
	Addr3    uint64
	_        uint64
}

// A CQE is a completion queue entry: how one operation ended, or one shot of a multishot operation.
type CQE struct {
	UserData uint64
	Res      int32 // the operation's result, or a negative errno
	Flags    uint32
}

// Op is an operation code (IORING_OP_…).
type Op uint8

// The operations that a server's loop uses.
const (
	OpNop         Op = 0
	OpPollAdd     Op = 6
	OpSendmsg     Op = 9
	OpAccept      Op = 13
	OpAsyncCancel Op = 14
	OpRead        Op = 22
	OpSend        Op = 26
	OpRecv        Op = 27
	OpMsgRing     Op = 40
)

// Flags of an SQE.
const (
	SQEBufferSelect   uint8 = 1 << 5 // the kernel takes a buffer from the SQE's group
	SQECQESkipSuccess uint8 = 1 << 6 // no CQE when the operation succeeds
)

// Flags of a CQE.
const (
	CQEBuffer   uint32 = 1 << 0 // the upper 16 bits of the flags are a buffer ID
	CQEMore     uint32 = 1 << 1 // the multishot operation lives on
	CQESockMore uint32 = 1 << 2 // the socket had more to read
	CQEBufMore  uint32 = 1 << 4 // an incremental buffer is not used up: more completions will come with this ID

	cqeBufferShift = 16
)

const (
	setupCQSize       = 1 << 3
	setupClamp        = 1 << 4
	setupRDisabled    = 1 << 6
	setupSubmitAll    = 1 << 7
	setupCoopTaskrun  = 1 << 8
	setupTaskrunFlag  = 1 << 9
	setupSingleIssuer = 1 << 12
	setupDeferTaskrun = 1 << 13
	setupNoSQArray    = 1 << 16

	featSingleMmap   = 1 << 0
	featNodrop       = 1 << 1
	featSubmitStable = 1 << 2
	featFastPoll     = 1 << 5
	featExtArg       = 1 << 8

	enterGetEvents      = 1 << 0
	enterExtArg         = 1 << 3
	enterRegisteredRing = 1 << 4

	sqCQOverflow = 1 << 1
	sqTaskrun    = 1 << 2

	offSQRing = 0
	offSQEs   = 0x10000000

	registerProbe         = 8
	registerRestrictions  = 11
	registerEnableRings   = 12
	registerRingFDs       = 20
	unregisterRingFDs     = 21
	registerPbufRing      = 22
	unregisterPbufRing    = 23
	restrictionRegisterOp = 0
	restrictionSQEOp      = 1
	restrictionSQEFlags   = 2
	acceptMultishot       = 1 << 0
	recvMultishot         = 1 << 1
	cancelAll             = 1 << 0
	cancelAny             = 1 << 2
	pbufRingInc           = 1 << 1
	msgRingData           = 0
	probeOpSupported      = 1 << 0
	ringFDAny             = ^uint32(0)
	maxBufRingEntries     = 1 << 15
	sqeSize               = 64
	bufRingTailOffset     = 14 // of the ring's start: it lies in the padding of the first entry
	sizeofCQE             = 16
	sizeofBuf             = 16
	sizeofParams          = 120
	sizeofGetEventsArg    = 24
	sizeofRestriction     = 16
	sizeofRsrcUpdate      = 16
	sizeofBufReg          = 40
	sizeofProbe           = 16
	sizeofProbeOp         = 8
	probeOps              = 256
	maxSQEntries          = 1 << 15 // IORING_MAX_ENTRIES
	maxCQEntries          = 2 * maxSQEntries
)

type sqOffsets struct {
	head, tail, ringMask, ringEntries, flags, dropped, array, _ uint32
	userAddr                                                    uint64
}

type cqOffsets struct {
	head, tail, ringMask, ringEntries, overflow, cqes, flags, _ uint32
	userAddr                                                    uint64
}

type params struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	_                                                                      [3]uint32
	sqOff                                                                  sqOffsets
	cqOff                                                                  cqOffsets
}

type getEventsArg struct {
	sigmask     uint64
	sigmaskSize uint32
	minWaitUsec uint32
	ts          uint64 // address of a timespec
}

type rsrcUpdate struct {
	offset, _ uint32
	data      uint64
}

type restriction struct {
	opcode uint16
	arg    uint8 // register_op, sqe_op, sqe_flags
	_      uint8
	_      [3]uint32
}

type bufReg struct {
	ringAddr    uint64
	ringEntries uint32
	group       uint16
	flags       uint16
	_           [3]uint64
}

// buf is an entry of a provided buffer ring.
type buf struct {
	addr uint64
	len  uint32
	bid  uint16
	_    uint16
}

type probeOp struct {
	op, _ uint8
	flags uint16
	_     uint32
}

type probe struct {
	lastOp, opsLen uint8
	_              uint16
	_              [3]uint32
	ops            [probeOps]probeOp
}

// The compiler refuses a layout of another size: the index is out of range.
var (
	_ = [1]struct{}{}[unsafe.Sizeof(SQE{})-sqeSize]
	_ = [1]struct{}{}[unsafe.Sizeof(CQE{})-sizeofCQE]
	_ = [1]struct{}{}[unsafe.Sizeof(params{})-sizeofParams]
	_ = [1]struct{}{}[unsafe.Sizeof(getEventsArg{})-sizeofGetEventsArg]
	_ = [1]struct{}{}[unsafe.Sizeof(restriction{})-sizeofRestriction]
	_ = [1]struct{}{}[unsafe.Sizeof(rsrcUpdate{})-sizeofRsrcUpdate]
	_ = [1]struct{}{}[unsafe.Sizeof(bufReg{})-sizeofBufReg]
	_ = [1]struct{}{}[unsafe.Sizeof(buf{})-sizeofBuf]
	_ = [1]struct{}{}[unsafe.Sizeof(probeOp{})-sizeofProbeOp]
	_ = [1]struct{}{}[unsafe.Sizeof(probe{})-sizeofProbe-probeOps*sizeofProbeOp]
)
