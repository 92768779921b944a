// Package result is what a benchmark leaves behind: the data, its form as JSON, and the arithmetic on it. It knows neither servers nor
// sockets.
//
// A [Report] has cases, a case has series (one for each server), a series has rounds. `bench run` makes a report of one case and one
// series, `bench sweep` one of a case for each rate, `bench compare` one of many cases with several series each.
package result

import (
	"time"
)

// Version is that of Report as JSON. It changes when a field changes its meaning or goes; new fields do not change it.
const Version = 2

// A Report is everything that one command has measured.
type Report struct {
	Version     int         `json:"version"`
	Kind        Kind        `json:"kind"`
	Title       string      `json:"title"`
	Command     string      `json:"command"` // the command line
	Time        time.Time   `json:"time"`    // of the start
	Environment Environment `json:"environment"`
	Cases       []Case      `json:"cases"`
	// Incomplete says why the report is not whole; what there is holds.
	Incomplete string `json:"incomplete,omitempty"`
}

// Kind says which command has made a report.
type Kind string

// The kinds of reports.
const (
	KindRun     Kind = "run"
	KindSweep   Kind = "sweep"
	KindCompare Kind = "compare"
)

// Environment is what the numbers hold for. What could not be found out is empty.
type Environment struct {
	Host        string            `json:"host,omitempty"`
	Kernel      string            `json:"kernel,omitempty"`
	CPU         string            `json:"cpu,omitempty"` // the model's name
	CPUs        int               `json:"cpus,omitempty"`
	Governor    string            `json:"governor,omitempty"`
	Mitigations string            `json:"mitigations,omitempty"` // those of the kernel that are active
	Virtual     string            `json:"virtual,omitempty"`     // the hypervisor
	Memory      int64             `json:"memoryBytes,omitempty"`
	Go          string            `json:"go,omitempty"`
	Commit      string            `json:"commit,omitempty"`
	Versions    map[string]string `json:"versions,omitempty"` // of the servers
	ServerCPUs  string            `json:"serverCPUs,omitempty"`
	LoadCPUs    string            `json:"loadCPUs,omitempty"`
}

// A Case is one load, and what came of it for each server.
type Case struct {
	Name      string   `json:"name"`
	Load      Load     `json:"load"`
	Reference string   `json:"reference,omitempty"` // the series that ratios refer to
	Series    []Series `json:"series"`
}

// Load says how the servers of a case were put under load.
type Load struct {
	Proto    string        `json:"proto"`
	Addr     string        `json:"addr,omitempty"` // where it is one server's
	Conns    int           `json:"conns"`
	Depth    int           `json:"depth,omitempty"`         // requests in flight on each connection; in an open loop the most, or 0
	Rate     float64       `json:"ratePerSecond,omitempty"` // offered, by all connections; 0: a closed loop
	Arrival  string        `json:"arrival,omitempty"`       // of an open loop: constant or poisson
	Size     int           `json:"sizeBytes"`
	Duration time.Duration `json:"durationNanos"`
	Warmup   time.Duration `json:"warmupNanos"`
	Threads  int           `json:"threads"`
	Keys     int           `json:"keys,omitempty"`
	Dist     string        `json:"dist,omitempty"` // of the keys: uniform or zipf
	Mix      string        `json:"mix,omitempty"`  // get:set
	Churn    float64       `json:"churnPerSecond,omitempty"`
	Idle     int           `json:"idle,omitempty"`
}

// A Series is one server under the load of a case.
type Series struct {
	Name    string   `json:"name"`
	Command string   `json:"command,omitempty"` // that started it
	Skipped string   `json:"skipped,omitempty"` // why there are no rounds
	Rounds  []*Round `json:"rounds,omitempty"`
	// SyscallsPerOp is from a run of its own, since counting slows a server. 0: not counted.
	SyscallsPerOp float64 `json:"syscallsPerOp,omitempty"`
	// Note is what a reader must know, such as that a peer has not reached the rate of its own example.
	Note string `json:"note,omitempty"`
}

// A Round is one measurement.
type Round struct {
	Seconds  float64          `json:"seconds"`
	Ops      int64            `json:"ops"`                        // replies that were right
	Offered  float64          `json:"offeredPerSecond,omitempty"` // requests that were due; 0 in a closed loop
	Achieved float64          `json:"achievedPerSecond"`          // replies that were right
	Errors   map[string]int64 `json:"errors,omitempty"`           // by kind
	Error    string           `json:"error,omitempty"`            // the first one, in words
	Bytes    Bytes            `json:"bytes"`

	// Latency is the time from when a request was due (in a closed loop: issued) to its reply.
	Latency Latency `json:"latency"`
	// Lag is the time from when a request was due to when the generator came to it and handed it to the kernel, or found no connection
	// with room: the generator's own fault. Requests that came due while others waited for room are not among them. Only of an open loop.
	Lag *Latency `json:"lag,omitempty"`
	// Connects is the time that opening a connection took, of those that churn.
	Connects *Latency `json:"connects,omitempty"`
	// Intervals are equal parts of the measured time, in order.
	Intervals []Interval `json:"intervals,omitempty"`

	Generator Generator `json:"generator"`
	Server    *Server   `json:"server,omitempty"`
	// Stats is what the server has counted itself, if it is one on protoring and tells.
	Stats *Stats `json:"stats,omitempty"`
	// Others is how many cores other processes kept busy, the server too where it was not measured. Where it is not near zero, rates
	// and latencies tell of them.
	Others float64 `json:"othersBusy"`
	// Invalid says why rate and latency of this round tell more of the generator than of the server.
	Invalid []string `json:"invalid,omitempty"`
}

// Bytes are those of payload and protocol, without what TCP adds.
type Bytes struct {
	Sent     int64 `json:"sent"`
	Received int64 `json:"received"`
}

// Interval is a part of the measured time.
type Interval struct {
	At   float64 `json:"at"` // its start, in seconds
	Ops  int64   `json:"ops"`
	P50  int64   `json:"p50Nanos"`
	P99  int64   `json:"p99Nanos"`
	P999 int64   `json:"p99.9Nanos"`
	Max  int64   `json:"maxNanos"`
}

// Generator is what the load itself needed.
type Generator struct {
	Threads    int     `json:"threads"`
	CPUSeconds float64 `json:"cpuSeconds"`
	// Busy is the part of its threads' time in which it was at work, of 1. Looking for the time at which the next request is due is no
	// work.
	Busy     float64 `json:"busy"`
	Syscalls int64   `json:"syscalls"`
}

// Server is what the server's process needed, where it is on this machine.
type Server struct {
	PID             int     `json:"pid"`
	CPUSeconds      float64 `json:"cpuSeconds"`
	CPUPerOp        float64 `json:"cpuMicrosPerOp"`
	Busy            float64 `json:"busy"`     // of one core
	RSS             int64   `json:"rssBytes"` // at the end
	PeakRSS         int64   `json:"peakRSSBytes"`
	Voluntary       int64   `json:"voluntarySwitches"`
	Involuntary     int64   `json:"involuntarySwitches"`
	Threads         int     `json:"threads"`
	SyscallsPerOp   float64 `json:"syscallsPerOp,omitempty"` // 0: not counted
	CountedSyscalls bool    `json:"countedSyscalls,omitempty"`
}
