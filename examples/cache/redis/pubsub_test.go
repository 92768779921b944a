package redis_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/redis"
	"github.com/protoring/protoring/server"
)

func published(version int, channel, text string) string {
	return wireOf(version, resp.Push(3), bulk("message"), bulk(channel), bulk(text))
}

func matched(version int, pattern, channel, text string) string {
	return wireOf(version, resp.Push(4), bulk("pmessage"), bulk(pattern), bulk(channel), bulk(text))
}

// A publisher on one loop reaches subscribers on all, in the order of its commands, in bursts of one receive as well.
func TestPublishAcrossLoops(t *testing.T) {
	for _, engine := range []server.Engine{server.EngineURing, server.EngineEpoll} {
		t.Run(engine.String(), func(t *testing.T) {
			addr := start(t, redis.Config{}, server.Config{Loops: 4, Engine: engine})
			const subscribers, messages, burst = 16, 2000, 100
			subs := make([]*peer, subscribers)
			for i := range subs {
				subs[i] = connect(t, addr, 2+i%2)
				if i%4 < 2 {
					subs[i].do(t, "SUBSCRIBE", "ch")
				} else {
					subs[i].do(t, "PSUBSCRIBE", "c?")
				}
			}
			publisher := connect(t, addr, 2)
			require.Equal(t, "*1\r\n$2\r\nch\r\n", publisher.do(t, "PUBSUB", "CHANNELS"))
			require.Equal(t, ":1\r\n", publisher.do(t, "PUBSUB", "NUMPAT"))
			for first := 0; first < messages; first += burst {
				var b []byte
				for i := range burst {
					b = resp.AppendCommand(b, "PUBLISH", "ch", fmt.Sprint(first+i))
				}
				_, err := publisher.conn.Write(b)
				require.NoError(t, err)
				for range burst {
					require.Equal(t, fmt.Sprintf(":%d\r\n", subscribers), publisher.receive(t))
				}
			}
			for i, sub := range subs {
				for n := range messages {
					want := published(2+i%2, "ch", fmt.Sprint(n))
					if i%4 >= 2 {
						want = matched(2+i%2, "c?", "ch", fmt.Sprint(n))
					}
					require.Equal(t, want, sub.receive(t))
				}
				sub.conn.Close()
			}
			require.Eventually(t, func() bool {
				return publisher.do(t, "PUBSUB", "CHANNELS") == "*0\r\n" && publisher.do(t, "PUBSUB", "NUMPAT") == ":0\r\n"
			}, patience, time.Millisecond, "until the loops have seen the ends")
			require.Equal(t, ":0\r\n", publisher.do(t, "PUBLISH", "ch", "x"))
		})
	}
}

// Subscriptions come and go while others publish: each client sees its subscription's messages between the two confirmations, and
// nothing else.
func TestSubscriptionsComeAndGo(t *testing.T) {
	addr := start(t, redis.Config{}, server.Config{Loops: 3})
	var stop atomic.Bool
	var publishers, subscribers sync.WaitGroup
	for range 2 {
		publisher := connect(t, addr, 2)
		publishers.Go(func() {
			for !stop.Load() {
				for _, channel := range []string{"ch", "ch", "other"} {
					publisher.do(t, "PUBLISH", channel, "x")
				}
			}
		})
	}
	for i := range 6 {
		sub := connect(t, addr, 2)
		subscribers.Go(func() {
			for round := range 100 {
				begin, end := "SUBSCRIBE", "UNSUBSCRIBE"
				if i%2 == 1 {
					begin, end = "PSUBSCRIBE", "PUNSUBSCRIBE"
				}
				if confirmed := sub.do(t, begin, "ch"); !strings.Contains(confirmed, "\r\n"+strings.ToLower(begin)+"\r\n") {
					t.Errorf("subscriber %d, round %d: %q", i, round, confirmed)
					return
				}
				if round%3 == 2 {
					end = "RESET"
				}
				sub.send(t, end)
				sub.send(t, "GET", "nokey")
				got := "message"
				for strings.Contains(got, "message") {
					got = sub.receive(t)
				}
				if !strings.Contains(got, "unsubscribe") && got != "+RESET\r\n" {
					t.Errorf("subscriber %d, round %d: %q", i, round, got)
					return
				}
				if got = sub.receive(t); got != "$-1\r\n" {
					t.Errorf("subscriber %d, round %d: %q behind the end", i, round, got)
					return
				}
			}
		})
	}
	subscribers.Wait()
	stop.Store(true)
	publishers.Wait()
	require.Equal(t, "*0\r\n", connect(t, addr, 2).do(t, "PUBSUB", "CHANNELS"))
}

// Patterns come and go in numbers, and the last one that is left still has its messages.
func TestManyPatterns(t *testing.T) {
	addr := start(t, redis.Config{}, server.Config{Loops: 2})
	sub, publisher := connect(t, addr, 3), connect(t, addr, 2)
	const count = 300
	for i := range count {
		require.Equal(t, wireOf(3, resp.Push(3), bulk("psubscribe"), bulk(fmt.Sprintf("p%d*", i)), resp.Int(int64(i+1))), sub.do(t,
			"PSUBSCRIBE", fmt.Sprintf("p%d*", i)))
	}
	for i := range count - 1 {
		require.Equal(t, wireOf(3, resp.Push(3), bulk("punsubscribe"), bulk(fmt.Sprintf("p%d*", i)), resp.Int(int64(count-1-i))), sub.do(t,
			"PUNSUBSCRIBE", fmt.Sprintf("p%d*", i)))
		require.Equal(t, ":0\r\n", publisher.do(t, "PUBLISH", fmt.Sprintf("p%d", i), "x"))
	}
	require.Equal(t, ":1\r\n", publisher.do(t, "PUBLISH", "p299x", "y"))
	require.Equal(t, matched(3, "p299*", "p299x", "y"), sub.receive(t))
	require.Equal(t, ":1\r\n", publisher.do(t, "PUBSUB", "NUMPAT"))
}

// A subscriber that does not read is dropped, with a line that says why; the publisher and other subscribers do not notice.
func TestSlowSubscriber(t *testing.T) {
	var log lockedBuffer
	addr := start(t, redis.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, server.Config{Loops: 2})
	slow, reads, publisher := connect(t, addr, 2), connect(t, addr, 2), connect(t, addr, 2)
	slow.do(t, "SUBSCRIBE", "ch")
	reads.do(t, "SUBSCRIBE", "ch")
	message := strings.Repeat("x", 1<<20)
	reply := ":2\r\n"
	for n := 0; reply == ":2\r\n"; n++ {
		require.Less(t, n, 200)
		reply = publisher.do(t, "PUBLISH", "ch", message)
		require.True(t, strings.HasSuffix(reads.receive(t), message+"\r\n"))
	}
	require.Equal(t, ":1\r\n", reply)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), `msg="subscriber dropped"`) }, patience, time.Millisecond)
	require.Contains(t, log.String(), `reason="more than the hard limit`)
}

// A lockedBuffer may be written to by any goroutine.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
