package codec_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/codec/codectest"
)

// large is a payload of as many pages as codectest wants.
func large() []byte { return bytes.Repeat([]byte("x"), codectest.LargePages*os.Getpagesize()) }

func configs() map[string]codectest.Config[codec.Frame] {
	configs := map[string]codectest.Config[codec.Frame]{
		"raw": {
			New:         func() codec.Decoder[codec.Frame] { return codec.Raw{} },
			Transcripts: [][]byte{[]byte("anything\x00\r\n at all")},
			Large:       [][]byte{large()},
			Stream:      true,
		},
		"line": {
			New: func() codec.Decoder[codec.Frame] { return codec.Line{} },
			Transcripts: [][]byte{
				[]byte("one\ntwo\r\n\n\r\n\r\r\nlast\ncut"),
				[]byte("\r\r\r\n\r"),
			},
			Large: [][]byte{append(large(), '\n'), bytes.Repeat([]byte("a short line\r\n"), len(large())/10)},
		},
		"fixed": {
			New:         func() codec.Decoder[codec.Frame] { return codec.Fixed{Length: 7} },
			Transcripts: [][]byte{[]byte("seven77seven77seven"), []byte("1234567")},
			Large:       [][]byte{large()},
		},
		"fixed without size": {
			New:         func() codec.Decoder[codec.Frame] { return codec.Fixed{} },
			Transcripts: [][]byte{[]byte("x")},
		},
	}
	for _, l := range prefixes() {
		var messages []byte
		for _, size := range []int{0, 1, 5, 127, 128, 255} {
			messages = l.Encode(messages, large()[:size])
		}
		cfg := codectest.Config[codec.Frame]{
			New:         func() codec.Decoder[codec.Frame] { return l },
			Transcripts: [][]byte{messages, messages[:len(messages)-1], bytes.Repeat([]byte{0xff}, 30)},
		}
		if l.Prefix != codec.U8 && l.Prefix != codec.U16 {
			cfg.Large = [][]byte{l.Encode(nil, large())}
		}
		configs[fmt.Sprintf("%+v", l)] = cfg
	}
	return configs
}

func prefixes() []codec.LengthPrefixed {
	var all []codec.LengthPrefixed
	for _, p := range []codec.Prefix{codec.U8, codec.U16, codec.U32, codec.U64, codec.Uvarint} {
		all = append(all, codec.LengthPrefixed{Prefix: p}, codec.LengthPrefixed{Prefix: p, LittleEndian: true})
	}
	return all
}

func TestCodecs(t *testing.T) {
	for name, cfg := range configs() {
		t.Run(name, func(t *testing.T) { codectest.Run(t, cfg) })
	}
}

func TestDecode(t *testing.T) {
	tests := []struct {
		name string
		dec  codec.Decoder[codec.Frame]
		in   string
		want string
		n    int
		err  error
	}{
		{"raw", codec.Raw{}, "ab", "ab", 2, nil},
		{"line", codec.Line{}, "ab\ncd\n", "ab", 3, nil},
		{"line with carriage return", codec.Line{}, "ab\r\ncd", "ab", 4, nil},
		{"carriage return alone", codec.Line{}, "a\rb\n", "a\rb", 4, nil},
		{"two carriage returns", codec.Line{}, "a\r\r\n", "a\r", 4, nil},
		{"empty line", codec.Line{}, "\r\n", "", 2, nil},
		{"no line yet", codec.Line{}, "ab\r", "", 0, codec.More},
		{"fixed", codec.Fixed{Length: 2}, "abc", "ab", 2, nil},
		{"fixed, cut", codec.Fixed{Length: 2}, "a", "", 2, codec.More},
		{"fixed, no size", codec.Fixed{}, "a", "", 0, codec.ErrFixedLength},
		{"u8", codec.LengthPrefixed{Prefix: codec.U8}, "\x02abc", "ab", 3, nil},
		{"u16", codec.LengthPrefixed{Prefix: codec.U16}, "\x00\x02abc", "ab", 4, nil},
		{"u16 little", codec.LengthPrefixed{Prefix: codec.U16, LittleEndian: true}, "\x02\x00abc", "ab", 4, nil},
		{"u32", codec.LengthPrefixed{}, "\x00\x00\x00\x02abc", "ab", 6, nil},
		{"u32 little", codec.LengthPrefixed{LittleEndian: true}, "\x02\x00\x00\x00abc", "ab", 6, nil},
		{"u32 cut in the length", codec.LengthPrefixed{}, "\x00\x00\x00", "", 4, codec.More},
		{"u32 cut", codec.LengthPrefixed{}, "\x00\x00\x01\x00a", "", 260, codec.More},
		{"u64", codec.LengthPrefixed{Prefix: codec.U64}, "\x00\x00\x00\x00\x00\x00\x00\x02abc", "ab", 10, nil},
		{"u64 little", codec.LengthPrefixed{Prefix: codec.U64, LittleEndian: true}, "\x02\x00\x00\x00\x00\x00\x00\x00abc", "ab", 10, nil},
		{"u64 beyond int", codec.LengthPrefixed{Prefix: codec.U64}, "\xff\xff\xff\xff\xff\xff\xff\xff", "", 0, codec.ErrLength},
		{"uvarint", codec.LengthPrefixed{Prefix: codec.Uvarint}, "\x02abc", "ab", 3, nil},
		{"uvarint cut in the length", codec.LengthPrefixed{Prefix: codec.Uvarint}, "\x80\x80", "", 3, codec.More},
		{"uvarint too long", codec.LengthPrefixed{Prefix: codec.Uvarint}, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "", 0, codec.ErrLength},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m codec.Frame
			n, err := tt.dec.Decode([]byte(tt.in), &m)
			require.ErrorIs(t, err, tt.err)
			require.Equal(t, tt.n, n)
			require.Equal(t, tt.want, string(m))
			require.Equal(t, len(m), cap(m), "appending to a view must not overwrite what is behind it")
		})
	}
}

