// The peer net is echo on Go's own net package: a goroutine for each connection.
package main

import (
	"flag"
	"log"
	"net"
	"runtime"
)

const bufferSize = 32 << 10 // that of io.Copy

func main() {
	addr := flag.String("listen", "127.0.0.1:9000", "listen on `address`")
	loops := flag.Int("loops", 0, "GOMAXPROCS; 0: Go's default")
	flag.Parse()
	if *loops > 0 {
		runtime.GOMAXPROCS(*loops)
	}
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go echo(c)
	}
}

func echo(c net.Conn) {
	defer c.Close()
	b := make([]byte, bufferSize)
	for {
		n, err := c.Read(b)
		if n > 0 {
			if _, err := c.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
