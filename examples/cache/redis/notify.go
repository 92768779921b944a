package redis

import (
	"strconv"
	"strings"

	"github.com/protoring/protoring/examples/cache/store"
)

// eventClass says which of what happens to keys is published (notify-keyspace-events), and on which channels.
type eventClass uint32

// The classes, in the order in which CONFIG GET shows them. Those of other types than strings have no events here.
const (
	genericEvents eventClass = 1 << iota
	stringEvents
	listEvents
	setEvents
	hashEvents
	sortedSetEvents
	expiredEvents
	evictedEvents
	streamEvents
	moduleEvents
	onKeyspace // __keyspace@0__:key
	onKeyevent // __keyevent@0__:event

	allEvents = onKeyspace - 1
)

const eventLetters = "g$lshzxetdKE"

// parseEvents parses the letters. why is what is wrong with them, or empty.
func parseEvents(letters string) (classes eventClass, why string) {
	for _, letter := range letters {
		switch i := strings.IndexRune(eventLetters, letter); {
		case letter == 'A':
			classes |= allEvents
		case letter == 'm' || letter == 'n':
			return 0, "this cache does not tell of misses and of new keys"
		case i < 0:
			return 0, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."
		default:
			classes |= 1 << i
		}
	}
	return classes, ""
}

func (classes eventClass) String() string {
	var b strings.Builder
	if classes&allEvents == allEvents {
		b.WriteByte('A')
		classes &^= allEvents
	}
	for i := range len(eventLetters) {
		if classes&(1<<i) != 0 {
			b.WriteByte(eventLetters[i])
		}
	}
	return b.String()
}

// An event is what may happen to a key.
type event struct {
	class eventClass
	name  string
}

var (
	eventSet         = &event{stringEvents, "set"}
	eventSetRange    = &event{stringEvents, "setrange"}
	eventAppend      = &event{stringEvents, "append"}
	eventIncrBy      = &event{stringEvents, "incrby"}
	eventIncrByFloat = &event{stringEvents, "incrbyfloat"}
	eventDel         = &event{genericEvents, "del"}
	eventExpire      = &event{genericEvents, "expire"}
	eventPersist     = &event{genericEvents, "persist"}
	eventRenameFrom  = &event{genericEvents, "rename_from"}
	eventRenameTo    = &event{genericEvents, "rename_to"}
	eventCopyTo      = &event{genericEvents, "copy_to"}
	eventMoveFrom    = &event{genericEvents, "move_from"}
	eventMoveTo      = &event{genericEvents, "move_to"}
	eventExpired     = &event{expiredEvents, "expired"}
	eventEvicted     = &event{evictedEvents, "evicted"}
)

// A keyEvent is one that has happened, to be published when no lock is held.
type keyEvent struct {
	*event
	db  int
	key []byte
}

// keptEvents is for how many events a loop keeps memory.
const keptEvents = 1024

// happened notes what a command has done to a key.
func (c *conn) happened(e *event, db int, key []byte) {
	if c.cache.publishes(e) {
		c.loop.events = append(c.loop.events, keyEvent{e, db, append([]byte(nil), key...)})
	}
}

func (s *Server) publishes(e *event) bool {
	classes := eventClass(s.events.Load())
	return classes&e.class != 0 && classes&(onKeyspace|onKeyevent) != 0
}

// publishEvent publishes it. No lock is held.
func (s *Server) publishEvent(e keyEvent) {
	classes := eventClass(s.events.Load())
	at := strconv.Itoa(e.db) + "__:"
	if classes&onKeyspace != 0 {
		s.hub.publish(append([]byte("__keyspace@"+at), e.key...), []byte(e.name))
	}
	if classes&onKeyevent != 0 {
		s.hub.publish([]byte("__keyevent@"+at+e.name), e.key)
	}
}

// publishRemoved publishes that the store has removed a key.
func (s *Server) publishRemoved(r removedKey) {
	e := eventExpired
	if r.reason == store.Evicted {
		e = eventEvicted
	}
	if s.publishes(e) {
		s.publishEvent(keyEvent{e, r.db, r.key})
	}
}

func (s *Server) setEvents(classes eventClass) {
	s.events.Store(uint32(classes))
	s.tracked.mu.Lock()
	defer s.tracked.mu.Unlock()
	s.watchRemoved()
}

// watchRemoved lets the store tell of keys that it removes, if someone wants to know. The caller holds the lock of tracked.
func (s *Server) watchRemoved() {
	s.store.Notify(s.trackers.Load() > 0 || eventClass(s.events.Load())&(expiredEvents|evictedEvents) != 0)
}
