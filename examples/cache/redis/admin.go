package redis

import (
	"strconv"
	"time"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

func clock(_ *conn, _ [][]byte, out *outbound) reactor.Status {
	now := time.Now()
	out.Send(resp.Array(2))
	out.Send(resp.BulkString(strconv.FormatInt(now.Unix(), 10)))
	out.Send(resp.BulkString(strconv.FormatInt(int64(now.Nanosecond()/1000), 10)))
	return reactor.Continue
}

func lolwut(_ *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Verbatim("txt", "Redis ver. "+redisVersion+"\n"))
	return reactor.Continue
}

// shutdown asks for the end of the process, as a signal does. There is nothing to save.
func shutdown(c *conn, args [][]byte, out *outbound) reactor.Status {
	abort, save, noSave := false, false, false
	for _, arg := range args[1:] {
		switch {
		case is(arg, "now"), is(arg, "force"):
		case is(arg, "save"):
			save = true
		case is(arg, "nosave"):
			noSave = true
		case is(arg, "abort"):
			abort = true
		default:
			return refuse(out, errSyntax)
		}
	}
	switch {
	case abort && len(args) > 2, save && noSave:
		return refuse(out, errSyntax)
	case abort:
		return refuse(out, "ERR No shutdown in progress.")
	case c.cache.cfg.Shutdown == nil:
		return refuse(out, "ERR Errors trying to SHUTDOWN. Check logs.")
	}
	c.cache.cfg.Shutdown()
	return reactor.Continue
}

func memoryUsage(c *conn, args [][]byte, out *outbound) reactor.Status {
	for i := 3; i < len(args); i += 2 {
		if !is(args[i], "samples") || i+1 == len(args) {
			return refuse(out, errSyntax)
		}
		if n, ok := store.ParseInt(args[i+1]); !ok {
			return refuse(out, errInteger)
		} else if n < 0 {
			return refuse(out, errSyntax)
		}
	}
	if info, found := c.db.Info(args[2]); found {
		out.Send(resp.Int(int64(info.Cost)))
	} else {
		out.Send(resp.Null())
	}
	return reactor.Continue
}

func memoryStats(c *conn, _ [][]byte, out *outbound) reactor.Status {
	s := c.cache.store.Stats()
	list := []struct {
		name  string
		value int
	}{
		{"peak.allocated", c.cache.peak(s.Used)}, {"total.allocated", s.Used}, {"startup.allocated", 0}, {"replication.backlog", 0},
		{"clients.slaves", 0}, {"clients.normal", 0}, {"aof.buffer", 0}, {"overhead.total", 0}, {"keys.count", s.Keys},
		{"keys.bytes-per-key", s.Used / max(s.Keys, 1)}, {"dataset.bytes", s.Used}, {"allocator.allocated", s.Used},
		{"allocator.active", s.Resident}, {"allocator.resident", s.Resident},
	}
	out.Send(resp.Map(len(list)))
	for _, item := range list {
		out.Send(resp.BulkString(item.name))
		out.Send(resp.Int(int64(item.value)))
	}
	return reactor.Continue
}

func memoryDoctor(_ *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Verbatim("txt", "There is nothing to find: memory is accounted entry by entry, and bounded by maxmemory.\n"))
	return reactor.Continue
}

func memoryMallocStats(_ *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.BulkString("Stats not supported for the current allocator"))
	return reactor.Continue
}

func memoryPurge(_ *conn, _ [][]byte, out *outbound) reactor.Status { return ok(out) }

// There is no slow log, and no monitor of latencies: Prometheus and pprof tell more. Dashboards ask all the same.

func slowlogGet(_ *conn, args [][]byte, out *outbound) reactor.Status {
	if len(args) > 3 {
		return refusef(out, "ERR unknown subcommand or wrong number of arguments for '%s'. Try SLOWLOG HELP.", cut(args[1]))
	}
	if len(args) == 3 {
		if n, ok := store.ParseInt(args[2]); !ok || n < -1 {
			return refuse(out, "ERR count should be greater than or equal to -1")
		}
	}
	out.Send(resp.Array(0))
	return reactor.Continue
}

func slowlogLen(_ *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Int(0))
	return reactor.Continue
}

func slowlogReset(_ *conn, _ [][]byte, out *outbound) reactor.Status { return ok(out) }

func latencyLatest(_ *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Array(0))
	return reactor.Continue
}

func latencyHistory(_ *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Array(0))
	return reactor.Continue
}

func latencyReset(_ *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Int(0))
	return reactor.Continue
}

func latencyGraph(_ *conn, args [][]byte, out *outbound) reactor.Status {
	return refusef(out, "ERR No samples available for event '%s'", untilZero(args[2]))
}

func latencyDoctor(_ *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Verbatim("txt", "Latency is not monitored here. The admin address has profiles.\n"))
	return reactor.Continue
}

func latencyHistogram(_ *conn, _ [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Map(0))
	return reactor.Continue
}
