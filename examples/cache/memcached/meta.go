package memcached

import (
	"strconv"

	"github.com/protoring/protoring/codec/memcache"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

// Return flags are appended with a space before each.

func appendNumber(b []byte, flag byte, n int64) []byte {
	return strconv.AppendInt(append(b, ' ', flag), n, 10)
}

func appendUnique(b []byte, version uint64) []byte {
	return strconv.AppendUint(append(b, ' ', 'c'), version, 10)
}

func appendOpaque(b, flag []byte) []byte { return append(append(b, ' '), flag...) }

func appendKey(b, key []byte, binary bool) []byte {
	b = append(b, ' ', 'k')
	if binary {
		return append(memcache.AppendKey(b, key), ' ', 'b')
	}
	return append(b, key...)
}

// appendEcho appends the flags that every answer returns: the opaque and the key.
func appendEcho(b []byte, m *memcache.Command) []byte {
	for _, flag := range m.Args {
		switch flag[0] {
		case 'O':
			b = appendOpaque(b, flag)
		case 'k':
			b = appendKey(b, m.Key, m.Meta.Has('b'))
		}
	}
	return b
}

// metaGet is mg. Several clients may ask for one item that is missing, stale or about to expire: one of them wins, and is to fetch it.
func (c *conn) metaGet(m *memcache.Command, out *outbound) reactor.Status {
	meta := &m.Meta
	if meta.LongOpaque {
		return c.metaGetLong(m, out)
	}
	for quiet := meta.Has('u'); ; quiet = true {
		o := store.GetOptions{Quiet: quiet}
		if meta.Has('T') {
			o.SetExpire, o.Expire = true, c.s.expiry(meta.TTL)
		}
		it, ok := c.find(m.Key, o)
		created := false
		if !ok && meta.Has('N') {
			var again bool
			if it, ok, again = c.vivify(m, o.Expire); again {
				continue
			}
			created = ok
		}
		c.countRead(ok, meta.Has('T'))
		if !ok {
			if !m.Noreply {
				c.loop.line = appendEcho(c.loop.line[:0], m)
				out.Send(memcache.MetaStatus(memcache.EN, c.loop.line))
			}
			return reactor.Continue
		}
		line, won := c.appendItem(c.loop.line[:0], m, &it, o.Expire, created)
		c.loop.line = line
		if won && !created && (o.Expire == 0 || o.Expire > c.s.cfg.Store.Now()) {
			if was, ok := c.db.Mark(m.Key, it.Version, markSent, 0, false); !ok || was&markSent != 0 {
				it.Release() // another loop was faster
				continue
			}
		}
		return c.sendMeta(m, &it, line, out)
	}
}

// vivify makes an empty item where there is none. again says that there is one now.
func (c *conn) vivify(m *memcache.Command, ttl int64) (it store.Item, ok, again bool) {
	expire := int64(0)
	for _, flag := range m.Args {
		switch flag[0] {
		case 'N':
			expire = c.s.expiry(m.Meta.Vivify)
		case 'T':
			expire = ttl
		}
	}
	o := store.PutOptions{If: store.IfAbsent, Expire: expire, Marks: markSent}
	if m.Meta.Has('b') {
		o.Marks |= markBinary
	}
	if !m.Meta.Has('u') {
		o.Marks |= markFetched // by this command
	}
	res, err := c.db.Put(m.Key, store.Bytes(nil), o)
	if err != nil {
		return it, false, false
	}
	it.Version, it.Marks = res.Version, o.Marks&markBinary
	return it, res.Stored, !res.Stored
}

// appendItem appends what mg returns of an item, in the order of the flags, and says whether the client is the one to fetch it anew.
func (c *conn) appendItem(b []byte, m *memcache.Command, it *store.Item, ttl int64, created bool) (line []byte, won bool) {
	expire := it.Expire
	sent := it.Marks&markSent != 0
	for _, flag := range m.Args {
		switch flag[0] {
		case 'T':
			expire = ttl
		case 'N':
			if created {
				expire, won = c.s.expiry(m.Meta.Vivify), true
			}
		case 'R':
			won = won || !sent && !created && c.s.isDue(expire, m.Meta.Recache)
		case 's':
			b = appendNumber(b, 's', int64(it.Len()))
		case 't':
			b = appendNumber(b, 't', c.s.ttl(expire))
		case 'c':
			b = appendUnique(b, it.Version)
		case 'f':
			b = appendNumber(b, 'f', int64(it.Flags))
		case 'l':
			b = appendNumber(b, 'l', int64(it.Idle.Seconds()))
		case 'h':
			if it.Fetched || it.Marks&markFetched != 0 {
				b = append(b, " h1"...)
			} else {
				b = append(b, " h0"...)
			}
		case 'O':
			b = appendOpaque(b, flag)
		case 'k':
			b = appendKey(b, m.Key, it.Marks&markBinary != 0)
		}
	}
	if sent {
		b = append(b, " Z"...)
	}
	if it.Marks&markStale != 0 {
		b = append(b, " X"...)
		won = won || !sent
	}
	if won {
		b = append(b, " W"...)
	}
	return b, won
}

// sendMeta answers mg with an item.
func (c *conn) sendMeta(m *memcache.Command, it *store.Item, line []byte, out *outbound) reactor.Status {
	if !m.Meta.Has('v') {
		it.Release()
		out.Send(memcache.MetaStatus(memcache.HD, line))
		return reactor.Continue
	}
	if it.Blob() != nil {
		out.Send(memcache.MetaHead(line, it.Len()))
		return c.begin(&reading{blob: it.Blob()}, out)
	}
	out.Send(memcache.MetaValue(line, it.Bytes()))
	return reactor.Continue
}

// metaGetLong is mg with an opaque that is too long, which memcached finds out when it has done what the flags before it say.
func (c *conn) metaGetLong(m *memcache.Command, out *outbound) reactor.Status {
	o := store.GetOptions{Quiet: m.Meta.Has('u')}
	for _, late := range []byte("NTRlh") { // memcached counts the use later where one of these is there
		o.Quiet = o.Quiet || m.Meta.Has(late)
	}
	expire := int64(0)
	for _, flag := range beforeLong(m) {
		switch flag[0] {
		case 'T':
			o.SetExpire, o.Expire = true, c.s.expiry(m.Meta.TTL)
			expire = o.Expire
		case 'N':
			expire = c.s.expiry(m.Meta.Vivify)
		}
	}
	it, ok := c.find(m.Key, o)
	it.Release()
	if !ok && m.Meta.Has('N') {
		_, _ = c.db.Put(m.Key, store.Bytes(nil), store.PutOptions{If: store.IfAbsent, Expire: expire})
	}
	out.Send(memcache.ErrOpaque.Reply())
	return reactor.Continue
}

// beforeLong returns the flags before an opaque that is too long, or all.
func beforeLong(m *memcache.Command) [][]byte {
	if m.Meta.LongOpaque {
		for i, flag := range m.Args {
			if flag[0] == 'O' {
				return m.Args[:i]
			}
		}
	}
	return m.Args
}

// metaSet is ms.
func (c *conn) metaSet(m *memcache.Command, out *outbound) {
	meta := &m.Meta
	u := update{verb: memcache.Set, unique: meta.Unique, stale: meta.Has('I'), expire: c.s.expiry(m.Exptime)}
	if meta.Has('b') {
		u.marks = markBinary
	}
	switch meta.Mode {
	case 'E':
		u.verb = memcache.Add
	case 'A':
		u.verb = memcache.Append
	case 'P':
		u.verb = memcache.Prepend
	case 'R':
		u.verb = memcache.Replace
	}
	if meta.Has('C') && (u.verb == memcache.Set || u.verb == memcache.Replace) {
		u.verb = memcache.Cas
	}
	o, version := c.put(m, u)
	if o == noMemory {
		c.db.Delete(m.Key)
		out.Send(memcache.ErrMemory.Reply())
		return
	}
	if o == stored && m.Noreply {
		return
	}
	b := c.loop.line[:0]
	for _, flag := range m.Args {
		switch flag[0] {
		case 'O':
			b = appendOpaque(b, flag)
		case 'k':
			b = appendKey(b, m.Key, meta.Has('b'))
		case 'c':
			b = appendUnique(b, version)
		}
	}
	c.loop.line = b
	out.Send(memcache.MetaStatus(storedCodes[o], b))
}

// metaDelete is md.
func (c *conn) metaDelete(m *memcache.Command, out *outbound) {
	code := c.invalidate(m)
	switch code {
	case memcache.HD:
		c.count(deleteHits)
		if m.Noreply {
			return
		}
	default:
		c.count(deleteMisses)
	}
	c.loop.line = appendEcho(c.loop.line[:0], m)
	out.Send(memcache.MetaStatus(code, c.loop.line))
}

// invalidate removes an item, or marks it stale.
func (c *conn) invalidate(m *memcache.Command) memcache.Code {
	meta := &m.Meta
	for {
		if !meta.Has('C') && !meta.Has('I') {
			if c.db.Delete(m.Key) {
				return memcache.HD
			}
			return memcache.NF
		}
		info, ok := c.db.Info(m.Key)
		if !ok {
			return memcache.NF
		}
		if meta.Has('C') && info.Version != meta.Unique {
			return memcache.EX
		}
		switch {
		case !meta.Has('I'):
			ok = c.db.DeleteIf(m.Key, info.Version)
		case meta.Has('T'):
			ok = c.rewrite(m.Key, info.Version, c.s.expiry(meta.TTL))
		default:
			_, ok = c.db.Mark(m.Key, info.Version, markStale, markSent, true)
		}
		if ok {
			return memcache.HD
		}
	}
}

// rewrite marks an item stale and sets its expiry in one instant, and says whether it had the version.
func (c *conn) rewrite(key []byte, version uint64, expire int64) bool {
	it, ok := c.find(key, store.GetOptions{Quiet: true})
	if !ok {
		return false
	}
	o := store.PutOptions{If: store.IfVersion, Version: version, Expire: expire, Flags: it.Flags, Marks: it.Marks&^markSent | markStale}
	if it.Fetched {
		o.Marks |= markFetched
	}
	src := store.Bytes(it.Bytes())
	if it.Blob() != nil {
		src = store.Whole(it.Blob())
	}
	res, err := c.db.Put(key, src, o)
	if err != nil { // no room for a copy of what is there: it is better gone than taken for fresh
		return c.db.DeleteIf(key, version)
	}
	return res.Stored
}

// metaAdd is ma.
func (c *conn) metaAdd(m *memcache.Command, out *outbound) {
	meta := &m.Meta
	down := meta.Mode == 'D' || meta.Mode == '-'
	var expire *int64
	ttl, vivify := c.s.expiry(meta.TTL), c.s.expiry(meta.Vivify)
	for _, flag := range beforeLong(m) {
		if flag[0] == 'T' {
			expire = &ttl
		}
	}
	s, o := c.addTo(m.Key, m.Delta, down, meta.Unique, expire)
	created := false
	for o == notFound && meta.Has('N') {
		if s, o = c.create(m, ttl, vivify); o == exists { // somebody else did
			s, o = c.addTo(m.Key, m.Delta, down, meta.Unique, expire)
			continue
		}
		created = o == stored
	}
	switch o {
	case noNumber:
		out.Send(memcache.ErrNoNumber.Reply())
		return
	case noMemory:
		text := "SERVER_ERROR out of memory"
		if meta.Has('N') {
			text = "SERVER_ERROR Out of memory allocating new item"
		}
		out.Send(memcache.Line(text))
		return
	}
	if meta.LongOpaque {
		out.Send(memcache.ErrOpaque.Reply())
		return
	}
	if o != stored {
		c.loop.line = appendEcho(c.loop.line[:0], m)
		out.Send(memcache.MetaStatus(storedCodes[o], c.loop.line))
		return
	}
	if m.Noreply && !created {
		return
	}
	b := c.loop.line[:0]
	for _, flag := range m.Args {
		switch flag[0] {
		case 'c':
			b = appendUnique(b, s.version)
		case 't':
			b = appendNumber(b, 't', c.s.ttl(s.expire))
		case 'T':
			s.expire = ttl
		case 'N':
			if created {
				s.expire = vivify
			}
		case 'O':
			b = appendOpaque(b, flag)
		case 'k':
			b = appendKey(b, m.Key, meta.Has('b'))
		}
	}
	c.loop.line = b
	if !meta.Has('v') {
		out.Send(memcache.MetaStatus(memcache.HD, b))
		return
	}
	out.Send(memcache.MetaValue(b, strconv.AppendUint(c.loop.number[:0], s.number, 10)))
}

// create makes the item that ma did not find. The outcome is exists where there is one now.
func (c *conn) create(m *memcache.Command, ttl, vivify int64) (s sum, o outcome) {
	var po store.PutOptions
	po.If = store.IfAbsent
	for _, flag := range beforeLong(m) {
		switch flag[0] {
		case 'T':
			po.Expire = ttl
		case 'N':
			po.Expire = vivify
		}
	}
	if m.Meta.Has('b') {
		po.Marks = markBinary
	}
	res, err := c.db.Put(m.Key, store.Bytes(strconv.AppendUint(c.loop.number[:0], m.Meta.Initial, 10)), po)
	switch {
	case err != nil:
		return s, noMemory
	case !res.Stored:
		return s, exists
	}
	return sum{number: m.Meta.Initial, version: res.Version}, stored
}

// metaDebug is me. The class of memory is none of memcached's, and the size that of the store.
func (c *conn) metaDebug(m *memcache.Command, out *outbound) {
	c.count(cmdMeta)
	info, ok := c.db.Info(m.Key)
	if !ok {
		out.Send(memcache.MetaStatus(memcache.EN, nil))
		return
	}
	b := append(c.loop.line[:0], ' ')
	if info.Marks&markBinary != 0 {
		b = memcache.AppendKey(b, m.Key)
	} else {
		b = append(b, m.Key...)
	}
	exp := int64(-1)
	if info.Expire != 0 {
		exp = -c.s.ttl(info.Expire)
	}
	b = strconv.AppendInt(append(b, " exp="...), exp, 10)
	b = strconv.AppendInt(append(b, " la="...), int64(info.Idle.Seconds()), 10)
	b = strconv.AppendUint(append(b, " cas="...), info.Version, 10)
	if info.Fetched || info.Marks&markFetched != 0 {
		b = append(b, " fetch=yes"...)
	} else {
		b = append(b, " fetch=no"...)
	}
	b = strconv.AppendInt(append(b, " cls=1 size="...), int64(info.Cost), 10)
	c.loop.line = b
	out.Send(memcache.MetaStatus(memcache.ME, b))
}
