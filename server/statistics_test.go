package server_test

import (
	"strings"
	"testing"
	"time"

	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
	"github.com/protoring/protoring/uring"
	"github.com/stretchr/testify/require"
)

// A tally says how much each count has to move by for a known traffic. Each loop sleeps before it and after it, so that all is counted.
type tally struct {
	x      *rig
	before server.Stats
}

// statistics starts a server of one loop that never spins, so that each wait sleeps, and that has one connection.
func statistics(t *testing.T, s setup, mod ...func(*server.Config)) (*tally, *client, *kit) {
	t.Helper()
	x := start(t, s, append(mod, func(c *server.Config) { c.Spin = -1 })...)
	c := x.dial()
	c.echo("ready")
	k := x.book.last(1)
	return &tally{x: x}, c, k
}

// begin waits until the loop sleeps, and takes the counts.
func (y *tally) begin() {
	y.x.t.Helper()
	still(y.x.t, func() uint64 { return y.x.Stats().Turns })
	y.before = y.x.Stats()
}

// end waits until the loop sleeps, and returns by how much the counts have moved.
func (y *tally) end() (d server.Stats) {
	y.x.t.Helper()
	still(y.x.t, func() uint64 { return y.x.Stats().Turns })
	d = y.x.Stats()
	b := &y.before
	for _, f := range []struct{ now, before *uint64 }{
		{&d.Messages, &b.Messages}, {&d.BytesIn, &b.BytesIn}, {&d.BytesOut, &b.BytesOut}, {&d.Carried, &b.Carried}, {&d.Receives, &b.Receives},
		{&d.Sends, &b.Sends}, {&d.ShortSends, &b.ShortSends}, {&d.Rearms, &b.Rearms}, {&d.NoBufs, &b.NoBufs}, {&d.SQEs, &b.SQEs}, {&d.CQEs, &b.CQEs},
		{&d.Enters, &b.Enters}, {&d.Turns, &b.Turns}, {&d.Spins, &b.Spins}, {&d.Sleeps, &b.Sleeps}, {&d.Held, &b.Held}, {&d.Wakes, &b.Wakes},
		{&d.WakeNanos, &b.WakeNanos}, {&d.Notices, &b.Notices}, {&d.Missed, &b.Missed},
	} {
		*f.now -= *f.before
	}
	return d
}

const timers = 3 // turns that timers may make within a test of a second or two

// Carried counts the bytes of a message that was cut, all of them and no others: nothing of the messages before and after it. (The end
// of an incremental buffer would cut one more.)
func TestCountsCarried(t *testing.T) {
	setups := []setup{
		{Engine: server.EngineURing, Loops: 1, Plain: true}, {Engine: server.EngineURing, Loops: 1, Plain: true, Single: true},
		{Engine: server.EngineEpoll, Loops: 1},
	}
	over(t, setups, func(t *testing.T, s setup) {
		y, c, _ := statistics(t, s)
		y.begin()
		in, messages := y.before.BytesIn, uint64(0)
		for _, message := range []string{"cut", strings.Repeat("x", 500), strings.Repeat("y", 3000)} {
			for _, at := range []int{1, len(message) / 2, len(message)} { // at the last, the line's end comes alone
				_, err := c.Write([]byte(message[:at]))
				require.NoError(t, err)
				until(t, func() bool { return y.x.Stats().BytesIn == in+uint64(at) }, "the first part")
				_, err = c.Write([]byte(message[at:] + "\n"))
				require.NoError(t, err)
				require.Equal(t, message, c.line())
				c.echo("uncut")
				in += uint64(len(message) + 1 + len("uncut\n"))
				messages++
			}
		}
		d := y.end()
		require.Equal(t, 2*messages, d.Messages)
		require.Equal(t, 3*messages, d.Receives)
		require.Equal(t, d.BytesIn-messages*uint64(len("uncut\n")), d.Carried)

		// What comes behind the cut one is decoded in place again, but for the step in which the end was looked for.
		const step = 512
		cut, behind := strings.Repeat("x", 600), strings.Repeat("y", 3000)
		y.begin()
		_, err := c.Write([]byte(cut[:100]))
		require.NoError(t, err)
		until(t, func() bool { return y.x.Stats().BytesIn == y.before.BytesIn+100 }, "the first part")
		c.say("%s\n%s", cut[100:], behind)
		require.Equal(t, cut, c.line())
		require.Equal(t, behind, c.line())
		d = y.end()
		require.Equal(t, uint64(100+step), d.Carried)
	})
}

