package clients

import (
	"context"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/examples/internal/runtest"
)

// runTool runs a program to its end, with lines for its input, and returns what it prints.
func runTool(t *testing.T, input, path string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %v\n%s", path, args, out)
	return string(out)
}

func startCache(t *testing.T, args ...string) (p *runtest.Process, host, port string) {
	p = runtest.Start(t, runtest.Build(t, ".."), append([]string{"-listen", "127.0.0.1:0", "-loops", "2"}, args...)...)
	t.Cleanup(func() {
		p.Signal(syscall.SIGTERM)
		require.Equal(t, 0, p.Wait(), p.Log())
	})
	host, port, err := net.SplitHostPort(p.Addr)
	require.NoError(t, err)
	return p, host, port
}

func TestRedisCLI(t *testing.T) {
	cli := runtest.Tool(t, "redis-cli")
	_, host, port := startCache(t)
	for _, version := range []string{"-2", "-3"} {
		base := []string{"-h", host, "-p", port, version}
		input := "flushall\nset key \"a value\" EX 100\nget key\nttl key\nmulti\nincr n\nincr n\nexec\nget nokey\nfoo\nselect 3\ndbsize\n"
		got := strings.Split(strings.TrimSpace(runTool(t, input, cli, base...)), "\n")
		ok := []string{"OK", "OK", "a value", "100", "OK", "QUEUED", "QUEUED", "1", "2", ""}
		require.Equal(t, ok, got[:len(ok)])
		require.Contains(t, got[len(ok)], "ERR unknown command 'foo'")
		require.Equal(t, "0", got[len(got)-1])
		require.Contains(t, runTool(t, "", cli, append(base, "info", "server")...), "redis_version:7.0")
		require.Equal(t, "key\nn", sortLines(runTool(t, "", cli, append(base, "--scan")...)))
		require.Contains(t, runTool(t, "", cli, append(base, "--no-auth-warning", "-a", "x", "ping")...), "AUTH failed")
		require.Contains(t, runTool(t, "", cli, append(base, "client", "list")...), "cmd=client|list")
		require.Contains(t, runTool(t, "", cli, append(base, "config", "get", "maxmemory*")...), "maxmemory-policy")
		require.NotEmpty(t, runTool(t, "", cli, append(base, "command", "docs", "get")...))
		large := strings.Repeat("x", 1<<20)
		require.Equal(t, "OK\n", runTool(t, large, cli, append(base, "-x", "set", "large")...))
		require.Equal(t, large+"\n", runTool(t, "", cli, append(base, "get", "large")...))
	}
	require.Contains(t, runTool(t, "*1\r\n$4\r\nPING\r\n", cli, "-h", host, "-p", port, "--pipe"), "errors: 0, replies: 1")
}

func sortLines(s string) string {
	lines := strings.Fields(s)
	if len(lines) == 2 && lines[0] > lines[1] {
		lines[0], lines[1] = lines[1], lines[0]
	}
	return strings.Join(lines, "\n")
}

var rate = regexp.MustCompile(`[\d.]+ requests per second`)

func TestRedisBenchmark(t *testing.T) {
	tool := runtest.Tool(t, "redis-benchmark")
	for _, engine := range []string{"io_uring", "epoll"} {
		_, host, port := startCache(t, "-engine", engine)
		for _, args := range [][]string{
			{"-t", "ping,set,get,incr,mset", "-n", "20000", "-P", "16"},
			{"-t", "set,get", "-n", "20000", "-r", "1000", "-d", "4096", "-c", "20"},
			{"-t", "get", "-n", "5000", "-P", "16", "-3"},
			{"-n", "5000", "-P", "16", "expire", "key:__rand_int__", "100"},
		} {
			out := runTool(t, "", tool, append([]string{"-h", host, "-p", port, "-q"}, args...)...)
			require.NotContains(t, strings.ToLower(out), "error")
			found := rate.FindAllString(out, -1)
			require.NotEmpty(t, found, out)
			t.Log(engine, args, found)
		}
	}
}
