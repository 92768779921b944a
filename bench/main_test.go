package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/protoring/protoring/bench/result"
	"github.com/stretchr/testify/require"
)

// asProgram makes the test binary the program.
const asProgram = "PROTORING_BENCH_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	if more := os.Getenv(asServer); more != "" {
		serveKnown(more)
	}
	os.Exit(m.Run())
}

// bench runs the program, and returns its exit status and what it printed.
func bench(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	require.NotContains(t, errs.String(), "goroutine ", "a stack trace")
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// serve runs f for each connection.
func serve(t *testing.T, f func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
	return l.Addr().String()
}

func echo(c net.Conn) { _, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) }

func TestRunSweepReportDiff(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	addr := serve(t, echo)
	status, out, errs := bench(t, "run", "--addr", addr, "--conns", "5", "--rate", "500", "--arrival", "poisson", "--duration", "300ms", "--warmup", "50ms",
		"--allow-invalid", "--json", file("run.json"), "--hgrm", file("run.hgrm"), "--html", file("run.html"), "--title", "A <run>")
	require.Equal(t, statusOK, status, errs)
	require.Contains(t, out, "A <run>")
	require.Contains(t, out, "p99.9")
	hgrm, err := os.ReadFile(file("run.hgrm"))
	require.NoError(t, err)
	require.Contains(t, string(hgrm), "1/(1-Percentile)")
	html, err := os.ReadFile(file("run.html"))
	require.NoError(t, err)
	require.Contains(t, string(html), "A &lt;run&gt;")
	r, err := result.Read(file("run.json"))
	require.NoError(t, err)
	require.Equal(t, result.KindRun, r.Kind)
	require.Equal(t, 500.0, r.Cases[0].Load.Rate)
	require.Positive(t, r.Cases[0].Series[0].Rounds[0].Ops)
	require.NotContains(t, r.Command, string(filepath.Separator)+"main.test", "the folder of the program is nobody's business")

	status, out, errs = bench(t, "run", "--addr", addr, "--duration", "200ms", "--warmup", "0s", "--allow-invalid", "--json", "-", "-q")
	require.Equal(t, statusOK, status, errs)
	require.NoError(t, os.WriteFile(file("closed.json"), []byte(out), 0o600))

	status, out, errs = bench(t, "sweep", "--addr", addr, "--rates", "200,400", "--duration", "200ms", "--warmup", "50ms", "--allow-invalid", "--json", file("sweep.json"))
	require.Equal(t, statusOK, status, errs)
	require.Contains(t, out, "knee")
	require.Contains(t, errs, "400/s offered")

	status, _, errs = bench(t, "report", file("sweep.json"), file("run.json"), "--html", file("all.html"), "--title", "All")
	require.Equal(t, statusOK, status, errs)
	require.FileExists(t, file("all.html"))
	status, out, errs = bench(t, "report", file("closed.json"))
	require.Equal(t, statusOK, status, errs)
	require.Contains(t, out, addr)

	status, out, errs = bench(t, "diff", file("run.json"), file("run.json"))
	require.Equal(t, statusOK, status, errs)
	require.NotContains(t, out, "better")
}

// Several rounds are added up, and bench diff judges by them.
func TestRounds(t *testing.T) {
	dir := t.TempDir()
	addr := serve(t, echo)
	var files []string
	for _, name := range []string{"old.json", "new.json"} {
		files = append(files, filepath.Join(dir, name))
		status, out, errs := bench(t, "run", "--addr", addr, "--conns", "2", "--rate", "500", "--rounds", "3", "--duration", "200ms", "--warmup", "20ms",
			"--allow-invalid", "--json", files[len(files)-1], "--hgrm", filepath.Join(dir, "hgrm"))
		require.Equal(t, statusOK, status, errs)
		require.Contains(t, out, "  over 3 rounds      p50 ")
	}
	r, err := result.Read(files[0])
	require.NoError(t, err)
	s := r.Cases[0].Series[0]
	require.Len(t, s.Rounds, 3)
	l, exact, err := s.Merged()
	require.NoError(t, err)
	require.True(t, exact)
	require.Equal(t, s.Rounds[0].Latency.Count+s.Rounds[1].Latency.Count+s.Rounds[2].Latency.Count, l.Count)
	hgrm, err := os.ReadFile(filepath.Join(dir, "hgrm"))
	require.NoError(t, err)
	r, err = result.Read(files[1])
	require.NoError(t, err)
	l, _, err = r.Cases[0].Series[0].Merged()
	require.NoError(t, err)
	require.Regexp(t, fmt.Sprintf(`Total count += +%d\]`, l.Count), string(hgrm), "of all rounds")
	status, out, errs := bench(t, append([]string{"diff"}, files...)...)
	require.Equal(t, statusOK, status, errs)
	require.Contains(t, out, "(over rounds)")

	// What was measured until a server dies in a later round is kept.
	var conns atomic.Int64
	dies := serve(t, func(c net.Conn) {
		if conns.Add(1) <= 2 {
			echo(c)
		}
	})
	status, _, errs = bench(t, "run", "--addr", dies, "--conns", "2", "--rounds", "3", "--duration", "100ms", "--warmup", "0s", "--allow-invalid", "--json", files[0])
	require.Equal(t, statusError, status)
	require.Contains(t, errs, "bench run: round 2 of 3: all connections have failed")
	r, err = result.Read(files[0])
	require.NoError(t, err)
	require.Contains(t, r.Incomplete, "round 2 of 3: ")
	require.Positive(t, r.Cases[0].Series[0].Rounds[0].Ops)
}

