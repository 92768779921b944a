package server_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/reactor"
	"golang.org/x/sys/unix"
)

// lineRaw decodes lines and encodes bytes as they are.
type lineRaw struct{}

func (lineRaw) Decode(b []byte, m *frame) (int, error) { return codec.Line{}.Decode(b, m) }
func (lineRaw) Resume(b []byte, seen int, m *frame) (int, error) {
	return codec.Line{}.Resume(b, seen, m)
}
func (lineRaw) Encode(dst []byte, m frame) []byte { return append(dst, m...) }
func (lineRaw) Size(m frame) int                  { return len(m) }

// A kit is the reactor of most tests: each line is a command, and one that is none is sent back.
type kit struct {
	lineRaw
	peer peer
	book *book

	thread    int
	pos, left int // of the pattern that is being sent
	closed    int
}

// The pattern is what large replies consist of: bytes that do not repeat within a distance at which anything could be lost or
// doubled unseen.
var pattern = func() []byte {
	b := make([]byte, 1_048_573) // a prime
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}()

// patternAt returns up to n bytes of the pattern from pos on.
func patternAt(pos, n int) []byte {
	pos %= len(pattern)
	return pattern[pos:min(pos+n, len(pattern))]
}

// patternOf returns n bytes of the pattern.
func patternOf(n int) []byte {
	b := make([]byte, 0, n)
	for len(b) < n {
		b = append(b, patternAt(len(b), n-len(b))...)
	}
	return b
}

const kitChunk = 16 << 10 // the output of one call of produce exceeds the room by at most that

func (k *kit) OnInbound(line *frame, out *outbound) reactor.Status {
	k.here()
	return k.command(line, out)
}

func (k *kit) command(line *frame, out *outbound) reactor.Status {
	command, arg, _ := strings.Cut(string(*line), " ")
	n, _ := strconv.Atoi(arg)
	switch command {
	case "get": // n bytes, piece by piece
		k.left += n
		k.produce(out)
	case "get-drain":
		k.left += n
		k.produce(out)
		return reactor.Drain
	case "send": // n bytes, at once
		out.Send(patternOf(n))
	case "send-drain":
		out.Send(patternOf(n))
		return reactor.Drain
	case "drain":
		return reactor.Drain
	case "close":
		return reactor.Close
	case "panic":
		panic("asked for by " + arg)
	case "pause":
		return reactor.Pause
	case "block":
		k.book.stands.Store(k.peer.Loop, true)
		k.book.gate.wait()
		out.Send(frame("unblocked\n"))
	case "later": // answered from another goroutine, when the gate opens
		sender := k.peer.Sender
		k.book.wg.Go(func() {
			k.book.gate.wait()
			if err := sender.Do(func(out *outbound) reactor.Status {
				out.Send(frame(arg + "\n"))
				return reactor.Drain
			}); err != nil {
				k.book.fault("later: %v", err)
			}
		})
		return reactor.Continue
	case "peer":
		out.Send(fmt.Appendf(nil, "%v %v %d\n", k.peer.Local, k.peer.Remote, k.peer.Loop))
	default:
		out.Send(append(*line, '\n'))
	}
	return reactor.Continue
}

func (k *kit) produce(out *outbound) {
	for k.left > 0 && out.Room() > 0 {
		b := patternAt(k.pos, min(k.left, kitChunk))
		out.Send(b)
		k.pos += len(b)
		k.left -= len(b)
	}
}

func (k *kit) OnRoom(out *outbound) reactor.Status {
	k.here()
	k.produce(out)
	return reactor.Continue
}

func (k *kit) OnClose(err error) {
	k.here()
	k.closed++
	k.book.closedWith(k, err)
}

// here notes a call of a reactor that has ended, or on another thread than the calls before.
func (k *kit) here() {
	if k.closed > 0 {
		k.book.fault("a call after OnClose: %s", callers())
	}
	if tid := unix.Gettid(); k.thread != tid {
		k.book.fault("a call on thread %d, others on %d", tid, k.thread)
	}
}

// A book is what the kits of a server have seen.
type book struct {
	t      *testing.T
	gate   gate
	stands sync.Map // loops that wait at the gate
	wg     sync.WaitGroup

	mu    sync.Mutex
	kits  []*kit
	ends  []error
	wrong []string
}

// kit is the connect function.
func (b *book) kit(p peer) *kit {
	k := &kit{peer: p, book: b, thread: unix.Gettid()}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kits = append(b.kits, k)
	return k
}

func (b *book) fault(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong = append(b.wrong, fmt.Sprintf(format, args...))
}

func (b *book) faults() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wrong
}

func (b *book) closedWith(k *kit, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k.closed != 1 {
		b.wrong = append(b.wrong, "OnClose was called again")
	}
	b.ends = append(b.ends, err)
}

// last waits for the n-th connection that was made, and returns its kit.
func (b *book) last(n int) *kit {
	b.t.Helper()
	var k *kit
	until(b.t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.kits) >= n {
			k = b.kits[n-1]
		}
		return k != nil
	}, "connection %d", n)
	return k
}

// closes waits for n ends, and returns their errors.
func (b *book) closes(n int) []error {
	b.t.Helper()
	var ends []error
	until(b.t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		ends = b.ends
		return len(ends) >= n
	}, "%d ends of connections", n)
	if len(ends) != n {
		b.fault("%d ends of %d connections", len(ends), n)
	}
	return ends
}

// A gate holds goroutines until it is opened, for good.
type gate struct {
	once, opened sync.Once
	ch           chan struct{}
	n            atomic.Int32 // that wait, or have waited
}

func (g *gate) init() chan struct{} {
	g.once.Do(func() { g.ch = make(chan struct{}) })
	return g.ch
}

func (g *gate) wait() {
	g.n.Add(1)
	<-g.init()
}

func (g *gate) open() { g.opened.Do(func() { close(g.init()) }) }

func (g *gate) waiting() int { return int(g.n.Load()) }

// An answerer sends each line back: what the reactors of single tests have in common.
type answerer struct{ lineRaw }

func (answerer) OnInbound(line *frame, out *outbound) status {
	out.Send(append(*line, '\n'))
	return reactor.Continue
}

// A bounce is the smallest reactor.
type bounce struct{ codec.Line }

func (bounce) OnInbound(line *frame, out *outbound) reactor.Status {
	out.Send(*line)
	return reactor.Continue
}

func newBounce(peer) bounce { return bounce{} }

func callers() string {
	buf := make([]byte, 4<<10)
	return string(buf[:runtime.Stack(buf, false)])
}

func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// control is a net.Dialer's Control that works on the descriptor.
func control(f func(fd int) error) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil {
			return cerr
		}
		return err
	}
}

// walk calls f for each Go file.
func walk(root fs.FS, f func(path string, b []byte)) error {
	return fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		b, err := fs.ReadFile(root, path)
		if err != nil {
			return err
		}
		f(path, b)
		return nil
	})
}
