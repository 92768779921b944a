package redis_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/redis"
	"github.com/protoring/protoring/server"
)

// What is large arrives in parts, wherever it stands in a command, and whatever becomes of the command.
func TestLargeArguments(t *testing.T) {
	for _, engine := range []server.Engine{server.EngineAuto, server.EngineEpoll} {
		t.Run(engine.String(), func(t *testing.T) {
			addr := start(t, redis.Config{MaxMemory: 64 << 20}, server.Config{Loops: 2, Engine: engine})
			p := connect(t, addr, 2)
			a, b := strings.Repeat("a", 3<<20), strings.Repeat("bc", 1<<20)
			text := func(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }
			for _, c := range []struct {
				args []string
				want string
			}{
				{[]string{"SET", "k", a}, "+OK\r\n"},
				{[]string{"GET", "k"}, text(a)},
				{[]string{"SET", "k", b, "EX", "100", "GET"}, text(a)},
				{[]string{"TTL", "k"}, ":100\r\n"},
				{[]string{"SET", "k", a, "NX"}, "$-1\r\n"},
				{[]string{"SET", "k", a, "EX", "x"}, "-ERR value is not an integer or out of range\r\n"},
				{[]string{"GET", "k"}, text(b)},
				{[]string{"MSET", "x", a, "y", "small", "z", b}, "+OK\r\n"},
				{[]string{"MGET", "x", "y", "z", "none"}, "*4\r\n" + text(a) + text("small") + text(b) + "$-1\r\n"},
				{[]string{"SETEX", "e", "100", b}, "+OK\r\n"},
				{[]string{"GETSET", "e", a}, text(b)},
				{[]string{"APPEND", "e", b}, fmt.Sprintf(":%d\r\n", len(a)+len(b))},
				{[]string{"STRLEN", "e"}, fmt.Sprintf(":%d\r\n", len(a)+len(b))},
				{[]string{"GETRANGE", "e", fmt.Sprint(len(a) - 2), fmt.Sprint(len(a) + 1)}, text("aabc")},
				{[]string{"SETRANGE", "s", "3", a}, fmt.Sprintf(":%d\r\n", 3+len(a))},
				{[]string{"GET", "s"}, text("\x00\x00\x00" + a)},
				{[]string{"ECHO", b}, text(b)},
				{[]string{"GET", a}, "$-1\r\n"},
				{[]string{"NOSUCH", a}, "-ERR unknown command 'NOSUCH', with args beginning with: '" + a[:128] + "' \r\n"},
				{[]string{"GET", "k", a}, "-ERR wrong number of arguments for 'get' command\r\n"},
				{[]string{"MULTI"}, "+OK\r\n"},
				{[]string{"SET", "m", a}, "+QUEUED\r\n"},
				{[]string{"GET", "m"}, "+QUEUED\r\n"},
				{[]string{"EXEC"}, "*2\r\n+OK\r\n" + text(a)},
				{[]string{"SET", "m", strings.Repeat("x", 65<<20)}, "-OOM command not allowed when used memory > 'maxmemory'.\r\n"},
				{[]string{"NOSUCH", strings.Repeat("x", 65<<20)}, "-ERR unknown command 'NOSUCH', with args beginning with: '' \r\n"},
				{[]string{"GET", "m"}, text(a)},
				{[]string{"PING"}, "+PONG\r\n"},
			} {
				require.Equal(t, c.want, p.do(t, c.args...), "%.100q", c.args)
			}
		})
	}
}

// A large value that is cut anywhere is whole, and a connection that ends amid one gives its memory back.
func TestLargeArgumentsAreCut(t *testing.T) {
	addr := start(t, redis.Config{MaxMemory: 64 << 20}, server.Config{Loops: 1})
	p := connect(t, addr, 2)
	value := strings.Repeat("0123456789", 20_000)
	wire := resp.AppendCommand(nil, "SET", "k", value, "PX", "100000")
	for _, cut := range []int{5, 20, 29, 30, 31, 70_000, len(wire) - 25, len(wire) - 24, len(wire) - 23, len(wire) - 22, len(wire) - 1} {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		_, err = conn.Write(wire[:cut])
		require.NoError(t, err)
		time.Sleep(5 * time.Millisecond) // so that it is likely to arrive apart
		_, err = conn.Write(wire[cut:])
		require.NoError(t, err)
		ok := make([]byte, 5)
		_, err = conn.Read(ok)
		require.NoError(t, err)
		require.Equal(t, "+OK\r\n", string(ok), "cut at %d", cut)
		conn.Close()
		require.Equal(t, fmt.Sprintf("$%d\r\n%s\r\n", len(value), value), p.do(t, "GET", "k"), "cut at %d", cut)
	}

	require.Equal(t, "+OK\r\n", p.do(t, "FLUSHALL"))
	var conns []net.Conn
	for range 10 {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		_, err = conn.Write(fmt.Appendf(nil, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s", 5<<20, value))
		require.NoError(t, err)
		conns = append(conns, conn)
	}
	used := func() (n int) {
		for line := range strings.Lines(p.do(t, "INFO", "memory")) {
			if _, err := fmt.Sscanf(line, "used_memory:%d", &n); err == nil {
				return n
			}
		}
		t.Fatal("no used_memory")
		return 0
	}
	require.Eventually(t, func() bool { n := used(); return n >= 10*len(value) && n < 40*len(value) }, 10*time.Second, 10*time.Millisecond,
		"what has arrived is charged, and no more")
	for _, conn := range conns {
		conn.Close()
	}
	require.Eventually(t, func() bool { return used() < len(value) }, 10*time.Second, 10*time.Millisecond)
}
