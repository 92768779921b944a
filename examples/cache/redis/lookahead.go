package redis

import "github.com/protoring/protoring/codec/resp"

// lookaheadFrom is how many bytes are worth a look: with fewer, there is hardly a second command.
const lookaheadFrom = 64

// A lookahead is how far the bytes that a connection was given have been looked at, counted from their end. It is a hint: it may
// be wrong where others have come meanwhile.
type lookahead struct {
	last int // bytes at the last look, or decoding
	done int // of those, bytes that no look has reached yet
}

// due says whether the next command is one that no look has reached.
func (a *lookahead) due(n int) bool {
	due := n > lookaheadFrom && (n <= a.done || n > a.last)
	a.last = n
	return due
}

// Decode decodes a command. Where several have arrived, it first has their keys fetched, all at the same time: on its own each
// of them would wait for memory, in a large store for a third of its time.
func (c *conn) Decode(b []byte, m *resp.Command) (int, error) {
	if n := len(b); c.ahead.due(n) {
		keys := c.loop.ahead[:]
		k, end := resp.PeekKeys(b, keys)
		if k > 1 {
			c.db.Prefetch(keys[:k])
		}
		c.ahead.done = n - end
	}
	return c.Requests.Decode(b, m)
}
