package resp

import (
	"fmt"
	"math"
)

// A head is one element without its items.
type head struct {
	kind  Kind
	text  int // offset of the text
	size  int // bytes of the text of a bulk string; -1 for what has no size
	items int // elements of an aggregate; -1 for what is none
	end   int // offset behind the element, or behind the line of an aggregate
}

// parseHead parses the line at b[pos:cr], which ends with the carriage return at cr and one byte more.
func parseHead(b []byte, pos, cr int) (head, error) {
	h := head{kind: Kind(b[pos]), text: pos + 1, size: -1, items: -1, end: cr + 2}
	if b[cr+1] != '\n' {
		return h, fmt.Errorf("%w: a carriage return without a line feed", ErrReply)
	}
	if pos == cr {
		return h, fmt.Errorf("%w: an empty line", ErrReply)
	}
	line := b[pos+1 : cr]
	switch h.kind {
	case KindSimple, KindError, KindInt, KindBool, KindDouble, KindBigNumber:
		return h, nil
	case KindNull:
		if len(line) != 0 {
			return h, fmt.Errorf("%w: %q as a null", ErrReply, line)
		}
		return h, nil
	case KindBulk, KindBulkError, KindVerbatim, KindArray, KindMap, KindSet, KindPush, KindAttribute:
	default:
		return h, fmt.Errorf("%w: type %q", ErrReply, b[pos])
	}
	if len(line) == 1 && line[0] == '?' {
		return h, ErrStreamed
	}
	if len(line) == 2 && line[0] == '-' && line[1] == '1' && (h.kind == KindBulk || h.kind == KindArray) {
		h.kind = KindNull
		return h, nil
	}
	v, next := parseLength(b[:cr+2], pos)
	if next == 0 {
		return h, fmt.Errorf("%w: %q as a length", ErrReply, line)
	}
	if v > math.MaxInt/4 {
		return h, fmt.Errorf("%w: a length of %d", ErrLimit, v)
	}
	switch h.kind {
	case KindBulk, KindBulkError, KindVerbatim:
		h.text, h.size = cr+2, int(v)
		h.end = h.text + h.size + 2
		if h.kind == KindVerbatim && v < 4 {
			return h, fmt.Errorf("%w: a verbatim string of %d bytes", ErrReply, v)
		}
	case KindMap, KindAttribute:
		h.items = 2 * int(v)
	default:
		h.items = int(v)
	}
	return h, nil
}

// parseBulk parses the element at pos if it is a bulk string that is whole and right: the usual case, in one look.
func parseBulk(b []byte, pos int) (h head, ok bool) {
	if b[pos] != '$' {
		return h, false
	}
	v, text := parseLength(b, pos)
	if text == 0 || b[text-1] != '\n' || v > int64(len(b)-text-2) {
		return h, false
	}
	end := text + int(v) + 2
	h = head{kind: KindBulk, text: text, size: int(v), items: -1, end: end}
	return h, b[end-2] == '\r' && b[end-1] == '\n'
}

// check looks at what of a bulk string is known only when it is whole.
func (h head) check(b []byte) error {
	if h.size < 0 {
		return nil
	}
	if b[h.end-2] != '\r' || b[h.end-1] != '\n' {
		return fmt.Errorf("%w: a bulk string of %d bytes does not end there", ErrReply, h.size)
	}
	if h.kind == KindVerbatim && b[h.text+3] != ':' {
		return fmt.Errorf("%w: a verbatim string without a format", ErrReply)
	}
	return nil
}
