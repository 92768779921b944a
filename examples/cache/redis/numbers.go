package redis

import (
	"bytes"
	"math"
	"math/big"
	"strconv"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

func incr(c *conn, args [][]byte, out *outbound) reactor.Status { return c.add(args[1], 1, out) }

func decr(c *conn, args [][]byte, out *outbound) reactor.Status { return c.add(args[1], -1, out) }

func incrBy(c *conn, args [][]byte, out *outbound) reactor.Status {
	n, ok := store.ParseInt(args[2])
	if !ok {
		return refuse(out, errInteger)
	}
	return c.add(args[1], n, out)
}

func decrBy(c *conn, args [][]byte, out *outbound) reactor.Status {
	n, ok := store.ParseInt(args[2])
	switch {
	case !ok:
		return refuse(out, errInteger)
	case n == math.MinInt64:
		return refuse(out, "ERR decrement would overflow")
	}
	return c.add(args[1], -n, out)
}

func (c *conn) add(key []byte, delta int64, out *outbound) reactor.Status {
	sum, err := c.db.Add(key, delta)
	if err != nil {
		return refuseStore(out, err)
	}
	if c.cache.marked.Load() {
		c.db.Mark(key, 0, 0, markRaw|markText, false)
	}
	c.wrote(key, eventIncrBy)
	out.Send(resp.Int(sum))
	return reactor.Continue
}

// Redis computes in C's long double, which has 64 bits of mantissa here, and writes 17 digits behind the point.
const (
	longDoubleBits   = 64
	longDoubleDigits = 17
	maxExponent      = 16384 // from 2 to this power on, it is infinity
	minExponent      = -16445
	maxFloatText     = 5 << 10 // bytes that Redis parses
)

func incrByFloat(c *conn, args [][]byte, out *outbound) reactor.Status {
	c.cache.mark()
	for {
		it, found := c.find(args[1], store.GetOptions{Quiet: c.quiet})
		was, ok := new(big.Float), true
		o := store.PutOptions{If: store.IfAbsent, Marks: markText}
		if found {
			was, ok = parseLongDouble(it.Bytes())
			o = store.PutOptions{If: store.IfVersion, Version: it.Version, KeepTTL: true, Marks: markText}
			it.Release()
		}
		delta, ok2 := parseLongDouble(args[2])
		if !ok || !ok2 {
			return refuse(out, errFloat)
		}
		sum := new(big.Float).SetPrec(longDoubleBits)
		if was.IsInf() || delta.IsInf() || sum.Add(was, delta).MantExp(nil) > maxExponent {
			return refuse(out, "ERR increment would produce NaN or Infinity")
		}
		text := formatLongDouble(sum)
		r, err := c.put(args[1], store.Bytes(text), o, eventIncrByFloat)
		switch {
		case err != nil:
			return refuseStore(out, err)
		case r.Stored:
			out.Send(resp.Bulk(text))
			return reactor.Continue
		}
	}
}

// parseLongDouble parses as C's strtold does, but takes no spaces, no text behind the number, and no NaN.
func parseLongDouble(b []byte) (*big.Float, bool) {
	if len(b) == 0 || len(b) >= maxFloatText {
		return nil, false
	}
	text := string(bytes.ToLower(b))
	unsigned := text
	if text[0] == '-' || text[0] == '+' {
		unsigned = text[1:]
	}
	f := new(big.Float).SetPrec(longDoubleBits)
	switch {
	case unsigned == "inf" || unsigned == "infinity":
		return f.SetInf(text[0] == '-'), true
	case unsigned == "" || !plainNumber(unsigned):
		return nil, false
	case len(unsigned) > 1 && unsigned[1] == 'x' && !bytes.ContainsRune(b, 'p') && !bytes.ContainsRune(b, 'P'):
		text += "p0" // which C lets out
	}
	if text, zero, ok := boundExponent(text); !ok {
		return nil, false
	} else if zero {
		return f, true
	} else if _, _, err := f.Parse(text, 0); err != nil {
		return nil, false
	}
	if f.Sign() != 0 && (f.MantExp(nil) > maxExponent || f.MantExp(nil) < minExponent) {
		return nil, false // C says that it is out of range
	}
	return f, true
}

// plainNumber says whether a text without a sign has only what C's numbers have: no underscores, and none of Go's prefixes.
func plainNumber(text string) bool {
	if hex := len(text) > 2 && text[:2] == "0x"; hex {
		return len(bytes.Trim([]byte(text[2:]), "0123456789abcdef.p+-")) == 0 && (text[2] != 'p')
	}
	return len(bytes.Trim([]byte(text), "0123456789.e+-")) == 0 && text[0] != 'e' && text[0] != '+' && text[0] != '-'
}

// boundExponent keeps an exponent of the client's from costing time: far beyond the range, the result is known.
func boundExponent(text string) (bounded string, zero, ok bool) {
	at := bytes.IndexByte([]byte(text), 'e')
	if bytes.IndexByte([]byte(text), 'x') >= 0 {
		at = bytes.IndexByte([]byte(text), 'p')
	}
	if at < 0 {
		return text, false, true
	}
	mantissa := bytes.Trim([]byte(text[:at]), "+-0.x")
	n, err := strconv.Atoi(text[at+1:])
	if err != nil && (len(text) == at+1 || len(bytes.Trim([]byte(text[at+1:]), "+-0123456789")) != 0) {
		return "", false, false
	}
	if len(mantissa) == 0 {
		return "", true, true
	}
	const beyond = 20_000 + 4*maxFloatText
	if err != nil || n > beyond || n < -beyond {
		return "", false, false
	}
	return text, false, true
}

// formatLongDouble writes a number for people, as Redis does.
func formatLongDouble(f *big.Float) []byte {
	text := f.Append(nil, 'f', longDoubleDigits)
	text = bytes.TrimRight(text, "0")
	text = bytes.TrimSuffix(text, []byte("."))
	if string(text) == "-0" {
		return []byte("0")
	}
	return text
}
