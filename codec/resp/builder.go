package resp

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
)

// A builder makes the tree of a reply that was scanned.
type builder struct {
	b    []byte
	pos  int
	free []Value // Values that are not used yet
}

// value makes v the element at p.pos with its items.
func (p *builder) value(v *Value) error {
	if h, ok := parseBulk(p.b, p.pos); ok {
		return p.fill(v, h)
	}
	cr := p.pos + bytes.IndexByte(p.b[p.pos:], '\r')
	h, err := parseHead(p.b, p.pos, cr)
	if err != nil {
		return err
	}
	return p.fill(v, h)
}

// fill makes v the element h with its items.
func (p *builder) fill(v *Value, h head) error {
	*v = Value{Kind: h.kind}
	p.pos = h.end
	if h.items >= 0 {
		v.Items = p.take(h.items)
		for i := range v.Items {
			if err := p.value(&v.Items[i]); err != nil {
				return err
			}
		}
		if h.kind != KindAttribute {
			return nil
		}
		attr := &p.take(1)[0]
		*attr = *v
		if err := p.value(v); err != nil {
			return err
		}
		last := v // attributes of one value are a chain
		for last.Attr != nil {
			last = last.Attr
		}
		last.Attr = attr
		return nil
	}
	if h.size >= 0 {
		v.Data = p.b[h.text : h.text+h.size : h.text+h.size]
		if h.kind == KindVerbatim {
			v.Format = [3]byte(v.Data)
			v.Data = v.Data[4:]
		}
		return nil
	}
	end := h.end - 2
	return v.scalar(p.b[h.text:end:end])
}

func (p *builder) take(n int) []Value {
	items := p.free[:n:n]
	p.free = p.free[n:]
	return items
}

// scalar sets what the line of a type without length says.
func (v *Value) scalar(text []byte) error {
	var err error
	switch v.Kind {
	case KindSimple, KindError:
		v.Data = text
	case KindInt:
		v.Int, err = strconv.ParseInt(string(text), 10, 64)
	case KindBool:
		if len(text) != 1 || text[0] != 't' && text[0] != 'f' {
			err = ErrReply
		} else if text[0] == 't' {
			v.Int = 1
		}
	case KindDouble:
		v.Data = text
		if string(text) == "-nan" { // as C prints it
			v.Double = math.NaN()
		} else if len(bytes.Trim(text, "+-.0123456789eEinfa")) != 0 { // no hexadecimal and no underscores
			err = ErrReply
		} else if v.Double, err = strconv.ParseFloat(string(text), 64); errors.Is(err, strconv.ErrRange) {
			err = nil
		}
	case KindBigNumber:
		v.Data = text
		digits := text
		if len(digits) > 0 && (digits[0] == '-' || digits[0] == '+') {
			digits = digits[1:]
		}
		if len(digits) == 0 || len(bytes.Trim(digits, "0123456789")) != 0 {
			err = ErrReply
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %q as %q", ErrReply, text, byte(v.Kind))
	}
	return nil
}
