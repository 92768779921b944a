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

	tt.limit = 100
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
	key, _ := tt.evict()
	require.Nil(t, key)
}

func TestTrackTablePrefixes(t *testing.T) {
	var tt trackTable
	a, b := &tracker{prefixes: []string{"user:"}}, &tracker{prefixes: []string{""}}
	require.Empty(t, tt.broadcast([]byte("user:1")))
	tt.enable(a, a.prefixes)
	tt.enable(b, b.prefixes)
	require.ElementsMatch(t, []*tracker{a, b}, tt.broadcast([]byte("user:1")))
	require.Equal(t, []*tracker{b}, tt.broadcast([]byte("user")))
	require.ElementsMatch(t, []*tracker{a, b}, tt.all())
	tt.disable(b)
	require.Empty(t, tt.broadcast([]byte("user")))
	tt.disable(a)
	require.Empty(t, tt.all())
	require.Zero(t, tt.bcasts.Load())
}
