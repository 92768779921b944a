package load_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/protoring/protoring/bench/load"
	"github.com/stretchr/testify/require"
)

// counting is an echo that tells what it has counted, as a server on protoring does, with two loops of which one does nothing.
func counting(t *testing.T) (addr, url string) {
	var messages, conns, asked atomic.Int64
	addr = serve(t, "tcp", func(c net.Conn) {
		conns.Add(1)
		defer conns.Add(-1)
		b := make([]byte, 64)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			messages.Add(1)
			_, _ = c.Write(b)
		}
	})
	tells := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprintf(w, `{"engine":"io_uring","news":1,"loops":[{"Messages":%[1]d,"Asked":0,"Conns":%[2]d},{"Messages":0,"Asked":%[3]d,"Conns":0}],
			"total":{"Messages":%[1]d,"Asked":%[3]d,"Conns":%[2]d}}`, messages.Load(), conns.Load(), asked.Load())
	}))
	t.Cleanup(tells.Close)
	return addr, tells.URL + "/stats"
}

func TestStats(t *testing.T) {
	for _, warmup := range []time.Duration{-1, 200 * time.Millisecond} {
		addr, url := counting(t)
		cfg := load.Config{Addr: addr, StatsURL: url, Rate: 1000, Conns: 5, Duration: 500 * time.Millisecond, Warmup: warmup}
		oneOf(t, func(t require.TestingT) {
			round, err := load.Run(context.Background(), cfg)
			require.NoError(t, err)
			s := round.Stats
			require.NotNil(t, s)
			require.Equal(t, "io_uring", s.Engine)
			require.InDelta(t, 0.53, s.Seconds, 0.1, "from a moment before the measured time, to its end")
			require.InDelta(t, 1000*s.Seconds, s.Total["Messages"], 50, "those of the warm-up are not among them")
			conns := s.Total["Conns"]
			if warmup > 0 {
				require.EqualValues(t, 5, conns, "as it was, and no difference")
			}
			require.Equal(t, map[string]int64{"Messages": s.Total["Messages"], "Asked": 1, "Conns": conns}, s.Total)
			require.Equal(t, []map[string]int64{{"Messages": s.Total["Messages"], "Asked": 0, "Conns": conns}, {"Messages": 0, "Asked": 1, "Conns": 0}}, s.Loops)
		})
	}
	require.Nil(t, measure(t, load.Config{Addr: serve(t, "tcp", echo), Conns: 1, Duration: 50 * time.Millisecond, Warmup: -1}).Stats, "nobody was asked")
}

// What cannot be read is said before there is any load: the server sees no connection.
func TestStatsUnreadable(t *testing.T) {
	var connected atomic.Bool
	addr := serve(t, "tcp", func(net.Conn) { connected.Store(true) })
	answers := func(status int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	for _, c := range []struct{ url, want string }{
		{"http://127.0.0.1:1/stats", "the server's statistics at http://127.0.0.1:1/stats: connection refused"},
		{answers(http.StatusNotFound, ""), ": it answers 404 Not Found"},
		{answers(http.StatusOK, "<html>"), ": the answer is none of a server on protoring (see -stats of its examples)"},
		{answers(http.StatusOK, `{"total":{}}`), ": the answer is none of a server on protoring (see -stats of its examples)"},
		{answers(http.StatusOK, `{"total":{"Messages":"many"}}`), ": the answer is none of a server on protoring (see -stats of its examples)"},
		{"127.0.0.1:9100", `statistics at "127.0.0.1:9100": want a URL such as http://127.0.0.1:9100/stats`},
		{"http://", `statistics at "http://": want a URL such as http://127.0.0.1:9100/stats`},
	} {
		round, err := load.Run(context.Background(), load.Config{Addr: addr, StatsURL: c.url, Duration: time.Minute})
		require.ErrorContains(t, err, c.want)
		require.NotContains(t, err.Error(), "\n")
		require.Nil(t, round)
	}
	require.False(t, connected.Load())
}

// A server whose statistics end before the load does has been measured all the same.
func TestStatsEnd(t *testing.T) {
	var asked atomic.Int64
	tells := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) > 2 { // before the load, and before the measured time
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprint(w, `{"engine":"epoll","loops":[],"total":{"Messages":1}}`)
	}))
	defer tells.Close()
	round, err := load.Run(context.Background(), load.Config{Addr: serve(t, "tcp", echo), StatsURL: tells.URL, Conns: 2, Duration: 100 * time.Millisecond,
		Warmup: 50 * time.Millisecond})
	require.ErrorContains(t, err, "it answers 503 Service Unavailable")
	require.Positive(t, round.Ops)
	require.Nil(t, round.Stats)
}
