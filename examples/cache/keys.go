package main

import (
	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

func del(c *conn, args [][]byte, out *outbound) reactor.Status {
	return count(args[1:], c.cache.store.Delete, out)
}

func exists(c *conn, args [][]byte, out *outbound) reactor.Status {
	return count(args[1:], c.cache.store.Contains, out)
}

// count answers for how many keys f holds.
func count(keys [][]byte, f func(key []byte) bool, out *outbound) reactor.Status {
	n := int64(0)
	for _, key := range keys {
		if f(key) {
			n++
		}
	}
	out.Send(resp.Int(n))
	return reactor.Continue
}

func expire(c *conn, args [][]byte, out *outbound) reactor.Status {
	return c.expire(args, "expire", 1000, true, out)
}

func pexpire(c *conn, args [][]byte, out *outbound) reactor.Status {
	return c.expire(args, "pexpire", 1, true, out)
}

func expireAt(c *conn, args [][]byte, out *outbound) reactor.Status {
	return c.expire(args, "expireat", 1000, false, out)
}

func pexpireAt(c *conn, args [][]byte, out *outbound) reactor.Status {
	return c.expire(args, "pexpireat", 1, false, out)
}

func (c *conn) expire(args [][]byte, name string, unit int64, relative bool, out *outbound) reactor.Status {
	var cond store.ExpireIf
	for _, arg := range args[3:] {
		switch {
		case is(arg, "nx"):
			cond |= store.IfNone
		case is(arg, "xx"):
			cond |= store.IfSome
		case is(arg, "gt"):
			cond |= store.IfLater
		case is(arg, "lt"):
			cond |= store.IfEarlier
		default:
			return refusef(out, "ERR Unsupported option %s", untilZero(arg))
		}
	}
	switch {
	case cond&store.IfNone != 0 && cond != store.IfNone:
		return refuse(out, "ERR NX and XX, GT or LT options at the same time are not compatible")
	case cond&store.IfLater != 0 && cond&store.IfEarlier != 0:
		return refuse(out, "ERR GT and LT options at the same time are not compatible")
	}
	n, ok := store.ParseInt(args[2])
	if !ok {
		return refuse(out, errInteger)
	}
	at, ok := c.instant(n, unit, relative)
	if !ok {
		return refusef(out, "ERR invalid expire time in '%s' command", name)
	}
	return answer(c.cache.store.Expire(args[1], at, cond), out)
}

func persist(c *conn, args [][]byte, out *outbound) reactor.Status {
	return answer(c.cache.store.Persist(args[1]), out)
}

// answer answers 1 for yes and 0 for no.
func answer(yes bool, out *outbound) reactor.Status {
	n := int64(0)
	if yes {
		n = 1
	}
	out.Send(resp.Int(n))
	return reactor.Continue
}

func ttl(c *conn, args [][]byte, out *outbound) reactor.Status {
	n := c.timeToLive(args[1])
	if n >= 0 {
		n = (n + 500) / 1000
	}
	out.Send(resp.Int(n))
	return reactor.Continue
}

func pttl(c *conn, args [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Int(c.timeToLive(args[1])))
	return reactor.Continue
}

// timeToLive returns milliseconds, or Redis' -1 for a key that does not expire and -2 for none.
func (c *conn) timeToLive(key []byte) int64 {
	at, ok := c.cache.store.Expiry(key)
	switch {
	case !ok:
		return -2
	case at == 0:
		return -1
	}
	return max(at-c.cache.store.Now(), 0)
}

func dbSize(c *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Int(int64(c.cache.store.Len())))
	return reactor.Continue
}

func flush(c *conn, args [][]byte, out *outbound) reactor.Status {
	if len(args) > 2 || len(args) == 2 && !is(args[1], "async") && !is(args[1], "sync") {
		return refuse(out, errSyntax)
	}
	c.cache.store.Flush()
	out.Send(resp.Simple("OK"))
	return reactor.Continue
}
