package memcache

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/protoring/protoring/codec"
)

// Errors of a ReplyDecoder. They come wrapped with what was found.
var (
	ErrReply = errors.New("memcache: invalid reply")
	ErrLimit = errors.New("memcache: reply exceeds a limit")
)

// The limits that are the zero values of those of ReplyDecoder.
const (
	defaultMaxItems = 1 << 20
	defaultMaxValue = 1 << 30
	maxReplyLine    = 4096 // memcached's own are below 1024
)

// keptItems is the number of Items kept for the next answer: 224 KiB.
const keptItems = 4096

// An Answer is all that a server answers to one command. What it refers to is valid as long as the received bytes.
type Answer struct {
	// Line is the last line, without its end: END behind items and stats, the whole answer where there is only a line, and that of
	// a VA, whose value is the only Item.
	Line []byte
	// Items are the values that get found, the STAT and ITEM lines of stats, with Key and Data only, or the value of a VA, with Data only.
	Items []Item
}

// An Item is a value, or a line of several.
type Item struct {
	Key, Data []byte
	Unique    uint64 // 0 where none was asked for
	Flags     uint32
}

// ReplyDecoder decodes the answers of a server, each as a whole. Each connection has one of its own; its zero value is ready for use. An
// answer that memcached suppresses, with noreply or q, is not there to be decoded.
//
// Of an answer that is not whole only positions are kept. When it is whole, its items are collected in one pass.
type ReplyDecoder struct {
	// MaxItems is the most items of an answer. Zero means 1,048,576.
	MaxItems int
	// MaxValue is the most bytes of a value. Zero means 1 GiB.
	MaxValue int

	pos   int // of an answer that is not whole: offset of the line that is to be looked at next
	seen  int // bytes of that line that are known to have no end
	items int // before pos
}

// Decode decodes one answer.
func (d *ReplyDecoder) Decode(b []byte, m *Answer) (int, error) {
	for {
		e, n, err := d.element(b)
		if err == codec.More {
			return n, err
		}
		if err != nil {
			d.pos, d.seen, d.items = 0, 0, 0
			return 0, err
		}
		d.pos, d.seen = e.end, 0
		if e.item {
			if d.items++; d.items > d.maxItems() {
				return 0, fmt.Errorf("%w: more than %d items", ErrLimit, d.maxItems())
			}
		}
		if !e.last {
			continue
		}
		n, items := d.pos, d.items
		d.pos, d.items = 0, 0
		m.collect(b, items, d)
		m.Line = e.line
		return n, nil
	}
}

// collect parses the items again, which are all whole and right.
func (m *Answer) collect(b []byte, items int, d *ReplyDecoder) {
	if cap(m.Items) > keptItems && items <= keptItems || cap(m.Items) < items {
		m.Items = make([]Item, 0, items)
	}
	m.Items = m.Items[:0]
	for at := 0; len(m.Items) < items; {
		e, _ := d.parse(b, at, at+bytes.IndexByte(b[at:], '\n'))
		m.Items = append(m.Items, e.Item)
		at = e.end
	}
}

// An element is a line, with the data behind it.
type element struct {
	Item
	line []byte
	end  int  // offset behind it
	item bool // it is one of Answer.Items
	last bool // it is the last one of the answer
}

// element looks at the one at d.pos. n is the size for codec.More.
func (d *ReplyDecoder) element(b []byte) (e element, n int, err error) {
	i := bytes.IndexByte(b[min(len(b), d.pos+d.seen):], '\n')
	if i < 0 {
		if d.seen = len(b) - d.pos; d.seen > maxReplyLine {
			return e, 0, fmt.Errorf("%w: a line of more than %d bytes", ErrLimit, maxReplyLine)
		}
		return e, 0, codec.More
	}
	i += d.pos + d.seen
	if i-d.pos > maxReplyLine {
		return e, 0, fmt.Errorf("%w: a line of more than %d bytes", ErrLimit, maxReplyLine)
	}
	e, err = d.parse(b, d.pos, i)
	if err == nil && e.end > len(b) {
		d.seen = i - d.pos
		return e, e.end, codec.More
	}
	if err == nil && e.end > i+1 && (b[e.end-2] != '\r' || b[e.end-1] != '\n') {
		err = fmt.Errorf("%w: data of %d bytes do not end there", ErrReply, len(e.Data))
	}
	return e, 0, err
}

// parse parses the line from at to its line feed. The data behind it may not be there yet, and are not set then.
func (d *ReplyDecoder) parse(b []byte, at, feed int) (e element, err error) {
	if feed == at || b[feed-1] != '\r' {
		return e, fmt.Errorf("%w: a line feed without a carriage return", ErrReply)
	}
	line := b[at : feed-1 : feed-1]
	e.line, e.end, e.last = line, feed+1, true
	size := noData
	name, rest := NextKey(line)
	switch string(name) {
	case "VALUE":
		e.item, e.last = true, false
		var flags, bytes, unique []byte
		e.Key, rest = NextKey(rest)
		flags, rest = NextKey(rest)
		bytes, rest = NextKey(rest)
		unique, rest = NextKey(rest)
		ok, ok2, ok3 := false, false, true
		var n uint64
		e.Flags, ok = parseUint32(flags)
		n, ok2 = ParseUint(bytes)
		if unique != nil {
			e.Unique, ok3 = ParseUint(unique)
		}
		if !ok || !ok2 || !ok3 || rest != nil {
			return e, fmt.Errorf("%w: %.100q", ErrReply, line)
		}
		if size, err = d.size(n); err != nil {
			return e, err
		}
	case "VA":
		e.item = true
		bytes, _ := NextKey(rest)
		n, ok := ParseUint(bytes)
		if !ok {
			return e, fmt.Errorf("%w: %.100q", ErrReply, line)
		}
		if size, err = d.size(n); err != nil {
			return e, err
		}
	case "STAT", "ITEM":
		e.item, e.last = true, false
		e.Key, e.Data = NextKey(rest)
	}
	if size != noData {
		start := feed + 1
		e.end = start + size + len(lineEnd)
		if e.end <= len(b) {
			e.Data = b[start : start+size : start+size]
		}
	}
	return e, nil
}

func (d *ReplyDecoder) size(n uint64) (int, error) {
	most := d.MaxValue
	if most <= 0 {
		most = defaultMaxValue
	}
	if n > uint64(most) {
		return 0, fmt.Errorf("%w: a value of %d bytes", ErrLimit, n)
	}
	return int(n), nil
}

func (d *ReplyDecoder) maxItems() int {
	if d.MaxItems <= 0 {
		return defaultMaxItems
	}
	return d.MaxItems
}
