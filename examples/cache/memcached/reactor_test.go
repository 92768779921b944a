package memcached

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/codec/memcache"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/reactor/reactortest"
)

// A clock is the store's time in milliseconds.
type clock struct{ atomic.Int64 }

// newServer returns a server of its own, with a clock that stands still.
func newServer(t testing.TB, cfg store.Config, maxItem int) (*Server, *clock) {
	t.Helper()
	now := &clock{}
	now.Store(1_800_000_000_000)
	if cfg.Now == nil {
		cfg.Now = now.Load
	}
	st := store.New(cfg)
	t.Cleanup(st.Close)
	return New(Config{Store: st, DB: st.DB(0), MaxItem: maxItem}), now
}

type memoryConn = reactortest.Conn[memcache.Reply]

func open(t *testing.T, s *Server, cfg reactortest.Config) *memoryConn {
	t.Helper()
	return reactortest.New[memcache.Command](t, s.Connect, cfg)
}

// tell writes commands in one receive and returns the answers.
func tell(t *testing.T, c *memoryConn, commands string) string {
	t.Helper()
	_, err := c.Write([]byte(commands))
	require.NoError(t, err)
	return string(c.Take())
}

// A dialogue is commands and their answers, in which # is any number.
type dialogue []struct{ commands, answers string }

func (d dialogue) run(t *testing.T, c *memoryConn) {
	t.Helper()
	for _, line := range d {
		got := tell(t, c, line.commands)
		if !matches(line.answers, got) {
			require.Equal(t, line.answers, got, "%q", line.commands)
		}
	}
}

// matches compares with a pattern in which # is a number.
func matches(pattern, s string) bool {
	for {
		before, rest, more := strings.Cut(pattern, "#")
		if !strings.HasPrefix(s, before) {
			return false
		}
		s = s[len(before):]
		if !more {
			return s == ""
		}
		digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
		if digits == 0 {
			return false
		}
		s, pattern = s[digits:], rest
	}
}

func TestCutAnywhere(t *testing.T) {
	wire := []byte("set a 5 0 3\r\nabc\r\nget a b\r\nset b 0 0 2\r\nabc\r\nms c 2 k O1\r\n10\r\nma c v D5\r\nmg c v s\r\nincr c 1 noreply\r\ngat 0 c\r\nfoo\r\nmn\r\nquit\r\n")
	const want = "STORED\r\nVALUE a 5 3\r\nabc\r\nEND\r\nCLIENT_ERROR bad data chunk\r\nERROR\r\nHD kc O1\r\nVA 2\r\n15\r\nVA 2 s2\r\n15\r\nVALUE c 0 2\r\n16\r\nEND\r\nERROR\r\nMN\r\n"
	play := func(pieces ...[]byte) string {
		s, _ := newServer(t, store.Config{}, 0)
		c := open(t, s, reactortest.Config{})
		for _, b := range pieces {
			_, err := c.Write(b)
			require.NoError(t, err)
		}
		got := string(c.Take())
		closed, err := c.Closed()
		require.True(t, closed)
		require.NoError(t, err)
		return got
	}
	require.Equal(t, want, play(wire))
	var each [][]byte
	for cut := range wire {
		require.Equal(t, want, play(wire[:cut], wire[cut:]), cut)
		each = append(each, wire[cut:cut+1])
	}
	require.Equal(t, want, play(each...))
}

// Time goes by, which the comparison with memcached cannot wait for.
func TestExpiry(t *testing.T) {
	s, now := newServer(t, store.Config{}, 0)
	c := open(t, s, reactortest.Config{})
	dialogue{
		{"set a 0 10 1\r\na\r\nset b 0 0 1\r\nb\r\nms c 1 T1800000005\r\nc\r\n", "STORED\r\nSTORED\r\nHD\r\n"},
		{"mg a t\r\nmg b t\r\nmg c t\r\n", "HD t10\r\nHD t-1\r\nHD t5\r\n"},
	}.run(t, c)
	now.Add(4001)
	dialogue{{"mg a t\r\nmg b t\r\nmg c t\r\nme a\r\n", "HD t6\r\nHD t-1\r\nHD t1\r\nME a exp=-6 la=# cas=# fetch=yes cls=# size=#\r\n"}}.run(t, c)
	now.Add(1000)
	dialogue{
		{"mg c t\r\nget a b c\r\n", "EN\r\nVALUE a 0 1\r\na\r\nVALUE b 0 1\r\nb\r\nEND\r\n"},
		{"touch a 100\r\ngat 7 b\r\nmg b T0 t\r\nmg b T9 t\r\nmg b t T1\r\n", "TOUCHED\r\nVALUE b 0 1\r\nb\r\nEND\r\nHD t-1\r\nHD t9\r\nHD t9\r\n"},
	}.run(t, c)
	now.Add(60_000)
	dialogue{{"get a b\r\n", "VALUE a 0 1\r\na\r\nEND\r\n"}}.run(t, c)
	now.Add(60_000)
	dialogue{{"get a b\r\n", "END\r\n"}}.run(t, c)
}

