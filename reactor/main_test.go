package reactor_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/reactor"
)

// TestMain fails on leaked goroutines.
func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	// A goroutine that ends is not always gone when its test is.
	for deadline := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := runtime.NumGoroutine(); code == 0 && n > before {
		buf := make([]byte, 1<<20)
		fmt.Printf("leaked goroutines: before %d, after %d\n%s\n", before, n, buf[:runtime.Stack(buf, true)])
		code = 1
	}
	os.Exit(code)
}

type (
	frame    = codec.Frame
	outbound = reactor.Outbound[codec.Frame]
	sender   = reactor.Sender[codec.Frame]
	peer     = reactor.Peer[codec.Frame]
)

// A lines is a reactor of lines with whatever its functions do. It has no optional hook.
type lines struct {
	codec.Line
	inbound func(line string, out *outbound) reactor.Status
}

func (l *lines) OnInbound(line *codec.Frame, out *outbound) reactor.Status {
	if l.inbound == nil {
		return reactor.Continue
	}
	return l.inbound(string(*line), out)
}

// A hooked has all hooks, and logs their calls.
type hooked struct {
	lines
	log     []string
	status  map[string]reactor.Status // that a hook returns
	hook    func(name string, out *outbound)
	onClose func(err error)
	closed  error
}

func (h *hooked) call(name string, out *outbound) reactor.Status {
	h.log = append(h.log, name)
	if h.hook != nil {
		h.hook(name, out)
	}
	return h.status[name]
}

func (h *hooked) OnInbound(line *codec.Frame, out *outbound) reactor.Status {
	name := "in " + string(*line)
	st := h.call(name, out)
	if h.inbound != nil {
		st = max(st, h.inbound(string(*line), out))
	}
	return st
}
func (h *hooked) OnOpen(out *outbound) reactor.Status  { return h.call("open", out) }
func (h *hooked) OnRoom(out *outbound) reactor.Status  { return h.call("room", out) }
func (h *hooked) OnEnd(out *outbound) reactor.Status   { return h.call("end", out) }
func (h *hooked) OnDrain(out *outbound) reactor.Status { return h.call("drain", out) }
func (h *hooked) OnOutbound(m *codec.Frame) {
	h.log = append(h.log, "out "+string(*m))
	if string(*m) == "panic" {
		panic("OnOutbound")
	}
}
func (h *hooked) OnClose(err error) {
	h.log = append(h.log, "close")
	h.closed = err
	if h.onClose != nil {
		h.onClose(err)
	}
}

// A host counts what a session asks for.
type host struct {
	wakes, dirty int
	ring         bool
}

func (h *host) Wake()        { h.wakes++ }
func (h *host) Dirty()       { h.dirty++ }
func (h *host) OnRing() bool { return h.ring }

// newSession returns a session on a host, with small limits: 64 bytes of a message, 32 of output, 4 batches, 16 messages.
func newSession[In any](t testing.TB, r reactor.Reactor[In, frame], change func(*reactor.Config)) (*reactor.Session[In, frame], *host) {
	h := &host{}
	cfg := &reactor.Config{Pool: buffers.NewPool(), MaxBufferLength: 64, MaxOutbound: 32, MaxQueued: 4, MaxMessages: 16}
	if change != nil {
		change(cfg)
	}
	t.Cleanup(cfg.Pool.Close)
	s := reactor.NewSession[In, frame](h, cfg, new(In))
	s.Bind(r)
	return s, h
}

// output returns what the session has to send.
func output[In any](s *reactor.Session[In, frame]) string {
	var all []byte
	for _, seg := range s.Output().AppendSegments(nil, 1<<20, 1<<30) {
		all = append(all, seg...)
	}
	return string(all)
}
