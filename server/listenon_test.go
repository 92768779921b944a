package server_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A given is a socket that was made elsewhere, and how to hand it over.
type given struct {
	net.Addr
	listen func(x *rig, cfg server.ListenConfig) (net.Addr, error)
	close  func()
}

func givenListener(ln net.Listener) given {
	return given{ln.Addr(), func(x *rig, cfg server.ListenConfig) (net.Addr, error) {
		return server.ListenOn(x.Server, ln, cfg, x.book.kit)
	}, func() { ln.Close() }}
}

func givenFile(addr net.Addr, f *os.File) given {
	return given{addr, func(x *rig, cfg server.ListenConfig) (net.Addr, error) {
		return server.ListenFile(x.Server, f, cfg, x.book.kit)
	}, func() { f.Close() }}
}

// netListen is a listener of package net, of plain TCP, or of several paths, as net.Listen makes it where the kernel can.
func netListen(t *testing.T, network, addr string, multipath bool) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(multipath)
	ln, err := lc.Listen(context.Background(), network, addr)
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	return ln
}

// activated is a socket as systemd hands it over: a descriptor that blocks.
func activated(t *testing.T, sa unix.Sockaddr, family, kind int) *os.File {
	t.Helper()
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	f := os.NewFile(uintptr(fd), "socket")
	t.Cleanup(func() { f.Close() })
	require.NoError(t, unix.Bind(fd, sa))
	require.NoError(t, unix.Listen(fd, 100))
	return f
}

// boundTo is the address of a socket of IPv4.
func boundTo(t *testing.T, f *os.File) *net.TCPAddr {
	t.Helper()
	raw, err := f.SyscallConn()
	require.NoError(t, err)
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	require.NoError(t, raw.Control(func(fd uintptr) {
		sa, err := unix.Getsockname(int(fd))
		require.NoError(t, err)
		addr.Port = sa.(*unix.SockaddrInet4).Port
	}))
	return addr
}

// givens are sockets of all kinds.
func givens(t *testing.T) map[string]given {
	t.Helper()
	dir := t.TempDir()
	tcp := activated(t, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}, unix.AF_INET, unix.SOCK_STREAM)
	path := filepath.Join(dir, "file")
	return map[string]given{
		"tcp":       givenListener(netListen(t, "tcp", "127.0.0.1:0", false)),
		"multipath": givenListener(netListen(t, "tcp", "127.0.0.1:0", true)),
		"any":       givenListener(netListen(t, "tcp", ":0", false)),
		"tcp6":      givenListener(netListen(t, "tcp", "[::1]:0", false)),
		"unix":      givenListener(netListen(t, "unix", filepath.Join(dir, "socket"), false)),
		"abstract":  givenListener(netListen(t, "unix", "@protoring-given-"+strconv.Itoa(os.Getpid()), false)),
		"tcp file":  givenFile(boundTo(t, tcp), tcp),
		"unix file": givenFile(&net.UnixAddr{Name: path, Net: "unix"}, activated(t, &unix.SockaddrUnix{Name: path}, unix.AF_UNIX, unix.SOCK_STREAM)),
	}
}

// listenOn makes the server listen on the socket.
func (x *rig) listenOn(g given, cfg server.ListenConfig) net.Addr {
	x.t.Helper()
	cfg.Accept = x.setup.Accept
	addr, err := g.listen(x, cfg)
	require.NoError(x.t, err)
	require.Equal(x.t, g.String(), addr.String())
	if x.addr == nil {
		x.addr = addr
	}
	return addr
}

