package buffers

// CarryStart is the size in bytes at which a carry starts. It doubles as long as it stays below one MiB; a larger message
// gets address space for all of it at once, of which only what has arrived is resident.
const CarryStart = minBlockSize

const carryDoubling = 1 << 20

// A Carry holds received bytes that could not be handled yet: the head of a message that is not whole, or what came after a
// connection was paused. The zero value is empty and holds no memory. It belongs to the loop's goroutine.
type Carry struct {
	block *Block
}

// Len returns the number of bytes in the carry.
func (c *Carry) Len() int {
	if c.block == nil {
		return 0
	}
	return c.block.n - c.block.off
}

// Bytes returns the bytes. They are valid until the next call of another method.
func (c *Carry) Bytes() []byte {
	if c.block == nil {
		return nil
	}
	return c.block.Bytes()
}

// Append copies b behind the bytes that are there. need is the size that they will reach as far as that is known, limit what
// they may reach at most: they choose how much address space is taken, and are no promise.
func (c *Carry) Append(p *Pool, b []byte, need, limit int) {
	if len(b) == 0 {
		return
	}
	size := c.Len() + len(b)
	switch blk := c.block; {
	case blk == nil:
		c.block = p.get(size, c.room(size, need, limit))
	case blk.n+len(b) > len(blk.mem):
		if max(size, need) <= len(blk.mem) && blk.off >= blk.n-blk.off {
			// What was consumed is at least what moves: the copying is paid for.
			blk.n = copy(blk.mem, blk.Bytes())
			blk.off = 0
			break
		}
		next := p.get(size, c.room(size, need, limit))
		next.n = copy(next.mem, blk.Bytes())
		p.touch(next)
		p.put(blk)
		c.block = next
	}
	c.block.n += copy(c.block.mem[c.block.n:], b)
	p.touch(c.block)
	p.Carried += uint64(len(b))
}

// room chooses the size of the block for size bytes now and perhaps need or limit later. Beyond carryDoubling it is only address
// space, and twice what is there: a carry that fills its block, and is consumed and appended to in small pieces, would move each time.
func (c *Carry) room(size, need, limit int) int {
	switch need = max(size, need); {
	case need > carryDoubling:
		return max(need, 2*size)
	case size > carryDoubling/2:
		return max(limit, 2*size)
	case c.block == nil:
		return need
	}
	return max(need, min(2*len(c.block.mem), carryDoubling))
}

// touch charges what is resident of a block: pages that bytes have reached.
func (p *Pool) touch(b *Block) {
	if pages := (b.n + minBlockSize - 1) &^ (minBlockSize - 1); pages > b.charged {
		p.charge(b, pages-b.charged)
	}
}

// Consume drops the first n bytes. When none is left, the memory goes back to the pool.
func (c *Carry) Consume(p *Pool, n int) {
	if n == 0 {
		return
	}
	if Checked {
		Overwrite(c.block.mem[c.block.off : c.block.off+n])
	}
	c.block.off += n
	if c.block.off == c.block.n {
		c.Drop(p)
	}
}

// Drop forgets all bytes and gives the memory back to the pool.
func (c *Carry) Drop(p *Pool) {
	if c.block != nil {
		p.put(c.block)
		c.block = nil
	}
}

// Held returns the bytes of memory that the carry is charged with.
func (c *Carry) Held() int {
	if c.block == nil {
		return 0
	}
	return c.block.charged
}
