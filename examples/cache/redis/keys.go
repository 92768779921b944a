package redis

import (
	"math"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

func del(c *conn, args [][]byte, out *outbound) reactor.Status {
	n := int64(0)
	for _, key := range args[1:] {
		if c.db.Delete(key) {
			c.wrote(key, eventDel)
			n++
		}
	}
	out.Send(resp.Int(n))
	return reactor.Continue
}

// exists counts no use, as Redis does not.
func exists(c *conn, args [][]byte, out *outbound) reactor.Status {
	n := int64(0)
	for _, key := range args[1:] {
		if _, ok := c.db.Info(key); ok {
			n++
		}
	}
	out.Send(resp.Int(n))
	return reactor.Continue
}

func touch(c *conn, args [][]byte, out *outbound) reactor.Status {
	n := int64(0)
	for _, key := range args[1:] {
		if c.db.Touch(key) {
			n++
		}
	}
	out.Send(resp.Int(n))
	return reactor.Continue
}

func typeOf(c *conn, args [][]byte, out *outbound) reactor.Status {
	text := "none"
	if _, ok := c.db.Info(args[1]); ok {
		text = "string"
	}
	out.Send(resp.Simple(text))
	return reactor.Continue
}

func dbSize(c *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Int(int64(c.db.Len())))
	return reactor.Continue
}

func flushAll(c *conn, args [][]byte, out *outbound) reactor.Status {
	return c.flush(args, out, 0, c.cache.cfg.Databases)
}

func flushDB(c *conn, args [][]byte, out *outbound) reactor.Status {
	return c.flush(args, out, c.shown.db, c.shown.db+1)
}

func (c *conn) flush(args [][]byte, out *outbound, from, to int) reactor.Status {
	if len(args) > 2 || len(args) == 2 && !is(args[1], "async") && !is(args[1], "sync") {
		return refuse(out, errSyntax)
	}
	for i := from; i < to; i++ {
		c.cache.store.DB(i).Flush()
	}
	c.loop.flushed = c.cache.trackers.Load() > 0
	return ok(out)
}

// rename is RENAMENX as well.
func rename(c *conn, args [][]byte, out *outbound) reactor.Status {
	onlyNew := len(args[0]) == len("renamenx")
	from, to := args[1], args[2]
	if string(from) == string(to) {
		if _, found := c.db.Info(from); !found {
			return refuse(out, errNoKey)
		}
		if onlyNew {
			return answer(false, out)
		}
		return ok(out)
	}
	found, stored, err := c.transfer(from, c.db, to, onlyNew)
	switch {
	case err != nil:
		return refuseStore(out, err)
	case !found:
		return refuse(out, errNoKey)
	case !stored:
		return answer(false, out)
	}
	c.db.Delete(from)
	c.wrote(from, eventRenameFrom)
	c.happened(eventRenameTo, c.shown.db, to)
	if onlyNew {
		return answer(true, out)
	}
	return ok(out)
}

// transfer stores what a key holds, and its expiry, under another one.
func (c *conn) transfer(from []byte, db *store.DB, to []byte, onlyNew bool) (found, stored bool, err error) {
	it, found := c.find(from, store.GetOptions{Quiet: true})
	if !found {
		return false, false, nil
	}
	v := store.Bytes(it.Bytes())
	if b := it.Blob(); b != nil {
		v = store.Whole(b)
	}
	o := store.PutOptions{Expire: it.Expire, Flags: it.Flags, Marks: it.Marks}
	if onlyNew {
		o.If = store.IfAbsent
	}
	r, err := db.Put(to, v, o)
	if r.Stored {
		c.changed(to)
	}
	return true, r.Stored, err
}

func copyValue(c *conn, args [][]byte, out *outbound) reactor.Status {
	db, number, replace := c.db, c.shown.db, false
	for i := 3; i < len(args); i++ {
		switch {
		case is(args[i], "replace"):
			replace = true
		case is(args[i], "db") && i+1 < len(args):
			i++
			n, text := c.parseDB(args[i])
			if text != "" {
				return refuse(out, text)
			}
			db, number = c.cache.store.DB(n), n
		default:
			return refuse(out, errSyntax)
		}
	}
	if db == c.db && string(args[1]) == string(args[2]) {
		return refuse(out, "ERR source and destination objects are the same")
	}
	_, stored, err := c.transfer(args[1], db, args[2], !replace)
	if err != nil {
		return refuseStore(out, err)
	}
	if stored {
		c.happened(eventCopyTo, number, args[2])
	}
	return answer(stored, out)
}