// Sockets of all kinds that were made elsewhere serve on all loops, and are closed in the end. Whoever made them may close them at once.
// A name of a unix socket stays.
func TestListenOn(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		for name, g := range givens(t) {
			t.Run(name, func(t *testing.T) {
				x := build(t, s)
				addr := x.listenOn(g, server.ListenConfig{})
				g.close()
				x.serve()
				c := x.to(addr)
				c.say("peer")
				remote := c.LocalAddr().String()
				if addr.Network() == "unix" {
					remote = x.book.last(1).peer.Remote.String()
				}
				require.Equal(t, c.RemoteAddr().String()+" "+remote+" "+strconv.Itoa(x.book.last(1).peer.Loop), c.line())
				x.finish()
				_, err := net.Dial(addr.Network(), reachable(addr))
				require.ErrorIs(t, err, unix.ECONNREFUSED, "nobody listens")
				if path := addr.String(); filepath.IsAbs(path) {
					_, err := os.Stat(path)
					require.NoError(t, err, "the name is not the server's to remove")
				}
			})
		}
	})
}

// A loop that waits for connections does nothing, whether its socket blocks or not.
func TestListenOnSleeps(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_STREAM | unix.SOCK_NONBLOCK} {
			f := activated(t, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}, unix.AF_INET, kind)
			x := build(t, s)
			x.listenOn(givenFile(boundTo(t, f), f), server.ListenConfig{})
			x.serve()
			x.dial().echo("hello")
			require.Less(t, still(t, func() uint64 { return x.Stats().Turns }), uint64(100))
			x.finish()
		}
	})
}

// A listener can be handed over while the server runs, beside others. One that its maker keeps serves on when the server has ended,
// and goes to the next server.
func TestListenOnGoesOn(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		ln := netListen(t, "tcp", "127.0.0.1:0", true)
		for range 2 {
			x := start(t, s)
			addr := x.listenOn(givenListener(ln), server.ListenConfig{})
			for range 2 * s.Loops {
				x.to(addr).echo("hello")
			}
			x.finish()
			c := dial(t, addr)
			served := make(chan error, 1)
			go func() {
				conn, err := ln.Accept()
				if err == nil {
					_, err = conn.Write([]byte("by its maker\n"))
					conn.Close()
				}
				served <- err
			}()
			require.Equal(t, "by its maker", c.line())
			require.NoError(t, <-served)
			c.Close()
		}
		require.NoError(t, ln.Close())
		_, err := net.Dial("tcp", ln.Addr().String())
		require.ErrorIs(t, err, unix.ECONNREFUSED, "no server has a descriptor left")
	})
}

// What is queued when a drain begins is taken and ended well, as on the server's own sockets; Close ends what there is.
func TestListenOnEnds(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		for name, g := range givens(t) {
			t.Run(name, func(t *testing.T) {
				x := build(t, s)
				x.listenOn(g, server.ListenConfig{})
				g.close()
				x.serve()
				x.allServed()
				for range 5 * s.Loops { // with those that follow fewer than the backlog has room for
					x.dial().say("block")
				}
				until(t, func() bool { _, stands := x.book.stands.Load(0); return stands }, "the loop that accepts stands")
				clients := make([]*client, 30)
				for i := range clients {
					clients[i] = x.dial()
					clients[i].say("a request")
				}
				x.stop()
				x.book.gate.open()
				for i, c := range clients {
					require.Contains(t, []string{"", "a request\n"}, string(c.end()), "connection %d", i) // fails where it was reset
					c.Close()
				}
				x.finish()
			})
		}
		t.Run("close", func(t *testing.T) {
			ln := netListen(t, "tcp", "127.0.0.1:0", false)
			x := build(t, s)
			x.listenOn(givenListener(ln), server.ListenConfig{})
			x.serve()
			c := x.dial()
			c.echo("hello")
			x.allServed()
			require.NoError(t, x.Close())
			require.ErrorIs(t, x.wait(), server.ErrClosed)
			_ = c.broken()
		})
	})
	t.Run("unserved", func(t *testing.T) {
		ln := netListen(t, "tcp", "127.0.0.1:0", false)
		x := build(t, engines()[0])
		x.listenOn(givenListener(ln), server.ListenConfig{})
		require.NoError(t, ln.Close())
		require.NoError(t, x.Close())
		_, err := net.Dial("tcp", ln.Addr().String())
		require.ErrorIs(t, err, unix.ECONNREFUSED)
	})
}

