package redis

import (
	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

// partsFrom is the size of an argument in bytes from which it is put together where it stays, as it arrives, and not held twice.
const partsFrom = 64 << 10

// large are the arguments of a command that arrive in parts.
type large struct {
	arg     int // that arrives
	builder store.BlobBuilder
	blobs   map[int]*store.Blob // those that have arrived, by argument
	refused bool                // there is no memory: what else arrives is dropped, and the command refused
}

// part takes a piece of an argument.
func (c *conn) part(m *resp.Command) reactor.Status {
	s := c.cache.store
	l := c.large
	if l == nil {
		l = &large{blobs: map[int]*store.Blob{}}
		c.large = l
	}
	if l.builder.Len() == 0 { // the first piece, or one that follows nothing
		if len(m.Args) > 0 {
			l.arg = len(m.Args)
		}
		l.builder = s.NewBlob()
		if most := s.MaxMemory(); most > 0 && len(m.Part)+m.Rest > most {
			l.refuse() // before all else is evicted for it
		}
	}
	if !l.refused && l.builder.Append(m.Part) != nil {
		l.refuse()
	}
	if m.Rest == 0 && !l.refused {
		l.blobs[l.arg] = l.builder.Finish()
	}
	return reactor.Continue
}

func (l *large) refuse() {
	l.refused = true
	l.drop()
}

// drop gives the memory back.
func (l *large) drop() {
	l.builder.Discard()
	for i, b := range l.blobs {
		b.Release()
		delete(l.blobs, i)
	}
}

// whole runs a command whose large arguments have arrived. In args they are nil.
func (c *conn) whole(args [][]byte, out *outbound) reactor.Status {
	l := c.large
	defer func() {
		l.drop()
		c.large = nil
	}()
	if l.refused {
		for i := range args {
			if args[i] == nil {
				args[i] = []byte{}
			}
		}
		cmd, container := c.cache.commands.resolve(args)
		text := c.refusal(cmd, container, args)
		if text == "" {
			text = errMemory
		}
		return c.reject(cmd, text, out)
	}
	cmd := c.cache.commands.find(args[0])
	if args[0] != nil && cmd != nil && cmd.subs == nil && c.special == 0 && cmd.takes(len(args)) && l.areValues(cmd) {
		return c.run(cmd, args, out)
	}
	for i, b := range l.blobs {
		args[i] = b.AppendRange(make([]byte, 0, b.Len()), 0, b.Len())
	}
	l.drop()
	cmd = c.cache.commands.find(args[0])
	if cmd == nil || cmd.subs != nil || c.special != 0 || !cmd.takes(len(args)) {
		return c.look(args, out)
	}
	return c.run(cmd, args, out)
}

// areValues says whether the arguments are all values that the command stores as they are.
func (l *large) areValues(cmd *command) bool {
	for i := range l.blobs {
		switch cmd.name {
		case "set", "setnx", "getset":
			if i != 2 {
				return false
			}
		case "setex", "psetex":
			if i != 3 {
				return false
			}
		case "mset", "msetnx":
			if i == 0 || i%2 != 0 {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// value returns argument i as a value to store. It is asked for once.
func (c *conn) value(args [][]byte, i int) store.Source {
	if c.large != nil {
		if b := c.large.blobs[i]; b != nil {
			delete(c.large.blobs, i)
			return store.Whole(b)
		}
	}
	return store.Bytes(args[i])
}
