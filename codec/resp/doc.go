// Package resp is the Redis serialization protocol, RESP2 and RESP3, for servers and for clients.
//
// A server embeds [Server] in its reactor: [Requests] decodes commands as redis-server 7.0 does, with its limits and its
// error texts, and [Replies] encodes each [Reply]. Aggregates are sent as a header and then their items:
//
//	type conn struct{ resp.Server }
//
//	func (c *conn) OnInbound(m *resp.Command, out *reactor.Outbound[resp.Reply]) reactor.Status {
//		if m.Err != "" { // only with Requests.DeliverErrors
//			out.Send(m.Err.Reply())
//			return reactor.Drain
//		}
//		out.Send(resp.Array(len(m.Args)))
//		for _, arg := range m.Args {
//			out.Send(resp.Bulk(arg))
//		}
//		return reactor.Continue
//	}
//
// A client embeds [Client]: [ReplyDecoder] decodes a [Value], [CommandEncoder] encodes [Args].
//
// The facts come from https://redis.io/docs/latest/develop/reference/protocol-spec/ and from the behaviour of redis-server
// 7.0.15, against which the tests of this package compare.
package resp
