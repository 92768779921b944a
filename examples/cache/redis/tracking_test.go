package redis_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/redis"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/server"
)

func invalid(key string) string {
	return wireOf(3, resp.Push(2), bulk("invalidate"), resp.Array(1), bulk(key))
}

const allInvalid = ">2\r\n$10\r\ninvalidate\r\n_\r\n"

// The rules of client-side caching, each as redis-server 7.0 has it: the same test passes against one.
func TestTracking(t *testing.T) {
	servers := map[string]string{
		"io_uring": start(t, redis.Config{}, server.Config{Loops: 3}),
		"epoll":    start(t, redis.Config{}, server.Config{Loops: 3, Engine: server.EngineEpoll}),
	}
	if _, err := exec.LookPath("redis-server"); err == nil || os.Getenv("CI") != "" {
		servers["redis"] = startRedisServer(t)
	}
	checks := map[string]func(t *testing.T, addr string, c, other *peer){
		"told once": func(t *testing.T, addr string, c, other *peer) {
			c.do(t, "CLIENT", "TRACKING", "ON")
			other.do(t, "SET", "a", "1")
			c.do(t, "GET", "a")
			other.do(t, "SET", "a", "2")
			require.Equal(t, invalid("a"), c.receive(t))
			other.do(t, "SET", "a", "3")
			c.silent(t)
			c.do(t, "MGET", "a", "b")
			other.do(t, "DEL", "a", "b")
			require.Equal(t, invalid("a"), c.receive(t))
			c.silent(t)
		},
		"own changes, behind the reply": func(t *testing.T, addr string, c, other *peer) {
			c.do(t, "CLIENT", "TRACKING", "ON")
			c.do(t, "GET", "a")
			require.Equal(t, "+OK\r\n", c.do(t, "SET", "a", "1"))
			require.Equal(t, invalid("a"), c.receive(t))
			c.do(t, "CLIENT", "TRACKING", "ON", "NOLOOP")
			c.do(t, "GET", "a")
			c.do(t, "SET", "a", "1")
			c.silent(t)
		},
		"behind a transaction": func(t *testing.T, addr string, c, other *peer) {
			c.do(t, "CLIENT", "TRACKING", "ON")
			c.do(t, "GET", "a")
			for _, args := range [][]string{{"MULTI"}, {"SET", "a", "1"}, {"INCR", "a"}} {
				c.do(t, args...)
			}
			require.Equal(t, "*2\r\n+OK\r\n:2\r\n", c.do(t, "EXEC"))
			require.Equal(t, invalid("a"), c.receive(t))
			c.silent(t)
		},
		"flushes": func(t *testing.T, addr string, c, other *peer) {
			c.do(t, "CLIENT", "TRACKING", "ON", "NOLOOP")
			c.do(t, "GET", "a")
			other.do(t, "FLUSHALL")
			require.Equal(t, allInvalid, c.receive(t))
			require.Equal(t, "+OK\r\n", c.do(t, "FLUSHDB"))
			require.Equal(t, allInvalid, c.receive(t))
			other.do(t, "SET", "a", "1")
			c.silent(t)
		},
		"expiry": func(t *testing.T, addr string, c, other *peer) {
			c.do(t, "CLIENT", "TRACKING", "ON")
			other.do(t, "SET", "a", "1", "PX", "30")
			c.do(t, "GET", "a")
			require.Equal(t, invalid("a"), c.receive(t))
			require.Equal(t, "_\r\n", c.do(t, "GET", "a"))
		},
		"broadcast": func(t *testing.T, addr string, c, other *peer) {
			c.do(t, "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "user:", "PREFIX", "item:")
			other.do(t, "SET", "user:1", "x")
			require.Equal(t, invalid("user:1"), c.receive(t))
			other.do(t, "SET", "else", "x")
			other.do(t, "SET", "item:1", "x")
			require.Equal(t, invalid("item:1"), c.receive(t))
			c.do(t, "GET", "else")
			other.do(t, "DEL", "else")
			c.silent(t)
			require.Equal(t, "-ERR Prefix 'user:1' overlaps with an existing prefix 'user:'. Prefixes for a single client must not overlap.\r\n",
				c.do(t, "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "user:1"))
			c.do(t, "CLIENT", "TRACKING", "OFF")
			other.do(t, "SET", "user:1", "y")
			c.silent(t)
		},
		"broadcast of several keys": func(t *testing.T, addr string, c, other *peer) {
			c.do(t, "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "user:")
			other.do(t, "MSET", "user:1", "x", "else", "x", "user:2", "x", "user:1", "y")
			require.Equal(t, wireOf(3, resp.Push(2), bulk("invalidate"), resp.Array(2), bulk("user:1"), bulk("user:2")), c.receive(t))
			for _, args := range [][]string{{"MULTI"}, {"SET", "user:1", "1"}, {"SET", "user:3", "1"}, {"INCR", "user:1"}, {"EXEC"}} {
				other.do(t, args...)
			}
			require.Equal(t, wireOf(3, resp.Push(2), bulk("invalidate"), resp.Array(2), bulk("user:1"), bulk("user:3")), c.receive(t))
			c.silent(t)
		},
		"a bound on keys": func(t *testing.T, addr string, c, other *peer) {
			other.do(t, "CONFIG", "SET", "tracking-table-max-keys", "1")
			defer other.do(t, "CONFIG", "SET", "tracking-table-max-keys", "1000000")
			c.do(t, "CLIENT", "TRACKING", "ON")
			c.do(t, "GET", "a")
			c.send(t, "GET", "b")
			var got []string
			for range 2 { // the reply, and that a or b is forgotten, which Redis tells later
				got = append(got, c.receive(t))
			}
			require.Contains(t, got, "_\r\n")
			require.True(t, slices.Contains(got, invalid("a")) || slices.Contains(got, invalid("b")), got)
			c.silent(t)
			require.Contains(t, other.do(t, "INFO", "stats"), "\r\ntracking_total_keys:1\r\ntracking_total_items:1\r\n")
			other.do(t, "CONFIG", "SET", "tracking-table-max-keys", "1000")
			c.do(t, "MGET", "a", "b", "c", "d")
			other.do(t, "CONFIG", "SET", "tracking-table-max-keys", "1")
			for range 3 { // without another read
				require.Contains(t, c.receive(t), "invalidate")
			}
		},
		"optin": func(t *testing.T, addr string, c, other *peer) {
			c.do(t, "CLIENT", "TRACKING", "ON", "OPTIN")
			c.do(t, "GET", "a")
			c.do(t, "CLIENT", "CACHING", "YES")
			c.do(t, "GET", "b")
			c.do(t, "GET", "c")
			other.do(t, "MSET", "a", "1", "b", "1", "c", "1")
			require.Equal(t, invalid("b"), c.receive(t))
			c.silent(t)
			c.do(t, "CLIENT", "CACHING", "YES")
			for _, args := range [][]string{{"MULTI"}, {"GET", "a"}, {"GET", "b"}, {"EXEC"}, {"GET", "c"}} {
				c.do(t, args...)
			}
			other.do(t, "SET", "a", "1")
			require.Equal(t, invalid("a"), c.receive(t))
			other.do(t, "SET", "c", "1")
			other.do(t, "SET", "b", "1")
			require.Equal(t, invalid("b"), c.receive(t))
		},
		"optout": func(t *testing.T, addr string, c, other *peer) {
			c.do(t, "CLIENT", "TRACKING", "ON", "OPTOUT")
			c.do(t, "CLIENT", "CACHING", "NO")
			c.do(t, "GET", "a")
			c.do(t, "GET", "b")
			other.do(t, "MSET", "a", "1", "b", "1")
			require.Equal(t, invalid("b"), c.receive(t))
			c.silent(t)
		},
		"redirect": func(t *testing.T, addr string, c, other *peer) {
			target := connect(t, addr, 2)
			id := target.do(t, "CLIENT", "ID")
			target.do(t, "SUBSCRIBE", "__redis__:invalidate")
			require.Equal(t, "+OK\r\n", c.do(t, "CLIENT", "TRACKING", "ON", "REDIRECT", id[1:len(id)-2]))
			require.Equal(t, id, c.do(t, "CLIENT", "GETREDIR"))
			c.do(t, "GET", "a")
			other.do(t, "SET", "a", "1")
			require.Equal(t, "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\na\r\n", target.receive(t))
			other.do(t, "FLUSHALL")
			require.Equal(t, "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n_\r\n", target.receive(t))
			c.silent(t)
			target.do(t, "QUIT")
			var v resp.Value
			_, err := target.read(&v, patience)
			require.Equal(t, errEnd, err)
			c.do(t, "GET", "a")
			other.do(t, "SET", "a", "2")
			require.Equal(t, ">2\r\n$21\r\ntracking-redir-broken\r\n"+id, c.receive(t))
			require.Contains(t, c.do(t, "CLIENT", "TRACKINGINFO"), "broken_redirect")
		},
		"without replies": func(t *testing.T, addr string, c, other *peer) {
			c.do(t, "CLIENT", "TRACKING", "ON")
			c.send(t, "CLIENT", "REPLY", "OFF")
			c.send(t, "GET", "a")
			c.send(t, "SET", "a", "1")
			require.Equal(t, invalid("a"), c.receive(t))
			c.send(t, "SUBSCRIBE", "ch")
			require.Equal(t, wireOf(3, resp.Push(3), bulk("subscribe"), bulk("ch"), resp.Int(1)), c.receive(t))
			other.do(t, "PUBLISH", "ch", "x")
			require.Equal(t, published(3, "ch", "x"), c.receive(t))
			require.Equal(t, "+OK\r\n", c.do(t, "CLIENT", "REPLY", "ON"))
		},
		"a transaction that reads again": func(t *testing.T, addr string, c, other *peer) {
			c.do(t, "CLIENT", "TRACKING", "ON")
			for _, args := range [][]string{{"GET", "a"}, {"MULTI"}, {"SET", "a", "1"}, {"GET", "a"}} {
				c.do(t, args...)
			}
			require.Equal(t, "*2\r\n+OK\r\n$1\r\n1\r\n", c.do(t, "EXEC"))
			require.Equal(t, invalid("a"), c.receive(t))
			other.do(t, "SET", "a", "2")
			require.Equal(t, invalid("a"), c.receive(t))
		},
		"RESP2 hears nothing": func(t *testing.T, addr string, c, other *peer) {
			old := connect(t, addr, 2)
			old.do(t, "CLIENT", "TRACKING", "ON")
			old.do(t, "GET", "a")
			other.do(t, "SET", "a", "1")
			old.silent(t)
		},
	}
	for name, addr := range servers {
		for check, run := range checks {
			t.Run(name+", "+check, func(t *testing.T) {
				other := connect(t, addr, 2)
				other.do(t, "FLUSHALL")
				run(t, addr, connect(t, addr, 3), other)
			})
		}
	}
}

// DEBUG POPULATE tells of the keys that it makes, and does not hold its loop up for as long as somebody likes.
func TestPopulate(t *testing.T) {
	addr := start(t, redis.Config{}, server.Config{Loops: 2})
	c, other := connect(t, addr, 3), connect(t, addr, 2)
	c.do(t, "CLIENT", "TRACKING", "ON")
	require.Equal(t, "_\r\n", c.do(t, "GET", "key:1"))
	require.Equal(t, "+OK\r\n", other.do(t, "DEBUG", "POPULATE", "3"))
	require.Equal(t, invalid("key:1"), c.receive(t))
	for _, args := range [][]string{{"10000001"}, {"9223372036854775807"}, {"2", "key", "9223372036854775807"}, {"1000", "key", "500000000"}, {"-1"}, {"1", "key", "-1"}} {
		require.Contains(t, other.do(t, append([]string{"DEBUG", "POPULATE"}, args...)...), "-ERR value is out of range", args)
	}
	require.Equal(t, ":3\r\n", other.do(t, "DBSIZE"))
}

// Whoever is told by way of another connection hears when that one ends with messages that it has not got yet.
func TestTrackingTargetEnds(t *testing.T) {
	addr := start(t, redis.Config{}, server.Config{Loops: 2})
	target, c, other := connect(t, addr, 2), connect(t, addr, 3), connect(t, addr, 2)
	id := target.do(t, "CLIENT", "ID")
	number := id[1 : len(id)-2]
	target.do(t, "SUBSCRIBE", "__redis__:invalidate")
	c.do(t, "CLIENT", "TRACKING", "ON", "REDIRECT", number)
	key := strings.Repeat("k", store.MaxKey)
	require.Eventually(t, func() bool {
		c.do(t, "GET", key)
		other.do(t, "SET", key, "x")
		return !strings.Contains(other.do(t, "CLIENT", "LIST", "ID", number), " omem=0 ")
	}, patience, time.Microsecond, "nobody reads them")
	require.Equal(t, ":1\r\n", other.do(t, "CLIENT", "KILL", "ID", number))
	require.Equal(t, ">2\r\n$21\r\ntracking-redir-broken\r\n"+id, c.receive(t))
	require.Contains(t, c.do(t, "CLIENT", "TRACKINGINFO"), "broken_redirect")
}

// Clients that keep what they read, as long as they are not told, never keep a value that was overwritten before the last one was told.
func TestTrackingNeverStale(t *testing.T) {
	addr := start(t, redis.Config{}, server.Config{Loops: 3})
	const keys, rounds, readers = 4, 300, 4
	var stop atomic.Bool
	var wg sync.WaitGroup
	kept := make([]map[string]string, readers)
	for i := range readers {
		c := connect(t, addr, 3)
		kept[i] = map[string]string{}
		c.do(t, "CLIENT", "TRACKING", "ON")
		wg.Go(func() {
			var v resp.Value
			for last := false; ; {
				if last && len(kept[i]) == keys {
					return
				}
				last = stop.Load()
				for k := range keys {
					key := fmt.Sprint("k", k)
					if _, ok := kept[i][key]; ok {
						continue
					}
					c.send(t, "GET", key)
					for {
						text, err := c.read(&v, patience)
						if err != nil {
							t.Error(err)
							return
						}
						if !message(&v) {
							kept[i][key] = text
							break
						}
						delete(kept[i], string(v.Items[1].Items[0].Data))
					}
				}
				if _, err := c.read(&v, time.Millisecond); err == nil {
					delete(kept[i], string(v.Items[1].Items[0].Data))
				}
				if last { // what is under way comes before this reply
					time.Sleep(20 * time.Millisecond)
					c.send(t, "PING")
					for {
						if _, err := c.read(&v, patience); err != nil || !message(&v) {
							break
						}
						delete(kept[i], string(v.Items[1].Items[0].Data))
					}
				}
			}
		})
	}
	writer := connect(t, addr, 2)
	for n := range rounds {
		for k := range keys {
			writer.do(t, "SET", fmt.Sprint("k", k), fmt.Sprint(n))
		}
	}
	stop.Store(true)
	wg.Wait()
	want := wireOf(3, bulk(fmt.Sprint(rounds-1)))
	for i := range kept {
		for key, text := range kept[i] {
			require.Equal(t, want, text, "reader %d keeps %s", i, key)
		}
	}
}

// What is told while a large reply is under way comes behind it.
func TestMessagesAmidLargeReplies(t *testing.T) {
	addr := start(t, redis.Config{}, server.Config{Loops: 2})
	reader, writer := connect(t, addr, 3), connect(t, addr, 2)
	const size, count = 1 << 20, 12
	args := []string{"MGET"}
	for i := range count {
		args = append(args, fmt.Sprint("large", i))
		writer.do(t, "SET", args[i+1], strings.Repeat(string(rune('a'+i)), size))
	}
	reader.do(t, "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "small")
	reader.do(t, "SUBSCRIBE", "ch")
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			writer.do(t, "SET", "small", "x")
			writer.do(t, "PUBLISH", "ch", "x")
		}
	})
	told := 0
	for range 20 {
		reader.send(t, args...)
		for {
			var v resp.Value
			_, err := reader.read(&v, patience)
			require.NoError(t, err)
			if message(&v) {
				told++
				continue
			}
			require.Len(t, v.Items, count)
			for i, item := range v.Items {
				require.Len(t, item.Data, size)
				require.Equal(t, byte('a'+i), item.Data[size-1])
			}
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	require.NotZero(t, told)
}
