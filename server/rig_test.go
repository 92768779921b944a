package server_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
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
	return server.Config{Engine: s.Engine, Loops: s.Loops, PlainBuffers: s.Plain, SingleShot: s.Single, BufferAllocationIncrement: 1 << 20, HoldP: s.Loops == 2}
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

	// How connections serve, for allServed: what a client does until it has been served, and what a loop counts of that.
	speak func(*client)
	count func(*server.Stats) uint64
	some  string // why not all loops serve in this test; if empty, they do
	seen  []server.Stats
}

// build makes a server that has yet to listen and to serve.
func build(t *testing.T, s setup, mod ...func(*server.Config)) *rig {
	t.Helper()
	x := &rig{t: t, setup: s, logs: &logs{}, book: &book{t: t}, done: make(chan error, 1)}
	x.speak = func(c *client) { c.say("are you there?"); c.line() }
	x.count = func(s *server.Stats) uint64 { return s.Messages }
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

// serve runs the server until the test ends, or wait or finish is called. By then each of its loops must have served.
func (x *rig) serve() *rig {
	ctx, cancel := context.WithCancel(context.Background())
	x.stop = func() { x.look(); cancel() }
	go func() { x.done <- x.Serve(ctx) }()
	x.t.Cleanup(func() {
		x.book.gate.open()
		if !x.ended {
			if !x.t.Failed() && x.seen == nil {
				x.allServed()
			}
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
	return startKits(t, s, server.ListenConfig{}, mod...)
}

func startKits(t *testing.T, s setup, cfg server.ListenConfig, mod ...func(*server.Config)) *rig {
	t.Helper()
	x := build(t, s, mod...)
	x.listen("tcp", "127.0.0.1:0", cfg)
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

// Close closes the server.
func (x *rig) Close() error {
	x.look()
	return x.Server.Close()
}

// look keeps what each loop has counted when the server is told to end: afterwards there are no loops to ask.
func (x *rig) look() {
	if x.seen == nil {
		x.seen = x.LoopStats()
	}
}

// finish closes the clients, has all loops serve, and drains the server, which must come to a good end.
func (x *rig) finish() {
	x.t.Helper()
	for _, c := range x.peers { // a server that drains waits for its peers to end their side
		c.Close()
	}
	if x.seen == nil {
		x.allServed()
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
	if len(x.seen) > 1 && x.some == "" {
		require.Equal(x.t, -1, x.idle(x.seen), "a loop has not served: %+v", x.seen)
	}
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

// idle returns the first loop that has not served, or -1.
func (x *rig) idle(loops []server.Stats) int {
	if len(loops) == 0 { // Serve has not begun
		return 0
	}
	return slices.IndexFunc(loops, func(s server.Stats) bool { return x.count(&s) == 0 })
}

const rigTries = 400 // connections, after which each loop has had some: the kernel spreads them by chance

// allServed opens connections until each loop has served some. They stay until then: a balanced server gives the next one to another
// loop. Tests that count connections, or messages, do so before, or add what this one returns: the number of connections.
func (x *rig) allServed() (extra int) {
	x.t.Helper()
	if x.some != "" || x.setup.Loops < 2 {
		return 0
	}
	counted := func() uint64 { s := x.Stats(); return x.count(&s) }
	for ; x.idle(x.LoopStats()) >= 0; extra++ {
		require.Less(x.t, extra, rigTries, "a loop has not served: %+v", x.LoopStats())
		c := x.dial()
		defer c.Close()
		before := counted()
		x.speak(c)
		until(x.t, func() bool { return counted() > before }, "the count")
	}
	return extra
}

// allServed checks that each loop of a child has served.
func (c *child) allServed() {
	c.t.Helper()
	for i, s := range c.ask("stats").Loops {
		require.NotZero(c.t, s.Messages, "loop %d has not served", i)
	}
}

// spread opens at least n connections, and as many as it takes for each loop to have one.
func (x *rig) spread(n int, d *net.Dialer) (clients []*client) {
	x.t.Helper()
	for {
		clients = append(clients, x.dialWith(d))
		if len(clients) < n {
			continue
		}
		until(x.t, func() bool { return x.Stats().Accepted == uint64(len(x.peers)) }, "%d connections", len(x.peers))
		if !slices.ContainsFunc(x.LoopStats(), func(s server.Stats) bool { return s.Conns == 0 }) {
			return clients
		}
		require.Less(x.t, len(clients), n+rigTries, "a loop has no connection: %+v", x.LoopStats())
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
