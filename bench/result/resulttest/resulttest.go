// Package resulttest makes reports that look like measured ones, for tests.
package resulttest

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/protoring/protoring/bench/result"
)

// A Server is what a made-up server is like.
type Server struct {
	Name    string
	CPU     float64       // microseconds for each operation
	Latency time.Duration // the median at low rates
	Limit   float64       // replies a second
	Calls   float64       // system calls for each operation
	RSS     int64
}

// Servers are four that differ as real ones do.
func Servers() []Server {
	return []Server{
		{"protoring-io_uring", 4.79, 210 * time.Microsecond, 208_000, 0.036, 8_441_856},
		{"protoring-epoll", 5.09, 224 * time.Microsecond, 192_000, 2.032, 8_220_000},
		{"gnet", 6.08, 262 * time.Microsecond, 164_000, 2.086, 14_300_000},
		{"go-net", 5.77, 281 * time.Microsecond, 171_000, 3.025, 19_800_000},
	}
}

const (
	parts        = 40    // intervals of a round
	samples      = 1_500 // recorded for each interval; each stands for as many replies as there are
	noise        = 0.03  // from round to round
	stallEvery   = 17    // intervals
	referenceAge = 20 * time.Hour
)

// Round makes a round of a server. rate 0 is a closed loop.
func Round(rng *rand.Rand, s Server, rate float64, duration time.Duration) *result.Round {
	luck := math.Exp(noise * rng.NormFloat64())
	achieved := s.Limit * luck
	median := float64(s.Latency) * luck
	backlog := 0.0 // nanoseconds that a rate beyond the limit adds in each interval
	if rate > 0 {
		use := rate / s.Limit
		median *= 0.25 + 0.4*use*use/(1.02-math.Min(use, 1))/10
		if rate > s.Limit {
			backlog = (1 - s.Limit/rate) * float64(duration) / parts
		}
		achieved = math.Min(rate*(1+1e-5*rng.NormFloat64()), achieved)
	}
	all := result.NewHistogram()
	round := &result.Round{Seconds: duration.Seconds(), Achieved: achieved, Offered: rate, Ops: int64(achieved * duration.Seconds())}
	each := int64(math.Max(1, achieved*duration.Seconds()/parts/samples))
	for i := range parts {
		h := interval(rng, median, backlog*float64(i), each, i%stallEvery == stallEvery-1)
		all.Merge(h)
		round.Intervals = append(round.Intervals, result.Interval{At: duration.Seconds() * float64(i) / parts,
			Ops: int64(float64(round.Ops) / parts * (1 + noise/3*rng.NormFloat64())),
			P50: h.ValueAtQuantile(50), P99: h.ValueAtQuantile(99), P999: h.ValueAtQuantile(99.9), Max: h.Max()})
	}
	round.Latency = result.Of(all)
	busy := math.Min(1, achieved/s.Limit)
	ops := float64(round.Ops)
	round.Server = &result.Server{PID: 4711, CPUSeconds: s.CPU * luck * ops / 1e6, CPUPerOp: s.CPU * luck, Busy: busy, RSS: s.RSS,
		PeakRSS: s.RSS + s.RSS/10, Voluntary: int64(900 * duration.Seconds() * (1.05 - busy)), Involuntary: int64(12 * duration.Seconds()), Threads: 5}
	round.Generator = result.Generator{Threads: 1, CPUSeconds: 0.6 * duration.Seconds() * busy, Busy: 0.6 * busy, Syscalls: round.Ops / 30}
	round.Others = 0.01 * rng.Float64()
	round.Bytes = result.Bytes{Sent: round.Ops * 64, Received: round.Ops * 64}
	if _, engine, ok := strings.Cut(s.Name, "protoring-"); ok {
		round.Stats = stats(engine, achieved, duration)
	}
	if rate > 0 {
		lag := result.NewHistogram()
		for range samples {
			result.Record(lag, int64(900*math.Exp(0.5*rng.NormFloat64())))
		}
		l := result.Of(lag)
		round.Lag = &l
	}
	return round
}

// stats are those of a server that answers some requests at once. They begin a moment before the round.
func stats(engine string, rate float64, duration time.Duration) *result.Stats {
	const atOnce, before = 8, 25 * time.Millisecond
	seconds := (duration + before).Seconds()
	requests := int64(rate * seconds)
	return &result.Stats{Engine: engine, Seconds: seconds, Total: map[string]int64{"Conns": 50, "Messages": requests, "Sends": requests,
		"Enters": requests / atOnce, "SQEs": requests, "CQEs": 2 * requests, "Rearms": requests / 1000, "Carried": 3 * requests,
		"NoBufs": int64(2000 * seconds), "Sleeps": int64(1000 * seconds), "Held": int64(750 * seconds)}}
}

func interval(rng *rand.Rand, median, late float64, each int64, stall bool) *hdrhistogram.Histogram {
	h := result.NewHistogram()
	for k := range samples {
		v := late + median*math.Exp(0.22*rng.NormFloat64())
		if rng.Float64() < 0.004 {
			v += median * 3 * rng.ExpFloat64()
		}
		if stall && k < 4 {
			v += float64(4*time.Millisecond) * rng.Float64()
		}
		n := each
		if v > 4*median {
			n = max(1, each/20)
		}
		_ = h.RecordValues(int64(math.Max(v, 1)), n) // far below the longest time
	}
	return h
}

