//go:build giouring

package uring

import (
	"reflect"
	"testing"
	"unsafe"

	"github.com/pawelgaczynski/giouring"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The second opinion on the ABI, for what giouring has right (the kernel's own BTF and header are the first, in abi_test.go). It does
// not link without a flag:
//
//	go test -tags giouring -ldflags=-checklinkname=0 ./uring

func TestGiouringStructs(t *testing.T) {
	for _, c := range []struct {
		ours, theirs any
		names        map[string]string // of fields, where they are not alike
	}{
		{SQE{}, giouring.SubmissionQueueEntry{}, map[string]string{
			"Opcode": "OpCode", "OpFlags": "OpcodeFlags", "BufGroup": "BufIG", "FileIdx": "SpliceFdIn",
		}},
		{CQE{}, giouring.CompletionQueueEvent{}, nil},
		{params{}, giouring.Params{}, map[string]string{"wqFD": "wqFd"}},
		{sqOffsets{}, giouring.SQRingOffsets{}, nil},
		{cqOffsets{}, giouring.CQRingOffsets{}, nil},
		{getEventsArg{}, giouring.GetEventsArg{}, map[string]string{"sigmask": "sigMask", "sigmaskSize": "sigMaskSz", "minWaitUsec": "pad"}},
		{rsrcUpdate{}, giouring.RsrcUpdate{}, map[string]string{"offset": "Offset", "data": "Data"}},
		{restriction{}, giouring.Restriction{}, map[string]string{"opcode": "OpCode", "arg": "OpFlags"}},
		{bufReg{}, giouring.BufReg{}, map[string]string{
			"ringAddr": "RingAddr", "ringEntries": "RingEntries", "group": "Bgid", "flags": "Pad",
		}},
		{buf{}, giouring.BufAndRing{}, map[string]string{"addr": "Addr", "len": "Len", "bid": "Bid"}},
		{probeOp{}, giouring.ProbeOp{}, map[string]string{"op": "Op", "flags": "Flags"}},
	} {
		ours, theirs := reflect.TypeOf(c.ours), reflect.TypeOf(c.theirs)
		require.Equal(t, theirs.Size(), ours.Size(), theirs.Name())
		for i := range ours.NumField() {
			f := ours.Field(i)
			if f.Name == "_" {
				continue
			}
			name := f.Name
			if n, ok := c.names[name]; ok {
				name = n
			}
			g, ok := theirs.FieldByName(name)
			require.True(t, ok, "%s.%s", theirs.Name(), name)
			require.Equal(t, g.Offset, f.Offset, "%s.%s", theirs.Name(), name)
			require.Equal(t, g.Type.Size(), f.Type.Size(), "%s.%s", theirs.Name(), name)
		}
	}
	require.Equal(t, unsafe.Offsetof(giouring.BufAndRing{}.Tail), uintptr(bufRingTailOffset))
}

func TestGiouringConstants(t *testing.T) {
	for name, theirs := range map[string]uint64{
		"OpNop": uint64(giouring.OpNop), "OpPollAdd": uint64(giouring.OpPollAdd), "OpSendmsg": uint64(giouring.OpSendmsg),
		"OpAccept": uint64(giouring.OpAccept), "OpAsyncCancel": uint64(giouring.OpAsyncCancel), "OpRead": uint64(giouring.OpRead),
		"OpSend": uint64(giouring.OpSend), "OpRecv": uint64(giouring.OpRecv), "OpMsgRing": uint64(giouring.OpMsgRing),
		"SQEBufferSelect": uint64(giouring.SqeBufferSelect), "SQECQESkipSuccess": uint64(giouring.SqeCQESkipSuccess),
		"CQEBuffer": uint64(giouring.CQEFBuffer), "CQEMore": uint64(giouring.CQEFMore), "CQESockMore": uint64(giouring.CQEFSockNonempty),
		"cqeBufferShift": uint64(giouring.CQEBufferShift),
		"setupCQSize":    uint64(giouring.SetupCQSize), "setupClamp": uint64(giouring.SetupClamp),
		"setupRDisabled": uint64(giouring.SetupRDisabled), "setupSubmitAll": uint64(giouring.SetupSubmitAll),
		"setupCoopTaskrun": uint64(giouring.SetupCoopTaskrun), "setupTaskrunFlag": uint64(giouring.SetupTaskrunFlag),
		"setupSingleIssuer": uint64(giouring.SetupSingleIssuer), "setupDeferTaskrun": uint64(giouring.SetupDeferTaskrun),
		"featSingleMmap": uint64(giouring.FeatSingleMMap), "featNodrop": uint64(giouring.FeatNoDrop),
		"featSubmitStable": uint64(giouring.FeatSubmitStable), "featFastPoll": uint64(giouring.FeatFastPoll),
		"featExtArg":     uint64(giouring.FeatExtArg),
		"enterGetEvents": uint64(giouring.EnterGetEvents), "enterExtArg": uint64(giouring.EnterExtArg),
		"enterRegisteredRing": uint64(giouring.EnterRegisteredRing),
		"sqCQOverflow":        uint64(giouring.SQCQOverflow), "sqTaskrun": uint64(giouring.SQTaskrun),
		"registerProbe": uint64(giouring.RegisterProbe), "registerRestrictions": uint64(giouring.RegisterRestrictions),
		"registerEnableRings": uint64(giouring.RegisterEnableRings), "registerRingFDs": uint64(giouring.RegisterRingFDs),
		"unregisterRingFDs": uint64(giouring.UnregisterRingFDs), "registerPbufRing": uint64(giouring.RegisterPbufRing),
		"unregisterPbufRing":    uint64(giouring.UnregisterPbufRing),
		"restrictionRegisterOp": uint64(giouring.RestrictionRegisterOp), "restrictionSQEOp": uint64(giouring.RestrictionSQEOp),
		"restrictionSQEFlags": uint64(giouring.RestrictionSQEFlagsAllowed),
		"acceptMultishot":     uint64(giouring.AcceptMultishot), "recvMultishot": uint64(giouring.RecvMultishot),
		"cancelAll": uint64(giouring.AsyncCancelAll), "cancelAny": uint64(giouring.AsyncCancelAny),
		"msgRingData": uint64(giouring.MsgData),
	} {
		require.Equal(t, theirs, constants[name].value, name)
	}
}

// The SQEs of operations that giouring prepares right. Its slot is zero before: it leaves fields of the last use.
func TestGiouringSQEs(t *testing.T) {
	const fd, userData = 33, 0xfedcba9876543210
	mem := mapped(t, 4096)
	addr := uintptr(unsafe.Pointer(&mem[0]))
	g, err := NewGather()
	require.NoError(t, err)
	defer g.Close()
	require.True(t, g.Add(mem))
	for _, c := range []struct {
		name   string
		ours   func(*SQE)
		theirs func(*giouring.SubmissionQueueEntry)
	}{
		{"accept", func(s *SQE) { s.PrepareAcceptMultishot(fd, unix.SOCK_CLOEXEC) },
			func(s *giouring.SubmissionQueueEntry) { s.PrepareMultishotAccept(fd, 0, 0, unix.SOCK_CLOEXEC) }},
		{"recv multishot", func(s *SQE) { s.PrepareRecvMultishot(fd, 77, 0, 0) },
			func(s *giouring.SubmissionQueueEntry) {
				s.PrepareRecvMultishot(fd, 0, 0, 0)
				s.Flags, s.BufIG = giouring.SqeBufferSelect, 77
			}},
		{"recv", func(s *SQE) { s.PrepareRecv(fd, 77) },
			func(s *giouring.SubmissionQueueEntry) {
				s.PrepareRecv(fd, 0, 0, 0)
				s.Flags, s.BufIG = giouring.SqeBufferSelect, 77
			}},
		{"send", func(s *SQE) { s.PrepareSend(fd, mem, unix.MSG_WAITALL) },
			func(s *giouring.SubmissionQueueEntry) { s.PrepareSend(fd, addr, uint32(len(mem)), unix.MSG_WAITALL) }},
		{"sendmsg", func(s *SQE) { s.PrepareSendmsg(fd, g, unix.MSG_WAITALL) },
			func(s *giouring.SubmissionQueueEntry) {
				s.PrepareSendMsg(fd, nil, unix.MSG_WAITALL)
				s.Addr = g.msghdr() // theirs takes a syscall.Msghdr
			}},
		{"read", func(s *SQE) { s.PrepareRead(fd, mem) },
			func(s *giouring.SubmissionQueueEntry) { s.PrepareRead(fd, addr, uint32(len(mem)), ^uint64(0)) }},
		{"cancel", func(s *SQE) { s.PrepareCancel(userData) },
			func(s *giouring.SubmissionQueueEntry) { s.PrepareCancel64(userData, 0) }},
		{"cancel all", func(s *SQE) { s.PrepareCancelAll() },
			func(s *giouring.SubmissionQueueEntry) {
				s.PrepareCancel64(0, int(giouring.AsyncCancelAll|giouring.AsyncCancelAny))
			}},
		{"message", func(s *SQE) { s.PrepareMsgRing(fd, 42, userData) },
			func(s *giouring.SubmissionQueueEntry) { s.PrepareMsgRing(fd, 42, userData, 0) }},
		{"nop", func(s *SQE) { s.PrepareNop(); s.Fd = -1 }, // the kernel does not look at the descriptor
			func(s *giouring.SubmissionQueueEntry) { s.PrepareNop() }},
	} {
		var ours SQE
		var theirs giouring.SubmissionQueueEntry
		c.ours(&ours)
		c.theirs(&theirs)
		require.Equal(t, *(*[sqeSize]byte)(unsafe.Pointer(&theirs)), *(*[sqeSize]byte)(unsafe.Pointer(&ours)), c.name)
	}
}
