package redis

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/server"
)

// A script is commands, each a line of words in the syntax of redis-cli, or bytes as they are behind a "raw ".
type script []string

// bytes returns what is sent for the script.
func (s script) bytes(t testing.TB) (b []byte) {
	for _, line := range s {
		if raw, ok := strings.CutPrefix(line, "raw "); ok {
			b = append(b, unquote(t, raw)...)
			continue
		}
		// The words are cut by the decoder's own rules for inline commands.
		var m resp.Command
		_, err := new(resp.Requests).Decode([]byte(line+"\n"), &m)
		require.NoError(t, err, line)
		b = resp.AppendCommand(b, m.Args...)
	}
	return b
}

func unquote(t testing.TB, s string) string {
	var m resp.Command
	_, err := new(resp.Requests).Decode([]byte(`"`+s+"\"\n"), &m)
	require.NoError(t, err)
	return string(m.Args[0])
}

const sentinel = "the-end-of-the-script"

// play sends the script to a server without keys, pipelined, and returns all bytes of the replies.
func play(t testing.TB, addr string, s script) string {
	t.Helper()
	c := dial(t, addr)
	defer c.conn.Close()
	require.Equal(t, "+OK\r\n", c.do("FLUSHALL"))
	c.send(s.bytes(t))
	_, _ = c.conn.Write(resp.AppendCommand(nil, "PING", sentinel)) // a server that ends the connection may not take it
	var all strings.Builder
	for {
		text, ok := c.reply()
		if strings.Contains(text, sentinel) {
			return all.String()
		}
		all.WriteString(text)
		if !ok {
			return all.String() + "<end>"
		}
	}
}

var numbers = regexp.MustCompile(`\r\n\$2\r\nid\r\n:\d+`)

// hideIDs takes away what differs between any two servers.
func hideIDs(s string) string { return numbers.ReplaceAllString(s, "\r\n$2\r\nid\r\n:N") }

