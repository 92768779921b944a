package memcached

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// itemLimit is the largest item of the comparisons. With less, memcached 1.6.18 crashes.
const itemLimit = 1 << 20

// padding ends commands whose data is longer than they said.
var padding = strings.Repeat("mn\r\n", 60)

// generator writes commands, good and bad.
type generator struct {
	*rand.Rand
	meta bool
	sum  bool // the batch has incr and its like, and no reads before them: what memcached has yet to send it does not change in place
}

func (g generator) pick(list ...string) string { return list[g.IntN(len(list))] }

var keys = []string{"a", "b", "c", "d", "foo", "\ttab", strings.Repeat("k", 250)}

func (g generator) key() string {
	if g.IntN(100) == 0 {
		return g.pick(strings.Repeat("k", 251), "noreply", "0", "x\ry", "\xff\xfe")
	}
	return keys[g.IntN(len(keys))]
}

func (g generator) exptime() string {
	if g.IntN(20) == 0 {
		return g.pick("x", "", "99999999999999999999", "1x", "-x", "-1\t", " ", "4294967296", "4294967396")
	}
	return g.pick("0", "0", "0", "100", "5000", "1000000", "-1", "-100", "+100", "\t100", strconv.FormatInt(time.Now().Unix()+100_020, 10), "2000000000")
}

func (g generator) flags() string {
	if g.IntN(20) == 0 {
		return g.pick("x", "-1", "4294967296", "18446744073709551616", "-18446744073709551615", "")
	}
	return g.pick("0", "0", "1", "5", "4294967295", "0005", "+7")
}

func (g generator) value() string {
	switch g.IntN(12) {
	case 0:
		return strings.Repeat("x", g.IntN(200))
	case 1, 2:
		return ""
	case 3:
		return g.pick("a\r\nb", "END\r\n", "\r\nx", "VALUE a 0 1", "a b c", "\x00\x01\xff")
	case 4:
		return strings.Repeat("z", 1500)
	}
	return g.pick("0", "1", "9", "10", "99", "100", "999", "5 ", " 7", "007", "+3", "-1", "1x", "x", "12 34", "1\x002", "461168601842738",
		"99999999999999999999", "-18446744073709551615", "1.5", "0x10", "10   ", "\t8\t")
}

func (g generator) delta() string {
	if g.IntN(12) == 0 {
		return g.pick("x", "-1", "", "18446744073709551616", "1x", "-18446744073709551615", "+5", "\t5")
	}
	return g.pick("0", "1", "1", "2", "9", "10", "90", "100", "991")
}

func (g generator) noreply() string {
	if g.IntN(6) == 0 {
		return " noreply"
	}
	if g.IntN(60) == 0 {
		return g.pick(" x", " noreply x", "  noreply ", " NOREPLY")
	}
	return ""
}

func (g generator) unique(key string) string {
	if g.IntN(15) == 0 {
		return g.pick("0", "x", "-1", "1152921504606846976", "18446744073709551615", "")
	}
	if len(key) != 1 && key != "foo" {
		return "1152921504606846976"
	}
	return "<" + key + ":" + g.pick("0", "0", "0", "1", "2") + ">"
}

// size returns what a command says of its data's size.
func (g generator) size(data string) string {
	switch g.IntN(60) {
	case 0:
		return strconv.Itoa(max(0, len(data)-1-g.IntN(3)))
	case 1:
		return strconv.Itoa(len(data) + 1 + g.IntN(20))
	case 2:
		return g.pick("-1", "x", "", "2147483646", "2147483648", "4294967297", "99999999999999999999", "1x")
	}
	return strconv.Itoa(len(data))
}

func (g generator) end() string {
	if g.IntN(30) == 0 {
		return g.pick("\n", " \r\n", "\r\r\n", "\x00junk\r\n")
	}
	return "\r\n"
}

// large returns a command with data of about the largest size. Nothing else may be wrong with it: memcached crashes.
func (g generator) large() string {
	data := strings.Repeat("y", itemLimit-70+g.IntN(20))
	key := g.pick("a", "b", "foo")
	if g.meta {
		return fmt.Sprintf("ms %s %d %s\r\n%s\r\n", key, len(data), g.pick("c", "k q", "MA", "ME", "MR", "F5"), data)
	}
	return fmt.Sprintf("%s %s %s 0 %d%s\r\n%s\r\n", g.pick("set", "add", "replace", "append"), key, g.pick("0", "1"), len(data), g.pick("", " noreply"), data)
}

