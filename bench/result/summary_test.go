package result_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/protoring/protoring/bench/result"
	"github.com/stretchr/testify/require"
)

func TestSpreadOf(t *testing.T) {
	require.Equal(t, result.Spread{}, result.SpreadOf(nil))
	require.Equal(t, result.Spread{N: 3, Median: 2, Least: 1, Greatest: 7}, result.SpreadOf([]float64{7, 1, 2}))
	require.Equal(t, result.Spread{N: 4, Median: 2.5, Least: 1, Greatest: 7}, result.SpreadOf([]float64{7, 1, 2, 3}))
	require.Equal(t, "2.00 [1.00–7.00]", result.SpreadOf([]float64{7, 1, 2}).Ratio())
}

func cost(micros ...float64) (rounds []*result.Round) {
	for _, v := range micros {
		rounds = append(rounds, &result.Round{Server: &result.Server{CPUPerOp: v}})
	}
	return rounds
}

// TestRatioWithinRounds holds ratios to their own round: across rounds these would be anything.
func TestRatioWithinRounds(t *testing.T) {
	c := result.Case{Reference: "theirs", Series: []result.Series{
		{Name: "ours", Rounds: cost(1, 10, 4)}, {Name: "theirs", Rounds: cost(2, 20, 8)}, {Name: "short", Rounds: cost(1)}, {Name: "unknown", Rounds: []*result.Round{{}}},
	}}
	require.Equal(t, result.Spread{N: 3, Median: 0.5, Least: 0.5, Greatest: 0.5}, c.Ratio(&c.Series[0], result.CPUPerOp))
	require.Zero(t, c.Ratio(&c.Series[1], result.CPUPerOp), "the reference has none to itself")
	require.Equal(t, 1, c.Ratio(&c.Series[2], result.CPUPerOp).N)
	require.Zero(t, c.Ratio(&c.Series[3], result.CPUPerOp), "what was not measured is no ratio")
	c.Reference = "gone"
	require.Zero(t, c.Ratio(&c.Series[0], result.CPUPerOp))
}

// TestMergedIsNotAveraged has two rounds whose mean of p99 is far from the p99 of both.
func TestMergedIsNotAveraged(t *testing.T) {
	s := result.Series{}
	for _, tail := range []time.Duration{time.Millisecond, time.Second} {
		h := result.NewHistogram()
		for i := range 1000 {
			v := time.Millisecond
			if i < 15 {
				v = tail
			}
			result.Record(h, int64(v))
		}
		s.Rounds = append(s.Rounds, &result.Round{Latency: result.Of(h)})
	}
	l, exact, err := s.Merged()
	require.NoError(t, err)
	require.True(t, exact)
	require.EqualValues(t, 2000, l.Count)
	require.InEpsilon(t, float64(time.Millisecond), float64(l.P99), 0.01, "15 of 2000 are beyond")
	require.InEpsilon(t, float64(time.Second), float64(l.P999), 0.01)

	s.Rounds[1].Latency = result.Latency{P50: 3e6, P99: 5e6}
	l, exact, err = s.Merged()
	require.NoError(t, err)
	require.False(t, exact, "a round has no histogram")
	require.InEpsilon(t, 2e6, float64(l.P50), 0.01)
	s.Rounds[1].Latency.Encoded = "nonsense"
	_, _, err = s.Merged()
	require.Error(t, err)
}

func TestRemarks(t *testing.T) {
	c := result.Case{Series: []result.Series{
		{Name: "a", Note: "is new", Rounds: []*result.Round{
			{Invalid: []string{"busy for 83 % of the time"}}, {Errors: map[string]int64{"reset": 2}, Error: "boom"}, {Invalid: []string{"busy for 91 % of the time"}, Others: 0.5},
		}},
		{Name: "b", Skipped: "not installed"},
	}}
	var got []string
	for _, m := range c.Remarks() {
		got = append(got, m.Kind.String()+" | "+m.String())
	}
	require.Equal(t, []string{
		"invalid | a: rounds 1, 3 of 3: busy for 83–91 % of the time", "errors | a: 2 reset; the first: boom", "not measured | b: not installed", "note | a: is new",
		"note | Other processes were busy in 1 of the 3 measurements, with up to 0.5 cores.",
	}, got)
}

