package resp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/protoring/protoring/codec"
	"github.com/stretchr/testify/require"
)

// A joiner puts commands together again.
type joiner struct {
	arg   int // that is being delivered; 0: none
	rest  int
	large map[int][]byte
}

// take returns the whole command, or nil where more is to come.
func (j *joiner) take(t testing.TB, m *Command) [][]byte {
	if m.Part != nil {
		if j.rest == 0 {
			if j.large == nil {
				j.large = map[int][]byte{}
			}
			j.arg = len(m.Args)
			j.large[j.arg] = []byte{}
		} else {
			require.Empty(t, m.Args)
			require.Equal(t, j.rest-len(m.Part), m.Rest)
		}
		j.rest = m.Rest
		j.large[j.arg] = append(j.large[j.arg], m.Part...)
		return nil
	}
	require.Zero(t, j.rest)
	var all [][]byte
	for i, arg := range m.Args {
		if arg == nil {
			require.Contains(t, j.large, i)
			arg = j.large[i]
			delete(j.large, i)
		}
		all = append(all, bytes.Clone(arg))
	}
	require.Empty(t, j.large)
	*j = joiner{}
	return all
}

// Commands with large arguments anywhere, cut anywhere, come as they were sent, and no call sees more than it must.
func TestParts(t *testing.T) {
	const limit = 16
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var want [][][]byte
		var wire []byte
		for range 20 {
			var args [][]byte
			for i := range 1 + rng.IntN(5) {
				size := rng.IntN(8)
				if rng.IntN(3) == 0 {
					size = rng.IntN(200)
				}
				args = append(args, bytes.Repeat([]byte{byte('a' + i)}, size))
			}
			want = append(want, args)
			wire = AppendCommand(wire, args...)
		}
		r := Requests{Parts: limit}
		var m Command
		var j joiner
		var got [][][]byte
		var held []byte
		for len(wire) > 0 || len(held) > 0 {
			n := min(len(wire), 1+rng.IntN(40))
			held = append(held, wire[:n]...)
			wire = wire[n:]
			for len(held) > 0 {
				n, err := r.Decode(held, &m)
				if err == codec.More {
					break
				}
				require.NoError(t, err)
				if all := j.take(t, &m); all != nil {
					got = append(got, all)
				}
				held = held[n:]
			}
			require.Less(t, len(held), 40+5*(limit+8), "seed %d: arguments in parts do not pile up", seed)
		}
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, fmt.Sprintf("%q", want[i]), fmt.Sprintf("%q", got[i]), "seed %d", seed)
		}
		require.Nil(t, r.parts)
	}
}

// What a peer announces, or sends in small arguments beside a large one, takes no memory without bound.
func TestPartsAreBounded(t *testing.T) {
	r := Requests{Parts: 16, MaxBulk: 1000}
	var m Command
	head := "*100000\r\n$3\r\nset\r\n"
	part := "$17\r\n" + strings.Repeat("x", 16)
	n, err := r.Decode([]byte(head+part), &m)
	require.NoError(t, err)
	require.Equal(t, len(head+part), n)
	require.Len(t, m.Part, 16)
	require.Equal(t, 1, m.Rest)
	require.Equal(t, "set", string(m.Args[0]))
	n, err = r.Decode([]byte("x\r\n"), &m)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, "x", string(m.Part))
	small := "$16\r\n" + strings.Repeat("y", 16) + "\r\n"
	for i := 0; ; i++ {
		require.Less(t, i, 1000)
		b := []byte("\r\n" + strings.Repeat(small, 10) + part)
		if n, err = r.Decode(b, &m); err != nil {
			break
		}
		require.Equal(t, len(b), n)
		n, err = r.Decode([]byte("x\r\n"), &m)
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
	require.Equal(t, errLength, err)

	r = Requests{Parts: 16, MaxBulk: 1000, DeliverErrors: true}
	_, err = r.Decode([]byte(head+part), &m)
	require.NoError(t, err)
	require.NotNil(t, m.Part)
	_, err = r.Decode([]byte("x\r\n$2000\r\n"), &m)
	require.NoError(t, err)
	_, err = r.Decode([]byte("\r\n$2000\r\n"), &m)
	require.NoError(t, err)
	require.Equal(t, errLength, m.Err)
	require.Nil(t, m.Part)
	require.Nil(t, r.parts)
}
