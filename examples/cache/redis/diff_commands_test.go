package redis_test

import "strings"

// command returns a command for a connection, usually a good one.
func (g *generator) command(conn int) []string {
	if conn >= firstSub && !g.multi[conn] && g.one(3) {
		return g.subscription()
	}
	if g.multi[conn] && g.one(6) {
		return pick(g, []string{"EXEC"}, []string{"EXEC"}, []string{"EXEC"}, []string{"DISCARD"}, []string{"WATCH", g.key()},
			[]string{"MULTI"}, []string{"UNWATCH"})
	}
	if g.tracks && !g.multi[conn] && g.one(6) {
		return g.trackingCommand()
	}
	switch n := g.rng.IntN(100); {
	case n < 48:
		return g.stringCommand()
	case n < 80:
		return g.keyCommand()
	case n < 88:
		return g.connectionCommand(conn)
	case n < 91:
		return g.serverCommand()
	case n < 95 && !(g.multi[conn] && conn >= firstSub): // there Redis 7.0 puts the message amid the replies of EXEC
		return cat("PUBLISH", g.channel(), pick(g, "hello", "", "\x00\r\n", strings.Repeat("message", 30)))
	case n < 97 && conn != plainConn && !(g.tracks && conn >= firstSub): // the same, for messages about keys
		return pick(g, []string{"MULTI"}, cat("WATCH", g.keys(3)...), []string{"UNWATCH"}, []string{"EXEC"}, []string{"DISCARD"},
			[]string{"MULTI"})
	}
	return pick(g, g.line(`
		foo
		"" a
		LPUSHZ
		CLIENT foo
		OBJECT foo
		PUBSUB foo x
		command foo`), cat("foo'bar", "q'x", "a b"), cat(strings.Repeat("foo", 100), strings.Repeat("bar", 100)), cat("GETX", "\r\nfoo"),
		cat("config", "x y"), cat("EVIL\xff", "\xfe", strings.Repeat("a", 200)))
}

// line returns one of the lines. Two quotes are an empty word.
func (g *generator) line(lines string) []string {
	words := strings.Fields(pick(g, strings.Split(strings.TrimSpace(lines), "\n")...))
	for i, w := range words {
		if w == `""` {
			words[i] = ""
		}
	}
	return words
}

func (g *generator) timeOption() []string {
	return pick(g, []string{"EX", g.seconds()}, []string{"PX", g.millis()}, []string{"EXAT", g.at(1)}, []string{"pxat", g.at(1000)})
}

func (g *generator) stringCommand() []string {
	switch g.rng.IntN(24) {
	case 0, 1, 2:
		args := []string{"SET", g.key(), g.value()}
		for range g.rng.IntN(4) {
			args = append(args, pick(g, []string{"NX"}, []string{"XX"}, []string{"get"}, []string{"GET"}, []string{"KEEPTTL"},
				g.timeOption(), g.timeOption())...)
		}
		return args
	case 3:
		return []string{"SET", g.key(), g.value()}
	case 4, 5:
		return []string{"GET", g.key()}
	case 6:
		args := []string{"GETEX", g.key()}
		for range g.rng.IntN(2) + g.rng.IntN(2) {
			args = append(args, pick(g, []string{"PERSIST"}, g.timeOption(), g.timeOption())...)
		}
		return args
	case 7:
		return []string{"GETDEL", g.key()}
	case 8:
		return []string{"GETSET", g.key(), g.value()}
	case 9:
		return []string{pick(g, "GETRANGE", "SUBSTR"), g.key(), g.index(), g.index()}
	case 10:
		return []string{"SETRANGE", g.key(), g.offset(), g.value()}
	case 11:
		return []string{"STRLEN", g.key()}
	case 12:
		return []string{"APPEND", g.key(), g.value()}
	case 13:
		return cat("MGET", g.keys(5)...)
	case 14:
		return cat("MSET", g.pairs(4)...)
	case 15:
		return cat("MSETNX", g.pairs(2)...)
	case 16:
		return []string{"SETNX", g.key(), g.value()}
	case 17:
		return []string{"SETEX", g.key(), g.seconds(), g.value()}
	case 18:
		return []string{"PSETEX", g.key(), g.millis(), g.value()}
	case 19:
		return []string{pick(g, "INCR", "DECR"), g.key()}
	case 20:
		return []string{pick(g, "INCRBY", "DECRBY"), g.key(), g.integer()}
	case 21:
		return []string{"INCRBYFLOAT", g.key(), g.float()}
	case 22:
		return []string{"SET", g.key(), g.integer()}
	}
	return []string{"SET", g.key(), g.float()}
}

// offset is one of SETRANGE, not so large that a script becomes slow.
func (g *generator) offset() string {
	if g.one(100) {
		return pick(g, "33000", "70000")
	}
	return pick(g, "0", "1", "2", "3", "10", "50", "200", "-1", "x", "", "1.5", "9223372036854775807", "-9223372036854775808", "536870912",
		"536870911999")
}

