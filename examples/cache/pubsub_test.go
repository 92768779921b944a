package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/examples/internal/runtest"
	"github.com/protoring/protoring/server"
)

// A publisher on one loop reaches subscribers on all, in the order of its commands, in bursts of one receive as well.
func TestPublishAcrossLoops(t *testing.T) {
	for _, engine := range []server.Engine{server.EngineURing, server.EngineEpoll} {
		t.Run(engine.String(), func(t *testing.T) {
			addr, c := startCache(t, 0, server.Config{Loops: 4, Engine: engine})
			const subscribers, messages, burst = 16, 2000, 100
			subs := make([]*client, subscribers)
			for i := range subs {
				subs[i] = dial(t, addr)
				if i%2 == 1 {
					subs[i].do("HELLO", "3")
				}
				subs[i].do("SUBSCRIBE", "ch")
			}
			require.Equal(t, 1, c.hub.count())
			publisher := dial(t, addr)
			for first := 0; first < messages; first += burst {
				var s script
				for i := range burst {
					s = append(s, fmt.Sprintf("publish ch %d", first+i))
				}
				publisher.send(s.bytes(t))
				for range burst {
					reply, _ := publisher.reply()
					require.Equal(t, fmt.Sprintf(":%d\r\n", subscribers), reply)
				}
			}
			for i, sub := range subs {
				kind := []string{"*", ">"}[i%2]
				for n := range messages {
					got, ok := sub.reply()
					require.True(t, ok)
					text := fmt.Sprint(n)
					require.Equal(t, fmt.Sprintf("%s3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$%d\r\n%s\r\n", kind, len(text), text), got)
				}
				sub.conn.Close()
			}
			for c.hub.count() > 0 { // until the loops have seen the ends
				publisher.do("PING")
			}
			require.Equal(t, ":0\r\n", publisher.do("PUBLISH", "ch", "x"))
		})
	}
}

// Subscriptions come and go while others publish: each client sees its subscription's messages between the two confirmations, and
// nothing else.
func TestSubscriptionsComeAndGo(t *testing.T) {
	addr, c := startCache(t, 0, server.Config{Loops: 3})
	var stop atomic.Bool
	var publishers, subscribers sync.WaitGroup
	for range 2 {
		publisher := dial(t, addr)
		publishers.Go(func() {
			for !stop.Load() {
				publisher.send(script{"publish ch x", "publish ch y", "publish other z"}.bytes(t))
				for range 3 {
					publisher.reply()
				}
			}
		})
	}
	for i := range 6 {
		sub := dial(t, addr)
		subscribers.Go(func() {
			for round := range 100 {
				if confirmed := sub.do("SUBSCRIBE", "ch"); !strings.HasPrefix(confirmed, "*3\r\n$9\r\nsubscribe") {
					t.Errorf("subscriber %d, round %d: %q", i, round, confirmed)
					return
				}
				end := "UNSUBSCRIBE"
				if round%3 == 2 {
					end = "RESET"
				}
				sub.send(script{end, "get nokey"}.bytes(t))
				got := "message"
				for strings.Contains(got, "message") {
					got, _ = sub.reply()
				}
				if !strings.Contains(got, "unsubscribe") && got != "+RESET\r\n" {
					t.Errorf("subscriber %d, round %d: %q", i, round, got)
					return
				}
				if got, _ = sub.reply(); got != "$-1\r\n" {
					t.Errorf("subscriber %d, round %d: %q behind the end", i, round, got)
					return
				}
			}
		})
	}
	subscribers.Wait()
	stop.Store(true)
	publishers.Wait()
	require.Zero(t, c.hub.count())
	require.Zero(t, c.hub.dropped.Load())
}

// A subscriber that does not read is dropped, with a line that says why; the publisher and other subscribers do not notice.
func TestSlowSubscriberProcess(t *testing.T) {
	p := runtest.Start(t, runtest.Build(t, "."), "-listen", "127.0.0.1:0", "-loops", "2")
	slow, reads, publisher := dial(t, p.Addr), dial(t, p.Addr), dial(t, p.Addr)
	slow.do("SUBSCRIBE", "ch")
	reads.do("SUBSCRIBE", "ch")
	message := strings.Repeat("x", 1<<20)
	reply := ":2\r\n"
	for n := 0; reply == ":2\r\n"; n++ {
		require.Less(t, n, 200)
		reply = publisher.do("PUBLISH", "ch", message)
		got, _ := reads.reply()
		require.True(t, strings.HasSuffix(got, message+"\r\n"))
	}
	require.Equal(t, ":1\r\n", reply)
	require.Eventually(t, func() bool { return strings.Contains(p.Log(), `msg="subscriber dropped"`) }, 10*time.Second, time.Millisecond)
	require.Contains(t, p.Log(), `reason="more than 32 MiB wait for it"`)
	reads.conn.Close()
	publisher.conn.Close()
	p.Signal(syscall.SIGTERM)
	require.Equal(t, 0, p.Wait(), p.Log())
}
