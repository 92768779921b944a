package server

import (
	"sync"

	"github.com/protoring/protoring/server/internal/engine"
)

// An inbox takes notes from other goroutines for a loop. The first note into an empty inbox wakes the loop, and the loop empties it
// after each wake: so no note is lost, and a burst costs one wake.
type inbox struct {
	mu     sync.Mutex
	engine engine.Engine // whom to wake; nil before there is one
	notes  []note
	spare  []note
	since  int64 // when the first of the notes came, in the engine's time
	shut   bool  // the loop takes no more
}

// A note is one of: a connection whose Sender has something; a new connection's descriptor; a function to run on the loop.
type note struct {
	c  *conn
	ln *listener
	fd int
	do func()
}

// post reports whether the loop takes the note.
func (b *inbox) post(n note) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shut {
		return false
	}
	b.notes = append(b.notes, n)
	if len(b.notes) == 1 && b.engine != nil {
		b.since = b.engine.Now()
		b.engine.Wake() // under the lock: the engine is closed after shut is set
	}
	return true
}

// ring names the engine to wake. Notes may be there already.
func (b *inbox) ring(e engine.Engine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.engine = e
	if len(b.notes) > 0 {
		b.since = e.Now()
		e.Wake()
	}
}

// take returns the notes, and when the first of them came. They are valid until the next take.
func (b *inbox) take() ([]note, int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.spare)
	notes := b.notes
	b.notes, b.spare = b.spare[:0], notes
	return notes, b.since
}

// closeIfEmpty refuses further notes if there are none now, and reports that.
func (b *inbox) closeIfEmpty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shut = b.shut || len(b.notes) == 0
	return b.shut
}

// close refuses further notes and returns those that are left.
func (b *inbox) close() []note {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shut = true
	notes := b.notes
	b.notes = nil
	return notes
}
