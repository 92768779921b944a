package store

import "sync/atomic"

// A Watch learns of changes of one key. It belongs to its caller, from DB.Watch until DB.Unwatch returns, and may be used again
// then. A Watch that is not watching may be given to Unwatch.
type Watch struct {
	db     *DB
	sh     *shard
	next   *Watch // of those with the same hash
	key    string
	hash   uint32
	expire int64 // of the entry when the watch began; a later change of it makes the watch dirty by itself
	dirty  atomic.Bool
}

// Dirty says whether the key was written, removed or flushed, or has expired, since DB.Watch. It may be called at any time.
func (w *Watch) Dirty() bool {
	return w.dirty.Load() || w.expire != 0 && w.db.s.Now() >= w.expire
}

// Watch begins to watch a key.
func (d *DB) Watch(key []byte, w *Watch) {
	sh, h := d.lock(key)
	p := d.live(sh, h, key)
	w.db, w.sh, w.key, w.hash, w.expire = d, sh, string(key), uint32(h), 0
	w.dirty.Store(false)
	if p.e != nil {
		w.expire = p.e.expire
	}
	if sh.watches == nil {
		sh.watches = map[uint32]*Watch{}
	}
	w.next = sh.watches[w.hash]
	sh.watches[w.hash] = w
	d.unlock(sh)
}

// Unwatch ends to watch it.
func (d *DB) Unwatch(w *Watch) {
	if w.sh == nil {
		return
	}
	sh := w.sh
	sh.mu.Lock()
	for at := sh.watches[w.hash]; at != nil; at = at.next {
		if at.next == w {
			at.next = w.next
			break
		}
	}
	if sh.watches[w.hash] == w {
		sh.watches[w.hash] = w.next
	}
	if sh.watches[w.hash] == nil {
		delete(sh.watches, w.hash)
	}
	if len(sh.watches) == 0 {
		sh.watches = nil // so that writes need not look
	}
	sh.mu.Unlock()
	w.sh, w.next = nil, nil
}

// changed tells those who watch an entry's key.
func (sh *shard) changed(p *place) {
	if sh.watches == nil {
		return
	}
	key := p.e.key()
	for w := sh.watches[sh.index.hash(p.e)]; w != nil; w = w.next {
		if w.key == string(key) {
			w.dirty.Store(true)
		}
	}
}

// changedAll tells those who watch a key that is there.
func (sh *shard) changedAll() {
	for h, w := range sh.watches {
		for ; w != nil; w = w.next {
			if b, _ := sh.index.find(h, []byte(w.key)); b != nil {
				w.dirty.Store(true)
			}
		}
	}
}
