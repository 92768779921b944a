package store

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// A DB is one key space of a Store.
type DB struct {
	s      *Store
	index  int
	seed   maphash.Seed
	once   sync.Once
	shards atomic.Pointer[[]shard] // nil until the first use
}

func (d *DB) init(s *Store, index int) {
	d.s, d.index = s, index
	d.seed = maphash.MakeSeed() // clients choose the keys, and must not choose their collisions
}

// all returns the shards, and makes them at first.
func (d *DB) all() []shard {
	if p := d.shards.Load(); p != nil {
		return *p
	}
	d.once.Do(func() {
		shards := make([]shard, d.s.cfg.Shards)
		for i := range shards {
			shards[i].index.a, shards[i].index.seed = &d.s.arena, d.seed
			shards[i].slab.a = &d.s.arena
			shards[i].queue.a = &d.s.arena
			shards[i].version, shards[i].stride = uint64(i), uint64(len(shards))
		}
		d.shards.Store(&shards)
	})
	return *d.shards.Load()
}

// lock returns the key's shard, locked, and the key's hash.
func (d *DB) lock(key []byte) (*shard, uint64) {
	h := maphash.Bytes(d.seed, key)
	sh := &d.all()[h>>d.s.shift]
	sh.mu.Lock()
	return sh, h
}

// unlock unlocks a shard, and then tells Removed what went.
func (d *DB) unlock(sh *shard) {
	if len(sh.gone) == 0 {
		sh.mu.Unlock()
		return
	}
	gone, keys := sh.gone, sh.goneKeys
	sh.gone, sh.goneKeys = nil, Keys{}
	sh.mu.Unlock()
	for i, reason := range gone {
		d.s.cfg.Removed(d.index, keys.At(i), reason)
	}
}

// live returns the place of a key, and removes the entry if it has expired.
func (d *DB) live(sh *shard, h uint64, key []byte) place {
	p := sh.find(uint32(h), key)
	if p.e != nil && p.e.expire != 0 && p.e.expired(d.s.Now()) {
		d.removeAs(sh, &p, Expired)
	}
	return p
}

// remove removes an entry, gives its memory back, and returns how much that was, but for a Blob.
func (d *DB) remove(sh *shard, p *place) int {
	n := sh.remove(p)
	d.charge(sh, -n)
	d.s.give(n)
	if sh.index.count == 0 {
		d.s.active.Add(-1)
	}
	return n
}

// removeAs removes an entry that the store wants to go.
func (d *DB) removeAs(sh *shard, p *place, reason Reason) int {
	if reason == Evicted {
		sh.evicted++
	} else {
		sh.expired++
	}
	if d.s.notify.Load() && d.s.cfg.Removed != nil {
		sh.goneKeys.add(p.e.key())
		sh.gone = append(sh.gone, reason)
	}
	return d.remove(sh, p)
}

// charge says that a shard's entries cost more, or less. The Store's account is the caller's.
func (d *DB) charge(sh *shard, bytes int) {
	if bytes != 0 {
		sh.bytes.Store(sh.bytes.Load() + int64(bytes))
	}
}

// item returns what is at a place.
func (d *DB) item(sh *shard, p *place, buf []byte, second uint32) Item {
	e := p.e
	it := Item{Expire: e.expire, Version: e.version, Flags: e.flags, Marks: e.marks,
		Fetched: e.bits&isFetched != 0, Idle: idle(e, second)}
	if b := sh.blob(e); b != nil {
		it.blob = b.Retain()
	} else {
		if buf == nil {
			buf = []byte{} // nil bytes are a Blob's
		}
		it.bytes = append(buf[:0], e.value()...)
	}
	return it
}

func idle(e *entry, second uint32) time.Duration {
	return time.Duration(max(int64(second)-int64(e.used), 0)) * time.Second
}

// Get returns what a key holds. A small value is copied into buf, from its beginning, which grows where it must; nil will do.
func (d *DB) Get(key, buf []byte, o GetOptions) (Item, bool) {
	sh, h := d.lock(key)
	p := d.live(sh, h, key)
	if p.e == nil {
		if !o.Quiet {
			sh.misses++
		}
		d.unlock(sh)
		return Item{}, false
	}
	second := d.s.second()
	it := d.item(sh, &p, buf, second)
	if !o.Quiet {
		sh.hits++
		p.e.use(second)
		p.e.bits |= isFetched
	}
	if o.SetExpire {
		d.setExpire(sh, &p, o.Expire)
	}
	d.unlock(sh)
	return it, true
}

// setExpire sets an expiry, and removes the entry if it is not in the future.
func (d *DB) setExpire(sh *shard, p *place, at int64) {
	if at != 0 && at <= d.s.Now() {
		d.remove(sh, p)
		return
	}
	sh.setExpire(p, at)
	sh.changed(p)
}

