package resp_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/codec/codectest"
	"github.com/protoring/protoring/codec/resp"
)

// describeValue is a value as text: its kind, and what is in it.
func describeValue(v *resp.Value) string {
	s := string(v.Kind)
	if v.Attr != nil {
		s = describeValue(v.Attr) + s
	}
	switch v.Kind {
	case resp.KindNull:
		return s
	case resp.KindInt, resp.KindBool:
		return s + fmt.Sprint(v.Int)
	case resp.KindDouble:
		return s + fmt.Sprintf("%s=%v", v.Data, v.Double)
	case resp.KindVerbatim:
		return s + fmt.Sprintf("%s:%q", v.Format[:], v.Data)
	case resp.KindArray, resp.KindMap, resp.KindSet, resp.KindPush, resp.KindAttribute:
		var items []string
		for i := range v.Items {
			items = append(items, describeValue(&v.Items[i]))
		}
		return s + "[" + strings.Join(items, " ") + "]"
	}
	return s + fmt.Sprintf("%q", v.Data)
}

var values = []struct{ in, want string }{
	{"+OK\r\n", `+"OK"`},
	{"+\r\n", `+""`},
	{"-ERR no\r\n", `-"ERR no"`},
	{":12\r\n", `:12`},
	{":-12\r\n", `:-12`},
	{":+12\r\n", `:12`},
	{"$3\r\na\r\n\r\n", `$"a\r\n"`},
	{"$0\r\n\r\n", `$""`},
	{"$-1\r\n", `_`},
	{"*-1\r\n", `_`},
	{"_\r\n", `_`},
	{"*0\r\n", `*[]`},
	{"*2\r\n:1\r\n$1\r\nx\r\n", `*[:1 $"x"]`},
	{"*2\r\n*1\r\n*0\r\n*-1\r\n", `*[*[*[]] _]`},
	{"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n", `%[+"a" :1 +"b" *[:2]]`},
	{"~1\r\n+a\r\n", `~[+"a"]`},
	{">2\r\n+a\r\n+b\r\n", `>[+"a" +"b"]`},
	{"#t\r\n", `#1`},
	{"#f\r\n", `#0`},
	{",1.5\r\n", `,1.5=1.5`},
	{",-1e3\r\n", `,-1e3=-1000`},
	{",inf\r\n", `,inf=+Inf`},
	{",-inf\r\n", `,-inf=-Inf`},
	{",nan\r\n", `,nan=NaN`},
	{",-nan\r\n", `,-nan=NaN`},
	{",1e999\r\n", `,1e999=+Inf`},
	{"(-123456789012345678901234567890\r\n", `("-123456789012345678901234567890"`},
	{"=8\r\ntxt:text\r\n", `=txt:"text"`},
	{"=4\r\nmkd:\r\n", `=mkd:""`},
	{"!7\r\nERR\r\nno\r\n", `!"ERR\r\nno"`},
	{"|1\r\n+k\r\n+v\r\n:1\r\n", `|[+"k" +"v"]:1`},
	{"|0\r\n*1\r\n|1\r\n+k\r\n+v\r\n*1\r\n:1\r\n", `|[]*[|[+"k" +"v"]*[:1]]`},
	{"|1\r\n+a\r\n+b\r\n|1\r\n+c\r\n+d\r\n:1\r\n", `|[+"a" +"b"]|[+"c" +"d"]:1`},
	{"*1\r\n|1\r\n+k\r\n+v\r\n:1\r\n", `*[|[+"k" +"v"]:1]`},
}

func TestValues(t *testing.T) {
	var m resp.Value // one for all, as in a loop
	var dec resp.ReplyDecoder
	for _, tt := range values {
		n, err := dec.Decode([]byte(tt.in+"+next\r\n"), &m)
		require.NoError(t, err, tt.in)
		require.Equal(t, len(tt.in), n, tt.in)
		require.Equal(t, tt.want, describeValue(&m), tt.in)
	}
}

