// Package server runs sockets, rings and sessions on every core. A [Server] has loops: each is one goroutine locked to its thread,
// with a ring and buffers of its own. [Listen] brings connections to them; [Server.Serve] runs them until its context is done,
// and then drains.
//
// The package knows no protocol: see reactor.Reactor for what a user writes, loop.go for how a turn goes, and docs/design.md
// for why.
package server

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/protoring/protoring/server/internal/engine"
	"golang.org/x/sys/unix"
)

// A Server runs loops and the connections on them. Its methods may be called from any goroutine.
type Server struct {
	cfg    Config
	engine Engine // as chosen: never EngineAuto once Serve has begun
	open   func(engine.Options) (engine.Engine, error)

	mu        sync.Mutex
	state     state
	listeners []*listener
	loops     []*loop
	ended     chan struct{} // closed when the loops have ended, or Close came before Serve
	closing   chan struct{} // closed by Close
	stop      context.CancelCauseFunc

	conns   atomic.Int64 // open connections, and those on their way to a loop
	waiting atomic.Bool  // an acceptor waits for a connection or a descriptor to go
	fatal   atomic.Pointer[error]
	cut     atomic.Int64 // connections that a drain's deadline, or Close, cut off
	last    Stats        // of the loops that have ended
	log     *logger
}

type state uint8

const (
	stateNew state = iota
	stateServing
	stateEnding
	stateEnded
)

// New returns a server, which opens nothing yet. With EngineURing it looks whether rings are allowed: the error says what forbids
// them and what to do about it.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Engine == EngineURing {
		if err := engine.URingUsable(); err != nil {
			return nil, fmt.Errorf("server: %w", err)
		}
	}
	s := &Server{cfg: cfg, engine: cfg.Engine, ended: make(chan struct{}), closing: make(chan struct{})}
	s.open = s.openEngine
	return s, nil
}

// openEngine makes an engine on the calling goroutine.
func (s *Server) openEngine(opts engine.Options) (engine.Engine, error) {
	if s.engine == EngineEpoll {
		return engine.NewEpoll(opts)
	}
	return engine.NewURing(opts)
}

// mayHoldP returns what a loop asks whether it may keep its P in a sleep, or nil where it never may.
func (s *Server) mayHoldP() func() bool {
	if !s.cfg.HoldP {
		return nil
	}
	return func() bool { return runtime.GOMAXPROCS(0) > s.cfg.Loops } // it may change
}

// Engine returns the engine in use: EngineAuto before Serve has decided.
func (s *Server) Engine() Engine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine
}

// Loops returns the number of loops.
func (s *Server) Loops() int { return s.cfg.Loops }

// Serve runs the server until ctx is done, then drains it: it accepts nothing more, tells each reactor (OnDrain), sends what is
// pending, and closes, at the latest after DrainTimeout. It returns nil only after a stop that was asked for, by ctx, in which all
// was sent: otherwise a *DrainError, ErrClosed after Close, or what went wrong.
func (s *Server) Serve(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s.mu.Lock()
	if s.state != stateNew {
		s.mu.Unlock()
		return ErrClosed
	}
	s.state, s.stop = stateServing, stop
	s.log = newLogger(s.cfg.Logger)
	defer s.log.close()
	err := s.start()
	if err == nil {
		for _, l := range s.listeners {
			s.attach(l)
		}
	}
	s.mu.Unlock()
	if err != nil {
		s.end()
		return err
	}
	watch := s.watchStalls()
	<-ctx.Done()
	s.mu.Lock()
	s.state = stateEnding
	s.mu.Unlock()
	for _, l := range s.loops {
		l.post(note{do: l.drain})
	}
	for _, l := range s.loops {
		select {
		case <-l.ended:
		case <-s.closing: // Close came while the server drained
			l.post(note{do: l.close})
			<-l.ended
		}
	}
	watch()
	s.end()
	if err := s.fatal.Load(); err != nil {
		return *err
	}
	select {
	case <-s.closing:
		return ErrClosed
	default:
	}
	if cut := s.cut.Load(); cut > 0 {
		return &DrainError{Cut: int(cut)}
	}
	return nil
}

// start makes the loops. The caller holds the lock.
func (s *Server) start() error {
	err := s.startLoops()
	if err != nil && s.cfg.Engine == EngineAuto {
		s.log.log(slog.LevelWarn, "io_uring is not available: using epoll", slog.String("reason", err.Error()))
		s.engine = EngineEpoll
		err = s.startLoops()
	}
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	if s.engine == EngineAuto {
		s.engine = EngineURing
	}
	return nil
}

// startLoops makes all loops before the first one runs: each looks at the others.
func (s *Server) startLoops() error {
	s.loops = make([]*loop, s.cfg.Loops)
	for i := range s.loops {
		s.loops[i] = newLoop(s, i)
	}
	for i, l := range s.loops {
		ready := make(chan error, 1)
		go l.run(ready)
		if err := <-ready; err != nil {
			for _, l := range s.loops[:i] {
				l.post(note{do: l.close})
				<-l.ended
			}
			<-l.ended
			s.loops = nil
			return err
		}
	}
	return nil
}

// attach gives a listener's sockets to loops. The caller holds the lock.
func (s *Server) attach(l *listener) {
	for i := range l.shared {
		s.loops[i].share(l)
	}
	for i, fd := range l.fds {
		loop := s.loops[i]
		if !loop.post(note{do: func() { loop.listen(l, fd) }}) {
			unix.Close(fd) // the loop has ended: it has failed
		}
	}
	l.fds = nil
}

// end closes what is left after the loops.
func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.loops {
		stats := l.public.load()
		s.last.Add(&stats)
	}
	for _, l := range s.listeners {
		l.close()
	}
	s.state, s.loops = stateEnded, nil
	close(s.ended)
}

// Close ends the server now: it closes all connections, whatever is pending, and makes Serve return ErrClosed. It returns when the
// loops have ended. (To send what is pending first: cancel Serve's context.)
func (s *Server) Close() error {
	s.mu.Lock()
	switch s.state {
	case stateNew:
		for _, l := range s.listeners {
			l.close()
		}
		s.state = stateEnded
		close(s.ended)
	case stateServing, stateEnding:
		s.stop(ErrClosed)
		select {
		case <-s.closing:
		default:
			close(s.closing)
		}
	}
	s.mu.Unlock()
	<-s.ended
	return nil
}

// Stats returns the sum over all loops.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := s.last
	for _, l := range s.loops {
		stats := l.public.load()
		sum.Add(&stats)
	}
	return sum
}

// LoopStats returns what each loop has counted, while the server runs.
func (s *Server) LoopStats() []Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := make([]Stats, len(s.loops))
	for i, l := range s.loops {
		stats[i] = l.public.load()
	}
	return stats
}

// fail ends the server: a loop cannot go on.
func (s *Server) fail(err error) {
	s.fatal.CompareAndSwap(nil, &err)
	s.stop(err)
}

// pick returns the loop for a new connection: the less loaded of two, which spreads nearly as well as the least loaded of all and
// does not herd.
func (s *Server) pick(first, second int) *loop {
	a, b := s.loops[first], s.loops[second]
	if b.load.Load() < a.load.Load() {
		return b
	}
	return a
}

// bindCPU binds the calling thread.
func bindCPU(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("bind a loop to CPU %d: %w", cpu, err)
	}
	return nil
}
