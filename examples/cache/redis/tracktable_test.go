package redis

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTrackTable(t *testing.T) {
	var tt trackTable
	trackers := make([]*tracker, 3*fewTrackers)
	for i := range trackers {
		trackers[i] = new(tracker)
		for range 2 {
			tt.remember([]byte("key"), trackers[i])
		}
		require.Len(t, tt.shard([]byte("key")).keys, 1)
	}
	require.Equal(t, int64(1), tt.count.Load())
	require.ElementsMatch(t, trackers, tt.forget([]byte("key")))
	require.Empty(t, tt.forget([]byte("key")))
	require.Zero(t, tt.count.Load())

	tt.remember([]byte{}, trackers[0])
	require.Len(t, tt.forget(nil), 1, "an empty key is one")

	tt.limit.Store(100)
	for i := range 200 {
		tt.remember(fmt.Append(nil, i), trackers[0])
		for tt.tooMany() {
			key, evicted := tt.evict()
			require.NotEmpty(t, key)
			require.Equal(t, trackers[:1], evicted)
		}
	}
	require.Equal(t, int64(100), tt.count.Load())
	tt.clear()
	require.Zero(t, tt.count.Load())
	require.Zero(t, tt.items.Load())
	key, _ := tt.evict()
	require.Nil(t, key)
}

func TestTrackTablePrefixes(t *testing.T) {
	var tt trackTable
	a, b := &tracker{prefixes: []string{"user:"}}, &tracker{prefixes: []string{""}}
	told := func(keys ...string) (list []audience) {
		var l keyList
		for _, key := range keys {
			l.add([]byte(key))
		}
		return tt.audiences(&l)
	}
	one, user := []byte("user:1"), []byte("user")
	require.Empty(t, told("user:1"))
	tt.enable(a, a.prefixes)
	tt.enable(b, b.prefixes)
	require.ElementsMatch(t, []audience{{[][]byte{one}, []*tracker{a}}, {[][]byte{one, user}, []*tracker{b}}}, told("user:1", "user", "user:1"))
	require.Equal(t, []audience{{[][]byte{user}, []*tracker{b}}}, told("user"))
	require.ElementsMatch(t, []*tracker{a, b}, tt.all())
	tt.disable(b)
	require.Empty(t, told("user"))
	tt.disable(a)
	require.Empty(t, tt.all())
	require.Zero(t, tt.bcasts.Load())
}
