package engine

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/protoring/protoring/buffers"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// No wake is lost: each of them is answered before the next, 100,000 times.
func TestWakes(t *testing.T) {
	for _, spin := range []time.Duration{0, 20 * time.Microsecond} {
		for _, e := range []int{0, 3} {
			t.Run(fmt.Sprint(engines[e].name, spin), func(t *testing.T) {
				d := newDesk(t, engines[e].open, Options{Spin: spin})
				var asked, answered atomic.Int64
				n := int64(100_000)
				if testing.Short() || buffers.Checked { // with the race detector each takes much longer
					n /= 10
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					for i := int64(1); i <= n; i++ {
						asked.Store(i)
						d.e.Wake()
						for answered.Load() < i {
							runtime.Gosched()
						}
					}
					asked.Store(-1)
					d.e.Wake()
				})
				for {
					start := d.e.Now()
					require.NoError(d, d.e.Wait(patience)) // a signal may end it early, and nothing but a wake that was lost lets it go to its end
					require.Less(d, time.Duration(d.e.Now()-start), patience, "wake %d was lost", answered.Load()+1)
					var c Completion
					require.False(d, d.e.Next(&c))
					if !d.e.Woken() {
						continue
					}
					a := asked.Load()
					if a < 0 {
						break
					}
					answered.Store(a)
				}
				wg.Wait()
				require.Equal(d, n, answered.Load())
				t.Logf("%d wakes, %+v", n, d.e.Counters())
			})
		}
	}
}

// A storm of signals loses nothing and brings nothing twice.
func TestSignals(t *testing.T) {
	kernels(t, func(d *desk) {
		pid, tid := unix.Getpid(), unix.Gettid()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		defer wg.Wait()
		defer close(stop)
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = unix.Tgkill(pid, tid, unix.SIGURG)
					time.Sleep(20 * time.Microsecond)
				}
			}
		})
		fd, client := d.pair()
		defer client.Close()
		wg.Go(func() { _, _ = io.Copy(client, client) }) // echo
		in, out := d.tokens()
		all := pattern(4 << 20)
		var got []byte
		sent, armed, sending := 0, false, false
		start := time.Now()
		for len(got) < len(all) {
			if !armed {
				d.e.Receive(in, fd)
				armed = true
			}
			if !sending && sent < len(all) {
				n := min(len(all)-sent, 10_000)
				d.e.Send(out, fd, [][]byte{all[sent : sent+n/2], all[sent+n/2 : sent+n]}, true)
				sending = true
			}
			d.turn(time.Second)
			for _, c := range d.done {
				require.Contains(d, []unix.Errno{0, unix.EINTR, unix.ENOBUFS, unix.EAGAIN}, c.Err)
				if c.Token == in {
					armed = c.More
					got = append(got, c.View...)
				} else {
					sending = false
					sent += c.Res
				}
			}
			d.done = d.done[:0]
			require.Less(d, time.Since(start), 20*time.Second)
		}
		require.True(d, bytes.Equal(all, got))
		if armed {
			d.e.Cancel(in)
			d.get(in)
		}
		d.e.CloseSocket(fd)
	})
}

func TestTimeouts(t *testing.T) {
	kernels(t, func(d *desk) {
		for _, timeout := range []time.Duration{0, time.Microsecond, 3 * time.Millisecond, 20 * time.Millisecond} {
			start, waits := d.e.Now(), 0
			for took := time.Duration(0); took < timeout || waits == 0; waits++ { // a signal ends a wait early
				d.turn(timeout - took)
				took = time.Duration(d.e.Now() - start)
				require.Less(d, took, timeout+time.Second)
			}
			require.Less(d, waits, 10)
		}
		d.e.Wake()
		d.turn(-1)
		require.True(d, d.e.Woken())
		require.False(d, d.e.Woken())
		require.True(d, d.e.OnThread())
		off := make(chan bool)
		go func() { off <- d.e.OnThread() }()
		require.False(d, <-off)
	})
}

// Operations that end at once, turn after turn, do not keep epoll from looking at the other descriptors.
func TestEpollLooksAtOthers(t *testing.T) {
	d := newDesk(t, engines[3].open, Options{})
	fd, client := d.pair()
	go func() { _, _ = io.Copy(io.Discard, client) }()
	other, peer := d.pair()
	in, out := d.tokens()
	d.e.Receive(in, other)
	_, _ = peer.Write([]byte("hello"))
	time.Sleep(time.Millisecond)
	for n := 0; ; n++ {
		require.Less(t, n, 5)
		d.e.Send(out, fd, [][]byte{[]byte("x")}, true)
		d.turn(-1)
		seen := false
		for _, c := range d.done {
			seen = seen || c.Token == in
		}
		d.done = d.done[:0]
		if seen {
			break
		}
	}
	d.e.Cancel(in)
	d.get(in)
	d.e.CloseSocket(fd)
	d.e.CloseSocket(other)
}
