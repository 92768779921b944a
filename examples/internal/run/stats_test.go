package run

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/server"
)

// answer is that of Stats, as a reader has it that does not know server.Stats.
type answer struct {
	Engine string
	Loops  []map[string]uint64
	Total  map[string]uint64
}

func decode(t *testing.T, r io.Reader) (a answer) {
	t.Helper()
	require.NoError(t, json.NewDecoder(r).Decode(&a))
	fields := reflect.TypeFor[server.Stats]()
	for _, counts := range append(a.Loops, a.Total) {
		require.Len(t, counts, fields.NumField())
		for i := range fields.NumField() {
			require.Contains(t, counts, fields.Field(i).Name)
		}
	}
	return a
}

func TestStatsBeforeServe(t *testing.T) {
	s, err := server.New(server.Config{Loops: 2})
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, "auto", decode(t, bytes.NewReader(Stats(s))).Engine)
}

// lines takes a log while others read it.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) find(expr string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return regexp.MustCompile(expr).FindStringSubmatch(l.text.String())
}

// TestStatsFlag has the example serve with -stats, talks to it, and asks for what it has counted.
func TestStatsFlag(t *testing.T) {
	procs := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(procs) // run raises it
	var log lines
	status := make(chan int, 1)
	go func() { status <- example.run([]string{"-loops", "2", "-stats", "127.0.0.1:0"}, &log) }()
	require.Eventually(t, func() bool { return log.find("example listens") != nil }, 10*time.Second, time.Millisecond)
	addr, stats := log.find(`listens" addr=(\S+)`)[1], log.find(`stats=(\S+)`)[1]
	require.True(t, strings.HasSuffix(stats, StatsPath))

	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "hello")
	require.NoError(t, err)
	_, err = io.ReadFull(c, make([]byte, 5))
	require.NoError(t, err)

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	require.Eventually(t, func() bool { // a loop publishes what it counts before it sleeps
		r, err := client.Get(stats)
		require.NoError(t, err)
		defer r.Body.Close()
		a := decode(t, r.Body)
		require.Contains(t, []string{"io_uring", "epoll"}, a.Engine)
		require.Len(t, a.Loops, 2)
		for name, sum := range a.Total {
			require.Equal(t, sum, a.Loops[0][name]+a.Loops[1][name], name)
		}
		return a.Total["BytesOut"] == 5 && a.Total["Messages"] == 1 && a.Total["Conns"] == 1 && a.Total["Enters"] > 0
	}, 10*time.Second, 10*time.Millisecond)
	r, err := client.Post(stats, "", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusMethodNotAllowed, r.StatusCode)
	require.NoError(t, r.Body.Close())
	r, err = client.Get(strings.TrimSuffix(stats, StatsPath) + "/other")
	require.NoError(t, err)
	require.Equal(t, http.StatusNotFound, r.StatusCode)
	require.NoError(t, r.Body.Close())

	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
	require.Equal(t, 0, <-status)
	_, err = client.Get(stats) //nolint:bodyclose // there is none
	require.ErrorIs(t, err, syscall.ECONNREFUSED, "it ends with the server")
}
