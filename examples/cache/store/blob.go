package store

import (
	"iter"
	"sync"
	"sync/atomic"
)

// The chunks of a Blob are powers of two. The largest one bounds what a builder takes beyond the bytes that arrived; the smallest
// one is the collector's page.
const (
	minChunkShift   = 12
	firstChunkShift = 14
	maxChunkShift   = 18
	maxChunk        = 1 << maxChunkShift
)

// A Blob is a large value: an immutable rope of chunks, in memory without pointers that the collector never reads.
//
// It is shared by reference, and each holder of one calls Release at most once. The last Release lets the store use the chunks
// for other values at once. A holder that forgets it leaves them to the collector, which is safe and only later.
type Blob struct {
	s    *Store
	refs atomic.Int32
	// charged is true while cost counts as used memory: from the first chunk on, until the store removes the value, or the
	// last reference goes that was never stored. Readers that are slow to finish are not the store's memory.
	charged atomic.Bool
	length  int
	cost    int // bytes of all chunks, and of what points to them
	chunks  [][]byte
}

// blobCost is what a Blob takes beside its chunks, and chunkCost what it takes for each.
const (
	blobCost  = 64
	chunkCost = 24
)

// Len returns the number of bytes.
func (b *Blob) Len() int { return b.length }

// Chunks yields the bytes in order. The slices must not be written to, and are valid until the caller's Release.
func (b *Blob) Chunks() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, c := range b.chunks {
			if !yield(c) {
				return
			}
		}
	}
}

// NumChunks returns the number of chunks.
func (b *Blob) NumChunks() int { return len(b.chunks) }

// Chunk returns chunk i, under the rules of Chunks.
func (b *Blob) Chunk(i int) []byte { return b.chunks[i] }

// AppendRange appends the n bytes from off on, or as many of them as there are.
func (b *Blob) AppendRange(dst []byte, off, n int) []byte {
	for _, c := range b.chunks {
		if n <= 0 {
			break
		}
		if off >= len(c) {
			off -= len(c)
			continue
		}
		c = c[off:min(len(c), off+n)]
		dst = append(dst, c...)
		off, n = 0, n-len(c)
	}
	return dst
}

// Retain takes one more reference, for another holder.
func (b *Blob) Retain() *Blob {
	b.refs.Add(1)
	return b
}

// Release gives a reference back. The caller must not use the Blob or its chunks any more.
func (b *Blob) Release() {
	switch n := b.refs.Add(-1); {
	case n == 0:
		b.uncharge()
		for _, c := range b.chunks {
			b.s.chunks.put(c)
		}
		b.chunks = nil
	case n < 0:
		panic("store: Blob released more often than it was retained")
	}
}

func (b *Blob) uncharge() {
	if b.charged.Swap(false) {
		b.s.give(b.cost)
	}
}

// A BlobBuilder collects a value as its bytes arrive. It belongs to one goroutine. Its chunks count as used memory from the
// moment that they are there, so memory is only taken for bytes that came and never for those that were announced.
type BlobBuilder struct {
	s    *Store
	blob *Blob
}

// NewBlob returns an empty builder. It ends with Finish or Discard. Who knows the length before the bytes come should compare it
// with MaxMemory: a builder does not, and evicts all that there is for a value that never fits.
func (s *Store) NewBlob() BlobBuilder { return BlobBuilder{s: s} }

// Len returns the number of bytes so far.
func (b *BlobBuilder) Len() int {
	if b.blob == nil {
		return 0
	}
	return b.blob.length
}

// Append adds bytes. The error is ErrMemory, when eviction cannot make room; what was there before stays until Discard.
func (b *BlobBuilder) Append(p []byte) error {
	for len(p) > 0 {
		room, err := b.Room()
		if err != nil {
			return err
		}
		n := copy(room, p)
		b.Advance(n)
		p = p[n:]
	}
	return nil
}

// Room returns memory for the next bytes, at least one, so that a peer's can be received where they stay. The error is ErrMemory.
func (b *BlobBuilder) Room() ([]byte, error) {
	if b.blob == nil {
		if !b.s.reserve(blobCost) {
			return nil, ErrMemory
		}
		b.blob = &Blob{s: b.s, cost: blobCost}
		b.blob.refs.Store(1)
		b.blob.charged.Store(true)
	}
	blob := b.blob
	if n := len(blob.chunks); n > 0 {
		if last := blob.chunks[n-1]; len(last) < cap(last) {
			return last[len(last):cap(last)], nil
		}
	}
	// As much as is there, so that there are few chunks. Finish gives back what is not needed.
	shift := firstChunkShift
	for shift < maxChunkShift && 1<<shift < blob.length {
		shift++
	}
	if err := b.grow(shift); err != nil {
		return nil, err
	}
	last := blob.chunks[len(blob.chunks)-1]
	return last[:cap(last)], nil
}

