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

// A Knee is the highest rate of a sweep at which one can still speak of service, and below which one can at each.
type Knee struct {
	Case int     // the index of its case, or -1: there is none
	Rate float64 // offered, of the load
	// Failed is the first rate that has failed; 0 if none has, so that the real knee may be higher.
	Failed float64
	// Again is the highest rate beyond that one which has passed; 0 if none has. Then the machine was disturbed, or the server is not steady.
	Again float64
	// Last is true when no higher rate was measured.
	Last bool
	// Rejected says of each case by its index why it is not the knee or could not be: "" for those that could.
	Rejected []string
}

// aboveFailed is what is said of a rate that has passed in vain.
const aboveFailed = "above a failed rate"

// FindKnee finds the knee of a series in the cases of a sweep, which may be in any order. It is the highest rate below the first one that
// fails. A rate fails
//
//   - that the server does not follow: the achieved rate is less than 99 % of the offered one (median over the rounds of their ratio), or
//   - whose p99, of all rounds together, is more than 10 times that of the lowest rate that was followed and is valid.
//
// A rate with an invalid round that was followed neither fails nor can be the knee: it tells of the generator, and nothing of the server.
func FindKnee(cases []Case, series string) (Knee, error) {
	k := Knee{Case: -1, Rejected: make([]string, len(cases))}
	var base int64 // the p99 of the lowest rate
	last := -1
	for _, i := range Rising(cases) {
		fail := func(format string, args ...any) {
			k.Rejected[i] = fmt.Sprintf(format, args...)
			if k.Failed == 0 {
				k.Failed = cases[i].Load.Rate
			}
		}
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
			fail("follows %.1f %%", 100*part.Median)
		case slices.ContainsFunc(s.Rounds, func(r *Round) bool { return len(r.Invalid) > 0 }):
			k.Rejected[i] = "invalid"
		case l.P99 <= 0:
			k.Rejected[i] = "no latencies"
		case base > 0 && l.P99 > KneeTimes*base:
			fail("p99 × %.0f", float64(l.P99)/float64(base))
		case k.Failed > 0:
			k.Rejected[i], k.Again = aboveFailed, cases[i].Load.Rate
		default:
			if base == 0 {
				base = l.P99
			}
			k.Case, k.Rate = i, cases[i].Load.Rate
		}
	}
	k.Last = k.Case >= 0 && k.Case == last
	return k, nil
}
