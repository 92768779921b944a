package redis_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/examples/cache/redis"
	"github.com/protoring/protoring/examples/internal/runtest"
	"github.com/protoring/protoring/server"
)

// The differential test plays random scripts, of commands that are right and of commands that are not, to a redis-server and to a
// cache, and compares the replies byte for byte, but for what depends on the time or on the order of a hash table. The commands of a
// script come on several connections, each waiting for the one before, and within a connection in bursts that are cut anywhere.
//
// Without more it plays for a few seconds. The environment tells it otherwise:
//
//	CACHE_DIFF=1000000     the number of commands to compare, for each version of the protocol and each engine
//	CACHE_DIFF_SEED=17     the first script, as a failure names it
//	CACHE_DIFF_ADDR=h:p    the server to compare with redis-server, instead of a cache in this process
//	CACHE_DIFF_MAX=10      how many differences end the test
const (
	shortCommands  = 12_000
	scriptCommands = 250
	mostCommands   = 30
	diffConns      = 5
	maxDifferences = 3
	shrinkTime     = 10 * time.Second
)

func TestDifferential(t *testing.T) {
	theirs := startRedisServer(t)
	for _, engine := range []server.Engine{server.EngineAuto, server.EngineEpoll} {
		ours := os.Getenv("CACHE_DIFF_ADDR")
		if ours == "" {
			ours = start(t, redis.Config{}, server.Config{Engine: engine, Loops: 2})
		} else if engine != server.EngineAuto {
			continue
		}
		for _, version := range []int{2, 3} {
			t.Run(fmt.Sprintf("%v, RESP%d", engine, version), func(t *testing.T) {
				d := &differ{t: t, addrs: [2]string{theirs, ours}, version: version}
				d.run(envInt("CACHE_DIFF", shortCommands), uint64(envInt("CACHE_DIFF_SEED", version)))
			})
		}
	}
}

func envInt(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

func startRedisServer(t *testing.T) string {
	path := runtest.Tool(t, "redis-server")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	dir := t.TempDir()
	logs, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", dir)
	cmd.Stdout = logs
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		logs.Close()
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, patience, 5*time.Millisecond)
	return addr
}

// A unit is what is kept together when a script is shrunk.
type unit struct {
	conn int
	cmds []wire
}

// A difference is what the two servers, redis-server first, said to a command.
type difference struct {
	conn int
	what string // the command
	says [2]string
	kind string // of command
}

func (d *difference) String() string {
	return fmt.Sprintf("conn %d: %s\n    redis %q\n    cache %q", d.conn, d.what, shorten(d.says[0]), shorten(d.says[1]))
}

func shorten(s string) string {
	if len(s) > 600 {
		return s[:500] + "…" + s[len(s)-100:]
	}
	return s
}

type differ struct {
	t        *testing.T
	addrs    [2]string
	version  int
	compared int
}

func (d *differ) run(commands int, seed uint64) {
	found := map[string]bool{}
	limit := envInt("CACHE_DIFF_MAX", maxDifferences)
	for began := time.Now(); d.compared < commands; seed++ {
		script := newGenerator(seed, d.version).script(scriptCommands)
		if diff := d.play(script, seed); diff != nil {
			if found[diff.kind] {
				continue
			}
			found[diff.kind] = true
			short, diff := d.shrink(script, diff, seed)
			var b strings.Builder
			for _, u := range short {
				for _, w := range u.cmds {
					fmt.Fprintf(&b, "    %d> %v\n", u.conn, w)
				}
			}
			d.t.Errorf("RESP%d, CACHE_DIFF_SEED=%d:\n%s  %v", d.version, seed, b.String(), diff)
			if len(found) >= limit {
				return
			}
		}
		if time.Since(began) > time.Minute && seed%500 == 0 {
			fmt.Fprintf(os.Stderr, "RESP%d: %d commands compared\n", d.version, d.compared)
		}
	}
	d.t.Logf("%d commands compared", d.compared)
}

