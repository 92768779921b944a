package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/protoring/protoring/bench/load"
	"github.com/protoring/protoring/bench/result"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// loadFlags are those that say how a server is put under load.
type loadFlags struct {
	cfg                     load.Config
	arrival, dist, mix      string
	allowInvalid            bool
	json, hgrm, html, title string
	pin                     []int
	quiet                   bool
}

func (f *loadFlags) add(fs *pflag.FlagSet) {
	fs.SortFlags = false
	fs.StringVar(&f.cfg.Addr, "addr", "", "the server's `address`: host:port, or unix:path")
	fs.StringVar(&f.cfg.Proto, "proto", "echo", "what is spoken: echo, resp or memcache")
	fs.IntVar(&f.cfg.Conns, "conns", 50, "connections")
	fs.IntVar(&f.cfg.Depth, "depth", 1, "requests that each connection keeps in flight; with --rate, the most that it may have")
	fs.IntVar(&f.cfg.Size, "size", 64, "`bytes` of a payload or value")
	fs.DurationVar(&f.cfg.Duration, "duration", 10*time.Second, "measured time")
	fs.DurationVar(&f.cfg.Warmup, "warmup", time.Second, "time before it")
	fs.StringVar(&f.arrival, "arrival", "constant", "when the requests of a --rate are due: constant, or poisson (at random, as from many users)")
	fs.IntVar(&f.cfg.Keys, "keys", 10_000, "keys that the requests of a cache choose from; all are stored first")
	fs.StringVar(&f.dist, "dist", "uniform", "how often keys come: uniform, or zipf (few of them very often)")
	fs.StringVar(&f.mix, "mix", "1:0", "parts of `gets:sets`")
	fs.Float64Var(&f.cfg.Churn, "churn", 0, "connections that are closed and opened anew each second")
	fs.IntVar(&f.cfg.Idle, "idle", 0, "further connections on which nothing is sent")
	fs.IntVar(&f.cfg.Threads, "threads", 1, "threads of the load")
	fs.IntSliceVar(&f.pin, "pin", nil, "bind the threads to these `CPUs` in turn, as in 1,2")
	fs.IntVar(&f.cfg.ServerPID, "server-pid", 0, "the server's process, whose CPU time is measured; 0: look for it, -1: do not")
	fs.BoolVar(&f.cfg.CountSyscalls, "count-syscalls", false, "count the server's system calls: needs root, and slows the server")
	fs.StringVar(&f.cfg.StatsURL, "stats", "", "the `URL` at which a server on protoring tells what it counts (-stats of the examples), such as http://127.0.0.1:9100/stats")
	fs.BoolVar(&f.allowInvalid, "allow-invalid", false, "exit with 0 even if the generator was the bottleneck")
	fs.StringVar(&f.json, "json", "", "write the results to this `file`; - for standard output, in place of the table")
	fs.StringVar(&f.hgrm, "hgrm", "", "write the percentiles to this `file`, for HdrHistogram's plotter")
	fs.StringVar(&f.html, "html", "", "write a report to this `file`")
	fs.StringVar(&f.title, "title", "", "the report's title")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
}

// config checks the flags and returns the load.
func (f *loadFlags) config() (load.Config, error) {
	cfg := f.cfg
	var err error
	if cfg.Arrival, err = load.ParseArrival(f.arrival); err != nil {
		return cfg, err
	}
	switch f.dist {
	case "uniform":
	case "zipf":
		cfg.Zipf = true
	default:
		return cfg, fmt.Errorf("distribution %q: want uniform or zipf", f.dist)
	}
	if cfg.Gets, cfg.Sets, err = load.ParseMix(f.mix); err != nil {
		return cfg, err
	}
	for name, v := range map[string]int64{"conns": int64(cfg.Conns), "depth": int64(cfg.Depth), "size": int64(cfg.Size), "keys": int64(cfg.Keys),
		"threads": int64(cfg.Threads), "duration": int64(cfg.Duration)} {
		if v <= 0 { // to the package, zero is the default; whoever writes it here means it
			return cfg, fmt.Errorf("--%s: want more than 0", name)
		}
	}
	cfg.Pin = f.pin
	if cfg.Warmup == 0 {
		cfg.Warmup = -1 // none, and not the default
	}
	_, err = cfg.Describe() // an error for what cannot be
	return cfg, err
}

const runExamples = `  # the highest rate of 50 connections that each wait for a reply before they ask again
  bench run --proto resp --addr 127.0.0.1:6379 --conns 50

  # the latency at 20,000 requests a second, nine gets for each set, with a report to look at
  bench run --proto resp --addr 127.0.0.1:6379 --conns 50 --rate 20000 --mix 9:1 --html report.html

  # 16 requests in flight on each connection, from two threads on CPUs of their own
  bench run --addr 127.0.0.1:9000 --depth 16 --threads 2 --pin 2,3

  # five rounds to keep, for bench diff; and what a server on protoring counts itself
  bench run --addr 127.0.0.1:9000 --rounds 5 --duration 3s --stats http://127.0.0.1:9100/stats --json before.json

  # requests at random times, as many users make them, while 100 connections a second come and go
  bench run --proto memcache --addr 127.0.0.1:11211 --rate 5000 --arrival poisson --churn 100`