func TestValueErrors(t *testing.T) {
	tests := []struct {
		in   string
		want error
	}{
		{"x\r\n", resp.ErrReply},
		{"\r\n", resp.ErrReply},
		{"+a\rb\r\n", resp.ErrReply},
		{":\r\n", resp.ErrReply},
		{":1x\r\n", resp.ErrReply},
		{":9223372036854775808\r\n", resp.ErrReply},
		{"*1\r\n:x\r\n", resp.ErrReply},
		{"$x\r\n", resp.ErrReply},
		{"$-2\r\n", resp.ErrReply},
		{"$01\r\n", resp.ErrReply},
		{"%-1\r\n", resp.ErrReply},
		{"$1\r\nxyz", resp.ErrReply},
		{"_x\r\n", resp.ErrReply},
		{"#x\r\n", resp.ErrReply},
		{",0x1p3\r\n", resp.ErrReply},
		{",1_0\r\n", resp.ErrReply},
		{",\r\n", resp.ErrReply},
		{"(1x\r\n", resp.ErrReply},
		{"(-\r\n", resp.ErrReply},
		{"=3\r\ntxt\r\n", resp.ErrReply},
		{"=4\r\ntxtx\r\n", resp.ErrReply},
		{"$?\r\n", resp.ErrStreamed},
		{"*?\r\n", resp.ErrStreamed},
		{"*11\r\n", resp.ErrLimit},
		{"%6\r\n", resp.ErrLimit},
		{"*2\r\n*5\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n*4\r\n", resp.ErrLimit},
		{"|4\r\n*0\r\n|1\r\n", resp.ErrLimit},
		{"*1\r\n*1\r\n*1\r\n*1\r\n", resp.ErrLimit},
		{"|0\r\n|0\r\n|0\r\n|0\r\n", resp.ErrLimit},
		{"$21\r\n", resp.ErrLimit},
		{"*999999999999999999\r\n", resp.ErrLimit},
		{"%999999999999999999\r\n", resp.ErrLimit},
		{"*9999999999999999999\r\n", resp.ErrReply},
		{"+" + strings.Repeat("x", 40), resp.ErrLimit},
		{"+" + strings.Repeat("x", 40) + "\r\n", resp.ErrLimit},
	}
	for _, tt := range tests {
		dec := resp.ReplyDecoder{MaxElements: 10, MaxDepth: 3, MaxBulk: 20, MaxLine: 40}
		var m resp.Value
		_, err := dec.Decode([]byte(tt.in), &m)
		require.ErrorIs(t, err, tt.want, tt.in)
	}
}

func TestValueErr(t *testing.T) {
	require.EqualError(t, (&resp.Value{Kind: resp.KindError, Data: []byte("ERR no")}).Err(), "ERR no")
	require.Equal(t, resp.ServerError("ERR no"), (&resp.Value{Kind: resp.KindBulkError, Data: []byte("ERR no")}).Err())
	require.NoError(t, (&resp.Value{Kind: resp.KindBulk, Data: []byte("ERR no")}).Err())
}

func valuesConfig() codectest.Config[resp.Value] {
	size := codectest.LargePages * os.Getpagesize()
	cfg := codectest.Config[resp.Value]{
		New:      func() codec.Decoder[resp.Value] { return &resp.ReplyDecoder{MaxElements: 1 << 20, MaxDepth: 9} },
		Describe: describeValue,
		Large: [][]byte{
			fmt.Appendf(nil, "*%d\r\n%s", size/4, strings.Repeat(":1\r\n", size/4)),
			fmt.Appendf(nil, "*%d\r\n%s", size/8, strings.Repeat("*1\r\n:1\r\n", size/8)),
			fmt.Appendf(nil, "$%d\r\n%s\r\n", size, strings.Repeat("v", size)),
			[]byte("+" + strings.Repeat("x", size)),
			[]byte(strings.Repeat("$5\r\nvalue\r\n", size/10)),
		},
	}
	for _, tt := range values {
		cfg.Transcripts = append(cfg.Transcripts, []byte(tt.in+tt.in+"*2\r\n+a\r\n+b\r\n"))
	}
	for _, broken := range []string{"*2\r\n:1\r\n:x\r\n", "*?\r\n", "$1\r\nxx\r\n", "*1\r\n+a\rb\r\n", strings.Repeat("*1\r\n", 10), "*1048577\r\n"} {
		cfg.Transcripts = append(cfg.Transcripts, []byte("+OK\r\n"+broken))
	}
	return cfg
}

