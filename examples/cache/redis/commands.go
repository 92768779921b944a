package redis

import "github.com/protoring/protoring/reactor"

// A command is a row of the table.
type command struct {
	id    int    // position among all commands and subcommands
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
	second            string // the flags of the second of two keys, where they are others
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
	skipSlowlog
	fast
	noAuth
	noMulti
	allowBusy
	lastFlag

	// Categories that do not follow from the flags above.
	inKeyspace
	inString
	inDangerous
	inConnection
	inTransaction

	whileSubscribed // also on a RESP2 connection with subscriptions

	// What is locked while the command runs; by default, its own loop.
	unlocked    // nothing: it sends to other connections, pauses, or locks by itself
	alone       // all loops: nobody sees half of it
	aloneIfMany // all loops, if it has more than one key

	always     = loading | stale
	handshake  = noScript | loading | stale | fast | noAuth | allowBusy | inConnection
	connection = noScript | loading | stale | inConnection
	configure  = admin | noScript | loading | stale
)

// Keys of the commands, as Redis describes them.
var (
	readKey      = keyRange{1, 1, 1, "RO access", "", ""}
	setKey       = keyRange{1, 1, 1, "RW access update variable_flags", "RW and ACCESS due to the optional `GET` argument", ""}
	addExpiryKey = keyRange{1, 1, 1, "RW access update", "RW and UPDATE because it changes the TTL", ""}
	takeKey      = keyRange{1, 1, 1, "RW access delete", "", ""}
	addKey       = keyRange{1, 1, 1, "RW access update", "", ""}
	updateKey    = keyRange{1, 1, 1, "RW update", "", ""}
	lookKey      = keyRange{1, 1, 1, "RO", "", ""}
	appendKey    = keyRange{1, 1, 1, "RW insert", "", ""}
	readKeys     = keyRange{1, -1, 1, "RO access", "", ""}
	createKey    = keyRange{1, 1, 1, "OW insert", "", ""}
	writeKey     = keyRange{1, 1, 1, "OW update", "", ""}
	deleteKeys   = keyRange{1, -1, 1, "RM delete", "", ""}
	lookKeys     = keyRange{1, -1, 1, "RO", "", ""}
	renameKey    = keyRange{1, 2, 1, "RW access delete", "", "OW update"}
	renameNewKey = keyRange{1, 2, 1, "RW access delete", "", "OW insert"}
	copyKey      = keyRange{1, 2, 1, "RO access", "", "OW update"}
	writePairs   = keyRange{1, -1, 2, "OW update", "", ""}
	createPairs  = keyRange{1, -1, 2, "OW insert", "", ""}
	lookSub      = keyRange{2, 2, 1, "RO", "", ""}
)

