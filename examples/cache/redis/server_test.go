package redis

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor/reactortest"
	"github.com/protoring/protoring/server"
)

// Scripts of clients that are not let in at once.
func TestPasswordAgainstRedis(t *testing.T) {
	redis := startRedis(t, "--requirepass", "secret")
	addr, _ := startServer(t, Config{RequirePass: "secret"}, server.Config{Loops: 2})
	for _, s := range []script{
		{`get a`, `ping`, `foo`, `get`, `client id`, `client foo`, `auth`, `auth x`, `auth secret x y`, `auth default x`, `auth x secret`, `auth default secret`, `ping`},
		{`auth secret`, `ping`, `auth wrong`, `ping`, `reset`, `ping`, `auth secret`, `ping`}, {`hello`, `hello 3`, `hello 3 auth default x`, `hello 3 auth x secret`, `hello 3 auth default secret`, `ping`},
		{`hello 2 setname x`, `hello 2 auth default secret setname x`, `client getname`}, {`multi`, `exec`, `quit`}, {`reset`, `quit`}, {`subscribe x`, `publish a b`, `watch a`, `command count x`, `auth secret`, `multi`, `auth wrong`, `ping`, `exec`},
		{`auth secret`, `config get requirepass`, `config set requirepass ""`, `config get requirepass`, `auth x`, `config set requirepass secret`, `ping`},
		{`client reply off`, `auth secret`, `ping`}, {`quit`}, {`hello 3 foo`}, {`hello 4`}, {"auth " + strings.Repeat("x", 10_000)},
	} {
		want, got := playAs(t, redis, s), playAs(t, addr, s)
		require.Equal(t, hideIDs(want), hideIDs(got), "%q", []string(s))
	}
}

// playAs is play without a command before.
func playAs(t testing.TB, addr string, s script) string {
	c := dial(t, addr)
	defer c.conn.Close()
	c.send(s.bytes(t))
	_, _ = c.conn.Write(resp.AppendCommand(nil, "ECHO")) // its error is the end, before and behind AUTH
	var all strings.Builder
	for {
		text, ok := c.reply()
		if all.WriteString(text); !ok || strings.Contains(text, "'echo'") {
			return all.String()
		}
	}
}

func TestMaxClients(t *testing.T) {
	addr, s := startServer(t, Config{MaxClients: 2}, server.Config{Loops: 2})
	a, b := dial(t, addr), dial(t, addr)
	require.Equal(t, "+PONG\r\n", a.do("PING"))
	require.Equal(t, "+PONG\r\n", b.do("PING"))
	for range 3 {
		c := dial(t, addr)
		text, _ := c.reply()
		require.Equal(t, "-ERR max number of clients reached\r\n", text)
		_, ok := c.reply()
		require.False(t, ok)
	}
	require.Equal(t, uint64(3), s.Stats().Rejected)
	require.Equal(t, 2, s.Stats().Clients)
	require.Equal(t, "+OK\r\n", a.do("CONFIG", "SET", "maxclients", "3"))
	require.Equal(t, "+PONG\r\n", dial(t, addr).do("PING"))
	b.conn.Close()
	require.Eventually(t, func() bool { return s.Stats().Clients == 2 }, 10*time.Second, time.Millisecond)
	require.Contains(t, a.do("INFO", "stats"), "rejected_connections:3\r\n")
}

var fields = regexp.MustCompile(`(\S+?)=`)

