// Package load puts a server under load and measures what comes of it. The load is a closed loop, in which each connection keeps a number
// of requests in flight, or an open one, in which requests are due at times of their own, whatever the server does. It stands on the
// rings of package uring, one for each thread. Each reply is compared with what it must be.
package load

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/protoring/protoring/bench/result"
	"golang.org/x/sys/unix"
)

// Config is a load. The zero value of each field is its default.
type Config struct {
	// Proto is echo, resp or memcache. If empty, echo. It says nothing where Protocol is set but its name.
	Proto string
	// Protocol is one of the user's own.
	Protocol Protocol
	// Addr is host:port, or unix:path. It is required.
	Addr string
	// Conns is the number of connections. If zero, 50.
	Conns int
	// Depth is the number of requests that each connection keeps in flight; in an open loop, the most that it may have in flight:
	// requests that are due while all connections are full wait, and their wait counts. If zero, 1.
	Depth int
	// Rate is the number of requests that are due each second, by all connections together. If zero, the loop is closed.
	Rate float64
	// Arrival says when the requests of an open loop are due: at Constant distances, or by a Poisson process.
	Arrival Arrival
	// Size is that of an echo's payload or of a value, in bytes: 16 at least. If zero, 64.
	Size int
	// Duration is the measured time. If zero, 10 s.
	Duration time.Duration
	// Warmup is the time before it. If zero, 1 s; if negative, none.
	Warmup time.Duration
	// Threads is the number of threads, each with a ring and its part of the connections. If zero, 1.
	Threads int
	// Pin has the CPUs to which the threads are bound in turn. If empty, they are not.
	Pin []int
	// Keys is the number of keys that requests of a cache choose from. If zero, 10,000.
	Keys int
	// Zipf makes some keys much more frequent than others: the key of rank n comes in proportion to 1/n^1.01. Otherwise all are alike.
	Zipf bool
	// Gets and Sets are parts of the requests of a cache. If both are zero, all of them are gets.
	Gets, Sets int
	// Churn is the number of connections that are closed and opened anew each second, each with nothing in flight.
	Churn float64
	// Idle is the number of connections beside Conns on which nothing is sent.
	Idle int
	// ServerPID is the server's process, when it is on this machine. If zero, it is looked for; if negative, it is not.
	ServerPID int
	// CountSyscalls counts the server's system calls. That slows them, so the times of such a round are good for nothing.
	CountSyscalls bool
	// StatsURL is where a server on protoring tells what it has counted itself. If empty, it is not asked.
	StatsURL string
	// Progress, if not nil, is called about once a second.
	Progress func(Progress)
}

// Arrival says when the requests of an open loop are due.
type Arrival uint8

// The kinds of arrival.
const (
	Constant Arrival = iota
	Poisson
)

func (a Arrival) String() string {
	if a == Poisson {
		return "poisson"
	}
	return "constant"
}

// ParseArrival is the inverse of String.
func ParseArrival(s string) (Arrival, error) {
	switch s {
	case "constant":
		return Constant, nil
	case "poisson":
		return Poisson, nil
	}
	return 0, fmt.Errorf("arrival %q: want constant or poisson", s)
}

// Progress is how far a load has come.
type Progress struct {
	Elapsed, Total time.Duration // the warm-up counts
	Measuring      bool
	Ops            int64 // replies since the start
	Errors         int64
}

const (
	maxConns    = 1 << 20
	maxDepth    = 1 << 16
	maxSize     = 1 << 30
	maxRequests = 2 << 30 // bytes of all requests that may be in flight at once, in a closed loop
	maxThreads  = 1 << 8
	maxRate     = 1e9
	spareFiles  = 64 // beside those of connections
)

