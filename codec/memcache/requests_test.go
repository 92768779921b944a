package memcache_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/codec/codectest"
	"github.com/protoring/protoring/codec/memcache"
)

func describeCommand(m *memcache.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", m.Verb)
	if m.Noreply {
		b.WriteString(" noreply")
	}
	if m.Err != "" {
		fmt.Fprintf(&b, " %s", string(m.Err))
		if m.Err == memcache.ErrTooLarge {
			fmt.Fprintf(&b, " %q", m.Key)
		}
		return b.String()
	}
	switch m.Verb {
	case memcache.Get, memcache.Gets:
		fmt.Fprintf(&b, " %q", keysOf(m))
	case memcache.Gat, memcache.Gats:
		fmt.Fprintf(&b, " %d %q", m.Exptime, keysOf(m))
	case memcache.Set, memcache.Add, memcache.Replace, memcache.Append, memcache.Prepend:
		fmt.Fprintf(&b, " %q %d %d %q", m.Key, m.Flags, m.Exptime, m.Data)
	case memcache.Cas:
		fmt.Fprintf(&b, " %q %d %d %q %d", m.Key, m.Flags, m.Exptime, m.Data, m.Unique)
	case memcache.Delete:
		fmt.Fprintf(&b, " %q", m.Key)
	case memcache.Incr, memcache.Decr:
		fmt.Fprintf(&b, " %q %d", m.Key, m.Delta)
	case memcache.Touch:
		fmt.Fprintf(&b, " %q %d", m.Key, m.Exptime)
	case memcache.FlushAll:
		fmt.Fprintf(&b, " %d", m.Exptime)
	case memcache.Stats, memcache.Admin:
		fmt.Fprintf(&b, " %q", m.Args)
	case memcache.MetaSet:
		fmt.Fprintf(&b, " %q %q %v %d %d %q", m.Key, m.Args, m.Meta, m.Flags, m.Exptime, m.Data)
	case memcache.MetaGet, memcache.MetaDelete, memcache.MetaArithmetic:
		fmt.Fprintf(&b, " %q %q %v %d", m.Key, m.Args, m.Meta, m.Delta)
	case memcache.MetaDebug:
		fmt.Fprintf(&b, " %q %v", m.Key, m.Meta)
	}
	return b.String()
}

func keysOf(m *memcache.Command) (keys [][]byte) {
	for key, rest := memcache.NextKey(m.Keys); key != nil; key, rest = memcache.NextKey(rest) {
		keys = append(keys, key)
	}
	return keys
}

var (
	longKey    = strings.Repeat("k", 250)
	tooLongKey = strings.Repeat("k", 251)
	manyWords  = strings.Repeat(" a", 30)
	// metaFlags are all flags that take nothing.
	metaFlags = " k s t c f v h l u q"
)

