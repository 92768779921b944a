package redis

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/server"
)

// ints returns the numbers in a reply of bulk strings.
func ints(t testing.TB, reply string) (list []int) {
	var v resp.Value
	var dec resp.ReplyDecoder
	_, err := dec.Decode([]byte(reply), &v)
	require.NoError(t, err, "%q", reply)
	var walk func(v *resp.Value)
	walk = func(v *resp.Value) {
		for i := range v.Items {
			walk(&v.Items[i])
		}
		if n, err := strconv.Atoi(string(v.Data)); err == nil && v.Kind == resp.KindBulk {
			list = append(list, n)
		}
	}
	walk(&v)
	return list
}

// Money moves between accounts, by transactions of all kinds, on two loops, and nobody ever sees a sum that is not the first one.
func TestTransactionsAcrossLoops(t *testing.T) {
	addr, _ := startCache(t, 0, server.Config{Loops: 2})
	const accounts, each, rounds = 6, 1000, 300
	var names, setup []string
	for i := range accounts {
		names = append(names, fmt.Sprint("account", i))
		setup = append(setup, names[i], strconv.Itoa(each))
	}
	first := dial(t, addr)
	require.Equal(t, "+OK\r\n", first.do(append([]string{"MSET"}, setup...)...))
	sum := func(list []int) (n int) {
		for _, v := range list {
			n += v
		}
		return n
	}
	var wg sync.WaitGroup
	var aborted, moved atomic.Int64
	stop := make(chan struct{})
	spawn := func(f func(c *client, rng *rand.Rand)) {
		c := dial(t, addr)
		seed := rand.Uint64()
		wg.Go(func() { f(c, rand.New(rand.NewPCG(seed, 0))) })
	}
	for range 3 { // blind transfers
		spawn(func(c *client, rng *rand.Rand) {
			for range rounds {
				a, b, n := names[rng.IntN(accounts)], names[rng.IntN(accounts)], strconv.Itoa(rng.IntN(50))
				c.send(script{"multi", "decrby " + a + " " + n, "incrby " + b + " " + n, "incr moves", "exec"}.bytes(t))
				var last string
				for range 5 {
					last, _ = c.reply()
				}
				if !strings.HasPrefix(last, "*3\r\n:") {
					panic(last)
				}
				moved.Add(1)
			}
		})
	}
	for range 3 { // transfers of what was read
		spawn(func(c *client, rng *rand.Rand) {
			for done := 0; done < rounds/3; {
				a, b := rng.IntN(accounts), rng.IntN(accounts)
				if a == b {
					continue
				}
				c.do("WATCH", names[a], names[b])
				have := ints(t, c.do("MGET", names[a], names[b]))
				n := rng.IntN(50)
				c.do("MULTI")
				c.do("SET", names[a], strconv.Itoa(have[0]-n))
				c.do("SET", names[b], strconv.Itoa(have[1]+n))
				c.do("INCR", "moves")
				if c.do("EXEC") == "*-1\r\n" {
					aborted.Add(1)
					continue
				}
				moved.Add(1)
				done++
			}
		})
	}
	spawn(func(c *client, rng *rand.Rand) { // all at once, and a rename there and back
		for range rounds / 3 {
			a := names[rng.IntN(accounts)]
			c.send(script{"multi", "rename " + a + " other", "rename other " + a, "exec"}.bytes(t))
			for range 4 {
				c.reply()
			}
		}
	})
	var readers sync.WaitGroup
	for i := range 2 {
		c := dial(t, addr)
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var got []int
				if i == 0 {
					got = ints(t, c.do(append([]string{"MGET"}, names...)...))
				} else {
					c.do("MULTI")
					for _, name := range names {
						c.do("GET", name)
					}
					got = ints(t, c.do("EXEC"))
				}
				if len(got) != accounts || sum(got) != accounts*each {
					panic(fmt.Sprint("a sum that never was: ", got))
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
	require.Equal(t, accounts*each, sum(ints(t, first.do(append([]string{"MGET"}, names...)...))))
	require.Equal(t, []int{int(moved.Load())}, ints(t, first.do("GET", "moves")))
	t.Log(moved.Load(), "moved,", aborted.Load(), "aborted")
}

// What is added on all loops, in every way, is the sum.
func TestCountersAcrossLoops(t *testing.T) {
	addr, _ := startCache(t, 0, server.Config{Loops: 2})
	const clients, rounds = 6, 500
	var wg sync.WaitGroup
	for i := range clients {
		c := dial(t, addr)
		wg.Go(func() {
			var s script
			for range rounds {
				s = append(s, "incr n", "incrbyfloat f 0.5", "append a x", "setrange r 7 x")
			}
			if i%2 == 0 {
				s = append(s, "getset g "+strconv.Itoa(i))
			}
			c.send(s.bytes(t))
			for range s {
				c.reply()
			}
		})
	}
	wg.Wait()
	c := dial(t, addr)
	require.Equal(t, []int{clients * rounds}, ints(t, c.do("GET", "n")))
	require.Equal(t, []int{clients * rounds / 2}, ints(t, c.do("GET", "f")))
	require.Equal(t, fmt.Sprintf(":%d\r\n", clients*rounds), c.do("STRLEN", "a"))
}
