package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/protoring/protoring/bench/compare"
)

const compareUsage = `Compares servers under the same load, in rounds whose order rotates: A B C, B C A, and so on. The server has one CPU, the load
another one. Numbers are medians; ratios are taken within each round and have their spread in brackets.

	scripts/compare                      all cases: about twelve minutes
	scripts/compare --quick echo         the cases whose names begin with echo, in short rounds
	scripts/compare --json f.json echo-50x1 get-50x16
	scripts/compare --only protoring-io_uring,gnet echo-1000

Cases:`

func runCompare(args []string) error {
	// What is started ends with the thread that starts it.
	runtime.LockOSThread()
	fs := flag.NewFlagSet("scripts/compare", flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), compareUsage)
		for _, c := range compare.Cases {
			fmt.Fprintf(fs.Output(), "\t%-17s%d connections, depth %d, %d bytes: %s\n", c.Name, c.Conns, c.Depth, c.Size, strings.Join(c.Servers, ", "))
		}
		fmt.Fprintln(fs.Output(), "\nFlags:")
		fs.PrintDefaults()
	}
	cfg := compare.Config{Out: os.Stdout, Progress: io.Discard}
	fs.IntVar(&cfg.Rounds, "rounds", 0, "rounds (default 5)")
	fs.DurationVar(&cfg.Duration, "duration", 0, "measured time of a round (default 2s)")
	fs.DurationVar(&cfg.Warmup, "warmup", 0, "time before it (default 500ms)")
	fs.IntVar(&cfg.ServerCPU, "server-cpu", 0, "the servers' `CPU`")
	fs.IntVar(&cfg.LoadCPU, "load-cpu", 1, "the load's `CPU`")
	fs.StringVar(&cfg.Bin, "bin", "", "the `folder` with the servers; scripts/compare fills one")
	only := fs.String("only", "", "only these `servers`, with commas between them")
	quick := fs.Bool("quick", false, "3 rounds of 1 s")
	verbose := fs.Bool("v", false, "print a line for each measurement")
	file := fs.String("json", "", "write everything that was measured to this `file`")
	names, err := parse(fs, args)
	if err != nil {
		return err
	}
	if *quick {
		cfg.Rounds, cfg.Duration, cfg.Warmup = or(cfg.Rounds, 3), or(cfg.Duration, time.Second), or(cfg.Warmup, 300*time.Millisecond)
	}
	if *verbose {
		cfg.Progress = os.Stderr
	}
	if *only != "" {
		cfg.Only = strings.Split(*only, ",")
	}
	if cfg.Cases, err = compare.Select(names); err != nil {
		return err
	}
	// The file is made first: after so many minutes it is too late to learn that it cannot be.
	var out *os.File
	if *file != "" {
		if out, err = os.Create(*file); err != nil {
			return err
		}
		defer out.Close()
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	report, err := compare.Run(ctx, cfg)
	if ctx.Err() != nil {
		err = fmt.Errorf("ended by a signal")
	}
	if out != nil && report != nil { // also what there is after an error
		enc := json.NewEncoder(out)
		enc.SetIndent("", "\t")
		if werr := enc.Encode(report); werr != nil && err == nil {
			err = werr
		}
		if cerr := out.Close(); cerr != nil && err == nil {
			err = cerr
		}
	}
	return err
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
