package check

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/protoring/protoring/bench/load"
	"github.com/stretchr/testify/require"
)

// need skips without a program, but not in CI.
func need(t *testing.T, names ...string) {
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") != "" {
				require.NoError(t, err)
			}
			t.Skipf("%s is not installed", name)
		}
	}
}

func redis(t *testing.T) (port string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err = net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, l.Close())
	argv := []string{"redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = t.TempDir()
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			return port
		}
		require.True(t, time.Now().Before(deadline), "redis-server does not listen")
	}
}

// Bench and a second generator, which has nothing in common with it, say the same of redis-server at one rate: over some rounds in turn,
// the least of what each has seen lie close together. (The least, since what else the machine does only adds to them.)
func TestSecondGeneratorAgrees(t *testing.T) {
	need(t, "redis-server", "cc")
	if runtime.NumCPU() < 2 {
		t.Skip("server and load share a CPU")
	}
	const rate, conns = 20_000, 50
	const rounds, mostRounds = 8, 32 // more where others keep the machine busy: it takes a quiet second for each generator
	second := filepath.Join(t.TempDir(), "second")
	out, err := exec.Command("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", second, filepath.Join("testdata", "second.c")).CombinedOutput()
	require.NoError(t, err, string(out))
	port := redis(t)
	var ours, theirs [2][]float64 // p50 and p99, in microseconds
	apart := func(i int) float64 {
		a, b := slices.Min(ours[i]), slices.Min(theirs[i])
		return max(a, b) / min(a, b)
	}
	limits := [2]float64{2, 4}
	for n := 0; n < rounds || n < mostRounds && (apart(0) >= limits[0] || apart(1) >= limits[1]); n++ {
		out, err := exec.Command(second, port, fmt.Sprint(conns), fmt.Sprint(rate), "1").Output()
		require.NoError(t, err)
		var r struct{ P50, P99 float64 }
		require.NoError(t, json.Unmarshal(out, &r))
		theirs[0], theirs[1] = append(theirs[0], r.P50/1e3), append(theirs[1], r.P99/1e3)

		round, err := load.Run(context.Background(), load.Config{Proto: "resp", Addr: "127.0.0.1:" + port, Rate: rate, Conns: conns, Keys: 1,
			Duration: time.Second, Warmup: 100 * time.Millisecond})
		require.NoError(t, err)
		require.Empty(t, round.Errors)
		ours[0], ours[1] = append(ours[0], float64(round.Latency.P50)/1e3), append(ours[1], float64(round.Latency.P99)/1e3)
	}
	for i, name := range []string{"p50", "p99"} {
		t.Logf("%s in µs: bench %.1f, the second generator %.1f", name, ours[i], theirs[i])
		require.Less(t, apart(i), limits[i], "%s: bench %.1f µs, the second generator %.1f µs", name, slices.Min(ours[i]), slices.Min(theirs[i]))
	}
}