// What holds for every server is told once: told of each, it would hide what tells them from one another.
func TestRemarksOfAllServers(t *testing.T) {
	const busy, late = "busy for %s %% of the time", "sent 1.5ms or more after"
	rounds := func(invalid ...[]string) (rs []*result.Round) {
		for _, texts := range invalid {
			rs = append(rs, &result.Round{Invalid: texts})
		}
		return rs
	}
	at := func(percent string) string { return fmt.Sprintf(busy, percent) }
	invalid := func(series ...result.Series) (got []string) {
		c := result.Case{Series: series}
		for _, m := range c.Remarks() {
			if m.Kind == result.RemarkInvalid {
				got = append(got, m.String())
			}
		}
		return got
	}
	a := result.Series{Name: "a", Rounds: rounds([]string{at("97")}, []string{at("83.5"), late})}
	b := result.Series{Name: "b", Rounds: rounds([]string{at("91")}, []string{at("99")})}
	some := result.Series{Name: "b", Rounds: rounds(nil, []string{at("99")})}
	none := result.Series{Name: "b", Rounds: rounds(nil, nil)}
	skipped := result.Series{Name: "c", Skipped: "not installed"}
	require.Equal(t, []string{"all servers, every round: " + at("83.5–99"), "a: round 2 of 2: " + late}, invalid(a, b, skipped))
	require.Equal(t, []string{"all servers, 3 of the 4 rounds: " + at("83.5–99"), "a: round 2 of 2: " + late}, invalid(a, some))
	require.Equal(t, []string{"a: rounds 1, 2 of 2: " + at("83.5–97"), "a: round 2 of 2: " + late}, invalid(a, none), "not all")
	require.Equal(t, []string{"a: rounds 1, 2 of 2: " + at("83.5–97"), "a: round 2 of 2: " + late}, invalid(a, skipped), "there is but one")
	one := result.Series{Name: "a", Rounds: a.Rounds[:1]}
	require.Equal(t, []string{"all servers, every round: " + at("91–97")}, invalid(one, result.Series{Name: "b", Rounds: b.Rounds[:1]}))
	require.Equal(t, []string{"a: " + at("97")}, invalid(one, result.Series{Name: "b", Rounds: none.Rounds[:1]}))
}

// What is said of several rates of a sweep is said once.
func TestRateRemarks(t *testing.T) {
	at := func(rate float64, rounds ...*result.Round) result.Case {
		return result.Case{Load: result.Load{Rate: rate}, Series: []result.Series{{Name: "s", Note: "is new", Rounds: rounds}}}
	}
	late := func(us int, others float64) *result.Round {
		return &result.Round{Invalid: []string{fmt.Sprintf("the schedule slipped: sent %dµs late", us)}, Others: others}
	}
	told := func(cases ...result.Case) (got []string) {
		for _, m := range result.RateRemarks(cases) {
			got = append(got, m.Rates+" | "+m.Kind.String()+" | "+m.String())
		}
		return got
	}
	reset := &result.Round{Errors: map[string]int64{"reset": 2}}
	cases := []result.Case{at(1000, late(5, 0)), at(2000, late(9, 0)), at(3000, late(7, 0)), at(4000, reset), at(5000, late(2, 0)), at(6000, reset, late(8, 0), late(9, 0)), at(7000, late(8, 1))}
	require.Equal(t, []string{
		"1,000/s to 3,000/s, 5,000/s and 7,000/s | invalid | s: the schedule slipped: sent 2–9µs late",
		"4,000/s and 6,000/s | errors | s: 2 reset",
		"6,000/s | invalid | s: rounds 2, 3 of 3: the schedule slipped: sent 8–9µs late",
		"7,000/s | note | Other processes kept 1 cores busy.",
	}, told(cases...))
	require.Equal(t, []string{"1,000/s and 2,000/s | invalid | s: the schedule slipped: sent 5–9µs late"}, told(cases[1], cases[0]), "whatever their order")
	require.Empty(t, told(at(1000, &result.Round{})))
}

func TestUnits(t *testing.T) {
	for v, want := range map[float64]string{0: "–", 850: "850 ns", 999.7: "1.00 µs", 12_345: "12.3 µs", 999_600: "1.00 ms", 1_204_000: "1.20 ms", 2e9: "2.00 s", 120e9: "120 s"} {
		require.Equal(t, want, result.Nanos(v), "%v", v)
	}
	for v, want := range map[float64]string{0: "0", 999: "999", 1000: "1,000", 1234567.8: "1,234,568", 0.25: "0.250", -1234: "-1,234"} {
		require.Equal(t, want, result.Count(v), "%v", v)
	}
	for v, want := range map[float64]string{64: "64 B", 16384: "16 KiB", 1 << 20: "1 MiB", 8_441_856: "8.1 MiB", 3 << 29: "1.5 GiB"} {
		require.Equal(t, want, result.Size(v), "%v", v)
	}
}
