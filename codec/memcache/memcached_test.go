package memcache_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/codec/memcache"
)

// startMemcached starts a memcached for t and returns its address.
func startMemcached(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("memcached")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%v: CI must have it", err)
		}
		t.Skip("memcached is not in PATH: nothing to compare with")
	}
	out, err := exec.Command(path, "--version").Output()
	require.NoError(t, err)
	if got := strings.TrimSpace(string(out)); got != "memcached 1.6.18" {
		t.Skipf("%s is not 1.6.18, which this package is like", got)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	me, err := user.Current()
	require.NoError(t, err)
	cmd := exec.Command(path, "-p", port, "-U", "0", "-l", "127.0.0.1", "-t", "1", "-u", me.Username)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) { // nothing else tells that it listens
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
		require.True(t, time.Now().Before(deadline), "memcached does not listen")
	}
}

// ask sends b over a new connection, ends the input, and returns all that comes back.
func ask(t *testing.T, addr string, b []byte) (got []byte) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	if _, err = c.Write(b); err == nil {
		_ = c.(*net.TCPConn).CloseWrite()
	}
	got, _ = io.ReadAll(c) // a reset ends it as well
	return got
}

// noops end data that is shorter than was said, and are counted.
var noops = strings.Repeat("mn\r\n", 100)

// expect returns the errors that are answered for b, in their order, how many mn there are, and whether the connection ends early.
func expect(b []byte) (errs []string, noops int, ends bool) {
	var dec memcache.Requests
	var m memcache.Command
	for len(b) > 0 {
		n, err := dec.Decode(b, &m)
		switch {
		case err == codec.More:
			return errs, noops, false
		case err == codec.Skip:
		case err != nil:
			return errs, noops, true
		case m.Err != "" && !m.Noreply:
			errs = append(errs, string(m.Err))
		case m.Err == "" && m.Verb == memcache.MetaGet && m.Meta.LongOpaque:
			errs = append(errs, string(memcache.ErrOpaque))
		case m.Err == "" && m.Verb == memcache.MetaNoop:
			noops++
		case m.Err == "" && m.Verb == memcache.Quit:
			return errs, noops, true
		}
		b = b[min(n, len(b)):]
	}
	return errs, noops, false
}

// compare sends b to memcached, which must find the same errors in it. Errors that depend on what is stored are left out.
func compare(t *testing.T, addr string, b []byte) {
	t.Helper()
	b = append(bytes.Clone(b), noops...)
	errs, count, ends := expect(b)
	answers := strings.Split(string(ask(t, addr, b)), "\r\n")
	var got []string
	gotCount := 0
	for _, line := range answers {
		switch {
		case line == "MN":
			gotCount++
		case line == string(memcache.ErrNoNumber), strings.HasPrefix(line, "ERROR:"), line == "CLIENT_ERROR usage: stats detail on|off|dump":
		case strings.HasPrefix(line, "ERROR"), strings.HasPrefix(line, "CLIENT_ERROR"), strings.HasPrefix(line, "SERVER_ERROR"):
			got = append(got, line)
		}
	}
	if ends { // what memcached has not sent by then is lost
		require.LessOrEqual(t, len(got), len(errs), "%.2000q", b)
		require.LessOrEqual(t, gotCount, count)
		errs = errs[:len(got)]
		count = gotCount
	}
	require.Equal(t, errs, got, "%.2000q", b)
	require.Equal(t, count, gotCount, "%.2000q", b)
}