// Advance says that n bytes of Room were filled.
func (b *BlobBuilder) Advance(n int) {
	if n == 0 {
		return
	}
	last := &b.blob.chunks[len(b.blob.chunks)-1]
	*last = (*last)[:len(*last)+n]
	b.blob.length += n
}

// AppendRange adds n bytes of a Blob from off on, or as many of them as there are. The error is ErrMemory.
func (b *BlobBuilder) AppendRange(from *Blob, off, n int) error {
	for _, c := range from.chunks {
		if n <= 0 {
			break
		}
		if off >= len(c) {
			off -= len(c)
			continue
		}
		c = c[off:min(len(c), off+n)]
		if err := b.Append(c); err != nil {
			return err
		}
		off, n = 0, n-len(c)
	}
	return nil
}

// Finish returns the value. The builder is empty again.
func (b *BlobBuilder) Finish() *Blob {
	blob := b.blob
	if blob == nil {
		blob = &Blob{s: b.s}
		blob.refs.Store(1)
		return blob
	}
	b.blob = nil
	blob.trim()
	return blob
}

// Discard gives the memory back. The builder is empty again.
func (b *BlobBuilder) Discard() {
	if b.blob != nil {
		b.blob.Release()
		b.blob = nil
	}
}

func (b *BlobBuilder) grow(shift int) error {
	cost := 1<<shift + chunkCost
	if !b.s.reserve(cost) {
		return ErrMemory
	}
	b.blob.cost += cost
	b.blob.chunks = append(b.blob.chunks, b.s.chunks.get(shift))
	return nil
}

// trim gives back what the last chunk has too much, if that is worth a copy: more than an eighth of all.
func (b *Blob) trim() {
	n := len(b.chunks) - 1
	if n < 0 {
		return
	}
	last := b.chunks[n]
	if (cap(last)-len(last))*8 <= b.length {
		return
	}
	b.chunks = b.chunks[:n]
	before := cap(last) + chunkCost
	after := b.fill(last, nil)
	b.s.chunks.put(last)
	b.cost += after - before
	b.s.give(before - after)
}

// fill appends bytes in chunks that they fit in well, and returns what these cost.
func (b *Blob) fill(head, tail []byte) (cost int) {
	for n := len(head) + len(tail); n > 0; n = len(head) + len(tail) {
		shift := chunkFor(n)
		c := b.s.chunks.get(shift)[:min(n, 1<<shift)]
		k := copy(c, head)
		head = head[k:]
		tail = tail[copy(c[k:], tail):]
		b.chunks = append(b.chunks, c)
		cost += 1<<shift + chunkCost
	}
	return cost
}

// chunkFor returns the next chunk for n bytes: the one that takes them all, if an eighth of it is unused at most, or the largest
// one that they fill.
func chunkFor(n int) (shift int) {
	shift = minChunkShift
	for shift < maxChunkShift && 1<<shift < n {
		shift++
	}
	if unused := 1<<shift - n; shift > minChunkShift && unused > 1<<shift/8 {
		shift--
	}
	return shift
}

// fillCost returns what fill will say.
func fillCost(n int) (cost int) {
	for n > 0 {
		shift := chunkFor(n)
		cost += 1<<shift + chunkCost
		n -= 1 << shift
	}
	return cost
}

// blobOf makes a Blob of bytes that are there. The error is ErrMemory.
func (s *Store) blobOf(head, tail []byte) (*Blob, error) {
	n := len(head) + len(tail)
	cost := blobCost + fillCost(n)
	if !s.reserve(cost) {
		return nil, ErrMemory
	}
	b := &Blob{s: s, length: n, cost: cost}
	b.refs.Store(1)
	b.charged.Store(true)
	b.fill(head, tail)
	return b, nil
}

// A chunkPool keeps chunks that nobody refers to any more, for a while.
type chunkPool struct {
	mu   sync.Mutex
	free [maxChunkShift - minChunkShift + 1][][]byte
}

// chunksKept is how many bytes of chunks of a size are kept.
const chunksKept = 4 << 20

func (p *chunkPool) get(shift int) []byte {
	free := &p.free[shift-minChunkShift]
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(*free); n > 0 {
		c := (*free)[n-1]
		(*free)[n-1] = nil
		*free = (*free)[:n-1]
		return c
	}
	return make([]byte, 0, 1<<shift)
}

func (p *chunkPool) put(c []byte) {
	shift := minChunkShift
	for 1<<shift < cap(c) {
		shift++
	}
	if checked {
		poison(c[:cap(c)])
	}
	free := &p.free[shift-minChunkShift]
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(*free) < chunksKept>>shift {
		*free = append(*free, c[:0])
	}
}
