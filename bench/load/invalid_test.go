package load

import (
	"testing"
	"time"

	"github.com/protoring/protoring/bench/result"
	"github.com/stretchr/testify/require"
)

// TestInvalid has the limits beyond which a result tells of the generator.
func TestInvalid(t *testing.T) {
	closed := Config{Conns: 50, Depth: 1}
	open := Config{Conns: 50, Depth: 1, Rate: 1000}
	busy := func(part float64) result.Round {
		return result.Round{Ops: 1000, Generator: result.Generator{Busy: part}}
	}
	late := func(p99 time.Duration) result.Round {
		return result.Round{Ops: 10_000, Seconds: 10, Offered: 1000, Achieved: 1000, Lag: &result.Latency{P99: int64(p99)}, Generator: result.Generator{Busy: 1}}
	}
	issued := func(offered, achieved float64) result.Round {
		r := late(0)
		r.Offered, r.Achieved = offered, achieved
		return r
	}
	for _, c := range []struct {
		name  string
		cfg   Config
		round result.Round
		want  string // "" where it is valid
	}{
		{"busy", closed, busy(0.80), "the generator was busy for 80 % of the time"},
		{"nearly busy", closed, busy(0.79), ""},
		{"busy in an open loop, and in time", open, late(time.Millisecond), ""},
		{"late", open, late(time.Millisecond + 1), "the schedule slipped: 1 % of the requests were sent 1ms or more after they were due"},
		{"issued all", open, issued(999.5, 999.5), ""},
		{"issued too few", open, issued(998, 998), "the generator has issued 998 requests a second where 1000 were to be"},
		{"the server cannot follow", open, issued(1000, 500), ""},
		{"more than was asked for", open, issued(1000, 1020), "give it a longer one"},
		{"nothing", closed, result.Round{}, "no reply came in the measured time"},
	} {
		c.cfg.Threads = 1
		reasons := (&run{cfg: c.cfg}).invalid(&c.round)
		if c.want == "" {
			require.Empty(t, reasons, c.name)
			continue
		}
		require.Len(t, reasons, 1, c.name)
		require.Contains(t, reasons[0], c.want, c.name)
	}
}
