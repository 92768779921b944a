package resp

import (
	"math"
	"unsafe"
)

// A Reply is one outgoing element: a scalar, or the header of an aggregate whose items follow as Replies of their own. It is
// four words, so that it is passed in registers. It refers to the bytes it was made from and does not copy them:
// Outbound.Send encodes at once, but bytes given to a Sender must not change until they are sent. The zero value is Null.
type Reply struct {
	head uint32 // Kind; Verbatim has its three bytes of format above it
	num  int64  // integer, float bits, boolean, or number of elements
	text string
}

// Kind returns what the reply is. For Raw it is none of the constants.
func (r Reply) Kind() Kind {
	if r.head == 0 {
		return KindNull
	}
	return Kind(r.head)
}

// Simple is a simple string, as in "+OK". Carriage returns and line feeds in s are sent as spaces.
func Simple(s string) Reply { return Reply{head: uint32(KindSimple), text: s} }

// Error is an error. s starts with its code, as in "ERR syntax error". Carriage returns and line feeds in s are sent as spaces.
func Error(s string) Reply { return Reply{head: uint32(KindError), text: s} }

// Int is an integer.
func Int(n int64) Reply { return Reply{head: uint32(KindInt), num: n} }

// Bulk is a bulk string. A nil slice is an empty string; for none there is Null.
func Bulk(b []byte) Reply { return Reply{head: uint32(KindBulk), text: view(b)} }

// BulkString is a bulk string.
func BulkString(s string) Reply { return Reply{head: uint32(KindBulk), text: s} }

// Null is the absent value: "$-1" in RESP2, "_" in RESP3.
func Null() Reply { return Reply{head: 0} }

// NullArray is the absent array: "*-1" in RESP2, "_" in RESP3.
func NullArray() Reply { return Reply{head: uint32(KindNull), num: 1} }

// Array is the header of an array: n Replies follow it.
func Array(n int) Reply { return Reply{head: uint32(KindArray), num: int64(n)} }

// Map is the header of a map: n pairs follow it, each a key and a value. In RESP2 it is an array of 2n elements.
func Map(n int) Reply { return Reply{head: uint32(KindMap), num: int64(n)} }

// Set is the header of a set: n Replies follow it. In RESP2 it is an array.
func Set(n int) Reply { return Reply{head: uint32(KindSet), num: int64(n)} }

// Push is the header of a push message: n Replies follow it. In RESP2 it is an array.
func Push(n int) Reply { return Reply{head: uint32(KindPush), num: int64(n)} }

// Attribute is the header of an attribute of the Reply behind it: n pairs follow it, each a key and a value, and then that Reply. It is
// for RESP3 only: RESP2 has no attributes.
func Attribute(n int) Reply { return Reply{head: uint32(KindAttribute), num: int64(n)} }

// Double is a floating point number with 17 significant digits, as redis-server 7.0 writes it. In RESP2 it is a bulk string.
func Double(f float64) Reply {
	return Reply{head: uint32(KindDouble), num: int64(math.Float64bits(f))}
}

// Bool is a boolean: 1 or 0 in RESP2.
func Bool(b bool) Reply {
	if b {
		return Reply{head: uint32(KindBool), num: 1}
	}
	return Reply{head: uint32(KindBool)}
}

// BigNumber is an integer of any size in decimal digits. In RESP2 it is a bulk string.
func BigNumber(digits string) Reply { return Reply{head: uint32(KindBigNumber), text: digits} }

// Verbatim is text with a format of three bytes, such as "txt" or "mkd"; others are cut or filled with spaces. In RESP2 it is
// a bulk string without the format.
func Verbatim(format, text string) Reply {
	head := uint32(KindVerbatim)
	for i := range uint32(3) {
		c := uint32(' ')
		if int(i) < len(format) {
			c = uint32(format[i])
		}
		head |= c << (8 + 8*i)
	}
	return Reply{head: head, text: text}
}

// Raw is bytes that are encoded already, one Reply or several, so that what goes to many connections is encoded once. They
// must fit the version of the connection.
func Raw(b []byte) Reply { return Reply{head: uint32(kindRaw), text: view(b)} }

// view makes b a string without a copy, so that one field holds both in two words. Nothing but append ever reads it, and
// it does not outlive the Reply.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
