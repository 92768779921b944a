package report

import (
	"cmp"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"

	"github.com/protoring/protoring/bench/result"
)

// A page is what the template shows.
type page struct {
	*result.Report
	Version      string // of the results, for the foot
	When         string
	Facts        []fact
	Knees        []knee
	Curve        *figure // of a sweep
	Overview     []overview
	Groups       []group
	Commands     []command // that started the servers
	Charts       []chart
	Licence      string
	Library      template.JS
	Script       template.JS
	LibraryStyle template.CSS
	Style        template.CSS
}

// A fact is a line of the environment.
type fact struct{ Name, Value string }

type command struct{ Server, Command string }

// A figure is where the page draws a chart.
type figure struct {
	Chart   int // in Charts
	Title   string
	Caption string
}

type knee struct {
	Series, Rate, Text string
	P50, P99           string
	Found              bool
}

// An overview is a figure of all servers in all cases, relative to the reference of each.
type overview struct {
	Title, Note string
	Series      []string
	Rows        []overviewRow
}

type overviewRow struct {
	Case, ID, Reference string
	Cells               []cell
}

// A cell is a ratio with its spread, in words and as a picture.
type cell struct {
	Text      string
	Reference bool
	Range     *whisker
}

// A whisker is the picture of a ratio: x from 0 to 100, on a logarithmic scale that all whiskers of a table share.
type whisker struct{ Least, Median, Greatest, One float64 }

// A group is a table with its charts: the servers of a case, or the rates of a sweep.
type group struct {
	ID, Name, Load string
	First          string // what its rows are
	Reference      string
	Remarks        []remark
	Rows           []row
	Marks          bool     // rows have any
	Several        bool     // rounds
	Counted        []string // what protoring has counted itself: headings, if a row has any of it
	Offered        bool
	Figures        []figure
}

type remark struct {
	Kind, Label, Text string
}

type row struct {
	Name, Mark        string
	Knee, IsReference bool

	CPU, Offered, Achieved         string
	CPURatio, RateRatio, TailRatio cell

	Mean, P50, P90, P99, P999, P9999, Max string

	Counted []string

	ServerBusy, Syscalls, RSS, PeakRSS, Voluntary, Involuntary, GeneratorBusy, Others, Errors, Rounds string
}

func newPage(r *result.Report) (*page, error) {
	p := &page{Report: r, Version: fmt.Sprint(r.Version), Facts: facts(r)}
	if !r.Time.IsZero() {
		p.When = r.Time.UTC().Format("2 January 2006, 15:04 UTC")
	}
	sweep := r.IsSweep()
	names := result.SeriesNames(r.Cases)
	if sweep {
		if err := p.sweep(names); err != nil {
			return nil, err
		}
	}
	if !sweep || len(names) > 1 {
		if len(r.Cases) > 1 {
			p.overview(names)
		}
		for i := range r.Cases {
			if err := p.group(i); err != nil {
				return nil, err
			}
		}
	}
	seen := map[string]bool{}
	for _, c := range r.Cases {
		for _, s := range c.Series {
			if s.Command != "" && !seen[s.Name] {
				seen[s.Name] = true
				p.Commands = append(p.Commands, command{s.Name, s.Command})
			}
		}
	}
	return p, nil
}

func facts(r *result.Report) []fact {
	e := &r.Environment
	var fs []fact
	add := func(name, value string) {
		if value != "" {
			fs = append(fs, fact{name, value})
		}
	}
	cpus := e.CPU
	if e.CPUs > 0 {
		cpus = strings.TrimPrefix(e.CPU+", "+result.Plural(e.CPUs, "CPU"), ", ")
	}
	add("CPU", cpus)
	add("Governor", e.Governor)
	add("Hypervisor", e.Virtual)
	if e.Memory > 0 {
		add("Memory", result.Size(float64(e.Memory)))
	}
	add("Kernel", e.Kernel)
	add("Mitigations", e.Mitigations)
	add("Go", e.Go)
	add("Commit", e.Commit)
	add("Host", e.Host)
	add("Servers on CPU", e.ServerCPUs)
	add("Load on CPU", e.LoadCPUs)
	for _, n := range slices.Sorted(maps.Keys(e.Versions)) {
		add(n, e.Versions[n])
	}
	return fs
}

