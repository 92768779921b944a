package store

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"slices"
)

// A bucket is a cache line. Entries lie without gaps from the beginning of its chain on.
type bucket struct {
	refs   [bucketLen]uint32
	next   uint32           // the next bucket of the chain, in units of buckets of the arena; 0: none
	expire uint32           // of a chain's first bucket: no entry expires before, in expireUnits since 1970
	tags   [bucketLen]uint8 // of the entries' hashes, so that keys are hardly ever compared in vain
	len    uint8
}

const (
	bucketLen   = 11
	bucketShift = 6
	pageBuckets = pageSize >> bucketShift
	neverExpire = 1<<32 - 1
	expireShift = 10 // of milliseconds: a unit is 1.024 s, and 32 bits of it last until 2109
)

// expireUnit rounds down.
func expireUnit(at int64) uint32 {
	if at == 0 {
		return neverExpire
	}
	return uint32(min(max(at, 0)>>expireShift, neverExpire-1))
}

// The table grows at growLoad entries per bucket, of the 11 that fit, and shrinks at shrinkLoad. In a round of linear hashing the
// buckets that were not split yet hold twice as many as the others; with 7 on average one bucket in ten has a second one.
const (
	growLoad   = 7
	shrinkLoad = 3
)

// An index finds entries by the 32 low bits of their keys' hashes. It is a table of linear hashing: it grows and shrinks by one
// bucket at a time, so that no write ever waits for more. It needs the shard's lock.
type index struct {
	a       *arena
	seed    maphash.Seed
	pages   []uint32 // of the buckets
	n       uint32   // buckets
	count   int      // entries
	spare   uint32   // list of free buckets for chains
	bump    uint32   // and buckets from here on to bumpEnd, which were never used
	bumpEnd uint32
	extra   []uint32 // pages of those
	shown   shownTable
}

func tagOf(h uint32) uint8 { return uint8(h >> 24) }

// number returns the bucket of a hash.
func (x *index) number(h uint32) uint32 { return bucketNumber(h, x.n) }

// bucketNumber returns the bucket of a hash in a table of n.
func bucketNumber(h, n uint32) uint32 {
	b := h & (1<<bits.Len32(n-1) - 1)
	if b >= n {
		b &^= 1 << (bits.Len32(n-1) - 1)
	}
	return b
}

func (x *index) at(b uint32) *bucket { return x.a.bucket(bucketAt(x.pages, b)) }

// bucketAt returns a bucket's place in the arena.
func bucketAt(pages []uint32, b uint32) uint32 {
	return pages[b/pageBuckets]*pageBuckets + b%pageBuckets
}

// first returns the first bucket of a hash's chain.
func (x *index) first(h uint32) *bucket { return x.at(x.number(h)) }

func (x *index) next(b *bucket) *bucket {
	if b.next == 0 {
		return nil
	}
	return x.a.bucket(b.next)
}

// find returns where a key is; nil for nowhere.
func (x *index) find(h uint32, key []byte) (*bucket, int) {
	if x.count == 0 {
		return nil, 0
	}
	tag := tagOf(h)
	for b := x.first(h); b != nil; b = x.next(b) {
		for i := b.match(tag, 0); i < int(b.len); i = b.match(tag, i+1) {
			if string(x.a.entry(b.refs[i]).key()) == string(key) {
				return b, i
			}
		}
	}
	return nil, 0
}

// match returns the index of the first tag from i on that is the one given; bucketLen or more for none.
func (b *bucket) match(tag uint8, i int) int {
	// Eight at a time: a byte that is zero is found by the borrow of a subtraction. What is above it may be found wrongly, so only
	// the lowest counts.
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	if i < 8 {
		v := binary.LittleEndian.Uint64(b.tags[:8]) ^ ones*uint64(tag)
		v |= 1<<(8*uint(i)) - 1 // not those before i
		if z := (v - ones) &^ v & highs; z != 0 {
			return bits.TrailingZeros64(z) / 8
		}
		i = 8
	}
	for ; i < bucketLen && b.tags[i] != tag; i++ {
	}
	return i
}

// findRef returns where an entry is, which must be there.
func (x *index) findRef(h, ref uint32) (*bucket, int) {
	for b := x.first(h); ; b = x.next(b) {
		for i, r := range b.refs[:b.len] {
			if r == ref {
				return b, i
			}
		}
	}
}

