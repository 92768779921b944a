package reactor_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"unsafe"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/reactor/reactortest"
	"github.com/stretchr/testify/require"
)

func TestStatusString(t *testing.T) {
	require.Equal(t, "[Continue Pause Drain Close Resume Status(5)]",
		fmt.Sprint([]reactor.Status{reactor.Continue, reactor.Pause, reactor.Drain, reactor.Close, reactor.Resume, 5}))
}

func newHooked(t *testing.T, h *hooked, cfg reactortest.Config) *reactortest.Conn[frame] {
	return reactortest.New(t, func(peer) *hooked { return h }, cfg)
}

func TestHooksAreCalled(t *testing.T) {
	h := &hooked{}
	c := newHooked(t, h, reactortest.Config{})
	fmt.Fprint(c, "a\nb\n")
	require.NoError(t, c.Sender().Send(frame("x"), frame("y")))
	c.Pump()
	c.Drain()
	c.Drain()
	c.PeerEnd()
	c.PeerEnd()
	require.Equal(t, "x\ny\n", string(c.Output()))
	require.NoError(t, c.Sender().Do(func(*outbound) reactor.Status { return reactor.Drain }))
	c.Pump()
	c.Close(io.EOF)
	require.Equal(t, []string{"open", "in a", "in b", "out x", "out y", "drain", "end", "close"}, h.log)
	require.NoError(t, h.closed)
	closed, err := c.Closed()
	require.True(t, closed)
	require.NoError(t, err)
}

