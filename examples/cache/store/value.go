package store

import "time"

// A Value is what a key holds. It is in one of two forms: small values are bytes in a buffer of the caller's; large ones, of
// about 8 KiB with the key and more, are a Blob that the caller holds a reference of.
type Value struct {
	bytes []byte
	blob  *Blob
}

// Len returns the number of bytes.
func (v *Value) Len() int {
	if v.blob != nil {
		return v.blob.Len()
	}
	return len(v.bytes)
}

// Bytes returns a small value. It lies in the buffer that Get or Put was given, or in a larger one that took its place; the
// caller owns it. It is nil for a Blob, and for no other value of a key.
func (v *Value) Bytes() []byte { return v.bytes }

// Blob returns a large value, nil for a small one. The caller calls Release when it needs it no more.
func (v *Value) Blob() *Blob { return v.blob }

// Release gives a Blob back, if it is one.
func (v *Value) Release() {
	if v.blob != nil {
		v.blob.Release()
		v.blob = nil
	}
}

// AppendTo appends the value in either form.
func (v *Value) AppendTo(dst []byte) []byte {
	if v.blob != nil {
		return v.blob.AppendRange(dst, 0, v.blob.Len())
	}
	return append(dst, v.bytes...)
}

// An Item is a value and what is kept with it.
type Item struct {
	Value
	Expire  int64         // milliseconds since 1970; 0: never
	Version uint64        // never 0, and no other key's; another one with each write of the key's value, flags or marks (not of its expiry)
	Flags   uint32        // the caller's
	Marks   uint8         // the caller's
	Fetched bool          // it was read since it was written, before this Get
	Idle    time.Duration // since the use before this one, in whole seconds
}

// GetOptions say how Get reads. The zero value counts a use, and a hit or a miss.
type GetOptions struct {
	Quiet     bool  // count neither a use, nor a hit or a miss
	SetExpire bool  // set the expiry in the same instant. The Item has the one before
	Expire    int64 // with SetExpire: milliseconds since 1970; 0: never. A time that is not in the future removes the key
}

// A Source is a value to write. Its bytes are lent until Put returns.
type Source struct {
	head, tail []byte
	blob       *Blob
}

// Bytes is a value in one piece.
func Bytes(p []byte) Source { return Source{head: p} }

// Join is a value in two pieces, one after the other.
func Join(head, tail []byte) Source { return Source{head: head, tail: tail} }

// Whole is a Blob. Put takes the caller's reference over, whatever its outcome.
func Whole(b *Blob) Source { return Source{blob: b} }

// Len returns the number of bytes.
func (src *Source) Len() int {
	if src.blob != nil {
		return src.blob.Len()
	}
	return len(src.head) + len(src.tail)
}

// A Condition says when Put stores.
type Condition uint8

// The conditions of Put.
const (
	Always Condition = iota
	IfAbsent
	IfPresent
	IfVersion // the key is there, with PutOptions.Version
)

// PutOptions say how Put stores. The zero value stores in any case, without expiry.
type PutOptions struct {
	If           Condition
	Version      uint64 // for IfVersion
	KeepTTL      bool   // keep the expiry of the value that is replaced
	Expire       int64  // milliseconds since 1970; 0: never. A time that is not in the future removes the key
	Flags        uint32
	Marks        uint8
	WantPrevious bool   // return what was there, whether or not the value was stored
	Previous     []byte // the buffer for it, from its beginning
}

// A PutResult is what Put did and found.
type PutResult struct {
	Stored   bool   // the condition held, so that the new value was stored
	Existed  bool   // the key was there
	Version  uint64 // of the entry that is there now, the old or the new one; 0: none
	Previous Item   // with WantPrevious and Existed; the caller releases it
}

// An ExpireIf is a set of conditions on the expiry that a key has. A key without expiry is taken for one that never comes.
type ExpireIf uint8

// The conditions of Expire.
const (
	IfNone ExpireIf = 1 << iota
	IfSome
	IfLater
	IfEarlier
)

func (c ExpireIf) holds(was, at int64) bool {
	return !(c&IfNone != 0 && was != 0 ||
		c&IfSome != 0 && was == 0 ||
		c&IfLater != 0 && (was == 0 || at <= was) ||
		c&IfEarlier != 0 && was != 0 && at >= was)
}

// Info is what is known of a key.
type Info struct {
	Expire  int64 // milliseconds since 1970; 0: never
	Version uint64
	Flags   uint32
	Marks   uint8
	Fetched bool          // it was read since it was written
	Blob    bool          // the value is large and kept by reference
	Size    int           // bytes of the value
	Cost    int           // bytes that are accounted for the entry
	Idle    time.Duration // since the last use, in whole seconds
	Freq    int           // uses that the eviction remembers; a small number
}

// Keys is a list of keys in one slice, for Scan to append to. It is reused after Reset.
type Keys struct {
	data []byte
	ends []int
}

// Len returns the number of keys.
func (k *Keys) Len() int { return len(k.ends) }

// At returns key i. It is valid until Reset, or the next call of Scan.
func (k *Keys) At(i int) []byte {
	begin := 0
	if i > 0 {
		begin = k.ends[i-1]
	}
	return k.data[begin:k.ends[i]:k.ends[i]]
}

// Reset empties the list and keeps its memory.
func (k *Keys) Reset() { k.data, k.ends = k.data[:0], k.ends[:0] }

func (k *Keys) add(key []byte) {
	k.data = append(k.data, key...)
	k.ends = append(k.ends, len(k.data))
}
