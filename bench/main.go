// Bench puts servers under load and measures them.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/protoring/protoring/bench/load"
)

const usage = `Bench puts servers under load and measures them.

	bench load --proto echo --addr 127.0.0.1:9000 --conns 50 --depth 16 --size 64 --duration 5s
	bench load --proto resp-get --addr 127.0.0.1:6379 --conns 50 --keys 10000 --json
	bench load --help

To compare servers with each other: scripts/compare --help`

// Exit statuses.
const (
	statusOK    = 0
	statusError = 1
	statusUsage = 2
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, usage)
		return statusUsage
	}
	var err error
	switch args[0] {
	case "load":
		err = runLoad(args[1:])
	case "compare":
		err = runCompare(args[1:])
	case "help", "-h", "-help", "--help":
		fmt.Println(usage)
	default:
		fmt.Fprintf(os.Stderr, "bench: no command %q\n\n%s\n", args[0], usage)
		return statusUsage
	}
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return statusOK
	case errors.Is(err, errUsage):
		return statusUsage
	}
	fmt.Fprintf(os.Stderr, "bench %s: %v\n", args[0], err)
	return statusError
}

// errUsage is what a wrong command line is, after it was said what is wrong.
var errUsage = errors.New("usage")

// parse parses a command's flags. names are the other arguments.
func parse(fs *flag.FlagSet, args []string) (names []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, errUsage // the flag set has said why
		}
		if fs.NArg() == 0 {
			return names, nil
		}
		names, args = append(names, fs.Arg(0)), fs.Args()[1:]
	}
}

func runLoad(args []string) error {
	fs := flag.NewFlagSet("bench load", flag.ContinueOnError)
	var cfg load.Config
	fs.StringVar(&cfg.Proto, "proto", "echo", "`protocol`: echo, resp-get, resp-set or resp-ping")
	fs.StringVar(&cfg.Addr, "addr", "", "the server's `address`: host:port, or unix:path")
	fs.IntVar(&cfg.Conns, "conns", 0, "connections (default 50)")
	fs.IntVar(&cfg.Depth, "depth", 0, "requests that each connection keeps in flight (default 1)")
	fs.IntVar(&cfg.Size, "size", 0, "`bytes` of a payload or value (default 64)")
	fs.DurationVar(&cfg.Duration, "duration", 0, "measured time (default 5s)")
	fs.DurationVar(&cfg.Warmup, "warmup", 0, "time before it (default 500ms; negative: none)")
	fs.IntVar(&cfg.Keys, "keys", 0, "keys that RESP requests choose from (default 10000)")
	fs.IntVar(&cfg.ServerPID, "server-pid", 0, "measure the CPU time of this process as well")
	fs.BoolVar(&cfg.CountSyscalls, "count-syscalls", false, "count the server's system calls, which slows it")
	asJSON := fs.Bool("json", false, "print JSON")
	names, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		fmt.Fprintf(os.Stderr, "bench load: unexpected argument %q: see bench load --help\n", names[0])
		return errUsage
	}
	result, err := load.Run(cfg)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(os.Stdout).Encode(result)
	}
	return result.WriteText(os.Stdout)
}
