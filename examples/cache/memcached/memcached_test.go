package memcached

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/examples/internal/runtest"
	"github.com/protoring/protoring/server"
)

// startMemcached starts a memcached with these arguments for t and returns its address.
func startMemcached(t testing.TB, args ...string) string {
	t.Helper()
	path := runtest.Tool(t, "memcached")
	out, err := exec.Command(path, "--version").Output()
	require.NoError(t, err)
	if got := strings.TrimSpace(string(out)); got != "memcached "+version {
		t.Skipf("%s is not %s, which this package is like", got, version)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	me, err := user.Current()
	require.NoError(t, err)
	cmd := exec.Command(path, append([]string{"-p", port, "-U", "0", "-l", "127.0.0.1", "-t", "1", "-u", me.Username}, args...)...)
	var log bytes.Buffer
	cmd.Stderr = &log
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-ended })
	t.Cleanup(func() {
		select {
		case <-ended:
			t.Errorf("memcached ended: %v %s", cmd.ProcessState, log.String())
		default:
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return addr
		}
		select {
		case <-ended:
			t.Fatalf("memcached ended: %s", log.String())
		case <-time.After(5 * time.Millisecond):
		}
		require.True(t, time.Now().Before(deadline), "memcached does not listen")
	}
}

// start serves items of at most maxItem bytes, or the default, and returns the address.
func start(t testing.TB, maxItem int, cfg server.Config) string {
	t.Helper()
	if cfg.Loops == 0 {
		cfg.Loops = 1
	}
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	srv, err := server.New(cfg)
	require.NoError(t, err)
	st := store.New(store.Config{MaxMemory: 256 << 20, Policy: store.AllKeysLRU})
	s := New(Config{Store: st, DB: st.DB(0), MaxItem: maxItem, Loops: srv.Loops(), Stats: srv.Stats})
	addr, err := server.Listen(srv, "tcp", "127.0.0.1:0", s.ListenConfig(), s.Connect)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-served)
		st.Close()
	})
	return addr.String()
}

// ask sends pieces over a new connection, ends the input, and returns all that comes back.
func ask(t testing.TB, addr string, pieces ...[]byte) []byte {
	t.Helper()
	got, err := tryAsk(addr, pieces...)
	require.NoError(t, err, "%.5000s", dump(string(bytes.Join(pieces, nil))))
	return got
}

func tryAsk(addr string, pieces ...[]byte) ([]byte, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	go func() {
		for _, b := range pieces {
			if _, err := c.Write(b); err != nil { // it closed
				return
			}
		}
		c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if len(got) > 0 {
		err = nil // a reset behind an answer
	}
	return got, err
}

// An answer is what a server said: its lines, without what differs between any two servers, and the cas uniques in them.
type answer struct {
	lines   []string
	uniques []unique
	ttls    []int
}

// A unique is a cas unique, of a key where that is known.
type unique struct {
	key string
	n   uint64
}

var debug = regexp.MustCompile(`exp=(-?\d+) la=\d+ cas=(\d+) (fetch=\w+) cls=\d+ size=\d+`)

// addTTL takes note of the seconds that an item has to live, which two clocks may see differently.
func (a *answer) addTTL(n int) string {
	if n <= 0 || n > 1<<31 {
		return strconv.Itoa(min(n, 0)) // what is over wraps in memcached
	}
	a.ttls = append(a.ttls, n)
	return "<ttl>"
}

// maxSkew is the most seconds by which they may differ.
const maxSkew = 3

// parse takes an answer apart. What does not parse is a line of its own.
func parse(b []byte) (a answer) {
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte("\r\n"))
		b = rest
		words := strings.Split(string(line), " ")
		data := -1
		switch words[0] {
		case "VALUE":
			if len(words) >= 4 {
				data, _ = strconv.Atoi(words[3])
			}
			if len(words) == 5 {
				n, _ := strconv.ParseUint(words[4], 10, 64)
				a.uniques = append(a.uniques, unique{words[1], n})
				words[4] = "<unique>"
			}
		case "VA":
			data, _ = strconv.Atoi(words[1])
			fallthrough
		case "HD", "EX", "NS", "NF", "EN":
			for i, w := range words {
				if i == 0 || w == "" || i == 1 && words[0] == "VA" {
					continue
				}
				switch n, err := strconv.ParseUint(w[1:], 10, 64); {
				case w[0] == 'c' && err == nil:
					if n != 0 {
						a.uniques = append(a.uniques, unique{"", n})
						words[i] = "<unique>"
					}
				case w[0] == 't' && err == nil:
					words[i] = "t" + a.addTTL(int(n))
				case w[0] == 'l':
					words[i] = "l"
				}
			}
		case "ME":
			text := string(line)
			if found := debug.FindStringSubmatch(text); found != nil {
				n, _ := strconv.ParseUint(found[2], 10, 64)
				a.uniques = append(a.uniques, unique{"", n})
				exp, _ := strconv.Atoi(found[1])
				shown := found[1]
				if exp < -1 {
					shown = a.addTTL(-exp)
				}
				text = debug.ReplaceAllString(text, fmt.Sprintf("exp=%s cas=<unique> %s", shown, found[3]))
			}
			words = []string{text}
		}
		a.lines = append(a.lines, strings.Join(words, " "))
		if data >= 0 {
			end := min(data+2, len(b))
			a.lines = append(a.lines, fmt.Sprintf("%q", b[:end]))
			b = b[end:]
		}
	}
	return a
}

