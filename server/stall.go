package server

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"time"
)

// watchStalls looks after loops that do not come back from a reactor, and names what they are in. It costs a loop two stores a turn.
// The function that it returns ends it.
func (s *Server) watchStalls() (stop func()) {
	if s.cfg.StallTimeout < 0 {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(max(s.cfg.StallTimeout/2, time.Millisecond))
		defer tick.Stop()
		reported := make([]int64, len(s.loops))
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			for i, l := range s.loops {
				since := l.busy.Load()
				if since == 0 || since == reported[i] || l.engine.Now()-since < int64(s.cfg.StallTimeout) {
					continue
				}
				reported[i] = since
				s.log.log(slog.LevelError, "a loop is stalled: its connections wait for a reactor that does not return",
					slog.Int("loop", i), slog.Duration("for", time.Duration(l.engine.Now()-since)), slog.String("stack", l.stack()))
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// stack returns the stack of the loop's goroutine.
func (l *loop) stack() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	run := fmt.Appendf(nil, "server.(*loop).run(%p", l)
	for _, g := range bytes.Split(buf, []byte("\n\n")) {
		if bytes.Contains(g, run) {
			return string(g)
		}
	}
	return "not found"
}
