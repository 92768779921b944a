package redis

import (
	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

// mode says what becomes of a reply that is sent.
type mode uint8

const (
	plain     mode = iota // it goes to the output
	muted                 // it is dropped
	capturing             // it is kept until the locks of a transaction are free
	holding               // it is a message that comes amid a large reply, and is kept until that is sent
)

// maxHeld is the most bytes of messages that are kept amid a large reply: Redis' client-output-buffer-limit pubsub.
const maxHeld = 32 << 20

// Encode appends a reply, or puts it aside: each reply passes here, whoever sends it.
func (c *conn) Encode(dst []byte, r resp.Reply) []byte {
	if r.Kind() == resp.KindError {
		c.loop.countError(c.Replies.Encode(nil, r))
	}
	if c.mode == plain {
		return c.Replies.Encode(dst, r)
	}
	c.putAside(r)
	return dst
}

func (c *conn) putAside(r resp.Reply) {
	switch c.mode {
	case capturing:
		c.loop.captured = c.Replies.Encode(c.loop.captured, r)
	case holding:
		c.held = c.Replies.Encode(c.held, r)
		if len(c.held) > maxHeld {
			_ = c.peer.Sender.Close() // it does not read; if it has ended already, so much the better
		}
	}
}

// A rest is what is left of a reply. It is sent piece by piece, so that a short command cannot make the server hold a reply of any
// size.
type rest interface {
	// send sends what there is room for, and says whether that was all.
	send(c *conn, out *outbound) bool
	// drop is called instead, when the connection ends.
	drop()
}

// begin sends a reply as far as there is room. What is left waits, and no command is taken in before it is sent.
func (c *conn) begin(r rest, out *outbound) reactor.Status {
	if r.send(c, out) {
		return reactor.Continue
	}
	c.rest = append(c.rest, r)
	c.mode = holding
	return reactor.Pause
}

// room says whether more of a reply may be produced now.
func (c *conn) room(out *outbound) bool { return c.mode != plain || out.Room() > 0 }

// sendRest sends what there is room for.
func (c *conn) sendRest(out *outbound) reactor.Status {
	for len(c.rest) > 0 && c.rest[0].send(c, out) {
		c.rest[0] = nil
		c.rest = c.rest[1:]
	}
	if len(c.rest) > 0 {
		c.mode = holding
		return reactor.Pause
	}
	c.rest = nil
	return reactor.Continue
}

// OnRoom goes on with a large reply.
func (c *conn) OnRoom(out *outbound) reactor.Status {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	c.shown.used = c.cache.seconds.Load() // who reads is not idle
	if len(c.rest) == 0 {
		return reactor.Continue
	}
	c.mode = plain
	if st := c.sendRest(out); st == reactor.Pause {
		return st
	}
	if len(c.held) > 0 {
		out.Send(resp.Raw(c.held))
		c.held = nil
	}
	return reactor.Resume
}

// A blobRest is the rest of a large value.
type blobRest struct {
	blob  *store.Blob
	chunk int // that is sent next
}

func (r *blobRest) send(c *conn, out *outbound) bool {
	if c.mode == capturing {
		c.hold(&blobRest{blob: r.blob})
		r.blob = nil
		return true
	}
	for r.chunk < r.blob.NumChunks() {
		if !c.room(out) {
			return false
		}
		out.Send(resp.Raw(r.blob.Chunk(r.chunk)))
		r.chunk++
	}
	r.drop()
	out.Send(resp.Raw(lineEnd))
	return true
}

func (r *blobRest) drop() {
	if r.blob != nil {
		r.blob.Release()
		r.blob = nil
	}
}

var lineEnd = []byte("\r\n")

// A partRest is the rest of a part of a large value.
type partRest struct {
	blob     *store.Blob
	from, to int // of it
}

func (r *partRest) send(c *conn, out *outbound) bool {
	if c.mode == capturing {
		c.hold(&partRest{r.blob, r.from, r.to})
		return true
	}
	for r.from < r.to {
		if !c.room(out) {
			return false
		}
		n := min(r.to-r.from, textPiece)
		c.loop.scratch = r.blob.AppendRange(c.loop.scratch[:0], r.from, n)
		out.Send(resp.Raw(c.loop.scratch))
		r.from += n
	}
	r.drop()
	out.Send(resp.Raw(lineEnd))
	return true
}

func (r *partRest) drop() {
	if r.blob != nil {
		r.blob.Release()
		r.blob = nil
	}
}

// A valuesRest is the keys of an MGET that are not answered.
type valuesRest struct {
	keys    [][]byte
	fetched int      // of keys, those whose memory was prefetched
	blob    blobRest // the value that is being sent, if any
}

func (r *valuesRest) send(c *conn, out *outbound) bool {
	for {
		if r.blob.blob != nil && !r.blob.send(c, out) {
			return false
		}
		if len(r.keys) == 0 {
			return true
		}
		if !c.room(out) {
			return false
		}
		if r.fetched == 0 && len(r.keys) > 1 {
			r.fetched = min(len(r.keys), store.PrefetchMax)
			c.db.Prefetch(r.keys[:r.fetched])
		}
		it, ok := c.find(r.keys[0], store.GetOptions{Quiet: c.quiet})
		r.keys = r.keys[1:]
		r.fetched = max(r.fetched-1, 0)
		if b := it.Blob(); b != nil {
			c.sendHead(b.Len(), out)
			r.blob = blobRest{blob: b}
			continue
		}
		sendSmall(&it, ok, out)
	}
}

func (r *valuesRest) drop() { r.blob.drop() }

// A keysRest is keys that were found.
type keysRest struct {
	keys keyList
	next int
}

func (r *keysRest) send(c *conn, out *outbound) bool {
	for ; r.next < r.keys.Len(); r.next++ {
		if !c.room(out) {
			return false
		}
		out.Send(resp.Bulk(r.keys.At(r.next)))
	}
	return true
}

func (r *keysRest) drop() {}

// A textRest is encoded replies.
type textRest struct{ text []byte }

// textPiece is how much of a text is sent at once.
const textPiece = 64 << 10

func (r *textRest) send(c *conn, out *outbound) bool {
	for len(r.text) > 0 {
		if !c.room(out) {
			return false
		}
		n := min(len(r.text), textPiece)
		out.Send(resp.Raw(r.text[:n]))
		r.text = r.text[n:]
	}
	return true
}

func (r *textRest) drop() {}

// A keyList is keys in one piece of memory.
type keyList struct {
	bytes []byte
	ends  []int
}

func (k *keyList) Len() int { return len(k.ends) }

// At returns key i, which is valid until Reset.
func (k *keyList) At(i int) []byte {
	start := 0
	if i > 0 {
		start = k.ends[i-1]
	}
	return k.bytes[start:k.ends[i]]
}

// distinct returns the keys, each once. They are valid until Reset.
func (k *keyList) distinct() [][]byte {
	list := make([][]byte, 0, k.Len())
	seen := make(map[string]struct{}, k.Len())
	for i := range k.Len() {
		key := k.At(i)
		if _, again := seen[string(key)]; !again {
			seen[string(key)] = struct{}{}
			list = append(list, key)
		}
	}
	return list
}

func (k *keyList) add(key []byte) {
	k.bytes = append(k.bytes, key...)
	k.ends = append(k.ends, len(k.bytes))
}

// Reset empties the list and keeps its memory, unless that is a lot.
func (k *keyList) Reset() {
	if cap(k.bytes) > keptCaptured {
		*k = keyList{}
	}
	k.bytes, k.ends = k.bytes[:0], k.ends[:0]
}
