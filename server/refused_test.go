package server_test

import (
	"strings"
	"testing"

	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// io_uring is refused, in the ways of containers and of old or small machines: epoll with one clear line, or, where io_uring was
// asked for, an error that names the cause and what to do.
func TestRefusedRing(t *testing.T) {
	for errno, cause := range map[unix.Errno]string{
		unix.EPERM:  "a seccomp profile forbids io_uring_setup",
		unix.ENOSYS: "io_uring_setup is absent, or hidden by a seccomp profile",
		unix.ENOMEM: "memory for rings is refused",
	} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			t.Run("auto", func(t *testing.T) {
				c := spawn(t, plan{Setup: setup{Engine: server.EngineAuto, Loops: 2}, Refuse: errno})
				require.Equal(t, "epoll", c.Engine)
				cl := c.dial()
				cl.echo("it serves")
				cl.Close()
				rep := c.finish()
				line := strings.TrimSpace(rep.Log)
				require.Equal(t, 1, len(strings.Split(line, "\n")), rep.Log)
				require.Contains(t, line, "io_uring is not available: using epoll")
				require.Contains(t, line, cause)
				require.Contains(t, line, "level=WARN")
			})
			t.Run("io_uring", func(t *testing.T) {
				c := launch(t, plan{Setup: setup{Engine: server.EngineURing, Loops: 2}, Refuse: errno})
				rep := c.next()
				c.exit()
				require.Contains(t, rep.Err, cause)
				require.Contains(t, rep.Err, "or use the epoll engine", "the remedy")
			})
			for _, engine := range []server.Engine{server.EngineAuto, server.EngineURing} {
				t.Run("later-"+engine.String(), func(t *testing.T) { // what runs goes on; what is started then does without
					c := launch(t, plan{Setup: setup{Engine: engine, Loops: 2}, Refuse: errno, Late: true})
					rep := c.next()
					if engine == server.EngineURing {
						require.Contains(t, rep.Err, cause)
						c.exit()
						return
					}
					require.Equal(t, "epoll", rep.Engine)
					until(t, func() bool { return strings.Contains(c.ask("stats").Log, cause) }, "the line")
					for _, addr := range []string{c.First, c.Addr} {
						cl := dial(t, tcpAddr(t, addr))
						for range 100 {
							cl.echo("it serves")
						}
						cl.Close()
					}
					c.finish()
				})
			}
		})
	}
}

// Where rings are to be had, auto takes them, without a word.
func TestAutoTakesRings(t *testing.T) {
	x := start(t, setup{Engine: server.EngineAuto, Loops: 1})
	x.dial().echo("hello")
	require.Equal(t, server.EngineURing, x.Engine())
	require.Empty(t, x.logs.String())
	x.finish()
}
