package engine

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestReceive(t *testing.T) {
	kernels(t, func(d *desk) {
		fd, client := d.pair()
		tok := d.token(OpReceive)
		armed := false
		for _, n := range []int{1, 100, 5000, 3 << 20} {
			b := pattern(n)
			go client.Write(b)
			require.True(d, bytes.Equal(b, d.receive(tok, fd, n, &armed)))
		}
		require.NoError(d, client.CloseWrite())
		if !armed {
			d.e.Receive(tok, fd)
		}
		c := d.get(tok)
		require.Zero(d, c.Err)
		require.Zero(d, c.Res)
		require.False(d, c.More)
		d.e.CloseSocket(fd)
	})
}

func TestReceiveReset(t *testing.T) {
	kernels(t, func(d *desk) {
		fd, client, tok := d.armed()
		reset(client)
		c := d.get(tok)
		require.Equal(d, unix.ECONNRESET, c.Err)
		require.False(d, c.More)
		s := MakeToken(tok.Slot(), tok.Generation(), OpSend)
		d.e.Send(s, fd, [][]byte{[]byte("x")}, true)
		require.Equal(d, unix.EPIPE, d.get(s).Err)
		d.e.CloseSocket(fd)
	})
}

func TestNoBuffers(t *testing.T) {
	for _, plain := range []bool{true, false} {
		t.Run(fmt.Sprintf("plain %v", plain), func(t *testing.T) {
			d := newDesk(t, openURing, Options{PlainBuffers: plain, Increment: 16 << 10, MaxReceive: 16 << 10, BufferSize: 4 << 10})
			const conns = 16
			var fds [conns]int
			var toks [conns]Token
			var want, got [conns]int
			for i := range conns {
				fd, client := d.pair()
				fds[i], toks[i], want[i] = fd, d.token(OpReceive), 50_000
				_, err := client.Write(pattern(want[i]))
				require.NoError(d, err)
				client.CloseWrite()
			}
			for i := range conns {
				d.e.Receive(toks[i], fds[i])
			}
			noBufs, ended := 0, 0
			starved := []int{}
			for n := 0; ended < conns; n++ {
				require.Less(d, n, 10_000)
				require.NoError(d, d.e.Wait(time.Second))
				var c Completion
				for d.e.Next(&c) {
					i := int(c.Token.Slot()) - 1
					require.Equal(d, pattern(want[i])[got[i]:got[i]+max(c.Res, 0)], append([]byte{}, c.View...))
					got[i] += len(c.View)
					d.e.Recycle(&c)
					switch {
					case c.Err == unix.ENOBUFS:
						require.False(d, c.More)
						noBufs++
						starved = append(starved, i)
					case c.Err == 0 && c.Res == 0:
						ended++
					default:
						require.Zero(d, c.Err)
						if !c.More {
							starved = append(starved, i)
						}
					}
				}
				k := min(len(starved), d.e.Buffers())
				for _, i := range starved[:k] {
					d.e.Receive(toks[i], fds[i])
				}
				starved = starved[k:]
			}
			require.Equal(d, want, got)
			require.Positive(d, noBufs)
			require.Equal(d, uint64(noBufs), d.e.Counters().NoBufs)
			for _, fd := range fds {
				d.e.CloseSocket(fd)
			}
		})
	}
}

// A connection on which nothing is armed does not end waits, whatever its peer does.
func TestPausedAndReset(t *testing.T) {
	kernels(t, func(d *desk) {
		fd, client, tok := d.armed()
		d.e.Cancel(tok)
		require.Equal(d, unix.ECANCELED, d.get(tok).Err)
		reset(client)
		time.Sleep(5 * time.Millisecond)
		enters := d.e.Counters().Enters
		start := time.Now()
		for time.Since(start) < 100*time.Millisecond {
			require.Zero(d, d.turn(50*time.Millisecond))
		}
		require.Less(d, d.e.Counters().Enters-enters, uint64(12))
		d.e.Receive(tok, fd)
		require.Equal(d, unix.ECONNRESET, d.get(tok).Err)
		d.e.CloseSocket(fd)
	})
}
