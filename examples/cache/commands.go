package main

import (
	"strings"

	"github.com/protoring/protoring/reactor"
)

// A command is a row of the table.
type command struct {
	name  string // in lower case; a subcommand's has its container before it, as in client|id
	arity int    // number of arguments, the name included; -n means n or more
	flags flags
	keys  keyRange
	tips  string // for clients, with spaces between them
	group string // as in Redis' documentation
	since string // the version of Redis that has it first
	about string
	do    func(c *conn, args [][]byte, out *outbound) reactor.Status
	subs  *commands
}

// keyRange says which arguments are keys, and what is done to them in Redis' words.
type keyRange struct {
	first, last, step int // last counts from the end if it is negative; first 0: no keys
	flags, note       string
}

type flags uint32

// Redis' flags, in its order.
const (
	write flags = 1 << iota
	readonly
	denyOOM
	admin
	pubsubFlag
	noScript
	loading
	stale
	fast
	noAuth
	allowBusy
	lastFlag

	// Categories that do not follow from the flags above.
	inKeyspace
	inString
	inDangerous
	inConnection

	whileSubscribed // also on a RESP2 connection with subscriptions

	always     = loading | stale
	handshake  = noScript | loading | stale | fast | noAuth | allowBusy | inConnection
	connection = noScript | loading | stale | inConnection
	configure  = admin | noScript | loading | stale
)

// Keys of the commands, as Redis describes them.
var (
	readKey    = keyRange{1, 1, 1, "RO access", ""}
	readKeys   = keyRange{1, -1, 1, "RO access", ""}
	touchKeys  = keyRange{1, -1, 1, "RO", ""}
	setKey     = keyRange{1, 1, 1, "RW access update variable_flags", "RW and ACCESS due to the optional `GET` argument"}
	writePairs = keyRange{1, -1, 2, "OW update", ""}
	addKey     = keyRange{1, 1, 1, "RW access update", ""}
	updateKey  = keyRange{1, 1, 1, "RW update", ""}
	deleteKeys = keyRange{1, -1, 1, "RM delete", ""}
)

const (
	sumOverShards   = "request_policy:multi_shard response_policy:agg_sum"
	everywhere      = "request_policy:all_shards response_policy:all_succeeded"
	varies          = "nondeterministic_output"
	variesInOrder   = "nondeterministic_output_order"
	everyKeyOfShard = "request_policy:multi_shard response_policy:all_succeeded"
)