// The options for connections are those of the config, whatever the socket had. A multipath socket refuses some, which its
// connections have all the same.
func TestListenOnOptions(t *testing.T) {
	const (
		sol = unix.SOL_SOCKET
		tcp = unix.IPPROTO_TCP
	)
	names := map[[2]int]string{{tcp, unix.TCP_NODELAY}: "nodelay", {sol, unix.SO_KEEPALIVE}: "keepalive", {tcp, unix.TCP_KEEPIDLE}: "idle",
		{tcp, unix.TCP_KEEPINTVL}: "interval", {tcp, unix.TCP_KEEPCNT}: "count", {tcp, unix.TCP_USER_TIMEOUT}: "user timeout",
		{sol, unix.SO_RCVBUF}: "receive buffer", {sol, unix.SO_SNDBUF}: "send buffer"}
	cases := map[string]struct {
		cfg  server.ListenConfig
		want map[[2]int]int
	}{
		"defaults": {server.ListenConfig{}, map[[2]int]int{{tcp, unix.TCP_NODELAY}: 1, {sol, unix.SO_KEEPALIVE}: 1, {tcp, unix.TCP_KEEPIDLE}: 15,
			{tcp, unix.TCP_KEEPINTVL}: 15, {tcp, unix.TCP_KEEPCNT}: 9, {tcp, unix.TCP_USER_TIMEOUT}: 4000, {sol, unix.SO_SNDBUF}: 80_000}},
		"all": {server.ListenConfig{KeepAlive: server.KeepAlive{Idle: 70 * time.Second, Interval: 20 * time.Second, Count: 3}, SharePort: true,
			UserTimeout: 1234 * time.Millisecond, ReceiveBuffer: 50_000, SendBuffer: 60_000}, map[[2]int]int{{tcp, unix.TCP_KEEPIDLE}: 70,
			{tcp, unix.TCP_KEEPINTVL}: 20, {tcp, unix.TCP_KEEPCNT}: 3, {tcp, unix.TCP_USER_TIMEOUT}: 1234, {sol, unix.SO_RCVBUF}: 100_000,
			{sol, unix.SO_SNDBUF}: 120_000}},
		"off": {server.ListenConfig{Delay: true, KeepAlive: server.KeepAlive{Idle: -1}, UserTimeout: -1}, map[[2]int]int{{tcp, unix.TCP_NODELAY}: 0,
			{sol, unix.SO_KEEPALIVE}: 0, {tcp, unix.TCP_USER_TIMEOUT}: 0}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			over(t, engines(), func(t *testing.T, s setup) {
				for _, multipath := range []bool{false, true} {
					ln := netListen(t, "tcp", "127.0.0.1:0", multipath)
					raw, err := ln.(*net.TCPListener).SyscallConn()
					require.NoError(t, err)
					require.NoError(t, raw.Control(func(fd uintptr) { // what its maker has set
						for _, o := range []struct{ level, opt, value int }{{tcp, unix.TCP_NODELAY, 1}, {sol, unix.SO_KEEPALIVE, 1}, {sol, unix.SO_SNDBUF, 40_000}} {
							require.NoError(t, unix.SetsockoptInt(int(fd), o.level, o.opt, o.value))
						}
						if !multipath {
							require.NoError(t, unix.SetsockoptInt(int(fd), tcp, unix.TCP_USER_TIMEOUT, 4000))
						}
					}))
					x := build(t, s)
					x.listenOn(givenListener(ln), c.cfg)
					x.serve()
					for range 3 {
						cl := x.dial()
						cl.echo("hello")
						fd := accepted(t, cl)
						for o, want := range c.want {
							if name == "defaults" && multipath && o[1] == unix.TCP_USER_TIMEOUT {
								want = 0 // its maker could not set it either
							}
							got, err := unix.GetsockoptInt(fd, o[0], o[1])
							require.NoError(t, err)
							require.Equal(t, want, got, "%s, multipath %v", names[o], multipath)
						}
						flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
						require.NoError(t, err)
						require.NotZero(t, flags&unix.FD_CLOEXEC)
					}
					x.finish()
				}
			})
		})
	}
}

