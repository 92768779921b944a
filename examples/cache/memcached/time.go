package memcached

// maxDelta is the largest exptime that counts from now, in seconds. Larger ones count from 1970.
const maxDelta = 60 * 60 * 24 * 30

const second = 1000 // milliseconds

// past is an expiry that is over. (0 is none.)
const past = 1

// expiry returns memcached's exptime as the store has it.
func (s *Server) expiry(exptime int32) int64 {
	switch {
	case exptime == 0:
		return 0
	case exptime < 0:
		return past
	case exptime > maxDelta:
		return int64(exptime) * second
	}
	return s.cfg.Store.Now() + int64(exptime)*second
}

// ttl returns the seconds until an expiry, a part of one as a whole, and -1 where there is none.
func (s *Server) ttl(expire int64) int64 {
	if expire == 0 {
		return -1
	}
	return max(0, (expire-s.cfg.Store.Now()+second-1)/second)
}

// isDue says whether an item with this expiry is to be fetched anew by whoever asks for that so long before.
func (s *Server) isDue(expire int64, recache int32) bool {
	switch {
	case expire == 0 || recache <= 0:
		return false
	case recache > maxDelta:
		return expire < int64(recache)*second
	}
	return s.ttl(expire) < int64(recache)
}

// flush removes all items, at once or after a delay. There is one such time: a later command takes the place of an earlier one.
func (s *Server) flush(delay int32) {
	at := s.expiry(delay)
	if at <= s.cfg.Store.Now() {
		s.flushAt.Store(0)
		s.cfg.DB.Flush()
		return
	}
	s.flushAt.Store(at)
}

// flushIfDue is called before each command: there is no clock of its own.
func (s *Server) flushIfDue() {
	at := s.flushAt.Load()
	if at != 0 && at <= s.cfg.Store.Now() && s.flushAt.CompareAndSwap(at, 0) {
		s.cfg.DB.Flush()
	}
}