// Boundaries and errors are those of memcached, for broken input too.
func TestMemcachedErrors(t *testing.T) {
	addr := startMemcached(t)
	for _, in := range requests {
		if in[0] == '\x80' || strings.HasPrefix(in, "set k 0 0 2000000") || strings.Contains(in, "ms k 2000000") || strings.Contains(in, "slabs") ||
			strings.Contains(in, "stats") || strings.Contains(in, "xxxxxxxxxx") && len(in) > 2000 || strings.Contains(in, strings.Repeat(" ", 2000)) {
			continue // another protocol, more data than there is, answers of the server, lines whose fate depends on how they arrive
		}
		compare(t, addr, []byte(in))
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	words := []string{"set", "add", "cas", "get", "gets", "gat", "incr", "decr", "touch", "delete", "mg", "ms", "md", "ma", "me", "mn",
		"k", "a", "0", "1", "2", "5", "-1", "x", "noreply", "b", "v", "T0", "MS", "q", "O1", "C5", "I", "F1", "\t3", "4294967297", "\x00", "\r", "\xff",
		"Zm9v", "verbosity", "flush_all", "version"}
	rounds := 1000
	if testing.Short() {
		rounds = 300
	}
	for range rounds {
		b := []byte("mn\r\n") // not the binary protocol
		for range 1 + r.IntN(8) {
			for range 1 + r.IntN(8) {
				b = append(b, words[r.IntN(len(words))]...)
				b = append(b, ' ')
			}
			if r.IntN(2) == 0 {
				b = b[:len(b)-1]
			}
			b = append(b, []string{"\r\n", "\r\n", "\n", "\r\r\n"}[r.IntN(4)]...)
			if r.IntN(2) == 0 {
				b = append(b, []string{"a\r\n", "ab\r\n", "\r\n", "abcde\r\n"}[r.IntN(4)]...)
			}
		}
		compare(t, addr, b)
	}
}

// What is too large is swallowed, and the connection goes on.
func TestMemcachedTooLarge(t *testing.T) {
	addr := startMemcached(t)
	for _, extra := range []int{-2, -1, 0, 1, 2} {
		for _, head := range []string{"set key 0 0 %", "set key 5 0 %", "set key 0 0 % noreply", "ms key % q", "ms a2V5 % b F5"} {
			size := 1<<20 - memcache.ItemSize(3, 0, 0) + extra
			b := []byte(strings.ReplaceAll(head, "%", strconv.Itoa(size)) + "\r\n" + strings.Repeat("v", size) + "\r\n")
			compare(t, addr, b)
		}
	}
}

// A client's codec understands what memcached answers.
func TestMemcachedAnswers(t *testing.T) {
	addr := startMemcached(t)
	var enc memcache.RequestEncoder
	var b []byte
	for _, r := range []memcache.Request{
		memcache.Store("set a 5 0 4", []byte("da\r\n")), memcache.Do("get a b"), memcache.Do("gets a"), memcache.Do("incr a 1"), memcache.Do("mg a v f"),
		memcache.Store("ms b 2 c", []byte("10")), memcache.Do("incr b 5"), memcache.Do("me b"), memcache.Do("stats"), memcache.Do("mn"), memcache.Do("foo"),
	} {
		b = enc.Encode(b, r)
	}
	rest := ask(t, addr, b)
	var dec memcache.ReplyDecoder
	var m memcache.Answer
	var got []string
	for len(rest) > 0 {
		n, err := dec.Decode(rest, &m)
		require.NoError(t, err)
		text := string(m.Line)
		for _, it := range m.Items {
			if len(m.Items) < 10 {
				text += " " + string(it.Key) + "=" + string(it.Data)
			}
		}
		if strings.HasPrefix(text, "HD c") {
			text = "HD c" // and a number
		}
		got = append(got, text)
		rest = rest[n:]
	}
	require.Len(t, got, 11)
	require.Equal(t, []string{"STORED", "END a=da\r\n", "END a=da\r\n", string(memcache.ErrNoNumber), "VA 4 f5 =da\r\n"}, got[:5])
	require.Equal(t, []string{"HD c", "15"}, got[5:7])
	require.Contains(t, got[7], "ME b exp=-1")
	require.Equal(t, []string{"END", "MN", "ERROR"}, got[8:])
}

// Base64 is what memcached makes of it.
func TestMemcachedKeys(t *testing.T) {
	addr := startMemcached(t)
	r := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		key := make([]byte, 1+r.IntN(180))
		for i := range key {
			key[i] = byte(r.Uint32())
		}
		coded := string(memcache.AppendKey(nil, key))
		got := ask(t, addr, []byte("ms "+coded+" 1 b k\r\nx\r\nmg "+coded+" b k\r\nmd "+coded+" b q\r\n"))
		require.Equal(t, "HD k"+coded+" b\r\nHD k"+coded+" b\r\n", string(got))
		var m memcache.Command
		_, err := new(memcache.Requests).Decode([]byte("mg "+coded+" b\r\n"), &m)
		require.NoError(t, err)
		require.Equal(t, key, m.Key)
	}
}
