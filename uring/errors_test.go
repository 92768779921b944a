package uring

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// childEnv makes the test binary a child that is refused something, and reports what New says.
const childEnv = "PROTORING_URING_TEST_CHILD"

// A refusal is a seccomp filter: the system call, with this opcode as its second argument if it is not negative, fails.
type refusal struct {
	nr    uint32
	op    int
	errno unix.Errno
}

type report struct {
	Err, Cause, Remedy     string
	Errno                  int
	NotSupported           bool
	Restricted, Registered bool
	NOP                    bool // a NOP went through
	Features               string
	FeaturesErr            string // that of a feature
}

func (r refusal) String() string { return fmt.Sprintf("%d %d %d", r.nr, r.op, int(r.errno)) }

func child(mode string) int {
	var rep report
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			if mode == "nofile" {
				if err := exhaustFDs(); err != nil {
					return err
				}
			} else {
				var r refusal
				if _, err := fmt.Sscan(mode, &r.nr, &r.op, (*int)(unsafe.Pointer(&r.errno))); err != nil {
					return err
				}
				if err := r.install(); err != nil {
					return err
				}
			}
			rep.fill()
			return nil
		}()
	}()
	if err := <-done; err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := json.NewEncoder(os.Stdout).Encode(rep); err != nil {
		return 1
	}
	return 0
}

func (rep *report) fill() {
	r, err := New(Options{})
	if err != nil {
		rep.Err = err.Error()
		rep.NotSupported = errors.Is(err, ErrNotSupported)
		var setup *SetupError
		if errors.As(err, &setup) {
			rep.Cause, rep.Remedy = setup.Cause, setup.Remedy
		}
		var errno unix.Errno
		if errors.As(err, &errno) {
			rep.Errno = int(errno)
		}
		f := probeFeatures()
		rep.Features, rep.FeaturesErr = f.String(), f.IncrementalBuffers.Error()
		return
	}
	rep.Restricted, rep.Registered = r.Setup.Restricted, r.Setup.Registered
	sqe := r.SQE()
	sqe.PrepareNop()
	sqe.UserData = 77
	if r.SubmitAndWait(1, patience) == nil {
		first, _ := r.CQEs()
		rep.NOP = len(first) == 1 && first[0] == CQE{UserData: 77}
		r.Seen(len(first))
	}
	if err := r.Close(); err != nil {
		rep.Err = err.Error()
	}
}

// install puts the filter on the calling thread, and takes the right to more privileges from it, without which the kernel wants
// root.
func (r refusal) install() error {
	const nrOffset, opOffset = 0, 24 // of struct seccomp_data: nr, and the lower half of args[1]
	refuse := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(r.errno)}
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	filter := []unix.SockFilter{
		load(nrOffset),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: r.nr, Jt: 1},
		allow,
	}
	if r.op >= 0 {
		filter = append(filter, load(opOffset), unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(r.op), Jt: 1}, allow)
	}
	filter = append(filter, refuse)
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	return nil
}

func exhaustFDs() error {
	const limit = 64
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		return err
	}
	for range limit {
		if _, err := unix.Dup(0); err == unix.EMFILE {
			return nil
		}
	}
	return errors.New("the limit on open files is not reached")
}

func runChild(t *testing.T, mode string) report {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+mode, "GORACE=atexit_sleep_ms=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var rep report
	require.NoError(t, json.Unmarshal(out, &rep), string(out))
	return rep
}

func TestSetupErrors(t *testing.T) {
	const allow = "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile, or use the epoll engine"
	setup := func(errno unix.Errno) string { return refusal{unix.SYS_IO_URING_SETUP, -1, errno}.String() }
	for _, c := range []struct {
		name, mode, cause, remedy string
		errno                     unix.Errno
		notSupported              bool
	}{
		{"EPERM", setup(unix.EPERM), "a seccomp profile forbids io_uring_setup", allow, unix.EPERM, false},
		{"EACCES", setup(unix.EACCES), "a seccomp profile forbids io_uring_setup", allow, unix.EACCES, false},
		{"ENOSYS", setup(unix.ENOSYS), "io_uring_setup is absent, or hidden by a seccomp profile", allow, unix.ENOSYS, true},
		{"ENOMEM", setup(unix.ENOMEM), "memory for rings is refused: the limit on locked memory is ",
			"raise it (ulimit -l, LimitMEMLOCK=, a container's --ulimit memlock), or use fewer loops, or use the epoll engine", unix.ENOMEM, false},
		{"EINVAL", setup(unix.EINVAL), "this kernel's io_uring is too old: " + kernelRelease(), "run Linux 6.0 or newer, or use the epoll engine",
			unix.EINVAL, true},
		{"ENFILE", setup(unix.ENFILE), "the machine has no free file descriptor", "raise sysctl fs.file-max", unix.ENFILE, false},
		{"EMFILE", "nofile", "this process has no free file descriptor", "raise the limit on open files (ulimit -n)", unix.EMFILE, false},
		{"other", setup(unix.EIO), "the kernel refused it", "use the epoll engine", unix.EIO, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if sysctl("/proc/sys/kernel/io_uring_disabled") > 0 && c.errno == unix.EPERM {
				t.Skip("kernel.io_uring_disabled is set: that is the cause named")
			}
			rep := runChild(t, c.mode)
			if c.errno == unix.ENOMEM {
				require.True(t, strings.HasPrefix(rep.Cause, c.cause), rep.Cause)
				limit := strings.TrimPrefix(rep.Cause, c.cause)
				_, err := strconv.Atoi(strings.TrimSuffix(limit, " KiB"))
				require.True(t, limit == "unlimited" || err == nil, limit)
			} else {
				require.Equal(t, c.cause, rep.Cause)
			}
			require.Equal(t, c.remedy, rep.Remedy)
			require.Equal(t, c.errno, unix.Errno(rep.Errno))
			require.Equal(t, c.notSupported, rep.NotSupported)
			require.Equal(t, fmt.Sprintf("uring: no ring: %s (io_uring_setup: %v): %s", rep.Cause, c.errno, rep.Remedy), rep.Err)
			require.Equal(t, rep.Err, rep.Features)
			require.Equal(t, rep.Err, rep.FeaturesErr)
		})
	}
}

