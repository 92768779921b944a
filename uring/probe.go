package uring

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Features is what the running kernel can do beyond a ring. A nil field means that the feature was used and did what it should.
// Any other value is a [*NotSupportedError] with the deviation that was seen, or the [*SetupError] of [New], the same in all
// fields, where not even a ring can be had.
type Features struct {
	BufRing            error // provided buffer rings: Ring.RegisterBufRing (5.19)
	MultishotAccept    error // SQE.PrepareAcceptMultishot (5.19)
	MultishotRecv      error // SQE.PrepareRecvMultishot (6.0)
	IncrementalBuffers error // RegisterBufRing with incremental set (6.12); kernels with bugs in it are told from good ones
	ShotCap            error // PrepareRecvMultishot with a shotCap (6.17), with the kinds of groups that work
	MsgRing            error // SQE.PrepareMsgRing between rings of this package (6.11)
}

// Probe finds out what the running kernel can do, by doing it over sockets of its own and looking at the effect: a version
// number says nothing about what a distribution backported or broke. It takes about a millisecond once per process; later calls
// return the same result.
func Probe() Features { return probeOnce() }

var probeOnce = sync.OnceValue(func() Features {
	done := make(chan Features)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and what the rings left on it too
		done <- probeFeatures()
	}()
	return <-done
})

// String lists the features for a log line.
func (f Features) String() string {
	var ok, missing []string
	for _, x := range []struct {
		name string
		err  error
	}{
		{"buffer rings", f.BufRing}, {"multishot accept", f.MultishotAccept}, {"multishot receive", f.MultishotRecv},
		{"incremental buffers", f.IncrementalBuffers}, {"shot cap", f.ShotCap}, {"ring messages", f.MsgRing},
	} {
		var not *NotSupportedError
		var setup *SetupError
		switch {
		case x.err == nil:
			ok = append(ok, x.name)
		case errors.As(x.err, &setup):
			return setup.Error()
		case errors.As(x.err, &not):
			missing = append(missing, fmt.Sprintf("%s (%v)", x.name, not.Err))
		default:
			missing = append(missing, fmt.Sprintf("%s (%v)", x.name, x.err))
		}
	}
	s := "usable: " + strings.Join(ok, ", ")
	if ok == nil {
		s = "usable: none"
	}
	if missing != nil {
		s += "; not usable: " + strings.Join(missing, ", ")
	}
	return s
}

func probeFeatures() Features {
	r, err := newProbeRing()
	if err != nil {
		return Features{err, err, err, err, err, err}
	}
	if err := r.Close(); err != nil {
		err = &SetupError{Cause: "a ring cannot be closed", Remedy: "use the epoll engine", Err: err}
		return Features{err, err, err, err, err, err}
	}
	var f Features
	f.BufRing = probeOne("provided buffer rings", "5.19", probeBufRing)
	f.MultishotAccept = probeOne("multishot accept", "5.19", probeMultishotAccept)
	f.MultishotRecv = probeOne("multishot receive", "6.0", probeMultishotRecv)
	f.IncrementalBuffers = probeOne("incremental buffers", "6.12", probeIncremental)
	f.ShotCap = probeOne("a cap on each shot of a multishot receive", "6.17", func(*prober) error {
		return probeShotCap(f.IncrementalBuffers == nil)
	})
	f.MsgRing = probeOne("messages between rings", "6.11", probeMsgRing)
	return f
}

const (
	probeEntries   = 8
	probeCQEntries = 64
	probeGroup     = 7
	probeTimeout   = time.Second // nothing is waited for that has not been sent before
	probeUserData  = 0x70726f6265
	probeCancel    = probeUserData + 1
)

func newProbeRing() (*Ring, error) {
	return New(Options{Entries: probeEntries, CQEntries: probeCQEntries})
}

// A prober is one probe's ring, with all that must be undone after it.
type prober struct {
	ring  *Ring
	queue []CQE    // completions taken and not looked at
	armed int      // operations submitted whose last completion was not taken
	undo  []func() // in reverse order, after nothing is in flight
}

