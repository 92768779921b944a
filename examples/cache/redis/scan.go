package redis

import (
	"strconv"
	"strings"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

const (
	defaultScan = 10   // keys of a SCAN
	keysStep    = 1024 // keys that KEYS looks at at once
)

// collect appends what a scan finds that matches, and returns the next cursor. A nil pattern matches all.
func (c *conn) collect(cursor uint64, count int, pattern []byte, found *keyList) (next uint64) {
	keys := &c.loop.keys
	keys.Reset()
	next = c.db.Scan(cursor, count, keys)
	for i := range keys.Len() {
		if key := keys.At(i); pattern == nil || matches(pattern, key) {
			found.add(key)
		}
	}
	return next
}

func isStar(pattern []byte) bool { return len(pattern) == 1 && pattern[0] == '*' }

func keys(c *conn, args [][]byte, out *outbound) reactor.Status {
	pattern := args[1]
	if isStar(pattern) {
		pattern = nil
	}
	var r keysRest
	for cursor := c.collect(0, keysStep, pattern, &r.keys); cursor != 0; {
		cursor = c.collect(cursor, keysStep, pattern, &r.keys)
	}
	out.Send(resp.Array(r.keys.Len()))
	return c.begin(&r, out)
}

func scan(c *conn, args [][]byte, out *outbound) reactor.Status {
	cursor, valid := parseCursor(args[1])
	if !valid {
		return refuse(out, "ERR invalid cursor")
	}
	count, others := int64(defaultScan), false
	var pattern []byte
	for i := 2; i < len(args); i += 2 {
		switch last := i+1 == len(args); {
		case last:
			return refuse(out, errSyntax)
		case is(args[i], "count"):
			var ok bool
			if count, ok = store.ParseInt(args[i+1]); !ok {
				return refuse(out, errInteger)
			}
			if count < 1 {
				return refuse(out, errSyntax)
			}
		case is(args[i], "match"):
			if pattern = args[i+1]; isStar(pattern) {
				pattern = nil
			}
		case is(args[i], "type"):
			others = !is(args[i+1], "string")
		default:
			return refuse(out, errSyntax)
		}
	}
	var r keysRest
	next := c.collect(cursor, int(count), pattern, &r.keys)
	if others {
		r.keys.Reset()
	}
	out.Send(resp.Array(2))
	out.Send(resp.BulkString(strconv.FormatUint(next, 10)))
	out.Send(resp.Array(r.keys.Len()))
	return c.begin(&r, out)
}

// parseCursor parses as C's strtoul does, where nothing is 0, and a minus counts from the end.
func parseCursor(arg []byte) (uint64, bool) {
	text := string(untilZero(arg))
	if text == "" {
		return 0, true
	}
	unsigned := strings.TrimPrefix(text, "-")
	if len(unsigned) == len(text) {
		unsigned = strings.TrimPrefix(text, "+")
	}
	n, err := strconv.ParseUint(unsigned, 10, 64)
	if err != nil {
		return 0, false
	}
	if text[0] == '-' {
		n = -n
	}
	return n, true
}

func randomKey(c *conn, _ [][]byte, out *outbound) reactor.Status {
	key, found := c.db.Random(c.loop.scratch)
	if !found {
		out.Send(resp.Null())
		return reactor.Continue
	}
	out.Send(resp.Bulk(key))
	return reactor.Continue
}
