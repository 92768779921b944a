package store

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// check verifies the shards' inner rules.
func check(t *testing.T, s *Store) {
	t.Helper()
	total := 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		bytes, expiring, linked := 0, 0, 0
		for j := range sh.entries {
			e := &sh.entries[j]
			bytes += e.cost()
			if e.expire != 0 {
				expiring++
			}
			require.Equal(t, j, sh.find(e.hash, []byte(e.key())))
		}
		for _, b := range sh.buckets {
			for ; b >= 0; b = sh.entries[b].next {
				linked++
			}
		}
		require.Equal(t, len(sh.entries), linked)
		require.Equal(t, bytes, sh.bytes)
		require.Equal(t, expiring, sh.expiring)
		total += bytes
		sh.mu.Unlock()
	}
	require.Equal(t, total, s.Used())
	if s.cfg.MaxMemory > 0 {
		require.LessOrEqual(t, total, s.cfg.MaxMemory)
	}
}

type modelValue struct {
	value  string
	expire int64
}

// TestModel drives a store and a map with the same calls.
func TestModel(t *testing.T) {
	for _, shards := range []int{1, 4} {
		t.Run(fmt.Sprint(shards, " shards"), func(t *testing.T) {
			now := int64(1_000_000)
			s := New(Config{Shards: shards, Now: func() int64 { return now }})
			model := map[string]modelValue{}
			rng := rand.New(rand.NewPCG(1, uint64(shards)))
			live := func(k string) (modelValue, bool) {
				v, ok := model[k]
				if ok && v.expire != 0 && v.expire <= now {
					delete(model, k)
					return modelValue{}, false
				}
				return v, ok
			}
			for step := range 100_000 {
				k := "key" + strconv.Itoa(rng.IntN(200))
				was, had := live(k)
				switch rng.IntN(12) {
				case 0, 1, 2:
					v, ok := s.Get([]byte(k))
					require.Equal(t, had, ok, step)
					require.Equal(t, was.value, v, step)
				case 3, 4, 5:
					o := SetOptions{If: Condition(rng.IntN(3)), Keep: rng.IntN(3) == 0}
					if rng.IntN(2) == 0 && !o.Keep {
						o.Expire = now + rng.Int64N(50)
					}
					v := strconv.Itoa(rng.IntN(1000))
					prev, err := s.Set([]byte(k), []byte(v), o)
					require.NoError(t, err)
					stored := o.If == Always || had == (o.If == IfPresent)
					require.Equal(t, Previous{Value: was.value, Exists: had, Stored: stored}, prev, step)
					if stored {
						if o.Keep {
							o.Expire = was.expire
						}
						model[k] = modelValue{v, o.Expire}
					}
				case 6:
					require.Equal(t, had, s.Delete([]byte(k)), step)
					delete(model, k)
				case 7:
					delta := rng.Int64N(100) - 50
					sum, err := s.Add([]byte(k), delta)
					require.NoError(t, err)
					n, _ := strconv.ParseInt("0"+was.value, 10, 64)
					if len(was.value) > 0 && was.value[0] == '-' {
						n, _ = strconv.ParseInt(was.value, 10, 64)
					}
					require.Equal(t, n+delta, sum, step)
					model[k] = modelValue{strconv.FormatInt(sum, 10), was.expire}
				case 8:
					at, c := now+rng.Int64N(60)-5, ExpireIf(rng.IntN(16))
					ok := had &&
						!(c&IfNone != 0 && was.expire != 0) && !(c&IfSome != 0 && was.expire == 0) &&
						!(c&IfLater != 0 && (was.expire == 0 || at <= was.expire)) &&
						!(c&IfEarlier != 0 && was.expire != 0 && at >= was.expire)
					require.Equal(t, ok, s.Expire([]byte(k), at, c), step)
					if ok {
						model[k] = modelValue{was.value, at}
					}
				case 9:
					require.Equal(t, had && was.expire != 0, s.Persist([]byte(k)), step)
					if had {
						model[k] = modelValue{was.value, 0}
					}
				case 10:
					at, ok := s.Expiry([]byte(k))
					require.Equal(t, had, ok, step)
					require.Equal(t, was.expire, at, step)
				case 11:
					now += rng.Int64N(3)
					switch rng.IntN(50) {
					case 0:
						s.Flush()
						clear(model)
					case 1:
						s.sweep()
						count := 0
						for k := range model {
							if _, ok := live(k); ok {
								count++
							}
						}
						require.Equal(t, count, s.Len(), step)
					}
				}
			}
			check(t, s)
		})
	}
}

func TestGrowAndShrink(t *testing.T) {
	s := New(Config{Shards: 1})
	key := func(i int) []byte { return strconv.AppendInt(nil, int64(i), 10) }
	const count = 50_000
	for i := range count {
		_, err := s.Set(key(i), key(i), SetOptions{})
		require.NoError(t, err)
	}
	check(t, s)
	for i := range count - 10 {
		require.True(t, s.Delete(key(i)))
	}
	check(t, s)
	require.Less(t, cap(s.shards[0].entries), 1000)
	require.Less(t, len(s.shards[0].buckets), 1000)
	for i := count - 10; i < count; i++ {
		v, ok := s.Get(key(i))
		require.True(t, ok)
		require.Equal(t, string(key(i)), v)
	}
}

