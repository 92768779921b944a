package compare

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/protoring/protoring/bench/load"
)

func (r *Report) title(cfg Config) string {
	return fmt.Sprintf("%s · Linux %s · %s · server on CPU %d, load on CPU %d · %d rounds of %v",
		cmp.Or(r.Environment["cpu"], "unknown CPU"), r.Environment["kernel"],
		strings.TrimPrefix(r.Environment["go"], "go version "), cfg.ServerCPU, cfg.LoadCPU, cfg.Rounds, cfg.Duration)
}

// write prints the case's table. Numbers are medians over the rounds. A ratio is taken within each round, against the reference in
// the same round, and printed as its median and, in brackets, the least and the greatest.
func (cr *CaseReport) write(out io.Writer) error {
	c := cr.Case
	fmt.Fprintf(out, "\n%s: %s, %d connections, depth %d, %d bytes\n", c.Name, c.Proto, c.Conns, c.Depth, c.Size)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "server\tCPU µs/op\tto %s\tops/s\tto %s\tsyscalls/op\tp50 µs\tp99 µs\tserver busy\tload busy\t\n", c.Reference, c.Reference)
	ref := cr.server(c.Reference)
	for i := range cr.Servers {
		s := &cr.Servers[i]
		calls := "–"
		if s.SyscallsPerOp > 0 {
			calls = fmt.Sprintf("%.3f", s.SyscallsPerOp)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.0f\t%s\t%s\t%s\t%s\t%s\t%s\t\n", s.Name,
			number("%.2f", median(s.Rounds, cpuPerOp)), ratio(s, ref, cpuPerOp),
			median(s.Rounds, opsPerSec), ratio(s, ref, opsPerSec), calls,
			number("%.1f", median(s.Rounds, p50)), number("%.1f", median(s.Rounds, p99)),
			number("%.0f %%", median(s.Rounds, serverBusy)), number("%.0f %%", median(s.Rounds, loadBusy)))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	disturbed, most := 0, 0.0
	for _, s := range cr.Servers {
		for _, r := range s.Rounds {
			if r.Disturbed() {
				disturbed, most = disturbed+1, max(most, r.Others)
			}
		}
	}
	if disturbed > 0 {
		fmt.Fprintf(out, "Disturbed: in %d of the measurements other processes were busy, with up to %.1f cores.\n", disturbed, most)
	}
	return nil
}

func (cr *CaseReport) server(name string) *ServerReport {
	for i := range cr.Servers {
		if cr.Servers[i].Name == name {
			return &cr.Servers[i]
		}
	}
	return nil
}

// What a table shows of a result; zero where it was not measured.

func opsPerSec(r *load.Result) float64 { return r.OpsPerSec }
func p50(r *load.Result) float64       { return float64(r.Latency.P50) / float64(time.Microsecond) }
func p99(r *load.Result) float64       { return float64(r.Latency.P99) / float64(time.Microsecond) }
func loadBusy(r *load.Result) float64  { return 100 * r.Load.Busy }

func cpuPerOp(r *load.Result) float64 {
	if r.Server == nil {
		return 0
	}
	return r.Server.CPUPerOp
}

func serverBusy(r *load.Result) float64 {
	if r.Server == nil {
		return 0
	}
	return 100 * r.Server.Busy
}

func number(format string, v float64) string {
	if v == 0 {
		return "–"
	}
	return fmt.Sprintf(format, v)
}

func median(rounds []*load.Result, value func(*load.Result) float64) float64 {
	var vs []float64
	for _, r := range rounds {
		vs = append(vs, value(r))
	}
	return middle(vs)
}

func middle(vs []float64) float64 {
	if len(vs) == 0 {
		return 0
	}
	slices.Sort(vs)
	if n := len(vs) / 2; len(vs)%2 == 1 {
		return vs[n]
	}
	return (vs[len(vs)/2-1] + vs[len(vs)/2]) / 2
}

func ratio(s, ref *ServerReport, value func(*load.Result) float64) string {
	if ref == nil || s == ref {
		return "1"
	}
	var vs []float64
	for i := range min(len(s.Rounds), len(ref.Rounds)) {
		if a, b := value(s.Rounds[i]), value(ref.Rounds[i]); a > 0 && b > 0 {
			vs = append(vs, a/b)
		}
	}
	if len(vs) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f [%.2f–%.2f]", middle(vs), slices.Min(vs), slices.Max(vs))
}
