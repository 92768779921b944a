package load

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/protoring/protoring/codec/resp"
)

const (
	keyPrefix = "key:"
	keyDigits = identitySize - len(keyPrefix)
	maxKeys   = 1e9
	zipfS     = 1.01 // the least that math/rand knows is a little more than 1

	storeBatch = 1 << 20 // bytes that are written before the answers are read
)

func appendKey(dst []byte, n uint64) []byte {
	dst = append(dst, keyPrefix...)
	at := len(dst)
	dst = append(dst, "000000000000"[:keyDigits]...)
	for i := len(dst) - 1; i >= at; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}

// A dialect is how a cache is asked. All of it is fixed but for a key, which stands in front of a value as well: so a reply says of
// which key it is, and it does not matter which set came before a get.
type dialect interface {
	get() (before, after string)                  // around the key
	set(size int) (before, between, after string) // around the key and the value
	hit(size int) (before, value, after string)   // the reply to a get; the key comes where value says
	miss() string
	stored() string
	// refusal returns the kind of an error reply, or nothing if the line is none.
	refusal(line []byte) string
}

type respDialect struct{}

func (respDialect) get() (before, after string) {
	b := resp.AppendCommand(nil, "GET", strings.Repeat("k", identitySize))
	before, after, _ = strings.Cut(string(b), strings.Repeat("k", identitySize))
	return before, after
}

func (respDialect) set(size int) (before, between, after string) {
	key := strings.Repeat("k", identitySize)
	b := resp.AppendCommand(nil, "SET", key, strings.Repeat("v", size))
	before, rest, _ := strings.Cut(string(b), key)
	between, _, _ = strings.Cut(rest, "v")
	return before, between, "\r\n"
}

func (respDialect) hit(size int) (before, value, after string) {
	return fmt.Sprintf("$%d\r\n", size), "", "\r\n"
}
func (respDialect) miss() string   { return "$-1\r\n" }
func (respDialect) stored() string { return "+OK\r\n" }
func (respDialect) refusal(line []byte) string {
	if len(line) == 0 || line[0] != '-' {
		return ""
	}
	word, _, _ := bytes.Cut(line[1:], []byte(" "))
	return "reply -" + string(excerpt(word))
}

type memcacheDialect struct{}

func (memcacheDialect) get() (before, after string) { return "get ", "\r\n" }
func (memcacheDialect) set(size int) (before, between, after string) {
	return "set ", fmt.Sprintf(" 0 0 %d\r\n", size), "\r\n"
}
func (memcacheDialect) hit(size int) (before, value, after string) {
	return "VALUE ", fmt.Sprintf(" 0 %d\r\n", size), "\r\nEND\r\n"
}
func (memcacheDialect) miss() string   { return "END\r\n" }
func (memcacheDialect) stored() string { return "STORED\r\n" }
func (memcacheDialect) refusal(line []byte) string {
	word, _, _ := bytes.Cut(line, []byte(" "))
	switch string(word) {
	case "ERROR", "CLIENT_ERROR", "SERVER_ERROR", "NOT_STORED":
		return "reply " + string(line[:min(len(line), 64)])
	}
	return ""
}

// cache is a protocol of gets and sets.
type cache struct {
	cfg                           Config
	dialect                       dialect
	getBefore, getAfter           string
	setBefore, setBetween         string
	rest                          []byte // of a set, from behind the value's key on
	hitBefore, hitValue, hitAfter []byte // of the reply to a get; the value's rest is in hitAfter
	miss, stored                  []byte
	body                          bool // the rest of a set is sent from where it lies
}

func newCache(cfg Config, d dialect) *cache {
	c := &cache{cfg: cfg, dialect: d, body: cfg.Size >= bodySize}
	value := payload(cfg.Size)[identitySize:]
	var after string
	c.getBefore, c.getAfter = d.get()
	c.setBefore, c.setBetween, after = d.set(cfg.Size)
	c.rest = append(bytes.Clone(value), after...)
	hb, hv, ha := d.hit(cfg.Size)
	c.hitBefore, c.hitValue = []byte(hb), []byte(hv)
	c.hitAfter = append(bytes.Clone(value), ha...)
	c.miss, c.stored = []byte(d.miss()), []byte(d.stored())
	return c
}

// A tag is the key, and whether the request is a set.
const setTag = 1 << 63

func (c *cache) Session(_ int, rng *rand.Rand) Session {
	s := &cacheSession{cache: c, rng: rng}
	if c.cfg.Zipf {
		s.zipf = rand.NewZipf(rng, zipfS, 1, uint64(c.cfg.Keys-1))
	}
	return s
}

type cacheSession struct {
	*cache
	rng  *rand.Rand
	zipf *rand.Zipf
	line []byte // of a reply that is not the one that a get or set should have
	odd  bool   // such a reply is coming
	head []byte // scratch: what comes before the value's rest
}

