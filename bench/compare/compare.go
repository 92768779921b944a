// Package compare puts servers under the same load, in rounds whose order rotates, and sets what it measured side by side.
package compare

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/protoring/protoring/bench/load"
	"golang.org/x/sys/unix"
)

// Config says how to compare. The zero value of each field is its default.
type Config struct {
	Cases     []Case
	Rounds    int           // if zero, 5
	Duration  time.Duration // measured in each round; if zero, 2 s
	Warmup    time.Duration // before it; if zero, 500 ms
	Bin       string        // the folder with the servers that were built
	ServerCPU int           // where servers run
	LoadCPU   int           // where the load runs; if it is the servers' too, the next one
	Only      []string      // servers; if empty, all of a case
	Out       io.Writer     // takes the tables
	Progress  io.Writer     // takes a line for each measurement
}

// Version is that of Report as JSON. It changes when a field changes its meaning or goes.
const Version = 1

// A Report is everything that was measured.
type Report struct {
	Version     int               `json:"version"`
	Time        time.Time         `json:"time"`
	Environment map[string]string `json:"environment"`
	Cases       []CaseReport      `json:"cases"`
}

// A CaseReport is what came of one case.
type CaseReport struct {
	Case    Case           `json:"case"`
	Servers []ServerReport `json:"servers"`
}

// A ServerReport has a result for each round.
type ServerReport struct {
	Name          string         `json:"name"`
	Command       string         `json:"command"`
	Rounds        []*load.Result `json:"rounds"`
	SyscallsPerOp float64        `json:"syscallsPerOp"` // from a run of its own; 0: not counted
}

const (
	countDuration = 700 * time.Millisecond // of the run in which system calls are counted
	extraPatience = 40 * time.Second       // beyond a load's own time: connecting, storing keys, its own time limits
)

// A run is one comparison.
type run struct {
	cfg     Config
	dir     string // where servers run; empty, and gone afterwards
	program string
	noCount string // why system calls cannot be counted
}

// Run compares. It prints each case when it is done, and returns what it has when ctx ends it early.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	fill(&cfg.Rounds, 5)
	fill(&cfg.Duration, 2*time.Second)
	fill(&cfg.Warmup, 500*time.Millisecond)
	if cfg.LoadCPU == cfg.ServerCPU {
		cfg.LoadCPU = cfg.ServerCPU + 1
	}
	r := &run{cfg: cfg}
	var err error
	if r.program, err = os.Executable(); err != nil { // it runs the load too
		return nil, err
	}
	if r.dir, err = os.MkdirTemp("", "protoring-compare-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(r.dir)
	report := &Report{Version: Version, Time: time.Now(), Environment: environment()}
	fmt.Fprintln(cfg.Out, report.title(cfg))
	for _, c := range cfg.Cases {
		c.Servers = slices.DeleteFunc(slices.Clone(c.Servers), func(name string) bool {
			return len(cfg.Only) > 0 && !slices.Contains(cfg.Only, name)
		})
		if len(c.Servers) == 0 {
			continue
		}
		cr, err := r.compare(ctx, c)
		if err != nil {
			return report, fmt.Errorf("%s: %w", c.Name, err)
		}
		report.Cases = append(report.Cases, cr)
		if err := cr.write(cfg.Out); err != nil {
			return report, err
		}
	}
	if r.noCount != "" {
		fmt.Fprintf(cfg.Out, "\nSystem calls were not counted: %s\n", r.noCount)
	}
	return report, nil
}

func fill[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// compare runs one case: A B C, then B C A, and so on.
func (r *run) compare(ctx context.Context, c Case) (CaseReport, error) {
	cr := CaseReport{Case: c}
	for _, name := range c.Servers {
		cr.Servers = append(cr.Servers, ServerReport{Name: name, Command: commands[name]})
	}
	if c.check {
		cr.Servers = append(cr.Servers, ServerReport{Name: checkName, Command: "redis-benchmark"})
	}
	for round := range r.cfg.Rounds {
		for i := range cr.Servers {
			s := &cr.Servers[(i+round)%len(cr.Servers)]
			result, err := r.measure(ctx, c, s.Name, false)
			if err != nil {
				return cr, fmt.Errorf("%s: %w", s.Name, err)
			}
			s.Rounds = append(s.Rounds, result)
			fmt.Fprintf(r.cfg.Progress, "%s round %d %s: %.0f ops/s\n", c.Name, round+1, s.Name, result.OpsPerSec)
		}
	}
	for i := range cr.Servers {
		s := &cr.Servers[i]
		if r.noCount != "" || s.Name == checkName {
			continue
		}
		result, err := r.measure(ctx, c, s.Name, true)
		switch {
		case err == nil:
			s.SyscallsPerOp = result.Server.SyscallsPerOp
		case ctx.Err() != nil:
			return cr, ctx.Err()
		default:
			r.noCount = err.Error()
		}
	}
	return cr, nil
}

// measure starts a server, puts it under load, and ends it.
func (r *run) measure(ctx context.Context, c Case, name string, count bool) (*load.Result, error) {
	server := name
	if name == checkName {
		server = c.Servers[0]
	}
	p, err := r.startServer(ctx, server)
	if err != nil {
		return nil, err
	}
	var result *load.Result
	if name == checkName {
		result, err = r.redisBenchmark(ctx, c, p)
	} else {
		result, err = r.load(ctx, c, p, count)
	}
	if serr := p.stop(); err == nil {
		err = serr
	} else if text := p.tail(); text != "" && ctx.Err() == nil {
		err = fmt.Errorf("%w (the server's log ends with: %s)", err, text)
	}
	return result, err
}

func (r *run) load(ctx context.Context, c Case, p *process, count bool) (*load.Result, error) {
	duration := r.cfg.Duration
	if count {
		duration = min(duration, countDuration)
	}
	argv := []string{r.program, "load", "--json", "--proto", c.Proto, "--addr", p.addr,
		"--conns", fmt.Sprint(c.Conns), "--depth", fmt.Sprint(c.Depth), "--size", fmt.Sprint(c.Size),
		"--duration", duration.String(), "--warmup", r.cfg.Warmup.String(),
		"--server-pid", fmt.Sprint(p.cmd.Process.Pid)} // taskset has become the server
	if count {
		argv = append(argv, "--count-syscalls")
	}
	out, err := r.output(ctx, argv)
	if err != nil {
		return nil, err
	}
	result := &load.Result{}
	if err := json.Unmarshal(out, result); err != nil {
		return nil, fmt.Errorf("the load's result: %w", err)
	}
	return result, nil
}

func (r *run) patience() time.Duration { return r.cfg.Duration + r.cfg.Warmup + extraPatience }

// environment describes what the numbers hold for.
func environment() map[string]string {
	env := map[string]string{}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		env["kernel"] = unix.ByteSliceToString(u.Release[:])
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(line, ":")
			if strings.TrimSpace(key) == "model name" {
				env["cpu"] = strings.TrimSpace(value)
				break
			}
		}
	}
	for key, argv := range map[string][]string{
		"go":     {"go", "version"},
		"redis":  {"redis-server", "--version"},
		"commit": {"git", "describe", "--always", "--dirty"},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).Output(); err == nil {
			env[key] = strings.TrimSpace(string(out))
		}
	}
	return env
}