// scripts are played to a cache and to a redis-server, and the bytes of the replies compared.
var scripts = []script{
	// Unknown commands, and numbers of arguments.
	{`foo`}, {`foo a b`}, {`FOO A "b c"`}, {`"" a`}, {`"fo\ro" "a\nb"`}, {`"get\x00x" "a\x00b" c`}, {`"foo'bar" "q'x"`},
	{"foo " + strings.Repeat("a", 127) + " b"}, {"foo " + strings.Repeat("a", 128) + " b"}, {"foo " + strings.Repeat("ab ", 100)},
	{strings.Repeat("foo", 100) + " " + strings.Repeat("bar", 100)}, {`"foo\r\n" x`}, {`"\r\nfoo"`}, {"foo \xff\xfe"},
	{`get`}, {`get a b`}, {`set`}, {`set a`}, {`del`}, {`exists`}, {`expire a`}, {`ttl`}, {`ttl a b`}, {`pttl`}, {`pexpire a`},
	{`persist`}, {`incr`}, {`incr a b`}, {`decr`}, {`incrby a`}, {`incrby a 1 2`}, {`decrby a`}, {`mget`}, {`mset`}, {`mset a`},
	{`mset a 1 b`}, {`dbsize a`}, {`select`}, {`select 0 0`}, {`config`}, {`config get`}, {`command count x`}, {`client`},
	{`client id x`}, {`client setname`}, {`client getname x`}, {`subscribe`}, {`publish a`}, {`publish a b c`}, {`echo`},
	{`echo a b`}, {`ping a b`}, {`auth`}, {`reset a`}, {`expireat a`}, {`pexpireat a`}, {`unlink`}, {`GeT`}, {`Config Get`},
	{`client foo`}, {`CLIENT Foo bar`}, {`config foo`}, {`command foo`}, {`client "a\rb"`}, {`client ` + strings.Repeat("x", 200)},

	// Connections.
	{`ping`, `PING`, `ping a`, `ping ""`, `echo a`, `echo ""`, `echo "\x00\r\n"`},
	{`select 0`, `select 1`, `select -1`, `select x`, `select 01`, `select 99999999999`, `select 99999999999999999999`},
	{`hello`}, {`hello 2`}, {`hello 3`}, {`hello 3`, `hello`, `hello 2`, `get a`}, {`hello 1`}, {`hello 4`}, {`hello x`}, {`hello 03`},
	{`hello -3`}, {`hello 2 foo`}, {`hello 3 auth a`}, {`hello 3 auth a b`, `get a`}, {`hello 3 auth default b`, `get a`},
	{`hello 3 setname`}, {`hello 3 setname "a b"`, `client getname`}, {`hello 3 setname ab`, `client getname`},
	{`hello 3 setname ab auth default x`, `client getname`}, {`hello 3 setname ab auth x x`, `client getname`},
	{`hello 3 setname ab foo`, `client getname`, `get a`}, {`hello 2 AUTH default x SETNAME y`, `client getname`},
	{`hello 3 "a\x00b"`}, {`hello 3 auth default x auth y z`},
	{`auth x`}, {`auth x y`}, {`auth default y`}, {`auth DEFAULT y`}, {`auth a b c`}, {`auth ""`},
	{`client getname`, `client setname a`, `client getname`, `client setname ""`, `client getname`},
	{`client setname "a b"`}, {`client setname "a\n"`}, {`client setname ~!`, `client getname`}, {`client setname "\x7f"`},
	{`client setname a`, `hello 3`, `reset`, `client getname`, `get x`},
	{`quit`, `ping`}, {`quit a b`}, {`set a b`, `quit`, `get a`}, {`reset`, `ping`},

	// Strings.
	{`get a`, `set a b`, `get a`, `set a ""`, `get a`, `exists a`}, {`hello 3`, `get a`, `set a b`, `get a`, `set a c nx`, `set x y get`},
	{`set "" a`, `get ""`}, {`set "\x00" "\r\n\xff"`, `get "\x00"`},
	{`set a 1 nx`, `set a 2 nx`, `get a`, `set a 3 xx`, `get a`, `set b 1 xx`, `get b`},
	{`set a 1 get`, `set a 2 get`, `set a 3 nx get`, `get a`, `set b 3 nx get`, `get b`, `set c 1 xx get`, `get c`, `set a 4 xx get`, `get a`},
	{`set k v ex 100`, `ttl k`, `set k w keepttl`, `ttl k`, `set k x`, `ttl k`},
	{`set k v px 100000`, `ttl k`}, {`set k v EXAT 99999999999`, `persist k`}, {`set k v PxAt 99999999999000`, `persist k`, `persist k`},
	{`set k v exat 1`, `get k`, `exists k`, `dbsize`}, {`set k v pxat 1`, `ttl k`, `set k w nx`, `get k`},
	{`set k v`, `set k w exat 1 get`, `get k`}, {`set k v ex 100 get`, `set k w get`, `ttl k`},
	{`set k v ex`}, {`set k v ex 0`}, {`set k v ex -1`}, {`set k v ex abc`}, {`set k v ex 1.5`}, {`set k v ex ""`}, {`set k v ex 01`},
	{`set k v ex " 1"`}, {`set k v ex +1`}, {`set k v ex 10 px 10`}, {`set k v ex 10 ex 10`}, {`set k v nx xx`}, {`set k v xx nx`},
	{`set k v nx nx`}, {`set k v xx xx`}, {`set k v keepttl ex 10`}, {`set k v ex 10 keepttl`}, {`set k v keepttl keepttl`},
	{`set k v get get`}, {`set k v foo`}, {`set k v ex 10 foo`}, {`set k v persist`}, {`set k v ex px`}, {`set k v ex 10 nx EX 20`, `ttl k`}, {`set k v ex nx`},
	{`set k v ex 9223372036854775807`}, {`set k v ex 9223372036854775`}, {`set k v px 9223372036854775807`},
	{`set k v exat 9223372036854775807`}, {`set k v pxat 9223372036854775807`, `persist k`, `pttl nokey`}, {`set k v pxat 9223372036854775808`},
	{`set k v exat -1`}, {`set k v px -9223372036854775808`}, {`set k v ex 0 nx foo`}, {`set k v xx ex 0`}, {`set k v ex 10 nx`, `ttl k`},
	{`set k v ex abc get`, `set k v ex 0 get`, `exists k`},
	{`mset a 1 b 2 a 3`, `mget a b c a`, `mget a`}, {`hello 3`, `mget a`}, {`mset a 1`, `dbsize`},
	{`incr a`, `incr a`, `get a`, `decr a`, `decr a`, `decr a`, `get a`, `incrby a 10`, `decrby a -10`, `decrby a 30`, `incrby a -1`},
	{`set a x`, `incr a`, `decr a`, `incrby a 1`, `decrby a 1`}, {`set a ""`, `incr a`}, {`set a " 1"`, `incr a`}, {`set a 1.0`, `incr a`},
	{`set a 01`, `incr a`}, {`set a +1`, `incr a`}, {`set a -0`, `incr a`}, {`set a -1`, `incr a`}, {`set a 9223372036854775808`, `incr a`},
	{`set a 9223372036854775807`, `incr a`, `decr a`, `incrby a 1`, `incrby a 2`}, {`set a -9223372036854775808`, `decr a`, `incr a`},
	{`incrby a 9223372036854775807`, `incrby a 1`}, {`incrby a -9223372036854775808`, `decrby a 1`}, {`incrby a 9223372036854775808`},
	{`decrby a -9223372036854775808`}, {`decrby a 9223372036854775807`, `decrby a 1`, `decrby a 2`}, {`incrby a x`}, {`decrby a ""`},
	{`incrby a 1.5`}, {`set a x`, `incrby a x`}, {`set a 5 ex 100`, `incr a`, `ttl a`},

	// Keys.
	{`mset a 1 b 2`, `del a b c a`, `dbsize`}, {`mset a 1 b 2`, `unlink a c`, `dbsize`}, {`mset a 1 b 2`, `exists a b c a`},
	{`expire k 10`, `set k v`, `expire k 10`, `ttl k`, `persist k`, `ttl k`, `persist k`, `ttl nokey`, `pttl nokey`, `pttl k`},
	{`set k v`, `expire k -1`, `get k`, `dbsize`}, {`set k v`, `expire k 0`, `get k`}, {`set k v`, `expireat k 1`, `exists k`},
	{`set k v`, `pexpireat k 0`, `exists k`}, {`set k v`, `pexpire k -9223372036854775808`, `exists k`},
	{`set k v`, `pexpireat k -9223372036854775808`, `exists k`}, {`set k v`, `expire k -9223372036854775808`, `exists k`},
	{`expire k abc`}, {`expire k 1.5`}, {`expire k ""`}, {`expire k 10 foo`}, {`expire k 10 nx xx`}, {`expire k 10 gt lt`},
	{`expire k 10 nx gt`}, {`expire k 10 lt nx`}, {`expire k 10 xx gt lt`}, {`expire k abc foo`}, {`expire k 10 nx nx`},
	{`expire k 10 "foo\r\n"`}, {`expire k 10 "a\x00b"`}, {`expire k abc nx xx`}, {`expire nokey abc`},
	{`expire k 9223372036854775807`}, {`expire k -9223372036854775807`}, {`expire k 9223372036854775`}, {`pexpire k 9223372036854775807`},
	{`expireat k 9223372036854775807`}, {`pexpireat k 9223372036854775807`}, {`expireat k 9223372036854776`},
	{`set k v`, `expire k 10 gt`, `expire k 10 lt`, `expire k 20 gt`, `ttl k`, `expire k 5 xx`, `expire k 7 nx`, `persist k`, `ttl k`},
	{`set k v`, `expire k 10 xx`, `expire k 10 nx`, `expire k 20 xx gt`, `expire k 30 xx lt`, `ttl k`, `expire k 5 LT XX`, `ttl k`},
	{`set k v ex 100`, `expire k -1 gt`, `exists k`, `expire k -1 lt`, `exists k`}, {`set k v ex 100`, `expire k -1 nx`, `exists k`},
	{`set k v`, `expire k -1 gt`, `exists k`, `expire k -1 xx`, `exists k`},
	{`set k v`, `pexpire k 100000`, `ttl k`, `expireat k 99999999999`, `persist k`},
	{`dbsize`, `set a 1`, `dbsize`, `flushall`, `dbsize`, `set a 1`, `flushdb`, `get a`}, {`flushall foo`}, {`flushall async`},
	{`flushall SYNC`}, {`flushall sync async`}, {`flushdb x`},

	// Server.
	{`config get save`}, {`config get appendonly`}, {`config get SAVE`}, {`config get sav*`}, {`config get nosuch`}, {`config get save save`},
	{`config get [s]ave`}, {`config get ?ave`}, {`hello 3`, `config get save`}, {`config get "maxmemory"`}, {`config get timeout`}, {`config get Time*`},
	{`config get databases`}, {`config get requirepass`}, {`config get proto-max-bulk-len`}, {`config get "\\save"`},
	{`command info nosuch`}, {`command docs nosuch`}, {`hello 3`, `command info nosuch get`}, {`hello 3`, `command docs nosuch`},
	{`command info client|nosuch`}, {`command info get|nosuch`}, {`info nosuch`}, {`hello 3`, `info nosuch`},

	// Publish and subscribe.
	{`publish a b`}, {`unsubscribe`}, {`unsubscribe a b`}, {`hello 3`, `unsubscribe`}, {`hello 3`, `unsubscribe a`},
	{`subscribe a b`, `get x`, `ping`, `ping foo`, `ping a b`, `unsubscribe a`, `unsubscribe b`, `ping`},
	{`subscribe a a`, `unsubscribe a a`}, {`subscribe a`, `quit`}, {`subscribe a`, `reset`, `ping`, `get x`}, {`subscribe a`, `hello 3`},
	{`subscribe a`, `select 1`}, {`subscribe a`, `foo`}, {`subscribe a`, `get`}, {`subscribe a`, `client foo`}, {`subscribe a`, `client id`},
	{`subscribe a`, `publish a b`}, {`subscribe a`, `config get save`}, {`subscribe ""`}, {`SUBSCRIBE a`, `UNSUBSCRIBE`, `get x`},
	{`subscribe a`, `unsubscribe b`, `unsubscribe`}, {`hello 3`, `subscribe a b`, `get x`, `ping`, `unsubscribe a`, `unsubscribe b`},
	{`hello 3`, `subscribe a`, `publish b x`, `hello 2`, `get x`}, {`hello 3`, `subscribe a`, `reset`, `get a`, `publish a x`},
	{`subscribe a`, `subscribe b`, `unsubscribe b`, `subscribe b`, `unsubscribe a`, `unsubscribe b`, `publish a x`},

	// Bytes that are no commands.
	{`raw PING\r\n`}, {`raw ping\n`}, {`raw \r\n\r\nping\r\n`}, {`raw *0\r\n*-1\r\n`}, {`raw SET a \"b c\"\r\nGET a\r\n`},
	{`raw *x\r\n`}, {`raw *1\r\nx\r\n`}, {`raw *1\r\n$x\r\n`}, {`raw *1\r\n$-1\r\n`}, {`raw *1\r\n$536870913\r\n`}, {`raw *2147483648\r\n`},
	{`raw get \"a\r\n`}, {`ping`, `raw *1\r\n+\r\n`, `ping`}, {`subscribe a`, `raw *x\r\n`}, {`raw *01\r\n`},
	{`hello 3`, `raw *1\r\n!\r\n`},
}

