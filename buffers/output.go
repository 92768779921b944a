package buffers

const (
	outputBlock   = minBlockSize // the first block of an output
	outputMost    = 16 << 10     // the others; a larger message has one of its own. A block is kept until all of it is sent
	outputAdopt   = 64 << 10     // a larger message of unannounced size stays on the Go heap, where append has put it
	outputLearn   = 1 << 20      // the largest message that the next ones are expected to be like
	outputMinRoom = 256          // less room than this at a block's end is not offered
)

// An Output holds the encoded bytes that a connection has yet to send, in order. What is being sent is a prefix of it, which
// only the kernel reads; new bytes are appended behind, in the same block or the next. The zero value is empty and holds no
// memory, and goes back to that when all is sent. It belongs to the loop's goroutine.
type Output struct {
	head, tail *Block
	len        int
	hint       int // the size of messages of late, where it exceeds outputMinRoom
}

// Len returns the number of bytes that are not sent.
func (o *Output) Len() int { return o.len }

// Held returns the bytes of memory that the output is charged with.
func (o *Output) Held() int {
	sum := 0
	for b := o.head; b != nil; b = b.next {
		sum += b.charged
	}
	return sum
}

// Grab returns an empty slice to append the next message to. size is the size of the message, exact or as an upper bound, or zero
// where it is not known. What append made of the slice goes to Commit, before anything else is called.
func (o *Output) Grab(p *Pool, size int) []byte {
	want := size
	if want == 0 {
		want = max(outputMinRoom, o.hint)
	}
	if b := o.tail; b != nil && len(b.mem)-b.n >= want { // an adopted segment has no room
		return b.mem[b.n:b.n]
	}
	next := outputBlock
	if o.tail != nil {
		next = outputMost
	}
	return o.push(p, max(want, next)).mem[:0]
}

// Commit takes the extended slice. Where the message was larger than the room, append has moved it to the Go heap: a small one is
// copied into a block, a large one is adopted as a segment of its own.
func (o *Output) Commit(p *Pool, msg []byte) {
	if len(msg) == 0 {
		if o.len == 0 {
			o.Drop(p)
		}
		return
	}
	o.len += len(msg)
	// A message of this size fits next time. The hint falls again within some tens of messages: one large reply must not give a
	// connection large blocks for good.
	o.hint = max(min(len(msg), outputLearn), o.hint-o.hint/8)
	b := o.tail
	if room := b.mem[b.n:]; len(room) > 0 && &msg[0] == &room[0] {
		b.n += len(msg)
		p.touch(b)
		return
	}
	if !b.heap { // append may have written to its end, before it moved
		p.charge(b, len(b.mem)-b.charged)
		if b.n == 0 {
			o.unlink(p, b)
		}
	}
	if len(msg) <= outputAdopt {
		b = o.push(p, len(msg))
		b.n = copy(b.mem, msg)
		p.touch(b)
		return
	}
	o.link(p.adopt(msg))
}

// push appends an empty block of at least size bytes.
func (o *Output) push(p *Pool, size int) *Block {
	b := p.get(size, size)
	o.link(b)
	return b
}

func (o *Output) link(b *Block) {
	if o.tail == nil {
		o.head = b
	} else {
		o.tail.next = b
	}
	o.tail = b
}

// AppendSegments appends the bytes to send next to segs, from the start of the output on: at most count slices, and at most limit
// bytes. They stay where they are until Sent.
func (o *Output) AppendSegments(segs [][]byte, count, limit int) [][]byte {
	for b := o.head; b != nil && count > 0 && limit > 0; b = b.next {
		if s := b.Bytes(); len(s) > 0 {
			s = s[:min(len(s), limit)]
			segs = append(segs, s)
			count--
			limit -= len(s)
		}
	}
	return segs
}

// Sent drops the first n bytes, which the kernel has taken. Blocks that are sent to their end go back to the pool.
func (o *Output) Sent(p *Pool, n int) {
	o.len -= n
	for b := o.head; b != nil; b = o.head {
		k := min(n, b.n-b.off)
		b.off += k
		n -= k
		if b.off < b.n {
			return
		}
		o.pop(p) // also one that is empty: a message did not fit, and was not put there
	}
}

// unlink gives back the last block, which is empty.
func (o *Output) unlink(p *Pool, last *Block) {
	if o.head == last {
		o.head, o.tail = nil, nil
	} else {
		b := o.head
		for b.next != last {
			b = b.next
		}
		b.next, o.tail = nil, b
	}
	p.put(last)
}

func (o *Output) pop(p *Pool) {
	b := o.head
	if o.head = b.next; o.head == nil {
		o.tail = nil
	}
	b.next = nil
	p.put(b)
}

// Drop forgets all bytes and gives the memory back to the pool. Nothing of it may be in flight.
func (o *Output) Drop(p *Pool) {
	for o.head != nil {
		o.pop(p)
	}
	o.len = 0
}

// Discard is Drop for an output whose end is yet to be reported: the memory goes, and Len still says how much was not sent. Only Drop
// may follow.
func (o *Output) Discard(p *Pool) {
	n := o.len
	o.Drop(p)
	o.len = n
}
