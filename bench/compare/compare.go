// Package compare puts servers under the same load, in rounds whose order rotates, and sets what it measured side by side.
package compare

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/protoring/protoring/bench/result"
	"golang.org/x/sys/unix"
)

// Config says how to compare. The zero value of each field is its default.
type Config struct {
	Spec      *Spec         // required
	Cases     []Case        // if empty, all of the spec
	Rounds    int           // if zero, 5
	Duration  time.Duration // measured in each round; if zero, 2 s
	Warmup    time.Duration // before it; if zero, 500 ms
	ServerCPU int           // where servers run
	LoadCPUs  []int         // where the load runs, a thread on each; if empty, on one that is not the servers'
	Only      []string      // servers; if empty, all of a case
	Program   string        // that has the command `run`; if empty, this one
	StartTime time.Duration // for a server to listen; if zero, 10 s
	Log       io.Writer     // takes a line for each server that is built or fails; if nil, nothing does
	// Progress, if not nil, is called before each measurement and after it.
	Progress func(Progress)
	// Keep, if not nil, is given the report after each case but the last. It is marked incomplete then.
	Keep func(*result.Report)
}

// Progress is how far a comparison has come.
type Progress struct {
	Done, Total  int // measurements, if no server fails
	Case, Server string
	Round        int     // from 1 on
	Rate         float64 // that was just measured; 0 before
}

const (
	countDuration = 700 * time.Millisecond // of the run in which system calls are counted
	extraPatience = 40 * time.Second       // beyond a load's own time: connecting, storing keys, its own time limits
	enoughFiles   = 1 << 16                // a server of many connections needs more than shells allow
)

// A run is one comparison.
type run struct {
	cfg                   Config
	dir                   string // where servers run; gone afterwards
	root, cache, modcache string
	report                *result.Report
	missing               map[string]*missing // by server; nil for one that is there
	built                 map[string]error    // by commands
	versions              map[string]string   // by server
	noCount               string              // why system calls cannot be counted
	failures              []string
	done, total           int // measurements
}

