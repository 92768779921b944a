package store

import (
	"encoding/binary"
	"unsafe"
)

// An entry is the header of a slot. The key follows, and then the value, or the index of a Blob among the shard's.
type entry struct {
	size    uint32 // bytes of the value
	keyLen  uint16
	bits    uint8
	marks   uint8
	expire  int64 // milliseconds since 1970; 0: never
	version uint64
	flags   uint32
	used    uint32 // seconds since 1970 at the last use
}

const headerSize = int(unsafe.Sizeof(entry{}))

// MinEntry is the least memory that a key takes, in bytes: with a bound below it there can be none.
const MinEntry = headerSize

// The bits of an entry.
const (
	freqMask  uint8 = 3      // uses that the eviction remembers
	isNew     uint8 = 1 << 2 // in the queue of new entries, as far as is known
	isBlob    uint8 = 1 << 3
	isFetched uint8 = 1 << 4
	isLive    uint8 = 1 << 7 // false in slots that are free
)

// blobIndexSize is the size of what stands for a Blob.
const blobIndexSize = 4

// maxInline is the largest slot for an entry with its value inside: with one more byte a page would hold a single one.
const maxInline = pageSize / 2

// slotSize returns the bytes that an entry needs.
func slotSize(keyLen, valueLen int) (bytes int, blob bool) {
	if n := headerSize + keyLen + valueLen; n <= maxInline {
		return n, false
	}
	return headerSize + keyLen + blobIndexSize, true
}

func (e *entry) slotSize() int {
	if e.bits&isBlob != 0 {
		return headerSize + int(e.keyLen) + blobIndexSize
	}
	return headerSize + int(e.keyLen) + int(e.size)
}

// data returns the bytes behind the header.
func (e *entry) data(off, n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(e), headerSize+off)), n)
}

func (e *entry) key() []byte   { return e.data(0, int(e.keyLen)) }
func (e *entry) value() []byte { return e.data(int(e.keyLen), int(e.size)) }

func (e *entry) blobIndex() uint32 {
	return binary.LittleEndian.Uint32(e.data(int(e.keyLen), blobIndexSize))
}

func (e *entry) setBlobIndex(i uint32) {
	binary.LittleEndian.PutUint32(e.data(int(e.keyLen), blobIndexSize), i)
}

func (e *entry) expired(now int64) bool { return e.expire != 0 && e.expire <= now }

// use counts a use.
func (e *entry) use(second uint32) {
	if e.bits&freqMask != freqMask {
		e.bits++
	}
	if e.used != second {
		e.used = second
	}
}
