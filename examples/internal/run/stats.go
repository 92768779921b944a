package run

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/protoring/protoring/server"
)

// StatsPath is where -stats answers.
const StatsPath = "/stats"

const (
	statsTimeout = 5 * time.Second // for a client that connects and asks nothing, or does not read
	statsRequest = 8 << 10         // bytes of a request that are read
)

// Stats returns what the loops of a server have counted, as JSON:
//
//	{"engine": "io_uring", "loops": [{"Conns": 50, "Accepted": 51, …}, …], "total": {"Conns": 50, …}}
//
// The fields are those of [server.Stats] by their names in Go, whole numbers all of them: counts since the start, but for Conns, Memory
// and ReceiveMem, which are of now. There are as many loops as have been started, none before that; total is their sum. `bench run
// --stats` reads it before and after its measured time. It takes no lock that a loop waits for.
func Stats(s *server.Server) []byte {
	answer := struct {
		Engine string         `json:"engine"`
		Loops  []server.Stats `json:"loops"`
		Total  server.Stats   `json:"total"`
	}{Engine: s.Engine().String(), Loops: s.LoopStats()}
	for i := range answer.Loops {
		answer.Total.Add(&answer.Loops[i])
	}
	b, err := json.Marshal(answer)
	if err != nil {
		panic(err) // numbers and strings can be encoded
	}
	return append(b, '\n')
}

// serveStats answers at StatsPath, in the simplest HTTP that there is: package net/http would add 2.6 MiB to a server of 8. The
// function that it returns ends that, and waits.
func serveStats(ln net.Listener, s *server.Server) (stop func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { answerStats(conn, s) })
		}
	})
	return func() {
		_ = ln.Close()
		wg.Wait()
	}
}

func answerStats(conn net.Conn, s *server.Server) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(statsTimeout))
	r := bufio.NewReader(io.LimitReader(conn, statsRequest))
	first, err := r.ReadString('\n')
	for line := first; err == nil && strings.TrimSpace(line) != ""; { // all of it is read: a close with unread bytes is a reset
		line, err = r.ReadString('\n')
	}
	if err != nil {
		return
	}
	method, rest, _ := strings.Cut(first, " ")
	path, _, _ := strings.Cut(rest, " ")
	status, body := "200 OK", []byte(nil)
	switch {
	case path != StatsPath:
		status = "404 Not Found"
	case method != "GET":
		status = "405 Method Not Allowed"
	default:
		body = Stats(s)
	}
	fmt.Fprintf(conn, "HTTP/1.0 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
}
