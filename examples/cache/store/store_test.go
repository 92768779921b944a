package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func put(t testing.TB, d *DB, key, value string, o PutOptions) PutResult {
	t.Helper()
	r, err := d.Put([]byte(key), Bytes([]byte(value)), o)
	require.NoError(t, err)
	return r
}

func get(d *DB, key string) (string, bool) {
	it, ok := d.Get([]byte(key), nil, GetOptions{})
	defer it.Release()
	return string(it.AppendTo(nil)), ok
}

func TestKeysOfAllLengths(t *testing.T) {
	s := New(Config{})
	defer s.Close()
	d := s.DB(0)
	for _, n := range []int{0, 1, 100, 5000, 9000, MaxKey} {
		for _, size := range []int{0, 1, 3000, 8000, 9000, 100_000} {
			k, v := strings.Repeat("k", n), strings.Repeat("v", size)
			put(t, d, k, v, PutOptions{Flags: 7})
			it, ok := d.Get([]byte(k), nil, GetOptions{})
			require.True(t, ok)
			require.Equal(t, v, string(it.AppendTo(nil)))
			require.Equal(t, uint32(7), it.Flags)
			it.Release()
		}
	}
	check(t, s)
	long := make([]byte, MaxKey+1)
	_, err := d.Put(long, Bytes(nil), PutOptions{})
	require.ErrorIs(t, err, ErrKey)
	_, err = d.Add(long, 1)
	require.ErrorIs(t, err, ErrKey)
	_, ok := d.Get(long, nil, GetOptions{})
	require.False(t, ok)
	for n := range maxInline + 1 {
		_, size := roundUp(n)
		require.GreaterOrEqual(t, size, n)
		require.LessOrEqual(t, size, max(40, n+n/2+8))
	}
}

func TestGrowAndShrink(t *testing.T) {
	s := New(Config{Shards: 1})
	defer s.Close()
	d := s.DB(0)
	const count = 50_000
	for i := range count {
		put(t, d, strconv.Itoa(i), strconv.Itoa(i), PutOptions{})
	}
	check(t, s)
	sh := &d.made()[0]
	require.Greater(t, int(sh.index.n), count/growLoad-1)
	for i := range count - 10 {
		require.True(t, d.Delete([]byte(strconv.Itoa(i))))
	}
	check(t, s)
	require.Less(t, int(sh.index.n), 10)
	for i := count - 10; i < count; i++ {
		v, ok := get(d, strconv.Itoa(i))
		require.True(t, ok)
		require.Equal(t, strconv.Itoa(i), v)
	}
}

func TestMemoryBound(t *testing.T) {
	const bound = 1 << 20
	s := New(Config{MaxMemory: bound, Shards: 4, Policy: AllKeysLRU})
	defer s.Close()
	d := s.DB(0)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 50_000 {
		k := strconv.Itoa(i)
		put(t, d, k, string(make([]byte, rng.IntN(12_000))), PutOptions{})
		require.LessOrEqual(t, s.Used(), bound)
		_, ok := get(d, k)
		require.True(t, ok, "what was written last must be there")
	}
	check(t, s)
	require.Greater(t, s.Used(), bound*9/10, "the memory must be used")

	before := s.Stats().Evicted
	_, err := d.Put([]byte("key"), Bytes(make([]byte, bound)), PutOptions{})
	require.ErrorIs(t, err, ErrMemory)
	require.Equal(t, before, s.Stats().Evicted, "a value that never fits must evict nothing")

	put(t, d, "large", string(make([]byte, bound*7/8)), PutOptions{})
	put(t, d, "large", string(make([]byte, bound*7/8)), PutOptions{})
	require.LessOrEqual(t, s.Used(), bound)
	s.SetMaxMemory(bound / 4)
	s.reclaim()
	require.LessOrEqual(t, s.Used(), bound/4)
	check(t, s)
}

// Eviction reaches other databases and shards.
func TestEvictionAcrossDatabases(t *testing.T) {
	s := New(Config{MaxMemory: 1 << 20, Shards: 8, Databases: 2, Policy: AllKeysLRU})
	defer s.Close()
	for i := range 20_000 {
		put(t, s.DB(0), strconv.Itoa(i), "value", PutOptions{})
	}
	for i := range 20_000 {
		put(t, s.DB(1), strconv.Itoa(i), "value", PutOptions{})
	}
	require.InEpsilon(t, s.DB(1).Len(), s.DB(0).Len(), 0.3)
	put(t, s.DB(1), "large", string(make([]byte, 900_000)), PutOptions{})
	check(t, s)
}

