package redis_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/redis"
	"github.com/protoring/protoring/server"
)

// start starts a cache on the loopback.
func start(t *testing.T, cfg redis.Config, serverConfig server.Config) (addr string) {
	s, err := server.New(serverConfig)
	require.NoError(t, err)
	cfg.Loops, cfg.Stats = s.Loops(), s.Stats
	cache := redis.New(cfg)
	stop := cache.Start()
	at, err := server.Listen(s, "tcp", "127.0.0.1:0", cache.ListenConfig(), cache.Connect)
	require.NoError(t, err)
	cache.SetAddr(at)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		stop()
		cache.Close()
	})
	return at.String()
}

// connect opens a connection that speaks a version of the protocol.
func connect(t *testing.T, addr string, version int) *peer {
	t.Helper()
	p, err := dialPeer(addr)
	require.NoError(t, err)
	t.Cleanup(func() { p.conn.Close() })
	if version == 3 {
		p.do(t, "HELLO", "3")
	}
	return p
}

// send sends a command and does not wait.
func (p *peer) send(t *testing.T, args ...string) {
	t.Helper()
	_, err := p.conn.Write(resp.AppendCommand(nil, args...))
	require.NoError(t, err)
}

// receive returns the next reply, or message, whatever it is.
func (p *peer) receive(t *testing.T) string {
	t.Helper()
	var v resp.Value
	text, err := p.read(&v, patience)
	require.NoError(t, err)
	return text
}

// do sends a command and returns what comes next.
func (p *peer) do(t *testing.T, args ...string) string {
	t.Helper()
	p.send(t, args...)
	return p.receive(t)
}

// silent says that nothing comes: the reply of a PING is the next, sent when all that was told before must have arrived.
func (p *peer) silent(t *testing.T) {
	t.Helper()
	time.Sleep(20 * time.Millisecond) // messages of other loops need less; where they do not, a wrong server passes for once
	require.Equal(t, "+PONG\r\n", p.do(t, "PING"))
}

// wireOf returns values as they are sent.
func wireOf(version int, items ...resp.Reply) string {
	var b []byte
	enc := resp.Replies{Version: version}
	for _, item := range items {
		b = enc.Encode(b, item)
	}
	return string(b)
}

func bulk(s string) resp.Reply { return resp.BulkString(s) }
