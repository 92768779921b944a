package redis

import (
	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/reactor"
)

// pubsub is a connection's part as a subscriber. Its subscriber is shared with publishers on other loops.
type pubsub struct {
	sub      *subscriber
	subs     map[string]*subscription // by channel; nil while there was none
	patterns map[string]*subscription // by pattern; nil while there was none
	tracker  *tracker                 // nil while the connection has never tracked keys
}

func newPubsub(p reactor.Peer[resp.Reply]) pubsub {
	return pubsub{sub: &subscriber{id: p.ID, remote: p.Remote.String(), sender: p.Sender}}
}

// OnOutbound counts a message out of the queue. All that a Sender of this server has are messages to subscribers.
func (p *pubsub) OnOutbound(m *resp.Reply) {
	p.sub.queued.Add(-int64(resp.Replies{}.Size(*m)))
}

// subscriptions returns how many there are.
func (p *pubsub) subscriptions() (channels, patterns int) { return len(p.subs), len(p.patterns) }

func (p *pubsub) count() int { return len(p.subs) + len(p.patterns) }

// behindMessages runs f behind the messages that are queued for the connection, and takes in no command before: what ends a
// subscription, or changes the version, must not be overtaken by messages from before. f returns c.resume(), or how the connection ends.
func (c *conn) behindMessages(f func(*outbound) reactor.Status) reactor.Status {
	switch c.sub.sender.Do(f) {
	case nil:
		return reactor.Pause
	case reactor.ErrFull: // and the output as well: the Sender would have made room
		c.sub.mu.Lock()
		c.cache.hub.drop(c.sub, "its queue is full")
		c.sub.mu.Unlock()
		return reactor.Close
	}
	return reactor.Drain // it does already
}

// afterMessages runs f now where no message can be queued, or where the reply is one of a transaction, else behindMessages.
func (c *conn) afterMessages(out *outbound, f func(*outbound) reactor.Status) reactor.Status {
	c.sub.mu.Lock()
	target := c.sub.target
	c.sub.mu.Unlock()
	if c.executing || c.subs == nil && c.patterns == nil && c.tracker == nil && !target {
		return f(out)
	}
	return c.behindMessages(f)
}

// confirm sends what answers one channel of a command. It is a message, which CLIENT REPLY does not turn off.
func (c *conn) confirm(out *outbound, kind string, name resp.Reply, count int) {
	was := c.mode
	if was == muted {
		c.mode = plain
	}
	out.Send(resp.Push(3))
	out.Send(resp.BulkString(kind))
	out.Send(name)
	out.Send(resp.Int(int64(count)))
	c.mode = was
}

func subscribe(c *conn, args [][]byte, out *outbound) reactor.Status {
	if c.subs == nil {
		c.subs = make(map[string]*subscription)
	}
	return c.subscribeTo(args[1:], out, "subscribe", c.subs, c.cache.hub.subscribe)
}

func psubscribe(c *conn, args [][]byte, out *outbound) reactor.Status {
	if c.patterns == nil {
		c.patterns = make(map[string]*subscription)
	}
	return c.subscribeTo(args[1:], out, "psubscribe", c.patterns, c.cache.hub.subscribePattern)
}

func (c *conn) subscribeTo(names [][]byte, out *outbound, kind string, subs map[string]*subscription,
	begin func(*subscriber, string) *subscription) reactor.Status {
	for _, name := range names {
		s := subs[string(name)]
		n := c.count()
		if s == nil {
			n++
		}
		c.confirm(out, kind, resp.Bulk(name), n)
		if s == nil { // behind the reply, which messages must not overtake
			name := string(name)
			subs[name] = begin(c.sub, name)
		}
	}
	c.setVersion()
	return reactor.Continue
}

func unsubscribe(c *conn, args [][]byte, out *outbound) reactor.Status {
	return c.unsubscribeFrom(args[1:], out, "unsubscribe", c.subs)
}

func punsubscribe(c *conn, args [][]byte, out *outbound) reactor.Status {
	return c.unsubscribeFrom(args[1:], out, "punsubscribe", c.patterns)
}

// unsubscribeFrom ends subscriptions, all if there are no names.
func (c *conn) unsubscribeFrom(args [][]byte, out *outbound, kind string, subs map[string]*subscription) reactor.Status {
	type ended struct {
		name string
		left int
	}
	var names []string
	for _, name := range args {
		names = append(names, string(name))
	}
	if len(args) == 0 {
		for name := range subs {
			names = append(names, name)
		}
	}
	list := make([]ended, len(names))
	for i, name := range names {
		if s := subs[name]; s != nil {
			c.cache.hub.unsubscribe(s)
			delete(subs, name)
		}
		list[i] = ended{name, c.count()}
	}
	left := c.count()
	c.setVersion()
	return c.afterMessages(out, func(out *outbound) reactor.Status {
		for _, e := range list {
			c.confirm(out, kind, resp.BulkString(e.name), e.left)
		}
		if len(list) == 0 {
			c.confirm(out, kind, resp.Null(), left)
		}
		return c.resume()
	})
}

func (c *conn) unsubscribeAll() {
	for _, subs := range []map[string]*subscription{c.subs, c.patterns} {
		for name, s := range subs {
			c.cache.hub.unsubscribe(s)
			delete(subs, name)
		}
	}
	c.setVersion()
}

// setVersion tells publishers the version that the connection speaks, and whether it has subscriptions.
func (c *conn) setVersion() {
	c.sub.mu.Lock()
	c.sub.version = c.Version
	c.sub.subscribed = c.count() > 0
	c.sub.mu.Unlock()
}

func publish(c *conn, args [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Int(c.cache.hub.publish(args[1], args[2])))
	return reactor.Continue
}

// refuseSubcommand is what PUBSUB says to too many arguments.
func refuseSubcommand(out *outbound, args [][]byte) reactor.Status {
	return refusef(out, "ERR unknown subcommand or wrong number of arguments for '%s'. Try PUBSUB HELP.", cut(args[1]))
}

func pubsubChannels(c *conn, args [][]byte, out *outbound) reactor.Status {
	var pattern []byte
	switch len(args) {
	case 2:
	case 3:
		pattern = args[2]
		if pattern == nil {
			pattern = []byte{}
		}
	default:
		return refuseSubcommand(out, args)
	}
	names := c.cache.hub.names(pattern)
	out.Send(resp.Array(len(names)))
	for _, name := range names {
		out.Send(resp.BulkString(name))
	}
	return reactor.Continue
}

func pubsubNumSub(c *conn, args [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Array(2 * (len(args) - 2)))
	for _, name := range args[2:] {
		out.Send(resp.Bulk(name))
		out.Send(resp.Int(int64(c.cache.hub.subscribers(name))))
	}
	return reactor.Continue
}

func pubsubNumPat(c *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Int(int64(c.cache.hub.patterns())))
	return reactor.Continue
}

// pubsubShardChannels says that there are none: a cache is no shard of a cluster.
func pubsubShardChannels(_ *conn, args [][]byte, out *outbound) reactor.Status {
	if len(args) > 3 {
		return refuseSubcommand(out, args)
	}
	out.Send(resp.Array(0))
	return reactor.Continue
}

func pubsubShardNumSub(_ *conn, args [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Array(2 * (len(args) - 2)))
	for _, name := range args[2:] {
		out.Send(resp.Bulk(name))
		out.Send(resp.Int(0))
	}
	return reactor.Continue
}
