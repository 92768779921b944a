package uring

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func benchOnRing(b *testing.B, body func(r *Ring)) {
	onThread(b, func() {
		r, err := New(Options{})
		require.NoError(b, err)
		b.ReportAllocs()
		b.ResetTimer()
		body(r)
		b.StopTimer()
		require.NoError(b, r.Close())
	})
}

// BenchmarkEnterNothing is an enter with nothing to do: through RawSyscall6, and through Syscall6, which tells Go's scheduler.
func BenchmarkEnterNothing(b *testing.B) {
	b.Run("raw", func(b *testing.B) {
		benchOnRing(b, func(r *Ring) {
			for range b.N {
				if err := r.Submit(); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("blocking", func(b *testing.B) {
		benchOnRing(b, func(r *Ring) {
			for range b.N {
				if err := r.SubmitAndWait(0, -1); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("blocking with timeout", func(b *testing.B) {
		benchOnRing(b, func(r *Ring) {
			for range b.N {
				if err := r.SubmitAndWait(0, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

// BenchmarkNOP is one operation, from its SQE to its CQE, in batches.
func BenchmarkNOP(b *testing.B) {
	for _, batch := range []int{1, 16, 64} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
			benchOnRing(b, func(r *Ring) {
				for done := 0; done < b.N; done += batch {
					for i := range batch {
						sqe := r.SQE()
						sqe.PrepareNop()
						sqe.UserData = uint64(i)
					}
					if err := r.Submit(); err != nil {
						b.Fatal(err)
					}
					first, second := r.CQEs()
					if len(first)+len(second) != batch {
						b.Fatal(len(first) + len(second))
					}
					r.Seen(batch)
				}
			})
		})
	}
}
