package memcached

import (
	"bytes"
	"errors"

	"github.com/protoring/protoring/codec/memcache"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
)

// outbound is the way to a connection's peer, on its ring's goroutine.
type outbound = reactor.Outbound[memcache.Reply]

// A conn is the reactor of one connection. It belongs to the ring's goroutine.
type conn struct {
	memcache.Server
	s    *Server
	db   *store.DB
	loop *loop

	ahead  store.Lookahead
	sender *reactor.Sender[memcache.Reply]
	rest   *reading // what is to be answered when there is room, or it is this connection's turn again; nil otherwise
	queued bool     // true exactly while the Sender holds turn
}

// Bits of an item's marks.
const (
	markStale   = 1 << iota // md I: what mg finds is old
	markSent                // a client was told to fetch it anew, and the others are told so
	markBinary              // the key is shown in base64
	markFetched             // it was read before a number in it changed in place
)

// Decode decodes a command. Where several have arrived, it first has their keys fetched, all at the same time.
func (c *conn) Decode(b []byte, m *memcache.Command) (int, error) {
	c.ahead.Look(c.db, b, c.loop.ahead[:], memcache.PeekKeys)
	return c.Requests.Decode(b, m)
}

// OnInbound runs a command.
func (c *conn) OnInbound(m *memcache.Command, out *outbound) reactor.Status {
	c.s.flushIfDue()
	if m.Err != "" {
		return c.refuse(m, out)
	}
	switch m.Verb {
	case memcache.Get, memcache.Gets, memcache.Gat, memcache.Gats:
		return c.get(m, out)
	case memcache.Set, memcache.Add, memcache.Replace, memcache.Append, memcache.Prepend, memcache.Cas:
		c.set(m, out)
	case memcache.Delete:
		c.remove(m, out)
	case memcache.Incr, memcache.Decr:
		c.add(m, out)
	case memcache.Touch:
		c.touch(m, out)
	case memcache.FlushAll:
		c.count(cmdFlush)
		c.s.flush(m.Exptime)
		say(m, "OK", out)
	case memcache.Verbosity:
		say(m, "OK", out)
	case memcache.Stats:
		c.stats(m.Args, out)
	case memcache.Version:
		say(m, "VERSION "+version, out)
	case memcache.Quit:
		return reactor.Drain
	case memcache.MetaGet:
		return c.metaGet(m, out)
	case memcache.MetaSet:
		c.metaSet(m, out)
	case memcache.MetaDelete:
		c.metaDelete(m, out)
	case memcache.MetaArithmetic:
		c.metaAdd(m, out)
	case memcache.MetaNoop:
		out.Send(memcache.MetaStatus(memcache.MN, nil))
	case memcache.MetaDebug:
		c.metaDebug(m, out)
	case memcache.Admin:
		say(m, admin(m.Args), out)
	default:
		say(m, string(memcache.ErrNoCommand), out)
	}
	return reactor.Continue
}

// OnRoom goes on with what did not fit the output.
func (c *conn) OnRoom(out *outbound) reactor.Status {
	if c.rest == nil {
		return reactor.Continue
	}
	if !c.goOn(c.rest, out) {
		return reactor.Pause
	}
	c.rest = nil
	return reactor.Resume
}

// OnClose gives a value back that was not sent to its end.
func (c *conn) OnClose(err error) {
	if errors.Is(err, server.ErrIdleTimeout) {
		c.count(idleKicks)
	}
	if c.rest != nil && c.rest.blob != nil {
		c.rest.blob.Release()
	}
	c.rest = nil
}

// say answers with a line, unless the client wants none.
func say(m *memcache.Command, line string, out *outbound) {
	if !m.Noreply {
		out.Send(memcache.Line(line))
	}
}

// refuse answers an error. What a set could not replace must not stay, or clients would go on to read it.
func (c *conn) refuse(m *memcache.Command, out *outbound) reactor.Status {
	if m.Err == memcache.ErrTooLarge {
		c.count(storeTooLarge)
		if m.Verb == memcache.Set || m.Verb == memcache.MetaSet {
			c.db.Delete(m.Key)
		}
	}
	say(m, string(m.Err), out)
	return reactor.Continue
}

// find reads an item. A small value is in the loop's memory, and valid until the next one.
func (c *conn) find(key []byte, o store.GetOptions) (store.Item, bool) {
	it, ok := c.db.Get(key, c.loop.value, o)
	if b := it.Bytes(); cap(b) > cap(c.loop.value) {
		c.loop.value = b[:0]
	}
	return it, ok
}

