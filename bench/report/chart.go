package report

import (
	"cmp"
	"math"
	"slices"

	"github.com/protoring/protoring/bench/result"
)

// A chart is what the script draws. All lines share X; where one has no value there is a null.
type chart struct {
	Kind    chartKind `json:"kind"`
	X       []float64 `json:"x"`
	Names   []string  `json:"names"`
	Metrics []metric  `json:"metrics"`
	Start   int       `json:"start"`            // the metric that is shown first where there are several lines
	Rates   bool      `json:"rates,omitempty"`  // lines are rates in rising order: colours rise with them
	Bounds  []float64 `json:"bounds,omitempty"` // where a round ends and the next begins
	Knees   []mark    `json:"knees,omitempty"`
	Order   [][]int   `json:"order,omitempty"` // of each line: its points in X, as they are joined
}

type chartKind string

const (
	byPercentile chartKind = "percentile" // X is the decimal logarithm of 1/(1-p)
	byTime       chartKind = "time"       // X is in seconds
	byRate       chartKind = "rate"       // X is in replies a second
)

// A metric is one value of every line.
type metric struct {
	Name string `json:"name"`
	Y    [][]y  `json:"y"` // by line; nanoseconds
}

// y is a value, or nil.
type y = *int64

func value(v int64) y {
	if v <= 0 {
		return nil // not measured, and nothing that a logarithm has a place for
	}
	return &v
}

// A mark is a place on the x axis with a word.
type mark struct {
	X    float64 `json:"x"`
	Name string  `json:"name"`
}

// A line is a series in a chart.
type line struct {
	name   string
	series *result.Series
}

func names(lines []line) (out []string) {
	for _, l := range lines {
		out = append(out, l.name)
	}
	return out
}

// perDecade is the number of points by percentile between 0 and 90 %, 90 and 99 %, and so on.
const perDecade = 32

// percentiles returns the chart of latency by percentile, from the histograms of all rounds added up, or nil if there are none. A line ends
// with its longest latency, where what is rarer has not been seen.
func percentiles(lines []line) (*chart, error) {
	c := &chart{Kind: byPercentile, Metrics: []metric{{Name: "latency"}}}
	most := 0
	type curve struct {
		steps  int
		values []int64
		max    int64
	}
	var curves []curve
	var kept []line
	for _, l := range lines {
		h, err := result.Merge(l.series.Rounds)
		if err != nil {
			return nil, err
		}
		if h.TotalCount() == 0 {
			continue
		}
		steps := int(math.Ceil(perDecade * math.Log10(float64(h.TotalCount()))))
		var ps []float64
		for i := range steps {
			ps = append(ps, 100*(1-math.Pow(10, -float64(i)/perDecade)))
		}
		curves = append(curves, curve{steps, h.ValueAtPercentilesSlice(ps), h.Max()})
		kept = append(kept, l)
		most = max(most, steps)
	}
	if len(kept) == 0 {
		return nil, nil
	}
	c.Names = names(kept)
	for i := range most + 1 {
		c.X = append(c.X, math.Round(1e4*float64(i)/perDecade)/1e4)
	}
	for _, k := range curves {
		ys := make([]y, most+1)
		for i, v := range k.values {
			ys[i] = value(v)
		}
		ys[k.steps] = value(k.max)
		c.Metrics[0].Y = append(c.Metrics[0].Y, ys)
	}
	return c, nil
}

