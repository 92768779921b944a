package server_test

import (
	"bufio"
	"context"
	"fmt"
	"net"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/reactor"
	"github.com/protoring/protoring/server"
)

// A reactor brings its codec by embedding it.
type exampleEcho struct{ codec.Line }

func (exampleEcho) OnInbound(line *codec.Frame, out *reactor.Outbound[codec.Frame]) reactor.Status {
	out.Send(*line)
	return reactor.Continue
}

// An echo server, whole: it serves until its context is done, and then drains.
func Example() {
	srv, err := server.New(server.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	addr, err := server.Listen(srv, "tcp", "127.0.0.1:0", server.ListenConfig{},
		func(reactor.Peer[codec.Frame]) exampleEcho { return exampleEcho{} })
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error)
	go func() { ended <- srv.Serve(ctx) }()

	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprintln(conn, "hello")
	line, _ := bufio.NewReader(conn).ReadString('\n')
	fmt.Print(line)
	conn.Close()

	stop()
	fmt.Println(<-ended)
	// Output:
	// hello
	// <nil>
}
