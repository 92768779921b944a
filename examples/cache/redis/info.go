package redis

import (
	"fmt"
	"maps"
	"math/bits"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/reactor"
)

// A report is what an INFO has found out, once for all sections.
type report struct {
	*Server
	stats Stats
	b     strings.Builder
}

func (r *report) fact(name string, value any) { fmt.Fprintf(&r.b, "%s:%v\r\n", name, value) }

// A section of INFO.
type section struct {
	name  string
	title string
	asked bool // it is shown only by its name, or with all
	write func(r *report)
}

// sections are in Redis' order. What they show is what clients and dashboards read, where there is such a thing here.
var sections = [...]section{
	{name: "server", title: "Server", write: (*report).server},
	{name: "clients", title: "Clients", write: (*report).clients},
	{name: "memory", title: "Memory", write: (*report).memory},
	{name: "persistence", title: "Persistence", write: (*report).persistence},
	{name: "stats", title: "Stats", write: (*report).counts},
	{name: "replication", title: "Replication", write: (*report).replication},
	{name: "cpu", title: "CPU", write: (*report).cpu},
	{name: "modules", title: "Modules", write: func(*report) {}},
	{name: "commandstats", title: "Commandstats", asked: true, write: (*report).commandStats},
	{name: "errorstats", title: "Errorstats", write: (*report).errorStats},
	{name: "cluster", title: "Cluster", write: func(r *report) { r.fact("cluster_enabled", 0) }},
	{name: "keyspace", title: "Keyspace", write: (*report).keyspace},
}

func info(c *conn, args [][]byte, out *outbound) reactor.Status {
	r := report{Server: c.cache, stats: c.stats()}
	for _, s := range sections {
		wanted := len(args) == 1 && !s.asked
		for _, arg := range args[1:] {
			wanted = wanted || is(arg, s.name) || is(arg, "default") && !s.asked || is(arg, "all") || is(arg, "everything")
		}
		if !wanted {
			continue
		}
		if r.b.Len() > 0 {
			r.b.WriteString("\r\n")
		}
		r.b.WriteString("# " + s.title + "\r\n")
		s.write(&r)
	}
	out.Send(resp.Verbatim("txt", r.b.String()))
	return reactor.Continue
}

func (s *Server) port() string {
	if addr := s.addr.Load(); addr != nil {
		if _, port, err := net.SplitHostPort((*addr).String()); err == nil {
			return port
		}
	}
	return "0" // a unix socket has none
}

func (r *report) server() {
	up := int(time.Since(r.started).Seconds())
	system, machine := uname()
	r.fact("redis_version", redisVersion)
	r.fact("redis_git_sha1", "00000000")
	r.fact("redis_git_dirty", 0)
	r.fact("redis_build_id", "0")
	r.fact("redis_mode", "standalone")
	r.fact("protoring_engine", r.cfg.Engine())
	r.fact("os", system+" "+machine)
	r.fact("arch_bits", bits.UintSize)
	r.fact("multiplexing_api", r.cfg.Engine())
	r.fact("go_version", runtime.Version())
	r.fact("process_id", os.Getpid())
	r.fact("run_id", r.runID)
	r.fact("tcp_port", r.port())
	r.fact("server_time_usec", time.Now().UnixMicro())
	r.fact("uptime_in_seconds", up)
	r.fact("uptime_in_days", up/(24*60*60))
	r.fact("hz", int(time.Second/tickInterval))
	r.fact("configured_hz", int(time.Second/tickInterval))
	r.fact("config_file", "")
	r.fact("io_threads_active", 0)
}

func uname() (system, machine string) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return runtime.GOOS, runtime.GOARCH
	}
	text := unix.ByteSliceToString
	return text(u.Sysname[:]) + " " + text(u.Release[:]), text(u.Machine[:])
}

func (r *report) clients() {
	r.fact("connected_clients", r.stats.Clients)
	r.fact("cluster_connections", 0)
	r.fact("maxclients", r.maxClients())
	r.fact("client_recent_max_input_buffer", 0)
	r.fact("client_recent_max_output_buffer", 0)
	r.fact("blocked_clients", r.stats.Blocked)
	r.fact("tracking_clients", r.stats.Tracking)
	r.fact("clients_in_timeout_table", 0)
}

