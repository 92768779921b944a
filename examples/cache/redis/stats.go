package redis

import (
	"crypto/rand"
	"encoding/hex"
	"sync"
	"time"

	"github.com/protoring/protoring/server"
)

// Stats are numbers since the server began, or since CONFIG RESETSTAT.
type Stats struct {
	Clients, Blocked, Tracking int // connections: all, those that wait, those that track keys
	Accepted, Rejected         uint64
	Commands                   uint64
	ByName                     []CommandStats    // of each command and subcommand, in the order of the table
	Errors                     map[string]uint64 // that were answered, by their codes, such as ERR
	Channels, Patterns         int               // that someone listens to
	Dropped                    uint64            // subscribers that did not read
	Keys, Used, Resident       int               // entries, bytes accounted for them, bytes taken from the system
	Hits, Misses               uint64
	Expired, Evicted           uint64
	BytesIn, BytesOut          uint64
	Reads, Writes              uint64 // receives and sends
	Network                    uint64 // bytes of memory to receive and send with
}

// CommandStats are those of one command.
type CommandStats struct {
	Name     string
	Calls    uint64
	Rejected uint64        // refused before they ran
	Failed   uint64        // that answered an error
	Duration time.Duration // in all, estimated from one of some calls
}

// Stats returns the numbers.
func (s *Server) Stats() Stats {
	return s.collect(func(f func(*loop)) {
		for _, l := range s.loops {
			l.mu.Lock()
			f(l)
			l.mu.Unlock()
		}
	})
}

// stats is Stats within a command.
func (c *conn) stats() Stats { return c.cache.collect(c.eachLoop) }

func (s *Server) collect(eachLoop func(func(*loop))) Stats {
	st := Stats{Clients: int(s.clients.Load()), Rejected: s.rejected.Load(), Channels: s.hub.count(), Patterns: s.hub.patterns(), Dropped: s.hub.dropped.Load()}
	all := s.commands.all
	st.ByName = make([]CommandStats, len(all))
	st.Errors = map[string]uint64{}
	eachLoop(func(l *loop) {
		for i := range all {
			st.ByName[i].Calls += l.stats[i].calls
			st.ByName[i].Rejected += l.stats[i].rejected
			st.ByName[i].Failed += l.stats[i].failed
			st.ByName[i].Duration += time.Duration(l.stats[i].duration)
			st.Commands += l.stats[i].calls
		}
		l.errors.addTo(st.Errors)
		for _, c := range l.conns {
			if c.shown.busy {
				st.Blocked++
			}
			if c.shown.tracks != "" {
				st.Tracking++
			}
		}
	})
	for i, cmd := range all {
		st.ByName[i].Name = cmd.name
	}
	keys := s.store.Stats()
	st.Keys, st.Used, st.Resident = keys.Keys, keys.Used, keys.Resident
	st.Hits, st.Misses, st.Expired, st.Evicted = keys.Hits, keys.Misses, keys.Expired, keys.Evicted
	net, base := s.cfg.Stats(), server.Stats{}
	if b := s.base.Load(); b != nil {
		base = *b
	}
	st.Accepted = s.accepted.Load()
	st.BytesIn, st.BytesOut = net.BytesIn-base.BytesIn, net.BytesOut-base.BytesOut
	st.Reads, st.Writes = net.Receives-base.Receives, net.Sends-base.Sends
	st.Network = net.Memory
	return st
}

// rates are what happens in a second, of late. They belong to Start's goroutine, but for what mu guards.
type rates struct {
	last   server.Stats
	lastAt time.Time

	mu  sync.Mutex
	now rate
	top int // the most bytes that were used when someone looked
}

// A rate is per second.
type rate struct{ commands, in, out float64 }

// rateWindow is about how many samples make a rate.
const rateWindow = 16

func (r *rates) sample(s server.Stats, at time.Time) {
	was, since := r.last, at.Sub(r.lastAt).Seconds()
	r.last, r.lastAt = s, at
	if since <= 0 || was == (server.Stats{}) {
		return
	}
	per := func(now, was uint64) float64 { return float64(now-was) / since }
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.commands += (per(s.Messages, was.Messages) - r.now.commands) / rateWindow
	r.now.in += (per(s.BytesIn, was.BytesIn) - r.now.in) / rateWindow
	r.now.out += (per(s.BytesOut, was.BytesOut) - r.now.out) / rateWindow
}

func (r *rates) current() rate {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// peak returns the most memory that anyone has seen in use.
func (s *Server) peak(used int) int {
	s.rates.mu.Lock()
	defer s.rates.mu.Unlock()
	s.rates.top = max(s.rates.top, used)
	return s.rates.top
}

// newRunID returns the 40 digits by which Redis' clients tell one life of a server from another.
func newRunID() string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}
