package memcached

import (
	"strconv"

	"github.com/protoring/protoring/codec/memcache"
	"github.com/protoring/protoring/examples/cache/store"
)

// An outcome is what became of an attempt to change an item.
type outcome uint8

const (
	stored outcome = iota
	notStored
	exists   // with another cas unique
	notFound // where one was given
	noMemory
	noNumber
)

// storedLines and storedCodes are the answers of commands with data.
var (
	storedLines = [...]string{stored: "STORED", notStored: "NOT_STORED", exists: "EXISTS", notFound: "NOT_FOUND"}
	storedCodes = [...]memcache.Code{stored: memcache.HD, notStored: memcache.NS, exists: memcache.EX, notFound: memcache.NF}
)

// An update is how a value is to be stored.
type update struct {
	verb   memcache.Verb // Set and those like it
	unique uint64        // for Cas; for Append and Prepend, if not zero
	stale  bool          // Cas stores over a newer item, which stays stale
	marks  uint8
	expire int64
}

func (c *conn) set(m *memcache.Command, out *outbound) {
	o, _ := c.put(m, update{verb: m.Verb, unique: uniqueOf(m), expire: c.s.expiry(m.Exptime)})
	if o == noMemory {
		if m.Verb == memcache.Set {
			c.db.Delete(m.Key) // as where the value is too large
		}
		say(m, string(memcache.ErrMemory), out)
		return
	}
	say(m, storedLines[o], out)
}

// put stores the data of a command. version is that of the new item.
func (c *conn) put(m *memcache.Command, u update) (o outcome, version uint64) {
	c.count(cmdSet)
	po := store.PutOptions{Expire: u.expire, Flags: m.Flags, Marks: u.marks}
	switch u.verb {
	case memcache.Add:
		po.If = store.IfAbsent
	case memcache.Replace:
		po.If = store.IfPresent
	case memcache.Append, memcache.Prepend:
		return c.join(m.Key, m.Data, u)
	case memcache.Cas:
		return c.swap(m, u, po)
	}
	res, err := c.db.Put(m.Key, store.Bytes(m.Data), po)
	switch {
	case err != nil:
		c.count(storeNoMemory)
		return noMemory, 0
	case !res.Stored:
		return notStored, 0
	}
	return stored, res.Version
}

// swap stores over an item with a given version, or with a newer one.
func (c *conn) swap(m *memcache.Command, u update, po store.PutOptions) (outcome, uint64) {
	for {
		po := po
		po.If, po.Version = store.IfVersion, u.unique
		if u.stale || u.unique == 0 {
			info, ok := c.db.Info(m.Key)
			switch {
			case !ok:
				c.count(casMisses)
				return notFound, 0
			case u.unique == 0 || u.unique > info.Version:
				c.count(casBadval)
				return exists, 0
			case u.unique < info.Version:
				po.Version, po.KeepTTL = info.Version, true
				po.Marks = u.marks | markStale | info.Marks&markSent
			}
		}
		res, err := c.db.Put(m.Key, store.Bytes(m.Data), po)
		switch {
		case err != nil:
			c.count(storeNoMemory)
			return noMemory, 0
		case res.Stored:
			c.count(casHits)
			return stored, res.Version
		case !res.Existed:
			c.count(casMisses)
			return notFound, 0
		case !u.stale:
			c.count(casBadval)
			return exists, 0
		} // it was written since it was looked at
	}
}

// join appends to an item, or prepends. It keeps flags and expiry.
func (c *conn) join(key, data []byte, u update) (outcome, uint64) {
	for {
		it, ok := c.find(key, store.GetOptions{Quiet: true})
		if !ok {
			return notStored, 0
		}
		if u.unique != 0 && it.Version != u.unique {
			it.Release()
			return exists, 0
		}
		if memcache.ItemSize(len(key), it.Flags, it.Len()+len(data)) > c.s.cfg.MaxItem {
			it.Release()
			return notStored, 0
		}
		var src store.Source
		switch {
		case it.Blob() != nil:
			whole, err := c.joinBlob(it.Blob(), data, u.verb == memcache.Append)
			it.Release()
			if err != nil {
				return notStored, 0
			}
			src = store.Whole(whole)
		case u.verb == memcache.Append:
			src = store.Join(it.Bytes(), data)
		default:
			src = store.Join(data, it.Bytes())
		}
		res, err := c.db.Put(key, src, store.PutOptions{If: store.IfVersion, Version: it.Version, KeepTTL: true, Flags: it.Flags})
		switch {
		case err != nil || !res.Existed:
			return notStored, 0
		case res.Stored:
			return stored, res.Version
		}
	}
}

