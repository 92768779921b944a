package codectest

import (
	"bytes"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec"
)

// lines are decoders of lines.
type lines func(b []byte, m *codec.Frame) (int, error)

func (f lines) Decode(b []byte, m *codec.Frame) (int, error) { return f(b, m) }

// startsOver looks at all that there is in each call.
func startsOver(b []byte, m *codec.Frame) (int, error) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return 0, codec.More
	}
	*m = b[:i:i]
	return i + 1, nil
}

// endFirst looks at the last byte, and then at all.
func endFirst(b []byte, m *codec.Frame) (int, error) {
	if b[len(b)-1] == 0 {
		return 0, errZero
	}
	return startsOver(b, m)
}

// looksAhead returns each byte as a message and looks at all that has come.
func looksAhead(b []byte, m *codec.Frame) (int, error) {
	if bytes.IndexByte(b, 0) >= 0 {
		return 0, errZero
	}
	*m = b[:1:1]
	return 1, nil
}

var errZero = codec.ErrLength // any error

// keepsPlace is linear: it looks at the first byte and the last ones again in each call, and at all once more in the end.
type keepsPlace struct{ seen int }

func (k *keepsPlace) Decode(b []byte, m *codec.Frame) (int, error) {
	from := max(0, k.seen-8)
	if b[0] == 0 || bytes.IndexByte(b[from:k.seen], 0) >= 0 {
		return 0, errZero
	}
	i := bytes.IndexByte(b[k.seen:], '\n')
	if i < 0 {
		k.seen = len(b)
		return 0, codec.More
	}
	i += k.seen
	k.seen = 0
	if bytes.IndexByte(b[:i], 0) >= 0 {
		return 0, errZero
	}
	*m = b[:i:i]
	return i + 1, nil
}

func line(size int) []byte { return append(bytes.Repeat([]byte("x"), size-1), '\n') }

func decoderOf(f lines) func() codec.Decoder[codec.Frame] {
	return func() codec.Decoder[codec.Frame] { return f }
}

var linear = map[string]func() codec.Decoder[codec.Frame]{
	"line":        func() codec.Decoder[codec.Frame] { return codec.Line{} },
	"keeps place": func() codec.Decoder[codec.Frame] { return &keepsPlace{} },
}

// Each pattern tells what starts over from what does not.
func TestPatterns(t *testing.T) {
	page := os.Getpagesize()
	for _, p := range patterns {
		t.Run(p.name, func(t *testing.T) {
			size := LargePages*page + 5
			sizes := p.sizes(size, page, rand.New(rand.NewPCG(1, 1)))
			delivered := min(sum(sizes), size)
			quadratic := map[string]lines{"starts over": startsOver, "end first": endFirst}
			if p.name == "all at once" { // there is nothing to start over
				quadratic = map[string]lines{"looks ahead": looksAhead}
			}
			for name, f := range quadratic {
				examined, err := examinedPages(decoderOf(f), line(size), sizes)
				require.NoError(t, err, name)
				require.ErrorContains(t, judge(p.name, examined, delivered, err), "is the position kept", name)
			}
			for name, f := range linear {
				examined, err := examinedPages(f, line(size), sizes)
				require.NoError(t, err, name)
				require.LessOrEqual(t, examined, 3*delivered, name)
				require.GreaterOrEqual(t, examined, delivered-page, name)
			}
		})
	}
}

// So does each way to count with smaller messages.
func TestSmall(t *testing.T) {
	fine := line(finePages * os.Getpagesize())
	for _, f := range []lines{startsOver, endFirst} {
		require.ErrorContains(t, checkFine(decoderOf(f), fine), "byte by byte: more than 4 times the 32768 bytes")
	}
	small := line(smallSize)
	require.ErrorContains(t, checkSmall(decoderOf(startsOver), small), "pieces of 1: more than 4 times the 512 bytes")
	for name, f := range linear {
		require.NoError(t, checkFine(f, fine), name)
		require.NoError(t, checkSmall(f, small), name)
	}
	for _, size := range []int{1, 3} {
		examined, err := examinedBytes(decoderOf(startsOver), small, equal(len(small), size))
		require.NoError(t, err)
		require.Greater(t, examined, ExaminedFactor*len(small))
		// Whole lines cost nothing but themselves, however short the pieces are.
		short := []byte(strings.Repeat("a line\n", 70))
		examined, err = examinedBytes(decoderOf(startsOver), short, equal(len(short), size))
		require.NoError(t, err)
		require.Equal(t, len(short), examined)
	}
}

// A panic of the decoder is told of, and is no fault of the transcript.
func TestExaminedPanics(t *testing.T) {
	panics := decoderOf(func([]byte, *codec.Frame) (int, error) { panic("out of order") })
	require.ErrorContains(t, checkSmall(panics, line(100)), "panic: out of order")
	require.ErrorContains(t, checkFine(panics, line(100)), "panic: out of order")
}

// What can be made longer is found, by one byte or by several.
func TestStretches(t *testing.T) {
	found := stretches(linear["line"], [][]byte{[]byte("one\ntwo\n"), []byte("\n\n"), {}, line(smallSize + 1)})
	require.Len(t, found, 1)
	require.Equal(t, "ooooone\ntwo\n", string(found[0].of(5)))
	words := decoderOf(func(b []byte, m *codec.Frame) (int, error) { // lists of words of one letter
		for i, c := range b {
			if c == '\n' {
				*m = b[:i]
				return i + 1, nil
			}
			if i%2 == 0 && c == ' ' || i%2 == 1 && c != ' ' {
				return 0, errZero
			}
		}
		return 0, codec.More
	})
	found = stretches(words, [][]byte{[]byte("a b c\n")})
	require.Len(t, found, 1)
	require.Equal(t, "a a a b c\n", string(found[0].of(6)))
	require.Empty(t, stretches(func() codec.Decoder[codec.Frame] { return codec.LengthPrefixed{} }, [][]byte{[]byte("\x00\x00\x00\x03abc")}))
	all := make([][]byte, 100)
	for i := range all {
		all[i] = []byte{byte('!' + i/2), byte('0' + i%10), '\n'}
	}
	found = stretches(linear["line"], all)
	require.Len(t, found, maxStretched)
	require.Equal(t, all[0], found[0].transcript)
	require.Equal(t, all[len(all)*7/8], found[7].transcript)
}

// Check finds a decoder that starts over without a Large.
func TestCheckStretches(t *testing.T) {
	cfg := Config[codec.Frame]{New: decoderOf(startsOver), Transcripts: [][]byte{[]byte("one\ntwo\n")}, Seed: 1}
	require.ErrorContains(t, Check(cfg), `a transcript made longer: "one\ntwo\n" with "o" repeated: counting what is examined, pieces of 1: more than 4 times`)
	cfg.New = decoderOf(endFirst)
	require.ErrorContains(t, Check(cfg), `with "o" repeated: counting what is examined, byte by byte: more than 4 times`)
	for name, f := range linear {
		cfg.New = f
		require.NoError(t, Check(cfg), name)
	}
}
