package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A subscriber is sent to by others, and tells its name first.
type subscriber struct {
	lineRaw
	closed chan error
	leave  func(*subscriber)
	sender *reactor.Sender[frame]
	sent   [senders]atomic.Int64 // messages of each goroutine that Send took
}

const senders = 8

func (s *subscriber) OnInbound(line *frame, out *outbound) status {
	if string(*line) == "drain" {
		return reactor.Drain
	}
	return reactor.Continue
}

func (s *subscriber) OnClose(err error) {
	s.leave(s)
	s.closed <- err
}

// Senders in 8 goroutines send to 100 connections while these connect, drain and reset: nothing that Send took is lost, unless its
// connection was reset, nothing comes twice, and the order of each sender holds.
func TestSenders(t *testing.T) {
	over(t, append(engines(), setup{Engine: server.EngineURing, Loops: 4, Accept: server.AcceptPerLoop},
		setup{Engine: server.EngineEpoll, Loops: 4, Accept: server.AcceptPerLoop}, setup{Engine: server.EngineURing, Loops: 1, Single: true}),
		func(t *testing.T, s setup) {
			const conns = 100
			lives := fewer(3, 1) // of each connection
			var mu sync.Mutex
			targets := make([]*subscriber, 0, conns)
			made := make(map[string]*subscriber) // by the client's address
			leave := func(sub *subscriber) {
				mu.Lock()
				defer mu.Unlock()
				targets = slices.DeleteFunc(targets, func(s *subscriber) bool { return s == sub })
			}
			x := startAs(t, s, server.ListenConfig{MaxQueuedOutboundMessages: 32}, func(p peer) *subscriber {
				sub := &subscriber{closed: make(chan error, 1), leave: leave, sender: p.Sender}
				mu.Lock()
				defer mu.Unlock()
				made[p.Remote.String()] = sub
				targets = append(targets, sub)
				return sub
			})
			x.speak = func(c *client) { c.say("drain"); c.end(); c.Close() }
			stop := make(chan struct{})
			var sending, clients sync.WaitGroup
			for g := range senders {
				sending.Go(func() {
					random := rand.New(rand.NewPCG(uint64(g), 3))
					var b []byte
					for {
						select {
						case <-stop:
							return
						default:
						}
						mu.Lock()
						var sub *subscriber
						if len(targets) > 0 {
							sub = targets[random.IntN(len(targets))]
						}
						mu.Unlock()
						if sub == nil {
							continue
						}
						seq := sub.sent[g].Load()
						b = fmt.Appendf(nil, "%d %d\n", g, seq)
						if sub.sender.Send(b) == nil {
							sub.sent[g].Add(1)
						}
					}
				})
			}
			for i := range conns {
				clients.Go(func() {
					for life := range lives {
						c := dialRaw(t, x.addr)
						way := (i + life) % 3
						expect := [senders]int64{}
						stopAt := 50 + i
						for n := 0; way != 0 || n < stopAt; n++ {
							if n == stopAt {
								if way == 1 {
									c.reset()
									break
								}
								c.say("drain")
							}
							line, err := c.r.ReadString('\n')
							if err != nil {
								break
							}
							from, seq, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
							g, _ := strconv.Atoi(from)
							if k, _ := strconv.ParseInt(seq, 10, 64); k != expect[g] {
								t.Errorf("of sender %d came message %d, not %d", g, k, expect[g])
								c.Close()
								return
							}
							expect[g]++
						}
						mu.Lock()
						sub := made[c.LocalAddr().String()]
						delete(made, c.LocalAddr().String())
						mu.Unlock()
						if way == 2 { // a drain: all that was taken has come
							if err := <-sub.closed; err != nil {
								t.Errorf("drain: %v", err)
							}
							for g := range senders {
								until(t, func() bool { return sub.sent[g].Load() <= expect[g] }, "the sender's count")
								if n := sub.sent[g].Load(); n != expect[g] {
									t.Errorf("sender %d sent %d messages, %d came", g, n, expect[g])
								}
							}
						}
						c.Close()
					}
				})
			}
			clients.Wait()
			close(stop)
			sending.Wait()
			until(t, func() bool { return x.Stats().Conns == 0 }, "all ends")
			x.finish()
		})
}

// No wake-up is lost: a message into an idle connection always comes.
func TestSenderWakes(t *testing.T) {
	over(t, append(kinds(), engines()...), func(t *testing.T, s setup) {
		x := start(t, s)
		c := x.dial()
		c.echo("hello")
		sender := x.book.last(1).peer.Sender
		for i := range fewer(10_000, 2_000) {
			message := fmt.Sprintf("message %d", i)
			require.NoError(t, sender.Send(frame(message+"\n")))
			require.Equal(t, message, c.line())
		}
		x.finish()
	})
}

