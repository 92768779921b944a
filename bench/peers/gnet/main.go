// The peer gnet is echo on gnet, written as that project's own examples are. Its benchmarks are built with other flags than Go's own, and so
// should this be:
//
//	go build -tags poll_opt -gcflags=-l=4 .
package main

import (
	"flag"
	"log"

	"github.com/panjf2000/gnet/v2"
)

type echo struct{ gnet.BuiltinEventEngine }

func (*echo) OnTraffic(c gnet.Conn) gnet.Action {
	b, err := c.Next(-1)
	if err != nil {
		return gnet.Close
	}
	if _, err := c.Write(b); err != nil {
		return gnet.Close
	}
	return gnet.None
}

func main() {
	addr := flag.String("listen", "127.0.0.1:9000", "listen on `address`")
	loops := flag.Int("loops", 0, "event loops; 0: gnet's default, one per CPU with -multicore, else one")
	multicore := flag.Bool("multicore", false, "gnet's multicore option")
	flag.Parse()
	opts := []gnet.Option{gnet.WithMulticore(*multicore), gnet.WithTCPNoDelay(gnet.TCPNoDelay)}
	if *loops > 0 {
		opts = append(opts, gnet.WithNumEventLoop(*loops))
	}
	if err := gnet.Run(&echo{}, "tcp://"+*addr, opts...); err != nil {
		log.Fatal(err)
	}
}