func TestPolicies(t *testing.T) {
	now := int64(1000)
	for _, policy := range []Policy{NoEviction, VolatileLRU, VolatileRandom, VolatileTTL} {
		s := New(Config{MaxMemory: 1 << 20, Shards: 2, Policy: policy, Now: func() int64 { return now }})
		d := s.DB(0)
		stay, i := 0, 0
		for ; s.Used() < 1<<19; i++ {
			put(t, d, strconv.Itoa(i), "value", PutOptions{})
			stay++
		}
		for ; ; i++ {
			_, err := d.Put([]byte(strconv.Itoa(i)), Bytes([]byte("value")), PutOptions{Expire: now + 1000*int64(i)})
			if err != nil {
				require.ErrorIs(t, err, ErrMemory)
				require.Equal(t, NoEviction, policy)
				break
			}
			if policy != NoEviction && i > 20_000 {
				break
			}
		}
		_, err := d.Add([]byte("counter"), 1)
		require.Equal(t, policy == NoEviction, err == ErrMemory)
		require.LessOrEqual(t, s.Used(), 1<<20)
		for i := range stay {
			_, ok := get(d, strconv.Itoa(i))
			require.True(t, ok, "a key without expiry is not evicted")
		}
		if policy == VolatileTTL {
			_, last := get(d, strconv.Itoa(i))
			require.True(t, last)
			sum, n := 0, 0
			for j := stay; j <= i; j++ {
				if _, ok := get(d, strconv.Itoa(j)); ok {
					sum, n = sum+j, n+1
				}
			}
			require.Greater(t, sum/n, (i-n/2)*9/10, "those that expire last stay")
		}
		if policy != NoEviction { // once nothing has an expiry there is nothing to evict
			for err = nil; err == nil; i++ {
				_, err = d.Put([]byte(strconv.Itoa(i)), Bytes([]byte("value")), PutOptions{})
			}
			require.ErrorIs(t, err, ErrMemory)
			require.Zero(t, d.Expiring())
		}
		check(t, s)
		s.Close()
	}
}

// What is used stays: with a working set of a quarter of the memory and a stream of keys that are used once.
func TestEvictionKeepsWhatIsUsed(t *testing.T) {
	const hot = 1000
	value := string(make([]byte, 100))
	s := New(Config{MaxMemory: 4 * hot * cost(headerSize+108), Policy: AllKeysLRU})
	defer s.Close()
	d := s.DB(0)
	hits := 0
	for i := range 20 * hot {
		k := fmt.Sprintf("h%07d", i%hot)
		if _, ok := get(d, k); ok {
			hits++
		} else {
			put(t, d, k, value, PutOptions{})
		}
		put(t, d, fmt.Sprintf("c%07d", i), value, PutOptions{})
	}
	require.Greater(t, hits, 19*hot*95/100)
}

// Of what is never read the oldest goes, and the queue of new entries does not grow with those that are deleted.
func TestEvictionOfWhatIsNotRead(t *testing.T) {
	const bound = 1 << 20
	s := New(Config{MaxMemory: bound, Shards: 4, Policy: AllKeysLRU})
	defer s.Close()
	d := s.DB(0)
	const fit = bound / (48 + entryCost)
	for i := range 3 * fit {
		put(t, d, strconv.Itoa(i), "value", PutOptions{})
	}
	require.Equal(t, fit, d.Len())
	others := 0 // whose hash is like that of one that went early, and which are kept for that
	for i := range 3 * fit {
		_, ok := get(d, strconv.Itoa(i))
		if (i < 19*fit/10 || i > 21*fit/10) && ok != (i > 2*fit) {
			others++
		}
	}
	require.Less(t, others, fit/200)
	for i := range fit {
		d.Delete([]byte(strconv.Itoa(2*fit + i)))
	}
	for i := range 5 * fit {
		put(t, d, strconv.Itoa(i), "value", PutOptions{})
		d.Delete([]byte(strconv.Itoa(i)))
	}
	for i := range d.made() {
		require.LessOrEqual(t, d.made()[i].queue.len, 2*(d.made()[i].index.count+1)+freshSlack)
	}
	check(t, s)
}