func (s *cacheSession) key() uint64 {
	if s.zipf != nil {
		return s.zipf.Uint64()
	}
	return s.rng.Uint64N(uint64(s.cfg.Keys))
}

func (s *cacheSession) Next(b []byte) (request, body []byte, tag uint64) {
	key := s.key()
	if s.cfg.Sets == 0 || s.cfg.Gets > 0 && s.rng.IntN(s.cfg.Gets+s.cfg.Sets) < s.cfg.Gets {
		b = append(b, s.getBefore...)
		b = appendKey(b, key)
		return append(b, s.getAfter...), nil, key
	}
	b = s.appendSet(b, key)
	if s.body {
		return b, s.rest, key | setTag
	}
	return append(b, s.rest...), nil, key | setTag
}

// appendSet appends a set up to its value's key.
func (c *cache) appendSet(b []byte, key uint64) []byte {
	b = append(b, c.setBefore...)
	b = appendKey(b, key)
	b = append(b, c.setBetween...)
	return appendKey(b, key)
}

func (s *cacheSession) Check(tag uint64, pos int, b []byte) (n int, done bool, err error) {
	parts := [3][]byte{s.stored}
	if tag&setTag == 0 {
		s.head = append(s.head[:0], s.hitBefore...)
		if len(s.hitValue) > 0 { // the key stands in the reply's line as well
			s.head = append(appendKey(s.head, tag), s.hitValue...)
		}
		parts = [3][]byte{appendKey(s.head, tag), s.hitAfter}
		s.head = parts[0]
	}
	if !s.odd {
		var ok bool
		if n, done, ok = match(b, pos, &parts); ok {
			return n, done, nil
		}
		s.odd = true // a miss, an error, or wrong; what has matched so far belongs to its line
		s.line = append(s.line[:0], concat(&parts)[:min(pos, maxLine)]...)
	}
	return s.checkLine(b, pos, &parts)
}

const maxLine = 512

func concat(parts *[3][]byte) []byte { return bytes.Join(parts[:], nil) }

// checkLine takes a reply of one line.
func (s *cacheSession) checkLine(b []byte, pos int, parts *[3][]byte) (n int, done bool, err error) {
	end := bytes.IndexByte(b, '\n')
	if n = end + 1; end < 0 {
		n = len(b)
	}
	s.line = append(s.line, b[:min(n, maxLine)]...)
	line := s.line
	switch {
	case end < 0 && len(line) <= maxLine && pos < maxLine:
		return n, false, nil
	case bytes.Equal(line, s.miss) && parts[1] != nil:
		err = &Refusal{Kind: "miss", Text: "a key that was stored is not there: the server has dropped it"}
	case bytes.HasSuffix(line, []byte("\n")):
		text := bytes.TrimRight(line, "\r\n")
		if kind := s.dialect.refusal(text); kind != "" {
			err = &Refusal{Kind: kind, Text: string(text)}
		}
	}
	if err == nil {
		err = errWrong(line, 0, parts)
	}
	s.odd, s.line = false, s.line[:0]
	return n, true, err
}

// Prepare stores all keys. Requests are written while replies are read: a server whose replies nobody takes stops reading.
func (c *cache) Prepare(conn net.Conn) error {
	written := make(chan error, 1)
	go func() {
		var out []byte
		for key := range c.cfg.Keys {
			out = append(c.appendSet(out, uint64(key)), c.rest...)
			if len(out) < storeBatch && key < c.cfg.Keys-1 {
				continue
			}
			if err := conn.SetWriteDeadline(time.Now().Add(stallTimeout)); err != nil {
				written <- err
				return
			}
			if _, err := conn.Write(out); err != nil {
				written <- err
				return
			}
			out = out[:0]
		}
		written <- nil
	}()
	err := c.readStored(conn)
	if err != nil {
		conn.Close() // which ends the writing
	}
	if werr := <-written; err == nil {
		err = werr
	}
	if err != nil {
		return fmt.Errorf("store the keys: %w", err)
	}
	return nil
}

// readStored reads the replies to the sets of all keys.
func (c *cache) readStored(conn net.Conn) error {
	in := bufio.NewReaderSize(conn, 64<<10)
	reply := make([]byte, len(c.stored))
	for range c.cfg.Keys {
		if in.Buffered() < len(reply) {
			if err := conn.SetReadDeadline(time.Now().Add(stallTimeout)); err != nil {
				return err
			}
		}
		n, err := io.ReadFull(in, reply)
		if !bytes.Equal(reply[:n], c.stored[:n]) {
			rest, _ := in.Peek(min(in.Buffered(), excerptSize))
			return fmt.Errorf("the server answers %q", excerpt(append(reply[:n:n], rest...)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