// overTime returns the chart of latency over time, or nil if there are no intervals. Rounds follow each other.
func overTime(lines []line) *chart {
	c := &chart{Kind: byTime, Metrics: []metric{{Name: "p50"}, {Name: "p99"}, {Name: "p99.9"}, {Name: "max"}}, Start: 1}
	lines = slices.DeleteFunc(slices.Clone(lines), func(l line) bool {
		return !slices.ContainsFunc(l.series.Rounds, func(r *result.Round) bool { return len(r.Intervals) > 0 })
	})
	if len(lines) == 0 {
		return nil
	}
	c.Names = names(lines)
	type at struct {
		round int
		at    float64
	}
	start := []float64{0} // of each round
	var ats []at
	for round := 0; ; round++ {
		length, more := 0.0, false
		for _, l := range lines {
			if round >= len(l.series.Rounds) {
				continue
			}
			more = true
			r := l.series.Rounds[round]
			length = max(length, r.Seconds)
			for _, iv := range r.Intervals {
				ats = append(ats, at{round, iv.At})
			}
		}
		if !more {
			break
		}
		start = append(start, start[round]+length)
		ats = append(ats, at{round, length}) // no line has a value there, so that rounds are not joined
	}
	slices.SortFunc(ats, func(a, b at) int {
		return cmp.Or(cmp.Compare(a.round, b.round), cmp.Compare(a.at, b.at))
	})
	ats = slices.Compact(ats)
	place := map[at]int{}
	for i, a := range ats {
		place[a] = i
		c.X = append(c.X, math.Round(1e6*(start[a.round]+a.at))/1e6)
	}
	c.Bounds = start[1 : len(start)-1]
	for m := range c.Metrics {
		for _, l := range lines {
			ys := make([]y, len(ats))
			for round, r := range l.series.Rounds {
				for _, iv := range r.Intervals {
					ys[place[at{round, iv.At}]] = value([]int64{iv.P50, iv.P99, iv.P999, iv.Max}[m])
				}
			}
			c.Metrics[m].Y = append(c.Metrics[m].Y, ys)
		}
	}
	return c
}

// curve returns the chart of latency by achieved rate.
func curve(cases []result.Case, names []string) (*chart, error) {
	c := &chart{Kind: byRate, Names: names, Metrics: []metric{{Name: "p50"}, {Name: "p99"}, {Name: "p99.9"}}, Start: 1}
	for i := range cases {
		for k := range cases[i].Series {
			if s := &cases[i].Series[k]; len(s.Rounds) > 0 {
				c.X = append(c.X, s.Spread(result.Achieved).Median)
			}
		}
	}
	slices.Sort(c.X)
	c.X = slices.Compact(c.X)
	for m := range c.Metrics {
		for range names {
			c.Metrics[m].Y = append(c.Metrics[m].Y, make([]y, len(c.X)))
		}
	}
	rising := result.Rising(cases)
	for k, n := range names {
		order := []int{} // not null
		for _, i := range rising {
			s := cases[i].Find(n)
			if s == nil || len(s.Rounds) == 0 {
				continue
			}
			l, _, err := s.Merged()
			if err != nil {
				return nil, err
			}
			x, _ := slices.BinarySearch(c.X, s.Spread(result.Achieved).Median)
			for m, v := range []int64{l.P50, l.P99, l.P999} {
				c.Metrics[m].Y[k][x] = value(v)
			}
			order = append(order, x)
		}
		c.Order = append(c.Order, order)
	}
	return c, nil
}

// scaleRatios fills in the ratios of a table's rows and their pictures, which share a scale that has 1 on it.
func scaleRatios(c *result.Case, rows []row, of func(*row) *cell, f result.Figure) {
	spreads := make([]result.Spread, len(rows))
	low, high := math.Log(0.95), math.Log(1.05) // at least: a picture of nothing should not look like something
	for i := range rows {
		spreads[i] = c.Ratio(c.Find(rows[i].Name), f)
		if spreads[i].N > 0 {
			low, high = min(low, math.Log(spreads[i].Least)), max(high, math.Log(spreads[i].Greatest))
		}
	}
	const margin = 4 // of 100, at either end
	x := func(v float64) float64 {
		return math.Round(10*(margin+(100-2*margin)*(math.Log(v)-low)/(high-low))) / 10
	}
	for i := range rows {
		k := of(&rows[i])
		s := spreads[i]
		k.Text, k.Reference = s.Ratio(), rows[i].IsReference
		switch {
		case k.Reference:
			k.Text = "1"
			k.Range = &whisker{x(1), x(1), x(1), x(1)}
		case s.N > 0:
			k.Range = &whisker{x(s.Least), x(s.Median), x(s.Greatest), x(1)}
		}
	}
}
