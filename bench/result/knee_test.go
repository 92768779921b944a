package result_test

import (
	"testing"
	"time"

	"github.com/protoring/protoring/bench/result"
	"github.com/protoring/protoring/bench/result/resulttest"
	"github.com/stretchr/testify/require"
)

// A step is a rate of a sweep, in thousands, and what came of it.
type step struct {
	rate, achieved float64
	p99            time.Duration
	invalid        bool
}

func sweep(steps ...step) (cases []result.Case) {
	for _, s := range steps {
		h := result.NewHistogram()
		result.Record(h, int64(s.p99))
		r := &result.Round{Offered: s.rate, Achieved: s.achieved, Latency: result.Of(h)}
		if s.invalid {
			r.Invalid = []string{"the schedule slipped"}
		}
		cases = append(cases, result.Case{Load: result.Load{Rate: s.rate}, Series: []result.Series{{Name: "s", Rounds: []*result.Round{r}}}})
	}
	return cases
}

func TestKnee(t *testing.T) {
	const us = time.Microsecond
	for _, tt := range []struct {
		name  string
		steps []step
		at    int
		says  string
		why   []string
	}{
		{"cannot follow", []step{{10, 10, 90 * us, false}, {20, 19.9, 100 * us, false}, {30, 29, 110 * us, false}}, 1,
			"The knee is at 20 requests/s: the highest rate below the first that failed (of which less than 99 % was achieved", []string{"", "", "follows 96.7 %"}},
		{"99 % is followed", []step{{100, 99, 90 * us, false}, {200, 197.9, 90 * us, false}}, 0, "at 100 requests/s: ", []string{"", "follows 99.0 %"}},
		{"too late", []step{{10, 10, 90 * us, false}, {20, 20, 890 * us, false}, {30, 30, 990 * us, false}}, 1, "at 20 requests/s: ", []string{"", "", "p99 × 11"}},
		{"a failed one in between", []step{{10, 10, 90 * us, false}, {20, 12, 90 * us, false}, {30, 30, 95 * us, false}, {40, 30, 95 * us, false}}, 0,
			"But rates up to 30/s have passed again beyond the first that failed, 20/s: ", []string{"", "follows 60.0 %", "above a failed rate", "follows 75.0 %"}},
		{"a late one in between", []step{{10, 10, 90 * us, false}, {20, 20, 990 * us, false}, {30, 30, 95 * us, false}}, 0,
			"But rates up to 30/s have passed again", []string{"", "p99 × 11", "above a failed rate"}},
		{"an invalid one in between", []step{{10, 10, 90 * us, false}, {20, 20, 990 * us, true}, {30, 30, 95 * us, false}, {40, 30, 95 * us, false}}, 2,
			"at 30 requests/s: ", []string{"", "invalid", "", "follows 75.0 %"}},
		{"an invalid one that is not followed", []step{{10, 10, 90 * us, false}, {20, 12, 90 * us, true}, {30, 30, 95 * us, false}}, 0,
			"at 10 requests/s: ", []string{"", "follows 60.0 %", "above a failed rate"}},
		{"the highest is invalid", []step{{10, 10, 90 * us, false}, {20, 20, 90 * us, true}}, 0,
			"at 10 requests/s or beyond: no higher rate has failed, and none has a valid result.", []string{"", "invalid"}},
		{"the lowest is invalid", []step{{10, 10, 9 * us, true}, {20, 20, 100 * us, false}, {30, 30, 300 * us, false}, {40, 30, time.Second, false}}, 2,
			"at 30 requests/s: ", []string{"invalid", "", "", "follows 75.0 %"}},
		{"the lowest has failed", []step{{10, 5, 90 * us, false}, {20, 20, 90 * us, false}}, -1,
			"There is no knee: 10/s has failed already, and no lower rate has passed. But rates up to 20/s", []string{"follows 50.0 %", "above a failed rate"}},
		{"all followed", []step{{10, 10, 90 * us, false}, {20, 20, 90 * us, false}}, 1,
			"The knee is at 20 requests/s or beyond: that is the highest rate that was tried.", []string{"", ""}},
		{"none followed", []step{{10, 5, 90 * us, false}}, -1, "There is no knee: 10/s has failed already", []string{"follows 50.0 %"}},
		{"none valid", []step{{10, 10, 90 * us, true}}, -1, "There is no knee: none of these rates has a valid result.", []string{"invalid"}},
		{"none measured", nil, -1, "There is no knee", []string{}},
		{"in no order", []step{{30, 29, 110 * us, false}, {10, 10, 90 * us, false}, {20, 20, 100 * us, false}}, 2, "at 20 requests/s: ", []string{"follows 96.7 %", "", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, err := result.FindKnee(sweep(tt.steps...), "s")
			require.NoError(t, err)
			require.Equal(t, tt.at, k.Case)
			require.Contains(t, k.Describe(), tt.says)
			require.Equal(t, tt.why, k.Rejected)
			if tt.at >= 0 {
				require.Equal(t, tt.steps[tt.at].rate, k.Rate)
				for i, s := range tt.steps { // below the knee nothing has failed
					require.True(t, s.rate > k.Rate || k.Rejected[i] == "" || s.invalid, "%v", s)
				}
			}
		})
	}
	k, err := result.FindKnee(sweep(step{10, 10, us, false}), "another")
	require.NoError(t, err)
	require.Equal(t, -1, k.Case)
	require.Equal(t, []string{"not measured"}, k.Rejected)
}

func TestIsSweep(t *testing.T) {
	require.True(t, resulttest.Sweep(1).IsSweep())
	require.False(t, resulttest.Run(1).IsSweep())
	require.False(t, resulttest.Compare(1, 1).IsSweep())
	r := resulttest.Sweep(1)
	r.Kind = result.KindCompare
	require.True(t, r.IsSweep(), "its cases differ in nothing but the rate")
	r.Cases[1].Load.Conns++
	require.False(t, r.IsSweep())
	r = resulttest.Sweep(1)
	r.Kind = result.KindCompare
	r.Cases[1].Load.Rate = r.Cases[0].Load.Rate
	require.False(t, r.IsSweep(), "twice the same rate is no sweep")
}
