package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/protoring/protoring/bench/result"
	"golang.org/x/sys/unix"
)

// A run is one load.
type run struct {
	cfg   Config
	proto Protocol
	dial  func() (int, error)
	spare bool // there are CPUs enough to wait for a time by looking at the clock

	start   time.Time
	measure int64        // when the measured time begins, in nanoseconds since the start
	end     atomic.Int64 // and ends
	parts   int          // of the measured time
	workers []*worker

	statsBefore, statsAfter *stats // nil where they were not asked for
}

const (
	maxParts   = 60
	leastPart  = 100 * time.Millisecond
	spareProcs = 4 // beside the workers: progress, connections that churn, the collector

	busyLimit = 0.8              // of a thread's time, beyond which a closed loop measures the generator
	lagLimit  = time.Millisecond // by which a hundredth of the requests may be sent late at most
	overLimit = 0.01             // of the offered rate, by which the achieved one may exceed it
	rateLimit = 0.001            // of the offered rate, by which the number of requests issued may differ from it
)

// Run puts the server under load and returns what was measured. With an error, which is one sentence, there may be a round all the same:
// what was measured until then. Errors of single replies and connections are none of Run's: they are counted in the round.
func Run(ctx context.Context, cfg Config) (*result.Round, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &run{cfg: cfg, proto: cfg.Protocol}
	if r.proto == nil {
		if r.proto, err = newProtocol(cfg); err != nil {
			return nil, err
		}
	}
	if r.dial, err = dialer(cfg.Addr); err != nil {
		return nil, err
	}
	if err := raiseFileLimit(cfg.Conns + cfg.Idle + spareFiles); err != nil {
		return nil, err
	}
	// A worker that comes back from the kernel must not wait for a P.
	procs := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(max(procs, cfg.Threads+spareProcs))
	defer runtime.GOMAXPROCS(procs)
	return r.do(ctx)
}

func (r *run) do(ctx context.Context) (round *result.Round, err error) {
	if _, err := readStats(ctx, r.cfg.StatsURL); err != nil { // before there is any load
		return nil, err
	}
	idle, err := r.openIdle()
	defer func() {
		for _, fd := range idle {
			unix.Close(fd)
		}
	}()
	if err != nil {
		return nil, err
	}
	if p, ok := r.proto.(Preparer); ok {
		if err := r.prepare(p); err != nil {
			return nil, err
		}
	}
	if r.cfg.ServerPID == 0 {
		r.cfg.ServerPID = findServer(r.cfg.Addr)
	}
	if r.cfg.CountSyscalls && r.cfg.ServerPID <= 0 {
		return nil, errors.New("counting the server's system calls needs its process ID, and no process was found that listens there")
	}
	if _, err := readUsage(r.cfg.ServerPID); err != nil {
		return nil, err
	}
	r.spare = spareCPU(r.cfg.ServerPID)
	r.parts = int(min(max(r.cfg.Duration/leastPart, 1), maxParts))
	r.measure = int64(r.cfg.Warmup)
	r.end.Store(r.measure + int64(r.cfg.Duration))

	var ready, done sync.WaitGroup
	var failed atomic.Bool
	errs := make([]error, r.cfg.Threads)
	begin := make(chan bool)
	for i := range r.cfg.Threads {
		w := &worker{run: r, index: i}
		r.workers = append(r.workers, w)
		ready.Add(1)
		done.Go(func() { // the thread ends with this goroutine: the ring belongs to it
			runtime.LockOSThread()
			err := w.setUp()
			if err != nil {
				failed.Store(true)
			}
			ready.Done()
			if err == nil && <-begin {
				if err = w.work(); err != nil {
					w.conclude()
				}
			}
			errs[i] = errors.Join(err, w.close())
		})
	}
	ready.Wait()
	var counter *syscallCounter
	if r.cfg.CountSyscalls && !failed.Load() {
		if counter, err = countOnThread(r.cfg.ServerPID); err != nil {
			failed.Store(true)
		} else {
			defer func() { _ = counter.close() }() // nothing follows from an error
		}
	}
	if r.cfg.Warmup < statsLead && !failed.Load() { // no time is left for it later
		if r.statsBefore, err = readStats(ctx, r.cfg.StatsURL); err != nil {
			failed.Store(true)
		}
	}
	r.start = time.Now()
	if failed.Load() {
		close(begin)
		done.Wait()
		return nil, cmp.Or(err, firstOf(errs))
	}
	for range r.workers {
		begin <- true
	}
	finished := make(chan struct{})
	go func() {
		done.Wait()
		close(finished)
	}()
	before, after, calls, err := r.watch(ctx, finished, counter)
	<-finished
	round = r.report(before, after, calls)
	return round, cmp.Or(firstOf(errs), r.verdict(ctx, round), err) // that a server has died is told by its connections
}

// countOnThread is countSyscalls on a thread that ends with it.
func countOnThread(pid int) (counter *syscallCounter, err error) {
	var done sync.WaitGroup
	done.Go(func() {
		runtime.LockOSThread() // not unlocked: the thread may have got mounts of its own
		counter, err = countSyscalls(pid)
	})
	done.Wait()
	return counter, err
}