// A pair is what two servers call one version of an item.
type pair struct{ theirs, ours uint64 }

// A comparison has two servers in the same state.
type comparison struct {
	t            testing.TB
	theirs, ours string // addresses
	rng          *rand.Rand
	uniques      map[uint64]uint64 // theirs, which are unique, to ours, which are unique for one key
	known        map[string][]pair
	commands     int
	before       [3]string // what was played last
}

func compareWith(t testing.TB, theirs, ours string, seed uint64) *comparison {
	return &comparison{t: t, theirs: theirs, ours: ours, rng: rand.New(rand.NewPCG(seed, seed)),
		uniques: map[uint64]uint64{}, known: map[string][]pair{}}
}

var placeholder = regexp.MustCompile(`<(\w+):(\d+)>`)

// fill puts the cas uniques in that a server gave: <a:0> is the last one that is known of the key a, <a:1> the one before.
func (c *comparison) fill(s string, of func(pair) uint64) string {
	return placeholder.ReplaceAllStringFunc(s, func(p string) string {
		found := placeholder.FindStringSubmatch(p)
		back, _ := strconv.Atoi(found[2])
		list := c.known[found[1]]
		if back >= len(list) {
			return fmt.Sprintf("%020d", 1<<60)
		}
		return fmt.Sprintf("%020d", of(list[len(list)-1-back])) // of one length: they may end up within data
	})
}

// cut cuts b at random places.
func (c *comparison) cut(b string) (pieces [][]byte) {
	for range c.rng.IntN(4) {
		at := c.rng.IntN(len(b) + 1)
		pieces = append(pieces, []byte(b[:at]))
		b = b[at:]
	}
	return append(pieces, []byte(b))
}

// play sends commands to both servers, pipelined on a new connection, and compares what they say.
func (c *comparison) play(commands string) {
	c.t.Helper()
	toThem := c.fill(commands, func(p pair) uint64 { return p.theirs })
	toUs := c.fill(commands, func(p pair) uint64 { return p.ours })
	if os.Getenv("MEMCACHED_DUMP") != "" {
		os.WriteFile("/tmp/last-batch", []byte(toThem), 0o644)
	}
	them, us := ask(c.t, c.theirs, c.cut(toThem)...), ask(c.t, c.ours, c.cut(toUs)...)
	want, got := parse(them), parse(us)
	defer func() { c.before = [3]string{c.before[1], c.before[2], toUs} }()
	for i := range max(len(want.lines), len(got.lines)) {
		if i >= len(want.lines) || i >= len(got.lines) || want.lines[i] != got.lines[i] {
			from := max(0, i-4)
			c.t.Fatalf("after %d commands, line %d differs:\n%s\n memcached %.600q\n ours      %.600q\nbefore: %.1000q", c.commands, i, dump(toUs),
				shorten(want.lines[from:min(len(want.lines), i+3)]), shorten(got.lines[from:min(len(got.lines), i+3)]), shorten(c.before[:]))
		}
	}
	require.Len(c.t, got.ttls, len(want.ttls))
	for i, n := range want.ttls {
		require.InDelta(c.t, n, got.ttls[i], maxSkew, "%s", dump(toUs))
	}
	require.Len(c.t, got.uniques, len(want.uniques))
	for i, u := range want.uniques {
		ours := got.uniques[i].n
		if before, ok := c.uniques[u.n]; ok && before != ours {
			c.t.Fatalf("%s: memcached has cas unique %d as before, ours is %d and was %d:\n%s", u.key, u.n, ours, before, dump(toUs))
		}
		c.uniques[u.n] = ours
		if u.key == "" {
			continue
		}
		list := c.known[u.key]
		if n := len(list); n > 0 && list[n-1].ours == ours && list[n-1].theirs != u.n {
			c.t.Fatalf("%s: memcached has a new cas unique, ours is %d as before:\n%s", u.key, ours, dump(toUs))
		}
		if n := len(list); n == 0 || list[n-1].ours != ours {
			c.known[u.key] = append(list, pair{u.n, ours})
		}
	}
}

