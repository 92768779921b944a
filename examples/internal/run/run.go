// Package run is the part of the examples' main functions that is the same: flags, one line that says what listens where, and a
// polite end.
package run

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/protoring/protoring/server"
)

// An Example is a server program.
type Example struct {
	Name  string
	About string // what -h says before the flags
	Addr  string // of -listen, where nothing is given
	// Env, if not empty, lets each flag also be given as an environment variable, of which this is the first word: with CACHE,
	// -max-value is CACHE_MAX_VALUE. The command line wins.
	Env string
	// Flags defines flags of the example's own. It may be nil.
	Flags func(*flag.FlagSet)
	// Listen brings the protocol to the server. The function that it returns, if any, runs when the server has ended.
	Listen func(s *server.Server, network, addr string, log *slog.Logger) (net.Addr, func(), error)
}

// Exit statuses.
const (
	statusOK    = 0
	statusError = 1
	statusUsage = 2
)

// spareProcs is how many goroutines beyond the loops may run at once without a loop waiting for them: the logger, timers and the
// collector.
const spareProcs = 4

// Main runs the example with the program's arguments until SIGTERM or SIGINT, and exits: with 0 when all was sent, 1 when not or
// when the server could not start, 2 when the flags are wrong.
func Main(e Example) { os.Exit(e.run(os.Args[1:], os.Stderr)) }

func (e Example) run(args []string, stderr io.Writer) int {
	fs := flag.NewFlagSet(e.Name, flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprintf(stderr, "%s\n\nFlags:\n", strings.TrimSpace(e.About))
		fs.PrintDefaults()
		if e.Env != "" {
			fmt.Fprintf(stderr, "\nEach flag is an environment variable as well: -listen is %s.\n", e.variable("listen"))
		}
	}
	var cfg server.Config
	addr := fs.String("listen", e.Addr, "listen on `address`: host:port, or unix:path")
	fs.IntVar(&cfg.Loops, "loops", 0, "serve with `n` loops, each with a thread and a ring; 0: one per CPU")
	fs.Func("engine", "auto, io_uring or epoll (default auto)", func(s string) (err error) {
		cfg.Engine, err = server.ParseEngine(s)
		return err
	})
	fs.Func("cpus", "bind the loops to these CPUs in turn, as in 0,1", func(s string) (err error) {
		cfg.CPUs, err = parseCPUs(s)
		return err
	})
	fs.DurationVar(&cfg.Spin, "spin", 0, "let a loop without work look for it for so long before it sleeps; 0: the default, negative: never")
	stats := fs.String("stats", "", "answer GET "+StatsPath+" over HTTP with what the loops count, on `address`, as in 127.0.0.1:9100; empty: do not")
	if e.Flags != nil {
		e.Flags(fs)
	}
	err := e.fromEnvironment(fs)
	if err == nil {
		err = fs.Parse(args)
	} else {
		fmt.Fprintf(stderr, "%s: %v\n", e.Name, err)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return statusOK
	case err != nil:
		return statusUsage // the flag set has said why
	case fs.NArg() > 0:
		fmt.Fprintf(stderr, "%s: unexpected argument %q: see %s -h\n", e.Name, fs.Arg(0), e.Name)
		return statusUsage
	case cfg.Loops < 0:
		fmt.Fprintf(stderr, "%s: -loops is %d: want 0 or more\n", e.Name, cfg.Loops)
		return statusUsage
	}
	cfg.Logger = slog.New(slog.NewTextHandler(stderr, nil))
	if err := e.serve(cfg, *addr, *stats); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", e.Name, err)
		return statusError
	}
	return statusOK
}

// fromEnvironment sets the flags that are given as environment variables.
func (e Example) fromEnvironment(fs *flag.FlagSet) (err error) {
	if e.Env == "" {
		return nil
	}
	fs.VisitAll(func(f *flag.Flag) {
		name := e.variable(f.Name)
		if value, ok := os.LookupEnv(name); ok && err == nil {
			if set := fs.Set(f.Name, value); set != nil {
				err = fmt.Errorf("invalid value %q of %s: %w", value, name, set)
			}
		}
	})
	return err
}

func (e Example) variable(flag string) string {
	return e.Env + "_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func (e Example) serve(cfg server.Config, addr, statsAddr string) error {
	// The first signal drains; after it the signals have their usual effect, so that a second one ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	// A loop that comes back from a blocking system call needs a P. Where other goroutines hold all of them it queues, for
	// milliseconds instead of microseconds. So there are more of them than loops, and the loops are counted before.
	procs := runtime.GOMAXPROCS(0)
	if cfg.Loops == 0 {
		cfg.Loops = min(procs, runtime.NumCPU())
	}
	runtime.GOMAXPROCS(max(procs, cfg.Loops+spareProcs))
	cfg.HoldP = true

	// Its port is taken before the one of the protocol, so that who has reached that one gets an answer from this one too.
	var stats net.Listener
	if statsAddr != "" {
		var err error
		if stats, err = net.Listen("tcp", statsAddr); err != nil {
			return fmt.Errorf("-stats: %w", err)
		}
		defer stats.Close()
	}

	srv, err := server.New(cfg)
	if err != nil {
		return err
	}
	network, addr := SplitAddr(addr)
	bound, end, err := e.Listen(srv, network, addr, cfg.Logger)
	if err != nil {
		return errors.Join(err, srv.Close())
	}
	if end != nil {
		defer end()
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	for srv.Engine() == server.EngineAuto { // until Serve has found out what the kernel allows
		select {
		case err := <-served:
			return err
		case <-time.After(time.Millisecond):
		}
	}
	if stats != nil {
		cfg.Logger.Info(e.Name+" tells its statistics", "stats", "http://"+stats.Addr().String()+StatsPath)
		defer serveStats(stats, srv)()
	}
	cfg.Logger.Info(e.Name+" listens", "addr", bound.String(), "engine", srv.Engine(), "loops", srv.Loops())
	err = <-served
	if err == nil {
		cfg.Logger.Info(e.Name + " has ended")
	}
	return err
}

// SplitAddr returns the network that an address is of.
func SplitAddr(addr string) (network, rest string) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return "unix", path
	}
	return "tcp", addr
}

func parseCPUs(s string) ([]int, error) {
	var cpus []int
	for part := range strings.SplitSeq(s, ",") {
		cpu, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || cpu < 0 {
			return nil, fmt.Errorf("want numbers with commas between them, not %q", part)
		}
		cpus = append(cpus, cpu)
	}
	return cpus, nil
}