// firstOf returns the first of some errors.
func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// verdict is an error when the load has not come to its end.
func (r *run) verdict(ctx context.Context, round *result.Round) error {
	alive := 0
	for _, w := range r.workers {
		alive += w.alive
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("ended early, by a signal")
	case alive == 0:
		return fmt.Errorf("all connections have failed, after %.1f s: %s", round.Seconds, round.Error)
	}
	return nil
}

// spareCPU says whether looking at the clock takes a CPU from nobody: the server may run on another one.
func spareCPU(server int) bool {
	var own, its unix.CPUSet
	if err := unix.SchedGetaffinity(0, &own); err != nil {
		return false
	}
	if server <= 0 {
		return true
	}
	if err := unix.SchedGetaffinity(server, &its); err != nil {
		return own.Count() > 1
	}
	for i := range own {
		own[i] |= its[i]
	}
	return own.Count() > 1
}

func (r *run) openIdle() (fds []int, err error) {
	for range r.cfg.Idle {
		fd, err := r.dial()
		if err != nil {
			return fds, fmt.Errorf("idle connection %d of %d: %w", len(fds)+1, r.cfg.Idle, err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

func (r *run) prepare(p Preparer) error {
	network, rest := splitAddr(r.cfg.Addr)
	c, err := net.DialTimeout(network, rest, dialTimeout)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", r.cfg.Addr, unwrapDial(err))
	}
	defer c.Close()
	return p.Prepare(c)
}

// unwrapDial drops what the sentence says already.
func unwrapDial(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// watch reads what the processes use, at the beginning and at the end of the measured time, and shows the progress.
func (r *run) watch(ctx context.Context, finished <-chan struct{}, counter *syscallCounter) (before, after usage, calls int64, err error) {
	step := func(until int64) bool { // whether the load still goes on
		for {
			left := min(time.Duration(until-r.now()), time.Second)
			if left <= 0 {
				return true
			}
			select {
			case <-time.After(left):
				r.progress()
			case <-finished:
				return false
			case <-ctx.Done():
				r.end.Store(r.now())
				return false
			}
		}
	}
	// A server that is busy may take its time for an answer, and what is read below must not wait for it.
	var asked chan error
	defer func() {
		if serr := r.lastStats(ctx, asked); err == nil {
			err = serr
		}
	}()
	on := true
	if r.cfg.StatsURL != "" && r.statsBefore == nil {
		if on = step(r.measure - int64(statsLead)); on {
			asked = make(chan error)
			go func() {
				var err error
				r.statsBefore, err = readStats(ctx, r.cfg.StatsURL)
				asked <- err
			}()
		}
	}
	on = on && step(r.measure)
	if before, err = readUsage(r.cfg.ServerPID); err != nil && on {
		return before, before, 0, err
	}
	if counter != nil {
		if err := counter.start(); err != nil {
			return before, before, 0, err
		}
	}
	if on {
		step(r.end.Load())
	}
	if counter != nil {
		if calls, err = counter.stop(); err != nil {
			return before, before, 0, err
		}
	}
	if after, err = readUsage(r.cfg.ServerPID); err != nil { // the server has gone: that is told by its connections
		after, err = usage{at: time.Now(), server: before.server, own: before.own, machine: before.machine, status: before.status}, nil
	}
	return before, after, calls, err
}

// lastStats waits for the first answer, if that is under way, and asks for the last.
func (r *run) lastStats(ctx context.Context, asked <-chan error) error {
	if asked != nil {
		if err := <-asked; err != nil {
			return err
		}
	}
	if r.statsBefore == nil {
		return nil
	}
	var err error
	r.statsAfter, err = readStats(context.WithoutCancel(ctx), r.cfg.StatsURL)
	return err
}

func (r *run) progress() {
	if r.cfg.Progress == nil {
		return
	}
	now := r.now()
	p := Progress{Elapsed: time.Duration(now), Total: time.Duration(r.end.Load()), Measuring: now >= r.measure}
	for _, w := range r.workers {
		p.Ops += w.published.ops.Load()
		p.Errors += w.published.errors.Load()
	}
	r.cfg.Progress(p)
}

// now is the time in nanoseconds since the start.
func (r *run) now() int64 { return int64(time.Since(r.start)) }

// measured says whether a time lies in the measured time.
func (r *run) measured(at int64) bool { return at >= r.measure && at < r.end.Load() }

// part returns the interval that a measured time lies in.
func (r *run) part(at int64) int {
	return min(int((at-r.measure)*int64(r.parts)/int64(r.cfg.Duration)), r.parts-1)
}

// report makes the round of what the workers have counted.
func (r *run) report(before, after usage, calls int64) *result.Round {
	seconds := time.Duration(max(min(r.end.Load(), int64(after.at.Sub(r.start)))-r.measure, 1)).Seconds()
	all := tally{latency: result.NewHistogram(), lag: result.NewHistogram(), connects: result.NewHistogram(), errors: map[string]int64{}}
	for range r.parts {
		all.intervals = append(all.intervals, result.NewHistogram())
	}
	var polled int64
	for _, w := range r.workers {
		all.add(&w.tally)
		polled += w.polled
	}
	round := &result.Round{Seconds: seconds, Ops: all.ops, Achieved: float64(all.ops) / seconds, Others: 0,
		Bytes: result.Bytes{Sent: all.sent, Received: all.received}, Latency: result.Of(all.latency)}
	if r.cfg.Rate > 0 {
		round.Offered = float64(all.due) / seconds
		lag := result.Of(all.lag)
		round.Lag = &lag
	}
	if r.cfg.Churn > 0 {
		connects := result.Of(all.connects)
		round.Connects = &connects
	}
	if len(all.errors) > 0 {
		round.Errors = all.errors
	}
	if all.firstErr != nil {
		round.Error = all.firstErr.Error()
	}
	length := r.cfg.Duration.Seconds() / float64(r.parts)
	for i, h := range all.intervals {
		if at := float64(i) * length; at < seconds {
			round.Intervals = append(round.Intervals, result.Interval{At: at, Ops: h.TotalCount(), P50: h.ValueAtQuantile(50),
				P99: h.ValueAtQuantile(99), P999: h.ValueAtQuantile(99.9), Max: h.Max()})
		}
	}
	elapsed := max(after.at.Sub(before.at).Seconds(), 1e-9)
	own := (after.own - before.own).Seconds()
	round.Generator = result.Generator{Threads: r.cfg.Threads, CPUSeconds: own, Syscalls: all.enters,
		Busy: max(0, (own-time.Duration(polled).Seconds())/elapsed/float64(r.cfg.Threads))}
	round.Others = (after.machine-before.machine).Seconds()/elapsed - own/elapsed
	if r.cfg.ServerPID > 0 {
		cpu := (after.server - before.server).Seconds()
		ops := max(float64(all.ops), 1)
		round.Server = &result.Server{PID: r.cfg.ServerPID, CPUSeconds: cpu, CPUPerOp: cpu * 1e6 / ops, Busy: cpu / elapsed,
			RSS: after.status.rss, PeakRSS: after.status.peak, Threads: after.status.threads,
			Voluntary: after.status.voluntary - before.status.voluntary, Involuntary: after.status.involuntary - before.status.involuntary,
			SyscallsPerOp: float64(calls) / ops, CountedSyscalls: r.cfg.CountSyscalls}
		round.Others -= cpu / elapsed
	}
	round.Others = max(round.Others, 0)
	if r.statsBefore != nil && r.statsAfter != nil {
		round.Stats = r.statsAfter.since(r.statsBefore, r.start.Add(time.Duration(r.end.Load())))
	}
	round.Invalid = r.invalid(round)
	return round
}

// invalid says why rate and latency tell more of the generator than of the server.
func (r *run) invalid(round *result.Round) (reasons []string) {
	if round.Ops == 0 {
		return []string{"no reply came in the measured time"}
	}
	if r.cfg.Rate == 0 {
		if busy := round.Generator.Busy; busy >= busyLimit {
			reasons = append(reasons, fmt.Sprintf("the generator was busy for %.0f %% of the time, and may be what limits the rate: give it more --threads, on CPUs of their own", 100*busy))
		}
		return reasons
	}
	if p99 := time.Duration(round.Lag.P99); p99 > lagLimit {
		reasons = append(reasons, fmt.Sprintf("the schedule slipped: 1 %% of the requests were sent %v or more after they were due", p99.Round(time.Microsecond)))
	}
	if want := r.cfg.Rate; math.Abs(round.Offered-want) > rateLimit*want && r.cfg.Arrival == Constant && round.Ops > 0 && round.Seconds >= 1 {
		if missing := math.Abs(round.Offered-want) * round.Seconds; missing > 2*float64(r.cfg.Threads) {
			reasons = append(reasons, fmt.Sprintf("the generator has issued %.0f requests a second where %.0f were to be", round.Offered, want))
		}
	}
	if excess := round.Achieved - round.Offered; excess > overLimit*round.Offered && excess*round.Seconds > float64(r.cfg.Conns*r.cfg.Depth) {
		reasons = append(reasons, "more replies came than were asked for in the measured time: the server had yet to catch up with the warm-up; give it a longer one")
	}
	return reasons
}

// add adds what another worker has counted.
func (t *tally) add(o *tally) {
	t.ops += o.ops
	t.due += o.due
	t.sent += o.sent
	t.received += o.received
	t.enters += o.enters
	merge(t.latency, o.latency)
	merge(t.lag, o.lag)
	merge(t.connects, o.connects)
	for i, h := range o.intervals {
		merge(t.intervals[i], h)
	}
	for kind, n := range o.errors {
		t.errors[kind] += n
	}
	if t.firstErr == nil {
		t.firstErr = o.firstErr
	}
}

func merge(to, from *hdrhistogram.Histogram) {
	if from != nil {
		to.Merge(from)
	}
}
