package resp

import "github.com/protoring/protoring/codec"

// parts is what a connection keeps of a command with an argument that is delivered in parts.
type parts struct {
	bytes []byte // of the arguments that are whole
	ends  []int  // of each argument in bytes; inParts for one that was, or is being, delivered
	rest  int    // bytes of it that are to come
}

const (
	inParts  = -1
	tailSize = 2 // bytes behind an argument, which Redis does not look at
)

// part begins to deliver the argument of size bytes at start, of which not all has arrived. From here on, what decoding is called
// with begins behind what was delivered.
func (r *Requests) part(b []byte, m *Command, start, size int) (int, error) {
	p := r.parts
	from := tailSize
	if p == nil {
		p = &parts{bytes: make([]byte, 0, 64)} // not nil: an empty argument is none in parts
		_, from = parseLength(b, 0)            // the number of arguments
	}
	if len(p.bytes)+r.pos-from > r.maxBulk() { // each may be small, and their number large
		return r.fail(b, m, errLength)
	}
	for from < r.pos {
		n, text := parseLength(b, from)
		p.bytes = append(p.bytes, b[text:text+int(n)]...)
		p.ends = append(p.ends, len(p.bytes))
		from = text + int(n) + tailSize
	}
	m.trim(len(p.ends))
	m.clear()
	m.Args = p.appendTo(m.Args)
	p.ends = append(p.ends, inParts)
	end := min(start+size, len(b))
	p.rest = size - (end - start)
	m.Part, m.Rest, m.odd = b[start:end:end], p.rest, true
	r.parts = p
	r.state, r.pos, r.seen = partial, tailSize, 0
	r.left--
	return end, nil
}

// next delivers what has arrived of the argument.
func (p *parts) next(b []byte, m *Command) (int, error) {
	if p.rest == 0 {
		return tailSize, codec.More
	}
	n := min(len(b), p.rest)
	p.rest -= n
	m.clear()
	m.Part, m.Rest, m.odd = b[:n:n], p.rest, true
	return n, nil
}

// lastPart delivers the command, of which the last arguments are in b[tailSize:r.pos].
func (r *Requests) lastPart(b []byte, m *Command) (int, error) {
	p := r.parts
	m.trim(len(p.ends))
	m.clear()
	m.Args = p.appendTo(m.Args)
	for from := tailSize; from < r.pos; {
		n, text := parseLength(b, from)
		end := text + int(n)
		m.Args = append(m.Args, b[text:end:end])
		from = end + tailSize
	}
	n := r.pos
	r.state, r.pos, r.seen, r.parts = fresh, 0, 0, nil
	return n, nil
}

func (p *parts) appendTo(args [][]byte) [][]byte {
	at := 0
	for _, end := range p.ends {
		if end == inParts {
			args = append(args, nil)
			continue
		}
		args = append(args, p.bytes[at:end:end])
		at = end
	}
	return args
}
