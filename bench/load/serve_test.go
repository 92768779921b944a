package load_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// serve runs f for each connection to the address that it returns.
func serve(t *testing.T, network string, f func(net.Conn)) string {
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "socket")
	}
	l, err := net.Listen(network, addr)
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				f(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	if network == "unix" {
		return "unix:" + addr
	}
	return l.Addr().String()
}

// servers are those of the protocols.
var servers = map[string]func() func(net.Conn){
	"echo":     func() func(net.Conn) { return echo },
	"resp":     cache,
	"memcache": memcached,
}

// serveInOrder is serve, where f begins in the order of the connections.
func serveInOrder(t *testing.T, f func(net.Conn)) string {
	begin := make(chan bool, 1)
	begin <- true
	return serve(t, "tcp", func(c net.Conn) {
		<-begin
		time.AfterFunc(time.Millisecond, func() { begin <- true })
		f(c)
	})
}

func echo(c net.Conn) { _, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) }

// cache knows what the load asks of Redis: arrays of bulk strings in, GET, SET and PING.
func cache() func(net.Conn) {
	var mu sync.Mutex
	values := map[string]string{}
	return func(c net.Conn) {
		in := bufio.NewReader(c)
		line := func() string {
			s, _ := in.ReadString('\n')
			return string(bytes.TrimSpace([]byte(s)))
		}
		for {
			head := line()
			if head == "" {
				return
			}
			n, _ := strconv.Atoi(head[1:])
			args := make([]string, n)
			for i := range args {
				l := line()
				if l == "" {
					return
				}
				size, _ := strconv.Atoi(l[1:])
				b := make([]byte, size+2)
				_, _ = io.ReadFull(in, b)
				args[i] = string(b[:size])
			}
			reply := "+PONG\r\n"
			mu.Lock()
			switch args[0] {
			case "PING":
			case "SET":
				values[args[1]] = args[2]
				reply = "+OK\r\n"
			case "GET":
				v := values[args[1]]
				reply = "$" + strconv.Itoa(len(v)) + "\r\n" + v + "\r\n"
			}
			mu.Unlock()
			_, _ = io.WriteString(c, reply)
		}
	}
}

// memcached knows get and set of the text protocol.
func memcached() func(net.Conn) {
	var mu sync.Mutex
	values := map[string]string{}
	return func(c net.Conn) {
		in := bufio.NewReader(c)
		out := bufio.NewWriter(c)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			args := strings.Fields(line)
			mu.Lock()
			switch args[0] {
			case "get":
				if v, ok := values[args[1]]; ok {
					fmt.Fprintf(out, "VALUE %s 0 %d\r\n%s\r\n", args[1], len(v), v)
				}
				fmt.Fprint(out, "END\r\n")
			case "set":
				size, _ := strconv.Atoi(args[4])
				b := make([]byte, size+2)
				_, _ = io.ReadFull(in, b)
				values[args[1]] = string(b[:size])
				fmt.Fprint(out, "STORED\r\n")
			}
			mu.Unlock()
			if in.Buffered() == 0 {
				_ = out.Flush()
			}
		}
	}
}

// refusing answers sets rightly, and gets with an error where refuse says so.
func refusing(c net.Conn, value *string, refuse func() bool) {
	in := bufio.NewReader(c)
	for {
		var args []string
		head, err := in.ReadString('\n')
		if err != nil {
			return
		}
		n, _ := strconv.Atoi(strings.TrimSpace(head[1:]))
		for range n {
			l, err := in.ReadString('\n')
			if err != nil {
				return
			}
			size, _ := strconv.Atoi(strings.TrimSpace(l[1:]))
			b := make([]byte, size+2)
			_, _ = io.ReadFull(in, b)
			args = append(args, string(b[:size]))
		}
		switch {
		case args[0] == "SET":
			*value = args[2]
			_, _ = io.WriteString(c, "+OK\r\n")
		case refuse():
			_, _ = io.WriteString(c, "-OOM command not allowed when used memory > 'maxmemory'.\r\n")
		default:
			fmt.Fprintf(c, "$%d\r\n%s\r\n", len(*value), *value)
		}
	}
}
