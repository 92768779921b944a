package redis

import (
	"strconv"
	"time"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

// debugs are the subcommands of DEBUG that tests of clients use, with the least and the greatest number of arguments.
var debugs = map[string]struct {
	least, most int
	do          func(c *conn, args [][]byte, out *outbound) reactor.Status
}{
	"sleep":             {3, 3, debugSleep},
	"set-active-expire": {3, 3, debugActiveExpire},
	"populate":          {3, 5, debugPopulate},
	"protocol":          {3, 3, debugProtocol},
	"error":             {3, 3, func(_ *conn, args [][]byte, out *outbound) reactor.Status { return refusef(out, "%s", args[2]) }},
	"log":               {3, 3, debugLog},
}

func debug(c *conn, args [][]byte, out *outbound) reactor.Status {
	d, found := debugs[string(lowered(args[1]))]
	if !found || len(args) < d.least || len(args) > d.most {
		return refusef(out, "ERR unknown subcommand or wrong number of arguments for '%s'. Try DEBUG HELP.", cut(args[1]))
	}
	return d.do(c, args, out)
}

// debugSleep is for tests that want to see a timeout. Only the connection waits, not its loop.
func debugSleep(c *conn, args [][]byte, out *outbound) reactor.Status {
	seconds, err := strconv.ParseFloat(string(args[2]), 64)
	switch {
	case err != nil:
		seconds = 0 // as C's strtod has it
	case c.executing:
		return refuse(out, "ERR Command not allowed inside a transaction")
	}
	silent := c.mode == muted
	done := func(out *outbound) reactor.Status {
		c.show(func(s *shown) { s.busy = false })
		if !silent {
			out.Send(resp.Simple("OK"))
		}
		return c.resume()
	}
	c.show(func(s *shown) { s.busy = true })
	wake := func() {
		if c.peer.Sender.Do(done) == reactor.ErrFull { // messages that nobody reads: later
			c.timer.Reset(time.Millisecond)
		}
	}
	c.timer = time.AfterFunc(time.Hour, wake) // the field is set before the function can run
	c.timer.Reset(min(max(time.Duration(seconds*float64(time.Second)), 0), maxSleep))
	return reactor.Pause
}

const maxSleep = time.Hour

// debugActiveExpire says whether expired keys go although nobody looks at them.
func debugActiveExpire(c *conn, args [][]byte, out *outbound) reactor.Status {
	n, _ := store.ParseInt(args[2]) // what is no number is 0, as C's atoi has it
	c.cache.store.SetLazy(n == 0)
	return ok(out)
}

// What DEBUG POPULATE makes at most, since its loop waits: keys, and bytes of values.
const (
	maxPopulated      = 10_000_000
	maxPopulatedBytes = 4 << 30
)

// debugPopulate makes keys that are not there yet: key:0 with the value value:0, and so on.
func debugPopulate(c *conn, args [][]byte, out *outbound) reactor.Status {
	prefix, size, sized := []byte("key"), int64(0), true
	count, counted := store.ParseInt(args[2])
	if len(args) > 3 {
		prefix = args[3]
	}
	if len(args) > 4 {
		size, sized = store.ParseInt(args[4])
	}
	if !counted || !sized || min(count, size) < 0 {
		return refuse(out, "ERR value is out of range, must be positive")
	}
	if count > maxPopulated || size > maxPopulatedBytes/max(count, 1) || size > int64(c.cache.cfg.MaxValue) {
		return refusef(out, "ERR value is out of range: not more than %d keys, and %d bytes", maxPopulated, maxPopulatedBytes)
	}
	var key []byte
	value := make([]byte, size)
	for i := range count {
		key = strconv.AppendInt(append(append(key[:0], prefix...), ':'), i, 10)
		text := strconv.AppendInt([]byte("value:"), i, 10)
		if size > 0 {
			copy(value, text) // over the last one, which is not longer
			text = value
		}
		var err error
		c.locked(func() {
			var r store.PutResult
			if r, err = c.db.Put(key, store.Bytes(text), store.PutOptions{If: store.IfAbsent}); r.Stored {
				c.changed(key)
			}
		})
		if err != nil {
			return refuseStore(out, err)
		}
	}
	return ok(out)
}

// debugProtocol answers one of each type, for those who write clients.
func debugProtocol(c *conn, args [][]byte, out *outbound) reactor.Status {
	send := func(items ...resp.Reply) {
		for _, item := range items {
			out.Send(item)
		}
	}
	switch kind := args[2]; {
	case is(kind, "string"):
		send(resp.BulkString("Hello World"))
	case is(kind, "integer"):
		send(resp.Int(12345))
	case is(kind, "double"):
		send(resp.Double(3.141))
	case is(kind, "bignum"):
		send(resp.BigNumber("1234567999999999999999999999999999999"))
	case is(kind, "null"):
		send(resp.Null())
	case is(kind, "array"):
		send(resp.Array(3), resp.Int(0), resp.Int(1), resp.Int(2))
	case is(kind, "set"):
		send(resp.Set(3), resp.Int(0), resp.Int(1), resp.Int(2))
	case is(kind, "map"):
		send(resp.Map(3), resp.Int(0), resp.Bool(false), resp.Int(1), resp.Bool(true), resp.Int(2), resp.Bool(false))
	case is(kind, "attrib"):
		if c.Version == 3 {
			send(resp.Attribute(1), resp.BulkString("key-popularity"), resp.Array(2), resp.BulkString("key:123"), resp.Int(90))
		}
		send(resp.BulkString("Some real reply following the attribute"))
	case is(kind, "push") && c.Version != 3:
		return refuse(out, "ERR RESP2 is not supported by this command")
	case is(kind, "push"):
		send(resp.Push(2), resp.BulkString("server-cpu-usage"), resp.Int(42), resp.BulkString("Some real reply following the push reply"))
	case is(kind, "true"), is(kind, "false"):
		send(resp.Bool(is(kind, "true")))
	case is(kind, "verbatim"):
		send(resp.Verbatim("txt", "This is a verbatim\nstring"))
	default:
		return refuse(out, "ERR Wrong protocol type name. Please use one of the following: "+
			"string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false")
	}
	return reactor.Continue
}

func debugLog(c *conn, args [][]byte, out *outbound) reactor.Status {
	c.cache.cfg.Logger.Warn("DEBUG LOG", "text", string(args[2]))
	return ok(out)
}