// newCommands returns the table of all commands.
func newCommands() *commands {
	return newTable(
		// strings.go
		&command{name: "get", arity: 2, flags: readonly | fast | inString, keys: readKey, group: "string", since: "1.0.0", do: get,
			about: "Returns the value of a key"},
		&command{name: "set", arity: -3, flags: write | denyOOM | inString, keys: setKey, group: "string", since: "1.0.0", do: set,
			about: "Stores a value under a key, with conditions and an expiry"},
		&command{name: "mget", arity: -2, flags: readonly | fast | inString, keys: readKeys, tips: "request_policy:multi_shard",
			group: "string", since: "1.0.0", do: mget, about: "Returns the values of several keys"},
		&command{name: "mset", arity: -3, flags: write | denyOOM | inString, keys: writePairs, tips: everyKeyOfShard,
			group: "string", since: "1.0.1", do: mset, about: "Stores several values"},
		&command{name: "incr", arity: 2, flags: write | denyOOM | fast | inString, keys: addKey, group: "string", since: "1.0.0",
			do: incr, about: "Adds one to an integer"},
		&command{name: "decr", arity: 2, flags: write | denyOOM | fast | inString, keys: addKey, group: "string", since: "1.0.0",
			do: decr, about: "Subtracts one from an integer"},
		&command{name: "incrby", arity: 3, flags: write | denyOOM | fast | inString, keys: addKey, group: "string", since: "1.0.0",
			do: incrBy, about: "Adds to an integer"},
		&command{name: "decrby", arity: 3, flags: write | denyOOM | fast | inString, keys: addKey, group: "string", since: "1.0.0",
			do: decrBy, about: "Subtracts from an integer"},

		// keys.go
		&command{name: "del", arity: -2, flags: write | inKeyspace, keys: deleteKeys, tips: sumOverShards, group: "generic",
			since: "1.0.0", do: del, about: "Removes keys"},
		&command{name: "unlink", arity: -2, flags: write | fast | inKeyspace, keys: deleteKeys, tips: sumOverShards, group: "generic",
			since: "4.0.0", do: del, about: "Removes keys"},
		&command{name: "exists", arity: -2, flags: readonly | fast | inKeyspace, keys: touchKeys, tips: sumOverShards,
			group: "generic", since: "1.0.0", do: exists, about: "Counts the keys that are there"},
		&command{name: "expire", arity: -3, flags: write | fast | inKeyspace, keys: updateKey, group: "generic", since: "1.0.0",
			do: expire, about: "Sets after how many seconds a key expires"},
		&command{name: "pexpire", arity: -3, flags: write | fast | inKeyspace, keys: updateKey, group: "generic", since: "2.6.0",
			do: pexpire, about: "Sets after how many milliseconds a key expires"},
		&command{name: "expireat", arity: -3, flags: write | fast | inKeyspace, keys: updateKey, group: "generic", since: "1.2.0",
			do: expireAt, about: "Sets at which second since 1970 a key expires"},
		&command{name: "pexpireat", arity: -3, flags: write | fast | inKeyspace, keys: updateKey, group: "generic", since: "2.6.0",
			do: pexpireAt, about: "Sets at which millisecond since 1970 a key expires"},
		&command{name: "persist", arity: 2, flags: write | fast | inKeyspace, keys: updateKey, group: "generic", since: "2.2.0",
			do: persist, about: "Takes a key's expiry away"},
		&command{name: "ttl", arity: 2, flags: readonly | fast | inKeyspace, keys: readKey, tips: varies, group: "generic",
			since: "1.0.0", do: ttl, about: "Returns in how many seconds a key expires"},
		&command{name: "pttl", arity: 2, flags: readonly | fast | inKeyspace, keys: readKey, tips: varies, group: "generic",
			since: "2.6.0", do: pttl, about: "Returns in how many milliseconds a key expires"},
		&command{name: "dbsize", arity: 1, flags: readonly | fast | inKeyspace,
			tips: "request_policy:all_shards response_policy:agg_sum", group: "server", since: "1.0.0", do: dbSize,
			about: "Returns the number of keys"},
		&command{name: "flushall", arity: -1, flags: write | inKeyspace | inDangerous, tips: everywhere, group: "server",
			since: "1.0.0", do: flush, about: "Removes all keys"},
		&command{name: "flushdb", arity: -1, flags: write | inKeyspace | inDangerous, tips: everywhere, group: "server",
			since: "1.0.0", do: flush, about: "Removes all keys"},

		// connection.go
		&command{name: "ping", arity: -1, flags: fast | inConnection | whileSubscribed, tips: everywhere, group: "connection",
			since: "1.0.0", do: ping, about: "Answers PONG, or the message"},
		&command{name: "echo", arity: 2, flags: always | fast | inConnection, group: "connection", since: "1.0.0", do: echo,
			about: "Answers the message"},
		&command{name: "select", arity: 2, flags: always | fast | inConnection, group: "connection", since: "1.0.0", do: selectDB,
			about: "Chooses database 0, the only one"},
		&command{name: "hello", arity: -1, flags: handshake, group: "connection", since: "6.0.0", do: hello,
			about: "Chooses the version of the protocol and describes the server"},
		&command{name: "auth", arity: -2, flags: handshake, group: "connection", since: "1.0.0", do: auth,
			about: "Takes any password of the user default"},
		&command{name: "quit", arity: -1, flags: handshake | whileSubscribed, group: "connection", since: "1.0.0", do: quit,
			about: "Ends the connection"},
		&command{name: "reset", arity: 1, flags: handshake | whileSubscribed, group: "connection", since: "6.2.0", do: reset,
			about: "Puts the connection into its first state"},
		&command{name: "client", arity: -2, group: "connection", since: "2.4.0", about: "Has commands about connections", subs: newTable(
			&command{name: "client|help", arity: 2, flags: always | inConnection, group: "connection", since: "5.0.0", do: help,
				about: "Lists the subcommands"},
			&command{name: "client|id", arity: 2, flags: connection, group: "connection", since: "5.0.0", do: clientID,
				about: "Returns the connection's number"},
			&command{name: "client|getname", arity: 2, flags: connection, group: "connection", since: "2.6.9", do: clientGetName,
				about: "Returns the connection's name"},
			&command{name: "client|setname", arity: 3, flags: connection, group: "connection", since: "2.6.9", do: clientSetName,
				about: "Names the connection"},
			&command{name: "client|setinfo", arity: 4, flags: connection, group: "connection", since: "7.2.0", do: clientSetInfo,
				about: "Takes the name or version of the client's library"},
		)},

		// server.go
		&command{name: "info", arity: -1, flags: always | inDangerous,
			tips: varies + " request_policy:all_shards response_policy:special", group: "server", since: "1.0.0", do: info,
			about: "Returns facts and counts"},
		&command{name: "config", arity: -2, group: "server", since: "2.0.0", about: "Has commands about the configuration", subs: newTable(
			&command{name: "config|help", arity: 2, flags: always, group: "server", since: "5.0.0", do: help,
				about: "Lists the subcommands"},
			&command{name: "config|get", arity: -3, flags: configure, group: "server", since: "2.0.0", do: configGet,
				about: "Returns the parameters that match a pattern"},
		)},
		&command{name: "command", arity: -1, flags: always | inConnection, tips: variesInOrder, group: "server", since: "2.8.13",
			do: commandAll, about: "Describes all commands", subs: newTable(
				&command{name: "command|help", arity: 2, flags: always | inConnection, group: "server", since: "5.0.0", do: help,
					about: "Lists the subcommands"},
				&command{name: "command|count", arity: 2, flags: always | inConnection, group: "server", since: "2.8.13",
					do: commandCount, about: "Returns the number of commands"},
				&command{name: "command|info", arity: -2, flags: always | inConnection, tips: variesInOrder, group: "server",
					since: "2.8.13", do: commandInfo, about: "Describes commands for clients"},
				&command{name: "command|docs", arity: -2, flags: always | inConnection, tips: variesInOrder, group: "server",
					since: "7.0.0", do: commandDocs, about: "Describes commands for people"},
			)},

		// pubsub.go
		&command{name: "subscribe", arity: -2, flags: pubsubFlag | noScript | always | whileSubscribed, group: "pubsub",
			since: "2.0.0", do: subscribe, about: "Listens to channels"},
		&command{name: "unsubscribe", arity: -1, flags: pubsubFlag | noScript | always | whileSubscribed, group: "pubsub",
			since: "2.0.0", do: unsubscribe, about: "Stops listening to channels"},
		&command{name: "publish", arity: 3, flags: pubsubFlag | always | fast, group: "pubsub", since: "2.0.0", do: publish,
			about: "Sends a message to a channel"},
	)
}

