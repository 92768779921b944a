package redis

import (
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A tracker is a connection's part in client-side caching. The connection alone writes it, but for broken.
type tracker struct {
	mu       sync.Mutex  // held to write what other loops read, and by them
	sub      *subscriber // nil when the connection has ended
	to       *subscriber // that is told instead, if redirect is not 0
	redirect int64
	on       bool
	bcast    bool
	noLoop   bool
	broken   bool // to has ended

	// The connection's own.
	optIn, optOut bool
	caching       bool     // CLIENT CACHING was said, for the command that comes
	prefixes      []string // with bcast, in order
	changes       []change // of a transaction, to be told behind it
	told          keyList  // their keys, for those who are told of prefixes
}

const (
	trackShards    = 64
	maxTrackedKeys = 1_000_000 // tracking-table-max-keys, unless it is set
	fewTrackers    = 8         // of a key: a slice, which is smaller than a map
)

// A trackTable remembers who has read which keys, of all databases alike as in Redis, and who wants to know of all keys with a prefix.
// It may be used by any goroutine. Its zero value is ready for use, and unbounded.
type trackTable struct {
	shards [trackShards]trackShard
	count  atomic.Int64 // keys
	items  atomic.Int64 // those who have read them, of all keys together
	limit  atomic.Int64 // of them; 0: none

	mu       sync.RWMutex
	members  int // connections that have ever tracked
	active   map[*tracker]struct{}
	prefixes map[string]map[*tracker]struct{}
	bcasts   atomic.Int64 // prefixes
}

type trackShard struct {
	mu   sync.Mutex
	keys map[string]*tracked
}

// tracked are those who have read a key.
type tracked struct {
	few  []*tracker
	many map[*tracker]struct{} // nil while they are few
}

// add says whether t is new.
func (e *tracked) add(t *tracker) bool {
	if e.many != nil {
		before := len(e.many)
		e.many[t] = struct{}{}
		return len(e.many) > before
	}
	if slices.Contains(e.few, t) {
		return false
	}
	if e.few = append(e.few, t); len(e.few) > fewTrackers {
		e.many = make(map[*tracker]struct{}, 2*len(e.few))
		for _, t := range e.few {
			e.many[t] = struct{}{}
		}
		e.few = nil
	}
	return true
}

func (e *tracked) len() int { return len(e.few) + len(e.many) }

func (e *tracked) list() []*tracker {
	for t := range e.many {
		e.few = append(e.few, t)
	}
	return e.few
}

// trackSeed spreads keys over locks. Whoever chooses keys must not choose their lock.
var trackSeed = maphash.MakeSeed()

func (tt *trackTable) shard(key []byte) *trackShard {
	return &tt.shards[maphash.Bytes(trackSeed, key)%trackShards]
}

// join counts a connection that tracks for the first time. From then on the server notes which keys change.
func (tt *trackTable) join(s *Server) {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	tt.members++
	s.trackers.Store(int64(tt.members))
	s.watchRemoved()
}

// leave is called when such a connection ends. Behind the last one, nothing is kept.
func (tt *trackTable) leave(s *Server) {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	tt.members--
	s.trackers.Store(int64(tt.members))
	s.watchRemoved()
	if tt.members == 0 {
		tt.clear()
	}
}

// enable lets t be told of flushes, and of the prefixes.
func (tt *trackTable) enable(t *tracker, prefixes []string) {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	if tt.active == nil {
		tt.active = make(map[*tracker]struct{})
		tt.prefixes = make(map[string]map[*tracker]struct{})
	}
	tt.active[t] = struct{}{}
	for _, p := range prefixes {
		if tt.prefixes[p] == nil {
			tt.prefixes[p] = make(map[*tracker]struct{})
		}
		tt.prefixes[p][t] = struct{}{}
	}
	tt.bcasts.Store(int64(len(tt.prefixes)))
}

func (tt *trackTable) disable(t *tracker) {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	delete(tt.active, t)
	for _, p := range t.prefixes {
		if delete(tt.prefixes[p], t); len(tt.prefixes[p]) == 0 {
			delete(tt.prefixes, p)
		}
	}
	tt.bcasts.Store(int64(len(tt.prefixes)))
}

// remember notes that t reads a key.
func (tt *trackTable) remember(key []byte, t *tracker) {
	sh := tt.shard(key)
	sh.mu.Lock()
	e := sh.keys[string(key)]
	if e == nil {
		if sh.keys == nil {
			sh.keys = make(map[string]*tracked)
		}
		e = new(tracked)
		sh.keys[string(key)] = e
		tt.count.Add(1)
	}
	if e.add(t) {
		tt.items.Add(1)
	}
	sh.mu.Unlock()
}

// forget returns those who have read a key: they are told once, and read it again.
func (tt *trackTable) forget(key []byte) []*tracker {
	sh := tt.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.keys[string(key)]
	if e == nil {
		return nil
	}
	delete(sh.keys, string(key))
	return tt.forgotten(e)
}

// forgotten counts a key that was deleted, and returns who had read it.
func (tt *trackTable) forgotten(e *tracked) []*tracker {
	tt.count.Add(-1)
	tt.items.Add(-int64(e.len()))
	return e.list()
}

func (tt *trackTable) tooMany() bool {
	limit := tt.limit.Load()
	return limit > 0 && tt.count.Load() > limit
}

// evict forgets a key that is drawn.
func (tt *trackTable) evict() (key []byte, trackers []*tracker) {
	for i, start := 0, rand.IntN(trackShards); i < trackShards; i++ {
		sh := &tt.shards[(start+i)%trackShards]
		sh.mu.Lock()
		for name, e := range sh.keys { // any: the order is drawn by the map
			delete(sh.keys, name)
			trackers = tt.forgotten(e)
			sh.mu.Unlock()
			return []byte(name), trackers
		}
		sh.mu.Unlock()
	}
	return nil, nil
}

// clear forgets all keys.
func (tt *trackTable) clear() {
	for i := range tt.shards {
		sh := &tt.shards[i]
		sh.mu.Lock()
		for _, e := range sh.keys {
			tt.forgotten(e)
		}
		sh.keys = nil
		sh.mu.Unlock()
	}
}

// all returns those who are told of a flush.
func (tt *trackTable) all() (list []*tracker) {
	tt.mu.RLock()
	defer tt.mu.RUnlock()
	for t := range tt.active {
		list = append(list, t)
	}
	return list
}

// An audience is told of keys with the same prefix.
type audience struct {
	keys     [][]byte // each once; lent by the list that they come from
	trackers []*tracker
}

// audiences returns those who want to know of some of the keys by their beginning. No two prefixes of one overlap.
func (tt *trackTable) audiences(keys *keyList) (list []audience) {
	if tt.bcasts.Load() == 0 {
		return nil
	}
	distinct := keys.distinct()
	tt.mu.RLock()
	defer tt.mu.RUnlock()
	for p, trackers := range tt.prefixes {
		var a audience
		for _, key := range distinct {
			if strings.HasPrefix(string(key), p) {
				a.keys = append(a.keys, key)
			}
		}
		if a.keys == nil {
			continue
		}
		for t := range trackers {
			a.trackers = append(a.trackers, t)
		}
		list = append(list, a)
	}
	return list
}
