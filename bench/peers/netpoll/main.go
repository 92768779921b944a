// The peer netpoll is echo on CloudWeGo's netpoll, with its calls that copy nothing: what was read is handed to the writer where it lies.
package main

import (
	"context"
	"flag"
	"log"
	"net"

	"github.com/cloudwego/netpoll"
)

func echo(_ context.Context, c netpoll.Connection) error {
	r, w := c.Reader(), c.Writer()
	b, err := r.Next(r.Len())
	if err != nil {
		return err
	}
	if _, err := w.WriteBinary(b); err != nil { // no copy, from 4 KiB on
		return err
	}
	if err := w.Flush(); err != nil { // returns when all of b is with the kernel
		return err
	}
	return r.Release()
}

func main() {
	addr := flag.String("listen", "127.0.0.1:9000", "listen on `address`")
	loops := flag.Int("loops", 0, "pollers; 0: netpoll's default, one for each 20 of GOMAXPROCS")
	pool := flag.Bool("gopool", false, "run requests in netpoll's pool of goroutines, its default")
	flag.Parse()
	cfg := netpoll.Config{PollerNum: *loops}
	if !*pool { // its guide says that this is best where stacks do not grow, and its own benchmarks do so
		cfg.Runner = func(_ context.Context, f func()) { go f() }
	}
	if err := netpoll.Configure(cfg); err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	loop, err := netpoll.NewEventLoop(echo)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(loop.Serve(l))
}
