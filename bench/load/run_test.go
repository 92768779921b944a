package load_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/protoring/protoring/bench/load"
	"github.com/protoring/protoring/bench/result"
	"github.com/stretchr/testify/require"
)

func measure(t *testing.T, cfg load.Config) *result.Round {
	t.Helper()
	round, err := load.Run(context.Background(), cfg)
	require.NoError(t, err)
	require.Empty(t, round.Errors, round.Error)
	return round
}

// oneOf passes if one of a few tries does: whatever else the machine does may spoil some of them, and a fault spoils all.
func oneOf(t *testing.T, try func(t require.TestingT)) {
	t.Helper()
	const tries = 5
	for range tries - 1 {
		s := &silent{}
		done := make(chan bool)
		go func() {
			defer close(done)
			try(s)
		}()
		if <-done; !s.failed {
			return
		}
	}
	try(t)
}

// silent is a test that may fail.
type silent struct{ failed bool }

func (s *silent) Errorf(string, ...any) { s.failed = true }
func (s *silent) FailNow() {
	s.failed = true
	runtime.Goexit()
}

func TestClosedLoop(t *testing.T) {
	cases := []load.Config{
		{Proto: "echo", Conns: 1},
		{Proto: "echo", Conns: 50, Depth: 16},
		{Proto: "echo", Conns: 3, Depth: 7, Size: 1000},
		{Proto: "echo", Conns: 4, Depth: 3, Size: 1 << 20},
		{Proto: "echo", Conns: 1000, Size: 16},
		{Proto: "echo", Conns: 8, Depth: 4, Threads: 3, Idle: 20},
		{Proto: "resp", Conns: 5, Depth: 4, Keys: 100, Sets: 1},
		{Proto: "resp", Conns: 5, Depth: 4, Keys: 100, Gets: 3, Sets: 1, Zipf: true},
		{Proto: "resp", Conns: 2, Size: 100_000, Keys: 100, Gets: 1, Sets: 1},
		{Proto: "resp", Conns: 5, Depth: 128},
		{Proto: "memcache", Conns: 5, Depth: 4, Keys: 100, Gets: 1, Sets: 1},
		{Proto: "memcache", Conns: 2, Depth: 4, Keys: 10, Size: 10_000, Gets: 1, Sets: 1},
	}
	for _, cfg := range cases {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(cfg.Proto+" "+network+" "+strconv.Itoa(cfg.Conns)+"x"+strconv.Itoa(cfg.Depth)+" "+strconv.Itoa(cfg.Size), func(t *testing.T) {
				cfg.Addr, cfg.Duration, cfg.Warmup = serve(t, network, servers[cfg.Proto]()), 150*time.Millisecond, -1
				if cfg.Conns >= 1000 || cfg.Size >= 1<<20 {
					cfg.Duration *= 4
				}
				r := measure(t, cfg)
				require.Positive(t, r.Ops)
				require.Equal(t, r.Ops, r.Latency.Count)
				require.Positive(t, r.Latency.P50)
				require.LessOrEqual(t, r.Latency.P50, r.Latency.P99)
				require.LessOrEqual(t, r.Latency.P99, r.Latency.Max)
				require.Positive(t, r.Generator.CPUSeconds)
				require.NotZero(t, r.Bytes.Sent)
				require.NotZero(t, r.Bytes.Received)
				require.NotNil(t, r.Server, "the server is this process")
				sum := int64(0)
				for _, i := range r.Intervals {
					sum += i.Ops
				}
				require.Equal(t, r.Ops, sum)
			})
		}
	}
}