func (r *report) memory() {
	used, most, rss := r.stats.Used, r.store.MaxMemory(), residentMemory()
	human := func(name string, n int) {
		r.fact(name, n)
		r.fact(name+"_human", humanSize(n))
	}
	human("used_memory", used)
	human("used_memory_rss", rss)
	human("used_memory_peak", max(r.peak(used), used))
	r.fact("used_memory_overhead", 0)
	r.fact("used_memory_startup", 0)
	r.fact("used_memory_dataset", used)
	r.fact("used_memory_dataset_perc", "100.00%")
	r.fact("allocator_allocated", used)
	r.fact("allocator_active", r.stats.Resident)
	r.fact("allocator_resident", r.stats.Resident)
	human("total_system_memory", systemMemory())
	human("used_memory_lua", 0)
	human("used_memory_scripts", 0)
	r.fact("number_of_cached_scripts", 0)
	human("maxmemory", most)
	r.fact("maxmemory_policy", *r.settings.policy.Load())
	ratio := 1.0
	if used > 0 {
		ratio = float64(rss) / float64(used)
	}
	r.fact("mem_fragmentation_ratio", fmt.Sprintf("%.2f", ratio))
	r.fact("mem_fragmentation_bytes", rss-used)
	r.fact("mem_not_counted_for_evict", 0)
	r.fact("mem_replication_backlog", 0)
	r.fact("mem_clients_slaves", 0)
	r.fact("mem_clients_normal", r.stats.Network)
	r.fact("mem_aof_buffer", 0)
	r.fact("mem_allocator", "protoring")
	r.fact("active_defrag_running", 0)
	r.fact("lazyfree_pending_objects", 0)
	r.fact("lazyfreed_objects", 0)
}

func (r *report) persistence() {
	for _, name := range []string{"loading", "async_loading", "current_cow_size", "rdb_changes_since_last_save", "rdb_bgsave_in_progress"} {
		r.fact(name, 0)
	}
	r.fact("rdb_last_save_time", r.started.Unix())
	r.fact("rdb_last_bgsave_status", "ok")
	r.fact("rdb_last_bgsave_time_sec", -1)
	r.fact("rdb_current_bgsave_time_sec", -1)
	r.fact("rdb_last_cow_size", 0)
	r.fact("aof_enabled", 0)
	r.fact("aof_rewrite_in_progress", 0)
	r.fact("aof_rewrite_scheduled", 0)
	r.fact("aof_last_rewrite_time_sec", -1)
	r.fact("aof_current_rewrite_time_sec", -1)
	r.fact("aof_last_bgrewrite_status", "ok")
	r.fact("aof_last_write_status", "ok")
	r.fact("aof_last_cow_size", 0)
}

func (r *report) counts() {
	s, now := &r.stats, r.rates.current()
	r.fact("total_connections_received", s.Accepted)
	r.fact("total_commands_processed", s.Commands)
	r.fact("instantaneous_ops_per_sec", int(now.commands))
	r.fact("total_net_input_bytes", s.BytesIn)
	r.fact("total_net_output_bytes", s.BytesOut)
	r.fact("instantaneous_input_kbps", fmt.Sprintf("%.2f", now.in/1024))
	r.fact("instantaneous_output_kbps", fmt.Sprintf("%.2f", now.out/1024))
	r.fact("rejected_connections", s.Rejected)
	r.fact("sync_full", 0)
	r.fact("sync_partial_ok", 0)
	r.fact("sync_partial_err", 0)
	r.fact("expired_keys", s.Expired)
	r.fact("expired_stale_perc", "0.00")
	r.fact("expired_time_cap_reached_count", 0)
	r.fact("evicted_keys", s.Evicted)
	r.fact("evicted_clients", 0)
	r.fact("keyspace_hits", s.Hits)
	r.fact("keyspace_misses", s.Misses)
	r.fact("pubsub_channels", s.Channels)
	r.fact("pubsub_patterns", s.Patterns)
	r.fact("latest_fork_usec", 0)
	r.fact("total_forks", 0)
	r.fact("migrate_cached_sockets", 0)
	r.fact("slave_expires_tracked_keys", 0)
	r.fact("active_defrag_hits", 0)
	r.fact("active_defrag_misses", 0)
	r.fact("tracking_total_keys", r.tracked.count.Load())
	r.fact("tracking_total_items", r.tracked.items.Load())
	r.fact("tracking_total_prefixes", r.tracked.bcasts.Load())
	r.fact("unexpected_error_replies", 0)
	r.fact("total_error_replies", sumOf(r.stats.Errors))
	r.fact("total_reads_processed", s.Reads)
	r.fact("total_writes_processed", s.Writes)
	r.fact("client_output_buffer_limit_disconnections", r.hub.dropped.Load())
}

