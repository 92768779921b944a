package redis

import (
	"bytes"
	"strings"
)

// commands finds a command by its name. It does not change once it is made.
//
// A name of up to eight bytes is one word, and the slots a hash table of those: a map takes 25 ns for what takes 7 here, of 75 for a
// GET in all.
type commands struct {
	slots  [256]slot // open addressing
	byName map[string]*command
	list   []*command
	all    []*command // with the subcommands, by id; of the outermost table only
}

type slot struct {
	word uint64
	size int // of the name in bytes
	cmd  *command
}

const (
	wordSize = 8
	wordHash = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio, which spreads words that differ in few bits
)

func newTable(list ...*command) *commands {
	t := &commands{byName: make(map[string]*command, len(list)), list: list}
	for _, cmd := range list {
		name := cmd.name[strings.IndexByte(cmd.name, '|')+1:]
		if len(name) > maxName || t.byName[name] != nil {
			panic("command " + cmd.name + " is there twice, or its name is too long")
		}
		t.byName[name] = cmd
		if len(name) <= wordSize {
			word := toWord([]byte(name))
			i := word * wordHash >> 56
			for t.slots[i].cmd != nil {
				i = (i + 1) % uint64(len(t.slots))
			}
			t.slots[i] = slot{word, len(name), cmd}
		}
	}
	return t
}

// number gives the commands and subcommands their ids.
func (t *commands) number() {
	for _, cmd := range t.list {
		cmd.id = len(t.all)
		t.all = append(t.all, cmd)
		if cmd.subs != nil {
			for _, sub := range cmd.subs.list {
				sub.id = len(t.all)
				t.all = append(t.all, sub)
			}
		}
	}
}

func toWord(name []byte) (word uint64) {
	for i, ch := range name {
		word |= uint64(lower(ch)) << (8 * i)
	}
	return word
}

// find returns the command of a name in any case, or nil.
func (t *commands) find(name []byte) *command {
	if len(name) > wordSize {
		return t.findLong(name)
	}
	word := toWord(name)
	for i := word * wordHash >> 56; ; i = (i + 1) % uint64(len(t.slots)) {
		s := &t.slots[i]
		if s.cmd == nil || s.word == word && s.size == len(name) { // sizes differ where a name ends with zero bytes
			return s.cmd
		}
	}
}

const maxName = 16 // bytes of a name in the table

func (t *commands) findLong(name []byte) *command {
	if len(name) > maxName {
		return nil
	}
	var buf [maxName]byte
	for i, ch := range name {
		buf[i] = lower(ch)
	}
	return t.byName[string(buf[:len(name)])] // no allocation: the compiler knows this form
}

// findPath finds a command, or a subcommand in the form client|id.
func (t *commands) findPath(name []byte) *command {
	name, sub, nested := bytes.Cut(name, []byte{'|'})
	cmd := t.find(name)
	if cmd == nil || !nested {
		return cmd
	}
	if cmd.subs == nil {
		return nil
	}
	return cmd.subs.find(sub)
}

// resolve finds the command that the arguments call, a subcommand where it has any. container is what a subcommand, known or not, belongs to.
func (t *commands) resolve(args [][]byte) (cmd, container *command) {
	cmd = t.find(args[0])
	if cmd == nil || cmd.subs == nil || len(args) < 2 {
		return cmd, nil
	}
	return cmd.subs.find(args[1]), cmd
}

// takes says whether the command may have so many arguments.
func (cmd *command) takes(count int) bool {
	return count == cmd.arity || cmd.arity < 0 && count >= -cmd.arity
}

// indexes returns which of count arguments are keys: from first to last in steps.
func (k *keyRange) indexes(count int) (first, last, step int) {
	last = k.last
	if last < 0 {
		last += count
	}
	return k.first, min(last, count-1), k.step
}

// keysOf calls f with each key among the arguments.
func (cmd *command) keysOf(args [][]byte, f func(key []byte)) {
	if cmd.keys.first == 0 {
		return
	}
	first, last, step := cmd.keys.indexes(len(args))
	for i := first; i <= last; i += step {
		f(args[i])
	}
}
