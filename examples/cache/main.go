// Cache is a cache for the clients of Redis and of memcached: strings with expiry in bounded memory, transactions, pub/sub and client-side
// caching, on one or more rings.
package main

import (
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/protoring/protoring/examples/cache/memcached"
	"github.com/protoring/protoring/examples/cache/redis"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/examples/internal/run"
	"github.com/protoring/protoring/server"
)

const about = `
Cache serves the clients of Redis (RESP2 and RESP3) and, with -memcache, those of memcached. Both have the same memory, and
key spaces of their own. Try it with redis-cli. docs/cache.md says what it has and what differs from Redis and memcached.`

const (
	defaultMaxMemory  = 256 << 20
	defaultMaxValue   = 512 << 20 // as Redis has it
	defaultMaxItem    = 1 << 20   // as memcached has it
	defaultMaxClients = 10_000
	collectorRoom     = 64 << 20 // bytes of the Go heap that are not a cache's entries
	redisDatabases    = 16
	memcacheDatabase  = redisDatabases
)

// options are the flags of the cache's own.
type options struct {
	memcache    string
	unixSocket  string
	admin       string
	maxMemory   sizeFlag
	policy      store.Policy
	maxClients  int
	timeout     secondsFlag
	requirePass string
	maxValue    sizeFlag
	maxItem     sizeFlag
}

func main() {
	o := options{maxMemory: defaultMaxMemory, policy: store.AllKeysLRU, maxClients: defaultMaxClients, maxValue: defaultMaxValue,
		maxItem: defaultMaxItem}
	run.Main(run.Example{
		Name:   "cache",
		About:  about,
		Addr:   "127.0.0.1:6379",
		Env:    "CACHE",
		Flags:  o.define,
		Listen: o.listen,
	})
}

func (o *options) define(fs *flag.FlagSet) {
	fs.StringVar(&o.memcache, "memcache", "", "listen for memcached's clients on `address`: host:port, or unix:path; empty: do not")
	fs.StringVar(&o.unixSocket, "unixsocket", "", "listen for Redis' clients on the unix socket `path` as well")
	fs.StringVar(&o.admin, "admin", "", "serve metrics, for Prometheus, and profiles on `address` over HTTP; empty: do not. Whoever reaches it is trusted")
	fs.Var(&o.maxMemory, "maxmemory", "hold at most `size` of keys and values: bytes, or with kb, mb, gb; 0: no bound")
	fs.Func("maxmemory-policy", "what goes when the memory is full: "+store.PolicyNames()+" (default "+o.policy.String()+")", func(s string) (err error) {
		o.policy, err = store.ParsePolicy(s)
		return err
	})
	fs.IntVar(&o.maxClients, "maxclients", o.maxClients, "serve at most `n` clients of Redis at a time; 0: as many as the limit on open files lets")
	fs.Var(&o.timeout, "timeout", "close clients that sent nothing for so long, in `seconds` or as 5m; 0: never")
	fs.StringVar(&o.requirePass, "requirepass", "", "ask Redis' clients for this `password`")
	fs.Var(&o.maxValue, "max-value", "take values of at most `size`")
	fs.Var(&o.maxItem, "max-item", "take items of memcached's clients of at most `size`, key and all")
}

// listen brings the protocols to the server.
func (o *options) listen(s *server.Server, network, addr string, log *slog.Logger) (bound net.Addr, end func(), err error) {
	limitHeap(int(o.maxMemory))
	var ends []func()
	endAll := func() {
		for i := len(ends) - 1; i >= 0; i-- {
			ends[i]()
		}
	}
	defer func() {
		if err != nil {
			endAll()
		}
	}()

	cache := redis.New(redis.Config{
		MaxMemory:   int(o.maxMemory),
		Policy:      o.policy,
		Databases:   redisDatabases,
		Spaces:      redisDatabases + 1,
		MaxClients:  o.maxClients,
		RequirePass: o.requirePass,
		Timeout:     time.Duration(o.timeout),
		MaxValue:    int(o.maxValue),
		Loops:       s.Loops(),
		Logger:      log,
		Stats:       s.Stats,
		Engine:      func() string { return s.Engine().String() },
		Shutdown:    func() { _ = unix.Kill(os.Getpid(), unix.SIGTERM) }, // as an operator would
	})
	ends = append(ends, cache.Close, cache.Start())

	if bound, err = server.Listen(s, network, addr, cache.ListenConfig(), cache.Connect); err != nil {
		return nil, nil, err
	}
	cache.SetAddr(bound)
	if o.unixSocket != "" {
		if _, err = server.Listen(s, "unix", o.unixSocket, cache.ListenConfig(), cache.Connect); err != nil {
			return nil, nil, fmt.Errorf("-unixsocket: %w", err)
		}
		log.Info("cache listens for Redis' clients as well", "unixsocket", o.unixSocket)
	}
	if o.memcache != "" {
		items := memcached.New(memcached.Config{
			Store:   cache.Store(),
			DB:      cache.Store().DB(memcacheDatabase),
			MaxItem: int(o.maxItem),
			Loops:   s.Loops(),
			Stats:   s.Stats,
			Timeout: time.Duration(o.timeout),
		})
		network, addr := run.SplitAddr(o.memcache)
		at, err := server.Listen(s, network, addr, items.ListenConfig(), items.Connect)
		if err != nil {
			return nil, nil, fmt.Errorf("-memcache: %w", err)
		}
		log.Info("cache listens for memcached's clients", "memcache", at.String())
	}
	if o.admin != "" {
		stop, at, err := startAdmin(o.admin, &metrics{server: s, cache: cache}, log)
		if err != nil {
			return nil, nil, fmt.Errorf("-admin: %w", err)
		}
		ends = append(ends, stop)
		log.Info("cache serves metrics and profiles", "admin", "http://"+at.String())
	}
	return bound, endAll, nil
}

// limitHeap makes the collector begin earlier than at twice what is live, which would be twice maxMemory where values are large:
// what clients replace is garbage until then.
func limitHeap(maxMemory int) {
	if maxMemory > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(maxMemory) + int64(maxMemory)/2 + collectorRoom)
	}
}