func (c Config) withDefaults() (Config, error) {
	fill(&c.Proto, "echo")
	fill(&c.Conns, 50)
	fill(&c.Size, 64)
	fill(&c.Duration, 10*time.Second)
	fill(&c.Warmup, time.Second)
	c.Warmup = max(c.Warmup, 0)
	fill(&c.Threads, 1)
	fill(&c.Keys, 10_000)
	if c.Gets == 0 && c.Sets == 0 {
		c.Gets = 1
	}
	fill(&c.Depth, 1)
	switch {
	case c.Addr == "":
		return c, errors.New("no address: where is the server?")
	case c.Conns < 1 || c.Conns > maxConns:
		return c, fmt.Errorf("%d connections: want 1 to %d", c.Conns, maxConns)
	case c.Depth < 1 || c.Depth > maxDepth:
		return c, fmt.Errorf("a depth of %d: want 1 to %d", c.Depth, maxDepth)
	case !(c.Rate >= 0 && c.Rate <= maxRate):
		return c, fmt.Errorf("a rate of %g requests a second: want more than 0, and at most %g", c.Rate, float64(maxRate))
	case c.Size < identitySize || c.Size > maxSize:
		return c, fmt.Errorf("a size of %d bytes: want %d, the identity of a request, to %d", c.Size, identitySize, maxSize)
	case c.Keys < 1 || c.Keys > maxKeys:
		return c, fmt.Errorf("%d keys: want 1 to %d", c.Keys, int(maxKeys))
	case c.Gets < 0 || c.Sets < 0:
		return c, fmt.Errorf("a mix of %d:%d: want parts of gets and of sets", c.Gets, c.Sets)
	case c.Duration <= 0:
		return c, fmt.Errorf("a duration of %v: want more than none", c.Duration)
	case c.Threads < 1 || c.Threads > maxThreads:
		return c, fmt.Errorf("%d threads: want 1 to %d", c.Threads, maxThreads)
	case c.Threads > c.Conns:
		return c, fmt.Errorf("%d threads for %d connections: each thread needs one", c.Threads, c.Conns)
	case !(c.Churn >= 0 && c.Churn <= maxRate):
		return c, fmt.Errorf("a churn of %g connections a second: want 0 or more", c.Churn)
	case c.Idle < 0 || c.Idle > maxConns:
		return c, fmt.Errorf("%d idle connections: want 0 to %d", c.Idle, maxConns)
	case c.Rate == 0 && c.Conns*c.Depth*c.Size > maxRequests:
		return c, fmt.Errorf("%d connections with %d requests of %d bytes each: that is %d MiB in flight, and %d is the most",
			c.Conns, c.Depth, c.Size, c.Conns*c.Depth*c.Size>>20, maxRequests>>20)
	}
	if c.StatsURL != "" {
		return c, checkStatsURL(c.StatsURL)
	}
	return c, nil
}

func fill[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Describe is the load in a report. Defaults are filled in.
func (c Config) Describe() (result.Load, error) {
	c, err := c.withDefaults()
	if err != nil {
		return result.Load{}, err
	}
	l := result.Load{Proto: c.Proto, Addr: c.Addr, Conns: c.Conns, Depth: c.Depth, Rate: c.Rate, Size: c.Size,
		Duration: c.Duration, Warmup: c.Warmup, Threads: c.Threads, Churn: c.Churn, Idle: c.Idle}
	if c.Rate > 0 {
		l.Arrival = c.Arrival.String()
	}
	if c.Proto == "resp" || c.Proto == "memcache" {
		l.Keys, l.Dist, l.Mix = c.Keys, "uniform", fmt.Sprintf("%d:%d", c.Gets, c.Sets)
		if c.Zipf {
			l.Dist = "zipf"
		}
	}
	return l, nil
}

// ParseMix returns the parts of gets and sets that "gets:sets" names.
func ParseMix(s string) (gets, sets int, err error) {
	g, st, ok := strings.Cut(s, ":")
	gets, gerr := strconv.Atoi(g)
	sets, serr := strconv.Atoi(st)
	if !ok || gerr != nil || serr != nil || gets < 0 || sets < 0 || gets+sets == 0 || max(gets, sets) > math.MaxInt32 {
		return 0, 0, fmt.Errorf("a mix of %q: want gets:sets, as in 9:1", s)
	}
	return gets, sets, nil
}

// raiseFileLimit lets the process have n open files.
func raiseFileLimit(n int) error {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("limit on open files: %w", err)
	}
	want := uint64(n)
	if lim.Cur >= want {
		return nil
	}
	if lim.Max < want {
		return fmt.Errorf("%d open files are needed and %d are allowed: raise the hard limit (ulimit -Hn), or use fewer connections", want, lim.Max)
	}
	lim.Cur = lim.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("limit on open files: %w", err)
	}
	return nil
}
