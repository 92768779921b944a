package load

import (
	"fmt"
	"io"
	"time"
)

// Version is that of Result as JSON. It changes when a field changes its meaning or goes.
const Version = 1

// A Result is what was measured.
type Result struct {
	Version   int     `json:"version"`
	Config    Config  `json:"config"`
	Seconds   float64 `json:"seconds"`
	Ops       int64   `json:"ops"`
	OpsPerSec float64 `json:"opsPerSecond"`
	Latency   Latency `json:"latencyNanos"`
	Load      Load    `json:"load"`
	Server    *Server `json:"server,omitempty"`
	// Others is how many cores other processes kept busy, the server too where it was not measured. Where it is not near zero,
	// rates and latencies tell of them.
	Others float64 `json:"othersBusy"`
}

// Latency is of the time from issuing a request to its reply, in nanoseconds.
type Latency struct {
	Mean float64 `json:"mean"`
	P50  int64   `json:"p50"`
	P99  int64   `json:"p99"`
	P999 int64   `json:"p99.9"`
	Max  int64   `json:"max"`
}

// Load is what the generator itself needed.
type Load struct {
	CPUSeconds float64 `json:"cpuSeconds"`
	Busy       float64 `json:"busy"` // of one core
}

// Server is what the server's process needed.
type Server struct {
	CPUSeconds    float64 `json:"cpuSeconds"`
	CPUPerOp      float64 `json:"cpuMicrosPerOp"`
	Busy          float64 `json:"busy"` // of one core
	RSSBytes      int64   `json:"rssBytes"`
	SyscallsPerOp float64 `json:"syscallsPerOp,omitempty"` // 0: not counted
}

// report makes the result at the end of the measured time.
func (g *generator) report(end usage, calls int64) Result {
	elapsed := end.at.Sub(g.begun.at).Seconds()
	r := Result{Version: Version, Config: g.cfg, Seconds: elapsed, Ops: g.ops, OpsPerSec: float64(g.ops) / elapsed}
	r.Latency = Latency{
		Mean: g.latency.Mean(),
		P50:  g.latency.ValueAtQuantile(50),
		P99:  g.latency.ValueAtQuantile(99),
		P999: g.latency.ValueAtQuantile(99.9),
		Max:  g.latency.Max(),
	}
	own := (end.own - g.begun.own).Seconds()
	r.Load = Load{CPUSeconds: own, Busy: own / elapsed}
	r.Others = (end.machine-g.begun.machine).Seconds()/elapsed - r.Load.Busy
	if g.cfg.ServerPID != 0 {
		cpu := (end.server - g.begun.server).Seconds()
		ops := max(float64(g.ops), 1)
		r.Server = &Server{
			CPUSeconds: cpu, CPUPerOp: cpu * 1e6 / ops, Busy: cpu / elapsed, RSSBytes: end.serverRSS,
			SyscallsPerOp: float64(calls) / ops,
		}
		r.Others -= r.Server.Busy
	}
	r.Others = max(r.Others, 0)
	return r
}

const quietOthers = 0.05 // cores

// Disturbed says that other processes were busy, so that the rate and the latencies are not the server's alone.
func (r *Result) Disturbed() bool { return r.Server != nil && r.Others > quietOthers }

// WriteText writes the result for people.
func (r *Result) WriteText(w io.Writer) error {
	micros := func(ns int64) string { return time.Duration(ns).Round(100 * time.Nanosecond).String() }
	_, err := fmt.Fprintf(w, "%s, %d connections, depth %d, %d bytes: %.0f ops/s (%d in %.2f s)\nlatency  p50 %s  p99 %s  p99.9 %s  max %s\n"+
		"load     %.2f CPU s, %.0f %% of a core\n",
		r.Config.Proto, r.Config.Conns, r.Config.Depth, r.Config.Size, r.OpsPerSec, r.Ops, r.Seconds,
		micros(r.Latency.P50), micros(r.Latency.P99), micros(r.Latency.P999), micros(r.Latency.Max),
		r.Load.CPUSeconds, 100*r.Load.Busy)
	if err == nil && r.Server != nil {
		_, err = fmt.Fprintf(w, "server   %.2f CPU s, %.0f %% of a core, %.2f µs per operation, %d KiB resident\n",
			r.Server.CPUSeconds, 100*r.Server.Busy, r.Server.CPUPerOp, r.Server.RSSBytes>>10)
	}
	if err == nil && r.Server != nil && r.Config.CountSyscalls {
		_, err = fmt.Fprintf(w, "         %.3f system calls per operation\n", r.Server.SyscallsPerOp)
	}
	if err == nil && r.Disturbed() {
		_, err = fmt.Fprintf(w, "Other processes kept %.1f cores busy.\n", r.Others)
	}
	return err
}
