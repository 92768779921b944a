package resp

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/protoring/protoring/codec"
)

// Errors of a ReplyDecoder. They come wrapped with what was found.
var (
	ErrReply    = errors.New("resp: invalid reply")
	ErrLimit    = errors.New("resp: reply exceeds a limit")
	ErrStreamed = errors.New("resp: streamed strings and aggregates are not supported")
)

// The limits that are the zero values of those of ReplyDecoder.
const (
	defaultMaxElements = 1 << 20
	defaultMaxDepth    = 32
)

// keptNodes is the number of Values kept for the next reply: 320 KiB per connection.
const keptNodes = 4096

// ReplyDecoder decodes replies of RESP2 and RESP3 with attributes and push messages, which are Values of KindPush between
// the replies. Streamed strings and aggregates ("$?", "*?"), which no Redis sends, are ErrStreamed. Each connection has one of
// its own; its zero value is ready for use.
//
// Of a reply that is not whole only positions are kept. When it is whole, its tree is built in one pass, in memory that is
// reused: 80 bytes for each element below the top.
type ReplyDecoder struct {
	// MaxElements is the most elements of a reply in all its aggregates together; a map has two for each pair. Zero
	// means 1,048,576.
	MaxElements int
	// MaxDepth is the most aggregates within each other. Zero means 32.
	MaxDepth int
	// MaxBulk is the most bytes of a bulk string. Zero means 512 MiB.
	MaxBulk int
	// MaxLine is the most bytes of a line: a simple string, an error, or a number. Zero means 64 KiB.
	MaxLine int

	pos   int     // of a reply that is not whole: offset of the element that is to be looked at next
	seen  int     // bytes of the line at pos that are known to have no end
	nodes int     // elements that the aggregates up to pos announced
	left  []int   // elements that each open aggregate lacks, outermost first
	tree  []Value // memory for the elements of a reply
}

// Decode decodes one reply.
func (d *ReplyDecoder) Decode(b []byte, m *Value) (int, error) {
	last, n, err := d.scan(b)
	if err == codec.More {
		return n, err
	}
	nodes := d.nodes
	d.pos, d.seen, d.nodes, d.left = 0, 0, 0, d.left[:0]
	if err != nil {
		return 0, err
	}
	build := builder{b: b}
	if nodes == 0 { // the value itself is the only element
		return n, build.fill(m, last)
	}
	switch {
	case nodes > keptNodes:
		build.free = make([]Value, nodes) // held by m only
	case nodes > cap(d.tree):
		d.tree = make([]Value, nodes)
		fallthrough
	default:
		build.free = d.tree[:nodes]
	}
	return n, build.value(m)
}

// scan looks for the end of the reply from where the last call stopped, and returns its last element with the size of all. It
// checks all limits and takes no memory but for the open aggregates.
func (d *ReplyDecoder) scan(b []byte) (h head, n int, err error) {
	for {
		if d.pos >= len(b) {
			return h, 0, codec.More
		}
		h, n, err = d.head(b)
		if err != nil {
			return h, n, err
		}
		d.pos = h.end
		d.seen = 0
		if h.items >= 0 {
			if h.items > d.maxElements()-d.nodes {
				return h, 0, fmt.Errorf("%w: more than %d elements", ErrLimit, d.maxElements())
			}
			d.nodes += h.items
			open := h.items
			if h.kind == KindAttribute {
				open++ // the value that it precedes; the attribute itself is no element
				if d.nodes++; d.nodes > d.maxElements() {
					return h, 0, fmt.Errorf("%w: more than %d elements", ErrLimit, d.maxElements())
				}
			}
			if open > 0 {
				if len(d.left) >= d.maxDepth() {
					return h, 0, fmt.Errorf("%w: more than %d aggregates within each other", ErrLimit, d.maxDepth())
				}
				d.left = append(d.left, open)
				continue
			}
		}
		for {
			top := len(d.left) - 1
			if top < 0 {
				return h, d.pos, nil
			}
			if d.left[top]--; d.left[top] > 0 {
				break
			}
			d.left = d.left[:top]
		}
	}
}

// head parses the element at d.pos with its limits. need is the size for codec.More.
func (d *ReplyDecoder) head(b []byte) (h head, need int, err error) {
	if h, ok := parseBulk(b, d.pos); ok && h.size <= d.maxBulk() && h.text-2-d.pos <= d.maxLine() {
		return h, 0, nil
	}
	line := b[d.pos:]
	i := bytes.IndexByte(line[d.seen:], '\r')
	if i < 0 {
		d.seen = len(line)
	} else {
		i += d.seen
		d.seen = i
	}
	if d.seen > d.maxLine() {
		return h, 0, fmt.Errorf("%w: a line of more than %d bytes", ErrLimit, d.maxLine())
	}
	if i < 0 {
		return h, 0, codec.More
	}
	if i+1 == len(line) {
		return h, len(b) + 1, codec.More
	}
	h, err = parseHead(b, d.pos, d.pos+i)
	if err != nil {
		return h, 0, err
	}
	if h.size > d.maxBulk() {
		return h, 0, fmt.Errorf("%w: a bulk string of %d bytes", ErrLimit, h.size)
	}
	if h.end > len(b) {
		return h, h.end, codec.More
	}
	return h, 0, h.check(b)
}

func (d *ReplyDecoder) maxElements() int {
	if d.MaxElements <= 0 {
		return defaultMaxElements
	}
	return d.MaxElements
}

func (d *ReplyDecoder) maxDepth() int {
	if d.MaxDepth <= 0 {
		return defaultMaxDepth
	}
	return d.MaxDepth
}

func (d *ReplyDecoder) maxBulk() int {
	if d.MaxBulk <= 0 {
		return defaultMaxBulk
	}
	return d.MaxBulk
}

func (d *ReplyDecoder) maxLine() int {
	if d.MaxLine <= 0 {
		return defaultMaxInline
	}
	return d.MaxLine
}