func TestEncoders(t *testing.T) {
	encoders := map[string]codec.Codec[codec.Frame, codec.Frame]{
		"raw":       codec.Raw{},
		"line":      codec.Line{},
		"line crlf": codec.Line{CRLF: true},
		"fixed":     codec.Fixed{Length: 3},
	}
	for _, l := range prefixes() {
		encoders[fmt.Sprintf("%+v", l)] = l
	}
	for name, enc := range encoders {
		t.Run(name, func(t *testing.T) {
			codectest.RunEncoder(t, codectest.EncoderConfig[codec.Frame]{
				New:      func() codec.Encoder[codec.Frame] { return enc },
				Messages: []codec.Frame{codec.Frame("abc"), codec.Frame("def")},
			})
			var m codec.Frame
			b := enc.Encode(nil, codec.Frame("abc"))
			n, err := enc.Decode(b, &m)
			require.NoError(t, err)
			require.Equal(t, len(b), n)
			require.Equal(t, "abc", string(m))
			require.GreaterOrEqual(t, enc.(codec.Sizer[codec.Frame]).Size(codec.Frame("abc")), len(b))
		})
	}
}

func TestEncodeRefusesWhatCannotBeDecoded(t *testing.T) {
	require.Panics(t, func() { codec.Fixed{Length: 2}.Encode(nil, codec.Frame("abc")) })
	require.Panics(t, func() { codec.LengthPrefixed{Prefix: codec.U8}.Encode(nil, make([]byte, math.MaxUint8+1)) })
	require.Panics(t, func() { codec.LengthPrefixed{Prefix: codec.U16}.Encode(nil, make([]byte, math.MaxUint16+1)) })
	require.NotPanics(t, func() { codec.LengthPrefixed{Prefix: codec.U8}.Encode(nil, make([]byte, math.MaxUint8)) })
}

func TestAllocs(t *testing.T) {
	payload := codec.Frame("some payload")
	encoders := map[string]codec.Codec[codec.Frame, codec.Frame]{
		"raw": codec.Raw{}, "line": codec.Line{CRLF: true}, "fixed": codec.Fixed{Length: len(payload)},
	}
	for _, l := range prefixes() {
		encoders[fmt.Sprintf("%+v", l)] = l
	}
	for name, c := range encoders {
		var m codec.Frame
		buf := make([]byte, 0, 64)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			b := c.Encode(buf, payload)
			if n, err := c.Decode(b, &m); n != len(b) || err != nil {
				t.Fatal(n, err)
			}
		}), name)
	}
}

func FuzzRaw(f *testing.F) { codectest.Fuzz(f, configs()["raw"]) }

func FuzzLine(f *testing.F) { codectest.Fuzz(f, configs()["line"]) }

func FuzzFixed(f *testing.F) { codectest.Fuzz(f, configs()["fixed"]) }

// FuzzLengthPrefixed takes the kind of prefix from the first byte of the input.
func FuzzLengthPrefixed(f *testing.F) {
	all := prefixes()
	for i, l := range all {
		f.Add(uint8(i), l.Encode(l.Encode(nil, codec.Frame("one")), codec.Frame("two")), uint64(i))
	}
	f.Add(uint8(8), binary.AppendUvarint(nil, math.MaxUint64), uint64(1))
	f.Fuzz(func(t *testing.T, kind uint8, transcript []byte, seed uint64) {
		l := all[int(kind)%len(all)]
		codectest.Run(t, codectest.Config[codec.Frame]{
			New:         func() codec.Decoder[codec.Frame] { return l },
			Transcripts: [][]byte{transcript[:min(len(transcript), 256)]},
			Seed:        seed | 1,
		})
	})
}
