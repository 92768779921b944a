// Package clients drives the cache, as a process, with the clients that people use.
package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/examples/internal/runtest"
)

// TestGoRedis runs each check on both engines and both versions of the protocol.
func TestGoRedis(t *testing.T) {
	checks := []struct {
		name string
		run  func(t *testing.T, c *redis.Client)
	}{
		{"strings", checkStrings},
		{"expiry", checkExpiry},
		{"pipelines", checkPipelines},
		{"concurrency", checkConcurrency},
		{"publish", checkPublish},
		{"large values", checkLargeValues},
		{"errors", checkErrors},
		{"connection", checkConnection},
		{"transactions", checkTransactions},
		{"patterns", checkPatterns},
		{"iteration", checkIteration},
	}
	bin := runtest.Build(t, "..")
	for _, engine := range []string{"io_uring", "epoll"} {
		p := runtest.Start(t, bin, "-listen", "127.0.0.1:0", "-loops", "2", "-maxmemory", "256mb", "-engine", engine)
		for _, version := range []int{2, 3} {
			for _, check := range checks {
				t.Run(fmt.Sprintf("%s, RESP%d, %s", engine, version, check.name), func(t *testing.T) {
					c := redis.NewClient(&redis.Options{Addr: p.Addr, Protocol: version, ClientName: "go-redis"})
					defer c.Close()
					require.NoError(t, c.FlushAll(t.Context()).Err())
					check.run(t, c)
				})
			}
		}
		p.Signal(syscall.SIGTERM)
		require.Equal(t, 0, p.Wait(), p.Log())
	}
}

func checkStrings(t *testing.T, c *redis.Client) {
	ctx := t.Context()
	require.ErrorIs(t, c.Get(ctx, "key").Err(), redis.Nil)
	require.NoError(t, c.Set(ctx, "key", "value", 0).Err())
	value, err := c.Get(ctx, "key").Result()
	require.NoError(t, err)
	require.Equal(t, "value", value)
	stored, err := c.SetNX(ctx, "key", "other", time.Hour).Result()
	require.NoError(t, err)
	require.False(t, stored)
	old, err := c.SetArgs(ctx, "key", "new", redis.SetArgs{Get: true, KeepTTL: true}).Result()
	require.NoError(t, err)
	require.Equal(t, "value", old)

	require.NoError(t, c.MSet(ctx, "a", 1, "b", "two", "c", "").Err())
	values, err := c.MGet(ctx, "a", "b", "nokey", "c").Result()
	require.NoError(t, err)
	require.Equal(t, []any{"1", "two", nil, ""}, values)
	for want := int64(2); want < 5; want++ {
		n, err := c.Incr(ctx, "a").Result()
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	n, err := c.DecrBy(ctx, "a", 10).Result()
	require.NoError(t, err)
	require.Equal(t, int64(-6), n)
	n, err = c.Exists(ctx, "a", "b", "nokey", "a").Result()
	require.NoError(t, err)
	require.Equal(t, int64(3), n)
	n, err = c.Del(ctx, "a", "nokey").Result()
	require.NoError(t, err)
	require.Equal(t, int64(1), n)
	n, err = c.DBSize(ctx).Result()
	require.NoError(t, err)
	require.Equal(t, int64(3), n)
}

func checkExpiry(t *testing.T, c *redis.Client) {
	ctx := t.Context()
	require.NoError(t, c.Set(ctx, "key", "value", time.Hour).Err())
	left, err := c.TTL(ctx, "key").Result()
	require.NoError(t, err)
	require.Equal(t, time.Hour, left)
	set, err := c.ExpireLT(ctx, "key", time.Minute).Result()
	require.NoError(t, err)
	require.True(t, set)
	left, err = c.PTTL(ctx, "key").Result()
	require.NoError(t, err)
	require.InDelta(t, time.Minute, left, float64(10*time.Second))
	set, err = c.Persist(ctx, "key").Result()
	require.NoError(t, err)
	require.True(t, set)

	const short = 50 * time.Millisecond
	began := time.Now()
	require.NoError(t, c.Set(ctx, "key", "value", short).Err())
	for c.Get(ctx, "key").Err() == nil {
	}
	require.ErrorIs(t, c.Get(ctx, "key").Err(), redis.Nil)
	require.GreaterOrEqual(t, time.Since(began), short-time.Millisecond) // times are cut to milliseconds

	require.NoError(t, c.Set(ctx, "unread", "value", time.Millisecond).Err())
	require.Eventually(t, func() bool { return c.DBSize(ctx).Val() == 0 }, 10*time.Second, 10*time.Millisecond, "reclaimed in the background")
}

func checkPipelines(t *testing.T, c *redis.Client) {
	ctx := t.Context()
	const count = 5000
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range count {
			p.Set(ctx, strconv.Itoa(i), i, 0)
		}
		return nil
	})
	require.NoError(t, err)
	results, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range count {
			p.Get(ctx, strconv.Itoa(i))
			p.Do(ctx, "nosuch")
		}
		return nil
	})
	require.ErrorContains(t, err, "unknown command 'nosuch'")
	for i := range count {
		got, err := results[2*i].(*redis.StringCmd).Int()
		require.NoError(t, err)
		require.Equal(t, i, got)
		require.Error(t, results[2*i+1].Err())
	}
}