// Delete removes a key and says whether it was there.
func (d *DB) Delete(key []byte) bool { return d.DeleteIf(key, 0) }

// DeleteIf removes a key if it has the version, and says whether it did. Version 0 is any.
func (d *DB) DeleteIf(key []byte, version uint64) bool {
	sh, h := d.lock(key)
	p := d.live(sh, h, key)
	ok := p.e != nil && (version == 0 || p.e.version == version)
	if ok {
		d.remove(sh, &p)
	}
	d.unlock(sh)
	return ok
}

// Expire sets when a key expires, in milliseconds since 1970. A time that is not in the future removes the key. It says whether
// the key was there and the conditions held.
func (d *DB) Expire(key []byte, at int64, c ExpireIf) bool {
	sh, h := d.lock(key)
	p := d.live(sh, h, key)
	ok := p.e != nil && c.holds(p.e.expire, at)
	if ok {
		p.e.use(d.s.second())
		d.setExpire(sh, &p, max(at, 1)) // 0 would be never
	}
	d.unlock(sh)
	return ok
}

// Persist takes a key's expiry away and says whether it had one.
func (d *DB) Persist(key []byte) bool {
	sh, h := d.lock(key)
	p := d.live(sh, h, key)
	ok := p.e != nil && p.e.expire != 0
	if ok {
		d.setExpire(sh, &p, 0)
	}
	d.unlock(sh)
	return ok
}

// Mark sets and clears bits of a key's marks in one instant and returns those before. With fresh, the entry gets a new version,
// otherwise it keeps its own. A version other than 0 must be the entry's. It says whether it did so.
func (d *DB) Mark(key []byte, version uint64, set, clear uint8, fresh bool) (was uint8, ok bool) {
	sh, h := d.lock(key)
	p := d.live(sh, h, key)
	if ok = p.e != nil && (version == 0 || p.e.version == version); ok {
		was = p.e.marks
		p.e.marks = was&^clear | set
		if fresh {
			p.e.version = sh.nextVersion()
		}
		sh.changed(&p)
	}
	d.unlock(sh)
	return was, ok
}

// Info returns what is known of a key, and counts no use.
func (d *DB) Info(key []byte) (i Info, ok bool) {
	sh, h := d.lock(key)
	p := d.live(sh, h, key)
	if p.e != nil {
		e := p.e
		i = Info{Expire: e.expire, Version: e.version, Flags: e.flags, Marks: e.marks, Size: int(e.size), Cost: cost(e.slotSize()),
			Fetched: e.bits&isFetched != 0, Idle: idle(e, d.s.second()), Freq: int(e.bits & freqMask)}
		if b := sh.blob(e); b != nil {
			i.Blob = true
			i.Cost += b.cost
		}
	}
	d.unlock(sh)
	return i, p.e != nil
}

// Touch counts a use of a key, and says whether it is there.
func (d *DB) Touch(key []byte) bool {
	sh, h := d.lock(key)
	p := d.live(sh, h, key)
	if p.e != nil {
		p.e.use(d.s.second())
	}
	d.unlock(sh)
	return p.e != nil
}

// Len returns the number of entries. Those that have expired and were not reclaimed yet are counted.
func (d *DB) Len() int {
	sum := Stats{}
	d.addStats(&sum)
	return sum.Keys
}

// Expiring returns the number of entries with an expiry.
func (d *DB) Expiring() int {
	sum := Stats{}
	d.addStats(&sum)
	return sum.Expiring
}

// made returns the shards if there are any.
func (d *DB) made() []shard {
	if p := d.shards.Load(); p != nil {
		return *p
	}
	return nil
}

func (d *DB) addStats(sum *Stats) {
	shards := d.made()
	for i := range shards {
		sh := &shards[i]
		sh.mu.Lock()
		sum.Keys += sh.index.count
		sum.Expiring += sh.expiring
		sum.Hits += sh.hits
		sum.Misses += sh.misses
		sum.Expired += sh.expired
		sum.Evicted += sh.evicted
		sh.mu.Unlock()
	}
}

func (d *DB) resetStats() {
	shards := d.made()
	for i := range shards {
		sh := &shards[i]
		sh.mu.Lock()
		sh.hits, sh.misses, sh.expired, sh.evicted = 0, 0, 0, 0
		sh.mu.Unlock()
	}
}

// Flush removes all keys. A shard is locked for a few µs, and for longer where it has many Blobs.
func (d *DB) Flush() {
	shards := d.made()
	for i := range shards {
		sh := &shards[i]
		sh.mu.Lock()
		if sh.index.count > 0 {
			sh.changedAll()
			d.s.give(int(sh.bytes.Load()))
			sh.clear()
			d.s.active.Add(-1)
		}
		sh.mu.Unlock()
	}
}