// prepare makes sure that an insertion finds its memory.
func (x *index) prepare() bool {
	if x.n == 0 && !x.addBucket() {
		return false
	}
	// Two free buckets are enough for an insertion, and for a split or a merge, which empty as many as they fill but for one.
	if x.bumpEnd-x.bump >= 2 || x.spare != 0 && x.a.bucket(x.spare).next != 0 {
		return true
	}
	for ; x.bump < x.bumpEnd; x.bump++ {
		x.free(x.bump)
	}
	p := x.a.take()
	if p == 0 {
		return false
	}
	x.extra = append(x.extra, p)
	x.bump, x.bumpEnd = p*pageBuckets, (p+1)*pageBuckets
	return true
}

// free makes a bucket a spare one.
func (x *index) free(i uint32) {
	*x.a.bucket(i) = bucket{next: x.spare}
	x.spare = i
}

// takeSpare returns an empty bucket, after prepare.
func (x *index) takeSpare() (i uint32) {
	if i = x.spare; i != 0 {
		x.spare = x.a.bucket(i).next
	} else {
		i = x.bump
		x.bump++
	}
	*x.a.bucket(i) = bucket{}
	return i
}

// addBucket adds an empty bucket to the table.
func (x *index) addBucket() bool {
	if x.n%pageBuckets == 0 {
		p := x.a.take()
		if p == 0 {
			return false
		}
		x.pages = append(x.pages, p)
	}
	x.n++
	*x.at(x.n - 1) = bucket{expire: neverExpire}
	x.show()
	return true
}

// push adds an entry to a chain, after prepare.
func (x *index) push(b *bucket, tag uint8, ref uint32) {
	for b.len == bucketLen {
		if b.next == 0 {
			b.next = x.takeSpare()
		}
		b = x.a.bucket(b.next)
	}
	b.refs[b.len], b.tags[b.len] = ref, tag
	b.len++
}

// pull removes entry i of bucket b from the chain: the last one takes its place.
func (x *index) pull(first, b *bucket, i int) {
	var before *bucket
	last := first
	for last.next != 0 {
		before, last = last, x.a.bucket(last.next)
	}
	last.len--
	b.refs[i], b.tags[i] = last.refs[last.len], last.tags[last.len]
	if last.len == 0 && before != nil {
		at := before.next
		before.next = 0
		x.free(at)
	}
}

// ends says whether removing an entry of b gives b back, so that an iteration of its chain is over.
func (b *bucket) ends(first *bucket) bool { return b.len == 1 && b.next == 0 && b != first }

// insert adds an entry whose key is not there, after prepare.
func (x *index) insert(h, ref uint32) {
	x.push(x.first(h), tagOf(h), ref)
	x.count++
	if x.count > int(x.n)*growLoad {
		x.grow()
	}
}

// remove removes an entry, wherever it is in its chain.
func (x *index) remove(first, b *bucket, i int) {
	x.pull(first, b, i)
	x.count--
}

// hash returns the bits of a key's hash that the index knows.
func (x *index) hash(e *entry) uint32 { return uint32(maphash.Bytes(x.seed, e.key())) }

// partner returns the bucket that bucket b came out of.
func partner(b uint32) uint32 { return b &^ (1 << (bits.Len32(b) - 1)) }

// grow splits a bucket, if there is memory for it. Otherwise chains get longer.
func (x *index) grow() {
	if !x.prepare() || !x.addBucket() {
		return
	}
	to := x.at(x.n - 1)
	from := x.at(partner(x.n - 1))
	to.expire = from.expire
	bit := uint32(1) << (bits.Len32(x.n-1) - 1)
	for b := from; b != nil; b = x.next(b) {
		for i := 0; i < int(b.len); {
			if x.hash(x.a.entry(b.refs[i]))&bit == 0 {
				i++
				continue
			}
			tag, ref, end := b.tags[i], b.refs[i], b.ends(from)
			x.pull(from, b, i)
			x.push(to, tag, ref)
			if end {
				return
			}
		}
	}
}

// shrink takes the last bucket back into the one that it came out of, when there are too many.
func (x *index) shrink() {
	if x.n <= 1 || x.count >= int(x.n)*shrinkLoad || !x.prepare() {
		return
	}
	from, to := x.at(x.n-1), x.at(partner(x.n-1))
	to.expire = min(to.expire, from.expire)
	for from.len > 0 {
		tag, ref := from.tags[0], from.refs[0]
		x.pull(from, from, 0)
		x.push(to, tag, ref)
	}
	x.n--
	if x.n%pageBuckets == 0 {
		last := len(x.pages) - 1
		x.a.give(x.pages[last])
		x.pages = slices.Clip(x.pages[:last]) // what is shown is not overwritten
	}
	x.show()
}

// clear gives all memory back.
func (x *index) clear() {
	x.a.give(x.pages...)
	x.a.give(x.extra...)
	x.pages, x.n, x.count = nil, 0, 0
	x.spare, x.bump, x.bumpEnd, x.extra = 0, 0, 0, nil
	x.show()
}