// The queue is bounded; SendContext waits for room; Do runs on the loop; Close ends the connection; F10: a Sender of a connection
// that is gone reaches nobody, though its slot has another.
func TestSender(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		x := startKits(t, s, server.ListenConfig{MaxQueuedOutboundMessages: 4, MaxOutbound: 64 << 10})
		c := x.dialWith(slow())
		c.say("send %d", 8<<20)
		k := x.book.last(1)
		sender := k.peer.Sender
		still(t, func() uint64 { return x.Stats().BytesOut }) // stuck
		for i := range 4 {
			require.NoError(t, sender.Send(frame(fmt.Sprintf("%d\n", i))))
		}
		require.ErrorIs(t, sender.Send(frame("too many\n")), reactor.ErrFull)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		require.ErrorIs(t, sender.SendContext(ctx, frame("too many\n")), context.Canceled)
		waits := make(chan error, 1)
		go func() { waits <- sender.SendContext(context.Background(), frame("4\n"), frame("5\n")) }()
		c.pattern(0, 8<<20)
		require.NoError(t, <-waits)
		for i := range 6 {
			require.Equal(t, strconv.Itoa(i), c.line())
		}
		thread := make(chan bool, 1)
		require.NoError(t, sender.Do(func(out *outbound) status {
			k.here() // notes a fault if it is another thread
			thread <- true
			out.Send(frame("done\n"))
			return reactor.Continue
		}))
		<-thread
		require.Equal(t, "done", c.line())
		require.NoError(t, sender.Close())
		_ = c.broken()
		require.NoError(t, x.book.closes(1)[0])
		for range 8 * s.Loops { // all slots are used again
			d := x.dial()
			d.echo("hello")
		}
		require.ErrorIs(t, sender.Send(frame("for nobody\n")), reactor.ErrClosed)
		require.ErrorIs(t, sender.Do(func(*outbound) status { panic("never") }), reactor.ErrClosed)
		require.ErrorIs(t, sender.Close(), reactor.ErrClosed)
		x.finish()
	})
}

// Pause stops OnInbound, and receiving, until a function returns Continue.
func TestPause(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		x := start(t, s)
		c := x.dial()
		c.say("pause\nnot yet")
		k := x.book.last(1)
		until(t, func() bool { return x.Stats().Messages == 1 }, "the first message")
		c.say("nor this")
		still(t, func() uint64 { return x.Stats().Messages })
		require.Equal(t, uint64(1), x.Stats().Messages)
		require.NoError(t, k.peer.Sender.Send(frame("while it pauses\n")))
		require.Equal(t, "while it pauses", c.line())
		require.NoError(t, k.peer.Sender.Do(func(*outbound) status { return reactor.Continue }))
		require.Equal(t, "not yet", c.line())
		require.Equal(t, "nor this", c.line())
		c.echo("and on it goes")
		x.finish()
	})
}

// A connection that pauses, and so receives nothing, ends when its peer has reset it.
func TestResetAmidPause(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		for _, half := range []bool{false, true} {
			x := start(t, s)
			c := x.dial()
			c.say("pause\nnot yet")
			until(t, func() bool { return x.Stats().Messages == 1 }, "the first message")
			c.say("nor this")
			until(t, func() bool { return x.Stats().BytesIn == uint64(len("pause\nnot yet\nnor this\n")) }, "all of them")
			if half {
				c.halfClose()
			}
			c.reset()
			err := x.book.closes(1)[0]
			require.True(t, errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE), "%v", err)
			require.Equal(t, uint64(1), x.Stats().Messages)
			x.finish()
		}
	})
}

// bulk answers each line with 4 MiB, as there is room, and then the line.
type bulk struct {
	codec.Line
	line string
	left int
}

const bulkPieces = 4096

func (b *bulk) OnInbound(m *codec.Frame, out *reactor.Outbound[codec.Frame]) reactor.Status {
	b.line, b.left = string(*m), bulkPieces
	return b.produce(out, reactor.Continue)
}

func (b *bulk) OnRoom(out *reactor.Outbound[codec.Frame]) reactor.Status {
	return b.produce(out, reactor.Resume)
}

func (b *bulk) produce(out *reactor.Outbound[codec.Frame], done reactor.Status) reactor.Status {
	for ; b.left > 0; b.left-- {
		if out.Room() == 0 {
			return reactor.Pause
		}
		out.Send(bulkPiece)
	}
	if b.line != "" {
		out.Send(codec.Frame(b.line))
		b.line = ""
	}
	return done
}

