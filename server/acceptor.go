package server

import (
	"log/slog"
	"time"

	"github.com/protoring/protoring/server/internal/engine"
	"golang.org/x/sys/unix"
)

// An acceptor takes connections from one listening socket, on one loop. When descriptors or connections have run out it waits, with
// growing patience, and at once goes on when a connection of this server ends; meanwhile connections wait in the backlog.
type acceptor struct {
	loop     *loop
	listener *listener
	fd       int // -1 when closed
	slot     uint32

	armed    bool // true exactly while an accept is in flight whose last completion was not handled
	stopping bool // a cancel of it was asked for
	ending   bool // the socket is to be closed
	waiting  bool // until the timer, or a connection's end
	patience time.Duration
	timer    timer
	parked   []int // accepted beyond MaxConns, in flight when the limit was reached
	turn     int   // for choosing loops
}

const (
	acceptPatience    = 10 * time.Millisecond
	acceptMaxPatience = time.Second
)

// listen makes the loop accept from fd, which is the loop's from now on.
func (l *loop) listen(ln *listener, fd int) {
	a := &acceptor{loop: l, listener: ln, fd: fd, slot: uint32(len(l.acceptors)), turn: l.index}
	a.timer.owner = a
	l.acceptors = append(l.acceptors, a)
	if l.draining {
		a.end()
	}
	a.settle()
}

func (a *acceptor) token() engine.Token { return engine.MakeToken(a.slot, 0, engine.OpAccept) }

// accepted handles a completion of the accept.
func (a *acceptor) accepted(c *engine.Completion) {
	if !c.More {
		a.armed, a.stopping = false, false
	}
	switch c.Err {
	case 0:
		a.patience = 0
		a.place(c.Res)
	case unix.ECANCELED, unix.EINTR, unix.EAGAIN:
	case unix.ECONNABORTED, unix.EPROTO: // that connection only
		a.loop.stats.AcceptErrs++
	default:
		a.loop.stats.AcceptErrs++
		a.loop.log(slog.LevelWarn, "accepting pauses", slog.String("reason", c.Err.Error()),
			slog.String("listener", a.listener.addr.String()), slog.String("remedy", acceptRemedy(c.Err)))
		a.wait()
	}
	a.settle()
}

func acceptRemedy(errno unix.Errno) string {
	if errno == unix.EMFILE {
		return "raise the limit on open files (ulimit -n), or set MaxConns below it"
	}
	return "none needed: it goes on by itself"
}

// wait pauses until the timer, or until a connection of this server has ended.
func (a *acceptor) wait() {
	a.waiting = true
	a.patience = min(max(2*a.patience, acceptPatience), acceptMaxPatience)
	a.loop.wheel.set(&a.timer, a.loop.now+int64(a.patience))
	a.loop.server.waiting.Store(true)
}

// due is called by the wheel.
func (a *acceptor) due(int64) { a.retry() }

// retry goes on after a pause.
func (a *acceptor) retry() {
	a.waiting = false
	a.loop.wheel.stop(&a.timer)
	for len(a.parked) > 0 && a.loop.server.admit() {
		fd := a.parked[0]
		a.parked = a.parked[1:]
		a.hand(fd)
	}
	if len(a.parked) > 0 || (a.loop.server.full() && !a.ending) {
		a.wait()
	}
	a.settle()
}

// place gives a new connection to a loop, or keeps it until there is room.
func (a *acceptor) place(fd int) {
	if !a.loop.server.admit() {
		a.parked = append(a.parked, fd)
		a.wait()
		return
	}
	a.hand(fd)
	if a.loop.server.full() {
		a.wait()
	}
}

// hand gives an admitted connection to a loop.
func (a *acceptor) hand(fd int) {
	l := a.loop
	if n := len(l.server.loops); n > 1 && !a.listener.perLoop {
		a.turn++
		l = l.server.pick(a.turn%n, (a.turn+1+a.turn/n%(n-1))%n)
	}
	l.load.Add(1)
	if l != a.loop && !l.post(note{ln: a.listener, fd: fd}) {
		l.load.Add(-1) // it has ended: the server drains
		l = a.loop
		l.load.Add(1)
	}
	if l == a.loop {
		l.open(a.listener, fd)
	}
}

// settle asks the engine for what follows.
func (a *acceptor) settle() {
	switch {
	case a.fd < 0:
	case a.ending && a.armed && !a.stopping, a.waiting && a.armed && !a.stopping:
		a.stopping = true
		a.loop.engine.Cancel(a.token())
	case a.ending && !a.armed:
		a.close()
	case !a.armed && !a.waiting && !a.ending:
		a.armed = true
		a.loop.engine.Accept(a.token(), a.fd)
	}
}

// end stops accepting for good.
func (a *acceptor) end() {
	a.ending, a.waiting = true, false
	a.loop.wheel.stop(&a.timer)
	a.settle()
}

// close takes what is queued, which would be reset otherwise, and closes the socket. The queue is taken first and handed out after:
// a connection that is opened may end at once, and its descriptor's number come again.
func (a *acceptor) close() {
	for !a.loop.closing {
		fd, ok := a.loop.engine.TakeQueued(a.fd)
		if !ok {
			break
		}
		a.parked = append(a.parked, fd)
	}
	for _, fd := range a.parked {
		if a.loop.closing {
			a.loop.engine.CloseSocket(fd)
			continue
		}
		a.loop.server.conns.Add(1) // beyond MaxConns, if need be: they were let in already
		a.hand(fd)
	}
	a.parked = nil
	a.loop.engine.CloseSocket(a.fd)
	a.fd = -1
}

// abandon closes the sockets when the engine has failed.
func (a *acceptor) abandon() {
	if a.fd >= 0 {
		a.loop.engine.CloseSocket(a.fd)
		a.fd = -1
	}
	for _, fd := range a.parked {
		a.loop.engine.CloseSocket(fd)
	}
	a.parked = nil
}

// admit counts a connection, unless there are MaxConns.
func (s *Server) admit() bool {
	if s.conns.Add(1) > int64(s.cfg.MaxConns) {
		s.conns.Add(-1)
		return false
	}
	return true
}

func (s *Server) full() bool { return s.conns.Load() >= int64(s.cfg.MaxConns) }

// released counts a connection's end, and lets acceptors go on that wait for one.
func (s *Server) released() {
	s.conns.Add(-1)
	if !s.waiting.Load() || !s.waiting.Swap(false) {
		return
	}
	for _, l := range s.loops {
		l.post(note{do: func() {
			for _, a := range l.acceptors {
				if a.waiting {
					a.retry()
				}
			}
		}})
	}
}