// requests are cases for the tests of cuts, of memory, and against memcached.
var requests = []string{
	"get key\r\nget key\nget  a   b c \r\n get a\r\n", "get\r\nget \r\nget   \r\ngets\r\ngets a b\r\nbget a\r\nget a\rb\r\n",
	"gat\r\ngat 1\r\ngat 0 a b\r\ngats 10 a\r\ngat x a\r\ngat -1 a\r\n", "get " + longKey + "\r\n", "mg a" + manyWords + "\r\n",
	"set k 1 0 5\r\nvalue\r\nset k 0 0 0\r\n\r\nset k 0 0 5 noreply\r\nvalue\r\n", "set k 1 2 3 4 5\r\nset k\r\nset\r\n",
	"set k 0 0 -1\r\nset k 0 0 x\r\nset k x 0 1\r\nset k 0 x 1\r\nset k 0 0 2147483646\r\nset k 0 0 99999999999999999999\r\n",
	"set k 0 0 x noreply\r\nset k 0 0 noreply\r\nset " + tooLongKey + " 0 0 1\r\nx\r\nset " + tooLongKey + " 0 0 1 noreply\r\nx\r\n",
	"set k 0 0 3\r\nvalue\r\nget a\r\n", "set k 0 0 3 noreply\r\nvalue\r\nget a\r\n", "set k 4294967296 4294967296 4294967297\r\na\r\n",
	"set k -18446744073709551615 -5 1\r\na\r\nset k -1 0 1\r\na\r\n", "set k \t7 +8\t9 1\v2\r\na\r\n",
	"set k 0 0 2000000\r\n", "add k 0 0 1\r\na\r\nreplace k 0 0 1\r\na\r\nappend k 0 0 1\r\na\r\nprepend k 0 0 1\r\na\r\n",
	"cas k 0 0 1 5\r\na\r\ncas k 0 0 1 5 noreply\r\na\r\ncas k 0 0 1\r\ncas k 0 0 1 x\r\n",
	"delete\r\ndelete k\r\ndelete k 0\r\ndelete k 1\r\ndelete k noreply\r\ndelete k 0 noreply\r\ndelete k 1 noreply\r\ndelete k 0 0 0\r\n",
	"incr k 1\r\ndecr k 1 noreply\r\nincr k\r\nincr k x\r\nincr k noreply\r\nincr k -1\r\ndecr k 18446744073709551615\r\nincr k 18446744073709551616\r\n",
	"touch k 0\r\ntouch k 1 noreply\r\ntouch k\r\ntouch k x\r\ntouch k noreply\r\n", "flush_all x\r\nflush_all a b c\r\n",
	"verbosity\r\nverbosity 1\r\nverbosity x\r\nverbosity noreply\r\nverbosity 1 noreply\r\n", "version a b\r\nversion\r\nstats nosuch\r\n",
	"a\r\n\r\n\nab\r\nGET a\r\nsett\r\nget\x00 a\r\nget a\x00b c\r\n\x80\r\nmx\r\nmn a\r\nmnn\r\n",
	"mg\r\nmg k\r\nmg k v\r\nmg k" + metaFlags + "\r\nmg k v v\r\nmg k ?\r\nmg k \xff\r\nmg k x\r\nmg k E1\r\nmg k T\r\nmg k Tx v\r\nmg k T1 N2 R3\r\n",
	"mg Zm9v b k\r\nmg Zm9 b\r\nmg ==== b\r\nmg Zg== b\r\nmg Z?m9v b\r\nmg k Oabc k\r\nmg " + tooLongKey + "\r\nmg k O" + strings.Repeat("x", 32) + "\r\n",
	"ms k 1\r\na\r\nms\r\nms k\r\nms k x\r\nms k -1\r\nms k 1 T0 F5 c k Oq\r\na\r\nms k 2 q\r\nab\r\nms k 1 q\r\nab\r\n",
	"ms k 1 x\r\na\r\nms k 1 MX\r\na\r\nms k 1 M\r\na\r\nms k 1 MEE\r\na\r\nms k 1 Fx\r\na\r\nms k 1 Fx Cx\r\na\r\nms k 1 Cx Fx\r\na\r\n",
	"ms k 1 O" + strings.Repeat("x", 32) + "\r\na\r\nms Zm9v 1 b k\r\na\r\nms Zm9 1 b\r\na\r\nms k 2000000 c\r\n", "ms k 1" + manyWords + "\r\n",
	"md k\r\nmd k q\r\nmd k I T0\r\nmd k x\r\nmd k q q\r\nmd k C5 O1\r\nmd k O" + strings.Repeat("x", 32) + "\r\nmd\r\nmd k" + manyWords + "\r\n",
	"ma k\r\nma k N0 J5 D2 MI\r\nma k MX\r\nma k M+ v\r\nma k Jx\r\nma k Dx\r\nma k Mxx\r\nma\r\n",
	"me k\r\nme\r\nme Zm9v b\r\nme Zm9 b\r\nme k k b\r\nme " + tooLongKey + "\r\n",
	"slabs\r\nshutdown\r\n", "quit\r\nget a\r\n", "GET / HTTP/1.1\r\n\r\n", "put HTTP/\r\n", "\x80abc", strings.Repeat("x", 2050), "get a\r\n" + strings.Repeat(" ", 2048) + "\n",
	"set k 0 0 2 noreply\r\nab", "ms k 2 T0 v\r\nab\r", "get " + strings.Repeat("key ", 700) + "\r\nget a",
}

