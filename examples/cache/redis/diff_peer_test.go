package redis_test

import (
	"errors"
	"fmt"
	"net"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/protoring/protoring/codec"
	"github.com/protoring/protoring/codec/resp"
)

// A wire is a command as it is sent.
type wire struct {
	args  []string
	raw   string // what is sent instead, when it is not empty
	ends  bool   // the server is expected to end the connection behind its reply
	scan  bool   // iterate to the end, and compare what was found as a set
	pause time.Duration
}

func (w wire) bytes() []byte {
	if w.raw != "" {
		return []byte(w.raw)
	}
	return resp.AppendCommand(nil, w.args...)
}

func (w wire) String() string {
	if w.raw != "" {
		return fmt.Sprintf("raw %q", w.raw)
	}
	words := make([]string, len(w.args))
	for i, a := range w.args {
		if words[i] = a; a == "" || strings.ContainsFunc(a, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) {
			words[i] = strconv.Quote(a)
		}
		if len(words[i]) > 100 {
			words[i] = fmt.Sprintf("%.40s…(%d bytes)", words[i], len(a))
		}
	}
	s := strings.Join(words, " ")
	if w.scan {
		s += "  (to the end)"
	}
	if w.pause > 0 {
		s += fmt.Sprintf("  (then %v pass)", w.pause)
	}
	return s
}

func (w wire) name() string {
	if len(w.args) == 0 {
		return ""
	}
	return strings.ToLower(w.args[0])
}

func (w wire) sub() string {
	if len(w.args) < 2 {
		return w.name()
	}
	return w.name() + " " + strings.ToLower(w.args[1])
}

// kind is the name, with the subcommand where it has any.
func (w wire) kind() string {
	switch w.name() {
	case "client", "config", "command", "object", "pubsub":
		return w.sub()
	}
	return w.name()
}

// A peer is one connection to a server. It follows what the connection's replies say of its state, as far as that decides how many
// replies a command has.
type peer struct {
	addr     string
	conn     net.Conn
	buf      []byte // received
	next     int    // of buf
	dec      resp.ReplyDecoder
	multi    bool
	queued   []wire
	channels map[string]bool
	patterns map[string]bool
	pushed   []string // messages, as they came
	closed   bool
}

// patience is how long a reply may take before it is taken to be missing.
const patience = 10 * time.Second

func dialPeer(addr string) (*peer, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = conn.(*net.TCPConn).SetLinger(0) // thousands of connections must not wait for their ports
	return &peer{addr: addr, conn: conn, channels: map[string]bool{}, patterns: map[string]bool{}}, nil
}

var errEnd = errors.New("the connection has ended")

// read returns the bytes of the next reply or message.
func (p *peer) read(v *resp.Value, wait time.Duration) (string, error) {
	deadline := false
	for {
		if p.next < len(p.buf) {
			if n, err := p.dec.Decode(p.buf[p.next:], v); err == nil {
				text := string(p.buf[p.next : p.next+n])
				p.next += n
				return text, nil
			} else if err != codec.More {
				return "", fmt.Errorf("%w in %q", err, p.buf[p.next:])
			}
		}
		if p.closed {
			return "", errEnd
		}
		if !deadline {
			_ = p.conn.SetReadDeadline(time.Now().Add(wait))
			deadline = true
		}
		if p.next == len(p.buf) {
			p.buf, p.next = p.buf[:0], 0
		}
		if len(p.buf) == cap(p.buf) {
			p.buf = append(make([]byte, 0, max(64<<10, 2*(len(p.buf)-p.next))), p.buf[p.next:]...)
			p.next = 0
		}
		n, err := p.conn.Read(p.buf[len(p.buf):cap(p.buf)])
		p.buf = p.buf[:len(p.buf)+n]
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return "", err
		}
		if err != nil {
			p.closed = true
			p.conn.Close()
		}
	}
}

// message says whether a value is no reply, but a message that was pushed.
func message(v *resp.Value) bool {
	if v.Kind != resp.KindPush && v.Kind != resp.KindArray || len(v.Items) < 2 {
		return false
	}
	switch string(v.Items[0].Data) {
	case "message":
		return len(v.Items) == 3
	case "pmessage":
		return len(v.Items) == 4
	case "invalidate", "tracking-redir-broken":
		return v.Kind == resp.KindPush
	}
	return false
}

// reply returns the next value that is no message.
func (p *peer) reply(v *resp.Value) (string, error) {
	for {
		text, err := p.read(v, patience)
		if err != nil || !message(v) {
			return text, err
		}
		p.push(v, text)
	}
}

