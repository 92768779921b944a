package memcache

import (
	"strconv"
	"unsafe"
)

// Client is the codec of a client's connection: a codec.Codec[Answer, Request].
type Client struct {
	ReplyDecoder
	RequestEncoder
}

// A Request is a command to send: a line, and data behind it where there is some. It is five words, and refers to the bytes it was made
// from.
type Request struct {
	line, data string
	block      bool // there is data, perhaps of no bytes
}

// Do is a command of one line, which it is given without its end: "get a b", "mg a v c".
func Do(line string) Request { return Request{line: line} }

// Store is a command with data: its line, without its end, announces their size: "set a 0 0 5", "ms a 5 T30".
func Store(line string, data []byte) Request {
	return Request{line: line, data: unsafe.String(unsafe.SliceData(data), len(data)), block: true}
}

// RequestEncoder encodes Requests.
type RequestEncoder struct{}

// Size is the encoded size of r in bytes.
func (RequestEncoder) Size(r Request) int { return len(r.line) + len(r.data) + 2*len(lineEnd) }

// Encode appends r.
func (RequestEncoder) Encode(dst []byte, r Request) []byte {
	dst = append(dst, r.line...)
	dst = append(dst, lineEnd...)
	if r.block {
		dst = append(dst, r.data...)
		dst = append(dst, lineEnd...)
	}
	return dst
}

// AppendGet appends a get of these keys, at least one, and returns the extended slice.
func AppendGet[S ~[]byte | ~string](dst []byte, keys ...S) []byte {
	return appendKeys(dst, "get", keys)
}

// AppendGets is AppendGet with cas uniques in the answer.
func AppendGets[S ~[]byte | ~string](dst []byte, keys ...S) []byte {
	return appendKeys(dst, "gets", keys)
}

func appendKeys[S ~[]byte | ~string](dst []byte, verb string, keys []S) []byte {
	dst = append(dst, verb...)
	for _, key := range keys {
		dst = append(dst, ' ')
		dst = append(dst, key...)
	}
	return append(dst, lineEnd...)
}

// AppendStore appends a set, add, replace, append or prepend, and returns the extended slice.
func AppendStore[K, V ~[]byte | ~string](dst []byte, verb string, key K, flags uint32, exptime int32, data V) []byte {
	dst = append(dst, verb...)
	dst = append(dst, ' ')
	dst = append(dst, key...)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(flags), 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(exptime), 10)
	dst = append(dst, ' ')
	return appendBlock(dst, "", data)
}

// AppendMetaSet appends an ms with flags, such as "T30 c" or "", and returns the extended slice.
func AppendMetaSet[K, V ~[]byte | ~string](dst []byte, key K, flags string, data V) []byte {
	dst = append(dst, "ms "...)
	dst = append(dst, key...)
	dst = append(dst, ' ')
	return appendBlock(dst, flags, data)
}

// appendBlock appends the number of bytes, what follows it, and the data.
func appendBlock[V ~[]byte | ~string](dst []byte, tail string, data V) []byte {
	dst = strconv.AppendInt(dst, int64(len(data)), 10)
	if tail != "" {
		dst = append(dst, ' ')
		dst = append(dst, tail...)
	}
	dst = append(dst, lineEnd...)
	dst = append(dst, data...)
	return append(dst, lineEnd...)
}
