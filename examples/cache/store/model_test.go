package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

type modelEntry struct {
	value   string
	expire  int64
	version uint64
	flags   uint32
	marks   uint8
}

// A model is what a DB must be: a map, with the same calls.
type model struct {
	t       *testing.T
	s       *Store
	d       *DB
	now     int64
	rng     *rand.Rand
	noise   []byte // values are parts of it
	entries map[string]*modelEntry
	watches []*modelWatch
	step    int
}

const noiseSize = 1 << 20

type modelWatch struct {
	Watch
	key   string
	dirty bool
}

func (m *model) live(k string) *modelEntry {
	e := m.entries[k]
	if e != nil && e.expire != 0 && e.expire <= m.now {
		m.remove(k)
		return nil
	}
	return e
}

func (m *model) remove(k string) {
	if m.entries[k] != nil {
		m.touch(k)
		delete(m.entries, k)
	}
}

func (m *model) touch(k string) {
	for _, w := range m.watches {
		if w.key == k {
			w.dirty = true
		}
	}
}

func (m *model) equal(e *modelEntry, it *Item) {
	require.Equal(m.t, e.value, string(it.AppendTo(nil)), m.step)
	require.Equal(m.t, e.expire, it.Expire, m.step)
	require.Equal(m.t, e.version, it.Version, m.step)
	require.Equal(m.t, e.flags, it.Flags, m.step)
	require.Equal(m.t, e.marks, it.Marks, m.step)
	it.Release()
}

func (m *model) key() string {
	k := "key" + strconv.Itoa(m.rng.IntN(300))
	if k[3] == '7' {
		k += string(bytes.Repeat([]byte{'k'}, m.rng.IntN(2)*300))
	}
	return k
}

func (m *model) value() []byte {
	n := m.rng.IntN(100)
	switch m.rng.IntN(20) {
	case 0:
		n = m.rng.IntN(10_000)
	case 1:
		n = m.rng.IntN(300_000)
	case 2, 3, 4, 5:
		return strconv.AppendInt(nil, m.rng.Int64N(1000)-500, 10)
	}
	return m.noise[m.rng.IntN(noiseSize-n):][:n]
}

func (m *model) source(v []byte) Source {
	switch m.rng.IntN(3) {
	case 0:
		return Bytes(v)
	case 1:
		n := m.rng.IntN(len(v) + 1)
		return Join(v[:n], v[n:])
	}
	b := m.s.NewBlob()
	for len(v) > 0 {
		n := min(len(v), 1+m.rng.IntN(50_000))
		require.NoError(m.t, b.Append(v[:n]))
		v = v[n:]
	}
	return Whole(b.Finish())
}

func (m *model) put() {
	k := m.key()
	was := m.live(k)
	v := m.value()
	o := PutOptions{If: Condition(m.rng.IntN(4)), KeepTTL: m.rng.IntN(3) == 0, Flags: m.rng.Uint32(), Marks: uint8(m.rng.Uint32()),
		WantPrevious: m.rng.IntN(2) == 0}
	if was != nil {
		o.Version = was.version - uint64(m.rng.IntN(2))
	}
	if m.rng.IntN(2) == 0 {
		o.Expire = m.now + m.rng.Int64N(5000) - 10
	}
	r, err := m.d.Put([]byte(k), m.source(v), o)
	require.NoError(m.t, err)
	stored := o.If == Always || o.If == IfAbsent && was == nil || o.If == IfPresent && was != nil ||
		o.If == IfVersion && was != nil && o.Version == was.version
	require.Equal(m.t, was != nil, r.Existed, m.step)
	require.Equal(m.t, stored, r.Stored, m.step)
	if o.WantPrevious && was != nil {
		m.equal(was, &r.Previous)
	}
	if !stored {
		return
	}
	if o.KeepTTL && was != nil {
		o.Expire = was.expire
	}
	m.touch(k)
	m.entries[k] = &modelEntry{value: string(v), expire: o.Expire, version: r.Version, flags: o.Flags, marks: o.Marks}
	m.live(k)
}

func (m *model) add() {
	k := m.key()
	was := m.live(k)
	delta := m.rng.Int64N(2000) - 1000
	sum, err := m.d.Add([]byte(k), delta)
	if was == nil {
		require.NoError(m.t, err)
		require.Equal(m.t, delta, sum)
		was = &modelEntry{}
		m.entries[k] = was
	} else {
		n, ok := ParseInt(was.value)
		if !ok {
			require.ErrorIs(m.t, err, ErrInteger)
			return
		}
		require.Equal(m.t, n+delta, sum, m.step)
	}
	i, ok := m.d.Info([]byte(k))
	require.True(m.t, ok)
	require.NotEqual(m.t, was.version, i.Version)
	m.touch(k)
	was.value, was.version, was.marks = strconv.FormatInt(sum, 10), i.Version, 0
}

