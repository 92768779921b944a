package buffers

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func send(o *Output, p *Pool, msg []byte, size int) {
	o.Commit(p, append(o.Grab(p, size), msg...))
}

func all(o *Output) []byte {
	return bytes.Join(o.AppendSegments(nil, 1<<20, 1<<40), nil)
}

func (o *Output) blocks() (n int) {
	for b := o.head; b != nil; b = b.next {
		n++
	}
	return n
}

func TestOutputInPlace(t *testing.T) {
	p := newPool(t)
	var o Output
	dst := o.Grab(p, 0)
	require.Empty(t, dst)
	require.Equal(t, 4096, cap(dst))
	msg := append(dst, "hello"...)
	o.Commit(p, msg)
	o.Commit(p, append(o.Grab(p, 6), " world"...))
	segs := o.AppendSegments(nil, 10, 1000)
	require.Len(t, segs, 1)
	require.Equal(t, "hello world", string(segs[0]))
	require.Equal(t, 11, cap(segs[0]), "what is behind belongs to the next message")
	require.Same(t, &msg[0], &segs[0][0], "nothing was copied")
	require.Equal(t, 11, o.Len())
	require.Equal(t, 4096, o.Held())
	require.Equal(t, 4096, p.Used())
	o.Sent(p, 11)
	require.Zero(t, o.Held())
	require.Zero(t, p.Used())
	require.Empty(t, o.AppendSegments(nil, 10, 1000))
}

func TestOutputSpills(t *testing.T) {
	p := newPool(t)
	var o Output
	small, large := text(0, 10_000), text(10_000, 100_000)
	send(&o, p, []byte("first"), 0)
	send(&o, p, small, 0) // larger than the room: append moved it, and it is copied back
	require.Zero(t, p.adopted)
	require.Equal(t, 2, o.blocks())
	msg := append(o.Grab(p, 0), large...)
	o.Commit(p, msg) // adopted
	require.Equal(t, cap(msg), p.adopted)
	segs := o.AppendSegments(nil, 10, 1<<30)
	require.Same(t, &msg[0], &segs[len(segs)-1][0])
	send(&o, p, []byte("last"), 0)
	require.NotSame(t, o.tail, o.head)
	require.False(t, o.tail.heap, "nothing is written behind an adopted segment")
	require.Equal(t, string("first")+string(small)+string(large)+"last", string(all(&o)))
	o.Sent(p, o.Len())
	require.Zero(t, p.Used())
	require.Zero(t, p.adopted)

	sized := text(0, 300_000)
	send(&o, p, sized, len(sized)) // a size that is known has room of its own
	require.Zero(t, p.adopted)
	require.Equal(t, 296<<10, p.Used(), "whole pages of what was written, not of what there is")
	require.True(t, bytes.Equal(sized, all(&o)))
	o.Drop(p)
	require.Zero(t, p.Used())
}

// Large messages of unannounced size are on the Go heap once, and not again and again: the collector would do nothing else.
func TestOutputLearnsLargeSizes(t *testing.T) {
	p := newPool(t)
	var o Output
	msg := text(0, 1<<20)
	send(&o, p, msg, 0)
	require.NotZero(t, p.adopted)
	o.Sent(p, o.Len())
	for range 10 {
		send(&o, p, msg, 0)
		require.Zero(t, p.adopted)
		require.Equal(t, 1<<20, o.Held())
		o.Sent(p, o.Len())
	}
	for range 100 {
		send(&o, p, msg[:10], 0)
		require.Equal(t, minBlockSize, o.Held(), "what is written counts, not the room")
		o.Sent(p, o.Len())
	}
	require.Equal(t, minBlockSize, cap(o.Grab(p, 0)), "and the room becomes small again")
	o.Commit(p, nil)
}

// After a few messages of a size that is not announced, there is room for it; and no longer when they are small again.
func TestOutputLearnsSizes(t *testing.T) {
	p := newPool(t)
	var o Output
	msg := text(0, 20_000)
	for range 3 {
		send(&o, p, msg, 0)
		o.Sent(p, o.Len())
	}
	require.GreaterOrEqual(t, cap(o.Grab(p, 0)), 20_000)
	o.Commit(p, nil)
	for range 60 {
		send(&o, p, msg[:10], 0)
		o.Sent(p, o.Len())
	}
	require.Equal(t, 4096, cap(o.Grab(p, 0)))
	o.Commit(p, nil)
	require.Zero(t, p.Used())

	var other Output
	send(&o, p, msg, 0)
	send(&other, p, msg[:10], 0)
	require.Equal(t, 4096, other.Held(), "one connection's large messages are not another's")
	o.Drop(p)
	other.Drop(p)
}

