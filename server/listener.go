package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server/internal/engine"
	"golang.org/x/sys/unix"
)

// A listener is an address and what connections to it are made of.
type listener struct {
	cfg     ListenConfig
	network string
	addr    net.Addr
	fds     []int    // one, or one for each loop
	local   net.Addr // what all its connections have as their local address, or nil where that differs
	perLoop bool     // each loop has a socket of its own
	path    string   // of a unix socket, removed in the end
	name    string   // the reactor's type, for messages
	connect func(c *conn) (session, error)
	shared  []reactor.Config // by loop
	late    []option         // that connections do not inherit: set on each
}

// session is a reactor.Session, without its types.
type session interface {
	Open()
	Inbound(b []byte) (used int, more bool, err error)
	Sent(n int)
	Flushed()
	Pump()
	End()
	Drain()
	Finish(reactor.Status)
	Closed(err error)
	Status() reactor.Status
	Accepts() bool
	AwaitsRoom() bool
	Need() int
	Skipping() int
	Queued() int
	Output() *buffers.Output
}

// Listen makes s listen: for each connection to the address it calls connect, which returns the connection's reactor. network is
// tcp, tcp4, tcp6 or unix, and addr as in net.Listen. It returns the address that is listened on. Connections are served from
// Serve on; Listen may be called before it and while it runs.
//
// A method of the reactor whose name begins with On and that is no hook is an error, as is a port that is taken.
func Listen[In, Out any, R reactor.Reactor[In, Out]](s *Server, network, addr string, cfg ListenConfig,
	connect func(reactor.Peer[Out]) R) (net.Addr, error) {
	l, err := newListener(s, network, connect)
	if err != nil {
		return nil, err
	}
	return s.listen(l, cfg, func() error {
		if err := l.open(addr, s.cfg.Loops); err != nil {
			return fmt.Errorf("listen %s %s: %w", network, addr, err)
		}
		return nil
	})
}

// newListener returns a listener without sockets.
func newListener[In, Out any, R reactor.Reactor[In, Out]](s *Server, network string, connect func(reactor.Peer[Out]) R) (*listener, error) {
	if err := reactor.CheckHooks[In, Out, R](); err != nil {
		return nil, err
	}
	dynamic := reflect.TypeFor[R]().Kind() == reflect.Interface
	l := &listener{network: network, name: reflect.TypeFor[R]().String()}
	ins := make([]In, s.cfg.Loops) // one for each loop: a message is decoded and handled before the next one
	l.connect = func(c *conn) (session, error) {
		for i := range l.late {
			_ = l.late[i].apply(int(c.fd)) // refused by a connection that is multipath itself
		}
		ses := reactor.NewSession[In, Out](c, &l.shared[c.loop.index], &ins[c.loop.index])
		bound := false
		defer func() {
			if !bound { // connect may have given the Sender away
				ses.Closed(nil)
			}
		}()
		local, remote := c.loop.engine.Names(int(c.fd), l.local)
		r := connect(reactor.Peer[Out]{ID: c.id, Local: local, Remote: remote, Loop: c.loop.index, Sender: ses.Sender()})
		if dynamic { // the type was not known before
			if err := reactor.CheckHooksOf[Out](any(r)); err != nil {
				return nil, err
			}
		}
		ses.Bind(r)
		bound = true
		return ses, nil
	}
	return l, nil
}

// listen has open make the sockets, and gives them to the loops if these run.
func (s *Server) listen(l *listener, cfg ListenConfig, open func() error) (net.Addr, error) {
	var err error
	if l.cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	l.shared = make([]reactor.Config, s.cfg.Loops)
	if err := open(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == stateEnding || s.state == stateEnded {
		l.close()
		return nil, ErrClosed
	}
	s.listeners = append(s.listeners, l)
	if s.state == stateServing {
		s.attach(l)
	}
	return l.addr, nil
}

// open makes the sockets. With a socket for each loop, the first is bound without SO_REUSEPORT, so that a port that is taken is
// noticed even if whoever has it would share it; the option is set on it afterwards, which lets the others in.
func (l *listener) open(addr string, loops int) error {
	sa, family, err := resolve(l.network, addr)
	if err != nil {
		return err
	}
	count := 1
	if l.cfg.Accept == AcceptPerLoop && family != unix.AF_UNIX {
		count, l.perLoop = loops, true
	}
	for i := range count {
		fd, err := l.socket(sa, family, l.cfg.SharePort || i > 0)
		if err != nil {
			l.close()
			return err
		}
		l.fds = append(l.fds, fd)
		if i == 0 {
			if sa, err = unix.Getsockname(fd); err != nil { // a port of zero has become one
				l.close()
				return os.NewSyscallError("getsockname", err)
			}
			if count > 1 {
				_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) // refused: the next bind says so
			}
		}
	}
	for _, fd := range l.fds {
		if err := unix.Listen(fd, l.cfg.Backlog); err != nil {
			l.close()
			return os.NewSyscallError("listen", err)
		}
	}
	l.bound(sa)
	if a, ok := l.addr.(*net.UnixAddr); ok && !strings.HasPrefix(a.Name, "@") {
		l.path = a.Name
	}
	return nil
}

// bound notes the address.
func (l *listener) bound(sa unix.Sockaddr) {
	l.addr = engine.Addr(sa)
	if a, ok := l.addr.(*net.TCPAddr); !ok || !a.IP.IsUnspecified() {
		l.local = l.addr
	}
}

