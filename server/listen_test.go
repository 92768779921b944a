package server_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// accepted returns the server's descriptor of a connection in this process: the one whose peer is the client.
func accepted(t *testing.T, c *client) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range entries {
		fd, _ := strconv.Atoi(e.Name())
		sa, err := unix.Getpeername(fd)
		if err != nil {
			continue
		}
		found := false
		switch sa := sa.(type) {
		case *unix.SockaddrInet4:
			found = sa.Port == portOf(c.LocalAddr())
		case *unix.SockaddrInet6:
			found = sa.Port == portOf(c.LocalAddr())
		case *unix.SockaddrUnix:
			found = sa.Name != "" && sa.Name == c.LocalAddr().String()
		}
		if found {
			return fd
		}
	}
	require.FailNow(t, "the accepted socket is not found")
	return -1
}

func portOf(addr net.Addr) int {
	if a, ok := addr.(*net.TCPAddr); ok {
		return a.Port
	}
	return -1
}

// Each option is read back from a live socket, and so is what is there without it.
func TestSocketOptions(t *testing.T) {
	type option struct {
		name       string
		level, opt int
		want       int
	}
	const (
		sol = unix.SOL_SOCKET
		tcp = unix.IPPROTO_TCP
	)
	system := func(name string) int { // the default
		b, err := os.ReadFile("/proc/sys/net/ipv4/" + name)
		require.NoError(t, err)
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		require.NoError(t, err)
		return n
	}
	cases := []struct {
		name string
		cfg  server.ListenConfig
		want []option
	}{
		{"defaults", server.ListenConfig{}, []option{
			{"nodelay", tcp, unix.TCP_NODELAY, 1}, {"keepalive", sol, unix.SO_KEEPALIVE, 1}, {"idle", tcp, unix.TCP_KEEPIDLE, 15},
			{"interval", tcp, unix.TCP_KEEPINTVL, 15}, {"count", tcp, unix.TCP_KEEPCNT, 9}, {"user timeout", tcp, unix.TCP_USER_TIMEOUT, 0},
		}},
		{"all", server.ListenConfig{Delay: true, KeepAlive: server.KeepAlive{Idle: 70 * time.Second, Interval: 1500 * time.Millisecond, Count: 3},
			UserTimeout: 1234 * time.Millisecond, ReceiveBuffer: 50_000, SendBuffer: 60_000}, []option{
			{"nodelay", tcp, unix.TCP_NODELAY, 0}, {"keepalive", sol, unix.SO_KEEPALIVE, 1}, {"idle", tcp, unix.TCP_KEEPIDLE, 70},
			{"interval, whole seconds", tcp, unix.TCP_KEEPINTVL, 2}, {"count", tcp, unix.TCP_KEEPCNT, 3},
			{"user timeout", tcp, unix.TCP_USER_TIMEOUT, 1234}, // the kernel doubles sizes, for its own books
			{"receive buffer", sol, unix.SO_RCVBUF, 100_000}, {"send buffer", sol, unix.SO_SNDBUF, 120_000},
		}},
		{"off", server.ListenConfig{KeepAlive: server.KeepAlive{Idle: -1}, UserTimeout: -1}, []option{
			{"keepalive", sol, unix.SO_KEEPALIVE, 0}, {"idle", tcp, unix.TCP_KEEPIDLE, system("tcp_keepalive_time")},
			{"user timeout", tcp, unix.TCP_USER_TIMEOUT, 0},
		}},
		{"negative interval", server.ListenConfig{KeepAlive: server.KeepAlive{Interval: -1}}, []option{
			{"keepalive", sol, unix.SO_KEEPALIVE, 1}, {"interval", tcp, unix.TCP_KEEPINTVL, system("tcp_keepalive_intvl")},
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, s := range append(engines(), setup{Engine: server.EngineURing, Loops: 2, Accept: server.AcceptPerLoop}) {
				for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
					t.Run(s.String()+addr, func(t *testing.T) {
						x := build(t, s)
						x.listen("tcp", addr, c.cfg)
						x.serve()
						cl := x.dial()
						cl.echo("hello")
						fd := accepted(t, cl)
						for _, o := range c.want {
							got, err := unix.GetsockoptInt(fd, o.level, o.opt)
							require.NoError(t, err)
							require.Equal(t, o.want, got, o.name)
						}
						flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
						require.NoError(t, err)
						require.NotZero(t, flags&unix.FD_CLOEXEC)
						x.finish()
					})
				}
			}
		})
	}
}

