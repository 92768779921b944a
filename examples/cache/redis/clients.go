package redis

import (
	"fmt"
	"math"
	"net"
	"slices"
	"strings"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

// address returns an address as Redis shows it: of a unix socket the path, and 0 for the port.
func address(a net.Addr) string {
	switch {
	case a == nil:
		return ""
	case a.Network() == "unix":
		return a.String() + ":0"
	}
	return a.String()
}

// line appends the connection's line of CLIENT LIST. query are the arguments that it waits for an answer to, if it is the one that asks.
// The caller holds the loop's lock.
func (c *conn) line(b *strings.Builder, now int64, query [][]byte) {
	s := &c.shown
	remote := c.peer.Remote
	if c.unix() {
		remote = c.peer.Local // clients of unix sockets have no name: Redis shows the server's
	}
	multi, version, last := -1, 2, "NULL"
	if s.multi {
		multi = s.queued
	}
	if s.version == 3 {
		version = 3
	}
	if s.last != nil {
		last = s.last.name
	}
	waiting, asked := c.sub.queued.Load(), 0
	if len(query) > 0 {
		asked = len(resp.AppendCommand(nil, query...))
	}
	fmt.Fprintf(b, "id=%d addr=%s laddr=%s fd=-1 name=%s age=%d idle=%d flags=%s db=%d sub=%d psub=%d ssub=0 multi=%d "+
		"qbuf=%d qbuf-free=0 argv-mem=%d multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=%d tot-mem=%d events=r cmd=%s user=%s redir=%d resp=%d "+
		"lib-name=%s lib-ver=%s\n",
		c.id, address(remote), address(c.peer.Local), s.name, max(now-s.since, 0), max(now-s.used, 0), c.flagText(), s.db,
		s.channels, s.patterns, multi, asked, size(query), waiting, waiting+int64(size(query)), last, defaultUser, s.redirect, version, s.library, s.libVer)
}

func (c *conn) unix() bool { return c.peer.Local != nil && c.peer.Local.Network() == "unix" }

// flagText returns Redis' letters for what the connection is in.
func (c *conn) flagText() string {
	s := &c.shown
	var b []byte
	add := func(on bool, letter byte) {
		if on {
			b = append(b, letter)
		}
	}
	add(s.channels+s.patterns > 0, 'P')
	add(s.multi, 'x')
	b = append(b, s.tracks...)
	add(s.multi && slices.ContainsFunc(c.watches, func(w *watch) bool { return w.Dirty() }), 'd')
	add(c.unix(), 'U')
	add(s.noEvict, 'e')
	add(s.noTouch, 'T')
	if len(b) == 0 {
		return "N"
	}
	return string(b)
}

// clientTypes are those that there are here. Redis' others have no members.
var clientTypes = []string{"normal", "pubsub", "master", "replica", "slave"}

func (c *conn) typeName() string {
	if c.shown.channels+c.shown.patterns > 0 {
		return "pubsub"
	}
	return "normal"
}

// clients calls f with each connection that is not about to end, its loop's lock held, in the order in which they came.
func (c *conn) clients(f func(*conn)) {
	var list []*conn
	c.eachLoop(func(l *loop) { list = append(list, l.conns...) })
	slices.SortFunc(list, func(a, b *conn) int { return int(int64(a.id) - int64(b.id)) })
	for _, other := range list {
		if !c.loop.exclusive {
			other.loop.mu.Lock()
		}
		if !other.shown.killed {
			f(other)
		}
		if !c.loop.exclusive {
			other.loop.mu.Unlock()
		}
	}
}

func clientInfo(c *conn, args [][]byte, out *outbound) reactor.Status {
	var b strings.Builder
	c.show(func(*shown) { c.line(&b, c.cache.seconds.Load(), args) })
	out.Send(resp.Verbatim("txt", b.String()))
	return reactor.Continue
}

func clientList(c *conn, args [][]byte, out *outbound) reactor.Status {
	wanted := func(*conn) bool { return true }
	switch {
	case len(args) == 4 && is(args[2], "type"):
		kind := string(lowered(args[3]))
		if !slices.Contains(clientTypes, kind) {
			return refusef(out, "ERR Unknown client type '%s'", untilZero(args[3]))
		}
		wanted = func(other *conn) bool { return other.typeName() == kind }
	case len(args) > 3 && is(args[2], "id"):
		ids := make(map[uint64]bool, len(args))
		for _, arg := range args[3:] {
			id, ok := store.ParseInt(arg)
			if !ok {
				return refuse(out, "ERR Invalid client ID")
			}
			ids[uint64(id)] = true
		}
		wanted = func(other *conn) bool { return ids[other.id] }
	case len(args) != 2:
		return refuse(out, errSyntax)
	}
	var b strings.Builder
	now := c.cache.seconds.Load()
	c.clients(func(other *conn) {
		var query [][]byte
		if other == c {
			query = args
		}
		if wanted(other) {
			other.line(&b, now, query)
		}
	})
	out.Send(resp.Verbatim("txt", b.String()))
	return reactor.Continue
}

// A killFilter says which connections CLIENT KILL ends. Zero values are not asked for.
type killFilter struct {
	id                 int64
	addr, local        []byte
	kind               string
	spareSelf, oldForm bool
}

func (f *killFilter) matches(c, self *conn) bool {
	remote := c.peer.Remote
	if c.unix() {
		remote = c.peer.Local
	}
	return (f.id == 0 || uint64(f.id) == c.id) &&
		(f.addr == nil || string(f.addr) == address(remote)) &&
		(f.local == nil || string(f.local) == address(c.peer.Local)) &&
		(f.kind == "" || f.kind == c.typeName()) &&
		(!f.spareSelf || c != self)
}

// parseKill parses the filters. The text is that of an error, or empty.
func parseKill(args [][]byte) (f killFilter, text string) {
	if len(args) == 1 {
		return killFilter{addr: args[0], oldForm: true}, ""
	}
	f.spareSelf = true
	for i := 0; i < len(args); i += 2 {
		if i+1 == len(args) {
			return f, errSyntax
		}
		value := args[i+1]
		switch {
		case is(args[i], "id"):
			id, ok := store.ParseInt(value)
			if !ok || id < 1 {
				return f, "ERR client-id should be greater than 0"
			}
			f.id = min(id, math.MaxInt64)
		case is(args[i], "type"):
			f.kind = string(lowered(value))
			if !slices.Contains(clientTypes, f.kind) {
				return f, fmt.Sprintf("ERR Unknown client type '%s'", untilZero(value))
			}
		case is(args[i], "addr"):
			f.addr = value
		case is(args[i], "laddr"):
			f.local = value
		case is(args[i], "user"):
			if string(value) != defaultUser {
				return f, fmt.Sprintf("ERR No such user '%s'", untilZero(value))
			}
		case is(args[i], "skipme") && is(value, "yes"):
			f.spareSelf = true
		case is(args[i], "skipme") && is(value, "no"):
			f.spareSelf = false
		default:
			return f, errSyntax
		}
	}
	return f, ""
}

func clientKill(c *conn, args [][]byte, out *outbound) reactor.Status {
	f, text := parseKill(args[2:])
	if text != "" {
		return refusef(out, "%s", text)
	}
	var killed []*conn
	c.clients(func(other *conn) {
		if f.matches(other, c) {
			other.shown.killed = true
			killed = append(killed, other)
		}
	})
	st := reactor.Continue
	for _, other := range killed {
		switch {
		case other == c:
			st = reactor.Drain // behind the reply
		case c.executing:
			c.kills = append(c.kills, other)
		default:
			_ = other.peer.Sender.Close() // it may have ended meanwhile
		}
	}
	switch {
	case !f.oldForm:
		out.Send(resp.Int(int64(len(killed))))
	case len(killed) == 0:
		return refuse(out, "ERR No such client")
	default:
		out.Send(resp.Simple("OK"))
	}
	return st
}
