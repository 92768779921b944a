// Package reactortest tests a reactor without sockets: a [Conn] is a connection in memory that takes bytes as a server would
// receive them, and keeps what the reactor sends.
//
// It does what a server does: messages that are cut are joined, the output's limit holds, a peer that does not read holds the reactor
// up, and Senders work from other goroutines. Bytes that the decoder was lent are overwritten when its call is done, so that a reactor
// that keeps a view of them fails its test.
package reactortest

import (
	"bytes"
	"io"
	"net"
	"reflect"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/reactor"
)

// Config are the choices for a Conn. The zero value has the limits of a server's listener.
type Config struct {
	// MaxBufferLength is the most bytes of a message. If zero, 32 MiB.
	MaxBufferLength int
	// MaxOutbound is the number of encoded bytes at which the reactor is not called any more. If zero, 256 KiB.
	MaxOutbound int
	// MaxQueuedOutboundMessages is the number of batches that may wait in the Sender. If zero, 128.
	MaxQueuedOutboundMessages int
	// MaxMessages is the number of messages that are decoded in one go. If zero, 64.
	MaxMessages int
	// SocketBuffer is the number of bytes that the kernel takes before the peer reads: before the test calls Take. If zero, it takes
	// all.
	SocketBuffer int
	// Local and Remote are the addresses that connect gets. If nil, ones of the loopback.
	Local, Remote net.Addr
}

func (c Config) withDefaults() Config {
	def := func(v *int, n int) {
		if *v <= 0 {
			*v = n
		}
	}
	def(&c.MaxBufferLength, 32<<20)
	def(&c.MaxOutbound, 256<<10)
	def(&c.MaxQueuedOutboundMessages, 128)
	def(&c.MaxMessages, 64)
	if c.Local == nil {
		c.Local = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9000}
	}
	if c.Remote == nil {
		c.Remote = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000}
	}
	return c
}

// A Conn is a connection in memory. It belongs to the goroutine of the test, which plays both the peer and the ring; only its
// Sender is used from others. A method that gives the reactor something to do returns when there is nothing left to do, or after
// a hundred turns of a loop.
type Conn[Out any] struct {
	t       testing.TB
	cfg     Config
	shared  *reactor.Config
	session session
	sender  *reactor.Sender[Out]

	carry buffers.Carry // received, and not decoded
	more  bool          // the carry holds something to decode as soon as the session accepts
	ended bool          // the peer has ended its side
	sent  []byte        // taken by the kernel, and not by the peer
	segs  [][]byte

	ring   uint64        // the goroutine that owns the Conn
	inside atomic.Bool   // a method of the session runs
	wakes  chan struct{} // of one: the session asked for a Pump
	closed bool
	err    error
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
	Need() int
	Skipping() int
	Queued() int
	Output() *buffers.Output
}

const patience = time.Minute

// turns are what a method takes until it returns all the same: a reactor may have no end of things to do.
const turns = 100

// New makes a connection and its reactor, which is told of it. It is closed with the test.
func New[In, Out any, R reactor.Reactor[In, Out]](t testing.TB, connect func(reactor.Peer[Out]) R, cfg Config) *Conn[Out] {
	t.Helper()
	c := &Conn[Out]{t: t, cfg: cfg.withDefaults(), ring: goroutine(), wakes: make(chan struct{}, 1)}
	c.shared = &reactor.Config{
		Pool: buffers.NewPool(), MaxBufferLength: c.cfg.MaxBufferLength, MaxOutbound: c.cfg.MaxOutbound,
		MaxQueued: c.cfg.MaxQueuedOutboundMessages, MaxMessages: c.cfg.MaxMessages,
	}
	if err := reactor.CheckHooks[In, Out, R](); err != nil {
		t.Fatal(err)
	}
	ses := reactor.NewSession[In, Out](c, c.shared, new(In))
	c.session, c.sender = ses, ses.Sender()
	r := connect(reactor.Peer[Out]{ID: 1, Local: c.cfg.Local, Remote: c.cfg.Remote, Sender: c.sender})
	if reflect.TypeFor[R]().Kind() == reflect.Interface {
		if err := reactor.CheckHooksOf[Out](any(r)); err != nil {
			t.Fatal(err)
		}
	}
	ses.Bind(r)
	t.Cleanup(c.cleanup)
	c.do(c.session.Open)
	c.rest()
	return c
}

func (c *Conn[Out]) cleanup() {
	c.Close(nil)
	if n := c.shared.Pool.Used(); n != 0 {
		c.t.Errorf("reactortest: %d bytes of the pool are in use after the end of the connection", n)
	}
	c.shared.Pool.Close()
}

// Wake is called by the Sender, from any goroutine.
func (c *Conn[Out]) Wake() {
	select {
	case c.wakes <- struct{}{}:
	default:
	}
}

// Dirty is called by the session. The output is looked at in each turn anyway.
func (c *Conn[Out]) Dirty() {}

// OnRing says whether the caller is a method of the reactor, or was called by one.
func (c *Conn[Out]) OnRing() bool { return c.inside.Load() && goroutine() == c.ring }

// goroutine returns the number of the calling goroutine, which only a stack trace tells.
func goroutine() (n uint64) {
	var buf [64]byte
	for _, b := range bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine ")) {
		if b < '0' || b > '9' {
			break
		}
		n = 10*n + uint64(b-'0')
	}
	return n
}

// do calls a method of the session. A panic of the reactor's is the test's.
func (c *Conn[Out]) do(f func()) {
	if c.closed {
		return
	}
	was := c.inside.Swap(true)
	defer c.inside.Store(was)
	f()
}