// shrink takes units away as long as there is a difference.
func (d *differ) shrink(script []unit, diff *difference, seed uint64) ([]unit, *difference) {
	end := time.Now().Add(shrinkTime)
	for size := len(script) / 2; size > 0; {
		removed := false
		for from := 0; from < len(script) && time.Now().Before(end); {
			less := slices.Concat(script[:from], script[min(from+size, len(script)):])
			if again := d.play(less, seed); again != nil && again.kind == diff.kind {
				script, diff, removed = less, again, true
			} else {
				from += size
			}
		}
		if !removed || size > 1 {
			size /= 2
		}
	}
	return script, diff
}

// A game is one playing of a script.
type game struct {
	d     *differ
	rng   *rand.Rand
	peers [diffConns][2]*peer
	ids   [diffConns][2]string // of connections, where some track
	most  int                  // commands of a burst
	gone  map[string]bool      // keys that have expired
	told  [diffConns][]string  // messages at the last barrier
}

// play plays the script to both servers on new connections, and returns the first difference.
func (d *differ) play(script []unit, seed uint64) *difference {
	g := &game{d: d, rng: rand.New(rand.NewPCG(seed, 1)), most: mostCommands, gone: map[string]bool{}}
	if tracks(seed) {
		g.most = 1
		for conn := range g.peers {
			if _, diff := g.open(conn); diff != nil {
				return diff
			}
		}
	}
	defer g.close()
	for _, w := range []wire{{args: []string{"FLUSHALL"}}, {args: []string{"CONFIG", "SET", "timeout", "0", "maxmemory", "0"}}} {
		if diff := g.chunk(0, []wire{w}); diff != nil {
			diff.what = "before the script: " + diff.what
			return diff
		}
	}
	for i := 0; i < len(script); {
		var cmds []wire
		conn := script[i].conn
		for ; i < len(script) && script[i].conn == conn && len(cmds) < g.most; i++ {
			cmds = append(cmds, script[i].cmds...)
		}
		if diff := g.chunk(conn, cmds); diff != nil {
			return diff
		}
		if g.rng.IntN(12) == 0 || i == len(script) {
			if diff := g.barrier(); diff != nil {
				return diff
			}
		}
	}
	return nil
}

// chunk sends commands at once, but for those that stand alone, and compares the replies.
func (g *game) chunk(conn int, cmds []wire) *difference {
	for len(cmds) > 0 {
		n := 0
		for n < len(cmds) && !cmds[n].scan && !cmds[n].ends {
			n++
			if cmds[n-1].pause > 0 {
				break
			}
		}
		n = max(n, 1)
		if diff := g.burst(conn, cmds[:n]); diff != nil {
			return diff
		}
		time.Sleep(cmds[n-1].pause)
		cmds = cmds[n:]
	}
	return nil
}

// open returns the connection to both servers.
func (g *game) open(conn int) (pair [2]*peer, diff *difference) {
	pair = g.peers[conn]
	if pair[0] != nil && !pair[0].closed {
		return pair, nil
	}
	for i, addr := range g.d.addrs {
		p, err := dialPeer(addr)
		require.NoError(g.d.t, err)
		pair[i] = p
	}
	g.peers[conn] = pair
	if g.d.version == 3 {
		diff = g.burst(conn, []wire{{args: []string{"HELLO", "3"}}})
	}
	for i, p := range pair {
		if _, err := p.conn.Write(wire{args: []string{"CLIENT", "ID"}}.bytes()); err == nil {
			id, _ := p.outcome(wire{})
			g.ids[conn][i] = strings.Trim(strings.Join(id, ""), ":\r\n")
		}
	}
	return pair, diff
}

// forSide returns commands as they are sent to one of the servers.
func (g *game) forSide(side int, cmds []wire) (b []byte) {
	for _, w := range cmds {
		for i, a := range w.args {
			if n, ok := strings.CutPrefix(a, idOf(0)[:3]); ok {
				conn, _ := strconv.Atoi(n)
				w.args = slices.Clone(w.args)
				w.args[i] = g.ids[conn][side]
			}
		}
		if !w.scan {
			b = append(b, w.bytes()...)
		}
	}
	return b
}