func TestWithoutHooks(t *testing.T) {
	for name, end := range map[string]func(*reactortest.Conn[frame]){
		"peer":   func(c *reactortest.Conn[frame]) { c.PeerEnd() },
		"server": func(c *reactortest.Conn[frame]) { c.Drain() },
	} {
		t.Run(name, func(t *testing.T) {
			c := reactortest.New(t, func(peer) *lines {
				return &lines{inbound: func(line string, out *outbound) reactor.Status {
					out.Send(frame(line))
					return reactor.Continue
				}}
			}, reactortest.Config{SocketBuffer: 3})
			fmt.Fprint(c, "one\ntwo\n")
			require.NoError(t, c.Sender().Send(frame("three")))
			end(c)
			require.Equal(t, reactor.Drain, c.Status())
			require.ErrorIs(t, c.Sender().Send(frame("four")), reactor.ErrClosed)
			var got string
			for closed := false; !closed; closed, _ = c.Closed() {
				got += string(c.Take())
			}
			got += string(c.Take())
			require.Equal(t, "one\ntwo\nthree\n", got)
			_, err := c.Closed()
			require.NoError(t, err)
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	h := &hooked{status: map[string]reactor.Status{"open": reactor.Drain}, hook: func(name string, out *outbound) {
		if name == "open" {
			out.Send(frame("go away"))
		}
	}}
	c := newHooked(t, h, reactortest.Config{})
	require.Equal(t, "go away\n", string(c.Output()))
	_, err := fmt.Fprint(c, "a\n")
	require.ErrorIs(t, err, io.ErrClosedPipe)
	require.Equal(t, []string{"open", "close"}, h.log)
}

func TestPause(t *testing.T) {
	var got []string
	c := reactortest.New(t, func(peer) *lines {
		return &lines{inbound: func(line string, out *outbound) reactor.Status {
			got = append(got, line)
			if line == "pause" {
				return reactor.Pause
			}
			return reactor.Continue
		}}
	}, reactortest.Config{})
	fmt.Fprint(c, "a\npause\nb\n")
	fmt.Fprint(c, "c\n")
	c.PeerEnd() // the reactor has not had all messages
	require.Equal(t, []string{"a", "pause"}, got)
	require.Equal(t, reactor.Pause, c.Status())
	require.NoError(t, c.Sender().Send(frame("x"))) // messages go out, and do not resume
	require.NoError(t, c.Sender().Do(func(*outbound) reactor.Status { return reactor.Pause }))
	c.Pump()
	require.Equal(t, "x\n", string(c.Output()))
	require.Equal(t, reactor.Pause, c.Status())
	require.NoError(t, c.Sender().Do(func(*outbound) reactor.Status { return reactor.Continue }))
	c.Pump()
	require.Equal(t, []string{"a", "pause", "b", "c"}, got)
	closed, err := c.Closed()
	require.True(t, closed)
	require.NoError(t, err)
}

func TestStatusesOfOnInbound(t *testing.T) {
	t.Run("drain", func(t *testing.T) {
		h := &hooked{status: map[string]reactor.Status{"in stop": reactor.Drain}, hook: func(name string, out *outbound) { out.Send(frame(name)) }}
		c := newHooked(t, h, reactortest.Config{})
		fmt.Fprint(c, "a\nstop\nb\n")
		require.Equal(t, "open\nin a\nin stop\n", string(c.Output()))
		require.Equal(t, []string{"open", "in a", "in stop", "close"}, h.log)
		require.NoError(t, h.closed)
	})
	t.Run("close", func(t *testing.T) {
		h := &hooked{status: map[string]reactor.Status{"in stop": reactor.Close}}
		c := newHooked(t, h, reactortest.Config{})
		require.NoError(t, c.Sender().Send(frame("1"), frame("2")))
		require.NoError(t, c.Sender().Do(func(*outbound) reactor.Status { t.Error("runs"); return reactor.Continue }))
		h.hook = func(name string, out *outbound) {
			if name == "in stop" {
				out.Send(frame("xyz"))
			}
		}
		fmt.Fprint(c, "stop\nb\n")
		require.Empty(t, c.Output())
		require.Equal(t, []string{"open", "in stop", "close"}, h.log)
		var unsent *reactor.UnsentError
		require.ErrorAs(t, h.closed, &unsent)
		require.Equal(t, reactor.UnsentError{Bytes: 4, Messages: 2}, *unsent)
		require.EqualError(t, h.closed, "closed with 4 bytes and 2 queued messages unsent")
		require.ErrorIs(t, c.Sender().Close(), reactor.ErrClosed)
	})
	t.Run("no status", func(t *testing.T) {
		s, _ := newSession(t, &lines{inbound: func(string, *outbound) reactor.Status { return 9 }}, nil)
		require.PanicsWithValue(t, "reactor: *reactor_test.lines returned Status(9)", func() { _, _, _ = s.Inbound([]byte("a\n")) })
	})
}

func TestUnsentError(t *testing.T) {
	h := &hooked{}
	c := newHooked(t, h, reactortest.Config{SocketBuffer: 1})
	require.NoError(t, c.Sender().Send(frame("abc")))
	c.Pump()
	require.NoError(t, c.Sender().Send(frame("d")))
	c.Close(io.ErrUnexpectedEOF)
	require.ErrorIs(t, h.closed, io.ErrUnexpectedEOF)
	require.EqualError(t, h.closed, "closed with 3 bytes and 1 queued messages unsent: unexpected EOF")
	_, err := c.Closed()
	require.Equal(t, h.closed, err)
}

func TestEndAndDrainAreAskedForOnce(t *testing.T) {
	h := &hooked{status: map[string]reactor.Status{"in pause": reactor.Pause}}
	s, _ := newSession(t, h, nil)
	s.Open()
	s.Drain()
	s.Drain()
	s.End()
	s.End()
	require.Equal(t, reactor.Continue, s.Status())
	s.Finish(reactor.Drain)
	s.Drain()
	s.Finish(reactor.Continue)
	require.Equal(t, reactor.Drain, s.Status())
	s.Closed(nil)
	s.Closed(io.EOF)
	s.End()
	s.Drain()
	s.Pump()
	require.Equal(t, []string{"open", "drain", "end", "close"}, h.log)
	require.Equal(t, reactor.Close, s.Status())
}

func TestNothingAfterClose(t *testing.T) {
	h := &hooked{}
	s, host := newSession(t, h, nil)
	require.NoError(t, s.Sender().Send(frame("x")))
	h.onClose = func(error) {
		require.ErrorIs(t, s.Sender().Send(frame("y")), reactor.ErrClosed)
		require.ErrorIs(t, s.Sender().Do(nil), reactor.ErrClosed)
	}
	s.Finish(reactor.Close)
	s.End() // no hook but OnClose
	require.Empty(t, h.log)
	s.Closed(nil)
	s.Pump()
	used, more, err := s.Inbound([]byte("a\n"))
	require.Zero(t, used)
	require.True(t, more)
	require.NoError(t, err)
	require.Equal(t, []string{"close"}, h.log)
	require.Zero(t, host.dirty)
	require.Zero(t, s.Output().Len())
}

func TestBackpressure(t *testing.T) {
	h := &hooked{}
	h.inbound = func(line string, out *outbound) reactor.Status { out.Send(frame(line)); return reactor.Continue }
	s, host := newSession(t, h, nil)
	b := []byte("0123456789\n0123456789\n0123456789\nlast\n") // 11 each: 33 bytes are beyond 32
	used, more, err := s.Inbound(b)
	require.NoError(t, err)
	require.Equal(t, 33, used)
	require.True(t, more)
	require.False(t, s.Accepts())
	require.Equal(t, 1, host.dirty)
	s.Flushed()
	s.Sent(2) // below the limit, and above half of it
	require.True(t, s.Accepts())
	require.NotContains(t, h.log, "room")
	s.Sent(14) // 17 bytes are left
	require.NotContains(t, h.log, "room")
	s.Sent(1)
	require.Equal(t, "room", h.log[len(h.log)-1])
	s.Sent(16)
	used, more, err = s.Inbound(b[used:])
	require.NoError(t, err)
	require.Equal(t, 5, used)
	require.False(t, more)
	require.Equal(t, 2, host.dirty)
	s.Sent(5)
	require.Equal(t, 1, strings.Count(fmt.Sprint(h.log), "room"), "not without having been full")
	require.Zero(t, s.Output().Held())
}

func TestRoom(t *testing.T) {
	left := 1000
	produce := func(name string, out *outbound) {
		for name != "end" && left > 0 && out.Room() > 0 {
			left--
			out.Send(frame("piece"))
		}
	}
	h := &hooked{hook: produce}
	c := newHooked(t, h, reactortest.Config{MaxOutbound: 100, SocketBuffer: 50})
	n := 0
	for range 10 { // OnRoom goes on while the connection drains
		n += len(c.Take())
		require.LessOrEqual(t, c.Pending(), 105)
	}
	h.status = map[string]reactor.Status{"end": reactor.Drain}
	c.PeerEnd()
	require.Equal(t, reactor.Drain, c.Status())
	for closed := false; !closed; closed, _ = c.Closed() {
		n += len(c.Take())
		require.LessOrEqual(t, c.Pending(), 105)
	}
	n += len(c.Take())
	require.Equal(t, 6000, n)
	_, err := c.Closed()
	require.NoError(t, err)
}

// chunked answers "big" with a hundred lines, as there is room, and any other line with itself.
type chunked struct {
	codec.Line
	left int
}

func (p *chunked) OnInbound(m *codec.Frame, out *reactor.Outbound[codec.Frame]) reactor.Status {
	if string(*m) != "big" {
		out.Send(*m)
		return reactor.Resume // nothing to end
	}
	p.left = 100
	return p.produce(out, reactor.Continue)
}

func (p *chunked) OnRoom(out *reactor.Outbound[codec.Frame]) reactor.Status {
	return p.produce(out, reactor.Resume)
}

func (p *chunked) produce(out *reactor.Outbound[codec.Frame], done reactor.Status) reactor.Status {
	for ; p.left > 0; p.left-- {
		if out.Room() == 0 {
			return reactor.Pause
		}
		out.Send(codec.Frame("piece"))
	}
	return done
}

// A large reply is sent as there is room, and the next request waits for its end.
func TestResumeStatus(t *testing.T) {
	c := reactortest.New(t, func(reactor.Peer[codec.Frame]) *chunked { return &chunked{} },
		reactortest.Config{MaxOutbound: 30, SocketBuffer: 20})
	fmt.Fprint(c, "a\nbig\nb\nbig\nbig\nc\n")
	var got strings.Builder
	for range 1000 {
		got.Write(c.Take())
		require.LessOrEqual(t, c.Pending(), 36)
	}
	big := strings.Repeat("piece\n", 100)
	require.Equal(t, "a\n"+big+"b\n"+big+big+"c\n", got.String())
	require.Equal(t, reactor.Continue, c.Status())
}

// Room that was asked for and is not there is a request for OnRoom, also when nothing was sent since.
func TestRoomAskedFor(t *testing.T) {
	h := &hooked{}
	var out *outbound
	h.hook = func(_ string, o *outbound) { out = o }
	s, _ := newSession(t, h, func(c *reactor.Config) { c.MaxOutbound = 1 })
	s.Open()
	require.Equal(t, 1, out.Room())
	require.Zero(t, out.Len())
	out.Send(frame("")) // "\n"
	require.Zero(t, out.Room())
	require.Equal(t, 1, out.Len())
	require.False(t, s.Accepts())
	s.Sent(1)
	require.True(t, s.Accepts())
	require.Equal(t, []string{"open", "room"}, h.log)
}

// A script is a decoder that answers as it is told, and the reactor to it.
type script struct {
	codec.Line
	decode func(b []byte, m *codec.Frame) (int, error)
	got    []string
	calls  int
}

func (s *script) Decode(b []byte, m *codec.Frame) (int, error) {
	s.calls++
	return s.decode(b, m)
}

func (s *script) OnInbound(m *codec.Frame, out *outbound) reactor.Status {
	s.got = append(s.got, string(*m))
	return reactor.Continue
}

// plain hides Line's Resume.
type plain struct{ *script }

func (plain) Resume() {}

func TestDecoderBreaksItsContract(t *testing.T) {
	for name, test := range map[string]struct {
		n    int
		err  error
		want string
	}{
		"more than there is":  {6, nil, "reactor: decoder breaks its contract: a message of 6 bytes in 5"},
		"no progress":         {0, nil, "reactor: decoder breaks its contract: a message of 0 bytes in 5"},
		"negative":            {-1, nil, "reactor: decoder breaks its contract: a message of -1 bytes in 5"},
		"needs what is there": {5, codec.More, "reactor: decoder breaks its contract: 5 bytes needed where 5 are there"},
		"needs less":          {-1, codec.More, "reactor: decoder breaks its contract: -1 bytes needed where 5 are there"},
		"skips nothing":       {0, codec.Skip, "reactor: decoder breaks its contract: skip of 0 bytes"},
		"skips backwards":     {-3, codec.Skip, "reactor: decoder breaks its contract: skip of -3 bytes"},
		"its own error":       {5, io.ErrNoProgress, io.ErrNoProgress.Error()},
		"too long":            {65, codec.More, "reactor: message exceeds MaxBufferLength: 64 bytes of 65 at least"},
		"far too long":        {math.MaxInt, codec.More, fmt.Sprintf("reactor: message exceeds MaxBufferLength: 64 bytes of %d at least", math.MaxInt)},
	} {
		t.Run(name, func(t *testing.T) {
			d := &script{decode: func([]byte, *codec.Frame) (int, error) { return test.n, test.err }}
			s, _ := newSession(t, plain{d}, nil)
			used, more, err := s.Inbound([]byte("12345"))
			require.EqualError(t, err, test.want)
			require.Zero(t, used)
			require.False(t, more)
			require.Equal(t, 1, d.calls)
			require.Empty(t, d.got)
			isContract := !errors.Is(err, io.ErrNoProgress) && !errors.Is(err, reactor.ErrTooLong)
			require.Equal(t, isContract, errors.Is(err, reactor.ErrContract))
		})
	}
}

// The limit on a message does not depend on how its bytes come.
func TestMaxBufferLength(t *testing.T) {
	for _, kind := range []string{"line", "length"} {
		for _, size := range []int{1, 63, 64, 65, 66, 200} { // bytes on the wire
			var wire string
			switch {
			case kind == "line":
				wire = strings.Repeat("x", size-1) + "\n"
			case size == 1:
				wire = "\x00"
			default:
				wire = string([]byte{byte(size - 1)}) + strings.Repeat("x", size-1)
			}
			all := "\n" + wire + "\n"
			if kind == "length" {
				all = "\x00" + wire + "\x00"
			}
			for cut := 0; cut <= len(all); cut++ {
				for second := cut; second <= len(all); second += 7 {
					got := 0
					count := func() { got++ }
					var c *reactortest.Conn[frame]
					cfg := reactortest.Config{MaxBufferLength: 64}
					if kind == "line" {
						c = reactortest.New(t, func(peer) *lines {
							return &lines{inbound: func(string, *outbound) reactor.Status { count(); return reactor.Continue }}
						}, cfg)
					} else {
						c = reactortest.New(t, func(peer) counted { return counted{codec.LengthPrefixed{Prefix: codec.U8}, count} }, cfg)
					}
					for _, part := range []string{all[:cut], all[cut:second], all[second:]} {
						if part != "" {
							_, _ = c.Write([]byte(part))
						}
					}
					closed, err := c.Closed()
					if size <= 64 {
						require.False(t, closed, "%s of %d cut at %d and %d: %v", kind, size, cut, second, err)
						require.Equal(t, 3, got)
					} else {
						require.ErrorIs(t, err, reactor.ErrTooLong, "%s of %d cut at %d and %d", kind, size, cut, second)
						require.Equal(t, 1, got)
					}
					c.Close(nil)
				}
			}
		}
	}
}

type counted struct {
	codec.LengthPrefixed
	count func()
}

func (c counted) OnInbound(*codec.Frame, *outbound) reactor.Status {
	c.count()
	return reactor.Continue
}

func TestNeedGatesTheDecoder(t *testing.T) {
	d := &script{decode: func(b []byte, m *codec.Frame) (int, error) {
		if len(b) < 10 {
			return 10, codec.More
		}
		*m = b[:10]
		return 10, nil
	}}
	c := reactortest.New(t, func(peer) plain { return plain{d} }, reactortest.Config{})
	require.NoError(t, c.WriteEach([]byte("0123456789abcdefghij")))
	require.Equal(t, []string{"0123456789", "abcdefghij"}, d.got)
	require.Equal(t, 4, d.calls, "one at the first byte and one at the last, of each message")
	require.Zero(t, c.Unread())

	s, _ := newSession(t, plain{d}, nil)
	used, more, err := s.Inbound([]byte("0123456789x"))
	require.NoError(t, err)
	require.Equal(t, 10, used)
	require.False(t, more)
	require.Equal(t, 10, s.Need())
	_, _, err = s.Inbound([]byte("x12345678"))
	require.NoError(t, err)
	require.Equal(t, 6, d.calls)
}

func TestSkip(t *testing.T) {
	for _, skip := range []int{1, 5, 9, 10, 11, 64, 65, 1000} {
		for _, size := range []int{1, 3, 10, 64, 2000} { // bytes of a receive
			d := &script{decode: func(b []byte, m *codec.Frame) (int, error) {
				if b[0] == 's' {
					return skip, codec.Skip
				}
				*m = b[:1]
				return 1, nil
			}}
			c := reactortest.New(t, func(peer) plain { return plain{d} }, reactortest.Config{MaxBufferLength: 64})
			wire := "a" + "s" + strings.Repeat("x", skip-1) + "b"
			for len(wire) > 0 {
				n := min(size, len(wire))
				_, err := c.Write([]byte(wire[:n]))
				require.NoError(t, err)
				wire = wire[n:]
				require.Zero(t, c.Unread(), "what is skipped is not kept")
			}
			require.Equal(t, []string{"a", "b"}, d.got, "skip %d in receives of %d", skip, size)
			require.Equal(t, 3, d.calls)
		}
	}
	t.Run("endless", func(t *testing.T) {
		d := &script{decode: func(b []byte, m *codec.Frame) (int, error) { return math.MaxInt, codec.Skip }}
		s, _ := newSession(t, plain{d}, nil)
		for range 3 {
			used, more, err := s.Inbound(make([]byte, 100))
			require.NoError(t, err)
			require.Equal(t, 100, used)
			require.False(t, more)
		}
		require.Equal(t, math.MaxInt-300, s.Skipping())
	})
	t.Run("while paused", func(t *testing.T) {
		d := &script{decode: func(b []byte, m *codec.Frame) (int, error) { return 10, codec.Skip }}
		s, _ := newSession(t, plain{d}, nil)
		_, _, err := s.Inbound([]byte("s"))
		require.NoError(t, err)
		s.Finish(reactor.Pause)
		used, more, err := s.Inbound([]byte("123456789a"))
		require.NoError(t, err)
		require.Equal(t, 9, used)
		require.True(t, more)
	})
}

// A resumer tells what it was called with.
type resumer struct {
	codec.Line
	calls []string
	known int // Decode returns this as its need
}

func (r *resumer) Decode(b []byte, m *codec.Frame) (int, error) {
	r.calls = append(r.calls, fmt.Sprintf("decode %d", len(b)))
	if r.known > len(b) {
		return r.known, codec.More
	}
	return r.Line.Decode(b, m)
}

func (r *resumer) Resume(b []byte, seen int, m *codec.Frame) (int, error) {
	r.calls = append(r.calls, fmt.Sprintf("resume %d after %d", len(b), seen))
	return r.Line.Resume(b, seen, m)
}

func (r *resumer) OnInbound(m *codec.Frame, out *outbound) reactor.Status {
	r.calls = append(r.calls, string(*m))
	return reactor.Continue
}

func TestResume(t *testing.T) {
	r := &resumer{}
	c := reactortest.New(t, func(peer) *resumer { return r }, reactortest.Config{})
	for _, part := range []string{"ab", "c", "def", "g\nhi", "\n"} {
		fmt.Fprint(c, part)
	}
	require.Equal(t, []string{"decode 2", "resume 3 after 2", "resume 6 after 3", "resume 10 after 6", "abcdefg",
		"decode 2", "resume 3 after 2", "hi"}, r.calls)
	r.calls, r.known = nil, 3
	for _, part := range []string{"a", "b", "c", "d\n"} {
		fmt.Fprint(c, part)
	}
	require.Equal(t, []string{"decode 1", "decode 3", "resume 5 after 3", "abcd"}, r.calls)
}

func TestMaxMessages(t *testing.T) {
	h := &hooked{}
	s, _ := newSession(t, h, func(c *reactor.Config) { c.MaxMessages = 3 })
	b := []byte("1\n2\n3\n4\n5\n")
	used, more, err := s.Inbound(b)
	require.NoError(t, err)
	require.Equal(t, 6, used)
	require.True(t, more)
	used, more, err = s.Inbound(b[used:])
	require.NoError(t, err)
	require.Equal(t, 4, used)
	require.False(t, more)
	require.Len(t, h.log, 5)
}

func TestViewsAreOverwritten(t *testing.T) {
	var kept codec.Frame
	k := &keeper{&kept}
	c := reactortest.New(t, func(peer) *keeper { return k }, reactortest.Config{})
	fmt.Fprint(c, "secret\n")
	require.Equal(t, "\xcc\xcc\xcc\xcc\xcc\xcc", string(kept))
}

type keeper struct{ at *codec.Frame }

func (k *keeper) Decode(b []byte, m *codec.Frame) (int, error) { return codec.Line{}.Decode(b, m) }
func (k *keeper) Encode(dst []byte, m codec.Frame) []byte      { return append(dst, m...) }
func (k *keeper) OnInbound(m *codec.Frame, _ *outbound) reactor.Status {
	*k.at = *m
	return reactor.Continue
}

// After a panic the server closes the connection: nothing else is called, and nothing of it is left.
func TestPanics(t *testing.T) {
	t.Run("OnInbound", func(t *testing.T) {
		h := &hooked{}
		h.inbound = func(line string, out *outbound) reactor.Status {
			out.Send(frame(line))
			panic(line)
		}
		s, _ := newSession(t, h, nil)
		require.NoError(t, s.Sender().Send(frame("x")))
		require.PanicsWithValue(t, "boom", func() { _, _, _ = s.Inbound([]byte("boom\nmore\n")) })
		s.Closed(io.EOF)
		require.Equal(t, []string{"in boom", "close"}, h.log)
		require.EqualError(t, h.closed, "closed with 5 bytes and 1 queued messages unsent: EOF")
	})
	t.Run("Do", func(t *testing.T) {
		h := &hooked{}
		s, host := newSession(t, h, nil)
		require.NoError(t, s.Sender().Send(frame("x")))
		require.NoError(t, s.Sender().Do(func(*outbound) reactor.Status { panic("boom") }))
		require.NoError(t, s.Sender().Send(frame("y")))
		require.Equal(t, 1, host.wakes)
		require.PanicsWithValue(t, "boom", s.Pump)
		require.Equal(t, reactor.Close, s.Status(), "also if the connection's own loop does not see the panic")
		require.Equal(t, 2, host.wakes)
		s.Pump()
		require.Equal(t, 1, s.Queued())
		s.Closed(nil)
		require.Equal(t, []string{"out x", "close"}, h.log)
		require.EqualError(t, h.closed, "closed with 2 bytes and 1 queued messages unsent")
	})
	t.Run("OnOutbound, called for another connection", func(t *testing.T) {
		victim := &hooked{}
		s, host := newSession(t, victim, nil)
		host.ring = true
		require.NoError(t, s.Sender().Send(frame("x"), frame("panic"), frame("y")))
		for range 3 {
			require.NoError(t, s.Sender().Send(frame("z")))
		}
		require.PanicsWithValue(t, "OnOutbound", func() { _ = s.Sender().Send(frame("one too many")) })
		require.Equal(t, reactor.Close, s.Status(), "half a batch is not gone on with")
		require.Equal(t, 2, host.wakes)
	})
	t.Run("Encode", func(t *testing.T) {
		s, _ := newSession(t, &badEncoder{}, nil)
		require.Panics(t, func() { _, _, _ = s.Inbound([]byte("a\n")) })
		s.Closed(nil)
		require.Zero(t, s.Output().Held())
	})
}

type badEncoder struct{ lines }

func (b *badEncoder) Encode(dst []byte, m codec.Frame) []byte { panic("Encode") }
func (b *badEncoder) OnInbound(m *codec.Frame, out *outbound) reactor.Status {
	out.Send(*m)
	return reactor.Continue
}

func TestSessionSize(t *testing.T) {
	size := unsafe.Sizeof(reactor.Session[codec.Frame, codec.Frame]{})
	t.Logf("a session has %d bytes", size)
	require.LessOrEqual(t, size, uintptr(256), "the size class that an idle connection pays for")
}
