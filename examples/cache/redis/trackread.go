package redis

import (
	"slices"
	"strings"
)

// trackedCommand ends CLIENT CACHING, which is for one command or transaction.
func (c *conn) trackedCommand(cmd *command) {
	if c.special&inMulti != 0 || cmd != nil && strings.HasPrefix(cmd.name, "client|") {
		return
	}
	t := c.tracker
	t.caching = false
	changes, told := t.changes, t.told
	t.changes, t.told = nil, keyList{}
	for _, ch := range changes {
		m := invalidation{keys: [][]byte{ch.key}}
		for _, to := range ch.to {
			c.cache.tell(to, &m, nil, nil)
		}
	}
	c.cache.broadcast(&told, nil, nil)
}

// A change is one amid a transaction, which is told behind it.
type change struct {
	key []byte
	to  []*tracker
}

// settle sees to the changes so far, of a transaction that goes on to read: who has read before them is told, and who reads now is not.
func (c *conn) settle() {
	l, t := c.loop, c.tracker
	for i := range l.changed.Len() {
		key := append([]byte{}, l.changed.At(i)...)
		to := slices.DeleteFunc(c.cache.readers(key), func(t *tracker) bool { return t.skips(c) })
		t.changes = append(t.changes, change{key, to})
		t.told.add(key)
	}
	l.changed.Reset()
}

// trackRead remembers the keys that a command is about to read.
func (c *conn) trackRead(cmd *command, args [][]byte) {
	c.settle()
	t := c.tracker
	if t.optIn && !t.caching || t.optOut && t.caching {
		return
	}
	last := cmd.keys.last
	if last < 0 {
		last += len(args)
	}
	for i := cmd.keys.first; i <= last && i < len(args); i += cmd.keys.step {
		c.cache.tracked.remember(args[i], t)
	}
	c.cache.boundTracked()
}

// boundTracked forgets keys beyond the bound on them. Those who have read one are told, as if it had changed.
func (s *Server) boundTracked() {
	for s.tracked.tooMany() {
		key, trackers := s.tracked.evict()
		m := invalidation{keys: [][]byte{key}}
		for _, t := range trackers {
			s.tell(t, &m, nil, nil)
		}
	}
}
