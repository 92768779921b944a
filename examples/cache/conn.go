package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/reactor"
)

// outbound is the way to a connection's peer, on its ring's goroutine.
type outbound = reactor.Outbound[resp.Reply]

// A conn is the reactor of one connection. It belongs to the ring's goroutine.
type conn struct {
	resp.Server
	cache *cache
	id    uint64
	name  string   // as set by the client
	rest  [][]byte // keys of an MGET that are to be answered when there is room
	pubsub
}

func (c *cache) connect(p reactor.Peer[resp.Reply]) *conn {
	n := &conn{cache: c, id: p.ID, pubsub: newPubsub(p)}
	n.DeliverErrors = true // so that a protocol error gets Redis' answer
	return n
}

// OnInbound finds the command and runs it, unless it must be refused.
func (c *conn) OnInbound(m *resp.Command, out *outbound) reactor.Status {
	if m.Err != "" {
		out.Send(m.Err.Reply())
		return reactor.Drain
	}
	args := m.Args
	cmd := c.cache.commands.find(args[0])
	if cmd == nil {
		return refusef(out, "ERR unknown command '%s', with args beginning with: %s", cut(args[0]), quoteArgs(args[1:]))
	}
	if cmd.subs != nil && len(args) > 1 {
		sub := cmd.subs.find(args[1])
		if sub == nil {
			return refusef(out, "ERR unknown subcommand '%s'. Try %s HELP.", cut(args[1]), strings.ToUpper(cmd.name))
		}
		cmd = sub
	}
	if len(args) < cmd.arity || len(args) < -cmd.arity || cmd.arity > 0 && len(args) > cmd.arity {
		return refuseArity(out, cmd.name)
	}
	if len(c.subs) > 0 && c.Version != 3 && cmd.flags&whileSubscribed == 0 {
		return refusef(out, "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context", cmd.name)
	}
	return cmd.do(c, args, out)
}

// OnClose ends the connection's subscriptions.
func (c *conn) OnClose(error) { c.unsubscribeAll() }

// Error texts that several commands have.
const (
	errSyntax  = "ERR syntax error"
	errInteger = "ERR value is not an integer or out of range"
	errMemory  = "OOM command not allowed when used memory > 'maxmemory'."
)

// refuse answers with an error.
func refuse(out *outbound, text string) reactor.Status {
	out.Send(resp.Error(text))
	return reactor.Continue
}

// refusef answers with an error that repeats words of the client's. Redis cuts line ends at its ends.
func refusef(out *outbound, format string, args ...any) reactor.Status {
	return refuse(out, strings.Trim(fmt.Sprintf(format, args...), "\r\n"))
}

func refuseArity(out *outbound, name string) reactor.Status {
	return refusef(out, "ERR wrong number of arguments for '%s' command", name)
}

// maxQuoted is the most bytes of a client's words that an error repeats.
const maxQuoted = 128

// cut returns what Redis repeats of a word: up to a zero byte, and not more than maxQuoted.
func cut(word []byte) []byte {
	word = word[:min(len(word), maxQuoted)]
	return untilZero(word)
}

func untilZero(word []byte) []byte {
	if i := bytes.IndexByte(word, 0); i >= 0 {
		word = word[:i]
	}
	return word
}

// quoteArgs returns the beginning of the arguments in the form that Redis has it.
func quoteArgs(args [][]byte) []byte {
	var text []byte
	for _, arg := range args {
		if len(text) >= maxQuoted {
			break
		}
		arg = cut(arg)
		arg = arg[:min(len(arg), maxQuoted-len(text))]
		text = fmt.Appendf(text, "'%s' ", arg)
	}
	return text
}

// is says whether arg is the word, which is in lower case, in any case.
func is(arg []byte, word string) bool {
	if len(arg) != len(word) {
		return false
	}
	for i, ch := range arg {
		if lower(ch) != word[i] {
			return false
		}
	}
	return true
}

func lower(ch byte) byte {
	if ch-'A' < 26 {
		return ch | 0x20
	}
	return ch
}
