package server

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/protoring/protoring/server/internal/engine"
	"golang.org/x/sys/unix"
)

// Engine is the way to the kernel.
type Engine uint8

// The engines. They behave the same.
const (
	EngineAuto  Engine = iota // io_uring, or epoll where rings are refused
	EngineURing               // io_uring or an error
	EngineEpoll
)

var engineNames = []string{"auto", "io_uring", "epoll"}

// String returns the name that ParseEngine takes.
func (e Engine) String() string {
	if int(e) < len(engineNames) {
		return engineNames[e]
	}
	return fmt.Sprintf("Engine(%d)", uint8(e))
}

// ParseEngine returns the engine named auto, io_uring or epoll.
func ParseEngine(name string) (Engine, error) {
	for i, n := range engineNames {
		if n == name {
			return Engine(i), nil
		}
	}
	return 0, fmt.Errorf("server: no engine %q: want %s", name, strings.Join(engineNames, ", "))
}

// PanicPolicy says what a panic in a reactor or codec does.
type PanicPolicy uint8

const (
	// PanicCloses closes that connection, counts the panic, and logs it with its stack.
	PanicCloses PanicPolicy = iota
	// PanicCrashes leaves the panic to the process.
	PanicCrashes
)

// Config are the choices for a server. The zero value is the default. Durations: zero is the default, negative is off.
type Config struct {
	// Loops is the number of loops: each has a thread, and a ring, of its own. If zero, the number of CPUs that the process may
	// use, at most GOMAXPROCS.
	//
	// GOMAXPROCS should be at least the loops and the goroutines that run at the same time: a loop that comes back from a
	// blocking system call queues behind them otherwise, for milliseconds. The server does not change it.
	Loops int
	// CPUs binds loop i to CPUs[i modulo the length]. If empty, the system chooses.
	CPUs []int
	// Engine chooses the way to the kernel. If zero, io_uring, or epoll with a line in the log where rings are refused.
	Engine Engine
	// BufferAllocationIncrement is the number of bytes by which a ring's memory to receive into grows and shrinks. If zero, 1 MiB.
	BufferAllocationIncrement int
	// MaxReceive is the most bytes of memory to receive into, for each ring. If zero, 64 increments. All rings together take at
	// most half of MaxMemory, but each has one increment.
	MaxReceive int
	// PlainBuffers switches off incremental buffers (Linux 6.12), which are used where the kernel passes a test of them.
	PlainBuffers bool
	// SingleShot switches off multishot receives.
	SingleShot bool
	// MaxMemory is the most bytes that receive buffers, carries and output may take in all. At the bound the connection that
	// holds most is paused, and closed with ErrMemory if that does not help. If zero, a quarter of the memory of the machine or
	// its cgroup.
	MaxMemory int
	// MaxConns is the most connections. Beyond it, connections wait in the listeners' backlogs. If zero, the limit on open
	// files less 64.
	MaxConns int
	// DrainTimeout bounds the drain when Serve's context is done. If zero, 10 s; if negative, it takes as long as it takes.
	DrainTimeout time.Duration
	// Spin is the longest time that a loop without work looks for it before it sleeps. It does so only while that keeps finding
	// some, and no one else wants the CPU: with few connections it more than doubles the rate. If zero, 50 µs; off when
	// GOMAXPROCS is not greater than the number of loops.
	Spin time.Duration
	// HoldP lets a loop keep its P, which is what Go's scheduler lets a thread run Go with, during sleeps that are likely to be short.
	// That saves the scheduler's work to take it away: 5 % of the CPU time or more, at a moderate load. Meanwhile GOMAXPROCS less
	// the number of loops is how many other goroutines can run at once, also where loops have nothing to do: so it is for
	// processes that do little else than serve. Off when GOMAXPROCS is not greater than the number of loops.
	HoldP bool
	// StallTimeout is the time after which a loop that does not come back from a reactor is reported with its stack. If zero,
	// 1 s.
	StallTimeout time.Duration
	// OnPanic says what a panic in a reactor or codec does.
	OnPanic PanicPolicy
	// Logger takes a line for each connection that ends badly, at most some per second, and for what an operator should know. If
	// nil, nothing is logged. It is called on a goroutine of its own: a log that blocks does not hold up a loop.
	Logger *slog.Logger
}

// AcceptMode says which loop serves a new connection.
type AcceptMode uint8