// What a server on protoring counts itself is asked for, recorded and printed, also in a sweep.
func TestStats(t *testing.T) {
	var messages atomic.Int64
	addr := serve(t, func(c net.Conn) {
		b := make([]byte, 64)
		for {
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			messages.Add(1)
			_, _ = c.Write(b)
		}
	})
	tells := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := messages.Load()
		fmt.Fprintf(w, `{"engine":"epoll","loops":[],"total":{"Messages":%d,"Enters":%d,"Sends":%d}}`, n, n, n)
	}))
	defer tells.Close()
	name := filepath.Join(t.TempDir(), "stats.json")
	load := []string{"--addr", addr, "--conns", "2", "--duration", "200ms", "--warmup", "50ms", "--allow-invalid", "--json", name, "--stats", tells.URL}
	for _, args := range [][]string{{"run", "--rate", "500"}, {"sweep", "--rates", "200,400"}} {
		status, out, errs := bench(t, append(args, load...)...)
		require.Equal(t, statusOK, status, errs)
		require.Contains(t, out, "What protoring itself has counted:")
		r, err := result.Read(name)
		require.NoError(t, err)
		for _, c := range r.Cases {
			require.Positive(t, c.Series[0].Rounds[0].Stats.Total["Sends"])
		}
	}
}

// A sweep without rates looks for the highest one, and goes on until the server cannot follow.
func TestSweepFindsItsEnd(t *testing.T) {
	slow := func(c net.Conn) {
		b := make([]byte, 64)
		for {
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
			_, _ = c.Write(b)
		}
	}
	name := filepath.Join(t.TempDir(), "sweep.json")
	status, out, errs := bench(t, "sweep", "--addr", serve(t, slow), "--conns", "2", "--steps", "3", "--duration", "400ms", "--warmup", "50ms", "--allow-invalid", "--json", name)
	require.Equal(t, statusOK, status, errs)
	require.Contains(t, out, "knee")
	r, err := result.Read(name)
	require.NoError(t, err)
	last := r.Cases[len(r.Cases)-1].Series[0].Rounds[0]
	require.Less(t, last.Achieved, followed*last.Offered)
}

