package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/internal/runtest"
)

// TestMain fails on goroutines that are left over.
func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	status := m.Run()
	for range 200 {
		if runtime.NumGoroutine() <= before {
			os.Exit(status)
		}
		time.Sleep(10 * time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	fmt.Fprintf(os.Stderr, "goroutines are left over:\n%s\n", buf[:runtime.Stack(buf, true)])
	os.Exit(1)
}

// A client sends commands and reads replies as bytes. Its methods end the test on an error.
type client struct {
	t    testing.TB
	conn net.Conn
	dec  resp.ReplyDecoder
	buf  []byte // received
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	return dialNetwork(t, "tcp", addr)
}

func dialNetwork(t testing.TB, network, addr string) *client {
	t.Helper()
	conn, err := net.Dial(network, addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(60*time.Second)))
	return &client{t: t, conn: conn}
}

func (c *client) send(b []byte) {
	c.t.Helper()
	_, err := c.conn.Write(b)
	require.NoError(c.t, err)
}

// reply returns the bytes of the next reply, and false at the end.
func (c *client) reply() (string, bool) {
	c.t.Helper()
	for {
		if len(c.buf) > 0 {
			var v resp.Value
			if n, err := c.dec.Decode(c.buf, &v); err == nil {
				text := string(c.buf[:n])
				c.buf = c.buf[n:]
				return text, true
			}
		}
		chunk := make([]byte, 64<<10)
		n, err := c.conn.Read(chunk)
		c.buf = append(c.buf, chunk[:n]...)
		if err != nil {
			return string(c.buf), false
		}
	}
}

// do sends a command and returns its reply.
func (c *client) do(args ...string) string {
	c.t.Helper()
	c.send(resp.AppendCommand(nil, args...))
	text, ok := c.reply()
	require.True(c.t, ok, "the connection has ended: %q", text)
	return text
}

func TestSizeFlag(t *testing.T) {
	for s, want := range map[string]int{
		"0": 0, "1": 1, "1000": 1000, "100b": 100, "1k": 1000, "2kb": 2048, "3m": 3e6, "64mb": 64 << 20, "64MB": 64 << 20,
		"1g": 1e9, "1gb": 1 << 30,
	} {
		var f sizeFlag
		require.NoError(t, f.Set(s), s)
		require.Equal(t, want, int(f), s)
		var back sizeFlag
		require.NoError(t, back.Set(f.String()))
		require.Equal(t, f, back)
	}
	for _, s := range []string{"", "mb", "-1", "1.5gb", "1tb", "1 mb", "1bb", "9223372036854775807gb", "x"} {
		var f sizeFlag
		require.Error(t, f.Set(s), s)
	}
}

// The built program with the tools of Redis, on both engines.
func TestProcess(t *testing.T) {
	cli, benchmark := runtest.Tool(t, "redis-cli"), runtest.Tool(t, "redis-benchmark")
	bin := runtest.Build(t, ".")
	for _, engine := range []string{"io_uring", "epoll"} {
		t.Run(engine, func(t *testing.T) {
			p := runtest.Start(t, bin, "-listen", "127.0.0.1:0", "-loops", "2", "-maxmemory", "64mb", "-engine", engine)
			require.Equal(t, engine, p.Engine)
			port := p.Addr[strings.LastIndexByte(p.Addr, ':')+1:]
			run := func(path string, args ...string) string {
				out, err := exec.Command(path, append([]string{"-h", "127.0.0.1", "-p", port}, args...)...).CombinedOutput()
				require.NoError(t, err, "%s", out)
				return string(out)
			}
			require.Equal(t, "OK\n", run(cli, "SET", "key", "value"))
			require.Equal(t, "value\n", run(cli, "GET", "key"))
			require.Equal(t, "OK\n", run(cli, "-3", "SET", "other", "value", "EX", "1000"))
			require.Equal(t, "1000\n", run(cli, "-3", "TTL", "other"))
			require.Equal(t, "maxmemory\n67108864\n", run(cli, "CONFIG", "GET", "maxmemory"))
			require.Contains(t, run(cli, "INFO"), "protoring_engine:"+engine)
			require.Contains(t, run(cli, "NOSUCH", "a"), "ERR unknown command 'NOSUCH', with args beginning with: 'a'")

			report := run(benchmark, "-n", "20000", "-c", "20", "-P", "8", "-d", "100", "-r", "1000", "-t", "ping,set,get,incr,mset", "--csv")
			for _, name := range []string{"PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET"} {
				require.Contains(t, report, name)
			}
			require.NotContains(t, strings.ToLower(report), "err")
			run(benchmark, "-n", "2000", "-c", "5", "-3", "-t", "set,get", "-q")

			// A stop sends what is pending, and ends idle connections.
			idle := dial(t, p.Addr)
			require.Equal(t, "+PONG\r\n", idle.do("PING"))
			p.Signal(syscall.SIGTERM)
			_, ok := idle.reply()
			require.False(t, ok)
			idle.conn.Close()
			require.Equal(t, 0, p.Wait(), p.Log())
			require.NotContains(t, p.Log(), "level=ERROR")
		})
	}
}

