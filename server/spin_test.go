package server_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/protoring/protoring/server"
	"github.com/stretchr/testify/require"
)

// Config.Spin reaches the loops: it is counted where a loop finds work before it sleeps, and there is none when it is off, be it by
// the config or because GOMAXPROCS leaves no P to others.
func TestSpin(t *testing.T) {
	const found = 50 * time.Millisecond // a client answers sooner
	over(t, append(engines(), setup{Engine: server.EngineURing, Loops: 1}, setup{Engine: server.EngineEpoll, Loops: 1}), func(t *testing.T, s setup) {
		for name, c := range map[string]struct {
			spin  time.Duration
			procs int
			spins bool
		}{
			"on":      {found, s.Loops + 1, true},
			"off":     {-1, s.Loops + 1, false},
			"crowded": {found, s.Loops, false},
		} {
			t.Run(name, func(t *testing.T) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(c.procs))
				x := start(t, s, func(cfg *server.Config) { cfg.Spin = c.spin })
				x.some = "one connection spins, more of them do not"
				cl := x.dial()
				for range 200 {
					cl.echo("hello")
				}
				if c.spins {
					until(t, func() bool { cl.echo("once more"); return x.Stats().Spins > 0 }, "a spin")
				}
				x.finish()
				require.Equal(t, c.spins, x.Stats().Spins > 0, "%d spins", x.Stats().Spins)
			})
		}
	})
}
