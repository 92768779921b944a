package store

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkPauses measures single writes while the table grows, while entries change their size so that pages are emptied, and
// while a store shrinks.
func BenchmarkPauses(b *testing.B) {
	const entries = 1 << 20
	value := make([]byte, 400)
	for b.Loop() {
		s := benchStore(b, Config{MaxMemory: 1 << 30, Policy: AllKeysLRU}, 0)
		var key []byte
		for _, phase := range []struct {
			name string
			do   func(i int) error
		}{
			{"new", func(int) error { _, err := s.DB(0).Put(key, Bytes(value[:64]), PutOptions{}); return err }},
			{"resize", func(i int) error { _, err := s.DB(0).Put(key, Bytes(value[:i%400]), PutOptions{}); return err }},
			{"delete", func(int) error { s.DB(0).Delete(key); return nil }},
		} {
			took := make([]time.Duration, entries)
			for i := range took {
				key = benchKey(key, i)
				begin := time.Now()
				require.NoError(b, phase.do(i))
				took[i] = time.Since(begin)
			}
			slices.Sort(took)
			b.Logf("%s: p50 %v p99 %v p99.9 %v p99.99 %v max %v", phase.name, took[entries/2], took[entries*99/100],
				took[entries*999/1000], took[entries*9999/10000], took[entries-1])
		}
	}
}
