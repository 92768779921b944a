package engine

import (
	"encoding/binary"
	"net"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockets are the plain system calls on sockets that all engines share. None of them blocks.
type sockets struct {
	start  time.Time
	thread int // whose engine it is
}

func newSockets() sockets { return sockets{start: time.Now(), thread: unix.Gettid()} }

// OnThread compares threads: nothing but the engine's goroutine runs on one that is locked.
func (s *sockets) OnThread() bool { return unix.Gettid() == s.thread }

func (s *sockets) Failed(fd int) error {
	if code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && code != 0 {
		return unix.Errno(code)
	}
	return nil
}

func (s *sockets) Now() int64 { return int64(time.Since(s.start)) }

func (*sockets) Names(fd int, local net.Addr) (net.Addr, net.Addr) {
	if local == nil {
		if sa, err := unix.Getsockname(fd); err == nil {
			local = Addr(sa)
		} else {
			local = &net.TCPAddr{}
		}
	}
	sa, err := unix.Getpeername(fd)
	if err != nil { // the peer has reset the connection meanwhile
		if _, ok := local.(*net.UnixAddr); ok {
			return local, &net.UnixAddr{Net: "unix"}
		}
		return local, &net.TCPAddr{}
	}
	return local, Addr(sa)
}

// Addr returns a socket's address as package net has it.
func Addr(sa unix.Sockaddr) net.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: append(net.IP(nil), sa.Addr[:]...), Port: sa.Port}
	case *unix.SockaddrInet6:
		addr := &net.TCPAddr{IP: append(net.IP(nil), sa.Addr[:]...), Port: sa.Port}
		if sa.ZoneId != 0 {
			if ifi, err := net.InterfaceByIndex(int(sa.ZoneId)); err == nil {
				addr.Zone = ifi.Name
			}
		}
		return addr
	case *unix.SockaddrUnix:
		return &net.UnixAddr{Name: sa.Name, Net: "unix"}
	}
	return &net.UnixAddr{Net: "unix"}
}

// Progress counts the bytes that the peer has acknowledged; on a socket without such a count, those it has not yet read. Of a connection
// with several paths TCP_INFO tells of the first one only, on which nothing may move while others carry everything.
func (*sockets) Progress(fd int) uint64 {
	acked, multipath := multipathAcked(fd)
	if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
		return acked + info.Bytes_acked // both: a connection that fell back to a single path acknowledges there
	}
	if multipath {
		return acked
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCOUTQ)
	if err != nil {
		return 0
	}
	return uint64(n)
}

// multipathAcked is the sequence number, of all paths together, up to which the peer of a multipath connection has acknowledged.
func multipathAcked(fd int) (sequence uint64, ok bool) {
	const (
		solMPTCP, infoMPTCP = 284, 1 // linux/socket.h, linux/mptcp.h: getsockopt takes a struct mptcp_info as far as there is room
		offset              = 24     // of mptcpi_snd_una
	)
	var info [offset + 8]byte
	size := uint32(len(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), solMPTCP, infoMPTCP, uintptr(unsafe.Pointer(&info)),
		uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || int(size) < len(info) {
		return 0, false
	}
	return binary.NativeEndian.Uint64(info[offset:]), true
}

func (*sockets) EndOutput(fd int) {
	_ = unix.Shutdown(fd, unix.SHUT_WR) // ENOTCONN: the peer was faster
}

// TakeQueued makes the listener non-blocking, which nobody accepts from any more.
func (*sockets) TakeQueued(fd int) (int, bool) {
	_ = unix.SetNonblock(fd, true) // fails for no descriptor that is one
	for {
		conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if err != unix.EINTR && err != unix.ECONNABORTED {
			return conn, err == nil
		}
	}
}

func closeFD(fd int) {
	_ = unix.Close(fd) // the descriptor is gone in any case
}

// recv and send are MSG_DONTWAIT calls, which do not block, so the scheduler is not told of them.
func recv(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func send(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// epollHoldingP is epoll_wait, with a timeout in milliseconds, that does not tell Go's scheduler.
func epollHoldingP(fd int, events []unix.EpollEvent, timeout int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(events))),
		uintptr(len(events)), uintptr(timeout), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
