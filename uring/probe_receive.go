package uring

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

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
	sqe.PrepareRecvMultishot(ours, probeGroup, 0, 0)
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
	size   int  // bytes of a buffer
	id     int  // of the buffer that the kernel consumes now
	offset int  // of the next piece in it
	text   int  // position of the next byte in the text
	plain  bool // each piece has a buffer of its own
}

// piece checks one completion and returns its size, which is at most limit. The operation lives on.
func (s *consumer) piece(c CQE, limit int) (int, error) {
	if !c.More() {
		return 0, fmt.Errorf("a piece at offset %d of buffer %d (of %d bytes): the multishot ended: %s", s.offset, s.id, s.size, result(c))
	}
	return s.bytes(c, limit)
}

// bytes is piece, whether the operation lives on or not.
func (s *consumer) bytes(c CQE, limit int) (int, error) {
	at := fmt.Sprintf("a piece at offset %d of buffer %d (of %d bytes)", s.offset, s.id, s.size)
	n := int(c.Res)
	id, ok := c.BufferID()
	switch {
	case n <= 0:
		return 0, fmt.Errorf("%s: %s", at, result(c))
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
	if s.plain {
		s.id, s.offset = s.id+1, 0
		return n, nil
	}
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
	const size, count = receiverSize, receiverCount
	mem, b, err := p.filled(true)
	if err != nil {
		return err
	}
	s := &consumer{mem: mem, size: size}

	// Two connections take turns on the same buffers.
	var ours, peer [2]int
	for i := range ours {
		if ours[i], peer[i], err = p.socketpair(); err != nil {
			return err
		}
		sqe := p.sqe()
		sqe.PrepareRecvMultishot(ours[i], probeGroup, 0, 0)
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
	sqe.PrepareRecvMultishot(ours[1], probeGroup, 0, 0)
	if c, err = p.wait(); err != nil {
		return fmt.Errorf("after an empty group: %w", err)
	}
	if n, err := s.piece(c, 10); err != nil || n != 10 {
		return fmt.Errorf("after an empty group: %d of 10 bytes: %w", n, err)
	}
	return nil
}

// probeKinds calls probe for each kind of group that works.
func probeKinds(incremental bool, probe func(incremental bool) error) error {
	kinds := []bool{false}
	if incremental {
		kinds = append(kinds, true)
	}
	for _, kind := range kinds {
		if err := probe(kind); err != nil {
			return fmt.Errorf("with incremental %t: %w", kind, err)
		}
	}
	return nil
}

// A receiver is one end of a socket, and a group to receive into. Each has a ring of its own, and so a group of each kind can be had.
type receiver struct {
	*prober
	consumer
	ours, peer int
}

const (
	receiverSize  = 64 // bytes of a buffer
	receiverCount = 8  // buffers
)

// filled returns a group with all its buffers, and their memory.
func (p *prober) filled(incremental bool) ([]byte, *BufRing, error) {
	mem, err := p.memory(receiverSize * receiverCount)
	if err != nil {
		return nil, nil, err
	}
	b, err := p.group(receiverCount, incremental)
	if err != nil {
		return nil, nil, err
	}
	for id := range receiverCount {
		b.Add(uint16(id), mem[id*receiverSize:(id+1)*receiverSize])
	}
	b.Advance()
	return mem, b, nil
}

func newReceiver(incremental bool) (*receiver, error) {
	q, err := newProbeRing()
	if err != nil {
		return nil, err
	}
	r := &receiver{prober: &prober{ring: q}}
	if err := r.setUp(incremental); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *receiver) setUp(incremental bool) (err error) {
	if r.ours, r.peer, err = r.socketpair(); err != nil {
		return err
	}
	mem, _, err := r.filled(incremental)
	if err != nil {
		return err
	}
	r.consumer = consumer{mem: mem, size: receiverSize, plain: !incremental}
	return nil
}

func probeShotCap(incremental bool) (err error) {
	const shotCap, total = 16, 83 // 83 bytes are five shots and a piece
	r, err := newReceiver(incremental)
	if err != nil {
		return err
	}
	defer func() {
		if end := r.close(); err == nil {
			err = end
		}
	}()
	r.sqe().PrepareRecvMultishot(r.ours, probeGroup, shotCap, 0)
	if err := r.quiet(); err != nil {
		return err
	}
	return r.message(r.prober, r.peer, total, shotCap)
}

// probeReceiveTotal sends more than the operation is to receive. It must end there, say so, and lose nothing of the rest.
func probeReceiveTotal(incremental bool) (err error) {
	const shotCap, total, all = 16, 40, 70
	r, err := newReceiver(incremental)
	if err != nil {
		return err
	}
	defer func() {
		if end := r.close(); err == nil {
			err = end
		}
	}()
	if err := probeSend(r.peer, 0, all); err != nil {
		return err
	}
	for got := 0; got < all; {
		r.sqe().PrepareRecvMultishot(r.ours, probeGroup, shotCap, total)
		for before, more := got, true; more && got < all; {
			c, err := r.wait()
			if err != nil {
				return fmt.Errorf("%d of %d bytes came: %w", got, all, err)
			}
			n, err := r.bytes(c, shotCap)
			if err != nil {
				return err
			}
			got += n
			if more = c.More(); more == (got-before >= total) {
				return fmt.Errorf("of an operation that is to receive %d bytes, %d have come: %s", total, got-before, result(c))
			}
		}
		if err := r.quiet(); err != nil {
			return fmt.Errorf("after an operation's end: %w", err)
		}
	}
	return nil
}
