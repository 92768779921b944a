package resp

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPeekKeys(t *testing.T) {
	const get, set = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "*3\r\n$3\r\nSET\r\n$2\r\nbc\r\n$5\r\nvalue\r\n"
	tests := []struct {
		name, in string
		want     []string
		rest     string
	}{
		{"nothing", "", nil, ""},
		{"one", get, []string{"a"}, ""},
		{"two and a part", get + set + get[:len(get)-1], []string{"a", "bc"}, get[:len(get)-1]},
		{"more than there is room for", get + get + get + get, []string{"a", "a", "a"}, get},
		{"a command without arguments", get + "*1\r\n$4\r\nPING\r\n" + get, []string{"a"}, "*1\r\n$4\r\nPING\r\n" + get},
		{"an inline command", "GET a\r\n" + get, nil, "GET a\r\n" + get},
		{"many arguments", "*9\r\n" + strings.Repeat("$1\r\nx\r\n", 9), nil, "*9\r\n" + strings.Repeat("$1\r\nx\r\n", 9)},
		{"an odd length", "*2\r\n$3\r\nGET\r\n$-1\r\n", nil, "*2\r\n$3\r\nGET\r\n$-1\r\n"},
		{"a length beyond everything", "*2\r\n$3\r\nGET\r\n$999999999999999999\r\na\r\n", nil, "*2\r\n$3\r\nGET\r\n$999999999999999999\r\na\r\n"},
		{"an empty key", "*2\r\n$3\r\nGET\r\n$0\r\n\r\n", []string{""}, ""},
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

// What is peeked at is what is decoded then.
func FuzzPeekKeys(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\na\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\nc\r\n"))
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING\r\n"))
	f.Add([]byte("*02\r\n$3\r\nGET\r\n$01\r\na\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var keys [4][]byte
		n, end := PeekKeys(b, keys[:])
		var r Requests
		var m Command
		pos := 0
		for _, key := range keys[:n] {
			size, err := r.Decode(b[pos:], &m)
			require.NoError(t, err)
			require.Equal(t, string(m.Args[1]), string(key))
			pos += size
		}
		require.Equal(t, pos, end)
	})
}