// differences are known. Each is played too, so that a row that is no longer true fails.
var differences = []struct {
	script
	reason string
}{
	{script{`client setinfo lib-name x`}, "a command of 7.2, which clients send first of all: they log the error of 7.0 as one"},
	{script{`client no-touch on`}, "a command of 7.2"},
	{script{`command count`}, "there are fewer commands"},
	{script{`command docs get`}, "texts of our own, without the complexity and the history"},
	{script{`command info client`}, "there are fewer subcommands"},
	{script{`client help`}, "texts of our own"},
	{script{`client list`}, "the fields of 7.2, and no sizes of buffers"},
	{script{`client pause 0`}, "not served"},
	{script{`info server`}, "other facts, some of the same names"},
	{script{`lpush a b`}, "strings are all there is"},
	{script{`set k v pxat 1`, `dbsize`}, "a key whose time is over is gone at once"},
	{script{`hello 3`, `subscribe a`, `publish a hi`}, "a connection's own message comes behind the reply of its PUBLISH, as since Redis 7.2"},
}

func TestAgainstRedis(t *testing.T) {
	redis := startRedis(t)
	for _, engine := range []server.Engine{server.EngineAuto, server.EngineEpoll} {
		t.Run(engine.String(), func(t *testing.T) {
			addr, _ := startCache(t, 0, server.Config{Loops: 1, Engine: engine})
			for _, s := range append(slices.Clone(scripts), moreScripts...) {
				want, got := play(t, redis, s), play(t, addr, s)
				if hideIDs(want) != hideIDs(got) {
					t.Errorf("%q\n redis %q\n cache %q", []string(s), want, got)
				}
			}
			for _, d := range differences {
				if play(t, redis, d.script) == play(t, addr, d.script) {
					t.Errorf("%q does not differ: %s", []string(d.script), d.reason)
				}
			}
		})
	}
}