// Run compares. It returns what it has when ctx ends it early, or when a server fails; then there is an error too, and the report is
// marked incomplete.
func Run(ctx context.Context, cfg Config) (*result.Report, error) {
	// What is started ends with the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fill(&cfg.Rounds, 5)
	fill(&cfg.Duration, 2*time.Second)
	fill(&cfg.Warmup, 500*time.Millisecond)
	fill(&cfg.StartTime, 10*time.Second)
	if cfg.Log == nil {
		cfg.Log = io.Discard
	}
	if cfg.Progress == nil {
		cfg.Progress = func(Progress) {}
	}
	if len(cfg.Cases) == 0 {
		cfg.Cases = cfg.Spec.Cases
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	r := &run{cfg: cfg, missing: map[string]*missing{}, built: map[string]error{}, versions: map[string]string{}}
	var err error
	if r.dir, err = os.MkdirTemp("", "protoring-compare-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(r.dir)
	if err := r.prepare(cfg.Cases); err != nil {
		return nil, err
	}
	raiseFileLimit()
	r.report = &result.Report{Version: result.Version, Kind: result.KindCompare, Title: cfg.Spec.Title,
		Command: result.CommandLine(os.Args), Time: time.Now(), Environment: result.DescribeEnvironment()}
	env := &r.report.Environment
	env.Versions, env.ServerCPUs, env.LoadCPUs = r.versions, strconv.Itoa(cfg.ServerCPU), r.loadCPUs()
	for _, c := range cfg.Cases {
		r.total += cfg.Rounds * len(r.wanted(c))
	}
	for i, c := range cfg.Cases {
		if ctx.Err() != nil {
			break
		}
		r.compare(ctx, c)
		if cfg.Keep != nil && i < len(cfg.Cases)-1 && ctx.Err() == nil {
			sofar := *r.report
			sofar.Incomplete = strings.Join(append(slices.Clone(r.failures), "not all cases have been run"), "; ")
			cfg.Keep(&sofar)
		}
	}
	r.hold()
	if r.noCount != "" {
		r.logf("system calls were not counted: %s", r.noCount)
	}
	if err := ctx.Err(); err != nil {
		r.failures = append(r.failures, "it was ended early")
	}
	if len(r.failures) == 0 {
		return r.report, nil
	}
	r.report.Incomplete = strings.Join(r.failures, "; ")
	return r.report, errors.New(r.report.Incomplete)
}

// check finds what would otherwise be found out late, and fills in what depends on the machine.
func (c *Config) check() error {
	var err error
	if c.Program == "" {
		if c.Program, err = os.Executable(); err != nil { // it runs the load too
			return err
		}
	}
	if _, err := exec.LookPath("taskset"); err != nil {
		return errors.New("taskset is not installed: install util-linux")
	}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	if len(c.LoadCPUs) == 0 {
		for cpu := range len(set) * 64 {
			if set.IsSet(cpu) && cpu != c.ServerCPU {
				c.LoadCPUs = []int{cpu}
				break
			}
		}
		if len(c.LoadCPUs) == 0 {
			return errors.New("there is one CPU only: server and load each need one")
		}
	}
	if slices.Contains(c.LoadCPUs, c.ServerCPU) {
		return fmt.Errorf("CPU %d is for the servers and for the load: each needs its own", c.ServerCPU)
	}
	for _, cpu := range append([]int{c.ServerCPU}, c.LoadCPUs...) {
		if cpu < 0 || !set.IsSet(cpu) {
			return fmt.Errorf("there is no CPU %d for this process", cpu)
		}
	}
	switch {
	case c.Rounds < 0:
		return fmt.Errorf("%d rounds: want 1 or more", c.Rounds)
	case c.Duration < 0:
		return fmt.Errorf("a duration of %v: want more than none", c.Duration)
	case c.Warmup < 0:
		return fmt.Errorf("a warm-up of %v: want none or more", c.Warmup)
	}
	for _, n := range c.Only {
		used := func(k Case) bool { return slices.Contains(k.Servers, n) }
		if !slices.ContainsFunc(c.Cases, used) {
			var names []string
			for _, k := range c.Cases {
				names = append(names, k.Servers...)
			}
			slices.Sort(names)
			return fmt.Errorf("no server %q in these cases: there are %s", n, strings.Join(slices.Compact(names), ", "))
		}
	}
	return nil
}

// raiseFileLimit lets servers have many connections, where that is allowed. A server that raises its limit by itself needs it not.
func raiseFileLimit() {
	var lim unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &lim) == nil && lim.Cur < enoughFiles {
		lim.Cur = min(lim.Max, enoughFiles)
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &lim)
	}
}

func (r *run) logf(format string, args ...any) { fmt.Fprintf(r.cfg.Log, format+"\n", args...) }

func (r *run) failf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.failures = append(r.failures, text)
	r.logf("%s", text)
}

func (r *run) loadCPUs() string {
	var cpus []string
	for _, c := range r.cfg.LoadCPUs {
		cpus = append(cpus, strconv.Itoa(c))
	}
	return strings.Join(cpus, ",")
}

// order is that of n servers in a round: A B C, then B C A, and so on.
func order(n, round int) []int {
	at := make([]int, n)
	for i := range at {
		at[i] = (i + round) % n
	}
	return at
}

// wanted returns the servers of a case that are to be measured.
func (r *run) wanted(c Case) []string {
	return slices.DeleteFunc(slices.Clone(c.Servers), func(n string) bool {
		return len(r.cfg.Only) > 0 && !slices.Contains(r.cfg.Only, n)
	})
}

