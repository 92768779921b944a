package main

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// serve gives each connection to f.
func serve(t *testing.T, f func(net.Conn)) (addr string) {
	t.Helper()
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

func TestOwnProtocol(t *testing.T) {
	var out strings.Builder
	echo := serve(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
	require.NoError(t, run([]string{"-addr", echo, "-rate", "500", "-duration", "200ms"}, &out))
	require.Contains(t, out.String(), "u32, 50 connections, 500 requests/s offered")
	require.Contains(t, out.String(), "latency")

	wrong := serve(t, func(c net.Conn) {
		b := make([]byte, prefix+64)
		for {
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			b[prefix+63]++
			_, _ = c.Write(b)
		}
	})
	require.ErrorContains(t, run([]string{"-addr", wrong, "-rate", "500", "-duration", "200ms"}, io.Discard), "came back changed")
}