func TestBadInput(t *testing.T) {
	addr := serve(t, echo)
	dies := serve(t, func(c net.Conn) {
		_, _ = io.CopyN(c, c, 64*100)
	})
	closed := serve(t, func(net.Conn) {})
	short := []string{"--duration", "200ms", "--warmup", "0s", "--conns", "2", "--allow-invalid"}
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"run"}, statusUsage, "no address"},
		{[]string{"run", "--addr", addr, "--nonsense"}, statusUsage, "unknown flag"},
		{[]string{"run", "--addr", addr, "--mix", "9"}, statusUsage, "want gets:sets"},
		{[]string{"run", "--addr", addr, "--dist", "normal"}, statusUsage, "uniform or zipf"},
		{[]string{"run", "--addr", addr, "--arrival", "late"}, statusUsage, "constant or poisson"},
		{[]string{"run", "--addr", addr, "--rate", "-1"}, statusUsage, "a rate of -1"},
		{[]string{"run", "--addr", addr, "--conns", "0"}, statusUsage, "--conns: want more than 0"},
		{[]string{"sweep", "--addr", addr, "--rates", "0"}, statusUsage, "want more than 0"},
		{[]string{"nonsense"}, statusUsage, "unknown command"},
		{[]string{"report"}, statusUsage, "which results?"},
		{[]string{"diff", "one.json"}, statusUsage, "want two"},
		{[]string{"report", "none.json"}, statusError, "none.json"},
		{append(short, "run", "--addr", "127.0.0.1:1"), statusError, "connect to 127.0.0.1:1: connection refused"},
		{[]string{"run", "--addr", addr, "--rounds", "0"}, statusUsage, "0 rounds: want 1 or more"},
		{[]string{"run", "--addr", addr, "--stats", "here"}, statusUsage, `statistics at "here": want a URL such as http://127.0.0.1:9100/stats`},
		{append(short, "run", "--addr", addr, "--stats", "http://127.0.0.1:1/stats"), statusError, "bench run: the server's statistics at http://127.0.0.1:1/stats: connection refused\n"},
		{[]string{"sweep", "--addr", addr, "--stats", "http://127.0.0.1:1/stats"}, statusError, "the server's statistics at http://127.0.0.1:1/stats: connection refused\n"},
		{append(short, "run", "--addr", addr, "--proto", "http"), statusError, `no protocol "http"`},
		{append(short, "run", "--addr", addr, "--proto", "resp", "--keys", "2"), statusError, "store the keys: the server answers"},
		{append(short, "run", "--addr", dies), statusError, "all connections have failed"},
		{append(short, "run", "--addr", closed), statusError, "all connections have failed"},
		{append(short, "run", "--addr", addr, "--json", "/dev/full"), statusError, "no space left"},
		{append(short, "run", "--addr", addr, "--html", "/dev/full"), statusError, "/dev/full was not written: no space left on device"},
		{append(short, "run", "--addr", addr, "--html", "/nonexistent/report.html"), statusError, "/nonexistent"},
		{[]string{"run", "--addr", addr, "--rate", "5000000", "--duration", "300ms", "--warmup", "0s", "--conns", "2"}, statusError, "not sent in time"},
	} {
		args := c.args
		for i, a := range args { // the command comes first
			if a == "run" && i > 0 {
				args = append(append([]string{"run"}, args[i+1:]...), args[:i]...)
				break
			}
		}
		status, _, errs := bench(t, args...)
		require.Equal(t, c.status, status, "%s: %s", strings.Join(args, " "), errs)
		require.Contains(t, errs, c.want, strings.Join(args, " "))
	}
}

// What was measured until a server dies is kept.
func TestServerDies(t *testing.T) {
	name := filepath.Join(t.TempDir(), "run.json")
	status, out, _ := bench(t, "run", "--addr", serve(t, func(c net.Conn) { _, _ = io.CopyN(struct{ io.Writer }{c}, c, 64*5000) }), "--conns", "2", "--duration", "5s", "--warmup", "0s", "--json", name)
	require.Equal(t, statusError, status)
	require.NotEmpty(t, out)
	r, err := result.Read(name)
	require.NoError(t, err)
	require.Contains(t, r.Incomplete, "all connections have failed")
	require.Positive(t, r.Cases[0].Series[0].Rounds[0].Ops)
}

// A generator that is stopped for a while sends late. That is told, and has an exit status of its own.
func TestSlippedSchedule(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	for _, c := range []struct {
		flags  []string
		status int
		want   string
	}{
		{nil, statusInvalid, "bench run: the result is not valid: the schedule slipped: "},
		{[]string{"--allow-invalid"}, statusOK, ""},
	} {
		asked := make(chan bool, 1)
		addr := serve(t, func(c net.Conn) {
			b := make([]byte, 64)
			for {
				if _, err := io.ReadFull(c, b); err != nil {
					return
				}
				select {
				case asked <- true:
				default:
				}
				_, _ = c.Write(b)
			}
		})
		cmd := exec.Command(exe, append([]string{"run", "--addr", addr, "--conns", "2", "--rate", "500", "--duration", "2s", "--warmup", "0s"}, c.flags...)...)
		cmd.Env = append(os.Environ(), asProgram+"=1")
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		require.NoError(t, cmd.Start())
		<-asked
		require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
		time.Sleep(300 * time.Millisecond) // the fault itself: 15 % of the requests
		require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
		_ = cmd.Wait()
		require.Equal(t, c.status, cmd.ProcessState.ExitCode(), errs.String())
		require.Contains(t, errs.String(), c.want)
		require.Contains(t, out.String(), "INVALID: "+addr+": the schedule slipped: 1 % of the requests were sent ")
	}
}

// Without --allow-invalid, a result that tells of the generator has an exit status of its own.
func TestInvalid(t *testing.T) {
	bad := []*result.Round{{Ops: 1, Invalid: []string{"the generator was busy"}}}
	require.ErrorAs(t, (&loadFlags{}).judge(bad, nil), new(invalidError))
	require.NoError(t, (&loadFlags{allowInvalid: true}).judge(bad, nil))
	require.NoError(t, (&loadFlags{}).judge(bad, errors.New("told already")))
	require.Equal(t, statusInvalid, statusOf(errors.Join(errors.New("x"), invalidError{errors.New("y")})))
	require.Equal(t, statusUsage, statusOf(usageError{errors.New("x")}))
	require.Equal(t, statusError, statusOf(errors.New("x")))
	require.Equal(t, statusOK, statusOf(nil))
}
