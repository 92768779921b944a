package server

import (
	"testing"
	"time"

	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server/internal/enginetest"
	"github.com/stretchr/testify/require"
)

func TestScriptedIdleTimeout(t *testing.T) {
	r, probe := probes(t, enginetest.Config{}, Config{}, ListenConfig{IdleTimeout: time.Minute}, nil)
	busy, idle := r.dial(), r.dial()
	for range 10 {
		r.pass(30 * time.Second)
		busy.Write([]byte("hello\n"))
	}
	require.Equal(t, 1, probe(1).closed)
	require.ErrorIs(t, probe(1).err, ErrIdleTimeout)
	require.True(t, idle.Closed())
	require.Zero(t, probe(0).closed)
	r.pass(59 * time.Second)
	require.Zero(t, probe(0).closed)
	r.pass(1100 * time.Millisecond)
	require.Equal(t, 1, probe(0).closed)
	require.Equal(t, uint64(2), r.stats().TimedOut)
	require.Less(t, r.stats().Turns, uint64(100), "timers do not make turns")
	r.stop()
}

func TestScriptedWriteTimeout(t *testing.T) {
	for _, idle := range []time.Duration{0, 30 * time.Second, 200 * time.Second} {
		r, probe := probes(t, enginetest.Config{}, Config{}, ListenConfig{WriteTimeout: time.Minute, IdleTimeout: idle}, nil)
		slow, stuck := r.dial(), r.dial()
		for _, p := range []*enginetest.Peer{slow, stuck} {
			p.Slow, p.Window = true, 1000
			p.Write(lines(1000, 100))
		}
		start := r.e.Now()
		var closed time.Duration
		for range 400 {
			r.pass(time.Second)
			slow.Read(1) // any progress counts
			if probe(1).closed > 0 && closed == 0 {
				closed = time.Duration(r.e.Now() - start)
			}
		}
		want := time.Minute
		if idle > 0 {
			want = min(want, idle)
		}
		require.GreaterOrEqual(t, closed, want)
		require.LessOrEqual(t, closed, want*2)
		if want == time.Minute {
			require.ErrorIs(t, probe(1).err, ErrWriteTimeout)
		} else {
			require.ErrorIs(t, probe(1).err, ErrIdleTimeout)
		}
		var unsent *reactor.UnsentError
		require.ErrorAs(t, probe(1).err, &unsent)
		require.Equal(t, 100_000-1000, unsent.Bytes, "the kernel has taken a window")
		require.Zero(t, probe(0).closed, "a slow peer lives")
		require.Less(t, r.stats().Turns, uint64(2500), "timers do not make turns")
		r.kill()
	}
}

func TestScriptedWriteTimeoutOffAndIdleOn(t *testing.T) {
	r, probe := probes(t, enginetest.Config{}, Config{}, ListenConfig{WriteTimeout: -1, IdleTimeout: time.Minute, MaxOutbound: 1 << 20}, nil)
	slow := r.dial()
	slow.Slow, slow.Window = true, 1000
	slow.Write(lines(1000, 100))
	for range 300 {
		r.pass(time.Second)
		slow.Read(10)
	}
	require.Zero(t, probe(0).closed, "bytes move")
	r.kill()
}
