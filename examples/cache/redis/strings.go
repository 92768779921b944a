package redis

import (
	"math"
	"strconv"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

func get(c *conn, args [][]byte, out *outbound) reactor.Status {
	it, ok := c.find(args[1], store.GetOptions{Quiet: c.quiet})
	return c.sendItem(&it, ok, out)
}

// find reads a value. A small one is in the loop's memory, and valid until the next one.
func (c *conn) find(key []byte, o store.GetOptions) (store.Item, bool) {
	it, ok := c.db.Get(key, c.loop.scratch, o)
	if b := it.Bytes(); cap(b) > cap(c.loop.scratch) {
		c.loop.scratch = b[:0]
	}
	return it, ok
}

// sendItem answers with a value, a large one piece by piece, or with null.
func (c *conn) sendItem(it *store.Item, ok bool, out *outbound) reactor.Status {
	b := it.Blob()
	if b == nil {
		sendSmall(it, ok, out)
		return reactor.Continue
	}
	c.sendHead(b.Len(), out)
	return c.begin(&blobRest{blob: b}, out)
}

func sendSmall(it *store.Item, ok bool, out *outbound) {
	if ok {
		out.Send(resp.Bulk(it.Bytes()))
	} else {
		out.Send(resp.Null())
	}
}

// sendHead sends what comes before a large value.
func (c *conn) sendHead(size int, out *outbound) {
	var buf [24]byte
	head := append(strconv.AppendInt(append(buf[:0], '$'), int64(size), 10), lineEnd...)
	out.Send(resp.Raw(head))
}

// put stores a value, and lets those know who track the key, or want to know of the event.
func (c *conn) put(key []byte, v store.Source, o store.PutOptions, e *event) (store.PutResult, error) {
	if o.WantPrevious {
		o.Previous = c.loop.previous
	}
	r, err := c.db.Put(key, v, o)
	if b := r.Previous.Bytes(); cap(b) > cap(c.loop.previous) {
		c.loop.previous = b[:0]
	}
	if r.Stored {
		c.wrote(key, e)
		if o.Expire != 0 {
			c.happened(eventExpire, c.shown.db, key)
		}
	}
	return r, err
}

// wrote notes that a key has changed, and how, if someone wants to know.
func (c *conn) wrote(key []byte, e *event) {
	c.changed(key)
	if c.cache.events.Load() != 0 {
		c.happened(e, c.shown.db, key)
	}
}

// changed notes that a key has changed, if someone tracks keys.
func (c *conn) changed(key []byte) {
	if c.cache.trackers.Load() > 0 {
		c.loop.changed.add(key)
	}
}

// tellChanged tells those who want to know what a command has changed, when no lock is held.
func (c *conn) tellChanged(out *outbound) {
	l := c.loop
	if l.flushed {
		l.flushed = false
		c.cache.invalidateAll(c, out)
	}
	if l.changed.Len() > 0 {
		c.cache.invalidate(c, c.shown.db, &l.changed, out)
		l.changed.Reset()
	}
	for _, e := range l.events {
		c.cache.publishEvent(e)
	}
	clear(l.events)
	l.events = l.events[:0]
	if cap(l.events) > keptEvents {
		l.events = nil
	}
}

// set is on its own where there are no options: what they need is copied from function to function, which takes 20 ns.
func set(c *conn, args [][]byte, out *outbound) reactor.Status {
	if len(args) > 3 {
		return setWith(c, args, out)
	}
	if _, err := c.db.Put(args[1], c.value(args, 2), store.PutOptions{}); err != nil {
		return refuseStore(out, err)
	}
	c.wrote(args[1], eventSet)
	return ok(out)
}

func setWith(c *conn, args [][]byte, out *outbound) reactor.Status {
	o, text := c.parseSet(args[3:])
	if text != "" {
		return refuse(out, text)
	}
	r, err := c.put(args[1], c.value(args, 2), o, eventSet)
	switch {
	case err != nil:
		r.Previous.Release()
		return refuseStore(out, err)
	case o.WantPrevious:
		return c.sendItem(&r.Previous, r.Existed, out)
	case !r.Stored:
		out.Send(resp.Null())
		return reactor.Continue
	}
	return ok(out)
}

// A timeOption is an option that says when the key expires.
type timeOption struct {
	name     string
	unit     int64 // milliseconds
	relative bool
}

var timeOptions = [...]timeOption{{"ex", 1000, true}, {"px", 1, true}, {"exat", 1000, false}, {"pxat", 1, false}}

// parseSet parses what follows the value of a SET. The text is that of an error, or empty.
func (c *conn) parseSet(args [][]byte) (o store.PutOptions, text string) {
	var when timeOption
	var amount []byte
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case is(arg, "nx") && o.If != store.IfPresent:
			o.If = store.IfAbsent
		case is(arg, "xx") && o.If != store.IfAbsent:
			o.If = store.IfPresent
		case is(arg, "get"):
			o.WantPrevious = true
		case is(arg, "keepttl") && amount == nil:
			o.KeepTTL = true
		default:
			option, ok := findTimeOption(arg)
			if !ok || o.KeepTTL || i+1 == len(args) || amount != nil && option != when { // the same one again counts
				return o, errSyntax
			}
			i++
			when, amount = option, args[i]
		}
	}
	if amount == nil {
		return o, ""
	}
	o.Expire, text = c.expiry(amount, when.unit, when.relative, "set")
	return o, text
}

func findTimeOption(arg []byte) (timeOption, bool) {
	for _, option := range timeOptions {
		if is(arg, option.name) {
			return option, true
		}
	}
	return timeOption{}, false
}