const (
	// AcceptBalanced has one loop accept and hand each connection to the less loaded of two.
	AcceptBalanced AcceptMode = iota
	// AcceptPerLoop gives each loop a socket of its own on the port (SO_REUSEPORT), and the kernel spreads the connections by a
	// hash. It suits many short connections. A unix socket, and one of ListenOn or ListenFile, has no such mode, and is balanced. A
	// port that is taken is an error, but the kernel lets another process of the same user share the port later: it asks only
	// whether all have SO_REUSEPORT.
	AcceptPerLoop
)

// ListenConfig are the choices for a listener. The zero value is the default. Durations: zero is the default, negative is off.
type ListenConfig struct {
	// MaxBufferLength is the most bytes that a message may have, so the most that a connection holds for one that is not whole.
	// A longer one ends the connection. If zero, 32 MiB.
	MaxBufferLength int
	// MaxQueuedOutboundMessages is the most messages (a batch is one) that wait in a connection's Sender. If zero, 128.
	MaxQueuedOutboundMessages int
	// MaxOutbound is the number of encoded bytes at which a connection's reactor is not called any more and nothing is received.
	// A connection holds at most that and the output of one call. If zero, 256 KiB.
	MaxOutbound int
	// Accept says which loop serves a new connection.
	Accept AcceptMode
	// SharePort lets other processes listen on the same port (SO_REUSEPORT). Otherwise a port that is taken is an error, with
	// AcceptPerLoop too.
	SharePort bool
	// Delay switches TCP_NODELAY off.
	Delay bool
	// KeepAlive are TCP's probes of a silent peer. Durations are in whole seconds on the wire.
	KeepAlive KeepAlive
	// UserTimeout is TCP_USER_TIMEOUT: how long sent bytes may stay unacknowledged. If zero, the system's default.
	UserTimeout time.Duration
	// Backlog is the queue of connections that wait to be accepted. If zero, 65536; the system's somaxconn caps it.
	Backlog int
	// ReceiveBuffer and SendBuffer are the sizes of the socket's buffers in bytes (SO_RCVBUF, SO_SNDBUF). If zero, the system
	// tunes them.
	ReceiveBuffer, SendBuffer int
	// IdleTimeout closes a connection on which nothing was received or sent for so long. If zero, off.
	IdleTimeout time.Duration
	// WriteTimeout closes a connection whose peer has taken nothing for so long, with output pending. If zero, 60 s.
	WriteTimeout time.Duration
}

// KeepAlive are TCP's probes of a silent peer.
type KeepAlive struct {
	Idle     time.Duration // silence before the first; if zero 15 s, if negative no probes
	Interval time.Duration // between them; if zero 15 s
	Count    int           // unanswered ones that end the connection; if zero 9
}

// Limits of a turn: what one connection may have done before its neighbours are served.
const (
	turnMessages = 1024
	turnBytes    = 256 << 10
)

const (
	defaultSpin   = 50 * time.Microsecond
	reservedFiles = 64
	minMemory     = 16 << 20
)