func TestExpiryIsExact(t *testing.T) {
	now := int64(5000)
	var gone []string
	s := New(Config{Now: func() int64 { return now }, Removed: func(db int, key []byte, r Reason) {
		gone = append(gone, fmt.Sprint(db, string(key), r))
	}})
	defer s.Close()
	d := s.DB(0)
	put(t, d, "k", "v", PutOptions{Expire: 6000})
	now = 5999
	_, ok := get(d, "k")
	require.True(t, ok)
	s.Notify(true)
	now = 6000
	_, ok = get(d, "k")
	require.False(t, ok)
	require.Equal(t, 0, d.Len(), "a read reclaims")
	require.Equal(t, []string{"0k0"}, gone)
	require.Equal(t, uint64(1), s.Stats().Expired)
	r := put(t, d, "k", "w", PutOptions{KeepTTL: true})
	require.False(t, r.Existed)
	i, ok := d.Info([]byte("k"))
	require.True(t, ok)
	require.Zero(t, i.Expire, "the expiry of a dead value is not kept")
	put(t, d, "k", "w", PutOptions{Expire: math.MaxInt64})
	i, _ = d.Info([]byte("k"))
	require.Equal(t, int64(math.MaxInt64), i.Expire)
	s.ResetStats()
	require.Zero(t, s.Stats().Expired)
	require.Equal(t, 1, s.Stats().Keys)
	check(t, s)
}

func TestIdle(t *testing.T) {
	now := int64(50_000)
	s := New(Config{Now: func() int64 { return now }})
	defer s.Close()
	d := s.DB(0)
	put(t, d, "k", "v", PutOptions{})
	now += 10_000
	it, _ := d.Get([]byte("k"), nil, GetOptions{Quiet: true})
	require.Equal(t, 10*time.Second, it.Idle)
	require.False(t, it.Fetched)
	it, _ = d.Get([]byte("k"), nil, GetOptions{})
	require.Equal(t, 10*time.Second, it.Idle)
	now += 2000
	i, _ := d.Info([]byte("k"))
	require.Equal(t, 2*time.Second, i.Idle)
	require.True(t, i.Fetched)
	require.True(t, d.Touch([]byte("k")))
	i, _ = d.Info([]byte("k"))
	require.Zero(t, i.Idle)
}

func TestVersions(t *testing.T) {
	s := New(Config{Shards: 8})
	defer s.Close()
	d := s.DB(0)
	seen := map[uint64]bool{0: true}
	for round := range 3 {
		for i := range 1000 {
			v := put(t, d, strconv.Itoa(i), "v", PutOptions{}).Version
			require.False(t, seen[v], "round %d", round)
			seen[v] = true
		}
		s.FlushAll()
	}
}

func TestSweep(t *testing.T) {
	now := int64(1)
	s := New(Config{Shards: 2, Now: func() int64 { return now }})
	defer s.Close()
	d := s.DB(0)
	const count = 20_000
	for i := range count {
		put(t, d, strconv.Itoa(i), "v", PutOptions{Expire: int64(i%2) * 5000})
	}
	require.Zero(t, d.sweep(now))
	now = 5000
	s.SetLazy(true)
	s.reclaim()
	require.Equal(t, count/2, d.Expiring())
	s.SetLazy(false)
	steps := 0
	for ; d.Expiring() > 0; steps++ {
		require.Less(t, steps, 100)
		removed := d.sweep(now)
		require.LessOrEqual(t, removed, 2*sweepRounds*(sweepRemoved+3*bucketLen), "a step is small")
		check(t, s)
	}
	t.Logf("%d steps", steps)
	require.Equal(t, count/2, d.Len())
	require.Equal(t, uint64(count/2), s.Stats().Expired)
}

func TestRun(t *testing.T) {
	s := New(Config{})
	defer s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	put(t, s.DB(0), "k", "v", PutOptions{Expire: s.Now() + 50})
	require.Eventually(t, func() bool { return s.DB(0).Len() == 0 }, 5*time.Second, time.Millisecond)
	require.InDelta(t, time.Now().Unix(), int64(s.second()), 2)
	cancel()
	<-done
	require.Zero(t, s.clock.Load())
}

// What the process has is what the store says, whatever became of the sizes: it is filled with small values, which larger ones
// push out, and these again small ones.
func TestResidentFollowsUsed(t *testing.T) {
	if checked {
		t.Skip("the race detector has memory of its own")
	}
	const bound = 64 << 20
	debug.FreeOSMemory()
	before := resident(t)
	s := New(Config{MaxMemory: bound, Policy: AllKeysLRU})
	defer s.Close()
	d := s.DB(0)
	var key [16]byte
	value := make([]byte, 8000)
	rng := rand.New(rand.NewPCG(1, 1))
	n := uint64(0)
	for _, size := range []func() int{
		func() int { return 64 },
		func() int { return 4096 },
		func() int { return 64 },
		func() int { return rng.IntN(300) },
		func() int { return rng.IntN(8000) },
		func() int { return 1000 },
	} {
		for range 3 * bound / (size()/2 + size()/2 + 200) {
			n++
			binary.LittleEndian.PutUint64(key[:], n)
			_, err := d.Put(key[:], Bytes(value[:size()]), PutOptions{})
			require.NoError(t, err)
		}
		for s.arena.trim() {
		}
		debug.FreeOSMemory()
		held := resident(t) - before
		t.Logf("%d entries: charged %.1f MiB, arena %.1f MiB, process %.1f MiB", d.Len(), float64(s.Used())/(1<<20),
			float64(s.Stats().Resident)/(1<<20), float64(held)/(1<<20))
		require.Less(t, held, s.Used()*120/100+4<<20)
		require.Greater(t, s.Used(), bound*95/100)
	}
	check(t, s)
	s.FlushAll()
	require.Zero(t, s.Used())
	for s.arena.trim() {
	}
	require.LessOrEqual(t, s.Stats().Resident, (keptPages+1)<<pageShift, "the memory is given back")
}