func (g *generator) keyCommand() []string {
	switch g.rng.IntN(20) {
	case 0, 1:
		return cat(pick(g, "DEL", "UNLINK"), g.keys(3)...)
	case 2:
		return cat(pick(g, "EXISTS", "TOUCH"), g.keys(4)...)
	case 3:
		return []string{"TYPE", g.key()}
	case 4, 5, 6:
		args := pick(g, []string{"EXPIRE", g.key(), g.seconds()}, []string{"PEXPIRE", g.key(), g.millis()}, []string{"EXPIREAT", g.key(),
			g.at(1)},
			[]string{"PEXPIREAT", g.key(), g.at(1000)})
		for range g.rng.IntN(3) {
			args = append(args, pick(g, "NX", "XX", "GT", "lt"))
		}
		return args
	case 7, 8:
		return []string{pick(g, "TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"), g.key()}
	case 9:
		return []string{"PERSIST", g.key()}
	case 10:
		return []string{"KEYS", g.glob()}
	case 11:
		return pick(g, []string{"SCAN", "x"}, []string{"SCAN", "0", "COUNT", pick(g, "0", "-1", "x", "9223372036854775808")},
			[]string{"SCAN", "0", "MATCH"}, []string{"SCAN", "0", "FOO", "x"}, []string{"SCAN", "18446744073709551616"}, []string{"SCAN", " 1"})
	case 12, 13:
		return []string{pick(g, "RENAME", "RENAMENX"), g.key(), g.key()}
	case 14, 15:
		args := []string{"COPY", g.key(), g.key()}
		for range g.rng.IntN(3) {
			args = append(args, pick(g, []string{"REPLACE"}, []string{"DB", g.database()})...)
		}
		return args
	case 16:
		return []string{"MOVE", g.key(), g.database()}
	case 17, 18:
		return []string{"OBJECT", pick(g, "ENCODING", "ENCODING", "IDLETIME", "FREQ", "encoding"), g.key()}
	}
	return []string{"DBSIZE"}
}

func (g *generator) database() string {
	return pick(g, "0", "1", "2", "0", "1", "15", "16", "-1", "x", "", "01", "99999999999", "9223372036854775808")
}

func (g *generator) connectionCommand(conn int) []string {
	switch g.rng.IntN(14) {
	case 0:
		return pick(g, cat("PING"), cat("PING", g.value()))
	case 1:
		return cat("ECHO", g.value())
	case 2:
		return g.line(`
			HELLO
			HELLO 2
			HELLO 3
			HELLO 3 SETNAME name
			HELLO 3 SETNAME ""
			HELLO 4
			HELLO x
			HELLO 03
			HELLO 9223372036854775808
			HELLO 3 AUTH default y
			HELLO 3 AUTH x y
			HELLO 3 AUTH x
			HELLO 3 foo
			HELLO 2 AUTH default y SETNAME n
			HELLO 3 SETNAME m AUTH x y`)
	case 3:
		return pick(g, cat("AUTH", "x"), cat("AUTH", "x", "y"), cat("AUTH", "default", "y"), cat("AUTH", "a", "b", "c"))
	case 4, 5:
		return cat("SELECT", g.database())
	case 6, 7:
		return cat("SELECT", "0")
	case 8:
		return pick(g, cat("CLIENT", "GETNAME"), cat("CLIENT", "SETNAME", pick(g, "n", "a b", "", "x\n", "~!")), cat("CLIENT", "ID"),
			cat("client", "getname"))
	case 9:
		return g.line(`
			CLIENT KILL ID 999999999
			CLIENT KILL ID x
			CLIENT KILL ID 0
			CLIENT KILL ID -1
			CLIENT KILL 1.2.3.4:5
			CLIENT KILL FOO x
			CLIENT KILL ADDR 1.2.3.4:5
			CLIENT KILL TYPE foo
			CLIENT KILL USER nosuch
			CLIENT KILL ID 999999999 SKIPME foo
			CLIENT UNBLOCK 999999999
			CLIENT UNBLOCK x
			CLIENT UNBLOCK 999999999 TIMEOUT
			CLIENT UNBLOCK 999999999 foo
			CLIENT REPLY FOO
			CLIENT NO-EVICT off
			CLIENT NO-EVICT x
			CLIENT LIST foo
			CLIENT LIST TYPE foo
			CLIENT LIST ID x
			CLIENT LIST ID 999999999`)
	case 10:
		return g.line(`
			CLIENT GETREDIR
			CLIENT TRACKINGINFO
			CLIENT CACHING yes
			CLIENT CACHING no
			CLIENT CACHING x
			CLIENT TRACKING off
			CLIENT TRACKING foo`)
	case 11:
		if conn == plainConn {
			return cat("PING")
		}
		return cat("RESET")
	case 12:
		return pick(g, cat("TIME"), cat("SELECT", "0"), cat("DBSIZE"))
	}
	return pick(g, g.line(`
		COMMAND GETKEYS get a
		COMMAND GETKEYS mset a 1 b 2
		COMMAND GETKEYS mget a b c
		COMMAND GETKEYS ping
		COMMAND GETKEYS nosuch
		COMMAND GETKEYS get
		COMMAND GETKEYS object encoding k
		COMMAND GETKEYS copy a b
		COMMAND INFO get nosuch del`), cat("COMMAND", "INFO", pick(g, "get", "set", "mset", "nosuch", "expire", "rename", "copy", "getex",
		"append", "publish", "multi", "watch", "scan", "incrbyfloat", "dbsize", "auth", "get|x")))
}