// parseDB parses the number of a database. The text is that of an error, or empty.
func (c *conn) parseDB(arg []byte) (n int, text string) {
	v, ok := store.ParseInt(arg)
	switch {
	case !ok:
		return 0, errInteger
	case v < math.MinInt32 || v > math.MaxInt32:
		return 0, errRange
	case v < 0 || int(v) >= c.cache.cfg.Databases:
		return 0, errDB
	}
	return int(v), ""
}

func move(c *conn, args [][]byte, out *outbound) reactor.Status {
	n, text := c.parseDB(args[2])
	if text != "" {
		return refuse(out, text)
	}
	db := c.cache.store.DB(n)
	if db == c.db {
		return refuse(out, "ERR source and destination objects are the same")
	}
	_, stored, err := c.transfer(args[1], db, args[1], true)
	if err != nil {
		return refuseStore(out, err)
	}
	if stored {
		c.db.Delete(args[1])
		c.happened(eventMoveFrom, c.shown.db, args[1])
		c.happened(eventMoveTo, n, args[1])
	}
	return answer(stored, out)
}

// maxEmbedded is the most bytes of a value that Redis keeps beside its head.
const maxEmbedded = 44

// Marks of an entry: how Redis would keep a value that was not stored whole.
const (
	markRaw  = 1 << iota // APPEND or SETRANGE have made it
	markText             // INCRBYFLOAT has, so that it is no integer
)

// mark notes that there may be such marks, which an INCR then takes away.
func (s *Server) mark() {
	if !s.marked.Load() {
		s.marked.Store(true)
	}
}

// objectEncoding tells what Redis would keep a value as.
func objectEncoding(c *conn, args [][]byte, out *outbound) reactor.Status {
	it, found := c.find(args[2], store.GetOptions{Quiet: true})
	defer it.Release()
	text := "raw"
	switch {
	case !found:
		out.Send(resp.Null())
		return reactor.Continue
	case it.Marks&markRaw != 0:
	case isInt(&it):
		text = "int"
	case it.Len() <= maxEmbedded:
		text = "embstr"
	}
	out.Send(resp.BulkString(text))
	return reactor.Continue
}

func objectIdleTime(c *conn, args [][]byte, out *outbound) reactor.Status {
	info, found := c.db.Info(args[2])
	switch {
	case !found:
		out.Send(resp.Null())
	case c.cache.settings.countsUses():
		return refuse(out, "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.")
	default:
		out.Send(resp.Int(int64(info.Idle.Seconds())))
	}
	return reactor.Continue
}

func objectFreq(c *conn, args [][]byte, out *outbound) reactor.Status {
	info, found := c.db.Info(args[2])
	switch {
	case !found:
		out.Send(resp.Null())
	case !c.cache.settings.countsUses():
		return refuse(out, "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.")
	default:
		out.Send(resp.Int(int64(info.Freq)))
	}
	return reactor.Continue
}

// sharedInts is below which integers are shared by all keys that hold them in Redis, which then counts sharedRefs references.
const (
	sharedInts = 10_000
	sharedRefs = math.MaxInt32
)

// objectRefCount answers as Redis does, whose clients conclude from it that an integer takes no memory. Here nothing is shared.
func objectRefCount(c *conn, args [][]byte, out *outbound) reactor.Status {
	it, found := c.find(args[2], store.GetOptions{Quiet: true})
	defer it.Release()
	switch n, _ := store.ParseInt(it.Bytes()); {
	case !found:
		out.Send(resp.Null())
	case isInt(&it) && n >= 0 && n < sharedInts && c.cache.settings.sharesInts(c.cache.store.MaxMemory()):
		out.Send(resp.Int(sharedRefs))
	default:
		out.Send(resp.Int(1))
	}
	return reactor.Continue
}

// isInt says that Redis would keep the value as an integer.
func isInt(it *store.Item) bool {
	_, number := store.ParseInt(it.Bytes())
	return number && it.Blob() == nil && it.Marks&(markRaw|markText) == 0
}
