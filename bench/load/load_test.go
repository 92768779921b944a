package load_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/protoring/protoring/bench/load"
	"github.com/stretchr/testify/require"
)

// serve runs f for each connection to the address that it returns.
func serve(t *testing.T, network string, f func(net.Conn)) string {
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "socket")
	}
	l, err := net.Listen(network, addr)
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				f(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	if network == "unix" {
		return "unix:" + addr
	}
	return l.Addr().String()
}

func echo(c net.Conn) { _, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) }

// cache knows what the load asks of Redis: arrays of bulk strings in, GET, SET and PING.
func cache() func(net.Conn) {
	var mu sync.Mutex
	values := map[string]string{}
	return func(c net.Conn) {
		in := bufio.NewReader(c)
		line := func() string {
			s, _ := in.ReadString('\n')
			return string(bytes.TrimSpace([]byte(s)))
		}
		for {
			head := line()
			if head == "" {
				return
			}
			n, _ := strconv.Atoi(head[1:])
			args := make([]string, n)
			for i := range args {
				size, _ := strconv.Atoi(line()[1:])
				b := make([]byte, size+2)
				_, _ = io.ReadFull(in, b)
				args[i] = string(b[:size])
			}
			reply := "+PONG\r\n"
			mu.Lock()
			switch args[0] {
			case "SET":
				values[args[1]] = args[2]
				reply = "+OK\r\n"
			case "GET":
				v := values[args[1]]
				reply = "$" + strconv.Itoa(len(v)) + "\r\n" + v + "\r\n"
			}
			mu.Unlock()
			_, _ = io.WriteString(c, reply)
		}
	}
}

func TestLoad(t *testing.T) {
	cases := []load.Config{
		{Proto: "echo", Conns: 1},
		{Proto: "echo", Conns: 50, Depth: 16},
		{Proto: "echo", Conns: 3, Depth: 7, Size: 1000},
		{Proto: "echo", Conns: 4, Depth: 3, Size: 1 << 20},
		{Proto: "echo", Conns: 1000, Size: 16},
		{Proto: "resp-set", Conns: 5, Depth: 4, Keys: 100},
		{Proto: "resp-get", Conns: 5, Depth: 4, Keys: 100},
		{Proto: "resp-get", Conns: 2, Size: 100_000, Keys: 100},
		{Proto: "resp-ping", Conns: 5, Depth: 128},
	}
	for _, cfg := range cases {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(cfg.Proto+" "+network+" "+strconv.Itoa(cfg.Conns)+"x"+strconv.Itoa(cfg.Depth), func(t *testing.T) {
				f := echo
				if cfg.Proto != "echo" {
					f = cache()
				}
				cfg.Addr, cfg.Duration, cfg.Warmup = serve(t, network, f), 50*time.Millisecond, -1
				if cfg.Conns >= 1000 || cfg.Size >= 1<<20 {
					cfg.Duration *= 10
				}
				result, err := load.Run(cfg)
				require.NoError(t, err)
				require.Positive(t, result.Ops)
				require.Positive(t, result.Latency.P50)
				require.LessOrEqual(t, result.Latency.P50, result.Latency.P99)
				require.LessOrEqual(t, result.Latency.P99, result.Latency.Max)
				require.Positive(t, result.Load.CPUSeconds)
			})
		}
	}
}

// after returns a server that echoes n requests of 64 bytes rightly and gives the next one to f.
func after(n int, f func(c net.Conn, request []byte)) func(net.Conn) {
	return func(c net.Conn) {
		b := make([]byte, 64)
		for i := 0; ; i++ {
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			if i == n {
				f(c, b)
			} else if _, err := c.Write(b); err != nil {
				return
			}
		}
	}
}

func TestWrongRepliesAreCaught(t *testing.T) {
	cases := []struct {
		name   string
		depth  int
		server func(net.Conn)
		want   string
	}{
		{"a changed byte", 1, after(10, func(c net.Conn, b []byte) {
			b[63]++
			_, _ = c.Write(b)
		}), "byte 63 of 64 differs"},
		{"of another request", 1, after(10, func(c net.Conn, b []byte) {
			b[15]--
			_, _ = c.Write(b)
		}), "byte 15 of 64 differs"},
		{"cut", 4, after(10, func(c net.Conn, b []byte) { _, _ = c.Write(b[:63]) }), "byte 63 of 64 differs"},
		{"doubled, with more requested", 4, after(10, func(c net.Conn, b []byte) { _, _ = c.Write(append(b, b...)) }), "byte 15 of 64 differs"},
		{"doubled", 1, after(10, func(c net.Conn, b []byte) { _, _ = c.Write(append(b, b...)) }), "64 bytes came that nobody asked for"},
		{"none: closed", 1, after(10, func(c net.Conn, b []byte) { c.Close() }), "the server has closed it"},
		{"swapped", 2, after(10, func(c net.Conn, b []byte) {
			second := make([]byte, 64)
			_, _ = io.ReadFull(c, second)
			_, _ = c.Write(append(second, b...))
		}), "byte 15 of 64 differs"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			_, err := load.Run(load.Config{Addr: serve(t, "tcp", tc.server), Conns: 1, Depth: tc.depth, Duration: time.Second, Warmup: -1})
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestWrongServers(t *testing.T) {
	answer := func(s string) func(net.Conn) {
		return func(c net.Conn) {
			b := make([]byte, 1<<10)
			for {
				if _, err := c.Read(b); err != nil {
					return
				}
				_, _ = io.WriteString(c, s)
			}
		}
	}
	cfg := load.Config{Proto: "resp-ping", Addr: serve(t, "tcp", answer("-NOAUTH Authentication required.\r\n")), Conns: 2, Duration: time.Second}
	_, err := load.Run(cfg)
	require.ErrorContains(t, err, `"-NOAUTH Authentication required."`)

	cfg.Proto = "resp-get"
	_, err = load.Run(cfg)
	require.ErrorContains(t, err, "store the keys: ")

	cfg.Proto, cfg.Addr = "resp-ping", serve(t, "tcp", answer("HTTP/1.1 400 Bad Request\r\n\r\n"))
	_, err = load.Run(cfg)
	require.ErrorContains(t, err, "byte 0 of 7 differs")

	cfg.Addr = "127.0.0.1:1"
	_, err = load.Run(cfg)
	require.ErrorContains(t, err, "connect to 127.0.0.1:1: connection refused")

	for _, bad := range []load.Config{
		{},
		{Addr: "x", Proto: "http"},
		{Addr: "x", Conns: -1},
		{Addr: "x", Depth: 1 << 20},
		{Addr: "x", Size: 8},
		{Addr: "x", Conns: 4000, Depth: 128, Size: 1 << 20},
		{Addr: "x", CountSyscalls: true},
		{Addr: "no such host:1"},
	} {
		_, err := load.Run(bad)
		require.Error(t, err)
	}
}
