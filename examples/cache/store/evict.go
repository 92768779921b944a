package store

import "math/rand/v2"

const (
	// evictSamples is the number of entries of which the other policies take one. Redis takes 5.
	evictSamples = 16
	// evictRounds bounds the evictions under one lock.
	evictRounds = 64
)

// victim returns the entry that is to go.
func (sh *shard) victim(policy Policy) place {
	if sh.index.count == 0 {
		return place{}
	}
	if policy != AllKeysLRU {
		return sh.sample(policy)
	}
	if p := sh.idleNew(); p.e != nil {
		return p
	}
	return sh.clock()
}

// sample returns one of a few entries that lie together at a place that is drawn: hashes mix them. It passes buckets without an
// expiry, where one is asked for, at a nanosecond or two each.
func (sh *shard) sample(policy Policy) place {
	volatile := policy != AllKeysRandom
	if volatile && sh.expiring == 0 {
		return place{}
	}
	var best place
	number := rand.Uint32N(sh.index.n)
	for seen, passed := 0, uint32(0); passed < sh.index.n && seen < evictSamples; passed++ {
		first := sh.index.at(number)
		if number++; number == sh.index.n {
			number = 0
		}
		if volatile && first.expire == neverExpire {
			continue
		}
		found := false
		for b := first; b != nil; b = sh.index.next(b) {
			for i := range int(b.len) {
				p := sh.placeOf(first, b, i)
				if volatile && p.e.expire == 0 {
					continue
				}
				found = true
				seen++
				if best.e == nil || better(policy, p.e, best.e) {
					best = p
				}
			}
		}
		if !found {
			first.expire = neverExpire
		}
	}
	return best
}

func better(policy Policy, e, than *entry) bool {
	switch policy {
	case VolatileTTL:
		return e.expire < than.expire
	case VolatileLRU:
		if e.used != than.used {
			return e.used < than.used
		}
		return e.bits&freqMask < than.bits&freqMask
	default:
		return false // any is as good as the first
	}
}

// evictHere evicts an entry of a locked shard and returns the bytes that this freed. Its place in the index, and all others,
// are not valid any more.
func (d *DB) evictHere(sh *shard, policy Policy) int {
	p := sh.victim(policy)
	if p.e == nil {
		return 0
	}
	blob := 0
	if b := sh.blob(p.e); b != nil {
		blob = b.cost
	}
	reason := Evicted
	if p.e.expire != 0 && p.e.expired(d.s.Now()) {
		reason = Expired
	}
	return d.removeAs(sh, &p, reason) + blob
}

// fair says whether a shard has its share of the memory, or nearly, so that it is the one to evict from. Those of one database
// always do, by the hash; one that grows takes from the others until it has.
func (s *Store) fair(sh *shard) bool {
	return sh.bytes.Load()*s.active.Load()*8 >= s.used.Load()*7
}

// evict removes an entry of any shard. The caller holds no lock: two are never held at once. It reports whether there was one.
func (s *Store) evict(policy Policy) bool {
	if policy == NoEviction {
		return false
	}
	for pass := range 2 {
		for range len(s.dbs) * s.cfg.Shards {
			n := int(s.hand.Add(1))
			d := &s.dbs[n/s.cfg.Shards%len(s.dbs)]
			shards := d.shards.Load()
			if shards == nil {
				continue
			}
			sh := &(*shards)[n%s.cfg.Shards]
			if sh.bytes.Load() == 0 || pass == 0 && !s.fair(sh) {
				continue
			}
			sh.mu.Lock()
			freed := d.evictHere(sh, policy)
			d.unlock(sh)
			if freed > 0 {
				return true
			}
		}
	}
	return false
}

// take takes bytes of the memory, if they are there.
func (s *Store) take(bytes int) bool {
	if bytes == 0 {
		return true // most writes replace a value by one of its size: they leave the one counter of all shards alone
	}
	if bytes < 0 {
		s.used.Add(int64(bytes))
		return true
	}
	for {
		used, limit := s.used.Load(), s.maxMemory.Load()
		if limit > 0 && used+int64(bytes) > limit {
			return false
		}
		if s.used.CompareAndSwap(used, used+int64(bytes)) {
			return true
		}
	}
}

// give gives bytes of the memory back.
func (s *Store) give(bytes int) { s.used.Add(-int64(bytes)) }

// makeRoom evicts once, for bytes that take had not. It reports whether it is worth to try again.
func (s *Store) makeRoom(bytes int) bool {
	if int64(bytes) > s.maxMemory.Load() {
		return s.maxMemory.Load() == 0 // what never fits evicts nothing
	}
	return s.evict(s.Policy())
}

// reserve takes bytes of the memory, and evicts for them.
func (s *Store) reserve(bytes int) bool {
	for !s.take(bytes) {
		if !s.makeRoom(bytes) {
			return false
		}
	}
	return true
}
