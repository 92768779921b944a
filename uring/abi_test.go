package uring

import (
	"errors"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

const (
	btfPath    = "/sys/kernel/btf/vmlinux"
	headerPath = "/usr/include/linux/io_uring.h"
)

var loadBTF = sync.OnceValues(func() (*btf, error) {
	data, err := os.ReadFile(btfPath)
	if err != nil {
		return nil, err
	}
	return parseBTF(data)
})

func kernelBTF(t *testing.T) *btf {
	t.Helper()
	b, err := loadBTF()
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("this kernel has no " + btfPath)
	}
	require.NoError(t, err)
	return b
}

// Our structs and the kernel's. Each of our fields with a name has its kernel's name.
var structs = []struct {
	ours   any
	kernel string
	fields map[string]string
	open   bool // ends in a flexible array, which ours gives a length
}{
	{ours: SQE{}, kernel: "io_uring_sqe", fields: map[string]string{
		"Opcode": "opcode", "Flags": "flags", "IoPrio": "ioprio", "Fd": "fd", "Off": "off", "Addr": "addr", "Len": "len",
		"OpFlags": "msg_flags", "UserData": "user_data", "BufGroup": "buf_group", "FileIdx": "file_index", "Addr3": "addr3",
	}},
	{ours: CQE{}, kernel: "io_uring_cqe", fields: map[string]string{"UserData": "user_data", "Res": "res", "Flags": "flags"}},
	{ours: params{}, kernel: "io_uring_params", fields: map[string]string{
		"sqEntries": "sq_entries", "cqEntries": "cq_entries", "flags": "flags", "sqThreadCPU": "sq_thread_cpu",
		"sqThreadIdle": "sq_thread_idle", "features": "features", "wqFD": "wq_fd", "sqOff": "sq_off", "cqOff": "cq_off",
	}},
	{ours: sqOffsets{}, kernel: "io_sqring_offsets", fields: map[string]string{
		"head": "head", "tail": "tail", "ringMask": "ring_mask", "ringEntries": "ring_entries", "flags": "flags",
		"dropped": "dropped", "array": "array", "userAddr": "user_addr",
	}},
	{ours: cqOffsets{}, kernel: "io_cqring_offsets", fields: map[string]string{
		"head": "head", "tail": "tail", "ringMask": "ring_mask", "ringEntries": "ring_entries", "overflow": "overflow",
		"cqes": "cqes", "flags": "flags", "userAddr": "user_addr",
	}},
	{ours: getEventsArg{}, kernel: "io_uring_getevents_arg", fields: map[string]string{
		"sigmask": "sigmask", "sigmaskSize": "sigmask_sz", "minWaitUsec": "min_wait_usec", "ts": "ts",
	}},
	{ours: rsrcUpdate{}, kernel: "io_uring_rsrc_update", fields: map[string]string{"offset": "offset", "data": "data"}},
	{ours: restriction{}, kernel: "io_uring_restriction", fields: map[string]string{"opcode": "opcode", "arg": "sqe_op"}},
	{ours: bufReg{}, kernel: "io_uring_buf_reg", fields: map[string]string{
		"ringAddr": "ring_addr", "ringEntries": "ring_entries", "group": "bgid", "flags": "flags",
	}},
	{ours: buf{}, kernel: "io_uring_buf", fields: map[string]string{"addr": "addr", "len": "len", "bid": "bid"}},
	{ours: probeOp{}, kernel: "io_uring_probe_op", fields: map[string]string{"op": "op", "flags": "flags"}},
	{ours: probe{}, kernel: "io_uring_probe", open: true, fields: map[string]string{
		"lastOp": "last_op", "opsLen": "ops_len", "ops": "ops",
	}},
}

// TestABIStructsComplete fails when a struct of abi.go is not in the table.
func TestABIStructsComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "abi.go", nil, 0)
	require.NoError(t, err)
	table := map[string]bool{}
	for _, s := range structs {
		table[reflect.TypeOf(s.ours).Name()] = true
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok {
			if _, ok := spec.Type.(*ast.StructType); ok {
				require.True(t, table[spec.Name.Name], "%s is in no table", spec.Name.Name)
			}
		}
		return true
	})
}

// Names before the kernel's release renamed a padding.
var formerNames = map[string]string{"min_wait_usec": "pad", "user_addr": "resv2"}