// Environment is that of a machine which does not exist.
func Environment() result.Environment {
	return result.Environment{Host: "bench-7", Kernel: "Linux 6.18.44", CPU: "AMD EPYC 7763", CPUs: 2, Governor: "performance", Virtual: "kvm",
		Mitigations: "spectre_v1: usercopy/swapgs barriers; spectre_v2: Retpolines", Memory: 8 << 30, Go: "go1.26.8 linux/amd64", Commit: "20c7b74",
		Versions: map[string]string{"gnet": "v2.9.7", "redis": "7.0.15"}, ServerCPUs: "0", LoadCPUs: "1"}
}

func report(kind result.Kind, title, command string) *result.Report {
	return &result.Report{Version: result.Version, Kind: kind, Title: title, Command: command,
		Time: time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC).Add(-referenceAge), Environment: Environment()}
}

// Compare is a comparison of two closed loops and one open one, with all that can be said of a server.
func Compare(seed uint64, rounds int) *result.Report {
	rng := rand.New(rand.NewPCG(seed, 1))
	r := report(result.KindCompare, "Echo servers side by side", "bench compare echo --json echo.json --html echo.html")
	for _, c := range []struct {
		name string
		load result.Load
	}{
		{"echo-50x1", result.Load{Proto: "echo", Conns: 50, Depth: 1, Size: 64}},
		{"echo-1000", result.Load{Proto: "echo", Conns: 1000, Depth: 1, Size: 64}},
		{"echo-50-rate", result.Load{Proto: "echo", Conns: 50, Rate: 50_000, Arrival: "poisson", Size: 64}},
	} {
		c.load.Duration, c.load.Warmup, c.load.Threads = 2*time.Second, 500*time.Millisecond, 1
		out := result.Case{Name: c.name, Load: c.load, Reference: "gnet"}
		for _, s := range Servers() {
			s.Latency *= time.Duration(1 + c.load.Conns/200)
			series := result.Series{Name: s.Name, Command: s.Name + " -listen HOST:PORT -loops 1", SyscallsPerOp: s.Calls}
			for range rounds {
				series.Rounds = append(series.Rounds, Round(rng, s, c.load.Rate, c.load.Duration))
			}
			out.Series = append(out.Series, series)
		}
		out.Series = append(out.Series, result.Series{Name: "netpoll", Skipped: "its program is not installed"})
		r.Cases = append(r.Cases, out)
	}
	first := &r.Cases[0]
	first.Series[3].Note = "has not reached 0.95 of the rate of its own example"
	last := first.Series[2].Rounds[len(first.Series[2].Rounds)-1]
	last.Invalid = []string{"the generator was busy for 84 % of the time, and may be what limits the rate"}
	last.Others = 0.4
	worst := r.Cases[1].Series[3].Rounds[0]
	worst.Errors, worst.Error = map[string]int64{"connection reset": 3, "wrong reply": 1}, `reply 17 of connection 4: want "00000004", got "00000005"`
	return r
}

// Sweep is one of rates up to beyond what a server can do.
func Sweep(seed uint64, servers ...Server) *result.Report {
	rng := rand.New(rand.NewPCG(seed, 2))
	if len(servers) == 0 {
		servers = Servers()[:1]
	}
	kind := result.KindSweep
	if len(servers) > 1 {
		kind = result.KindCompare
	}
	r := report(kind, "How far the echo server follows", "bench sweep --addr 127.0.0.1:9000 --conns 50 --html sweep.html")
	for _, rate := range []float64{26e3, 32e3, 40e3, 48e3, 60e3, 74e3, 92e3, 110e3, 140e3, 170e3, 200e3, 230e3} {
		c := result.Case{Name: strconv.Itoa(int(rate)), Load: result.Load{Proto: "echo", Conns: 50, Rate: rate, Arrival: "constant", Size: 64,
			Duration: 3 * time.Second, Warmup: time.Second, Threads: 1}}
		for _, s := range servers {
			c.Series = append(c.Series, result.Series{Name: s.Name, Rounds: []*result.Round{Round(rng, s, rate, c.Load.Duration)}})
		}
		r.Cases = append(r.Cases, c)
	}
	return r
}

// Run is one load on one server.
func Run(seed uint64) *result.Report {
	rng := rand.New(rand.NewPCG(seed, 3))
	r := report(result.KindRun, "resp at 127.0.0.1:6379", "bench run --proto resp --addr 127.0.0.1:6379 --conns 50 --rate 20000 --mix 9:1 --html report.html")
	load := result.Load{Proto: "resp", Addr: "127.0.0.1:6379", Conns: 50, Rate: 20_000, Arrival: "constant", Size: 64, Duration: 10 * time.Second,
		Warmup: time.Second, Threads: 1, Keys: 10_000, Dist: "uniform", Mix: "9:1"}
	r.Cases = []result.Case{{Name: "resp", Load: load, Series: []result.Series{{Name: load.Addr,
		Rounds: []*result.Round{Round(rng, Servers()[0], load.Rate, load.Duration)}}}}}
	return r
}
