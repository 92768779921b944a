package redis

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/reactor/reactortest"
)

type memoryConn = reactortest.Conn[resp.Reply]

// open makes a connection in memory.
func open(t *testing.T, c *Server, cfg reactortest.Config) *memoryConn {
	cfg.MaxQueuedOutboundMessages = maxQueuedMessages
	return reactortest.New[resp.Command](t, c.Connect, cfg)
}

// ask writes commands, each a line, in one receive, and returns the replies.
func ask(t *testing.T, rc *memoryConn, lines ...string) string {
	t.Helper()
	_, err := rc.Write(script(lines).bytes(t))
	require.NoError(t, err)
	return string(rc.Take())
}

// Keys of commands that have arrived together are looked at before the first is decoded.
func TestLookahead(t *testing.T) {
	s := newTestServer(t, Config{})
	lines := script{`get a`}
	for range 20 {
		lines = append(lines, `get another-key`)
	}
	ask(t, open(t, s, reactortest.Config{}), lines...)
	for _, key := range s.loops[0].ahead {
		require.Len(t, key, len("another-key"))
	}
}

func TestCutAnywhere(t *testing.T) {
	wire := script{`set a "some value" ex 100`, `get a`, `mget a b`, `foo bar`, `raw PING\r\n`, `subscribe x`, `unsubscribe`, `get`, `ttl a`, `raw *x\r\n`}.bytes(t)
	whole := open(t, newTestServer(t, Config{}), reactortest.Config{})
	_, err := whole.Write(wire)
	require.NoError(t, err)
	want := string(whole.Take())
	require.True(t, strings.HasSuffix(want, ":100\r\n-ERR Protocol error: invalid multibulk length\r\n"), "%q", want)
	ended, err := whole.Closed()
	require.True(t, ended)
	require.NoError(t, err)

	each := open(t, newTestServer(t, Config{}), reactortest.Config{})
	require.NoError(t, each.WriteEach(wire))
	require.Equal(t, want, string(each.Take()))
	for cut := range wire {
		rc := open(t, newTestServer(t, Config{}), reactortest.Config{})
		_, err := rc.Write(wire[:cut])
		require.NoError(t, err)
		_, err = rc.Write(wire[cut:])
		require.NoError(t, err)
		require.Equal(t, want, string(rc.Take()), cut)
	}
}

func TestPublish(t *testing.T) {
	c := newTestServer(t, Config{})
	old, current, publisher := open(t, c, reactortest.Config{}), open(t, c, reactortest.Config{}), open(t, c, reactortest.Config{})
	require.Equal(t, "*3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n", ask(t, old, "subscribe ch"))
	require.Contains(t, ask(t, current, "hello 3", "subscribe other ch"), ">3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:2\r\n")
	require.Equal(t, ":2\r\n:1\r\n:0\r\n", ask(t, publisher, "publish ch hi", "publish other x", "publish nobody x"))
	old.Pump()
	current.Pump()
	require.Equal(t, "*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$2\r\nhi\r\n", string(old.Take()))
	require.Equal(t, ">3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$2\r\nhi\r\n>3\r\n$7\r\nmessage\r\n$5\r\nother\r\n$1\r\nx\r\n", string(current.Take()))

	old.Close(nil)
	require.Equal(t, ":1\r\n", ask(t, publisher, "publish ch hi"))
	current.PeerEnd()
	require.Equal(t, ":0\r\n", ask(t, publisher, "publish ch hi"))
	require.Zero(t, c.hub.count(), "the last subscriber takes the channel with it")
}

// What was published before the end of a subscription, or a change of version, comes before the reply that says so: behind it, a
// RESP2 client would take it for the reply of its next command.
func TestMessagesAreNotOvertaken(t *testing.T) {
	const message = "3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$1\r\nx\r\n"
	for _, s := range []struct{ before, command, reply string }{
		{"ping", "unsubscribe", "*3\r\n$11\r\nunsubscribe\r\n$2\r\nch\r\n:0\r\n+PONG\r\n"},
		{"ping", "unsubscribe ch", "*3\r\n$11\r\nunsubscribe\r\n$2\r\nch\r\n:0\r\n+PONG\r\n"},
		{"ping", "reset", "+RESET\r\n+PONG\r\n"},
		{"ping", "quit", "+OK\r\n"},
		{"hello 3", "hello 2", "*14\r\n$6\r\nserver"},
		{"hello 3", "reset", "+RESET\r\n+PONG\r\n"},
	} {
		c := newTestServer(t, Config{})
		sub, publisher := open(t, c, reactortest.Config{}), open(t, c, reactortest.Config{})
		ask(t, sub, s.before, "subscribe ch")
		require.Equal(t, ":1\r\n", ask(t, publisher, "publish ch x"))
		got := ask(t, sub, s.command, "ping") // in the turn that takes the message from the queue
		kind := "*"
		if s.before == "hello 3" {
			kind = ">"
		}
		require.True(t, strings.HasPrefix(got, kind+message+s.reply), "%s: %q", s.command, got)
	}
}

