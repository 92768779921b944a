// Package store holds the keys of a cache in bounded memory. It knows nothing of protocols and sockets.
//
// Keys are spread over shards with a lock each. A key and its value are one immutable string: a reader takes the value out of the
// lock and encodes it at leisure, and never sees a mixture of two writes. What was replaced is the collector's.
package store

import (
	"errors"
	"hash/maphash"
	"math/bits"
	"strings"
	"sync/atomic"
	"time"
)

// Errors that callers act on. None of them changed anything.
var (
	// ErrMemory: the entry alone exceeds the bound on memory.
	ErrMemory = errors.New("store: value exceeds the bound on memory")
	// ErrInteger: the value is not a decimal integer of 64 bits.
	ErrInteger = errors.New("store: value is not an integer")
	// ErrOverflow: the sum does not fit 64 bits.
	ErrOverflow = errors.New("store: integer overflow")
)

// Config are the choices for a Store. The zero value is an unbounded store.
type Config struct {
	// MaxMemory is the most bytes that entries may take, each with its key, its value and EntryCost. If zero, there is no bound.
	MaxMemory int
	// Shards is the number of locks, rounded up to a power of two. If zero, one per MiB of MaxMemory and 256 at most: the entry to
	// evict is chosen within a shard, which only says something when a shard has many.
	Shards int
	// Now returns the time in milliseconds since 1970. If nil, it is the system's.
	Now func() int64
}

const maxShards = 256

func (c Config) withDefaults() Config {
	if c.Shards <= 0 {
		c.Shards = maxShards
		if c.MaxMemory > 0 {
			c.Shards = min(max(c.MaxMemory>>20, 1), maxShards)
		}
	}
	c.Shards = 1 << bits.Len(uint(c.Shards-1))
	if c.Now == nil {
		c.Now = func() int64 { return time.Now().UnixMilli() }
	}
	return c
}

// A Store may be used by any number of goroutines. No method keeps the key or the value that it was given.
type Store struct {
	cfg    Config
	seed   maphash.Seed
	shift  uint // of a hash, to its shard
	shards []shard
	used   atomic.Int64  // bytes of all entries; never above MaxMemory
	hand   atomic.Uint32 // the shard that the last eviction looked at
}

// New returns an empty Store.
func New(cfg Config) *Store {
	cfg = cfg.withDefaults()
	return &Store{
		cfg:    cfg,
		seed:   maphash.MakeSeed(), // clients choose the keys, and must not choose their collisions
		shift:  uint(64 - bits.TrailingZeros(uint(cfg.Shards))),
		shards: make([]shard, cfg.Shards),
	}
}

// lock returns the key's shard, locked, and the key's hash within it.
func (s *Store) lock(key []byte) (*shard, uint32) {
	h := maphash.Bytes(s.seed, key)
	sh := &s.shards[h>>s.shift]
	sh.mu.Lock()
	return sh, uint32(h)
}

// find returns the index of a live entry, or -1. One that has expired is removed. The caller holds the shard's lock.
func (s *Store) find(sh *shard, h uint32, key []byte) int {
	i := sh.find(h, key)
	if i >= 0 && sh.entries[i].expire != 0 && sh.entries[i].expire <= s.cfg.Now() {
		sh.expired++
		s.remove(sh, i)
		return -1
	}
	return i
}

// remove removes an entry and gives its memory back. The caller holds the shard's lock.
func (s *Store) remove(sh *shard, i int) {
	s.used.Add(-int64(sh.remove(i)))
}

// Get returns the value of a key.
func (s *Store) Get(key []byte) (value string, ok bool) {
	sh, h := s.lock(key)
	i := s.find(sh, h, key)
	if i < 0 {
		sh.misses++
		sh.mu.Unlock()
		return "", false
	}
	sh.hits++
	value = sh.use(i).value()
	sh.mu.Unlock()
	return value, true
}

// Contains says whether a key is there.
func (s *Store) Contains(key []byte) bool {
	_, ok := s.Get(key)
	return ok
}

// A Condition says when Set stores.
type Condition uint8

// The conditions of Set.
const (
	Always Condition = iota
	IfAbsent
	IfPresent
)

// SetOptions say how Set stores. The zero value stores in any case, without expiry.
type SetOptions struct {
	If     Condition
	Keep   bool  // keep the expiry of the value that is replaced
	Expire int64 // milliseconds since 1970; 0: never
}

// A Previous is what Set found.
type Previous struct {
	Value  string
	Exists bool
	Stored bool // the condition held, so that the new value was stored
}

// Set stores a value. The error is ErrMemory.
func (s *Store) Set(key, value []byte, o SetOptions) (Previous, error) {
	size := cost(len(key), len(value))
	if s.cfg.MaxMemory > 0 && size > s.cfg.MaxMemory {
		return Previous{}, ErrMemory
	}
	data := join(key, value)
	for {
		sh, h := s.lock(key)
		i := s.find(sh, h, key)
		prev := Previous{Exists: i >= 0}
		grow := size
		if prev.Exists {
			e := sh.use(i)
			prev.Value = e.value()
			grow -= e.cost()
		}
		if o.If == IfAbsent && prev.Exists || o.If == IfPresent && !prev.Exists {
			sh.mu.Unlock()
			return prev, nil
		}
		if s.reserve(grow) {
			if i < 0 {
				i = sh.insert(h, len(key), data)
			} else {
				sh.replace(i, data)
			}
			if !o.Keep {
				sh.expire(i, o.Expire)
			}
			sh.mu.Unlock()
			prev.Stored = true
			return prev, nil
		}
		sh.mu.Unlock() // the entry that must go is perhaps in another shard, and two locks are never held at once
		if !s.evict() {
			return prev, ErrMemory
		}
	}
}