// CLIENT LIST shows the connections of all loops, with the fields that Redis has, and CLIENT KILL ends them.
func TestClientsAcrossLoops(t *testing.T) {
	addr, s := startCache(t, 0, server.Config{Loops: 2})
	redis := startRedis(t)
	names := func(line string) (list []string) {
		for _, m := range fields.FindAllStringSubmatch(line, -1) {
			list = append(list, m[1])
		}
		return list
	}
	want := names(dial(t, redis).do("CLIENT", "INFO"))
	c := dial(t, addr)
	got := names(c.do("CLIENT", "INFO"))
	require.Equal(t, append(want, "lib-name", "lib-ver"), got)

	var others []*client
	for i := range 8 {
		other := dial(t, addr)
		require.Equal(t, "+OK\r\n", other.do("CLIENT", "SETNAME", fmt.Sprint("name", i)))
		others = append(others, other)
	}
	others[1].do("SUBSCRIBE", "a", "b")
	others[2].do("SELECT", "5")
	others[2].do("MULTI")
	others[2].do("PING")
	others[3].do("CLIENT", "SETINFO", "LIB-NAME", "lib")
	others[3].do("CLIENT", "SETINFO", "LIB-VER", "1.2")
	others[3].do("HELLO", "3")
	list := c.do("CLIENT", "LIST")
	require.Equal(t, 9, strings.Count(list, "id="))
	require.Regexp(t, `name=name1 .* flags=P db=0 sub=2 psub=0 .* cmd=subscribe`, list)
	require.Regexp(t, `name=name2 .* flags=x db=5 sub=0 psub=0 ssub=0 multi=1 .* cmd=multi`, list)
	require.Regexp(t, `name=name3 .* flags=N db=0 .* multi=-1 .* cmd=hello user=default redir=-1 resp=3 lib-name=lib lib-ver=1.2\n`, list)
	require.Equal(t, 1, strings.Count(c.do("CLIENT", "LIST", "TYPE", "pubsub"), "id="))

	id := strings.TrimSpace(others[0].do("CLIENT", "ID")[1:])
	require.Contains(t, c.do("CLIENT", "LIST", "ID", id), "id="+id+" ")
	require.Equal(t, ":1\r\n", c.do("CLIENT", "KILL", "ID", id))
	require.Equal(t, ":0\r\n", c.do("CLIENT", "KILL", "ID", id))
	_, ok := others[0].reply()
	require.False(t, ok)
	require.Equal(t, "+OK\r\n", c.do("CLIENT", "KILL", others[1].conn.LocalAddr().String()))
	require.Equal(t, ":6\r\n", c.do("CLIENT", "KILL", "TYPE", "normal"))
	for _, other := range others[2:] {
		_, ok := other.reply()
		require.False(t, ok)
	}
	require.Equal(t, ":1\r\n", c.do("CLIENT", "KILL", "SKIPME", "no", "USER", "default"))
	_, ok = c.reply()
	require.False(t, ok)
	require.Eventually(t, func() bool { return s.Stats().Clients == 0 }, 10*time.Second, time.Millisecond)
}

// Connections come and go while others look at all of them.
func TestClientsThatComeAndGo(t *testing.T) {
	addr, s := startCache(t, 0, server.Config{Loops: 2})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := range 60 {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					panic(err)
				}
				_, _ = c.Write(script{"client setname x", "watch a b", "multi", "get a", "set a 1", "discard", "hello 3", "subscribe x", "client tracking on", "get a"}.bytes(t))
				if i%2 == 0 {
					_, _ = c.Read(make([]byte, 100)) // it may have been killed
				}
				c.Close()
			}
		})
	}
	observer := dial(t, addr)
	for range 100 {
		observer.do("CLIENT", "LIST")
		observer.do("CLIENT", "KILL", "TYPE", "pubsub")
		observer.do("INFO", "everything")
	}
	wg.Wait()
	require.Eventually(t, func() bool { return s.Stats().Clients == 1 }, 10*time.Second, time.Millisecond)
	require.Equal(t, 1, strings.Count(observer.do("CLIENT", "LIST"), "id="))
}

func TestTimeout(t *testing.T) {
	addr, _ := startServer(t, Config{Timeout: time.Second}, server.Config{Loops: 1})
	idle, sub := dial(t, addr), dial(t, addr)
	sub.do("SUBSCRIBE", "ch")
	began := time.Now()
	_, ok := idle.reply()
	require.False(t, ok)
	require.GreaterOrEqual(t, time.Since(began), 900*time.Millisecond)
	require.Equal(t, "*2\r\n$4\r\npong\r\n$0\r\n\r\n", sub.do("PING"))
}

