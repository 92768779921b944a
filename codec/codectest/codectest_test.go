package codectest_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/codec/codectest"
)

// A decodeFunc is a decoder of lines with a fault.
type decodeFunc func(b []byte, m *codec.Frame) (int, error)

func (f decodeFunc) Decode(b []byte, m *codec.Frame) (int, error) { return f(b, m) }

// decodeLine is a decoder that starts over with each call.
func decodeLine(b []byte, m *codec.Frame) (int, error) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return 0, codec.More
	}
	*m = b[:i]
	return i + 1, nil
}

// wrongResumer looks only behind the bytes that were seen, one byte too late.
type wrongResumer struct{ codec.Line }

func (w wrongResumer) Resume(b []byte, seen int, m *codec.Frame) (int, error) {
	return w.Line.Resume(b, min(seen+1, len(b)), m)
}

var lines = [][]byte{
	[]byte("one\nsecond\n\nthree\nfo"),
	[]byte("a\r\n\r\nlonger than the others\r\n"),
}

func longLine() []byte {
	return append(bytes.Repeat([]byte("x"), codectest.LargePages*os.Getpagesize()), '\n')
}

func TestCheckFindsFaults(t *testing.T) {
	tests := []struct {
		name string
		new  func() codec.Decoder[codec.Frame]
		want string
	}{
		{"quadratic", func() codec.Decoder[codec.Frame] { return decodeFunc(decodeLine) }, "is the position kept"},
		{"keeps a view", func() codec.Decoder[codec.Frame] {
			var kept []byte // first part of a cut line
			return decodeFunc(func(b []byte, m *codec.Frame) (int, error) {
				n, err := decodeLine(b, m)
				switch {
				case err == codec.More:
					kept = b
				case err == nil && kept != nil:
					*m = append(kept[:len(kept):len(kept)], (*m)[min(len(kept), len(*m)):]...)
					kept = nil
				}
				return n, err
			})
		}, "all at once it is"},
		{"claims too much", func() codec.Decoder[codec.Frame] {
			return decodeFunc(func(b []byte, m *codec.Frame) (int, error) {
				*m = b
				return len(b) + 1, nil
			})
		}, "returned a message of"},
		{"no progress", func() codec.Decoder[codec.Frame] {
			return decodeFunc(func([]byte, *codec.Frame) (int, error) { return 0, nil })
		}, "returned a message of 0 bytes"},
		{"no progress in a skip", func() codec.Decoder[codec.Frame] {
			return decodeFunc(func([]byte, *codec.Frame) (int, error) { return 0, codec.Skip })
		}, "returned Skip with n = 0"},
		{"needs what it has", func() codec.Decoder[codec.Frame] {
			return decodeFunc(func(b []byte, m *codec.Frame) (int, error) {
				n, err := decodeLine(b, m)
				if err == codec.More {
					n = len(b)
				}
				return n, err
			})
		}, "returned More with n ="},
		{"needs more than a message", func() codec.Decoder[codec.Frame] {
			return decodeFunc(func(b []byte, m *codec.Frame) (int, error) {
				n, err := decodeLine(b, m)
				if err == codec.More {
					n = len(b) + 20
				}
				return n, err
			})
		}, "there is no message"},
		{"depends on the cuts", func() codec.Decoder[codec.Frame] { return codec.Raw{} }, "all at once"},
		{"resumes too late", func() codec.Decoder[codec.Frame] { return wrongResumer{} }, "all at once"},
		{"panics", func() codec.Decoder[codec.Frame] {
			return decodeFunc(func(b []byte, m *codec.Frame) (int, error) { at := len(b); return int(b[at]), nil })
		}, "index out of range"},
		{"writes to what it is lent", func() codec.Decoder[codec.Frame] {
			return decodeFunc(func(b []byte, m *codec.Frame) (int, error) {
				n, err := decodeLine(b, m)
				b[0]++
				return n, err
			})
		}, "changed the bytes"},
		{"leaves what was in the message", func() codec.Decoder[codec.Frame] {
			return decodeFunc(func(b []byte, m *codec.Frame) (int, error) {
				before := strings.Clone(string(*m))
				n, err := decodeLine(b, m)
				if err == nil && n == 1 {
					*m = []byte(before)
				}
				return n, err
			})
		}, "all at once"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := codectest.Check(codectest.Config[codec.Frame]{New: tt.new, Transcripts: lines, Large: [][]byte{longLine()}, Seed: 1})
			require.ErrorContains(t, err, tt.want)
		})
	}
}

// A linear decoder is far from the bound, one that starts over far beyond.
func TestExamined(t *testing.T) {
	line := longLine()
	examined, err := codectest.Examined(func() codec.Decoder[codec.Frame] { return codec.Line{} }, line)
	require.NoError(t, err)
	require.GreaterOrEqual(t, examined, len(line)-1)
	require.Less(t, examined, 3*len(line))

	examined, err = codectest.Examined(func() codec.Decoder[codec.Frame] { return decodeFunc(decodeLine) }, line)
	require.NoError(t, err)
	require.Greater(t, examined, codectest.ExaminedFactor*len(line))

	_, err = codectest.Examined(func() codec.Decoder[codec.Frame] { return codec.Line{} }, line[:100])
	require.ErrorContains(t, err, "at least")
	_, err = codectest.Examined(func() codec.Decoder[codec.Frame] {
		return decodeFunc(func([]byte, *codec.Frame) (int, error) {
			var p *int
			return *p, nil // a fault, but not in the transcript
		})
	}, line)
	require.ErrorContains(t, err, "nil pointer")
}

// An encodeFunc is an encoder with a fault.
type encodeFunc func(dst []byte, m codec.Frame) []byte

func (f encodeFunc) Encode(dst []byte, m codec.Frame) []byte { return f(dst, m) }

// smallSizer promises one byte less than it needs.
type smallSizer struct{ codec.Line }

func (smallSizer) Size(m codec.Frame) int { return len(m) }

func TestCheckEncoderFindsFaults(t *testing.T) {
	var kept []byte
	tests := []struct {
		name string
		enc  codec.Encoder[codec.Frame]
		want string
	}{
		{"overwrites", encodeFunc(func(dst []byte, m codec.Frame) []byte { return append(dst[:0], m...) }), "was changed"},
		{"writes before", encodeFunc(func(dst []byte, m codec.Frame) []byte {
			if len(dst) > 0 {
				dst[0]++
			}
			return append(dst, m...)
		}), "was changed"},
		{"uses the room without asking", encodeFunc(func(dst []byte, m codec.Frame) []byte {
			if cap(dst)-len(dst) > 1<<10 {
				return dst[:len(dst)+len(m)]
			}
			return append(dst, m...)
		}), "encoded as"},
		{"keeps the memory", encodeFunc(func(dst []byte, m codec.Frame) []byte {
			if kept == nil {
				kept = append(make([]byte, 0, 100), dst...)
				return append(kept, m...)
			}
			return append(dst, kept[:len(m)]...)
		}), "encoded as"},
		{"too small a size", smallSizer{}, "Size is"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := codectest.CheckEncoder(codectest.EncoderConfig[codec.Frame]{
				New:      func() codec.Encoder[codec.Frame] { return tt.enc },
				Messages: []codec.Frame{codec.Frame("some message"), codec.Frame("another")},
			})
			require.ErrorContains(t, err, tt.want)
		})
	}
}