func requestsConfig() codectest.Config[memcache.Command] {
	size := codectest.LargePages * os.Getpagesize()
	cfg := codectest.Config[memcache.Command]{
		New:      func() codec.Decoder[memcache.Command] { return &memcache.Requests{} },
		Describe: describeCommand,
		Large: [][]byte{
			[]byte("get " + strings.Repeat("key ", size/4) + "\r\n"),
			[]byte("gats 0 " + strings.Repeat("k ", size/2) + "\r\n"),
			memcache.AppendStore(nil, "set", "key", 0, 0, strings.Repeat("v", size)),
			[]byte("set key 0 0 2000000\r\n" + strings.Repeat("v", size)),
			bytes.Repeat([]byte("get key\r\n"), size/9+1),
			bytes.Repeat([]byte("mg key k s t v\r\n"), size/16+1),
			bytes.Repeat(memcache.AppendMetaSet(nil, "key", "T0 c", "v"), size/18+1),
		},
	}
	for _, in := range requests {
		cfg.Transcripts = append(cfg.Transcripts, []byte(in))
	}
	return cfg
}

func TestRequestsContract(t *testing.T) {
	codectest.Run(t, requestsConfig())

	small := requestsConfig()
	small.New = func() codec.Decoder[memcache.Command] { return &memcache.Requests{MaxItem: 63} }
	small.Large = nil
	codectest.Run(t, small)
}

func FuzzRequests(f *testing.F) { codectest.Fuzz(f, requestsConfig()) }

// decode returns the commands in b and the error that ends them.
func decode(dec *memcache.Requests, b []byte) (all []string, err error) {
	var m memcache.Command
	for len(b) > 0 {
		n, err := dec.Decode(b, &m)
		switch err {
		case nil:
			all = append(all, describeCommand(&m))
		case codec.Skip:
		case codec.More:
			return all, nil
		default:
			return all, err
		}
		b = b[min(n, len(b)):]
	}
	return all, nil
}

func TestRequestsEnds(t *testing.T) {
	for in, want := range map[string]error{
		"\x80":                                nil,
		"get a\r\n\x80\r\n":                   nil,
		"GET / HTTP/1.1\r\n":                  memcache.ErrHTTP,
		"get / HTTP/1.1\r\n":                  nil,
		"mget / HTTP/1.1\r\n":                 memcache.ErrHTTP,
		strings.Repeat("x", 2048):             nil,
		strings.Repeat("x", 2048) + "\n":      nil,
		strings.Repeat("x", 2049):             memcache.ErrLine,
		strings.Repeat("x", 2049) + "\n":      memcache.ErrLine,
		"gets " + strings.Repeat("x ", 10000): nil,
		strings.Repeat(" ", 100) + "get " + strings.Repeat("x ", 10000): nil,
		strings.Repeat(" ", 101) + "get " + strings.Repeat("x ", 10000): memcache.ErrLine,
	} {
		if in == "\x80" {
			want = memcache.ErrBinary
		}
		_, err := decode(&memcache.Requests{}, []byte(in))
		require.Equal(t, want, err, "%.20q", in)
	}
}

// More names the size as soon as it is known.
func TestRequestsNeed(t *testing.T) {
	for in, need := range map[string]int{"get a": 0, "set k 0 0 10": 0, "set k 0 0 10\r": 0, "set k 0 0 10\r\n": 26, "set k 0 0 10\nabc": 25, "ms k 10 T0\r\n": 24} {
		n, err := new(memcache.Requests).Decode([]byte(in), new(memcache.Command))
		require.Equal(t, codec.More, err, in)
		require.Equal(t, need, n, in)
	}
}

