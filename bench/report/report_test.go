package report_test

import (
	"bytes"
	"encoding/json"
	"html"
	"regexp"
	"strings"
	"testing"

	"github.com/protoring/protoring/bench/report"
	"github.com/protoring/protoring/bench/result"
	"github.com/protoring/protoring/bench/result/resulttest"
	"github.com/stretchr/testify/require"
)

func write(t *testing.T, r *result.Report) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, report.WriteHTML(&out, r))
	return out.String()
}

// A chart is the data of one, as the page's script reads it.
type chart struct {
	Kind    string
	X       []float64
	Names   []string
	Metrics []struct {
		Name string
		Y    [][]*int64
	}
	Bounds []float64
	Order  [][]int
	Knees  []struct {
		X    float64
		Name string
	}
}

func charts(t *testing.T, page string) (out []chart) {
	t.Helper()
	m := regexp.MustCompile(`(?s)<script type="application/json" id="charts">(.*?)</script>`).FindStringSubmatch(page)
	require.NotNil(t, m)
	require.NoError(t, json.Unmarshal([]byte(m[1]), &out))
	for _, c := range out {
		for _, metric := range c.Metrics {
			require.Len(t, metric.Y, len(c.Names))
			for _, ys := range metric.Y {
				require.Len(t, ys, len(c.X))
			}
		}
		require.IsNonDecreasing(t, c.X)
	}
	return out
}

func TestRun(t *testing.T) {
	r := resulttest.Run(1)
	page := write(t, r)
	l := r.Cases[0].Series[0].Rounds[0].Latency
	for _, want := range []string{"<title>resp at 127.0.0.1:6379</title>", html.EscapeString(r.Command), "AMD EPYC 7763", "Linux 6.18.44", "Retpolines", "20c7b74",
		result.Nanos(float64(l.P50)), result.Nanos(float64(l.P9999)), result.Nanos(float64(l.Max)), "MIT", "Leon Sorokin"} {
		require.Contains(t, page, want)
	}
	cs := charts(t, page)
	require.Len(t, cs, 2)
	require.Equal(t, "percentile", cs[0].Kind)
	ys := cs[0].Metrics[0].Y[0]
	require.EqualValues(t, l.Max, *ys[len(ys)-1], "a line ends with the longest latency")
	require.EqualValues(t, l.P99, *ys[2*32], "x is the logarithm of 1/(1-p)")
	require.InDelta(t, 2, cs[0].X[2*32], 1e-9)
	require.Equal(t, "time", cs[1].Kind)
	require.Len(t, cs[1].Metrics, 4)
	require.Contains(t, page, "Counted by protoring itself")
	require.Contains(t, page, "<td>75 %</td>", "sleeps that were held")
	iv := r.Cases[0].Series[0].Rounds[0].Intervals
	require.Len(t, cs[1].X, len(iv)+1)
	require.EqualValues(t, iv[3].Max, *cs[1].Metrics[3].Y[0][3])
}

func TestComparison(t *testing.T) {
	r := resulttest.Compare(1, 5)
	r.Incomplete = "it was ended early"
	page := write(t, r)
	for _, want := range []string{"This report is not whole", "it was ended early", "may be what limits the rate", "its program is not installed",
		"has not reached 0.95 of the rate of its own example", "3 connection reset, 1 wrong reply", "Other processes were busy",
		r.Cases[0].Ratio(&r.Cases[0].Series[0], result.CPUPerOp).Ratio(), r.Cases[0].Ratio(&r.Cases[0].Series[1], result.LatencyP99).Ratio(), "How to repeat it"} {
		require.Contains(t, page, html.EscapeString(want))
	}
	merged, _, err := r.Cases[0].Series[0].Merged()
	require.NoError(t, err)
	require.Contains(t, page, result.Nanos(float64(merged.P999)), "of all rounds")
	cs := charts(t, page)
	require.Len(t, cs, 2*3)
	require.Equal(t, []float64{2, 4, 6, 8}, cs[1].Bounds, "five rounds of two seconds")
	require.Len(t, cs[0].Names, 4, "without the one that was not measured")
	require.NotContains(t, page, "The knee")
	require.Equal(t, 3, strings.Count(page, "Counted by protoring itself"), "once for each case")
	r.Cases = r.Cases[:1]
	r.Cases[0].Series = r.Cases[0].Series[2:]
	require.NotContains(t, write(t, r), "Counted by protoring itself", "the others count nothing")
}