// The server's descriptor is not inherited by programs that the process starts; the backlog is that of the config, or what it was.
func TestListenOnBacklog(t *testing.T) {
	for asked, want := range map[int]int{0: 100, 7: 7} {
		f := activated(t, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}, unix.AF_INET, unix.SOCK_STREAM)
		addr := boundTo(t, f)
		x := build(t, setup{Loops: 1})
		x.listenOn(givenFile(addr, f), server.ListenConfig{Backlog: asked})
		require.NoError(t, f.Close())
		fds := listening(t, addr.Port)
		require.Len(t, fds, 1)
		info, err := unix.GetsockoptTCPInfo(fds[0], unix.IPPROTO_TCP, unix.TCP_INFO)
		require.NoError(t, err)
		require.Equal(t, want, int(info.Sacked), "of a listener the kernel tells the backlog there")
		flags, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETFD, 0)
		require.NoError(t, err)
		require.NotZero(t, flags&unix.FD_CLOEXEC)
		require.NoError(t, x.Close())
	}
}

// What is no socket to accept from is refused, in a sentence, and no descriptor of it is kept.
func TestListenOnRefuses(t *testing.T) {
	x := build(t, setup{Loops: 2})
	before := openFDs()
	refused := func(err error, want string) {
		t.Helper()
		require.ErrorContains(t, err, "listen on a given socket: "+want)
	}
	on := func(ln net.Listener) error {
		_, err := server.ListenOn(x.Server, ln, server.ListenConfig{}, newBounce)
		return err
	}
	file := func(f *os.File) error {
		_, err := server.ListenFile(x.Server, f, server.ListenConfig{}, newBounce)
		return err
	}
	socket := func(family, kind int) *os.File {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		return os.NewFile(uintptr(fd), "socket")
	}
	const noStream = "it is no stream socket of TCP or unix"

	refused(on(nil), "it is nil")
	refused(on((*net.TCPListener)(nil)), "it is nil")
	refused(file(nil), "it is nil")

	ln := netListen(t, "tcp", "127.0.0.1:0", false)
	refused(on(tls.NewListener(ln, &tls.Config{})), "a *tls.listener has none to share: want a *net.TCPListener, a *net.UnixListener or an *os.File")
	_, err := server.ListenOn(x.Server, ln, server.ListenConfig{KeepAlive: server.KeepAlive{Count: 1000}}, newBounce)
	refused(err, "TCP_KEEPCNT 1000: setsockopt: invalid argument")
	_, err = server.ListenOn(x.Server, ln, server.ListenConfig{Backlog: -1}, newBounce)
	require.ErrorContains(t, err, "ListenConfig.Backlog is -1")
	require.NoError(t, ln.Close())
	require.ErrorIs(t, on(ln), net.ErrClosed)

	plain, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	refused(file(plain), "the descriptor is no socket")
	require.NoError(t, plain.Close())
	refused(file(plain), "use of closed file")

	for want, f := range map[string]*os.File{
		noStream:             socket(unix.AF_INET, unix.SOCK_DGRAM),
		"it does not listen": socket(unix.AF_INET, unix.SOCK_STREAM),
	} {
		refused(file(f), want)
		require.NoError(t, f.Close())
	}
	packets := activated(t, &unix.SockaddrUnix{Name: filepath.Join(t.TempDir(), "s")}, unix.AF_UNIX, unix.SOCK_SEQPACKET)
	refused(file(packets), noStream)
	require.NoError(t, packets.Close())
	require.Equal(t, before, openFDs())

	require.NoError(t, x.Close())
	ln = netListen(t, "tcp", "127.0.0.1:0", false)
	require.ErrorIs(t, on(ln), server.ErrClosed)
	require.NoError(t, ln.Close())
	require.Equal(t, before, openFDs())
}
