package store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// check verifies the inner rules of all shards, and that accounts agree.
func check(t testing.TB, s *Store) {
	t.Helper()
	total, active, pages := 0, 0, 0
	for i := range s.dbs {
		shards := s.dbs[i].made()
		for j := range shards {
			sh := &shards[j]
			sh.mu.Lock()
			bytes := checkShard(t, sh)
			require.Equal(t, int(sh.bytes.Load()), bytes)
			for _, b := range sh.blobs {
				if b != nil {
					bytes += b.cost
				}
			}
			total += bytes
			pages += len(sh.index.pages) + len(sh.index.extra)
			for p := sh.queue.head; p != 0; p = s.arena.fresh(p)[0] {
				pages++
			}
			for c := range sh.slab.classes {
				pages += int(sh.slab.classes[c].pages)
			}
			if sh.index.count > 0 {
				active++
			}
			sh.mu.Unlock()
		}
	}
	require.Equal(t, total, s.Used())
	require.Equal(t, active, int(s.active.Load()))
	require.Equal(t, s.arena.top-1-len(s.arena.free)-len(s.arena.cold), pages, "each page is a shard's or free")
}

func checkShard(t testing.TB, sh *shard) (bytes int) {
	count, expiring, blobs := 0, 0, 0
	live := map[uint8]uint32{}
	for b := range sh.index.n {
		first := sh.index.at(b)
		for i := 0; ; i++ {
			p := sh.chainAt(b, i)
			if p.e == nil {
				break
			}
			require.NotZero(t, p.e.bits&isLive)
			require.Equal(t, b, sh.index.number(sh.index.hash(p.e)))
			require.Equal(t, p.ref, sh.find(sh.index.hash(p.e), p.e.key()).ref)
			require.LessOrEqual(t, first.expire, expireUnit(p.e.expire))
			count++
			if p.e.expire != 0 {
				expiring++
			}
			if p.e.bits&isBlob != 0 {
				blobs++
				require.Equal(t, int(p.e.size), sh.blob(p.e).Len())
			}
			c, _ := roundUp(p.e.slotSize())
			require.Equal(t, c, sh.index.a.pages[p.ref>>(pageShift-refShift)].class)
			live[c]++
			bytes += cost(p.e.slotSize())
		}
		for c := first; c.next != 0; c = sh.index.next(c) {
			require.Equal(t, uint8(bucketLen), c.len, "only a chain's last bucket has gaps")
		}
	}
	require.Equal(t, count, sh.index.count)
	require.Equal(t, expiring, sh.expiring)
	require.Equal(t, len(sh.blobs)-len(sh.noBlobs), blobs)
	for c := range sh.slab.classes {
		cl := &sh.slab.classes[c]
		require.Equal(t, live[uint8(c)], cl.live)
		var slots, used uint32
		full := false
		for p := cl.head; p != 0; p = sh.slab.a.pages[p].next {
			pg := &sh.slab.a.pages[p]
			per := pageSize / classSizes[c]
			require.False(t, full && uint32(pg.live) < per, "pages with free slots come first")
			full = uint32(pg.live) == per
			slots += per
			used += uint32(pg.live)
		}
		require.Equal(t, cl.live, used)
		if slots > 0 {
			require.LessOrEqual(t, slots-used, max(2*pageSize/classSizes[c], cl.live/16)+pageSize/classSizes[c])
		}
	}
	return bytes
}
