package result

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

const (
	textWidth = 120 // columns of a terminal that a report is readable in
	nameWidth = 18  // columns for a server's name; longer ones are wrapped
)

// A page writes and keeps the first error.
type page struct {
	w   io.Writer
	err error
}

func (p *page) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// prose writes words that may take several lines, those after the first behind an indentation.
func (p *page) prose(indent, s string) {
	column := 0
	var b strings.Builder
	for i, word := range strings.Fields(printable(s)) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+n > textWidth:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	p.line("%s", b.String())
}

// printable takes out what would move a terminal's cursor or change its colours: names and errors come from outside.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

// A column has a heading, and says how its cells stand and whether it may be left out where a table is too wide.
type column struct {
	head     string
	left     bool
	optional bool
}

// table writes a table. Where it is too wide, optional columns are left out, the last first.
func (p *page) table(columns []column, rows []table.Row) {
	for {
		out := render(columns, rows)
		last := len(columns) - 1
		for last >= 0 && !columns[last].optional {
			last--
		}
		if width(out) <= textWidth || last < 0 {
			p.line("%s", out)
			return
		}
		columns = slices.Delete(slices.Clone(columns), last, last+1)
		for i, r := range rows {
			rows[i] = slices.Delete(slices.Clone(r), last, last+1)
		}
	}
}

func width(text string) (n int) {
	for l := range strings.Lines(text) {
		n = max(n, utf8.RuneCountInString(strings.TrimSuffix(l, "\n")))
	}
	return n
}

func render(columns []column, rows []table.Row) string {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options = table.Options{SeparateHeader: true, SeparateColumns: true}
	style.Box.MiddleVertical, style.Box.MiddleSeparator = " ", "─"
	style.Box.PaddingLeft, style.Box.PaddingRight = "", " "
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	var head table.Row
	var configs []table.ColumnConfig
	for i, c := range columns {
		head = append(head, c.head)
		config := table.ColumnConfig{Number: i + 1, Align: text.AlignRight, AlignHeader: text.AlignRight, VAlignHeader: text.VAlignBottom}
		if c.left {
			config.Align, config.AlignHeader, config.WidthMax, config.WidthMaxEnforcer = text.AlignLeft, text.AlignLeft, nameWidth, text.WrapSoft
		}
		configs = append(configs, config)
	}
	t.AppendHeader(head)
	t.SetColumnConfigs(configs)
	t.AppendRows(rows)
	return t.Render()
}

