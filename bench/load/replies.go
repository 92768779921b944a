package load

import (
	"fmt"
	"sync/atomic"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/protoring/protoring/bench/result"
	"github.com/protoring/protoring/uring"
	"golang.org/x/sys/unix"
)

// tally is what a worker has counted in the measured time.
type tally struct {
	ops       int64 // replies
	due       int64 // requests that were due
	sent      int64 // bytes
	received  int64
	latency   *hdrhistogram.Histogram
	lag       *hdrhistogram.Histogram
	connects  *hdrhistogram.Histogram
	intervals []*hdrhistogram.Histogram
	errors    map[string]int64
	firstErr  error
	enters    int64 // system calls
}

// published is for the goroutine that shows the progress.
type published struct{ ops, errors atomic.Int64 }

func (w *worker) complete(cqe *uring.CQE, now int64) error {
	c := w.conns[cqe.UserData>>1]
	if cqe.UserData&1 == opSend {
		w.completeSend(c, cqe)
		return w.settle(c)
	}
	var err error
	if id, used := cqe.BufferID(); used {
		if cqe.Res > 0 && c.state <= leaving {
			err = w.take(c, w.buffer(id)[:cqe.Res], now)
		}
		w.bufs.Add(id, w.buffer(id))
	}
	if !cqe.More() {
		c.receiving = false
	}
	switch errno := unix.Errno(-min(cqe.Res, 0)); {
	case err != nil:
		w.fail(c, "wrong reply", err)
	case c.state > leaving:
	case cqe.Res == 0:
		w.fail(c, "closed by the server", fmt.Errorf("the server has closed it, with %d requests without a reply", c.asked.n))
	case cqe.Res < 0 && errno != unix.ENOBUFS:
		w.fail(c, errno.Error(), fmt.Errorf("receive: %w", errno))
	case !c.receiving:
		w.bufs.Advance()
		if err := w.arm(c); err != nil {
			return err
		}
	}
	return w.settle(c)
}

func (w *worker) completeSend(c *conn, cqe *uring.CQE) {
	c.sending = false
	switch errno := unix.Errno(-min(cqe.Res, 0)); {
	case c.state > leaving:
	case errno == unix.EAGAIN || errno == unix.EINTR:
	case errno != 0:
		w.fail(c, errno.Error(), fmt.Errorf("send: %w", errno))
	default:
		c.flight.sent += int(cqe.Res)
	}
	if c.flight.sent < c.flight.size || c.fill.size > 0 {
		w.mark(c)
	}
}

// take looks at bytes that came.
func (w *worker) take(c *conn, b []byte, now int64) error {
	w.lastWord = now
	if w.run.measured(now) {
		w.received += int64(len(b))
	}
	for len(b) > 0 {
		if c.asked.n == 0 {
			return fmt.Errorf("%d bytes came that nobody asked for: %q", len(b), excerpt(b))
		}
		a := c.asked.first()
		n, done, err := c.session.Check(a.tag, c.pos, b)
		if err != nil {
			refusal, ok := err.(*Refusal) //nolint:errorlint // by contract
			if !ok || !done || n <= 0 {
				return err
			}
			w.count(refusal.Kind, refusal)
		} else if n <= 0 || n > len(b) || (!done && n < len(b)) {
			return fmt.Errorf("the protocol's Check takes %d of %d bytes", n, len(b))
		}
		c.pos += n
		b = b[n:]
		if !done {
			break
		}
		c.pos = 0
		w.answered(a.due, now, err == nil)
		c.asked.pop()
		w.inFlight--
		w.replies++
	}
	w.mark(c)
	return nil
}

// answered counts a reply. Rates are of the replies that came in the measured time; latencies, in an open loop, of the requests that
// were due in it, whenever their replies came.
func (w *worker) answered(due, now int64, right bool) {
	if right && w.run.measured(now) {
		w.ops++
	}
	at := now
	if w.schedule != nil {
		at = due
	}
	if w.run.measured(at) {
		w.record(at, now-due)
	}
}

func (w *worker) record(at, nanos int64) {
	result.Record(w.latency, nanos)
	result.Record(w.intervals[w.run.part(at)], nanos)
}

// count counts an error.
func (w *worker) count(kind string, err error) {
	w.errors[kind]++
	w.published.errors.Add(1)
	if w.firstErr == nil {
		w.firstErr = err
	}
}

// fail ends a connection for good.
func (w *worker) fail(c *conn, kind string, err error) {
	if c.state >= closing {
		return
	}
	w.count(kind, fmt.Errorf("connection %d: %w", c.index*w.run.cfg.Threads+w.index, err))
	w.unanswered(c)
	w.shut(c)
	c.state = dead
	w.alive--
}

// unanswered gives up on the requests of a connection.
func (w *worker) unanswered(c *conn) {
	now := w.run.now()
	for ; c.asked.n > 0; c.asked.pop() {
		if due := c.asked.first().due; w.run.measured(due) {
			w.errors["no reply"]++
			w.record(due, now-due) // at least so long
		}
		w.inFlight--
	}
}

// shut ends what is in flight on a socket.
func (w *worker) shut(c *conn) {
	_ = unix.Shutdown(c.fd, unix.SHUT_RDWR) // an error says that the peer was first
	c.state = closing
}

// conclude counts what will get no reply.
func (w *worker) conclude() {
	now := w.run.now()
	for _, c := range w.conns {
		if c.state <= leaving {
			w.unanswered(c)
		}
	}
	if w.schedule == nil {
		return
	}
	// Requests that were due and could not be issued have waited as well.
	for end := w.run.end.Load(); w.schedule.next < min(now, end); w.schedule.advance() {
		if due := w.schedule.next; w.run.measured(due) {
			w.due++
			w.errors["not sent in time"]++
			w.record(due, now-due)
		}
	}
}
