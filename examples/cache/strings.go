package main

import (
	"bytes"
	"errors"
	"math"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

func get(c *conn, args [][]byte, out *outbound) reactor.Status {
	c.sendValue(args[1], out)
	return reactor.Continue
}

func (c *conn) sendValue(key []byte, out *outbound) {
	if v, ok := c.cache.store.Get(key); ok {
		out.Send(resp.BulkString(v)) // not under the store's lock: the value never changes
	} else {
		out.Send(resp.Null())
	}
}

func set(c *conn, args [][]byte, out *outbound) reactor.Status {
	var o store.SetOptions
	var reply setReply
	if len(args) > 3 {
		var text string
		if o, reply, text = c.parseSet(args[3:]); text != "" {
			return refuse(out, text)
		}
	}
	prev, err := c.cache.store.Set(args[1], args[2], o)
	switch {
	case err != nil:
		return refuse(out, errMemory)
	case reply == replyPrevious && prev.Exists:
		out.Send(resp.BulkString(prev.Value))
	case reply == replyPrevious || !prev.Stored:
		out.Send(resp.Null())
	default:
		out.Send(resp.Simple("OK"))
	}
	return reactor.Continue
}

type setReply uint8

const (
	replyOK setReply = iota
	replyPrevious
)

// A timeOption is one of SET that says when the key expires.
type timeOption struct {
	name     string
	unit     int64 // milliseconds
	relative bool
}

var timeOptions = [...]timeOption{{"ex", 1000, true}, {"px", 1, true}, {"exat", 1000, false}, {"pxat", 1, false}}

// parseSet parses what follows the value of a SET. The text is that of an error, or empty.
func (c *conn) parseSet(args [][]byte) (o store.SetOptions, reply setReply, text string) {
	var when timeOption
	var amount []byte
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case is(arg, "nx") && o.If != store.IfPresent:
			o.If = store.IfAbsent
		case is(arg, "xx") && o.If != store.IfAbsent:
			o.If = store.IfPresent
		case is(arg, "get"):
			reply = replyPrevious
		case is(arg, "keepttl") && amount == nil:
			o.Keep = true
		default:
			option, ok := findTimeOption(arg)
			if !ok || o.Keep || i+1 == len(args) || amount != nil && option != when { // the same one again counts
				return o, reply, errSyntax
			}
			i++
			when, amount = option, args[i]
		}
	}
	if amount == nil {
		return o, reply, ""
	}
	n, ok := store.ParseInt(amount)
	if !ok {
		return o, reply, errInteger
	}
	if o.Expire, ok = c.instant(n, when.unit, when.relative); !ok || n <= 0 {
		return o, reply, "ERR invalid expire time in 'set' command"
	}
	return o, reply, ""
}

func findTimeOption(arg []byte) (timeOption, bool) {
	for _, option := range timeOptions {
		if is(arg, option.name) {
			return option, true
		}
	}
	return timeOption{}, false
}

// instant returns the time that is meant by n units, from now on if relative, in milliseconds since 1970. It reports whether that
// fits 64 bits.
func (c *conn) instant(n, unit int64, relative bool) (int64, bool) {
	if n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return 0, false
	}
	n *= unit
	if relative {
		now := c.cache.store.Now()
		if n > math.MaxInt64-now {
			return 0, false
		}
		n += now
	}
	return n, true
}

// mget answers key by key: what does not fit the output waits until there is room, so that a short command cannot make the
// server hold a reply of any size. On a connection with subscriptions a message could come in between, so it is sent at once.
func mget(c *conn, args [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Array(len(args) - 1))
	for i, key := range args[1:] {
		if out.Room() == 0 && len(c.subs) == 0 {
			c.rest = clone(args[1+i:])
			return reactor.Pause
		}
		c.sendValue(key, out)
	}
	return reactor.Continue
}

// clone copies arguments, which are only lent, in two allocations.
func clone(args [][]byte) [][]byte {
	joined := bytes.Join(args, nil)
	copies := make([][]byte, len(args))
	for i, arg := range args {
		copies[i], joined = joined[:len(arg)], joined[len(arg):]
	}
	return copies
}

// OnRoom goes on with an MGET.
func (c *conn) OnRoom(out *outbound) reactor.Status {
	if len(c.rest) == 0 {
		return reactor.Continue
	}
	for len(c.rest) > 0 && out.Room() > 0 {
		c.sendValue(c.rest[0], out)
		c.rest = c.rest[1:]
	}
	if len(c.rest) > 0 {
		return reactor.Pause
	}
	c.rest = nil
	return c.behindMessages(func(*outbound) reactor.Status { return reactor.Continue }) // nothing else ends a Pause
}

func mset(c *conn, args [][]byte, out *outbound) reactor.Status {
	if len(args)%2 == 0 {
		return refuseArity(out, "mset")
	}
	for i := 1; i < len(args); i += 2 {
		if _, err := c.cache.store.Set(args[i], args[i+1], store.SetOptions{}); err != nil {
			return refuse(out, errMemory)
		}
	}
	out.Send(resp.Simple("OK"))
	return reactor.Continue
}

func incr(c *conn, args [][]byte, out *outbound) reactor.Status { return c.add(args[1], 1, out) }

func decr(c *conn, args [][]byte, out *outbound) reactor.Status { return c.add(args[1], -1, out) }

func incrBy(c *conn, args [][]byte, out *outbound) reactor.Status {
	n, ok := store.ParseInt(args[2])
	if !ok {
		return refuse(out, errInteger)
	}
	return c.add(args[1], n, out)
}

func decrBy(c *conn, args [][]byte, out *outbound) reactor.Status {
	n, ok := store.ParseInt(args[2])
	switch {
	case !ok:
		return refuse(out, errInteger)
	case n == math.MinInt64:
		return refuse(out, "ERR decrement would overflow")
	}
	return c.add(args[1], -n, out)
}

func (c *conn) add(key []byte, delta int64, out *outbound) reactor.Status {
	sum, err := c.cache.store.Add(key, delta)
	switch {
	case errors.Is(err, store.ErrInteger):
		return refuse(out, errInteger)
	case errors.Is(err, store.ErrOverflow):
		return refuse(out, "ERR increment or decrement would overflow")
	case err != nil:
		return refuse(out, errMemory)
	}
	out.Send(resp.Int(sum))
	return reactor.Continue
}
