package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/internal/runtest"
	"github.com/protoring/protoring/server"
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
	conn, err := net.Dial("tcp", addr)
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

// startCache serves a cache within the test.
func startCache(t testing.TB, maxMemory int, cfg server.Config) (string, *cache) {
	t.Helper()
	srv, err := server.New(cfg)
	require.NoError(t, err)
	c := newCache(maxMemory)
	c.stats = srv.Stats
	addr, err := server.Listen(srv, "tcp", "127.0.0.1:0", c.listenConfig(), c.connect)
	require.NoError(t, err)
	c.addr = addr.String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	stop := c.start(slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(func() {
		cancel()
		<-served
		stop()
	})
	return c.addr, c
}

// startRedis runs a redis-server of its own and returns its address.
func startRedis(t testing.TB) string {
	t.Helper()
	path := runtest.Tool(t, "redis-server")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := free.Addr().String()
	free.Close()
	port := addr[strings.LastIndexByte(addr, ':')+1:]
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--databases", "1", "--dir", t.TempDir())
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, 20*time.Second, 10*time.Millisecond)
	return addr
}

func TestMemoryFlag(t *testing.T) {
	for s, want := range map[string]int{
		"0": 0, "1": 1, "1000": 1000, "100b": 100, "1k": 1000, "2kb": 2048, "3m": 3e6, "64mb": 64 << 20, "64MB": 64 << 20,
		"1g": 1e9, "1gb": 1 << 30,
	} {
		var f memoryFlag
		require.NoError(t, f.Set(s), s)
		require.Equal(t, want, int(f), s)
		var back memoryFlag
		require.NoError(t, back.Set(f.String()))
		require.Equal(t, f, back)
	}
	for _, s := range []string{"", "mb", "-1", "1.5gb", "1tb", "1 mb", "1bb", "9223372036854775807gb", "x"} {
		var f memoryFlag
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

// Large values pass, and what could never be stored ends the connection before it takes memory.
func TestLargeValues(t *testing.T) {
	addr, _ := startCache(t, 64<<20, server.Config{Loops: 1})
	c := dial(t, addr)
	value := strings.Repeat("0123456789abcdef", 1<<20) // 16 MiB
	require.Equal(t, "+OK\r\n", c.do("SET", "key", value))
	require.Equal(t, "$"+strconv.Itoa(len(value))+"\r\n"+value+"\r\n", c.do("GET", "key"))
	require.Equal(t, "+OK\r\n", c.do("SET", "small", "x"))
	fits := strings.Repeat("x", 64<<20-100)
	require.Equal(t, "+OK\r\n", c.do("SET", "k", fits))
	require.Equal(t, "$-1\r\n", c.do("GET", "key"))
	require.Equal(t, "-OOM command not allowed when used memory > 'maxmemory'.\r\n", c.do("SET", "k", fits+strings.Repeat("x", 100)))
	require.Equal(t, "$1\r\nx\r\n", dialDo(t, addr, "SET", "s", "x", "GET", "s"), "others are served")
	c.send(fmt.Appendf(nil, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", 65<<20))
	_, ok := c.reply()
	require.False(t, ok)
}

// dialDo runs a SET and a GET on a new connection.
func dialDo(t *testing.T, addr string, args ...string) string {
	c := dial(t, addr)
	require.Equal(t, "+OK\r\n", c.do(args[:3]...))
	return c.do(args[3:]...)
}
