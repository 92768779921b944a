package compare

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/protoring/protoring/bench/result"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// asServer makes this test binary a server with a fault.
const asServer = "COMPARE_TEST_SERVER"

func TestMain(m *testing.M) {
	if fault := os.Getenv(asServer); fault != "" {
		serve(fault, os.Args[1])
	}
	var err error
	if buildDir, err = os.MkdirTemp("", "compare-test-"); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(status)
}

const faultAfter = 100 * time.Millisecond

// serve is an echo server: one that dies in the middle of a load, or one that answers wrongly then.
func serve(fault, addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		go func() {
			b := make([]byte, 4096)
			var begun time.Time
			for {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				if begun.IsZero() {
					begun = time.Now()
				}
				if time.Since(begun) > faultAfter {
					if fault == "dies" {
						fmt.Println("out of luck")
						os.Exit(3)
					}
					b[0] ^= 1
				}
				if _, err := c.Write(b[:n]); err != nil {
					return
				}
			}
		}()
	}
}

func TestOrder(t *testing.T) {
	require.Equal(t, []int{0, 1, 2}, order(3, 0))
	require.Equal(t, []int{1, 2, 0}, order(3, 1))
	require.Equal(t, []int{2, 0, 1}, order(3, 2))
	require.Equal(t, []int{0, 1, 2}, order(3, 3))
	require.Empty(t, order(0, 7))
}

// buildDir is where the program is built. TestMain makes it, and removes it at the end.
var buildDir string

// build makes this module's program, which is the load.
var build = sync.OnceValues(func() (string, error) {
	path := filepath.Join(buildDir, "bench")
	cmd := exec.Command("go", "build", "-o", path, "..")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func program(t *testing.T) string {
	t.Helper()
	path, err := build()
	require.NoError(t, err)
	return path
}

// cpus are one for the servers and one for the load.
func cpus(t *testing.T) (server int, load []int) {
	t.Helper()
	var set unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &set))
	if set.Count() < 2 {
		t.Skip("a comparison needs two CPUs")
	}
	for !set.IsSet(server) {
		server++
	}
	l := server + 1
	for !set.IsSet(l) {
		l++
	}
	return server, []int{l}
}

const testSpec = `title: Test
servers:
  one:
    build: ["go -C {root}/bench/peers/net build -o {bin}/net ."]
    run: "{bin}/net -listen {host}:{port}"
    version: go version
    note: a note
  two:
    build: ["go -C {root}/bench/peers/net build -o {bin}/net ."]
    run: "{bin}/net -listen {host}:{port} -loops 1"
  tells:
    build: ["go -C {root} build -o {bin}/echo ./examples/echo"]
    run: "{bin}/echo -listen {host}:{port} -loops 1 -engine epoll -stats {host}:{port2}"
    stats: http://{host}:{port2}/stats
  absent:
    needs: [no-such-program]
    run: "no-such-program {port}"
  unbuilt:
    optional: true
    build: ["go mod init x", "go build -o {bin}/x ./nothing"]
    run: "{bin}/x {port}"
  broken:
    build: ["go build -o {bin}/x {dir}/nothing.go"]
    run: "{bin}/x {port}"
  ends:
    run: "sh -c 'echo no luck; exit 7' {port}"
  silent:
    run: "sleep 60 {port}"
  dies:
    run: "env COMPARE_TEST_SERVER=dies {dir}/self {host}:{port}"
  wrong:
    run: "env COMPARE_TEST_SERVER=wrong {dir}/self {host}:{port}"
defaults:
  load: {conns: 2}
  servers: [one, two]
cases:
  - name: good
    servers: [one, two, absent, unbuilt, tells]
    reference: two
  - name: rate
    load: {rate: 2000}
    reference: two
  - name: bad
    servers: [one, broken, ends, silent, dies, wrong]
    reference: ends
  - name: bad-again
    servers: [one, broken, ends]
`

// open returns the test's spec, in a folder with this binary in it.
func open(t *testing.T) *Spec {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(dir, "self")))
	path := filepath.Join(dir, "test.yaml")
	require.NoError(t, os.WriteFile(path, []byte(testSpec), 0o600))
	s, err := Open(path)
	require.NoError(t, err)
	return s
}

// goodDuration is long enough for replies to come while others keep the CPUs busy.
const goodDuration = 500 * time.Millisecond

