package main

import (
	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/reactor"
)

// pubsub is a connection's part as a subscriber. Its subscriber is shared with publishers on other loops.
type pubsub struct {
	sub  *subscriber
	subs map[string]*subscription // by channel; nil while there was none
}

func newPubsub(p reactor.Peer[resp.Reply]) pubsub {
	return pubsub{sub: &subscriber{id: p.ID, remote: p.Remote.String(), sender: p.Sender}}
}

// OnOutbound counts a message out of the queue. All that a Sender of this cache has are messages to subscribers.
func (p *pubsub) OnOutbound(m *resp.Reply) {
	p.sub.queued.Add(-int64(resp.Replies{}.Size(*m)))
}

// behindMessages runs f behind the messages that are queued for the connection, and takes in no command before: what ends a
// subscription, or changes the version, must not be overtaken by messages from before.
func (c *conn) behindMessages(f func(*outbound) reactor.Status) reactor.Status {
	switch c.sub.sender.Do(f) {
	case nil:
		return reactor.Pause
	case reactor.ErrFull: // and the output as well: the Sender would have made room
		c.sub.mu.Lock()
		c.cache.hub.drop(c.sub, "", "its queue is full")
		c.sub.mu.Unlock()
		return reactor.Close
	}
	return reactor.Drain // it does already
}

// afterMessages runs f now where no message can be queued, else behindMessages.
func (c *conn) afterMessages(out *outbound, f func(*outbound) reactor.Status) reactor.Status {
	if c.subs == nil {
		return f(out)
	}
	return c.behindMessages(f)
}

func subscribe(c *conn, args [][]byte, out *outbound) reactor.Status {
	if c.subs == nil {
		c.subs = make(map[string]*subscription)
	}
	c.setVersion()
	for _, name := range args[1:] {
		s := c.subs[string(name)]
		n := len(c.subs)
		if s == nil {
			n++
		}
		out.Send(resp.Push(3))
		out.Send(resp.BulkString("subscribe"))
		out.Send(resp.Bulk(name))
		out.Send(resp.Int(int64(n)))
		if s == nil { // behind the reply, which messages must not overtake
			name := string(name)
			c.subs[name] = c.cache.hub.subscribe(c.sub, name)
		}
	}
	return reactor.Continue
}

func unsubscribe(c *conn, args [][]byte, out *outbound) reactor.Status {
	type ended struct {
		name string
		left int
	}
	var names []string
	if len(args) > 1 {
		for _, name := range args[1:] {
			names = append(names, string(name))
		}
	} else {
		for name := range c.subs {
			names = append(names, name)
		}
	}
	list := make([]ended, len(names))
	for i, name := range names {
		if s := c.subs[name]; s != nil {
			c.cache.hub.unsubscribe(s)
			delete(c.subs, name)
		}
		list[i] = ended{name, len(c.subs)}
	}
	return c.afterMessages(out, func(out *outbound) reactor.Status {
		for _, e := range list {
			out.Send(resp.Push(3))
			out.Send(resp.BulkString("unsubscribe"))
			out.Send(resp.BulkString(e.name))
			out.Send(resp.Int(int64(e.left)))
		}
		if len(list) == 0 {
			out.Send(resp.Push(3))
			out.Send(resp.BulkString("unsubscribe"))
			out.Send(resp.Null())
			out.Send(resp.Int(0))
		}
		return reactor.Continue
	})
}

func (c *conn) unsubscribeAll() {
	for name, s := range c.subs {
		c.cache.hub.unsubscribe(s)
		delete(c.subs, name)
	}
}

// setVersion tells publishers the version that the connection speaks.
func (c *conn) setVersion() {
	c.sub.mu.Lock()
	c.sub.version = c.Version
	c.sub.mu.Unlock()
}

func publish(c *conn, args [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Int(c.cache.hub.publish(args[1], args[2])))
	return reactor.Continue
}
