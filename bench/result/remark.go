package result

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// An invalidity is a reason why rounds are not valid.
type invalidity struct {
	text   string // with the numbers of the first
	least  []float64
	most   []float64
	rounds []int // from 1 on, in the order of the series
}

var number = regexp.MustCompile(`[0-9]+(\.[0-9]+)?`)

// reasons collects those of a series. Reasons that differ in their numbers only are one.
func (s *Series) reasons() (byShape map[string]*invalidity, order []string) {
	byShape = map[string]*invalidity{}
	for i, r := range s.Rounds {
		for _, text := range r.Invalid {
			shape := number.ReplaceAllString(text, "#")
			if byShape[shape] == nil {
				byShape[shape] = &invalidity{text: text}
				order = append(order, shape)
			}
			byShape[shape].add(text, i+1)
		}
	}
	return byShape, order
}

func (r *invalidity) add(text string, round int) {
	for i, digits := range number.FindAllString(text, -1) {
		v, _ := strconv.ParseFloat(digits, 64) // it is a number
		if i == len(r.least) {
			r.least, r.most = append(r.least, v), append(r.most, v)
		}
		r.least[i], r.most[i] = min(r.least[i], v), max(r.most[i], v)
	}
	r.rounds = append(r.rounds, round)
}

// String returns the reason with each number from the least to the greatest.
func (r *invalidity) String() string {
	i := -1
	return number.ReplaceAllStringFunc(r.text, func(digits string) string {
		if i++; r.least[i] == r.most[i] {
			return digits
		}
		return shortest(r.least[i]) + "–" + shortest(r.most[i])
	})
}

// shortest writes a number as a reason has it: without zeros at its end.
func shortest(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// InvalidReasons says why rounds are not valid, and which. Reasons that differ in their numbers only are told once.
func (s *Series) InvalidReasons() (texts []string) {
	for _, m := range s.invalidReasons(nil) {
		texts = append(texts, m.Text)
	}
	return texts
}

// invalidReasons leaves out those whose shape is told elsewhere.
func (s *Series) invalidReasons(told map[string]bool) (out []Remark) {
	byShape, order := s.reasons()
	for _, shape := range order {
		if told[shape] {
			continue
		}
		r := byShape[shape]
		where := ""
		switch {
		case len(s.Rounds) == 1:
		case len(r.rounds) == 1:
			where = fmt.Sprintf("round %d of %d: ", r.rounds[0], len(s.Rounds))
		default:
			where = fmt.Sprintf("rounds %s of %d: ", strings.Trim(strings.ReplaceAll(fmt.Sprint(r.rounds), " ", ", "), "[]"), len(s.Rounds))
		}
		out = append(out, r.remark(s.Name, where))
	}
	return out
}

// sharedReasons returns the reasons that every measured server of a case has, where there are several servers: told of each, they would
// hide what tells servers from one another.
func (c *Case) sharedReasons() (shared map[string]bool, remarks []Remark) {
	var shapes []string
	servers, rounds := 0, 0
	holders := map[string]int{}
	sum := map[string]*invalidity{}
	for i := range c.Series {
		s := &c.Series[i]
		if len(s.Rounds) == 0 {
			continue
		}
		servers++
		rounds += len(s.Rounds)
		byShape, order := s.reasons()
		for _, shape := range order {
			r := byShape[shape]
			if holders[shape]++; sum[shape] == nil {
				sum[shape] = r
				shapes = append(shapes, shape)
				continue
			}
			sum[shape].join(r)
		}
	}
	shared = map[string]bool{}
	if servers < 2 {
		return shared, nil
	}
	for _, shape := range shapes {
		if holders[shape] < servers {
			continue
		}
		shared[shape] = true
		r := sum[shape]
		which := "every round"
		if len(r.rounds) < rounds {
			which = fmt.Sprintf("%d of the %d rounds", len(r.rounds), rounds)
		}
		remarks = append(remarks, r.remark("", "all servers, "+which+": "))
	}
	return shared, remarks
}

// join takes over the numbers and rounds of the same reason of another series.
func (r *invalidity) join(o *invalidity) {
	for i := range r.least {
		r.least[i], r.most[i] = min(r.least[i], o.least[i]), max(r.most[i], o.most[i])
	}
	r.rounds = append(r.rounds, o.rounds...)
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
	shared, all := c.sharedReasons()
	out := all
	for i := range c.Series {
		s := &c.Series[i]
		if s.Skipped != "" {
			out = append(out, Remark{Series: s.Name, Kind: RemarkSkipped, Text: s.Skipped})
		}
		out = append(out, s.invalidReasons(shared)...)
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

	where  string      // what Text begins with
	reason *invalidity // what it goes on with, or nil
}

func (r *invalidity) remark(series, where string) Remark {
	return Remark{Series: series, Kind: RemarkInvalid, Text: where + r.String(), where: where, reason: r}
}

// A RateRemark is a remark about some of the rates of a sweep.
type RateRemark struct {
	Remark
	Rates string // as in "1,000/s to 4,000/s and 16,000/s"
}

// RateRemarks are the remarks of the cases of a sweep, but for notes about a server. A reason that is the same for several rates, or differs in
// its numbers only, is told once. So are equal texts.
func RateRemarks(cases []Case) (out []RateRemark) {
	type key struct {
		series, where, text string
		kind                RemarkKind
	}
	held := map[key][]int{} // positions of the rates
	var rates []string
	var order []key
	first := map[key]Remark{}
	for at, i := range Rising(cases) {
		rates = append(rates, Count(cases[i].Load.Rate)+"/s")
		for _, m := range cases[i].Remarks() {
			if m.Kind == RemarkNote && m.Series != "" {
				continue
			}
			k := key{m.Series, m.where, m.Text, m.Kind}
			if m.reason != nil {
				k.text = number.ReplaceAllString(m.reason.text, "#")
			}
			switch known, ok := first[k]; {
			case !ok:
				order = append(order, k)
				first[k] = m
			case m.reason != nil:
				known.reason.join(m.reason)
				first[k] = known.reason.remark(m.Series, m.where)
			}
			if n := len(held[k]); n == 0 || held[k][n-1] != at {
				held[k] = append(held[k], at)
			}
		}
	}
	for _, k := range order {
		out = append(out, RateRemark{first[k], ranges(rates, held[k])})
	}
	return out
}

// ranges lists the names at rising positions. Three or more that follow each other are told by the first and the last.
func ranges(names []string, at []int) string {
	var parts []string
	for len(at) > 0 {
		n := 1
		for n < len(at) && at[n] == at[0]+n {
			n++
		}
		if n < 3 {
			n = 1
			parts = append(parts, names[at[0]])
		} else {
			parts = append(parts, names[at[0]]+" to "+names[at[n-1]])
		}
		at = at[n:]
	}
	if last := len(parts) - 1; last > 0 {
		return strings.Join(parts[:last], ", ") + " and " + parts[last]
	}
	return parts[0]
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
