package store

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"sort"
	"testing"
)

// A trace is a sequence of keys; those from onceKeys on come once.
type trace func() uint32

const onceKeys = 1 << 30

// zipf draws of n keys with probability 1/rank^0.99, as YCSB does.
func zipf(n int, seed uint64) trace {
	sum, cdf := 0.0, make([]float64, n)
	for i := range cdf {
		sum += math.Pow(float64(i+1), -0.99)
		cdf[i] = sum
	}
	r := rand.New(rand.NewPCG(seed, 1))
	return func() uint32 { return uint32(sort.SearchFloat64s(cdf, r.Float64()*sum)) }
}

// polluted has a key that comes once in each fourth place.
func polluted(t trace) trace {
	next, i := uint32(onceKeys), 0
	return func() uint32 {
		if i++; i%4 == 0 {
			next++
			return next
		}
		return t()
	}
}

// A cacheModel says whether a key was there, and has it afterwards.
type cacheModel interface{ access(key uint32) bool }

// storeModel is the Store.
type storeModel struct{ d *DB }

func (m storeModel) access(key uint32) bool {
	var k [16]byte
	var buf [64]byte
	binary.LittleEndian.PutUint32(k[:], key)
	if _, ok := m.d.Get(k[:], buf[:], GetOptions{}); ok {
		return true
	}
	_, _ = m.d.Put(k[:], Bytes(buf[:]), PutOptions{})
	return false
}

// sampledModel is what Redis does: of a few entries the one goes that was not used for longest. With one sample for each entry it
// is true LRU, by a list.
type sampledModel struct {
	size, samples, ops int
	at                 map[uint32]int
	keys               []uint32
	used               []int
}

func (m *sampledModel) access(key uint32) bool {
	m.ops++
	if i, ok := m.at[key]; ok {
		m.used[i] = m.ops
		return true
	}
	i := len(m.keys)
	if i < m.size {
		m.keys, m.used = append(m.keys, 0), append(m.used, 0)
	} else {
		i = rand.IntN(m.size)
		for range m.samples - 1 {
			if j := rand.IntN(m.size); m.used[j] < m.used[i] {
				i = j
			}
		}
		delete(m.at, m.keys[i])
	}
	m.at[key], m.keys[i], m.used[i] = i, key, m.ops
	return false
}

// lruModel is true LRU, by a queue of uses of which those that are not the last of their key are passed over.
type lruModel struct {
	size, ops int
	last      map[uint32]int
	queue     []uint32
	at        []int
}

func (m *lruModel) access(key uint32) bool {
	m.ops++
	_, hit := m.last[key]
	for !hit && len(m.last) >= m.size {
		k, at := m.queue[0], m.at[0]
		m.queue, m.at = m.queue[1:], m.at[1:]
		if m.last[k] == at {
			delete(m.last, k)
		}
	}
	m.last[key] = m.ops
	m.queue, m.at = append(m.queue, key), append(m.at, m.ops)
	return hit
}

// s3Model is S3-FIFO as it was published.
type s3Model struct {
	size                int
	freq                map[uint32]uint8
	ghost               map[uint32]bool
	small, main, ghosts []uint32
}

func (m *s3Model) access(key uint32) bool {
	if f, ok := m.freq[key]; ok {
		m.freq[key] = min(f+1, 3)
		return true
	}
	for len(m.freq) >= m.size {
		m.evict()
	}
	if m.ghost[key] {
		delete(m.ghost, key)
		m.main = append(m.main, key)
	} else {
		m.small = append(m.small, key)
	}
	m.freq[key] = 0
	return false
}

func (m *s3Model) evict() {
	for len(m.small) >= m.size/10 && len(m.small) > 0 {
		k := m.small[0]
		m.small = m.small[1:]
		if m.freq[k] > 1 {
			m.freq[k] = 0
			m.main = append(m.main, k)
			continue
		}
		delete(m.freq, k)
		m.ghost[k] = true
		m.ghosts = append(m.ghosts, k)
		if len(m.ghosts) > m.size*9/10 {
			delete(m.ghost, m.ghosts[0])
			m.ghosts = m.ghosts[1:]
		}
		return
	}
	for len(m.main) > 0 {
		k := m.main[0]
		m.main = m.main[1:]
		if m.freq[k] == 0 {
			delete(m.freq, k)
			return
		}
		m.freq[k]--
		m.main = append(m.main, k)
	}
}

// BenchmarkPolicies measures hit rates, in percent: those of the Store, and of what it might have been.
func BenchmarkPolicies(b *testing.B) {
	const keys, ops = 1_000_000, 3_000_000
	for _, size := range []int{keys / 100, keys / 10} {
		for _, name := range []string{"LRU", "sampled5", "S3-FIFO", "store"} {
			for _, scans := range []bool{false, true} {
				traceName := "zipf"
				if scans {
					traceName = "polluted"
				}
				b.Run(name+"/"+traceName+"/"+string(rune('0'+size*100/keys/10))+string(rune('0'+size*100/keys%10)), func(b *testing.B) {
					for b.Loop() {
						b.ReportMetric(hitRate(newModel(b, name, size), scans, keys, ops), "%hits")
					}
				})
			}
		}
	}
}

func newModel(b *testing.B, name string, size int) cacheModel {
	switch name {
	case "LRU":
		return &lruModel{size: size, last: map[uint32]int{}}
	case "sampled5":
		return &sampledModel{size: size, samples: 5, at: map[uint32]int{}}
	case "S3-FIFO":
		return &s3Model{size: size, freq: map[uint32]uint8{}, ghost: map[uint32]bool{}}
	}
	s := New(Config{MaxMemory: size * cost(headerSize+16+64), Policy: AllKeysLRU})
	b.Cleanup(s.Close)
	return storeModel{s.DB(0)}
}

func hitRate(m cacheModel, scans bool, keys, ops int) float64 {
	next := zipf(keys, 7)
	if scans {
		next = polluted(next)
	}
	hits, reads := 0, 0
	for i := range ops {
		k := next()
		hit := m.access(k)
		if i < ops/3 || k >= onceKeys {
			continue // warming up
		}
		reads++
		if hit {
			hits++
		}
	}
	return 100 * float64(hits) / float64(reads)
}