var beforeSubcommands = regexp.MustCompile(`(?s)^(.*?)(\*\d+\r\n\*10\r\n\$\d+\r\n\w+\||$)`)

// What COMMAND INFO says of each command is what Redis says, less the subcommands that there are not.
func TestCommandInfoAgainstRedis(t *testing.T) {
	redis := dial(t, startRedis(t))
	addr, c := startCache(t, 0, server.Config{Loops: 1})
	cache := dial(t, addr)
	var names []string
	for _, cmd := range c.commands.all {
		if cmd.name != "client|setinfo" && cmd.name != "client|no-touch" {
			names = append(names, cmd.name)
		}
	}
	for _, version := range []string{"2", "3"} {
		redis.do("HELLO", version)
		cache.do("HELLO", version)
		for _, name := range names {
			want, got := redis.do("COMMAND", "INFO", name), cache.do("COMMAND", "INFO", name)
			require.Equal(t, beforeSubcommands.FindStringSubmatch(want)[1], beforeSubcommands.FindStringSubmatch(got)[1])
		}
	}
}

// The arguments of each command in COMMAND DOCS, from which redis-cli makes its hints, are those of Redis.
func TestCommandDocsAgainstRedis(t *testing.T) {
	redis := dial(t, startRedis(t))
	addr, c := startCache(t, 0, server.Config{Loops: 1})
	cache := dial(t, addr)
	arguments := func(reply string) string {
		_, text, _ := strings.Cut(reply, "$9\r\narguments\r\n")
		return text
	}
	for _, version := range []string{"2", "3"} {
		redis.do("HELLO", version)
		cache.do("HELLO", version)
		for _, cmd := range c.commands.all {
			if cmd.name == "client|setinfo" || cmd.name == "client|no-touch" || cmd.subs != nil {
				continue
			}
			want, got := redis.do("COMMAND", "DOCS", cmd.name), cache.do("COMMAND", "DOCS", cmd.name)
			require.Equal(t, arguments(want), arguments(got), cmd.name)
		}
	}
}