// runs are what of a dump is told by its beginning.
var runs = regexp.MustCompile(`k{20,}|x{20,}|y{20,}|z{20,}|o{20,}`)

func shorten(lines []string) (list []string) {
	for _, s := range lines {
		list = append(list, dump(s))
	}
	return list
}

func dump(s string) string {
	s = runs.ReplaceAllStringFunc(s, func(run string) string { return fmt.Sprintf("<%c*%d>", run[0], len(run)) })
	s = fmt.Sprintf("%q", strings.TrimSuffix(s, padding))
	return strings.ReplaceAll(s[1:len(s)-1], `\r\n`, "\n")
}

// run compares some random commands.
func (c *comparison) run(meta bool, commands int) {
	batch, round := 50, 40 // commands of a batch, batches until all is flushed
	if os.Getenv("MEMCACHED_SINGLE") != "" {
		batch, round = 1, 2000 // to see which it is
	}
	g := generator{Rand: c.rng, meta: meta}
	all := "gets " + strings.Join(keys[:5], " ") + "\r\n"
	for i := 0; c.commands < commands; i++ {
		var b strings.Builder
		if i%round == 0 {
			b.WriteString("flush_all\r\n")
			clear(c.known)
			clear(c.uniques)
		}
		g.sum = c.rng.IntN(2) == 0
		if c.rng.IntN(60) == 0 {
			b.WriteString(g.large()) // before anything that may be longer than it says
		}
		for range batch {
			command := ""
			if meta {
				command = g.metaCommand()
			} else {
				command = g.text()
			}
			b.WriteString(command)
			c.commands++
		}
		c.play("mn\r\n" + b.String() + padding) // first a line that is not of the binary protocol
		c.play(all)
		if meta {
			c.play("me a\r\nme b\r\nmg c t f h s c u\r\nme foo\r\nmg Zm9v b k t u\r\nmg d t R50 u\r\n")
		}
	}
}

// commandsOf is how many random commands the test compares. The variable is for a long run.
func commandsOf(t testing.TB) int {
	if s := os.Getenv("MEMCACHED_COMMANDS"); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(t, err)
		return n
	}
	if testing.Short() || buffers.Checked {
		return 5_000
	}
	return 20_000
}

func seedOf(t testing.TB) uint64 {
	if s := os.Getenv("MEMCACHED_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		return n
	}
	return rand.Uint64N(1_000_000)
}

func TestRandomAgainstMemcached(t *testing.T) {
	// Its threads hold items at times that nobody knows, and an incr does not change such an item in place.
	theirs := startMemcached(t, "-o", "no_lru_maintainer,no_lru_crawler")
	for _, meta := range []bool{false, true} {
		name := "text"
		if meta {
			name = "meta"
		}
		t.Run(name, func(t *testing.T) {
			seed := seedOf(t)
			t.Logf("seed %d", seed)
			c := compareWith(t, theirs, start(t, itemLimit, server.Config{}), seed)
			c.run(meta, commandsOf(t))
			t.Logf("%d commands", c.commands)
		})
	}
}

