package result_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/protoring/protoring/bench/result"
	"github.com/protoring/protoring/bench/result/resulttest"
	"github.com/stretchr/testify/require"
)

// told counts verdicts: those that say something, and those that say that something has changed.
func told(d *result.Difference) (all, changed int) {
	for _, c := range d.Cases {
		for _, f := range c.Changes {
			if f.Verdict != result.Unclear {
				all++
			}
			if f.Verdict == result.Better || f.Verdict == result.Worse {
				changed++
			}
		}
	}
	return all, changed
}

// draw makes a series whose figures are drawn independently from one distribution.
func draw(n int, from func() float64) *result.Report {
	s := result.Series{Name: "s"}
	nanos := func() int64 { return int64(1e5 * from()) }
	for range n {
		s.Rounds = append(s.Rounds, &result.Round{Achieved: 1e5 * from(), Server: &result.Server{CPUPerOp: from(), PeakRSS: nanos()},
			Latency: result.Latency{P50: nanos(), P90: nanos(), P99: nanos(), P999: nanos(), Max: nanos()}})
	}
	return &result.Report{Kind: result.KindCompare, Cases: []result.Case{{Name: "c", Series: []result.Series{s}}}}
}

// TestDiffOfEquals draws both sides from the same distribution, of several shapes: at most about 5 % of the figures may be called changed.
func TestDiffOfEquals(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	shapes := map[string]func() float64{
		"normal":   func() float64 { return 5 + 0.3*rng.NormFloat64() },
		"skewed":   func() float64 { return 5 * math.Exp(0.6*rng.NormFloat64()) },
		"even":     func() float64 { return 4 + rng.Float64() },
		"two ways": func() float64 { return 4 + 3*float64(rng.IntN(2)) + 0.1*rng.Float64() },
		"steps":    func() float64 { return 5 + 0.1*float64(rng.IntN(3)) },
	}
	for name, from := range shapes {
		for _, rounds := range [][2]int{{3, 3}, {3, 5}, {4, 4}, {5, 5}, {10, 10}, {30, 30}} {
			all, changed := 0, 0
			for range 150 {
				d, err := result.Diff(draw(rounds[0], from), draw(rounds[1], from))
				require.NoError(t, err)
				a, c := told(d)
				all, changed = all+a, changed+c
			}
			require.Positive(t, all)
			require.Lessf(t, float64(changed)/float64(all), 0.065, "%s, %d and %d rounds: %d of %d", name, rounds[0], rounds[1], changed, all)
		}
	}
}

// TestDiffOfEqualIntervals has a single round on either side whose intervals drift, as those of a machine do.
func TestDiffOfEqualIntervals(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	round := func() *result.Report {
		r := &result.Round{Seconds: 10}
		drift := 0.0
		for i := range 40 {
			drift = 0.8*drift + 0.6*rng.NormFloat64()
			v := func() int64 { return int64(1e5 * math.Exp(0.05*drift+0.02*rng.NormFloat64())) }
			r.Intervals = append(r.Intervals, result.Interval{At: float64(i) / 4, Ops: v(), P50: v(), P99: v(), P999: v()})
		}
		return &result.Report{Kind: result.KindRun, Cases: []result.Case{{Name: "c", Series: []result.Series{{Name: "s", Rounds: []*result.Round{r}}}}}}
	}
	all, changed := 0, 0
	for range 300 {
		d, err := result.Diff(round(), round())
		require.NoError(t, err)
		require.Equal(t, result.OverIntervals, d.Cases[0].Basis)
		a, c := told(d)
		all, changed = all+a, changed+c
	}
	require.Less(t, float64(changed)/float64(all), 0.05, "%d of %d", changed, all)
	require.Equal(t, 1200, all)
}

