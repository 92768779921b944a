// Package redis is a server for the clients of Redis: RESP2 and RESP3, strings with expiry, transactions, publish and subscribe, with what
// redis-server 7.0 does and says, over the databases of a store.
package redis

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
)

// redisVersion is the version whose behaviour and texts the server has, which clients ask for.
const redisVersion = "7.0.15"

const (
	defaultDatabases  = 16
	defaultMaxClients = 10_000
	defaultMaxValue   = 512 << 20 // proto-max-bulk-len
	minMessageBuffer  = 32 << 20
	commandRoom       = 1 << 20 // bytes of a command beside one value
	maxQueuedMessages = 64 << 10
)

// Config is what a Server is made of. The zero value is an unbounded one.
type Config struct {
	// MaxMemory is the most bytes of keys and values, and what is kept beside them. If zero, there is no bound.
	MaxMemory int
	// Policy says what is evicted for it. The zero value is noeviction.
	Policy store.Policy
	// Databases is the number of databases that SELECT has. If zero, 16.
	Databases int
	// Spaces is the number of the store's databases: those from Databases on are for others. If zero, Databases.
	Spaces int
	// MaxClients is the most connections. If zero, the listeners alone bound them, and CONFIG GET shows 10,000.
	MaxClients int
	// RequirePass is the password that clients must give first. If empty, they need none.
	RequirePass string
	// Timeout closes connections that sent nothing for so long, in whole seconds. If zero, off.
	Timeout time.Duration
	// MaxValue is the most bytes of an argument, and so of a value. If zero, 512 MiB.
	MaxValue int
	// Loops is the number of loops of the server that the connections are on. If zero, 1.
	Loops int
	// Logger takes a line for what an operator should know. If nil, nothing is logged.
	Logger *slog.Logger
	// Stats returns the numbers of the server, and Engine its way to the kernel, for INFO. If nil, they are zero and empty.
	Stats  func() server.Stats
	Engine func() string
	// Shutdown ends the process, for SHUTDOWN. It must not wait for that. If nil, SHUTDOWN is an error.
	Shutdown func()
}

func (c Config) withDefaults() Config {
	fill := func(v *int, n int) {
		if *v <= 0 {
			*v = n
		}
	}
	fill(&c.Databases, defaultDatabases)
	fill(&c.Spaces, c.Databases)
	fill(&c.MaxValue, defaultMaxValue)
	fill(&c.Loops, 1)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Stats == nil {
		c.Stats = func() server.Stats { return server.Stats{} }
	}
	if c.Engine == nil {
		c.Engine = func() string { return "" }
	}
	return c
}

// A Server is what all connections share. Its methods may be called from any goroutine.
type Server struct {
	cfg      Config
	store    *store.Store
	hub      *hub
	commands *commands
	loops    []*loop
	started  time.Time
	runID    string
	settings settings
	addr     atomic.Pointer[net.Addr]

	seconds  atomic.Int64 // since 1970, as Start's goroutine has last seen it: cheaper than a look at the clock for each command
	clients  atomic.Int64 // connections that are counted against maxclients
	marked   atomic.Bool  // some entries may have marks
	accepted atomic.Uint64
	rejected atomic.Uint64
	trackers atomic.Int64 // connections that track keys: without any, nobody looks at which keys change
	tracked  trackTable
	events   atomic.Uint32   // eventClass: what is published of keys
	removed  chan removedKey // expired and evicted keys, for those who want to know
	lost     atomic.Bool     // some of those did not fit

	rates rates
	base  atomic.Pointer[server.Stats] // at the last CONFIG RESETSTAT: what counts is more than that
}

// New returns a Server with a store of its own. Whoever makes it calls Close.
func New(cfg Config) *Server {
	cfg = cfg.withDefaults()
	s := &Server{cfg: cfg, hub: newHub(), commands: newCommands(), started: time.Now(), runID: newRunID(),
		removed: make(chan removedKey, removedKeys)}
	s.store = store.New(store.Config{MaxMemory: cfg.MaxMemory, Policy: cfg.Policy, Databases: cfg.Spaces, Removed: s.noteRemoved})
	s.settings.init(&cfg)
	s.tracked.limit.Store(maxTrackedKeys)
	s.seconds.Store(s.started.Unix())
	for range cfg.Loops {
		s.loops = append(s.loops, newLoop(s))
	}
	return s
}

