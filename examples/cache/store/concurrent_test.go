package store

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Two write the same keys with values of one letter, small ones and Blobs; no reader sees two letters in one value.
func TestNoMixtures(t *testing.T) {
	s := New(Config{MaxMemory: 8 << 20, Policy: AllKeysLRU})
	defer s.Close()
	d := s.DB(0)
	stop := make(chan struct{})
	var writers, readers sync.WaitGroup
	sizes := []int{4096, 4096, 4096, 100, 20_000, 300_000}
	for g := range 2 {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			letters := bytes.Repeat([]byte{'a' + byte(g)}, 300_000)
			for range 2000 {
				_, err := d.Put([]byte{byte(rng.IntN(4))}, Bytes(letters[:sizes[rng.IntN(len(sizes))]]), PutOptions{})
				require.NoError(t, err)
			}
		})
		readers.Go(func() {
			var buf, all []byte
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				it, ok := d.Get([]byte{byte(i % 4)}, buf, GetOptions{})
				if !ok {
					continue
				}
				if it.Blob() == nil {
					buf = it.Bytes()
				}
				all = it.AppendTo(all[:0])
				it.Release()
				if n := bytes.Count(all, all[:1]); n != len(all) {
					t.Errorf("a mixture: %d of %d bytes are %q", n, len(all), all[0])
					return
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	check(t, s)
}

func TestAddIsAtomic(t *testing.T) {
	s := New(Config{})
	defer s.Close()
	d := s.DB(0)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5000 {
				_, err := d.Add([]byte("n"), 1)
				require.NoError(t, err)
				for { // the same by hand
					it, ok := d.Get([]byte("m"), nil, GetOptions{})
					o := PutOptions{If: IfAbsent}
					if ok {
						o = PutOptions{If: IfVersion, Version: it.Version}
					}
					n, _ := ParseInt(it.Bytes())
					r, err := d.Put([]byte("m"), Bytes(strconv.AppendInt(nil, n+1, 10)), o)
					require.NoError(t, err)
					if r.Stored {
						break
					}
				}
			}
		})
	}
	wg.Wait()
	for _, k := range []string{"n", "m"} {
		it, _ := d.Get([]byte(k), nil, GetOptions{})
		require.Equal(t, "20000", string(it.Bytes()))
	}
}

// Everything at once: values stay those of their keys, and the bound holds at every instant.
func TestConcurrent(t *testing.T) {
	const bound = 2 << 20
	for _, policy := range []Policy{AllKeysLRU, AllKeysRandom, VolatileLRU, VolatileTTL, VolatileRandom} {
		var clock, removed atomic.Int64
		clock.Store(1)
		s := New(Config{MaxMemory: bound, Shards: 4, Policy: policy, Databases: 3, Now: clock.Load,
			Removed: func(db int, key []byte, _ Reason) {
				if db > 2 || len(key) != 8 {
					t.Errorf("database %d, key %q", db, key)
				}
				removed.Add(1)
			}})
		s.Notify(true)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(g), 1))
				var key [8]byte
				var buf []byte
				var keys Keys
				for range 3000 {
					d := s.DB(rng.IntN(3))
					binary.LittleEndian.PutUint64(key[:], rng.Uint64N(2000))
					switch rng.IntN(10) {
					case 0, 1, 2, 3:
						it, ok := d.Get(key[:], buf, GetOptions{})
						if ok && it.Blob() == nil {
							buf = it.Bytes()
						}
						if ok && !bytes.HasPrefix(it.AppendTo(nil), key[:]) {
							t.Error("the value of another key")
						}
						it.Release()
					case 4, 5, 6, 7:
						n := rng.IntN(1000)
						if rng.IntN(20) == 0 {
							n = rng.IntN(50_000)
						}
						o := PutOptions{Expire: clock.Load() + 1 + rng.Int64N(50)}
						if _, err := d.Put(key[:], Join(key[:], make([]byte, n)), o); err != nil {
							t.Error(err)
						}
					case 8:
						d.Delete(key[:])
					case 9:
						clock.Add(1)
						if rng.IntN(10) == 0 {
							s.reclaim()
						}
						keys.Reset()
						d.Scan(0, 20, &keys)
						if rng.IntN(500) == 0 {
							d.Flush()
						}
					}
					if used := s.Used(); used > bound || used < 0 {
						t.Errorf("%d bytes used", used)
					}
				}
			})
		}
		wg.Wait()
		check(t, s)
		st := s.Stats()
		require.Equal(t, int(removed.Load()), int(st.Expired+st.Evicted))
		s.FlushAll()
		require.Zero(t, s.Used())
		check(t, s)
		s.Close()
	}
}

// A key that stays is returned by every iteration, while the table grows and shrinks between its calls.
func TestScanGuarantee(t *testing.T) {
	s := New(Config{Shards: 2})
	defer s.Close()
	d := s.DB(0)
	const stay = 300
	for i := range stay {
		_, err := d.Put(strconv.AppendInt([]byte("stay"), int64(i), 10), Bytes([]byte("v")), PutOptions{})
		require.NoError(t, err)
	}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			for _, remove := range []bool{false, true} {
				for i := range 20_000 {
					select {
					case <-stop:
						return
					default:
					}
					k := strconv.AppendInt(nil, int64(i), 10)
					if remove {
						d.Delete(k)
					} else if _, err := d.Put(k, Bytes(k), PutOptions{}); err != nil {
						t.Error(err)
					}
				}
			}
		}
	})
	for range 100 {
		seen := map[string]bool{}
		var keys Keys
		for cursor := uint64(0); ; {
			keys.Reset()
			cursor = d.Scan(cursor, 50, &keys)
			for i := range keys.Len() {
				if k := keys.At(i); k[0] == 's' {
					seen[string(k)] = true
				}
			}
			if cursor == 0 {
				break
			}
		}
		require.Len(t, seen, stay)
	}
	close(stop)
	writer.Wait()
	check(t, s)
}

func TestHostileCursors(t *testing.T) {
	s := New(Config{})
	defer s.Close()
	d := s.DB(0)
	var keys Keys
	require.Zero(t, d.Scan(1<<63, 10, &keys), "of a database without keys")
	for i := range 5000 {
		_, err := d.Put(strconv.AppendInt(nil, int64(i), 10), Bytes(nil), PutOptions{})
		require.NoError(t, err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		keys.Reset()
		d.Scan(rng.Uint64()>>rng.IntN(64), rng.IntN(20)-5, &keys)
		require.Less(t, keys.Len(), 100)
	}
	require.Zero(t, d.Scan(1<<64-1, 10, &keys))
	keys.Reset()
	require.Zero(t, d.Scan(0, math.MaxInt, &keys))
	require.Equal(t, 5000, keys.Len())
}
