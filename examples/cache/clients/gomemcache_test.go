package clients

import (
	"bytes"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/stretchr/testify/require"
)

func TestGoMemcache(t *testing.T) {
	for _, engine := range []string{"io_uring", "epoll"} {
		t.Run(engine, func(t *testing.T) {
			c := memcache.New(startMemcache(t, "-engine", engine))
			c.Timeout = 10 * time.Second
			defer c.Close()
			require.NoError(t, c.Ping())
			require.NoError(t, c.FlushAll())
			_, err := c.Get("key")
			require.ErrorIs(t, err, memcache.ErrCacheMiss)
			require.NoError(t, c.Set(&memcache.Item{Key: "key", Value: []byte("value"), Flags: 1 << 20}))
			it, err := c.Get("key")
			require.NoError(t, err)
			require.Equal(t, []byte("value"), it.Value)
			require.Equal(t, uint32(1<<20), it.Flags)
			require.ErrorIs(t, c.Add(&memcache.Item{Key: "key", Value: []byte("x")}), memcache.ErrNotStored)
			require.NoError(t, c.Append(&memcache.Item{Key: "key", Value: []byte("!")}))
			require.NoError(t, c.Prepend(&memcache.Item{Key: "key", Value: []byte("a ")}))
			it.Value = []byte("late")
			require.ErrorIs(t, c.CompareAndSwap(it), memcache.ErrCASConflict)
			it, err = c.Get("key")
			require.NoError(t, err)
			require.Equal(t, []byte("a value!"), it.Value)
			require.NoError(t, c.CompareAndSwap(it))

			require.NoError(t, c.Set(&memcache.Item{Key: "n", Value: []byte("0")}))
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 100 {
						if _, err := c.Increment("n", 1); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			n, err := c.Decrement("n", 100)
			require.NoError(t, err)
			require.Equal(t, uint64(700), n)

			var keys []string
			for i := range 300 {
				keys = append(keys, "key"+strconv.Itoa(i))
				require.NoError(t, c.Set(&memcache.Item{Key: keys[i], Value: []byte(strconv.Itoa(i))}))
			}
			items, err := c.GetMulti(append(keys, "nokey"))
			require.NoError(t, err)
			require.Len(t, items, 300)
			require.NoError(t, c.Touch("key1", 1000))
			require.NoError(t, c.Delete("key1"))
			require.ErrorIs(t, c.Delete("key1"), memcache.ErrCacheMiss)

			large := bytes.Repeat([]byte("x"), 1_000_000)
			require.NoError(t, c.Set(&memcache.Item{Key: "large", Value: large}))
			it, err = c.Get("large")
			require.NoError(t, err)
			require.True(t, bytes.Equal(large, it.Value))
			require.NoError(t, c.Set(&memcache.Item{Key: "short", Value: large, Expiration: 1}))
			require.Eventually(t, func() bool { _, err := c.Get("short"); return err == memcache.ErrCacheMiss }, 10*time.Second, 10*time.Millisecond)
		})
	}
}
