package engine

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestAccept(t *testing.T) {
	kernels(t, func(d *desk) {
		ln, addr := d.listen()
		tok := MakeToken(0, 0, OpAccept)
		d.e.Accept(tok, ln)
		for range 3 {
			var clients []*net.TCPConn
			for range 40 { // more than a turn of epoll takes
				clients = append(clients, d.dial(addr))
			}
			seen := map[string]bool{}
			for range clients {
				c := d.get(tok)
				require.Zero(d, c.Err)
				require.True(d, c.More)
				local, remote := d.e.Names(c.Res, nil)
				require.Equal(d, addr.String(), local.String())
				seen[remote.String()] = true
				fl, err := unix.FcntlInt(uintptr(c.Res), unix.F_GETFD, 0)
				require.NoError(d, err)
				require.NotZero(d, fl&unix.FD_CLOEXEC)
				d.e.CloseSocket(c.Res)
			}
			for _, c := range clients {
				require.True(d, seen[c.LocalAddr().String()])
				_, err := c.Read(make([]byte, 1))
				require.ErrorIs(d, err, io.EOF)
			}
		}
		d.e.Cancel(tok)
		c := d.get(tok)
		require.Equal(d, unix.ECANCELED, c.Err)
		require.False(d, c.More)
		// What waits is not lost.
		client := d.dial(addr)
		d.none(tok)
		fd, ok := d.e.TakeQueued(ln)
		require.True(d, ok)
		d.e.CloseSocket(fd)
		_, err := client.Read(make([]byte, 1))
		require.ErrorIs(d, err, io.EOF)
		_, ok = d.e.TakeQueued(ln)
		require.False(d, ok)
		d.e.CloseSocket(ln)
	})
}

func TestAcceptWithoutDescriptors(t *testing.T) {
	kernels(t, func(d *desk) {
		ln, addr := d.listen()
		tok := MakeToken(0, 0, OpAccept)
		client := d.dial(addr)
		var was unix.Rlimit
		require.NoError(d, unix.Getrlimit(unix.RLIMIT_NOFILE, &was))
		require.NoError(d, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: was.Max}))
		d.e.Accept(tok, ln)
		c := d.get(tok)
		require.NoError(d, unix.Setrlimit(unix.RLIMIT_NOFILE, &was))
		require.Equal(d, unix.EMFILE, c.Err)
		require.False(d, c.More)
		d.e.Accept(tok, ln)
		c = d.get(tok)
		require.Zero(d, c.Err)
		d.e.CloseSocket(c.Res)
		client.Close()
		d.e.Cancel(tok)
		require.Equal(d, unix.ECANCELED, d.get(tok).Err)
		d.e.CloseSocket(ln)
	})
}

func TestEpollAcceptsInShares(t *testing.T) {
	d := newDesk(t, engines[3].open, Options{})
	ln, addr := d.listen()
	tok := MakeToken(0, 0, OpAccept)
	d.e.Accept(tok, ln)
	for range 3 * acceptPerTurn {
		d.dial(addr)
	}
	total := 0
	for turns := 0; total < 3*acceptPerTurn; turns++ {
		n := d.turn(time.Second)
		require.LessOrEqual(t, n, acceptPerTurn)
		total += n
		require.Less(t, turns, 10)
	}
	for _, c := range d.done {
		d.e.CloseSocket(c.Res)
	}
	d.e.Cancel(tok)
	d.done = nil
	d.get(tok)
	d.e.CloseSocket(ln)
}
