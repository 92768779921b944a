package store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWatch(t *testing.T) {
	now := int64(1000)
	s := New(Config{Shards: 1, Databases: 2, Now: func() int64 { return now }})
	defer s.Close()
	d := s.DB(0)
	k := []byte("k")
	for _, c := range []struct {
		name   string
		before bool // the key is there when the watch begins, until 5000
		do     func()
		dirty  bool
	}{
		{"nothing", true, func() {}, false},
		{"read", true, func() { d.Get(k, nil, GetOptions{}); d.Touch(k); d.Info(k) }, false},
		{"written", true, func() { put(t, d, "k", "w", PutOptions{}) }, true},
		{"condition failed", true, func() { put(t, d, "k", "w", PutOptions{If: IfAbsent}) }, false},
		{"written and deleted", false, func() { put(t, d, "k", "w", PutOptions{}); d.Delete(k) }, true},
		{"deleted while absent", false, func() { d.Delete(k) }, false},
		{"expired", true, func() { now = 5000 }, true},
		{"expired and reclaimed", true, func() { now = 5000; s.reclaim() }, true},
		{"expiry", true, func() { d.Expire(k, 9000, 0) }, true},
		{"expiry of a read", true, func() { d.Get(k, nil, GetOptions{SetExpire: true}) }, true},
		{"persist", true, func() { d.Persist(k) }, true},
		{"marked", true, func() { d.Mark(k, 0, 1, 0, false) }, true},
		{"added", false, func() { _, _ = d.Add(k, 1) }, true},
		{"flushed", true, func() { s.FlushAll() }, true},
		{"flushed while absent", false, func() { s.FlushAll() }, false},
		{"another key", true, func() { put(t, d, "l", "w", PutOptions{}) }, false},
		{"another database", true, func() { put(t, s.DB(1), "k", "w", PutOptions{}) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			now = 1000
			s.FlushAll()
			put(t, d, "x", "x", PutOptions{})
			if c.before {
				put(t, d, "k", "v", PutOptions{Expire: 5000})
			}
			var one, two Watch
			d.Unwatch(&two)
			d.Watch(k, &two)
			d.Watch(k, &one)
			d.Unwatch(&two)
			require.False(t, one.Dirty())
			c.do()
			require.Equal(t, c.dirty, one.Dirty())
			d.Unwatch(&one)
			require.Nil(t, d.made()[0].watches)
		})
	}
}
