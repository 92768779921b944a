package redis

import (
	"fmt"
	"strings"
	"time"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

// outbound is the way to a connection's peer, on its ring's goroutine.
type outbound = reactor.Outbound[resp.Reply]

// A conn is the reactor of one connection. It belongs to the ring's goroutine.
type conn struct {
	resp.Server
	cache *Server
	loop  *loop
	db    *store.DB

	mode    mode    // what becomes of replies
	special special // why a command may be refused, or not run at once; 0 for nearly all connections
	quiet   bool    // CLIENT NO-TOUCH: reads count as no use
	shown   shown   // guarded by the loop's lock: written by this connection only, and read by other loops
	index   int     // in the loop's list; guarded by its lock

	id    uint64
	peer  reactor.Peer[resp.Reply]
	rest  []rest // of replies that did not fit the output
	held  []byte // messages that came amid them
	timer *time.Timer
	ahead store.Lookahead
	large *large // arguments that arrive in parts; nil for nearly all commands
	transaction
	pubsub
}

// shown is what CLIENT LIST shows of a connection.
type shown struct {
	last               *command
	since, used        int64 // seconds since 1970: the beginning, and the last command
	name               string
	library, libVer    string
	db                 int
	version            int
	channels, patterns int
	queued             int // commands of a transaction
	multi, watching    bool
	noEvict, noTouch   bool
	busy               bool   // it sleeps
	tracks             string // Redis' letters for it
	redirect           int64
	counted            bool // against maxclients
	killed             bool // it is about to end
}

// special says why a connection's commands need a closer look.
type special uint8

const (
	needsAuth special = 1 << iota
	inMulti
	onlyMessages // RESP2 with subscriptions
	mute         // CLIENT REPLY OFF
	muteNext     // CLIENT REPLY SKIP: of the command that comes
	tracking     // of keys that it reads
)

// OnOpen puts the connection on the list, or refuses it.
func (c *conn) OnOpen(out *outbound) reactor.Status {
	s := c.cache
	s.accepted.Add(1)
	if n := s.clients.Add(1); n > s.settings.maxClients.Load() {
		s.clients.Add(-1)
		s.rejected.Add(1)
		out.Send(resp.Error("ERR max number of clients reached"))
		return reactor.Drain
	}
	c.shown.counted = true
	if c.unlock(); s.settings.password.Load() != nil {
		c.lock()
	}
	c.shown.redirect = -1
	c.loop.add(c)
	return reactor.Continue
}

// OnClose ends what the connection has elsewhere.
func (c *conn) OnClose(error) {
	if c.shown.counted {
		c.loop.remove(c) // first: from here on, nobody else sees it
		c.cache.clients.Add(-1)
	}
	c.unsubscribeAll()
	c.untrack()
	c.unwatch()
	for _, r := range c.rest {
		r.drop()
	}
	c.rest, c.held = nil, nil
	if c.large != nil {
		c.large.drop()
	}
	if c.timer != nil {
		c.timer.Stop()
	}
}

// OnInbound finds the command and runs it, unless it must be refused.
func (c *conn) OnInbound(m *resp.Command, out *outbound) reactor.Status {
	if m.Err != "" {
		out.Send(m.Err.Reply())
		return reactor.Drain
	}
	if m.Part != nil {
		return c.part(m)
	}
	args := m.Args
	if c.large != nil {
		return c.whole(args, out)
	}
	cmd := c.cache.commands.find(args[0])
	if cmd == nil || cmd.subs != nil || c.special != 0 || !cmd.takes(len(args)) || cmd.flags&denyOOM != 0 && c.cache.outOfMemory() {
		return c.look(args, out)
	}
	return c.run(cmd, args, out)
}

// run runs a command, with what it needs locked.
func (c *conn) run(cmd *command, args [][]byte, out *outbound) reactor.Status {
	var st reactor.Status
	switch {
	case cmd.flags&(unlocked|alone|aloneIfMany) == 0:
		st = c.runLocked(cmd, args, out)
	case cmd.flags&unlocked != 0:
		st = c.runUnlocked(cmd, args, out)
	case cmd.flags&alone != 0 || len(args) > 2:
		st = c.runAlone(cmd, args, out)
	default:
		st = c.runLocked(cmd, args, out)
	}
	if l := c.loop; l.changed.Len() > 0 || l.flushed || len(l.events) > 0 {
		c.tellChanged(out)
	}
	return st
}

// The lock is left also where the command panics, which ends only its connection.

func (c *conn) runLocked(cmd *command, args [][]byte, out *outbound) reactor.Status {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if began := l.begin(c, cmd); !began.IsZero() {
		defer l.end(cmd, began)
	}
	st := cmd.do(c, args, out)
	l.noteFailure(cmd)
	return st
}

func (c *conn) runAlone(cmd *command, args [][]byte, out *outbound) reactor.Status {
	l := c.loop
	c.cache.lockAll()
	l.exclusive = true
	defer func() {
		l.exclusive = false
		c.cache.unlockAll()
	}()
	if began := l.begin(c, cmd); !began.IsZero() {
		defer l.end(cmd, began)
	}
	st := cmd.do(c, args, out)
	l.noteFailure(cmd)
	return st
}

func (c *conn) runUnlocked(cmd *command, args [][]byte, out *outbound) reactor.Status {
	l := c.loop
	l.mu.Lock()
	began := l.begin(c, cmd)
	l.mu.Unlock()
	st := cmd.do(c, args, out)
	l.mu.Lock()
	l.noteFailure(cmd)
	if !began.IsZero() {
		l.end(cmd, began)
	}
	c.noteSubscriptions()
	l.mu.Unlock()
	return st
}

// noteSubscriptions is called with the lock held when subscriptions or the version of the protocol may have changed.
func (c *conn) noteSubscriptions() {
	c.shown.channels, c.shown.patterns = c.subscriptions()
	c.shown.version = c.Version
	c.shown.tracks, c.shown.redirect = c.trackFlags()
	c.special &^= onlyMessages
	if c.Version != 3 && c.shown.channels+c.shown.patterns > 0 {
		c.special |= onlyMessages
	}
}

// look runs the command of an unusual connection, or one with subcommands, unless it must be refused.
func (c *conn) look(args [][]byte, out *outbound) reactor.Status {
	if c.special&(mute|muteNext) != 0 {
		c.special &^= muteNext
		c.mode = muted
		defer func() {
			if c.mode == muted {
				c.mode = plain
			}
		}()
	}
	cmd, container := c.cache.commands.resolve(args)
	if c.special&tracking != 0 {
		defer c.trackedCommand(cmd)
	}
	if text := c.refusal(cmd, container, args); text != "" {
		return c.reject(cmd, text, out)
	}
	if c.special&inMulti != 0 && !cmd.runsInMulti() {
		return c.queue(cmd, args, out)
	}
	if c.special&tracking != 0 && cmd.flags&readonly != 0 && cmd.keys.first != 0 {
		c.trackRead(cmd, args)
	}
	return c.run(cmd, args, out)
}

// refusal returns the error that a command is refused with before it runs, in the order in which Redis looks.
func (c *conn) refusal(cmd, container *command, args [][]byte) string {
	switch {
	case cmd == nil && container != nil:
		return fmt.Sprintf("ERR unknown subcommand '%s'. Try %s HELP.", cut(args[1]), strings.ToUpper(container.name))
	case cmd == nil:
		return fmt.Sprintf("ERR unknown command '%s', with args beginning with: %s", cut(args[0]), quoteArgs(args[1:]))
	case !cmd.takes(len(args)):
		return fmt.Sprintf("ERR wrong number of arguments for '%s' command", cmd.name)
	case c.special&needsAuth != 0 && cmd.flags&noAuth == 0:
		return "NOAUTH Authentication required."
	case c.special&inMulti != 0 && cmd.flags&noMulti != 0:
		return "ERR Command not allowed inside a transaction"
	case (cmd.flags&denyOOM != 0 || c.special&inMulti != 0 && !cmd.endsMulti()) && c.cache.outOfMemory():
		return errMemory
	case c.special&onlyMessages != 0 && cmd.flags&whileSubscribed == 0:
		return fmt.Sprintf("ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context", cmd.name)
	}
	return ""
}

// reject refuses a command before it has run, so that a transaction is refused, too. Redis cuts line ends at its words' ends.
func (c *conn) reject(cmd *command, text string, out *outbound) reactor.Status {
	if cmd != nil {
		c.loop.mu.Lock()
		c.loop.stats[cmd.id].rejected++
		c.loop.mu.Unlock()
	}
	switch {
	case cmd != nil && cmd.name == "exec":
		c.show(func(*shown) { c.endMulti() })
		text = "EXECABORT Transaction discarded because of: " + strings.TrimPrefix(text, "ERR ")
	case c.special&inMulti != 0:
		c.refused = true
	}
	return refuse(out, strings.Trim(text, "\r\n"))
}

// outOfMemory says that writes are refused before they are tried: the bound was set below what any entry takes, or below what is used
// and nothing may be evicted.
func (s *Server) outOfMemory() bool {
	most := s.store.MaxMemory()
	if most == 0 {
		return false
	}
	return most < store.MinEntry || s.store.Policy() == store.NoEviction && s.store.Used() > most
}

// resume returns the status with which a function that was given to Sender.Do ends: a large reply may be under way.
func (c *conn) resume() reactor.Status {
	if len(c.rest) > 0 || c.shown.busy {
		return reactor.Pause
	}
	return reactor.Continue
}

// choose chooses the database.
func (c *conn) choose(n int) { c.db, c.shown.db = c.cache.store.DB(n), n }
