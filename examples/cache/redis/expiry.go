package redis

import (
	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

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
	done := c.db.Expire(args[1], at, cond)
	if done {
		c.wrote(args[1], c.expiryEvent(at))
	}
	return answer(done, out)
}

// expiryEvent is what happens to a key that gets a time: where that is over, it is removed.
func (c *conn) expiryEvent(at int64) *event {
	if at <= c.cache.store.Now() {
		return eventDel
	}
	return eventExpire
}

func persist(c *conn, args [][]byte, out *outbound) reactor.Status {
	done := c.db.Persist(args[1])
	if done {
		c.wrote(args[1], eventPersist)
	}
	return answer(done, out)
}

// Redis' answers where there is no time.
const (
	ttlNoKey = -2
	ttlNever = -1
)

func ttl(c *conn, args [][]byte, out *outbound) reactor.Status {
	return c.sendTime(args[1], true, 1000, out)
}

func pttl(c *conn, args [][]byte, out *outbound) reactor.Status {
	return c.sendTime(args[1], true, 1, out)
}

func expireTime(c *conn, args [][]byte, out *outbound) reactor.Status {
	return c.sendTime(args[1], false, 1000, out)
}

func pexpireTime(c *conn, args [][]byte, out *outbound) reactor.Status {
	return c.sendTime(args[1], false, 1, out)
}

// sendTime answers when a key expires, from now on or since 1970, rounded to units of so many milliseconds.
func (c *conn) sendTime(key []byte, relative bool, unit int64, out *outbound) reactor.Status {
	info, found := c.db.Info(key)
	n := info.Expire
	switch {
	case !found:
		n = ttlNoKey
	case n == 0:
		n = ttlNever
	default:
		if relative {
			n = max(n-c.cache.store.Now(), 0)
		}
		if unit > 1 {
			n = n/unit + (n%unit+unit/2)/unit // the sum might not fit
		}
	}
	out.Send(resp.Int(n))
	return reactor.Continue
}
