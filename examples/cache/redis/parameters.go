package redis

import (
	"fmt"
	"math"
	"strconv"

	"github.com/protoring/protoring/examples/cache/store"
)

// A parameter is one of those of CONFIG.
type parameter struct {
	name string
	get  func(s *Server) string
	// check returns what is wrong with a value, or nothing, and set takes one that was checked. Both are nil for what cannot be changed.
	check func(s *Server, value string) string
	set   func(s *Server, value string)
}

const (
	notMemory = "argument must be a memory value"
	notNumber = "argument couldn't be parsed into an integer"

	onlyValue = "this cache has no other value of it"

	maxPassword = 16 << 10 // bytes: nobody could give a longer one
)

// parameters are what redis-cli, redis-benchmark, clients and dashboards ask for, by name. It is filled in by init, as its functions
// lead back to it.
var parameters []parameter

func init() { parameters = newParameters() }

func newParameters() []parameter {
	return []parameter{
		fixed("activedefrag", "no"), fixed("appendfsync", "everysec"), fixed("appendonly", "no"), fixed("bind", "* -::*"),
		{name: "client-output-buffer-limit", get: func(s *Server) string { return s.hub.limits.Load().String() },
			check: func(s *Server, value string) string {
				limits := *s.hub.limits.Load()
				return limits.parse(value)
			},
			set: func(s *Server, value string) {
				limits := *s.hub.limits.Load()
				limits.parse(value)
				s.hub.limits.Store(&limits)
			}},
		constant("cluster-enabled", "no"), constant("daemonize", "no"),
		{name: "databases", get: func(s *Server) string { return strconv.Itoa(s.cfg.Databases) }},
		fixed("dir", "/"), fixed("hz", "10"), constant("io-threads", "1"), fixed("latency-monitor-threshold", "0"), fixed("latency-tracking", "no"),
		fixed("lazyfree-lazy-eviction", "no"), fixed("lazyfree-lazy-expire", "no"), fixed("lazyfree-lazy-server-del", "no"),
		fixed("lazyfree-lazy-user-del", "no"), fixed("lazyfree-lazy-user-flush", "no"), fixed("loglevel", "notice"),
		number("maxclients", 1, math.MaxUint32, (*Server).maxClients, func(s *Server, n int64) { s.settings.maxClients.Store(n) }),
		{name: "maxmemory", get: func(s *Server) string { return strconv.Itoa(s.store.MaxMemory()) },
			check: func(_ *Server, value string) string {
				if _, ok := parseMemory(value); !ok {
					return notMemory
				}
				return ""
			},
			set: func(s *Server, value string) {
				n, _ := parseMemory(value)
				s.store.SetMaxMemory(n)
			}},
		fixed("maxmemory-clients", "0"),
		{name: "maxmemory-policy", get: func(s *Server) string { return *s.settings.policy.Load() },
			check: func(_ *Server, value string) string {
				if findPolicy(value) < 0 {
					return "argument(s) must be one of the following: volatile-lru, volatile-lfu, volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, allkeys-random, noeviction"
				}
				return ""
			},
			set: func(s *Server, value string) {
				p := &policies[findPolicy(value)]
				s.settings.policy.Store(&p.name)
				s.store.SetPolicy(p.policy)
			}},
		fixed("maxmemory-samples", "5"),
		{name: "notify-keyspace-events", get: func(s *Server) string { return eventClass(s.events.Load()).String() },
			check: func(_ *Server, value string) string {
				_, why := parseEvents(value)
				return why
			},
			set: func(s *Server, value string) {
				classes, _ := parseEvents(value)
				s.setEvents(classes)
			}},
		unchanged("port", (*Server).port),
		{name: "proto-max-bulk-len", get: func(s *Server) string { return strconv.Itoa(s.cfg.MaxValue) },
			check: func(s *Server, value string) string {
				switch n, ok := parseMemory(value); {
				case !ok:
					return notMemory
				case n != s.cfg.MaxValue:
					return onlyValue
				}
				return ""
			},
			set: func(*Server, string) {}},
		fixed("protected-mode", "no"), constant("replicaof", ""),
		{name: "requirepass", get: func(s *Server) string {
			if p := s.settings.password.Load(); p != nil {
				return *p
			}
			return ""
		}, check: func(_ *Server, value string) string {
			if len(value) > maxPassword {
				return "argument is too long"
			}
			return ""
		}, set: func(s *Server, value string) {
			s.settings.setPassword(value)
		}},
		fixed("save", ""), constant("slaveof", ""), fixed("slowlog-log-slower-than", "-1"), fixed("slowlog-max-len", "128"), fixed("tcp-keepalive", "300"),
		number("timeout", 0, math.MaxInt32, func(s *Server) int64 { return s.settings.timeout.Load() },
			func(s *Server, n int64) { s.settings.timeout.Store(n) }),
		fixed("tls-port", "0"),
		number("tracking-table-max-keys", 0, math.MaxInt64, func(s *Server) int64 { return s.tracked.limit.Load() },
			func(s *Server, n int64) { s.tracked.limit.Store(n) }),
		constant("unixsocket", ""),
	}
}

// constant is a parameter that cannot be changed, in Redis either.
func constant(name, value string) parameter {
	return parameter{name: name, get: func(*Server) string { return value }}
}

// fixed is a parameter that is as it is: CONFIG SET takes no other value.
func fixed(name, value string) parameter {
	return unchanged(name, func(*Server) string { return value })
}

// unchanged is fixed, with the value that get returns.
func unchanged(name string, get func(*Server) string) parameter {
	return parameter{name: name, get: get,
		check: func(s *Server, value string) string {
			if value != get(s) {
				return onlyValue
			}
			return ""
		},
		set: func(*Server, string) {}}
}

// number is a parameter from least to most.
func number(name string, least, most int64, get func(*Server) int64, set func(*Server, int64)) parameter {
	return parameter{name: name, get: func(s *Server) string { return strconv.FormatInt(get(s), 10) },
		check: func(_ *Server, value string) string {
			n, ok := store.ParseInt(value)
			switch {
			case !ok:
				return notNumber
			case n < least || n > most:
				return fmt.Sprintf("argument must be between %d and %d inclusive", least, most)
			}
			return ""
		},
		set: func(s *Server, value string) {
			n, _ := store.ParseInt(value)
			set(s, n)
		}}
}
