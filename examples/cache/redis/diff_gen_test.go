package redis_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/protoring/protoring/examples/cache/store"
)

// A generator makes scripts. What it knows of the state of the connections only makes scripts better: none is wrong, with the exceptions
// that the comments name.
type generator struct {
	rng     *rand.Rand
	version int
	serial  int // of durations
	multi   [diffConns]bool
	tracks  bool // connections track keys
}

// Connection 0 is in no transaction and has no subscriptions, so that what it says is done at once. The last two subscribe.
const (
	plainConn = 0
	firstSub  = diffConns - 2
)

func newGenerator(seed uint64, version int) *generator {
	return &generator{rng: rand.New(rand.NewPCG(seed, uint64(version))), version: version, tracks: tracks(seed)}
}

// tracks says whether the script of a seed has CLIENT TRACKING. Its commands are not sent in bursts: Redis tells of prefixes when it has
// nothing else to do, so that what is told depends on what comes together.
func tracks(seed uint64) bool { return seed%4 == 0 }

// idOf stands for the number of a connection, which is not the same on both servers.
func idOf(conn int) string { return "\x01id" + strconv.Itoa(conn) }

func (g *generator) script(commands int) (script []unit) {
	for n := 0; n < commands; {
		conn := g.rng.IntN(diffConns)
		for range 1 + g.rng.IntN(8) {
			u := unit{conn, g.unit(conn)}
			n += len(u.cmds)
			script = append(script, u)
		}
	}
	return script
}

func (g *generator) one(n int) bool { return g.rng.IntN(n) == 0 }

func pick[T any](g *generator, list ...T) T { return list[g.rng.IntN(len(list))] }

func (g *generator) key() string {
	return pick(g, "a", "a", "b", "b", "c", "d", "e", "key:1", "key:2", "K", "", "\x00\r\n\xff")
}

func (g *generator) value() string {
	switch g.rng.IntN(12) {
	case 0, 1, 2:
		return strconv.Itoa(g.rng.IntN(200) - 100)
	case 3:
		return g.integer()
	case 4:
		return g.float()
	case 5:
		return ""
	case 6:
		return strings.Repeat("0123456789", pick(g, 4, 5, 6, 100))
	case 7:
		return string([]byte{byte(g.rng.UintN(256)), 0, '\r', '\n', byte(g.rng.UintN(256))})
	case 8:
		if g.one(20) {
			return strings.Repeat("x", pick(g, 16<<10, 40<<10, 100_000))
		}
	}
	return pick(g, "value", "Hello, World", "x")
}

func (g *generator) integer() string {
	return pick(g, "0", "1", "-1", "2", "10", "-10", "99999", "9223372036854775807", "-9223372036854775808", "9223372036854775808",
		"-9223372036854775809", "9223372036854775806", "18446744073709551616", "1.0", "", "abc", " 1", "1 ", "+1", "-0", "00", "01", "0x1",
		"1e3", "4611686018427387904", "-4611686018427387905", strings.Repeat("9", 40))
}

func (g *generator) float() string {
	return pick(g, "0.5", "-0.5", "1.25", "3", "-7", "1e3", "5.0e3", "-2.5e-2", "100.75", "0.125", "1e400", "nan", "inf", "-inf", "abc",
		"", " 1.5", "1.5 ",
		"+1.5", "0x10", "1e", ".5", "5.", "-0", "0.0", "1e17", "123456789012", "1\x002")
}

// index is an offset in a value.
func (g *generator) index() string {
	return pick(g, "0", "1", "2", "3", "5", "9", "20", "60", "-1", "-2", "-3", "-5", "-100", "1000", "9223372036854775807",
		"-9223372036854775808", "x",
		"1.5", "", "536870911", "536870912", "4294967295")
}

// seconds is a duration that is never over while the test runs, and differs from all others by more than the servers' clocks do;
// or it is none at all.
func (g *generator) seconds() string {
	if g.one(6) {
		return g.noDuration()
	}
	g.serial++
	return strconv.Itoa(100_000 + 20*g.serial)
}

func (g *generator) millis() string {
	if g.one(6) {
		return g.noDuration()
	}
	g.serial++
	return strconv.Itoa((100_000 + 20*g.serial) * 1000)
}

func (g *generator) noDuration() string {
	return pick(g, "0", "-1", "-100", "9223372036854775807", "9223372036854775", "9223372036854776", "-9223372036854775808",
		"9223372036854775808", "abc", "",
		"1.5", "+1", " 1", "-0")
}

