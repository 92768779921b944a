package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"syscall"

	"github.com/protoring/protoring/reactor"
	"golang.org/x/sys/unix"
)

// ListenOn is [Listen] on a listener that was made elsewhere: a *net.TCPListener, a *net.UnixListener, or another that is a
// syscall.Conn. Its socket is used; its Accept is not called.
//
// The server takes a duplicate of the descriptor, and closes that in the end. ln remains the caller's, who may close it as soon as
// ListenOn has returned. Both are the same socket: while ln is open, or another process has the socket, its address is taken and
// connections come into its queue, also when the server has ended. Whoever else accepts has a part of them. A drain takes what is
// queued, as with Listen. The server does not remove the name of a unix socket; Close of a *net.UnixListener does, unless its
// SetUnlinkOnClose says otherwise.
//
// The socket becomes non-blocking. The options of cfg are set on it, for the connections that it accepts; where UserTimeout,
// ReceiveBuffer, SendBuffer or Backlog is zero, it keeps what it has. What a multipath socket refuses, which is what net.Listen
// makes by default, is set on each connection that is plain TCP: UserTimeout, before Linux 6.10 also times of KeepAlive. SharePort
// says nothing, since the socket is bound. AcceptPerLoop is the same as AcceptBalanced: there is one queue, and if all loops accepted
// from it, one would get nearly all (docs/design.md).
func ListenOn[In, Out any, R reactor.Reactor[In, Out]](s *Server, ln net.Listener, cfg ListenConfig,
	connect func(reactor.Peer[Out]) R) (net.Addr, error) {
	return listenOn(s, ln, cfg, connect)
}

// ListenFile is [ListenOn] for a descriptor, as systemd and tests hand them over. f remains the caller's, to close at any time
// from ListenFile's return on.
func ListenFile[In, Out any, R reactor.Reactor[In, Out]](s *Server, f *os.File, cfg ListenConfig,
	connect func(reactor.Peer[Out]) R) (net.Addr, error) {
	return listenOn(s, f, cfg, connect)
}

func listenOn[In, Out any, R reactor.Reactor[In, Out]](s *Server, given any, cfg ListenConfig, connect func(reactor.Peer[Out]) R) (net.Addr, error) {
	if v := reflect.ValueOf(given); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, errors.New("listen on a given socket: it is nil")
	}
	conn, ok := given.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("listen on a given socket: a %T has none to share: want a *net.TCPListener, a *net.UnixListener or an *os.File", given)
	}
	l, err := newListener(s, "", connect)
	if err != nil {
		return nil, err
	}
	backlog := cfg.Backlog // before its default
	return s.listen(l, cfg, func() error {
		if err := l.adopt(conn, backlog); err != nil {
			l.close()
			return fmt.Errorf("listen on a given socket: %w", err)
		}
		return nil
	})
}

// adopt makes the listener's socket a duplicate of the one given.
func (l *listener) adopt(given syscall.Conn, backlog int) error {
	fd, err := duplicate(given)
	if err != nil {
		return err
	}
	l.fds = []int{fd}
	family, multipath, err := listens(fd)
	if err != nil {
		return err
	}
	if err := l.configure(fd, family, multipath); err != nil {
		return err
	}
	if backlog > 0 {
		if err := unix.Listen(fd, backlog); err != nil {
			return os.NewSyscallError("listen", err)
		}
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	l.bound(sa)
	l.network = l.addr.Network()
	return nil
}

// duplicate returns another descriptor of the same socket.
func duplicate(given syscall.Conn) (int, error) {
	raw, err := given.SyscallConn()
	if err != nil {
		return -1, err
	}
	dup := -1
	cerr := raw.Control(func(fd uintptr) { dup, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if cerr != nil {
		return -1, cerr
	}
	return dup, os.NewSyscallError("fcntl", err)
}

// listens says what the socket is, or why it is none to accept from. Multipath is TCP over several paths, whose sockets lack some
// options.
func listens(fd int) (family int, multipath bool, err error) {
	var kind, protocol, listening int
	for opt, v := range map[int]*int{unix.SO_TYPE: &kind, unix.SO_DOMAIN: &family, unix.SO_PROTOCOL: &protocol, unix.SO_ACCEPTCONN: &listening} {
		if *v, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt); err != nil {
			if errors.Is(err, unix.ENOTSOCK) {
				return 0, false, fmt.Errorf("the descriptor is no socket: %w", err)
			}
			return 0, false, os.NewSyscallError("getsockopt", err)
		}
	}
	tcp := (family == unix.AF_INET || family == unix.AF_INET6) && (protocol == unix.IPPROTO_TCP || protocol == unix.IPPROTO_MPTCP)
	switch {
	case kind != unix.SOCK_STREAM || !tcp && family != unix.AF_UNIX:
		return 0, false, errors.New("it is no stream socket of TCP or unix")
	case listening == 0:
		return 0, false, errors.New("it does not listen: it is connected, or listen was not called")
	}
	return family, protocol == unix.IPPROTO_MPTCP, nil
}
