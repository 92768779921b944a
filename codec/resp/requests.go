package resp

import (
	"bytes"
	"math"
	"strconv"

	"github.com/protoring/protoring/codec"
)

// Redis' limits, which are the zero values of those of Requests.
const (
	defaultMaxArgs   = 1 << 20   // 1024*1024
	maxArgsUnauth    = 10        // before AUTH
	defaultMaxBulk   = 512 << 20 // proto-max-bulk-len
	maxBulkUnauth    = 16 << 10  // before AUTH
	defaultMaxInline = 64 << 10  // PROTO_INLINE_MAX_SIZE
)

// minArgSize is the size of an empty argument on the wire, "$0\r\n\r\n", in bytes.
const minArgSize = 6

// maxDigits is the number of decimal digits that surely fit an int64. A longer length is beyond every limit.
const maxDigits = 18

// Requests decodes commands: arrays of bulk strings, and inline commands. Each connection has one of its own; its zero
// value is ready for use. It accepts what redis-server 7.0 accepts and refuses the rest in its words. In particular it does
// not look at the byte behind a carriage return, nor at the two bytes behind an argument, as Redis does not. Empty lines and
// arrays without elements are skipped.
//
// It differs from Redis in two points, where Redis depends on how the bytes arrive or gets stuck: a line beyond MaxInline is
// refused also when it arrives as a whole, and a zero byte in a line is a byte like others.
//
// It takes no memory of its own: of a command that is not whole it keeps the position, and when the last byte is there the
// arguments are collected in one pass. Lines are examined three times at most, but for the one in which a command was first
// cut; the bytes of arguments are not looked at.
type Requests struct {
	// MaxArgs is the most arguments of a command, its name included. Zero means 1,048,576, Redis' limit up to 6.2; 7.0
	// has 2,147,483,647, which the listener's MaxBufferLength forbids anyway.
	MaxArgs int
	// MaxBulk is the most bytes of one argument. Zero means 512 MiB. The listener's MaxBufferLength, which limits the
	// whole command, is usually smaller.
	MaxBulk int
	// MaxInline is the most bytes of an inline command, and of any other line, for which it is at least 20. Zero means 64 KiB.
	MaxInline int

	// Parts, if positive, lets an argument of more bytes that has not arrived as a whole be delivered as it arrives, so that
	// nobody need hold it twice: see Command.Part.
	Parts int

	pos  int   // of a command that is not whole: offset of the line that is to be parsed next
	left int32 // arguments from pos on; 0 while the first line is not whole
	seen int32 // bytes of the line at pos that are known to have no end

	// DeliverErrors makes a protocol error a message: a Command with Err set, so that the reactor can answer it
	// before it drains. All bytes after it are skipped. The zero value returns a ProtocolError from Decode, which closes the
	// connection without an answer.
	DeliverErrors bool
	// Unauthenticated refuses commands of more than 10 arguments, or with one of more than 16 KiB, with the errors that Redis has for
	// clients who have not given the password yet: they must not take much memory.
	Unauthenticated bool

	state state
	parts *parts // of a command in parts; nil for others
}

type state uint8

const (
	fresh   state = iota // at the start of a command
	partial              // pos, left and seen are of a command that is not whole
	broken               // an error was delivered: skip everything
)

// Decode decodes one command. Its errors are of type ProtocolError.
func (r *Requests) Decode(b []byte, m *Command) (int, error) {
	if r.state != fresh {
		return r.resume(b, m)
	}
	return r.decode(b, m)
}

// decode decodes a command from its start. This is the path of commands that are whole, so it looks at nothing twice.
func (r *Requests) decode(b []byte, m *Command) (int, error) {
	if b[0] != '*' {
		return r.inline(b, m)
	}
	count, pos := parseLength(b, 0)
	if pos == 0 {
		return r.oddCount(b, m)
	}
	if count > int64(r.maxArgs()) {
		if r.Unauthenticated && count <= math.MaxInt32 {
			return r.fail(b, m, errCountUnauth)
		}
		return r.fail(b, m, errCount)
	}
	if count == 0 {
		r.state, r.seen = fresh, 0
		return pos, codec.Skip
	}
	left := int(count)
	if cap(m.Args) > keptArgs || m.odd {
		m.trim(left)
		m.clear()
	}
	args := m.Args[:0]
	if left > cap(args) {
		if left*minArgSize > len(b)-pos { // not whole, so no memory for it
			return r.suspend(b, m, pos, left)
		}
		args = make([][]byte, 0, left)
	}
	maxBulk := int64(r.maxBulk())
	for {
		if pos >= len(b) || b[pos] != '$' {
			break
		}
		size, start := parseLength(b, pos)
		if start == 0 || size > maxBulk || size > int64(len(b)-start-2) {
			break
		}
		end := start + int(size)
		args = append(args, b[start:end:end])
		pos = end + 2
		if left--; left == 0 {
			m.Args = args
			r.state, r.seen = fresh, 0
			return pos, nil
		}
	}
	m.Args = args
	return r.suspend(b, m, pos, left)
}

// parseLength parses the decimal number of the line at b[i:], behind its type byte. next is the offset behind the line, or 0
// where the line is not whole or its number not a plain one.
func parseLength(b []byte, i int) (v int64, next int) {
	i++
	line := b[i:min(i+maxDigits+1, max(i, len(b)-1))] // a line feed is behind it
	for j, c := range line {
		d := c - '0'
		if d > 9 {
			if c == '\r' && j > 0 && (j == 1 || line[0] != '0') {
				return v, i + j + 2
			}
			return 0, 0
		}
		v = v*10 + int64(d)
	}
	return 0, 0
}

