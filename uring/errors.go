package uring

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotSupported is what a missing feature of the kernel is:
// errors.Is(err, uring.ErrNotSupported) for each [NotSupportedError].
var ErrNotSupported = errors.ErrUnsupported

// A NotSupportedError names a feature that this kernel lacks, or has with a fault.
type NotSupportedError struct {
	Feature string
	Since   string // the first mainline release that has it; distributions backport
	Err     error  // what the kernel answered
}

func (e *NotSupportedError) Error() string {
	return fmt.Sprintf("uring: %s: not usable on this kernel (Linux %s brought it; this is %s): %v", e.Feature, e.Since, kernelRelease(), e.Err)
}

// Is makes the error an ErrNotSupported.
func (e *NotSupportedError) Is(target error) bool { return target == ErrNotSupported }

// Unwrap returns what the kernel answered.
func (e *NotSupportedError) Unwrap() error { return e.Err }

// A SetupError says why the kernel refuses a ring, and what can be done about it.
type SetupError struct {
	Cause  string // in a person's words
	Remedy string
	Err    error // the system call's error
}

func (e *SetupError) Error() string {
	return fmt.Sprintf("uring: no ring: %s (%v): %s", e.Cause, e.Err, e.Remedy)
}

// Unwrap returns the system call's error.
func (e *SetupError) Unwrap() error { return e.Err }

// Is makes a kernel that is too old, or has no io_uring, an ErrNotSupported.
func (e *SetupError) Is(target error) bool {
	return target == ErrNotSupported && (errors.Is(e.Err, unix.ENOSYS) || errors.Is(e.Err, unix.EINVAL))
}

func newSetupError(err error) *SetupError {
	return explain(err, sysctl(disabledPath), os.Geteuid(), seccompActive())
}

const disabledPath = "/proc/sys/kernel/io_uring_disabled" // Linux 6.6

// explain says why err was the answer, to a process of user uid, with or without a seccomp filter, where the sysctl is disabled, or -1 for
// none.
func explain(err error, disabled, uid int, seccomp bool) *SetupError {
	e := &SetupError{Err: err}
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		switch {
		case disabled == 2:
			e.Cause, e.Remedy = "kernel.io_uring_disabled is 2", "sysctl kernel.io_uring_disabled=0, or use the epoll engine"
		case disabled == 1 && (uid != 0 || !seccomp): // root of a user namespace is refused too
			e.Cause = "kernel.io_uring_disabled is 1"
			e.Remedy = "sysctl kernel.io_uring_disabled=0, or join the group kernel.io_uring_group, or use the epoll engine"
		case seccomp:
			e.Cause = "a seccomp profile forbids io_uring_setup"
			e.Remedy = "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile, or use the epoll engine"
		default:
			e.Cause, e.Remedy = "the kernel or a security module forbids io_uring_setup", "look into the audit log, or use the epoll engine"
		}
	case errors.Is(err, unix.ENOSYS):
		e.Cause, e.Remedy = "this kernel has no io_uring", "run Linux 6.0 or newer with CONFIG_IO_URING, or use the epoll engine"
		if seccomp {
			e.Cause, e.Remedy = "io_uring_setup is absent, or hidden by a seccomp profile",
				"allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile, or use the epoll engine"
		}
	case errors.Is(err, unix.ENOMEM):
		e.Cause = fmt.Sprintf("memory for rings is refused: the limit on locked memory is %s", memlock())
		e.Remedy = "raise it (ulimit -l, LimitMEMLOCK=, a container's --ulimit memlock), or use fewer loops, or use the epoll engine"
	case errors.Is(err, unix.EMFILE):
		e.Cause, e.Remedy = "this process has no free file descriptor", "raise the limit on open files (ulimit -n)"
	case errors.Is(err, unix.ENFILE):
		e.Cause, e.Remedy = "the machine has no free file descriptor", "raise sysctl fs.file-max"
	case errors.Is(err, unix.EINVAL):
		e.Cause = "this kernel's io_uring is too old: " + kernelRelease()
		e.Remedy = "run Linux 6.0 or newer, or use the epoll engine"
	default:
		e.Cause, e.Remedy = "the kernel refused it", "use the epoll engine"
	}
	return e
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	release, _, _ := bytes.Cut(u.Release[:], []byte{0})
	return string(release)
}

// sysctl returns the number in the file, or -1.
func sysctl(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return -1
	}
	return n
}

func seccompActive() bool {
	mode, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	return err == nil && mode != 0
}

func memlock() string {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &lim); err != nil {
		return "unknown"
	}
	if lim.Cur == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return fmt.Sprintf("%d KiB", lim.Cur/1024)
}
