package redis

import (
	"sync"
	"sync/atomic"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/reactor"
)

// A subscriber is a connection, as publishers and those who change keys see it.
type subscriber struct {
	id     uint64
	remote string
	sender *reactor.Sender[resp.Reply]

	queued atomic.Int64 // bytes in the Sender's queue. No lock: a Send on the subscriber's own loop may encode at once

	mu         sync.Mutex
	version    int  // of the protocol
	subscribed bool // to a channel or pattern
	target     bool // a connection that tracks keys has named it to be told
	full       bool // it is in hub.full
	slow       bool // dropped
	closed     bool // the connection has ended
}

// A notice is a message that is published. It is encoded once for each version of the protocol that a subscriber speaks.
type notice struct {
	pattern       []byte // nil for subscribers to the channel
	name, message []byte
	resp2, resp3  []byte
}

func (n *notice) encoded(version int) resp.Reply {
	dst := &n.resp2
	if version == 3 {
		dst = &n.resp3
	}
	if *dst == nil {
		if n.pattern == nil {
			*dst = encodeAll(version, resp.Push(3), resp.BulkString("message"), resp.Bulk(n.name), resp.Bulk(n.message))
		} else {
			*dst = encodeAll(version, resp.Push(4), resp.BulkString("pmessage"), resp.Bulk(n.pattern), resp.Bulk(n.name), resp.Bulk(n.message))
		}
	}
	return resp.Raw(*dst)
}

// encodeAll returns the items in memory that is the receivers' from now on, so it is never reused.
func encodeAll(version int, items ...resp.Reply) []byte {
	enc := resp.Replies{Version: version}
	size := 0
	for _, item := range items {
		size += enc.Size(item)
	}
	dst := make([]byte, 0, size)
	for _, item := range items {
		dst = enc.Encode(dst, item)
	}
	return dst
}
