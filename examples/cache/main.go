// Cache is a cache that speaks RESP, the protocol of Redis: strings with expiry in bounded memory, and pub/sub.
package main

import (
	"flag"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/protoring/protoring/examples/internal/run"
	"github.com/protoring/protoring/server"
)

const about = `
Cache speaks RESP2 and RESP3, the protocol of Redis: strings with expiry in bounded memory, and pub/sub. Try it with redis-cli.`

const (
	maxBulk          = 512 << 20 // bytes of a value, as Redis has it
	commandRoom      = 64 << 10  // bytes of a command beside its value
	defaultMaxMemory = 256 << 20
	collectorRoom    = 64 << 20
)

func main() {
	size := memoryFlag(defaultMaxMemory)
	run.Main(run.Example{
		Name:  "cache",
		About: about,
		Addr:  "127.0.0.1:6379",
		Flags: func(fs *flag.FlagSet) {
			fs.Var(&size, "maxmemory", "hold at most `size` of keys and values: bytes, or with kb, mb, gb; 0: no bound")
		},
		Listen: func(s *server.Server, network, addr string, log *slog.Logger) (net.Addr, func(), error) {
			limitHeap(int(size))
			c := newCache(int(size))
			c.stats, c.engine = s.Stats, func() string { return s.Engine().String() }
			bound, err := server.Listen(s, network, addr, c.listenConfig(), c.connect)
			if err != nil {
				return nil, nil, err
			}
			c.addr = bound.String()
			return bound, c.start(log), nil
		},
	})
}

func (c *cache) listenConfig() server.ListenConfig {
	largest := maxBulk
	if c.maxMemory > 0 {
		largest = min(largest, c.maxMemory) // a larger value could not be stored
	}
	return server.ListenConfig{
		MaxBufferLength:           largest + commandRoom,
		MaxQueuedOutboundMessages: maxQueuedMessages,
	}
}

// limitHeap makes the collector begin earlier than at twice what is live, which would be twice maxMemory: what clients replace is
// garbage until then.
func limitHeap(maxMemory int) {
	if maxMemory > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(maxMemory) + int64(maxMemory)/2 + collectorRoom)
	}
}

// memoryFlag is a number of bytes.
type memoryFlag int

func (f *memoryFlag) String() string {
	for _, u := range []string{"gb", "mb", "kb"} {
		if unit := memoryUnits[u]; *f > 0 && int(*f)%unit == 0 {
			return strconv.Itoa(int(*f)/unit) + u
		}
	}
	return strconv.Itoa(int(*f))
}

// memoryUnits are those of redis.conf.
var memoryUnits = map[string]int{
	"": 1, "b": 1, "k": 1e3, "kb": 1 << 10, "m": 1e6, "mb": 1 << 20, "g": 1e9, "gb": 1 << 30,
}

func (f *memoryFlag) Set(s string) error {
	s = strings.ToLower(s)
	digits := strings.TrimRight(s, "bkmg")
	n, err := strconv.Atoi(digits)
	unit := memoryUnits[s[len(digits):]]
	if err != nil || n < 0 || unit == 0 || n > math.MaxInt/2/unit {
		return fmt.Errorf("want a number of bytes, or one with kb, mb or gb behind it")
	}
	*f = memoryFlag(n * unit)
	return nil
}
