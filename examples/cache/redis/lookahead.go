package redis

import "github.com/protoring/protoring/codec/resp"

// Decode decodes a command. Where several have arrived, it first has their keys fetched, all at the same time: on its own each
// of them would wait for memory, in a large store for a third of its time.
func (c *conn) Decode(b []byte, m *resp.Command) (int, error) {
	c.ahead.Look(c.db, b, c.loop.ahead[:], resp.PeekKeys)
	return c.Requests.Decode(b, m)
}