// suspend keeps the position of a command that decode could not finish, and says what is missing or wrong.
func (r *Requests) suspend(b []byte, m *Command, pos, left int) (int, error) {
	r.state, r.pos, r.left, r.seen = partial, pos, int32(left), 0
	return r.resume(b, m)
}

// resume goes on where the last call stopped.
func (r *Requests) resume(b []byte, m *Command) (int, error) {
	if r.state == broken {
		return len(b), codec.Skip
	}
	if r.seen > 0 && (r.left > 0 || b[0] == '*') { // within a line: not all of it again
		if n, err := r.line(b, r.pos, '\r'); err == codec.More {
			return n, err
		}
	}
	if r.parts != nil && (r.parts.rest > 0 || len(b) < tailSize) {
		return r.parts.next(b, m)
	}
	if r.left == 0 && r.parts == nil {
		return r.decode(b, m) // within the first line
	}
	for r.left > 0 {
		if r.pos >= len(b) {
			return 0, codec.More
		}
		size, start := parseLength(b, r.pos)
		if start == 0 || b[r.pos] != '$' || size > int64(r.maxBulk()) {
			return r.oddLength(b, m)
		}
		r.seen = 0
		end := start + int(size) + 2
		if end > len(b) {
			if r.Parts > 0 && int(size) > r.Parts {
				return r.part(b, m, start, int(size))
			}
			return end, codec.More
		}
		r.pos = end
		r.left--
	}
	if r.parts != nil {
		return r.lastPart(b, m)
	}
	return r.decode(b, m)
}

// oddCount says what is missing or wrong in the first line, which parseLength did not accept.
func (r *Requests) oddCount(b []byte, m *Command) (int, error) {
	n, err := r.line(b, 0, '\r')
	if err != nil {
		if err == codec.More {
			return n, err
		}
		return r.fail(b, m, errCountTooBig)
	}
	count, perr := strconv.ParseInt(string(b[1:n]), 10, 64)
	if perr != nil || count >= 0 || b[2] == '0' { // beyond maxDigits, not a number, or not Redis' way to write one
		return r.fail(b, m, errCount)
	}
	r.state, r.seen = fresh, 0
	return n + 2, codec.Skip
}

// oddLength says what is missing or wrong in the line at r.pos, which is not the length of an argument.
func (r *Requests) oddLength(b []byte, m *Command) (int, error) {
	n, err := r.line(b, r.pos, '\r')
	switch {
	case err == codec.More:
		return n, err
	case err != nil:
		return r.fail(b, m, errLengthTooBig)
	case b[r.pos] == '$':
		if size, next := parseLength(b, r.pos); next > 0 && r.Unauthenticated && size <= int64(r.sizeLimit()) {
			return r.fail(b, m, errLengthUnauth)
		}
		return r.fail(b, m, errLength)
	}
	got := b[r.pos]
	if got == '\r' || got == '\n' {
		got = ' ' // as in every error reply of Redis
	}
	return r.fail(b, m, ProtocolError("ERR Protocol error: expected '$', got '"+string([]byte{got})+"'"))
}

// line looks for the end of the line at pos and returns its offset. Lines that end with '\r' must have a byte behind it.
// The error is codec.More, or errInlineTooBig for any line that is too long.
func (r *Requests) line(b []byte, pos int, end byte) (int, error) {
	limit := r.maxInline()
	if end == '\r' {
		limit = max(limit, maxDigits+2) // no number that parseLength takes is too long
	}
	from := pos + int(r.seen)
	i := bytes.IndexByte(b[min(from, len(b)):], end)
	if i < 0 {
		if len(b)-pos > limit {
			return 0, errInlineTooBig
		}
		r.state, r.pos, r.seen = partial, pos, int32(len(b)-pos)
		return 0, codec.More
	}
	i += from
	if i-pos > limit {
		return 0, errInlineTooBig
	}
	if end == '\r' && i+1 == len(b) {
		r.state, r.pos, r.seen = partial, pos, int32(i-pos)
		return i + 2, codec.More
	}
	return i, nil
}

// fail ends the connection, at once or with a Command that the reactor answers.
func (r *Requests) fail(b []byte, m *Command, err ProtocolError) (int, error) {
	m.clear()
	r.pos, r.left, r.seen, r.parts = 0, 0, 0, nil
	if !r.DeliverErrors {
		r.state = fresh
		return 0, err
	}
	r.state = broken
	m.Err, m.odd = err, true
	return len(b), nil
}

func (r *Requests) maxArgs() int {
	switch {
	case r.Unauthenticated:
		return maxArgsUnauth
	case r.MaxArgs <= 0:
		return defaultMaxArgs
	}
	return min(r.MaxArgs, math.MaxInt32)
}

func (r *Requests) maxBulk() int {
	if r.Unauthenticated {
		return min(maxBulkUnauth, r.sizeLimit())
	}
	return r.sizeLimit()
}

func (r *Requests) sizeLimit() int {
	if r.MaxBulk <= 0 {
		return defaultMaxBulk
	}
	return r.MaxBulk
}

func (r *Requests) maxInline() int {
	if r.MaxInline <= 0 {
		return defaultMaxInline
	}
	return min(r.MaxInline, math.MaxInt32)
}