func TestCompare(t *testing.T) {
	server, load := cpus(t)
	s := open(t)
	cases, err := s.Select([]string{"good", "rate"})
	require.NoError(t, err)
	var steps, kept []string
	report, err := Run(context.Background(), Config{Spec: s, Cases: cases, ServerCPU: server, LoadCPUs: load, Rounds: 2, Duration: goodDuration, Warmup: 50 * time.Millisecond,
		Program: program(t), Log: testLog{t}, Keep: func(r *result.Report) {
			kept = append(kept, fmt.Sprintf("%d cases, %s", len(r.Cases), r.Incomplete))
		}, Progress: func(p Progress) {
			steps = append(steps, fmt.Sprintf("%s %d %s", p.Case, p.Round, p.Server))
		}})
	require.NoError(t, err)
	require.Empty(t, report.Incomplete)
	require.Equal(t, []string{"1 cases, not all cases have been run"}, kept)
	require.Equal(t, result.KindCompare, report.Kind)
	require.Equal(t, strconv.Itoa(server), report.Environment.ServerCPUs)
	require.Contains(t, report.Environment.Versions["one"], "go version go1.")
	require.Equal(t, []string{"good 1 one", "good 1 two", "good 1 tells", "good 2 two", "good 2 tells", "good 2 one",
		"rate 1 one", "rate 1 two", "rate 2 two", "rate 2 one"}, slices.Compact(steps), "it is told before each and after it")

	good := report.Cases[0]
	require.Equal(t, "two", good.Reference)
	require.Equal(t, 2, good.Load.Conns)
	require.Equal(t, 1, good.Load.Depth)
	require.Equal(t, goodDuration, good.Load.Duration)
	require.Empty(t, good.Load.Addr)
	for _, k := range good.Series[:2] {
		require.Len(t, k.Rounds, 2, k.Name)
		for _, r := range k.Rounds {
			require.Positive(t, r.Achieved)
			require.Positive(t, r.Latency.P50)
			require.Positive(t, r.Server.CPUPerOp)
		}
	}
	tells := good.Series[4]
	require.Len(t, tells.Rounds, 2, tells.Skipped)
	for _, r := range tells.Rounds {
		require.NotNil(t, r.Stats)
		require.Equal(t, "epoll", r.Stats.Engine)
		require.Greater(t, r.Stats.Total["Messages"], r.Ops/2, "requests that come one after the other are messages each")
		require.Positive(t, r.Stats.Seconds)
	}
	require.Nil(t, good.Series[0].Rounds[0].Stats)
	require.Equal(t, "a note", good.Series[0].Note)
	require.Equal(t, "no-such-program is not installed", good.Series[2].Skipped)
	require.Contains(t, good.Series[3].Skipped, "it cannot be built: go build: ")

	for _, k := range report.Cases[1].Series {
		require.InDelta(t, 2000, k.Rounds[1].Offered, 20)
	}
	b, err := json.Marshal(report)
	require.NoError(t, err)
	require.NotContains(t, string(b), "NaN")
}

func TestFailures(t *testing.T) {
	server, load := cpus(t)
	s := open(t)
	cases, err := s.Select([]string{"bad", "bad-again"})
	require.NoError(t, err)
	report, err := Run(context.Background(), Config{Spec: s, Cases: cases, ServerCPU: server, LoadCPUs: load, Rounds: 2, Duration: 300 * time.Millisecond, Warmup: 20 * time.Millisecond,
		Program: program(t), StartTime: 5 * time.Second, Log: testLog{t}})
	require.Error(t, err)
	require.Equal(t, err.Error(), report.Incomplete)
	require.NotContains(t, err.Error(), "goroutine")
	for _, n := range []string{"broken: ", "ends: ", "silent: ", "dies: ", "wrong: "} {
		require.Equal(t, 1, strings.Count(err.Error(), n), "%s in %s", n, err)
	}
	bad := report.Cases[0]
	require.Equal(t, "one", bad.Reference)
	require.Len(t, bad.Series[0].Rounds, 2)
	for i, want := range []string{
		"it cannot be built: go build: ",
		"it ended at once: exit status 7 (its log ends with: no luck)",
		"it does not listen at 127.0.0.1:",
		"it ended in the middle: exit status 3 (its log ends with: out of luck",
	} {
		require.Contains(t, bad.Series[1+i].Skipped, want)
	}
	wrong := bad.Series[5]
	require.NotEmpty(t, wrong.Skipped+wrong.Note)
	require.Contains(t, report.Incomplete, "bad, wrong: ")

	again := report.Cases[1]
	require.Len(t, again.Series[0].Rounds, 2)
	require.Equal(t, bad.Series[1].Skipped, again.Series[1].Skipped)
	require.Equal(t, bad.Series[2].Skipped, again.Series[2].Skipped)
}

func TestCanceled(t *testing.T) {
	server, load := cpus(t)
	s := open(t)
	cases, err := s.Select([]string{"good"})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	report, err := Run(ctx, Config{Spec: s, Cases: cases, ServerCPU: server, LoadCPUs: load, Rounds: 100, Duration: 100 * time.Millisecond, Warmup: 20 * time.Millisecond,
		Program: program(t), Progress: func(p Progress) {
			if p.Round == 2 && p.Rate == 0 {
				cancel()
			}
		}})
	require.EqualError(t, err, "it was ended early")
	require.Equal(t, "it was ended early", report.Incomplete)
	require.Len(t, report.Cases[0].Series[0].Rounds, 1)
	require.Equal(t, "two", report.Cases[0].Reference)
}

