package memcache

import (
	"bytes"
	"errors"

	"github.com/protoring/protoring/codec"
)

// Errors of Requests, which close the connection. memcached closes it without a word as well.
var (
	ErrLine   = errors.New("memcache: a line of more than 2048 bytes")
	ErrHTTP   = errors.New("memcache: a request of HTTP")
	ErrBinary = errors.New("memcache: the binary protocol is not supported")
)

const (
	defaultMaxItem = 1 << 20 // memcached's -I
	maxLine        = 2048    // bytes that memcached waits for the end of a line in
	maxIndent      = 100     // spaces before a get that may be longer
	binaryMagic    = 0x80    // first byte of a request of the binary protocol
)

// ItemSize is the size of an item as memcached 1.6.18 counts it, which is what MaxItem limits: key, value, and a header.
func ItemSize(key int, flags uint32, data int) int {
	const (
		header = 48 // struct _stritem
		unique = 8
		ends   = 1 + 2 // behind the key and behind the value
	)
	n := header + unique + ends + key + data
	if flags != 0 {
		n += 4
	}
	return n
}

// Requests decodes commands. Each connection has one of its own; its zero value is ready for use. It accepts what memcached 1.6.18
// accepts, and refuses the rest in its words: most errors are Commands with Err, after which the connection goes on behind the bytes that
// memcached leaves out.
//
// It differs from memcached where that depends on how the bytes arrive: a line of more than 2048 bytes is ErrLine also when it arrives
// as a whole, unless it is one of get, gets, gat or gats, whose length only the listener's MaxBufferLength limits.
//
// It takes no memory of its own. Of a line that is not whole only what is new is looked at; data is not looked at, but for its end.
type Requests struct {
	// MaxItem is the largest item in bytes, as ItemSize counts it. Zero means 1 MiB. Data of a larger one is skipped.
	MaxItem int

	refused int  // bytes of data to skip, of a command that was delivered with an error
	begun   bool // a line was whole: the protocol is not the binary one
}

// Decode decodes one command.
func (r *Requests) Decode(b []byte, m *Command) (int, error) { return r.Resume(b, 0, m) }

// Resume is Decode where the first seen bytes of b have no end of a line.
func (r *Requests) Resume(b []byte, seen int, m *Command) (int, error) {
	if r.refused > 0 {
		n := r.refused
		r.refused = 0
		return n, codec.Skip
	}
	if seen == 0 && b[0] == binaryMagic && !r.begun {
		return 0, ErrBinary
	}
	i := bytes.IndexByte(b[seen:], '\n')
	if i < 0 {
		if len(b) > maxLine && seen <= maxLine && !mayBeLong(b) { // asked once: bytes may come one by one
			return 0, ErrLine
		}
		return 0, codec.More
	}
	i += seen
	if i > maxLine && seen <= maxLine && !mayBeLong(b) {
		return 0, ErrLine
	}
	r.begun = true
	line := b[:i]
	if i > 1 && line[i-1] == '\r' {
		line = line[:i-1]
	}
	if zero := bytes.IndexByte(line, 0); zero >= 0 {
		line = line[:zero] // the rest is not there for memcached, a string of C
	}
	size, err := r.parse(line, m)
	i++
	switch {
	case err != nil:
		return 0, err
	case size < 0:
		return i, nil
	case m.Err != "":
		r.refused = size + len(lineEnd)
		return i, nil //nolint:nilerr // it is delivered
	}
	n := i + size + len(lineEnd)
	if n > len(b) {
		return n, codec.More
	}
	m.Data = b[i : i+size : i+size]
	if b[n-2] != '\r' || b[n-1] != '\n' {
		m.Err = errChunk
		m.Noreply = m.Noreply && m.Verb != MetaSet
	}
	return n, nil
}

// mayBeLong says whether a line may have more than maxLine bytes: a list of keys.
func mayBeLong(line []byte) bool {
	n := 0
	for n <= maxIndent && line[n] == ' ' {
		n++
	}
	line = line[n:]
	return n <= maxIndent && (bytes.HasPrefix(line, []byte("get ")) || bytes.HasPrefix(line, []byte("gets ")) ||
		bytes.HasPrefix(line, []byte("gat ")) || bytes.HasPrefix(line, []byte("gats ")))
}

func (r *Requests) maxItem() int {
	if r.MaxItem <= 0 {
		return defaultMaxItem
	}
	return r.MaxItem
}
