package redis

import (
	"crypto/subtle"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

func ping(c *conn, args [][]byte, out *outbound) reactor.Status {
	switch {
	case len(args) > 2:
		return refuseArity(out, "ping")
	case c.special&onlyMessages != 0: // in the form of a message
		out.Send(resp.Array(2))
		out.Send(resp.BulkString("pong"))
		if len(args) == 1 {
			out.Send(resp.BulkString(""))
		} else {
			out.Send(resp.Bulk(args[1]))
		}
	case len(args) == 1:
		out.Send(resp.Simple("PONG"))
	default:
		out.Send(resp.Bulk(args[1]))
	}
	return reactor.Continue
}

func echo(_ *conn, args [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Bulk(args[1]))
	return reactor.Continue
}

func selectDB(c *conn, args [][]byte, out *outbound) reactor.Status {
	n, text := c.parseDB(args[1])
	if text != "" {
		return refuse(out, text)
	}
	c.choose(n)
	return ok(out)
}

const (
	defaultUser  = "default"
	errPassword  = "WRONGPASS invalid username-password pair or user is disabled."
	errNoAuth    = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
	errHelloAuth = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
	errNameBytes = "ERR Client names cannot contain spaces, newlines or special characters."
)

// lock makes the connection ask for the password.
func (c *conn) lock() {
	c.special |= needsAuth
	c.Unauthenticated = true
}

func (c *conn) unlock() {
	c.special &^= needsAuth
	c.Unauthenticated = false
}

func auth(c *conn, args [][]byte, out *outbound) reactor.Status {
	switch {
	case len(args) > 3:
		return refuse(out, errSyntax)
	case len(args) == 2 && c.cache.settings.password.Load() == nil:
		return refuse(out, errNoAuth)
	case len(args) == 2 && !c.authenticate([]byte(defaultUser), args[1]), len(args) == 3 && !c.authenticate(args[1], args[2]):
		return refuse(out, errPassword)
	}
	return ok(out)
}

// authenticate knows one user. Without a password to ask for, any is right.
func (c *conn) authenticate(user, password []byte) bool {
	if string(user) != defaultUser {
		return false
	}
	if want := c.cache.settings.password.Load(); want != nil && subtle.ConstantTimeCompare(password, []byte(*want)) == 0 {
		return false
	}
	c.unlock()
	return true
}

func hello(c *conn, args [][]byte, out *outbound) reactor.Status {
	version := int64(c.Version)
	if len(args) > 1 {
		var ok bool
		if version, ok = store.ParseInt(args[1]); !ok {
			return refuse(out, "ERR Protocol version is not an integer or out of range")
		}
		if version != 2 && version != 3 {
			return refuse(out, "NOPROTO unsupported protocol version")
		}
	}
	for i := 2; i < len(args); i++ {
		switch left := len(args) - 1 - i; {
		case is(args[i], "auth") && left >= 2:
			if !c.authenticate(args[i+1], args[i+2]) {
				return refuse(out, errPassword)
			}
			i += 2
		case is(args[i], "setname") && left >= 1:
			if !validName(args[i+1]) {
				return refuse(out, errNameBytes)
			}
			i++
			c.show(func(s *shown) { s.name = string(args[i]) })
		default:
			return refusef(out, "ERR Syntax error in HELLO option '%s'", untilZero(args[i]))
		}
	}
	if c.special&needsAuth != 0 {
		return refuse(out, errHelloAuth)
	}
	f := func(out *outbound) reactor.Status {
		c.Version = int(version)
		c.setVersion()
		c.show(func(*shown) { c.noteSubscriptions() })
		c.describe(out)
		return c.resume()
	}
	if c.executing {
		return f(out)
	}
	return c.afterMessages(out, f)
}

// describe answers a HELLO.
func (c *conn) describe(out *outbound) {
	version := int64(2)
	if c.Version == 3 {
		version = 3
	}
	text := func(key, value string) {
		out.Send(resp.BulkString(key))
		out.Send(resp.BulkString(value))
	}
	out.Send(resp.Map(7))
	text("server", "redis")
	text("version", redisVersion)
	out.Send(resp.BulkString("proto"))
	out.Send(resp.Int(version))
	out.Send(resp.BulkString("id"))
	out.Send(resp.Int(int64(c.id)))
	text("mode", "standalone")
	text("role", "master")
	out.Send(resp.BulkString("modules"))
	out.Send(resp.Array(0))
}

func quit(c *conn, _ [][]byte, out *outbound) reactor.Status {
	c.unsubscribeAll()
	return c.afterMessages(out, func(out *outbound) reactor.Status {
		c.sub.mu.Lock()
		c.sub.closed = true // whoever has named it to be told of keys must not wait for its end to hear that it is none
		c.sub.mu.Unlock()
		out.Send(resp.Simple("OK"))
		return reactor.Drain
	})
}

func reset(c *conn, _ [][]byte, out *outbound) reactor.Status {
	c.unsubscribeAll()
	c.resetTracking()
	return c.afterMessages(out, func(out *outbound) reactor.Status {
		c.Version = 2
		c.setVersion()
		c.show(func(s *shown) {
			c.endMulti()
			s.name, s.noEvict, s.noTouch = "", false, false
			c.quiet = false
			c.special &^= mute | muteNext
			c.choose(0)
			c.noteSubscriptions()
		})
		if c.cache.settings.password.Load() != nil {
			c.lock()
		}
		c.mode = plain
		out.Send(resp.Simple("RESET"))
		return c.resume()
	})
}

// validName says whether a name has visible characters of ASCII only.
func validName(name []byte) bool {
	for _, ch := range name {
		if ch < '!' || ch > '~' {
			return false
		}
	}
	return true
}