func TestAllocations(t *testing.T) {
	s := New(Config{MaxMemory: 8 << 20, Policy: AllKeysLRU})
	defer s.Close()
	d := s.DB(0)
	k, v, buf := []byte("key"), make([]byte, 100), make([]byte, 200)
	require.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = d.Put(k, Bytes(v), PutOptions{}) }))
	require.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = d.Put(k, Join(v, v[:50]), PutOptions{Previous: buf, WantPrevious: true}) }))
	require.Zero(t, testing.AllocsPerRun(1000, func() { d.Get(k, buf, GetOptions{}) }))
	require.Zero(t, testing.AllocsPerRun(1000, func() { d.Expire(k, math.MaxInt64, 0) }))
	require.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = d.Add([]byte("n"), 1) }))
	i := 0
	var key [8]byte
	insert := func() { // with eviction, once it is full
		i++
		_, _ = d.Put(strconv.AppendInt(key[:0], int64(i), 10), Bytes(v), PutOptions{})
	}
	require.Zero(t, testing.AllocsPerRun(50_000, insert), "on average")
	require.Zero(t, testing.AllocsPerRun(50_000, insert), "on average")
	var keys Keys
	d.Scan(0, 100, &keys)
	require.Zero(t, testing.AllocsPerRun(100, func() { keys.Reset(); d.Scan(0, 50, &keys) }))

	blob, large := make([]byte, 20_000), []byte("large")
	require.LessOrEqual(t, testing.AllocsPerRun(1000, func() { _, _ = d.Put(large, Bytes(blob), PutOptions{}) }), 3.0,
		"a Blob, and what points to its chunks; the chunks are used again")
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		it, _ := d.Get(large, nil, GetOptions{})
		it.Release()
	}))
}

func TestRandom(t *testing.T) {
	s := New(Config{})
	defer s.Close()
	d := s.DB(0)
	_, ok := d.Random(nil)
	require.False(t, ok)
	put(t, d, "one", "v", PutOptions{})
	k, ok := d.Random(nil)
	require.True(t, ok)
	require.Equal(t, "one", string(k))
	for i := range 2000 {
		put(t, d, strconv.Itoa(i), "v", PutOptions{})
	}
	count := map[string]int{}
	for range 40_000 {
		k, _ = d.Random(k)
		count[string(k)]++
	}
	require.Greater(t, len(count), 1990)
	for _, n := range count {
		require.Less(t, n, 100)
	}
}

func TestAdd(t *testing.T) {
	s := New(Config{})
	defer s.Close()
	d := s.DB(0)
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
		{"01", 1, 0, ErrInteger},
		{"-0", 1, 0, ErrInteger},
		{"-", 1, 0, ErrInteger},
		{"", 1, 0, ErrInteger},
		{"+1", 1, 0, ErrInteger},
		{" 1", 1, 0, ErrInteger},
		{"1x", 1, 0, ErrInteger},
		{strings.Repeat("1", 10_000), 1, 0, ErrInteger},
	} {
		put(t, d, "k", c.value, PutOptions{Flags: 5, Expire: math.MaxInt64})
		sum, err := d.Add([]byte("k"), c.delta)
		require.ErrorIs(t, err, c.err, c.value)
		require.Equal(t, c.want, sum, c.value)
		i, _ := d.Info([]byte("k"))
		require.Equal(t, uint32(5), i.Flags)
		require.Equal(t, int64(math.MaxInt64), i.Expire)
		if err != nil {
			v, _ := get(d, "k")
			require.Equal(t, c.value, v, "an error changes nothing")
		}
	}
}

func FuzzParseInt(f *testing.F) {
	for _, s := range []string{"0", "-1", "01", "9223372036854775807", "-9223372036854775808", "18446744073709551616"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := strconv.ParseInt(s, 10, 64)
		got, ok := ParseInt(s)
		require.Equal(t, err == nil && strconv.FormatInt(want, 10) == s, ok)
		if ok {
			require.Equal(t, want, got)
		}
	})
}
