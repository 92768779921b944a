package redis

import (
	"slices"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

// maxTransaction is the most bytes of queued commands, which is Redis' client-query-buffer-limit, and of replies beside large values.
// A connection that goes beyond it ends.
const maxTransaction = 1 << 30

// keptCaptured is the most memory for replies of transactions that a loop keeps, in bytes.
const keptCaptured = 64 << 10

// transaction is a connection's part in MULTI and WATCH.
type transaction struct {
	commands   []queued
	size       int  // bytes of the commands' arguments
	refused    bool // a command could not be queued, so EXEC does nothing
	executing  bool
	values     []heldValue // among the captured replies
	deliveries [][][]byte  // of PUBLISH, for when the locks are free
	kills      []*conn     // of CLIENT KILL, for then as well
	watches    []*watch    // guarded by the loop's lock
}

type queued struct {
	cmd  *command
	args [][]byte
}

// A heldValue is a large value that belongs behind so many bytes of captured replies.
type heldValue struct {
	at   int
	rest rest
}

// hold keeps the rest of a reply for when the locks are free.
func (c *conn) hold(r rest) {
	c.values = append(c.values, heldValue{len(c.loop.captured), r})
}

func dropAll(values []heldValue) {
	for _, v := range values {
		v.rest.drop()
	}
}

type watch struct {
	store.Watch
	db  *store.DB
	key string
}

// runsInMulti says that the command is not queued.
func (cmd *command) runsInMulti() bool {
	switch cmd.name {
	case "multi", "watch":
		return true
	}
	return cmd.endsMulti()
}

// endsMulti says that the command ends a transaction, so that it is not refused for want of memory.
func (cmd *command) endsMulti() bool {
	switch cmd.name {
	case "exec", "discard", "quit", "reset":
		return true
	}
	return false
}

func (c *conn) queue(cmd *command, args [][]byte, out *outbound) reactor.Status {
	if c.size += size(args); c.size > maxTransaction {
		return reactor.Close
	}
	c.transaction.commands = append(c.transaction.commands, queued{cmd, clone(args)})
	c.show(func(s *shown) { s.queued++ })
	out.Send(resp.Simple("QUEUED"))
	return reactor.Continue
}

func size(args [][]byte) (sum int) {
	for _, arg := range args {
		sum += len(arg)
	}
	return sum
}

// clone copies arguments, which are only lent, in two allocations.
func clone(args [][]byte) [][]byte {
	joined := make([]byte, 0, size(args))
	copies := make([][]byte, len(args))
	for i, arg := range args {
		start := len(joined)
		joined = append(joined, arg...)
		copies[i] = joined[start:len(joined):len(joined)]
	}
	return copies
}

func multi(c *conn, _ [][]byte, out *outbound) reactor.Status {
	if c.special&inMulti != 0 {
		return refuse(out, "ERR MULTI calls can not be nested")
	}
	c.special |= inMulti
	c.shown.multi = true
	return ok(out)
}

func discard(c *conn, _ [][]byte, out *outbound) reactor.Status {
	if c.special&inMulti == 0 {
		return refuse(out, "ERR DISCARD without MULTI")
	}
	c.endMulti()
	return ok(out)
}

// endMulti forgets the transaction and what is watched. The caller holds the lock.
func (c *conn) endMulti() {
	c.unwatch()
	c.special &^= inMulti
	c.transaction = transaction{}
	c.shown.multi, c.shown.watching, c.shown.queued = false, false, 0
}

func watchKeys(c *conn, args [][]byte, out *outbound) reactor.Status {
	if c.special&inMulti != 0 {
		return refuse(out, "ERR WATCH inside MULTI is not allowed")
	}
	for _, key := range args[1:] {
		if slices.ContainsFunc(c.watches, func(w *watch) bool { return w.db == c.db && w.key == string(key) }) {
			continue
		}
		w := &watch{db: c.db, key: string(key)}
		c.db.Watch(key, &w.Watch)
		c.watches = append(c.watches, w)
	}
	c.shown.watching = true
	return ok(out)
}

func unwatch(c *conn, _ [][]byte, out *outbound) reactor.Status {
	c.unwatch()
	c.shown.watching = false
	return ok(out)
}

func (c *conn) unwatch() {
	for _, w := range c.watches {
		w.db.Unwatch(&w.Watch)
	}
	c.watches = nil
}

// execMulti runs the transaction. Its replies are sent when the locks are free again.
func execMulti(c *conn, _ [][]byte, out *outbound) reactor.Status {
	switch {
	case c.special&inMulti == 0:
		return refuse(out, "ERR EXEC without MULTI")
	case c.refused:
		c.show(func(*shown) { c.endMulti() })
		return refuse(out, "EXECABORT Transaction discarded because of previous errors.")
	case c.cache.outOfMemory() && slices.ContainsFunc(c.transaction.commands, func(q queued) bool { return q.cmd.flags&denyOOM != 0 }):
		c.show(func(*shown) { c.endMulti() })
		return refuse(out, "EXECABORT Transaction discarded because of: "+errMemory)
	}
	was := c.mode
	run, st := c.execute(out)
	values, deliveries, kills := c.values, c.deliveries, c.kills
	c.show(func(*shown) { c.endMulti() })
	for _, d := range deliveries {
		c.cache.hub.publish(d[0], d[1])
	}
	for _, other := range kills {
		_ = other.peer.Sender.Close()
	}
	c.mode = was
	switch {
	case !run:
		out.Send(resp.NullArray())
		return reactor.Continue
	case was == muted || st == reactor.Close:
		dropAll(values)
	default:
		st = max(st, c.sendCaptured(values, out))
	}
	if l := c.loop; cap(l.captured) > keptCaptured {
		l.captured = nil
	}
	return st
}

// execute runs the commands, unless what is watched has changed.
func (c *conn) execute(out *outbound) (run bool, st reactor.Status) {
	l := c.loop
	c.cache.lockAll()
	l.exclusive, c.executing = true, true
	c.mode = capturing
	l.captured = l.captured[:0]
	defer func() {
		l.exclusive, c.executing = false, false
		c.mode = plain
		c.cache.unlockAll()
	}()
	for _, w := range c.watches {
		if w.Dirty() {
			return false, reactor.Continue
		}
	}
	c.unwatch() // its own writes are none of its business
	out.Send(resp.Array(len(c.transaction.commands)))
	for i := range c.transaction.commands {
		q := &c.transaction.commands[i]
		began := l.begin(c, q.cmd)
		st = max(st, c.runQueued(q, out))
		l.noteFailure(q.cmd)
		if !began.IsZero() {
			l.end(q.cmd, began)
		}
		c.noteSubscriptions()
	}
	return true, st
}

func (c *conn) runQueued(q *queued, out *outbound) reactor.Status {
	if q.cmd.name == "publish" {
		out.Send(resp.Int(c.cache.hub.receivers(q.args[1])))
		c.deliveries = append(c.deliveries, q.args[1:])
		return reactor.Continue
	}
	if c.special&tracking != 0 && q.cmd.flags&readonly != 0 && q.cmd.keys.first != 0 {
		c.trackRead(q.cmd, q.args)
	}
	silent, text, values := c.special&mute != 0, len(c.loop.captured), len(c.values)
	st := q.cmd.do(c, q.args, out)
	if silent && c.special&mute != 0 { // a CLIENT REPLY OFF was among the commands
		c.loop.captured = c.loop.captured[:text]
		dropAll(c.values[values:])
		c.values = c.values[:values]
	}
	if len(c.loop.captured) > maxTransaction { // the effects stay, and the connection ends, as beyond Redis' limits on output
		c.loop.captured = nil
		return reactor.Close
	}
	if st == reactor.Pause { // a reply is captured as a whole
		return reactor.Continue
	}
	return st
}

// sendCaptured sends the replies of the transaction, with the large values where they belong.
func (c *conn) sendCaptured(values []heldValue, out *outbound) reactor.Status {
	text := c.loop.captured
	if len(values) == 0 && len(text) <= textPiece {
		out.Send(resp.Raw(text))
		return reactor.Continue
	}
	text = slices.Clone(text) // the loop's memory is soon another transaction's
	sent := 0
	for _, v := range values {
		c.rest = append(c.rest, &textRest{text[sent:v.at]}, v.rest)
		sent = v.at
	}
	c.rest = append(c.rest, &textRest{text[sent:]})
	return c.sendRest(out)
}
