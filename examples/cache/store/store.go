// Package store holds the keys of a cache in bounded memory. It knows nothing of protocols and sockets.
//
// A Store has one or more databases. The keys of each are spread over shards with a lock each. Small values are copied out under
// the lock, large ones are immutable and shared, so a reader never sees a mixture of two writes.
package store

import (
	"errors"
	"math/bits"
	"sync/atomic"
	"time"
)

// Errors that callers act on. None of them changed anything.
var (
	// ErrMemory: the bound on memory leaves no room, and the policy lets nothing be evicted that would make some.
	ErrMemory = errors.New("store: no room within the bound on memory")
	// ErrKey: the key is longer than MaxKey.
	ErrKey = errors.New("store: key is too long")
	// ErrInteger: the value is not a decimal integer of 64 bits.
	ErrInteger = errors.New("store: value is not an integer")
	// ErrOverflow: the sum does not fit 64 bits.
	ErrOverflow = errors.New("store: integer overflow")
)

// MaxKey is the length of the longest key, in bytes.
const MaxKey = 16000

// MaxValue is the length of the longest value, in bytes.
const MaxValue = 1<<32 - 1

// A Policy says what is evicted when MaxMemory is reached.
type Policy uint8

// The policies, with the names that redis.conf gives them.
const (
	NoEviction     Policy = iota // nothing: writes that need memory fail with ErrMemory
	AllKeysLRU                   // what was not used for long, or not often: it counts uses, too, as allkeys-lfu
	AllKeysRandom                // anything
	VolatileLRU                  // of keys with an expiry the one that was not used for longest, of a few that are drawn
	VolatileRandom               // any key with an expiry
	VolatileTTL                  // of keys with an expiry the one that expires first, of a few that are drawn
)

// A Reason says why the store itself removed a key.
type Reason uint8

// The reasons.
const (
	Expired Reason = iota
	Evicted
)

// Config are the choices for a Store. The zero value is an unbounded store with one database.
type Config struct {
	// MaxMemory is the most bytes that the store may take: keys, values and all that is kept beside them. If zero, there is no bound.
	MaxMemory int
	// Policy says what is evicted for it. The zero value is NoEviction.
	Policy Policy
	// Databases is the number of key spaces. If zero, there is one.
	Databases int
	// Shards is the number of locks of a database, rounded up to a power of two. If zero, it is one for each 8 MiB of MaxMemory and
	// 256 at most, and that without a bound: a shard keeps a page for each size of entry that it has.
	Shards int
	// Now returns the time in milliseconds since 1970. If nil, it is the system's. It is called with a lock held and must be fast.
	Now func() int64
	// Removed, if not nil, is told of each key that expired or was evicted while Notify was on; not of those that were deleted
	// or flushed. It is called outside any lock by the goroutine whose call noticed it, and may call the store. The key is lent.
	Removed func(db int, key []byte, reason Reason)
}

const (
	maxShards   = 256
	shardMemory = 8 << 20
)

func (c Config) withDefaults() Config {
	c.Databases = max(c.Databases, 1)
	if c.Shards <= 0 {
		c.Shards = maxShards
		if c.MaxMemory > 0 {
			c.Shards = min(max(c.MaxMemory/shardMemory, 1), maxShards)
		}
	}
	c.Shards = 1 << bits.Len(uint(c.Shards-1))
	if c.Now == nil {
		c.Now = func() int64 { return time.Now().UnixMilli() }
	}
	return c
}

// A Store may be used by any number of goroutines. No method keeps a key or bytes that it was given.
type Store struct {
	cfg       Config
	maxMemory atomic.Int64
	policy    atomic.Uint32
	notify    atomic.Bool
	lazy      atomic.Bool
	used      atomic.Int64  // bytes of all entries and Blobs
	active    atomic.Int64  // shards with entries
	hand      atomic.Uint32 // the shard that the last eviction looked at
	clock     atomic.Uint32 // seconds since 1970, while Run keeps it; otherwise 0
	shift     uint          // of a hash, to its shard
	arena     arena
	chunks    chunkPool
	dbs       []DB
}

// New returns an empty Store. Whoever makes it calls Close. It takes address space for 32 GiB of entries, which is also the most
// that they may take beside large values, and panics when the system has none.
func New(cfg Config) *Store {
	cfg = cfg.withDefaults()
	s := &Store{
		cfg:   cfg,
		dbs:   make([]DB, cfg.Databases),
		shift: uint(64 - bits.TrailingZeros(uint(cfg.Shards))),
	}
	s.arena.init()
	s.maxMemory.Store(int64(cfg.MaxMemory))
	s.policy.Store(uint32(cfg.Policy))
	for i := range s.dbs {
		s.dbs[i].init(s, i)
	}
	return s
}

// Close gives the memory back. Run must have returned, and no other method may run or be called any more: a read of the memory
// would end the process. Blobs that readers hold stay valid.
func (s *Store) Close() { s.arena.close() }

// DB returns database i, which must be below Config.Databases. It is the same one for each call.
func (s *Store) DB(i int) *DB { return &s.dbs[i] }

// SetMaxMemory sets the bound on memory, in bytes; 0: none. A bound below what is used is reached by the next writes, and by Run.
func (s *Store) SetMaxMemory(bytes int) { s.maxMemory.Store(int64(bytes)) }

// MaxMemory returns the bound on memory, in bytes; 0: none.
func (s *Store) MaxMemory() int { return int(s.maxMemory.Load()) }

// SetPolicy sets what is evicted.
func (s *Store) SetPolicy(p Policy) { s.policy.Store(uint32(p)) }

// Policy returns what is evicted.
func (s *Store) Policy() Policy { return Policy(s.policy.Load()) }

// Notify says whether Config.Removed is called. It is off at first.
func (s *Store) Notify(on bool) { s.notify.Store(on) }

// Now returns the store's time in milliseconds since 1970.
func (s *Store) Now() int64 { return s.cfg.Now() }

// Used returns the bytes that are accounted: keys, values, and what is kept beside them.
func (s *Store) Used() int { return int(s.used.Load()) }

// Stats are numbers since the store was made, or since ResetStats.
type Stats struct {
	Keys, Expiring   int    // entries of all databases, and those with an expiry; not reset
	Used             int    // bytes, as Used
	Resident         int    // bytes that were taken from the system for entries, in use or not; not reset
	Hits, Misses     uint64 // of Get
	Expired, Evicted uint64 // entries
}

// Stats adds up the shards, one after the other.
func (s *Store) Stats() Stats {
	sum := Stats{Used: s.Used(), Resident: s.arena.resident()}
	for i := range s.dbs {
		s.dbs[i].addStats(&sum)
	}
	return sum
}

// ResetStats begins to count hits, misses, expired and evicted entries again.
func (s *Store) ResetStats() {
	for i := range s.dbs {
		s.dbs[i].resetStats()
	}
}

// FlushAll removes all keys of all databases.
func (s *Store) FlushAll() {
	for i := range s.dbs {
		s.dbs[i].Flush()
	}
}
