package memcache

import "bytes"

// A Verb is what a command asks for.
type Verb uint8

// The verbs, with the fields of Command that have a meaning for them. Those of all are Verb, Err and Noreply.
const (
	Unknown Verb = iota // no command, with Err set

	Get  // Keys
	Gets // Keys
	Gat  // Keys, Exptime
	Gats // Keys, Exptime

	Set     // Key, Flags, Exptime, Data
	Add     // as Set
	Replace // as Set
	Append  // as Set; memcached ignores Flags and Exptime
	Prepend // as Append
	Cas     // as Set, and Unique

	Delete    // Key
	Incr      // Key, Delta
	Decr      // Key, Delta
	Touch     // Key, Exptime
	FlushAll  // Exptime: the delay
	Verbosity // none
	Stats     // Args
	Version   // none
	Quit      // none

	MetaGet        // mg: Key, Meta, Args
	MetaSet        // ms: Key, Meta, Args, Flags, Exptime, Data
	MetaDelete     // md: Key, Meta, Args
	MetaArithmetic // ma: Key, Meta, Args, Delta
	MetaNoop       // mn: none
	MetaDebug      // me: Key, Meta.Base64

	Admin // a command to run memcached itself, such as slabs or watch: Args, its name included
)

const (
	// MaxKey is the length of the longest key in bytes. One in base64 must not be longer before it is decoded.
	MaxKey = 250
	// MaxOpaque is the most bytes of an O flag, its letter included.
	MaxOpaque = 32
	// maxTokens is the number of words of a line that memcached tells apart. More are only keys.
	maxTokens = 23
)

// A Command is one decoded request. It lives per loop and is reused for all connections of it: what it refers to is valid until
// OnInbound returns, and whoever keeps a part of it longer copies it. Only the fields that [Verb] names have a meaning.
type Command struct {
	Verb Verb
	// Noreply says that the client wants no answer. For meta commands it is the q flag, which suppresses only the usual outcome.
	Noreply bool
	// Err, if set, is what to answer, unless Noreply, in place of running the command. Of a command with ErrTooLarge, Key is valid: memcached
	// removes the item that set and ms would have replaced.
	Err Error

	Key  []byte // decoded, where it was in base64
	Keys []byte // with spaces between them, none longer than MaxKey: see NextKey
	Data []byte

	Flags   uint32
	Exptime int32  // seconds as memcached has it: 0 never, up to 30 days from now, beyond since 1970, negative at once
	Delta   uint64 // 1 where the D flag is not there
	Unique  uint64 // the value of a cas unique

	// Args are the words behind the name; for meta commands the flags, in their order.
	Args [][]byte
	Meta Meta

	tokens [maxTokens][]byte
	key    [MaxKey]byte // of one that was in base64
}

// Meta is what the flags of a meta command say, each if [Meta.Has] it.
type Meta struct {
	Mode    byte   // M: one of "EAPRS" for ms, of "I+D-" for ma; 0 where it is not there
	TTL     int32  // T: as Command.Exptime
	Vivify  int32  // N: the same
	Recache int32  // R: the same
	Initial uint64 // J
	Unique  uint64 // C
	// LongOpaque says that the O flag is longer than MaxOpaque. memcached finds that out only when mg and ma have done their work, and
	// then answers ErrOpaque.
	LongOpaque bool

	set uint64 // bit c-'A' for each flag c
}

// Has says whether the flag, a letter, is there.
func (m *Meta) Has(flag byte) bool { return m.set>>(flag-'A')&1 != 0 }

// NextKey returns the first of keys that have spaces between them, and the rest; nil when there is none.
func NextKey(keys []byte) (key, rest []byte) {
	for len(keys) > 0 && keys[0] == ' ' {
		keys = keys[1:]
	}
	if len(keys) == 0 {
		return nil, nil
	}
	if i := bytes.IndexByte(keys, ' '); i >= 0 {
		return keys[:i:i], keys[i+1:]
	}
	return keys[:len(keys):len(keys)], nil
}

// An Error says what was wrong with a command, in the words of memcached 1.6.18: the line to answer, without its end.
type Error string

// Errors that a server has to act on, or may answer itself.
const (
	ErrTooLarge  Error = "SERVER_ERROR object too large for cache"
	ErrMemory    Error = "SERVER_ERROR out of memory storing object"
	ErrNoNumber  Error = "CLIENT_ERROR cannot increment or decrement non-numeric value"
	ErrOpaque    Error = "CLIENT_ERROR opaque token too long"
	ErrFormat    Error = "CLIENT_ERROR bad command line format"
	ErrNoCommand Error = "ERROR"
)

const (
	errChunk     Error = "CLIENT_ERROR bad data chunk"
	errExptime   Error = "CLIENT_ERROR invalid exptime argument"
	errDelta     Error = "CLIENT_ERROR invalid numeric delta argument"
	errDelete    Error = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]"
	errToken     Error = "CLIENT_ERROR bad token in command line format"
	errDuplicate Error = "CLIENT_ERROR duplicate flag"
	errFlag      Error = "CLIENT_ERROR invalid flag"
	errEither    Error = "CLIENT_ERROR invalid or duplicate flag"
	errKey       Error = "CLIENT_ERROR error decoding key"
	errMode      Error = "CLIENT_ERROR incorrect length for M token"
	errSetMode   Error = "CLIENT_ERROR invalid mode for ms M token"
	errAddMode   Error = "CLIENT_ERROR invalid mode for ma M token"
	errInitial   Error = "CLIENT_ERROR invalid numeric initial value"
	errMetaDelta Error = "CLIENT_ERROR invalid numeric delta value"
	errFlagsGet  Error = "CLIENT_ERROR options flags are too long"
	errFlags     Error = "CLIENT_ERROR options flags too long"
)

// Error returns the text with the name of the package before it.
func (e Error) Error() string { return "memcache: " + string(e) }

// Reply returns the line that a server sends.
func (e Error) Reply() Reply { return Line(string(e)) }
