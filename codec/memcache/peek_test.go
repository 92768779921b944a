package memcache

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPeekKeys(t *testing.T) {
	const get, set, ms = "get a\r\n", "set bc 0 0 5 noreply\r\nval\nu\r\n", "ms key 2 T0\r\nxy\r\n"
	long := "get " + strings.Repeat("k ", maxLine) + "\r\n"
	tests := []struct {
		name, in string
		want     []string
		rest     string
	}{
		{"nothing", "", nil, ""},
		{"one", get, []string{"a"}, ""},
		{"several and a part", get + set + get[:len(get)-1], []string{"a", "bc"}, get[:len(get)-1]},
		{"more than there is room for", get + set + ms + get, []string{"a", "bc", "key"}, get},
		{"with an exptime before the key", "gat 10 x y\r\ngats 10 z\r\n", []string{"x", "z"}, ""},
		{"others with a key", "mg m v\r\nincr n 1\r\ntouch o 0\r\n", []string{"m", "n", "o"}, ""},
		{"cas", "cas k 0 0 1 7\r\nx\r\n" + get, []string{"k", "a"}, ""},
		{"data that is cut", get + set[:len(set)-1], []string{"a"}, set[:len(set)-1]},
		{"no key", get + "mn\r\n" + get, []string{"a"}, "mn\r\n" + get},
		{"a get without a key", "get\r\n" + get, nil, "get\r\n" + get},
		{"a line as a person ends it", "get a\n" + get, nil, "get a\n" + get},
		{"a size that is none", "set a 0 0 -1\r\n" + get, nil, "set a 0 0 -1\r\n" + get},
		{"a size that is absent", "set a 0\r\n" + get, nil, "set a 0\r\n" + get},
		{"a size beyond everything", "ms a 2147483647\r\n" + get, nil, "ms a 2147483647\r\n" + get},
		{"a long list", long + get, nil, long + get},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var keys [3][]byte
			n, end := PeekKeys([]byte(tc.in), keys[:])
			var got []string
			for _, key := range keys[:n] {
				got = append(got, string(key))
			}
			assert.Equal(t, tc.want, got)
			assert.Equal(t, tc.rest, tc.in[end:])
		})
	}
}

// What is peeked at is what is decoded then, as long as nothing is wrong with it.
func FuzzPeekKeys(f *testing.F) {
	f.Add([]byte("get a\r\nset b 0 0 1\r\nx\r\nmg c v\r\n"))
	f.Add([]byte("gat 1 a b\r\nms k 1 b\r\nx\r\n"))
	f.Add([]byte("get a\r\nmn\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var keys [4][]byte
		n, end := PeekKeys(b, keys[:])
		require.LessOrEqual(t, end, len(b))
		var r Requests
		var m Command
		pos := 0
		for _, key := range keys[:n] {
			size, err := r.Decode(b[pos:], &m)
			if err != nil || m.Err != "" || bytes.IndexByte(b[pos:pos+size], 0) >= 0 {
				return
			}
			first := m.Key
			if m.Verb == Get || m.Verb == Gets || m.Verb == Gat || m.Verb == Gats {
				first, _ = NextKey(m.Keys)
			}
			if !m.Meta.Has('b') {
				require.Equal(t, string(first), string(key))
			}
			pos += size
		}
		require.Equal(t, pos, end)
	})
}
