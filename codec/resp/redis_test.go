package resp_test

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/codec/resp"
)

// startRedis starts a redis-server for t and returns its socket and its version.
func startRedis(t *testing.T) (socket, version string) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%v: CI must have it", err)
		}
		t.Skip("redis-server is not in PATH: nothing to compare with")
	}
	dir, err := os.MkdirTemp("", "resp") // t.TempDir may be too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	args := []string{"--port", "0", "--unixsocket", socket, "--dir", dir, "--save", ""}
	if out, err := exec.Command(path, "--version").Output(); err == nil {
		if _, after, ok := strings.Cut(string(out), "v="); ok {
			version, _, _ = strings.Cut(after, " ")
		}
	}
	if major, _ := strconv.Atoi(version[:max(0, strings.IndexByte(version, '.'))]); major >= 7 {
		args = append(args, "--enable-debug-command", "yes") // before, it is always allowed
	}
	cmd := exec.Command(path, args...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	var log strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		log.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "eady to accept connections") {
			go io.Copy(io.Discard, out) // ends with the process
			return socket, version
		}
	}
	t.Fatalf("redis-server did not start:\n%s", log.String())
	return "", ""
}

// ask sends b to a new connection, ends the input, and returns all that comes back.
func ask(t *testing.T, socket string, b []byte) []byte {
	t.Helper()
	c, err := net.Dial("unix", socket)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = c.Write(b) // may fail when Redis has refused a part of it already
	if err == nil {
		err = c.(*net.UnixConn).CloseWrite()
	}
	got, rerr := io.ReadAll(c)
	if len(got) == 0 {
		require.NoError(t, err)
		require.NoError(t, rerr)
	}
	return got
}

// answers decodes replies as text, one for each.
func answers(t *testing.T, b []byte) []string {
	t.Helper()
	var dec resp.ReplyDecoder
	var m resp.Value
	var all []string
	for len(b) > 0 {
		n, err := dec.Decode(b, &m)
		require.NoError(t, err, "%q", b)
		all = append(all, describeValue(&m))
		b = b[n:]
	}
	return all
}

// commands decodes b as Requests does, up to a protocol error, which it returns.
func commands(t *testing.T, b []byte) (all [][]string, perr resp.ProtocolError) {
	t.Helper()
	dec := resp.Requests{DeliverErrors: true}
	var m resp.Command
	for len(b) > 0 {
		n, err := dec.Decode(b, &m)
		switch {
		case err == codec.More:
			return all, ""
		case err == codec.Skip:
			b = b[n:]
			continue
		}
		require.NoError(t, err)
		if m.Err != "" {
			return all, m.Err
		}
		var args []string
		for _, arg := range m.Args {
			args = append(args, string(arg))
		}
		all = append(all, args)
		b = b[n:]
	}
	return all, ""
}

// compare sends b to Redis, which must find as many commands in it and the same protocol error.
func compare(t *testing.T, socket string, b []byte) {
	t.Helper()
	want, perr := commands(t, b)
	got := answers(t, ask(t, socket, b))
	last := ""
	if n := len(got); n > 0 && strings.HasPrefix(got[n-1], `-"ERR Protocol error`) {
		last, got = got[n-1], got[:n-1]
	}
	if perr == "" {
		require.Empty(t, last, "%.200q", b)
	} else {
		require.Equal(t, fmt.Sprintf("-%q", string(perr)), last, "%.200q", b)
	}
	require.Len(t, got, len(want), "%.200q: %q", b, got)
}

