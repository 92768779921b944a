package result

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
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

// InvalidReasons says why rounds are not valid, and which. Reasons that differ in their numbers only are told once.
func (s *Series) InvalidReasons() []string {
	type reason struct {
		text   string
		rounds []string
	}
	byShape := map[string]*reason{}
	var order []*reason
	for i, r := range s.Rounds {
		for _, text := range r.Invalid {
			shape := strings.Map(func(c rune) rune {
				if c >= '0' && c <= '9' || c == '.' {
					return -1
				}
				return c
			}, text)
			if byShape[shape] == nil {
				byShape[shape] = &reason{text: text}
				order = append(order, byShape[shape])
			}
			byShape[shape].rounds = append(byShape[shape].rounds, strconv.Itoa(i+1))
		}
	}
	var out []string
	for _, r := range order {
		switch {
		case len(s.Rounds) == 1:
			out = append(out, r.text)
		case len(r.rounds) == 1:
			out = append(out, fmt.Sprintf("round %s of %d: %s", r.rounds[0], len(s.Rounds), r.text))
		default:
			out = append(out, fmt.Sprintf("rounds %s of %d: %s", strings.Join(r.rounds, ", "), len(s.Rounds), r.text))
		}
	}
	return out
}

// disturbance is how busy other processes may be, in cores, before a reader is told.
const disturbance = 0.05

// Disturbed says in how many of a case's measurements other processes were busy, and with how many cores at most.
func (c *Case) Disturbed() (rounds, of int, most float64) {
	for i := range c.Series {
		for _, r := range c.Series[i].Rounds {
			of++
			if r.Others >= disturbance {
				rounds++
				most = math.Max(most, r.Others)
			}
		}
	}
	return rounds, of, most
}

// Remarks is what a reader must know of a case before its figures: what was left out, what is not valid, errors and notes, in this order.
func (c *Case) Remarks() []Remark {
	var out []Remark
	for i := range c.Series {
		s := &c.Series[i]
		if s.Skipped != "" {
			out = append(out, Remark{Series: s.Name, Kind: RemarkSkipped, Text: s.Skipped})
		}
		for _, text := range s.InvalidReasons() {
			out = append(out, Remark{Series: s.Name, Kind: RemarkInvalid, Text: text})
		}
		if counts, first := s.ErrorCounts(); len(counts) > 0 {
			var kinds []string
			for _, e := range counts {
				kinds = append(kinds, Count(float64(e.Count))+" "+e.Kind)
			}
			text := strings.Join(kinds, ", ")
			if first != "" {
				text += "; the first: " + first
			}
			out = append(out, Remark{Series: s.Name, Kind: RemarkErrors, Text: text})
		}
		if s.Note != "" {
			out = append(out, Remark{Series: s.Name, Kind: RemarkNote, Text: s.Note})
		}
		if _, exact, err := s.Merged(); err == nil && !exact {
			out = append(out, Remark{Series: s.Name, Kind: RemarkNote,
				Text: "its rounds have no histograms that could be added up: percentiles are medians of the rounds'"})
		}
	}
	switch n, of, most := c.Disturbed(); {
	case n > 0 && of == 1:
		out = append(out, Remark{Kind: RemarkNote, Text: fmt.Sprintf("Other processes kept %.2g cores busy.", most)})
	case n > 0:
		out = append(out, Remark{Kind: RemarkNote,
			Text: fmt.Sprintf("Other processes were busy in %d of the %d measurements, with up to %.2g cores.", n, of, most)})
	}
	slices.SortStableFunc(out, func(a, b Remark) int { return cmp.Compare(a.Kind, b.Kind) })
	return out
}

// A Remark is a sentence about a series, or about a whole case where Series is empty.
type Remark struct {
	Series string
	Kind   RemarkKind
	Text   string
}

// RemarkKind says how grave a remark is, the gravest first.
type RemarkKind int

// The kinds of remarks.
const (
	RemarkInvalid RemarkKind = iota
	RemarkErrors
	RemarkSkipped
	RemarkNote
)

// String returns what a remark is headed with.
func (k RemarkKind) String() string {
	return [...]string{"invalid", "errors", "not measured", "note"}[k]
}

// String returns the remark without its kind.
func (r Remark) String() string {
	if r.Series == "" {
		return r.Text
	}
	return r.Series + ": " + r.Text
}
