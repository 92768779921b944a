package redis

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
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

// newTestServer returns a Server that is closed with the test.
func newTestServer(t testing.TB, cfg Config) *Server {
	s := New(cfg)
	t.Cleanup(s.Close)
	return s
}

// startCache serves a cache within the test.
func startCache(t testing.TB, maxMemory int, cfg server.Config) (string, *Server) {
	t.Helper()
	return startServer(t, Config{MaxMemory: maxMemory}, cfg)
}

func startServer(t testing.TB, rc Config, cfg server.Config) (string, *Server) {
	t.Helper()
	srv, err := server.New(cfg)
	require.NoError(t, err)
	rc.Loops, rc.Stats, rc.Logger = srv.Loops(), srv.Stats, slog.New(slog.NewTextHandler(t.Output(), nil))
	rc.Engine = func() string { return srv.Engine().String() }
	s := New(rc)
	addr, err := server.Listen(srv, "tcp", "127.0.0.1:0", s.ListenConfig(), s.Connect)
	require.NoError(t, err)
	s.SetAddr(addr)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	stop := s.Start()
	t.Cleanup(func() {
		cancel()
		<-served
		stop()
		s.Close()
	})
	return addr.String(), s
}

// startRedis runs a redis-server of its own and returns its address.
func startRedis(t testing.TB, flags ...string) string {
	t.Helper()
	path := runtest.Tool(t, "redis-server")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := free.Addr().String()
	free.Close()
	port := addr[strings.LastIndexByte(addr, ':')+1:]
	cmd := exec.Command(path, append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--enable-debug-command", "yes", "--dir", t.TempDir()}, flags...)...)
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