// A client that sleeps holds up nobody on its loop, and what it sent meanwhile runs behind.
func TestDebugSleep(t *testing.T) {
	addr, s := startCache(t, 0, server.Config{Loops: 1})
	sleeper, other := dial(t, addr), dial(t, addr)
	began := time.Now()
	sleeper.send(script{"debug sleep 0.5", "ping"}.bytes(t))
	require.Eventually(t, func() bool { return s.Stats().Blocked == 1 }, 10*time.Second, time.Millisecond)
	require.Equal(t, "+PONG\r\n", other.do("PING"))
	require.Less(t, time.Since(began), 400*time.Millisecond)
	text, _ := sleeper.reply()
	require.Equal(t, "+OK\r\n", text)
	require.GreaterOrEqual(t, time.Since(began), 500*time.Millisecond)
	text, _ = sleeper.reply()
	require.Equal(t, "+PONG\r\n", text)
	sleeper.send(script{"debug sleep 1000"}.bytes(t)) // and ends with its connection
}

// The bound on memory without eviction, set lower at run time.
func TestOutOfMemory(t *testing.T) {
	s := newTestServer(t, Config{MaxMemory: 4 << 20})
	c, other := open(t, s, reactortest.Config{}), open(t, s, reactortest.Config{})
	value := strings.Repeat("x", 1000)
	const oom = "-OOM command not allowed when used memory > 'maxmemory'.\r\n"
	n := 0
	for ; ask(t, c, fmt.Sprintf("set key%d %s", n, value)) == "+OK\r\n"; n++ {
		require.Less(t, n, 10_000)
	}
	require.Greater(t, n, 1000)
	require.Equal(t, oom, ask(t, c, "mset other "+value))
	require.Equal(t, "+OK\r\n", ask(t, c, "config set maxmemory 1mb"))
	require.Equal(t, oom+oom+oom, ask(t, c, "set a 1", "incr a", "append key0 x"))
	require.Equal(t, "$1000\r\n"+value+"\r\n", ask(t, c, "get key0"))
	require.Equal(t, "+OK\r\n"+oom+"-EXECABORT Transaction discarded because of previous errors.\r\n", ask(t, c, "multi", "get a", "exec"))
	require.Equal(t, "+OK\r\n", ask(t, c, "config set maxmemory 8mb"))
	require.Equal(t, "+OK\r\n+QUEUED\r\n", ask(t, c, "multi", "set a 1"))
	require.Equal(t, "+OK\r\n", ask(t, other, "config set maxmemory 1mb"))
	require.Equal(t, "-EXECABORT Transaction discarded because of: "+oom[1:], ask(t, c, "exec"))
	require.Equal(t, "+OK\r\n", ask(t, other, "config set maxmemory-policy allkeys-lru"))
	require.Equal(t, "+OK\r\n:2\r\n", ask(t, c, "set a 1", "incr a"))
	require.Equal(t, "+OK\r\n", ask(t, other, "config set maxmemory 0"))
}