// commands finds a command by its name. It does not change once it is made.
//
// A name of up to eight bytes is one word, and the slots a hash table of those: a map takes 25 ns for what takes 7 here, of 75 for a
// GET in all.
type commands struct {
	slots  [256]slot // open addressing
	byName map[string]*command
	list   []*command
}

type slot struct {
	word uint64
	size int // of the name in bytes
	cmd  *command
}

const (
	wordSize = 8
	wordHash = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio, which spreads words that differ in few bits
)

func newTable(list ...*command) *commands {
	t := &commands{byName: make(map[string]*command, len(list)), list: list}
	for _, cmd := range list {
		name := cmd.name[strings.IndexByte(cmd.name, '|')+1:]
		if len(name) > maxName || t.byName[name] != nil {
			panic("command " + cmd.name + " is there twice, or its name is too long")
		}
		t.byName[name] = cmd
		if len(name) <= wordSize {
			word := toWord([]byte(name))
			i := word * wordHash >> 56
			for t.slots[i].cmd != nil {
				i = (i + 1) % uint64(len(t.slots))
			}
			t.slots[i] = slot{word, len(name), cmd}
		}
	}
	return t
}

func toWord(name []byte) (word uint64) {
	for i, ch := range name {
		word |= uint64(lower(ch)) << (8 * i)
	}
	return word
}

// find returns the command of a name in any case, or nil.
func (t *commands) find(name []byte) *command {
	if len(name) > wordSize {
		return t.findLong(name)
	}
	word := toWord(name)
	for i := word * wordHash >> 56; ; i = (i + 1) % uint64(len(t.slots)) {
		s := &t.slots[i]
		if s.cmd == nil || s.word == word && s.size == len(name) { // sizes differ where a name ends with zero bytes
			return s.cmd
		}
	}
}

const maxName = 16 // bytes of a name in the table

func (t *commands) findLong(name []byte) *command {
	if len(name) > maxName {
		return nil
	}
	var buf [maxName]byte
	for i, ch := range name {
		buf[i] = lower(ch)
	}
	return t.byName[string(buf[:len(name)])] // no allocation: the compiler knows this form
}
