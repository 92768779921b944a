package redis

import (
	"slices"

	"github.com/protoring/protoring/codec/resp"
)

// invalidChannel is where connections of RESP2 are told of keys.
const invalidChannel = "__redis__:invalidate"

// An invalidation tells that a key has changed, or all keys have if it is nil. It is encoded once for each form.
type invalidation struct {
	key          []byte
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
	if m.key == nil {
		return resp.Raw(encodeAll(version, append(head, null)...))
	}
	*dst = encodeAll(version, append(head, resp.Array(1), resp.Bulk(m.key))...)
	return resp.Raw(*dst)
}

// invalidate tells of the keys that a command of a connection has changed. It is called behind the command's reply, with no lock held.
// The database does not matter, as in Redis.
func (s *Server) invalidate(by *conn, _ int, keys *keyList, out *outbound) {
	for i := range keys.Len() {
		s.invalidateKey(keys.At(i), by, out)
	}
}

// invalidateRemoved tells of a key that has expired or was evicted.
func (s *Server) invalidateRemoved(key []byte) { s.invalidateKey(key, nil, nil) }

// invalidateKey tells that a key has changed. by and out are the connection that did it, on its loop, or nil.
func (s *Server) invalidateKey(key []byte, by *conn, out *outbound) {
	if key == nil {
		key = []byte{} // an empty one: nil means all
	}
	m := invalidation{key: key}
	for _, t := range s.readers(key) {
		if !t.skips(by) {
			s.tell(t, &m, by, out)
		}
	}
}

// readers returns those who are to be told of a key: those who have read it, unless they are now told of prefixes instead, and those
// who are told of its prefix.
func (s *Server) readers(key []byte) []*tracker {
	list := slices.DeleteFunc(s.tracked.forget(key), func(t *tracker) bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.bcast
	})
	return append(list, s.tracked.broadcast(key)...)
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
