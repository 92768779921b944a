package reactor_test

import (
	"testing"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/reactor"
	"github.com/stretchr/testify/require"
)

type bare struct{ codec.Line }

func (bare) OnInbound(*codec.Frame, *outbound) reactor.Status { return reactor.Continue }

type (
	unknown   struct{ bare }
	wrongArgs struct{ bare }
	wrongOut  struct{ bare }
	onPointer struct{ bare }
	inherited struct{ *onPointer }
	words     struct{ bare }
	wider     interface {
		reactor.Reactor[codec.Frame, codec.Frame]
		OnClosed()
	}
)

func (*unknown) OnClosed()                                        {}
func (wrongArgs) OnClose()                                        {}
func (*wrongOut) OnOpen(*reactor.Outbound[string]) reactor.Status { return reactor.Continue }
func (*onPointer) OnClose(error)                                  {}
func (words) Once()                                               {}
func (words) On()                                                 {}
func (words) Onto()                                               {}

func TestCheckHooks(t *testing.T) {
	const all = "OnOpen, OnRoom, OnEnd, OnDrain, OnOutbound, OnClose"
	check := reactor.CheckHooksOf[codec.Frame]
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"none":           {err: reactor.CheckHooks[codec.Frame, codec.Frame, bare]()},
		"all":            {err: reactor.CheckHooks[codec.Frame, codec.Frame, *hooked]()},
		"other words":    {err: check(words{})},
		"pointer":        {err: check(&onPointer{})},
		"from a pointer": {err: check(inherited{&onPointer{}})},
		"interface":      {err: reactor.CheckHooks[codec.Frame, codec.Frame, reactor.Reactor[codec.Frame, codec.Frame]]()},
		"wider interface": {
			err:  reactor.CheckHooks[codec.Frame, codec.Frame, wider](),
			want: "reactor: reactor_test.wider.OnClosed is no hook; hooks are " + all,
		},
		"unknown": {
			err:  reactor.CheckHooks[codec.Frame, codec.Frame, *unknown](),
			want: "reactor: (*reactor_test.unknown).OnClosed is no hook; hooks are " + all,
		},
		"unknown, of a value": {err: check(&unknown{}), want: "reactor: (*reactor_test.unknown).OnClosed is no hook; hooks are " + all},
		"wrong arguments":     {err: check(wrongArgs{}), want: "reactor: reactor_test.wrongArgs.OnClose has the wrong signature: want func(error)"},
		"wrong message": {
			err: check(&wrongOut{}),
			want: "reactor: (*reactor_test.wrongOut).OnOpen has the wrong signature: " +
				"want func(*reactor.Outbound[github.com/protoring/protoring/codec.Frame]) reactor.Status",
		},
		"value with a hook on the pointer": {
			err: reactor.CheckHooks[codec.Frame, codec.Frame, onPointer](),
			want: "reactor: (*reactor_test.onPointer).OnClose has a pointer receiver, and the reactor is a value: " +
				"return a *reactor_test.onPointer",
		},
		"nil": {err: check(nil), want: "reactor: the reactor is nil"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.want == "" {
				require.NoError(t, test.err)
			} else {
				require.EqualError(t, test.err, test.want)
			}
		})
	}
}
