package resp_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/codec/codectest"
	"github.com/protoring/protoring/codec/resp"
)

func describeCommand(m *resp.Command) string {
	if m.Err != "" {
		return fmt.Sprintf("%d args, %q", len(m.Args), string(m.Err))
	}
	return fmt.Sprintf("%q", m.Args)
}

// requests are cases with their commands; an error ends those of its case.
var requests = []struct {
	name string
	in   string
	want []string
}{
	{"command", "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n", []string{`["GET" "key"]`}},
	{"pipeline", "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPONG\r\n", []string{`["PING"]`, `["PONG"]`}},
	{"empty argument", "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", []string{`["ECHO" ""]`}},
	{"line ends within an argument", "*1\r\n$4\r\n\r\n\r\n\r\n", []string{`["\r\n\r\n"]`}},
	{"length of three digits", "*1\r\n$100\r\n" + strings.Repeat("x", 100) + "\r\n", []string{`["` + strings.Repeat("x", 100) + `"]`}},
	{"no arguments", "*0\r\n*-1\r\n*-99\r\n*1\r\n$1\r\nx\r\n", []string{`["x"]`}},
	{"only the carriage return is looked for", "*1\r?$1\r?x??*1\r\n$1\r\ny\r\n", []string{`["x"]`, `["y"]`}},
	{"inline", "GET key\r\nSET  a\tb \n", []string{`["GET" "key"]`, `["SET" "a" "b"]`}},
	{"empty lines", "\r\n\n  \r\nPING\r\n\r\n", []string{`["PING"]`}},
	{"inline and array", "PING\r\n*1\r\n$4\r\nPONG\r\nPING\r\n", []string{`["PING"]`, `["PONG"]`, `["PING"]`}},
	{"double quotes", `a "b c" "\n\r\t\b\a\x41\xzz\"\\\q"` + "\r\n", []string{`["a" "b c" "\n\r\t\b\aAxzz\"\\q"]`}},
	{"single quotes", `a 'b "c' 'it\'s' '\n'` + "\r\n", []string{`["a" "b \"c" "it's" "\\n"]`}},
	{"empty quotes", `a "" ''` + "\r\n", []string{`["a" "" ""]`}},
	{"quotes within a word", `a b"c d" e'f'` + "\r\n", []string{`["a" "bc d" "ef"]`}},
	{"vertical tab", "a\vb \vc\r\n", []string{`["a\vb" "c"]`}},
	{"vertical tab behind quotes", "a \"b\"\vc\r\n", []string{`["a" "b" "c"]`}},
	{"carriage returns", "a\rb\r\r\n", []string{`["a" "b"]`}},
	{"escape at the end", `a "b\` + "\r\n", []string{unbalanced}},
	{"open double quotes", `a "b` + "\r\n", []string{unbalanced}},
	{"open single quotes", `a 'b\'` + "\r\n", []string{unbalanced}},
	{"text behind double quotes", `a "b"c` + "\r\n", []string{unbalanced}},
	{"text behind single quotes", `a 'b'c` + "\r\n", []string{unbalanced}},
	{"quotes behind quotes", `a "b""c"` + "\r\n", []string{unbalanced}},
	{"error after a command", "PING\r\n\"\r\nPING\r\n", []string{`["PING"]`, unbalanced}},
	{"count is no number", "*x\r\n", []string{badCount}},
	{"count is empty", "*\r\n", []string{badCount}},
	{"count with zeros", "*01\r\n$1\r\nx\r\n", []string{badCount}},
	{"count with plus", "*+1\r\n$1\r\nx\r\n", []string{badCount}},
	{"count is minus zero", "*-0\r\n", []string{badCount}},
	{"count is minus and zeros", "*-01\r\n", []string{badCount}},
	{"count with a space", "* 1\r\n", []string{badCount}},
	{"count beyond int", "*2147483648\r\n", []string{badCount}},
	{"count beyond int64", "*9223372036854775808\r\n", []string{badCount}},
	{"least count", "*-9223372036854775808\r\nPING\r\n", []string{`["PING"]`}},
	{"below the least count", "*-9223372036854775809\r\n", []string{badCount}},
	{"count of a hundred digits", "*" + strings.Repeat("1", 100) + "\r\n", []string{badCount}},
	{"no dollar", "*1\r\nx\r\n", []string{noDollar('x')}},
	{"count in place of length", "*1\r\n*1\r\n", []string{noDollar('*')}},
	{"empty line in place of length", "*1\r\n\r\n", []string{noDollar(' ')}},
	{"line feed in place of length", "*1\r\n\n\r\n", []string{noDollar(' ')}},
	{"argument longer than its length", "*2\r\n$3\r\nGETX\r\n$1\r\nx\r\n", []string{noDollar(' ')}},
	{"length is no number", "*1\r\n$x\r\n", []string{badLength}},
	{"length is empty", "*1\r\n$\r\n", []string{badLength}},
	{"length is negative", "*1\r\n$-1\r\n", []string{badLength}},
	{"length with zeros", "*1\r\n$00\r\n\r\n", []string{badLength}},
	{"length beyond 512 MiB", "*1\r\n$536870913\r\n", []string{badLength}},
	{"length beyond int64", "*1\r\n$9223372036854775808\r\n", []string{badLength}},
	{"length is bad in a later argument", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$x\r\n", []string{badLength}},
	{"dollar is looked at first", "*1\r\nx1x\r\n", []string{noDollar('x')}},
	{"inline too big", strings.Repeat("x", 65537), []string{tooBigInline}},
	{"count too big", "*" + strings.Repeat("1", 65536), []string{tooBigCount}},
	{"length too big", "*1\r\n$" + strings.Repeat("1", 65536), []string{tooBigLength}},
	{"length without dollar too big", "*1\r\n" + strings.Repeat("1", 65537), []string{tooBigLength}},
}

const (
	unbalanced   = `0 args, "ERR Protocol error: unbalanced quotes in request"`
	badCount     = `0 args, "ERR Protocol error: invalid multibulk length"`
	badLength    = `0 args, "ERR Protocol error: invalid bulk length"`
	tooBigInline = `0 args, "ERR Protocol error: too big inline request"`
	tooBigCount  = `0 args, "ERR Protocol error: too big mbulk count string"`
	tooBigLength = `0 args, "ERR Protocol error: too big bulk count string"`
)

func noDollar(c byte) string {
	return fmt.Sprintf(`0 args, "ERR Protocol error: expected '$', got '%c'"`, c)
}

func TestRequests(t *testing.T) {
	for _, tt := range requests {
		t.Run(tt.name, func(t *testing.T) {
			dec := resp.Requests{DeliverErrors: true}
			var m resp.Command
			var got []string
			for b := []byte(tt.in); len(b) > 0; {
				n, err := dec.Decode(b, &m)
				if err == codec.More {
					break
				}
				if err != codec.Skip {
					require.NoError(t, err)
					got = append(got, describeCommand(&m))
				}
				b = b[n:]
			}
			require.Equal(t, tt.want, got)
		})
	}
}

// Without DeliverErrors a protocol error is an error of Decode, with the text for the peer.
func TestRequestsError(t *testing.T) {
	var dec resp.Requests
	var m resp.Command
	_, err := dec.Decode([]byte("*1\r\nx\r\n"), &m)
	var perr resp.ProtocolError
	require.ErrorAs(t, err, &perr)
	require.Equal(t, "-ERR Protocol error: expected '$', got 'x'\r\n", string(resp.Replies{}.Encode(nil, perr.Reply())))
}

func TestRequestsLimits(t *testing.T) {
	dec := resp.Requests{MaxArgs: 2, MaxBulk: 3, MaxInline: 8}
	tests := []struct{ in, want string }{
		{"*2\r\n$3\r\nabc\r\n$0\r\n\r\n", ""},
		{"*3\r\n", "resp: ERR Protocol error: invalid multibulk length"},
		{"*1\r\n$4\r\n", "resp: ERR Protocol error: invalid bulk length"},
		{"12345678\n", ""},
		{"123456789\n", "resp: ERR Protocol error: too big inline request"},
		{"123456789", "resp: ERR Protocol error: too big inline request"},
		{"*2345678901234567890", "codec: more bytes are needed"},
		{"*23456789012345678901", "resp: ERR Protocol error: too big mbulk count string"},
	}
	unauthenticated := []struct{ in, want string }{
		{"*2\r\n$3\r\nabc\r\n$0\r\n\r\n", ""},
		{"*10\r\n", "codec: more bytes are needed"},
		{"*11\r\n", "resp: ERR Protocol error: unauthenticated multibulk length"},
		{"*2147483647\r\n", "resp: ERR Protocol error: unauthenticated multibulk length"},
		{"*2147483648\r\n", "resp: ERR Protocol error: invalid multibulk length"},
		{"*1\r\n$16384\r\n", "codec: more bytes are needed"},
		{"*1\r\n$16385\r\n", "resp: ERR Protocol error: unauthenticated bulk length"},
		{"*1\r\n$536870912\r\n", "resp: ERR Protocol error: unauthenticated bulk length"},
		{"*1\r\n$536870913\r\n", "resp: ERR Protocol error: invalid bulk length"},
	}
	testLimits(t, dec, tests)
	testLimits(t, resp.Requests{Unauthenticated: true}, unauthenticated)
}

func testLimits(t *testing.T, dec resp.Requests, tests []struct{ in, want string }) {
	t.Helper()
	for _, tt := range tests {
		dec := dec
		var m resp.Command
		_, err := dec.Decode([]byte(tt.in), &m)
		if tt.want == "" {
			require.NoError(t, err, tt.in)
		} else {
			require.EqualError(t, err, tt.want, tt.in)
		}
	}
}

// More names the size as soon as it is known.
func TestRequestsNeed(t *testing.T) {
	tests := []struct {
		in   string
		need int
	}{
		{"*", 0},
		{"*2\r", 4},
		{"*2\r\n", 0},
		{"*2\r\n$3", 0},
		{"*2\r\n$3\r", 8},
		{"*2\r\n$3\r\n", 13},
		{"*2\r\n$3\r\nGET\r", 13},
		{"*2\r\n$3\r\nGET\r\n$1000\r\n", 1022},
		{"PING", 0},
		{"PING\r", 0},
	}
	for _, tt := range tests {
		var dec resp.Requests
		var m resp.Command
		n, err := dec.Decode([]byte(tt.in), &m)
		require.Equal(t, codec.More, err, tt.in)
		require.Equal(t, tt.need, n, tt.in)
	}
}

func requestsConfig() codectest.Config[resp.Command] {
	size := codectest.LargePages * os.Getpagesize()
	cfg := codectest.Config[resp.Command]{
		New:      func() codec.Decoder[resp.Command] { return &resp.Requests{DeliverErrors: true} },
		Describe: describeCommand,
		Large: [][]byte{
			manyArgs(size / 7),
			resp.AppendCommand(nil, "SET", "key", strings.Repeat("v", size)),
			bytes.Repeat([]byte("*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"), size/20),
			bytes.Repeat([]byte("GET key \"in quotes\"\r\n"), size/20),
			[]byte("*2\r\n$" + strings.Repeat("1", size)),
		},
	}
	for _, tt := range requests {
		if len(tt.in) < 1000 {
			cfg.Transcripts = append(cfg.Transcripts, []byte(tt.in))
		}
	}
	return cfg
}

// manyArgs is a command of n arguments of one byte.
func manyArgs(n int) []byte {
	b := []byte("*" + strconv.Itoa(n) + "\r\n")
	return append(b, bytes.Repeat([]byte("$1\r\nx\r\n"), n)...)
}

func TestRequestsContract(t *testing.T) {
	codectest.Run(t, requestsConfig())

	closing := requestsConfig() // with errors that close
	closing.New = func() codec.Decoder[resp.Command] { return &resp.Requests{} }
	closing.Large = nil
	codectest.Run(t, closing)

	small := requestsConfig() // limits are met in the middle of everything
	small.New = func() codec.Decoder[resp.Command] { return &resp.Requests{MaxArgs: 2, MaxBulk: 3, MaxInline: 4} }
	small.Large = nil
	codectest.Run(t, small)

	inline := requestsConfig() // a long line, which Redis' limit forbids
	inline.New = func() codec.Decoder[resp.Command] { return &resp.Requests{MaxInline: 1 << 30} }
	inline.Large = [][]byte{[]byte("ECHO \"" + strings.Repeat("x ", codectest.LargePages*os.Getpagesize()/2) + "\"\r\n")}
	codectest.Run(t, inline)
}

func FuzzRequests(f *testing.F) { codectest.Fuzz(f, requestsConfig()) }

// FuzzRequestsMemory bounds what a decoder allocates for what it was given.
func FuzzRequestsMemory(f *testing.F) {
	for _, tt := range requests {
		f.Add([]byte(tt.in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		dec := resp.Requests{DeliverErrors: true}
		var m resp.Command
		given := len(b)
		got := allocated(func() {
			for len(b) > 0 {
				n, err := dec.Decode(b, &m)
				if err == codec.More {
					break
				}
				b = b[n:]
			}
		})
		if got > uint64(64*given+1<<16) {
			t.Fatalf("%d bytes allocated for %d", got, given)
		}
	})
}

// allocated returns the bytes that f allocates, and what else happens to be allocated meanwhile.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// What a peer announces takes no memory.
func TestRequestsMemory(t *testing.T) {
	var dec resp.Requests
	var m resp.Command
	b := []byte("*1048576\r\n$1\r\nx\r\n$536870912\r\n")
	require.Less(t, allocated(func() {
		for i := range b {
			_, err := dec.Decode(b[:i+1], &m)
			require.Equal(t, codec.More, err)
		}
	}), uint64(64<<10))
	require.LessOrEqual(t, unsafe.Sizeof(dec), uintptr(64), "each connection has one")
}

// The memory of a large command is given back with the next small one.
func TestCommandMemory(t *testing.T) {
	var dec resp.Requests
	var m resp.Command
	_, err := dec.Decode(manyArgs(100_000), &m)
	require.NoError(t, err)
	require.Len(t, m.Args, 100_000)
	_, err = dec.Decode([]byte("PING\r\n"), &m)
	require.NoError(t, err)
	require.Less(t, cap(m.Args), 5000)
	_, err = dec.Decode(manyArgs(100_000), &m)
	require.NoError(t, err)
	_, err = dec.Decode(manyArgs(1), &m)
	require.NoError(t, err)
	require.Less(t, cap(m.Args), 5000)
}

func TestRequestsAllocs(t *testing.T) {
	pipeline := []byte("*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n" + "GET \"quoted key\"\r\n" + "\r\n*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n*2\r\n$3\r\nGET")
	var dec resp.Requests
	var m resp.Command
	require.Zero(t, testing.AllocsPerRun(100, func() {
		dec = resp.Requests{} // the cut command is left alone
		for b := pipeline; ; {
			n, err := dec.Decode(b, &m)
			if err == codec.More {
				break
			}
			b = b[n:]
		}
	}))
}

func BenchmarkRequests(b *testing.B) {
	benchmarks := []struct {
		name    string
		command []byte
	}{
		{"GET", resp.AppendCommand(nil, "GET", "key:000000012345")},
		{"GET-3", resp.AppendCommand(nil, "GET", "key")},
		{"SET-64", resp.AppendCommand(nil, "SET", "key:000000012345", strings.Repeat("v", 64))},
		{"SET-1024", resp.AppendCommand(nil, "SET", "key:000000012345", strings.Repeat("v", 1024))},
		{"inline", []byte("GET key:000000012345\r\n")},
		{"MGET-100", resp.AppendCommand(nil, strings.Fields("MGET"+strings.Repeat(" key:000000012345", 100))...)},
	}
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			pipeline := bytes.Repeat(bb.command, 1+16384/len(bb.command))
			var dec codec.Decoder[resp.Command] = &resp.Requests{}
			var m resp.Command
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

// A command of 400,000 arguments in pieces of 4 KiB: the attack that resumable decoding is for.
func BenchmarkRequestsPieces(b *testing.B) {
	command := manyArgs(400_000)
	for b.Loop() {
		var dec resp.Requests
		var m resp.Command
		for end := 4096; ; end += 4096 {
			n, err := dec.Decode(command[:min(end, len(command))], &m)
			if err == nil && n == len(command) {
				break
			}
			if err != codec.More {
				b.Fatal(err)
			}
		}
	}
}
