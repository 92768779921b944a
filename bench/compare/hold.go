package compare

import (
	"fmt"
	"maps"
	"slices"

	"github.com/protoring/protoring/bench/result"
)

// enough is the part of the rate of its own project's example that a peer must reach, so that it counts.
const enough = 0.95

// hold says of each peer with an example of its own project whether it counts.
func (r *run) hold() {
	for _, example := range slices.Sorted(maps.Keys(r.cfg.Spec.Servers)) {
		srv := r.cfg.Spec.Servers[example]
		if srv.ExampleOf == "" {
			continue
		}
		verdict := r.verdict(srv.ExampleOf, example)
		if verdict == "" {
			continue
		}
		for i := range r.report.Cases {
			if s := series(&r.report.Cases[i], srv.ExampleOf); s != nil {
				note(s, "%s", verdict)
			}
		}
	}
}

// verdict is what the results so far say of a peer; nothing if they say nothing.
func (r *run) verdict(peer, example string) string {
	least, from := 0.0, ""
	skipped := false
	for i := range r.report.Cases {
		c := &r.report.Cases[i]
		p, e := series(c, peer), series(c, example)
		if p == nil || e == nil || c.Load.Rate > 0 { // at a fixed rate all are as fast as that
			continue
		}
		skipped = skipped || e.Skipped != ""
		var ratios []float64
		for k := range min(len(p.Rounds), len(e.Rounds)) {
			if of := e.Rounds[k].Achieved; of > 0 {
				ratios = append(ratios, p.Rounds[k].Achieved/of)
			}
		}
		if len(ratios) == 0 {
			continue
		}
		if m := middle(ratios); from == "" || m < least {
			least, from = m, c.Name
		}
	}
	switch {
	case from == "" && skipped:
		return fmt.Sprintf("not held against %s, an example of its own project, which is skipped", example)
	case from == "":
		return ""
	case least < enough:
		return fmt.Sprintf("does not count: it reaches %.2f of the rate of %s, an example of its own project, in %s; %.2f are wanted",
			least, example, from, enough)
	}
	return fmt.Sprintf("reaches at least %.2f of the rate of %s, an example of its own project", least, example)
}

func series(c *result.Case, name string) *result.Series {
	for i := range c.Series {
		if c.Series[i].Name == name {
			return &c.Series[i]
		}
	}
	return nil
}

func middle(vs []float64) float64 {
	if len(vs) == 0 {
		return 0
	}
	slices.Sort(vs)
	n := len(vs) / 2
	if len(vs)%2 == 1 {
		return vs[n]
	}
	return (vs[n-1] + vs[n]) / 2
}
