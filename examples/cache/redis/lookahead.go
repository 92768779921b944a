package redis

import "github.com/protoring/protoring/codec/resp"

// Decode decodes a command. Where several have arrived, it first has their keys fetched, all at the same time: on its own each
// of them would wait for memory, in a large store for a third of its time.
func (c *conn) Decode(b []byte, m *resp.Command) (int, error) {
	if n := len(b); c.ahead.Due(n) {
		keys := c.loop.ahead[:]
		k, end := resp.PeekKeys(b, keys)
		if k > 1 {
			c.db.Prefetch(keys[:k])
		}
		c.ahead.Looked(n - end)
	}
	return c.Requests.Decode(b, m)
}