// Close gives the memory back. No connection may be left, and what Start began must have ended.
func (s *Server) Close() { s.store.Close() }

// Store returns the store. The databases below Config.Databases are this server's.
func (s *Server) Store() *store.Store { return s.store }

// SetAddr tells the address that INFO shows.
func (s *Server) SetAddr(addr net.Addr) { s.addr.Store(&addr) }

// ListenConfig returns the choices for a listener of such connections.
func (s *Server) ListenConfig() server.ListenConfig {
	return server.ListenConfig{
		MaxBufferLength:           max(minMessageBuffer, s.cfg.MaxValue+commandRoom),
		MaxQueuedOutboundMessages: maxQueuedMessages,
	}
}

// Connect returns the reactor of a connection.
func (s *Server) Connect(p reactor.Peer[resp.Reply]) *conn {
	now := s.seconds.Load()
	c := &conn{cache: s, loop: s.loops[p.Loop], id: p.ID, peer: p, pubsub: newPubsub(p)}
	c.shown = shown{since: now, used: now}
	c.Parts, c.MaxBulk = partsFrom, s.cfg.MaxValue
	c.DeliverErrors = true // so that a protocol error gets Redis' answer
	c.choose(0)
	return c
}

// Start begins the work in the background. The function that it returns ends it, and waits.
func (s *Server) Start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.store.Run(ctx) })
	wg.Go(func() { s.hub.report(ctx, s.cfg.Logger) })
	wg.Go(func() { s.tick(ctx) })
	wg.Go(func() { s.tellRemoved(ctx) })
	return func() { cancel(); wg.Wait() }
}

const tickInterval = 100 * time.Millisecond

// tick keeps the coarse clock, the rates that INFO shows, and the bound on tracked keys where it was lowered, and ends connections that are silent for too long.
func (s *Server) tick(ctx context.Context) {
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s.rates.sample(s.cfg.Stats(), now)
			s.boundTracked()
			if sec := now.Unix(); sec != s.seconds.Swap(sec) {
				s.closeIdle(sec)
			}
		}
	}
}

// closeIdle ends connections that have sent nothing for longer than the timeout, but not subscribers, who need not.
func (s *Server) closeIdle(now int64) {
	timeout := s.settings.timeout.Load()
	if timeout == 0 {
		return
	}
	for _, l := range s.loops {
		var idle []*conn
		l.mu.Lock()
		for _, c := range l.conns {
			if now-c.shown.used > timeout && c.shown.channels+c.shown.patterns == 0 && !c.shown.killed && !c.shown.busy {
				c.shown.killed = true
				idle = append(idle, c)
			}
		}
		l.mu.Unlock()
		for _, c := range idle {
			_ = c.peer.Sender.Close() // it may have ended meanwhile
		}
	}
}

// A removedKey was removed by the store itself.
type removedKey struct {
	key    []byte
	db     int
	reason store.Reason
}

// removedKeys is how many may wait to be told. Those beyond it are told as a flush: clients then forget all that they keep.
const removedKeys = 4096

// noteRemoved is called by the store on any goroutine, also on a loop that holds locks, so it only notes the key.
func (s *Server) noteRemoved(db int, key []byte, reason store.Reason) {
	if db >= s.cfg.Databases {
		return
	}
	select {
	case s.removed <- removedKey{append([]byte(nil), key...), db, reason}:
	default:
		s.lost.Store(true)
	}
}

func (s *Server) tellRemoved(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-s.removed:
			if s.lost.Swap(false) {
				s.invalidateAll(nil, nil)
			} else {
				s.invalidateRemoved(r.key)
			}
			s.publishRemoved(r)
		}
	}
}