func probeOne(feature, since string, probe func(*prober) error) error {
	r, err := newProbeRing()
	if err != nil {
		return &NotSupportedError{Feature: feature, Since: since, Err: err}
	}
	p := &prober{ring: r}
	err = probe(p)
	if end := p.close(); err == nil {
		err = end
	}
	if err != nil {
		return &NotSupportedError{Feature: feature, Since: since, Err: err}
	}
	return nil
}

// close cancels what is in flight, waits for its end, and undoes the rest. If the end does not come, the memory stays: the
// kernel might write to it.
func (p *prober) close() error {
	var err error
	if p.armed > 0 {
		sqe := p.ring.SQE()
		sqe.PrepareCancelAll()
		sqe.UserData = probeCancel
		p.armed++
		for p.armed > 0 && err == nil {
			_, err = p.wait()
		}
	}
	if err != nil {
		err = fmt.Errorf("cancel all: %w", err)
	} else {
		for _, undo := range slices.Backward(p.undo) {
			undo()
		}
	}
	if end := p.ring.Close(); err == nil {
		err = end
	}
	return err
}

// sqe returns an SQE for one operation, which goes to the kernel with the next wait.
func (p *prober) sqe() *SQE {
	sqe := p.ring.SQE() // never nil: a probe submits less than the queue takes
	sqe.UserData = probeUserData
	p.armed++
	return sqe
}

// wait submits, and returns the next completion.
func (p *prober) wait() (CQE, error) {
	for deadline := time.Now().Add(probeTimeout); len(p.queue) == 0; {
		left := time.Until(deadline)
		if left <= 0 {
			return CQE{}, errors.New("the completion does not come")
		}
		if err := p.ring.SubmitAndWait(1, left); err != nil {
			return CQE{}, err
		}
		first, second := p.ring.CQEs()
		p.queue = append(append(p.queue, first...), second...)
		p.ring.Seen(len(p.queue))
	}
	c := p.queue[0]
	p.queue = p.queue[1:]
	if !c.More() {
		p.armed--
	}
	return c, nil
}

// quiet submits, and returns an error if a completion comes at once.
func (p *prober) quiet() error {
	if err := p.ring.Submit(); err != nil {
		return err
	}
	if p.ring.Ready() != 0 || len(p.queue) != 0 {
		return p.unexpected()
	}
	return nil
}

func (p *prober) unexpected() error {
	c, err := p.wait()
	if err != nil {
		return err
	}
	return fmt.Errorf("a completion that nobody expects: %v", result(c))
}

func (p *prober) socketpair() (ours, peer int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("socketpair: %w", err)
	}
	p.undo = append(p.undo, func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1], nil
}

func (p *prober) group(entries int, incremental bool) (*BufRing, error) {
	b, err := p.ring.RegisterBufRing(probeGroup, entries, incremental)
	if err != nil {
		return nil, err
	}
	p.undo = append(p.undo, func() { _ = b.Close() })
	return b, nil
}

func (p *prober) memory(size int) ([]byte, error) {
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	p.undo = append(p.undo, func() { _ = unix.Munmap(mem) })
	return mem, nil
}

// result describes a completion.
func result(c CQE) string {
	if c.Res < 0 {
		return fmt.Sprintf("%v, flags %#x", unix.Errno(-c.Res), c.Flags)
	}
	return fmt.Sprintf("result %d, flags %#x", c.Res, c.Flags)
}

// probeText is n bytes of which no two neighbourhoods are alike, starting at the position from.
func probeText(from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		x := uint32(from+i) * 2654435761
		b[i] = byte(x >> 24)
	}
	return b
}

func probeSend(fd, from, n int) error {
	sent, err := unix.Write(fd, probeText(from, n))
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if sent != n {
		return fmt.Errorf("write: %d of %d bytes", sent, n)
	}
	return nil
}

