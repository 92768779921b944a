package store

import "sync"

// EntryCost is the number of bytes that an entry is charged with beyond its key and value: its slot of 40, four to eight of
// buckets, and what growing slices and the allocator's size classes leave unused.
const EntryCost = 72

// An entry is a slot of a shard's slice.
type entry struct {
	data   string // key and value
	expire int64  // milliseconds since 1970; 0: never
	hash   uint32
	next   int32  // index of the next entry of the bucket; -1: none
	keyLen uint32 // bytes of data that are the key
	used   uint32 // the shard's tick at the last use
}

func (e *entry) key() string   { return e.data[:e.keyLen] }
func (e *entry) value() string { return e.data[e.keyLen:] }
func (e *entry) cost() int     { return len(e.data) + EntryCost }

func cost(key, value int) int { return key + value + EntryCost }

// A shard is a chained hash table whose entries lie without gaps in one slice: a random entry is a random index, and a pass over
// all of them is a cursor. Everything in it is guarded by mu.
type shard struct {
	mu       sync.Mutex
	buckets  []int32 // index of the first entry; -1: none. Their number is a power of two
	entries  []entry
	bytes    int    // cost of all entries
	expiring int    // entries with an expiry
	cursor   int    // where the next sweep begins
	tick     uint32 // counts uses, so that the age of an entry needs no clock

	hits, misses, expired, evicted uint64

	_ [64]byte // a lock that one loop takes must not move the line that another one works on
}

const minBuckets = 8

// find returns the index of a key, or -1.
func (sh *shard) find(h uint32, key []byte) int {
	if len(sh.buckets) == 0 {
		return -1
	}
	i := sh.buckets[h&uint32(len(sh.buckets)-1)]
	for i >= 0 {
		e := &sh.entries[i]
		if e.hash == h && e.key() == string(key) {
			break
		}
		i = e.next
	}
	return int(i)
}

// use marks an entry as the one that was used last.
func (sh *shard) use(i int) *entry {
	sh.tick++
	e := &sh.entries[i]
	e.used = sh.tick
	return e
}

// insert adds an entry whose key is not there, and returns its index.
func (sh *shard) insert(h uint32, keyLen int, data string) int {
	if len(sh.entries) >= len(sh.buckets) {
		sh.rehash(max(minBuckets, 2*len(sh.buckets)))
	}
	i := len(sh.entries)
	sh.entries = append(sh.entries, entry{data: data, hash: h, keyLen: uint32(keyLen)})
	sh.link(i)
	sh.bytes += sh.use(i).cost()
	return i
}

// replace gives an entry another value.
func (sh *shard) replace(i int, data string) {
	e := sh.use(i)
	sh.bytes += len(data) - len(e.data)
	e.data = data
}

// expire sets an entry's expiry.
func (sh *shard) expire(i int, at int64) {
	e := &sh.entries[i]
	if e.expire != 0 {
		sh.expiring--
	}
	if at != 0 {
		sh.expiring++
	}
	e.expire = at
}

// remove removes an entry and returns what it cost. The last entry takes its place.
func (sh *shard) remove(i int) int {
	cost := sh.entries[i].cost()
	sh.bytes -= cost
	sh.expire(i, 0)
	*sh.linkTo(i) = sh.entries[i].next
	last := len(sh.entries) - 1
	if i != last {
		*sh.linkTo(last) = int32(i)
		sh.entries[i] = sh.entries[last]
	}
	sh.entries[last] = entry{}
	sh.entries = sh.entries[:last]
	if last < cap(sh.entries)/8 && len(sh.buckets) > 8*minBuckets {
		sh.entries = append(make([]entry, 0, 2*last), sh.entries...)
		sh.rehash(len(sh.buckets) / 4)
	}
	return cost
}

// linkTo returns the bucket, or the entry's field, that holds index i.
func (sh *shard) linkTo(i int) *int32 {
	p := &sh.buckets[sh.entries[i].hash&uint32(len(sh.buckets)-1)]
	for *p != int32(i) {
		p = &sh.entries[*p].next
	}
	return p
}

func (sh *shard) link(i int) {
	e := &sh.entries[i]
	b := &sh.buckets[e.hash&uint32(len(sh.buckets)-1)]
	e.next, *b = *b, int32(i)
}

func (sh *shard) rehash(buckets int) {
	sh.buckets = make([]int32, buckets)
	for i := range sh.buckets {
		sh.buckets[i] = -1
	}
	for i := range sh.entries {
		sh.link(i)
	}
}

// clear removes all entries.
func (sh *shard) clear() {
	sh.buckets, sh.entries = nil, nil
	sh.bytes, sh.expiring, sh.cursor = 0, 0, 0
}