// at is a time in seconds since 1970 that is long past or far away.
func (g *generator) at(unit int) string {
	if g.one(6) {
		return g.noDuration()
	}
	g.serial++
	return strconv.Itoa((99_000_000_000 + 20*g.serial) * unit)
}

// junk replaces arguments. No small positive number is among it, which could be a duration.
func (g *generator) junk() string {
	return pick(g, "", "abc", "NX", "XX", "GT", "LT", "KEEPTTL", "GET", "EX", "PX", "PERSIST", "REPLACE", "-1", "1.5",
		"9223372036854775808", "\xff\x00",
		"a\r\nb", "'", "\"", strings.Repeat("long", 50), "MATCH", "COUNT")
}

func (g *generator) keys(most int) []string {
	list := make([]string, 1+g.rng.IntN(most))
	for i := range list {
		list[i] = g.key()
	}
	return list
}

func (g *generator) pairs(most int) (list []string) {
	for range 1 + g.rng.IntN(most) {
		list = append(list, g.key(), g.value())
	}
	return list
}

func cat(first string, rest ...string) []string { return append([]string{first}, rest...) }

// unit returns one command, or several that belong together.
func (g *generator) unit(conn int) []wire {
	if conn == plainConn && g.one(4) {
		return g.special()
	}
	args := g.command(conn)
	name := args[0]
	if args = g.spoil(args); strings.EqualFold(name, "multi") {
		g.multi[conn] = true // perhaps not, but then no harm is done
	} else if slicesEqualFold(args, "exec") || slicesEqualFold(args, "discard") {
		g.multi[conn] = false
	}
	if strings.EqualFold(args[0], "quit") || strings.EqualFold(args[0], "reset") && len(args) == 1 {
		g.multi[conn] = false
	}
	w := wire{args: args}
	if g.one(30) && !strings.Contains(strings.Join(args, ""), "\x01id") {
		w.raw = g.inline(args)
	}
	cmds := []wire{w}
	if past(args) { // before anyone counts keys: Redis counts one that has expired until it sees it
		cmds = append(cmds, wire{args: append([]string{"EXISTS"}, args[1])})
	}
	return cmds
}

func slicesEqualFold(args []string, word string) bool {
	return len(args) == 1 && strings.EqualFold(args[0], word)
}

// past says whether a SET or GETEX may have a time that is over already.
func past(args []string) bool {
	if len(args) < 3 || !strings.EqualFold(args[0], "set") && !strings.EqualFold(args[0], "getex") {
		return false
	}
	for _, a := range args[2:] {
		if strings.EqualFold(a, "exat") || strings.EqualFold(a, "pxat") {
			return true
		}
	}
	return false
}

// inline writes a command as a line.
func (g *generator) inline(args []string) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteString(pick(g, " ", "  ", "\t"))
		}
		plain := a != "" && !strings.ContainsFunc(a, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\'' || r == '\\' })
		switch {
		case plain && !g.one(4):
			b.WriteString(a)
		case plain && g.one(2):
			b.WriteString("'" + a + "'")
		default:
			b.WriteByte('"')
			for j := range len(a) {
				fmt.Fprintf(&b, "\\x%02x", a[j])
			}
			b.WriteByte('"')
		}
	}
	if b.Len() > 60_000 {
		return "PING\r\n"
	}
	return b.String() + pick(g, "\r\n", "\n", " \r\n")
}

// spoil makes some commands wrong.
func (g *generator) spoil(args []string) []string {
	if strings.EqualFold(args[0], "client") && len(args) > 2 && strings.EqualFold(args[1], "kill") {
		return args // it could kill others
	}
	if strings.Contains(strings.Join(args, ""), "\x01id") {
		return args // an error would repeat the number
	}
	if args[0] != "" && g.one(4) {
		args[0] = pick(g, strings.ToLower(args[0]), strings.ToUpper(args[0]), strings.ToUpper(args[0][:1])+strings.ToLower(args[0][1:]))
	}
	sub := strings.Contains(strings.ToLower(args[0]), "subscribe")
	if sub || !g.one(12) {
		return args
	}
	i := g.rng.IntN(len(args))
	switch g.rng.IntN(6) {
	case 0:
		if len(args) > 1 {
			args = append(args[:i:i], args[i+1:]...)
		}
	case 1:
		args = append(args[:i:i], append([]string{args[i]}, args[i:]...)...)
	case 2:
		args = append(args[:len(args):len(args)], g.junk())
	case 3, 4:
		if i > 0 {
			args[i] = g.junk()
		}
	case 5:
		args[0] += pick(g, "x", "", " ") // a zero byte is compared or not, by the bucket that Redis' hash puts it in
	}
	if dangerous(args) {
		return []string{"PING"}
	}
	return args
}