// Buffers of unix sockets, which do not inherit them from the listener.
func TestSocketOptionsUnix(t *testing.T) {
	system := map[int]int{} // what a socket has without being asked
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	for _, opt := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
		system[opt], err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt)
		require.NoError(t, err)
	}
	require.NoError(t, unix.Close(fd))
	each(t, func(t *testing.T, s setup) {
		for _, c := range []struct {
			cfg  server.ListenConfig
			want map[int]int
		}{
			{server.ListenConfig{}, system},
			{server.ListenConfig{ReceiveBuffer: 50_000, SendBuffer: 60_000}, map[int]int{unix.SO_RCVBUF: 100_000, unix.SO_SNDBUF: 120_000}},
		} {
			x := build(t, s)
			x.listen("unix", filepath.Join(t.TempDir(), "s"), c.cfg)
			x.serve()
			cl := x.dialWith(&net.Dialer{LocalAddr: &net.UnixAddr{Name: "@protoring-client-" + strconv.Itoa(os.Getpid()), Net: "unix"}})
			cl.echo("hello")
			fd := accepted(t, cl)
			for opt, want := range c.want {
				got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt)
				require.NoError(t, err)
				require.Equal(t, want, got, "option %d", opt)
			}
			x.finish()
		}
	})
}

// The backlog is as asked for, up to somaxconn: read back from the kernel.
func TestBacklog(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	require.NoError(t, err)
	most, err := strconv.Atoi(strings.TrimSpace(string(b)))
	require.NoError(t, err)
	for _, accept := range []server.AcceptMode{server.AcceptBalanced, server.AcceptPerLoop} {
		for asked, want := range map[int]int{0: most, 7: 7, 100: 100} {
			x := build(t, setup{Loops: 2, Accept: accept})
			addr := x.listen("tcp", "127.0.0.1:0", server.ListenConfig{Backlog: asked}).(*net.TCPAddr)
			found := 0
			for _, fd := range listening(t, addr.Port) {
				info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
				require.NoError(t, err)
				require.Equal(t, want, int(info.Sacked), "of a listener the kernel tells the backlog there")
				found++
			}
			require.Equal(t, map[server.AcceptMode]int{server.AcceptBalanced: 1, server.AcceptPerLoop: 2}[accept], found)
			require.NoError(t, x.Close())
		}
	}
}

// listening returns this process's listeners on the port.
func listening(t *testing.T, port int) (fds []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range entries {
		fd, _ := strconv.Atoi(e.Name())
		if is, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || is == 0 {
			continue
		}
		sa, err := unix.Getsockname(fd)
		if sa, ok := sa.(*unix.SockaddrInet4); err == nil && ok && sa.Port == port {
			fds = append(fds, fd)
		}
	}
	return fds
}

