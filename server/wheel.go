package server

import (
	"math/bits"
	"time"
)

// A wheel holds timers by when they are due: three rings of 256 slots, each slot of one as wide as the whole ring before it. Setting
// and stopping a timer is a few instructions, whatever their number. It belongs to the loop's goroutine.
//
// Activity does not move a connection's timer. When it fires, the connection looks at what has happened since and sets it anew:
// so a timer costs one move per timeout, and not one per message.
type wheel struct {
	now    int64                         // in ticks; all that is due before has fired
	slots  [wheelRings][wheelSlots]timer // heads of circular lists
	used   [wheelRings][wheelSlots / 64]uint64
	count  int
	firing timer // head of the list of those that were in the present slot
	inited bool
}

const (
	wheelBits  = 8
	wheelSlots = 1 << wheelBits
	wheelRings = 3
	wheelTick  = 4 * time.Millisecond
	wheelMax   = 1<<(wheelBits*wheelRings) - 1 // 18 hours; a later timer fires then, and is set anew
)

// A timer is in at most one slot. The zero value is stopped.
type timer struct {
	prev, next *timer
	due        int64 // in ticks
	owner      timed
}

// timed is told that its timer is due. The timer is stopped by then.
type timed interface{ due(now int64) }

// set puts the timer at a time in nanoseconds, rounded up to a tick, in the place of an earlier setting.
func (w *wheel) set(t *timer, at int64) {
	w.stop(t)
	t.due = max((at+int64(wheelTick)-1)/int64(wheelTick), w.now+1)
	w.put(t)
	w.count++
}

// scheduled says whether the timer is in the wheel.
func (t *timer) scheduled() bool { return t.next != nil }

func (w *wheel) put(t *timer) {
	if !w.inited {
		w.inited = true
		for r := range w.slots {
			for s := range w.slots[r] {
				head := &w.slots[r][s]
				head.prev, head.next = head, head
			}
		}
	}
	delta := min(t.due-w.now, wheelMax)
	ring := 0
	for delta >= 1<<(wheelBits*(ring+1)) {
		ring++
	}
	slot := (w.now + delta) >> (wheelBits * ring) & (wheelSlots - 1)
	head := &w.slots[ring][slot]
	t.prev, t.next = head.prev, head
	head.prev.next, head.prev = t, t
	w.used[ring][slot/64] |= 1 << (slot % 64)
}

// stop takes the timer out. A bit of used may stay behind, for an empty slot: it is found out when that slot comes.
func (w *wheel) stop(t *timer) {
	if t.next == nil {
		return
	}
	t.prev.next, t.next.prev = t.next, t.prev
	t.prev, t.next = nil, nil
	w.count--
}

// advance fires what is due at the time in nanoseconds.
func (w *wheel) advance(now int64) {
	tick := now / int64(wheelTick)
	if w.count == 0 {
		w.now = max(w.now, tick)
		return
	}
	for w.now < tick && w.count > 0 {
		w.now = min(tick, w.nextTick())
		for ring := wheelRings - 1; ring > 0; ring-- {
			if w.now&(1<<(wheelBits*ring)-1) == 0 {
				w.empty(ring, func(t *timer) { w.put(t) }) // comes nearer: into a finer ring, or the slot that is now
			}
		}
		w.empty(0, func(t *timer) {
			if t.due > w.now { // beyond wheelMax when it was set
				w.put(t)
				return
			}
			w.count--
			t.owner.due(now)
		})
	}
	w.now = max(w.now, tick)
}

// empty takes all timers out of a ring's present slot.
func (w *wheel) empty(ring int, f func(*timer)) {
	slot := w.now >> (wheelBits * ring) & (wheelSlots - 1)
	bit := uint64(1) << (slot % 64)
	if w.used[ring][slot/64]&bit == 0 {
		return
	}
	w.used[ring][slot/64] &^= bit
	head := &w.slots[ring][slot]
	list := &w.firing // what f puts into this slot again waits for the slot's next time
	if head.next == head {
		return
	}
	list.next, list.prev = head.next, head.prev
	list.next.prev, list.prev.next = list, list
	head.prev, head.next = head, head
	for list.next != list {
		t := list.next
		t.prev.next, t.next.prev = t.next, t.prev
		t.prev, t.next = nil, nil
		f(t)
	}
}

// nextTick returns the next tick at which a slot that may hold something comes, of any ring.
func (w *wheel) nextTick() int64 {
	next := w.now + wheelMax
	for ring := range wheelRings {
		shift := wheelBits * ring
		at := w.now >> shift
		if d, ok := w.distance(ring, int(at+1)&(wheelSlots-1)); ok {
			next = min(next, (at+1+int64(d))<<shift)
		}
	}
	return next
}

// distance returns how many slots after from the first used one comes.
func (w *wheel) distance(ring, from int) (int, bool) {
	used := &w.used[ring]
	for i := 0; i <= len(used); i++ {
		word := used[(from/64+i)%len(used)]
		base := i*64 - from%64
		if i == 0 {
			word &= ^uint64(0) << (from % 64)
		}
		if i == len(used) {
			word &= 1<<(from%64) - 1
		}
		if word != 0 {
			return base + bits.TrailingZeros64(word), true
		}
	}
	return 0, false
}

// wait returns how long until a timer may be due, at the time in nanoseconds; negative when there is none.
func (w *wheel) wait(now int64) time.Duration {
	if w.count == 0 {
		return -1
	}
	return time.Duration(max(w.nextTick()*int64(wheelTick)-now, 0))
}

// before says whether the timer is set to a time in nanoseconds, or earlier.
func (t *timer) before(at int64) bool { return t.next != nil && t.due*int64(wheelTick) <= at }
