package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// childEnv makes the test binary a server, described in JSON, that is controlled by lines on its standard input.
const childEnv = "PROTORING_SERVER_TEST_CHILD"

// A plan is what a child does.
type plan struct {
	Setup  setup
	Config server.Config
	Listen server.ListenConfig
	Echo   bool       // bounce, not kit
	Files  uint64     // the limit on open files
	Refuse unix.Errno // what io_uring_setup answers
	Late   bool       // after a first server was started
	Procs  int        // GOMAXPROCS
	Busy   int        // goroutines that compute all the time
}

// A report is a child's answer.
type report struct {
	Addr                string `json:",omitempty"` // of the server
	First               string `json:",omitempty"` // of the one that was started first
	Engine              string
	Stats               server.Stats
	Loops               []server.Stats
	HeapAlloc, Mallocs  uint64
	Goroutines, Threads int
	Err                 string `json:",omitempty"` // of New, Listen or Serve
	Log                 string `json:",omitempty"`
}

func childMain(arg string) int {
	var p plan
	if err := json.Unmarshal([]byte(arg), &p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	out := json.NewEncoder(os.Stdout)
	if err := p.run(out, os.Stdin); err != nil {
		_ = out.Encode(report{Err: err.Error()})
		return 1
	}
	return 0
}

func (p *plan) run(out *json.Encoder, in io.Reader) error {
	if p.Files > 0 {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: p.Files, Max: p.Files}); err != nil {
			return err
		}
	}
	if p.Procs > 0 {
		runtime.GOMAXPROCS(p.Procs)
	}
	for range p.Busy {
		go func() {
			for n := uint64(1); ; n = n*6364136223846793005 + 1 {
				if n == 0 {
					fmt.Fprintln(os.Stderr, "never")
				}
			}
		}()
	}
	var first string
	if p.Late {
		addr, _, stop, err := p.start()
		if err != nil {
			return err
		}
		defer stop()
		first = addr.String()
	}
	if p.Refuse != 0 {
		if err := refuseSetup(p.Refuse); err != nil {
			return err
		}
	}
	log := &logs{}
	p.Config.Logger = slog.New(slog.NewTextHandler(io.MultiWriter(log, os.Stderr), nil))
	addr, srv, stop, err := p.start()
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	send := func(err error) error {
		rep := report{Addr: addr.String(), First: first, Engine: srv.Engine().String(), Stats: srv.Stats(), Loops: srv.LoopStats(), Log: log.String()}
		if err != nil {
			rep.Err = err.Error()
		}
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		rep.HeapAlloc, rep.Mallocs, rep.Goroutines = mem.HeapAlloc, mem.Mallocs, runtime.NumGoroutine()
		return out.Encode(rep)
	}
	if err := send(nil); err != nil {
		return err
	}
	for lines.Scan() {
		switch lines.Text() {
		case "gc":
			runtime.GC()
			runtime.GC()
		case "stop":
			return send(stop())
		}
		if err := send(nil); err != nil {
			return err
		}
	}
	return nil
}

// start starts a server, and returns a function that drains it.
func (p *plan) start() (net.Addr, *server.Server, func() error, error) {
	srv, err := server.New(p.Config)
	if err != nil {
		return nil, nil, nil, err
	}
	p.Listen.Accept = p.Setup.Accept
	var addr net.Addr
	if p.Echo {
		addr, err = server.Listen(srv, "tcp", "127.0.0.1:0", p.Listen, newBounce)
	} else {
		addr, err = server.Listen(srv, "tcp", "127.0.0.1:0", p.Listen, func(peer peer) *thrifty { return &thrifty{kit{peer: peer}} })
	}
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx) }()
	for srv.Engine() == server.EngineAuto || len(srv.LoopStats()) == 0 { // until Serve has begun
		select {
		case err := <-done:
			cancel()
			return nil, nil, nil, err
		default:
			time.Sleep(pollEvery)
		}
	}
	return addr, srv, func() error { cancel(); return <-done }, nil
}

// thrifty is a kit without a book.
type thrifty struct{ kit }

func (k *thrifty) OnInbound(line *frame, out *outbound) status { return k.command(line, out) }
func (k *thrifty) OnRoom(out *outbound) status                 { k.produce(out); return 0 }
func (k *thrifty) OnClose(error)                               {}

