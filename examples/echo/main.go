// Echo sends back what it receives: the smallest server there is, for four ways to cut bytes into messages.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/examples/internal/run"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
)

const about = `
Echo sends back each message that it receives. -frame says what a message is:

  raw      whatever arrives
  line     a line; it goes back without the carriage return that it may have had
  fixed:N  N bytes
  u32      a length of four bytes, big-endian, and so many bytes`

// echo is the reactor, less its codec.
type echo struct{}

func (echo) OnInbound(m *codec.Frame, out *reactor.Outbound[codec.Frame]) reactor.Status {
	out.Send(*m)
	return reactor.Continue
}

// A reactor brings its codec by embedding it.
type (
	rawEcho struct {
		codec.Raw
		echo
	}
	lineEcho struct {
		codec.Line
		echo
	}
	fixedEcho struct {
		codec.Fixed
		echo
	}
	lengthEcho struct {
		codec.LengthPrefixed
		echo
	}
)

func main() {
	frame := frameFlag{kind: "raw"}
	run.Main(run.Example{
		Name:  "echo",
		About: about,
		Addr:  "127.0.0.1:9000",
		Flags: func(fs *flag.FlagSet) {
			fs.Var(&frame, "frame", "cut into messages by `kind`: raw, line, fixed:N or u32")
		},
		Listen: func(s *server.Server, network, addr string, _ *slog.Logger) (net.Addr, func(), error) {
			bound, err := frame.listen(s, network, addr)
			return bound, nil, err
		},
	})
}

// frameFlag is the value of -frame.
type frameFlag struct {
	kind string // raw, line, fixed or u32
	size int    // of fixed
}

func (f *frameFlag) String() string {
	if f.kind == "fixed" {
		return fmt.Sprintf("fixed:%d", f.size)
	}
	return f.kind
}

// maxFixed is the listener's default for the largest message, in bytes.
const maxFixed = 32 << 20

func (f *frameFlag) Set(s string) error {
	kind, number, hasNumber := strings.Cut(s, ":")
	switch {
	case kind == "fixed" && hasNumber:
		size, err := strconv.Atoi(number)
		if err != nil || size < 1 || size > maxFixed {
			return fmt.Errorf("the size of fixed is a number from 1 to %d", maxFixed)
		}
		f.size = size
	case hasNumber, kind != "raw" && kind != "line" && kind != "u32":
		return errors.New("want raw, line, fixed:N or u32")
	}
	f.kind = kind
	return nil
}

func (f *frameFlag) listen(s *server.Server, network, addr string) (net.Addr, error) {
	switch f.kind {
	case "line":
		return listen(s, network, addr, lineEcho{})
	case "fixed":
		return listen(s, network, addr, fixedEcho{Fixed: codec.Fixed{Length: f.size}})
	case "u32":
		return listen(s, network, addr, lengthEcho{})
	}
	return listen(s, network, addr, rawEcho{})
}

// listen gives each connection a copy of r.
func listen[R reactor.Reactor[codec.Frame, codec.Frame]](s *server.Server, network, addr string, r R) (net.Addr, error) {
	return server.Listen(s, network, addr, server.ListenConfig{}, func(reactor.Peer[codec.Frame]) R { return r })
}