// joinBlob makes a large value of one and of data.
func (c *conn) joinBlob(old *store.Blob, data []byte, behind bool) (*store.Blob, error) {
	b := c.s.cfg.Store.NewBlob()
	var err error
	if !behind {
		err = b.Append(data)
	}
	if err == nil {
		err = b.AppendRange(old, 0, old.Len())
	}
	if err == nil && behind {
		err = b.Append(data)
	}
	if err != nil {
		b.Discard()
		return nil, err
	}
	return b.Finish(), nil
}

func (c *conn) remove(m *memcache.Command, out *outbound) {
	if c.db.Delete(m.Key) {
		c.count(deleteHits)
		say(m, "DELETED", out)
		return
	}
	c.count(deleteMisses)
	say(m, "NOT_FOUND", out)
}

func (c *conn) touch(m *memcache.Command, out *outbound) {
	c.count(cmdTouch)
	it, ok := c.find(m.Key, store.GetOptions{SetExpire: true, Expire: c.s.expiry(m.Exptime)})
	it.Release()
	if ok {
		c.count(touchHits)
		say(m, "TOUCHED", out)
		return
	}
	c.count(touchMisses)
	say(m, "NOT_FOUND", out)
}

// maxNumber is the most digits of a number.
const maxNumber = 20

// A sum is what became of an item with a number.
type sum struct {
	number  uint64
	version uint64
	expire  int64
}

func (c *conn) add(m *memcache.Command, out *outbound) {
	s, o := c.addTo(m.Key, m.Delta, m.Verb == memcache.Decr, 0, nil)
	switch o {
	case stored:
		if !m.Noreply {
			out.Send(memcache.Number(s.number))
		}
	case noNumber:
		say(m, string(memcache.ErrNoNumber), out)
	case noMemory:
		say(m, "SERVER_ERROR out of memory", out)
	default:
		say(m, "NOT_FOUND", out)
	}
}

// addTo adds to the number in an item, with the unique version if it is not zero, and sets its expiry if one is given. A number that needs
// no more digits than before is filled with spaces and stays in its place, with the item's marks; it keeps its flags in any case.
func (c *conn) addTo(key []byte, delta uint64, down bool, unique uint64, expire *int64) (s sum, o outcome) {
	hits, misses := incrHits, incrMisses
	if down {
		hits, misses = decrHits, decrMisses
	}
	for {
		it, ok := c.find(key, store.GetOptions{Quiet: true})
		if !ok {
			c.count(misses)
			return s, notFound
		}
		if it.Blob() != nil || it.Len() == 0 {
			it.Release()
			return s, noNumber
		}
		if unique != 0 && it.Version != unique {
			return s, exists
		}
		old := it.Bytes()
		if s.number, ok = memcache.ParseUint(old); !ok {
			return s, noNumber
		}
		switch {
		case !down:
			s.number += delta
		case delta > s.number:
			s.number = 0
		default:
			s.number -= delta
		}
		o := store.PutOptions{If: store.IfVersion, Version: it.Version, KeepTTL: expire == nil, Flags: it.Flags}
		s.expire = it.Expire
		if expire != nil {
			o.Expire = *expire
		}
		text := strconv.AppendUint(c.loop.number[:0], s.number, 10)
		if len(text) <= len(old) {
			o.Marks = it.Marks
			if it.Fetched {
				o.Marks |= markFetched
			}
			for i := copy(old, text); i < len(old); i++ {
				old[i] = ' '
			}
			text = old
		}
		res, err := c.db.Put(key, store.Bytes(text), o)
		switch {
		case err != nil:
			return s, noMemory
		case res.Stored:
			c.count(hits)
			s.version = res.Version
			return s, stored
		}
	}
}

// uniqueOf returns the cas unique of a text command.
func uniqueOf(m *memcache.Command) uint64 {
	if m.Verb == memcache.Cas {
		return m.Unique
	}
	return 0
}