// Addresses of all kinds, and what a reactor is told of them.
func TestAddresses(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		dir := t.TempDir()
		for _, c := range []struct{ network, addr, dial string }{
			{"tcp", "127.0.0.1:0", "127.0.0.1"},
			{"tcp4", "127.0.0.1:0", "127.0.0.1"},
			{"tcp", "localhost:0", "127.0.0.1"},
			{"tcp", "[::1]:0", "::1"},
			{"tcp6", "[::1]:0", "::1"},
			{"tcp", "127.1.2.3:0", "127.1.2.3"},
			{"unix", filepath.Join(dir, "socket"), ""},
			{"unix", "@protoring-test-" + strconv.Itoa(os.Getpid()), ""},
		} {
			x := build(t, s)
			addr := x.listen(c.network, c.addr, server.ListenConfig{})
			x.serve()
			var cl *client
			if c.dial != "" {
				require.NotZero(t, addr.(*net.TCPAddr).Port)
				cl = x.to(&net.TCPAddr{IP: net.ParseIP(c.dial), Port: addr.(*net.TCPAddr).Port})
			} else {
				require.Equal(t, c.addr, addr.String())
				cl = x.to(addr)
			}
			cl.say("peer")
			local, remote := cl.RemoteAddr().String(), cl.LocalAddr().String()
			if c.dial == "" {
				remote = x.book.last(1).peer.Remote.String()
				require.Equal(t, "unix", x.book.last(1).peer.Remote.Network())
			}
			require.Equal(t, fmt.Sprintf("%s %s %d", local, remote, x.book.last(1).peer.Loop), cl.line())
			x.finish()
			if c.dial == "" && c.addr[0] != '@' {
				_, err := os.Stat(c.addr)
				require.ErrorIs(t, err, os.ErrNotExist, "the name is removed in the end")
			}
		}
	})
}

// ":0" takes both families, tcp4 and tcp6 one each.
func TestDualStack(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		for _, c := range []struct {
			network, addr string
			four, six     bool
		}{{"tcp", ":0", true, true}, {"tcp4", ":0", true, false}, {"tcp6", ":0", false, true}, {"tcp", "[::]:0", true, true}, {"tcp", "0.0.0.0:0", true, false}} {
			x := build(t, s)
			port := x.listen(c.network, c.addr, server.ListenConfig{}).(*net.TCPAddr).Port
			x.some = "it is asked who answers, not what"
			x.serve()
			for ip, want := range map[string]bool{"127.0.0.1": c.four, "::1": c.six} {
				conn, err := net.Dial("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
				require.Equal(t, want, err == nil, "%s to %s %s: %v", ip, c.network, c.addr, err)
				if err == nil {
					conn.Close()
				}
			}
			x.Close()
		}
	})
}

func TestUnixPath(t *testing.T) {
	for _, s := range engines() {
		path := filepath.Join(t.TempDir(), "socket")
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		require.NoError(t, err)
		require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
		require.NoError(t, unix.Close(fd)) // a stale name: whoever listened was killed
		x := build(t, s)
		addr := x.listen("unix", path, server.ListenConfig{})
		x.serve()
		x.to(addr).echo("hello")
		x.allServed()
		y := build(t, s)
		_, err = server.Listen(y.Server, "unix", path, server.ListenConfig{}, newBounce)
		require.ErrorIs(t, err, unix.EADDRINUSE)
		require.ErrorContains(t, err, "another socket listens there")
		require.NoError(t, y.Close())
		x.to(addr).echo("not disturbed")
		x.Close()
		_, err = os.Stat(path)
		require.ErrorIs(t, err, os.ErrNotExist)

		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		z := build(t, s)
		_, err = server.Listen(z.Server, "unix", file, server.ListenConfig{}, newBounce)
		require.ErrorIs(t, err, unix.EADDRINUSE)
		_, err = os.Stat(file)
		require.NoError(t, err, "a file that is no socket is left alone")
		for _, bad := range []string{"", filepath.Join(t.TempDir(), "no", "such", "directory"), strings.Repeat("x", 200)} {
			_, err = server.Listen(z.Server, "unix", bad, server.ListenConfig{}, newBounce)
			require.Error(t, err)
		}
		require.NoError(t, z.Close())
	}
}

