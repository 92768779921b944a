package main

import (
	"fmt"
	"math/bits"
	"net"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/reactor"
)

// infoSections are the sections of INFO in their order.
var infoSections = [...]struct {
	name  string
	write func(c *cache, b *strings.Builder)
}{
	{"server", func(c *cache, b *strings.Builder) {
		_, port, _ := net.SplitHostPort(c.addr) // a unix socket has none
		fact(b, "redis_version", redisVersion)
		fact(b, "redis_mode", "standalone")
		fact(b, "protoring_engine", c.engine())
		fact(b, "os", runtime.GOOS+" "+runtime.GOARCH)
		fact(b, "arch_bits", bits.UintSize)
		fact(b, "go_version", runtime.Version())
		fact(b, "process_id", os.Getpid())
		fact(b, "tcp_port", port)
		fact(b, "uptime_in_seconds", int(time.Since(c.started).Seconds()))
	}},
	{"clients", func(c *cache, b *strings.Builder) { fact(b, "connected_clients", c.stats().Conns) }},
	{"memory", func(c *cache, b *strings.Builder) {
		fact(b, "used_memory", c.store.Used())
		fact(b, "used_memory_network", c.stats().Memory)
		fact(b, "maxmemory", c.maxMemory)
		fact(b, "maxmemory_policy", maxMemoryPolicy)
	}},
	{"stats", func(c *cache, b *strings.Builder) {
		net, keys := c.stats(), c.store.Stats()
		fact(b, "total_connections_received", net.Accepted)
		fact(b, "total_commands_processed", net.Messages)
		fact(b, "total_net_input_bytes", net.BytesIn)
		fact(b, "total_net_output_bytes", net.BytesOut)
		fact(b, "expired_keys", keys.Expired)
		fact(b, "evicted_keys", keys.Evicted)
		fact(b, "keyspace_hits", keys.Hits)
		fact(b, "keyspace_misses", keys.Misses)
		fact(b, "pubsub_channels", c.hub.count())
		fact(b, "client_output_buffer_limit_disconnections", c.hub.dropped.Load())
	}},
	{"replication", func(_ *cache, b *strings.Builder) { fact(b, "role", "master") }},
	{"keyspace", func(c *cache, b *strings.Builder) {
		if s := c.store.Stats(); s.Keys > 0 {
			fact(b, "db0", fmt.Sprintf("keys=%d,expires=%d,avg_ttl=0", s.Keys, s.Expiring))
		}
	}},
}

const maxMemoryPolicy = "allkeys-lru"

func fact(b *strings.Builder, name string, value any) { fmt.Fprintf(b, "%s:%v\r\n", name, value) }

func info(c *conn, args [][]byte, out *outbound) reactor.Status {
	var b strings.Builder
	for _, section := range infoSections {
		wanted := len(args) == 1
		for _, arg := range args[1:] {
			wanted = wanted || is(arg, section.name) || is(arg, "default") || is(arg, "all") || is(arg, "everything")
		}
		if !wanted {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\r\n")
		}
		fmt.Fprintf(&b, "# %s\r\n", strings.ToUpper(section.name[:1])+section.name[1:])
		section.write(c.cache, &b)
	}
	out.Send(resp.Verbatim("txt", b.String()))
	return reactor.Continue
}

// parameters returns what CONFIG GET knows: what redis-cli, redis-benchmark and clients ask for.
func (c *cache) parameters() [][2]string {
	return [][2]string{
		{"appendfsync", "no"},
		{"appendonly", "no"},
		{"databases", "1"},
		{"maxmemory", strconv.Itoa(c.maxMemory)},
		{"maxmemory-policy", maxMemoryPolicy},
		{"proto-max-bulk-len", strconv.Itoa(maxBulk)},
		{"requirepass", ""},
		{"save", ""},
		{"timeout", "0"},
	}
}

// configGet answers a name as it was written, and what matches a pattern.
func configGet(c *conn, args [][]byte, out *outbound) reactor.Status {
	var found [][2]string
	for _, p := range c.cache.parameters() {
		for _, pattern := range args[2:] {
			switch name := string(pattern); {
			case strings.EqualFold(name, p[0]):
				found = append(found, [2]string{name, p[1]})
			case strings.ContainsAny(name, "*?[") && matches(strings.ToLower(name), p[0]):
				found = append(found, p)
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

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

func commandCount(c *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Int(int64(len(c.cache.commands.list))))
	return reactor.Continue
}

func commandAll(c *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Array(len(c.cache.commands.list)))
	for _, cmd := range c.cache.commands.list {
		cmd.describe(out)
	}
	return reactor.Continue
}

func commandInfo(c *conn, args [][]byte, out *outbound) reactor.Status {
	if len(args) == 2 {
		return commandAll(c, args, out)
	}
	out.Send(resp.Array(len(args) - 2))
	for _, name := range args[2:] {
		if cmd := c.cache.commands.findPath(name); cmd != nil {
			cmd.describe(out)
		} else {
			out.Send(resp.Null())
		}
	}
	return reactor.Continue
}

func commandDocs(c *conn, args [][]byte, out *outbound) reactor.Status {
	list := c.cache.commands.list
	if len(args) > 2 {
		list = nil
		for _, name := range args[2:] {
			if cmd := c.cache.commands.findPath(name); cmd != nil {
				list = append(list, cmd)
			}
		}
	}
	document(list, out)
	return reactor.Continue
}

// help lists the subcommands of args[0].
func help(c *conn, args [][]byte, out *outbound) reactor.Status {
	cmd := c.cache.commands.find(args[0])
	out.Send(resp.Array(1 + 2*len(cmd.subs.list)))
	out.Send(resp.Simple(strings.ToUpper(cmd.name) + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"))
	for _, sub := range cmd.subs.list {
		out.Send(resp.Simple(strings.ToUpper(sub.name[len(cmd.name)+1:])))
		out.Send(resp.Simple("    " + sub.about + "."))
	}
	return reactor.Continue
}
