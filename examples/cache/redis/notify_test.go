package redis_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/examples/cache/redis"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/server"
)

// eventful are commands with and without events.
const eventful = `set a 1|set a 1 ex 100|set a 1 keepttl|set a 1 get|set a 2 nx|set a 2 xx get|setnx a 2|setnx b 2|setex c 10 1|psetex c 10000 1|getset a 2
mset a 1 b 2 a 3|msetnx a 1 n 2|msetnx n1 1 n2 2|getex a|getex a ex 100|getex a persist|getex a persist|getex a pxat 1|set a 1|getdel a|getdel a
setrange a 2 xx|setrange a 0 ""|append a x|set n 1|incr n|incrby n 5|decr n|decrby n 2|incrbyfloat n 1.5|incr a|del a b nokey|unlink c|set a 1|expire a 100
expire a 200 gt|expire a 100 gt|pexpireat a 1|set a 1|persist a|expire a 10|persist a|expire nokey 1|expire a -1|set a 1|rename a b|rename b b|renamenx b a
set b 1|renamenx b a|copy a z|copy a z|copy a z replace|copy a y db 3|move z 2|move nokey 2|touch a|multi|set a 1|incr a|select 4|del a|set q 1|exec|rename q r
set q 1 px 100000|flushdb|select 0|set a 1|flushall`

// The events of keys are those of redis-server, and in its order.
func TestKeyEvents(t *testing.T) {
	play := func(addr, classes string) string {
		c, marker, sub := connect(t, addr, 2), connect(t, addr, 2), connect(t, addr, 3)
		c.do(t, "FLUSHALL")
		require.Equal(t, "+OK\r\n", c.do(t, "CONFIG", "SET", "notify-keyspace-events", classes))
		defer c.do(t, "CONFIG", "SET", "notify-keyspace-events", "")
		sub.do(t, "PSUBSCRIBE", "__key*")
		var events strings.Builder
		for _, command := range strings.FieldsFunc(eventful, func(r rune) bool { return r == '|' || r == '\n' }) {
			args := strings.Fields(command)
			for i := range args {
				args[i] = strings.Trim(args[i], `"`)
			}
			c.do(t, args...)
			marker.do(t, "PUBLISH", "__keys_end__", command)
			end := matched(3, "__key*", "__keys_end__", command)
			for {
				got := sub.receive(t)
				events.WriteString(got)
				if got == end {
					break
				}
			}
		}
		return events.String()
	}
	redisServer := startRedisServer(t)
	for _, cfg := range []server.Config{{Loops: 2}, {Engine: server.EngineEpoll}} {
		addr := start(t, redis.Config{}, cfg)
		for _, classes := range []string{"AKE", "Kg", "E$", "A", "K", "KElshztd", ""} {
			require.Equal(t, play(redisServer, classes), play(addr, classes), classes)
		}
		for _, classes := range []string{"KEA", "gK", "xE", "Egx", "KElshz", "gxeEK", "Ktd", "KEg$lshzxetd", "", "Kq"} {
			var got [2]string
			for i, at := range []string{redisServer, addr} {
				c := connect(t, at, 2)
				got[i] = c.do(t, "CONFIG", "SET", "notify-keyspace-events", classes) + c.do(t, "CONFIG", "GET", "notify-keyspace-events")
				c.do(t, "CONFIG", "SET", "notify-keyspace-events", "")
			}
			require.Equal(t, got[0], got[1], classes)
		}
		require.Contains(t, connect(t, addr, 2).do(t, "CONFIG", "SET", "notify-keyspace-events", "AKEm"), "does not tell of misses")
	}
}

// Keys that the store removes are told, whoever looks at them, or nobody.
func TestEventsOfRemovedKeys(t *testing.T) {
	addr := start(t, redis.Config{MaxMemory: 2 << 20, Policy: store.AllKeysLRU}, server.Config{Loops: 2})
	c, sub := connect(t, addr, 2), connect(t, addr, 3)
	c.do(t, "CONFIG", "SET", "notify-keyspace-events", "Exe")
	sub.do(t, "PSUBSCRIBE", "*")
	c.do(t, "SELECT", "3")
	c.do(t, "SET", "a", "1", "PX", "1")
	require.Equal(t, matched(3, "*", "__keyevent@3__:expired", "a"), sub.receive(t))
	c.do(t, "DEBUG", "SET-ACTIVE-EXPIRE", "0")
	c.do(t, "SET", "b", "1", "PX", "1")
	time.Sleep(5 * time.Millisecond)
	require.Equal(t, "$-1\r\n", c.do(t, "GET", "b"))
	require.Equal(t, matched(3, "*", "__keyevent@3__:expired", "b"), sub.receive(t))
	c.do(t, "DEBUG", "SET-ACTIVE-EXPIRE", "1")
	c.do(t, "DEBUG", "POPULATE", "30000", "key", "100")
	require.Contains(t, sub.receive(t), "__keyevent@3__:evicted\r\n")
	c.do(t, "CONFIG", "SET", "notify-keyspace-events", "K$")
	c.do(t, "FLUSHALL")
	require.Equal(t, ":1\r\n", c.do(t, "PUBLISH", "end", "x"))
	for sub.receive(t) != matched(3, "*", "end", "x") {
	}
	c.do(t, "SET", "a", "1", "PX", "1")
	require.Equal(t, matched(3, "*", "__keyspace@3__:a", "set"), sub.receive(t))
	sub.silent(t)
}