// The achieved rate is the offered one within a thousandth, as long as the server follows.
func TestRateIsKept(t *testing.T) {
	for _, cfg := range []load.Config{
		{Rate: 2000, Conns: 10},
		{Rate: 5000, Conns: 7, Threads: 2},
		{Rate: 3000, Conns: 4, Proto: "resp", Gets: 1, Sets: 1},
		{Rate: 50, Conns: 100},
	} {
		t.Run(fmt.Sprint(cfg.Rate), func(t *testing.T) {
			cfg.Addr, cfg.Duration, cfg.Warmup = serve(t, "tcp", servers["echo"]()), 2*time.Second, 200*time.Millisecond
			if cfg.Proto == "resp" {
				cfg.Addr = serve(t, "tcp", servers["resp"]())
			}
			oneOf(t, func(tt require.TestingT) {
				r := measure(t, cfg)
				want := cfg.Rate * cfg.Duration.Seconds()
				require.InDelta(tt, want, r.Offered*r.Seconds, want/1000+1)
				require.InDelta(tt, want, float64(r.Ops), want/1000+1)
				require.NotNil(tt, r.Lag)
				require.LessOrEqual(tt, r.Lag.Count, r.Latency.Count)
			})
		})
	}
}

func TestPoisson(t *testing.T) {
	cfg := load.Config{Addr: serve(t, "tcp", servers["echo"]()), Rate: 4000, Arrival: load.Poisson, Conns: 5, Duration: time.Second, Warmup: -1}
	r := measure(t, cfg)
	require.InDelta(t, 4000, r.Offered*r.Seconds, 6*64) // six standard deviations
	require.NotEqual(t, 4000.0, r.Offered)
}