// TestPeers puts those peers under load that need nothing from elsewhere. Each reply is checked. The large ones do not fit into what the
// server in C has to receive into.
func TestPeers(t *testing.T) {
	server, load := cpus(t)
	s, err := Open("echo")
	require.NoError(t, err)
	cases, err := s.Select([]string{"echo-50x16", "echo-16k", "echo-1m", "echo-rate-20k"})
	require.NoError(t, err)
	report, err := Run(context.Background(), Config{Spec: s, Cases: cases, ServerCPU: server, LoadCPUs: load, Rounds: 1, Duration: 200 * time.Millisecond,
		Warmup: 50 * time.Millisecond, Program: program(t), Only: []string{"c", "net"}, Log: testLog{t}})
	require.NoError(t, err)
	for _, c := range report.Cases {
		for _, k := range c.Series {
			if k.Skipped == "gcc is not installed" {
				t.Log(k.Skipped)
				continue
			}
			require.Len(t, k.Rounds, 1, "%s in %s: %s", k.Name, c.Name, k.Skipped)
			require.Empty(t, k.Rounds[0].Errors)
		}
	}
}

func TestConfigFaults(t *testing.T) {
	s := open(t)
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{ServerCPU: 1, LoadCPUs: []int{1}}, "CPU 1 is for the servers and for the load: each needs its own"},
		{Config{ServerCPU: 9999}, "there is no CPU 9999 for this process"},
		{Config{LoadCPUs: []int{-1}}, "there is no CPU -1 for this process"},
		{Config{Rounds: -1}, "-1 rounds: want 1 or more"},
		{Config{Duration: -1}, "a duration of -1ns: want more than none"},
		{Config{Only: []string{"three"}}, `no server "three" in these cases: there are absent, broken, dies, ends, one, silent, tells, two, unbuilt, wrong`},
	} {
		c.cfg.Spec = s
		report, err := Run(context.Background(), c.cfg)
		require.EqualError(t, err, c.want)
		require.Nil(t, report)
	}
}

func TestHold(t *testing.T) {
	rounds := func(rates ...float64) (rs []*result.Round) {
		for _, v := range rates {
			rs = append(rs, &result.Round{Achieved: v})
		}
		return rs
	}
	spec := &Spec{Servers: map[string]*Server{"p": {}, "e": {ExampleOf: "p"}}}
	for _, c := range []struct {
		p, e result.Series
		want string
	}{
		{result.Series{Rounds: rounds(96, 100, 90)}, result.Series{Rounds: rounds(100, 100, 100)}, "reaches at least 0.96 of the rate of e"},
		{result.Series{Rounds: rounds(90, 90, 100)}, result.Series{Rounds: rounds(100, 100, 100)}, "does not count: it reaches 0.90 of the rate of e"},
		{result.Series{Rounds: rounds(90)}, result.Series{Skipped: "no go"}, "not held against e, an example of its own project, which is skipped"},
		{result.Series{Skipped: "no go"}, result.Series{Rounds: rounds(90)}, ""},
	} {
		c.p.Name, c.e.Name = "p", "e"
		alone := result.Case{Name: "two", Series: []result.Series{{Name: "p", Note: "n"}}}
		r := &run{cfg: Config{Spec: spec}, report: &result.Report{Cases: []result.Case{{Name: "one", Series: []result.Series{c.p, c.e}}, alone}}}
		r.hold()
		require.Contains(t, r.report.Cases[0].Series[0].Note, c.want)
		require.Empty(t, r.report.Cases[0].Series[1].Note)
		require.Contains(t, r.report.Cases[1].Series[0].Note, c.want) // it counts nowhere then
		require.Contains(t, r.report.Cases[1].Series[0].Note, "n")
	}
}

func TestParseCheck(t *testing.T) {
	r, err := parseCheck(`"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
"GET","50000.00","0.470","0.120","0.463","0.719","0.983","2.343"
`, 100_000)
	require.NoError(t, err)
	require.InDelta(t, 2, r.Seconds, 1e-9)
	require.EqualValues(t, 983_000, r.Latency.P99)
	_, err = parseCheck("ERR\n", 1)
	require.EqualError(t, err, "redis-benchmark's output is not what it was in Redis 7")
	_, err = parseCheck("\"a\"\n\"1\"\n", 1)
	require.ErrorContains(t, err, "redis-benchmark prints no rps")
}

// testLog takes the lines of a log.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}
