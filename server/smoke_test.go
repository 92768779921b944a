package server_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"testing"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
)

type echo struct{ codec.Line }

func (echo) OnInbound(line *codec.Frame, out *reactor.Outbound[codec.Frame]) reactor.Status {
	out.Send(*line)
	return reactor.Continue
}

func TestSmoke(t *testing.T) {
	for _, kind := range []server.Engine{server.EngineURing, server.EngineEpoll} {
		for _, loops := range []int{1, 2, 4} {
			t.Run(fmt.Sprint(kind, loops), func(t *testing.T) {
				srv, err := server.New(server.Config{Engine: kind, Loops: loops, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
				require.NoError(t, err)
				addr, err := server.Listen(srv, "tcp", "127.0.0.1:0", server.ListenConfig{}, func(reactor.Peer[codec.Frame]) echo { return echo{} })
				require.NoError(t, err)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- srv.Serve(ctx) }()
				for range 8 {
					c, err := net.Dial("tcp", addr.String())
					require.NoError(t, err)
					r := bufio.NewReader(c)
					for i := range 100 {
						fmt.Fprintf(c, "hello %d\n", i)
						s, err := r.ReadString('\n')
						require.NoError(t, err)
						require.Equal(t, fmt.Sprintf("hello %d\n", i), s)
					}
					c.Close()
				}
				cancel()
				require.NoError(t, <-done)
				t.Logf("%+v", srv.Stats())
			})
		}
	}
}
