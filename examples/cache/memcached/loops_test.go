package memcached

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/server"
)

// Connections of two loops change the same items: no increment is lost, nothing is appended in halves, and of all that ask for an item that is
// missing or stale one is to fetch it.
func TestLoopsShareItems(t *testing.T) {
	const (
		clients = 8
		rounds  = 200
	)
	addr := start(t, 0, server.Config{Loops: 2})
	ask(t, addr, []byte("set n 0 0 1\r\n0\r\nset text 0 0 0\r\n\r\n"))
	var commands strings.Builder
	for i := range rounds {
		fmt.Fprintf(&commands, "incr n 1 noreply\r\nma n q\r\nappend text 0 0 3 noreply\r\nabc\r\nmg a%d N100\r\nset b%d 0 0 1 noreply\r\nx\r\n", i, i)
	}
	all := func(commands string) string {
		var mu sync.Mutex
		var wg sync.WaitGroup
		var got bytes.Buffer
		for range clients {
			wg.Go(func() {
				b, err := tryAsk(addr, []byte(commands))
				mu.Lock()
				defer mu.Unlock()
				got.Write(b)
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		return got.String()
	}
	got := all(commands.String())
	require.Equal(t, rounds, strings.Count(got, "HD W\r\n"))
	require.Equal(t, (clients-1)*rounds, strings.Count(got, "HD Z\r\n"))

	sum := strconv.Itoa(2 * clients * rounds)
	text := strings.Repeat("abc", clients*rounds)
	require.Equal(t, fmt.Sprintf("VALUE n 0 %d\r\n%s\r\nVALUE text 0 %d\r\n%s\r\nEND\r\n", len(sum), sum, len(text), text), string(ask(t, addr, []byte("get n text\r\n"))))

	commands.Reset()
	var stale strings.Builder
	for i := range rounds {
		fmt.Fprintf(&stale, "md b%d I q\r\n", i)
		fmt.Fprintf(&commands, "mg b%d\r\n", i)
	}
	require.Empty(t, ask(t, addr, []byte(stale.String())))
	got = all(commands.String())
	require.Equal(t, rounds, strings.Count(got, "HD X W\r\n"))
	require.Equal(t, (clients-1)*rounds, strings.Count(got, "HD Z X\r\n"))
}
