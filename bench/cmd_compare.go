package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/protoring/protoring/bench/compare"
	"github.com/protoring/protoring/bench/result"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const compareLong = `Puts several servers under the same loads and sets what came of it side by side.

Each server runs on one CPU, the load on another. Rounds are interleaved and their order rotates (A B C, then B C A, and so on), so that
whatever else the machine does meets all alike. Numbers are medians over the rounds. A ratio is taken within each round and has its spread
beside it: where that encloses 1, nothing was shown.

SPEC is the name of one that is shipped, "all" for all of these together, or a YAML file. A server of a spec whose programs are not installed
is skipped, and the result says so. CASE is the name of a case, or its beginning.`

const compareExamples = `  # everything there is for echo; takes about twenty minutes
  bench compare echo

  # a first look at the cases whose names begin with get-50, in short rounds
  bench compare resp get-50 --quick

  # two servers only, with results to keep and a report to show
  bench compare echo echo-50x1 --only protoring-io_uring,gnet --json echo.json --html echo.html

  # servers of one's own
  cat >mine.yaml <<'END'
  title: Mine and theirs
  servers:
    mine:
      build: ["go build -C {dir} -o {bin}/mine ."]
      run: "{bin}/mine -listen {host}:{port}"
    theirs:
      needs: [redis-server]
      run: "redis-server --bind {host} --port {port} --save ''"
  defaults:
    servers: [mine, theirs]
    reference: theirs
    load: {proto: resp, conns: 50, size: 64}
  cases:
    - name: get
      load: {depth: 16}
    - name: mixed
      load: {rate: 20000, arrival: poisson, mix: "9:1", dist: zipf}
  END
  bench compare mine.yaml`

type compareFlags struct {
	cfg        compare.Config
	loadCPU    []int
	json, html string
	quick      bool
	verbose    bool
}

func newCompareCommand() *cobra.Command {
	f := &compareFlags{}
	cmd := &cobra.Command{
		Use:     "compare SPEC [CASE...] [flags]",
		Short:   "Start several servers in turn and set them side by side",
		Long:    compareLong + "\n\n" + shippedCases(),
		Example: compareExamples,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{fmt.Errorf("which spec? There are %s and %s, or give a file", strings.Join(compare.Shipped(), ", "), compare.All)}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.IntVar(&f.cfg.Rounds, "rounds", 5, "measurements of each server in each case")
	fs.DurationVar(&f.cfg.Duration, "duration", 2*time.Second, "measured time of a round")
	fs.DurationVar(&f.cfg.Warmup, "warmup", 500*time.Millisecond, "time before it")
	fs.BoolVar(&f.quick, "quick", false, "3 rounds of 1 s, where other flags do not say otherwise")
	fs.StringSliceVar(&f.cfg.Only, "only", nil, "only these `servers`, with commas between them")
	fs.IntVar(&f.cfg.ServerCPU, "server-cpu", 0, "the servers' `CPU`")
	fs.IntSliceVar(&f.loadCPU, "load-cpu", nil, "the load's `CPUs`, a thread on each (default: the first that is not the servers')")
	fs.StringVar(&f.json, "json", "", "write everything that was measured to this `file`")
	fs.StringVar(&f.html, "html", "", "write a report to this `file`")
	fs.BoolVarP(&f.verbose, "verbose", "v", false, "print a line for each measurement")
	return cmd
}

// shippedCases is what the specs have, for the help.
func shippedCases() string {
	var b strings.Builder
	b.WriteString("Shipped specs and their cases:\n")
	for _, name := range compare.Shipped() {
		s, err := compare.Open(name)
		if err != nil { // a test makes sure that there is none
			return err.Error()
		}
		fmt.Fprintf(&b, "  %-9s ", name)
		var names []string
		for _, c := range s.Cases {
			names = append(names, c.Name)
		}
		b.WriteString(strings.Join(names, " ") + "\n")
	}
	return b.String()
}

func (f *compareFlags) run(cmd *cobra.Command, args []string) error {
	cfg := f.cfg
	var err error
	if cfg.Spec, err = compare.Open(args[0]); err != nil {
		return usageError{err}
	}
	if cfg.Cases, err = cfg.Spec.Select(args[1:]); err != nil {
		return usageError{err}
	}
	if f.quick {
		changed := cmd.Flags().Changed
		if !changed("rounds") {
			cfg.Rounds = 3
		}
		if !changed("duration") {
			cfg.Duration = time.Second
		}
		if !changed("warmup") {
			cfg.Warmup = 300 * time.Millisecond
		}
	}
	cfg.LoadCPUs = f.loadCPU
	// After so many minutes it is too late to learn that a file cannot be written.
	for _, path := range []string{f.json, f.html} {
		if err := writable(path); err != nil {
			return err
		}
	}
	show := f.progress()
	cfg.Progress, cfg.Log = show.show, show
	if f.json != "" { // nothing of a long run shall be lost; that a file cannot be written is said at the end
		cfg.Keep = func(r *result.Report) { _ = result.Write(f.json, r) }
	}
	report, err := compare.Run(cmd.Context(), cfg)
	show.end()
	if report == nil {
		return err
	}
	if cmd.Context().Err() != nil {
		err = errors.New("ended by a signal; what there is up to now is kept")
	}
	if len(report.Cases) > 0 {
		err = errors.Join(err, f.deliver(report)) // also what there is after an error
	}
	return err
}

func (f *compareFlags) deliver(r *result.Report) error {
	var errs []error
	if err := result.WriteText(os.Stdout, r); err != nil {
		errs = append(errs, fmt.Errorf("write the table: %w", err))
	}
	if f.json != "" {
		errs = append(errs, result.Write(f.json, r))
	}
	if f.html != "" {
		errs = append(errs, result.WriteFile(f.html, func(w io.Writer) error { return writeHTML(w, r) }))
	}
	return errors.Join(errs...)
}

// writable returns an error if a file cannot be made or written. It leaves what there is.
func writable(path string) error {
	if path == "" {
		return nil
	}
	_, missing := os.Lstat(path)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	err = file.Close()
	if missing != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// A compareBar shows how far a comparison has come: a line for each measurement, or a bar on a terminal, or nothing. It takes other lines as well.
type compareBar struct {
	lines bool
	bar   *progressbar.ProgressBar
}

func (f *compareFlags) progress() *compareBar {
	s := &compareBar{lines: f.verbose}
	if !s.lines && term.IsTerminal(int(os.Stderr.Fd())) {
		s.bar = progressbar.NewOptions(1, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetWidth(barWidth),
			progressbar.OptionClearOnFinish(), progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true))
	}
	return s
}

func (s *compareBar) show(p compare.Progress) {
	switch {
	case s.lines && p.Rate > 0:
		fmt.Fprintf(os.Stderr, "[%*d/%d] %s, round %d, %s: %.0f/s\n", len(strconv.Itoa(p.Total)), p.Done, p.Total, p.Case, p.Round, p.Server, p.Rate)
	case s.bar != nil:
		s.bar.ChangeMax(p.Total + 1) // it would be gone when it is full
		s.bar.Describe(p.Case + " " + p.Server)
		_ = s.bar.Set(p.Done) // it can only fail to be drawn
	}
}

// Write takes a line about something else than a measurement.
func (s *compareBar) Write(line []byte) (int, error) {
	if s.bar != nil {
		_ = s.bar.Clear()
	}
	return os.Stderr.Write(line)
}

func (s *compareBar) end() {
	if s.bar != nil {
		_ = s.bar.Finish()
	}
}
