package server

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// A logger takes lines from loops without ever holding them up: a write to a full pipe blocks. It has a goroutine of its own, a
// bounded queue, and a bound on lines a second; what it had to leave out is counted and said.
type logger struct {
	queue   chan line
	dropped atomic.Int64
	done    chan struct{}
}

type line struct {
	level slog.Level
	text  string
	attrs []slog.Attr
}

const (
	logQueue     = 256
	logPerSecond = 100
	logPatience  = time.Second // how long the server's end waits for a log that blocks
)

func newLogger(out *slog.Logger) *logger {
	l := &logger{queue: make(chan line, logQueue), done: make(chan struct{})}
	go l.run(out)
	return l
}

func (l *logger) run(out *slog.Logger) {
	defer close(l.done)
	second, lines := time.Time{}, 0
	for ln := range l.queue {
		if now := time.Now(); now.Sub(second) >= time.Second {
			second, lines = now, 0
		}
		if lines++; lines > logPerSecond && ln.level < slog.LevelError {
			l.dropped.Add(1)
			continue
		}
		if n := l.dropped.Swap(0); n > 0 {
			out.LogAttrs(context.Background(), slog.LevelWarn, "log lines left out", slog.Int64("lines", n))
		}
		out.LogAttrs(context.Background(), ln.level, ln.text, ln.attrs...)
	}
	if n := l.dropped.Swap(0); n > 0 {
		out.LogAttrs(context.Background(), slog.LevelWarn, "log lines left out", slog.Int64("lines", n))
	}
}

// log queues a line. It is called from any goroutine, before close.
func (l *logger) log(level slog.Level, text string, attrs ...slog.Attr) {
	select {
	case l.queue <- line{level, text, attrs}:
	default:
		l.dropped.Add(1)
	}
}

// close writes what is queued, unless the log blocks.
func (l *logger) close() {
	close(l.queue)
	select {
	case <-l.done:
	case <-time.After(logPatience):
	}
}
