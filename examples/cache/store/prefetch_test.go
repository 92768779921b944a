package store

import (
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Without the lock, the same buckets are found as with it, at each size of the table.
func TestShownTable(t *testing.T) {
	s := New(Config{Shards: 1})
	defer s.Close()
	d := s.DB(0)
	x := &d.all()[0].index
	d.Prefetch([][]byte{[]byte("nothing is there")})
	same := func() {
		for _, h := range []uint32{0, 1, 1 << 20, 1<<32 - 1, rand.Uint32(), rand.Uint32()} {
			require.Same(t, x.first(h), x.shown.first(x.a, h))
		}
	}
	const keys = 20_000
	for i := range keys {
		put(t, d, strconv.Itoa(i), "value", PutOptions{})
		same()
	}
	for i := range keys {
		require.True(t, d.Delete([]byte(strconv.Itoa(i))))
		if i < keys-1 {
			same()
		}
	}
	d.Flush()
	put(t, d, "a", "value", PutOptions{})
	same()
	d.Flush()
	assert.Nil(t, x.shown.first(x.a, 1))
}

func TestPrefetchCountsNothing(t *testing.T) {
	s := New(Config{})
	defer s.Close()
	d := s.DB(0)
	put(t, d, "a", "value", PutOptions{})
	before := s.Stats()
	info, _ := d.Info([]byte("a"))
	keys := [][]byte{[]byte("a"), []byte("b"), nil}
	for range 40 {
		keys = append(keys, []byte("a"))
	}
	assert.Zero(t, testing.AllocsPerRun(10, func() { d.Prefetch(keys) }))
	assert.Equal(t, before, s.Stats())
	after, _ := d.Info([]byte("a"))
	assert.Equal(t, info, after)
}

// While pages change their owners, a look without a lock reads what may be anything.
func TestPrefetchBesideWrites(t *testing.T) {
	s := New(Config{Shards: 2})
	defer s.Close()
	d := s.DB(0)
	var writers sync.WaitGroup
	for g := range 2 {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 5))
			noise := make([]byte, 8<<10)
			for i := range noise {
				noise[i] = byte(rng.Uint32())
			}
			var key [8]byte
			for i := range 60_000 {
				binary.LittleEndian.PutUint64(key[:], rng.Uint64N(40_000))
				if i%3 == 0 {
					d.Delete(key[:])
				} else if _, err := d.Put(key[:], Bytes(noise[:rng.IntN(1<<rng.IntN(14))]), PutOptions{}); err != nil {
					t.Error(err)
				}
				if i%10_000 == 9_999 {
					d.Flush()
					s.arena.trim()
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	var key [PrefetchMax][8]byte
	var keys [PrefetchMax][]byte
	for i := uint64(0); ; i++ {
		select {
		case <-done:
			check(t, s)
			return
		default:
		}
		for j := range keys {
			binary.LittleEndian.PutUint64(key[j][:], (i*PrefetchMax+uint64(j))%40_000)
			keys[j] = key[j][:]
		}
		d.Prefetch(keys[:])
	}
}