func TestFlushAfterDelay(t *testing.T) {
	s, now := newServer(t, store.Config{}, 0)
	c := open(t, s, reactortest.Config{})
	dialogue{{"set a 0 0 1\r\na\r\nflush_all 10\r\nset b 0 0 1\r\nb\r\nget a b\r\n", "STORED\r\nOK\r\nSTORED\r\nVALUE a 0 1\r\na\r\nVALUE b 0 1\r\nb\r\nEND\r\n"}}.run(t, c)
	now.Add(9_999)
	dialogue{{"get a\r\n", "VALUE a 0 1\r\na\r\nEND\r\n"}}.run(t, c)
	now.Add(1)
	dialogue{{"get a b\r\nset b 0 0 1\r\nb\r\nget b\r\n", "END\r\nSTORED\r\nVALUE b 0 1\r\nb\r\nEND\r\n"}}.run(t, c)
	dialogue{{"flush_all 10 noreply\r\nset a 0 0 1\r\na\r\nflush_all\r\nset a 0 0 1\r\na\r\n", "STORED\r\nOK\r\nSTORED\r\n"}}.run(t, c)
	now.Add(20_000)
	dialogue{{"get a\r\n", "VALUE a 0 1\r\na\r\nEND\r\n"}}.run(t, c) // the second took the place of the first
}

// One client fetches anew what is missing, stale, or about to expire.
func TestRecache(t *testing.T) {
	s, now := newServer(t, store.Config{}, 0)
	c := open(t, s, reactortest.Config{})
	dialogue{
		{"mg a N30 v t c\r\nmg a N30 v t\r\n", "VA 0 t30 c# W\r\n\r\nVA 0 t30 Z\r\n\r\n"},
		{"ms a 1 T100\r\n1\r\nmg a v R30\r\n", "HD\r\nVA 1\r\n1\r\n"},
	}.run(t, c)
	now.Add(80_000)
	dialogue{
		{"mg a v R30 t\r\nmg a v R30\r\nmg a v\r\n", "VA 1 t20 W\r\n1\r\nVA 1 Z\r\n1\r\nVA 1 Z\r\n1\r\n"},
		{"ms a 1 T100\r\n2\r\nmd a I T50 k O7\r\nmg a v t\r\nmg a v h\r\n", "HD\r\nHD ka O7\r\nVA 1 t50 X W\r\n2\r\nVA 1 h1 Z X\r\n2\r\n"},
		{"mg Zm9v b N5 k v\r\nmg Zm9v b k\r\nmg foo k\r\n", "VA 0 kZm9v b W\r\n\r\nHD kZm9v b Z\r\nHD kZm9v b Z\r\n"},
		{"ma n N0 J5 T30 t v\r\nma n N0 T60 t v\r\n", "VA 1 t30\r\n5\r\nVA 1 t60\r\n6\r\n"},
		{"mg n t\r\nma n D9 T0\r\nmg n t s\r\n", "HD t60\r\nHD\r\nHD t-1 s2\r\n"},
	}.run(t, c)
}

// A value that was fetched before an invalidation is stored as stale.
func TestStoreStale(t *testing.T) {
	s, _ := newServer(t, store.Config{}, 0)
	c := open(t, s, reactortest.Config{})
	old := strings.TrimSuffix(strings.TrimPrefix(tell(t, c, "ms a 1 c T100\r\n1\r\n"), "HD c"), "\r\n")
	dialogue{
		{"md a I T30\r\nmg a v\r\n", "HD\r\nVA 1 X W\r\n1\r\n"},
		{"ms a 1 C" + old + "\r\n2\r\n", "EX\r\n"},
		{"ms a 1 I T99 C" + old + "\r\n2\r\nmg a v t\r\n", "HD\r\nVA 1 t30 Z X\r\n2\r\n"},
	}.run(t, c)
	tooNew := strconv.FormatUint(1<<62, 10)
	dialogue{{"ms a 1 I C" + tooNew + "\r\n2\r\nms no 1 I C5\r\n1\r\n", "EX\r\nNF\r\n"}}.run(t, c)
}

