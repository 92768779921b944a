package store

import (
	"sync"
	"sync/atomic"
)

// A shard is a part of a database's keys. Everything in it is guarded by mu, but for bytes, which is read without.
type shard struct {
	mu       sync.Mutex
	index    index
	slab     slab
	queue    queue
	blobs    []*Blob           // by the index that their entries hold
	noBlobs  []uint32          // indexes that are free
	expiring int               // entries with an expiry
	version  uint64            // the last one that was given out; no two shards of a database give out the same
	stride   uint64            // to the next one
	sweep    uint32            // the bucket where the next sweep begins
	watches  map[uint32]*Watch // by hash; nil while there are none
	gone     []Reason          // what Removed is still to be told of
	goneKeys Keys

	bytes atomic.Int64 // cost of all entries; written with mu held

	hits, misses, expired, evicted uint64

	_ [64]byte // a lock that one loop takes must not move the line that another one works on
}

// entryCost is what an entry is charged beyond its slot: its share of the index, which is 64 bytes for seven entries and one
// bucket in ten more, and of what the eviction remembers, which is six bytes.
const entryCost = 16

// A place is where an entry is in the index. It is valid until the next change of the shard.
type place struct {
	first, b *bucket
	i        int
	ref      uint32
	e        *entry // nil: the key is not there
}

// find returns a key's place, live or not.
func (sh *shard) find(h uint32, key []byte) place {
	b, i := sh.index.find(h, key)
	if b == nil {
		return place{}
	}
	return sh.placeOf(sh.index.first(h), b, i)
}

// chainAt returns entry i of a bucket's chain.
func (sh *shard) chainAt(bucket uint32, i int) place {
	if bucket >= sh.index.n {
		return place{}
	}
	first := sh.index.at(bucket)
	b := first
	for i >= int(b.len) {
		i -= int(b.len)
		if b = sh.index.next(b); b == nil {
			return place{}
		}
	}
	return sh.placeOf(first, b, i)
}

// placeOf returns a place whose hash is not known.
func (sh *shard) placeOf(first, b *bucket, i int) place {
	return place{first: first, b: b, i: i, ref: b.refs[i], e: sh.index.a.entry(b.refs[i])}
}

// insert adds an entry for a key that is not there. Its header is zero but for the lengths. e is nil when there is no memory.
func (sh *shard) insert(h uint32, key []byte, need int) place {
	if !sh.index.prepare() {
		return place{}
	}
	c, _ := roundUp(need)
	ref := sh.slab.alloc(c)
	if ref == 0 {
		return place{}
	}
	e := sh.index.a.entry(ref)
	*e = entry{keyLen: uint16(len(key)), bits: isLive}
	copy(e.key(), key)
	sh.index.insert(h, ref)
	b, i := sh.index.findRef(h, ref)
	return sh.placeOf(sh.index.first(h), b, i)
}

// resize gives an entry another slot for a value of another size. The header and the key move with it. It reports whether there
// was memory.
func (sh *shard) resize(p *place, c uint8) bool {
	ref := sh.slab.alloc(c)
	if ref == 0 {
		return false
	}
	sh.dropBlob(p.e) // whose index is not copied
	n := headerSize + int(p.e.keyLen)
	copy(sh.index.a.slot(ref, n), sh.index.a.slot(p.ref, n))
	old := p.ref
	p.b.refs[p.i], p.ref, p.e = ref, ref, sh.index.a.entry(ref)
	sh.free(old)
	return true
}

// free frees a slot, and moves entries out of a page when that makes one free.
func (sh *shard) free(ref uint32) {
	c := sh.index.a.pages[ref>>(pageShift-refShift)].class
	sh.slab.release(ref)
	if p := sh.slab.sparse(c); p != 0 {
		sh.vacate(p, c)
	}
}

// vacate moves the entries of a page into others of their class, for 5 to 20 µs.
func (sh *shard) vacate(p uint32, c uint8) {
	cl, a := &sh.slab.classes[c], sh.index.a
	sh.slab.unlink(cl, p) // so that alloc does not return a slot of it
	size := classSizes[c]
	pg := &a.pages[p]
	for i := uint16(0); i < pg.fresh; i++ {
		from := slotRef(p, i, c)
		e := a.entry(from)
		if e.bits&isLive == 0 {
			continue
		}
		to := sh.slab.alloc(c)
		h := sh.index.hash(e)
		copy(a.slot(to, int(size)), a.slot(from, int(size)))
		b, j := sh.index.findRef(h, from)
		b.refs[j] = to
		cl.live-- // alloc counted it once more
		if checked {
			poison(a.slot(from, int(size)))
		}
	}
	cl.pages--
	a.give(p)
}

// setExpire sets an entry's expiry.
func (sh *shard) setExpire(p *place, at int64) {
	if p.e.expire != 0 {
		sh.expiring--
	}
	if at != 0 {
		sh.expiring++
		p.first.expire = min(p.first.expire, expireUnit(at))
	}
	p.e.expire = at
}

// blob returns an entry's Blob.
func (sh *shard) blob(e *entry) *Blob {
	if e.bits&isBlob == 0 {
		return nil
	}
	return sh.blobs[e.blobIndex()]
}

// addBlob takes the caller's reference.
func (sh *shard) addBlob(b *Blob) uint32 {
	if n := len(sh.noBlobs); n > 0 {
		i := sh.noBlobs[n-1]
		sh.noBlobs = sh.noBlobs[:n-1]
		sh.blobs[i] = b
		return i
	}
	sh.blobs = append(sh.blobs, b)
	return uint32(len(sh.blobs) - 1)
}

// dropBlob gives the shard's reference of an entry's Blob back, if it has one.
func (sh *shard) dropBlob(e *entry) {
	if e.bits&isBlob == 0 {
		return
	}
	i := e.blobIndex()
	b := sh.blobs[i]
	sh.blobs[i] = nil
	sh.noBlobs = append(sh.noBlobs, i)
	e.bits &^= isBlob
	b.uncharge()
	b.Release()
}

// cost is what an entry is charged, but for a Blob, which is charged by itself.
func cost(need int) int {
	_, size := roundUp(need)
	return size + entryCost
}

// remove removes an entry. It returns what the entry was charged, which the caller gives back.
func (sh *shard) remove(p *place) int {
	n := cost(p.e.slotSize())
	sh.changed(p)
	sh.dropBlob(p.e)
	if p.e.expire != 0 {
		sh.expiring--
	}
	sh.index.remove(p.first, p.b, p.i)
	sh.free(p.ref)
	sh.index.shrink()
	p.e = nil
	return n
}

func (sh *shard) nextVersion() uint64 {
	sh.version += sh.stride
	return sh.version
}

// clear removes all entries.
func (sh *shard) clear() {
	for _, b := range sh.blobs {
		if b != nil {
			b.uncharge()
			b.Release()
		}
	}
	sh.blobs, sh.noBlobs = nil, nil
	sh.slab.clear()
	sh.index.clear()
	sh.queue.clear()
	sh.expiring, sh.sweep = 0, 0
	sh.bytes.Store(0)
}
