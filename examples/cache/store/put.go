package store

import (
	"errors"
	"strconv"
)

// What stops tryPut and tryAdd.
var (
	errCondition = errors.New("store: condition does not hold")
	errRoom      = errors.New("store: other shards must evict")
)

// Put stores a value. The error is ErrMemory, also for one longer than MaxValue, or ErrKey.
func (d *DB) Put(key []byte, v Source, o PutOptions) (PutResult, error) {
	r, err := d.put(key, &v, &o)
	if v.blob != nil {
		v.blob.Release() // it was not stored, or copied
	}
	return r, err
}

func (d *DB) put(key []byte, v *Source, o *PutOptions) (PutResult, error) {
	if len(key) > MaxKey {
		return PutResult{}, ErrKey
	}
	if v.Len() > MaxValue {
		return PutResult{}, ErrMemory
	}
	need, large := slotSize(len(key), v.Len())
	if large && v.blob == nil {
		b, err := d.s.blobOf(v.head, v.tail)
		if err != nil {
			return PutResult{}, err
		}
		*v = Whole(b)
	}
	for {
		sh, h := d.lock(key)
		r, err := d.tryPut(sh, h, key, v, o, need, large)
		d.unlock(sh)
		if err != errRoom {
			return r, err
		}
		if !d.s.makeRoom(need) {
			return r, ErrMemory
		}
	}
}

// tryPut stores a value in a locked shard. The error errRoom says that other shards must evict.
func (d *DB) tryPut(sh *shard, h uint64, key []byte, v *Source, o *PutOptions, need int, large bool) (PutResult, error) {
	p, err := d.room(sh, h, key, need, o)
	r := PutResult{Existed: p.e != nil}
	if p.e != nil {
		r.Version = p.e.version
	}
	if err == errRoom {
		return r, err
	}
	if p.e != nil && o.WantPrevious {
		r.Previous = d.item(sh, &p, o.Previous, d.s.second())
	}
	if err != nil {
		return r, nil //nolint:nilerr // errCondition, which the result tells
	}
	if !d.open(sh, &p, h, key, need) {
		r.Previous.Release()
		return PutResult{Existed: r.Existed, Version: r.Version}, ErrMemory
	}
	e := p.e
	e.size = uint32(v.Len())
	if large {
		e.bits |= isBlob
		e.setBlobIndex(sh.addBlob(v.blob))
		v.blob = nil // the shard's from here on
	} else {
		v.copyTo(e.value())
	}
	e.flags, e.marks, e.version = o.Flags, o.Marks, sh.nextVersion()
	r.Stored, r.Version = true, e.version
	switch {
	case r.Existed && o.KeepTTL:
		sh.changed(&p)
	case o.Expire != 0 && o.Expire <= d.s.Now():
		d.removeAs(sh, &p, Expired)
	default:
		sh.setExpire(&p, o.Expire)
		sh.changed(&p)
	}
	return r, nil
}

// copyTo copies the value to where there is room for it.
func (src *Source) copyTo(dst []byte) {
	if src.blob == nil {
		n := copy(dst, src.head)
		copy(dst[n:], src.tail)
		return
	}
	for _, c := range src.blob.chunks {
		dst = dst[copy(dst, c):]
	}
}

// room finds a key, and takes the memory that its entry of another size needs more. It evicts in this shard while that is fair.
// The error is errCondition or errRoom.
func (d *DB) room(sh *shard, h uint64, key []byte, need int, o *PutOptions) (place, error) {
	for round := 0; ; round++ {
		p := d.live(sh, h, key) // again after each eviction: it moves entries, and may take this one
		was := 0
		if p.e != nil {
			was = cost(p.e.slotSize())
		}
		if !o.holds(p.e) {
			return p, errCondition
		}
		if d.s.take(cost(need) - was) {
			return p, nil
		}
		policy := d.s.Policy()
		if policy == NoEviction || round == evictRounds || int64(need) > d.s.maxMemory.Load() || !d.s.fair(sh) {
			return p, errRoom
		}
		if d.evictHere(sh, policy) == 0 {
			return p, errRoom
		}
	}
}

func (o *PutOptions) holds(e *entry) bool {
	switch o.If {
	case IfAbsent:
		return e == nil
	case IfPresent:
		return e != nil
	case IfVersion:
		return e != nil && e.version == o.Version
	default:
		return true
	}
}

// open makes an entry, or gives the one that is there a slot of the size, whose memory room took. It counts a use. If it reports
// false there was no memory, and nothing has changed.
func (d *DB) open(sh *shard, p *place, h uint64, key []byte, need int) bool {
	second := d.s.second()
	if p.e == nil {
		*p = sh.insert(uint32(h), key, need)
		if p.e == nil {
			d.s.give(cost(need))
			return false
		}
		d.charge(sh, cost(need))
		if sh.index.count == 1 {
			d.s.active.Add(1)
		}
		p.e.used = second
		if d.s.maxMemory.Load() > 0 && d.s.Policy() == AllKeysLRU {
			sh.admit(uint32(h), p.e)
		}
		return true
	}
	was := cost(p.e.slotSize())
	c, size := roundUp(need)
	if size+entryCost == was {
		sh.dropBlob(p.e)
	} else if !sh.resize(p, c) {
		d.s.give(cost(need) - was)
		return false
	}
	d.charge(sh, cost(need)-was)
	p.e.use(second)
	p.e.bits &^= isFetched
	return true
}

// Add adds delta to the integer that a key holds, 0 where there is none, and returns the sum. The expiry and the flags stay, the
// marks go. The error is ErrInteger, ErrOverflow, ErrMemory or ErrKey.
func (d *DB) Add(key []byte, delta int64) (int64, error) {
	if len(key) > MaxKey {
		return 0, ErrKey
	}
	for {
		sh, h := d.lock(key)
		sum, err := d.tryAdd(sh, h, key, delta)
		d.unlock(sh)
		if err != errRoom {
			return sum, err
		}
		if !d.s.makeRoom(headerSize + len(key) + maxDigits) {
			return 0, ErrMemory
		}
	}
}

// tryAdd adds in a locked shard. The error errRoom says that other shards must evict.
func (d *DB) tryAdd(sh *shard, h uint64, key []byte, delta int64) (int64, error) {
	var sum int64
	var version uint64
	o := PutOptions{If: IfAbsent}
	if p := d.live(sh, h, key); p.e != nil {
		ok := p.e.bits&isBlob == 0
		if ok {
			sum, ok = ParseInt(p.e.value())
		}
		if !ok {
			return 0, ErrInteger
		}
		version = p.e.version
		o = PutOptions{If: IfVersion, Version: version}
	}
	if delta > 0 && sum > maxInt64-delta || delta < 0 && sum < minInt64-delta {
		return 0, ErrOverflow
	}
	sum += delta
	var digits [maxDigits]byte
	text := strconv.AppendInt(digits[:0], sum, 10)
	need, _ := slotSize(len(key), len(text))
	p, err := d.room(sh, h, key, need, &o)
	if err != nil {
		return 0, errRoom // or the eviction took this very entry: it starts again
	}
	if !d.open(sh, &p, h, key, need) {
		return 0, ErrMemory
	}
	p.e.size = uint32(len(text))
	copy(p.e.value(), text)
	p.e.marks = 0
	p.e.version = sh.nextVersion()
	sh.changed(&p)
	return sum, nil
}