func TestLargestNumbers(t *testing.T) {
	s, _ := newServer(t, store.Config{}, 0)
	dialogue{
		{"set n 0 0 20\r\n18446744073709551615\r\nincr n 1\r\nget n\r\n", "STORED\r\n0\r\nVALUE n 0 20\r\n0                   \r\nEND\r\n"},
		{"set n 0 0 1\r\n5\r\nincr n 18446744073709551610\r\nincr n 0\r\ndecr n 18446744073709551615\r\n", "STORED\r\n18446744073709551615\r\n18446744073709551615\r\n0\r\n"},
	}.run(t, open(t, s, reactortest.Config{}))
}

// A short command with a large answer goes out piece by piece.
func TestLargeGet(t *testing.T) {
	for _, size := range []int{10_000, 100_000, 900_000} {
		s, _ := newServer(t, store.Config{}, 0)
		value := make([]byte, size)
		for i := range value {
			value[i] = byte(i * 7 >> 3)
		}
		rc := open(t, s, reactortest.Config{SocketBuffer: 64 << 10})
		require.Equal(t, "STORED\r\n", tell(t, rc, string(memcache.AppendStore(nil, "set", "k", 7, 0, value))))
		const count = 40
		get := "get" + strings.Repeat(" k nokey", count) + "\r\n"
		item := fmt.Sprintf("VALUE k 7 %d\r\n%s\r\n", size, value)
		answer := strings.Repeat(item, count) + "END\r\n"
		meta := fmt.Sprintf("VA %d kk f7\r\n%s\r\n", size, value)
		for _, drain := range []bool{false, true} {
			rc := open(t, s, reactortest.Config{SocketBuffer: 64 << 10})
			_, err := rc.Write([]byte(get + "mg k k v f\r\nmn\r\n" + get + "mn\r\n"))
			require.NoError(t, err)
			if drain { // the server goes down in the midst: what was begun is finished
				rc.Drain()
			}
			var got strings.Builder
			for {
				require.LessOrEqual(t, rc.Pending(), 256<<10+300_000)
				b := rc.Take()
				if got.Write(b); len(b) == 0 {
					break
				}
			}
			if drain {
				require.True(t, got.String() == answer)
			} else {
				require.True(t, got.String() == answer+meta+"MN\r\n"+answer+"MN\r\n")
			}
		}
		rc = open(t, s, reactortest.Config{SocketBuffer: 64 << 10})
		_, err := rc.Write([]byte(get))
		require.NoError(t, err)
		rc.Close(nil) // a value that was begun is given back
	}
}

// A long list of keys, there or not, lets others have their turn.
func TestManyKeys(t *testing.T) {
	s, _ := newServer(t, store.Config{}, 0)
	const count = 50_000
	for _, tt := range []struct{ key, item string }{{"no", ""}, {"k", "VALUE k 0 1\r\nv\r\n"}} {
		c := open(t, s, reactortest.Config{})
		require.Equal(t, "STORED\r\n", tell(t, c, "set k 0 0 1\r\nv\r\n"))
		_, err := c.Write([]byte("get " + strings.Repeat(tt.key+" ", count) + "\r\nmn\r\nget k\r\n"))
		require.NoError(t, err)
		var got strings.Builder
		for range 100 {
			got.Write(c.Take())
		}
		want := strings.Repeat(tt.item, count) + "END\r\nMN\r\nVALUE k 0 1\r\nv\r\nEND\r\n"
		require.True(t, want == got.String(), "%d bytes, not %d", got.Len(), len(want))
	}
	for _, drain := range []bool{false, true} { // in the midst
		c := open(t, s, reactortest.Config{})
		_, err := c.Write([]byte("get " + strings.Repeat("no ", 20*count) + "\r\n"))
		require.NoError(t, err)
		require.Empty(t, c.Take())
		if !drain {
			c.Close(nil)
			continue
		}
		c.Drain()
		for range 100 {
			c.Pump()
		}
		require.Equal(t, "END\r\n", string(c.Output()))
		closed, err := c.Closed()
		require.True(t, closed)
		require.NoError(t, err)
	}
}

