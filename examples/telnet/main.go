// Telnet answers each line later, from another goroutine: after the number of seconds that the line says. It also does so for a
// peer that has ended its side meanwhile, as in: printf '1\n0.5\n' | nc -q 5 localhost 9001
package main

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/examples/internal/run"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
)

const about = `
Telnet waits for lines with a number of seconds, such as 1.5, and answers each when that time is over.`

const (
	maxPending = 16   // answers that one connection may wait for
	maxSeconds = 3600 // of one answer
	maxLine    = 4096 // bytes
)

func main() {
	run.Main(run.Example{
		Name:  "telnet",
		About: about,
		Addr:  "127.0.0.1:9001",
		Listen: func(s *server.Server, network, addr string, _ *slog.Logger) (net.Addr, func(), error) {
			bound, err := server.Listen(s, network, addr, server.ListenConfig{MaxBufferLength: maxLine}, connect)
			return bound, nil, err
		},
	})
}

// A conn is the reactor of one connection. The ring's goroutine has it to itself: a timer, which runs on a goroutine of its own,
// comes back to it with Sender.Do.
type conn struct {
	codec.Line
	sender  *reactor.Sender[codec.Frame]
	pending map[*time.Timer]struct{}
	ending  bool // no line comes any more: drain when nothing is pending
}

func connect(p reactor.Peer[codec.Frame]) *conn {
	return &conn{Line: codec.Line{CRLF: true}, sender: p.Sender, pending: make(map[*time.Timer]struct{})}
}

func say(out *reactor.Outbound[codec.Frame], format string, args ...any) {
	out.Send(fmt.Appendf(nil, format, args...))
}

func (c *conn) OnInbound(line *codec.Frame, out *reactor.Outbound[codec.Frame]) reactor.Status {
	text := strings.TrimSpace(string(*line)) // a copy: the line is only lent
	seconds, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || !(seconds >= 0 && seconds <= maxSeconds): // so that NaN is refused as well
		say(out, "%.40q is not a number of seconds from 0 to %d", text, maxSeconds)
	case len(c.pending) >= maxPending:
		say(out, "%s has no room: wait for one of %d answers", text, maxPending)
	default:
		c.answerLater(text, time.Duration(seconds*float64(time.Second)))
	}
	return reactor.Continue
}

func (c *conn) answerLater(text string, wait time.Duration) {
	var t *time.Timer
	answer := func(out *reactor.Outbound[codec.Frame]) reactor.Status {
		delete(c.pending, t)
		say(out, "%s seconds are over", text)
		return c.status()
	}
	// The error is that the connection has ended. The queue takes more than maxPending, so it is never full.
	t = time.AfterFunc(wait, func() { _ = c.sender.Do(answer) })
	c.pending[t] = struct{}{}
}

func (c *conn) status() reactor.Status {
	if c.ending && len(c.pending) == 0 {
		return reactor.Drain
	}
	return reactor.Continue
}

// OnEnd keeps the connection for what is pending: the peer has ended its side and can still read.
func (c *conn) OnEnd(*reactor.Outbound[codec.Frame]) reactor.Status {
	c.ending = true
	return c.status()
}

// OnDrain says goodbye, and asks for time for what is pending.
func (c *conn) OnDrain(out *reactor.Outbound[codec.Frame]) reactor.Status {
	c.ending = true
	if n := len(c.pending); n > 0 {
		say(out, "the server is going down: %d answers are pending", n)
	} else {
		say(out, "the server is going down")
	}
	return c.status()
}

// OnClose stops the timers of answers that nobody waits for any more.
func (c *conn) OnClose(error) {
	for t := range c.pending {
		t.Stop()
	}
}
