package codectest

import (
	"bytes"
	"fmt"
	"runtime/debug"

	"github.com/protoring/protoring/codec"
)

// stale overwrites memory that a decoder may no longer look at.
const stale = 0xCC

// A conn calls a decoder as the runtime does.
type conn[In any] struct {
	dec  codec.Decoder[In]
	res  codec.Resumer[In] // dec, if it is one
	need int               // bytes that the next call needs
	seen int               // bytes that the last call saw, after a More without a size
	skip int               // bytes that are to be skipped before the next message
}

func newConn[In any](dec codec.Decoder[In]) conn[In] {
	res, _ := dec.(codec.Resumer[In])
	return conn[In]{dec: dec, res: res}
}

// decode calls the decoder once with b, which is not empty, and returns the number of bytes consumed. message reports
// whether m holds one; more that the connection waits for bytes; failure is the decoder's error; err is a breach of the contract.
func (c *conn[In]) decode(b []byte, m *In) (n int, message, more bool, failure, err error) {
	verb := "Decode"
	if c.seen > 0 && c.res != nil {
		verb = "Resume"
		n, failure = c.res.Resume(b, c.seen, m)
	} else {
		n, failure = c.dec.Decode(b, m)
	}
	c.seen, c.need = 0, 0
	switch failure {
	case nil:
		if n <= 0 || n > len(b) {
			return 0, false, false, nil, fmt.Errorf("%s of %d bytes returned a message of %d bytes", verb, len(b), n)
		}
		return n, true, false, nil, nil
	case codec.More:
		if n != 0 && n <= len(b) {
			return 0, false, false, nil, fmt.Errorf("%s of %d bytes returned More with n = %d", verb, len(b), n)
		}
		c.need = n
		if n == 0 {
			c.seen = len(b)
			c.need = len(b) + 1
		}
		return 0, false, true, nil, nil
	case codec.Skip:
		if n <= 0 {
			return 0, false, false, nil, fmt.Errorf("%s of %d bytes returned Skip with n = %d", verb, len(b), n)
		}
		if n > len(b) {
			c.skip = n - len(b)
			n = len(b)
		}
		return n, false, false, nil, nil
	}
	return 0, false, false, failure, nil
}

// run decodes transcript on a new connection that receives it in pieces of these sizes.
func (c *checker[In]) run(sizes func(yield func(int) bool), transcript []byte) (*outcome, error) {
	conn := newConn(c.cfg.New())
	out := &outcome{}
	in, at, end := 0, 0, 0 // index of the In; what is held is transcript[at:end]
	for size := range sizes {
		if end == len(transcript) {
			break
		}
		end = min(end+size, len(transcript))
		skipped := min(conn.skip, end-at)
		conn.skip -= skipped
		at += skipped
		out.consumed = at
		if at == end || end-at < conn.need {
			continue
		}
		lent := bytes.Clone(transcript[at:end])
		if err := c.deliver(&conn, lent[:len(lent):len(lent)], &c.ins[in], out); err != nil {
			return nil, fmt.Errorf("delivery of bytes %d to %d: %w", at, end, err)
		}
		in = 1 - in // another connection's message takes its place
		at = out.consumed
		if out.failure != "" {
			break
		}
	}
	return out, nil
}

// deliver decodes the messages in lent, which it overwrites.
func (c *checker[In]) deliver(conn *conn[In], lent []byte, m *In, out *outcome) error {
	defer overwrite(lent)
	before := bytes.Clone(lent)
	for len(lent) > 0 {
		n, message, more, failure, err := call(conn, lent, m)
		if err != nil {
			return fmt.Errorf("at byte %d: %w", out.consumed, err)
		}
		if message {
			out.messages = append(out.messages, c.cfg.Describe(m))
		}
		touched := n
		if more || failure != nil {
			touched = len(lent)
		}
		if !bytes.Equal(lent[:touched], before[:touched]) {
			return fmt.Errorf("at byte %d: the decoder changed the bytes that it was lent", out.consumed)
		}
		if failure != nil {
			out.failure = "error: " + failure.Error()
		}
		if more || failure != nil {
			return nil
		}
		overwrite(lent[:n])
		lent, before = lent[n:], before[n:]
		out.consumed += n
	}
	return nil
}

func overwrite(b []byte) {
	for i := range b {
		b[i] = stale
	}
}

// call is conn.decode, with a panic of the decoder as an error.
func call[In any](c *conn[In], b []byte, m *In) (n int, message, more bool, failure, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic with %.200q: %v\n%s", b, p, debug.Stack())
		}
	}()
	return c.decode(b, m)
}
