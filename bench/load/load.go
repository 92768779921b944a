// Package load puts a server under load and measures what comes of it: a closed loop, in which each connection has a fixed number of
// requests in flight, on one thread and one ring. Every reply is compared with what it must be.
package load

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Config is a load. The zero value of each field is its default.
type Config struct {
	// Proto is echo, resp-get, resp-set or resp-ping. If empty, echo.
	Proto string `json:"proto"`
	// Addr is host:port, or unix:path. It is required.
	Addr string `json:"addr"`
	// Conns is the number of connections. If zero, 50.
	Conns int `json:"conns"`
	// Depth is the number of requests that each connection keeps in flight. If zero, 1.
	Depth int `json:"depth"`
	// Size is that of an echo's payload or of a value, in bytes: 16 at least. If zero, 64.
	Size int `json:"size"`
	// Duration is the measured time. If zero, 5 s.
	Duration time.Duration `json:"durationNanos"`
	// Warmup is the time before it. If zero, 500 ms; if negative, none.
	Warmup time.Duration `json:"warmupNanos"`
	// Keys is the number of keys that RESP requests choose from, all alike. If zero, 10,000.
	Keys int `json:"keys"`
	// ServerPID is the server's process, when it is on this machine: then its CPU time is measured as well. If zero, it is not.
	ServerPID int `json:"serverPID,omitempty"`
	// CountSyscalls counts the server's system calls. That slows them, so the times of such a run are good for nothing.
	CountSyscalls bool `json:"countSyscalls,omitempty"`
}

const (
	maxConns    = 1 << 20
	maxDepth    = 1 << 12
	maxSize     = 1 << 30
	maxRequests = 2 << 30 // bytes of all requests that may be in flight at once
	spareFiles  = 64      // beside those of connections
)

func (c Config) withDefaults() (Config, error) {
	if c.Proto == "" {
		c.Proto = "echo"
	}
	fill(&c.Conns, 50)
	fill(&c.Depth, 1)
	fill(&c.Size, 64)
	fill(&c.Duration, 5*time.Second)
	fill(&c.Warmup, 500*time.Millisecond)
	fill(&c.Keys, 10_000)
	switch {
	case c.Addr == "":
		return c, errors.New("no address: where is the server?")
	case c.Conns < 1 || c.Conns > maxConns:
		return c, fmt.Errorf("%d connections: want 1 to %d", c.Conns, maxConns)
	case c.Depth < 1 || c.Depth > maxDepth:
		return c, fmt.Errorf("a depth of %d: want 1 to %d", c.Depth, maxDepth)
	case c.Size < identitySize || c.Size > maxSize:
		return c, fmt.Errorf("a size of %d bytes: want %d, the identity of a request, to %d", c.Size, identitySize, maxSize)
	case c.Keys < 1 || c.Keys > maxKeys:
		return c, fmt.Errorf("%d keys: want 1 to %d", c.Keys, int(maxKeys))
	case c.Duration < 0:
		return c, fmt.Errorf("a duration of %v: want more than none", c.Duration)
	case c.CountSyscalls && c.ServerPID == 0:
		return c, errors.New("counting the server's system calls needs its process ID")
	}
	return c, nil
}

func fill[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Run puts the server under load and returns what was measured. An error is one sentence that names what went wrong; a reply that
// is not right is one.
func Run(cfg Config) (*Result, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	proto, err := newProtocol(cfg)
	if err != nil {
		return nil, err
	}
	if n := cfg.Conns * cfg.Depth * len(proto.request); n > maxRequests {
		return nil, fmt.Errorf("%d connections with %d requests of %d bytes each: that is %d MiB in flight, and %d is the most",
			cfg.Conns, cfg.Depth, len(proto.request), n>>20, maxRequests>>20)
	}
	if err := raiseFileLimit(cfg.Conns + spareFiles); err != nil {
		return nil, err
	}
	type outcome struct {
		result *Result
		err    error
	}
	done := make(chan outcome)
	go func() { // the thread ends with this goroutine: the ring belongs to it
		runtime.LockOSThread()
		g := &generator{cfg: cfg, proto: proto}
		err := g.run()
		if cerr := g.close(); err == nil {
			err = cerr
		}
		done <- outcome{&g.result, err}
	}()
	o := <-done
	if o.err != nil {
		return nil, o.err
	}
	return o.result, nil
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
		return fmt.Errorf("%d open files are needed and %d are allowed: raise the hard limit (ulimit -Hn)", want, lim.Max)
	}
	lim.Cur = lim.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("limit on open files: %w", err)
	}
	return nil
}