// expiry parses the time of a key that a command stores. The text is that of an error, or empty.
func (c *conn) expiry(amount []byte, unit int64, relative bool, name string) (at int64, text string) {
	n, ok := store.ParseInt(amount)
	if !ok {
		return 0, errInteger
	}
	if at, ok = c.instant(n, unit, relative); !ok || n <= 0 {
		return 0, "ERR invalid expire time in '" + name + "' command"
	}
	return at, ""
}

// instant returns the time that is meant by n units, from now on if relative, in milliseconds since 1970. It reports whether that
// fits 64 bits.
func (c *conn) instant(n, unit int64, relative bool) (int64, bool) {
	if n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return 0, false
	}
	n *= unit
	if relative {
		now := c.cache.store.Now()
		if n > math.MaxInt64-now {
			return 0, false
		}
		n += now
	}
	return n, true
}

func getEX(c *conn, args [][]byte, out *outbound) reactor.Status {
	o, text := c.parseGetEX(args[2:])
	if text != "" && text != errSyntax { // the time is looked at only if it is needed
		if _, found := c.db.Info(args[1]); !found {
			text, o = "", store.GetOptions{}
		}
	}
	if text != "" {
		return refuse(out, text)
	}
	persist := o.SetExpire && o.Expire == 0
	if persist {
		o.SetExpire = false
	}
	it, ok := c.find(args[1], o)
	switch {
	case !ok:
	case persist && c.db.Persist(args[1]): // with all locks held, so in the same instant
		c.wrote(args[1], eventPersist)
	case o.SetExpire:
		c.wrote(args[1], c.expiryEvent(o.Expire))
	}
	return c.sendItem(&it, ok, out)
}

func (c *conn) parseGetEX(args [][]byte) (o store.GetOptions, text string) {
	var when timeOption
	var amount []byte
	o.Quiet = c.quiet
	for i := 0; i < len(args); i++ {
		if is(args[i], "persist") && amount == nil {
			o.SetExpire = true
			continue
		}
		option, ok := findTimeOption(args[i])
		if !ok || o.SetExpire || i+1 == len(args) || amount != nil && option != when {
			return o, errSyntax
		}
		i++
		when, amount = option, args[i]
	}
	if amount == nil {
		return o, ""
	}
	o.SetExpire = true
	o.Expire, text = c.expiry(amount, when.unit, when.relative, "getex")
	return o, text
}

func getDel(c *conn, args [][]byte, out *outbound) reactor.Status {
	for {
		it, ok := c.find(args[1], store.GetOptions{})
		if ok && !c.db.DeleteIf(args[1], it.Version) {
			it.Release() // another one wrote it meanwhile
			continue
		}
		if ok {
			c.wrote(args[1], eventDel)
		}
		return c.sendItem(&it, ok, out)
	}
}

func getSet(c *conn, args [][]byte, out *outbound) reactor.Status {
	r, err := c.put(args[1], c.value(args, 2), store.PutOptions{WantPrevious: true}, eventSet)
	if err != nil {
		r.Previous.Release()
		return refuseStore(out, err)
	}
	return c.sendItem(&r.Previous, r.Existed, out)
}

func setNX(c *conn, args [][]byte, out *outbound) reactor.Status {
	r, err := c.put(args[1], c.value(args, 2), store.PutOptions{If: store.IfAbsent}, eventSet)
	if err != nil {
		return refuseStore(out, err)
	}
	return answer(r.Stored, out)
}

func setEX(c *conn, args [][]byte, out *outbound) reactor.Status {
	return c.setExpiring(args, "setex", 1000, out)
}

func psetEX(c *conn, args [][]byte, out *outbound) reactor.Status {
	return c.setExpiring(args, "psetex", 1, out)
}

func (c *conn) setExpiring(args [][]byte, name string, unit int64, out *outbound) reactor.Status {
	at, text := c.expiry(args[2], unit, true, name)
	if text != "" {
		return refuse(out, text)
	}
	if _, err := c.put(args[1], c.value(args, 3), store.PutOptions{Expire: at}, eventSet); err != nil {
		return refuseStore(out, err)
	}
	return ok(out)
}

// mget answers key by key, and what does not fit the output when there is room. Up to there, nobody's transaction comes in between.
func mget(c *conn, args [][]byte, out *outbound) reactor.Status {
	out.Send(resp.Array(len(args) - 1))
	r := valuesRest{keys: args[1:]}
	if r.send(c, out) {
		return reactor.Continue
	}
	left := r // not r itself, which then is on the stack
	left.keys = clone(r.keys)
	c.rest = append(c.rest, &left)
	c.mode = holding
	return reactor.Pause
}

// mset is MSETNX as well.
func mset(c *conn, args [][]byte, out *outbound) reactor.Status {
	onlyNew := len(args[0]) == len("msetnx")
	if len(args)%2 == 0 {
		return refuseArity(out, string(lowered(args[0])))
	}
	if onlyNew {
		for i := 1; i < len(args); i += 2 {
			if _, ok := c.db.Info(args[i]); ok {
				return answer(false, out)
			}
		}
	}
	for i := 1; i < len(args); i += 2 {
		if _, err := c.put(args[i], c.value(args, i+1), store.PutOptions{}, eventSet); err != nil {
			return refuseStore(out, err)
		}
	}
	if onlyNew {
		return answer(true, out)
	}
	return ok(out)
}

func lowered(word []byte) []byte {
	b := make([]byte, len(word))
	for i, ch := range word {
		b[i] = lower(ch)
	}
	return b
}