func (c Config) withDefaults() (Config, error) {
	procs := runtime.GOMAXPROCS(0)
	if c.Loops == 0 {
		c.Loops = min(procs, runtime.NumCPU())
	}
	if c.Loops < 0 || c.Loops > 1<<10 {
		return c, fmt.Errorf("server: Config.Loops is %d: want 0 to 1024", c.Loops)
	}
	if int(c.Engine) >= len(engineNames) {
		return c, fmt.Errorf("server: Config.Engine is %d: no such engine", c.Engine)
	}
	for _, cpu := range c.CPUs {
		if cpu < 0 || cpu >= 1<<10 {
			return c, fmt.Errorf("server: Config.CPUs names CPU %d", cpu)
		}
	}
	for name, v := range map[string]int{"BufferAllocationIncrement": c.BufferAllocationIncrement, "MaxReceive": c.MaxReceive,
		"MaxMemory": c.MaxMemory, "MaxConns": c.MaxConns} {
		if v < 0 {
			return c, fmt.Errorf("server: Config.%s is %d: want 0 for the default, or more", name, v)
		}
	}
	fill(&c.BufferAllocationIncrement, 1<<20)
	fill(&c.MaxReceive, 64*c.BufferAllocationIncrement)
	if c.MaxMemory == 0 {
		c.MaxMemory = max(physicalMemory()/4, minMemory)
	}
	if c.MaxConns == 0 {
		c.MaxConns = max(openFiles()-reservedFiles, 1)
	}
	c.MaxReceive = min(c.MaxReceive, max(c.MaxMemory/2/c.Loops, c.BufferAllocationIncrement)) // the other half is for connections
	c.MaxConns = min(c.MaxConns, engine.MaxSlots)
	fill(&c.DrainTimeout, 10*time.Second)
	fill(&c.Spin, defaultSpin)
	if procs <= c.Loops {
		c.Spin = -1
	}
	fill(&c.StallTimeout, time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

func (c ListenConfig) withDefaults() (ListenConfig, error) {
	fill(&c.MaxBufferLength, 32<<20)
	fill(&c.MaxQueuedOutboundMessages, 128)
	fill(&c.MaxOutbound, 256<<10)
	fill(&c.Backlog, 65536)
	fill(&c.KeepAlive.Idle, 15*time.Second)
	fill(&c.KeepAlive.Interval, 15*time.Second)
	fill(&c.KeepAlive.Count, 9)
	fill(&c.IdleTimeout, -1)
	fill(&c.WriteTimeout, 60*time.Second)
	for name, v := range map[string]int{"MaxBufferLength": c.MaxBufferLength, "MaxOutbound": c.MaxOutbound, "Backlog": c.Backlog,
		"MaxQueuedOutboundMessages": c.MaxQueuedOutboundMessages, "KeepAlive.Count": c.KeepAlive.Count,
		"ReceiveBuffer": c.ReceiveBuffer, "SendBuffer": c.SendBuffer} {
		if v < 0 || v > math.MaxInt32 && name != "MaxBufferLength" && name != "MaxOutbound" {
			return c, fmt.Errorf("server: ListenConfig.%s is %d: want 0 for the default, or more", name, v)
		}
	}
	if c.Accept > AcceptPerLoop {
		return c, fmt.Errorf("server: ListenConfig.Accept is %d: no such mode", c.Accept)
	}
	return c, nil
}

// fill sets a value that is zero.
func fill[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// openFiles returns the limit on open files.
func openFiles() int {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 1024
	}
	return int(min(lim.Cur, math.MaxInt32))
}

// physicalMemory returns the bytes of memory that the process may use: the machine's, or what its cgroups allow.
func physicalMemory() int {
	limit := cgroupMemory(os.DirFS("/"))
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err == nil {
		limit = min(limit, int(si.Totalram*uint64(si.Unit)))
	}
	return limit
}

// cgroupMemory returns the least limit of memory of the process's cgroups, v2 or v1, and those above them. Without a limit v2 has
// the word max there, and v1 a number that is larger than any machine. A container may see its own group as the root, whatever
// the name in /proc.
func cgroupMemory(root fs.FS) int {
	limit := math.MaxInt
	groups, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(groups)) { // number:controllers:name
		_, line, _ = strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, name, _ := strings.Cut(line, ":")
		top, file := "sys/fs/cgroup", "memory.max"
		if controllers != "" {
			if !slices.Contains(strings.Split(controllers, ","), "memory") {
				continue
			}
			top, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		for name = path.Clean("/" + name); ; name = path.Dir(name) {
			if b, err := fs.ReadFile(root, path.Join(top, name, file)); err == nil {
				if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
					limit = min(limit, n)
				}
			}
			if name == "/" {
				break
			}
		}
	}
	return limit
}

// Errors of a server, and reasons for which connections end.
var (
	ErrClosed       = errors.New("server: closed")                                // Close was called, or Serve twice
	ErrDrainTimeout = errors.New("server: drain timeout")                         // see DrainError
	ErrMemory       = errors.New("server: MaxMemory is reached")                  // the connection held most of it
	ErrIdleTimeout  = errors.New("server: idle timeout")                          //
	ErrWriteTimeout = errors.New("server: the peer takes nothing: write timeout") //
	ErrPanic        = errors.New("server: panic in a reactor or codec")           //
)

// A DrainError says that the drain's deadline came before the last byte was sent. It is an ErrDrainTimeout.
type DrainError struct {
	Cut int // connections that were cut off
}

func (e *DrainError) Error() string {
	return fmt.Sprintf("%v: %d connections cut off", ErrDrainTimeout, e.Cut)
}

// Is makes the error an ErrDrainTimeout.
func (e *DrainError) Is(target error) bool { return target == ErrDrainTimeout }
