package reactor_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/reactor"
)

const pipelined = 100 // messages of one receive

// bench runs a reactor with receives of pipelined messages, whose output the kernel takes at once.
func bench[In, Out any](b *testing.B, r reactor.Reactor[In, Out], wire string, messages int) {
	cfg := &reactor.Config{Pool: buffers.NewPool(), MaxBufferLength: 32 << 20, MaxOutbound: 256 << 10, MaxQueued: 128, MaxMessages: 1 << 20}
	defer cfg.Pool.Close()
	s := reactor.NewSession[In, Out](&host{}, cfg, new(In))
	s.Bind(r)
	in := []byte(wire)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if used, _, err := s.Inbound(in); used != len(in) || err != nil {
			b.Fatal(used, err)
		}
		s.Flushed()
		s.Sent(s.Output().Len())
		n += messages
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/message")
}

func BenchmarkEcho(b *testing.B) {
	line := strings.Repeat("x", 63) + "\n"
	b.Run("line", func(b *testing.B) { bench[frame, frame](b, &echoer{}, line, 1) })
	b.Run("line, pipelined", func(b *testing.B) { bench[frame, frame](b, &echoer{}, strings.Repeat(line, pipelined), pipelined) })
	b.Run("raw", func(b *testing.B) { bench[frame, frame](b, rawEcho{}, line, 1) })
	b.Run("tiny", func(b *testing.B) { bench[*int, status](b, tiny{}, "+", 1) })
	b.Run("tiny, pipelined", func(b *testing.B) {
		bench[*int, status](b, tiny{}, strings.Repeat("+", pipelined), pipelined)
	})
	get := "*2\r\n$3\r\nGET\r\n$8\r\nkey:0001\r\n"
	b.Run("get", func(b *testing.B) { bench[command, status](b, &store{}, get, 1) })
	b.Run("get, pipelined", func(b *testing.B) {
		bench[command, status](b, &store{}, strings.Repeat(get, pipelined), pipelined)
	})
}

// A message each way through the Sender, as from another goroutine.
func BenchmarkSender(b *testing.B) {
	for _, burst := range []int{1, 16} {
		b.Run(strconv.Itoa(burst), func(b *testing.B) {
			cfg := &reactor.Config{Pool: buffers.NewPool(), MaxBufferLength: 64, MaxOutbound: 256 << 10, MaxQueued: 128, MaxMessages: 16}
			defer cfg.Pool.Close()
			s := reactor.NewSession[frame, frame](&host{}, cfg, new(frame))
			s.Bind(&echoer{})
			m := frame(strings.Repeat("x", 63))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				for range burst {
					_ = s.Sender().Send(m)
				}
				s.Pump()
				s.Flushed()
				s.Sent(s.Output().Len())
				n += burst
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/message")
		})
	}
}

type rawEcho struct{ codec.Raw }

func (rawEcho) OnInbound(m *codec.Frame, out *outbound) reactor.Status {
	out.Send(*m)
	return reactor.Continue
}

// A tiny message is one byte each way: what is left is the session's own cost.
type tiny struct{}

type status struct{ text []byte }

func (tiny) Decode(b []byte, m **int) (int, error) { return 1, nil }
func (tiny) Encode(dst []byte, m status) []byte    { return append(dst, '+') }
func (tiny) OnInbound(m **int, out *reactor.Outbound[status]) reactor.Status {
	out.Send(status{})
	return reactor.Continue
}

// A command is like RESP's, of two arguments.
type command struct{ name, key []byte }

type store struct{}

func (*store) Decode(b []byte, m *command) (int, error) {
	at := 4
	for i := range 2 {
		if at+5 > len(b) {
			return 0, codec.More
		}
		n := int(b[at+1] - '0')
		at += 4
		if at+n+2 > len(b) {
			return at + n + 2, codec.More
		}
		if arg := b[at : at+n]; i == 0 {
			m.name = arg
		} else {
			m.key = arg
		}
		at += n + 2
	}
	return at, nil
}

func (*store) Encode(dst []byte, m status) []byte {
	dst = append(dst, '$')
	dst = strconv.AppendInt(dst, int64(len(m.text)), 10)
	dst = append(dst, "\r\n"...)
	dst = append(dst, m.text...)
	return append(dst, "\r\n"...)
}

func (s *store) OnInbound(m *command, out *reactor.Outbound[status]) reactor.Status {
	out.Send(status{m.key})
	return reactor.Continue
}
