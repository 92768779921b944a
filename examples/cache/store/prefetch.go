package store

import (
	"hash/maphash"
	"sync/atomic"
	"unsafe"
)

// PrefetchMax is the number of keys that Prefetch takes at once.
const PrefetchMax = 16

// cacheLine is the size of what the processor fetches at once, in bytes.
const cacheLine = 64

// Prefetch lets the processor fetch what a Get or a Put of each key will read: for all of them at the same time, where one after
// the other would wait twice for memory, for the index and for the entry. It takes no lock, changes nothing and counts nothing.
// Keys beyond the first PrefetchMax are left out.
//
// What it reads may change at that moment, or be memory that by now holds something else. So it believes nothing of it, and only
// looks where memory is accessible in any case.
func (d *DB) Prefetch(keys [][]byte) {
	shards := d.made()
	if shards == nil {
		return
	}
	keys = keys[:min(len(keys), PrefetchMax)]
	var buckets [PrefetchMax]*bucket
	var tags [PrefetchMax]uint8
	for i, key := range keys {
		h := maphash.Bytes(d.seed, key)
		x := &shards[h>>d.s.shift].index
		buckets[i], tags[i] = x.shown.first(x.a, uint32(h)), tagOf(uint32(h))
	}
	for _, b := range buckets[:len(keys)] {
		if b != nil {
			touch(unsafe.Pointer(b))
		}
	}
	end := d.s.arena.end.Load()
	for i, b := range buckets[:len(keys)] {
		if b == nil {
			continue
		}
		j := b.match(tags[i], 0)
		if j >= bucketLen {
			continue // in another bucket of the chain, or not there
		}
		if ref := b.refs[j]; ref < end {
			e := unsafe.Pointer(d.s.arena.entry(ref))
			touch(e)
			touch(unsafe.Add(e, cacheLine)) // with the key and the value mostly two lines; there is memory behind end
		}
	}
}

// touch reads, which no compiler leaves out.
func touch(p unsafe.Pointer) { atomic.LoadUint32((*uint32)(p)) }

// A shownTable is what an index shows to those who have no lock. Its two halves may be of different moments.
type shownTable struct {
	n     atomic.Uint32
	pages atomic.Pointer[[]uint32] // never changed, but replaced
}

// first returns what was, a moment ago, the first bucket of a hash's chain; nil for none.
func (t *shownTable) first(a *arena, h uint32) *bucket {
	n, pages := t.n.Load(), t.pages.Load()
	if n == 0 || pages == nil {
		return nil
	}
	b := bucketNumber(h, n)
	if int(b/pageBuckets) >= len(*pages) {
		return nil
	}
	return a.bucket(bucketAt(*pages, b))
}

// show publishes the table's size and, where they have changed, its pages.
func (x *index) show() {
	x.shown.n.Store(x.n)
	if p := x.shown.pages.Load(); p == nil || len(*p) != len(x.pages) {
		pages := x.pages // append writes behind its end only
		x.shown.pages.Store(&pages)
	}
}
