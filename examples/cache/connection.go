package main

import (
	"math"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

func ping(c *conn, args [][]byte, out *outbound) reactor.Status {
	switch {
	case len(args) > 2:
		return refuseArity(out, "ping")
	case len(c.subs) > 0 && c.Version != 3: // in the form of a message
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

func selectDB(_ *conn, args [][]byte, out *outbound) reactor.Status {
	n, ok := store.ParseInt(args[1])
	switch {
	case !ok:
		return refuse(out, errInteger)
	case n < math.MinInt32 || n > math.MaxInt32:
		return refuse(out, "ERR value is out of range, value must between -2147483648 and 2147483647")
	case n != 0:
		return refuse(out, "ERR DB index is out of range")
	}
	out.Send(resp.Simple("OK"))
	return reactor.Continue
}

const (
	defaultUser  = "default"
	errPassword  = "WRONGPASS invalid username-password pair or user is disabled."
	errNoAuth    = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
	errNameBytes = "ERR Client names cannot contain spaces, newlines or special characters."
)

// auth knows one user, who needs no password: any is right.
func auth(_ *conn, args [][]byte, out *outbound) reactor.Status {
	switch {
	case len(args) > 3:
		return refuse(out, errSyntax)
	case len(args) == 2:
		return refuse(out, errNoAuth)
	case string(args[1]) != defaultUser:
		return refuse(out, errPassword)
	}
	out.Send(resp.Simple("OK"))
	return reactor.Continue
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
	var user []byte
	for i := 2; i < len(args); i++ {
		switch left := len(args) - 1 - i; {
		case is(args[i], "auth") && left >= 2:
			user = args[i+1]
			i += 2
		case is(args[i], "setname") && left >= 1:
			if !validName(args[i+1]) {
				return refuse(out, errNameBytes)
			}
			c.name = string(args[i+1])
			i++
		default:
			return refusef(out, "ERR Syntax error in HELLO option '%s'", untilZero(args[i]))
		}
	}
	if user != nil && string(user) != defaultUser {
		return refuse(out, errPassword)
	}
	return c.afterMessages(out, func(out *outbound) reactor.Status {
		c.Version = int(version)
		c.setVersion()
		c.describe(out)
		return reactor.Continue
	})
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
		out.Send(resp.Simple("OK"))
		return reactor.Drain
	})
}

func reset(c *conn, _ [][]byte, out *outbound) reactor.Status {
	c.unsubscribeAll()
	return c.afterMessages(out, func(out *outbound) reactor.Status {
		c.name, c.Version = "", 2
		c.setVersion()
		out.Send(resp.Simple("RESET"))
		return reactor.Continue
	})
}

func clientID(c *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Int(int64(c.id)))
	return reactor.Continue
}

func clientGetName(c *conn, _ [][]byte, out *outbound) reactor.Status {
	if c.name == "" {
		out.Send(resp.Null())
	} else {
		out.Send(resp.BulkString(c.name))
	}
	return reactor.Continue
}

func clientSetName(c *conn, args [][]byte, out *outbound) reactor.Status {
	if !validName(args[2]) {
		return refuse(out, errNameBytes)
	}
	c.name = string(args[2])
	out.Send(resp.Simple("OK"))
	return reactor.Continue
}

// clientSetInfo takes what libraries say of themselves. Nothing shows it, so nothing keeps it.
func clientSetInfo(_ *conn, args [][]byte, out *outbound) reactor.Status {
	switch {
	case !is(args[2], "lib-name") && !is(args[2], "lib-ver"):
		return refusef(out, "ERR Unrecognized option '%s'", untilZero(args[2]))
	case !validName(args[3]):
		return refusef(out, "ERR %s cannot contain spaces, newlines or special characters.", untilZero(args[2]))
	}
	out.Send(resp.Simple("OK"))
	return reactor.Continue
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
