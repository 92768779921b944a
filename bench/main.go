// Bench puts servers under load and measures them: `bench --help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/protoring/protoring/bench/report"
	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	statusOK      = 0
	statusError   = 1
	statusUsage   = 2
	statusInvalid = 3
)

// usageError is a wrong command line.
type usageError struct{ error }

// invalidError is a result that tells more of the generator than of the server.
type invalidError struct{ error }

func (e invalidError) Error() string {
	return "the result is not valid: " + e.error.Error() + " (--allow-invalid takes it as it is)"
}

var writeHTML = report.WriteHTML

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	status := run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

func run(ctx context.Context, args []string) int {
	cobra.EnableCommandSorting = false // they come in the order in which one needs them
	root := &cobra.Command{
		Use:   "bench COMMAND",
		Short: "Latency benchmarks that count from when a request was due",
		Long: `Bench puts servers under load and measures what comes of it: servers built on protoring, and any others that speak the same protocol.

A request's latency counts from when it was due, each reply is checked, and a result in which the generator was the bottleneck is called
invalid. Exit statuses: 0 for a result, 1 for an error, 2 for a wrong command line, 3 for a result that is not valid.`,
		Example: `  bench run --proto resp --addr 127.0.0.1:6379 --rate 20000      the latencies of a server at this rate
  bench sweep --proto resp --addr 127.0.0.1:6379 --html s.html   how far it follows, with a report to show
  bench compare echo echo-50x1 --quick                           several servers side by side, started and bound to CPUs
  bench diff before.json after.json                              what has changed between two results that were kept
  bench report s.json --html again.html                          the report again`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newRunCommand(), newSweepCommand(), newCompareCommand(), newDiffCommand(), newReportCommand())
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if cmd == root && err != nil { // no such command
		err = usageError{err}
	}
	status := statusOf(err)
	if status != statusOK {
		fmt.Fprintf(os.Stderr, "%s: %v\n", cmd.CommandPath(), err)
	}
	if status == statusUsage {
		fmt.Fprintf(os.Stderr, "See %s --help.\n", cmd.CommandPath())
	}
	return status
}

func statusOf(err error) int {
	switch {
	case err == nil:
		return statusOK
	case errors.As(err, new(usageError)):
		return statusUsage
	case errors.As(err, new(invalidError)):
		return statusInvalid
	}
	return statusError
}
