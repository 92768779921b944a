package server

import (
	"testing"

	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server/internal/enginetest"
	"github.com/stretchr/testify/require"
)

func TestScriptedPanics(t *testing.T) {
	where := map[string]func(p *probe){
		"OnOpen":     func(p *probe) { p.open = func(outbound) reactor.Status { panic("no") } },
		"OnInbound":  func(p *probe) { p.in = func([]byte, outbound) reactor.Status { panic("no") } },
		"OnEnd":      func(p *probe) { p.end = func(outbound) reactor.Status { panic("no") } },
		"OnRoom":     func(p *probe) { p.room = func(outbound) reactor.Status { panic("no") } },
		"OnOutbound": func(p *probe) { p.outbound = func(*frame) { panic("no") } },
		"Do": func(p *probe) {
			p.open = func(outbound) reactor.Status {
				_ = p.peer.Sender.Do(func(outbound) reactor.Status { panic("no") })
				return reactor.Continue
			}
		},
		"OnClose": func(p *probe) { p.onClose = func(error) { panic("no") } },
		"status":  func(p *probe) { p.in = func([]byte, outbound) reactor.Status { return 77 } },
	}
	for name, set := range where {
		t.Run(name, func(t *testing.T) {
			for _, policy := range []PanicPolicy{PanicCloses, PanicCrashes} {
				r, probe := probes(t, enginetest.Config{}, Config{OnPanic: policy}, ListenConfig{MaxOutbound: 100}, func(i int, p *probe) {
					if i == 1 {
						set(p)
					}
				})
				run := func() (v any) {
					defer func() { v = recover() }()
					other, p := r.dial(), r.e.Dial(r.fd)
					p.Window = 10
					r.quiet()
					p.Write(lines(20, 10))
					r.quiet()
					_ = probe(1).peer.Sender.Send(frame("hello"))
					r.quiet()
					p.End()
					r.quiet()
					other.Write([]byte("hello\n"))
					r.quiet()
					require.Equal(t, "hello\n", string(other.Got))
					return nil
				}
				v := run()
				if policy == PanicCrashes {
					require.NotNil(t, v)
					continue
				}
				require.Nil(t, v)
				require.Equal(t, 1, probe(1).closed)
				if name != "OnClose" {
					require.ErrorIs(t, probe(1).err, ErrPanic)
				}
				require.Equal(t, uint64(1), r.stats().Panics)
				r.stop()
				require.Contains(t, r.logged(), "scripted_panic_test.go", "the stack is logged")
			}
		})
	}
}

func TestScriptedPanicInConnect(t *testing.T) {
	var kept sender
	r := newRig(t, enginetest.Config{}, Config{}, ListenConfig{}, func(p reactor.Peer[frame]) *probe {
		kept = p.Sender
		panic("no")
	})
	p := r.dial()
	require.True(t, p.Closed())
	require.ErrorIs(t, kept.Send(frame("x")), reactor.ErrClosed)
	require.Equal(t, uint64(1), r.stats().Panics)
	r.l.stats.Closed++ // of a connection that never was
	r.stop()
}