// With clients in full flight, a stop ends each connection behind a whole reply.
func TestStopUnderLoad(t *testing.T) {
	p := runtest.Start(t, runtest.Build(t, "."), "-listen", "127.0.0.1:0", "-loops", "2")
	value := strings.Repeat("x", 10_000)
	require.Equal(t, "+OK\r\n", dial(t, p.Addr).do("SET", "key", value))
	want := "$10000\r\n" + value + "\r\n"
	done := make(chan string, 4)
	for range cap(done) {
		conn, err := net.Dial("tcp", p.Addr)
		require.NoError(t, err)
		defer conn.Close()
		go func() { // writes until the connection ends
			command := bytes.Repeat(resp.AppendCommand(nil, "GET", "key"), 20)
			for {
				if _, err := conn.Write(command); err != nil {
					return
				}
			}
		}()
		go func() {
			got, buf := 0, make([]byte, 64<<10)
			for {
				n, err := conn.Read(buf)
				for _, b := range buf[:n] {
					if b != want[got%len(want)] {
						done <- fmt.Sprintf("a wrong byte at %d", got)
						return
					}
					got++
				}
				if err != nil {
					conn.Close()
					if got%len(want) != 0 || got == 0 {
						done <- fmt.Sprintf("%d bytes, which are no whole replies: %v", got, err)
					}
					done <- ""
					return
				}
			}
		}()
	}
	time.Sleep(200 * time.Millisecond) // of load: how much does not matter
	p.Signal(syscall.SIGTERM)
	for range cap(done) {
		require.Empty(t, <-done)
	}
	require.Equal(t, 0, p.Wait(), p.Log())
}

func TestSecondsFlag(t *testing.T) {
	for s, want := range map[string]time.Duration{"0": 0, "1": time.Second, "300": 5 * time.Minute, "1.5s": 1500 * time.Millisecond} {
		var f secondsFlag
		require.NoError(t, f.Set(s), s)
		require.Equal(t, want, time.Duration(f), s)
	}
	for _, s := range []string{"", "-1", "-1s", "x", "1.5", "99999999999"} {
		require.Error(t, new(secondsFlag).Set(s), s)
	}
}

// Settings come from the environment as well, all listeners serve, and the admin address tells what happens.
func TestListeners(t *testing.T) {
	bin := runtest.Build(t, ".")
	socket := filepath.Join(t.TempDir(), "cache.sock")
	t.Setenv("CACHE_MAXMEMORY", "32mb")
	t.Setenv("CACHE_UNIXSOCKET", socket)
	t.Setenv("CACHE_REQUIREPASS", "secret")
	p := runtest.Start(t, bin, "-listen", "127.0.0.1:0", "-memcache", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-loops", "2")
	find := func(pattern string) string {
		found := regexp.MustCompile(pattern).FindStringSubmatch(p.Log())
		require.NotNil(t, found, "%s in %s", pattern, p.Log())
		return found[1]
	}

	c := dial(t, p.Addr)
	require.Equal(t, "-NOAUTH Authentication required.\r\n", c.do("GET", "key"))
	require.Equal(t, "+OK\r\n", c.do("AUTH", "secret"))
	require.Equal(t, "+OK\r\n", c.do("SET", "key", "value"))
	require.Equal(t, "*2\r\n$9\r\nmaxmemory\r\n$8\r\n33554432\r\n", c.do("CONFIG", "GET", "maxmemory"))

	u := dialNetwork(t, "unix", socket)
	require.Equal(t, "+OK\r\n", u.do("AUTH", "secret"))
	require.Equal(t, "$5\r\nvalue\r\n", u.do("GET", "key"))

	m, err := net.Dial("tcp", find(`memcache=(\S+)`))
	require.NoError(t, err)
	defer m.Close()
	_, err = m.Write([]byte("get key\r\nset key 7 0 5\r\nother\r\nget key\r\n"))
	require.NoError(t, err)
	want := "END\r\nSTORED\r\nVALUE key 7 5\r\nother\r\nEND\r\n" // keys of its own
	got := make([]byte, len(want))
	_, err = io.ReadFull(m, got)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
	require.Equal(t, "$5\r\nvalue\r\n", u.do("GET", "key"))

	metrics := httpGet(t, find(`admin=(\S+)`)+"/metrics")
	require.Contains(t, metrics, "\ncache_keys 2\n")
	require.Contains(t, metrics, `cache_loop_connections{loop="1"}`)
	require.Contains(t, metrics, "go_goroutines")
	require.Contains(t, metrics, `cache_commands_total{command="set"} 1`)
	require.Contains(t, httpGet(t, find(`admin=(\S+)`)+"/stats"), `"engine":`)
	require.Contains(t, httpGet(t, find(`admin=(\S+)`)+"/debug/pprof/goroutine?debug=1"), "goroutine profile")

	m.Close()
	u.conn.Close()
	c.conn.Close()
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait(), p.Log())
	_, err = os.Stat(socket)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func httpGet(t *testing.T, url string) string {
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", b)
	http.DefaultClient.CloseIdleConnections()
	return string(b)
}

// What cannot be is one clear sentence, and a status that is not zero.
func TestWrongFlags(t *testing.T) {
	bin := runtest.Build(t, ".")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, c := range []struct{ args, says string }{
		{"-maxmemory lots", "want a number of bytes"},
		{"-maxmemory-policy allkeys-magic", "noeviction"},
		{"-timeout soon", "want a number of seconds"},
		{"-listen 127.0.0.1:0 -memcache " + taken.Addr().String(), "-memcache: "},
		{"-listen 127.0.0.1:0 -admin " + taken.Addr().String(), "-admin: "},
		{"-listen 127.0.0.1:0 -unixsocket /nonexistent/cache.sock", "-unixsocket: "},
	} {
		out, err := exec.Command(bin, strings.Fields(c.args)...).CombinedOutput()
		require.Error(t, err, c.args)
		require.Contains(t, string(out), c.says)
		require.NotContains(t, string(out), "goroutine")
	}
}
