package store

import "sort"

// A page is what is known of a page of slots. Its slots are of one size.
type page struct {
	next, prev uint32 // in the list of its class
	free       uint16 // the first slot of the list of those that were freed, plus one; 0: none. A free slot begins with the next
	fresh      uint16 // slots from here on were never used
	live       uint16 // slots in use
	class      uint8
}

// classSizes are the sizes of slots: steps of 8 bytes at first, and of 6 % later, until a page only holds a few.
var classSizes, classOf = makeClasses()

func makeClasses() (sizes []uint32, of [pageSize/8 + 1]uint8) {
	for s := 40; s <= pageSize/16; {
		sizes = append(sizes, uint32(s))
		switch {
		case s < 256:
			s += 8
		case s < 512:
			s += 16
		default:
			s += 32
		}
	}
	for n := 15; n >= 1; n-- {
		sizes = append(sizes, uint32(pageSize/n)&^7)
	}
	for i := range of {
		of[i] = uint8(sort.Search(len(sizes), func(c int) bool { return int(sizes[c]) >= i*8 }))
	}
	return sizes, of
}

const maxClasses = 80

// roundUp returns the class of slots for n bytes, and their size.
func roundUp(n int) (class uint8, size int) {
	class = classOf[(n+7)/8]
	return class, int(classSizes[class])
}

// A class is a shard's list of pages of one slot size: those with free slots come first.
type class struct {
	head, tail  uint32
	pages, live uint32
}

// A slab are the slots of a shard. It needs the shard's lock.
type slab struct {
	a       *arena
	classes [maxClasses]class
}

// alloc returns a slot, or 0 when the arena has no page.
func (s *slab) alloc(c uint8) uint32 {
	cl := &s.classes[c]
	perPage := uint16(pageSize / classSizes[c])
	p := cl.head
	if p == 0 || s.a.pages[p].live == perPage {
		if p = s.a.take(); p == 0 {
			return 0
		}
		s.a.pages[p] = page{class: c}
		cl.pages++
		s.pushFront(cl, p)
	}
	pg := &s.a.pages[p]
	var i uint16
	if pg.free != 0 {
		i = pg.free - 1
		pg.free = s.a.entry(slotRef(p, i, c)).keyLen
	} else {
		i = pg.fresh
		pg.fresh++
	}
	pg.live++
	cl.live++
	if pg.live == perPage && cl.tail != p {
		s.unlink(cl, p)
		s.pushBack(cl, p)
	}
	return slotRef(p, i, c)
}

func slotRef(p uint32, i uint16, c uint8) uint32 {
	return p<<(pageShift-refShift) + uint32(i)*classSizes[c]>>refShift
}

// release frees a slot, and the page with its last one.
func (s *slab) release(ref uint32) {
	p := ref >> (pageShift - refShift)
	pg := &s.a.pages[p]
	cl := &s.classes[pg.class]
	size := classSizes[pg.class]
	e := s.a.entry(ref)
	if checked {
		poison(s.a.slot(ref, int(size)))
	}
	e.bits, e.keyLen = 0, pg.free
	pg.free = uint16((ref<<refShift&(pageSize-1))/size) + 1
	full := pg.live == uint16(pageSize/size)
	pg.live--
	cl.live--
	switch {
	case pg.live == 0:
		s.drop(cl, p)
	case full && cl.head != p:
		s.unlink(cl, p)
		s.pushFront(cl, p)
	}
}

func (s *slab) drop(cl *class, p uint32) {
	s.unlink(cl, p)
	cl.pages--
	s.a.give(p)
}

// sparse returns a page whose entries should go into others of its class, 0 for none: when more than two pages' worth of slots
// are free, and more than one of 16.
func (s *slab) sparse(c uint8) uint32 {
	cl := &s.classes[c]
	perPage := pageSize / classSizes[c]
	free := cl.pages*perPage - cl.live
	if free < 2*perPage || free < cl.live/16 {
		return 0
	}
	const looks = 8 // of pages: the best of a few is nearly the best, and costs less than an order of all
	best, p := uint32(0), cl.head
	for i := 0; i < looks && p != 0; i++ {
		if best == 0 || s.a.pages[p].live < s.a.pages[best].live {
			best = p
		}
		p = s.a.pages[p].next
	}
	return best
}

// clear frees all slots.
func (s *slab) clear() {
	var all []uint32
	for c := range s.classes {
		for p := s.classes[c].head; p != 0; p = s.a.pages[p].next {
			all = append(all, p)
		}
		s.classes[c] = class{}
	}
	s.a.give(all...)
}

func (s *slab) unlink(cl *class, p uint32) {
	pg := &s.a.pages[p]
	if pg.prev != 0 {
		s.a.pages[pg.prev].next = pg.next
	} else {
		cl.head = pg.next
	}
	if pg.next != 0 {
		s.a.pages[pg.next].prev = pg.prev
	} else {
		cl.tail = pg.prev
	}
}

func (s *slab) pushFront(cl *class, p uint32) {
	pg := &s.a.pages[p]
	pg.prev, pg.next = 0, cl.head
	if cl.head != 0 {
		s.a.pages[cl.head].prev = p
	} else {
		cl.tail = p
	}
	cl.head = p
}

func (s *slab) pushBack(cl *class, p uint32) {
	pg := &s.a.pages[p]
	pg.prev, pg.next = cl.tail, 0
	if cl.tail != 0 {
		s.a.pages[cl.tail].next = p
	} else {
		cl.head = p
	}
	cl.tail = p
}
