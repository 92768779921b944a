package clients

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/examples/internal/runtest"
)

// rueidis keeps what it reads, and forgets it when the server says so. It tracks with OPTIN, and asks for each value's expiry.
func TestRueidis(t *testing.T) {
	bin := runtest.Build(t, "..")
	for _, engine := range []string{"io_uring", "epoll"} {
		p := runtest.Start(t, bin, "-listen", "127.0.0.1:0", "-loops", "2", "-engine", engine)
		checks := []struct {
			name string
			run  func(t *testing.T, keeps, other rueidis.Client)
		}{
			{"kept and told", checkKept},
			{"expiry", checkKeptExpiry},
			{"flush", checkKeptFlush},
			{"many", checkKeptMany},
			{"publish", checkRueidisPublish},
			{"transaction", checkDedicated},
			{"broadcast", nil},
		}
		for _, check := range checks {
			t.Run(engine+", "+check.name, func(t *testing.T) {
				option := rueidis.ClientOption{InitAddress: []string{p.Addr}}
				if check.run == nil {
					option.ClientTrackingOptions = []string{"PREFIX", "user:", "BCAST"}
					check.run = checkBroadcast
				}
				keeps := rueidisClient(t, option)
				other := rueidisClient(t, rueidis.ClientOption{InitAddress: []string{p.Addr}, DisableCache: true})
				require.NoError(t, other.Do(t.Context(), other.B().Flushall().Build()).Error())
				for _, value := range []string{"old", "new"} { // messages are told in order: the flush is, when this change is
					write(t, other, "user:settled", value)
					requireForgotten(t, keeps, "user:settled", value)
				}
				check.run(t, keeps, other)
			})
		}
		p.Signal(syscall.SIGTERM)
		require.Equal(t, 0, p.Wait(), p.Log())
	}
}