var bulkPiece = codec.Frame(strings.Repeat("x", 1023))

// Large replies go out piece by piece, in order, and OnRoom itself ends the pause.
func TestResumeAfterLargeReply(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		x := build(t, s)
		listen(x, "tcp", "127.0.0.1:0", server.ListenConfig{}, func(peer) *bulk { return &bulk{} })
		x.serve()
		for _, c := range x.spread(2*s.Loops, &net.Dialer{}) {
			c.say("one\ntwo")
			c.say("three")
			for _, want := range []string{"one", "two", "three"} {
				for range bulkPieces {
					require.Equal(t, string(bulkPiece), c.line())
				}
				require.Equal(t, want, c.line())
			}
		}
		x.finish()
	})
}

// The telnet way: each line is answered later, from another goroutine, after the peer has half-closed.
func TestAnswerAfterHalfClose(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		x := build(t, s)
		listen(x, "tcp", "127.0.0.1:0", server.ListenConfig{}, func(p peer) *patient { return &patient{x.book.kit(p)} })
		x.serve()
		clients := x.spread(2*s.Loops, &net.Dialer{})
		for i, c := range clients {
			c.say("later answer %d", i)
			c.halfClose()
		}
		until(t, func() bool { return x.book.gate.waiting() == len(clients) }, "all questions")
		x.book.gate.open()
		for i, c := range clients {
			require.Equal(t, fmt.Sprintf("answer %d\n", i), string(c.end()))
		}
		for _, err := range x.book.closes(len(clients)) {
			require.NoError(t, err)
		}
		x.finish()
	})
}

// patient does not end with its peer.
type patient struct{ *kit }

func (patient) OnEnd(*outbound) status { return reactor.Continue }

// keeper keeps a view past OnInbound, which it must not.
type keeper struct {
	lineRaw
	kept []byte
}

func (k *keeper) OnInbound(line *frame, out *outbound) status {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // memory of a carry is not only overwritten but inaccessible
	if k.kept != nil {
		out.Send(frame(strconv.FormatBool(bytes.Count(k.kept, []byte{0xCC}) == len(k.kept)) + "\n"))
	}
	k.kept = *line
	return reactor.Continue
}

// F1: in checked builds a view that is kept is overwritten, so that it is seen at once.
func TestF1KeptViewIsSeen(t *testing.T) {
	if !buffers.Checked {
		t.Skip("ordinary builds do not look: go test -race, or -tags invariants")
	}
	each(t, func(t *testing.T, s setup) {
		x := startAs(t, s, server.ListenConfig{}, func(peer) *keeper { return &keeper{} })
		x.speak = func(c *client) { c.say("kept once") } // to which there is no answer
		messages := uint64(0)
		say := func(c *client, text string) { // and wait until it has been handled
			c.say("%s", text)
			messages++
			until(t, func() bool { return x.Stats().Messages == messages }, "message %d", messages)
		}
		c := x.dial()
		say(c, "kept for too long")
		for range 5 {
			say(c, "is it?")
			require.Equal(t, "true", c.line())
		}
		// Of a message that was cut, too: there a look at it is a fault, or shows the same.
		d := x.dial()
		in := x.Stats().BytesIn
		_, err := d.Write([]byte("cut in"))
		require.NoError(t, err)
		until(t, func() bool { return x.Stats().BytesIn >= in+6 }, "the first half")
		say(d, " two")
		d.say("is it?")
		if answer, err := d.r.ReadString('\n'); err == nil {
			require.Equal(t, "true\n", answer)
		} else {
			x.logs.wait(t, "panic", "invalid memory address")
		}
	})
}

// batcher changes what Senders send.
type batcher struct{ lineRaw }

func (batcher) OnInbound(*frame, *outbound) status { return reactor.Continue }
func (batcher) OnOutbound(m *frame)                { *m = append(frame("> "), *m...) }

func TestOnOutbound(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		senders := make(chan *reactor.Sender[frame], 1)
		x := startAs(t, s, server.ListenConfig{}, func(p peer) batcher { senders <- p.Sender; return batcher{} })
		x.count = func(s *server.Stats) uint64 { return s.Sends } // of what comes from elsewhere
		x.speak = func(c *client) {
			require.NoError(t, (<-senders).Send(frame("one\n"), frame("two\n")))
			require.Equal(t, "> one", c.line())
			require.Equal(t, "> two", c.line())
		}
		x.speak(x.dial())
	})
}
