package main

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/protoring/protoring/examples/cache/redis"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/server"
)

// A family is one metric that is read from a snapshot.
type family[S any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(S) float64
}

func counter[S any](name, help string, read func(S) float64, labels ...string) family[S] {
	return family[S]{prometheus.NewDesc("cache_"+name+"_total", help, labels, nil), prometheus.CounterValue, read}
}

func gauge[S any](name, help string, read func(S) float64, labels ...string) family[S] {
	return family[S]{prometheus.NewDesc("cache_"+name, help, labels, nil), prometheus.GaugeValue, read}
}

const loopLabel = "loop"

func loopCounter(name, help string, read func(*server.Stats) uint64) family[*server.Stats] {
	return counter("loop_"+name, help, func(s *server.Stats) float64 { return float64(read(s)) }, loopLabel)
}

func loopGauge(name, help string, read func(*server.Stats) uint64) family[*server.Stats] {
	return gauge("loop_"+name, help, func(s *server.Stats) float64 { return float64(read(s)) }, loopLabel)
}

// loopFamilies are the runtime's own, for each loop.
var loopFamilies = []family[*server.Stats]{
	loopGauge("connections", "Open connections.", func(s *server.Stats) uint64 { return s.Conns }),
	loopCounter("accepted", "Connections accepted.", func(s *server.Stats) uint64 { return s.Accepted }),
	loopCounter("accept_errors", "Failed attempts to accept.", func(s *server.Stats) uint64 { return s.AcceptErrs }),
	loopCounter("messages", "Requests decoded.", func(s *server.Stats) uint64 { return s.Messages }),
	loopCounter("received_bytes", "Bytes received.", func(s *server.Stats) uint64 { return s.BytesIn }),
	loopCounter("sent_bytes", "Bytes sent.", func(s *server.Stats) uint64 { return s.BytesOut }),
	loopCounter("carried_bytes", "Bytes of cut or deferred requests that were copied.", func(s *server.Stats) uint64 { return s.Carried }),
	loopCounter("sends", "Sends handed to the kernel.", func(s *server.Stats) uint64 { return s.Sends }),
	loopCounter("short_sends", "Sends that took less than all.", func(s *server.Stats) uint64 { return s.ShortSends }),
	loopCounter("rearms", "Receives armed again.", func(s *server.Stats) uint64 { return s.Rearms }),
	loopCounter("buffers_missing", "Receives that ended for want of a buffer.", func(s *server.Stats) uint64 { return s.NoBufs }),
	loopCounter("enters", "System calls that submit and wait.", func(s *server.Stats) uint64 { return s.Enters }),
	loopCounter("submitted", "Operations submitted.", func(s *server.Stats) uint64 { return s.SQEs }),
	loopCounter("completed", "Completions.", func(s *server.Stats) uint64 { return s.CQEs }),
	loopCounter("overflows", "Completion queue overflows.", func(s *server.Stats) uint64 { return s.Overflows }),
	loopCounter("sleeps", "Waits that slept, or would have.", func(s *server.Stats) uint64 { return s.Sleeps }),
	loopCounter("spins", "Waits that ended while the loop looked for work.", func(s *server.Stats) uint64 { return s.Spins }),
	loopCounter("panics", "Panics in reactors and codecs.", func(s *server.Stats) uint64 { return s.Panics }),
	loopCounter("timed_out", "Connections closed by a timeout.", func(s *server.Stats) uint64 { return s.TimedOut }),
	loopCounter("shed", "Connections closed for memory.", func(s *server.Stats) uint64 { return s.Shed }),
	loopGauge("memory_bytes", "Memory to receive into, of cut requests, and of output.", func(s *server.Stats) uint64 { return s.Memory }),
}

var storeFamilies = []family[store.Stats]{
	gauge("keys", "Entries, of all databases.", func(s store.Stats) float64 { return float64(s.Keys) }),
	gauge("keys_expiring", "Entries with an expiry.", func(s store.Stats) float64 { return float64(s.Expiring) }),
	gauge("used_bytes", "Memory that is accounted for entries.", func(s store.Stats) float64 { return float64(s.Used) }),
	gauge("resident_bytes", "Memory taken from the system for entries.", func(s store.Stats) float64 { return float64(s.Resident) }),
	counter("hits", "Reads that found their key.", func(s store.Stats) float64 { return float64(s.Hits) }),
	counter("misses", "Reads that did not find their key.", func(s store.Stats) float64 { return float64(s.Misses) }),
	counter("expired", "Entries that expired.", func(s store.Stats) float64 { return float64(s.Expired) }),
	counter("evicted", "Entries that were evicted.", func(s store.Stats) float64 { return float64(s.Evicted) }),
}

const commandLabel = "command"

var redisFamilies = []family[*redis.Stats]{
	gauge("clients", "Connections of Redis' clients.", func(s *redis.Stats) float64 { return float64(s.Clients) }),
	gauge("clients_tracking", "Connections that track keys.", func(s *redis.Stats) float64 { return float64(s.Tracking) }),
	counter("clients_accepted", "Connections of Redis' clients, those that were refused among them.", func(s *redis.Stats) float64 { return float64(s.Accepted) }),
	counter("clients_rejected", "Connections refused because of -maxclients.", func(s *redis.Stats) float64 { return float64(s.Rejected) }),
	gauge("pubsub_channels", "Channels that someone listens to.", func(s *redis.Stats) float64 { return float64(s.Channels) }),
	gauge("pubsub_patterns", "Patterns that someone listens to.", func(s *redis.Stats) float64 { return float64(s.Patterns) }),
	counter("subscribers_dropped", "Subscribers closed because they did not read.", func(s *redis.Stats) float64 { return float64(s.Dropped) }),
}

var commandFamilies = []family[*redis.CommandStats]{
	counter("commands", "Commands that ran.", func(s *redis.CommandStats) float64 { return float64(s.Calls) }, commandLabel),
	counter("commands_rejected", "Commands refused before they ran.", func(s *redis.CommandStats) float64 { return float64(s.Rejected) }, commandLabel),
	counter("commands_failed", "Commands that answered an error.", func(s *redis.CommandStats) float64 { return float64(s.Failed) }, commandLabel),
}

// metrics reads what the cache counts when Prometheus asks. It keeps nothing.
type metrics struct {
	server *server.Server
	cache  *redis.Server
}

func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	describe(ch, loopFamilies)
	describe(ch, storeFamilies)
	describe(ch, redisFamilies)
	describe(ch, commandFamilies)
}

func describe[S any](ch chan<- *prometheus.Desc, families []family[S]) {
	for _, f := range families {
		ch <- f.desc
	}
}

func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for i, s := range m.server.LoopStats() {
		collect(ch, loopFamilies, &s, strconv.Itoa(i))
	}
	collect(ch, storeFamilies, m.cache.Store().Stats())
	stats := m.cache.Stats()
	collect(ch, redisFamilies, &stats)
	for i := range stats.ByName {
		if c := &stats.ByName[i]; c.Calls+c.Rejected > 0 {
			collect(ch, commandFamilies, c, c.Name)
		}
	}
}

func collect[S any](ch chan<- prometheus.Metric, families []family[S], s S, labels ...string) {
	for _, f := range families {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.read(s), labels...)
	}
}
