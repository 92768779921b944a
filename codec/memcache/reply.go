package memcache

import "unsafe"

// A Reply is one outgoing answer, or a part of one. It is five words, so that it is passed in registers. It refers to the bytes it was made
// from and does not copy them: Outbound.Send encodes at once, but bytes given to a Sender must not change until they are sent. The zero
// value is an empty Raw.
type Reply struct {
	text *byte
	data *byte  // nil where the data of a value follows in pieces
	size int    // bytes of data
	num  uint64 // cas unique, or a number
	head uint64 // from the lowest bit: kind, code, bytes of text, client flags
}

type kind uint8

const (
	kindRaw    kind = iota // data
	kindLine               // data, line end
	kindNumber             // num, line end
	kindValue              // VALUE text flags size, line end, data, line end
	kindUnique             // VALUE text flags size num, line end, data, line end
	kindMeta               // code data, line end
	kindMetaV              // VA size text, line end, data, line end
	kindStat               // STAT text data, line end
)

// Where the parts of Reply.head begin.
const (
	codeBit  = 8
	textBit  = 16
	flagsBit = 32
)

// maxText is the most bytes of text.
const maxText = 1<<(flagsBit-textBit) - 1

// pack makes a Reply of text and data.
func pack(k kind, text []byte, flags uint32, data []byte) Reply {
	if len(text) > maxText {
		text = text[:maxText]
	}
	return Reply{
		text: unsafe.SliceData(text),
		data: unsafe.SliceData(data),
		size: len(data),
		head: uint64(k) | uint64(len(text))<<textBit | uint64(flags)<<flagsBit,
	}
}

func (r Reply) kind() kind    { return kind(r.head) }
func (r Reply) flags() uint32 { return uint32(r.head >> 32) }
func (r Reply) key() []byte   { return unsafe.Slice(r.text, r.head>>textBit&maxText) }
func (r Reply) code() string  { return codes[r.head>>codeBit&0xFF] }

// bytes returns the data; it is nil where they follow in pieces.
func (r Reply) bytes() []byte {
	if r.data == nil {
		return nil
	}
	return unsafe.Slice(r.data, r.size)
}

// Line is a line: STORED, END, an error. A line feed or carriage return in it is sent as a space.
func Line(s string) Reply {
	return Reply{data: unsafe.StringData(s), size: len(s), head: uint64(kindLine)}
}

// Raw is bytes that are encoded already, one reply or several, or a piece of a value behind its ValueHead or MetaHead.
func Raw(b []byte) Reply { return pack(kindRaw, nil, 0, b) }

// Number is the answer of incr and decr.
func Number(n uint64) Reply { return Reply{num: n, head: uint64(kindNumber)} }

// Value is an item that get found. Line("END") follows the last one.
func Value(key []byte, flags uint32, data []byte) Reply {
	return pack(kindValue, key, flags, some(data))
}

// ValueUnique is an item that gets found.
func ValueUnique(key []byte, flags uint32, data []byte, unique uint64) Reply {
	r := pack(kindUnique, key, flags, some(data))
	r.num = unique
	return r
}

// ValueHead is the line before size bytes of an item that follow in pieces, with EndOfData behind the last.
func ValueHead(key []byte, flags uint32, size int) Reply {
	r := pack(kindValue, key, flags, nil)
	r.size = size
	return r
}

// ValueUniqueHead is ValueHead for gets.
func ValueUniqueHead(key []byte, flags uint32, size int, unique uint64) Reply {
	r := pack(kindUnique, key, flags, nil)
	r.size, r.num = size, unique
	return r
}

// EndOfData ends a value that was sent in pieces.
func EndOfData() Reply { return Line("") }

// A Code is the two letters that the answer of a meta command begins with.
type Code uint8

// The codes.
const (
	HD Code = iota // done, or found
	VA             // a value, see MetaValue
	EN             // not found by mg or me
	NF             // not found
	NS             // not stored
	EX             // another cas unique
	MN             // the answer of mn
	ME             // the answer of me
)

var codes = [256]string{HD: "HD", VA: "VA", EN: "EN", NF: "NF", NS: "NS", EX: "EX", MN: "MN", ME: "ME"}

// MetaStatus is the answer of a meta command that has no value: its code, and the flags to return, each with a space before it.
func MetaStatus(c Code, flags []byte) Reply {
	r := pack(kindMeta, nil, 0, flags)
	r.head |= uint64(c) << codeBit
	return r
}

// MetaValue is the answer of a meta command with a value. There may be 65,535 bytes of flags.
func MetaValue(flags, data []byte) Reply { return pack(kindMetaV, flags, 0, some(data)) }

// MetaHead is the line before size bytes of a value that follow in pieces, with EndOfData behind the last.
func MetaHead(flags []byte, size int) Reply {
	r := pack(kindMetaV, flags, 0, nil)
	r.size = size
	return r
}

// Stat is a line of the answer of stats. Line("END") follows the last one.
func Stat(name, value string) Reply { return pack(kindStat, view(name), 0, view(value)) }

// some returns data as something that is not nil: nil is for data that follows in pieces.
func some(data []byte) []byte {
	if data == nil {
		return none[:0]
	}
	return data
}

var none [1]byte

// view makes s a slice without a copy. Nothing but append ever reads it, and it does not outlive the Reply.
func view(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