func (g *generator) serverCommand() []string {
	switch g.rng.IntN(8) {
	case 0:
		return cat(pick(g, "FLUSHDB", "FLUSHALL"), pick(g, nil, nil, []string{"ASYNC"}, []string{"sync"}, []string{"foo"})...)
	case 1:
		return cat("CONFIG", "GET", pick(g, "save", "appendonly", "databases", "timeout", "maxmemory", "SAVE", "nosuch", "[s]ave", "timeou?",
			"requirepass"))
	case 2:
		return cat("CONFIG", "GET", "save", "timeout", pick(g, "nosuch", "save", "appendonl*", "timeout", "Timeout"))
	case 3:
		return cat("CONFIG", "SET", pick(g, "timeout", "timeout", "TIMEOUT"), pick(g, "0", "1000", "x", "", "-1", "99999999999"))
	case 4:
		return g.line(`
			CONFIG SET nosuch x
			CONFIG SET timeout 0 timeout 0
			CONFIG SET timeout 0 nosuch x
			CONFIG SET timeout
			CONFIG SET databases 3
			CONFIG SET maxmemory-policy foo
			CONFIG SET maxmemory 0
			CONFIG SET maxmemory 10gb
			CONFIG SET maxmemory x
			CONFIG SET maxmemory -1
			CONFIG RESETSTAT`)
	case 5:
		return pick(g, cat("PUBSUB", "CHANNELS", g.channelGlob()), cat("PUBSUB", "NUMSUB", g.channel(), "nosuch", g.channel()), g.line(`
			PUBSUB CHANNELS
			PUBSUB CHANNELS a b
			PUBSUB NUMPAT
			PUBSUB NUMSUB
			PUBSUB SHARDCHANNELS
			PUBSUB SHARDCHANNELS *
			PUBSUB SHARDNUMSUB a
			PUBSUB SHARDNUMSUB`))
	case 6:
		return cat("TIME")
	}
	return cat("DBSIZE")
}

func (g *generator) trackingCommand() []string {
	switch g.rng.IntN(8) {
	case 0:
		return pick(g, cat("CLIENT", "TRACKING", "OFF"), cat("CLIENT", "TRACKINGINFO"), cat("CLIENT", "GETREDIR"))
	case 1, 2:
		return cat("CLIENT", "CACHING", pick(g, "yes", "YES", "no"))
	}
	args := []string{"CLIENT", "TRACKING", "ON"}
	if g.one(3) { // where the second of several prefixes overlaps another, Redis 7.0 answers twice
		args = append(args, pick(g, []string{"BCAST", "PREFIX", g.prefix()}, []string{"BCAST", "PREFIX", g.prefix()}, []string{"BCAST",
			"PREFIX", "key:", "PREFIX", "key:1"},
			[]string{"PREFIX", "a"})...)
	}
	for range g.rng.IntN(3) {
		args = append(args, pick(g, []string{"BCAST"},
			[]string{"OPTIN"}, []string{"OPTOUT"}, []string{"NOLOOP"}, []string{"REDIRECT", idOf(firstSub + g.rng.IntN(diffConns-firstSub))},
			[]string{"REDIRECT", idOf(firstSub)}, []string{"REDIRECT", pick(g, "999999999", "0", "x", "-1")})...)
	}
	return args
}

func (g *generator) prefix() string { return pick(g, "a", "key:", "key:1", "", "k", "b", "\x00", "x") }

func (g *generator) channel() string {
	if g.tracks && g.one(3) {
		return "__redis__:invalidate"
	}
	return pick(g, "ch", "ch2", "news.a", "news.b", "", "\x00\xff")
}

func (g *generator) channelGlob() string {
	return pick(g, "*", "ch*", "news.?", "news.[ab]", "n*s.*", "", "[", "ch", "\\ch")
}

func (g *generator) subscription() []string {
	name := pick(g, "SUBSCRIBE", "SUBSCRIBE", "PSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE")
	if strings.HasSuffix(name, "UNSUBSCRIBE") && g.one(3) {
		return []string{name}
	}
	args := []string{name}
	for range 1 + g.rng.IntN(3) {
		if name[0] == 'P' {
			args = append(args, g.channelGlob())
		} else {
			args = append(args, g.channel())
		}
	}
	return args
}
