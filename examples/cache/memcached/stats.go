package memcached

import (
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/protoring/protoring/codec/memcache"
)

// statistic is a line of stats.
type statistic struct {
	name  string
	value any
}

func (c *conn) stats(args [][]byte, out *outbound) {
	word := func(i int) string {
		if i < len(args) {
			return string(args[i])
		}
		return ""
	}
	end := func(list []statistic) {
		for _, st := range list {
			out.Send(memcache.Stat(st.name, st.text()))
		}
		out.Send(memcache.Line("END"))
	}
	switch {
	case len(args) == 0:
		end(c.s.general())
	case word(0) == "reset":
		c.s.resetCounts()
		out.Send(memcache.Line("RESET"))
	case word(0) == "settings":
		end(c.s.settings())
	case word(0) == "items":
		end(c.s.items())
	case word(0) == "slabs":
		end(c.s.slabs())
	case word(0) == "sizes":
		end([]statistic{{"sizes_status", "disabled"}})
	case word(0) == "sizes_enable":
		end([]statistic{{"sizes_status", "disabled"}})
	case word(0) == "sizes_disable":
		end([]statistic{{"sizes_status", "disabled"}})
	case word(0) == "conns":
		end(nil)
	case word(0) == "cachedump":
		out.Send(memcache.Line("CLIENT_ERROR stats cachedump not allowed"))
	case word(0) == "detail" && (word(1) == "on" || word(1) == "off"):
		out.Send(memcache.Line("OK"))
	case word(0) == "detail" && word(1) == "dump":
		end(nil)
	case word(0) == "detail":
		out.Send(memcache.Line("CLIENT_ERROR usage: stats detail on|off|dump"))
	default:
		out.Send(memcache.ErrNoCommand.Reply())
	}
}

func (st statistic) text() string {
	switch v := st.value.(type) {
	case string:
		return v
	case int:
		return strconv.Itoa(v)
	case uint64:
		return strconv.FormatUint(v, 10)
	}
	panic("memcached: a statistic of another type")
}

// general are the statistics that clients and monitors look at, with memcached's names. Hits and misses are those of this protocol, memory
// and what went from it that of the whole store.
func (s *Server) general() []statistic {
	n, net, keys := s.sums(), s.cfg.Stats(), s.cfg.Store.Stats()
	now := time.Now()
	return []statistic{
		{"pid", os.Getpid()},
		{"uptime", int(now.Sub(s.started).Seconds())},
		{"time", int(now.Unix())},
		{"version", version},
		{"pointer_size", strconv.IntSize},
		{"curr_connections", net.Conns},
		{"total_connections", net.Accepted},
		{"cmd_get", n[getHits] + n[getMisses]},
		{"cmd_set", n[cmdSet]},
		{"cmd_flush", n[cmdFlush]},
		{"cmd_touch", n[cmdTouch]},
		{"cmd_meta", n[cmdMeta]},
		{"get_hits", n[getHits]},
		{"get_misses", n[getMisses]},
		{"get_expired", keys.Expired},
		{"delete_misses", n[deleteMisses]},
		{"delete_hits", n[deleteHits]},
		{"incr_misses", n[incrMisses]},
		{"incr_hits", n[incrHits]},
		{"decr_misses", n[decrMisses]},
		{"decr_hits", n[decrHits]},
		{"cas_misses", n[casMisses]},
		{"cas_hits", n[casHits]},
		{"cas_badval", n[casBadval]},
		{"touch_hits", n[touchHits]},
		{"touch_misses", n[touchMisses]},
		{"store_too_large", n[storeTooLarge]},
		{"store_no_memory", n[storeNoMemory]},
		{"auth_cmds", 0},
		{"auth_errors", 0},
		{"bytes_read", net.BytesIn},
		{"bytes_written", net.BytesOut},
		{"limit_maxbytes", s.cfg.Store.MaxMemory()},
		{"accepting_conns", 1},
		{"listen_disabled_num", 0},
		{"threads", len(s.loops)},
		{"bytes", s.cfg.Store.Used()},
		{"curr_items", s.cfg.DB.Len()},
		{"total_items", n[cmdSet]},
		{"expired_unfetched", 0},
		{"evicted_unfetched", 0},
		{"evictions", keys.Evicted},
		{"reclaimed", keys.Expired},
	}
}

func (s *Server) settings() []statistic {
	return []statistic{
		{"maxbytes", s.cfg.Store.MaxMemory()},
		{"maxconns", 0},
		{"verbosity", 0},
		{"evictions", onOff(s.cfg.Store.Policy() != 0)},
		{"num_threads", len(s.loops)},
		{"cas_enabled", "yes"},
		{"auth_enabled_sasl", "no"},
		{"auth_enabled_ascii", "no"},
		{"item_size_max", s.cfg.MaxItem},
		{"flush_enabled", "yes"},
		{"dump_enabled", "no"},
		{"idle_timeout", int(s.cfg.Timeout.Seconds())},
		{"binding_protocol", "ascii"},
		{"go_version", runtime.Version()},
	}
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// items and slabs are those of one class of memory: the store has none.
func (s *Server) items() []statistic {
	number := s.cfg.DB.Len()
	if number == 0 {
		return nil
	}
	return []statistic{{"items:1:number", number}, {"items:1:evicted", s.cfg.Store.Stats().Evicted}}
}

func (s *Server) slabs() []statistic {
	return []statistic{{"active_slabs", 1}, {"total_malloced", s.cfg.Store.Stats().Resident}}
}

// admin answers a command that runs memcached itself, with the words that it has for what its operator switched off.
func admin(words [][]byte) string {
	n := len(words)
	sub := ""
	if n > 1 {
		sub = string(words[1])
	}
	switch string(words[0]) {
	case "shutdown":
		return "ERROR: shutdown not enabled"
	case "watch":
		return "CLIENT_ERROR watch commands not allowed"
	case "lru_crawler":
		switch {
		case n == 3 && (sub == "crawl" || sub == "metadump"):
			return "CLIENT_ERROR lru crawler disabled"
		case n == 2 && sub == "disable":
			return "OK"
		}
	case "slabs":
		switch {
		case n == 4 && sub == "reassign":
			return "CLIENT_ERROR slab reassignment disabled"
		case n > 2 && sub == "automove":
			return "OK"
		}
	case "cache_memlimit":
		if n == 2 || n == 3 {
			return "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust"
		}
	}
	return string(memcache.ErrNoCommand)
}