func (m *model) scan() {
	var keys Keys
	seen := map[string]bool{}
	for cursor := uint64(0); ; {
		cursor = m.d.Scan(cursor, 1+m.rng.IntN(30), &keys)
		if cursor == 0 {
			break
		}
	}
	for i := range keys.Len() {
		k := string(keys.At(i))
		require.False(m.t, seen[k], "without changes none is returned twice")
		seen[k] = true
		require.NotNil(m.t, m.live(k))
	}
	for k := range m.entries {
		require.Equal(m.t, m.live(k) != nil, seen[k])
	}
}

func (m *model) turn() {
	k := m.key()
	was := m.live(k)
	switch m.rng.IntN(16) {
	case 0, 1, 2:
		o := GetOptions{Quiet: m.rng.IntN(2) == 0, SetExpire: m.rng.IntN(4) == 0}
		if m.rng.IntN(2) == 0 {
			o.Expire = m.now + m.rng.Int64N(3000) - 10
		}
		it, ok := m.d.Get([]byte(k), nil, o)
		require.Equal(m.t, was != nil, ok, m.step)
		if ok {
			m.equal(was, &it)
			if o.SetExpire {
				m.touch(k)
				was.expire = o.Expire
				m.live(k)
			}
		}
	case 3, 4, 5, 6:
		m.put()
	case 7, 8:
		require.Equal(m.t, was != nil, m.d.Delete([]byte(k)), m.step)
		m.remove(k)
	case 9:
		m.add()
	case 10:
		at, c := m.now+m.rng.Int64N(6000)-500, ExpireIf(m.rng.IntN(16))
		ok := was != nil && c.holds(was.expire, at)
		require.Equal(m.t, ok, m.d.Expire([]byte(k), at, c), m.step)
		if ok {
			m.touch(k)
			was.expire = at
			m.live(k)
		}
	case 11:
		ok := was != nil && was.expire != 0
		require.Equal(m.t, ok, m.d.Persist([]byte(k)), m.step)
		if ok {
			m.touch(k)
			was.expire = 0
		}
	case 12:
		i, ok := m.d.Info([]byte(k))
		require.Equal(m.t, was != nil, ok, m.step)
		if ok {
			require.Equal(m.t, len(was.value), i.Size)
			require.Equal(m.t, was.expire, i.Expire)
			require.GreaterOrEqual(m.t, i.Cost, len(k)+len(was.value))
		}
		require.Equal(m.t, was != nil, m.d.Touch([]byte(k)))
	case 13:
		before, ok := m.d.Mark([]byte(k), 0, 1, 2, false)
		require.Equal(m.t, was != nil, ok, m.step)
		if ok {
			require.Equal(m.t, was.marks, before)
			m.touch(k)
			was.marks = before&^2 | 1
		}
	case 14:
		w := &modelWatch{key: k}
		m.d.Watch([]byte(k), &w.Watch)
		m.watches = append(m.watches, w)
	case 15:
		m.now += m.rng.Int64N(20)
		switch m.rng.IntN(200) {
		case 0:
			m.d.Flush()
			for k := range m.entries {
				m.remove(k)
			}
			require.Zero(m.t, m.s.Used())
		case 1:
			m.scan()
			check(m.t, m.s)
		}
		m.s.reclaim()
		for i, w := range m.watches {
			m.live(w.key)
			require.Equal(m.t, w.dirty, w.Dirty(), m.step)
			if m.rng.IntN(4) == 0 {
				m.d.Unwatch(&w.Watch)
				m.watches = append(m.watches[:i], m.watches[i+1:]...)
				break
			}
		}
	}
}

// TestModel drives a store and a map with the same calls.
func TestModel(t *testing.T) {
	for _, shards := range []int{1, 4} {
		t.Run(fmt.Sprint(shards, " shards"), func(t *testing.T) {
			m := &model{t: t, now: 1_000_000, rng: rand.New(rand.NewPCG(1, uint64(shards))), entries: map[string]*modelEntry{}}
			m.noise = make([]byte, noiseSize)
			for i := range m.noise {
				m.noise[i] = byte(m.rng.Uint32())
			}
			m.s = New(Config{Shards: shards, Databases: 2, Now: func() int64 { return m.now }})
			defer m.s.Close()
			m.d = m.s.DB(1)
			for m.step = range 40_000 {
				m.turn()
			}
			check(t, m.s)
			require.Nil(t, m.s.dbs[0].made(), "a database that nobody uses has no shards")
			for _, w := range m.watches {
				m.d.Unwatch(&w.Watch)
			}
			for i := range m.d.made() {
				require.Nil(t, m.d.made()[i].watches)
			}
		})
	}
}
