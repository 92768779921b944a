package load

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/protoring/protoring/codec/resp"
)

// A protocol is a request and the reply that it must get. Both have one size, and are the same each time but for an identity, which
// says of which request a reply is. So a request is a few bytes written into a copy made long before, and a reply is checked
// where it lies.
type protocol struct {
	request []byte
	marks   []int // where in the request the identity stands
	reply   []byte
	mark    int // where in the reply it stands; -1: the reply is the same for all
	// identify writes the identity, identitySize bytes, of a connection's request.
	identify func(dst []byte, conn, seq uint64)
	store    *protocol // makes the server know the identity that is its seq, before the load begins; or nil
}

const (
	identitySize = 16 // bytes
	keyPrefix    = "key:"
	keyDigits    = identitySize - len(keyPrefix)
	maxKeys      = 1e9
)

// protocols are the values of Config.Proto.
var protocols = []string{"echo", "resp-get", "resp-set", "resp-ping"}

func newProtocol(cfg Config) (*protocol, error) {
	payload := make([]byte, cfg.Size)
	rand.NewChaCha8([32]byte{}).Read(payload) // no two places look the same: a reply that is shifted is seen
	key := []byte(strings.Repeat(" ", identitySize))
	value := append(bytes.Clone(key), payload[min(identitySize, cfg.Size):]...)
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func(dst []byte, _, _ uint64) { putKey(dst, rng.Uint64N(uint64(cfg.Keys))) }

	set := &protocol{request: resp.AppendCommand(nil, []byte("SET"), key, value), reply: []byte("+OK\r\n"), mark: -1, identify: pick}
	set.marks = []int{bytes.Index(set.request, key), len(set.request) - len("\r\n") - len(value)}
	switch cfg.Proto {
	case "echo":
		return &protocol{request: payload, marks: []int{0}, reply: payload, identify: putNumbers}, nil
	case "resp-get":
		get := resp.AppendCommand(nil, []byte("GET"), key)
		reply := fmt.Appendf(nil, "$%d\r\n", len(value))
		mark := len(reply)
		reply = append(append(reply, value...), "\r\n"...)
		set.identify = func(dst []byte, _, seq uint64) { putKey(dst, seq) }
		return &protocol{request: get, marks: []int{bytes.Index(get, key)}, reply: reply, mark: mark, identify: pick, store: set}, nil
	case "resp-set":
		return set, nil
	case "resp-ping":
		ping := resp.AppendCommand(nil, []byte("PING"))
		return &protocol{request: ping, reply: []byte("+PONG\r\n"), mark: -1}, nil
	}
	return nil, fmt.Errorf("no protocol %q: want %s", cfg.Proto, strings.Join(protocols, ", "))
}

func putNumbers(dst []byte, conn, seq uint64) {
	binary.BigEndian.PutUint64(dst, conn)
	binary.BigEndian.PutUint64(dst[8:], seq)
}

func putKey(dst []byte, n uint64) {
	copy(dst, keyPrefix)
	for i := identitySize - 1; i >= len(keyPrefix); i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
}

// issue makes the request in slot the next one of its connection.
func (p *protocol) issue(slot []byte, conn, seq uint64) {
	for i, mark := range p.marks {
		if i == 0 {
			p.identify(slot[mark:], conn, seq)
			continue
		}
		copy(slot[mark:], p.identity(slot))
	}
}

// identity returns that of the request in slot.
func (p *protocol) identity(slot []byte) []byte {
	return slot[p.marks[0] : p.marks[0]+identitySize]
}

// check compares bytes that came with the reply to the request in slot, from byte pos of it on. It returns how many belong to that
// reply, or false when one of them is wrong.
func (p *protocol) check(b []byte, pos int, slot []byte) (n int, ok bool) {
	n = min(len(b), len(p.reply)-pos)
	b, end := b[:n], pos+n
	if p.mark < 0 || end <= p.mark || pos >= p.mark+identitySize {
		return n, bytes.Equal(b, p.reply[pos:end])
	}
	id := p.identity(slot)
	from, to := max(pos, p.mark), min(end, p.mark+identitySize)
	return n, bytes.Equal(b[:from-pos], p.reply[pos:from]) &&
		bytes.Equal(b[from-pos:to-pos], id[from-p.mark:to-p.mark]) &&
		bytes.Equal(b[to-pos:], p.reply[to:end])
}

// excerptSize is how much of a wrong reply an error shows, in bytes.
const excerptSize = 48

// wrong says what is wrong with bytes that check refused.
func (p *protocol) wrong(b []byte, pos int, slot []byte) error {
	if pos == 0 && b[0] == '-' && p.reply[0] != '-' && p.isRESP() {
		line, _, _ := bytes.Cut(b, []byte("\r\n"))
		return fmt.Errorf("the server answers with an error: %q", line)
	}
	want := bytes.Clone(p.reply)
	if p.mark >= 0 {
		copy(want[p.mark:], p.identity(slot))
	}
	for i := range b {
		if pos+i >= len(want) || b[i] != want[pos+i] {
			from := max(0, i-identitySize)
			return fmt.Errorf("a wrong reply: byte %d of %d differs: %q came where %q is right", pos+i, len(want),
				excerpt(b[from:]), excerpt(want[pos+from:]))
		}
	}
	return fmt.Errorf("a wrong reply")
}

func (p *protocol) isRESP() bool { return p.request[0] == '*' }

func excerpt(b []byte) []byte { return b[:min(len(b), excerptSize)] }