// Write gives the reactor bytes as one receive. The error is io.ErrClosedPipe after the connection or the peer's side has ended.
func (c *Conn[Out]) Write(b []byte) (int, error) {
	if c.closed || c.ended {
		return 0, io.ErrClosedPipe
	}
	if c.session.Status() < reactor.Drain {
		c.carry.Append(c.shared.Pool, b, c.session.Need(), c.cfg.MaxBufferLength)
		c.decode()
	}
	c.rest()
	return len(b), nil
}

// WriteEach gives the reactor bytes as receives of one byte each.
func (c *Conn[Out]) WriteEach(b []byte) error {
	for i := range b {
		if _, err := c.Write(b[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

// PeerEnd ends the peer's side: the reactor is told when it has had all messages.
func (c *Conn[Out]) PeerEnd() {
	c.ended = true
	c.rest()
}

// Drain tells the reactor that the server is going down.
func (c *Conn[Out]) Drain() {
	c.do(c.session.Drain)
	c.rest()
}

// Close ends the connection with an error of the socket, or with nil as a server that has waited long enough.
func (c *Conn[Out]) Close(err error) {
	if c.closed {
		return
	}
	c.do(func() {
		c.session.Finish(reactor.Close) // from here on, the Sender takes nothing
		bytes, queued := c.session.Output().Len(), c.session.Queued()
		c.err = err
		if bytes > 0 || queued > 0 {
			c.err = &reactor.UnsentError{Bytes: bytes, Messages: queued, Err: err}
		}
		c.carry.Drop(c.shared.Pool)
		c.session.Closed(err)
	})
	c.closed = true
}

// Pump lets what other goroutines have sent go out.
func (c *Conn[Out]) Pump() { c.rest() }

// WaitFor lets what Senders send from other goroutines go out until the bytes that were sent and not taken have text among them, or the
// connection has ended. The test fails when neither happens within a minute.
func (c *Conn[Out]) WaitFor(text string) {
	c.t.Helper()
	late := time.After(patience)
	for c.rest(); !c.closed && !bytes.Contains(c.sent, []byte(text)); c.rest() {
		select {
		case <-c.wakes:
			c.Wake() // for the turn
		case <-late:
			c.t.Fatalf("reactortest: waited for %q, and there is %q", text, c.sent)
		}
	}
}

// Output returns the bytes that were sent and not taken. They are the test's.
func (c *Conn[Out]) Output() []byte { return bytes.Clone(c.sent) }

// Take returns the bytes that were sent, as a peer that reads all of them, and lets the connection go on.
func (c *Conn[Out]) Take() []byte {
	b := c.sent
	c.sent = nil
	c.rest()
	return b
}

// Pending returns the number of bytes that were encoded and that the kernel has not taken.
func (c *Conn[Out]) Pending() int { return c.session.Output().Len() }

// Unread returns the number of received bytes that were not decoded: a cut message, or more while the reactor does not accept it.
func (c *Conn[Out]) Unread() int { return c.carry.Len() }

// Sender returns the connection's Sender.
func (c *Conn[Out]) Sender() *reactor.Sender[Out] { return c.sender }

// Status returns how the connection goes on.
func (c *Conn[Out]) Status() reactor.Status { return c.session.Status() }

// Closed says whether the connection has ended, and returns the error that OnClose got.
func (c *Conn[Out]) Closed() (bool, error) { return c.closed, c.err }

// rest takes turns until nothing is left to do.
func (c *Conn[Out]) rest() {
	for i := 0; i < turns && !c.closed && c.turn(); i++ {
	}
}

// turn does what is there to do, as a turn of a server's loop, and reports whether it found anything.
func (c *Conn[Out]) turn() (busy bool) {
	select {
	case <-c.wakes:
		busy = true
		c.do(c.session.Pump)
	default:
	}
	if c.more && c.session.Accepts() {
		busy = true
		c.decode()
	}
	if c.flush() {
		busy = true
	}
	if c.ended && !c.more && !c.closed && c.session.Status() == reactor.Continue {
		before := c.session.Output().Len()
		c.do(c.session.End)
		busy = busy || c.session.Output().Len() != before
	}
	switch {
	case c.closed:
	case c.session.Status() == reactor.Close:
		c.Close(nil)
	case c.session.Status() == reactor.Drain && c.session.Output().Len() == 0 && c.session.Queued() == 0:
		c.Close(nil)
	}
	return busy && !c.closed
}

// decode gives the session what is in the carry, in memory that is overwritten afterwards.
func (c *Conn[Out]) decode() {
	c.more = false
	n := c.carry.Len()
	if n == 0 || n < c.session.Need() {
		return
	}
	lent := bytes.Clone(c.carry.Bytes())
	var used int
	var err error
	c.do(func() { used, c.more, err = c.session.Inbound(lent[:n:n]) })
	buffers.Overwrite(lent)
	c.carry.Consume(c.shared.Pool, used)
	if err != nil {
		c.Close(err)
		return
	}
	c.more = c.more && c.carry.Len() > 0
	if c.session.Status() >= reactor.Drain {
		c.more = false
		c.carry.Drop(c.shared.Pool)
	}
}

// flush lets the kernel take what it has room for.
func (c *Conn[Out]) flush() bool {
	if c.closed || c.session.Status() == reactor.Close { // now: what was not sent is dropped
		return false
	}
	c.session.Flushed()
	room := 1 << 30
	if c.cfg.SocketBuffer > 0 {
		room = c.cfg.SocketBuffer - len(c.sent)
	}
	n := 0
	c.segs = c.session.Output().AppendSegments(c.segs[:0], 64, max(room, 0))
	for _, s := range c.segs {
		c.sent = append(c.sent, s...)
		n += len(s)
	}
	if n > 0 {
		c.do(func() { c.session.Sent(n) })
	}
	return n > 0
}