// sweep adds the curve, the knees and, where there is one server only, a table of its rates.
func (p *page) sweep(names []string) error {
	c, err := curve(p.Cases, names)
	if err != nil {
		return err
	}
	caption := "Latency by the rate that was achieved."
	for _, n := range names {
		k, err := result.FindKnee(p.Cases, n)
		if err != nil {
			return err
		}
		view := knee{Series: n, Found: k.Case >= 0}
		if !view.Found || k.Failed == 0 || k.Again > 0 { // the rule itself is told once for all
			view.Text = k.Describe()
		}
		if view.Found {
			s := p.Cases[k.Case].Find(n)
			l, _, err := s.Merged()
			if err != nil {
				return err
			}
			view.Rate, view.P50, view.P99 = result.Count(k.Rate), result.Nanos(float64(l.P50)), result.Nanos(float64(l.P99))
			c.Knees = append(c.Knees, mark{s.Spread(result.Achieved).Median, n})
		}
		p.Knees = append(p.Knees, view)
	}
	if len(c.Knees) > 0 {
		caption += " The dashed line is the knee."
	}
	p.Curve = p.chart(c, "Throughput and latency", caption)
	if len(names) != 1 {
		return nil
	}
	return p.rates(names[0])
}

// rates adds the group of a sweep of one server: a row for each rate.
func (p *page) rates(name string) error {
	k, err := result.FindKnee(p.Cases, name)
	if err != nil {
		return err
	}
	g := group{ID: "rates", Name: name, Load: p.Cases[0].Load.DescribeRising(), First: "Rate", Offered: true, Marks: true}
	var lines []line
	for _, i := range result.Rising(p.Cases) {
		c := &p.Cases[i]
		s := c.Find(name)
		if s == nil {
			continue
		}
		label := result.Count(c.Load.Rate) + "/s"
		if len(s.Rounds) == 0 {
			continue
		}
		r, err := newRow(c, s)
		if err != nil {
			return err
		}
		r.Name, r.Mark, r.Knee = label, k.Rejected[i], i == k.Case
		g.add(r, s)
		lines = append(lines, line{label, s})
	}
	for _, m := range result.RateRemarks(p.Cases) {
		g.Remarks = append(g.Remarks, remark{cssKind(m.Kind), m.Kind.String(), "at " + m.Rates + ": " + m.Text})
	}
	if err := p.plots(&g, lines, true); err != nil {
		return err
	}
	p.Groups = append(p.Groups, g)
	return nil
}

// group adds a case: a row for each server.
func (p *page) group(index int) error {
	c := &p.Cases[index]
	g := group{ID: fmt.Sprintf("case-%d", index+1), Name: c.Name, Load: c.Load.Describe(), First: "Server", Offered: c.Load.Rate > 0}
	for _, m := range c.Remarks() {
		g.Remarks = append(g.Remarks, remark{cssKind(m.Kind), m.Kind.String(), m.String()})
	}
	if measured(c) > 1 && c.Find(c.Reference) != nil {
		g.Reference = c.Reference
	}
	var lines []line
	for i := range c.Series {
		s := &c.Series[i]
		if len(s.Rounds) == 0 {
			continue
		}
		r, err := newRow(c, s)
		if err != nil {
			return err
		}
		g.add(r, s)
		lines = append(lines, line{s.Name, s})
	}
	if g.Reference != "" {
		scaleRatios(c, g.Rows, func(r *row) *cell { return &r.CPURatio }, result.CPUPerOp)
		scaleRatios(c, g.Rows, func(r *row) *cell { return &r.RateRatio }, result.Achieved)
		scaleRatios(c, g.Rows, func(r *row) *cell { return &r.TailRatio }, result.LatencyP99)
	}
	if err := p.plots(&g, lines, false); err != nil {
		return err
	}
	p.Groups = append(p.Groups, g)
	return nil
}

// add adds the row of a series.
func (g *group) add(r row, s *result.Series) {
	g.Rows = append(g.Rows, r)
	g.Several = g.Several || len(s.Rounds) > 1
	if len(r.Counted) > 0 && len(g.Counted) == 0 {
		for _, f := range result.StatsFigures() {
			g.Counted = append(g.Counted, f.Name+" "+f.Unit)
		}
	}
}

func cssKind(k result.RemarkKind) string { return strings.ReplaceAll(k.String(), " ", "-") }

func measured(c *result.Case) (n int) {
	for _, s := range c.Series {
		if len(s.Rounds) > 0 {
			n++
		}
	}
	return n
}