func probeBufRing(p *prober) error {
	const size = 16
	ours, peer, err := p.socketpair()
	if err != nil {
		return err
	}
	mem, err := p.memory(2 * size)
	if err != nil {
		return err
	}
	b, err := p.group(2, false)
	if err != nil {
		return err
	}
	b.Add(5, mem[size:])
	b.Advance()
	sqe := p.sqe()
	sqe.PrepareRecv(ours, probeGroup)
	if err := p.quiet(); err != nil {
		return err
	}
	if err := probeSend(peer, 0, size); err != nil {
		return err
	}
	c, err := p.wait()
	if err != nil {
		return err
	}
	if id, ok := c.BufferID(); !ok || id != 5 || c.Res != size {
		return fmt.Errorf("%d bytes into buffer 5 gave %s", size, result(c))
	}
	if string(mem[size:]) != string(probeText(0, size)) {
		return errors.New("the bytes are not in the buffer")
	}
	return nil
}

func probeMultishotAccept(p *prober) error {
	// Autobind gives the listener an abstract name: it needs no network, and no port.
	l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	p.undo = append(p.undo, func() { unix.Close(l) })
	if err := unix.Bind(l, &unix.SockaddrUnix{}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := unix.Listen(l, 4); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	addr, err := unix.Getsockname(l)
	if err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	sqe := p.sqe()
	sqe.PrepareAcceptMultishot(l, unix.SOCK_CLOEXEC)
	if err := p.quiet(); err != nil {
		return err
	}
	for i := range 3 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		p.undo = append(p.undo, func() { unix.Close(fd) })
		if err := unix.Connect(fd, addr); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		c, err := p.wait()
		if err != nil {
			return fmt.Errorf("connection %d: %w", i+1, err)
		}
		if c.Res >= 0 {
			p.undo = append(p.undo, func() { unix.Close(int(c.Res)) })
		}
		if c.Res < 0 || !c.More() {
			return fmt.Errorf("connection %d gave %s", i+1, result(c))
		}
	}
	return nil
}

func probeMultishotRecv(p *prober) error {
	const size = 16
	ours, peer, err := p.socketpair()
	if err != nil {
		return err
	}
	mem, err := p.memory(4 * size)
	if err != nil {
		return err
	}
	b, err := p.group(4, false)
	if err != nil {
		return err
	}
	for id := range 4 {
		b.Add(uint16(id), mem[id*size:(id+1)*size])
	}
	b.Advance()
	sqe := p.sqe()
	sqe.PrepareRecvMultishot(ours, probeGroup, 0)
	if err := p.quiet(); err != nil {
		return err
	}
	for id := range 3 {
		if err := probeSend(peer, id*size, size); err != nil {
			return err
		}
		c, err := p.wait()
		if err != nil {
			return fmt.Errorf("receive %d: %w", id+1, err)
		}
		if got, ok := c.BufferID(); !ok || int(got) != id || c.Res != size || !c.More() {
			return fmt.Errorf("receive %d gave %s", id+1, result(c))
		}
	}
	if string(mem[:3*size]) != string(probeText(0, 3*size)) {
		return errors.New("the bytes are not in the buffers")
	}
	if err := unix.Shutdown(peer, unix.SHUT_WR); err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	c, err := p.wait()
	if err != nil {
		return fmt.Errorf("end of input: %w", err)
	}
	if c.Res != 0 || c.More() {
		return fmt.Errorf("end of input gave %s", result(c))
	}
	return nil
}

// A consumer follows what a kernel that is right does with a group of incremental buffers of one size, used in the order of their
// IDs, and compares.
type consumer struct {
	mem    []byte
	size   int // bytes of a buffer
	id     int // of the buffer that the kernel consumes now
	offset int // of the next piece in it
	text   int // position of the next byte in the text
}

