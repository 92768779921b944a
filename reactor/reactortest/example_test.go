package reactortest_test

import (
	"fmt"
	"testing"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/reactor/reactortest"
)

type echo struct{ codec.Line }

func (echo) OnInbound(line *codec.Frame, out *reactor.Outbound[codec.Frame]) reactor.Status {
	if string(*line) == "bye" {
		return reactor.Drain
	}
	out.Send(*line)
	return reactor.Continue
}

// In a test, t is the test's own.
var t testing.TB = exampleT{}

func Example() {
	c := reactortest.New(t, func(reactor.Peer[codec.Frame]) echo { return echo{} }, reactortest.Config{})

	fmt.Fprint(c, "hello\nwor") // as one receive
	fmt.Printf("%q\n", c.Take())

	fmt.Fprint(c, "ld\nbye\n") // the rest of the cut message, and one more
	fmt.Printf("%q\n", c.Take())

	closed, err := c.Closed()
	fmt.Println(closed, err)
	// Output:
	// "hello\n"
	// "world\n"
	// true <nil>
}

// exampleT stands in for the *testing.T that an Example has not got.
type exampleT struct{ testing.TB }

func (exampleT) Helper()        {}
func (exampleT) Cleanup(func()) {}
