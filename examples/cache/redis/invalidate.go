package redis

import (
	"slices"

	"github.com/protoring/protoring/codec/resp"
)

// invalidChannel is where connections of RESP2 are told of keys.
const invalidChannel = "__redis__:invalidate"

// An invalidation tells that keys have changed, or all keys have if there are none. It is encoded once for each form.
type invalidation struct {
	keys         [][]byte
	broken       int64 // not 0: it tells that this connection, which was to be told, has ended
	resp2, resp3 []byte
}

// encoded returns the message for a subscriber of a version; null is how it says that there is no key.
func (m *invalidation) encoded(version int, null resp.Reply) resp.Reply {
	dst := &m.resp3
	if version != 3 {
		dst = &m.resp2
	}
	if *dst != nil {
		return resp.Raw(*dst)
	}
	if m.broken != 0 {
		return resp.Raw(encodeAll(version, resp.Push(2), resp.BulkString("tracking-redir-broken"), resp.Int(m.broken)))
	}
	head := []resp.Reply{resp.Push(2), resp.BulkString("invalidate")}
	if version != 3 {
		head = []resp.Reply{resp.Push(3), resp.BulkString("message"), resp.BulkString(invalidChannel)}
	}
	if m.keys == nil {
		return resp.Raw(encodeAll(version, append(head, null)...))
	}
	head = append(head, resp.Array(len(m.keys)))
	for _, key := range m.keys {
		head = append(head, resp.Bulk(key))
	}
	*dst = encodeAll(version, head...)
	return resp.Raw(*dst)
}

// invalidate tells of the keys that a command of a connection has changed. It is called behind the command's reply, with no lock held.
// The database does not matter, as in Redis.
func (s *Server) invalidate(by *conn, _ int, keys *keyList, out *outbound) {
	for i := range keys.Len() {
		s.tellReaders(keys.At(i), by, out)
	}
	s.broadcast(keys, by, out)
}

// invalidateRemoved tells of a key that has expired or was evicted.
func (s *Server) invalidateRemoved(key []byte) {
	var keys keyList
	keys.add(key)
	s.invalidate(nil, 0, &keys, nil)
}

// tellReaders tells those who have read a key that it has changed. by and out are the connection that did it, on its loop, or nil.
func (s *Server) tellReaders(key []byte, by *conn, out *outbound) {
	m := invalidation{keys: [][]byte{key}}
	for _, t := range s.readers(key) {
		if !t.skips(by) {
			s.tell(t, &m, by, out)
		}
	}
}

// readers returns those who have read a key, unless they are now told of prefixes instead.
func (s *Server) readers(key []byte) []*tracker {
	return slices.DeleteFunc(s.tracked.forget(key), func(t *tracker) bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.bcast
	})
}

// broadcast tells those who want to know of keys by their beginning: of all with one prefix in one message, as Redis does.
func (s *Server) broadcast(keys *keyList, by *conn, out *outbound) {
	for _, a := range s.tracked.audiences(keys) {
		m := invalidation{keys: a.keys}
		for _, t := range a.trackers {
			if !t.skips(by) {
				s.tell(t, &m, by, out)
			}
		}
	}
}

// skips says that a connection does not want to hear of what it did itself.
func (t *tracker) skips(by *conn) bool {
	if by == nil || by.tracker != t {
		return false
	}
	return t.noLoop // its own: no lock
}

// invalidateAll tells that all keys may have changed, also those who did it and do not want to hear of it.
func (s *Server) invalidateAll(by *conn, out *outbound) {
	var m invalidation
	for _, t := range s.tracked.all() {
		s.tell(t, &m, by, out)
	}
	s.tracked.clear()
}

// tell sends a message to a connection that tracks, or to the one that it has named.
func (s *Server) tell(t *tracker, m *invalidation, by *conn, out *outbound) {
	t.mu.Lock()
	on, sub, to, redirect := t.on, t.sub, t.to, t.redirect
	t.mu.Unlock()
	if !on || sub == nil {
		return
	}
	if redirect == 0 {
		s.tellSelf(t, sub, m, by, out)
		return
	}
	sub.mu.Lock()
	version := sub.version
	sub.mu.Unlock()
	null := resp.Raw([]byte("$-1\r\n")) // in the form of the one that tracks, not of the one that is told: so does Redis
	if version == 3 {
		null = resp.Raw([]byte("_\r\n"))
	}
	if s.send(to, m, null, true) {
		return
	}
	t.mu.Lock()
	t.broken = true
	t.mu.Unlock()
	s.tellSelf(t, sub, &invalidation{broken: redirect}, by, out)
}

// tellLost tells those who have named a connection to be told instead of them that it has ended, and messages with it.
func (s *Server) tellLost(to *subscriber) {
	for _, t := range s.tracked.all() {
		t.mu.Lock()
		hit, sub := t.on && t.to == to, t.sub
		t.broken = t.broken || hit
		t.mu.Unlock()
		if hit && sub != nil {
			s.tellSelf(t, sub, &invalidation{broken: int64(to.id)}, nil, nil)
		}
	}
}

// tellSelf sends a message to the connection that tracks: behind the reply to the command that has changed the key, if it was its own.
func (s *Server) tellSelf(t *tracker, sub *subscriber, m *invalidation, by *conn, out *outbound) {
	if by == nil || by.tracker != t {
		s.send(sub, m, resp.Null(), false)
	} else if by.Version == 3 {
		by.sendMessage(out, m.encoded(3, resp.Null()))
	}
}

// sendMessage sends a message on the connection's own loop, also where CLIENT REPLY has turned replies off.
func (c *conn) sendMessage(out *outbound, m resp.Reply) {
	was := c.mode
	if was == muted {
		c.mode = plain
	}
	out.Send(m)
	c.mode = was
}

// send queues a message, if the subscriber can be told in its version of the protocol, and says whether it is still there.
func (s *Server) send(to *subscriber, m *invalidation, null resp.Reply, redirected bool) (alive bool) {
	to.mu.Lock()
	defer to.mu.Unlock()
	if to.closed {
		return false
	}
	if to.version == 3 || redirected && to.subscribed {
		s.hub.queue(to, m.encoded(to.version, null))
	}
	return !to.closed
}