// pausing is an echo that does nothing for a while at times, on all connections.
func pausing(every, pause time.Duration) func(net.Conn) {
	start := time.Now()
	return func(c net.Conn) {
		b := make([]byte, 64)
		for {
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			if at := time.Since(start) % every; at < pause {
				time.Sleep(pause - at)
			}
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}
}

// A server that pauses is seen to, though few requests are answered meanwhile: those that were due in the pause have waited.
func TestPausesAreSeen(t *testing.T) {
	const pause = 100 * time.Millisecond
	cfg := load.Config{Addr: serve(t, "tcp", pausing(time.Second, pause)), Rate: 1000, Conns: 4, Duration: 3 * time.Second, Warmup: -1}
	for _, cfg.Depth = range []int{1000, 1} { // with one request in flight at most, the others wait in the generator
		oneOf(t, func(tt require.TestingT) {
			r := measure(t, cfg)
			require.GreaterOrEqual(tt, r.Latency.P999, int64(pause*95/100))
			require.GreaterOrEqual(tt, r.Latency.P99, int64(pause*80/100), "a tenth of the requests is due in a pause")
			require.Less(tt, r.Latency.P50, int64(pause)/4)
		})
	}
	// A closed loop is blind to it, by its nature: this is why there is a rate.
	cfg.Rate, cfg.Depth = 0, 1
	oneOf(t, func(tt require.TestingT) {
		require.Less(tt, measure(t, cfg).Latency.P99, int64(pause)/4)
	})
}

// A server with delays of its own, which it measures itself, is reported within two hundredths.
func TestDelaysAreReported(t *testing.T) {
	// Long delays: what a busy machine adds is small beside them.
	const shortest, mean = 300 * time.Millisecond, 100 * time.Millisecond
	cfg := load.Config{Rate: 400, Conns: 400, Duration: 2 * time.Second, Warmup: -1}
	oneOf(t, func(tt require.TestingT) {
		var mu sync.Mutex
		injected := result.NewHistogram()
		rng := rand.New(rand.NewPCG(1, 2))
		cfg.Addr = serve(t, "tcp", func(c net.Conn) {
			b := make([]byte, 64)
			for {
				if _, err := io.ReadFull(c, b); err != nil {
					return
				}
				start := time.Now()
				mu.Lock()
				delay := shortest + time.Duration(float64(mean)*rng.ExpFloat64())
				mu.Unlock()
				time.Sleep(delay)
				took := time.Since(start)
				mu.Lock()
				result.Record(injected, int64(took))
				mu.Unlock()
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		})
		r := measure(t, cfg)
		mu.Lock()
		defer mu.Unlock()
		h, err := r.Latency.Histogram()
		require.NoError(tt, err)
		require.Equal(tt, injected.TotalCount(), h.TotalCount())
		for _, q := range []float64{25, 50, 90, 99} {
			require.InEpsilon(tt, injected.ValueAtQuantile(q), h.ValueAtQuantile(q), 0.02, "at %g %%", q)
		}
		require.InEpsilon(tt, injected.Mean(), h.Mean(), 0.02)
	})
}

func TestServerThatCannotFollow(t *testing.T) {
	slow := func(c net.Conn) {
		b := make([]byte, 64)
		for {
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
			_, _ = c.Write(b)
		}
	}
	cfg := load.Config{Addr: serve(t, "tcp", slow), Rate: 1000, Conns: 2, Depth: 1, Duration: time.Second, Warmup: -1}
	r, err := load.Run(context.Background(), cfg)
	require.NoError(t, err)
	require.Less(t, r.Achieved, 250.0)
	require.InDelta(t, 1000, r.Offered, 2)
	require.Positive(t, r.Errors["not sent in time"])
	require.Greater(t, r.Latency.P99, int64(500*time.Millisecond), "what waits at the end has waited")
}

func TestChurn(t *testing.T) {
	for _, rate := range []float64{0, 2000} {
		cfg := load.Config{Addr: serve(t, "tcp", servers["echo"]()), Rate: rate, Conns: 20, Churn: 100, Duration: time.Second, Warmup: -1}
		r := measure(t, cfg)
		require.NotNil(t, r.Connects)
		require.InDelta(t, 100, r.Connects.Count, 30)
		require.Positive(t, r.Ops)
	}
}

// after returns a server that echoes n requests of 64 bytes rightly and gives the next one to f.
func after(n int, f func(c net.Conn, request []byte)) func(net.Conn) {
	return func(c net.Conn) {
		b := make([]byte, 64)
		for i := 0; ; i++ {
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			if i == n {
				f(c, b)
			} else if _, err := c.Write(b); err != nil {
				return
			}
		}
	}
}

func TestWrongRepliesAreCaught(t *testing.T) {
	cases := []struct {
		name   string
		depth  int
		server func(net.Conn)
		kind   string
		want   string
	}{
		{"a changed byte", 1, after(10, func(c net.Conn, b []byte) {
			b[63]++
			_, _ = c.Write(b)
		}), "wrong reply", "byte 63 of 64 differs"},
		{"of another request", 1, after(10, func(c net.Conn, b []byte) {
			b[15]--
			_, _ = c.Write(b)
		}), "wrong reply", "byte 15 of 64 differs"},
		{"cut", 4, after(10, func(c net.Conn, b []byte) { _, _ = c.Write(b[:63]) }), "wrong reply", "byte 63 of 64 differs"},
		{"doubled, with more requested", 4, after(10, func(c net.Conn, b []byte) { _, _ = c.Write(append(b, b...)) }), "wrong reply", "connection 0: "}, // taken for the next reply, or for none
		{"doubled", 1, after(10, func(c net.Conn, b []byte) { _, _ = c.Write(append(b, b...)) }), "wrong reply", "64 bytes came that nobody asked for"},
		{"none: closed", 1, after(10, func(c net.Conn, b []byte) { c.Close() }), "closed by the server", "the server has closed it"},
		{"swapped", 2, after(10, func(c net.Conn, b []byte) {
			second := make([]byte, 64)
			_, _ = io.ReadFull(c, second)
			_, _ = c.Write(append(second, b...))
		}), "wrong reply", "byte 15 of 64 differs"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			r, err := load.Run(context.Background(), load.Config{Addr: serve(t, "tcp", tc.server), Conns: 1, Depth: tc.depth, Duration: time.Second, Warmup: -1})
			require.ErrorContains(t, err, "all connections have failed")
			require.ErrorContains(t, err, tc.want)
			require.NotNil(t, r, "what was measured until then is kept")
			require.Equal(t, int64(1), r.Errors[tc.kind])
			require.Contains(t, r.Error, tc.want)
			require.GreaterOrEqual(t, r.Ops, int64(10))
		})
	}
}

// Connections that fail are counted, and the others go on.
func TestSomeConnectionsFail(t *testing.T) {
	n := 0
	server := func(c net.Conn) {
		if n++; n%2 == 0 { // connections come one after the other
			after(10, func(c net.Conn, b []byte) { c.Close() })(c)
			return
		}
		echo(c)
	}
	r, err := load.Run(context.Background(), load.Config{Addr: serveInOrder(t, server), Conns: 10, Duration: 200 * time.Millisecond, Warmup: -1})
	require.NoError(t, err)
	require.Equal(t, int64(5), r.Errors["closed by the server"])
	require.Greater(t, r.Ops, int64(100))
}

func TestWrongServers(t *testing.T) {
	answer := func(s string) func(net.Conn) {
		return func(c net.Conn) {
			b := make([]byte, 1<<10)
			for {
				if _, err := c.Read(b); err != nil {
					return
				}
				_, _ = io.WriteString(c, s)
			}
		}
	}
	cfg := load.Config{Proto: "resp", Addr: serve(t, "tcp", answer("-NOAUTH Authentication required.\r\n")), Conns: 2, Duration: time.Second}
	_, err := load.Run(context.Background(), cfg)
	require.ErrorContains(t, err, "store the keys: ")

	cfg.Proto, cfg.Addr = "resp", serve(t, "tcp", answer("HTTP/1.1 400 Bad Request\r\n\r\n"))
	_, err = load.Run(context.Background(), cfg)
	require.ErrorContains(t, err, "HTTP/1.1 400")

	cfg.Addr = "127.0.0.1:1"
	_, err = load.Run(context.Background(), cfg)
	require.ErrorContains(t, err, "connect to 127.0.0.1:1: connection refused")
	cfg.Proto = "echo"
	_, err = load.Run(context.Background(), cfg)
	require.ErrorContains(t, err, "connect to 127.0.0.1:1: connection refused")

	for _, bad := range []load.Config{
		{},
		{Addr: "x", Proto: "http"},
		{Addr: "x", Conns: -1},
		{Addr: "x", Depth: 1 << 20},
		{Addr: "x", Size: 8},
		{Addr: "x", Rate: -1},
		{Addr: "x", Threads: 51},
		{Addr: "x", Churn: -1},
		{Addr: "x", Gets: -1},
		{Addr: "x", Conns: 4000, Depth: 128, Size: 1 << 20},
		{Addr: "127.0.0.1:1", CountSyscalls: true, ServerPID: -1, Duration: time.Second},
		{Addr: serve(t, "tcp", echo), ServerPID: 1 << 22, Duration: time.Second},
		{Addr: "no such host:1"},
	} {
		_, err := load.Run(context.Background(), bad)
		require.Error(t, err)
	}
}

// A refusal in proper form is counted, and the connection goes on.
func TestRefusals(t *testing.T) {
	n, value := 0, ""
	server := func(c net.Conn) { refusing(c, &value, func() bool { n++; return n%10 == 0 }) }
	r, err := load.Run(context.Background(), load.Config{Proto: "resp", Keys: 1, Addr: serve(t, "tcp", server), Conns: 1, Depth: 3,
		Duration: 200 * time.Millisecond, Warmup: -1})
	require.NoError(t, err)
	require.Greater(t, r.Errors["reply -OOM"], int64(2))
	require.Greater(t, r.Ops, 5*r.Errors["reply -OOM"])
	require.Contains(t, r.Error, "OOM command not allowed")
}

func TestEndedEarly(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server := after(100, func(c net.Conn, b []byte) {
		_, _ = c.Write(b)
		cancel()
	})
	r, err := load.Run(ctx, load.Config{Addr: serve(t, "tcp", server), Conns: 2, Duration: time.Minute, Warmup: -1})
	require.ErrorContains(t, err, "ended early")
	require.Positive(t, r.Ops)
	require.Less(t, r.Seconds, 10.0)
}