func TestDiffFindsChanges(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, rounds := range []int{3, 5, 10} {
		a := draw(rounds, func() float64 { return 5 + 0.05*rng.NormFloat64() })
		b := draw(rounds, func() float64 { return 6 + 0.05*rng.NormFloat64() })
		d, err := result.Diff(a, b)
		require.NoError(t, err)
		require.Equal(t, result.OverRounds, d.Cases[0].Basis)
		require.Equal(t, "CPU per operation", d.Cases[0].Changes[0].Figure, "it comes first")
		for _, c := range d.Cases[0].Changes {
			want := result.Worse
			if c.Figure == "rate" {
				want = result.Better
			}
			require.Equalf(t, want, c.Verdict, "%s with %d rounds", c.Figure, rounds)
			require.InEpsilon(t, 1.2, c.Ratio, 0.05)
		}
	}
	// Intervals of single rounds.
	s := resulttest.Servers()[0]
	a, b := resulttest.Run(1), resulttest.Run(2)
	s.Latency *= 2
	b.Cases[0].Series[0].Rounds[0] = resulttest.Round(rng, s, 20_000, 1e10)
	d, err := result.Diff(a, b)
	require.NoError(t, err)
	verdicts := map[string]result.Verdict{}
	for _, c := range d.Cases[0].Changes {
		verdicts[c.Figure] = c.Verdict
	}
	require.Equal(t, map[string]result.Verdict{"CPU per operation": result.Unclear, "rate": result.Unclear, "p50": result.Worse, "p90": result.Unclear, "p99": result.Worse,
		"p99.9": verdicts["p99.9"], "max": result.Unclear, "peak memory": result.Unclear}, verdicts)
}

// TestDiffOfTheSmallest: rates at which a load was offered differ by nothing that matters, however surely.
func TestDiffOfTheSmallest(t *testing.T) {
	v := 5.0
	a := draw(8, func() float64 { v += 1e-6; return v })
	b := draw(8, func() float64 { v += 1e-6; return v })
	d, err := result.Diff(a, b)
	require.NoError(t, err)
	_, changed := told(d)
	require.Zero(t, changed)
}

func TestDiffMatchesByName(t *testing.T) {
	a, b := resulttest.Compare(1, 3), resulttest.Compare(2, 3)
	a.Cases[0].Name = "old-case"
	a.Cases[1].Series = a.Cases[1].Series[1:]
	b.Cases[1].Series = b.Cases[1].Series[:3]
	b.Cases[2].Load.Conns = 60
	b.Environment.Kernel = "Linux 7.0"
	a.Cases[1].Find("gnet").Rounds[1].Invalid = []string{"the schedule slipped"}
	b.Incomplete = "it was ended early"
	d, err := result.Diff(a, b)
	require.NoError(t, err)
	require.Equal(t, []string{"old-case", "echo-1000, go-net"}, d.OnlyOld)
	require.Equal(t, []string{"echo-1000, protoring-io_uring", "echo-50x1"}, d.OnlyNew)
	require.Len(t, d.Cases, 2+4)
	require.Len(t, d.Warnings, 3)
	require.Contains(t, d.Warnings[0], "another kernel: Linux 6.18.44, now Linux 7.0")
	require.Contains(t, d.Warnings[1], "the newer results are not whole")
	require.Contains(t, d.Warnings[2], "the loads of case echo-50-rate differ")
	var out bytes.Buffer
	require.NoError(t, d.WriteText(&out))
	within(t, out.String())
	require.Contains(t, out.String(), "only in the old: old-case; echo-1000, go-net")
	require.Contains(t, out.String(), "NOTE: the older is not valid: round 2 of 3: the schedule slipped", "what is not valid is told")

	_, err = result.Diff(resulttest.Run(1), resulttest.Compare(1, 1))
	require.ErrorContains(t, err, "no case and series in common")

	// One server on either side, with another address.
	b = resulttest.Run(2)
	b.Cases[0].Load.Addr, b.Cases[0].Series[0].Name = "127.0.0.1:7777", "127.0.0.1:7777"
	d, err = result.Diff(resulttest.Run(1), b)
	require.NoError(t, err)
	require.Len(t, d.Cases, 1)
	require.Empty(t, d.OnlyOld)
	require.Empty(t, d.OnlyNew)
	require.Empty(t, d.Warnings)
}
