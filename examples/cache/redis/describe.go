package redis

import (
	"strings"

	"github.com/protoring/protoring/codec/resp"
)

// flagNames are Redis' names of the flags, by bit.
var flagNames = [...]string{"write", "readonly", "denyoom", "admin", "pubsub", "noscript", "loading", "stale", "skip_slowlog", "fast",
	"no_auth", "no_multi", "allow_busy"}

// categories are Redis' categories of commands in its order, and the flags of those that have them.
var categories = [...]struct {
	name string
	of   flags
}{
	{"@keyspace", inKeyspace},
	{"@read", readonly},
	{"@write", write},
	{"@string", inString},
	{"@pubsub", pubsubFlag},
	{"@admin", admin},
	{"@fast", fast},
	{"@slow", 0}, // those that are not fast
	{"@dangerous", inDangerous | admin},
	{"@connection", inConnection},
	{"@transaction", inTransaction},
}

func (cmd *command) flagNames() (names []string) {
	for i, name := range flagNames {
		if cmd.flags&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

func (cmd *command) categories() (names []string) {
	for _, category := range categories {
		if cmd.flags&category.of != 0 || category.of == 0 && cmd.flags&fast == 0 {
			names = append(names, category.name)
		}
	}
	return names
}

// describe sends the command's element of COMMAND INFO.
func (cmd *command) describe(out *outbound) {
	out.Send(resp.Array(10))
	out.Send(resp.BulkString(cmd.name))
	out.Send(resp.Int(int64(cmd.arity)))
	sendNames(cmd.flagNames(), out)
	out.Send(resp.Int(int64(cmd.keys.first)))
	out.Send(resp.Int(int64(cmd.keys.last)))
	out.Send(resp.Int(int64(cmd.keys.step)))
	sendNames(cmd.categories(), out)
	tips := strings.Fields(cmd.tips)
	out.Send(resp.Set(len(tips)))
	for _, tip := range tips {
		out.Send(resp.BulkString(tip))
	}
	cmd.keys.describe(out)
	if cmd.subs == nil {
		out.Send(resp.Set(0))
		return
	}
	out.Send(resp.Array(len(cmd.subs.list))) // no set, as Redis has it
	for _, sub := range cmd.subs.list {
		sub.describe(out)
	}
}

func sendNames(names []string, out *outbound) {
	out.Send(resp.Set(len(names)))
	for _, name := range names {
		out.Send(resp.Simple(name))
	}
}

// describe sends the specifications of the keys.
func (k keyRange) describe(out *outbound) {
	switch {
	case k.first == 0:
		out.Send(resp.Set(0))
	case k.second == "":
		out.Send(resp.Set(1))
		last := k.last
		if last > 0 {
			last -= k.first // counted from the first key
		}
		describeKeys(k.first, last, k.step, k.flags, k.note, out)
	default:
		out.Send(resp.Set(2))
		describeKeys(k.first, 0, 1, k.flags, k.note, out)
		describeKeys(k.first+1, 0, 1, k.second, "", out)
	}
}

func describeKeys(first, last, step int, flags, note string, out *outbound) {
	bulk := func(s string) { out.Send(resp.BulkString(s)) }
	number := func(name string, n int) {
		bulk(name)
		out.Send(resp.Int(int64(n)))
	}
	if note == "" {
		out.Send(resp.Map(3))
	} else {
		out.Send(resp.Map(4))
		bulk("notes")
		bulk(note)
	}
	bulk("flags")
	sendNames(strings.Fields(flags), out)
	bulk("begin_search")
	out.Send(resp.Map(2))
	bulk("type")
	bulk("index")
	bulk("spec")
	out.Send(resp.Map(1))
	number("index", first)
	bulk("find_keys")
	out.Send(resp.Map(2))
	bulk("type")
	bulk("range")
	bulk("spec")
	out.Send(resp.Map(3))
	number("lastkey", last)
	number("keystep", step)
	number("limit", 0)
}

// document sends COMMAND DOCS for the commands.
func document(list []*command, out *outbound) {
	out.Send(resp.Map(len(list)))
	for _, cmd := range list {
		pair := func(name, value string) {
			out.Send(resp.BulkString(name))
			out.Send(resp.BulkString(value))
		}
		size := 3
		args, _ := parseSyntax(syntaxes[cmd.name])
		if len(args) > 0 {
			size++
		}
		if cmd.subs != nil {
			size++
		}
		out.Send(resp.BulkString(cmd.name))
		out.Send(resp.Map(size))
		pair("summary", cmd.about)
		pair("since", cmd.since)
		pair("group", cmd.group)
		if len(args) > 0 {
			out.Send(resp.BulkString("arguments"))
			sendArguments(args, out)
		}
		if cmd.subs != nil {
			out.Send(resp.BulkString("subcommands"))
			document(cmd.subs.list, out)
		}
	}
}