// Each echo is one receive and one send.
func TestCountsOperations(t *testing.T) {
	over(t, kinds(), func(t *testing.T, s setup) {
		const n = 50
		y, c, _ := statistics(t, s)
		y.begin()
		for range n {
			c.echo("message")
		}
		d := y.end()
		require.Equal(t, uint64(n), d.Messages)
		require.Equal(t, uint64(n), d.Receives)
		require.Equal(t, uint64(n), d.Sends)
		sqes, cqes := uint64(n), uint64(2*n) // sends; receives and sends
		if s.Single || s.Engine == server.EngineEpoll {
			sqes += n // each receive is handed over, or a system call
		}
		if s.Engine == server.EngineURing && uring.Probe().PromptSend == nil {
			cqes -= n // of a send that succeeds at once nothing is told
		}
		require.Equal(t, sqes, d.SQEs)
		require.Equal(t, cqes, d.CQEs)
		require.Positive(t, d.Sleeps) // the next one may come before the loop sleeps: see TestCountsWakes
		require.LessOrEqual(t, d.Sleeps, uint64(2*n+timers))
		require.GreaterOrEqual(t, d.Enters, d.Sleeps)
		require.Zero(t, d.Spins+d.NoBufs+d.ShortSends+d.Carried+d.Missed+d.Notices+d.Wakes+d.WakeNanos)
	})
}

// Each message of a Sender to a loop that sleeps is a notice and wakes it; to one that is busy, a notice that waits and wakes nobody.
func TestCountsWakes(t *testing.T) {
	over(t, kinds(), func(t *testing.T, s setup) {
		t.Parallel() // what is waited for is time
		const n = 5
		y, c, k := statistics(t, s)
		y.begin()
		begin := time.Now()
		for range n {
			still(t, func() uint64 { return y.x.Stats().Turns })
			require.NoError(t, k.peer.Sender.Send(frame("message\n")))
			require.Equal(t, "message", c.line())
		}
		took := time.Since(begin)
		d := y.end()
		require.Equal(t, uint64(n), d.Notices)
		require.LessOrEqual(t, d.Wakes, uint64(n))
		require.GreaterOrEqual(t, d.Wakes, uint64(n-1), "one may find the loop awake, for a timer")
		require.Positive(t, d.WakeNanos)
		require.Less(t, d.WakeNanos, uint64(took))
		require.GreaterOrEqual(t, d.Sleeps, uint64(n))
		require.LessOrEqual(t, d.Sleeps, uint64(2*n+timers))

		const wait = 30 * time.Millisecond
		y.begin()
		begin = time.Now()
		c.say("block")
		until(t, func() bool { return y.x.book.gate.waiting() == 1 }, "the loop at the gate")
		for range n { // the first is a notice, the others are with it
			require.NoError(t, k.peer.Sender.Send(frame("message\n")))
		}
		stillFor(t, wait)
		y.x.book.gate.open()
		require.Equal(t, "unblocked", c.line())
		for range n {
			require.Equal(t, "message", c.line())
		}
		took = time.Since(begin)
		d = y.end()
		require.Equal(t, uint64(1), d.Notices)
		require.Zero(t, d.Wakes, "a loop that does not sleep")
		require.GreaterOrEqual(t, d.WakeNanos, uint64(wait))
		require.Less(t, d.WakeNanos, uint64(took))
		require.Equal(t, time.Duration(d.WakeNanos), d.WakeLatency(), "of one notice")
		require.Equal(t, time.Duration(0), (&server.Stats{WakeNanos: 5}).WakeLatency())
		require.Equal(t, 2*time.Second, (&server.Stats{WakeNanos: 6e9, Notices: 3}).WakeLatency())
	})
}

