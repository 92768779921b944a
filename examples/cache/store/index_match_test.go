package store

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBucketMatch(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		var b bucket
		few := 1 + rng.IntN(256) // few different ones have many neighbours that are equal, or off by one
		for i := range b.tags {
			b.tags[i] = uint8(rng.IntN(few))
		}
		tag := uint8(rng.IntN(few))
		var want, got []int
		for i, x := range b.tags {
			if x == tag {
				want = append(want, i)
			}
		}
		for i := b.match(tag, 0); i < bucketLen; i = b.match(tag, i+1) {
			got = append(got, i)
		}
		require.Equal(t, want, got, "%v in %v", tag, b.tags)
	}
}