// What an output holds is little more than what is unsent in it, whatever the size of the messages: the rest of a page for each block,
// what is sent of the first one, and what is free in each where the next message was too large for it.
func TestOutputHoldsLittleMore(t *testing.T) {
	for _, size := range []int{10, 1000, 5000, 9000, 16 << 10, 17 << 10, 33 << 10, 66 << 10, 300_000} {
		for _, announced := range []int{0, size} {
			p := newPool(t)
			var o Output
			msg := text(0, size)
			for o.Len() < 256<<10 {
				send(&o, p, msg, announced)
			}
			require.LessOrEqual(t, o.Held(), o.Len()+o.Len()/2+minBlockSize, "messages of %d bytes, %d announced", size, announced)
			blocks := o.blocks()
			o.Sent(p, size/2+1)
			require.GreaterOrEqual(t, o.blocks(), blocks-1)
			for range 100 { // steadily: it does not grow
				o.Sent(p, min(o.Len(), size))
				send(&o, p, msg, announced)
				require.LessOrEqual(t, o.Held(), o.Len()+o.Len()/2+2*outputMost+size, "messages of %d bytes, %d announced", size, announced)
			}
			o.Drop(p)
		}
	}
}

func TestOutputEmptyMessage(t *testing.T) {
	p := newPool(t)
	var o Output
	send(&o, p, nil, 0)
	require.Zero(t, p.Used())
	send(&o, p, []byte("a"), 0)
	send(&o, p, nil, 0)
	o.Grab(p, 10_000) // and then the encoder panics
	send(&o, p, nil, 20_000)
	require.Equal(t, "a", string(all(&o)))
	send(&o, p, []byte("b"), 100_000)
	require.Len(t, o.AppendSegments(nil, 10, 10), 2)
	o.Sent(p, 1)
	require.Equal(t, "b", string(all(&o)))
	o.Sent(p, 1)
	require.Zero(t, p.Used())
}

func TestAppendSegments(t *testing.T) {
	p := newPool(t)
	var o Output
	var want []byte
	for i := range 5 {
		msg := text(i*3000, 3000)
		b := p.get(4096, 4096)
		p.charge(b, 4096)
		b.n = copy(b.mem, msg)
		o.link(b)
		o.len += len(msg)
		want = append(want, msg...)
	}
	for count := range 7 {
		segs := o.AppendSegments(make([][]byte, 0, 8), count, 1<<30)
		require.Len(t, segs, min(count, 5))
		require.Equal(t, string(want[:min(count, 5)*3000]), string(bytes.Join(segs, nil)))
	}
	for limit := 0; limit <= len(want)+2; limit++ {
		got := bytes.Join(o.AppendSegments(nil, 10, limit), nil)
		if !bytes.Equal(want[:min(limit, len(want))], got) {
			t.Fatalf("limit %d gives %d bytes", limit, len(got))
		}
	}
	segs := o.AppendSegments([][]byte{[]byte("x")}, 1, 10)
	require.Len(t, segs, 2)
	o.Drop(p)
}

// A send may end at any byte, with more appended meanwhile.
func TestSentAtEveryByte(t *testing.T) {
	p := newPool(t)
	build := func() (*Output, []byte) {
		var o Output
		var want []byte
		for i, n := range []int{300, 4000, 70_000, 5, 100} {
			msg := text(i, n)
			send(&o, p, msg, 0)
			want = append(want, msg...)
		}
		return &o, want
	}
	_, want := build()
	for n := 0; n <= len(want); n++ {
		switch n { // the middle of a block is like its start
		case 400:
			n = 4000
		case 4400:
			n = len(want) - 200
		}
		o, want := build()
		o.Sent(p, n)
		require.Equal(t, len(want)-n, o.Len())
		if got := all(o); !bytes.Equal(want[n:], got) {
			t.Fatalf("after %d bytes, %d are left that are not right", n, len(got))
		}
		send(o, p, []byte("more"), 0)
		if got := all(o); !bytes.HasSuffix(got, []byte("more")) || len(got) != len(want)-n+4 {
			t.Fatalf("after %d bytes, what is appended is not right", n)
		}
		o.Sent(p, o.Len())
		require.Zero(t, o.Held())
	}
}

func TestOutputModel(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 4))
		p := NewPool()
		var o Output
		var model []byte
		var inFlight [][]byte // a send: a prefix, which stays as it is
		at := 0
		for range 400 {
			switch r.IntN(4) {
			case 0, 1:
				msg := text(at, r.IntN(1<<r.IntN(18)))
				size := 0
				if r.IntN(3) == 0 {
					size = len(msg) + r.IntN(100)
				}
				send(&o, p, msg, size)
				model = append(model, msg...)
				at += len(msg)
			case 2:
				if inFlight == nil && len(model) > 0 {
					inFlight = o.AppendSegments(nil, 1+r.IntN(5), 1+r.IntN(1<<17))
				}
			case 3:
				if inFlight != nil {
					sent := bytes.Join(inFlight, nil)
					require.True(t, bytes.HasPrefix(model, sent))
					n := r.IntN(len(sent) + 1)
					o.Sent(p, n)
					model = model[n:]
					inFlight = nil
				}
			}
			require.Equal(t, len(model), o.Len())
			require.Equal(t, p.Used(), o.Held())
			if len(model) == 0 {
				require.Zero(t, o.Held())
			}
		}
		require.True(t, bytes.Equal(model, all(&o)))
		o.Drop(p)
		require.Zero(t, p.Used())
		p.Close()
	}
}