// endOfKeys has no carriage return that would be a part of the last key, and make it too long.
func (g generator) endOfKeys() string { return strings.ReplaceAll(g.end(), "\r\r", "\r") }

// text returns a text command.
func (g generator) text() string {
	key := g.key()
	switch n := g.IntN(30); {
	case n < 9:
		data := g.value()
		verb := g.pick("set", "set", "set", "set", "add", "replace", "append", "prepend")
		return verb + " " + key + " " + g.flags() + " " + g.exptime() + " " + g.size(data) + g.noreply() + g.end() + data + "\r\n"
	case n < 12:
		data := g.value()
		return "cas " + key + " " + g.flags() + " " + g.exptime() + " " + g.size(data) + " " + g.unique(key) + g.noreply() + g.end() + data + "\r\n"
	case n < 16:
		if g.sum {
			return g.pick("incr ", "decr ") + key + " " + g.delta() + g.noreply() + g.end()
		}
		fallthrough
	case n < 20:
		if g.sum {
			return g.pick("incr ", "decr ") + key + " " + g.delta() + g.noreply() + g.end()
		}
		if len(key) > 250 || len(key) == 250 && g.IntN(2) == 0 {
			key = "a" // the error of a key that is too long takes answers with it that are not sent yet
		}
		return g.pick("get ", "get ", "gets ", "bget ", " get  ") + key + g.pick("", "", " "+keys[0]+" "+keys[1], "  nokey "+keys[4]) + g.endOfKeys()
	case n < 22:
		if g.sum {
			return "incr " + key + " " + g.delta() + g.end()
		}
		if len(key) > 250 {
			key = "a"
		}
		return g.pick("gat ", "gats ") + g.exptime() + g.pick(" ", " ", " "+keys[2]+" ") + key + g.endOfKeys()
	case n < 24:
		return "touch " + key + " " + g.exptime() + g.noreply() + g.end()
	case n < 26:
		return "delete " + key + g.pick("", "", " 0", " 1") + g.noreply() + g.end()
	case n < 27:
		if g.IntN(10) > 0 {
			return ""
		}
		return g.pick("flush_all", "flush_all 0", "flush_all -1", "flush_all x", "flush_all 0 0", "flush_all x y z") + g.noreply() + g.end()
	case n < 28:
		return g.pick("verbosity 0", "verbosity", "verbosity x", "version", "version x", "stats nosuch", "stats detail", "stats detail x",
			"shutdown", "slabs", "lru", "extstore", "cache_memlimit") + g.end()
	case n < 29: // a number of words that is wrong
		words := g.pick("set", "add", "cas", "get", "gets", "gat", "incr", "decr", "touch", "delete", "replace", "prepend")
		if g.sum && strings.HasPrefix(words, "g") {
			words = "incr"
		}
		for range g.IntN(9) {
			words += " " + g.pick("a", "0", "1", "noreply", "10")
		}
		return words + g.end()
	}
	return g.pick("foo", "a", "", "GET a", "sett a", "gett a", "getss a", "mm a", "mx", "m", "mnn", "\x00", "get", "gat", "gat 0", "incr", "\x80x", "  ",
		"decrx a 1", "caS", "tou", "fl", "flush_al", "ver", strings.Repeat("x ", 40), strings.Repeat("y", 2000)) + g.end()
}

// metaFlag returns one flag of mg.
func (g generator) metaFlag(key string) string {
	switch g.IntN(16) {
	case 0:
		return "T" + g.exptime()
	case 1:
		return "N" + g.exptime()
	case 2:
		return "R" + g.pick("0", "50", "1000", "10000", "2000000000", "-1", "x", "")
	case 3:
		return "O" + g.pick("1", "abc", "", strings.Repeat("o", 31), strings.Repeat("o", 32))
	case 4:
		return g.pick("E5", "x", "?", "\xff", "S1", "z", "M", "F1", "Fx", "D1", "J1", "Cx", "I", "P", "L5", "Mx", "~", "\x7f", "A", "[")
	}
	return g.pick("v", "k", "s", "t", "c", "f", "h", "l", "u", "q")
}

// distinct joins flags, usually without repeating one.
func (g generator) distinct(flags ...string) string {
	var b strings.Builder
	var seen [256]bool
	g.Shuffle(len(flags), func(i, j int) { flags[i], flags[j] = flags[j], flags[i] })
	for _, f := range flags {
		if f == "" || seen[f[0]] && g.IntN(20) > 0 {
			continue
		}
		seen[f[0]] = true
		b.WriteString(" " + f)
	}
	return b.String()
}

