package run

import (
	"flag"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
)

type echo struct{ codec.Raw }

func (echo) OnInbound(m *codec.Frame, out *reactor.Outbound[codec.Frame]) reactor.Status {
	out.Send(*m)
	return reactor.Continue
}

var example = Example{
	Name:  "example",
	About: "\nExample is one.",
	Addr:  "127.0.0.1:0",
	Flags: func(fs *flag.FlagSet) { fs.Bool("own", false, "of the example") },
	Listen: func(s *server.Server, network, addr string, _ *slog.Logger) (net.Addr, func(), error) {
		bound, err := server.Listen(s, network, addr, server.ListenConfig{}, func(reactor.Peer[codec.Frame]) echo { return echo{} })
		return bound, nil, err
	},
}

func TestStatus(t *testing.T) {
	procs := runtime.GOMAXPROCS(0)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"-h", 0, "Example is one."},
		{"-h", 0, "-own"},
		{"-h", 0, "0: one per CPU"},
		{"-nosuch", 2, "flag provided but not defined: -nosuch"},
		{"-engine kqueue", 2, `no engine "kqueue": want auto, io_uring, epoll`},
		{"-loops x", 2, `invalid value "x" for flag -loops`},
		{"-loops -1", 2, "-loops is -1: want 0 or more"},
		{"-cpus 0,x", 2, `not "x"`},
		{"-cpus -1", 2, `not "-1"`},
		{"surplus", 2, `unexpected argument "surplus"`},
		{"-listen nowhere", 1, "missing port"},
		{"-listen unix:", 1, "needs a path"},
		{"-loops 2000", 1, "Loops is 2000"},
		{"-listen " + taken.Addr().String(), 1, "address already in use"},
		{"-stats " + taken.Addr().String(), 1, "-stats: listen tcp "},
	} {
		runtime.GOMAXPROCS(procs) // run has raised it
		var stderr strings.Builder
		status := example.run(strings.Fields(c.args), &stderr)
		require.Equal(t, c.status, status, "%s: %s", c.args, stderr.String())
		require.Contains(t, stderr.String(), c.says, c.args)
	}
	require.Greater(t, runtime.GOMAXPROCS(procs), min(procs, runtime.NumCPU()), "a loop must not wait for a P")
}

func TestParseCPUs(t *testing.T) {
	cpus, err := parseCPUs("0, 2,1")
	require.NoError(t, err)
	require.Equal(t, []int{0, 2, 1}, cpus)
}

func TestSplitAddr(t *testing.T) {
	network, addr := SplitAddr("unix:" + filepath.Join("a", "b:c"))
	require.Equal(t, "unix", network)
	require.Equal(t, "a/b:c", addr)
	network, addr = SplitAddr("[::1]:80")
	require.Equal(t, "tcp", network)
	require.Equal(t, "[::1]:80", addr)
}

func TestEnvironment(t *testing.T) {
	e := example
	e.Env = "EXAMPLE"
	for _, c := range []struct {
		name, value, args string
		status            int
		says              string
	}{
		{"EXAMPLE_LOOPS", "x", "", 2, `invalid value "x" of EXAMPLE_LOOPS`},
		{"EXAMPLE_LOOPS", "-1", "", 2, "-loops is -1"},
		{"EXAMPLE_LOOPS", "-1", "-loops 2000", 1, "Loops is 2000"}, // the command line wins
		{"EXAMPLE_OWN", "perhaps", "", 2, "EXAMPLE_OWN"},
		{"EXAMPLE_OWN", "true", "-listen nowhere", 1, "missing port"},
		{"EXAMPLE_LISTEN", "nowhere", "", 1, "missing port"},
		{"LOOPS", "x", "-h", 0, "-listen is EXAMPLE_LISTEN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(c.name, c.value)
			var stderr strings.Builder
			require.Equal(t, c.status, e.run(strings.Fields(c.args), &stderr), stderr.String())
			require.Contains(t, stderr.String(), c.says)
		})
	}
}
