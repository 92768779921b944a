package engine

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestSendSegments(t *testing.T) {
	kernels(t, func(d *desk) {
		for _, count := range []int{1, 2, 63, 64, 65, 200} {
			for _, size := range []int{1, 1000, 20_000} {
				fd, client := d.pair()
				tok := d.token(OpSend)
				all := pattern(count * size)
				got := make(chan []byte)
				go func() {
					b, _ := io.ReadAll(client)
					got <- b
				}()
				for rest := all; len(rest) > 0; {
					var segs [][]byte
					for b := rest; len(b) > 0; {
						n := min(size, len(b))
						segs = append(segs, b[:n])
						b = b[n:]
					}
					d.e.Send(tok, fd, segs)
					c := d.get(tok)
					require.Zero(d, c.Err)
					require.Positive(d, c.Res)
					rest = rest[c.Res:]
				}
				d.e.EndOutput(fd)
				require.True(d, bytes.Equal(all, <-got), "%d segments of %d", count, size)
				d.e.CloseSocket(fd)
			}
		}
	})
}

// More than 2^31 bytes through one connection, of one mapping many times over, each send asking for all that is left: no result may
// exceed 32 bits.
func TestSendBeyondOneGiB(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 3 GiB")
	}
	mem, err := unix.Mmap(-1, 0, 512<<20, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Munmap(mem) })
	for _, e := range []int{0, 3} {
		t.Run(engines[e].name, func(t *testing.T) {
			d := newDesk(t, engines[e].open, engines[e].opts)
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			require.NoError(d, err)
			done := make(chan int)
			go func() { // reads without looking
				buf := make([]byte, 1<<20)
				total := 0
				for {
					n, err := unix.Read(pair[1], buf)
					if err == unix.EINTR {
						continue
					}
					if n <= 0 {
						done <- total
						return
					}
					total += n
				}
			}()
			tok := d.token(OpSend)
			const size = 3 << 30
			total := 0
			for total < size {
				var segs [][]byte
				for n := size - total; n > 0; n -= min(n, len(mem)) {
					segs = append(segs, mem[:min(n, len(mem))])
				}
				d.e.Send(tok, pair[0], segs)
				c := d.get(tok)
				require.Zero(d, c.Err)
				require.Positive(d, c.Res)
				require.LessOrEqual(d, c.Res, maxSend)
				total += c.Res
			}
			require.Equal(d, size, total)
			d.e.EndOutput(pair[0])
			require.Equal(d, total, <-done)
			d.e.CloseSocket(pair[0])
			unix.Close(pair[1])
		})
	}
}

func TestProgress(t *testing.T) {
	kernels(t, func(d *desk) {
		fd, client := d.pair()
		tok := d.token(OpSend)
		before := d.e.Progress(fd)
		d.e.Send(tok, fd, [][]byte{pattern(1000)})
		require.Equal(d, 1000, d.get(tok).Res)
		_, err := io.ReadFull(client, make([]byte, 1000))
		require.NoError(d, err)
		require.Eventually(d, func() bool { return d.e.Progress(fd) != before }, time.Second, time.Millisecond)
		d.e.CloseSocket(fd)
	})
}