// WriteText writes a report for a terminal of 120 columns.
func WriteText(w io.Writer, r *Report) error {
	p := &page{w: w}
	p.prose("", r.Title)
	if e := r.Environment.Describe(); e != "" {
		p.prose("  ", e)
	}
	if r.Incomplete != "" {
		p.prose("  ", "INCOMPLETE: "+r.Incomplete)
	}
	var err error
	switch {
	case r.IsSweep():
		err = p.sweep(r)
	case r.Kind == KindRun && len(r.Cases) == 1 && len(r.Cases[0].Series) == 1:
		err = p.single(&r.Cases[0])
	default:
		for i := range r.Cases {
			if err = p.compared(&r.Cases[i]); err != nil {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	return p.err
}

func (p *page) remarks(c *Case) {
	for _, m := range c.Remarks() {
		text := m.String()
		if m.Kind != RemarkNote {
			text = strings.ToUpper(m.Kind.String()) + ": " + text
		}
		p.prose("  ", text)
	}
}

// single writes the result of one server under one load.
func (p *page) single(c *Case) error {
	s := &c.Series[0]
	p.prose("  ", c.Load.Describe())
	p.line("")
	l, _, err := s.Merged()
	if err != nil {
		return err
	}
	names := []string{"", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"}
	var columns []column
	for i, n := range names {
		columns = append(columns, column{head: n, left: i == 0})
	}
	row := func(name string, l *Latency) table.Row {
		row := table.Row{name, Nanos(l.Mean)}
		for _, v := range []int64{l.P50, l.P90, l.P99, l.P999, l.P9999, l.Max} {
			row = append(row, Nanos(float64(v)))
		}
		return row
	}
	rows := []table.Row{row("latency", &l)}
	for _, more := range []struct {
		name string
		of   func(*Round) *Latency
	}{{"sent late by", func(r *Round) *Latency { return r.Lag }}, {"connecting", func(r *Round) *Latency { return r.Connects }}} {
		h, err := merge(s.Rounds, more.of)
		if err != nil {
			return err
		}
		if h.TotalCount() > 0 {
			l := Of(h)
			rows = append(rows, row(more.name, &l))
		}
	}
	p.table(columns, rows)
	p.line("")
	p.rounds(s)
	p.fact("rate", s, Achieved, func(v float64) string {
		if offered := s.Spread(Offered); offered.N > 0 {
			return fmt.Sprintf("%s replies/s of %s offered", Count(v), Count(offered.Median))
		}
		return Count(v) + " replies/s"
	})
	p.fact("server's CPU", s, CPUPerOp, func(v float64) string {
		return Micros(v) + " per reply, " + s.Spread(ServerBusy).Text(Percent) + " of a core"
	})
	if calls := s.Syscalls(); calls > 0 {
		p.line("  %-18s %s per reply", "system calls", three(calls))
	}
	p.fact("server's memory", s, RSS, func(v float64) string { return Size(v) + " resident, at most " + s.Spread(PeakRSS).Text(Size) })
	p.fact("context switches", s, Voluntary, func(v float64) string {
		return Count(v) + "/s voluntary, " + s.Spread(Involuntary).Text(Count) + "/s involuntary"
	})
	p.fact("generator", s, GeneratorBusy, func(v float64) string { return "busy for " + Percent(v) + " of its threads' time" })
	p.fact("others", s, OthersBusy, func(v float64) string { return fmt.Sprintf("%.2f cores busy", v) })
	p.remarks(c)
	engine, _ := s.Stats()
	p.stats("", []statsRow{{engine, s}})
	return nil
}

// rounds says how far several rounds lie apart. The latencies above are those of all of them together, what follows are medians.
func (p *page) rounds(s *Series) {
	if len(s.Rounds) < 2 {
		return
	}
	name := fmt.Sprintf("over %d rounds", len(s.Rounds))
	for _, f := range []struct {
		what  string
		of    Figure
		write func(float64) string
	}{{"p50", LatencyP50, Nanos}, {"p99", LatencyP99, Nanos}, {"replies/s", Achieved, Count}, {"CPU per reply", CPUPerOp, Micros}} {
		spread := s.Spread(f.of)
		if spread.N == 0 {
			continue
		}
		p.line("  %-18s %s %s to %s", name, f.what, f.write(spread.Least), f.write(spread.Greatest))
		name = ""
	}
}

func (p *page) fact(name string, s *Series, f Figure, write func(float64) string) {
	if v := s.Spread(f); v.N > 0 {
		p.line("  %-18s %s", name, write(v.Median))
	}
}

// sweep writes a table for each server, a row for each rate.
func (p *page) sweep(r *Report) error {
	if len(r.Cases) == 0 {
		return nil
	}
	p.prose("  ", r.Cases[0].Load.DescribeRising())
	for _, name := range SeriesNames(r.Cases) {
		knee, err := FindKnee(r.Cases, name)
		if err != nil {
			return err
		}
		p.line("")
		p.prose("", name)
		var rows []table.Row
		var counted []statsRow
		for _, i := range Rising(r.Cases) {
			c := &r.Cases[i]
			s := c.Find(name)
			if s == nil || len(s.Rounds) == 0 {
				continue
			}
			l, _, err := s.Merged()
			if err != nil {
				return err
			}
			counted = append(counted, statsRow{Count(c.Load.Rate), s})
			mark := knee.Rejected[i]
			if i == knee.Case {
				mark = "◀ knee"
			}
			rows = append(rows, table.Row{Count(c.Load.Rate), s.Spread(Achieved).Text(Count), Nanos(float64(l.P50)), Nanos(float64(l.P90)),
				Nanos(float64(l.P99)), Nanos(float64(l.P999)), Nanos(float64(l.Max)), s.Spread(CPUPerOp).Text(Micros),
				s.Spread(ServerBusy).Text(Percent), s.Spread(GeneratorBusy).Text(Percent), mark})
		}
		p.table([]column{{head: "offered/s"}, {head: "achieved/s"}, {head: "p50"}, {head: "p90"}, {head: "p99"}, {head: "p99.9"},
			{head: "max"}, {head: "CPU/op"}, {head: "server"}, {head: "load"}, {head: "", left: true}}, rows)
		p.prose("  ", knee.Describe())
		p.stats("offered/s", counted)
	}
	for _, m := range RateRemarks(r.Cases) {
		p.prose("  ", fmt.Sprintf("At %s, %s: %s", m.Rates, m.Kind, m))
	}
	return nil
}

// Describe says in a sentence what the knee is.
func (k Knee) Describe() string {
	again := ""
	if k.Again > 0 {
		again = fmt.Sprintf(" But rates up to %s/s have passed again beyond the first that failed, %s/s: the machine was disturbed, or the server is not "+
			"steady. Measure again.", Count(k.Again), Count(k.Failed))
	}
	switch {
	case k.Case < 0 && k.Failed > 0:
		return fmt.Sprintf("There is no knee: %s/s has failed already, and no lower rate has passed.", Count(k.Failed)) + again
	case k.Case < 0:
		return "There is no knee: none of these rates has a valid result."
	case k.Last:
		return fmt.Sprintf("The knee is at %s requests/s or beyond: that is the highest rate that was tried.", Count(k.Rate))
	case k.Failed == 0:
		return fmt.Sprintf("The knee is at %s requests/s or beyond: no higher rate has failed, and none has a valid result.", Count(k.Rate))
	}
	return fmt.Sprintf("The knee is at %s requests/s: the highest rate below the first that failed (of which less than %.0f %% was achieved, or whose p99 was "+
		"more than %d times that of the lowest rate).", Count(k.Rate), 100*KneeFollowed, KneeTimes) + again
}

// SeriesNames returns the names of all series of cases, in the order in which they come.
func SeriesNames(cases []Case) (names []string) {
	for _, c := range cases {
		for _, s := range c.Series {
			if !slices.Contains(names, s.Name) {
				names = append(names, s.Name)
			}
		}
	}
	return names
}

// compared writes the table of a case.
func (p *page) compared(c *Case) error {
	p.line("")
	p.prose("  ", c.Name+": "+c.Load.Describe())
	ref := printable(c.Reference)
	if utf8.RuneCountInString(ref) > nameWidth {
		ref = string([]rune(ref)[:nameWidth-1]) + "…"
	}
	to := "to " + ref
	if ref == "" {
		to = "ratio"
	}
	columns := []column{{head: "", left: true}, {head: "CPU µs\n/op"}, {head: to}, {head: "rate\n/s"}, {head: to}, {head: "p50"}, {head: "p99"},
		{head: "p99.9", optional: true}, {head: "calls\n/op", optional: true}, {head: "server\nbusy"}, {head: "load\nbusy"}}
	var rows []table.Row
	for i := range c.Series {
		s := &c.Series[i]
		if len(s.Rounds) == 0 {
			continue
		}
		l, _, err := s.Merged()
		if err != nil {
			return err
		}
		calls := none
		if v := s.Syscalls(); v > 0 {
			calls = three(v)
		}
		ratio := func(f Figure) string {
			if s.Name == c.Reference {
				return "1"
			}
			return c.Ratio(s, f).Ratio()
		}
		rows = append(rows, table.Row{printable(s.Name), s.Spread(CPUPerOp).Text(three), ratio(CPUPerOp), s.Spread(Achieved).Text(Count),
			ratio(Achieved), Nanos(float64(l.P50)), Nanos(float64(l.P99)), Nanos(float64(l.P999)), calls,
			s.Spread(ServerBusy).Text(Percent), s.Spread(GeneratorBusy).Text(Percent)})
	}
	if len(rows) > 0 {
		p.table(columns, rows)
	}
	p.remarks(c)
	var counted []statsRow
	for i := range c.Series {
		counted = append(counted, statsRow{c.Series[i].Name, &c.Series[i]})
	}
	p.stats("", counted)
	return nil
}

// WriteText writes what has changed for a terminal of 120 columns.
func (d *Difference) WriteText(w io.Writer) error {
	p := &page{w: w}
	p.prose("  ", "old: "+d.Old.describe())
	p.prose("  ", "new: "+d.New.describe())
	for _, text := range d.Warnings {
		p.prose("  ", "NOTE: "+text)
	}
	bases := map[Basis]bool{}
	changed, told := 0, 0
	for i := range d.Cases {
		c := &d.Cases[i]
		bases[c.Basis] = true
		p.line("")
		p.prose("", fmt.Sprintf("%s, %s (over %s)", c.Case, c.Series, c.Basis))
		var rows []table.Row
		for _, f := range c.Changes {
			ratio := none
			if f.Ratio > 0 {
				ratio = fmt.Sprintf("%.3f", f.Ratio)
			}
			if f.Verdict != Unclear {
				told++
			}
			if f.Verdict == Better || f.Verdict == Worse {
				changed++
			}
			rows = append(rows, table.Row{f.Figure, f.side(f.Old), f.side(f.New), ratio, string(f.Verdict)})
		}
		p.table([]column{{head: "", left: true}, {head: "old"}, {head: "new"}, {head: "new/old"}, {head: "", left: true}}, rows)
		for _, text := range c.Warnings {
			p.prose("  ", "NOTE: "+text)
		}
	}
	p.line("")
	if len(d.OnlyOld) > 0 {
		p.prose("  ", "only in the old: "+strings.Join(d.OnlyOld, "; "))
	}
	if len(d.OnlyNew) > 0 {
		p.prose("  ", "only in the new: "+strings.Join(d.OnlyNew, "; "))
	}
	p.line("%d of %d figures have changed; the others lie within the noise.", changed, told)
	p.prose("", "Figures are medians, brackets the least and the greatest.")
	if bases[OverRounds] {
		p.prose("", fmt.Sprintf("Over rounds: a change is real when a rank test calls it less likely than %.0f %% between equals.", 100*roundsLevel))
	}
	if bases[OverIntervals] {
		p.prose("", fmt.Sprintf("Over intervals: with fewer than %d rounds on a side, parts of the measured time stand in for them. What differs from one "+
			"start of a server to the next is not in that spread, so repeat a change before you believe it. What has no intervals is unclear.", fewRounds))
	}
	return p.err
}

func (r *Report) describe() string {
	words := []string{r.Title, r.Time.Format("2006-01-02 15:04")}
	if r.Environment.Commit != "" {
		words = append(words, "commit "+r.Environment.Commit)
	}
	return strings.Join(words, ", ")
}

func (c *Change) side(s Spread) string {
	if s.N == 1 {
		return c.write(s.Median)
	}
	return fmt.Sprintf("%s [%s–%s]", c.write(s.Median), c.write(s.Least), c.write(s.Greatest))
}