// Large values are joined, and numbers are none.
func TestLargeValues(t *testing.T) {
	s, _ := newServer(t, store.Config{}, 0)
	c := open(t, s, reactortest.Config{})
	value := strings.Repeat("v", 300_000)
	require.Equal(t, "STORED\r\nSTORED\r\nHD\r\n", tell(t, c, string(memcache.AppendStore(nil, "set", "k", 7, 0, value))+
		"append k 0 0 3\r\nend\r\nms k 5 MP\r\nbegin\r\n"))
	require.Equal(t, "VALUE k 7 300008\r\nbegin"+value+"end\r\nEND\r\n", tell(t, c, "get k\r\n"))
	dialogue{
		{"incr k 1\r\nma k\r\n", "CLIENT_ERROR cannot increment or decrement non-numeric value\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n"},
		{"md k I T30\r\nmg k s t f\r\ntouch k 0\r\nmg k t\r\n", "HD\r\nHD s300008 t30 f7 X W\r\nTOUCHED\r\nHD t-1 Z X\r\n"},
		{"delete k\r\nget k\r\n", "DELETED\r\nEND\r\n"},
	}.run(t, c)
}

func TestOutOfMemory(t *testing.T) {
	s, _ := newServer(t, store.Config{MaxMemory: 1 << 20, Policy: store.NoEviction}, 0)
	c := open(t, s, reactortest.Config{})
	value := strings.Repeat("v", 100_000)
	require.Equal(t, "STORED\r\n", tell(t, c, string(memcache.AppendStore(nil, "set", "k", 0, 0, "old"))))
	for i := 0; ; i++ {
		require.Less(t, i, 100)
		got := tell(t, c, string(memcache.AppendStore(nil, "set", "k"+strconv.Itoa(i), 0, 0, value)))
		if got != "STORED\r\n" {
			require.Equal(t, "SERVER_ERROR out of memory storing object\r\n", got)
			break
		}
	}
	require.Equal(t, "SERVER_ERROR out of memory storing object\r\n", tell(t, c, string(memcache.AppendStore(nil, "set", "k", 0, 0, strings.Repeat("v", 500_000)))))
	require.Equal(t, "END\r\n", tell(t, c, "get k\r\n"), "what could not be replaced is gone")
	require.Equal(t, "NOT_STORED\r\n", tell(t, c, "append k0 0 0 500000\r\n"+strings.Repeat("v", 500_000)+"\r\n"))
}

func TestTooLarge(t *testing.T) {
	s, _ := newServer(t, store.Config{}, 1000)
	c := open(t, s, reactortest.Config{})
	large := strings.Repeat("v", 1000)
	dialogue{
		{"set k 0 0 1\r\na\r\nadd k 0 0 1000\r\n" + large + "\r\nget k\r\n", "STORED\r\nSERVER_ERROR object too large for cache\r\nVALUE k 0 1\r\na\r\nEND\r\n"},
		{"set k 0 0 1000 noreply\r\n" + large + "\r\nget k\r\n", "END\r\n"},
		{"set k 0 0 1\r\na\r\nms k 1000 ME q\r\n" + large + "\r\nget k\r\n", "STORED\r\nSERVER_ERROR object too large for cache\r\nEND\r\n"},
		{"set k 0 0 900\r\n" + large[:900] + "\r\nappend k 0 0 100\r\n" + large[:100] + "\r\n", "STORED\r\nNOT_STORED\r\n"},
	}.run(t, c)
}

func TestStats(t *testing.T) {
	s, _ := newServer(t, store.Config{}, 0)
	c := open(t, s, reactortest.Config{})
	tell(t, c, "set a 0 0 1\r\n1\r\nget a b\r\nincr a 1\r\ndelete b\r\ntouch a 0\r\ncas a 0 0 1 99999999\r\n1\r\n")
	got := tell(t, c, "stats\r\n")
	for _, line := range []string{"version 1.6.18", "cmd_get 2", "get_hits 1", "get_misses 1", "cmd_set 2", "incr_hits 1", "delete_misses 1", "touch_hits 1",
		"cas_badval 1", "curr_items 1", "threads 1"} {
		require.Contains(t, got, "STAT "+line+"\r\n")
	}
	require.True(t, strings.HasSuffix(got, "\r\nEND\r\n"))
	require.Equal(t, "RESET\r\n", tell(t, c, "stats reset\r\n"))
	require.Contains(t, tell(t, c, "stats\r\n"), "STAT cmd_get 0\r\n")
	for _, sub := range []string{"settings", "items", "slabs", "sizes", "conns", "detail dump"} {
		got := tell(t, c, "stats "+sub+"\r\n")
		require.True(t, strings.HasSuffix(got, "END\r\n"), "%s: %q", sub, got)
	}
	dialogue{
		{"stats nosuch\r\nstats detail\r\nstats detail on\r\n",
			"ERROR\r\nCLIENT_ERROR usage: stats detail on|off|dump\r\nOK\r\n"},
		{"shutdown\r\nwatch\r\nlru_crawler crawl all\r\nslabs reassign 1 2\r\nslabs automove 0\r\ncache_memlimit 64\r\nlru mode flat\r\n",
			"ERROR: shutdown not enabled\r\nCLIENT_ERROR watch commands not allowed\r\nCLIENT_ERROR lru crawler disabled\r\n" +
				"CLIENT_ERROR slab reassignment disabled\r\nOK\r\nMEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\nERROR\r\n"},
	}.run(t, c)
}