// join returns key and value in one string, in one allocation.
func join(key, value []byte) string {
	var b strings.Builder
	b.Grow(len(key) + len(value))
	b.Write(key)
	b.Write(value)
	return b.String()
}

// reserve takes bytes of the memory, if they are there.
func (s *Store) reserve(bytes int) bool {
	if bytes == 0 {
		return true // most writes replace a value by one of its size: they leave the one counter of all shards alone
	}
	if bytes < 0 || s.cfg.MaxMemory <= 0 {
		s.used.Add(int64(bytes))
		return true
	}
	for {
		used := s.used.Load()
		if used+int64(bytes) > int64(s.cfg.MaxMemory) {
			return false
		}
		if s.used.CompareAndSwap(used, used+int64(bytes)) {
			return true
		}
	}
}

// Delete removes a key and says whether it was there.
func (s *Store) Delete(key []byte) bool {
	sh, h := s.lock(key)
	defer sh.mu.Unlock()
	i := s.find(sh, h, key)
	if i < 0 {
		return false
	}
	s.remove(sh, i)
	return true
}

// Add adds delta to the integer that a key holds, 0 where there is none, and returns the sum. The expiry stays. The error is
// ErrInteger, ErrOverflow or ErrMemory.
func (s *Store) Add(key []byte, delta int64) (int64, error) {
	for {
		sum, done, err := s.tryAdd(key, delta)
		if done || err != nil {
			return sum, err
		}
		if !s.evict() {
			return 0, ErrMemory
		}
	}
}

func (s *Store) tryAdd(key []byte, delta int64) (sum int64, done bool, err error) {
	sh, h := s.lock(key)
	defer sh.mu.Unlock()
	i := s.find(sh, h, key)
	size := 0
	if i >= 0 {
		e := sh.use(i)
		size = e.cost()
		var ok bool
		if sum, ok = ParseInt(e.value()); !ok {
			return 0, false, ErrInteger
		}
	}
	if delta > 0 && sum > maxInt64-delta || delta < 0 && sum < minInt64-delta {
		return 0, false, ErrOverflow
	}
	sum += delta
	var digits [maxDigits]byte
	text := appendInt(digits[:0], sum)
	grow := cost(len(key), len(text)) - size
	if s.cfg.MaxMemory > 0 && grow > s.cfg.MaxMemory {
		return 0, false, ErrMemory
	}
	if !s.reserve(grow) {
		return 0, false, nil
	}
	data := join(key, text)
	if i < 0 {
		sh.insert(h, len(key), data)
	} else {
		sh.replace(i, data)
	}
	return sum, true, nil
}

// An ExpireIf is a set of conditions on the expiry that a key has. A key without expiry is taken for one that never comes.
type ExpireIf uint8

// The conditions of Expire.
const (
	IfNone ExpireIf = 1 << iota
	IfSome
	IfLater
	IfEarlier
)

// Expire sets when a key expires, in milliseconds since 1970. A time that is not in the future removes the key. It says whether
// the key was there and the conditions held.
func (s *Store) Expire(key []byte, at int64, c ExpireIf) bool {
	sh, h := s.lock(key)
	defer sh.mu.Unlock()
	i := s.find(sh, h, key)
	if i < 0 {
		return false
	}
	was := sh.entries[i].expire
	if c&IfNone != 0 && was != 0 ||
		c&IfSome != 0 && was == 0 ||
		c&IfLater != 0 && (was == 0 || at <= was) ||
		c&IfEarlier != 0 && was != 0 && at >= was {
		return false
	}
	if at <= s.cfg.Now() {
		s.remove(sh, i)
		return true
	}
	sh.expire(i, at)
	sh.use(i)
	return true
}

// Persist takes a key's expiry away and says whether it had one.
func (s *Store) Persist(key []byte) bool {
	sh, h := s.lock(key)
	defer sh.mu.Unlock()
	i := s.find(sh, h, key)
	if i < 0 || sh.entries[i].expire == 0 {
		return false
	}
	sh.expire(i, 0)
	return true
}

// Expiry returns when a key expires, in milliseconds since 1970, 0 for never, and whether it is there.
func (s *Store) Expiry(key []byte) (at int64, ok bool) {
	sh, h := s.lock(key)
	defer sh.mu.Unlock()
	i := s.find(sh, h, key)
	if i < 0 {
		return 0, false
	}
	return sh.entries[i].expire, true
}

// Now returns the store's time in milliseconds since 1970.
func (s *Store) Now() int64 { return s.cfg.Now() }

// Flush removes all keys.
func (s *Store) Flush() {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		s.used.Add(-int64(sh.bytes))
		sh.clear()
		sh.mu.Unlock()
	}
}

// Used returns the bytes of all entries.
func (s *Store) Used() int { return int(s.used.Load()) }

// Len returns the number of entries. Those that have expired and were not reclaimed yet are counted.
func (s *Store) Len() int { return s.Stats().Keys }

// Stats are numbers since the store was made.
type Stats struct {
	Keys, Expiring   int // entries; those with an expiry
	Bytes            int
	Hits, Misses     uint64 // of Get and Contains
	Expired, Evicted uint64 // entries
}

// Stats adds up the shards, one after the other.
func (s *Store) Stats() Stats {
	var sum Stats
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sum.Keys += len(sh.entries)
		sum.Expiring += sh.expiring
		sum.Bytes += sh.bytes
		sum.Hits += sh.hits
		sum.Misses += sh.misses
		sum.Expired += sh.expired
		sum.Evicted += sh.evicted
		sh.mu.Unlock()
	}
	return sum
}
