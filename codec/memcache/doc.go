// Package memcache is memcached's protocol, text and meta, for servers and for clients.
//
// A server embeds [Server] in its reactor: [Requests] decodes commands as memcached 1.6.18 does, with its limits and its error texts,
// and [Replies] encodes each [Reply]. What is wrong with a command is a [Command] as well, with the text to answer: after all but
// the worst the connection goes on.
//
//	type conn struct{ memcache.Server }
//
//	func (c *conn) OnInbound(m *memcache.Command, out *reactor.Outbound[memcache.Reply]) reactor.Status {
//		switch {
//		case m.Err != "":
//			if !m.Noreply {
//				out.Send(m.Err.Reply())
//			}
//		case m.Verb == memcache.Get:
//			for key, rest := memcache.NextKey(m.Keys); key != nil; key, rest = memcache.NextKey(rest) {
//				if data, ok := lookUp(key); ok {
//					out.Send(memcache.Value(key, 0, data))
//				}
//			}
//			out.Send(memcache.Line("END"))
//		case m.Verb == memcache.Quit:
//			return reactor.Drain
//		default:
//			out.Send(memcache.Line("ERROR"))
//		}
//		return reactor.Continue
//	}
//
// A client embeds [Client]: [ReplyDecoder] decodes an [Answer], [RequestEncoder] encodes a [Request].
//
// The facts come from https://github.com/memcached/memcached/blob/1.6.18/doc/protocol.txt and from the behaviour of memcached 1.6.18,
// against which the tests of this package compare.
package memcache
