package store

// lookaheadFrom is how many bytes are worth a look: with fewer, there is hardly a second command.
const lookaheadFrom = 64

// A Lookahead has the keys of commands that have arrived together fetched before the first of them is decoded, those of each command
// once. It knows how far the bytes have been looked at, counted from their end. That is a hint: it may be wrong where others have come
// meanwhile. Its zero value is ready for use.
type Lookahead struct {
	last int // bytes at the last look, or decoding
	done int // of those, bytes that no look has reached yet
}

// Look is called before the command at the beginning of b is decoded. Where no look has reached it, and several have arrived, their
// keys, as far as there is room in keys, are fetched from d. peek stores the keys of commands in keys, and returns their number and
// where the last of them ends.
func (a *Lookahead) Look(d *DB, b []byte, keys [][]byte, peek func(b []byte, keys [][]byte) (n, end int)) {
	if !a.due(len(b)) {
		return
	}
	n, end := peek(b, keys)
	if n > 1 {
		d.Prefetch(keys[:n])
	}
	a.done = len(b) - end
}

// due says whether the next command, at the beginning of n bytes, is one that no look has reached.
func (a *Lookahead) due(n int) bool {
	due := n > lookaheadFrom && (n <= a.done || n > a.last)
	a.last = n
	return due
}
