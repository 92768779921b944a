package load

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const dialTimeout = 5 * time.Second

// splitAddr returns the network that an address is of.
func splitAddr(addr string) (network, rest string) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return "unix", path
	}
	return "tcp", addr
}

// dialer returns a function that makes connected sockets, in blocking mode: a ring waits for those by itself.
func dialer(addr string) (func() (int, error), error) {
	network, rest := splitAddr(addr)
	var sa unix.Sockaddr
	family := unix.AF_UNIX
	if network == "unix" {
		sa = &unix.SockaddrUnix{Name: rest}
	} else {
		a, err := net.ResolveTCPAddr("tcp", rest)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", addr, err)
		}
		if ip4 := a.IP.To4(); ip4 != nil || a.IP == nil {
			family = unix.AF_INET
			sa4 := &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte{127, 0, 0, 1}}
			copy(sa4.Addr[:], ip4)
			sa = sa4
		} else {
			family = unix.AF_INET6
			sa6 := &unix.SockaddrInet6{Port: a.Port}
			copy(sa6.Addr[:], a.IP.To16())
			sa = sa6
		}
	}
	return func() (int, error) {
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return -1, fmt.Errorf("connect to %s: %w", addr, os.NewSyscallError("socket", err))
		}
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: int64(dialTimeout / time.Second)})
		for err == nil {
			if err = unix.Connect(fd, sa); err != unix.EINTR {
				break
			}
			err = nil
		}
		if err == nil {
			err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{})
		}
		if err == nil && network == "tcp" {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		}
		if err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("connect to %s: %w", addr, err)
		}
		return fd, nil
	}, nil
}
