package server_test

import (
	"testing"

	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
)

// R1, R2, R11, R12, F13: descriptors run out. Connections that live go on; attempts to accept are few; accepting goes on when
// descriptors come back.
func TestR1R2FileLimit(t *testing.T) {
	over(t, append(kinds(), setup{Engine: server.EngineURing, Loops: 2, Accept: server.AcceptPerLoop}, setup{Engine: server.EngineEpoll, Loops: 2, Accept: server.AcceptPerLoop}),
		func(t *testing.T, s setup) {
			const files, peers = 64, 120
			c := spawn(t, plan{Setup: s, Files: files, Config: server.Config{MaxConns: 1 << 20}})
			live := c.dial()
			live.echo("served") // before the others come: loops that accept for themselves race for descriptors
			others := make([]*client, peers-1)
			for i := range others {
				others[i] = c.dial() // the backlog takes those that are not accepted
			}
			until(t, func() bool { return c.ask("stats").Stats.AcceptErrs > 0 }, "EMFILE")
			served := int(c.Stats.Accepted)
			require.Less(t, served, files)
			for range fewer(3000, 500) {
				live.echo("on it goes")
			}
			rep := c.ask("stats")
			t.Logf("%d connections, %d failed attempts, %d turns", served, rep.Stats.AcceptErrs, rep.Stats.Turns)
			require.Less(t, rep.Stats.AcceptErrs, uint64(64), "it spins")
			require.Contains(t, rep.Log, "accepting pauses")
			require.Contains(t, rep.Log, "raise the limit on open files")
			ended := make(chan bool, len(others))
			for _, cl := range others { // each is served as soon as others have gone, in whichever order
				go func() {
					ended <- cl.alive()
					cl.Close()
				}()
			}
			for range others {
				require.True(t, <-ended)
			}
			live.echo("still here")
			until(t, func() bool { return c.ask("stats").Stats.Accepted == peers }, "all accepted")
			require.Less(t, c.Stats.AcceptErrs, uint64(2*peers+64))
			c.allServed()
			live.Close()
			c.finish()
		})
}

// MaxConns: further connections wait in the backlog, and are served when others have ended.
func TestMaxConns(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		const most, peers = 5, 80 // enough for each loop to have some
		x := start(t, s, func(c *server.Config) { c.MaxConns = most })
		clients := make([]*client, peers)
		for i := range clients {
			clients[i] = x.dial()
		}
		answered := make(chan *client, peers)
		for _, c := range clients {
			go func() {
				c.alive()
				answered <- c
			}()
		}
		require.EqualValues(t, most, still(t, func() uint64 { return uint64(len(answered)) }))
		require.Equal(t, uint64(most), x.Stats().Conns)
		for range clients {
			(<-answered).Close()
		}
		require.Len(t, x.book.closes(peers), peers)
		require.Less(t, x.Stats().AcceptErrs, uint64(1))
		x.finish()
		require.Equal(t, uint64(peers), x.Stats().Accepted)
	})
}

// refuser has a word for its peer before it goes.
type refuser struct{ lineRaw }

func (refuser) OnInbound(*frame, *outbound) status { return reactor.Continue }
func (refuser) OnOpen(out *outbound) status {
	out.Send(frame("too many of you\n"))
	return reactor.Drain
}

func TestRefusalWithMessage(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		x := startAs(t, s, server.ListenConfig{}, func(peer) refuser { return refuser{} })
		x.speak = func(c *client) { c.end(); c.Close() }
		x.count = func(s *server.Stats) uint64 { return s.Closed } // it serves by saying no: nothing is decoded
		for range 5 * s.Loops {
			c := x.dial()
			_, _ = c.Write([]byte("a request that is not read\n"))
			require.Equal(t, "too many of you\n", string(c.end()))
		}
		x.finish()
	})
}

// greeter speaks first.
type greeter struct {
	answerer
	peer peer
}

func (g greeter) OnOpen(out *outbound) status {
	out.Send(frame("hello " + g.peer.Remote.String() + "\n"))
	return reactor.Continue
}

func TestServerSpeaksFirst(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		x := startAs(t, s, server.ListenConfig{}, func(p peer) greeter { return greeter{peer: p} })
		x.speak = func(c *client) { c.line(); c.echo("hello") }
		for range 5 * s.Loops {
			c := x.dial()
			require.Equal(t, "hello "+c.LocalAddr().String(), c.line())
			c.echo("and hello to you")
			c.Close()
		}
		x.finish()
	})
}

// The balance of two: with connections that stay, no loop has many more than another.
func TestBalance(t *testing.T) {
	for _, s := range []setup{{Engine: server.EngineURing, Loops: 4}, {Engine: server.EngineEpoll, Loops: 4}} {
		t.Run(s.String(), func(t *testing.T) {
			x := start(t, s)
			clients := make([]*client, 200)
			for i := range clients {
				clients[i] = x.dial()
				clients[i].echo("here")
			}
			until(t, func() bool { return x.Stats().Conns == 200 }, "all connections")
			for i, l := range x.LoopStats() {
				require.InDelta(t, 50, int(l.Conns), 15, "loop %d", i)
			}
			x.finish()
		})
	}
}