func TestABIStructs(t *testing.T) {
	b := kernelBTF(t)
	for _, s := range structs {
		t.Run(s.kernel, func(t *testing.T) {
			typ := reflect.TypeOf(s.ours)
			size, err := b.structSize(s.kernel)
			require.NoError(t, err)
			if !s.open {
				require.Equal(t, size, int(typ.Size()), "size")
			}
			for i := range typ.NumField() {
				f := typ.Field(i)
				if f.Name == "_" {
					continue
				}
				name := s.fields[f.Name]
				require.NotEmpty(t, name, "field %s is not in the table", f.Name)
				offset, size, err := b.member(s.kernel, name)
				if former, ok := formerNames[name]; err != nil && ok {
					offset, size, err = b.member(s.kernel, former)
				}
				require.NoError(t, err)
				require.Equal(t, offset, int(f.Offset), "offset of %s", f.Name)
				if !s.open || f.Name != "ops" {
					require.Equal(t, size, int(f.Type.Size()), "size of %s", f.Name)
				}
			}
		})
	}
	t.Run("aliases", func(t *testing.T) { // members of a union that operations of this package use
		for member, offset := range map[string]uintptr{
			"addr2": unsafe.Offsetof(SQE{}.Off), "accept_flags": unsafe.Offsetof(SQE{}.OpFlags),
			"cancel_flags": unsafe.Offsetof(SQE{}.OpFlags), "poll32_events": unsafe.Offsetof(SQE{}.OpFlags),
			"msg_ring_flags": unsafe.Offsetof(SQE{}.OpFlags), "rw_flags": unsafe.Offsetof(SQE{}.OpFlags),
			"buf_index": unsafe.Offsetof(SQE{}.BufGroup), "splice_fd_in": unsafe.Offsetof(SQE{}.FileIdx),
		} {
			got, _, err := b.member("io_uring_sqe", member)
			require.NoError(t, err)
			require.Equal(t, got, int(offset), member)
		}
		if got, _, err := b.member("io_uring_sqe", "optlen"); err == nil { // kernels before it have no total of a receive
			require.Equal(t, got, int(unsafe.Offsetof(SQE{}.FileIdx)))
		}
		for _, member := range []string{"register_op", "sqe_op", "sqe_flags"} {
			got, size, err := b.member("io_uring_restriction", member)
			require.NoError(t, err)
			require.Equal(t, got, int(unsafe.Offsetof(restriction{}.arg)), member)
			require.Equal(t, 1, size, member)
		}
	})
}

// Every constant of abi.go, with where its value comes from: an enumerator in the kernel's BTF (a name in _BIT stands for the
// flag), a #define or an enumerator with a value of the C header, a struct's size, or a member's offset. What none of them has is shown by its effect, in the test
// that is named.
type source struct {
	value                                uint64
	enum, define, size, offset, observed string
}

