package store

import (
	"math"
)

const (
	maxInt64  = math.MaxInt64
	minInt64  = math.MinInt64
	maxDigits = 20 // of an int64, with its sign
)

// ParseInt parses a decimal integer as Redis does: only in the form in which it would be written, so without a plus, leading
// zeros, or spaces.
func ParseInt[S ~[]byte | ~string](s S) (int64, bool) {
	if len(s) == 0 || len(s) > maxDigits {
		return 0, false
	}
	i, negative := 0, s[0] == '-'
	if negative {
		i = 1
	}
	if i == len(s) || s[i] == '0' && len(s) > 1 {
		return 0, false
	}
	var v uint64
	for ; i < len(s); i++ {
		d := uint64(s[i] - '0')
		if d > 9 || v > (math.MaxUint64-d)/10 {
			return 0, false
		}
		v = v*10 + d
	}
	switch {
	case negative && v <= -minInt64:
		return int64(-v), true
	case !negative && v <= maxInt64:
		return int64(v), true
	}
	return 0, false
}
