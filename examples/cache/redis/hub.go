package redis

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/reactor"
)

// A hub brings published messages to subscribers on all loops.
type hub struct {
	mu       sync.RWMutex
	channels map[string]*channel
	globs    map[string]*channel
	list     []*channel // of globs; append-only like channel.subs, and replaced when half of it is empty
	empty    int        // of the list

	limits  atomic.Pointer[outputLimits]
	drops   chan drop // to be logged; a reactor must not wait for a log
	dropped atomic.Uint64

	fullMu sync.Mutex
	full   map[*subscriber]int64 // those for whom more than the soft limit waits, and for how many ticks of report
}

// A channel, or a pattern, is guarded by the hub's lock. Publishers read subs[:len] beyond the lock: it is appended to and replaced, and
// what was read of it never changes.
type channel struct {
	name    string
	pattern []byte // nil for a channel
	subs    []*subscription
	gone    int // of subs
}

// live returns the number of subscribers.
func (ch *channel) live() int { return len(ch.subs) - ch.gone }

// A subscription is one of a subscriber to a channel or pattern.
type subscription struct {
	channel *channel
	to      *subscriber
	gone    bool // written under the hub's and the subscriber's lock, and read under either
}

type drop struct {
	sub    *subscriber
	reason string
}

func newHub() *hub {
	h := &hub{
		channels: make(map[string]*channel),
		globs:    make(map[string]*channel),
		drops:    make(chan drop, 64),
		full:     make(map[*subscriber]int64),
	}
	h.limits.Store(&defaultLimits)
	return h
}

// subscribe lets sub have what is published to a channel from now on.
func (h *hub) subscribe(sub *subscriber, name string) *subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := h.channels[name]
	if ch == nil {
		ch = &channel{name: name}
		h.channels[name] = ch
	}
	return ch.add(sub)
}

// subscribePattern lets sub have what is published to the channels that match.
func (h *hub) subscribePattern(sub *subscriber, pattern string) *subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := h.globs[pattern]
	if ch == nil {
		ch = &channel{name: pattern, pattern: append([]byte{}, pattern...)}
		h.globs[pattern] = ch
		h.list = append(h.list, ch)
	}
	return ch.add(sub)
}

func (ch *channel) add(sub *subscriber) *subscription {
	s := &subscription{channel: ch, to: sub}
	ch.subs = append(ch.subs, s)
	return s
}

// unsubscribe ends a subscription: when it returns, nothing more is queued for it.
func (h *hub) unsubscribe(s *subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.to.mu.Lock()
	s.gone = true
	s.to.mu.Unlock()
	ch := s.channel
	ch.gone++
	switch {
	case ch.live() == 0:
		ch.subs, ch.gone = nil, 0
		h.forget(ch)
	case ch.gone > len(ch.subs)/2: // so that an end costs no more than a beginning, however many there are
		live := make([]*subscription, 0, ch.live())
		for _, s := range ch.subs {
			if !s.gone {
				live = append(live, s)
			}
		}
		ch.subs, ch.gone = live, 0
	}
}

// forget removes a channel or pattern without subscribers. The caller holds the lock.
func (h *hub) forget(ch *channel) {
	if ch.pattern == nil {
		delete(h.channels, ch.name)
		return
	}
	delete(h.globs, ch.name)
	if h.empty++; h.empty <= len(h.list)/2 {
		return
	}
	live := make([]*channel, 0, len(h.globs))
	for _, ch := range h.list {
		if ch.live() > 0 {
			live = append(live, ch)
		}
	}
	h.list, h.empty = live, 0
}

// publish queues a message for all subscribers and returns how many there are: one who has it for several reasons counts several times.
func (h *hub) publish(name, message []byte) (receivers int64) {
	h.mu.RLock()
	var subs []*subscription
	if ch := h.channels[string(name)]; ch != nil {
		subs = ch.subs
	}
	list := h.list
	h.mu.RUnlock()
	n := notice{name: name, message: message}
	for _, s := range subs {
		if h.deliver(s, &n) {
			receivers++
		}
	}
	for _, ch := range list {
		if !matches(ch.pattern, name) {
			continue
		}
		h.mu.RLock()
		subs = ch.subs
		h.mu.RUnlock()
		n := notice{pattern: ch.pattern, name: name, message: message}
		for _, s := range subs {
			if h.deliver(s, &n) {
				receivers++
			}
		}
	}
	return receivers
}

