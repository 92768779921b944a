package result

import "github.com/jedib0t/go-pretty/v6/table"

// Stats is what a server on protoring has counted itself, beginning a moment before the measured time and until its end. The names of the
// numbers are the server's own.
type Stats struct {
	Engine  string           `json:"engine"`  // io_uring or epoll
	Seconds float64          `json:"seconds"` // in which it was counted
	Total   map[string]int64 `json:"total"`   // of all loops
	// Loops has those of each loop, where there are several.
	Loops []map[string]int64 `json:"loops,omitempty"`
}

// A StatsFigure is one of the numbers that say something of how a server on protoring works.
type StatsFigure struct {
	Name, Unit string // "SQEs", "per enter"
	Of         Figure
	Write      func(float64) string
}

// StatsFigures returns them in the order in which they are shown. A request is a right reply of the load: what the server calls a message
// may be several of them, or a part of one.
func StatsFigures() []StatsFigure {
	perRequest := func(name string) Figure {
		return ofStats(func(s *Stats, requests float64) (float64, float64) { return s.count(name), requests })
	}
	perEnter := func(name string) Figure {
		return ofStats(func(s *Stats, _ float64) (float64, float64) { return s.count(name), s.count("Enters") })
	}
	perSecond := func(name string) Figure {
		return ofStats(func(s *Stats, _ float64) (float64, float64) { return s.count(name), s.Seconds })
	}
	return []StatsFigure{
		{"requests", "per enter", ofStats(func(s *Stats, requests float64) (float64, float64) { return requests, s.count("Enters") }), plain},
		{"SQEs", "per enter", perEnter("SQEs"), plain},
		{"CQEs", "per enter", perEnter("CQEs"), plain},
		{"sends", "per request", perRequest("Sends"), plain},
		{"re-arms", "per request", perRequest("Rearms"), plain},
		{"carried", "per request", perRequest("Carried"), Size},
		{"ENOBUFS", "/s", perSecond("NoBufs"), Count},
		{"sleeps", "/s", perSecond("Sleeps"), Count},
		{"held", "of sleeps", ofStats(func(s *Stats, _ float64) (float64, float64) { return s.count("Held"), s.count("Sleeps") }), Percent},
	}
}

func (s *Stats) count(name string) float64 { return float64(s.Total[name]) }

// ofStats is a quotient. Where there is nothing to divide by there is no figure.
func ofStats(quotient func(s *Stats, requests float64) (part, of float64)) Figure {
	return func(r *Round) (float64, bool) {
		if r.Stats == nil {
			return 0, false
		}
		part, of := quotient(r.Stats, r.Achieved*r.Stats.Seconds)
		return part / max(of, 1e-9), of > 0
	}
}

// Stats says whether rounds have what the server has counted, and with which engine.
func (s *Series) Stats() (engine string, ok bool) {
	for _, r := range s.Rounds {
		if r.Stats != nil {
			return r.Stats.Engine, true
		}
	}
	return "", false
}

// plain writes three significant digits, and of what is less than a thousandth only whether it is anything.
func plain(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v > 0 && v < 0.0005: // it would be 0.000
		return "< 0.001"
	}
	return three(v)
}

// A statsRow is a row of the table of what servers have counted themselves.
type statsRow struct {
	name   string
	series *Series
}

// stats writes that table, if there is anything in it.
func (p *page) stats(what string, all []statsRow) {
	columns := []column{{head: what, left: true}}
	for _, f := range StatsFigures() {
		columns = append(columns, column{head: f.Name + "\n" + f.Unit})
	}
	var rows []table.Row
	for _, r := range all {
		if _, ok := r.series.Stats(); !ok {
			continue
		}
		row := table.Row{printable(r.name)}
		for _, f := range StatsFigures() {
			row = append(row, r.series.Spread(f.Of).Text(f.Write))
		}
		rows = append(rows, row)
	}
	if len(rows) > 0 {
		p.line("")
		p.line("  What protoring itself has counted:")
		p.table(columns, rows)
	}
}