// host carries a session without sockets, and without any work of its own.
type host struct{}

func (host) Wake()        {}
func (host) Dirty()       {}
func (host) OnRing() bool { return true }

// handle returns a function that gives a connection the bytes, as one receive, and takes the answers.
func handle(tb testing.TB, s *Server, wire []byte) func() {
	cfg := &reactor.Config{Pool: buffers.NewPool(), MaxBufferLength: 32 << 20, MaxOutbound: 256 << 10, MaxQueued: 128, MaxMessages: 1 << 20}
	tb.Cleanup(cfg.Pool.Close)
	ses := reactor.NewSession[memcache.Command, memcache.Reply](host{}, cfg, new(memcache.Command))
	ses.Bind(s.Connect(reactor.Peer[memcache.Reply]{Sender: ses.Sender()}))
	return func() {
		for rest := wire; len(rest) > 0; {
			used, _, err := ses.Inbound(rest)
			if used == 0 || err != nil {
				tb.Fatal(used, err)
			}
			rest = rest[used:]
			ses.Flushed()
			ses.Sent(ses.Output().Len())
		}
	}
}

func TestHandlingAllocations(t *testing.T) {
	if buffers.Checked {
		t.Skip("checked builds allocate for their checks")
	}
	s, _ := newServer(t, store.Config{MaxMemory: 64 << 20}, 0)
	value := strings.Repeat("v", 100)
	handle(t, s, memcache.AppendStore(nil, "set", "key", 5, 0, value))()
	handle(t, s, memcache.AppendStore(nil, "set", "n", 0, 0, "10"))()
	for _, command := range []string{
		"get key\r\n", "gets key nokey key\r\n", "gat 100 key\r\n", "mg key v f t s k O1\r\n", "mg nokey\r\n", "incr n 1\r\n", "ma n v\r\n", "touch key 0\r\n",
		string(memcache.AppendStore(nil, "set", "key", 5, 0, value)), string(memcache.AppendMetaSet(nil, "key", "c T0", value)), "md nokey\r\n",
	} {
		f := handle(t, s, []byte(command))
		f()
		require.Zero(t, testing.AllocsPerRun(1000, f), command)
	}
}

// Handling is decoding, the store, and encoding the answer.
func BenchmarkHandling(b *testing.B) {
	const items = 1 << 16
	s, _ := newServer(b, store.Config{MaxMemory: 1 << 30}, 0)
	value := bytes.Repeat([]byte("v"), 64)
	key := func(i int) string { return fmt.Sprintf("key:%012d", i) }
	for i := range items {
		_, _ = s.cfg.DB.Put([]byte(key(i)), store.Bytes(value), store.PutOptions{})
	}
	for _, bb := range []struct {
		name    string
		command func(key string) string
	}{
		{"get", func(key string) string { return "get " + key + "\r\n" }},
		{"mg", func(key string) string { return "mg " + key + " v\r\n" }},
		{"set", func(key string) string { return string(memcache.AppendStore(nil, "set", key, 0, 0, value)) }},
		{"ms", func(key string) string { return string(memcache.AppendMetaSet(nil, key, "T0", value)) }},
	} {
		for _, random := range []bool{false, true} {
			name := bb.name + ", one key"
			if random {
				name = bb.name + ", 65536 keys"
			}
			b.Run(name, func(b *testing.B) {
				const count = 10_000
				var wire []byte
				for range count {
					i := 1
					if random {
						i = rand.IntN(items)
					}
					wire = append(wire, bb.command(key(i))...)
				}
				f := handle(b, s, wire)
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					f()
					n += count
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/command")
			})
		}
	}
}

// Keys of commands that have arrived together are looked at before the first is decoded.
func TestLookahead(t *testing.T) {
	s, _ := newServer(t, store.Config{}, 0)
	c := open(t, s, reactortest.Config{})
	tell(t, c, "get a\r\n"+strings.Repeat("get another-key\r\n", 20))
	for _, key := range s.loops[0].ahead {
		require.Len(t, key, len("another-key"))
	}
}