func checkConcurrency(t *testing.T, c *redis.Client) {
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 100 {
				if err := c.Incr(t.Context(), "counter").Err(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	n, err := c.Get(t.Context(), "counter").Int()
	require.NoError(t, err)
	require.Equal(t, 1600, n)
}

func checkPublish(t *testing.T, c *redis.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	const subscribers, messages = 6, 500
	var subs []*redis.PubSub
	for range subscribers {
		sub := c.Subscribe(ctx, "first", "second")
		defer sub.Close()
		for range 2 {
			_, err := sub.Receive(ctx)
			require.NoError(t, err)
		}
		require.NoError(t, sub.Ping(ctx))
		subs = append(subs, sub)
	}
	for i := range messages {
		n, err := c.Publish(ctx, "first", i).Result()
		require.NoError(t, err)
		require.Equal(t, int64(subscribers), n)
	}
	for _, sub := range subs {
		for i := range messages {
			m, err := sub.ReceiveMessage(ctx)
			require.NoError(t, err)
			require.Equal(t, "first", m.Channel)
			require.Equal(t, strconv.Itoa(i), m.Payload)
		}
		require.NoError(t, sub.Unsubscribe(ctx, "first"))
		_, err := sub.Receive(ctx)
		require.NoError(t, err)
	}
	require.Equal(t, int64(0), c.Publish(ctx, "first", "x").Val())
	require.Equal(t, int64(subscribers), c.Publish(ctx, "second", "x").Val())
}

func checkLargeValues(t *testing.T, c *redis.Client) {
	ctx := t.Context()
	for _, size := range []int{0, 1, 16 << 10, 1<<20 - 1, 20 << 20} {
		value := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
		require.NoError(t, c.Set(ctx, "key", value, 0).Err())
		got, err := c.Get(ctx, "key").Bytes()
		require.NoError(t, err)
		require.True(t, bytes.Equal(value, got))
	}
	many, err := c.MGet(ctx, "key", "key", "key").Result()
	require.NoError(t, err)
	require.Len(t, many[2], 20<<20)
}

func checkErrors(t *testing.T, c *redis.Client) {
	ctx := t.Context()
	require.NoError(t, c.Set(ctx, "text", "x", 0).Err())
	require.EqualError(t, c.Incr(ctx, "text").Err(), "ERR value is not an integer or out of range")
	require.EqualError(t, c.Do(ctx, "GET").Err(), "ERR wrong number of arguments for 'get' command")
	require.EqualError(t, c.Do(ctx, "SET", "a", "b", "EX", 0).Err(), "ERR invalid expire time in 'set' command")
	require.EqualError(t, c.Do(ctx, "GETEX", "text", "EX", "x").Err(), "ERR value is not an integer or out of range")
	var refused redis.Error
	require.True(t, errors.As(c.LPush(ctx, "list", 1).Err(), &refused))
}

func checkConnection(t *testing.T, c *redis.Client) {
	ctx := t.Context()
	require.Equal(t, "PONG", c.Ping(ctx).Val())
	require.Equal(t, "x", c.Echo(ctx, "x").Val())
	require.Equal(t, "go-redis", c.ClientGetName(ctx).Val())
	require.Positive(t, c.ClientID(ctx).Val())
	require.Equal(t, map[string]string{"maxmemory": "268435456"}, c.ConfigGet(ctx, "maxmemory").Val())
	require.Contains(t, c.Info(ctx, "server").Val(), "redis_version:7.0.15")
	commands, err := c.Command(ctx).Result()
	require.NoError(t, err)
	require.Equal(t, int8(2), commands["get"].Arity)
	require.True(t, commands["get"].ReadOnly)
	require.Equal(t, int8(1), commands["mset"].FirstKeyPos)
}

// Many add to one counter, each with a look at it first: none is lost.
func checkTransactions(t *testing.T, c *redis.Client) {
	ctx := t.Context()
	cmds, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, "a", 1, 0)
		p.Incr(ctx, "a")
		p.Get(ctx, "a")
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, "2", cmds[2].(*redis.StringCmd).Val())

	const writers, rounds = 8, 20
	var wg sync.WaitGroup
	var conflicts atomic.Int64
	for range writers {
		wg.Go(func() {
			for done := 0; done < rounds; {
				err := c.Watch(ctx, func(tx *redis.Tx) error {
					n, err := tx.Get(ctx, "counter").Int()
					if err != nil && err != redis.Nil {
						return err
					}
					_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
						p.Set(ctx, "counter", n+1, 0)
						return nil
					})
					return err
				}, "counter")
				switch err {
				case nil:
					done++
				case redis.TxFailedErr:
					conflicts.Add(1)
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	n, err := c.Get(ctx, "counter").Int()
	require.NoError(t, err)
	require.Equal(t, writers*rounds, n)
	t.Logf("%d conflicts", conflicts.Load())
}

func checkPatterns(t *testing.T, c *redis.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	sub := c.PSubscribe(ctx, "news.*")
	defer sub.Close()
	_, err := sub.Receive(ctx)
	require.NoError(t, err)
	require.Equal(t, int64(1), c.PubSubNumPat(ctx).Val())
	require.Equal(t, int64(1), c.Publish(ctx, "news.a", "hello").Val())
	m, err := sub.ReceiveMessage(ctx)
	require.NoError(t, err)
	require.Equal(t, &redis.Message{Channel: "news.a", Pattern: "news.*", Payload: "hello"}, m)
	require.NoError(t, sub.Subscribe(ctx, "other"))
	_, err = sub.Receive(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"other"}, c.PubSubChannels(ctx, "o*").Val())
	require.Equal(t, map[string]int64{"other": 1, "nosuch": 0}, c.PubSubNumSub(ctx, "other", "nosuch").Val())
}

func checkIteration(t *testing.T, c *redis.Client) {
	ctx := t.Context()
	const count = 3000
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range count {
			p.Set(ctx, fmt.Sprint("key:", i), i, 0)
			p.Set(ctx, fmt.Sprint("else:", i), i, 0)
		}
		return nil
	})
	require.NoError(t, err)
	found := map[string]bool{}
	for it := c.Scan(ctx, 0, "key:*", 100).Iterator(); it.Next(ctx); {
		found[it.Val()] = true
	}
	require.Len(t, found, count)
	require.Len(t, c.Keys(ctx, "else:*").Val(), count)
	require.NotEmpty(t, c.RandomKey(ctx).Val())
}
