package reactor_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/reactor"
	"github.com/stretchr/testify/require"
)

// pieces sends slices of one array, which it uses again at once.
type pieces struct {
	codec.Raw
	sizes []int
	sent  []byte
}

func (p *pieces) OnInbound(_ *frame, out *outbound) reactor.Status {
	array := make([]byte, 1<<20)
	for i, size := range p.sizes {
		b := array[:size]
		for j := range b {
			b[j] = byte('a' + (i+j)%26)
		}
		p.sent = append(p.sent, b...)
		out.Send(b)
		clear(b)
	}
	return reactor.Continue
}

// R5, F2: when Send returns, the memory of the message is the caller's again, whatever its size; and that of a batch too.
func TestSentMemoryIsFree(t *testing.T) {
	r := &pieces{sizes: []int{1, 10, 5000, 70_000, 3, 500_000, 4096, 64 << 10, 1}}
	s, _ := newSession(t, r, func(c *reactor.Config) { c.MaxOutbound = 1 << 20 })
	_, _, err := s.Inbound([]byte("go"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(r.sent, []byte(output(s))))

	l, _ := newSession(t, &lines{}, nil)
	batch := []frame{frame("one"), frame("two")}
	require.NoError(t, l.Sender().Send(batch...))
	clear(batch)
	l.Pump()
	require.Equal(t, "one\ntwo\n", output(l))
}

// F3: no interface is satisfied by both what is used on the ring's goroutine and what is used on all others.
func TestOutboundAndSenderHaveNothingInCommon(t *testing.T) {
	out, sender := reflect.TypeFor[*outbound](), reflect.TypeFor[*sender]()
	for i := range out.NumMethod() {
		m := out.Method(i)
		other, ok := sender.MethodByName(m.Name)
		if !ok {
			continue
		}
		signature := func(t reflect.Type) (s []reflect.Type) {
			for i := 1; i < t.NumIn(); i++ { // without the receiver
				s = append(s, t.In(i))
			}
			for i := range t.NumOut() {
				s = append(s, t.Out(i))
			}
			return s
		}
		require.NotEqual(t, signature(m.Type), signature(other.Type), m.Name)
	}
	require.Positive(t, out.NumMethod())
}