func newRow(c *result.Case, s *result.Series) (row, error) {
	l, _, err := s.Merged()
	if err != nil {
		return row{}, err
	}
	nanos := func(v int64) string { return result.Nanos(float64(v)) }
	r := row{Name: s.Name, IsReference: s.Name == c.Reference,
		CPU: s.Spread(result.CPUPerOp).Text(result.Micros), Offered: s.Spread(result.Offered).Text(result.Count),
		Achieved: s.Spread(result.Achieved).Text(result.Count),
		Mean:     result.Nanos(l.Mean), P50: nanos(l.P50), P90: nanos(l.P90), P99: nanos(l.P99), P999: nanos(l.P999), P9999: nanos(l.P9999), Max: nanos(l.Max),
		ServerBusy: s.Spread(result.ServerBusy).Text(result.Percent), RSS: s.Spread(result.RSS).Text(result.Size),
		PeakRSS: s.Spread(result.PeakRSS).Text(result.Size), Voluntary: s.Spread(result.Voluntary).Text(result.Count),
		Involuntary: s.Spread(result.Involuntary).Text(result.Count), GeneratorBusy: s.Spread(result.GeneratorBusy).Text(result.Percent),
		Others: s.Spread(result.OthersBusy).Text(func(v float64) string { return fmt.Sprintf("%.2f", v) }),
		Rounds: fmt.Sprint(len(s.Rounds)), Syscalls: "–", Errors: "0"}
	if calls := s.Syscalls(); calls > 0 {
		r.Syscalls = fmt.Sprintf("%.3g", calls)
	}
	if _, ok := s.Stats(); ok {
		for _, f := range result.StatsFigures() {
			r.Counted = append(r.Counted, s.Spread(f.Of).Text(f.Write))
		}
	}
	var errs int64
	counts, _ := s.ErrorCounts()
	for _, e := range counts {
		errs += e.Count
	}
	r.Errors = result.Count(float64(errs))
	return r, nil
}

func (p *page) overview(names []string) {
	for _, o := range []struct {
		title, note string
		of          result.Figure
	}{
		{"CPU per operation", "less is better", result.CPUPerOp},
		{"Rate", "more is better", result.Achieved},
	} {
		view := overview{Title: o.title, Note: o.note, Series: names}
		some := false
		for i := range p.Cases {
			c := &p.Cases[i]
			if c.Find(c.Reference) == nil || c.Load.Rate > 0 && o.title == "Rate" { // an offered rate is what it is
				continue
			}
			line := overviewRow{Case: c.Name, ID: fmt.Sprintf("case-%d", i+1), Reference: c.Reference}
			for _, n := range names {
				s := c.Find(n)
				k := cell{Text: "–"}
				switch {
				case s != nil && n == c.Reference && len(s.Rounds) > 0:
					k = cell{Text: "1", Reference: true}
				case s != nil:
					spread := c.Ratio(s, o.of)
					k.Text = spread.Ratio()
					some = some || spread.N > 0
				}
				line.Cells = append(line.Cells, k)
			}
			view.Rows = append(view.Rows, line)
		}
		if some {
			p.Overview = append(p.Overview, view)
		}
	}
}

// chart adds a chart to the page's data.
func (p *page) chart(c *chart, title, caption string) *figure {
	p.Charts = append(p.Charts, *c)
	return &figure{len(p.Charts) - 1, title, caption}
}

// plots adds the charts of latency to a group.
func (p *page) plots(g *group, lines []line, rates bool) error {
	c, err := percentiles(lines)
	if err != nil {
		return err
	}
	if c != nil {
		c.Rates = rates
		g.Figures = append(g.Figures, *p.chart(c, "Latency by percentile", "Each step to the right is ten times rarer."))
	}
	if c := overTime(lines); c != nil {
		c.Rates = rates
		caption := "Percentiles of each part of the measured time."
		if len(c.Bounds) > 0 {
			caption = "Percentiles of each part of the measured time, one round after the other."
		}
		g.Figures = append(g.Figures, *p.chart(c, "Latency over time", caption))
	}
	return nil
}

// Rule is what the knee is found by.
func (p *page) Rule() struct{ Followed, Times string } {
	return struct{ Followed, Times string }{result.Percent(result.KneeFollowed), fmt.Sprint(result.KneeTimes)}
}

// Label is what the page says of which command it is.
func (p *page) Label() string {
	return map[result.Kind]string{result.KindRun: "One load on one server", result.KindSweep: "Rising rates", result.KindCompare: "Servers side by side"}[cmp.Or(p.Kind, result.KindRun)]
}
