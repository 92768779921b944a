package codec

import "bytes"

// Line cuts at line feeds. A decoded line has neither its line feed nor a carriage return before it. Its length is limited
// by the listener's MaxBufferLength.
type Line struct {
	// CRLF ends encoded lines with "\r\n". The zero value ends them with "\n".
	CRLF bool
}

// Decode decodes one line.
func (l Line) Decode(b []byte, m *Frame) (int, error) { return l.Resume(b, 0, m) }

// Resume looks for the line feed behind the bytes that were seen.
func (Line) Resume(b []byte, seen int, m *Frame) (int, error) {
	i := bytes.IndexByte(b[seen:], '\n')
	if i < 0 {
		return 0, More
	}
	end := seen + i
	n := end + 1
	if end > 0 && b[end-1] == '\r' {
		end--
	}
	*m = b[:end:end]
	return n, nil
}

// Encode appends m and the end of the line. A line feed within m is not looked for.
func (l Line) Encode(dst []byte, m Frame) []byte {
	dst = append(dst, m...)
	if l.CRLF {
		return append(dst, '\r', '\n')
	}
	return append(dst, '\n')
}

// Size is an upper bound: len(m) and two bytes for the end of the line.
func (Line) Size(m Frame) int { return len(m) + 2 }
