package memcached

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/protoring/protoring/codec/memcache"
	"github.com/protoring/protoring/examples/cache/store"
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
		c.dump(args, out)
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

const (
	slabClasses = 64       // of memcached
	dumpBytes   = 64 << 10 // of an answer to cachedump, where memcached has 2 MiB
	dumpScans   = 1000     // steps for it
	dumpKeys    = 100      // in a step
)

// dump answers stats cachedump: keys of a class, some if there are many. All are in class 1.
func (c *conn) dump(args [][]byte, out *outbound) {
	if len(args) < 3 {
		out.Send(memcache.Line("CLIENT_ERROR bad command line"))
		return
	}
	class, ok := store.ParseInt(args[1])
	limit, okLimit := store.ParseInt(args[2])
	switch {
	case !ok || !okLimit || min(class, limit) < 0 || max(class, limit) > math.MaxUint32:
		out.Send(memcache.Line("CLIENT_ERROR bad command line format"))
		return
	case class >= slabClasses:
		out.Send(memcache.Line("CLIENT_ERROR Illegal slab id"))
		return
	}
	if class == 1 {
		for _, line := range c.items(int(limit)) {
			out.Send(memcache.Line(line))
		}
	}
	out.Send(memcache.Line("END"))
}

// items returns lines of so many items, or of as many as fit the bound on an answer; 0: of that many.
func (c *conn) items(limit int) (lines []string) {
	var keys store.Keys
	cursor, size := uint64(0), 0
	for range dumpScans {
		keys.Reset()
		cursor = c.db.Scan(cursor, dumpKeys, &keys)
		for i := range keys.Len() {
			if limit > 0 && len(lines) == limit || size > dumpBytes {
				return lines
			}
			key := keys.At(i)
			if info, found := c.db.Info(key); found && bytes.IndexFunc(key, unicode.IsControl) < 0 { // those of base64 may have line ends
				line := fmt.Sprintf("ITEM %s [%d b; %d s]", key, info.Size, info.Expire/1000)
				lines, size = append(lines, line), size+len(line)
			}
		}
		if cursor == 0 {
			break
		}
	}
	return lines
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
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage) // fails for bad arguments only
	return []statistic{
		{"pid", os.Getpid()},
		{"uptime", int(now.Sub(s.started).Seconds())},
		{"time", int(now.Unix())},
		{"version", version},
		{"pointer_size", strconv.IntSize},
		{"rusage_user", seconds(usage.Utime)},
		{"rusage_system", seconds(usage.Stime)},
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
		{"get_flushed", 0}, // what is flushed is gone: a get finds nothing
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
		{"time_in_listen_disabled_us", 0},
		{"listen_disabled_num", 0},
		{"idle_kicks", n[idleKicks]},
		{"threads", len(s.loops)},
		{"bytes", s.cfg.Store.Used()},
		{"curr_items", s.cfg.DB.Len()},
		{"total_items", n[cmdSet]},
		{"expired_unfetched", 0},
		{"evicted_unfetched", 0},
		{"evictions", keys.Evicted},
		{"reclaimed", keys.Expired},
		{"lrutail_reflocked", 0},
	}
}

func seconds(t unix.Timeval) string { return fmt.Sprintf("%d.%06d", t.Sec, t.Usec) }

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
		{"shutdown_command", "no"},
		{"dump_enabled", "yes"},
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
	n, keys := s.sums(), s.cfg.Store.Stats()
	return []statistic{
		{"items:1:number", number},
		{"items:1:evicted", keys.Evicted},
		{"items:1:outofmemory", n[storeNoMemory]},
		{"items:1:reclaimed", keys.Expired},
		{"items:1:expired_unfetched", 0},
		{"items:1:evicted_unfetched", 0},
	}
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
