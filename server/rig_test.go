package server_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

type (
	frame    = codec.Frame
	outbound = reactor.Outbound[codec.Frame]
	peer     = reactor.Peer[codec.Frame]
	status   = reactor.Status
)

const (
	patience  = 30 * time.Second // how long a test waits for what must come
	pollEvery = 100 * time.Microsecond
)

// A setup is a way in which servers run. All of them behave the same.
type setup struct {
	Engine server.Engine
	Loops  int
	Accept server.AcceptMode
	Plain  bool // no incremental buffers
	Single bool // no multishot receive
}

func (s setup) String() string {
	name := fmt.Sprintf("%v-%d", s.Engine, s.Loops)
	for _, o := range []struct {
		is   bool
		name string
	}{{s.Accept == server.AcceptPerLoop, "perloop"}, {s.Plain, "plain"}, {s.Single, "singleshot"}} {
		if o.is {
			name += "-" + o.name
		}
	}
	return name
}

func (s setup) config() server.Config {
	return server.Config{Engine: s.Engine, Loops: s.Loops, PlainBuffers: s.Plain, SingleShot: s.Single, BufferAllocationIncrement: 1 << 20}
}

// kinds are the setups with one loop: for what goes on within a loop.
func kinds() []setup {
	return []setup{
		{Engine: server.EngineURing, Loops: 1},
		{Engine: server.EngineURing, Loops: 1, Plain: true},
		{Engine: server.EngineURing, Loops: 1, Single: true},
		{Engine: server.EngineEpoll, Loops: 1},
	}
}

// engines are one setup for each engine, with two loops.
func engines() []setup {
	return []setup{{Engine: server.EngineURing, Loops: 2}, {Engine: server.EngineEpoll, Loops: 2}}
}

// all are the setups of the whole suite.
func all() []setup {
	var s []setup
	for _, loops := range []int{1, 2, 4} {
		for _, accept := range []server.AcceptMode{server.AcceptBalanced, server.AcceptPerLoop} {
			s = append(s, setup{Engine: server.EngineURing, Loops: loops, Accept: accept}, setup{Engine: server.EngineEpoll, Loops: loops, Accept: accept})
		}
	}
	return append(s,
		setup{Engine: server.EngineURing, Loops: 2, Plain: true},
		setup{Engine: server.EngineURing, Loops: 2, Single: true},
		setup{Engine: server.EngineURing, Loops: 1, Plain: true, Single: true})
}

// over runs body for each setup.
func over(t *testing.T, setups []setup, body func(t *testing.T, s setup)) {
	for _, s := range setups {
		t.Run(s.String(), func(t *testing.T) { body(t, s) })
	}
}

// each runs body for each setup of the suite.
func each(t *testing.T, body func(t *testing.T, s setup)) { over(t, all(), body) }

// fewer is the number of times to do something: less in a short run, or where the race detector makes each take longer.
func fewer(n, short int) int {
	if raceEnabled || testing.Short() {
		return short
	}
	return n
}

// A rig is a server under test.
type rig struct {
	*server.Server
	t     *testing.T
	setup setup
	book  *book
	logs  *logs
	stop  context.CancelFunc
	done  chan error
	err   error
	ended bool
	addr  net.Addr // the first listener's
	peers []*client
}

// build makes a server that has yet to listen and to serve.
func build(t *testing.T, s setup, mod ...func(*server.Config)) *rig {
	t.Helper()
	x := &rig{t: t, setup: s, logs: &logs{}, book: &book{t: t}, done: make(chan error, 1)}
	cfg := s.config()
	cfg.Logger = slog.New(slog.NewTextHandler(x.logs, nil))
	for _, m := range mod {
		m(&cfg)
	}
	var err error
	x.Server, err = server.New(cfg)
	require.NoError(t, err)
	return x
}

// listen makes the server listen for connections of kits.
func (x *rig) listen(network, addr string, cfg server.ListenConfig) net.Addr {
	x.t.Helper()
	return listen(x, network, addr, cfg, x.book.kit)
}

