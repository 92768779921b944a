package resp_test

import (
	"math"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/codec/codectest"
	"github.com/protoring/protoring/codec/resp"
)

// replies are whole replies with their bytes in both versions.
var replies = []struct {
	replies []resp.Reply
	v2, v3  string
}{
	{one(resp.Reply{}), "$-1\r\n", "_\r\n"},
	{one(resp.Null()), "$-1\r\n", "_\r\n"},
	{one(resp.NullArray()), "*-1\r\n", "_\r\n"},
	{one(resp.Simple("OK")), "+OK\r\n", "+OK\r\n"},
	{one(resp.Error("ERR a\r\nb\nc")), "-ERR a  b c\r\n", "-ERR a  b c\r\n"},
	{one(resp.Int(0)), ":0\r\n", ":0\r\n"},
	{one(resp.Int(9)), ":9\r\n", ":9\r\n"},
	{one(resp.Int(10)), ":10\r\n", ":10\r\n"},
	{one(resp.Int(99)), ":99\r\n", ":99\r\n"},
	{one(resp.Int(100)), ":100\r\n", ":100\r\n"},
	{one(resp.Int(-1)), ":-1\r\n", ":-1\r\n"},
	{one(resp.Int(math.MinInt64)), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"},
	{one(resp.Int(math.MaxInt64)), ":9223372036854775807\r\n", ":9223372036854775807\r\n"},
	{one(resp.Bulk([]byte("a\r\nb"))), "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"},
	{one(resp.Bulk(nil)), "$0\r\n\r\n", "$0\r\n\r\n"},
	{one(resp.BulkString(strings.Repeat("x", 123))), "$123\r\n" + strings.Repeat("x", 123) + "\r\n", "$123\r\n" + strings.Repeat("x", 123) + "\r\n"},
	{[]resp.Reply{resp.Array(2), resp.Int(1), resp.Null()}, "*2\r\n:1\r\n$-1\r\n", "*2\r\n:1\r\n_\r\n"},
	{[]resp.Reply{resp.Map(1), resp.BulkString("k"), resp.Bool(true)}, "*2\r\n$1\r\nk\r\n:1\r\n", "%1\r\n$1\r\nk\r\n#t\r\n"},
	{[]resp.Reply{resp.Set(1), resp.Bool(false)}, "*1\r\n:0\r\n", "~1\r\n#f\r\n"},
	{[]resp.Reply{resp.Attribute(1), resp.Int(1), resp.Int(2), resp.Int(3)}, "|1\r\n:1\r\n:2\r\n:3\r\n", "|1\r\n:1\r\n:2\r\n:3\r\n"},
	{[]resp.Reply{resp.Push(1), resp.Int(1)}, "*1\r\n:1\r\n", ">1\r\n:1\r\n"},
	{one(resp.Double(0.1)), "$19\r\n0.10000000000000001\r\n", ",0.10000000000000001\r\n"},
	{one(resp.Double(3)), "$1\r\n3\r\n", ",3\r\n"},
	{one(resp.Double(math.Inf(1))), "$3\r\ninf\r\n", ",inf\r\n"},
	{one(resp.Double(math.Inf(-1))), "$4\r\n-inf\r\n", ",-inf\r\n"},
	{one(resp.Double(math.NaN())), "$3\r\nnan\r\n", ",nan\r\n"},
	{one(resp.Double(-math.MaxFloat64)), "$24\r\n-1.7976931348623157e+308\r\n", ",-1.7976931348623157e+308\r\n"},
	{one(resp.BigNumber("-123456789012345678901")), "$22\r\n-123456789012345678901\r\n", "(-123456789012345678901\r\n"},
	{one(resp.Verbatim("txt", "a\nb")), "$3\r\na\nb\r\n", "=7\r\ntxt:a\nb\r\n"},
	{one(resp.Verbatim("m", "a")), "$1\r\na\r\n", "=5\r\nm  :a\r\n"},
	{one(resp.Raw([]byte(":1\r\n"))), ":1\r\n", ":1\r\n"},
}

func one(r resp.Reply) []resp.Reply { return []resp.Reply{r} }

func TestReplies(t *testing.T) {
	for _, tt := range replies {
		for v, want := range map[int]string{0: tt.v2, 2: tt.v2, 3: tt.v3} {
			var got []byte
			for _, r := range tt.replies {
				got = resp.Replies{Version: v}.Encode(got, r)
			}
			require.Equal(t, want, string(got), "version %d", v)
		}
	}
	require.LessOrEqual(t, unsafe.Sizeof(resp.Reply{}), 5*unsafe.Sizeof(uintptr(0)), "DESIGN.md: at most five words")
}

func TestRepliesContract(t *testing.T) {
	var all []resp.Reply
	for _, tt := range replies {
		all = append(all, tt.replies...)
	}
	for _, v := range []int{2, 3} {
		codectest.RunEncoder(t, codectest.EncoderConfig[resp.Reply]{
			New:      func() codec.Encoder[resp.Reply] { return resp.Replies{Version: v} },
			Messages: all,
		})
	}
	codectest.RunEncoder(t, codectest.EncoderConfig[resp.Args]{
		New:      func() codec.Encoder[resp.Args] { return resp.CommandEncoder{} },
		Messages: []resp.Args{{[]byte("GET"), []byte("key")}, {[]byte("PING")}, {[]byte("SET"), nil, make([]byte, 1000)}},
	})
}

func TestAppendCommand(t *testing.T) {
	const want = "x*2\r\n$3\r\nGET\r\n$0\r\n\r\n"
	require.Equal(t, want, string(resp.AppendCommand([]byte("x"), "GET", "")))
	require.Equal(t, want, string(resp.AppendCommand([]byte("x"), []byte("GET"), nil)))
	require.Equal(t, want, string(resp.CommandEncoder{}.Encode([]byte("x"), resp.Args{[]byte("GET"), nil})))
}

// The codecs that are embedded in reactors.
var (
	_ codec.Codec[resp.Command, resp.Reply] = (*resp.Server)(nil)
	_ codec.Sizer[resp.Reply]               = (*resp.Server)(nil)
	_ codec.Codec[resp.Value, resp.Args]    = (*resp.Client)(nil)
	_ codec.Sizer[resp.Args]                = (*resp.Client)(nil)
)

func TestRepliesAllocs(t *testing.T) {
	buf := make([]byte, 0, 1<<16)
	value := []byte("value")
	for _, v := range []int{2, 3} {
		var enc codec.Encoder[resp.Reply] = resp.Replies{Version: v}
		require.Zero(t, testing.AllocsPerRun(100, func() {
			dst := buf
			for _, tt := range replies {
				for _, r := range tt.replies {
					dst = enc.Encode(dst, r)
				}
			}
			dst = enc.Encode(dst, resp.Bulk(value))
			_ = resp.AppendCommand(dst, "SET", "key", "value")
		}))
	}
}

func BenchmarkReplies(b *testing.B) {
	value := []byte(strings.Repeat("v", 64))
	benchmarks := []struct {
		name string
		make func() resp.Reply
	}{
		{"OK", func() resp.Reply { return resp.Simple("OK") }},
		{"int", func() resp.Reply { return resp.Int(12345) }},
		{"null", resp.Null},
		{"bulk-64", func() resp.Reply { return resp.Bulk(value) }},
		{"double", func() resp.Reply { return resp.Double(0.1) }},
	}
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			var enc codec.Encoder[resp.Reply] = &resp.Server{}
			buf := make([]byte, 0, 1024)
			b.ReportAllocs()
			for b.Loop() {
				buf = enc.Encode(buf[:0], bb.make())
			}
		})
	}
}
