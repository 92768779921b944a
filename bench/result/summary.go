package result

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// A Spread is what several measurements of the same thing come to. N is how many there are; where it is 0, it was not measured.
type Spread struct {
	N                       int
	Median, Least, Greatest float64
}

// SpreadOf returns the spread of values, in any order.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	vs := slices.Sorted(slices.Values(values))
	return Spread{N: len(vs), Median: middle(vs), Least: vs[0], Greatest: vs[len(vs)-1]}
}

// middle is the median of sorted values.
func middle(vs []float64) float64 {
	n := len(vs) / 2
	if len(vs)%2 == 1 {
		return vs[n]
	}
	return (vs[n-1] + vs[n]) / 2
}

// A Figure is a number that a round has. ok is false where it was not measured.
type Figure func(*Round) (value float64, ok bool)

// Achieved is the rate of right replies.
func Achieved(r *Round) (float64, bool) { return r.Achieved, true }

// Offered is the rate of requests that were due. A closed loop has none.
func Offered(r *Round) (float64, bool) { return r.Offered, r.Offered > 0 }

// CPUPerOp is the server's CPU time for each right reply, in microseconds.
func CPUPerOp(r *Round) (float64, bool) {
	return ofServer(func(s *Server) float64 { return s.CPUPerOp })(r)
}

// ServerBusy is how many cores the server kept busy.
func ServerBusy(r *Round) (float64, bool) {
	return ofServer(func(s *Server) float64 { return s.Busy })(r)
}

// RSS is the server's resident memory at the end, in bytes.
func RSS(r *Round) (float64, bool) {
	return ofServer(func(s *Server) float64 { return float64(s.RSS) })(r)
}

// PeakRSS is the most resident memory that the server has had, in bytes.
func PeakRSS(r *Round) (float64, bool) {
	return ofServer(func(s *Server) float64 { return float64(s.PeakRSS) })(r)
}

// Voluntary is how often in a second the server's threads went to sleep.
func Voluntary(r *Round) (float64, bool) {
	return perSecond(func(s *Server) int64 { return s.Voluntary })(r)
}

// Involuntary is how often in a second the server's threads were made to wait for others.
func Involuntary(r *Round) (float64, bool) {
	return perSecond(func(s *Server) int64 { return s.Involuntary })(r)
}

// GeneratorBusy is the part of its threads' time, of 1, in which the generator was at work.
func GeneratorBusy(r *Round) (float64, bool) { return r.Generator.Busy, r.Generator.Threads > 0 }

// OthersBusy is how many cores other processes kept busy.
func OthersBusy(r *Round) (float64, bool) { return r.Others, true }

// LatencyP50 is the median latency in nanoseconds, of one round.
func LatencyP50(r *Round) (float64, bool) { return known(r.Latency.P50) }

// LatencyP90 is a percentile of one round, in nanoseconds.
func LatencyP90(r *Round) (float64, bool) { return known(r.Latency.P90) }

// LatencyP99 is a percentile of one round, in nanoseconds.
func LatencyP99(r *Round) (float64, bool) { return known(r.Latency.P99) }

// LatencyP999 is a percentile of one round, in nanoseconds.
func LatencyP999(r *Round) (float64, bool) { return known(r.Latency.P999) }

// LatencyMax is the longest latency of one round, in nanoseconds.
func LatencyMax(r *Round) (float64, bool) { return known(r.Latency.Max) }

func known(nanos int64) (float64, bool) { return float64(nanos), nanos > 0 }

func ofServer(value func(*Server) float64) Figure {
	return func(r *Round) (float64, bool) {
		if r.Server == nil {
			return 0, false
		}
		return value(r.Server), true
	}
}

func perSecond(count func(*Server) int64) Figure {
	return func(r *Round) (float64, bool) {
		if r.Server == nil || r.Seconds <= 0 {
			return 0, false
		}
		return float64(count(r.Server)) / r.Seconds, true
	}
}

// Spread returns a figure over the rounds.
func (s *Series) Spread(f Figure) Spread {
	var vs []float64
	for _, r := range s.Rounds {
		if v, ok := f(r); ok {
			vs = append(vs, v)
		}
	}
	return SpreadOf(vs)
}

// Find returns the series of a name, or nil.
func (c *Case) Find(name string) *Series {
	for i := range c.Series {
		if c.Series[i].Name == name {
			return &c.Series[i]
		}
	}
	return nil
}

// Ratio returns a series' figure relative to that of the case's reference. Each ratio is taken within a round, since rounds follow each
// other and what disturbs one disturbs all of its series. The reference itself has none.
func (c *Case) Ratio(s *Series, f Figure) Spread {
	ref := c.Find(c.Reference)
	if ref == nil || s.Name == ref.Name {
		return Spread{}
	}
	var vs []float64
	for i := range min(len(s.Rounds), len(ref.Rounds)) {
		a, ok := f(s.Rounds[i])
		b, refOK := f(ref.Rounds[i])
		if ok && refOK && a > 0 && b > 0 {
			vs = append(vs, a/b)
		}
	}
	return SpreadOf(vs)
}

// Merged returns the latencies of all the rounds. exact is false where rounds came without histograms, as those of other generators: then
// each percentile is the median of the rounds', and there are no others.
func (s *Series) Merged() (l Latency, exact bool, err error) {
	if len(s.Rounds) == 1 && s.Rounds[0].Latency.Encoded == "" {
		return s.Rounds[0].Latency, true, nil
	}
	for _, r := range s.Rounds {
		if r.Latency.Encoded == "" && r.Latency.P50 > 0 {
			return s.middleLatency(), false, nil
		}
	}
	h, err := Merge(s.Rounds)
	if err != nil {
		return Latency{}, false, fmt.Errorf("series %s: %w", s.Name, err)
	}
	return Of(h), true, nil
}

func (s *Series) middleLatency() Latency {
	at := func(f Figure) int64 { return int64(s.Spread(f).Median) }
	return Latency{P50: at(LatencyP50), P90: at(LatencyP90), P99: at(LatencyP99), P999: at(LatencyP999),
		P9999: at(func(r *Round) (float64, bool) { return known(r.Latency.P9999) }), Max: at(LatencyMax)}
}

// Syscalls returns the system calls for each right reply, or 0 if they were not counted.
func (s *Series) Syscalls() float64 {
	if s.SyscallsPerOp > 0 {
		return s.SyscallsPerOp
	}
	return s.Spread(func(r *Round) (float64, bool) {
		if r.Server == nil {
			return 0, false
		}
		return r.Server.SyscallsPerOp, r.Server.SyscallsPerOp > 0
	}).Median
}

// An ErrorCount is how many errors there were of a kind.
type ErrorCount struct {
	Kind  string
	Count int64
}

// ErrorCounts adds up the errors of all rounds, the most frequent first, and returns the first one in words.
func (s *Series) ErrorCounts() (counts []ErrorCount, first string) {
	sum := map[string]int64{}
	for _, r := range s.Rounds {
		for kind, n := range r.Errors {
			sum[kind] += n
		}
		first = cmp.Or(first, r.Error)
	}
	for _, kind := range slices.Sorted(maps.Keys(sum)) {
		counts = append(counts, ErrorCount{Kind: kind, Count: sum[kind]})
	}
	slices.SortStableFunc(counts, func(a, b ErrorCount) int { return cmp.Compare(b.Count, a.Count) })
	return counts, first
}
