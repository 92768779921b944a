package memcache_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/codec/codectest"
	"github.com/protoring/protoring/codec/memcache"
)

var replies = []struct {
	reply memcache.Reply
	want  string
}{
	{memcache.Reply{}, ""},
	{memcache.Line("STORED"), "STORED\r\n"},
	{memcache.Line("a\r\nb"), "a  b\r\n"},
	{memcache.EndOfData(), "\r\n"},
	{memcache.ErrTooLarge.Reply(), "SERVER_ERROR object too large for cache\r\n"},
	{memcache.Raw([]byte("a\r\nb")), "a\r\nb"},
	{memcache.Number(0), "0\r\n"},
	{memcache.Number(math.MaxUint64), "18446744073709551615\r\n"},
	{memcache.Value([]byte("key"), 0, []byte("data")), "VALUE key 0 4\r\ndata\r\n"},
	{memcache.Value([]byte("key"), math.MaxUint32, nil), "VALUE key 4294967295 0\r\n\r\n"},
	{memcache.Value([]byte(longKey), 1, []byte(longKey)), "VALUE " + longKey + " 1 250\r\n" + longKey + "\r\n"},
	{memcache.ValueUnique([]byte("key"), 5, []byte("data"), math.MaxUint64), "VALUE key 5 4 18446744073709551615\r\ndata\r\n"},
	{memcache.ValueUnique([]byte("key"), math.MaxUint32, nil, math.MaxUint64), "VALUE key 4294967295 0 18446744073709551615\r\n\r\n"},
	{memcache.ValueHead([]byte("key"), 5, 100), "VALUE key 5 100\r\n"},
	{memcache.ValueUniqueHead([]byte("key"), 5, 100, 7), "VALUE key 5 100 7\r\n"},
	{memcache.MetaStatus(memcache.HD, nil), "HD\r\n"},
	{memcache.MetaStatus(memcache.EN, []byte(" Oabc kkey")), "EN Oabc kkey\r\n"},
	{memcache.MetaStatus(memcache.ME, []byte(" k exp=-1")), "ME k exp=-1\r\n"},
	{memcache.MetaValue([]byte(" c5 f0"), []byte("data")), "VA 4 c5 f0\r\ndata\r\n"},
	{memcache.MetaValue(nil, nil), "VA 0\r\n\r\n"},
	{memcache.MetaHead([]byte(" c5"), 100), "VA 100 c5\r\n"},
	{memcache.Stat("pid", "5"), "STAT pid 5\r\n"},
	{memcache.Stat("a", ""), "STAT a \r\n"},
}

func TestReplies(t *testing.T) {
	cfg := codectest.EncoderConfig[memcache.Reply]{New: func() codec.Encoder[memcache.Reply] { return memcache.Replies{} }}
	for _, tt := range replies {
		require.Equal(t, tt.want, string(memcache.Replies{}.Encode(nil, tt.reply)))
		cfg.Messages = append(cfg.Messages, tt.reply)
	}
	codectest.RunEncoder(t, cfg)
	require.LessOrEqual(t, unsafe.Sizeof(memcache.Reply{}), 5*unsafe.Sizeof(uintptr(0)), "it goes in registers")
}

func TestRepliesAllocs(t *testing.T) {
	key, data, dst := []byte("key"), []byte("data"), make([]byte, 0, 1000)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		b := memcache.Replies{}.Encode(dst, memcache.ValueUnique(key, 5, data, 1<<40))
		b = memcache.Replies{}.Encode(b, memcache.Line("END"))
		memcache.Replies{}.Encode(b, memcache.MetaValue(key, data))
	}))
}

func describeAnswer(m *memcache.Answer) string {
	var b strings.Builder
	for _, it := range m.Items {
		fmt.Fprintf(&b, "%q %d %d %q\n", it.Key, it.Flags, it.Unique, it.Data)
	}
	return b.String() + fmt.Sprintf("%q", m.Line)
}

var answers = []struct {
	in   string
	want []string
}{
	{"STORED\r\nEND\r\n5\r\n", []string{`"STORED"`, `"END"`, `"5"`}},
	{"VALUE a 1 2\r\nxy\r\nVALUE b 0 0 9\r\n\r\nEND\r\nEND\r\n", []string{"\"a\" 1 0 \"xy\"\n\"b\" 0 9 \"\"\n\"END\"", `"END"`}},
	{"VALUE a 0 5\r\nEND\r\n\r\nEND\r\n", []string{"\"a\" 0 0 \"END\\r\\n\"\n\"END\""}},
	{"STAT pid 5\r\nSTAT a b c\r\nEND\r\n", []string{"\"pid\" 0 0 \"5\"\n\"a\" 0 0 \"b c\"\n\"END\""}},
	{"HD c5\r\nVA 2 c5 f0\r\nxy\r\nVA 0\r\n\r\nEN\r\nME k exp=-1\r\n", []string{`"HD c5"`, "\"\" 0 0 \"xy\"\n\"VA 2 c5 f0\"", "\"\" 0 0 \"\"\n\"VA 0\"", `"EN"`, `"ME k exp=-1"`}},
	{"CLIENT_ERROR bad data chunk\r\n\r\n", []string{`"CLIENT_ERROR bad data chunk"`, `""`}},
	{"VALUE a 1 2\r\nxyz\r\n", []string{"error"}},
	{"VALUE a 1\r\n", []string{"error"}},
	{"VALUE a x 1\r\n", []string{"error"}},
	{"VALUE a 1 99999999999\r\n", []string{"error"}},
	{"VALUE a 1 1 1 1\r\n", []string{"error"}},
	{"VA\r\n", []string{"error"}},
	{"END\n", []string{"error"}},
	{"\n", []string{"error"}},
	{strings.Repeat("x", 5000), []string{"error"}},
}