// What else the cause can be, which the sysctl, the user and a seccomp filter say.
func TestSetupErrorCauses(t *testing.T) {
	const (
		allow  = "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile, or use the epoll engine"
		member = "sysctl kernel.io_uring_disabled=0, or join the group kernel.io_uring_group, or use the epoll engine"
		audit  = "look into the audit log, or use the epoll engine"
	)
	for _, c := range []struct {
		errno         unix.Errno
		disabled, uid int
		seccomp       bool
		cause, remedy string
	}{
		{unix.EPERM, 2, 0, false, "kernel.io_uring_disabled is 2", "sysctl kernel.io_uring_disabled=0, or use the epoll engine"},
		{unix.EPERM, 2, 1000, true, "kernel.io_uring_disabled is 2", "sysctl kernel.io_uring_disabled=0, or use the epoll engine"},
		{unix.EPERM, 1, 1000, false, "kernel.io_uring_disabled is 1", member},
		{unix.EPERM, 1, 1000, true, "kernel.io_uring_disabled is 1", member},
		{unix.EPERM, 1, 0, false, "kernel.io_uring_disabled is 1", member},
		{unix.EPERM, 1, 0, true, "a seccomp profile forbids io_uring_setup", allow},
		{unix.EPERM, 0, 1000, true, "a seccomp profile forbids io_uring_setup", allow},
		{unix.EPERM, -1, 0, true, "a seccomp profile forbids io_uring_setup", allow},
		{unix.EPERM, 0, 1000, false, "the kernel or a security module forbids io_uring_setup", audit},
		{unix.EACCES, -1, 0, false, "the kernel or a security module forbids io_uring_setup", audit},
		{unix.ENOSYS, -1, 0, false, "this kernel has no io_uring", "run Linux 6.0 or newer with CONFIG_IO_URING, or use the epoll engine"},
		{unix.ENOSYS, 2, 1000, true, "io_uring_setup is absent, or hidden by a seccomp profile", allow},
	} {
		err := os.NewSyscallError("io_uring_setup", c.errno)
		e := explain(err, c.disabled, c.uid, c.seccomp)
		require.Equal(t, &SetupError{Cause: c.cause, Remedy: c.remedy, Err: err}, e, "%+v", c)
		require.Equal(t, c.errno == unix.ENOSYS, errors.Is(e, ErrNotSupported), "%+v", c)
	}
}

func TestSysctl(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sysctl")
	require.Equal(t, -1, sysctl(file), "there is none")
	for text, want := range map[string]int{"0\n": 0, "1\n": 1, "2\n": 2, "2": 2, "": -1, "yes\n": -1} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		require.Equal(t, want, sysctl(file), "%q", text)
	}
	if _, err := os.Stat("/proc/sys/kernel/io_uring_disabled"); err == nil { // Linux 6.6
		require.Contains(t, []int{0, 1, 2}, sysctl(disabledPath))
	}
}

// What a ring can do without.
func TestRefusedRegistrations(t *testing.T) {
	all := report{Restricted: true, Registered: true, NOP: true}
	for _, c := range []struct {
		name string
		op   int
		want func(*report)
	}{
		{"restrictions", registerRestrictions, func(r *report) { r.Restricted = false }},
		{"ring descriptor", registerRingFDs, func(r *report) { r.Registered = false }},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := all
			c.want(&want)
			require.Equal(t, want, runChild(t, refusal{unix.SYS_IO_URING_REGISTER, c.op, unix.EINVAL}.String()))
		})
	}
	t.Run("enabling", func(t *testing.T) {
		rep := runChild(t, refusal{unix.SYS_IO_URING_REGISTER, registerEnableRings, unix.EPERM}.String())
		require.Contains(t, rep.Err, "io_uring_register (ENABLE_RINGS)")
	})
}
