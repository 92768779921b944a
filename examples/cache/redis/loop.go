package redis

import (
	"bytes"
	"sync"
	"time"

	"github.com/protoring/protoring/examples/cache/store"
)

// A loop is what the connections of one loop share. Their reactors run one at a time, on the loop's goroutine.
//
// Its lock is one of those that make commands atomic: a command takes that of its own loop, which nobody else wants, for some 10 ns;
// one that nobody may see the half of takes those of all loops, in their order. What is guarded by the lock is written by the
// loop's goroutine only, which so may read it without; but for killed, which others write.
type loop struct {
	_  [64]byte // apart from other memory in the processors' caches
	mu sync.Mutex

	// Guarded by mu.
	conns []*conn
	stats []commandStats // by command.id
	ticks uint32         // commands; it wraps

	errors errorCounts

	// Of the loop's goroutine.
	exclusive bool   // it holds the locks of all loops
	failures  uint64 // errors that were answered
	before    uint64 // of these, those before the command that runs
	scratch   []byte
	ahead     [store.PrefetchMax][]byte // keys of commands to come
	previous  []byte
	keys      store.Keys
	changed   keyList // by the command that runs, if someone tracks keys
	flushed   bool    // so were all keys of a database
	events    []keyEvent
	captured  []byte // replies of a transaction
	_         [64]byte
}

func newLoop(s *Server) *loop { return &loop{stats: make([]commandStats, len(s.commands.all))} }

// commandStats are counts of one command.
type commandStats struct {
	calls    uint64
	rejected uint64 // before it ran
	failed   uint64 // while it ran
	duration int64  // ns, estimated
}

// errorCounts are the errors that were answered, by their first words.
type errorCounts struct {
	mu     sync.Mutex
	byCode map[string]uint64
}

// countError counts an error, as it is sent.
func (l *loop) countError(text []byte) {
	l.failures++
	code := text[1:]
	if i := bytes.IndexAny(code, " \r"); i >= 0 {
		code = code[:i]
	}
	e := &l.errors
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.byCode == nil {
		e.byCode = map[string]uint64{}
	}
	e.byCode[string(code)]++
}

func (e *errorCounts) addTo(sum map[string]uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for code, n := range e.byCode {
		sum[code] += n
	}
}

// noteFailure counts a command that has answered an error. The caller holds the lock.
func (l *loop) noteFailure(cmd *command) {
	if l.failures != l.before {
		l.before = l.failures
		l.stats[cmd.id].failed++
	}
}

// sampleEvery is how many commands there are for each one whose time is taken: two looks at the clock cost more than a GET.
const sampleEvery = 32

// lockAll takes the locks of all loops.
func (s *Server) lockAll() {
	for _, l := range s.loops {
		l.mu.Lock()
	}
}

func (s *Server) unlockAll() {
	for _, l := range s.loops {
		l.mu.Unlock()
	}
}

// begin counts a command, and returns when it began if that is to be known. The caller holds the lock.
func (l *loop) begin(c *conn, cmd *command) (began time.Time) {
	l.stats[cmd.id].calls++
	l.before = l.failures
	c.shown.last = cmd
	c.shown.used = c.cache.seconds.Load()
	if l.ticks++; l.ticks%sampleEvery == 0 {
		began = time.Now()
	}
	return began
}

// end takes the time of a command. The caller holds the lock.
func (l *loop) end(cmd *command, began time.Time) {
	l.stats[cmd.id].duration += sampleEvery * int64(time.Since(began))
}

// eachLoop calls f with each loop and its lock held. In a transaction, they are held already.
func (c *conn) eachLoop(f func(*loop)) {
	for _, l := range c.cache.loops {
		if c.loop.exclusive {
			f(l)
			continue
		}
		l.mu.Lock()
		f(l)
		l.mu.Unlock()
	}
}

// show changes what other loops may look at.
func (c *conn) show(f func(*shown)) { c.locked(func() { f(&c.shown) }) }

// locked calls f with the lock of the connection's loop held, which in a transaction it is already.
func (c *conn) locked(f func()) {
	if c.loop.exclusive {
		f()
		return
	}
	c.loop.mu.Lock()
	defer c.loop.mu.Unlock()
	f()
}

// add puts a connection on the list.
func (l *loop) add(c *conn) {
	l.mu.Lock()
	c.index = len(l.conns)
	l.conns = append(l.conns, c)
	l.mu.Unlock()
}

// remove takes it off. Whoever still has it from the list sees that it is gone.
func (l *loop) remove(c *conn) {
	l.mu.Lock()
	c.shown.killed = true
	last := l.conns[len(l.conns)-1]
	last.index = c.index
	l.conns[c.index] = last
	l.conns[len(l.conns)-1] = nil
	l.conns = l.conns[:len(l.conns)-1]
	l.mu.Unlock()
}
