// Ownprotocol shows how a protocol of one's own is put under load: messages that begin with their length in four bytes, big-endian, as
// `examples/echo -frame u32` serves them.
//
//	go run ./examples/echo -frame u32 &
//	go run ./bench/examples/ownprotocol -addr 127.0.0.1:9000 -rate 20000
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"time"

	"github.com/protoring/protoring/bench/load"
	"github.com/protoring/protoring/bench/result"
)

const prefix = 4 // bytes

// framed is the protocol. It makes a session for each connection.
type framed struct{ size int }

func (f framed) Session(conn int, rng *rand.Rand) load.Session {
	message := make([]byte, prefix+f.size)
	binary.BigEndian.PutUint32(message, uint32(f.size))
	for i := prefix; i < len(message); i++ {
		message[i] = byte(rng.Uint32())
	}
	return load.Whole(&session{message: message})
}

// session makes requests and checks replies. A tag tells the requests apart: here it is written into the message.
type session struct {
	message []byte
	seq     uint64
}

func (s *session) stamped(tag uint64) []byte {
	binary.BigEndian.PutUint64(s.message[prefix:], tag)
	return s.message
}

func (s *session) Next(b []byte) ([]byte, uint64) {
	s.seq++
	return append(b, s.stamped(s.seq)...), s.seq
}

func (s *session) Check(tag uint64, b []byte) (int, error) {
	want := s.stamped(tag)
	if len(b) < len(want) {
		return 0, nil // there is more to come
	}
	if !bytes.Equal(b[:len(want)], want) {
		return 0, fmt.Errorf("message %d came back changed", tag)
	}
	return len(want), nil
}

func main() {
	log.SetFlags(0)
	addr := flag.String("addr", "127.0.0.1:9000", "the server's `address`")
	rate := flag.Float64("rate", 10_000, "requests a second")
	size := flag.Int("size", 64, "`bytes` of a message, 8 at least")
	duration := flag.Duration("duration", 3*time.Second, "measured time")
	flag.Parse()

	cfg := load.Config{Proto: "u32", Protocol: framed{max(*size, 8)}, Addr: *addr, Rate: *rate, Size: max(*size, 16), Duration: *duration}
	round, err := load.Run(context.Background(), cfg)
	if round == nil {
		log.Fatal(err)
	}
	about, derr := cfg.Describe()
	if derr != nil {
		log.Fatal(derr)
	}
	report := result.Report{Version: result.Version, Kind: result.KindRun, Title: "u32 messages", Time: time.Now(),
		Cases: []result.Case{{Name: "u32", Load: about, Series: []result.Series{{Name: *addr, Rounds: []*result.Round{round}}}}}}
	if err := result.WriteText(os.Stdout, &report); err != nil {
		log.Fatal(err)
	}
	if err != nil {
		log.Fatal(err)
	}
}