// compare runs one case and adds what came of it to the report.
func (r *run) compare(ctx context.Context, c Case) {
	c.Servers = r.wanted(c)
	if len(c.Servers) == 0 {
		return
	}
	rc := result.Case{Name: c.Name, Load: c.Load.describe()}
	rc.Load.Duration, rc.Load.Warmup, rc.Load.Threads = r.cfg.Duration, r.cfg.Warmup, r.threads(c.Load)
	var running []int // in Series
	for i, n := range c.Servers {
		srv := r.cfg.Spec.Servers[n]
		s := result.Series{Name: n, Command: srv.Run, Note: srv.Note}
		m := r.provide(ctx, n)
		if ctx.Err() != nil {
			return
		}
		if m == nil {
			running = append(running, i)
		} else {
			s.Skipped = m.reason
			if m.failed { // it is told once
				m.failed = false
				r.failf("%s: %s", n, m.reason)
			}
		}
		rc.Series = append(rc.Series, s)
	}
	r.report.Cases = append(r.report.Cases, rc)
	at := &r.report.Cases[len(r.report.Cases)-1]
	fail := func(i int, err error) {
		if ctx.Err() != nil {
			return
		}
		s := &at.Series[i]
		r.failf("%s, %s: %v", c.Name, s.Name, err)
		running = slices.DeleteFunc(running, func(k int) bool { return k == i })
		var start startError
		if errors.As(err, &start) { // it would not the next time either
			r.missing[s.Name] = &missing{reason: err.Error()}
		}
		if len(s.Rounds) == 0 {
			s.Skipped = err.Error()
		} else {
			note(s, "round %d is missing, and what would follow: %v", len(s.Rounds)+1, err)
		}
	}
	for round := range r.cfg.Rounds {
		now := slices.Clone(running)
		for _, k := range order(len(now), round) {
			s := &at.Series[now[k]]
			step := Progress{Done: r.done, Total: r.total, Case: c.Name, Server: s.Name, Round: round + 1}
			r.cfg.Progress(step)
			got, err := r.measure(ctx, c, s.Name, false)
			r.done++
			if got != nil {
				s.Rounds = append(s.Rounds, got.round)
				fillLoad(&at.Load, got.load)
				step.Done, step.Rate = r.done, got.round.Achieved
				r.cfg.Progress(step)
			}
			if err != nil {
				fail(now[k], err)
			}
			if ctx.Err() != nil {
				at.Reference = reference(at, c.Reference)
				return
			}
		}
	}
	at.Reference = reference(at, c.Reference)
	for _, i := range running {
		s := &at.Series[i]
		if r.noCount != "" || r.cfg.Spec.Servers[s.Name].Generator != "" || ctx.Err() != nil {
			continue
		}
		got, err := r.measure(ctx, c, s.Name, true)
		switch {
		case err != nil && ctx.Err() == nil:
			r.noCount = err.Error()
		case err == nil && got.round.Server != nil:
			s.SyscallsPerOp = got.round.Server.SyscallsPerOp
		}
	}
}

// reference returns the series that ratios refer to: the one of the spec, or the first if that has nothing.
func reference(c *result.Case, want string) string {
	first := ""
	for _, s := range c.Series {
		if len(s.Rounds) == 0 {
			continue
		}
		if s.Name == want {
			return want
		}
		if first == "" {
			first = s.Name
		}
	}
	return first
}

// fillLoad takes over what the load itself says of it, with the defaults that it has.
func fillLoad(l *result.Load, said *result.Load) {
	if said != nil {
		*l = *said
		l.Addr = ""
	}
}

func note(s *result.Series, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if s.Note != "" {
		text = s.Note + "; " + text
	}
	s.Note = text
}

// A measurement is a round, and the load as the load itself describes it, if it does.
type measurement struct {
	round *result.Round
	load  *result.Load
}