// Of a group of one buffer, one connection gets it and each of the others finds none, once.
func TestCountsNoBufs(t *testing.T) {
	over(t, kinds()[1:], func(t *testing.T, s setup) { // incremental buffers have room for several
		s.Plain = s.Engine == server.EngineURing
		y, c, _ := statistics(t, s, func(c *server.Config) {
			c.BufferAllocationIncrement = 4 << 10
			c.MaxReceive = c.BufferAllocationIncrement
		})
		const n = 10
		clients := make([]*client, n)
		for i := range clients {
			clients[i] = y.x.dial()
			clients[i].echo("ready")
		}
		y.begin()
		c.say("block")
		until(t, func() bool { return y.x.book.gate.waiting() == 1 }, "the loop at the gate")
		for _, c := range clients {
			c.say("message")
		}
		y.x.book.gate.open()
		require.Equal(t, "unblocked", c.line())
		for _, c := range clients {
			require.Equal(t, "message", c.line())
		}
		d := y.end()
		require.Equal(t, uint64(n+1), d.Receives)
		if s.Engine == server.EngineEpoll {
			require.Zero(t, d.NoBufs)
			return
		}
		t.Logf("%d found no buffer, %d re-arms", d.NoBufs, d.Rearms)
		require.LessOrEqual(t, d.NoBufs, uint64(n-1))
		require.GreaterOrEqual(t, d.NoBufs, uint64(n/2), "a machine under load may deliver a message late")
	})
}

// A send is short when it takes less than it was given: not when there is more to send by the time that it is done.
func TestCountsShortSends(t *testing.T) {
	over(t, kinds(), func(t *testing.T, s setup) {
		const size = 8 << 20
		x := start(t, s)
		c := x.dialWith(slow())
		c.say("send %d", size)
		k := x.book.last(1)
		still(t, func() uint64 { return x.Stats().BytesOut + x.Stats().Turns }) // stuck
		require.NoError(t, k.peer.Sender.Do(func(out *outbound) reactor.Status {
			out.Send(frame("behind it\n"))
			return reactor.Continue
		}))
		c.pattern(0, size)
		require.Equal(t, "behind it", c.line())
		until(t, func() bool { return x.Stats().BytesOut == size+uint64(len("behind it\n")) }, "the counts")
		st := x.Stats()
		t.Logf("%d sends, %d short", st.Sends, st.ShortSends)
		if s.Engine == server.EngineURing { // the kernel goes on by itself
			require.Equal(t, uint64(2), st.Sends)
			require.Zero(t, st.ShortSends)
			x.finish()
			return
		}
		require.Positive(t, st.ShortSends)
		require.Contains(t, []uint64{1, 2}, st.Sends-st.ShortSends, "what came behind goes with the end of the first, or by itself")
		x.finish()
	})
}

// A waiter answers nothing, and holds its loop up when it is told to.
type waiter struct {
	lineRaw
	began, goOn chan bool
}

func (w *waiter) OnInbound(line *frame, _ *outbound) status {
	if string(*line) == "wait" {
		w.began <- true
		<-w.goOn
	}
	return reactor.Continue
}

// Missed counts the receives that have told nothing of what is there when they are looked at, a second after the last word. The kernel
// does so once in thousands of connections; here, bytes come within the turn in which it is looked.
func TestCountsMissed(t *testing.T) {
	over(t, kinds(), func(t *testing.T, s setup) {
		w := &waiter{began: make(chan bool), goOn: make(chan bool)}
		x := startAs(t, s, server.ListenConfig{}, func(peer) *waiter { return w })
		other := x.dial()
		c := x.dial()
		c.say("no answer comes to this")
		until(t, func() bool { return x.Stats().Messages == 1 }, "the first message")
		other.say("wait")
		<-w.began
		stillFor(t, 1100*time.Millisecond) // now the look is due
		other.say("wait")                  // in the next turn, before timers
		w.goOn <- true
		<-w.began
		c.say("nor to this")
		w.goOn <- true
		until(t, func() bool { return x.Stats().Messages == 4 }, "the last message")
		want := uint64(1)
		if s.Engine == server.EngineEpoll { // tells again and again of what is there
			want = 0
		}
		until(t, func() bool { return x.Stats().Missed >= want }, "the count")
		require.Equal(t, want, x.Stats().Missed)
		c.say("and on it goes")
		until(t, func() bool { return x.Stats().Messages == 5 }, "a message after it")
		x.finish()
	})
}