func TestReplyDecoderContract(t *testing.T) {
	codectest.Run(t, valuesConfig())

	small := valuesConfig() // limits are met in the middle of everything
	small.New = func() codec.Decoder[resp.Value] {
		return &resp.ReplyDecoder{MaxElements: 3, MaxDepth: 2, MaxBulk: 5, MaxLine: 3}
	}
	small.Transcripts = append(small.Transcripts, []byte("$5\r\nvalue\r\n$005\r\n"), []byte("$12\r\nvaluevaluexx\r\n"), []byte("$123\r\n"))
	small.Large = nil
	codectest.Run(t, small)

	long := valuesConfig() // a line of that size within the limit
	long.New = func() codec.Decoder[resp.Value] { return &resp.ReplyDecoder{MaxLine: 1 << 30} }
	long.Transcripts, long.Large = nil, long.Large[3:4]
	codectest.Run(t, long)
}

func FuzzReplyDecoder(f *testing.F) { codectest.Fuzz(f, valuesConfig()) }

// What a server announces takes no memory.
func TestReplyDecoderMemory(t *testing.T) {
	var dec resp.ReplyDecoder
	var m resp.Value
	b := []byte("*1000000\r\n*48000\r\n$536870912\r\n")
	require.Less(t, allocated(func() {
		for i := range b {
			_, err := dec.Decode(b[:i+1], &m)
			require.Equal(t, codec.More, err)
		}
	}), uint64(64<<10))
}

func TestReplyDecoderAllocs(t *testing.T) {
	replies := []byte("+OK\r\n$5\r\nvalue\r\n*3\r\n:1\r\n*2\r\n$1\r\nx\r\n_\r\n,1.25\r\n%1\r\n+k\r\n(123\r\n|1\r\n+k\r\n#t\r\n:123456789\r\n")
	var dec resp.ReplyDecoder
	var m resp.Value
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for b := replies; len(b) > 0; {
			n, err := dec.Decode(b, &m)
			if err != nil {
				t.Fatal(err)
			}
			b = b[n:]
		}
	}))
}

// What Replies encodes, ReplyDecoder decodes.
func TestRepliesAreValues(t *testing.T) {
	for _, v := range []int{2, 3} {
		for _, tt := range replies {
			var b []byte
			for _, r := range tt.replies {
				b = resp.Replies{Version: v}.Encode(b, r)
			}
			var dec resp.ReplyDecoder
			var m resp.Value
			n, err := dec.Decode(b, &m)
			require.NoError(t, err, "%q", b)
			require.Equal(t, len(b), n)
		}
	}
	var dec resp.ReplyDecoder
	var m resp.Value
	for _, f := range []float64{0, -1.5, 1e300, math.Pi, math.SmallestNonzeroFloat64, math.Inf(-1)} {
		_, err := dec.Decode(resp.Replies{Version: 3}.Encode(nil, resp.Double(f)), &m)
		require.NoError(t, err)
		require.Equal(t, f, m.Double)
	}
}

func BenchmarkReplyDecoder(b *testing.B) {
	benchmarks := []struct{ name, reply string }{
		{"OK", "+OK\r\n"},
		{"bulk-64", "$64\r\n" + strings.Repeat("v", 64) + "\r\n"},
		{"array-100", "*100\r\n" + strings.Repeat("$5\r\nvalue\r\n", 100)},
	}
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			pipeline := bytes.Repeat([]byte(bb.reply), 1+16384/len(bb.reply))
			var dec codec.Decoder[resp.Value] = &resp.ReplyDecoder{}
			var m resp.Value
			b.ReportAllocs()
			rest := pipeline
			for b.Loop() {
				n, err := dec.Decode(rest, &m)
				if err != nil {
					b.Fatal(err)
				}
				if rest = rest[n:]; len(rest) == 0 {
					rest = pipeline
				}
			}
		})
	}
}
