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
	ReceiveTotal       error // PrepareRecvMultishot with a total (6.17), likewise
	PromptSend         error // SQE.PreparePrompt (5.17)
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
		{"incremental buffers", f.IncrementalBuffers}, {"shot cap", f.ShotCap}, {"receive total", f.ReceiveTotal},
		{"prompt send", f.PromptSend}, {"ring messages", f.MsgRing},
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
		return Features{err, err, err, err, err, err, err, err}
	}
	if err := r.Close(); err != nil {
		err = &SetupError{Cause: "a ring cannot be closed", Remedy: "use the epoll engine", Err: err}
		return Features{err, err, err, err, err, err, err, err}
	}
	var f Features
	f.BufRing = probeOne("provided buffer rings", "5.19", probeBufRing)
	f.MultishotAccept = probeOne("multishot accept", "5.19", probeMultishotAccept)
	f.MultishotRecv = probeOne("multishot receive", "6.0", probeMultishotRecv)
	f.IncrementalBuffers = probeOne("incremental buffers", "6.12", probeIncremental)
	f.ShotCap = probeOne("a cap on each shot of a multishot receive", "6.17", func(*prober) error {
		return probeKinds(f.IncrementalBuffers == nil, probeShotCap)
	})
	f.ReceiveTotal = probeOne("an end of a multishot receive after so many bytes", "6.17", func(*prober) error {
		return probeKinds(f.IncrementalBuffers == nil, probeReceiveTotal)
	})
	f.PromptSend = probeOne("a send that tells only of failure", "5.17", probePromptSend)
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
	probeSendSize  = 4096
	probeSends     = 64 // of this size fill any socket that has the least of buffers
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

// probePromptSend sends until the socket is full. Nothing is told of until then, and that is told within its enter.
func probePromptSend(p *prober) error {
	ours, peer, err := p.socketpair()
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(ours, unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil { // the kernel takes its least
		return fmt.Errorf("setsockopt (SO_SNDBUF): %w", err)
	}
	b, err := p.memory(probeSendSize)
	if err != nil {
		return err
	}
	sent := 0
	for n := 0; p.ring.Ready() == 0; n++ {
		if n == probeSends {
			return errors.New("the socket does not get full, or nothing tells of it")
		}
		sqe := p.ring.SQE()
		sqe.UserData = probeUserData
		sqe.PrepareSend(ours, b, unix.MSG_NOSIGNAL)
		sqe.PreparePrompt()
		if err := p.ring.Submit(); err != nil {
			return err
		}
		sent += len(b)
	}
	first, _ := p.ring.CQEs()
	c := first[0]
	p.ring.Seen(1)
	switch {
	case c.Res == -int32(unix.EAGAIN):
		sent -= len(b)
	case c.Res > 0 && int(c.Res) < len(b):
		sent -= len(b) - int(c.Res)
	default:
		return fmt.Errorf("a full socket gave %s", result(c))
	}
	got, buf := 0, make([]byte, probeSendSize)
	for got < sent {
		n, _, err := unix.Recvfrom(peer, buf, unix.MSG_DONTWAIT)
		if err != nil {
			return fmt.Errorf("receive, after %d of %d bytes: %w", got, sent, err)
		}
		got += n
	}
	if _, _, err := unix.Recvfrom(peer, buf, unix.MSG_DONTWAIT); err != unix.EAGAIN {
		return errors.New("more was sent than was told of")
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
