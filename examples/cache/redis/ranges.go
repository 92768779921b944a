package redis

import (
	"math"

	"github.com/protoring/protoring/codec/resp"
	"github.com/protoring/protoring/examples/cache/store"
	"github.com/protoring/protoring/reactor"
)

func strLen(c *conn, args [][]byte, out *outbound) reactor.Status {
	it, ok := c.find(args[1], store.GetOptions{Quiet: c.quiet})
	n := 0
	if ok {
		n = it.Len()
	}
	it.Release()
	out.Send(resp.Int(int64(n)))
	return reactor.Continue
}

func getRange(c *conn, args [][]byte, out *outbound) reactor.Status {
	start, ok1 := store.ParseInt(args[2])
	end, ok2 := store.ParseInt(args[3])
	if !ok1 || !ok2 {
		return refuse(out, errInteger)
	}
	it, found := c.find(args[1], store.GetOptions{Quiet: c.quiet})
	from, to := clip(start, end, int64(it.Len()))
	switch b := it.Blob(); {
	case !found || from >= to:
		it.Release()
		out.Send(resp.BulkString(""))
	case b == nil:
		out.Send(resp.Bulk(it.Bytes()[from:to]))
	case from == 0 && int(to) == b.Len():
		return c.sendItem(&it, true, out)
	default:
		return c.sendPart(b, int(from), int(to), out)
	}
	return reactor.Continue
}

// clip turns a range of Redis', whose end is included and whose offsets may count from the end, into one of Go's.
func clip(start, end, length int64) (from, to int64) {
	if start < 0 && end < 0 && start > end {
		return 0, 0
	}
	if start < 0 {
		start = max(start+length, 0)
	}
	if end < 0 {
		end = max(end+length, 0)
	}
	end = min(end, length-1)
	if start > end || length == 0 {
		return 0, 0
	}
	return start, end + 1
}

// sendPart answers with a part of a large value.
func (c *conn) sendPart(b *store.Blob, from, to int, out *outbound) reactor.Status {
	c.sendHead(to-from, out)
	return c.begin(&partRest{b, from, to}, out)
}

func appendTo(c *conn, args [][]byte, out *outbound) reactor.Status {
	c.cache.mark()
	for {
		it, found := c.find(args[1], store.GetOptions{Quiet: true})
		v := c.value(args, 2)
		o := store.PutOptions{If: store.IfAbsent}
		length := v.Len()
		if found {
			o = store.PutOptions{If: store.IfVersion, Version: it.Version, KeepTTL: true, Marks: markRaw}
			length += it.Len()
		}
		if length > c.cache.cfg.MaxValue {
			it.Release()
			return refuse(out, errTooLong)
		}
		if found {
			var err error
			if v, err = c.join(&it, args[2]); err != nil {
				return refuseStore(out, err)
			}
		}
		r, err := c.put(args[1], v, o, eventAppend)
		switch {
		case err != nil:
			return refuseStore(out, err)
		case r.Stored:
			out.Send(resp.Int(int64(length)))
			return reactor.Continue
		}
	}
}

// join returns a value with bytes behind it.
func (c *conn) join(it *store.Item, tail []byte) (store.Source, error) {
	b := it.Blob()
	if b == nil {
		return store.Join(it.Bytes(), tail), nil
	}
	defer b.Release()
	whole := c.cache.store.NewBlob()
	err := whole.AppendRange(b, 0, b.Len())
	if err == nil {
		err = whole.Append(tail)
	}
	if err != nil {
		whole.Discard()
		return store.Source{}, err
	}
	return store.Whole(whole.Finish()), nil
}

func setRange(c *conn, args [][]byte, out *outbound) reactor.Status {
	offset, ok := store.ParseInt(args[2])
	switch {
	case !ok:
		return refuse(out, errInteger)
	case offset < 0:
		return refuse(out, "ERR offset is out of range")
	}
	c.cache.mark()
	for {
		it, found := c.find(args[1], store.GetOptions{Quiet: true})
		patch := args[3]
		o := store.PutOptions{If: store.IfAbsent, Marks: markRaw}
		if found {
			o = store.PutOptions{If: store.IfVersion, Version: it.Version, KeepTTL: true, Marks: markRaw}
		}
		switch {
		case len(patch) == 0:
			n := it.Len()
			it.Release()
			out.Send(resp.Int(int64(n)))
			return reactor.Continue
		case offset > math.MaxInt64-int64(len(patch)) || offset+int64(len(patch)) > int64(c.cache.cfg.MaxValue):
			it.Release()
			return refuse(out, errTooLong)
		}
		v, err := c.overwrite(&it, int(offset), patch)
		if err != nil {
			return refuseStore(out, err)
		}
		length := v.Len()
		r, err := c.put(args[1], v, o, eventSetRange)
		switch {
		case err != nil:
			return refuseStore(out, err)
		case r.Stored:
			out.Send(resp.Int(int64(length)))
			return reactor.Continue
		}
	}
}

// largeRange is the size in bytes from which on a value is put together piece by piece.
const largeRange = 8 << 10

// overwrite returns the value with the patch at an offset, and zeros before it where the value is shorter.
func (c *conn) overwrite(it *store.Item, offset int, patch []byte) (store.Source, error) {
	b := it.Blob()
	length := max(it.Len(), offset+len(patch))
	if b == nil && length <= largeRange {
		was := it.Bytes() // at the beginning of the loop's memory
		if cap(c.loop.scratch) < length {
			c.loop.scratch = append(make([]byte, 0, length), was...)
		}
		v := c.loop.scratch[:length]
		clear(v[len(was):])
		copy(v[offset:], patch)
		return store.Bytes(v), nil
	}
	defer it.Release()
	whole := c.cache.store.NewBlob()
	part := func(from, to int) error {
		if b != nil {
			return whole.AppendRange(b, from, to-from)
		}
		return whole.Append(it.Bytes()[min(from, it.Len()):min(to, it.Len())])
	}
	err := part(0, min(offset, it.Len()))
	for zeros := offset - it.Len(); zeros > 0 && err == nil; zeros -= len(zeroPage) {
		err = whole.Append(zeroPage[:min(zeros, len(zeroPage))])
	}
	if err == nil {
		err = whole.Append(patch)
	}
	if end := offset + len(patch); end < it.Len() && err == nil {
		err = part(end, it.Len())
	}
	if err != nil {
		whole.Discard()
		return store.Source{}, err
	}
	return store.Whole(whole.Finish()), nil
}

var zeroPage [4096]byte