// socket makes one socket, bound to sa.
func (l *listener) socket(sa unix.Sockaddr, family int, share bool) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	for _, o := range l.bindOptions(family, share) {
		if err == nil && o.set {
			err = o.apply(fd)
		}
	}
	if err == nil {
		err = l.configure(fd, family, false)
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, sa))
	}
	if err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			return -1, fmt.Errorf("%w: another socket listens there; stop it, or choose another address", err)
		}
		return -1, err
	}
	return fd, nil
}

// An option is a choice for a socket.
type option struct {
	name              string
	set               bool
	level, opt, value int
}

// bindOptions are those that must be set before the socket is bound.
func (l *listener) bindOptions(family int, share bool) []option {
	tcp := family != unix.AF_UNIX
	return []option{
		{"SO_REUSEADDR", tcp, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{"SO_REUSEPORT", tcp && share, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1},
		{"IPV6_V6ONLY", family == unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, boolInt(l.network == "tcp6")},
	}
}

// options are those of connections. A listening socket that was made elsewhere may have others, so what is off is said too.
func (l *listener) options(family int) []option {
	c := &l.cfg
	tcp := family != unix.AF_UNIX
	probes := tcp && c.KeepAlive.Idle > 0
	return []option{
		{"TCP_NODELAY", tcp, unix.IPPROTO_TCP, unix.TCP_NODELAY, boolInt(!c.Delay)},
		{"SO_KEEPALIVE", tcp, unix.SOL_SOCKET, unix.SO_KEEPALIVE, boolInt(probes)},
		{"TCP_KEEPIDLE", probes, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, wholeSeconds(c.KeepAlive.Idle)},
		{"TCP_KEEPINTVL", probes && c.KeepAlive.Interval > 0, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, wholeSeconds(c.KeepAlive.Interval)},
		{"TCP_KEEPCNT", probes, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, c.KeepAlive.Count},
		{"TCP_USER_TIMEOUT", tcp && c.UserTimeout != 0, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(max(c.UserTimeout, 0) / time.Millisecond)},
		{"SO_RCVBUF", c.ReceiveBuffer > 0, unix.SOL_SOCKET, unix.SO_RCVBUF, c.ReceiveBuffer},
		{"SO_SNDBUF", c.SendBuffer > 0, unix.SOL_SOCKET, unix.SO_SNDBUF, c.SendBuffer},
	}
}

// configure sets the options on a listening socket, from which connections of TCP inherit them. Those of unix sockets inherit none,
// and a multipath socket lacks some that plain TCP has: these are for later.
func (l *listener) configure(fd, family int, multipath bool) error {
	for _, o := range l.options(family) {
		if !o.set {
			continue
		}
		err := o.apply(fd)
		lacks := multipath && (errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EOPNOTSUPP))
		if err != nil && !lacks {
			return err
		}
		if lacks || family == unix.AF_UNIX {
			l.late = append(l.late, o)
		}
	}
	return nil
}

func (o *option) apply(fd int) error {
	if err := unix.SetsockoptInt(fd, o.level, o.opt, o.value); err != nil {
		return fmt.Errorf("%s %d: %w", o.name, o.value, os.NewSyscallError("setsockopt", err))
	}
	return nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// wholeSeconds rounds up: zero would be refused.
func wholeSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// close closes the sockets that no loop has, and removes a unix socket's name.
func (l *listener) close() {
	for _, fd := range l.fds {
		unix.Close(fd)
	}
	l.fds = nil
	l.unlink()
}

func (l *listener) unlink() {
	if l.path != "" {
		_ = os.Remove(l.path) // somebody else may have been faster
		l.path = ""
	}
}

// resolve returns the address to bind to.
func resolve(network, addr string) (unix.Sockaddr, int, error) {
	switch network {
	case "unix":
		if addr == "" {
			return nil, 0, errors.New("a unix socket needs a path")
		}
		if err := removeStale(addr); err != nil {
			return nil, 0, err
		}
		return &unix.SockaddrUnix{Name: addr}, unix.AF_UNIX, nil
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, 0, fmt.Errorf("network %q: want tcp, tcp4, tcp6 or unix", network)
	}
	a, err := net.ResolveTCPAddr(network, addr)
	if err != nil {
		return nil, 0, err
	}
	ip4 := a.IP.To4()
	if ip4 != nil || network == "tcp4" || (len(a.IP) == 0 && !haveIPv6()) {
		sa := &unix.SockaddrInet4{Port: a.Port}
		copy(sa.Addr[:], ip4)
		return sa, unix.AF_INET, nil
	}
	sa := &unix.SockaddrInet6{Port: a.Port}
	copy(sa.Addr[:], a.IP.To16())
	if a.Zone != "" {
		ifi, err := net.InterfaceByName(a.Zone)
		if err != nil {
			return nil, 0, err
		}
		sa.ZoneId = uint32(ifi.Index)
	}
	return sa, unix.AF_INET6, nil
}

// haveIPv6 says whether a socket of IPv6 can be made and bound; one that is bound to no address takes IPv4 as well.
func haveIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrInet6{}) == nil
}

// removeStale removes the name of a unix socket that nobody listens on: its server was killed.
func removeStale(path string) error {
	fi, err := os.Lstat(path)
	if err != nil || fi.Mode().Type() != os.ModeSocket {
		return nil // bind says what is wrong
	}
	var d net.Dialer
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		c.Close()
		return nil // in use: bind says so
	}
	if errors.Is(err, unix.ECONNREFUSED) {
		return os.Remove(path)
	}
	return nil
}