func TestRequestsTooLarge(t *testing.T) {
	limit := memcache.ItemSize(3, 0, 10)
	dec := &memcache.Requests{MaxItem: limit}
	got, err := decode(dec, []byte("set key 0 0 10\r\n0123456789\r\nset key 0 0 11\r\n01234567890\r\nset key 1 0 10\r\n0123456789\r\nms key 11 q\r\n01234567890\r\nmn\r\n"))
	require.NoError(t, err)
	require.Equal(t, []string{
		fmt.Sprintf(`%d "key" 0 0 "0123456789"`, memcache.Set),
		fmt.Sprintf(`%d SERVER_ERROR object too large for cache "key"`, memcache.Set),
		fmt.Sprintf(`%d SERVER_ERROR object too large for cache "key"`, memcache.Set),
		fmt.Sprintf(`%d SERVER_ERROR object too large for cache "key"`, memcache.MetaSet),
		fmt.Sprint(memcache.MetaNoop),
	}, got)
}

// What a peer announces takes no memory, and a connection next to none.
func TestRequestsMemory(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(memcache.Requests{}), uintptr(24), "each connection has one")
	var m memcache.Command
	b := []byte("set k 0 0 1048000\r\nab")
	before := allocated()
	for range 10 {
		_, err := new(memcache.Requests).Decode(b, &m)
		require.Equal(t, codec.More, err)
	}
	require.Less(t, allocated()-before, uint64(64<<10))
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func TestRequestsAllocs(t *testing.T) {
	pipeline := []byte("get key\r\nget a b c\r\ngets a\r\ngat 10 a b\r\nset key 1 2 5\r\nvalue\r\ncas key 1 2 5 7 noreply\r\nvalue\r\nincr n 5\r\n" +
		"mg Zm9v b v k T30\r\nms key 5 c T0 F7 Oabc\r\nvalue\r\nma n N0 J5\r\nmd key q\r\nset k 0 0 9999999\r\n")
	var dec memcache.Requests
	var m memcache.Command
	require.Zero(t, testing.AllocsPerRun(100, func() {
		dec = memcache.Requests{}
		for b := pipeline; len(b) > 0; {
			n, err := dec.Decode(b, &m)
			if err != nil {
				t.Fatal(err)
			}
			b = b[n:]
		}
	}))
}

func TestParseUint(t *testing.T) {
	for in, want := range map[string]uint64{"0": 0, " 12": 12, "+5": 5, "12 x": 12, "18446744073709551615": 1<<64 - 1, "-18446744073709551615": 1, "7\x00a": 7, "-0": 0} {
		got, ok := memcache.ParseUint([]byte(in))
		require.True(t, ok, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{"", " ", "-", "x", "1x", "-1", "18446744073709551616", "18446744073709551615\t-", "99999999999999999999999"} {
		_, ok := memcache.ParseUint([]byte(in))
		require.False(t, ok, in)
	}
}

func BenchmarkRequests(b *testing.B) {
	benchmarks := []struct {
		name    string
		command string
	}{
		{"get", "get key:000000012345\r\n"},
		{"gets", "gets key:000000012345\r\n"},
		{"mg", "mg key:000000012345 v\r\n"},
		{"mg-flags", "mg key:000000012345 s v t k O123\r\n"},
		{"set-64", string(memcache.AppendStore(nil, "set", "key:000000012345", 0, 0, strings.Repeat("v", 64)))},
		{"set-1024", string(memcache.AppendStore(nil, "set", "key:000000012345", 0, 0, strings.Repeat("v", 1024)))},
		{"ms-64", string(memcache.AppendMetaSet(nil, "key:000000012345", "T0", strings.Repeat("v", 64)))},
		{"get-100", "get" + strings.Repeat(" key:000000012345", 100) + "\r\n"},
	}
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			pipeline := []byte(strings.Repeat(bb.command, 1+16384/len(bb.command)))
			var dec codec.Decoder[memcache.Command] = &memcache.Requests{}
			var m memcache.Command
			b.ReportAllocs()
			b.SetBytes(int64(len(bb.command)))
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
