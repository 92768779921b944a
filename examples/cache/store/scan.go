package store

import (
	"math/bits"
	"math/rand/v2"
)

// scanBuckets bounds the buckets that Scan looks at, for each key that it was asked for; beside one for each shard, so that a small
// database is returned at once. maxScan bounds the keys.
const (
	scanBuckets = 10
	maxScan     = 1 << 16
)

// Scan appends keys to the list, count of them or a few more, and returns the cursor of the next call; the first one has 0, and
// 0 ends the iteration. A key that is there from the first call to the last is returned at least once, whatever is written
// meanwhile. A cursor is good for all time, and one that was made up does no harm. The work of a call is bounded: it may find
// fewer keys, and none, before the end.
//
// A cursor is a shard, and a position among the hashes with their bits reversed. In this order a bucket's keys are an interval,
// which a split cuts in two and a merge joins with its neighbour. So the table may grow and shrink between two calls: what lies
// before the cursor has been returned, and what lies behind it is still to come.
func (d *DB) Scan(cursor uint64, count int, keys *Keys) (next uint64) {
	shards := d.made()
	count = min(max(count, 1), maxScan)
	limit, looks := keys.Len()+count, maxShards+scanBuckets*count
	i, at := cursor>>32, cursor&(1<<32-1)
	for ; i < uint64(len(shards)); i, at = i+1, 0 {
		sh := &shards[i]
		sh.mu.Lock()
		for at < 1<<32 && sh.index.n > 0 {
			if keys.Len() >= limit || looks <= 0 {
				sh.mu.Unlock()
				return i<<32 | at
			}
			b := sh.index.number(bits.Reverse32(uint32(at)))
			sh.keysOf(b, d.s.Now(), keys)
			at |= 1<<(32-sh.index.bitsOf(b)) - 1
			at++
			looks--
		}
		sh.mu.Unlock()
	}
	return 0
}

// bitsOf returns the number of a hash's low bits that a bucket's keys have in common.
func (x *index) bitsOf(b uint32) int {
	n := bits.Len32(x.n - 1) // of the buckets that were split in this round
	if half := uint32(1) << n >> 1; n > 0 && b < half && b+half >= x.n {
		n--
	}
	return n
}

// keysOf appends the live keys of a bucket's chain.
func (sh *shard) keysOf(bucket uint32, now int64, keys *Keys) {
	for b := sh.index.at(bucket); b != nil; b = sh.index.next(b) {
		for _, ref := range b.refs[:b.len] {
			if e := sh.index.a.entry(ref); !e.expired(now) {
				keys.add(e.key())
			}
		}
	}
}

// randomTries is how often Random draws a place in a table that may be nearly empty, before it looks at all of them.
const randomTries = 200

// Random returns a key that is drawn, in buf from its beginning, and whether there is one.
func (d *DB) Random(buf []byte) (key []byte, ok bool) {
	shards := d.made()
	if len(shards) == 0 {
		return nil, false
	}
	now := d.s.Now()
	for range randomTries {
		sh := &shards[rand.IntN(len(shards))]
		sh.mu.Lock()
		if sh.index.n > 0 {
			// A place that is empty is drawn again, so that keys in full buckets are not favoured.
			p := sh.chainAt(rand.Uint32N(sh.index.n), rand.IntN(bucketLen+bucketLen/2))
			if p.e != nil && !p.e.expired(now) {
				key = append(buf[:0], p.e.key()...)
				sh.mu.Unlock()
				return key, true
			}
		}
		sh.mu.Unlock()
	}
	start := rand.IntN(len(shards))
	for i := range shards {
		var keys Keys
		sh := &shards[(start+i)%len(shards)]
		sh.mu.Lock()
		for b := uint32(0); b < sh.index.n && keys.Len() == 0; b++ {
			sh.keysOf(b, now, &keys)
		}
		sh.mu.Unlock()
		if n := keys.Len(); n > 0 {
			return append(buf[:0], keys.At(rand.IntN(n))...), true
		}
	}
	return nil, false
}
