package redis

import (
	"slices"
	"strings"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/reactor"
)

func commandCount(c *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Int(int64(len(c.cache.commands.list))))
	return reactor.Continue
}

func commandAll(c *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Array(len(c.cache.commands.list)))
	for _, cmd := range c.cache.commands.list {
		cmd.describe(out)
	}
	return reactor.Continue
}

func commandInfo(c *conn, args [][]byte, out *outbound) reactor.Status {
	if len(args) == 2 {
		return commandAll(c, args, out)
	}
	out.Send(resp.Array(len(args) - 2))
	for _, name := range args[2:] {
		if cmd := c.cache.commands.findPath(name); cmd != nil {
			cmd.describe(out)
		} else {
			out.Send(resp.Null())
		}
	}
	return reactor.Continue
}

func commandDocs(c *conn, args [][]byte, out *outbound) reactor.Status {
	list := c.cache.commands.list
	if len(args) > 2 {
		list = nil
		for _, name := range args[2:] {
			if cmd := c.cache.commands.findPath(name); cmd != nil {
				list = append(list, cmd)
			}
		}
	}
	document(list, out)
	return reactor.Continue
}

// commandList answers the names, of subcommands as well.
func commandList(c *conn, args [][]byte, out *outbound) reactor.Status {
	list := c.cache.commands.all
	switch {
	case len(args) == 2:
	case len(args) == 5 && is(args[2], "filterby"):
		var keep func(*command) bool
		switch value := args[4]; {
		case is(args[3], "module"):
			keep = func(*command) bool { return false }
		case is(args[3], "aclcat"):
			keep = func(cmd *command) bool { return slices.Contains(cmd.categories(), "@"+string(lowered(value))) }
		case is(args[3], "pattern"):
			keep = func(cmd *command) bool { return matchesFold(value, []byte(cmd.name)) }
		default:
			return refuse(out, errSyntax)
		}
		list = nil
		for _, cmd := range c.cache.commands.all {
			if keep(cmd) {
				list = append(list, cmd)
			}
		}
	default:
		return refuse(out, errSyntax)
	}
	out.Send(resp.Array(len(list)))
	for _, cmd := range list {
		out.Send(resp.BulkString(cmd.name))
	}
	return reactor.Continue
}

func commandGetKeys(c *conn, args [][]byte, out *outbound) reactor.Status {
	return c.sendKeys(args[2:], false, out)
}

func commandGetKeysAndFlags(c *conn, args [][]byte, out *outbound) reactor.Status {
	return c.sendKeys(args[2:], true, out)
}

// sendKeys answers which of a command's arguments are keys.
func (c *conn) sendKeys(args [][]byte, withFlags bool, out *outbound) reactor.Status {
	cmd, _ := c.cache.commands.resolve(args)
	switch {
	case cmd == nil:
		return refuse(out, "ERR Invalid command specified")
	case cmd.keys.first == 0:
		return refuse(out, "ERR The command has no key arguments")
	case !cmd.takes(len(args)):
		return refuse(out, "ERR Invalid number of arguments specified for command")
	}
	var keys [][]byte
	cmd.keysOf(args, func(key []byte) { keys = append(keys, key) })
	out.Send(resp.Array(len(keys)))
	for i, key := range keys {
		if !withFlags {
			out.Send(resp.Bulk(key))
			continue
		}
		out.Send(resp.Array(2))
		out.Send(resp.Bulk(key))
		sendNames(strings.Fields(cmd.keyFlags(i, args)), out)
	}
	return reactor.Continue
}

// keyFlags returns what the command does to its key i, in Redis' words.
func (cmd *command) keyFlags(i int, args [][]byte) string {
	switch {
	case i > 0 && cmd.keys.second != "":
		return cmd.keys.second
	case cmd.name == "set":
		if slices.ContainsFunc(args[3:], func(arg []byte) bool { return is(arg, "get") }) {
			return "RW access update"
		}
		return "OW update"
	}
	return cmd.keys.flags
}

// help lists the subcommands of args[0].
func help(c *conn, args [][]byte, out *outbound) reactor.Status {
	cmd := c.cache.commands.find(args[0])
	out.Send(resp.Array(1 + 2*len(cmd.subs.list)))
	name := strings.ToUpper(cmd.name)
	out.Send(resp.Simple(name + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"))
	for _, sub := range cmd.subs.list {
		out.Send(resp.Simple(strings.ToUpper(sub.name[len(cmd.name)+1:])))
		out.Send(resp.Simple("    " + sub.about + "."))
	}
	return reactor.Continue
}
