package result

import (
	"cmp"
	"fmt"
	"slices"
)

// The rule of the knee.
const (
	KneeFollowed = 0.99 // of the offered rate, below which a server does not follow
	KneeTimes    = 10   // the p99 of the lowest rate, beyond which a rate does not count
)

// IsSweep says whether the cases are one load at rising rates: those of `bench sweep`, or of a comparison whose cases differ in nothing
// but the rate.
func (r *Report) IsSweep() bool {
	if r.Kind == KindSweep {
		return len(r.Cases) > 0
	}
	if len(r.Cases) < 2 {
		return false
	}
	rates := map[float64]bool{}
	first := r.Cases[0].Load
	for _, c := range r.Cases {
		l := c.Load
		if l.Rate <= 0 || rates[l.Rate] {
			return false
		}
		rates[l.Rate] = true
		if l.Rate = first.Rate; l != first {
			return false
		}
	}
	return true
}

// Rising returns the indices of cases by rising offered rate.
func Rising(cases []Case) []int {
	order := make([]int, len(cases))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(cases[a].Load.Rate, cases[b].Load.Rate) })
	return order
}

// A Knee is the highest rate of a sweep at which one can still speak of service.
type Knee struct {
	Case int     // the index of its case, or -1: there is none
	Rate float64 // offered, of the load
	// Beyond is true when no higher rate was tried, so that the real knee may be higher.
	Beyond bool
	// Rejected says of each case by its index why it is not the knee or could not be: "" for those that could.
	Rejected []string
}

// FindKnee finds the knee of a series in the cases of a sweep, which may be in any order. It is the highest offered rate
//
//   - that the server follows: the achieved rate is at least 99 % of the offered one (median over the rounds of their ratio),
//   - of which no round is invalid, and
//   - whose p99, of all rounds together, is at most 10 times that of the lowest rate for which the first two hold.
//
// A lower rate that does not pass is passed over: it may have been disturbed, and the higher one has shown what the server can do.
func FindKnee(cases []Case, series string) (Knee, error) {
	k := Knee{Case: -1, Rejected: make([]string, len(cases))}
	var base int64 // the p99 of the lowest rate
	last := -1
	for _, i := range Rising(cases) {
		s := cases[i].Find(series)
		if s == nil || len(s.Rounds) == 0 {
			k.Rejected[i] = "not measured"
			continue
		}
		last = i
		l, _, err := s.Merged()
		if err != nil {
			return k, err
		}
		part := s.Spread(func(r *Round) (float64, bool) {
			offered := cmp.Or(r.Offered, cases[i].Load.Rate)
			return r.Achieved / offered, offered > 0
		})
		switch {
		case part.N == 0:
			k.Rejected[i] = "no rate offered"
		case part.Median < KneeFollowed:
			k.Rejected[i] = fmt.Sprintf("follows %.1f %%", 100*part.Median)
		case slices.ContainsFunc(s.Rounds, func(r *Round) bool { return len(r.Invalid) > 0 }):
			k.Rejected[i] = "invalid"
		case l.P99 <= 0:
			k.Rejected[i] = "no latencies"
		case base > 0 && l.P99 > KneeTimes*base:
			k.Rejected[i] = fmt.Sprintf("p99 × %.0f", float64(l.P99)/float64(base))
		default:
			if base == 0 {
				base = l.P99
			}
			k.Case, k.Rate = i, cases[i].Load.Rate
		}
	}
	k.Beyond = k.Case >= 0 && k.Case == last
	return k, nil
}
