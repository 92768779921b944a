package load

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what processes had used of the machine at some time.
type usage struct {
	at      time.Time
	own     time.Duration // CPU of this process
	machine time.Duration // CPU of all processes; in steps of 10 ms
	server  time.Duration // CPU
	status  status        // of the server
}

func readUsage(pid int) (u usage, err error) {
	u.at = time.Now()
	if u.own, err = cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID); err != nil {
		return u, fmt.Errorf("own CPU time: %w", err)
	}
	if u.machine, err = machineTime(); err != nil {
		return u, fmt.Errorf("CPU time of the machine: %w", err)
	}
	if pid <= 0 {
		return u, nil
	}
	// A process has a clock of its CPU time, in nanoseconds and with the threads that have ended: the number of its clock is made
	// of its ID as clock_getcpuclockid(3) does. /proc/PID/stat counts in steps of 10 ms.
	const cpuClockSched = 2
	if u.server, err = cpuTime(int32(^pid<<3 | cpuClockSched)); err != nil {
		return u, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	u.status, err = readStatus(pid)
	return u, err
}

// status is what /proc says of a process. Context switches are those of the threads that there are.
type status struct {
	rss, peak              int64 // bytes
	voluntary, involuntary int64
	threads                int
}

func readStatus(pid int) (s status, err error) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return s, fmt.Errorf("the server's process: %w", err)
	}
	for _, task := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", pid, task.Name()))
		if err != nil {
			continue // it has ended
		}
		s.threads++
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(line, ":")
			fields := strings.Fields(value)
			if len(fields) == 0 {
				continue
			}
			n, err := strconv.ParseInt(fields[0], 10, 64)
			if err != nil {
				continue
			}
			switch key {
			case "VmRSS":
				s.rss = n << 10
			case "VmHWM":
				s.peak = n << 10
			case "voluntary_ctxt_switches":
				s.voluntary += n
			case "nonvoluntary_ctxt_switches":
				s.involuntary += n
			}
		}
	}
	return s, nil
}

func cpuTime(clock int32) (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, err
	}
	return time.Duration(ts.Nano()), nil
}

// machineTime is the time for which the machine's CPUs were busy.
func machineTime() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	const (
		tick         = time.Second / 100 // USER_HZ
		idle, iowait = 3, 4              // fields that are not busy
		steal        = 7                 // nor are those from here on: other machines', or in the others already
	)
	line, _, _ := strings.Cut(string(b), "\n")
	var ticks int64
	for i, f := range strings.Fields(line)[1:] {
		if i == idle || i == iowait || i >= steal {
			continue
		}
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// A syscallCounter counts the system calls of a process, with a counter of the kernel on each of its threads.
type syscallCounter struct{ fds []int }

// countSyscalls makes the counter. It is called on a locked thread that ends with its goroutine.
func countSyscalls(pid int) (*syscallCounter, error) {
	id, err := tracepointID()
	if err != nil {
		return nil, fmt.Errorf("count system calls: root is needed, and a kernel with tracepoints: %w", err)
	}
	config, err := strconv.ParseUint(strings.TrimSpace(string(id)), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("count system calls: %w", err)
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, fmt.Errorf("count system calls: %w", err)
	}
	s := &syscallCounter{}
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		if err != nil {
			continue
		}
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: config, Bits: unix.PerfBitDisabled | unix.PerfBitInherit}
		attr.Size = uint32(binary.Size(attr))
		fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err == unix.ESRCH {
			continue // the thread has ended
		}
		if err != nil {
			_ = s.close()
			return nil, fmt.Errorf("count system calls: %w", os.NewSyscallError("perf_event_open", err))
		}
		s.fds = append(s.fds, fd)
	}
	return s, nil
}

const (
	tracefs      = "/sys/kernel/tracing"
	tracepointAt = tracefs + "/events/raw_syscalls/sys_enter/id"
)

// tracepointID returns what the kernel calls the tracepoint that each system call passes. The file system that knows is often not
// mounted. Then it is mounted where only this thread sees it, and is gone when the thread ends.
func tracepointID() ([]byte, error) {
	id, err := os.ReadFile(tracepointAt)
	if err == nil {
		return id, nil
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, os.NewSyscallError("mount", err)
	}
	if err := unix.Mount("tracefs", tracefs, "tracefs", 0, ""); err != nil {
		return nil, os.NewSyscallError("mount of tracefs", err)
	}
	return os.ReadFile(tracepointAt)
}

func (s *syscallCounter) start() error {
	for _, fd := range s.fds {
		if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
			return fmt.Errorf("count system calls: %w", err)
		}
	}
	return nil
}

// stop returns the number of system calls since start.
func (s *syscallCounter) stop() (int64, error) {
	var sum int64
	for _, fd := range s.fds {
		var b [8]byte
		if _, err := unix.Read(fd, b[:]); err != nil {
			return 0, fmt.Errorf("count system calls: %w", err)
		}
		sum += int64(binary.NativeEndian.Uint64(b[:]))
	}
	return sum, nil
}

func (s *syscallCounter) close() error {
	var first error
	for _, fd := range s.fds {
		if err := unix.Close(fd); err != nil && first == nil {
			first = err
		}
	}
	s.fds = nil
	return first
}