func TestMemoryBound(t *testing.T) {
	const bound = 1 << 20
	s := New(Config{MaxMemory: bound, Shards: 4})
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 50_000 {
		k := strconv.Itoa(i)
		_, err := s.Set([]byte(k), make([]byte, rng.IntN(4000)), SetOptions{})
		require.NoError(t, err)
		require.LessOrEqual(t, s.Used(), bound)
		require.True(t, s.Contains([]byte(k)), "what was written last must be there")
	}
	check(t, s)
	require.Greater(t, s.Used(), bound*9/10, "the memory must be used")

	before := s.Stats()
	_, err := s.Set([]byte("key"), make([]byte, bound), SetOptions{})
	require.ErrorIs(t, err, ErrMemory)
	require.Equal(t, before, s.Stats(), "a value that never fits must evict nothing")

	_, err = s.Set([]byte("k"), make([]byte, bound-1-EntryCost), SetOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, s.Len())
	require.Equal(t, bound, s.Used())
	_, err = s.Add([]byte("n"), 1)
	require.NoError(t, err)
	require.Equal(t, 1, s.Len(), "the large one had to go")
	_, err = s.Set([]byte("n"), make([]byte, bound-1-EntryCost), SetOptions{})
	require.NoError(t, err, "a value grows to the bound in its place")
	check(t, s)
}

// What is used stays: with a working set of a quarter of the memory and a stream of keys that are used once, nearly all of it is kept.
func TestEvictionKeepsWhatIsUsed(t *testing.T) {
	const hot = 1000
	value := make([]byte, 100)
	one := cost(8, len(value))
	s := New(Config{MaxMemory: 4 * hot * one})
	hits := 0
	for i := range 20 * hot {
		k := fmt.Appendf(nil, "h%07d", i%hot)
		if _, ok := s.Get(k); ok {
			hits++
		} else {
			_, err := s.Set(k, value, SetOptions{})
			require.NoError(t, err)
		}
		_, err := s.Set(fmt.Appendf(nil, "c%07d", i), value, SetOptions{})
		require.NoError(t, err)
	}
	require.Greater(t, hits, 19*hot*95/100)
}