// Keys that match random patterns are those of Redis.
func TestGlobAgainstRedis(t *testing.T) {
	redis := dial(t, startRedis(t))
	addr, _ := startCache(t, 0, server.Config{Loops: 1})
	cache := dial(t, addr)
	rng := rand.New(rand.NewPCG(3, 3))
	word := func(parts []string, most int) string {
		var b strings.Builder
		for range rng.IntN(most + 1) {
			b.WriteString(parts[rng.IntN(len(parts))])
		}
		return b.String()
	}
	list := []string{"MSET"}
	for range 200 {
		list = append(list, word([]string{"a", "b", "c", "-", "^", "]", "[", `\`, "*", "?", "\xff", "\x80", "\x00", "A"}, 5), "x")
	}
	require.Equal(t, redis.do(list...), cache.do(list...))
	sorted := func(reply string) []string {
		lines := strings.Split(strings.TrimSuffix(reply, "\r\n"), "\r\n$")
		slices.Sort(lines)
		return lines
	}
	for range 3000 {
		pattern := word([]string{"a", "b", "c", "*", "*", "?", "[", "[", "]", "^", "-", `\`, "a-c", "[a-c]", "[^a]", "\xff", "\x80-\x7f", "\x00", "A"}, 6)
		require.Equal(t, sorted(redis.do("KEYS", pattern)), sorted(cache.do("KEYS", pattern)), "%q", pattern)
	}
}

func TestGlob(t *testing.T) {
	evil := []byte(strings.Repeat("*a", 5000) + "b")
	began := time.Now()
	require.False(t, matches(evil, bytes.Repeat([]byte("a"), 20_000)))
	require.Less(t, time.Since(began), 5*time.Second, "the work is bounded by the product of the lengths")
	require.True(t, matchesFold([]byte("m[A-C]X*"), []byte("MbxZ")))
	require.False(t, matches([]byte("m[A-C]X*"), []byte("MbxZ")))
}

// Sums of numbers with fractions are those of C's long double, digit by digit.
func TestFloatsAgainstRedis(t *testing.T) {
	redis := dial(t, startRedis(t))
	addr, _ := startCache(t, 0, server.Config{Loops: 1})
	cache := dial(t, addr)
	rng := rand.New(rand.NewPCG(4, 4))
	number := func() string {
		digits := strconv.FormatUint(rng.Uint64()>>rng.IntN(64), 10)
		at := rng.IntN(len(digits) + 1)
		text := digits[:at] + "." + digits[at:]
		switch rng.IntN(4) {
		case 0:
			text = digits
		case 1:
			text += "e" + strconv.Itoa(rng.IntN(60)-30)
		}
		return []string{"", "-"}[rng.IntN(2)] + text
	}
	for range 3000 {
		a, b := number(), number()
		for _, cmd := range [][]string{{"SET", "k", a}, {"INCRBYFLOAT", "k", b}, {"GET", "k"}} {
			require.Equal(t, redis.do(cmd...), cache.do(cmd...), "%s + %s", a, b)
		}
	}
}

// Large values come in parts and go out piece by piece, alone and in transactions, and messages wait until they are out.
func TestLargeReplies(t *testing.T) {
	s := newTestServer(t, Config{})
	value := strings.Repeat("0123456789abcdef", 5<<20/16)
	whole := fmt.Sprintf("$%d\r\n%s\r\n", len(value), value)
	writer := open(t, s, reactortest.Config{})
	setBig := func() {
		_, err := writer.Write(resp.AppendCommand(nil, "SET", "big", value))
		require.NoError(t, err)
		require.Equal(t, "+OK\r\n", string(writer.Take()))
	}
	setBig()
	require.Equal(t, fmt.Sprintf(":%d\r\n", len(value)), ask(t, writer, "strlen big"))

	read := func(c *memoryConn, meanwhile func()) string {
		var b strings.Builder
		for i := 0; ; i++ {
			require.LessOrEqual(t, c.Pending(), 256<<10+256<<10+1000)
			piece := c.Take()
			if b.Write(piece); len(piece) == 0 {
				return b.String()
			}
			if i == 3 && meanwhile != nil {
				meanwhile()
			}
		}
	}
	c := open(t, s, reactortest.Config{SocketBuffer: 64 << 10})
	_, err := c.Write(script{"get big", "ping", "getrange big 100 2000000", "get small"}.bytes(t))
	require.NoError(t, err)
	part := value[100:2000001]
	require.True(t, read(c, nil) == whole+"+PONG\r\n"+fmt.Sprintf("$%d\r\n%s\r\n", len(part), part)+"$-1\r\n")

	_, err = c.Write(script{"multi", "set small x", "get big", "get small", "mget big small nokey", "getrange big 100 2000000", "set big gone", "get big", "exec", "ping"}.bytes(t))
	require.NoError(t, err)
	require.True(t, read(c, nil) == "+OK\r\n"+strings.Repeat("+QUEUED\r\n", 7)+"*7\r\n+OK\r\n"+whole+"$1\r\nx\r\n*3\r\n"+whole+"$1\r\nx\r\n$-1\r\n"+fmt.Sprintf("$%d\r\n%s\r\n", len(part), part)+"+OK\r\n$4\r\ngone\r\n+PONG\r\n")

	setBig()
	require.Contains(t, ask(t, c, "hello 3", "subscribe ch"), "subscribe")
	_, err = c.Write(script{"get big", "ping"}.bytes(t))
	require.NoError(t, err)
	got := read(c, func() {
		require.Equal(t, ":1\r\n", ask(t, writer, "publish ch hi"))
		c.Pump()
	})
	require.True(t, got == whole+">3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$2\r\nhi\r\n+PONG\r\n")

	_, err = c.Write(script{"client reply off", "get big", "mget big big", "client reply on"}.bytes(t))
	require.NoError(t, err)
	require.Equal(t, "+OK\r\n", read(c, nil))
	_, err = c.Write(script{"get big"}.bytes(t)) // and the connection ends amid the reply
	require.NoError(t, err)
	c.Close(nil)
	require.Equal(t, ":1\r\n", ask(t, writer, "del big"))
	require.Less(t, s.store.Used(), 100_000)
}

// A pipeline whose replies nobody reads holds a limit of them.
func TestUnreadPipeline(t *testing.T) {
	s := newTestServer(t, Config{})
	_, err := s.store.DB(0).Put([]byte("k"), store.Bytes(make([]byte, 1000)), store.PutOptions{})
	require.NoError(t, err)
	c := open(t, s, reactortest.Config{SocketBuffer: 1 << 10})
	command := bytes.Repeat(script{"get k"}.bytes(t), 10_000)
	_, err = c.Write(command)
	require.NoError(t, err)
	require.LessOrEqual(t, c.Pending(), 256<<10+2000)
	require.Greater(t, c.Unread(), len(command)/2)
}

func TestInfo(t *testing.T) {
	addr, _ := startServer(t, Config{MaxMemory: 64 << 20, Policy: store.AllKeysLRU}, server.Config{Loops: 2})
	c := dial(t, addr)
	c.do("MSET", "a", "1", "b", "2")
	c.do("EXPIRE", "a", "100")
	c.do("GET", "a")
	c.do("GET", "nokey")
	c.do("GET")
	text := c.do("INFO", "everything")
	for _, want := range []string{
		"# Server\r\nredis_version:7.0.15\r\n", "# Clients\r\nconnected_clients:1\r\n", "\r\nmaxmemory_human:64.00M\r\n", "\r\nmaxmemory_policy:allkeys-lru\r\n",
		"\r\nkeyspace_hits:1\r\nkeyspace_misses:1\r\n", "\r\nrole:master\r\n", "\r\ndb0:keys=2,expires=1,avg_ttl=0\r\n", "\r\ntcp_port:" + addr[strings.LastIndexByte(addr, ':')+1:] + "\r\n",
	} {
		require.Contains(t, text, want)
	}
	require.Regexp(t, `cmdstat_get:calls=2,usec=\d+,usec_per_call=\d+\.\d\d,rejected_calls=1,failed_calls=0\r\n`, text)
	require.NotContains(t, c.do("INFO"), "cmdstat_")
	require.Regexp(t, `^\$\d+\r\n# Keyspace\r\ndb0:keys=2,expires=1,avg_ttl=0\r\n\r\n$`, c.do("INFO", "KEYSPACE"))
	require.Equal(t, "+OK\r\n", c.do("CONFIG", "RESETSTAT"))
	require.NotContains(t, c.do("INFO", "commandstats"), "cmdstat_get")
}
