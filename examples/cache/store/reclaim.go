package store

import (
	"context"
	"time"
)

// The background's pace. Buckets know a bound of their entries' expiry, so that a shard of 40,000 entries is passed in a few µs
// where nothing has expired; with ten million entries all shards are passed once a second, for 1 % of a core (a step takes 1.1 ms).
const (
	sweepEvery   = 100 * time.Millisecond
	sweepBuckets = 512  // of a shard that are looked at under one lock: about 2 µs
	sweepRemoved = 64   // entries that are removed under one lock: about 20 µs
	sweepRounds  = 4    // of a shard in one step, while many have expired: 650,000 entries per second, for a quarter of a core
	shedEntries  = 4096 // that are evicted in one step, where the bound on memory was lowered
)

// Run reclaims the memory of expired entries, and of what was lost when the bound was lowered, in small steps, until ctx is done.
// (Readers never see an expired entry in any case.) It also keeps the clock of the last uses, which otherwise is the system's.
func (s *Store) Run(ctx context.Context) {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	defer s.clock.Store(0)
	for {
		s.clock.Store(uint32(s.Now() / 1000))
		select {
		case <-t.C:
			s.reclaim()
		case <-ctx.Done():
			return
		}
	}
}

// SetLazy makes Run leave expired entries alone, so that they go only when they are looked at, or written again. Tests of clients want that.
func (s *Store) SetLazy(on bool) { s.lazy.Store(on) }

// reclaim takes a step.
func (s *Store) reclaim() {
	now := s.Now()
	for i := range s.dbs {
		if !s.lazy.Load() {
			s.dbs[i].sweep(now)
		}
	}
	for range shedEntries {
		if limit := s.maxMemory.Load(); limit <= 0 || s.used.Load() <= limit || !s.evict(s.Policy()) {
			break
		}
	}
	s.arena.trim()
}

// second is the time of a use.
func (s *Store) second() uint32 {
	if c := s.clock.Load(); c != 0 {
		return c
	}
	return uint32(s.Now() / 1000)
}

// sweep takes a step in each shard, and more where much has expired.
func (d *DB) sweep(now int64) (removed int) {
	shards := d.made()
	for i := range shards {
		sh := &shards[i]
		for range sweepRounds {
			sh.mu.Lock()
			n := d.sweepShard(sh, now)
			d.unlock(sh)
			removed += n
			if n < sweepRemoved {
				break
			}
		}
	}
	return removed
}

func (d *DB) sweepShard(sh *shard, now int64) (removed int) {
	if sh.expiring == 0 {
		return 0
	}
	for range sweepBuckets {
		if removed >= sweepRemoved || sh.index.count == 0 {
			break
		}
		if sh.sweep >= sh.index.n {
			sh.sweep = 0
		}
		if sh.index.at(sh.sweep).expire <= expireUnit(now) {
			removed += d.sweepBucket(sh, sh.sweep, now)
		}
		sh.sweep++
	}
	return removed
}

// sweepBucket removes the expired entries of a bucket, and learns when the next one is.
func (d *DB) sweepBucket(sh *shard, bucket uint32, now int64) (removed int) {
	next, i := uint32(neverExpire), 0
	for {
		p := sh.chainAt(bucket, i)
		if p.e == nil {
			break
		}
		if p.e.expired(now) {
			d.removeAs(sh, &p, Expired) // the last one of the chain takes its place
			removed++
			continue
		}
		next = min(next, expireUnit(p.e.expire))
		i++
	}
	if bucket < sh.index.n && removed == 0 {
		sh.index.at(bucket).expire = next // a removal may have merged buckets, and then the bound stays as it is
	}
	return removed
}
