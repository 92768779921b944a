package load

import (
	"encoding/binary"
	"math/rand/v2"
)

// echo is answered with what was sent: a payload that is the same each time but for its beginning, which says which connection's
// how-many-eth request it is.
type echo struct {
	rest []byte // of the payload
	body bool   // it is sent from where it lies
}

func newEcho(size int) *echo {
	return &echo{rest: payload(size)[identitySize:], body: size >= bodySize}
}

func (e *echo) Session(conn int, _ *rand.Rand) Session {
	return &echoSession{echo: e, conn: uint64(conn)}
}

type echoSession struct {
	*echo
	conn, seq uint64
}

func (s *echoSession) identity(b []byte, tag uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, s.conn), tag)
}

func (s *echoSession) Next(b []byte) (request, body []byte, tag uint64) {
	s.seq++
	b = s.identity(b, s.seq)
	if s.body {
		return b, s.rest, s.seq
	}
	return append(b, s.rest...), nil, s.seq
}

func (s *echoSession) Check(tag uint64, pos int, b []byte) (n int, done bool, err error) {
	var id [identitySize]byte
	parts := [3][]byte{s.identity(id[:0], tag), s.rest}
	n, done, ok := match(b, pos, &parts)
	if !ok {
		return n, true, errWrong(b, pos, &parts)
	}
	return n, done, nil
}