// push keeps a message. Keys that became invalid are kept one by one, since how many a message has depends on when it was sent.
func (p *peer) push(v *resp.Value, text string) {
	data := &v.Items[len(v.Items)-1]
	switch redirected := len(v.Items) == 3 && string(v.Items[1].Data) == "__redis__:invalidate"; {
	case redirected && data.Kind == resp.KindArray:
		text = "redirected"
	case redirected && data.Kind == resp.KindNull:
		p.pushed = append(p.pushed, "redirected all "+text) // of one flush, but of several that track, in any order
		return
	case string(v.Items[0].Data) != "invalidate":
		if string(v.Items[0].Data) == "tracking-redir-broken" { // the number behind it is a connection's
			text = "broken"
		}
		p.pushed = append(p.pushed, text)
		return
	}
	if data.Kind == resp.KindNull {
		p.pushed = append(p.pushed, text+" all")
	}
	for _, key := range data.Items {
		p.pushed = append(p.pushed, fmt.Sprintf("%c invalid %q", v.Kind, key.Data))
	}
}

// outcome returns the replies to a command: usually one.
func (p *peer) outcome(w wire) (all []string, err error) {
	if w.scan {
		return p.iterate(w)
	}
	var v resp.Value
	text, err := p.reply(&v)
	if err != nil {
		return all, err
	}
	all = append(all, text)
	name := w.name()
	if p.multi && text == "+QUEUED\r\n" {
		p.queued = append(p.queued, w)
		return all, nil
	}
	switch name {
	case "multi":
		if text == "+OK\r\n" {
			p.multi, p.queued = true, nil
		}
	case "exec", "discard", "reset":
		if v.Kind != resp.KindError || strings.HasPrefix(text, "-EXECABORT") {
			p.multi = false
		}
		if name == "reset" && v.Kind != resp.KindError {
			clear(p.channels)
			clear(p.patterns)
		}
	case "subscribe", "psubscribe", "unsubscribe", "punsubscribe":
		return p.confirmations(w, &v, all)
	}
	if w.ends && name != "quit" || name == "quit" && v.Kind != resp.KindError {
		if more, err := p.reply(&v); err != errEnd {
			return append(all, more), fmt.Errorf("the connection does not end: %w", err)
		}
		all = append(all, "end")
	}
	return all, nil
}

// confirmations reads one for each channel.
func (p *peer) confirmations(w wire, v *resp.Value, all []string) ([]string, error) {
	set := p.channels
	if w.name()[0] == 'p' {
		set = p.patterns
	}
	want := len(w.args) - 1
	if want == 0 {
		want = max(1, len(set))
	}
	for {
		if v.Kind == resp.KindError || len(v.Items) != 3 {
			return all, nil
		}
		if key := string(v.Items[1].Data); strings.HasSuffix(w.name(), "unsubscribe") {
			delete(set, key)
		} else {
			set[key] = true
		}
		if len(all) == want {
			if len(w.args) == 1 {
				sort.Strings(all) // the order is that of a hash table, and so are the counts
				for i := range all {
					all[i] = all[i][:strings.LastIndexByte(all[i], ':')]
				}
			}
			return all, nil
		}
		text, err := p.reply(v)
		if err != nil {
			return all, err
		}
		all = append(all, text)
	}
}

// iterate scans to the end.
func (p *peer) iterate(w wire) ([]string, error) {
	found := map[string]bool{}
	args := append([]string(nil), w.args...)
	for range 10_000 {
		if _, err := p.conn.Write(resp.AppendCommand(nil, args...)); err != nil {
			return nil, err
		}
		var v resp.Value
		text, err := p.reply(&v)
		if err != nil {
			return nil, err
		}
		if len(v.Items) != 2 {
			return []string{text}, nil
		}
		for _, key := range v.Items[1].Items {
			found[strconv.Quote(string(key.Data))] = true
		}
		if args[1] = string(v.Items[0].Data); args[1] == "0" {
			break
		}
	}
	return sorted(found), nil
}

func sorted(set map[string]bool) (list []string) {
	for key := range set {
		list = append(list, key)
	}
	sort.Strings(list)
	return list
}

// nextMessage waits for one message. A reply that comes instead is returned with an error.
func (p *peer) nextMessage(wait time.Duration) (string, error) {
	var v resp.Value
	text, err := p.read(&v, max(wait, time.Millisecond))
	if err == nil && !message(&v) {
		return text, errors.New("a reply of which nobody knows the command")
	}
	if err == nil {
		p.push(&v, text)
	}
	return "", err
}
