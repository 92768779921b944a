package redis

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

// settings are what CONFIG SET changes and the store does not keep.
type settings struct {
	timeout    atomic.Int64 // seconds; 0: off
	maxClients atomic.Int64
	password   atomic.Pointer[string] // nil: none
	policy     atomic.Pointer[string] // its name: the store has fewer policies than there are names
}

func (s *settings) init(cfg *Config) {
	s.timeout.Store(int64(cfg.Timeout.Seconds()))
	s.maxClients.Store(math.MaxInt32)
	if cfg.MaxClients > 0 {
		s.maxClients.Store(int64(cfg.MaxClients))
	}
	s.setPassword(cfg.RequirePass)
	for _, p := range policies {
		if p.policy == cfg.Policy {
			s.policy.Store(&p.name)
			break
		}
	}
}

func (s *settings) setPassword(password string) {
	if password == "" {
		s.password.Store(nil)
		return
	}
	s.password.Store(&password)
}

// policies are the names that Redis has for what is evicted. The store's way to choose looks at both, how long ago and how often a
// key was used, so that LRU and LFU are one to it.
var policies = [...]struct {
	name   string
	policy store.Policy
}{
	{"noeviction", store.NoEviction},
	{"allkeys-lru", store.AllKeysLRU},
	{"allkeys-lfu", store.AllKeysLRU},
	{"allkeys-random", store.AllKeysRandom},
	{"volatile-lru", store.VolatileLRU},
	{"volatile-lfu", store.VolatileLRU},
	{"volatile-random", store.VolatileRandom},
	{"volatile-ttl", store.VolatileTTL},
}

// countsUses says whether the policy is one of those that count how often a key is used.
func (s *settings) countsUses() bool { return strings.HasSuffix(*s.policy.Load(), "-lfu") }

// sharesInts says whether Redis lets keys share small integers: not where it needs the time of each key's last use to evict.
func (s *settings) sharesInts(maxMemory int) bool {
	policy := *s.policy.Load()
	return maxMemory == 0 || !strings.HasSuffix(policy, "-lru") && !strings.HasSuffix(policy, "-lfu")
}

func findPolicy(name string) int {
	for i, p := range policies {
		if strings.EqualFold(p.name, name) {
			return i
		}
	}
	return -1
}

// memoryUnits are those of redis.conf.
var memoryUnits = map[string]int{"": 1, "b": 1, "k": 1000, "kb": 1 << 10, "m": 1000_000, "mb": 1 << 20, "g": 1000_000_000, "gb": 1 << 30}

func parseMemory(value string) (int, bool) {
	digits := strings.TrimRight(strings.ToLower(value), "bkmg")
	unit := memoryUnits[strings.ToLower(value[len(digits):])]
	if digits == "" {
		digits = "0" // as Redis has it
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || unit == 0 || n > math.MaxInt/uint64(unit) {
		return 0, false
	}
	return int(n) * unit, true
}

func (s *Server) maxClients() int64 {
	if s.cfg.MaxClients == 0 && s.settings.maxClients.Load() == math.MaxInt32 {
		return defaultMaxClients
	}
	return s.settings.maxClients.Load()
}

// configGet answers a name as it was written, and what matches a pattern.
func configGet(c *conn, args [][]byte, out *outbound) reactor.Status {
	var found [][2]string
	for i := range parameters {
		p := &parameters[i]
		for _, pattern := range args[2:] {
			switch name := string(pattern); {
			case strings.EqualFold(name, p.name):
				found = append(found, [2]string{name, p.get(c.cache)})
			case bytes.ContainsAny(pattern, "*?[") && matchesFold(pattern, []byte(p.name)):
				found = append(found, [2]string{p.name, p.get(c.cache)})
			default:
				continue
			}
			break
		}
	}
	out.Send(resp.Map(len(found)))
	for _, p := range found {
		out.Send(resp.BulkString(p[0]))
		out.Send(resp.BulkString(p[1]))
	}
	return reactor.Continue
}

// configSet sets all or none.
func configSet(c *conn, args [][]byte, out *outbound) reactor.Status {
	if len(args)%2 != 0 {
		return refuse(out, errSyntax)
	}
	fail := func(name string, why string) reactor.Status {
		return refusef(out, "ERR CONFIG SET failed (possibly related to argument '%s') - %s", name, why)
	}
	type change struct {
		p     *parameter
		value string
	}
	var changes []change
	for i := 2; i < len(args); i += 2 {
		at := slices.IndexFunc(parameters, func(p parameter) bool { return strings.EqualFold(p.name, string(args[i])) })
		if at < 0 {
			return refusef(out, "ERR Unknown option or number of arguments for CONFIG SET - '%s'", untilZero(args[i]))
		}
		p := &parameters[at]
		switch {
		case p.set == nil:
			return fail(string(untilZero(args[i])), "can't set immutable config")
		case slices.ContainsFunc(changes, func(ch change) bool { return ch.p == p }):
			return fail(string(untilZero(args[i])), "duplicate parameter")
		}
		changes = append(changes, change{p, string(args[i+1])})
	}
	for _, ch := range changes {
		if why := ch.p.check(c.cache, ch.value); why != "" {
			return fail(ch.p.name, why)
		}
	}
	for _, ch := range changes {
		ch.p.set(c.cache, ch.value)
	}
	return ok(out)
}

func configRewrite(_ *conn, _ [][]byte, out *outbound) reactor.Status {
	return refuse(out, "ERR The server is running without a config file")
}

func configResetStat(c *conn, _ [][]byte, out *outbound) reactor.Status {
	s := c.cache
	c.eachLoop(func(l *loop) {
		clear(l.stats)
		l.errors.mu.Lock()
		clear(l.errors.byCode)
		l.errors.mu.Unlock()
	})
	s.store.ResetStats()
	s.accepted.Store(0)
	s.rejected.Store(0)
	base := s.cfg.Stats()
	s.base.Store(&base)
	return ok(out)
}