// binary returns a key for the b flag, and the flag; no other flags of these go with it.
func (g generator) binary(key string, flags []string, not string) (string, []string) {
	if g.IntN(8) > 0 {
		return key, flags
	}
	for i, f := range flags {
		switch {
		case f != "" && strings.ContainsRune(not, rune(f[0])):
			flags[i] = ""
		case strings.HasPrefix(f, "C<"):
			flags[i] = "C1152921504606846976" // uniques of two keys compare in memcached only
		}
	}
	return g.pick("Zm9v", "Zm9v", "YmFy", "YQ==", "YmE=", "Zm9", "====", "Z?m9v", "AAEC/w=="), append(flags, "b")
}

// metaCommand returns a meta command.
func (g generator) metaCommand() string {
	key := g.key()
	var flags []string
	switch n := g.IntN(20); {
	case n < 6:
		if g.sum {
			return g.metaSum(key)
		}
		for range g.IntN(9) {
			flags = append(flags, g.metaFlag(key))
		}
		key, flags = g.binary(key, flags, "N") // memcached forgets that the key of a new item is binary
		return "mg " + key + g.distinct(flags...) + g.end()
	case n < 12:
		data := g.value()
		for range g.IntN(6) {
			switch g.IntN(10) {
			case 0:
				flags = append(flags, "T"+g.exptime())
			case 1:
				flags = append(flags, "F"+g.flags())
			case 2:
				flags = append(flags, "C"+g.unique(key))
			case 3:
				flags = append(flags, "M"+g.pick("E", "A", "P", "R", "S", "S", "x", "", "e", "EE"))
			case 4:
				flags = append(flags, "I")
			case 5:
				flags = append(flags, g.metaFlag(key))
			default:
				flags = append(flags, g.pick("c", "k", "q", "O5", "b"))
			}
		}
		for i, f := range flags {
			if f == "b" {
				flags[i] = ""
			}
		}
		key, flags = g.binary(key, flags, "")
		return "ms " + key + " " + g.size(data) + g.distinct(flags...) + g.end() + data + "\r\n"
	case n < 14:
		for range g.IntN(6) {
			switch g.IntN(8) {
			case 0:
				flags = append(flags, "T"+g.exptime())
			case 1:
				flags = append(flags, "C"+g.unique(key))
			case 2, 3:
				flags = append(flags, "I")
			case 4:
				flags = append(flags, g.metaFlag(key))
			default:
				flags = append(flags, g.pick("k", "q", "O5"))
			}
		}
		key, flags = g.binary(key, flags, "")
		return "md " + key + g.distinct(flags...) + g.end()
	case n < 17:
		if g.sum {
			return g.metaSum(key)
		}
		fallthrough
	case n < 18:
		return "me " + g.pick(key, key, "Zm9v b", "Zm9 b", "Zm9v k b", "") + g.end()
	case n < 19:
		return g.pick("mn", "mn x", "mg", "ms", "md", "ma", "me", "mx a", "ms a", "ms a x", "mg nokey", "md a", "mg"+strings.Repeat(" a", 19), "ms a 1"+strings.Repeat(" a", 19)) + g.end()
	}
	return g.text()
}

// metaSum returns an ma. One with a T is followed by a delete: memcached sets that of the item that it replaced.
func (g generator) metaSum(key string) string {
	var flags []string
	behind := ""
	for range g.IntN(7) {
		switch g.IntN(10) {
		case 0:
			flags = append(flags, "T"+g.exptime())
			behind = "delete " + key + " noreply\r\n"
		case 1, 2:
			flags = append(flags, "N"+g.exptime())
		case 3:
			flags = append(flags, "J"+g.delta())
		case 4:
			flags = append(flags, "D"+g.delta())
		case 5:
			flags = append(flags, "M"+g.pick("I", "D", "+", "-", "x", "i", "", "II"))
		case 6:
			flags = append(flags, "C"+g.unique(key))
		case 7:
			flags = append(flags, g.pick("O5", "O"+strings.Repeat("o", 32), "x", "?", "v v"))
		default:
			flags = append(flags, g.pick("c", "k", "q", "v", "t", "v"))
		}
	}
	if behind == "" {
		key, flags = g.binary(key, flags, "N")
	}
	return "ma " + key + g.distinct(flags...) + "\r\n" + behind
}
