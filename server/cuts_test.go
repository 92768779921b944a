package server_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
)

// A framing is an echo of messages that any codec of this project cuts.
type framing struct{ framer }

type framer interface {
	codec.Codec[frame, frame]
	codec.Sizer[frame]
}

func (framing) OnInbound(m *frame, out *outbound) reactor.Status {
	out.Send(*m)
	return reactor.Continue
}

func newU32(peer) framing { return framing{codec.LengthPrefixed{}} }

// framed is the dialect of a codec, and a conversation of some messages.
func framed(name string, c framer, smallest int, messages ...string) dialect {
	d := dialect{
		name: name,
		listen: func(x *rig, cfg server.ListenConfig) {
			listen(x, "tcp", "127.0.0.1:0", cfg, func(peer) framing { return framing{c} })
		},
		messages: len(messages),
		of: func(size int) []byte {
			for n := size; n >= 0; n-- {
				if b := c.Encode(nil, frame(strings.Repeat("m", n))); len(b) == size {
					return b
				}
			}
			return nil
		},
		smallest: smallest,
	}
	for _, m := range messages {
		d.say = c.Encode(d.say, frame(m))
	}
	d.answer = d.say
	return d
}

// framings are the dialects of codecs that do nothing but cut.
func framings() []dialect {
	words := []string{"one", "", "some more", "x"}
	long := strings.Repeat("v", 130) // two bytes of a varint
	return []dialect{
		framed("u8", codec.LengthPrefixed{Prefix: codec.U8}, 1, words...),
		framed("u16 little-endian", codec.LengthPrefixed{Prefix: codec.U16, LittleEndian: true}, 2, words...),
		framed("u64", codec.LengthPrefixed{Prefix: codec.U64}, 8, words...),
		framed("varint", codec.LengthPrefixed{Prefix: codec.Uvarint}, 1, "", long, "x"),
		framed("fixed", codec.Fixed{Length: 3}, 3, "one", "two", "six"),
	}
}

// respEcho answers a command with its arguments.
type respEcho struct{ resp.Server }

func (*respEcho) OnInbound(m *resp.Command, out *reactor.Outbound[resp.Reply]) reactor.Status {
	out.Send(resp.Array(len(m.Args)))
	for _, arg := range m.Args {
		out.Send(resp.Bulk(arg))
	}
	return reactor.Continue
}

// A dialect is a protocol, and a conversation in it.
type dialect struct {
	name        string
	listen      func(x *rig, cfg server.ListenConfig)
	say, answer []byte
	messages    int
	of          func(size int) []byte // a message of size bytes on the wire
	smallest    int                   // message
}

// speak says the smallest message, whose answer is the same.
func (d *dialect) speak(c *client) {
	smallest := d.of(d.smallest)
	_, err := c.Write(smallest)
	require.NoError(c.t, err)
	_, err = io.ReadFull(c.r, smallest)
	require.NoError(c.t, err)
}

func dialects() []dialect {
	respOf := func(size int) []byte { // *1 $n
		for n := size; n > 0; n-- {
			if b := resp.AppendCommand(nil, strings.Repeat("r", n)); len(b) == size {
				return b
			}
		}
		return nil
	}
	line := []byte("one\nanother line\n\nx\r\nlast\n")
	resps := slicesConcat(resp.AppendCommand(nil, "PING"), resp.AppendCommand(nil, "SET", "key", "a\r\nvalue", ""), resp.AppendCommand(nil, "GET", "k"))
	return []dialect{{
		name:   "line",
		listen: func(x *rig, cfg server.ListenConfig) { listen(x, "tcp", "127.0.0.1:0", cfg, newBounce) },
		say:    line, answer: bytes.ReplaceAll(line, []byte("\r"), nil), messages: 5,
		of: func(size int) []byte { return append(bytes.Repeat([]byte("l"), size-1), '\n') }, smallest: 1,
	}, framed("u32", codec.LengthPrefixed{}, 4, "one", "", "another message", "x"), {
		name: "resp",
		listen: func(x *rig, cfg server.ListenConfig) {
			cfg.Accept = x.setup.Accept
			var err error
			x.addr, err = server.Listen(x.Server, "tcp", "127.0.0.1:0", cfg, func(reactor.Peer[resp.Reply]) *respEcho { return &respEcho{} })
			require.NoError(x.t, err)
		},
		say: resps, answer: resps, messages: 3,
		of: respOf, smallest: 16,
	}}
}