// R9: a port that is taken is an error, whoever has it, unless both want to share it.
func TestPortTaken(t *testing.T) {
	holder := func(share bool) (net.Listener, string) {
		lc := net.ListenConfig{Control: control(func(fd int) error {
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, map[bool]int{true: 1}[share])
		})}
		l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		return l, l.Addr().String()
	}
	for _, accept := range []server.AcceptMode{server.AcceptBalanced, server.AcceptPerLoop} {
		for _, c := range []struct{ held, share, ok bool }{{false, false, false}, {false, true, false}, {true, false, false}, {true, true, true}} {
			l, addr := holder(c.held)
			x := build(t, setup{Loops: 2, Accept: accept})
			_, err := server.Listen(x.Server, "tcp", addr, server.ListenConfig{Accept: accept, SharePort: c.share}, newBounce)
			if c.ok {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, unix.EADDRINUSE, "%+v", c)
				require.ErrorContains(t, err, addr)
				require.ErrorContains(t, err, "another socket listens there; stop it, or choose another address")
			}
			require.NoError(t, x.Close())
			require.NoError(t, l.Close())
		}
		// Two servers share a port that both want to.
		var shared [2]*rig
		for i := range shared {
			x := build(t, setup{Loops: 2, Accept: accept})
			addr := "127.0.0.1:0"
			if i > 0 {
				addr = shared[0].addr.String()
			}
			x.listen("tcp", addr, server.ListenConfig{SharePort: true})
			shared[i] = x.serve()
		}
		for tries := 0; shared[0].idle(shared[0].LoopStats()) >= 0 || shared[1].idle(shared[1].LoopStats()) >= 0; tries++ {
			require.Less(t, tries, rigTries, "all loops of both have had some")
			c := shared[0].dial()
			c.echo("hello")
			c.Close()
		}
		// One that does not want to is kept out, and keeps others out.
		x := build(t, setup{Loops: 2, Accept: accept})
		_, err := server.Listen(x.Server, "tcp", shared[0].addr.String(), server.ListenConfig{Accept: accept}, newBounce)
		require.ErrorIs(t, err, unix.EADDRINUSE)
		y := build(t, setup{Loops: 2, Accept: accept})
		y.listen("tcp", "127.0.0.1:0", server.ListenConfig{})
		_, err = server.Listen(x.Server, "tcp", y.addr.String(), server.ListenConfig{Accept: accept, SharePort: true}, newBounce)
		if accept == server.AcceptBalanced {
			require.ErrorIs(t, err, unix.EADDRINUSE)
		} else { // the kernel lets everyone of the same user join those that have SO_REUSEPORT
			require.NoError(t, err)
		}
		require.NoError(t, x.Close())
		require.NoError(t, y.Close())
	}
}

// R9: a server that starts again finds its port free, although connections that the one before has ended are remembered there.
func TestAddressReuse(t *testing.T) {
	remembered := func(port int) bool { // a connection in TIME_WAIT
		b, err := os.ReadFile("/proc/net/tcp")
		require.NoError(t, err)
		local := fmt.Sprintf("0100007F:%04X", port)
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); f[1] == local && f[3] == "06" {
				return true
			}
		}
		return false
	}
	each(t, func(t *testing.T, s setup) {
		addr := "127.0.0.1:0"
		for range 2 {
			x := build(t, s)
			x.listen("tcp", addr, server.ListenConfig{})
			x.serve()
			c := x.dial()
			c.say("drain")
			require.Empty(t, c.end()) // the server is the first to close
			x.finish()
			until(t, func() bool { return remembered(x.addr.(*net.TCPAddr).Port) }, "a connection in TIME_WAIT")
			addr = x.addr.String()
		}
	})
}

// Several listeners and protocols on the same loops, some of which come while the server runs.
func TestSeveralListeners(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		x := build(t, s)
		lines := x.listen("tcp", "127.0.0.1:0", server.ListenConfig{})
		frames := listen(x, "tcp", "127.0.0.1:0", server.ListenConfig{}, newU32)
		x.serve()
		talk := func(addrs ...net.Addr) {
			for i := range 4 * s.Loops {
				for _, a := range addrs {
					c := x.to(a)
					if a == frames {
						_, err := io.WriteString(c, "\x00\x00\x00\x03abc")
						require.NoError(t, err)
						b := make([]byte, 7)
						_, err = io.ReadFull(c.r, b)
						require.NoError(t, err)
						require.Equal(t, "\x00\x00\x00\x03abc", string(b))
					} else {
						c.echo(fmt.Sprintf("line %d", i))
					}
					c.Close()
				}
			}
		}
		talk(lines, frames)
		late := x.listen("tcp", "127.0.0.1:0", server.ListenConfig{})
		path := x.listen("unix", filepath.Join(t.TempDir(), "s"), server.ListenConfig{})
		talk(lines, frames, late, path)
		x.allServed()
		x.finish()
		for _, a := range []net.Addr{lines, frames, late, path} {
			_, err := net.Dial(a.Network(), a.String())
			require.Error(t, err, "the port is closed")
		}
	})
}

