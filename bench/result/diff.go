package result

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// A Difference is what has changed from one report to another, and what is noise.
type Difference struct {
	Old, New         *Report
	Cases            []CaseDifference
	OnlyOld, OnlyNew []string // cases, and series as "case, series", that the other report has not
	// Warnings say what makes the two hard to compare, such as another kernel.
	Warnings []string
}

// A CaseDifference is that of one series under one load.
type CaseDifference struct {
	Case, Series string
	Basis        Basis
	Changes      []Change
	Warnings     []string // about this series alone
}

// Basis says what the spread of figures is taken over.
type Basis string

// The bases of a comparison.
const (
	OverRounds    Basis = "rounds"
	OverIntervals Basis = "intervals" // there are too few rounds: parts of the measured time stand in for them
)

// A Change is one figure before and after.
type Change struct {
	Figure   string
	Old, New Spread
	Ratio    float64 // of the medians, new to old; 0 where there is none
	Verdict  Verdict
	write    func(float64) string
}

// Verdict says what a change is.
type Verdict string

// The verdicts. Where Verdict is Better or Worse the change is real.
const (
	Noise   Verdict = "noise"   // within the spread
	Better  Verdict = "better"  // real
	Worse   Verdict = "worse"   // real
	Unclear Verdict = "unclear" // too few measurements to tell
)

// The rule of what is real. Values are compared by rank (the test of Wilcoxon, Mann and Whitney, in both directions), which knows
// nothing of how values are distributed.
const (
	// fewRounds is the least number of rounds on either side from which a spread can be seen. With fewer, intervals stand in.
	fewRounds = 3
	// roundsLevel is how often equal rounds may be called changed.
	roundsLevel = 0.05
	// intervalsLevel is stricter: neighbouring intervals resemble each other and are worth less than their number. Also the middle halves of
	// the values must not overlap. What differs from one start of a server to the next is not in them at all.
	intervalsLevel = 0.01
	// fewIntervals is the number on either side below which nothing is said.
	fewIntervals = 5
	// leastChange is what is called noise whatever the ranks say: histograms are exact to 0.1 %, and no machine repeats itself better.
	leastChange = 0.005
)

// Diff compares two reports. Cases and series are matched by their names. It is an error if none match.
func Diff(a, b *Report) (*Difference, error) {
	d := &Difference{Old: a, New: b}
	d.Warnings = environmentWarnings(&a.Environment, &b.Environment)
	for _, side := range []struct {
		r    *Report
		name string
	}{{a, "older"}, {b, "newer"}} {
		if side.r.Incomplete != "" {
			d.Warnings = append(d.Warnings, fmt.Sprintf("the %s results are not whole: %s", side.name, side.r.Incomplete))
		}
	}
	for i := range a.Cases {
		ca := &a.Cases[i]
		cb := findCase(b, ca.Name)
		if cb == nil {
			d.OnlyOld = append(d.OnlyOld, ca.Name)
			continue
		}
		if la, lb := withoutAddr(ca.Load), withoutAddr(cb.Load); la != lb {
			d.Warnings = append(d.Warnings, fmt.Sprintf("the loads of case %s differ: %s; now %s", ca.Name, la.Describe(), lb.Describe()))
		}
		single := len(ca.Series) == 1 && len(cb.Series) == 1 && a.Kind != KindCompare && b.Kind != KindCompare
		for k := range ca.Series {
			sa := &ca.Series[k]
			sb := cb.Find(sa.Name)
			if single { // one server that may have another address now
				sb = &cb.Series[0]
			}
			if sb == nil || len(sa.Rounds) == 0 || len(sb.Rounds) == 0 {
				if len(sa.Rounds) > 0 {
					d.OnlyOld = append(d.OnlyOld, ca.Name+", "+sa.Name)
				} else if sb != nil && len(sb.Rounds) > 0 {
					d.OnlyNew = append(d.OnlyNew, ca.Name+", "+sb.Name)
				}
				continue
			}
			d.Cases = append(d.Cases, diffSeries(ca.Name, sa, sb))
		}
		for k := range cb.Series {
			if sb := &cb.Series[k]; !single && ca.Find(sb.Name) == nil && len(sb.Rounds) > 0 {
				d.OnlyNew = append(d.OnlyNew, ca.Name+", "+sb.Name)
			}
		}
	}
	for i := range b.Cases {
		if findCase(a, b.Cases[i].Name) == nil {
			d.OnlyNew = append(d.OnlyNew, b.Cases[i].Name)
		}
	}
	if len(d.Cases) == 0 {
		return nil, errors.New("the two results have no case and series in common: they can only be compared where names are the same")
	}
	return d, nil
}

func findCase(r *Report, name string) *Case {
	for i := range r.Cases {
		if r.Cases[i].Name == name {
			return &r.Cases[i]
		}
	}
	return nil
}