func slicesConcat(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// Messages that are cut anywhere mean the same. The first part has been received, and handled, before the second is sent: the
// server's own count says so.
func TestCutAtEveryByte(t *testing.T) {
	for _, d := range append(dialects(), framings()...) {
		t.Run(d.name, func(t *testing.T) {
			each(t, func(t *testing.T, s setup) {
				x := build(t, s)
				d.listen(x, server.ListenConfig{MaxBufferLength: 256})
				x.speak = d.speak
				x.serve()
				received := uint64(0)
				send := func(c *client, b []byte) {
					_, err := c.Write(b)
					require.NoError(t, err)
					received += uint64(len(b))
					until(t, func() bool { return x.Stats().BytesIn >= received }, "%d bytes at the server", received)
				}
				answer := make([]byte, len(d.answer))
				for cut := range len(d.say) {
					c := x.dial()
					send(c, d.say[:cut])
					send(c, d.say[cut:])
					_, err := io.ReadFull(c.r, answer)
					require.NoError(t, err)
					require.Equal(t, string(d.answer), string(answer), "cut at %d", cut)
					c.halfClose()
					require.Empty(t, c.end())
				}
				c := x.dial()
				for i := range d.say { // one byte at a time
					send(c, d.say[i:i+1])
				}
				c.halfClose()
				require.Equal(t, string(d.answer), string(c.end()))
				until(t, func() bool { return x.Stats().Conns == 0 }, "all ends")
				require.Equal(t, uint64(d.messages*(len(d.say)+1)), x.Stats().Messages)
				if s.Accept == server.AcceptBalanced {
					require.Equal(t, -1, x.idle(x.LoopStats()), "a loop has not served")
				}
				x.finish()
			})
		})
	}
}

// A message of the largest size passes, one byte more ends the connection with a reason, however the bytes come.
func TestMaxBufferLength(t *testing.T) {
	for _, d := range dialects() {
		t.Run(d.name, func(t *testing.T) {
			over(t, kinds(), func(t *testing.T, s setup) {
				for _, most := range []int{64, 4096, 300_000} {
					x := build(t, s)
					d.listen(x, server.ListenConfig{MaxBufferLength: most})
					x.serve()
					for _, pieces := range []int{1, 3} {
						write := func(c *client, b []byte) {
							for i := range pieces {
								if _, err := c.Write(b[len(b)*i/pieces : len(b)*(i+1)/pieces]); err != nil {
									return // it was closed at the first byte too many
								}
							}
						}
						c := x.dial()
						exact := d.of(most)
						require.Len(t, exact, most)
						for range 2 {
							write(c, exact)
							answer := make([]byte, most)
							_, err := io.ReadFull(c.r, answer)
							require.NoError(t, err)
							require.Equal(t, exact, answer)
						}
						before := len(x.logs.lines("connection ended"))
						write(c, d.of(most+1))
						_ = c.broken()
						until(t, func() bool { return len(x.logs.lines("connection ended")) > before }, "a line in the log")
						lines := x.logs.lines("connection ended")
						require.Contains(t, lines[len(lines)-1], fmt.Sprintf("message exceeds MaxBufferLength: %d bytes of %d at least", most, most+1))
					}
					x.finish()
				}
			})
		})
	}
}

// skipper echoes lines; "skip n" drops the n bytes that follow it.
type skipper struct{ codec.Line }

func (s skipper) Decode(b []byte, m *frame) (int, error) {
	n, err := s.Line.Decode(b, m)
	if err != nil || !bytes.HasPrefix(*m, []byte("skip ")) {
		return n, err
	}
	var drop int
	if _, err := fmt.Sscan(string((*m)[5:]), &drop); err != nil {
		return 0, err
	}
	return n + drop, codec.Skip
}

func (s skipper) Resume(b []byte, _ int, m *frame) (int, error) { return s.Decode(b, m) }

func (skipper) OnInbound(line *frame, out *outbound) reactor.Status {
	out.Send(*line)
	return reactor.Continue
}

// What is skipped may span receives and exceed the buffer, and leaves no trace.
func TestSkip(t *testing.T) {
	each(t, func(t *testing.T, s setup) {
		const most = 64
		x := startAs(t, s, server.ListenConfig{MaxBufferLength: most}, func(peer) skipper { return skipper{} })
		for _, drop := range []int{0, 1, most - 1, most, most + 1, 5000, 3 << 20} {
			c := x.dial()
			c.say("before")
			c.say("skip %d", drop)
			chunk := bytes.Repeat([]byte("\nskip 99999999"), 1000)
			for n := drop; n > 0; n -= min(n, len(chunk)) {
				_, err := c.Write(chunk[:min(n, len(chunk))])
				require.NoError(t, err)
			}
			c.say("after")
			require.Equal(t, "before", c.line())
			require.Equal(t, "after", c.line(), "of %d bytes skipped", drop)
			c.Close()
		}
		for cut := 1; cut < 12; cut++ { // within the skip, and around it
			c := x.dial()
			c.echo("ready")
			b := []byte("skip 5\n01234hi\n")
			in := x.Stats().BytesIn
			_, err := c.Write(b[:cut])
			require.NoError(t, err)
			until(t, func() bool { return x.Stats().BytesIn >= in+uint64(cut) }, "the first part")
			_, err = c.Write(b[cut:])
			require.NoError(t, err)
			require.Equal(t, "hi", c.line())
			c.Close()
		}
		x.allServed()
		x.finish()
	})
}

// broken breaks the decoder's contract in the way that the message names.
type breaker struct{ lineRaw }

func (breaker) Decode(b []byte, m *frame) (int, error) {
	switch b[0] {
	case 'n':
		return 0, nil // a message of nothing
	case 'l':
		return len(b) + 1, nil // of more than there is
	case 'm':
		return len(b), codec.More // fewer bytes needed than are there
	case '-':
		return -1, codec.More
	case 's':
		return 0, codec.Skip
	case 'S':
		return -5, codec.Skip
	}
	return 0, fmt.Errorf("no message begins with %q", b[0])
}

func (b breaker) Resume(p []byte, _ int, m *frame) (int, error) { return b.Decode(p, m) }

func (breaker) OnInbound(*frame, *outbound) reactor.Status { return reactor.Continue }

// A decoder that asks for too little, or claims more than there is, or skips nothing, ends its connection: the model's loop
// spins for ever.
func TestR10DecoderAtFault(t *testing.T) {
	over(t, engines(), func(t *testing.T, s setup) {
		x := startAs(t, s, server.ListenConfig{}, func(peer) breaker { return breaker{} })
		x.some = "no message of a decoder at fault is ever whole"
		for _, b := range []string{"n", "l", "m", "-", "s", "S"} {
			c := x.dial()
			before := len(x.logs.lines(reactor.ErrContract.Error()))
			_, err := io.WriteString(c, b+" and more")
			require.NoError(t, err)
			_ = c.broken()
			until(t, func() bool { return len(x.logs.lines(reactor.ErrContract.Error())) == before+1 }, "a line in the log for %s", b)
		}
		c := x.dial()
		c.say("?")
		_ = c.broken()
		x.logs.wait(t, `no message begins with '?'`)
		x.finish()
		require.Less(t, x.Stats().Turns, uint64(1000), "it spins")
	})
}

// A length that no message may have is refused when it is announced: no memory is taken for it.
func TestAnnouncedLength(t *testing.T) {
	over(t, kinds(), func(t *testing.T, s setup) {
		x := startAs(t, s, server.ListenConfig{}, newU32)
		held := x.Stats().Memory
		clients := make([]*client, 200)
		for i := range clients { // each announces 32 MiB less the prefix, and sends nothing of it
			clients[i] = x.dial()
			_, err := clients[i].Write(binary.BigEndian.AppendUint32(nil, 32<<20-4))
			require.NoError(t, err)
		}
		until(t, func() bool { return x.Stats().BytesIn == 4*uint64(len(clients)) }, "the announcements")
		require.Less(t, x.Stats().Memory, max(held, x.Stats().ReceiveMem)+uint64(len(clients))*(4<<10)+1)
		c := x.dial()
		_, err := c.Write(binary.BigEndian.AppendUint32(nil, 32<<20))
		require.NoError(t, err)
		_ = c.broken()
		x.logs.wait(t, "message exceeds MaxBufferLength")
	})
}