// piece checks one completion and returns its size, which is at most limit.
func (s *consumer) piece(c CQE, limit int) (int, error) {
	at := fmt.Sprintf("a piece at offset %d of buffer %d (of %d bytes)", s.offset, s.id, s.size)
	n := int(c.Res)
	id, ok := c.BufferID()
	switch {
	case n <= 0:
		return 0, fmt.Errorf("%s: %s", at, result(c))
	case !c.More():
		return 0, fmt.Errorf("%s: the multishot ended: %s", at, result(c))
	case !ok:
		return 0, fmt.Errorf("%s: no buffer ID: %s", at, result(c))
	case int(id) != s.id:
		return 0, fmt.Errorf("%s: it came in buffer %d", at, id)
	case n > s.size-s.offset || n > limit:
		return 0, fmt.Errorf("%s: it has %d bytes", at, n)
	case string(s.mem[s.id*s.size+s.offset:][:n]) != string(probeText(s.text, n)):
		return 0, fmt.Errorf("%s: the bytes are not there", at)
	}
	s.offset += n
	s.text += n
	more := c.Flags&CQEBufMore != 0
	if left := s.size - s.offset; left > 0 && !more {
		return 0, fmt.Errorf("%s: F_BUF_MORE is absent, with %d bytes left", at, left)
	} else if left == 0 && more {
		return 0, fmt.Errorf("%s: F_BUF_MORE is present, and the buffer is used up", at)
	}
	if s.offset == s.size {
		s.id, s.offset = s.id+1, 0
	}
	return n, nil
}

// message sends n bytes and takes the pieces that they arrive in, of at most limit bytes each.
func (s *consumer) message(p *prober, peer, n, limit int) error {
	if err := probeSend(peer, s.text, n); err != nil {
		return err
	}
	for n > 0 {
		c, err := p.wait()
		if err != nil {
			return fmt.Errorf("%d bytes are missing at offset %d of buffer %d: %w", n, s.offset, s.id, err)
		}
		got, err := s.piece(c, min(n, limit))
		if err != nil {
			return err
		}
		n -= got
	}
	return nil
}

// probeIncremental is the self-test that stands before incremental buffers are trusted. Kernels before 2026-03 were seen to leave
// F_BUF_MORE out, which makes the user recycle a buffer that the kernel still writes to.
func probeIncremental(p *prober) error {
	const size, count = 64, 8
	mem, err := p.memory(size * count)
	if err != nil {
		return err
	}
	b, err := p.group(count, true)
	if err != nil {
		return err
	}
	for id := range count {
		b.Add(uint16(id), mem[id*size:(id+1)*size])
	}
	b.Advance()
	s := &consumer{mem: mem, size: size}

	// Two connections take turns on the same buffers.
	var ours, peer [2]int
	for i := range ours {
		if ours[i], peer[i], err = p.socketpair(); err != nil {
			return err
		}
		sqe := p.sqe()
		sqe.PrepareRecvMultishot(ours[i], probeGroup, 0)
	}
	if err := p.quiet(); err != nil {
		return err
	}
	for i, n := range []int{
		24, 24, 16, // a buffer in three pieces, used up to its last byte
		size,         // a whole buffer at once
		40, 1, 40, 7, // the 40 is larger than the rest: it goes on in the next buffer
		3 * size, // larger than two buffers
	} {
		if err := s.message(p, peer[i%2], n, size); err != nil {
			return err
		}
	}

	// The end of one connection's input must not use up what the other goes on with. 40 bytes of buffer 6 are free here.
	if err := unix.Shutdown(peer[0], unix.SHUT_WR); err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	c, err := p.wait()
	if err != nil {
		return fmt.Errorf("end of input: %w", err)
	}
	if _, buffer := c.BufferID(); c.Res != 0 || c.More() || buffer && c.Flags&CQEBufMore == 0 {
		return fmt.Errorf("end of input at offset %d of buffer %d: %s", s.offset, s.id, result(c))
	}
	if err := s.message(p, peer[1], 20, size); err != nil {
		return fmt.Errorf("after an end of input: %w", err)
	}

	// Used up to the last buffer, the group is empty: the multishot ends, and loses nothing. Then a new buffer takes what was left.
	if err := s.message(p, peer[1], count*size-s.text, size); err != nil {
		return err
	}
	if err := probeSend(peer[1], s.text, 10); err != nil {
		return err
	}
	if c, err = p.wait(); err != nil {
		return fmt.Errorf("empty group: %w", err)
	}
	if c.Res != -int32(unix.ENOBUFS) || c.More() {
		return fmt.Errorf("empty group: %s", result(c))
	}
	b.Add(0, mem[:size])
	b.Advance()
	s.id = 0
	sqe := p.sqe()
	sqe.PrepareRecvMultishot(ours[1], probeGroup, 0)
	if c, err = p.wait(); err != nil {
		return fmt.Errorf("after an empty group: %w", err)
	}
	if n, err := s.piece(c, 10); err != nil || n != 10 {
		return fmt.Errorf("after an empty group: %d of 10 bytes: %w", n, err)
	}
	return nil
}

