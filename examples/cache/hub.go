package main

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/reactor"
)

// Limits of what waits for one subscriber. Beyond them it is dropped, as Redis does.
const (
	maxQueuedMessages = 64 << 10
	maxQueuedBytes    = 32 << 20 // Redis' client-output-buffer-limit pubsub
)

// A hub brings published messages to subscribers on all loops.
type hub struct {
	mu       sync.RWMutex
	channels map[string]*channel

	drops   chan drop // to be logged; a reactor must not wait for a log
	dropped atomic.Uint64
}

// A channel is guarded by the hub's lock. Publishers read subs[:len] beyond the lock: it is appended to and replaced, and what was
// read of it never changes.
type channel struct {
	name string
	subs []*subscription
	gone int // of subs
}

// A subscription is one of a subscriber to a channel.
type subscription struct {
	channel *channel
	to      *subscriber
	gone    bool // written under the hub's and the subscriber's lock, and read under either
}

// A subscriber is a connection, as publishers see it.
type subscriber struct {
	id     uint64
	remote string
	sender *reactor.Sender[resp.Reply]

	queued atomic.Int64 // bytes in the Sender's queue. No lock: a Send on the subscriber's own loop may encode at once

	mu      sync.Mutex
	version int  // of the protocol
	slow    bool // dropped
}

type drop struct {
	sub     *subscriber
	channel string
	reason  string
}

func newHub() *hub {
	return &hub{channels: make(map[string]*channel), drops: make(chan drop, 64)}
}

// subscribe lets sub have what is published from now on.
func (h *hub) subscribe(sub *subscriber, name string) *subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := h.channels[name]
	if ch == nil {
		ch = &channel{name: name}
		h.channels[name] = ch
	}
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
	case ch.gone == len(ch.subs):
		delete(h.channels, ch.name)
	case ch.gone > len(ch.subs)/2: // so that an end costs no more than a beginning, however many there are
		live := make([]*subscription, 0, len(ch.subs)-ch.gone)
		for _, s := range ch.subs {
			if !s.gone {
				live = append(live, s)
			}
		}
		ch.subs, ch.gone = live, 0
	}
}

// publish queues a message for all subscribers and returns how many there are.
func (h *hub) publish(name, message []byte) (receivers int64) {
	h.mu.RLock()
	var subs []*subscription
	if ch := h.channels[string(name)]; ch != nil {
		subs = ch.subs
	}
	h.mu.RUnlock()
	n := notice{name: name, message: message}
	for _, s := range subs {
		if h.deliver(s, &n) {
			receivers++
		}
	}
	return receivers
}

func (h *hub) deliver(s *subscription, n *notice) bool {
	to := s.to
	to.mu.Lock()
	defer to.mu.Unlock()
	if s.gone || to.slow {
		return false
	}
	m := n.encoded(to.version)
	size := int64(resp.Replies{}.Size(m))
	if waiting := to.queued.Add(size); waiting > maxQueuedBytes && waiting > size {
		h.drop(to, s.channel.name, "more than 32 MiB wait for it")
		return false
	}
	if err := to.sender.Send(m); err != nil {
		if err == reactor.ErrFull {
			h.drop(to, s.channel.name, "its queue is full")
		}
		return false
	}
	return true
}

// drop closes a subscriber that does not read. The caller holds its lock.
func (h *hub) drop(sub *subscriber, channel, reason string) {
	sub.slow = true
	_ = sub.sender.Close() // if it has ended already, so much the better
	h.dropped.Add(1)
	select {
	case h.drops <- drop{sub, channel, reason}:
	default: // many at once: dropped has their number
	}
}

// report logs dropped subscribers until ctx is done.
func (h *hub) report(ctx context.Context, log *slog.Logger) {
	for {
		select {
		case d := <-h.drops:
			log.Warn("subscriber dropped", "conn", d.sub.id, "remote", d.sub.remote, "channel", d.channel, "reason", d.reason)
		case <-ctx.Done():
			return
		}
	}
}

// A notice is a message that is published. It is encoded once for each version of the protocol that a subscriber speaks.
type notice struct {
	name, message []byte
	resp2, resp3  []byte
}

func (n *notice) encoded(version int) resp.Reply {
	dst := &n.resp2
	if version == 3 {
		dst = &n.resp3
	}
	if *dst == nil {
		enc := resp.Replies{Version: version}
		items := [...]resp.Reply{resp.Push(3), resp.BulkString("message"), resp.Bulk(n.name), resp.Bulk(n.message)}
		size := 0
		for _, item := range items {
			size += enc.Size(item)
		}
		*dst = make([]byte, 0, size) // the subscribers' from now on, so it is never reused
		for _, item := range items {
			*dst = enc.Encode(*dst, item)
		}
	}
	return resp.Raw(*dst)
}

// count returns the number of channels with subscribers.
func (h *hub) count() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.channels)
}
