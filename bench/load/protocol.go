package load

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
)

// A Protocol is what is spoken with the server.
type Protocol interface {
	// Session returns the client's side of a connection. conn tells connections apart; rng belongs to the thread that calls
	// everything of this session.
	Session(conn int, rng *rand.Rand) Session
}

// A Preparer is a Protocol that brings the server into the state that the load needs, on a connection of its own.
type Preparer interface {
	Prepare(c net.Conn) error
}

// A Session makes the requests of one connection and checks the replies, which come in the order of the requests.
type Session interface {
	// Next appends the next request to b. What is left of it may be a body, which is sent behind it and which nobody changes any more:
	// large payloads are not copied that way. tag comes back with the reply.
	Next(b []byte) (request, body []byte, tag uint64)
	// Check takes bytes of the reply to the request with that tag, from the reply's byte pos on. It returns how many of them belong to
	// the reply, all of b unless the reply ends, and whether it ends with them. A *Refusal with done set says that the server has
	// refused the request in proper form; any other error ends the connection.
	Check(tag uint64, pos int, b []byte) (n int, done bool, err error)
}

// A Refusal is an error reply. It is counted by its kind, and the connection goes on.
type Refusal struct {
	Kind string // few different ones: errors are counted by it
	Text string
}

func (r *Refusal) Error() string { return fmt.Sprintf("the server answers with an error: %q", r.Text) }

// A Simple is a Session that sees each reply whole.
type Simple interface {
	// Next appends the next request to b. tag comes back with the reply.
	Next(b []byte) (request []byte, tag uint64)
	// Check looks at the reply that b begins with, and returns its size in bytes, or zero when it has not come to its end.
	Check(tag uint64, b []byte) (n int, err error)
}

// Whole makes a Session of a Simple. It copies replies that come in pieces.
func Whole(s Simple) Session { return &whole{s: s} }

type whole struct {
	s    Simple
	part []byte // of a reply
}

func (w *whole) Next(b []byte) (request, body []byte, tag uint64) {
	request, tag = w.s.Next(b)
	return request, nil, tag
}

// maxReply bounds what a reply that does not end takes in memory.
const maxReply = 1 << 30

func (w *whole) Check(tag uint64, _ int, b []byte) (n int, done bool, err error) {
	had := len(w.part)
	all := b
	if had > 0 {
		w.part = append(w.part, b...)
		all = w.part
	}
	size, err := w.s.Check(tag, all)
	switch {
	case err == nil && size == 0:
		if len(all) > maxReply {
			return len(b), false, fmt.Errorf("a reply of more than %d bytes", maxReply)
		}
		if had == 0 {
			w.part = append(w.part, b...)
		}
		return len(b), false, nil
	case size <= had || size > len(all):
		if err == nil {
			err = fmt.Errorf("the protocol's Check returns a size of %d, of %d bytes of which %d were not enough", size, len(all), had)
		}
		return len(b), true, err
	}
	w.part = w.part[:0]
	return size - had, true, err
}

const identitySize = 16 // bytes that tell requests apart

// newProtocol returns one of those that there are.
func newProtocol(cfg Config) (Protocol, error) {
	switch cfg.Proto {
	case "echo":
		return newEcho(cfg.Size), nil
	case "resp":
		return newCache(cfg, respDialect{}), nil
	case "memcache":
		return newCache(cfg, memcacheDialect{}), nil
	}
	return nil, fmt.Errorf("no protocol %q: want echo, resp or memcache", cfg.Proto)
}

// payload returns bytes of which no two places look the same, so that a reply that is shifted is seen.
func payload(size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// bodySize is from where on a payload is sent from where it lies.
const bodySize = 4 << 10

// match compares bytes of a reply, from byte pos of it on, with parts that together are what it must be. It returns how many of b
// belong to the reply, or false when one of them is wrong.
func match(b []byte, pos int, parts *[3][]byte) (n int, done, ok bool) {
	total := 0
	for _, p := range parts {
		from := pos + n - total // in this part
		total += len(p)
		if from >= len(p) {
			continue
		}
		k := min(len(p)-from, len(b)-n)
		if !bytes.Equal(b[n:n+k], p[from:from+k]) {
			return n, false, false
		}
		if n += k; n == len(b) {
			break
		}
	}
	return n, pos+n == len(parts[0])+len(parts[1])+len(parts[2]), true
}

// excerptSize is how much of a wrong reply an error shows, in bytes.
const excerptSize = 48

func excerpt(b []byte) []byte { return b[:min(len(b), excerptSize)] }

// errWrong says what is wrong with bytes that match refused.
func errWrong(b []byte, pos int, parts *[3][]byte) error {
	want := bytes.Join(parts[:], nil)
	for i := range b {
		if pos+i >= len(want) || b[i] != want[pos+i] {
			from := max(0, i-identitySize)
			return fmt.Errorf("a wrong reply: byte %d of %d differs: %q came where %q is right", pos+i, len(want),
				excerpt(b[from:]), excerpt(want[min(pos+from, len(want)):]))
		}
	}
	return fmt.Errorf("a wrong reply: %q", excerpt(b))
}
