package server_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A client is the other end of a connection.
type client struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func (x *rig) dial() *client { x.t.Helper(); return x.dialWith(&net.Dialer{}) }

func (x *rig) dialWith(d *net.Dialer) *client {
	x.t.Helper()
	c := dialWith(x.t, d, x.addr)
	x.peers = append(x.peers, c)
	return c
}

// to dials another listener of the server.
func (x *rig) to(addr net.Addr) *client {
	x.t.Helper()
	c := dial(x.t, addr)
	x.peers = append(x.peers, c)
	return c
}

func dial(t testing.TB, addr net.Addr) *client {
	t.Helper()
	return dialWith(t, &net.Dialer{}, addr)
}

func dialWith(t testing.TB, d *net.Dialer, addr net.Addr) *client {
	t.Helper()
	c, err := d.Dial(addr.Network(), reachable(addr))
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(2*patience)))
	t.Cleanup(func() { c.Close() })
	return &client{Conn: c, t: t, r: bufio.NewReader(c)}
}

// reachable replaces an unspecified address.
func reachable(addr net.Addr) string {
	if a, ok := addr.(*net.TCPAddr); ok && a.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", fmt.Sprint(a.Port))
	}
	return addr.String()
}

// slow returns a dialer of clients that can take little without reading.
func slow() *net.Dialer {
	return &net.Dialer{Control: control(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<10) })}
}

func (c *client) say(format string, args ...any) {
	c.t.Helper()
	_, err := fmt.Fprintf(c, format+"\n", args...)
	require.NoError(c.t, err)
}

func (c *client) line() string {
	c.t.Helper()
	s, err := c.r.ReadString('\n')
	require.NoError(c.t, err, "after %q", s)
	return strings.TrimSuffix(s, "\n")
}

func (c *client) echo(text string) {
	c.t.Helper()
	c.say("%s", text)
	require.Equal(c.t, text, c.line())
}

// alive says whether the connection still echoes.
func (c *client) alive() bool {
	if _, err := c.Write([]byte("alive?\n")); err != nil {
		return false
	}
	s, err := c.r.ReadString('\n')
	return err == nil && s == "alive?\n"
}

// end reads to the end of the connection, which must be a good one, and returns what came before it.
func (c *client) end() []byte {
	c.t.Helper()
	b, err := io.ReadAll(c.r)
	require.NoError(c.t, err)
	return b
}

// broken reads to the end of the connection, good or not.
func (c *client) broken() error {
	c.t.Helper()
	_, err := io.Copy(io.Discard, c.r)
	var timeout net.Error
	require.False(c.t, errors.As(err, &timeout) && timeout.Timeout(), "the connection does not end")
	return err
}

// halfClose ends the client's side.
func (c *client) halfClose() {
	c.t.Helper()
	require.NoError(c.t, c.Conn.(interface{ CloseWrite() error }).CloseWrite())
}

// reset ends the connection with a reset, where there is one.
func (c *client) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

// pattern reads n bytes of the pattern, from position pos on, and closes the comparison at the first that differs.
func (c *client) pattern(pos, n int) {
	c.t.Helper()
	buf := make([]byte, 64<<10)
	for n > 0 {
		m, err := c.r.Read(buf[:min(n, len(buf))])
		for got := buf[:m]; len(got) > 0; {
			want := patternAt(pos, len(got))
			if !bytes.Equal(want, got[:len(want)]) {
				require.FailNow(c.t, "other bytes than were sent", "at %d", pos)
			}
			got, pos, n = got[len(want):], pos+len(want), n-len(want)
		}
		if err != nil && n > 0 {
			require.NoError(c.t, err, "at byte %d, %d missing", pos, n)
		}
	}
}

// dialRaw is dial for loads of many connections: the reader is small.
func dialRaw(t testing.TB, addr net.Addr) *client {
	t.Helper()
	c, err := net.Dial(addr.Network(), addr.String())
	require.NoError(t, err)
	return &client{Conn: c, t: t, r: bufio.NewReaderSize(c, 64)}
}