// IDs are unique, and the loop is the one that serves.
func TestPeer(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		x := start(t, s)
		ids := map[uint64]bool{}
		loops := map[int]int{}
		const conns = 24
		for i := range conns {
			c := x.dial()
			c.echo("hello")
			p := x.book.last(i + 1).peer
			require.False(t, ids[p.ID])
			ids[p.ID] = true
			require.Less(t, p.Loop, s.Loops)
			loops[p.Loop]++
			require.NotNil(t, p.Sender)
		}
		until(t, func() bool { return x.Stats().Accepted == conns }, "the counts")
		for i, l := range x.LoopStats() {
			require.Equal(t, uint64(loops[i]), l.Accepted, "loop %d", i)
		}
		x.finish()
	})
}

func TestBadConfig(t *testing.T) {
	for want, cfg := range map[string]server.Config{
		"Config.Loops is -1":                     {Loops: -1},
		"Config.Loops is 5000":                   {Loops: 5000},
		"Config.Engine is 9":                     {Engine: 9},
		"CPU -3":                                 {CPUs: []int{-3}},
		"Config.MaxMemory is -1":                 {MaxMemory: -1},
		"Config.MaxConns is -1":                  {MaxConns: -1},
		"Config.BufferAllocationIncrement is -1": {BufferAllocationIncrement: -1},
		"Config.MaxReceive is -1":                {MaxReceive: -1},
	} {
		_, err := server.New(cfg)
		require.ErrorContains(t, err, want)
	}
	x := build(t, setup{Loops: 1})
	for want, cfg := range map[string]server.ListenConfig{
		"ListenConfig.MaxBufferLength is -1":           {MaxBufferLength: -1},
		"ListenConfig.MaxOutbound is -1":               {MaxOutbound: -1},
		"ListenConfig.MaxQueuedOutboundMessages is -1": {MaxQueuedOutboundMessages: -1},
		"ListenConfig.Backlog is -1":                   {Backlog: -1},
		"ListenConfig.SendBuffer is -1":                {SendBuffer: -1},
		"ListenConfig.ReceiveBuffer is -1":             {ReceiveBuffer: -1},
		"ListenConfig.KeepAlive.Count is -1":           {KeepAlive: server.KeepAlive{Count: -1}},
		"ListenConfig.Accept is 7":                     {Accept: 7},
		"TCP_KEEPCNT 1000":                             {KeepAlive: server.KeepAlive{Count: 1000}},
	} {
		_, err := server.Listen(x.Server, "tcp", "127.0.0.1:0", cfg, newBounce)
		require.ErrorContains(t, err, want)
	}
	for want, addr := range map[string][2]string{
		"want tcp, tcp4, tcp6 or unix": {"udp", "127.0.0.1:0"},
		"missing port":                 {"tcp", "127.0.0.1"},
		"no suitable address":          {"tcp4", "[::1]:0"},
		"cannot assign":                {"tcp", "192.0.2.1:0"},
	} {
		_, err := server.Listen(x.Server, addr[0], addr[1], server.ListenConfig{}, newBounce)
		require.ErrorContains(t, err, want)
	}
	require.NoError(t, x.Close())
	for _, e := range []server.Engine{server.EngineAuto, server.EngineURing, server.EngineEpoll} {
		got, err := server.ParseEngine(e.String())
		require.NoError(t, err)
		require.Equal(t, e, got)
	}
	_, err := server.ParseEngine("kqueue")
	require.ErrorContains(t, err, "want auto, io_uring, epoll")
	require.Equal(t, "Engine(9)", server.Engine(9).String())
}