// newCommands returns the table of all commands.
func newCommands() *commands {
	t := newTable(
		// strings.go, ranges.go and numbers.go
		&command{name: "get", arity: 2, flags: readonly | fast | inString, keys: readKey, group: "string", since: "1.0.0", do: get,
			about: "Returns the value of a key"},
		&command{name: "set", arity: -3, flags: write | denyOOM | inString, keys: setKey, group: "string", since: "1.0.0", do: set,
			about: "Stores a value under a key, with conditions and an expiry"},
		&command{name: "getex", arity: -2, flags: write | fast | inString | aloneIfMany, keys: addExpiryKey, group: "string", since: "6.2.0",
			do: getEX, about: "Returns the value of a key and sets its expiry"},
		&command{name: "getdel", arity: 2, flags: write | fast | inString, keys: takeKey, group: "string", since: "6.2.0",
			do: getDel, about: "Returns the value of a key and removes it"},
		&command{name: "getset", arity: 3, flags: write | denyOOM | fast | inString, keys: addKey, group: "string", since: "1.0.0",
			do: getSet, about: "Stores a value and returns the one before"},
		&command{name: "getrange", arity: 4, flags: readonly | inString, keys: readKey, group: "string", since: "2.4.0",
			do: getRange, about: "Returns a part of a value"},
		&command{name: "setrange", arity: 4, flags: write | denyOOM | inString, keys: updateKey, group: "string", since: "2.2.0",
			do: setRange, about: "Overwrites a part of a value"},
		&command{name: "substr", arity: 4, flags: readonly | inString, keys: readKey, group: "string", since: "1.0.0",
			do: getRange, about: "Returns a part of a value"},
		&command{name: "strlen", arity: 2, flags: readonly | fast | inString, keys: lookKey, group: "string", since: "2.2.0",
			do: strLen, about: "Returns the length of a value"},
		&command{name: "append", arity: 3, flags: write | denyOOM | fast | inString, keys: appendKey, group: "string",
			since: "2.0.0", do: appendTo, about: "Appends to a value"},
		&command{name: "mget", arity: -2, flags: readonly | fast | inString, keys: readKeys, tips: "request_policy:multi_shard",
			group: "string", since: "1.0.0", do: mget, about: "Returns the values of several keys"},
		&command{name: "mset", arity: -3, flags: write | denyOOM | inString | alone, keys: writePairs,
			tips: "request_policy:multi_shard response_policy:all_succeeded", group: "string", since: "1.0.1", do: mset,
			about: "Stores several values"},
		&command{name: "msetnx", arity: -3, flags: write | denyOOM | inString | alone, keys: createPairs,
			tips: "request_policy:multi_shard response_policy:agg_min", group: "string", since: "1.0.1", do: mset,
			about: "Stores several values if none of the keys is there"},
		&command{name: "setnx", arity: 3, flags: write | denyOOM | fast | inString, keys: createKey, group: "string",
			since: "1.0.0", do: setNX, about: "Stores a value if the key is not there"},
		&command{name: "setex", arity: 4, flags: write | denyOOM | inString, keys: writeKey, group: "string", since: "2.0.0",
			do: setEX, about: "Stores a value with an expiry in seconds"},
		&command{name: "psetex", arity: 4, flags: write | denyOOM | inString, keys: writeKey, group: "string", since: "2.6.0",
			do: psetEX, about: "Stores a value with an expiry in milliseconds"},
		&command{name: "incr", arity: 2, flags: write | denyOOM | fast | inString, keys: addKey, group: "string", since: "1.0.0",
			do: incr, about: "Adds one to an integer"},
		&command{name: "decr", arity: 2, flags: write | denyOOM | fast | inString, keys: addKey, group: "string", since: "1.0.0",
			do: decr, about: "Subtracts one from an integer"},
		&command{name: "incrby", arity: 3, flags: write | denyOOM | fast | inString, keys: addKey, group: "string", since: "1.0.0",
			do: incrBy, about: "Adds to an integer"},
		&command{name: "decrby", arity: 3, flags: write | denyOOM | fast | inString, keys: addKey, group: "string", since: "1.0.0",
			do: decrBy, about: "Subtracts from an integer"},
		&command{name: "incrbyfloat", arity: 3, flags: write | denyOOM | fast | inString, keys: addKey, group: "string",
			since: "2.6.0", do: incrByFloat, about: "Adds to a number with a fraction"},

		// keys.go, expiry.go and scan.go
		&command{name: "del", arity: -2, flags: write | inKeyspace | aloneIfMany, keys: deleteKeys,
			tips: "request_policy:multi_shard response_policy:agg_sum", group: "generic", since: "1.0.0", do: del,
			about: "Removes keys"},
		&command{name: "unlink", arity: -2, flags: write | fast | inKeyspace | aloneIfMany, keys: deleteKeys,
			tips: "request_policy:multi_shard response_policy:agg_sum", group: "generic", since: "4.0.0", do: del,
			about: "Removes keys"},
		&command{name: "exists", arity: -2, flags: readonly | fast | inKeyspace, keys: lookKeys,
			tips: "request_policy:multi_shard response_policy:agg_sum", group: "generic", since: "1.0.0", do: exists,
			about: "Counts the keys that are there"},
		&command{name: "type", arity: 2, flags: readonly | fast | inKeyspace, keys: lookKey, group: "generic", since: "1.0.0",
			do: typeOf, about: "Returns the type of a value"},
		&command{name: "touch", arity: -2, flags: readonly | fast | inKeyspace, keys: lookKeys,
			tips: "request_policy:multi_shard response_policy:agg_sum", group: "generic", since: "3.2.1", do: touch,
			about: "Counts a use of keys"},
		&command{name: "expire", arity: -3, flags: write | fast | inKeyspace, keys: updateKey, group: "generic", since: "1.0.0",
			do: expire, about: "Sets after how many seconds a key expires"},
		&command{name: "pexpire", arity: -3, flags: write | fast | inKeyspace, keys: updateKey, group: "generic", since: "2.6.0",
			do: pexpire, about: "Sets after how many milliseconds a key expires"},
		&command{name: "expireat", arity: -3, flags: write | fast | inKeyspace, keys: updateKey, group: "generic", since: "1.2.0",
			do: expireAt, about: "Sets at which second since 1970 a key expires"},
		&command{name: "pexpireat", arity: -3, flags: write | fast | inKeyspace, keys: updateKey, group: "generic", since: "2.6.0",
			do: pexpireAt, about: "Sets at which millisecond since 1970 a key expires"},
		&command{name: "ttl", arity: 2, flags: readonly | fast | inKeyspace, keys: readKey, tips: "nondeterministic_output",
			group: "generic", since: "1.0.0", do: ttl, about: "Returns in how many seconds a key expires"},
		&command{name: "pttl", arity: 2, flags: readonly | fast | inKeyspace, keys: readKey, tips: "nondeterministic_output",
			group: "generic", since: "2.6.0", do: pttl, about: "Returns in how many milliseconds a key expires"},
		&command{name: "expiretime", arity: 2, flags: readonly | fast | inKeyspace, keys: readKey, group: "generic",
			since: "7.0.0", do: expireTime, about: "Returns at which second since 1970 a key expires"},
		&command{name: "pexpiretime", arity: 2, flags: readonly | fast | inKeyspace, keys: readKey, group: "generic",
			since: "7.0.0", do: pexpireTime, about: "Returns at which millisecond since 1970 a key expires"},
		&command{name: "persist", arity: 2, flags: write | fast | inKeyspace, keys: updateKey, group: "generic", since: "2.2.0",
			do: persist, about: "Takes a key's expiry away"},
		&command{name: "keys", arity: 2, flags: readonly | inKeyspace | inDangerous,
			tips: "request_policy:all_shards nondeterministic_output_order", group: "generic", since: "1.0.0", do: keys,
			about: "Returns all keys that match a pattern"},
		&command{name: "scan", arity: -2, flags: readonly | inKeyspace, tips: "nondeterministic_output request_policy:special",
			group: "generic", since: "2.8.0", do: scan, about: "Returns some keys, and where to go on"},
		&command{name: "randomkey", arity: 1, flags: readonly | inKeyspace,
			tips: "request_policy:all_shards nondeterministic_output", group: "generic", since: "1.0.0", do: randomKey,
			about: "Returns a key that is drawn"},
		&command{name: "rename", arity: 3, flags: write | inKeyspace | alone, keys: renameKey, group: "generic", since: "1.0.0",
			do: rename, about: "Gives a value another key"},
		&command{name: "renamenx", arity: 3, flags: write | fast | inKeyspace | alone, keys: renameNewKey, group: "generic",
			since: "1.0.0", do: rename, about: "Gives a value another key that is not there"},
		&command{name: "copy", arity: -3, flags: write | denyOOM | inKeyspace | alone, keys: copyKey, group: "generic",
			since: "6.2.0", do: copyValue, about: "Copies a value to another key"},
		&command{name: "move", arity: 3, flags: write | fast | inKeyspace | alone, keys: addKey, group: "generic", since: "1.0.0",
			do: move, about: "Moves a key to another database"},
		&command{name: "object", arity: -2, group: "generic", since: "2.2.3", about: "Has commands about how values are kept", subs: newTable(
			&command{name: "object|encoding", arity: 3, flags: readonly | inKeyspace, keys: lookSub,
				tips: "nondeterministic_output", group: "generic", since: "2.2.3", do: objectEncoding,
				about: "Returns how a value is kept"},
			&command{name: "object|freq", arity: 3, flags: readonly | inKeyspace, keys: lookSub, tips: "nondeterministic_output",
				group: "generic", since: "4.0.0", do: objectFreq, about: "Returns how often a key was used"},
			&command{name: "object|help", arity: 2, flags: always | inKeyspace, group: "generic", since: "6.2.0", do: help,
				about: "Lists the subcommands"},
			&command{name: "object|idletime", arity: 3, flags: readonly | inKeyspace, keys: lookSub,
				tips: "nondeterministic_output", group: "generic", since: "2.2.3", do: objectIdleTime,
				about: "Returns for how many seconds a key was not used"},
			&command{name: "object|refcount", arity: 3, flags: readonly | inKeyspace, keys: lookSub,
				tips: "nondeterministic_output", group: "generic", since: "2.2.3", do: objectRefCount,
				about: "Returns the number of references to a value"},
		)},

		// server.go and its neighbours
		&command{name: "dbsize", arity: 1, flags: readonly | fast | inKeyspace,
			tips: "request_policy:all_shards response_policy:agg_sum", group: "server", since: "1.0.0", do: dbSize,
			about: "Returns the number of keys"},
		&command{name: "flushall", arity: -1, flags: write | inKeyspace | inDangerous | alone,
			tips: "request_policy:all_shards response_policy:all_succeeded", group: "server", since: "1.0.0", do: flushAll,
			about: "Removes all keys of all databases"},
		&command{name: "flushdb", arity: -1, flags: write | inKeyspace | inDangerous | alone,
			tips: "request_policy:all_shards response_policy:all_succeeded", group: "server", since: "1.0.0", do: flushDB,
			about: "Removes all keys"},
		&command{name: "info", arity: -1, flags: always | inDangerous | unlocked,
			tips: "nondeterministic_output request_policy:all_shards response_policy:special", group: "server", since: "1.0.0",
			do: info, about: "Returns facts and counts"},
		&command{name: "config", arity: -2, group: "server", since: "2.0.0", about: "Has commands about the configuration", subs: newTable(
			&command{name: "config|get", arity: -3, flags: configure | unlocked, group: "server", since: "2.0.0", do: configGet,
				about: "Returns the parameters that match a pattern"},
			&command{name: "config|help", arity: 2, flags: always, group: "server", since: "5.0.0", do: help,
				about: "Lists the subcommands"},
			&command{name: "config|resetstat", arity: 2, flags: configure | unlocked, group: "server", since: "2.0.0",
				do: configResetStat, about: "Begins to count again"},
			&command{name: "config|rewrite", arity: 2, flags: configure, group: "server", since: "2.8.0", do: configRewrite,
				about: "Would write the configuration file, which there is not"},
			&command{name: "config|set", arity: -4, flags: configure | unlocked,
				tips: "request_policy:all_nodes response_policy:all_succeeded", group: "server", since: "2.0.0", do: configSet,
				about: "Sets parameters"},
		)},
		&command{name: "command", arity: -1, flags: always | inConnection, tips: "nondeterministic_output_order", group: "server",
			since: "2.8.13", do: commandAll, about: "Describes all commands", subs: newTable(
				&command{name: "command|count", arity: 2, flags: always | inConnection, group: "server", since: "2.8.13",
					do: commandCount, about: "Returns the number of commands"},
				&command{name: "command|docs", arity: -2, flags: always | inConnection, tips: "nondeterministic_output_order",
					group: "server", since: "7.0.0", do: commandDocs, about: "Describes commands for people"},
				&command{name: "command|getkeys", arity: -4, flags: always | inConnection, group: "server", since: "2.8.13",
					do: commandGetKeys, about: "Returns the keys of a command"},
				&command{name: "command|getkeysandflags", arity: -4, flags: always | inConnection, group: "server", since: "7.0.0",
					do: commandGetKeysAndFlags, about: "Returns the keys of a command and what it does to them"},
				&command{name: "command|help", arity: 2, flags: always | inConnection, group: "server", since: "5.0.0", do: help,
					about: "Lists the subcommands"},
				&command{name: "command|info", arity: -2, flags: always | inConnection, tips: "nondeterministic_output_order",
					group: "server", since: "2.8.13", do: commandInfo, about: "Describes commands for clients"},
				&command{name: "command|list", arity: -2, flags: always | inConnection, tips: "nondeterministic_output_order",
					group: "server", since: "7.0.0", do: commandList, about: "Returns the names of commands"},
			)},
		&command{name: "time", arity: 1, flags: always | fast, tips: "nondeterministic_output", group: "server", since: "2.6.0",
			do: clock, about: "Returns the time"},
		&command{name: "lolwut", arity: -1, flags: readonly | fast, group: "server", since: "5.0.0", do: lolwut,
			about: "Returns the version"},
		&command{name: "memory", arity: -2, group: "server", since: "4.0.0", about: "Has commands about memory", subs: newTable(
			&command{name: "memory|doctor", arity: 2,
				tips: "nondeterministic_output request_policy:all_shards response_policy:special", group: "server", since: "4.0.0",
				do: memoryDoctor, about: "Would find faults"},
			&command{name: "memory|help", arity: 2, flags: always, group: "server", since: "4.0.0", do: help,
				about: "Lists the subcommands"},
			&command{name: "memory|malloc-stats", arity: 2,
				tips: "nondeterministic_output request_policy:all_shards response_policy:special", group: "server", since: "4.0.0",
				do: memoryMallocStats, about: "Would describe the allocator"},
			&command{name: "memory|purge", arity: 2, tips: "request_policy:all_shards response_policy:all_succeeded",
				group: "server", since: "4.0.0", do: memoryPurge, about: "Would give memory back"},
			&command{name: "memory|stats", arity: 2, flags: unlocked,
				tips: "nondeterministic_output request_policy:all_shards response_policy:special", group: "server", since: "4.0.0",
				do: memoryStats, about: "Describes the memory"},
			&command{name: "memory|usage", arity: -3, flags: readonly, keys: lookSub, group: "server", since: "4.0.0",
				do: memoryUsage, about: "Returns what a key takes"},
		)},
		&command{name: "debug", arity: -2, flags: configure | unlocked, group: "server", since: "1.0.0", do: debug,
			about: "Sleeps, for tests"},
		&command{name: "shutdown", arity: -1, flags: configure | noMulti | allowBusy | unlocked, group: "server", since: "1.0.0",
			do: shutdown, about: "Ends the server"},
		&command{name: "slowlog", arity: -2, group: "server", since: "2.2.12", about: "Has commands about slow commands", subs: newTable(
			&command{name: "slowlog|get", arity: -2, flags: admin | always,
				tips: "request_policy:all_nodes nondeterministic_output", group: "server", since: "2.2.12", do: slowlogGet,
				about: "Returns slow commands"},
			&command{name: "slowlog|help", arity: 2, flags: always, group: "server", since: "6.2.0", do: help,
				about: "Lists the subcommands"},
			&command{name: "slowlog|len", arity: 2, flags: admin | always,
				tips: "request_policy:all_nodes response_policy:agg_sum nondeterministic_output", group: "server", since: "2.2.12",
				do: slowlogLen, about: "Returns the number of slow commands"},
			&command{name: "slowlog|reset", arity: 2, flags: admin | always,
				tips: "request_policy:all_nodes response_policy:all_succeeded", group: "server", since: "2.2.12", do: slowlogReset,
				about: "Empties the list"},
		)},
		&command{name: "latency", arity: -2, group: "server", since: "2.8.13", about: "Has commands about latency", subs: newTable(
			&command{name: "latency|doctor", arity: 2, flags: configure,
				tips: "nondeterministic_output request_policy:all_nodes response_policy:special", group: "server", since: "2.8.13",
				do: latencyDoctor, about: "Would find faults"},
			&command{name: "latency|graph", arity: 3, flags: configure,
				tips: "nondeterministic_output request_policy:all_nodes response_policy:special", group: "server", since: "2.8.13",
				do: latencyGraph, about: "Would draw latencies"},
			&command{name: "latency|help", arity: 2, flags: always, group: "server", since: "2.8.13", do: help,
				about: "Lists the subcommands"},
			&command{name: "latency|histogram", arity: -2, flags: configure,
				tips: "nondeterministic_output request_policy:all_nodes response_policy:special", group: "server", since: "7.0.0",
				do: latencyHistogram, about: "Would count latencies"},
			&command{name: "latency|history", arity: 3, flags: configure,
				tips: "nondeterministic_output request_policy:all_nodes response_policy:special", group: "server", since: "2.8.13",
				do: latencyHistory, about: "Returns the latencies of an event"},
			&command{name: "latency|latest", arity: 2, flags: configure,
				tips: "nondeterministic_output request_policy:all_nodes response_policy:special", group: "server", since: "2.8.13",
				do: latencyLatest, about: "Returns the last latencies"},
			&command{name: "latency|reset", arity: -2, flags: configure,
				tips: "request_policy:all_nodes response_policy:all_succeeded", group: "server", since: "2.8.13", do: latencyReset,
				about: "Empties the lists"},
		)},

		// connection.go and clients.go
		&command{name: "ping", arity: -1, flags: fast | inConnection | whileSubscribed,
			tips: "request_policy:all_shards response_policy:all_succeeded", group: "connection", since: "1.0.0", do: ping,
			about: "Answers PONG, or the message"},
		&command{name: "echo", arity: 2, flags: always | fast | inConnection, group: "connection", since: "1.0.0", do: echo,
			about: "Answers the message"},
		&command{name: "select", arity: 2, flags: always | fast | inConnection, group: "connection", since: "1.0.0", do: selectDB,
			about: "Chooses the database"},
		&command{name: "hello", arity: -1, flags: handshake | unlocked, group: "connection", since: "6.0.0", do: hello,
			about: "Chooses the version of the protocol and describes the server"},
		&command{name: "auth", arity: -2, flags: handshake, group: "connection", since: "1.0.0", do: auth,
			about: "Says who the client is"},
		&command{name: "quit", arity: -1, flags: handshake | unlocked | whileSubscribed, group: "connection", since: "1.0.0",
			do: quit, about: "Ends the connection"},
		&command{name: "reset", arity: 1, flags: handshake | unlocked | whileSubscribed, group: "connection", since: "6.2.0",
			do: reset, about: "Puts the connection into its first state"},
		&command{name: "client", arity: -2, group: "connection", since: "2.4.0", about: "Has commands about connections", subs: newTable(
			&command{name: "client|caching", arity: 3, flags: connection | unlocked, group: "connection", since: "6.0.0",
				do: clientCaching, about: "Says whether the keys of the next command are tracked"},
			&command{name: "client|getname", arity: 2, flags: connection, group: "connection", since: "2.6.9", do: clientGetName,
				about: "Returns the connection's name"},
			&command{name: "client|getredir", arity: 2, flags: connection | unlocked, group: "connection", since: "6.0.0",
				do: clientGetRedir, about: "Returns where messages about keys go"},
			&command{name: "client|help", arity: 2, flags: always | inConnection, group: "connection", since: "5.0.0", do: help,
				about: "Lists the subcommands"},
			&command{name: "client|id", arity: 2, flags: connection, group: "connection", since: "5.0.0", do: clientID,
				about: "Returns the connection's number"},
			&command{name: "client|info", arity: 2, flags: connection | unlocked, tips: "nondeterministic_output",
				group: "connection", since: "6.2.0", do: clientInfo, about: "Describes the connection"},
			&command{name: "client|kill", arity: -3, flags: configure | inConnection | unlocked, group: "connection",
				since: "2.4.0", do: clientKill, about: "Ends connections"},
			&command{name: "client|list", arity: -2, flags: configure | inConnection | unlocked, tips: "nondeterministic_output",
				group: "connection", since: "2.4.0", do: clientList, about: "Describes connections"},
			&command{name: "client|unblock", arity: -3, flags: configure | inConnection, group: "connection", since: "5.0.0",
				do: clientUnblock, about: "Would wake a connection that waits for data"},
			&command{name: "client|no-evict", arity: 3, flags: configure | inConnection, group: "connection", since: "7.0.0",
				do: clientNoEvict, about: "Keeps the connection when memory is short"},
			&command{name: "client|no-touch", arity: 3, flags: connection | unlocked, group: "connection", since: "7.2.0",
				do: clientNoTouch, about: "Lets the connection's reads count as no use"},
			&command{name: "client|reply", arity: 3, flags: connection, group: "connection", since: "3.2.0", do: clientReply,
				about: "Says whether commands are answered"},
			&command{name: "client|setinfo", arity: 4, flags: connection, group: "connection", since: "7.2.0", do: clientSetInfo,
				about: "Takes the name or version of the client's library"},
			&command{name: "client|setname", arity: 3, flags: connection, group: "connection", since: "2.6.9", do: clientSetName,
				about: "Names the connection"},
			&command{name: "client|tracking", arity: -3, flags: connection | unlocked, group: "connection", since: "6.0.0",
				do: clientTracking, about: "Says whether changes of keys are told"},
			&command{name: "client|trackinginfo", arity: 2, flags: connection | unlocked, group: "connection", since: "6.2.0",
				do: clientTrackingInfo, about: "Describes what is told of keys"},
		)},

		// multi.go
		&command{name: "multi", arity: 1, flags: noScript | always | fast | allowBusy | inTransaction, group: "transactions",
			since: "1.2.0", do: multi, about: "Begins a transaction"},
		&command{name: "exec", arity: 1, flags: noScript | always | skipSlowlog | inTransaction | unlocked, group: "transactions",
			since: "1.2.0", do: execMulti, about: "Runs a transaction"},
		&command{name: "discard", arity: 1, flags: noScript | always | fast | allowBusy | inTransaction, group: "transactions",
			since: "2.0.0", do: discard, about: "Drops a transaction"},
		&command{name: "watch", arity: -2, flags: noScript | always | fast | allowBusy | inTransaction, keys: lookKeys,
			group: "transactions", since: "2.2.0", do: watchKeys, about: "Lets the next transaction run only if keys stay as they are"},
		&command{name: "unwatch", arity: 1, flags: noScript | always | fast | allowBusy | inTransaction, group: "transactions",
			since: "2.2.0", do: unwatch, about: "Forgets what is watched"},

		// pubsub.go
		&command{name: "subscribe", arity: -2, flags: pubsubFlag | noScript | always | unlocked | whileSubscribed, group: "pubsub",
			since: "2.0.0", do: subscribe, about: "Listens to channels"},
		&command{name: "unsubscribe", arity: -1, flags: pubsubFlag | noScript | always | unlocked | whileSubscribed,
			group: "pubsub", since: "2.0.0", do: unsubscribe, about: "Stops listening to channels"},
		&command{name: "psubscribe", arity: -2, flags: pubsubFlag | noScript | always | unlocked | whileSubscribed,
			group: "pubsub", since: "2.0.0", do: psubscribe, about: "Listens to channels that match patterns"},
		&command{name: "punsubscribe", arity: -1, flags: pubsubFlag | noScript | always | unlocked | whileSubscribed,
			group: "pubsub", since: "2.0.0", do: punsubscribe, about: "Stops listening to patterns"},
		&command{name: "publish", arity: 3, flags: pubsubFlag | always | fast | unlocked, group: "pubsub", since: "2.0.0",
			do: publish, about: "Sends a message to a channel"},
		&command{name: "pubsub", arity: -2, group: "pubsub", since: "2.8.0", about: "Has commands about channels", subs: newTable(
			&command{name: "pubsub|channels", arity: -2, flags: pubsubFlag | always | unlocked, group: "pubsub", since: "2.8.0",
				do: pubsubChannels, about: "Returns the channels with subscribers"},
			&command{name: "pubsub|help", arity: 2, flags: always, group: "pubsub", since: "6.2.0", do: help,
				about: "Lists the subcommands"},
			&command{name: "pubsub|numpat", arity: 2, flags: pubsubFlag | always | unlocked, group: "pubsub", since: "2.8.0",
				do: pubsubNumPat, about: "Counts patterns"},
			&command{name: "pubsub|numsub", arity: -2, flags: pubsubFlag | always | unlocked, group: "pubsub", since: "2.8.0",
				do: pubsubNumSub, about: "Counts the subscribers of channels"},
			&command{name: "pubsub|shardchannels", arity: -2, flags: pubsubFlag | always, group: "pubsub", since: "7.0.0",
				do: pubsubShardChannels, about: "Returns a shard's channels: none"},
			&command{name: "pubsub|shardnumsub", arity: -2, flags: pubsubFlag | always, group: "pubsub", since: "7.0.0",
				do: pubsubShardNumSub, about: "Counts the subscribers of a shard's channels: none"},
		)},
	)
	t.number()
	return t
}