// dangerous says whether a command that was spoiled must not be sent: one whose answer is known to be another, or no answer.
func dangerous(args []string) bool {
	if slices.ContainsFunc(args, func(a string) bool { return len(a) > store.MaxKey }) {
		return true // a value may have come where a key belongs, and Redis takes longer ones
	}
	joined := strings.ToLower(strings.Join(args, " "))
	for _, bad := range []string{"command", "command info", "command count", "sync", "client list", "client info", "client reply",
		"client help", "config help", "object help", "pubsub help",
		"command help", "config set maxmemory", "subscribe", "unsubscribe", "psubscribe", "punsubscribe", "client no-evict on"} {
		if joined == bad || strings.HasPrefix(joined, bad+" ") && !strings.HasPrefix(bad, "command") {
			return true
		}
	}
	return false
}

// special are commands that the replies of depend on what else goes on, and those that end the connection or wait.
func (g *generator) special() []wire {
	key := g.key()
	do := func(args ...string) wire { return wire{args: args} }
	switch g.rng.IntN(9) {
	case 0, 1: // a key that expires
		const short = 4 * time.Millisecond
		w := pick(g, do("SET", key, "v", "PX", "1"), do("PSETEX", key, "1", "v"), do("SET", key, "v", "GET", "PX", "1"))
		w.pause = short
		cmds := []wire{w, do(pick(g, "EXISTS", "GET", "TTL", "TYPE", "TOUCH"), key), do("EXISTS", key)}
		if g.one(3) {
			w = do("PEXPIRE", key, "1")
			w.pause = short
			cmds = []wire{do("SET", key, "v"), w, do("EXISTS", key)}
		}
		return cmds
	case 2, 3: // a whole iteration
		args := []string{"SCAN", "0"}
		for range g.rng.IntN(3) {
			args = append(args, pick(g, []string{"MATCH", g.glob()}, []string{"COUNT", pick(g, "1", "2", "10", "1000")}, []string{"TYPE",
				pick(g, "string", "list", "x")})...)
		}
		return []wire{{args: args, scan: true}}
	case 4: // what is no command
		raw := pick(g, "*x\r\n", "*1\r\nx\r\n", "*1\r\n$x\r\n", "*1\r\n$-1\r\n", "*1\r\n$536870913\r\n", "*2147483648\r\n", "get \"a\r\n",
			"*1\r\n+\r\n", "*01\r\n",
			"*2\r\n$3\r\nget\r\n:1\r\n", "*1\r\n$01\r\n", "get 'a'b\r\n", "*-\r\n", "*3\r\n$3\r\nset\r\n$1\r\na\r\n$99999999999999999999\r\n")
		return []wire{{raw: raw, ends: true}}
	case 5:
		if g.one(3) {
			return []wire{{args: []string{"QUIT"}, ends: true}}
		}
		return []wire{{raw: pick(g, "\r\n", "*0\r\n", "*-1\r\n", "\n\r\n") + "PING\r\n", args: []string{"PING"}}}
	case 6: // no replies, and then one
		raw := string(do("CLIENT", "REPLY", "OFF").bytes()) + string(do("SET", key, g.value()).bytes()) + string(do("CLIENT", "REPLY",
			"ON").bytes())
		if g.one(2) {
			raw = string(do("CLIENT", "REPLY", "SKIP").bytes()) + string(do("INCR", key).bytes()) + string(do("GET", key).bytes())
		}
		return []wire{{raw: raw}}
	case 7:
		return []wire{do("RANDOMKEY"), do("DBSIZE")}
	}
	return []wire{do("FLUSHALL")}
}

func (g *generator) glob() string {
	return pick(g, "*", "a", "?", "key:*", "*:1", "[a-c]", "[^a]", "k[e]y:?", "\\a", "[z-a]", "", "[", "a*b*c", "**", "?*", "[^a-c]*",
		"[\\a]", "*[", "\\", "*\\", "[a", "[]",
		"[^]", "k*y*1", "[a-", "[b-a]")
}
