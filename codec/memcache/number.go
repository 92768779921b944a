package memcache

import (
	"bytes"
	"math"
)

// isSpace is C's isspace.
func isSpace(c byte) bool { return c == ' ' || c-'\t' < 5 }

// magnitude parses what strtoull takes from the beginning of s: spaces, a sign, and decimal digits. What follows must be the end, a
// space or a zero byte.
func magnitude(s []byte) (v uint64, negative, ok bool) {
	i := 0
	for i < len(s) && isSpace(s[i]) {
		i++
	}
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		negative = s[i] == '-'
		i++
	}
	start := i
	for ; i < len(s); i++ {
		d := s[i] - '0'
		if d > 9 {
			break
		}
		if v > math.MaxUint64/10 || v*10 > math.MaxUint64-uint64(d) {
			return 0, false, false
		}
		v = v*10 + uint64(d)
	}
	return v, negative, i > start && (i == len(s) || isSpace(s[i]) || s[i] == 0)
}

// ParseUint parses an unsigned decimal number of 64 bits as memcached does, in a command as well as in the value that it increments: after
// spaces, with a sign, and up to a space. It takes a negative number that is large enough to have become a positive one.
func ParseUint(s []byte) (uint64, bool) {
	v, negative, ok := magnitude(s)
	if !ok {
		return 0, false
	}
	if negative {
		v = -v
	}
	if int64(v) < 0 {
		if i := bytes.IndexByte(s, 0); i >= 0 {
			s = s[:i]
		}
		if bytes.IndexByte(s, '-') >= 0 {
			return 0, false
		}
	}
	return v, true
}

// parseUint32 cuts a number of 64 bits off, as memcached does.
func parseUint32(s []byte) (uint32, bool) {
	v, ok := ParseUint(s)
	return uint32(v), ok
}

// parseInt32 cuts a number of 64 bits off, as memcached does.
func parseInt32(s []byte) (int32, bool) {
	v, negative, ok := magnitude(s)
	switch {
	case !ok, negative && v > 1<<63, !negative && v > math.MaxInt64:
		return 0, false
	case negative:
		v = -v
	}
	return int32(v), true
}