func listen[R reactor.Reactor[frame, frame]](x *rig, network, addr string, cfg server.ListenConfig, connect func(peer) R) net.Addr {
	x.t.Helper()
	cfg.Accept = x.setup.Accept
	a, err := server.Listen(x.Server, network, addr, cfg, connect)
	require.NoError(x.t, err)
	if x.addr == nil {
		x.addr = a
	}
	return a
}

// serve runs the server until the test ends, or wait or finish is called.
func (x *rig) serve() *rig {
	ctx, cancel := context.WithCancel(context.Background())
	x.stop = cancel
	go func() { x.done <- x.Serve(ctx) }()
	x.t.Cleanup(func() {
		x.book.gate.open()
		if !x.ended {
			x.Close()
			x.wait()
		}
		cancel()
		x.book.wg.Wait()
		x.check()
	})
	return x
}

// start is a server of kits on 127.0.0.1.
func start(t *testing.T, s setup, mod ...func(*server.Config)) *rig {
	t.Helper()
	x := build(t, s, mod...)
	x.listen("tcp", "127.0.0.1:0", server.ListenConfig{})
	return x.serve()
}

// startAs is a server of other reactors on 127.0.0.1.
func startAs[R reactor.Reactor[frame, frame]](t *testing.T, s setup, cfg server.ListenConfig, connect func(peer) R, mod ...func(*server.Config)) *rig {
	t.Helper()
	x := build(t, s, mod...)
	listen(x, "tcp", "127.0.0.1:0", cfg, connect)
	return x.serve()
}

// wait returns what Serve returned.
func (x *rig) wait() error {
	x.t.Helper()
	if !x.ended {
		select {
		case x.err = <-x.done:
			x.ended = true
		case <-time.After(patience):
			require.FailNow(x.t, "Serve does not return", "%+v\n%s", x.Stats(), stacks())
		}
	}
	return x.err
}

// finish closes the clients and drains the server, which must come to a good end.
func (x *rig) finish() {
	x.t.Helper()
	for _, c := range x.peers { // a server that drains waits for its peers to end their side
		c.Close()
	}
	x.stop()
	require.NoError(x.t, x.wait(), x.logs.String())
}

// check is what holds at the end of any server.
func (x *rig) check() {
	s := x.Stats()
	require.Zero(x.t, s.Stale, "completions of connections that are gone")
	require.Zero(x.t, s.Overflows)
	require.Zero(x.t, s.Conns, "connections are left")
	require.Empty(x.t, x.book.faults())
}

// until polls until cond holds.
func until(t testing.TB, cond func() bool, format string, args ...any) {
	t.Helper()
	const quick = 30 // looks, before the CPU is left to those that are waited for
	deadline := time.Now().Add(patience)
	for looks := 0; !cond(); looks++ {
		if looks < quick {
			runtime.Gosched()
			continue
		}
		if time.Now().After(deadline) {
			require.FailNow(t, "it does not come: "+fmt.Sprintf(format, args...))
		}
		time.Sleep(pollEvery)
	}
}

// still polls until what get returns has not changed for many looks: whoever changes it waits for somebody else.
func still(t testing.TB, get func() uint64) uint64 {
	t.Helper()
	const looks = 200
	last, same := get(), 0
	until(t, func() bool {
		if now := get(); now == last {
			same++
		} else {
			last, same = now, 0
		}
		return same >= looks
	}, "a state that does not change")
	return last
}

// allServed opens connections until each loop has had some, and has handled messages of them.
func (x *rig) allServed() {
	x.t.Helper()
	served := func() bool {
		for _, s := range x.LoopStats() {
			if s.Messages == 0 {
				return false
			}
		}
		return true
	}
	for tries := 0; !served(); tries++ {
		require.Less(x.t, tries, 400, "a loop has not served: %+v", x.LoopStats())
		c := x.dial()
		defer c.Close()
		before := x.Stats().Messages
		c.echo("are you there?")
		until(x.t, func() bool { return x.Stats().Messages > before }, "the message's count")
	}
}

// A client is the other end of a connection.
type client struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func (x *rig) dial() *client { x.t.Helper(); return x.dialWith(&net.Dialer{}) }

func (x *rig) dialWith(d *net.Dialer) *client {
	x.t.Helper()
	c := dialWith(x.t, d, x.addr)
	x.peers = append(x.peers, c)
	return c
}