func (g *game) burst(conn int, cmds []wire) *difference {
	pair, diff := g.open(conn)
	if diff != nil {
		return diff
	}
	var cuts []float64
	if !cmds[0].ends { // what follows an error must not be under way: a reset could overtake its reply
		for range g.rng.IntN(3) {
			cuts = append(cuts, g.rng.Float64())
		}
	}
	sort.Float64s(cuts)
	for side, p := range pair {
		b := g.forSide(side, cmds)
		sent := 0
		for _, cut := range append(cuts, 1) {
			end := int(cut * float64(len(b)))
			_, _ = p.conn.Write(b[sent:end]) // the reply tells
			sent = end
		}
	}
	for _, w := range cmds {
		if w.pause > 0 {
			g.gone[fmt.Sprintf(" invalid %q", w.args[1])] = true
		}
		queued := pair[0].queued
		var says [2][]string
		for i, p := range pair {
			var err error
			if says[i], err = p.outcome(w); err != nil {
				says[i] = append(says[i], "<"+err.Error()+">")
			}
		}
		g.d.compared++
		if !slices.EqualFunc(says[0], says[1], func(a, b string) bool { return same(w, queued, a, b) }) {
			return &difference{conn, w.String(), [2]string{strings.Join(says[0], ""), strings.Join(says[1], "")}, w.kind()}
		}
	}
	if pair[0].closed { // what it had subscribed to ends a moment later
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// barrier compares the messages that have come on all connections.
func (g *game) barrier() *difference {
	for conn, pair := range g.peers {
		if pair[0] == nil || pair[0].closed {
			continue
		}
		if diff := g.burst(conn, []wire{{args: []string{"PING"}}}); diff != nil {
			return diff
		}
	}
	for conn, pair := range g.peers {
		if pair[0] == nil || pair[0].closed {
			continue
		}
		theirs, ours := pair[0], pair[1]
		want := inOrder(g.less(theirs.pushed))
		late := func(m string) bool { // one of several for a key: the first was enough at the last barrier
			return strings.Contains(m, " invalid ") && slices.Contains(g.told[conn], m) && !slices.Contains(want, m)
		}
		got := func() []string { return inOrder(slices.DeleteFunc(g.less(ours.pushed), late)) }
		for end := time.Now().Add(patience / 4); !slices.Equal(want, got()); {
			if text, err := ours.nextMessage(time.Until(end)); err != nil {
				return &difference{conn, "messages (" + text + err.Error() + ")",
					[2]string{strings.Join(theirs.pushed, ""), strings.Join(ours.pushed, "")}, "messages"}
			}
		}
		theirs.pushed, ours.pushed, g.told[conn] = nil, nil, want
	}
	return nil
}

// less takes away what is told of keys that have expired: the cache remembers a key before it reads it, and so tells the reader of an
// expiry that it finds by this read, and a moment later.
func (g *game) less(messages []string) []string {
	return slices.DeleteFunc(slices.Clone(messages), func(m string) bool { return len(m) > 1 && g.gone[m[1:]] })
}

// inOrder returns messages to one channel as they came, then those to patterns, whose order is that of a hash table, and then the
// keys that have become invalid, each once.
func inOrder(messages []string) []string {
	var first, second []string
	for _, m := range messages {
		if strings.Contains(m[:min(len(m), 20)], "\nmessage\r") {
			first = append(first, m)
		} else {
			second = append(second, m)
		}
	}
	sort.Strings(second)
	for i := 1; i < len(second); {
		if second[i] == second[i-1] && strings.Contains(second[i], " invalid ") {
			second = slices.Delete(second, i, i+1)
		} else {
			i++
		}
	}
	return append(first, second...)
}

// close resets the connections first, so that nothing of them reaches into the next script.
func (g *game) close() {
	for _, pair := range g.peers {
		for _, p := range pair {
			if p != nil && !p.closed {
				if _, err := p.conn.Write(wire{args: []string{"RESET"}}.bytes()); err == nil {
					_, _ = p.outcome(wire{args: []string{"RESET"}})
				}
				p.conn.Close()
			}
		}
	}
}