// CONFIG GET of several: Redis answers in the order of its hash table.
func TestConfigGetAgainstRedis(t *testing.T) {
	addr, _ := startCache(t, 0, server.Config{Loops: 1})
	args := []string{"CONFIG", "GET", "save", "appendonly", "maxmemory", "nosuch", "timeou?"}
	pairs := func(reply string) []string {
		lines := strings.Split(reply, "\r\n")
		var list []string
		for i := 1; i+3 < len(lines); i += 4 {
			list = append(list, fmt.Sprint(lines[i:i+4]))
		}
		sort.Strings(list)
		return append(list, lines[0])
	}
	require.Equal(t, pairs(dial(t, startRedis(t)).do(args...)), pairs(dial(t, addr).do(args...)))
}

// Random commands, good and bad, in long scripts.
func TestRandomAgainstRedis(t *testing.T) {
	redis := startRedis(t)
	addr, _ := startCache(t, 0, server.Config{Loops: 1})
	rng := rand.New(rand.NewPCG(7, 7))
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	key := func() string { return pick("a", "b", "c", "D", `""`) }
	number := func() string {
		return pick("0", "1", "-1", "1000", "5000", "100000", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "x", "1.5",
			`""`, "007", "99999999999")
	}
	duration := func() string { // none that ends, or can be told from another, while the test runs
		return pick("0", "-1", "1000000", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "x", "1.5", `""`, "007", "99999999999")
	}
	option := func() string {
		return pick("nx", "XX", "get", "keepttl", "ex", "PX", "exat", "pxat", "gt", "LT", "foo") + pick("", " "+duration())
	}
	options := func() string {
		var list []string
		for range rng.IntN(4) {
			list = append(list, option())
		}
		return " " + strings.Join(list, " ")
	}
	command := func() string {
		switch rng.IntN(16) {
		case 0, 1, 2:
			return "set " + key() + " " + pick("v", `"long value"`, number()) + options()
		case 3, 4:
			return "get " + key()
		case 5:
			return pick("expire ", "pexpire ", "expireat ", "pexpireat ") + key() + " " + duration() + options()
		case 6:
			return pick("incrby ", "DECRBY ") + key() + " " + number()
		case 7:
			return pick("incr ", "decr ", "persist ") + key()
		case 8:
			return pick("del ", "exists ", "mget ", "unlink ") + key() + pick("", " "+key(), " "+key()+" "+key())
		case 9:
			return "mset " + key() + " " + number() + pick("", " "+key(), " "+key()+" x")
		case 10:
			return pick("hello", "hello 2", "hello 3", "hello 3 setname x", "hello "+number())
		case 11:
			return pick("ping", "ping x", "echo x", "select 0", "select 1", "client getname", "reset", "flushall", "config get save")
		case 12:
			return pick("subscribe ch", "subscribe ch ch2", "unsubscribe ch", "unsubscribe ch2", "publish other x")
		case 13:
			return pick("foo ", "Get ", "set ", "client ", "config ", "command ") + pick("", number(), key()+" "+key())
		case 14:
			return "exists a b c D"
		}
		return "get " + key() + options()
	}
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	for round := range rounds {
		var s script
		for range 60 {
			line := strings.TrimRight(command(), " ")
			if line == "command" { // a long list, which differs
				continue
			}
			s = append(s, line)
		}
		want, got := hideIDs(play(t, redis, s)), hideIDs(play(t, addr, s))
		if want != got {
			i := 0
			for i < min(len(want), len(got)) && want[i] == got[i] {
				i++
			}
			from := max(0, i-100)
			t.Fatalf("round %d: %q\n redis %q\n cache %q", round, []string(s), want[from:min(len(want), i+100)], got[from:min(len(got), i+100)])
		}
	}
}

