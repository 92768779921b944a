package store

// AllKeysLRU is S3-FIFO (Yang et al., SOSP 2023) with a clock for its main queue. A new entry is in a queue of a tenth of all. At
// its end it goes, unless it was used meanwhile. The others are passed by a hand that goes round the index and takes the one that
// was not used since its last rounds. Of those that went early the hash is remembered, and who comes back is not new.
//
// The hit rates of 2 million reads after 1 million, of 1 million keys by Zipf (0.99), with room for 1 % and 10 % of them, alone
// and with every fourth read of a key that comes once (see BenchmarkPolicies):
//
//	                       alone: 1 %    10 %  with scans: 1 %    10 %
//	true LRU                   56.5 %  76.6 %           52.6 %  70.7 %
//	5 samples, as Redis        56.2 %  76.3 %           52.3 %  70.3 %
//	S3-FIFO as published       64.7 %  79.7 %           64.7 %  76.4 %
//	this                       64.3 %  80.1 %           64.6 %  78.2 %
//
// As published, all entries are new until the memory is full for the first time, so that of those that are never read the oldest
// go. Beside three bits of an entry this takes four bytes for each that is new, and two for each that is remembered. It needs the
// shard's lock.
type queue struct {
	a     *arena
	head  uint32   // the page of the oldest hash; each begins with the number of the next
	tail  uint32   // the page of the newest
	first int      // the oldest, in its page
	last  int      // the newest, in its page
	len   int      // hashes, with those of entries that were deleted
	ghost []uint16 // of entries that went early: a part of the hash, in sets of ghostSet, the newest first
	hand  uint32   // the bucket that the clock looks at next
	slot  int      // and the place in its chain
}

// A freshPage holds hashes of new entries, from 1 on. 0 is the number of the next page.
type freshPage [pageSize / 4]uint32

const (
	freshShare = 10   // the queue of new entries is this part of all
	freshSlack = 1024 // hashes beyond two for each entry before the oldest is dropped
	ghostSet   = 4
	minGhosts  = 64
	// evictLooks bounds the entries that one eviction looks at, and so the time that a shard is locked, to a few µs.
	evictLooks = 32
	// goldenRatio mixes bits: it is 2^64 by the golden ratio, as Knuth has it.
	goldenRatio = 0x9E3779B97F4A7C15
)

func (q *queue) ghostAt(h uint32) ([]uint16, uint16) {
	set := int(uint64(h)*goldenRatio>>32) & (len(q.ghost)/ghostSet - 1) * ghostSet
	return q.ghost[set : set+ghostSet], uint16(h>>16) | 1
}

func (q *queue) remember(h uint32, count int) {
	if len(q.ghost) == 0 || count > 2*len(q.ghost) {
		n := minGhosts
		for n < count {
			n *= 2
		}
		q.ghost = make([]uint16, n)
	}
	set, mark := q.ghostAt(h)
	copy(set[1:], set)
	set[0] = mark
}

// recall says whether an entry went early, and forgets it.
func (q *queue) recall(h uint32) bool {
	if len(q.ghost) == 0 {
		return false
	}
	set, mark := q.ghostAt(h)
	for i, m := range set {
		if m == mark {
			set[i] = 0
			return true
		}
	}
	return false
}

// push adds a hash, and reports whether there was memory.
func (q *queue) push(h uint32) bool {
	if q.tail == 0 || q.last == len(freshPage{})-1 {
		p := q.a.take()
		if p == 0 {
			return false
		}
		q.a.fresh(p)[0] = 0
		if q.tail == 0 {
			q.head, q.first = p, 1
		} else {
			q.a.fresh(q.tail)[0] = p
		}
		q.tail, q.last = p, 0
	}
	q.last++
	q.a.fresh(q.tail)[q.last] = h
	q.len++
	return true
}

// pop returns the oldest hash.
func (q *queue) pop() uint32 {
	page := q.a.fresh(q.head)
	h := page[q.first]
	q.first++
	q.len--
	if q.len == 0 || q.first == len(page) {
		p := q.head
		q.head, q.first = page[0], 1
		if q.len == 0 {
			q.tail = 0
		}
		q.a.give(p)
	}
	return h
}

func (q *queue) clear() {
	for p := q.head; p != 0; {
		next := q.a.fresh(p)[0]
		q.a.give(p)
		p = next
	}
	*q = queue{a: q.a}
}

// admit takes a new entry into the queue. Where entries are deleted and none is evicted the queue stays at twice their number.
func (sh *shard) admit(h uint32, e *entry) {
	q := &sh.queue
	if q.recall(h) || !q.push(h) {
		return
	}
	e.bits |= isNew
	for range 2 { // one more than came
		if q.len <= 2*sh.index.count+freshSlack {
			break
		}
		if p := sh.findNew(q.pop()); p.e != nil {
			p.e.bits &^= isNew
		}
	}
}

// idleNew returns an entry that was not used while it was new. If it finds none, of those that it looks at, it returns the last.
func (sh *shard) idleNew() (p place) {
	for range evictLooks {
		if sh.queue.len == 0 || sh.queue.len <= sh.index.count/freshShare {
			return place{}
		}
		h := sh.queue.pop()
		if p = sh.findNew(h); p.e == nil {
			continue // it was deleted
		}
		p.e.bits &^= isNew
		if p.e.bits&freqMask == 0 {
			sh.queue.remember(h, sh.index.count)
			return p
		}
		p.e.bits &^= freqMask
	}
	return p
}

// findNew returns a new entry by its hash. When two have the same, the hash is twice in the queue, and each is found once.
func (sh *shard) findNew(h uint32) place {
	first := sh.index.first(h)
	for b := first; b != nil; b = sh.index.next(b) {
		for i, t := range b.tags[:b.len] {
			if t != tagOf(h) {
				continue
			}
			if e := sh.index.a.entry(b.refs[i]); e.bits&isNew != 0 && sh.index.hash(e) == h {
				return place{first: first, b: b, i: i, ref: b.refs[i], e: e}
			}
		}
	}
	return place{}
}

// clock moves the hand to an entry that was not used, or to the one that was used least, of those that it looks at. New ones are
// only taken when there are no others.
func (sh *shard) clock() place {
	var best, fresh place
	bestFreq := freqMask + 1
	for looks := 0; looks < evictLooks; {
		p := sh.chainAt(sh.queue.hand, sh.queue.slot)
		if p.e == nil {
			sh.queue.hand, sh.queue.slot = sh.queue.hand+1, 0
			if sh.queue.hand >= sh.index.n {
				sh.queue.hand = 0
			}
			if sh.queue.hand%pageBuckets == 0 {
				looks++ // in a table that is nearly empty, too, this ends
			}
			continue
		}
		looks++
		sh.queue.slot++
		if p.e.bits&isNew != 0 {
			fresh = p
			continue
		}
		f := p.e.bits & freqMask
		if f < bestFreq {
			best, bestFreq = p, f
		}
		if f == 0 {
			break
		}
		p.e.bits--
	}
	if best.e == nil {
		return fresh
	}
	return best
}
