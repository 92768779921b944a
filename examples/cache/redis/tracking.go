package redis

import (
	"slices"
	"strings"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

// Client-side caching: a connection that tracks is told when a key that it has read was changed, so that the client forgets its copy.
// A key is remembered before it is read, and looked up behind its change. So whoever has read an old value is told, and behind the
// reply that has it: messages leave behind what the reactor sends.

// trackOptions are what CLIENT TRACKING chooses.
type trackOptions struct {
	bcast, optIn, optOut, noLoop bool
	redirect                     int64 // the number of the connection that is told instead; 0: none
	to                           *subscriber
	prefixes                     [][]byte
}

const (
	errSwitchBcast  = "ERR You can't switch BCAST mode on/off" + offFirst
	errSwitchOpt    = "ERR You can't switch OPTIN/OPTOUT mode" + offFirst
	offFirst        = " before disabling tracking for this client, and then re-enabling it with a different mode."
	errNotTracking  = "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled"
	errPrefix       = "ERR PREFIX option requires BCAST mode to be enabled"
	errBcastOpt     = "ERR OPTIN and OPTOUT are not compatible with BCAST"
	errBothOpt      = "ERR You can't specify both OPTIN mode and OPTOUT mode"
	errRedirects    = "ERR A client can only redirect to a single other client"
	errRedirect     = "ERR The client ID you want redirect to does not exist"
	errCachingYes   = "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."
	errCachingNo    = "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."
	overlapExisting = "ERR Prefix '%s' overlaps with an existing prefix '%s'. Prefixes for a single client must not overlap."
	overlapProvided = "ERR Prefix '%s' overlaps with another provided prefix '%s'. Prefixes for a single client must not overlap."
)

func clientTracking(c *conn, args [][]byte, out *outbound) reactor.Status {
	o, text := c.parseTracking(args[3:])
	switch {
	case text != "":
		return refuse(out, text)
	case is(args[2], "off"):
		c.resetTracking()
		return ok(out)
	case !is(args[2], "on"):
		return refuse(out, errSyntax)
	}
	t := c.tracker
	on := t != nil && t.on
	switch {
	case !o.bcast && len(o.prefixes) > 0:
		return refuse(out, errPrefix)
	case on && t.bcast != o.bcast:
		return refuse(out, errSwitchBcast)
	case o.bcast && (o.optIn || o.optOut):
		return refuse(out, errBcastOpt)
	case o.optIn && o.optOut:
		return refuse(out, errBothOpt)
	case on && (o.optIn && t.optOut || o.optOut && t.optIn):
		return refuse(out, errSwitchOpt)
	}
	for i, p := range o.prefixes {
		if on {
			for _, other := range t.prefixes {
				if overlap(string(p), other) {
					return refusef(out, overlapExisting, untilZero(p), untilZero([]byte(other)))
				}
			}
		}
		for _, other := range o.prefixes[i+1:] {
			if overlap(string(p), string(other)) {
				return refusef(out, overlapProvided, untilZero(p), untilZero(other))
			}
		}
	}
	c.track(&o)
	return ok(out)
}

func overlap(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }

// parseTracking parses what follows ON or OFF. The text is that of an error, or empty.
func (c *conn) parseTracking(args [][]byte) (o trackOptions, text string) {
	for i := 0; i < len(args); i++ {
		more := i+1 < len(args)
		switch arg := args[i]; {
		case is(arg, "redirect") && more:
			i++
			if o.redirect != 0 {
				return o, errRedirects
			}
			var ok bool
			if o.redirect, ok = store.ParseInt(args[i]); !ok {
				return o, errInteger
			}
			if o.to = c.subscriberOf(uint64(o.redirect)); o.to == nil {
				return o, errRedirect
			}
		case is(arg, "bcast"):
			o.bcast = true
		case is(arg, "optin"):
			o.optIn = true
		case is(arg, "optout"):
			o.optOut = true
		case is(arg, "noloop"):
			o.noLoop = true
		case is(arg, "prefix") && more:
			i++
			o.prefixes = append(o.prefixes, args[i])
		default:
			return o, errSyntax
		}
	}
	return o, ""
}

// subscriberOf returns the connection of a number, or nil.
func (c *conn) subscriberOf(id uint64) (found *subscriber) {
	c.eachLoop(func(l *loop) {
		for _, n := range l.conns {
			if n.id == id && !n.shown.killed {
				found = n.sub
			}
		}
	})
	return found
}

// track begins to track, or changes how.
func (c *conn) track(o *trackOptions) {
	if c.tracker == nil {
		c.tracker = &tracker{sub: c.sub}
		c.cache.tracked.join(c.cache)
	}
	t := c.tracker
	t.mu.Lock()
	t.on, t.broken = true, false
	t.bcast, t.optIn, t.optOut, t.noLoop = o.bcast, o.optIn, o.optOut, o.noLoop
	t.redirect, t.to = o.redirect, o.to
	t.mu.Unlock()
	if o.to != nil {
		o.to.mu.Lock()
		o.to.target = true
		o.to.mu.Unlock()
	}
	var prefixes []string
	if o.bcast && len(o.prefixes) == 0 && !slices.Contains(t.prefixes, "") {
		prefixes = []string{""}
	}
	for _, p := range o.prefixes {
		prefixes = append(prefixes, string(p))
	}
	t.prefixes = append(t.prefixes, prefixes...)
	slices.Sort(t.prefixes)
	c.cache.tracked.enable(t, prefixes)
	c.setVersion()
	c.showTracking()
	c.special &^= tracking
	if !o.bcast {
		c.special |= tracking
	}
}

// resetTracking ends to track. Keys that were read meanwhile stay in the table, as in Redis: they are told of if the connection tracks
// again.
func (c *conn) resetTracking() {
	c.special &^= tracking
	t := c.tracker
	if t == nil || !t.on {
		return
	}
	t.mu.Lock()
	t.on, t.broken, t.bcast, t.noLoop = false, false, false, false
	t.optIn, t.optOut, t.caching = false, false, false
	t.mu.Unlock()
	c.cache.tracked.disable(t)
	t.prefixes = nil
	c.showTracking()
}

// untrack is called when the connection ends.
func (c *conn) untrack() {
	c.sub.mu.Lock()
	c.sub.closed = true
	lost := c.sub.target && c.sub.queued.Load() > 0
	c.sub.mu.Unlock()
	if lost {
		c.cache.tellLost(c.sub)
	}
	t := c.tracker
	if t == nil {
		return
	}
	c.resetTracking()
	t.mu.Lock()
	t.sub, t.to = nil, nil // the table may keep t for long
	t.mu.Unlock()
	c.cache.tracked.leave(c.cache)
}

func clientCaching(c *conn, args [][]byte, out *outbound) reactor.Status {
	t := c.tracker
	switch {
	case t == nil || !t.on:
		return refuse(out, errNotTracking)
	case is(args[2], "yes") && !t.optIn:
		return refuse(out, errCachingYes)
	case is(args[2], "no") && !t.optOut:
		return refuse(out, errCachingNo)
	case !is(args[2], "yes") && !is(args[2], "no"):
		return refuse(out, errSyntax)
	}
	t.caching = true
	return ok(out)
}

// trackFlags returns the letters of CLIENT LIST, and where messages go.
func (c *conn) trackFlags() (letters string, redirect int64) {
	t := c.tracker
	if t == nil || !t.on {
		return "", -1
	}
	letters = "t"
	t.mu.Lock()
	if t.broken {
		letters += "R"
	}
	t.mu.Unlock()
	if t.bcast {
		letters += "B"
	}
	return letters, t.redirect
}

// showTracking notes them.
func (c *conn) showTracking() {
	c.show(func(s *shown) { s.tracks, s.redirect = c.trackFlags() })
}

func clientGetRedir(c *conn, _ [][]byte, out *outbound) reactor.Status {
	_, redirect := c.trackFlags()
	out.Send(resp.Int(redirect))
	return reactor.Continue
}

func clientTrackingInfo(c *conn, _ [][]byte, out *outbound) reactor.Status {
	flags := []string{"off"}
	var prefixes []string
	if t := c.tracker; t != nil && t.on {
		t.mu.Lock()
		broken := t.broken
		t.mu.Unlock()
		flags[0] = "on"
		for _, f := range []struct {
			set  bool
			name string
		}{{t.bcast, "bcast"}, {t.optIn, "optin"}, {t.optIn && t.caching, "caching-yes"}, {t.optOut, "optout"},
			{t.optOut && t.caching, "caching-no"}, {t.noLoop, "noloop"}, {broken, "broken_redirect"}} {
			if f.set {
				flags = append(flags, f.name)
			}
		}
		prefixes = t.prefixes
	}
	out.Send(resp.Map(3))
	out.Send(resp.BulkString("flags"))
	out.Send(resp.Set(len(flags)))
	for _, f := range flags {
		out.Send(resp.BulkString(f))
	}
	out.Send(resp.BulkString("redirect"))
	_, redirect := c.trackFlags()
	out.Send(resp.Int(redirect))
	out.Send(resp.BulkString("prefixes"))
	out.Send(resp.Array(len(prefixes)))
	for _, p := range prefixes {
		out.Send(resp.BulkString(p))
	}
	return reactor.Continue
}