func probeShotCap(incremental bool) error {
	kinds := []bool{false}
	if incremental {
		kinds = append(kinds, true)
	}
	for _, kind := range kinds {
		if err := probeShotCapKind(kind); err != nil {
			return fmt.Errorf("with incremental %t: %w", kind, err)
		}
	}
	return nil
}

func probeShotCapKind(incremental bool) (err error) {
	const size, count, shotCap, total = 64, 8, 16, 83 // 83 bytes are five shots and a piece
	q, err := newProbeRing()                          // a ring, and so a group, for each kind
	if err != nil {
		return err
	}
	sub := &prober{ring: q}
	defer func() {
		if end := sub.close(); err == nil {
			err = end
		}
	}()
	ours, peer, err := sub.socketpair()
	if err != nil {
		return err
	}
	mem, err := sub.memory(size * count)
	if err != nil {
		return err
	}
	b, err := sub.group(count, incremental)
	if err != nil {
		return err
	}
	for id := range count {
		b.Add(uint16(id), mem[id*size:(id+1)*size])
	}
	b.Advance()
	sqe := sub.sqe()
	sqe.PrepareRecvMultishot(ours, probeGroup, shotCap)
	if err := sub.quiet(); err != nil {
		return err
	}
	s := &consumer{mem: mem, size: size}
	if incremental {
		return s.message(sub, peer, total, shotCap)
	}
	// One plain buffer per shot.
	if err := probeSend(peer, 0, total); err != nil {
		return err
	}
	for got, shot := 0, 0; got < total; shot++ {
		c, err := sub.wait()
		if err != nil {
			return fmt.Errorf("%d of %d bytes came: %w", got, total, err)
		}
		id, ok := c.BufferID()
		n := int(c.Res)
		if n <= 0 || n > shotCap || !ok || int(id) != shot || !c.More() {
			return fmt.Errorf("shot %d of at most %d bytes gave %s", shot+1, shotCap, result(c))
		}
		if string(mem[shot*size:][:n]) != string(probeText(got, n)) {
			return fmt.Errorf("shot %d: the bytes are not in the buffer", shot+1)
		}
		got += n
	}
	return nil
}

func probeMsgRing(p *prober) (err error) {
	target, err := newProbeRing()
	if err != nil {
		return err
	}
	to := &prober{ring: target}
	defer func() {
		if end := to.close(); err == nil {
			err = end
		}
	}()
	sqe := p.sqe()
	sqe.PrepareMsgRing(target.FD(), 42, probeUserData+2)
	c, err := p.wait()
	if err != nil {
		return err
	}
	if c.Res != 0 {
		return fmt.Errorf("the message gave %s", result(c))
	}
	to.armed++
	if c, err = to.wait(); err != nil {
		return fmt.Errorf("at the other ring: %w", err)
	}
	if c.Res != 42 || c.UserData != probeUserData+2 {
		return fmt.Errorf("the other ring got %s, user data %#x", result(c), c.UserData)
	}
	return nil
}
