package main

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/examples/internal/runtest"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/reactor/reactortest"
)

func TestFrameFlag(t *testing.T) {
	for _, s := range []string{"raw", "line", "u32", "fixed:1", "fixed:33554432"} {
		var f frameFlag
		require.NoError(t, f.Set(s))
		require.Equal(t, s, f.String())
	}
	for _, s := range []string{"", "fixed", "fixed:", "fixed:0", "fixed:-1", "fixed:x", "fixed:33554433", "raw:1", "u16"} {
		f := frameFlag{kind: "raw"}
		require.Error(t, f.Set(s), s)
		require.Equal(t, "raw", f.String())
	}
}

func TestReactors(t *testing.T) {
	check(t, rawEcho{}, "abc", "abc")
	check(t, lineEcho{}, "one\ntwo\r\n\nthr", "one\ntwo\n\n")
	check(t, fixedEcho{Fixed: codec.Fixed{Length: 3}}, "abcdefg", "abcdef")
	check(t, lengthEcho{}, "\x00\x00\x00\x02ab\x00\x00\x00\x00\x00\x00\x00\x01", "\x00\x00\x00\x02ab\x00\x00\x00\x00")
}

func check[R reactor.Reactor[codec.Frame, codec.Frame]](t *testing.T, r R, in, want string) {
	t.Helper()
	connect := func(reactor.Peer[codec.Frame]) R { return r }
	whole := reactortest.New[codec.Frame](t, connect, reactortest.Config{})
	_, err := whole.Write([]byte(in))
	require.NoError(t, err)
	require.Equal(t, want, string(whole.Take()))
	each := reactortest.New[codec.Frame](t, connect, reactortest.Config{})
	require.NoError(t, each.WriteEach([]byte(in)))
	require.Equal(t, want, string(each.Take()))
}

func TestProcess(t *testing.T) {
	bin := runtest.Build(t, ".")
	socket := "unix:" + filepath.Join(t.TempDir(), "echo.sock")
	for _, engine := range []string{"auto", "io_uring", "epoll"} {
		for _, args := range [][]string{
			{"-frame", "raw", "-loops", "1", "-listen", "127.0.0.1:0"},
			{"-frame", "line", "-loops", "2", "-listen", "127.0.0.1:0", "-cpus", "0"},
			{"-frame", "fixed:8", "-listen", "127.0.0.1:0"},
			{"-frame", "u32", "-listen", socket},
		} {
			t.Run(engine+" "+args[1], func(t *testing.T) {
				p := runtest.Start(t, bin, append(args, "-engine", engine)...)
				if engine != "auto" {
					require.Equal(t, engine, p.Engine)
				}
				network := "tcp"
				if strings.HasPrefix(args[len(args)-1], "unix:") {
					network = "unix"
				}
				conn, err := net.Dial(network, strings.TrimPrefix(p.Addr, "unix:"))
				require.NoError(t, err)
				defer conn.Close()
				require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
				message := "\x00\x00\x00\x04abc\n" // whole in each kind of frame
				for range 100 {
					_, err = io.WriteString(conn, message)
					require.NoError(t, err)
					got := make([]byte, len(message))
					_, err = io.ReadFull(conn, got)
					require.NoError(t, err)
					require.Equal(t, message, string(got))
				}
				p.Signal(syscall.SIGTERM)
				_, err = conn.Read(make([]byte, 1))
				require.ErrorIs(t, err, io.EOF, "a drained connection ends, and is not reset")
				conn.Close()
				require.Equal(t, 0, p.Wait(), p.Log())
			})
		}
	}
}
