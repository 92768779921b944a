package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// benchKeys is beyond all caches but the last.
const benchKeys = 1 << 20

func benchKey(key []byte, i int) []byte {
	key = append(key[:0], "key:0000"...)
	return binary.BigEndian.AppendUint64(key, uint64(i)*0x9E3779B97F4A7C15)
}

func benchStore(b testing.TB, cfg Config, keys int) *Store {
	s := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	b.Cleanup(func() { cancel(); <-done; s.Close() })
	var key []byte
	value := make([]byte, 64)
	for i := range keys {
		key = benchKey(key, i)
		_, err := s.DB(0).Put(key, Bytes(value), PutOptions{})
		require.NoError(b, err)
	}
	return s
}

func BenchmarkGet(b *testing.B) {
	s := benchStore(b, Config{MaxMemory: 1 << 30, Policy: AllKeysLRU}, benchKeys)
	var key, buf []byte
	for i := 0; b.Loop(); i++ {
		key = benchKey(key, i*7919&(benchKeys-1))
		it, _ := s.DB(0).Get(key, buf, GetOptions{})
		buf = it.Bytes()
	}
}

// The same entry again and again: what the code costs, without the memory.
func BenchmarkGetSame(b *testing.B) {
	s := benchStore(b, Config{MaxMemory: 1 << 30, Policy: AllKeysLRU}, benchKeys)
	var buf []byte
	key := benchKey(nil, 1)
	for b.Loop() {
		it, _ := s.DB(0).Get(key, buf, GetOptions{})
		buf = it.Bytes()
	}
}

func BenchmarkPut(b *testing.B) {
	s := benchStore(b, Config{MaxMemory: 1 << 30, Policy: AllKeysLRU}, benchKeys)
	var key []byte
	value := make([]byte, 64)
	for i := 0; b.Loop(); i++ {
		key = benchKey(key, i*7919&(benchKeys-1))
		_, _ = s.DB(0).Put(key, Bytes(value), PutOptions{})
	}
}

// New keys without a bound: with what the table's growth costs.
func BenchmarkPutNew(b *testing.B) {
	s := benchStore(b, Config{}, 0)
	var key []byte
	value := make([]byte, 64)
	for i := 0; b.Loop(); i++ {
		key = benchKey(key, i)
		_, _ = s.DB(0).Put(key, Bytes(value), PutOptions{})
	}
}

// New keys into a store that is full.
func BenchmarkPutEvict(b *testing.B) {
	s := benchStore(b, Config{MaxMemory: 128 << 20, Policy: AllKeysLRU}, benchKeys)
	var key []byte
	value := make([]byte, 64)
	for i := benchKeys; b.Loop(); i++ {
		key = benchKey(key, i)
		_, _ = s.DB(0).Put(key, Bytes(value), PutOptions{})
	}
	require.Positive(b, s.Stats().Evicted)
}

func BenchmarkAdd(b *testing.B) {
	s := benchStore(b, Config{}, 0)
	key := []byte("counter")
	for b.Loop() {
		_, _ = s.DB(0).Add(key, 1)
	}
}

// Two goroutines with keys of their own.
func BenchmarkGetParallel(b *testing.B) {
	s := benchStore(b, Config{MaxMemory: 1 << 30, Policy: AllKeysLRU}, benchKeys)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		var key, buf []byte
		for i := rand.IntN(benchKeys); pb.Next(); i++ {
			key = benchKey(key, i*7919&(benchKeys-1))
			it, _ := s.DB(0).Get(key, buf, GetOptions{})
			buf = it.Bytes()
		}
	})
}

// resident returns the bytes of memory that the process has.
func resident(t testing.TB) int {
	data, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	var size, pages int
	_, err = fmt.Sscan(string(data), &size, &pages)
	require.NoError(t, err)
	return pages * os.Getpagesize()
}

// BenchmarkEntryMemory says what an entry of 16 bytes of key and 64 of value takes of the process's memory, everything included.
func BenchmarkEntryMemory(b *testing.B) {
	const entries = 2 << 20
	for b.Loop() {
		debug.FreeOSMemory()
		before := resident(b)
		s := benchStore(b, Config{MaxMemory: 1 << 30, Policy: AllKeysLRU}, entries)
		debug.FreeOSMemory()
		b.ReportMetric(float64(resident(b)-before)/entries, "rss-B/entry")
		b.ReportMetric(float64(s.Used())/entries, "charged-B/entry")
	}
}

// BenchmarkCollector measures the operations of one goroutine, with ten million entries, without collections and with one each
// 50 ms, and of those that fell into a cycle by themselves.
func BenchmarkCollector(b *testing.B) {
	const entries, ops = 10_000_000, 5_000_000
	const collectEvery = 50 * time.Millisecond
	s := benchStore(b, Config{MaxMemory: 4 << 30, Policy: AllKeysLRU}, entries)
	all, inCycle := make([]time.Duration, 0, ops), make([]time.Duration, 0, ops)
	run := func(collect bool) {
		var collecting atomic.Bool
		var cycles int
		var inCollector time.Duration
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			t := time.NewTicker(collectEvery)
			defer t.Stop()
			for {
				select {
				case <-stop:
					return
				case <-t.C:
				}
				if collect {
					begin := time.Now()
					collecting.Store(true)
					runtime.GC()
					collecting.Store(false)
					inCollector += time.Since(begin)
					cycles++
				}
			}
		}()
		all, inCycle = all[:0], inCycle[:0]
		var key, buf []byte
		value := make([]byte, 64)
		rng := rand.New(rand.NewPCG(1, 1))
		before, start := gcSeconds(), time.Now()
		for i := range ops {
			key = benchKey(key, rng.IntN(entries))
			within := collecting.Load()
			begin := time.Now()
			if i%10 == 0 {
				_, _ = s.DB(0).Put(key, Bytes(value), PutOptions{})
			} else {
				it, _ := s.DB(0).Get(key, buf, GetOptions{})
				buf = it.Bytes()
			}
			took := time.Since(begin)
			all = append(all, took)
			if within {
				inCycle = append(inCycle, took)
			}
		}
		elapsed := time.Since(start)
		close(stop)
		<-done
		b.Logf("collecting %v: %d cycles of %v; %.0f ops/s; the collector took %.2f %% of the CPUs", collect, cycles,
			inCollector/time.Duration(max(cycles, 1)), ops/elapsed.Seconds(),
			100*(gcSeconds()-before)/elapsed.Seconds()/float64(runtime.GOMAXPROCS(0)))
		for _, took := range [][]time.Duration{all, inCycle} {
			if n := len(took); n > 0 {
				slices.Sort(took)
				b.Logf("  %d ops: p50 %v p99 %v p99.9 %v p99.99 %v max %v", n, took[n/2], took[n*99/100],
					took[n*999/1000], took[int(float64(n)*0.9999)], took[n-1])
			}
		}
	}
	for b.Loop() {
		run(false)
		run(true)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.Logf("heap %d MiB, of it %d MiB the test's; resident %d MiB, charged %d MiB", m.HeapAlloc>>20, 2*8*ops>>20,
			resident(b)>>20, s.Used()>>20)
	}
}

// gcSeconds returns the CPU time that the collector took.
func gcSeconds() float64 {
	sample := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}}
	metrics.Read(sample)
	return sample[0].Value.Float64()
}