func withoutAddr(l Load) Load {
	l.Addr = ""
	return l
}

func environmentWarnings(a, b *Environment) (out []string) {
	for _, f := range []struct{ what, a, b string }{
		{"host", a.Host, b.Host}, {"CPU", a.CPU, b.CPU}, {"kernel", a.Kernel, b.Kernel}, {"governor", a.Governor, b.Governor},
		{"mitigations", a.Mitigations, b.Mitigations}, {"hypervisor", a.Virtual, b.Virtual}, {"Go", a.Go, b.Go},
		{"servers' CPUs", a.ServerCPUs, b.ServerCPUs}, {"load's CPUs", a.LoadCPUs, b.LoadCPUs},
	} {
		if f.a != f.b && f.a != "" && f.b != "" {
			out = append(out, fmt.Sprintf("another %s: %s, now %s", f.what, f.a, f.b))
		}
	}
	if a.CPUs != b.CPUs && a.CPUs > 0 && b.CPUs > 0 {
		out = append(out, fmt.Sprintf("another number of CPUs: %d, now %d", a.CPUs, b.CPUs))
	}
	return out
}

// A diffFigure is a row of the table.
type diffFigure struct {
	name     string
	of       Figure
	interval func(iv *Interval, seconds float64) float64 // the same of a part of a round; nil if there is none
	write    func(float64) string
	more     bool // more of it is better
}

func diffFigures() []diffFigure {
	return []diffFigure{
		{"CPU per operation", CPUPerOp, nil, Micros, false},
		{"rate", Achieved, func(iv *Interval, seconds float64) float64 { return float64(iv.Ops) / seconds }, Count, true},
		{"p50", LatencyP50, func(iv *Interval, _ float64) float64 { return float64(iv.P50) }, Nanos, false},
		{"p90", LatencyP90, nil, Nanos, false},
		{"p99", LatencyP99, func(iv *Interval, _ float64) float64 { return float64(iv.P99) }, Nanos, false},
		{"p99.9", LatencyP999, func(iv *Interval, _ float64) float64 { return float64(iv.P999) }, Nanos, false},
		{"max", LatencyMax, nil, Nanos, false},
		{"peak memory", PeakRSS, nil, Size, false},
	}
}

func diffSeries(name string, a, b *Series) CaseDifference {
	d := CaseDifference{Case: name, Series: b.Name, Basis: OverRounds}
	if len(a.Rounds) < fewRounds || len(b.Rounds) < fewRounds {
		d.Basis = OverIntervals
	}
	for _, f := range diffFigures() {
		va, vb := values(a, f.of), values(b, f.of)
		rule := rule{len(va) >= fewRounds && len(vb) >= fewRounds, roundsLevel, false}
		if d.Basis == OverIntervals {
			rule = ruleNone
			if ia, ib := intervals(a, f), intervals(b, f); len(ia) > 0 && len(ib) > 0 {
				va, vb = ia, ib
				rule.enough = len(ia) >= fewIntervals && len(ib) >= fewIntervals
			}
		}
		if len(va) == 0 || len(vb) == 0 {
			continue
		}
		c := Change{Figure: f.name, Old: SpreadOf(va), New: SpreadOf(vb), write: f.write}
		if c.Old.Median > 0 {
			c.Ratio = c.New.Median / c.Old.Median
		}
		c.Verdict = rule.judge(va, vb, f.more)
		d.Changes = append(d.Changes, c)
	}
	d.warn(a, b)
	return d
}

// warn says of errors and of what is not valid.
func (d *CaseDifference) warn(a, b *Series) {
	errorsOf := func(s *Series) (n int64) {
		counts, _ := s.ErrorCounts()
		for _, c := range counts {
			n += c.Count
		}
		return n
	}
	if ea, eb := errorsOf(a), errorsOf(b); ea > 0 || eb > 0 {
		d.Warnings = append(d.Warnings, fmt.Sprintf("errors: %s, now %s", Count(float64(ea)), Count(float64(eb))))
	}
	for _, side := range []struct {
		s    *Series
		name string
	}{{a, "older"}, {b, "newer"}} {
		for _, text := range side.s.InvalidReasons() {
			d.Warnings = append(d.Warnings, fmt.Sprintf("the %s is not valid: %s", side.name, text))
		}
	}
}

func values(s *Series, f Figure) (vs []float64) {
	for _, r := range s.Rounds {
		if v, ok := f(r); ok {
			vs = append(vs, v)
		}
	}
	return vs
}