// The bound is honest: the heap that a full store holds is what the entries are charged, give or take a size class.
func TestEntryCost(t *testing.T) {
	for _, size := range []int{1, 20, 100, 1000} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		const bound = 16 << 20
		s := New(Config{MaxMemory: bound})
		value := make([]byte, size)
		for i := range bound/cost(6, size) + 1000 { // until it is full, and a little more
			_, err := s.Set(strconv.AppendInt(nil, int64(i), 10), value, SetOptions{})
			require.NoError(t, err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		held := int(after.HeapAlloc) - int(before.HeapAlloc)
		t.Logf("values of %d: %d bytes charged, %d on the heap", size, s.Used(), held)
		require.Less(t, held, s.Used()*108/100)
		runtime.KeepAlive(s)
	}
}

func TestExpiryIsExact(t *testing.T) {
	now := int64(5000)
	s := New(Config{Now: func() int64 { return now }})
	_, err := s.Set([]byte("k"), []byte("v"), SetOptions{Expire: 6000})
	require.NoError(t, err)
	now = 5999
	require.True(t, s.Contains([]byte("k")))
	now = 6000
	require.False(t, s.Contains([]byte("k")))
	require.Equal(t, 0, s.Len(), "a read reclaims")
	require.Equal(t, uint64(1), s.Stats().Expired)
	prev, err := s.Set([]byte("k"), []byte("w"), SetOptions{Keep: true})
	require.NoError(t, err)
	require.Equal(t, Previous{Stored: true}, prev)
	at, ok := s.Expiry([]byte("k"))
	require.True(t, ok)
	require.Zero(t, at, "the expiry of a dead value is not kept")
	check(t, s)
}

func TestSweep(t *testing.T) {
	now := int64(1)
	s := New(Config{Shards: 2, Now: func() int64 { return now }})
	const count = 20_000
	for i := range count {
		o := SetOptions{}
		if i%2 == 0 {
			o.Expire = 10
		}
		_, err := s.Set(strconv.AppendInt(nil, int64(i), 10), []byte("v"), o)
		require.NoError(t, err)
	}
	require.Zero(t, s.sweep())
	now = 10
	first := s.sweep()
	require.Positive(t, first)
	require.LessOrEqual(t, first, 2*sweepSize*sweepRounds, "a step is small")
	steps := 1
	for ; s.Len() > count/2; steps++ {
		require.Less(t, steps, 100)
		s.sweep()
		check(t, s)
	}
	t.Logf("%d steps", steps)
	require.Equal(t, uint64(count/2), s.Stats().Expired)
	require.Zero(t, s.Stats().Expiring)
}

func TestRun(t *testing.T) {
	s := New(Config{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	_, err := s.Set([]byte("k"), []byte("v"), SetOptions{Expire: s.Now() + 1})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.Len() == 0 }, 5*time.Second, time.Millisecond)
	cancel()
	<-done
}

// Values are never mixtures of two writes, and the bound holds at every instant, with all methods at once.
func TestConcurrent(t *testing.T) {
	const bound = 256 << 10
	var clock atomic.Int64
	clock.Store(1)
	s := New(Config{MaxMemory: bound, Shards: 4, Now: clock.Load})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for range 20_000 {
				k := strconv.AppendInt(nil, int64(rng.IntN(500)), 10)
				switch rng.IntN(10) {
				case 0, 1, 2, 3:
					if v, ok := s.Get(k); ok && v != "" {
						for i := range len(v) {
							if v[i] != v[0] {
								t.Errorf("a mixture: %q", v)
								return
							}
						}
					}
				case 4, 5, 6, 7:
					o := SetOptions{}
					if rng.IntN(4) == 0 {
						o.Expire = clock.Load() + 5
					}
					v := bytes.Repeat([]byte{'1' + byte(rng.IntN(9))}, rng.IntN(2000))
					if _, err := s.Set(k, v, o); err != nil {
						t.Error(err)
						return
					}
				case 8:
					s.Delete(k)
				case 9:
					clock.Add(1)
					s.sweep()
					if rng.IntN(100) == 0 {
						s.Flush()
					}
				}
				if used := s.Used(); used > bound || used < 0 {
					t.Errorf("%d bytes used", used)
					return
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 5000 {
				if _, err := s.Add([]byte("counter"), 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	check(t, s)
}

func TestAddIsAtomic(t *testing.T) {
	s := New(Config{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if _, err := s.Add([]byte("n"), 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	v, _ := s.Get([]byte("n"))
	require.Equal(t, "8000", v)
}

func TestAdd(t *testing.T) {
	s := New(Config{})
	k := []byte("k")
	for _, c := range []struct {
		value string
		delta int64
		want  int64
		err   error
	}{
		{"10", 1, 11, nil},
		{"-1", 1, 0, nil},
		{"9223372036854775807", 1, 0, ErrOverflow},
		{"-9223372036854775808", -1, 0, ErrOverflow},
		{"-9223372036854775808", math.MaxInt64, -1, nil},
		{"9223372036854775807", math.MinInt64, -1, nil},
		{"9223372036854775808", 0, 0, ErrInteger},
		{"-9223372036854775809", 0, 0, ErrInteger},
		{"99999999999999999999", 0, 0, ErrInteger},
		{"184467440737095516160", 0, 0, ErrInteger},
		{"01", 1, 0, ErrInteger},
		{"-0", 1, 0, ErrInteger},
		{"-", 1, 0, ErrInteger},
		{"", 1, 0, ErrInteger},
		{"+1", 1, 0, ErrInteger},
		{" 1", 1, 0, ErrInteger},
		{"1x", 1, 0, ErrInteger},
	} {
		_, err := s.Set(k, []byte(c.value), SetOptions{})
		require.NoError(t, err)
		sum, err := s.Add(k, c.delta)
		require.ErrorIs(t, err, c.err, c.value)
		require.Equal(t, c.want, sum, c.value)
		if err != nil {
			v, _ := s.Get(k)
			require.Equal(t, c.value, v, "an error changes nothing")
		}
	}
}

func TestAllocations(t *testing.T) {
	s := New(Config{MaxMemory: 1 << 20})
	k, v := []byte("key"), make([]byte, 100)
	set := func() { _, _ = s.Set(k, v, SetOptions{}) }
	set()
	require.Equal(t, 1.0, testing.AllocsPerRun(1000, set))
	require.Zero(t, testing.AllocsPerRun(1000, func() { s.Get(k) }))
	require.Zero(t, testing.AllocsPerRun(1000, func() { s.Expire(k, math.MaxInt64, 0) }))
	i := 0
	var key [8]byte
	insert := func() { // with eviction, once it is full
		i++
		_, _ = s.Set(strconv.AppendInt(key[:0], int64(i), 10), v, SetOptions{})
	}
	for range 50_000 {
		insert()
	}
	require.Equal(t, 1.0, testing.AllocsPerRun(1000, insert))
}

func BenchmarkGet(b *testing.B) {
	s, keys := benchStore()
	for i := 0; b.Loop(); i++ {
		s.Get(keys[i&(len(keys)-1)])
	}
}

func BenchmarkSet(b *testing.B) {
	s, keys := benchStore()
	v := make([]byte, 64)
	for i := 0; b.Loop(); i++ {
		_, _ = s.Set(keys[i&(len(keys)-1)], v, SetOptions{})
	}
}

// benchStore has 65,536 keys, which is beyond most caches.
func benchStore() (*Store, [][]byte) {
	s := New(Config{MaxMemory: 1 << 30})
	keys := make([][]byte, 1<<16)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "key:%012d", i)
		_, _ = s.Set(keys[i], make([]byte, 64), SetOptions{})
	}
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return s, keys
}
