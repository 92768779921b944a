package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/protoring/protoring/bench/load"
	"github.com/protoring/protoring/bench/result"
	"github.com/spf13/cobra"
)

const sweepExamples = `  # from an eighth of the highest rate on, in twelve steps
  bench sweep --proto resp --addr 127.0.0.1:6379 --conns 50 --html sweep.html

  # rates of one's own
  bench sweep --addr 127.0.0.1:9000 --rates 10000,20000,50000,100000 --duration 5s`

// sweepFlags are those of a sweep alone.
type sweepFlags struct {
	loadFlags
	rates []float64
	steps int
}

func newSweepCommand() *cobra.Command {
	f := &sweepFlags{}
	cmd := &cobra.Command{
		Use:   "sweep --addr ADDRESS [flags]",
		Short: "Run at rising rates until the server cannot follow, and name the knee",
		Long: `Puts a server under load at one rate after another, until it cannot follow: what comes of it is the curve of latency by throughput, and
its knee, the highest rate below the first that the server does not follow, or not with latencies of the same order as at the lowest.

Without --rates, the highest rate is looked for first, in a closed loop, and the steps lie between an eighth of it and a little more than all
of it.`,
		Example: sweepExamples,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.config()
			if err == nil && (f.steps < 2 || f.steps > maxSteps) {
				err = fmt.Errorf("%d steps: want 2 to %d", f.steps, maxSteps)
			}
			for _, r := range f.rates {
				if !(r > 0) && err == nil {
					err = fmt.Errorf("a rate of %g: want more than 0", r)
				}
			}
			if err != nil {
				return usageError{err}
			}
			return f.run(cmd.Context(), cfg)
		},
	}
	fs := cmd.Flags()
	fs.Float64SliceVar(&f.rates, "rates", nil, "`rates` of one's own, in requests a second, with commas between them")
	fs.IntVar(&f.steps, "steps", 12, "rates that are tried where --rates names none")
	f.add(fs)
	fs.Lookup("rates").DefValue = "" // none: the library would write brackets
	fs.Lookup("duration").DefValue = "3s"
	f.cfg.Duration = 3 * time.Second
	return cmd
}

const (
	maxSteps   = 1000
	sweepFrom  = 1.0 / 8 // of the highest rate
	sweepTo    = 1.1
	sweepStep  = 1.2  // beyond that
	followed   = 0.99 // of the offered rate, below which a server does not follow
	moreMisses = 1    // rates that are tried after the first that it did not follow
)

func (f *sweepFlags) run(ctx context.Context, cfg load.Config) error {
	report, err := newReport(result.KindSweep, f.title, cfg)
	if err != nil {
		return usageError{err}
	}
	report.Cases = nil
	err = f.sweep(ctx, cfg, report)
	if err != nil {
		report.Incomplete = err.Error()
	}
	if len(report.Cases) == 0 {
		return err
	}
	var rounds []*result.Round
	for _, c := range report.Cases {
		rounds = append(rounds, c.Series[0].Rounds...)
	}
	noteServer(report)
	err = errors.Join(err, f.deliver(report))
	return errors.Join(err, f.judgeSweep(rounds, err))
}

// judgeSweep is judge, but for what is due to a server that cannot follow: that is what a sweep looks for.
func (f *sweepFlags) judgeSweep(rounds []*result.Round, already error) error {
	for _, r := range rounds {
		if r.Achieved < followed*r.Offered {
			continue
		}
		if err := f.judge([]*result.Round{r}, already); err != nil {
			return err
		}
	}
	return nil
}

func (f *sweepFlags) sweep(ctx context.Context, cfg load.Config, report *result.Report) error {
	rates := f.rates
	if len(rates) == 0 {
		top, err := f.highest(ctx, cfg)
		if err != nil {
			return err
		}
		rates = steps(top, f.steps)
	}
	missed := 0
	for i := 0; i < len(rates); i++ {
		rate := rates[i]
		cfg.Rate = rate
		bar := f.progress(cfg.Warmup+cfg.Duration, fmt.Sprintf("%d of %d", i+1, len(rates)))
		cfg.Progress = bar.show
		round, err := load.Run(ctx, cfg)
		bar.end()
		if round != nil {
			one, derr := newReport(result.KindSweep, "", cfg)
			if derr != nil {
				return derr
			}
			c := one.Cases[0]
			c.Name = rateName(rate)
			c.Series[0].Rounds = []*result.Round{round}
			report.Cases = append(report.Cases, c)
			if !f.quiet {
				fmt.Fprintf(os.Stderr, "%s/s offered, %.0f/s achieved, p50 %v, p99 %v\n", c.Name, round.Achieved,
					micros(round.Latency.P50), micros(round.Latency.P99))
			}
		}
		if err != nil {
			return fmt.Errorf("at %s requests a second: %w", rateName(rate), err)
		}
		if round.Achieved < followed*round.Offered {
			if missed++; missed > moreMisses {
				break
			}
		}
		if last := i == len(rates)-1; last && len(f.rates) == 0 && len(rates) < maxSteps && missed <= moreMisses {
			rates = append(rates, twoDigits(rate*sweepStep)) // in an open loop it follows more than in the closed one
		}
	}
	return nil
}

func micros(nanos int64) time.Duration { return time.Duration(nanos).Round(100 * time.Nanosecond) }

// highest finds the highest rate, in a closed loop.
func (f *sweepFlags) highest(ctx context.Context, cfg load.Config) (float64, error) {
	cfg.Rate = 0
	cfg.Duration = min(cfg.Duration, 2*time.Second)
	round, err := load.Run(ctx, cfg)
	if err != nil {
		return 0, fmt.Errorf("looking for the highest rate: %w", err)
	}
	if round.Achieved <= 0 {
		return 0, errors.New("looking for the highest rate: the server has answered nothing")
	}
	return round.Achieved, nil
}

// steps are rates at equal ratios, which end in round figures.
func steps(top float64, n int) (rates []float64) {
	for i := range n {
		part := float64(i) / float64(n-1)
		rates = append(rates, twoDigits(top*sweepFrom*math.Pow(sweepTo/sweepFrom, part)))
	}
	return rates
}

// twoDigits rounds to two significant digits.
func twoDigits(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v))-1)
	return math.Round(v/unit) * unit
}

func rateName(rate float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.0f", rate), ".0")
}