// measure starts a server, puts it under load, and ends it. With an error there may be a measurement too.
func (r *run) measure(ctx context.Context, c Case, n string, count bool) (*measurement, error) {
	p, err := r.startServer(ctx, n)
	if err != nil {
		return nil, err
	}
	var got *measurement
	if r.cfg.Spec.Servers[n].Generator == redisBenchmark {
		got, err = r.redisBenchmark(ctx, c, p)
	} else {
		got, err = r.load(ctx, c, p, count)
	}
	patience := time.Duration(0)
	if err != nil { // its connections have ended before itself, perhaps
		patience = endTime
	}
	if how := p.ended(patience); how != "" && ctx.Err() == nil {
		err = fmt.Errorf("it ended in the middle: %s", how)
		got = nil
	}
	if serr := p.stop(); err == nil {
		err = serr
	}
	return got, err
}

// threads is the number of threads of a load: one on each CPU, but not more than there are connections.
func (r *run) threads(l Load) int {
	conns := l.Conns
	fill(&conns, len(r.cfg.LoadCPUs))
	return min(len(r.cfg.LoadCPUs), conns)
}

// args are the flags of `bench run`.
func (r *run) args(l Load, p *process, count bool) []string {
	duration := r.cfg.Duration
	if count {
		duration = min(duration, countDuration)
	}
	args := []string{"--proto", l.Proto, "--addr", p.addr, "--duration", duration.String(), "--warmup", r.cfg.Warmup.String(),
		"--threads", strconv.Itoa(r.threads(l)), "--pin", r.loadCPUs(),
		"--server-pid", strconv.Itoa(p.cmd.Process.Pid)} // taskset has become the server
	for _, f := range []struct {
		name string
		v    any
	}{{"conns", l.Conns}, {"depth", l.Depth}, {"rate", l.Rate}, {"size", l.Size}, {"churn", l.Churn}, {"idle", l.Idle}} {
		if s := fmt.Sprint(f.v); s != "0" {
			args = append(args, "--"+f.name, s)
		}
	}
	if l.Rate > 0 && l.Arrival != "" {
		args = append(args, "--arrival", l.Arrival)
	}
	if l.Proto != "echo" {
		if l.Keys > 0 {
			args = append(args, "--keys", strconv.Itoa(l.Keys))
		}
		for name, s := range map[string]string{"dist": l.Dist, "mix": l.Mix} {
			if s != "" {
				args = append(args, "--"+name, s)
			}
		}
	}
	if count {
		args = append(args, "--count-syscalls")
	} else if p.stats != "" {
		args = append(args, "--stats", p.stats)
	}
	return append(args, "--allow-invalid", "--json", "-")
}

func (r *run) load(ctx context.Context, c Case, p *process, count bool) (*measurement, error) {
	out, err := r.output(ctx, append([]string{r.cfg.Program, "run"}, r.args(c.Load, p, count)...))
	if err != nil && len(out) == 0 {
		return nil, err
	}
	report := &result.Report{}
	if jerr := json.Unmarshal(out, report); jerr != nil {
		return nil, cmp.Or(err, fmt.Errorf("the load's result: %w", jerr))
	}
	if report.Incomplete != "" { // a part of a round cannot be compared
		return nil, errors.New(report.Incomplete)
	}
	if len(report.Cases) != 1 || len(report.Cases[0].Series) != 1 || len(report.Cases[0].Series[0].Rounds) != 1 {
		return nil, cmp.Or(err, errors.New("the load's result is not of one round"))
	}
	return &measurement{round: report.Cases[0].Series[0].Rounds[0], load: &report.Cases[0].Load}, err
}

// output runs a command on the load's CPUs and returns what it prints, with an error too.
func (r *run) output(ctx context.Context, argv []string) ([]byte, error) {
	out, said, err := toItsEnd(ctx, r.cfg.Duration+r.cfg.Warmup+extraPatience, pinned(r.loadCPUs(), argv), nil)
	switch text := sentence(said); {
	case err == nil || ctx.Err() != nil:
		return out, err
	case text != "":
		return out, errors.New(text)
	}
	return out, fmt.Errorf("%s: %w", filepath.Base(argv[0]), err)
}

// sentence is what a command says on its standard error, in one line and without the command's name.
func sentence(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return strings.TrimPrefix(line, "bench run: ")
}
