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
	"errors"
	"flag"
	"fmt"
	"io"
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
	if err := run(os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		log.Fatal(err)
	}
}

func run(args []string, out io.Writer) error {
	fs := flag.NewFlagSet("ownprotocol", flag.ContinueOnError)
	addr := fs.String("addr", "127.0.0.1:9000", "the server's `address`")
	rate := fs.Float64("rate", 10_000, "requests a second")
	size := fs.Int("size", 64, "`bytes` of a message, 8 at least")
	duration := fs.Duration("duration", 3*time.Second, "measured time")
	if err := fs.Parse(args); err != nil {
		return err
	}

	cfg := load.Config{Proto: "u32", Protocol: framed{max(*size, 8)}, Addr: *addr, Rate: *rate, Size: max(*size, 16), Duration: *duration}
	round, err := load.Run(context.Background(), cfg)
	if round == nil {
		return err
	}
	about, derr := cfg.Describe()
	if derr != nil {
		return derr
	}
	report := result.Report{Version: result.Version, Kind: result.KindRun, Title: "u32 messages", Time: time.Now(),
		Cases: []result.Case{{Name: "u32", Load: about, Series: []result.Series{{Name: *addr, Rounds: []*result.Round{round}}}}}}
	return errors.Join(err, result.WriteText(out, &report)) // after an error there is what was measured until then
}