func rueidisClient(t *testing.T, o rueidis.ClientOption) rueidis.Client {
	c, err := rueidis.NewClient(o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// kept reads a key through the cache of the client, and says whether the value was there already.
func kept(t *testing.T, c rueidis.Client, key string) (value string, hit bool) {
	r := c.DoCache(t.Context(), c.B().Get().Key(key).Cache(), time.Minute)
	if rueidis.IsRedisNil(r.Error()) {
		return "", r.IsCacheHit()
	}
	value, err := r.ToString()
	require.NoError(t, err)
	return value, r.IsCacheHit()
}

func write(t *testing.T, c rueidis.Client, key, value string) {
	require.NoError(t, c.Do(t.Context(), c.B().Set().Key(key).Value(value).Build()).Error())
}

// requireForgotten waits until the value that is kept is the new one. An expiry may be told once more, a moment after the read that found it.
func requireForgotten(t *testing.T, c rueidis.Client, key, want string) {
	t.Helper()
	require.Eventually(t, func() bool {
		value, hit := kept(t, c, key)
		return value == want && hit
	}, 5*time.Second, time.Millisecond)
}

func checkKept(t *testing.T, keeps, other rueidis.Client) {
	write(t, other, "key", "old")
	value, hit := kept(t, keeps, "key")
	require.Equal(t, "old", value)
	require.False(t, hit)
	for range 100 {
		value, hit = kept(t, keeps, "key")
		require.Equal(t, "old", value)
		require.True(t, hit)
	}
	write(t, other, "key", "new")
	requireForgotten(t, keeps, "key", "new")
	write(t, keeps, "key", "own") // by the client itself
	requireForgotten(t, keeps, "key", "own")
	require.NoError(t, other.Do(t.Context(), other.B().Del().Key("key").Build()).Error())
	requireForgotten(t, keeps, "key", "")
}

func checkKeptExpiry(t *testing.T, keeps, other rueidis.Client) {
	require.NoError(t, other.Do(t.Context(), other.B().Set().Key("key").Value("short").Px(200*time.Millisecond).Build()).Error())
	kept(t, keeps, "key")
	value, hit := kept(t, keeps, "key")
	require.Equal(t, "short", value)
	require.True(t, hit)
	requireForgotten(t, keeps, "key", "")
}

func checkKeptFlush(t *testing.T, keeps, other rueidis.Client) {
	write(t, other, "key", "value")
	kept(t, keeps, "key")
	_, hit := kept(t, keeps, "key")
	require.True(t, hit)
	require.NoError(t, other.Do(t.Context(), other.B().Flushall().Build()).Error())
	requireForgotten(t, keeps, "key", "")
}

func checkKeptMany(t *testing.T, keeps, other rueidis.Client) {
	const count = 500
	for i := range count {
		write(t, other, fmt.Sprint("key", i), strings.Repeat("x", i))
	}
	for round := range 2 {
		var list []rueidis.CacheableTTL
		for i := range count {
			list = append(list, rueidis.CT(keeps.B().Get().Key(fmt.Sprint("key", i)).Cache(), time.Minute))
		}
		for i, r := range keeps.DoMultiCache(t.Context(), list...) {
			value, err := r.ToString()
			require.NoError(t, err)
			require.Len(t, value, i)
			require.Equal(t, round == 1, r.IsCacheHit())
		}
	}
	values, err := rueidis.MGetCache(keeps, t.Context(), time.Minute, []string{"key1", "key2", "nokey"})
	require.NoError(t, err)
	m := values["key2"]
	value, err := m.ToString()
	require.NoError(t, err)
	require.Equal(t, "xx", value)
	for i := range count {
		write(t, other, fmt.Sprint("key", i), "new")
	}
	for i := range count {
		requireForgotten(t, keeps, fmt.Sprint("key", i), "new")
	}
}

func checkBroadcast(t *testing.T, keeps, other rueidis.Client) {
	write(t, other, "user:1", "old")
	requireForgotten(t, keeps, "user:1", "old") // its first write is told as well
	write(t, other, "user:1", "new")
	requireForgotten(t, keeps, "user:1", "new")
}

func checkRueidisPublish(t *testing.T, keeps, other rueidis.Client) {
	ctx := t.Context()
	got := make(chan rueidis.PubSubMessage, 10)
	done := make(chan error, 1)
	go func() {
		done <- keeps.Receive(ctx, keeps.B().Psubscribe().Pattern("ch*").Build(), func(m rueidis.PubSubMessage) { got <- m })
	}()
	require.Eventually(t, func() bool {
		n, err := other.Do(ctx, other.B().Publish().Channel("ch1").Message("hello").Build()).AsInt64()
		return err == nil && n == 1
	}, 5*time.Second, time.Millisecond)
	require.Equal(t, rueidis.PubSubMessage{Pattern: "ch*", Channel: "ch1", Message: "hello"}, <-got)
	require.NoError(t, keeps.Do(ctx, keeps.B().Punsubscribe().Pattern("ch*").Build()).Error())
	require.NoError(t, <-done)
}

func checkDedicated(t *testing.T, keeps, other rueidis.Client) {
	ctx := t.Context()
	write(t, other, "n", "1")
	err := keeps.Dedicated(func(c rueidis.DedicatedClient) error {
		require.NoError(t, c.Do(ctx, c.B().Watch().Key("n").Build()).Error())
		write(t, other, "n", "2")
		replies := c.DoMulti(ctx, c.B().Multi().Build(), c.B().Incr().Key("n").Build(), c.B().Exec().Build())
		require.True(t, rueidis.IsRedisNil(replies[2].Error()), "the key has changed")
		replies = c.DoMulti(ctx, c.B().Multi().Build(), c.B().Incr().Key("n").Build(), c.B().Exec().Build())
		values, err := replies[2].AsIntSlice()
		require.Equal(t, []int64{3}, values)
		return err
	})
	require.NoError(t, err)
}