func TestReplyDecoder(t *testing.T) {
	for _, tt := range answers {
		var dec memcache.ReplyDecoder
		var m memcache.Answer
		var got []string
		for b := []byte(tt.in); len(b) > 0; {
			n, err := dec.Decode(b, &m)
			if err != nil {
				require.NotEqual(t, codec.More, err, "%.100q", tt.in)
				got = append(got, "error")
				break
			}
			got = append(got, describeAnswer(&m))
			b = b[n:]
		}
		require.Equal(t, tt.want, got, "%.100q", tt.in)
	}
}

func repliesConfig() codectest.Config[memcache.Answer] {
	size := codectest.LargePages * os.Getpagesize()
	cfg := codectest.Config[memcache.Answer]{
		New:      func() codec.Decoder[memcache.Answer] { return &memcache.ReplyDecoder{} },
		Describe: describeAnswer,
		Large: [][]byte{
			append(bytes.Repeat([]byte("VALUE k 0 1\r\nv\r\n"), size/16), "END\r\n"...),
			append(bytes.Repeat([]byte("STAT k 0\r\n"), size/10), "END\r\n"...),
			[]byte(fmt.Sprintf("VALUE k 0 %d\r\n%s\r\nEND\r\n", size, strings.Repeat("v", size))),
			[]byte(fmt.Sprintf("VA %d\r\n%s\r\n", size, strings.Repeat("v", size))),
			bytes.Repeat([]byte("STORED\r\n"), size/8),
		},
	}
	for _, tt := range answers {
		cfg.Transcripts = append(cfg.Transcripts, []byte(tt.in))
	}
	return cfg
}

func TestReplyDecoderContract(t *testing.T) { codectest.Run(t, repliesConfig()) }

func TestReplyDecoderLimits(t *testing.T) {
	dec := memcache.ReplyDecoder{MaxItems: 1, MaxValue: 2}
	var m memcache.Answer
	_, err := dec.Decode([]byte("VALUE a 0 2\r\nxy\r\nEND\r\n"), &m)
	require.NoError(t, err)
	for _, in := range []string{"VALUE a 0 3\r\n", "STAT a 1\r\nSTAT b 1\r\n", "VA 3\r\n"} {
		dec := dec
		_, err := dec.Decode([]byte(in), &m)
		require.ErrorIs(t, err, memcache.ErrLimit, in)
	}
}

func FuzzReplies(f *testing.F) { codectest.Fuzz(f, repliesConfig()) }

// FuzzRoundTrip encodes what was decoded, and decodes it again.
func FuzzRoundTrip(f *testing.F) {
	f.Add("key", uint32(5), int32(7), "some\r\ndata")
	f.Fuzz(func(t *testing.T, key string, flags uint32, exptime int32, data string) {
		if key == "" || len(key) > memcache.MaxKey || strings.ContainsAny(key, " \n\x00") {
			return
		}
		var m memcache.Command
		_, err := new(memcache.Requests).Decode(memcache.AppendStore(nil, "set", key, flags, exptime, data), &m)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%d %q %d %d %q", memcache.Set, key, flags, exptime, data), describeCommand(&m))
		var a memcache.Answer
		b := memcache.Replies{}.Encode(nil, memcache.Value(m.Key, m.Flags, m.Data))
		_, err = new(memcache.ReplyDecoder).Decode(append(b, "END\r\n"...), &a)
		if strings.ContainsRune(key, '\r') {
			return
		}
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%q %d 0 %q\n\"END\"", key, flags, data), describeAnswer(&a))
	})
}

func TestRequestEncoder(t *testing.T) {
	messages := []memcache.Request{memcache.Do("get a b"), memcache.Store("set k 0 0 4", []byte("data")), memcache.Store("ms k 0", nil)}
	var got []byte
	for _, m := range messages {
		got = memcache.RequestEncoder{}.Encode(got, m)
	}
	require.Equal(t, "get a b\r\nset k 0 0 4\r\ndata\r\nms k 0\r\n\r\n", string(got))
	codectest.RunEncoder(t, codectest.EncoderConfig[memcache.Request]{
		New: func() codec.Encoder[memcache.Request] { return memcache.RequestEncoder{} }, Messages: messages,
	})
	require.Equal(t, "get a b\r\n", string(memcache.AppendGet(nil, "a", "b")))
	require.Equal(t, "gets a\r\n", string(memcache.AppendGets(nil, []byte("a"))))
	require.Equal(t, "add k 7 -1 4\r\ndata\r\n", string(memcache.AppendStore(nil, "add", "k", 7, -1, "data")))
	require.Equal(t, "ms k 4 T0 c\r\ndata\r\n", string(memcache.AppendMetaSet(nil, "k", "T0 c", "data")))
	require.Equal(t, "ms k 0\r\n\r\n", string(memcache.AppendMetaSet(nil, "k", "", "")))
}

var (
	_ codec.Codec[memcache.Command, memcache.Reply]  = (*memcache.Server)(nil)
	_ codec.Resumer[memcache.Command]                = (*memcache.Server)(nil)
	_ codec.Sizer[memcache.Reply]                    = (*memcache.Server)(nil)
	_ codec.Codec[memcache.Answer, memcache.Request] = (*memcache.Client)(nil)
	_ codec.Sizer[memcache.Request]                  = (*memcache.Client)(nil)
)
