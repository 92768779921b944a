package redis

import (
	"context"
	"net"
	"os/exec"
	"runtime"
	"testing"

	"github.com/protoring/protoring/buffers"
	"github.com/protoring/protoring/examples/internal/runtest"
	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
)

// The whole server, from the socket to the store and back, allocates nothing for a GET. The load comes from another process.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	if buffers.Checked {
		t.Skip("checked builds allocate for their checks")
	}
	client := runtest.Tool(t, "redis-benchmark")
	for _, engine := range []server.Engine{server.EngineURing, server.EngineEpoll} {
		t.Run(engine.String(), func(t *testing.T) {
			srv, err := server.New(server.Config{Loops: 1, Engine: engine})
			require.NoError(t, err)
			c := newTestServer(t, Config{MaxMemory: 64 << 20, Stats: srv.Stats})
			addr, err := server.Listen(srv, "tcp", "127.0.0.1:0", c.ListenConfig(), c.Connect)
			require.NoError(t, err)
			end := c.Start()
			defer end()
			ctx, stop := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() { served <- srv.Serve(ctx) }()

			const requests = "300000"
			load := func() {
				_, port, err := net.SplitHostPort(addr.String())
				require.NoError(t, err)
				out, err := exec.Command(client, "-p", port, "-t", "set,get", "-n", requests, "-P", "16", "-d", "64", "-q").CombinedOutput()
				require.NoError(t, err, "%s", out)
			}
			get := func(requests string) (mallocs, messages uint64) {
				var before, after runtime.MemStats
				_, port, err := net.SplitHostPort(addr.String())
				require.NoError(t, err)
				cmd := exec.Command(client, "-p", port, "-t", "get", "-n", requests, "-P", "16", "-q")
				count := srv.Stats().Messages
				runtime.ReadMemStats(&before)
				require.NoError(t, cmd.Run())
				runtime.ReadMemStats(&after)
				return after.Mallocs - before.Mallocs, srv.Stats().Messages - count
			}
			load() // warm
			// The client opens 51 connections each time, whatever it does over them, and each takes some 13 allocations (epoll: 16) of
			// connection, session and addresses: 649, and 785 to 800, were counted both for 10,000 GETs and for 300,000. So neither
			// requests nor the tickers of server, hub and store, which run beside them, allocate. The rest is room for the Go runtime.
			const few, connections, each, other = "10000", 51, 20, 50
			opening, _ := get(few)
			mallocs, messages := get(requests)
			t.Logf("%d allocations in %d messages, %d of them for connections and this test's own", mallocs, messages, opening)
			require.GreaterOrEqual(t, messages, uint64(300_000))
			require.Less(t, mallocs, opening+other, "in 300,000 GETs, and in %s", few)
			require.Less(t, opening, uint64(connections*each+other))
			stop()
			require.NoError(t, <-served)
		})
	}
}