func (r *report) replication() {
	r.fact("role", "master")
	r.fact("connected_slaves", 0)
	r.fact("master_failover_state", "no-failover")
	r.fact("master_replid", r.runID)
	r.fact("master_replid2", strings.Repeat("0", 40))
	r.fact("master_repl_offset", 0)
	r.fact("second_repl_offset", -1)
	r.fact("repl_backlog_active", 0)
	r.fact("repl_backlog_size", 1<<20)
	r.fact("repl_backlog_first_byte_offset", 0)
	r.fact("repl_backlog_histlen", 0)
}

func (r *report) cpu() {
	show := func(name string, t unix.Timeval) { r.fact(name, fmt.Sprintf("%d.%06d", t.Sec, t.Usec)) }
	for _, who := range []struct {
		of     int
		suffix string
	}{{unix.RUSAGE_SELF, ""}, {unix.RUSAGE_CHILDREN, "_children"}} {
		var u unix.Rusage
		_ = unix.Getrusage(who.of, &u) // it has no way to fail
		show("used_cpu_sys"+who.suffix, u.Stime)
		show("used_cpu_user"+who.suffix, u.Utime)
	}
}

func (r *report) commandStats() {
	for _, s := range r.stats.ByName {
		if s.Calls == 0 && s.Rejected == 0 {
			continue
		}
		each := 0.0
		if s.Calls > 0 {
			each = float64(s.Duration.Nanoseconds()) / 1000 / float64(s.Calls)
		}
		r.fact("cmdstat_"+s.Name, fmt.Sprintf("calls=%d,usec=%d,usec_per_call=%.2f,rejected_calls=%d,failed_calls=%d",
			s.Calls, s.Duration.Microseconds(), each, s.Rejected, s.Failed))
	}
}

func (r *report) errorStats() {
	for _, code := range slices.Sorted(maps.Keys(r.stats.Errors)) {
		r.fact("errorstat_"+code, fmt.Sprintf("count=%d", r.stats.Errors[code]))
	}
}

func sumOf(counts map[string]uint64) (sum uint64) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

func (r *report) keyspace() {
	for i := range r.cfg.Databases {
		if db := r.store.DB(i); db.Len() > 0 {
			r.fact("db"+strconv.Itoa(i), fmt.Sprintf("keys=%d,expires=%d,avg_ttl=0", db.Len(), db.Expiring()))
		}
	}
}

// humanSize writes bytes for people, as Redis does.
func humanSize(n int) string {
	size, units := float64(n), "BKMGT"
	for size >= 1024 && len(units) > 1 {
		size, units = size/1024, units[1:]
	}
	if units[0] == 'B' {
		return strconv.Itoa(n) + "B"
	}
	return fmt.Sprintf("%.2f%c", size, units[0])
}

// residentMemory returns what the process has of the machine's memory, in bytes.
func residentMemory() int {
	var size, resident int
	text, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(text), &size, &resident)
	}
	if err != nil {
		return 0
	}
	return resident * os.Getpagesize()
}

func systemMemory() int {
	var i unix.Sysinfo_t
	if err := unix.Sysinfo(&i); err != nil {
		return 0
	}
	return int(i.Totalram) * int(i.Unit)
}