func TestSweep(t *testing.T) {
	page := write(t, resulttest.Sweep(1))
	require.Contains(t, page, "The knee")
	cs := charts(t, page)
	require.Len(t, cs, 3)
	require.Equal(t, "rate", cs[0].Kind)
	require.Len(t, cs[0].Knees, 1)
	require.InEpsilon(t, 200_000, cs[0].Knees[0].X, 0.001)
	require.Len(t, cs[0].Order[0], 12)
	require.Len(t, cs[1].Names, 12, "a line for each rate")
	require.Equal(t, 1, strings.Count(page, "<b>knee</b>"))

	cs = charts(t, write(t, resulttest.Sweep(1, resulttest.Servers()[:2]...)))
	require.Len(t, cs, 1+2*12)
	require.Equal(t, []string{"protoring-io_uring", "protoring-epoll"}, cs[0].Names)
	require.Len(t, cs[0].Knees, 2)
}

func TestLittle(t *testing.T) {
	for _, r := range []*result.Report{
		{}, {Kind: result.KindRun}, {Kind: result.KindSweep}, {Kind: result.KindCompare, Cases: []result.Case{{}}},
		{Kind: result.KindRun, Cases: []result.Case{{Series: []result.Series{{Name: "s", Rounds: []*result.Round{{}}}}}}},
		{Kind: result.KindSweep, Cases: []result.Case{{Series: []result.Series{{Name: "s", Rounds: []*result.Round{{}}}, {Name: "t", Skipped: "why"}}}}},
		{Kind: result.KindSweep, Cases: []result.Case{{Series: []result.Series{{Name: "s", Skipped: "why"}}}}},
	} {
		charts(t, write(t, r))
	}
	r := resulttest.Run(1)
	r.Cases[0].Series[0].Rounds[0].Latency.Encoded = "nonsense"
	require.ErrorContains(t, report.WriteHTML(&bytes.Buffer{}, r), "a histogram that cannot be read")
}

// hostile has texts that would end a script or begin one, wherever there are any.
func hostile() *result.Report {
	const bad = `</script><script>document.documentElement.dataset.owned="yes"</script><img src=x onerror="document.documentElement.dataset.owned='yes'">` + "\u2028`${1}`'\"&"
	r := resulttest.Compare(1, 2)
	r.Title, r.Command, r.Incomplete = bad, bad, bad
	e := &r.Environment
	e.Host, e.Kernel, e.CPU, e.Governor, e.Mitigations, e.Virtual, e.Go, e.Commit = bad, bad, bad, bad, bad, bad, bad, bad
	e.Versions = map[string]string{bad: bad}
	for i := range r.Cases {
		c := &r.Cases[i]
		c.Name, c.Load.Proto, c.Reference = bad, bad, bad
		for k := range c.Series {
			s := &c.Series[k]
			s.Name, s.Command, s.Note = bad+s.Name, bad, bad
			for _, round := range s.Rounds {
				round.Invalid, round.Errors, round.Error = []string{bad}, map[string]int64{bad: 1}, bad
			}
		}
		c.Series[0].Name = bad
	}
	return r
}

func TestEscaping(t *testing.T) {
	page := write(t, hostile())
	require.NotContains(t, page, "<script>document.documentElement.dataset.owned")
	require.NotContains(t, page, "<img")
	require.Equal(t, 4, strings.Count(page, "<script"))
	require.Equal(t, 4, strings.Count(page, "</script"), "also none in the charting library")
	require.Contains(t, charts(t, page)[0].Names[0], "</script><script>", "the data itself is whole")
}

// TestNoNetwork looks for what a browser would fetch.
func TestNoNetwork(t *testing.T) {
	page := write(t, resulttest.Sweep(1))
	require.NotRegexp(t, `(?i)(src|href|action)\s*=\s*["']?\s*(https?:)?//`, page)
	require.NotRegexp(t, `(?i)url\(|@import|<link|<iframe`, page)
	require.Contains(t, page, "default-src 'none'")
}