// refuseSetup puts a seccomp filter on all threads: io_uring_setup fails.
func refuseSetup(errno unix.Errno) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_IO_URING_SETUP, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // the filter is put on all threads from one that may gain no privileges
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	return nil
}

// A child is a server in a process of its own.
type child struct {
	t      testing.TB
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *json.Decoder
	stderr bytes.Buffer // to be read when the child has ended
	report              // the last one
	ended  bool
}

// spawn starts a child. With under, it is the last argument of that command.
func spawn(t testing.TB, p plan, under ...string) *child {
	t.Helper()
	c := launch(t, p, under...)
	c.next()
	require.Empty(t, c.Err)
	return c
}

// launch is spawn of a child that may fail to start.
func launch(t testing.TB, p plan, under ...string) *child {
	t.Helper()
	cfg := p.Setup.config()
	p.Config.Engine, p.Config.Loops, p.Config.PlainBuffers, p.Config.SingleShot = cfg.Engine, cfg.Loops, cfg.PlainBuffers, cfg.SingleShot
	arg, err := json.Marshal(p)
	require.NoError(t, err)
	exe, err := os.Executable()
	require.NoError(t, err)
	args := append(under, exe)
	c := &child{t: t, cmd: exec.Command(args[0], args[1:]...)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(arg), "GORACE=atexit_sleep_ms=0")
	c.cmd.Stderr = &c.stderr
	c.in, err = c.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	c.out = json.NewDecoder(out)
	require.NoError(t, c.cmd.Start())
	t.Cleanup(func() { c.kill() })
	return c
}

func (c *child) kill() {
	if !c.ended {
		c.ended = true
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

// next reads a report.
func (c *child) next() *report {
	c.t.Helper()
	c.report = report{}
	timer := time.AfterFunc(2*patience, func() { _ = c.cmd.Process.Signal(unix.SIGABRT) })
	defer timer.Stop()
	if err := c.out.Decode(&c.report); err != nil {
		c.ended = true
		werr := c.cmd.Wait()
		require.FailNow(c.t, "the child does not answer", "%v, %v\n%s", err, werr, c.stderr.String())
	}
	return &c.report
}

// ask gives a command and returns the answer.
func (c *child) ask(command string) *report {
	c.t.Helper()
	_, err := io.WriteString(c.in, command+"\n")
	require.NoError(c.t, err)
	return c.next()
}

// finish drains the child's server, which must come to a good end.
func (c *child) finish() *report {
	c.t.Helper()
	rep := c.ask("stop")
	require.Empty(c.t, rep.Err)
	c.exit()
	require.Zero(c.t, rep.Stats.Conns)
	require.Zero(c.t, rep.Stats.Stale)
	return rep
}

// exit waits for the child's end.
func (c *child) exit() {
	c.t.Helper()
	c.in.Close()
	c.ended = true
	var exit *exec.ExitError
	if err := c.cmd.Wait(); !errors.As(err, &exit) {
		require.NoError(c.t, err)
	}
}

func (c *child) dial() *client { c.t.Helper(); return dial(c.t, c.tcp()) }

func (c *child) tcp() net.Addr { return tcpAddr(c.t, c.Addr) }

func tcpAddr(t testing.TB, addr string) net.Addr {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	require.NoError(t, err)
	return a
}

// pid is that of the server: the child, or what runs under it.
func (c *child) pid() int {
	pid := c.cmd.Process.Pid
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			return n
		}
	}
	return pid
}

// memory returns a value in bytes of a file in the child's /proc directory.
func (c *child) memory(file, name string) int {
	c.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", c.pid(), file))
	require.NoError(c.t, err)
	for line := range strings.Lines(string(b)) {
		if key, value, _ := strings.Cut(line, ":"); key == name {
			var n int
			_, err := fmt.Sscan(value, &n)
			require.NoError(c.t, err)
			return n << 10
		}
	}
	require.FailNow(c.t, "no "+name)
	return 0
}

// threads returns the names of the process's threads.
func threads(t testing.TB, pid int) []string {
	t.Helper()
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/comm", pid))
	require.NoError(t, err)
	var names []string
	for _, path := range paths {
		if name, err := os.ReadFile(path); err == nil {
			names = append(names, strings.TrimSpace(string(name)))
		}
	}
	return names
}