func newRunCommand() *cobra.Command {
	f := &loadFlags{}
	rounds := 1
	cmd := &cobra.Command{
		Use:   "run --addr ADDRESS [flags]",
		Short: "Put a server under load and print latencies and rates",
		Long: `Puts a server under load and prints what came of it.

With --rate, requests are due at fixed times, whatever the server does, and a latency counts from when its request was due: a server that
stalls does not stall the clock (there is no coordinated omission). Without it each connection keeps --depth requests in flight, which
finds the highest rate and says little of latencies.

With --rounds, latencies are those of all rounds together: their histograms are added up. Other figures are medians.

Every reply is checked. The exit status is 0 when all went well, 1 when there were errors or the server could not be reached, 2 for a wrong
command line, 3 when the generator itself was what limited the result.`,
		Example: runExamples,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.config()
			if err == nil && rounds < 1 {
				err = fmt.Errorf("%d rounds: want 1 or more", rounds)
			}
			if err != nil {
				return usageError{err}
			}
			return f.run(cmd.Context(), cfg, rounds)
		},
	}
	cmd.Flags().Float64Var(&f.cfg.Rate, "rate", 0, "requests that are due each second, by all connections together")
	cmd.Flags().IntVar(&rounds, "rounds", 1, "measurements, each with new connections and a warm-up of its own; bench diff judges by their spread")
	f.add(cmd.Flags())
	return cmd
}

func (f *loadFlags) run(ctx context.Context, cfg load.Config, rounds int) error {
	report, err := newReport(result.KindRun, f.title, cfg)
	if err != nil {
		return usageError{err}
	}
	var measured []*result.Round
	for i := 0; i < rounds && err == nil; i++ {
		var round *result.Round
		if round, err = f.round(ctx, cfg, i, rounds); round != nil {
			measured = append(measured, round)
		}
	}
	if len(measured) == 0 {
		return err
	}
	if err != nil {
		report.Incomplete = err.Error()
	}
	report.Cases[0].Series[0].Rounds = measured
	noteServer(report)
	err = errors.Join(err, f.deliver(report))
	return errors.Join(err, f.judge(measured, err))
}

// round measures once. An error says which of several rounds it is of.
func (f *loadFlags) round(ctx context.Context, cfg load.Config, i, of int) (*result.Round, error) {
	which := ""
	if of > 1 {
		which = fmt.Sprintf("round %d of %d", i+1, of)
	}
	bar := f.progress(cfg.Warmup+cfg.Duration, which)
	cfg.Progress = bar.show
	round, err := load.Run(ctx, cfg)
	bar.end()
	if err != nil && of > 1 {
		err = fmt.Errorf("%s: %w", which, err)
	}
	return round, err
}

// noteServer adds where the server runs to what is known of the machine, if it is on this one and still there.
func noteServer(r *result.Report) {
	if s := r.Cases[0].Series[0].Rounds[0].Server; s != nil {
		r.Environment.ServerCPUs = result.BoundTo(s.PID)
	}
}

// judge is an error where a round has some.
func (f *loadFlags) judge(rounds []*result.Round, already error) error {
	for _, r := range rounds {
		var kinds []string
		for kind, n := range r.Errors {
			kinds = append(kinds, fmt.Sprintf("%d %s", n, kind))
		}
		if len(kinds) > 0 && already == nil {
			return fmt.Errorf("errors: %s; the first: %s", strings.Join(kinds, ", "), r.Error)
		}
	}
	for _, r := range rounds {
		if len(r.Invalid) > 0 && !f.allowInvalid && already == nil {
			return invalidError{errors.New(r.Invalid[0])}
		}
	}
	return nil
}

// newReport returns a report of one case and one series, without rounds.
func newReport(kind result.Kind, title string, cfg load.Config) (*result.Report, error) {
	l, err := cfg.Describe()
	if err != nil {
		return nil, err
	}
	if title == "" {
		title = fmt.Sprintf("%s at %s", l.Proto, l.Addr)
	}
	env := result.DescribeEnvironment()
	env.LoadCPUs = cmp.Or(strings.Trim(strings.ReplaceAll(fmt.Sprint(cfg.Pin), " ", ","), "[]"), result.BoundTo(os.Getpid()))
	return &result.Report{Version: result.Version, Kind: kind, Title: title, Command: result.CommandLine(os.Args), Time: time.Now(), Environment: env,
		Cases: []result.Case{{Name: l.Proto, Load: l, Series: []result.Series{{Name: l.Addr}}}}}, nil
}