// to dials another listener of the server.
func (x *rig) to(addr net.Addr) *client {
	x.t.Helper()
	c := dial(x.t, addr)
	x.peers = append(x.peers, c)
	return c
}

func dial(t testing.TB, addr net.Addr) *client {
	t.Helper()
	return dialWith(t, &net.Dialer{}, addr)
}

func dialWith(t testing.TB, d *net.Dialer, addr net.Addr) *client {
	t.Helper()
	c, err := d.Dial(addr.Network(), reachable(addr))
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(2*patience)))
	t.Cleanup(func() { c.Close() })
	return &client{Conn: c, t: t, r: bufio.NewReader(c)}
}

// reachable replaces an unspecified address.
func reachable(addr net.Addr) string {
	if a, ok := addr.(*net.TCPAddr); ok && a.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", fmt.Sprint(a.Port))
	}
	return addr.String()
}

// slow returns a dialer of clients that can take little without reading.
func slow() *net.Dialer {
	return &net.Dialer{Control: control(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<10) })}
}

func (c *client) say(format string, args ...any) {
	c.t.Helper()
	_, err := fmt.Fprintf(c, format+"\n", args...)
	require.NoError(c.t, err)
}

func (c *client) line() string {
	c.t.Helper()
	s, err := c.r.ReadString('\n')
	require.NoError(c.t, err, "after %q", s)
	return strings.TrimSuffix(s, "\n")
}

func (c *client) echo(text string) {
	c.t.Helper()
	c.say("%s", text)
	require.Equal(c.t, text, c.line())
}

// alive says whether the connection still echoes.
func (c *client) alive() bool {
	if _, err := c.Write([]byte("alive?\n")); err != nil {
		return false
	}
	s, err := c.r.ReadString('\n')
	return err == nil && s == "alive?\n"
}

// end reads to the end of the connection, which must be a good one, and returns what came before it.
func (c *client) end() []byte {
	c.t.Helper()
	b, err := io.ReadAll(c.r)
	require.NoError(c.t, err)
	return b
}

// broken reads to the end of the connection, good or not.
func (c *client) broken() error {
	c.t.Helper()
	_, err := io.Copy(io.Discard, c.r)
	var timeout net.Error
	require.False(c.t, errors.As(err, &timeout) && timeout.Timeout(), "the connection does not end")
	return err
}

// halfClose ends the client's side.
func (c *client) halfClose() {
	c.t.Helper()
	require.NoError(c.t, c.Conn.(interface{ CloseWrite() error }).CloseWrite())
}

// reset ends the connection with a reset, where there is one.
func (c *client) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

// pattern reads n bytes of the pattern, from position pos on, and closes the comparison at the first that differs.
func (c *client) pattern(pos, n int) {
	c.t.Helper()
	buf := make([]byte, 64<<10)
	for n > 0 {
		m, err := c.r.Read(buf[:min(n, len(buf))])
		for got := buf[:m]; len(got) > 0; {
			want := patternAt(pos, len(got))
			if !bytes.Equal(want, got[:len(want)]) {
				require.FailNow(c.t, "other bytes than were sent", "at %d", pos)
			}
			got, pos, n = got[len(want):], pos+len(want), n-len(want)
		}
		if err != nil && n > 0 {
			require.NoError(c.t, err, "at byte %d, %d missing", pos, n)
		}
	}
}

// logs keeps what is logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// lines returns the lines with the text.
func (l *logs) lines(text string) (found []string) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// wait waits for a line with all the texts, and returns it.
func (l *logs) wait(t testing.TB, texts ...string) string {
	t.Helper()
	var line string
	until(t, func() bool {
		for _, candidate := range l.lines(texts[0]) {
			has := true
			for _, text := range texts {
				has = has && strings.Contains(candidate, text)
			}
			if has {
				line = candidate
				return true
			}
		}
		return false
	}, "a log line with %q; there are:\n%s", texts, l.String())
	return line
}

// dialRaw is dial for loads of many connections: the reader is small.
func dialRaw(t testing.TB, addr net.Addr) *client {
	t.Helper()
	c, err := net.Dial(addr.Network(), addr.String())
	require.NoError(t, err)
	return &client{Conn: c, t: t, r: bufio.NewReaderSize(c, 64)}
}
