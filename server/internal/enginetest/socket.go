package enginetest

import "net"

// A socket is the server's side of a connection, or a listening one.
type socket struct {
	fd       int // -1 before it is accepted, and after it is closed
	listener bool
	queue    []*socket // that wait to be accepted

	in       []byte // from the peer, not received
	inEnd    bool   // the peer has ended its side
	ended    bool   // the server was told of the end
	received int    // bytes, ever
	out      []byte // taken from the server, not read by the peer
	read     uint64 // bytes that the peer has read, ever
	outEnd   bool   // nothing more comes from the server
	reset    bool
	closed   bool // by the server
	peer     Peer
}

// A Peer is a client.
type Peer struct {
	s *socket

	// Window is the number of bytes that are taken from the server and not read. If zero, 64 KiB.
	Window int
	// Slow peers read only when Read is called.
	Slow bool
	// Got is what was read.
	Got []byte
	// Late says that it wrote after the server had ended its side: it cannot complain of a reset.
	Late bool
}

// Listen returns a listening descriptor.
func (k *kernel) Listen() int {
	s := &socket{listener: true}
	k.admit(s)
	return s.fd
}

// admit gives a socket a descriptor.
func (k *kernel) admit(s *socket) {
	k.open++
	if n := len(k.freed); n > 0 {
		s.fd, k.freed = k.freed[n-1], k.freed[:n-1]
		k.socks[s.fd-firstFD] = s
		return
	}
	s.fd = firstFD + len(k.socks)
	k.socks = append(k.socks, s)
}

// Dial connects to a listening descriptor, and returns nil when it is closed.
func (k *kernel) Dial(fd int) *Peer {
	if k.socks[fd-firstFD] == nil || !k.socks[fd-firstFD].listener {
		return nil
	}
	s := &socket{fd: -1}
	s.peer.s = s
	l := k.socks[fd-firstFD]
	l.queue = append(l.queue, s)
	return &s.peer
}

// Queued returns the number of connections that wait to be accepted.
func (k *kernel) Queued(fd int) int { return len(k.socks[fd-firstFD].queue) }

func (s *socket) room() int {
	w := s.peer.Window
	if w == 0 {
		w = 64 << 10
	}
	return max(w-len(s.out), 0)
}

func (s *socket) deliver(b []byte) {
	s.out = append(s.out, b...)
	if !s.peer.Slow {
		s.peer.Read(len(s.out))
	}
}

// close is what the kernel does: with input unread, the connection is reset, and the peer loses what it has not read.
func (s *socket) close() {
	s.closed, s.outEnd, s.fd = true, true, -1
	if len(s.in) > 0 && !s.listener {
		s.reset, s.out = true, nil
	}
	for _, c := range s.queue {
		c.reset, c.closed = true, true
	}
	s.queue = nil
}

// Write sends bytes to the server. On a connection that has ended they are dropped; a server that has closed answers with a reset.
func (p *Peer) Write(b []byte) {
	s := p.s
	p.Late = p.Late || s.outEnd
	switch {
	case s.closed:
		s.reset, s.out = true, nil
	case !s.reset && !s.inEnd:
		s.in = append(s.in, b...)
	}
}

// End ends the peer's side; it still reads.
func (p *Peer) End() { p.s.inEnd = true }

// Reset ends the connection the hard way. What is under way is lost.
func (p *Peer) Reset() { p.s.reset, p.s.in, p.s.out = true, nil, nil }

// Read reads at most n bytes and returns how many.
func (p *Peer) Read(n int) int {
	n = min(n, len(p.s.out))
	p.Got = append(p.Got, p.s.out[:n]...)
	p.s.out = p.s.out[n:]
	p.s.read += uint64(n)
	return n
}

// Pending returns the bytes that the server has not received.
func (p *Peer) Pending() int { return len(p.s.in) }

// EOF says that the server has ended its side, and all was read.
func (p *Peer) EOF() bool { return p.s.outEnd && len(p.s.out) == 0 && !p.s.reset }

// WasReset says that the connection was reset, by either side.
func (p *Peer) WasReset() bool { return p.s.reset }

// Closed says that the server has closed the connection.
func (p *Peer) Closed() bool { return p.s.closed }

// PeerOf returns the peer whose address Names gave, while the connection is open.
func (k *kernel) PeerOf(remote net.Addr) *Peer {
	return &k.sock(remote.(*net.TCPAddr).Port, "look").peer
}
