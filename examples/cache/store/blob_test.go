package store

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBlob(t *testing.T) {
	s := New(Config{})
	defer s.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	want := make([]byte, 3<<20)
	for i := range want {
		want[i] = byte(rng.Uint32())
	}
	for _, n := range []int{0, 1, 4096, 8193, 16385, 17000, 65536, 65537, 300_000, 1 << 20, 3 << 20} {
		b := s.NewBlob()
		for at := 0; at < n; {
			k := min(n-at, 1+rng.IntN(70_000))
			require.NoError(t, b.Append(want[at:at+k]))
			at += k
			require.Equal(t, at, b.Len())
			require.LessOrEqual(t, s.Used(), 2*at+1<<15, "memory is not taken long before the bytes are there")
		}
		blob := b.Finish()
		other, err := s.blobOf(want[:n/3], want[n/3:n])
		require.NoError(t, err)
		for _, x := range []*Blob{blob, other} {
			require.Equal(t, n, x.Len())
			require.Equal(t, want[:n], append([]byte{}, x.AppendRange(nil, 0, n+5)...))
			require.LessOrEqual(t, x.cost, n+n/7+4096+10*chunkCost+blobCost)
			total, chunks := 0, 0
			for c := range x.Chunks() {
				require.Equal(t, x.Chunk(chunks), c)
				total += len(c)
				chunks++
			}
			require.Equal(t, n, total)
			require.Equal(t, chunks, x.NumChunks())
		}
		for range 20 {
			off := rng.IntN(n + 1)
			k := rng.IntN(n + 1)
			require.Equal(t, string(want[off:min(n, off+k)]), string(blob.AppendRange(nil, off, k)))
		}
		b = s.NewBlob()
		require.NoError(t, b.AppendRange(blob, n/4, n/2))
		part := b.Finish()
		require.Equal(t, string(want[n/4:n/4+n/2]), string(part.AppendRange(nil, 0, n)))
		part.Release()
		require.Equal(t, blob.cost+other.cost, s.Used())
		blob.Retain().Release()
		blob.Release()
		other.Release()
		require.Zero(t, s.Used())
		require.Panics(t, blob.Release)
	}
	b := s.NewBlob()
	require.NoError(t, b.Append(want))
	b.Discard()
	require.Zero(t, s.Used())
}

// A builder takes the memory that it needs from entries, and fails when there is none.
func TestBlobMemory(t *testing.T) {
	s := New(Config{MaxMemory: 4 << 20, Policy: AllKeysLRU})
	defer s.Close()
	d := s.DB(0)
	for i := range 10_000 {
		_, err := d.Put([]byte{byte(i), byte(i >> 8)}, Bytes(make([]byte, 1000)), PutOptions{})
		require.NoError(t, err)
	}
	require.Greater(t, s.Used(), 3<<20)
	b := s.NewBlob()
	require.NoError(t, b.Append(make([]byte, 3<<20)))
	require.LessOrEqual(t, s.Used(), 4<<20)
	_, err := d.Put([]byte("blob"), Whole(b.Finish()), PutOptions{})
	require.NoError(t, err)
	b = s.NewBlob()
	require.ErrorIs(t, b.Append(make([]byte, 5<<20)), ErrMemory)
	b.Discard()
	check(t, s)

	_, err = d.Put([]byte("large"), Bytes(make([]byte, 5<<20)), PutOptions{})
	require.ErrorIs(t, err, ErrMemory)
	s.SetPolicy(NoEviction)
	b = s.NewBlob()
	require.NoError(t, b.Append(make([]byte, 1<<20)))
	_, err = d.Put([]byte("k"), Whole(b.Finish()), PutOptions{If: IfPresent})
	require.NoError(t, err)
	check(t, s) // a Blob that was not stored is not charged
}

// A reader's Blob stays as it is when the key is written, and the key's memory is free at once.
func TestBlobOutlivesItsKey(t *testing.T) {
	s := New(Config{})
	defer s.Close()
	d := s.DB(0)
	value := make([]byte, 100_000)
	for i := range value {
		value[i] = byte(i)
	}
	_, err := d.Put([]byte("k"), Bytes(value), PutOptions{})
	require.NoError(t, err)
	it, ok := d.Get([]byte("k"), nil, GetOptions{})
	require.True(t, ok)
	require.Nil(t, it.Bytes())
	require.True(t, d.Delete([]byte("k")))
	require.Zero(t, s.Used())
	_, err = d.Put([]byte("k"), Bytes(make([]byte, 100_000)), PutOptions{})
	require.NoError(t, err)
	require.Equal(t, value, it.AppendTo(nil))
	it.Release()
}
