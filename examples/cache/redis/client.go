package redis

import (
	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

func clientID(c *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Int(int64(c.id)))
	return reactor.Continue
}

func clientGetName(c *conn, _ [][]byte, out *outbound) reactor.Status {
	if c.shown.name == "" {
		out.Send(resp.Null())
	} else {
		out.Send(resp.BulkString(c.shown.name))
	}
	return reactor.Continue
}

func clientSetName(c *conn, args [][]byte, out *outbound) reactor.Status {
	if !validName(args[2]) {
		return refuse(out, errNameBytes)
	}
	c.shown.name = string(args[2])
	return ok(out)
}

// clientSetInfo takes what libraries say of themselves, as Redis 7.2 does.
func clientSetInfo(c *conn, args [][]byte, out *outbound) reactor.Status {
	to := &c.shown.library
	switch {
	case is(args[2], "lib-name"):
	case is(args[2], "lib-ver"):
		to = &c.shown.libVer
	default:
		return refusef(out, "ERR Unrecognized option '%s'", untilZero(args[2]))
	}
	if !validName(args[3]) {
		return refusef(out, "ERR %s cannot contain spaces, newlines or special characters.", untilZero(args[2]))
	}
	*to = string(args[3])
	return ok(out)
}

// onOff parses ON or OFF.
func onOff(arg []byte) (on, valid bool) {
	on = is(arg, "on")
	return on, on || is(arg, "off")
}

// clientNoEvict is shown and nothing more: output is bounded, so that no connection is ended for the memory of others.
func clientNoEvict(c *conn, args [][]byte, out *outbound) reactor.Status {
	on, valid := onOff(args[2])
	if !valid {
		return refuse(out, errSyntax)
	}
	c.shown.noEvict = on
	return ok(out)
}

func clientNoTouch(c *conn, args [][]byte, out *outbound) reactor.Status {
	on, valid := onOff(args[2])
	if !valid {
		return refuse(out, errSyntax)
	}
	c.quiet, c.shown.noTouch = on, on
	return ok(out)
}

func clientReply(c *conn, args [][]byte, out *outbound) reactor.Status {
	switch {
	case is(args[2], "on"):
		c.special &^= mute | muteNext
		if c.mode == muted {
			c.mode = plain
		}
		return ok(out)
	case is(args[2], "off"):
		c.special |= mute
	case is(args[2], "skip"):
		if c.special&mute == 0 {
			c.special |= muteNext
		}
	default:
		return refuse(out, errSyntax)
	}
	return reactor.Continue
}

// clientUnblock finds nobody: no command here waits for data.
func clientUnblock(_ *conn, args [][]byte, out *outbound) reactor.Status {
	switch {
	case len(args) > 4:
		return refusef(out, "ERR unknown subcommand or wrong number of arguments for '%s'. Try CLIENT HELP.", cut(args[1]))
	case len(args) == 4 && !is(args[3], "timeout") && !is(args[3], "error"):
		return refuse(out, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
	}
	if _, valid := store.ParseInt(args[2]); !valid {
		return refuse(out, errInteger)
	}
	return answer(false, out)
}
