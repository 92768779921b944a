// Package memcached is a server for the clients of memcached: its text and its meta protocol, with what memcached 1.6.18 does and
// says, over one database of a store. docs/cache.md has what differs.
package memcached

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/protoring/protoring/codec/memcache"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
)

// version is the version whose behaviour and texts the server has. Clients choose by it what they send.
const version = "1.6.18"

const (
	defaultMaxItem   = 1 << 20 // memcached's -I
	lineRoom         = 4 << 10 // bytes of a command beside its data
	minMessageBuffer = 32 << 20
)

// Config is what a Server is made of.
type Config struct {
	// Store and DB are where the items are. The database must not be another protocol's. They are required.
	Store *store.Store
	DB    *store.DB
	// MaxItem is the largest item in bytes, as memcache.ItemSize counts it. If zero, 1 MiB.
	MaxItem int
	// Loops is the number of loops of the server that the connections are on. If zero, 1.
	Loops int
	// Stats returns the numbers of that server, for the command stats. If nil, they are zero.
	Stats func() server.Stats
	// Timeout closes connections on which nothing was received or sent for so long. If zero, off.
	Timeout time.Duration
}

// A Server is what all connections share. Its methods may be called from any goroutine.
type Server struct {
	cfg     Config
	started time.Time
	flushAt atomic.Int64 // when all items go, in milliseconds since 1970; 0: never

	mu    sync.Mutex
	loops []*loop // of each loop, nil until it has a connection
}

// New returns a Server.
func New(cfg Config) *Server {
	if cfg.Store == nil || cfg.DB == nil {
		panic("memcached: Config.Store and Config.DB are required")
	}
	if cfg.MaxItem <= 0 {
		cfg.MaxItem = defaultMaxItem
	}
	if cfg.Stats == nil {
		cfg.Stats = func() server.Stats { return server.Stats{} }
	}
	return &Server{cfg: cfg, started: time.Now(), loops: make([]*loop, max(cfg.Loops, 1))}
}

// ListenConfig returns the choices for a listener of such connections.
func (s *Server) ListenConfig() server.ListenConfig {
	return server.ListenConfig{MaxBufferLength: max(minMessageBuffer, s.cfg.MaxItem+lineRoom), IdleTimeout: s.cfg.Timeout}
}

// Connect returns the reactor of a connection.
func (s *Server) Connect(p reactor.Peer[memcache.Reply]) *conn {
	c := &conn{s: s, db: s.cfg.DB, loop: s.loop(p.Loop), sender: p.Sender}
	c.MaxItem = s.cfg.MaxItem
	return c
}

// A loop is what the connections of one loop share. Reactors run on the loop's goroutine one at a time, and only counts is looked at by
// others.
type loop struct {
	value  []byte // a value that was read
	line   []byte // the flags of an answer
	number [maxNumber]byte
	ahead  [store.PrefetchMax][]byte // keys of commands to come
	counts counts
}

func (s *Server) loop(i int) *loop {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i >= len(s.loops) {
		s.loops = append(s.loops, nil)
	}
	if s.loops[i] == nil {
		s.loops[i] = &loop{}
	}
	return s.loops[i]
}

// A counter counts what happened.
type counter uint8

const (
	getHits counter = iota
	getMisses
	cmdSet
	cmdFlush
	cmdTouch
	cmdMeta
	touchHits
	touchMisses
	deleteHits
	deleteMisses
	incrHits
	incrMisses
	decrHits
	decrMisses
	casHits
	casMisses
	casBadval
	storeTooLarge
	storeNoMemory
	idleKicks
	counters
)

// counts belong to one loop. The padding keeps those of two loops apart in the processors' caches.
type counts struct {
	n [counters]atomic.Uint64
	_ [64]byte
}

func (c *conn) count(n counter) { c.loop.counts.n[n].Add(1) }

// sums adds up what the loops have counted.
func (s *Server) sums() (sum [counters]uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.loops {
		if l != nil {
			for i := range sum {
				sum[i] += l.counts.n[i].Load()
			}
		}
	}
	return sum
}

func (s *Server) resetCounts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.loops {
		if l != nil {
			for i := range l.counts.n {
				l.counts.n[i].Store(0)
			}
		}
	}
}