func TestRedisProtocolErrors(t *testing.T) {
	socket, _ := startRedis(t)
	for _, tt := range requests {
		t.Run(tt.name, func(t *testing.T) { compare(t, socket, []byte(tt.in)) })
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	words := []string{"*", "$", "0", "1", "2", "-", "\r\n", "\r", "\n", "x", "*1\r\n", "$1\r\n", "x\r\n", "$0\r\n", "*2\r\n", " "}
	for range 1000 {
		var b []byte
		for range 1 + r.IntN(12) {
			b = append(b, words[r.IntN(len(words))]...)
		}
		compare(t, socket, b)
	}
}

// Redis returns the words of an inline command as it understands them.
func TestRedisInline(t *testing.T) {
	socket, _ := startRedis(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	parts := []string{"a", "b", " ", " ", "\t", "\v", "\r", `"`, `"`, `'`, `'`, `\`, `\n`, `\x4`, `\x41`, `\"`, `\'`, "\xff", `" "`, `' '`}
	for range 1000 {
		line := `EVAL "return ARGV" 0 `
		for range r.IntN(10) {
			line += parts[r.IntN(len(parts))]
		}
		line += "\r\n"
		want, perr := commands(t, []byte(line))
		var expect string
		if perr != "" {
			expect = fmt.Sprintf("-%q", string(perr))
		} else {
			items := []string{}
			for _, arg := range want[0][3:] {
				items = append(items, fmt.Sprintf("$%q", arg))
			}
			expect = "*[" + strings.Join(items, " ") + "]"
		}
		require.Equal(t, []string{expect}, answers(t, ask(t, socket, []byte(line))), "%q", line)
	}
}

// Replies are the bytes that Redis sends, in both versions.
func TestRedisReplies(t *testing.T) {
	socket, version := startRedis(t)
	tests := []struct {
		command string
		replies []resp.Reply
	}{
		{"PING", []resp.Reply{resp.Simple("PONG")}},
		{"NOSUCH", []resp.Reply{resp.Error("ERR unknown command 'NOSUCH', with args beginning with: ")}},
		{"DEBUG PROTOCOL string", []resp.Reply{resp.BulkString("Hello World")}},
		{"DEBUG PROTOCOL integer", []resp.Reply{resp.Int(12345)}},
		{"DEBUG PROTOCOL double", []resp.Reply{resp.Double(3.141)}},
		{"DEBUG PROTOCOL null", []resp.Reply{resp.Null()}},
		{"DEBUG PROTOCOL array", []resp.Reply{resp.Array(3), resp.Int(0), resp.Int(1), resp.Int(2)}},
		{"DEBUG PROTOCOL set", []resp.Reply{resp.Set(3), resp.Int(0), resp.Int(1), resp.Int(2)}},
		{"DEBUG PROTOCOL map", []resp.Reply{resp.Map(3), resp.Int(0), resp.Bool(false), resp.Int(1), resp.Bool(true), resp.Int(2), resp.Bool(false)}},
		{"DEBUG PROTOCOL verbatim", []resp.Reply{resp.Verbatim("txt", "This is a verbatim\nstring")}},
		{"DEBUG PROTOCOL true", []resp.Reply{resp.Bool(true)}},
		{"DEBUG PROTOCOL false", []resp.Reply{resp.Bool(false)}},
		{"DEBUG PROTOCOL bignum", []resp.Reply{resp.BigNumber("1234567999999999999999999999999999999")}},
		{"GET no", []resp.Reply{resp.Null()}},
		{"LPOP no 1", []resp.Reply{resp.NullArray()}},
		{"SMEMBERS no", []resp.Reply{resp.Set(0)}},
		{"HGETALL no", []resp.Reply{resp.Map(0)}},
		{"SUBSCRIBE c", []resp.Reply{resp.Push(3), resp.BulkString("subscribe"), resp.BulkString("c"), resp.Int(1)}},
		{"ECHO \"\"", []resp.Reply{resp.BulkString("")}},
		{"INCRBY n -1234567890123456789", []resp.Reply{resp.Int(-1234567890123456789)}},
	}
	for _, v := range []int{2, 3} {
		enc := resp.Replies{Version: v}
		hello := ask(t, socket, fmt.Appendf(nil, "HELLO %d\r\n", v))
		for _, tt := range tests {
			ask(t, socket, []byte("FLUSHALL\r\n"))
			var want []byte
			for _, r := range tt.replies {
				want = enc.Encode(want, r)
			}
			got := ask(t, socket, fmt.Appendf(nil, "HELLO %d\r\n%s\r\n", v, tt.command))
			// The id in the answer to HELLO counts connections, so its length may differ by the digits.
			_, got, _ = cutHello(t, got)
			require.Equal(t, string(want), string(got), "%s in version %d, redis %s, %q", tt.command, v, version, hello)
		}
	}
}

// cutHello cuts the first reply off.
func cutHello(t *testing.T, b []byte) (hello, rest []byte, err error) {
	t.Helper()
	var dec resp.ReplyDecoder
	var m resp.Value
	n, err := dec.Decode(b, &m)
	require.NoError(t, err, "%q", b)
	return b[:n], b[n:], nil
}

func TestRedisDoubles(t *testing.T) {
	socket, version := startRedis(t)
	if !strings.HasPrefix(version, "7.0.") {
		t.Skipf("redis-server %s may write doubles in another way than 7.0", version)
	}
	doubles := []float64{0, 1, -1, 3, 10, 100, 123.5, 0.1, 1.0 / 3, 0.0001, 0.00001, 1e15, 1e16, 1e17, 1e18, 123456789012345678, 1e100,
		-1e-100, math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), math.Inf(-1), 99999999999999999, 5e-324, 1e5, 1e21, 2.5e-5}
	r := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		if f := math.Float64frombits(r.Uint64()); !math.IsNaN(f) {
			doubles = append(doubles, f, r.Float64(), math.Trunc(r.Float64()*1e6)/100)
		}
	}
	for _, v := range []int{2, 3} {
		send := fmt.Appendf(nil, "HELLO %d\r\n", v)
		var want []byte
		for _, f := range doubles {
			score := strconv.FormatFloat(f, 'g', -1, 64)
			send = fmt.Appendf(send, "DEL z\r\nZADD z %s a\r\nZSCORE z a\r\n", strings.TrimPrefix(score, "+"))
			want = resp.Replies{Version: v}.Encode(want, resp.Double(f))
		}
		_, rest, _ := cutHello(t, ask(t, socket, send))
		var got []byte
		var dec resp.ReplyDecoder
		var m resp.Value
		for i := 0; len(rest) > 0; i++ {
			n, err := dec.Decode(rest, &m)
			require.NoError(t, err)
			if i%3 == 2 {
				got = append(got, rest[:n]...)
			}
			rest = rest[n:]
		}
		require.Equal(t, strings.Split(string(want), "\r\n"), strings.Split(string(got), "\r\n"))
	}
}