func TestSlowSubscriber(t *testing.T) {
	for _, s := range []struct {
		size   int // of a message
		reason string
	}{
		{1 << 20, "more than the hard limit of client-output-buffer-limit pubsub waits for it"},
		{0, "its queue is full"},
	} {
		var log bytes.Buffer
		c := newTestServer(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		stop := c.Start()
		slow := open(t, c, reactortest.Config{SocketBuffer: 1 << 10})
		reads, publisher := open(t, c, reactortest.Config{}), open(t, c, reactortest.Config{})
		ask(t, slow, "subscribe ch")
		ask(t, reads, "subscribe ch")
		wire := resp.AppendCommand(nil, "publish", "ch", strings.Repeat("x", s.size))
		published, reply := 0, ":2\r\n"
		for ; reply == ":2\r\n"; published++ {
			_, err := publisher.Write(wire)
			require.NoError(t, err)
			reply = string(publisher.Take())
			reads.Pump()
			require.NotEmpty(t, reads.Take())
			require.LessOrEqual(t, slow.Pending(), 256<<10+s.size+200)
			require.Less(t, published, 100_000, "there must be a bound")
		}
		require.Equal(t, ":1\r\n", reply, "the others still get it")
		require.Equal(t, uint64(1), c.hub.dropped.Load())
		slow.Pump()
		ended, err := slow.Closed()
		require.True(t, ended)
		var unsent *reactor.UnsentError
		require.ErrorAs(t, err, &unsent)
		require.Len(t, c.hub.channels["ch"].subs, 2)
		require.Equal(t, 1, c.hub.channels["ch"].gone)
		for len(c.hub.drops) > 0 { // until it is logged
			reads.Pump()
		}
		stop()
		require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
		require.Contains(t, log.String(), `msg="subscriber dropped"`)
		require.Contains(t, log.String(), `reason="`+s.reason+`"`)
		t.Log(published, "messages of", s.size, "bytes")
	}
}

// A short command with a large reply goes out piece by piece: the server never holds more than a limit and a value of it.
func TestLargeMGet(t *testing.T) {
	c := newTestServer(t, Config{})
	value := bytes.Repeat([]byte("v"), 100_000)
	_, err := c.store.DB(0).Put([]byte("k"), store.Bytes(value), store.PutOptions{})
	require.NoError(t, err)
	const count = 200
	command := "mget" + strings.Repeat(" k nokey", count/2)
	want := "*200\r\n" + strings.Repeat("$100000\r\n"+string(value)+"\r\n$-1\r\n", count/2)
	for _, drain := range []bool{false, true} {
		rc := open(t, c, reactortest.Config{SocketBuffer: 64 << 10})
		_, err = rc.Write(script{command, "ping", command, "echo last"}.bytes(t))
		require.NoError(t, err)
		if drain { // the server goes down in the midst: what was begun is finished
			rc.Drain()
		}
		var got strings.Builder
		for {
			require.LessOrEqual(t, rc.Pending(), 256<<10+100_200)
			b := rc.Take()
			if got.Write(b); len(b) == 0 {
				break
			}
		}
		if drain {
			require.True(t, got.String() == want)
			ended, err := rc.Closed()
			require.True(t, ended)
			require.NoError(t, err)
		} else {
			require.True(t, got.String() == want+"+PONG\r\n"+want+"$4\r\nlast\r\n")
		}
	}
}

func TestCommandTable(t *testing.T) {
	table := newCommands()
	for _, cmd := range table.list {
		require.Same(t, cmd, table.find([]byte(strings.ToUpper(cmd.name))))
		require.Same(t, cmd, table.findPath([]byte(cmd.name)))
		require.NotZero(t, cmd.arity, cmd.name)
		require.True(t, cmd.do != nil || cmd.subs != nil && cmd.arity == -2, cmd.name)
		if cmd.subs != nil {
			for _, sub := range cmd.subs.list {
				require.Same(t, sub, table.findPath([]byte(sub.name)))
			}
		}
	}
	for _, name := range []string{"", "ge", "gett", "get ", "g\x00t", "\x00", "client|id", strings.Repeat("x", 17), "\xc7ET", "GE\xd4"} {
		require.Nil(t, table.find([]byte(name)), name)
	}
	name := []byte("GeT")
	require.Zero(t, testing.AllocsPerRun(100, func() { table.find(name) }))
}

// host carries a session without sockets, and without any work of its own.
type host struct{}

func (host) Wake()        {}
func (host) Dirty()       {}
func (host) OnRing() bool { return true }

// handle returns a function that gives a connection the bytes, as one receive, and takes the replies.
func handle(tb testing.TB, c *Server, wire []byte) func() {
	cfg := &reactor.Config{Pool: buffers.NewPool(), MaxBufferLength: 32 << 20, MaxOutbound: 256 << 10, MaxQueued: 128, MaxMessages: 1 << 20}
	tb.Cleanup(cfg.Pool.Close)
	s := reactor.NewSession[resp.Command, resp.Reply](host{}, cfg, new(resp.Command))
	s.Bind(c.Connect(reactor.Peer[resp.Reply]{Remote: noAddr{}, Sender: s.Sender()}))
	return func() {
		for rest := wire; len(rest) > 0; {
			used, _, err := s.Inbound(rest)
			if used == 0 || err != nil {
				tb.Fatal(used, err)
			}
			rest = rest[used:]
			s.Flushed()
			s.Sent(s.Output().Len())
		}
	}
}

type noAddr struct{}

func (noAddr) Network() string { return "" }
func (noAddr) String() string  { return "" }

func TestHandlingAllocations(t *testing.T) {
	c := newTestServer(t, Config{MaxMemory: 64 << 20})
	value := strings.Repeat("v", 100)
	handle(t, c, script{"set key " + value}.bytes(t))()
	for _, s := range []struct {
		command string
		want    float64
	}{
		{"get key", 0},
		{"GET nokey", 0},
		{"set key " + value, 0},
		{"SET key " + value + " EX 100", 0},
		{"mget key key nokey", 0},
		{"exists key", 0},
		{"expire key 100", 0},
		{"ttl key", 0},
		{"ping", 0},
		{"incr counter", 0},
		{"getex key ex 100", 0},
		{"append short x", 0},
		{"getrange key 1 5", 0},
		{"strlen key", 0},
		{"del nokey", 0},
		{"type key", 0},
		{"echo hello", 0},
		{"publish nobody message", 0},
	} {
		f := handle(t, c, script{s.command}.bytes(t))
		f()
		require.Equal(t, s.want, testing.AllocsPerRun(1000, f), s.command)
	}
}

// Handling is decoding, finding the command, the store, and encoding the reply.
func BenchmarkHandling(b *testing.B) {
	const keys = 1 << 16
	value := strings.Repeat("v", 64)
	c := newTestServer(b, Config{MaxMemory: 1 << 30})
	defer c.Start()() // it keeps the clock, which each command would look at otherwise
	key := func(i int) string { return fmt.Sprintf("key:%012d", i) }
	for i := range keys {
		_, _ = c.store.DB(0).Put([]byte(key(i)), store.Bytes([]byte(value)), store.PutOptions{})
	}
	run := func(name string, count int, command func(i int) []string) {
		b.Run(name, func(b *testing.B) {
			var wire []byte
			for i := range count {
				wire = resp.AppendCommand(wire, command(i)...)
			}
			f := handle(b, c, wire)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				f()
				n += count
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/command")
		})
	}
	for _, count := range []int{1, 100} {
		batch := "/batch of " + strconv.Itoa(count)
		run("ping"+batch, count, func(int) []string { return []string{"PING"} })
		run("get, one key"+batch, count, func(int) []string { return []string{"GET", key(1)} })
		run("get, no key"+batch, count, func(int) []string { return []string{"GET", "nokey"} })
		run("set, one key"+batch, count, func(int) []string { return []string{"SET", key(1), value} })
	}
	random := func() string { return key(rand.IntN(keys)) }
	run("get, 65536 keys", 10_000, func(int) []string { return []string{"GET", random()} })
	run("set, 65536 keys", 10_000, func(int) []string { return []string{"SET", random(), value} })
}