var constants = map[string]source{
	"OpNop":         {value: uint64(OpNop), enum: "IORING_OP_NOP"},
	"OpPollAdd":     {value: uint64(OpPollAdd), enum: "IORING_OP_POLL_ADD"},
	"OpSendmsg":     {value: uint64(OpSendmsg), enum: "IORING_OP_SENDMSG"},
	"OpAccept":      {value: uint64(OpAccept), enum: "IORING_OP_ACCEPT"},
	"OpAsyncCancel": {value: uint64(OpAsyncCancel), enum: "IORING_OP_ASYNC_CANCEL"},
	"OpRead":        {value: uint64(OpRead), enum: "IORING_OP_READ"},
	"OpSend":        {value: uint64(OpSend), enum: "IORING_OP_SEND"},
	"OpRecv":        {value: uint64(OpRecv), enum: "IORING_OP_RECV"},
	"OpMsgRing":     {value: uint64(OpMsgRing), enum: "IORING_OP_MSG_RING"},

	"SQEBufferSelect":   {value: uint64(SQEBufferSelect), enum: "IOSQE_BUFFER_SELECT_BIT", define: "IOSQE_BUFFER_SELECT"},
	"SQECQESkipSuccess": {value: uint64(SQECQESkipSuccess), enum: "IOSQE_CQE_SKIP_SUCCESS_BIT", define: "IOSQE_CQE_SKIP_SUCCESS"},

	"CQEBuffer":      {value: uint64(CQEBuffer), define: "IORING_CQE_F_BUFFER"},
	"CQEMore":        {value: uint64(CQEMore), define: "IORING_CQE_F_MORE"},
	"CQESockMore":    {value: uint64(CQESockMore), define: "IORING_CQE_F_SOCK_NONEMPTY"},
	"CQEBufMore":     {value: uint64(CQEBufMore), observed: "TestBufMoreFlag"},
	"cqeBufferShift": {value: cqeBufferShift, define: "IORING_CQE_BUFFER_SHIFT"},

	"setupCQSize":       {value: setupCQSize, define: "IORING_SETUP_CQSIZE"},
	"setupClamp":        {value: setupClamp, define: "IORING_SETUP_CLAMP"},
	"setupRDisabled":    {value: setupRDisabled, define: "IORING_SETUP_R_DISABLED"},
	"setupSubmitAll":    {value: setupSubmitAll, define: "IORING_SETUP_SUBMIT_ALL"},
	"setupCoopTaskrun":  {value: setupCoopTaskrun, define: "IORING_SETUP_COOP_TASKRUN"},
	"setupTaskrunFlag":  {value: setupTaskrunFlag, define: "IORING_SETUP_TASKRUN_FLAG"},
	"setupSingleIssuer": {value: setupSingleIssuer, define: "IORING_SETUP_SINGLE_ISSUER"},
	"setupDeferTaskrun": {value: setupDeferTaskrun, define: "IORING_SETUP_DEFER_TASKRUN"},
	"setupNoSQArray":    {value: setupNoSQArray, observed: "TestSetupNoSQArray"},

	"featSingleMmap":   {value: featSingleMmap, define: "IORING_FEAT_SINGLE_MMAP"},
	"featNodrop":       {value: featNodrop, define: "IORING_FEAT_NODROP"},
	"featSubmitStable": {value: featSubmitStable, define: "IORING_FEAT_SUBMIT_STABLE"},
	"featFastPoll":     {value: featFastPoll, define: "IORING_FEAT_FAST_POLL"},
	"featExtArg":       {value: featExtArg, define: "IORING_FEAT_EXT_ARG"},

	"enterGetEvents":      {value: enterGetEvents, define: "IORING_ENTER_GETEVENTS"},
	"enterExtArg":         {value: enterExtArg, define: "IORING_ENTER_EXT_ARG"},
	"enterRegisteredRing": {value: enterRegisteredRing, define: "IORING_ENTER_REGISTERED_RING"},

	"sqCQOverflow": {value: sqCQOverflow, define: "IORING_SQ_CQ_OVERFLOW"},
	"sqTaskrun":    {value: sqTaskrun, define: "IORING_SQ_TASKRUN"},

	"offSQRing": {value: offSQRing, define: "IORING_OFF_SQ_RING"},
	"offSQEs":   {value: offSQEs, define: "IORING_OFF_SQES"},

	"registerProbe":        {value: registerProbe, enum: "IORING_REGISTER_PROBE"},
	"registerRestrictions": {value: registerRestrictions, enum: "IORING_REGISTER_RESTRICTIONS"},
	"registerEnableRings":  {value: registerEnableRings, enum: "IORING_REGISTER_ENABLE_RINGS"},
	"registerRingFDs":      {value: registerRingFDs, enum: "IORING_REGISTER_RING_FDS"},
	"unregisterRingFDs":    {value: unregisterRingFDs, enum: "IORING_UNREGISTER_RING_FDS"},
	"registerPbufRing":     {value: registerPbufRing, enum: "IORING_REGISTER_PBUF_RING"},
	"unregisterPbufRing":   {value: unregisterPbufRing, enum: "IORING_UNREGISTER_PBUF_RING"},

	"restrictionRegisterOp": {value: restrictionRegisterOp, enum: "IORING_RESTRICTION_REGISTER_OP"},
	"restrictionSQEOp":      {value: restrictionSQEOp, enum: "IORING_RESTRICTION_SQE_OP"},
	"restrictionSQEFlags":   {value: restrictionSQEFlags, enum: "IORING_RESTRICTION_SQE_FLAGS_ALLOWED"},

	"acceptMultishot":  {value: acceptMultishot, define: "IORING_ACCEPT_MULTISHOT"},
	"recvMultishot":    {value: recvMultishot, define: "IORING_RECV_MULTISHOT"},
	"cancelAll":        {value: cancelAll, define: "IORING_ASYNC_CANCEL_ALL"},
	"cancelAny":        {value: cancelAny, define: "IORING_ASYNC_CANCEL_ANY"},
	"pbufRingInc":      {value: pbufRingInc, enum: "IOU_PBUF_RING_INC"},
	"msgRingData":      {value: msgRingData, enum: "IORING_MSG_DATA"},
	"probeOpSupported": {value: probeOpSupported, define: "IO_URING_OP_SUPPORTED"},

	"ringFDAny":         {value: uint64(ringFDAny), observed: "TestRegisteredFD"},
	"maxBufRingEntries": {value: maxBufRingEntries, observed: "TestBufRingEntries"},
	"maxSQEntries":      {value: maxSQEntries, observed: "TestQueueSizes"},
	"maxCQEntries":      {value: maxCQEntries, observed: "TestQueueSizes"},
	"probeOps":          {value: probeOps, observed: "TestOpcodesKnown"},

	"sqeSize":            {value: sqeSize, size: "io_uring_sqe"},
	"sizeofCQE":          {value: sizeofCQE, size: "io_uring_cqe"},
	"sizeofBuf":          {value: sizeofBuf, size: "io_uring_buf"},
	"sizeofParams":       {value: sizeofParams, size: "io_uring_params"},
	"sizeofGetEventsArg": {value: sizeofGetEventsArg, size: "io_uring_getevents_arg"},
	"sizeofRestriction":  {value: sizeofRestriction, size: "io_uring_restriction"},
	"sizeofRsrcUpdate":   {value: sizeofRsrcUpdate, size: "io_uring_rsrc_update"},
	"sizeofBufReg":       {value: sizeofBufReg, size: "io_uring_buf_reg"},
	"sizeofProbe":        {value: sizeofProbe, size: "io_uring_probe"},
	"sizeofProbeOp":      {value: sizeofProbeOp, size: "io_uring_probe_op"},
	"bufRingTailOffset":  {value: bufRingTailOffset, offset: "io_uring_buf_ring.tail"},
}

