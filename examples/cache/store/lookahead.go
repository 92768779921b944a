package store

// lookaheadFrom is how many bytes are worth a look: with fewer, there is hardly a second command.
const lookaheadFrom = 64

// A Lookahead says when the keys of commands that have arrived are worth a Prefetch: for each command once. It knows how far the bytes
// have been looked at, counted from their end. That is a hint: it may be wrong where others have come meanwhile. Its zero value is
// ready for use.
type Lookahead struct {
	last int // bytes at the last look, or decoding
	done int // of those, bytes that no look has reached yet
}

// Due says whether the next command, at the beginning of n bytes that are to be decoded, is one that no look has reached. It is
// called before each command.
func (a *Lookahead) Due(n int) bool {
	due := n > lookaheadFrom && (n <= a.done || n > a.last)
	a.last = n
	return due
}

// Looked says that a look has reached all but the last rest bytes.
func (a *Lookahead) Looked(rest int) { a.done = rest }