func TestCacheDump(t *testing.T) {
	addr := start(t, 0, server.Config{})
	const requests = "stats cachedump 1 0\r\nstats cachedump\r\nstats cachedump 1\r\nstats cachedump x 1\r\nstats cachedump 1 x\r\nstats cachedump -1 0\r\n" +
		"stats cachedump 1 -1\r\nstats cachedump 64 0\r\nstats cachedump 63 0\r\nstats cachedump 0 0\r\nstats cachedump 1 1 x\r\n"
	require.Equal(t, string(ask(t, startMemcached(t), []byte(requests))), string(ask(t, addr, []byte(requests))))
	require.Equal(t, "STORED\r\nITEM a [3 b; 0 s]\r\nEND\r\nEND\r\n", // in memcached when it has been there for a while
		string(ask(t, addr, []byte("set a 5 0 3\r\nabc\r\nstats cachedump 1 0\r\nstats cachedump 2 0\r\n"))))
	require.Equal(t, "HD\r\nITEM a [3 b; 0 s]\r\nEND\r\n", string(ask(t, addr, []byte("ms DQo= 1 b\r\nx\r\nstats cachedump 1 0\r\n"))), "a key of a line end")
	var sets []byte
	for i := range 5000 {
		sets = fmt.Appendf(sets, "set key%d 0 100 1 noreply\r\nx\r\n", i)
	}
	ask(t, addr, sets)
	for limit, want := range map[int]int{1: 1, 1234: 1234, 0: 2000} { // without a limit, as many as fit the bound on an answer
		got := ask(t, addr, fmt.Appendf(nil, "stats cachedump 1 %d\r\n", limit))
		require.GreaterOrEqual(t, bytes.Count(got, []byte("ITEM ")), want)
		require.Less(t, len(got), 80<<10)
		require.True(t, bytes.HasSuffix(got, []byte("\r\nEND\r\n")))
	}
}

// differences are known. Each is played, so that a row that is no longer true fails; docs/cache.md has those that cannot be.
var differences = []struct{ commands, reason string }{
	{"set n 0 0 2\r\n10\r\nmg n v\r\ndecr n 1\r\nget n\r\n", "a number that fits stays in its place, also while an answer with it is not sent yet"},
	{"set n 0 0 1\r\n9\r\nma n T100\r\nmg n t\r\n", "T is that of the item, where memcached sets that of the one that the longer number has replaced"},
	{"mg Zm9v b N100 k v\r\n", "a key in base64 stays one where N makes the item; memcached shows its bytes"},
	{"set k 0 0 1\r\na\r\nget " + strings.Repeat("k", 251) + "\r\n", "an error takes no answers with it that are not sent yet"},
	{"set k 0 100 1\r\na\r\nmg k T-1 t\r\n", "an item that is over has 0 seconds to live, not 4294967295 less the server's age"},
	{"me nokey\r\nset k 0 0 1\r\na\r\nme k\r\n", "size is what the store counts for it"},
	{"mn\r\nms k 1000000000 MX\r\n", "an error is answered before the data behind it is skipped"},
	{"flush_all 1\r\nset k 0 0 1\r\na\r\nget k\r\n", "the delay is not a second shorter"},
	{"stats settings\r\n", "fewer"},
	{"lru mode flat\r\n", "memory is the store's"},
	{"cache_memlimit 64\r\n", "memory is the store's"},
	{"lru_crawler tocrawl 1\r\n", "expired items are reclaimed in another way"},
	{"set k 0 0 1\r\na\r\nstats cachedump 1 0\r\n", "a key is shown at once, not when it has been there for a while"},
}

func TestDifferences(t *testing.T) {
	ours := start(t, 0, server.Config{})
	for _, d := range differences {
		theirs := startMemcached(t)
		if them, us := ask(t, theirs, []byte(d.commands)), ask(t, ours, []byte(d.commands)); bytes.Equal(them, us) {
			t.Errorf("%q does not differ, %q: %s", d.commands, us, d.reason)
		} else {
			t.Logf("%.60q\n memcached %.300q\n ours      %.300q\n %s", d.commands, them, us, d.reason)
		}
		ask(t, ours, []byte("flush_all\r\n"))
	}
}