func TestABIConstantsInKernel(t *testing.T) {
	b := kernelBTF(t)
	for name, c := range constants {
		if c.enum != "" {
			v, ok := b.enums[c.enum]
			require.True(t, ok, "%s: the kernel's BTF has no %s", name, c.enum)
			if strings.HasSuffix(c.enum, "_BIT") {
				v = 1 << v
			}
			require.EqualValues(t, v, c.value, "%s, %s", name, c.enum)
		}
		if c.size != "" {
			size, err := b.structSize(c.size)
			require.NoError(t, err, name)
			require.EqualValues(t, size, c.value, name)
		}
		if c.offset != "" {
			s, member, _ := strings.Cut(c.offset, ".")
			offset, _, err := b.member(s, member)
			require.NoError(t, err, name)
			require.EqualValues(t, offset, c.value, name)
		}
	}
}

func TestABIConstantsInHeader(t *testing.T) {
	header, err := os.ReadFile(headerPath)
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("no " + headerPath + " (package linux-libc-dev)")
	}
	require.NoError(t, err)
	defines := parseDefines(t, string(header))
	for name, c := range constants {
		if c.define != "" {
			v, ok := defines[c.define]
			require.True(t, ok, "%s: the header has no %s", name, c.define)
			require.Equal(t, v, c.value, "%s, %s", name, c.define)
		}
	}
}

// parseDefines evaluates those #defines and enumerators of a C header that are constant expressions; C's and Go's are the same but for the suffixes of
// numbers.
func parseDefines(t *testing.T, header string) map[string]uint64 {
	header = regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(header, " ")
	suffix := regexp.MustCompile(`\b(0[xX][0-9a-fA-F]+|[0-9]+)[uUlL]+\b`)
	bit := regexp.MustCompile(`(?m)^\s*(IOSQE_\w+_BIT)\b`)
	bits := map[string]string{}
	for i, m := range bit.FindAllStringSubmatch(header, -1) {
		bits[m[1]] = constant.MakeInt64(int64(i)).ExactString()
	}
	defines := map[string]uint64{}
	found := regexp.MustCompile(`(?m)^#define[ \t]+(\w+)[ \t]+(.+)$`).FindAllStringSubmatch(header, -1)
	found = append(found, regexp.MustCompile(`(?m)^\s*(IO\w+)\s*=([^,\n]+),`).FindAllStringSubmatch(header, -1)...)
	for _, m := range found {
		expr := suffix.ReplaceAllString(strings.TrimSpace(m[2]), "$1")
		for name, value := range bits {
			expr = regexp.MustCompile(`\b`+name+`\b`).ReplaceAllString(expr, value)
		}
		v, err := types.Eval(token.NewFileSet(), nil, token.NoPos, expr)
		if err != nil || v.Value == nil {
			continue // refers to other names; a name that the table asks for is missed there
		}
		if n, exact := constant.Uint64Val(constant.ToInt(v.Value)); exact {
			defines[m[1]] = n
		}
	}
	require.NotEmpty(t, defines)
	return defines
}

// TestABIConstantsComplete fails when a constant of abi.go is in no table, or in one without a source.
func TestABIConstantsComplete(t *testing.T) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "abi.go", nil, 0)
	require.NoError(t, err)
	found := map[string]bool{}
	for _, decl := range file.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok || d.Tok != token.CONST {
			continue
		}
		for _, spec := range d.Specs {
			for _, name := range spec.(*ast.ValueSpec).Names {
				found[name.Name] = true
				require.Contains(t, constants, name.Name)
			}
		}
	}
	tests := map[string]bool{}
	names, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	for _, name := range names {
		f, err := parser.ParseFile(fset, name, nil, 0)
		require.NoError(t, err)
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok {
				tests[fn.Name.Name] = true
			}
		}
	}
	for name, c := range constants {
		require.True(t, found[name], "%s is not in abi.go", name)
		require.NotEmpty(t, c.enum+c.define+c.size+c.offset+c.observed, name)
		if c.observed != "" {
			require.True(t, tests[c.observed], "%s: there is no test %s", name, c.observed)
		}
	}
}