// Errors are counted as Redis counts them: by code, and for commands that were refused and those that failed. A command that shows
// or resets counts is left out: Redis counts it when it has run, and this cache before.
func TestErrorCounts(t *testing.T) {
	addr, _ := startServer(t, Config{}, server.Config{Loops: 1})
	usec := regexp.MustCompile(`usec=\d+,usec_per_call=[\d.]+`)
	var got [2]string
	for i, addr := range []string{startRedis(t), addr} {
		c := dial(t, addr)
		c.do("CONFIG", "RESETSTAT")
		for _, cmd := range [][]string{
			{"GET"}, {"foo"}, {"INCR", "x", "y"}, {"SET", "x", "y"}, {"INCR", "x"}, {"CLIENT", "foo"}, {"GETRANGE", "x", "a", "b"},
			{"MULTI"}, {"GET"}, {"EXEC"}, {"MULTI"}, {"INCR", "x"}, {"GET", "x"}, {"INCR", "x"}, {"EXEC"}, {"MULTI"}, {"MULTI"}, {"DISCARD"},
			{"HELLO", "9"}, {"AUTH", "a"}, {"SELECT", "99"}, {"RENAME", "none", "b"}, {"SUBSCRIBE", "ch"}, {"GET", "x"}, {"UNSUBSCRIBE"},
		} {
			c.do(cmd...)
		}
		text := c.do("INFO", "everything")
		var lines []string
		for line := range strings.Lines(usec.ReplaceAllString(text, "")) {
			if strings.HasPrefix(line, "cmdstat_info") || strings.HasPrefix(line, "cmdstat_config") {
				continue
			}
			if strings.HasPrefix(line, "errorstat_") || strings.HasPrefix(line, "total_error_replies") || strings.HasPrefix(line, "cmdstat_") {
				lines = append(lines, line)
			}
		}
		slices.Sort(lines)
		got[i] = strings.Join(lines, "")
		c.do("CONFIG", "RESETSTAT")
		require.NotContains(t, c.do("INFO", "errorstats"), "errorstat_")
	}
	require.Equal(t, got[0], got[1])
}