// A reading is a get, or the value of an mg, that is not answered to its end.
type reading struct {
	keys   []byte // that are not looked up
	blob   *store.Blob
	chunk  int // of blob that is sent next
	unique bool
	touch  bool
	end    bool // END follows
	expire int64
}

func (c *conn) get(m *memcache.Command, out *outbound) reactor.Status {
	r := reading{keys: m.Keys, unique: m.Verb == memcache.Gets || m.Verb == memcache.Gats, end: true}
	if m.Verb == memcache.Gat || m.Verb == memcache.Gats {
		r.touch, r.expire = true, c.s.expiry(m.Exptime)
	}
	return c.begin(&r, out)
}

// begin answers a reading as far as there is room. What is not answered waits, so that a short command cannot make the server hold an
// answer of any size.
func (c *conn) begin(r *reading, out *outbound) reactor.Status {
	if c.goOn(r, out) {
		return reactor.Continue
	}
	rest := *r
	rest.keys = bytes.Clone(r.keys) // they are only lent
	c.rest = &rest
	return reactor.Pause
}

// maxKeys is how many keys are looked up in one go: some hundred microseconds in which the others on the ring wait. A line may have
// millions of them, and keys that are not there fill no output.
const maxKeys = 1024

// A progress is how far a reading has come.
type progress uint8

const (
	complete progress = iota
	full              // there is no room
	long              // it was enough for now
)

// goOn goes on with a reading and says whether it is at its end. If not, OnRoom is called later.
func (c *conn) goOn(r *reading, out *outbound) bool {
	for {
		p := c.answer(r, out)
		if p != long {
			return p == complete
		}
		if !c.queued {
			c.queued = c.sender.Do(c.turn) == nil
		}
		if c.queued {
			return false
		}
		// The connection drains, and takes nothing for later.
	}
}

// turn is called by the Sender, behind what the loop had to do.
func (c *conn) turn(out *outbound) reactor.Status {
	c.queued = false
	return c.OnRoom(out)
}

// answer goes on with a reading.
func (c *conn) answer(r *reading, out *outbound) progress {
	for n := 0; ; n++ {
		if r.blob != nil && !r.sendBlob(out) {
			return full
		}
		key, rest := memcache.NextKey(r.keys)
		switch {
		case key == nil:
			if r.end {
				out.Send(memcache.Line("END"))
			}
			return complete
		case out.Room() == 0:
			return full
		case n == maxKeys:
			return long
		}
		if n%store.PrefetchMax == 0 && len(rest) > 0 {
			c.prefetch(r.keys)
		}
		r.keys = rest
		c.sendItem(r, key, out)
	}
}

// prefetch has the memory of the keys that come next fetched, all at the same time.
func (c *conn) prefetch(keys []byte) {
	var next [store.PrefetchMax][]byte
	n := 0
	for ; n < len(next); n++ {
		if next[n], keys = memcache.NextKey(keys); next[n] == nil {
			break
		}
	}
	c.db.Prefetch(next[:n])
}

// sendItem answers one key. Of a large value it sends the head.
func (c *conn) sendItem(r *reading, key []byte, out *outbound) {
	it, ok := c.find(key, store.GetOptions{SetExpire: r.touch, Expire: r.expire})
	c.countRead(ok, r.touch)
	if !ok {
		return
	}
	if r.blob = it.Blob(); r.blob != nil {
		r.chunk = 0
		if r.unique {
			out.Send(memcache.ValueUniqueHead(key, it.Flags, it.Len(), it.Version))
		} else {
			out.Send(memcache.ValueHead(key, it.Flags, it.Len()))
		}
		return
	}
	if r.unique {
		out.Send(memcache.ValueUnique(key, it.Flags, it.Bytes(), it.Version))
	} else {
		out.Send(memcache.Value(key, it.Flags, it.Bytes()))
	}
}

func (c *conn) countRead(hit, touch bool) {
	if touch {
		c.count(cmdTouch)
		if hit {
			c.count(touchHits)
		} else {
			c.count(touchMisses)
		}
		return
	}
	if hit {
		c.count(getHits)
	} else {
		c.count(getMisses)
	}
}

// sendBlob sends what there is room for of a large value and says whether that was the rest.
func (r *reading) sendBlob(out *outbound) bool {
	for r.chunk < r.blob.NumChunks() {
		if out.Room() == 0 {
			return false
		}
		out.Send(memcache.Raw(r.blob.Chunk(r.chunk)))
		r.chunk++
	}
	r.blob.Release()
	r.blob = nil
	out.Send(memcache.EndOfData())
	return true
}