// receivers returns how many would have a message now.
func (h *hub) receivers(name []byte) (n int64) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if ch := h.channels[string(name)]; ch != nil {
		n = int64(ch.live())
	}
	for _, ch := range h.list {
		if ch.live() > 0 && matches(ch.pattern, name) {
			n += int64(ch.live())
		}
	}
	return n
}

func (h *hub) deliver(s *subscription, n *notice) bool {
	to := s.to
	to.mu.Lock()
	defer to.mu.Unlock()
	return !s.gone && h.queue(to, n.encoded(to.version))
}

// queue queues a message, unless too much waits already. The caller holds the subscriber's lock.
func (h *hub) queue(to *subscriber, m resp.Reply) bool {
	if to.slow || to.closed {
		return false
	}
	limit := &h.limits.Load()[pubsubClass]
	size := int64(resp.Replies{}.Size(m))
	waiting := to.queued.Add(size)
	if limit.hard > 0 && waiting > limit.hard && waiting > size {
		h.drop(to, "more than the hard limit of client-output-buffer-limit pubsub waits for it")
		return false
	}
	if err := to.sender.Send(m); err != nil {
		if err == reactor.ErrFull {
			h.drop(to, "its queue is full")
		} else {
			to.closed = true // it takes no more, and waits for its peer to close
		}
		return false
	}
	if limit.soft > 0 && waiting > limit.soft && !to.full {
		to.full = true
		h.fullMu.Lock()
		h.full[to] = 0
		h.fullMu.Unlock()
	}
	return true
}

// drop closes a subscriber that does not read. The caller holds its lock.
func (h *hub) drop(sub *subscriber, reason string) {
	sub.slow = true
	_ = sub.sender.Close() // if it has ended already, so much the better
	h.dropped.Add(1)
	select {
	case h.drops <- drop{sub, reason}:
	default: // many at once: dropped has their number
	}
}

// report logs dropped subscribers until ctx is done, and looks after those for whom much waits.
func (h *hub) report(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case d := <-h.drops:
			log.Warn("subscriber dropped", "conn", d.sub.id, "remote", d.sub.remote, "reason", d.reason)
		case <-ticker.C:
			h.dropFull()
		case <-ctx.Done():
			return
		}
	}
}

// dropFull is called each second. It drops those for whom more than the soft limit has waited for its time without a break.
func (h *hub) dropFull() {
	limit := h.limits.Load()[pubsubClass]
	within := func(sub *subscriber) bool { return limit.soft == 0 || sub.queued.Load() <= limit.soft }
	var late []*subscriber
	h.fullMu.Lock()
	for sub, seconds := range h.full {
		if h.full[sub] = seconds + 1; seconds >= limit.seconds || within(sub) {
			late = append(late, sub)
			delete(h.full, sub)
		}
	}
	h.fullMu.Unlock()
	for _, sub := range late {
		sub.mu.Lock()
		sub.full = false
		if !within(sub) && !sub.slow && !sub.closed {
			h.drop(sub, "more than the soft limit of client-output-buffer-limit pubsub has waited for it for too long")
		}
		sub.mu.Unlock()
	}
}

// names returns the channels with subscribers that match; nil matches all.
func (h *hub) names(pattern []byte) (names []string) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for name := range h.channels {
		if pattern == nil || matches(pattern, []byte(name)) {
			names = append(names, name)
		}
	}
	return names
}

// subscribers returns the number of a channel's subscribers, without those to patterns.
func (h *hub) subscribers(name []byte) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if ch := h.channels[string(name)]; ch != nil {
		return ch.live()
	}
	return 0
}

// count returns the number of channels with subscribers.
func (h *hub) count() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.channels)
}

// patterns returns the number of patterns with subscribers.
func (h *hub) patterns() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.globs)
}