// intervals returns a figure of each interval of all rounds. Those without replies have no latency. In an open loop an interval has the
// requests that were due in it, whenever their replies came: that is no rate of the server's.
func intervals(s *Series, f diffFigure) (vs []float64) {
	if f.interval == nil {
		return nil
	}
	for _, r := range s.Rounds {
		if f.more && r.Offered > 0 {
			return nil
		}
		for i := range r.Intervals {
			length := r.Seconds - r.Intervals[i].At
			if i+1 < len(r.Intervals) {
				length = r.Intervals[i+1].At - r.Intervals[i].At
			}
			if v := f.interval(&r.Intervals[i], length); length > 0 && (v > 0 || f.more) {
				vs = append(vs, v)
			}
		}
	}
	return vs
}

// A rule says when a change is real.
type rule struct {
	enough bool // there are measurements enough for it
	level  float64
	halves bool // the middle halves must lie apart too
}

var ruleNone = rule{false, intervalsLevel, true}

func (r rule) judge(a, b []float64, more bool) Verdict {
	if !r.enough {
		return Unclear
	}
	ma, mb := SpreadOf(a).Median, SpreadOf(b).Median
	changed := math.Abs(mb-ma) > leastChange*math.Abs(ma)
	if r.halves {
		changed = changed && halvesApart(a, b) && rankTest(a, b) <= r.level
	} else {
		changed = changed && (rankTest(a, b) <= r.level || farApart(a, b))
	}
	switch {
	case !changed:
		return Noise
	case mb > ma == more:
		return Better
	}
	return Worse
}

// farApart is for so few values that even the greatest difference in rank is no proof, as with three on either side, which one time in ten
// lie apart by chance. It wants a gap between the ranges that is wider than both of them together.
func farApart(a, b []float64) bool {
	sa, sb := SpreadOf(a), SpreadOf(b)
	gap := max(sa.Least-sb.Greatest, sb.Least-sa.Greatest)
	return gap > sa.Greatest-sa.Least+sb.Greatest-sb.Least
}

func halvesApart(a, b []float64) bool {
	quarters := func(vs []float64) (low, high float64) {
		vs = slices.Sorted(slices.Values(vs))
		return vs[len(vs)/4], vs[len(vs)-1-len(vs)/4]
	}
	lowA, highA := quarters(a)
	lowB, highB := quarters(b)
	return lowA > highB || lowB > highA
}

// exactUpTo is how many values there may be for the exact rank test; beyond, the normal distribution is close enough.
const exactUpTo = 40

// rankTest returns how likely ranks are that differ at least as much as these, if both sides are alike: the rank sum test of Wilcoxon, Mann
// and Whitney in both directions, with the mean rank for equal values.
func rankTest(a, b []float64) float64 {
	ranks, sum := doubledRanks(a, b)
	n, m := len(a), len(b)
	mean := n * (n + m + 1) // of the doubled sum
	off := math.Abs(float64(sum - mean))
	if n+m > exactUpTo {
		var ties float64
		for i := 0; i < len(ranks); {
			k := i
			for k < len(ranks) && ranks[k] == ranks[i] {
				k++
			}
			t := float64(k - i)
			ties += t*t*t - t
			i = k
		}
		all := float64(n + m)
		variance := float64(n) * float64(m) / 12 * (all + 1 - ties/(all*(all-1)))
		if variance <= 0 {
			return 1
		}
		z := max(off/2-0.5, 0) / math.Sqrt(variance)
		return math.Erfc(z / math.Sqrt2)
	}
	// ways[k][s] counts the choices of k ranks that add up to s.
	total := 0
	for _, r := range ranks {
		total += r
	}
	ways := make([][]float64, n+1)
	for k := range ways {
		ways[k] = make([]float64, total+1)
	}
	ways[0][0] = 1
	for _, r := range ranks {
		for k := n; k > 0; k-- {
			for s := total; s >= r; s-- {
				ways[k][s] += ways[k-1][s-r]
			}
		}
	}
	var all, extreme float64
	for s, w := range ways[n] {
		all += w
		if math.Abs(float64(s-mean)) >= off {
			extreme += w
		}
	}
	return extreme / all
}

// doubledRanks returns twice the ranks of all values, in rising order, and the sum of those of a. Twice, so that mean ranks are whole.
func doubledRanks(a, b []float64) (ranks []int, sumA int) {
	type value struct {
		v     float64
		fromA bool
	}
	var vs []value
	for _, v := range a {
		vs = append(vs, value{v, true})
	}
	for _, v := range b {
		vs = append(vs, value{v, false})
	}
	slices.SortFunc(vs, func(x, y value) int {
		switch {
		case x.v < y.v:
			return -1
		case x.v > y.v:
			return 1
		}
		return 0
	})
	for i := 0; i < len(vs); {
		k := i
		for k < len(vs) && vs[k].v == vs[i].v {
			k++
		}
		for _, v := range vs[i:k] {
			ranks = append(ranks, i+1+k) // the mean of i+1 … k, doubled
			if v.fromA {
				sumA += i + 1 + k
			}
		}
		i = k
	}
	return ranks, sumA
}
