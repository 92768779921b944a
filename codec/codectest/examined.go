package codectest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/protoring/protoring/codec"
)

// ExaminedFactor is how many times the bytes delivered a decoder may examine.
const ExaminedFactor = 4

// LargePages is the least size of a transcript for Examined, in pages of memory (256 KiB where a page has 4). With fewer, a
// decoder that starts over is too close to one that does not when whole pages arrive.
const LargePages = 64

const (
	// freePages is the number of pages that a decoder may look at in call after call and that are counted once: those where
	// the message begins, where the decoder stands, and what arrives. It looks at a few bytes of each.
	freePages = 4
	// finePages is the number of pages that are delivered byte by byte: twice those that are free.
	finePages = 2 * freePages
	// freeBytes is the number of bytes delivered before that a call may look at uncounted: the line at which the decoder
	// stands, and what a vector register holds.
	freeBytes = 32
	// smallSize is the most bytes of a transcript whose bytes are counted one by one.
	smallSize = 512
)

// A pattern is a way to deliver a large transcript: the sizes of the pieces of size bytes, in pages of page bytes. What it
// leaves out at the end is not delivered.
type pattern struct {
	name  string
	sizes func(size, page int, random *rand.Rand) []int
}

// patterns are those in which the pages that a decoder touches are counted.
var patterns = []pattern{
	{"page by page", func(size, page int, _ *rand.Rand) []int { return equal(size, page) }},
	{"all at once", func(size, _ int, _ *rand.Rand) []int { return []int{size} }},
	{"three pages and a byte at a time", func(size, page int, _ *rand.Rand) []int { return equal(size, 3*page+1) }},
	{"pieces of up to four pages", func(size, page int, random *rand.Rand) (sizes []int) {
		for sum := 0; sum < size; sum += sizes[len(sizes)-1] {
			sizes = append(sizes, 1+random.IntN(4*page))
		}
		return sizes
	}},
	{"the first pages byte by byte", func(size, page int, _ *rand.Rand) []int { return equal(min(size, finePages*page), 1) }},
	{"the last page byte by byte", func(size, page int, _ *rand.Rand) []int {
		last := min(size-1, page)
		return append([]int{size - last}, equal(last, 1)...)
	}},
}

// equal cuts size bytes into pieces of one size; the last may be smaller.
func equal(size, piece int) (sizes []int) {
	for ; size > 0; size -= piece {
		sizes = append(sizes, min(size, piece))
	}
	return sizes
}

// Examined counts the bytes that a decoder examines of a transcript that arrives in pieces of one page, in whole pages. It
// needs no cooperation of the decoder, and no timing: the transcript lies in pages of its own, which are inaccessible. The
// address of a fault tells the page that the decoder looks at; that page is counted and allowed, and a new decoder gets
// all calls up to there again, until it comes through. Behind each call all but the last four of the allowed pages are
// inaccessible again. A decoder that works in proportion to what arrives stays below three times the size of the
// transcript; one that starts over with each piece reaches nearly half the square of its pages.
//
// The time is that of as many runs as pages are counted. A breach of the contract is an error. The count ends at
// ExaminedFactor times the size of the transcript, and a page.
func Examined[In any](newDecoder func() codec.Decoder[In], transcript []byte) (examined int, err error) {
	page := os.Getpagesize()
	if len(transcript) < LargePages*page {
		return 0, fmt.Errorf("codectest: a transcript of %d bytes, at least %d are needed to count what is examined",
			len(transcript), LargePages*page)
	}
	return examinedPages(newDecoder, transcript, equal(len(transcript), page))
}

// checkLarge returns an error when a decoder examines too much of a transcript that arrives in any of the patterns.
func checkLarge[In any](newDecoder func() codec.Decoder[In], transcript []byte, random *rand.Rand) error {
	page := os.Getpagesize()
	if len(transcript) < LargePages*page {
		_, err := Examined(newDecoder, transcript)
		return err
	}
	for _, p := range patterns {
		sizes := p.sizes(len(transcript), page, random)
		examined, err := examinedPages(newDecoder, transcript, sizes)
		if err := judge(p.name, examined, min(sum(sizes), len(transcript)), err); err != nil {
			return err
		}
	}
	return nil
}

// checkFine is checkLarge for a transcript of finePages, byte by byte.
func checkFine[In any](newDecoder func() codec.Decoder[In], transcript []byte) error {
	examined, err := examinedPages(newDecoder, transcript, equal(len(transcript), 1))
	return judge("byte by byte", examined, len(transcript), err)
}

// checkSmall returns an error when a decoder examines too much of a transcript of up to a page.
func checkSmall[In any](newDecoder func() codec.Decoder[In], transcript []byte) error {
	for _, size := range []int{1, 3} {
		examined, err := examinedBytes(newDecoder, transcript, equal(len(transcript), size))
		if err := judge(fmt.Sprintf("pieces of %d", size), examined, len(transcript), err); err != nil {
			return err
		}
	}
	return nil
}

func judge(how string, examined, delivered int, err error) error {
	if err == nil && examined > ExaminedFactor*delivered {
		err = fmt.Errorf("more than %d times the %d bytes that are delivered are examined: is the position kept between calls?",
			ExaminedFactor, delivered)
	}
	if err != nil {
		return fmt.Errorf("counting what is examined, %s: %w", how, err)
	}
	return nil
}

func sum(sizes []int) (n int) {
	for _, size := range sizes {
		n += size
	}
	return n
}

// examinedPages counts pages that are touched, those of the last freePages once. It ends beyond ExaminedFactor.
func examinedPages[In any](newDecoder func() codec.Decoder[In], transcript []byte, sizes []int) (examined int, err error) {
	page := os.Getpagesize()
	mem, err := newGuarded((len(transcript) + page - 1) / page)
	if err != nil {
		return 0, err
	}
	defer mem.free()
	copy(mem.b, transcript)
	limit := ExaminedFactor * min(sum(sizes), len(transcript))
	var allowed []int
	begin := func(calls int) (*player[In], error) {
		if err := mem.protect(0, mem.pages(), unix.PROT_READ); err != nil {
			return nil, err
		}
		p := newPlayer(newDecoder(), sizes)
		if err := p.repeat(mem.b[:len(transcript)], calls); err != nil {
			return nil, err
		}
		err := mem.protect(0, mem.pages(), unix.PROT_NONE)
		for _, i := range allowed {
			if err == nil {
				err = mem.protect(i, 1, unix.PROT_READ)
			}
		}
		return p, err
	}
	p, err := begin(0)
	for calls := 0; err == nil; {
		var again bool
		var fault int
		again, fault, err = p.guarded(mem, mem.b[:len(transcript)])
		switch {
		case err != nil || fault < 0 && !again:
			return examined, err
		case fault < 0:
			calls++
			for len(allowed) > freePages && err == nil {
				err = mem.protect(allowed[0], 1, unix.PROT_NONE)
				allowed = allowed[1:]
			}
		default:
			if examined += page; examined > limit {
				return examined, nil
			}
			allowed = append(allowed, fault/page)
			p, err = begin(calls)
		}
	}
	return examined, err
}

// examinedBytes counts the bytes that are touched of a transcript of up to a page: each once when it arrives, and in each
// call those of them that were there in the call before, but for freeBytes. For that the transcript is moved so that a page
// begins behind the byte that the decoder has touched: the next one faults. A call is counted as far as it goes upward
// through old bytes and then to new ones; one that goes downward, or to the new ones first, is counted too low: for those
// there are the transcripts of several pages. It ends beyond ExaminedFactor.
func examinedBytes[In any](newDecoder func() codec.Decoder[In], transcript []byte, sizes []int) (examined int, err error) {
	mem, err := newGuarded(2)
	if err != nil {
		return 0, err
	}
	defer mem.free()
	page := len(mem.b) / 2
	// place moves the transcript, so that offset at is the first of the second page.
	place := func(at int) ([]byte, error) {
		if err := mem.protect(0, 2, unix.PROT_READ|unix.PROT_WRITE); err != nil {
			return nil, err
		}
		b := mem.b[page-at:][:len(transcript)]
		copy(b, transcript)
		return b, nil
	}
	// touches repeats calls and makes one more, with all inaccessible from offset at on, and returns the first offset of those
	// that this one touches, or less than at.
	touches := func(calls, at int) (offset int, err error) {
		b, err := place(at)
		if err != nil {
			return 0, err
		}
		p := newPlayer(newDecoder(), sizes)
		if err := p.repeat(b, calls); err != nil {
			return 0, err
		}
		if err := mem.protect(1, 1, unix.PROT_NONE); err != nil {
			return 0, err
		}
		_, fault, err := p.guarded(mem, b)
		return fault - (page - at), err
	}
	examined = len(transcript)
	p := newPlayer(newDecoder(), sizes)
	for calls := 0; ; calls++ {
		before := p.had() // bytes that were there in the last call
		b, err := place(before)
		if err == nil {
			err = mem.protect(0, 1, unix.PROT_NONE)
		}
		if err != nil {
			return 0, err
		}
		again, fault, err := p.guarded(mem, b)
		if err != nil || fault < 0 && !again {
			return examined, err
		}
		if fault < 0 {
			continue
		}
		fault -= page - before
		for touched := 1; ; touched++ {
			if touched > freeBytes {
				if examined++; examined > ExaminedFactor*len(transcript) {
					return examined, nil
				}
			}
			next, err := touches(calls, fault+1)
			if err != nil {
				return 0, err
			}
			if next <= fault || next >= before { // none, or what is new
				break
			}
			fault = next
		}
		if b, err = place(before); err != nil {
			return 0, err
		}
		p = newPlayer(newDecoder(), sizes)
		if err := p.repeat(b, calls+1); err != nil {
			return 0, err
		}
	}
}

// A player calls a decoder with a transcript that arrives in pieces.
type player[In any] struct {
	conn[In]
	m       In
	sizes   []int // of the pieces that are to come
	at, end int   // what is held of the transcript
	last    int   // end in the last call
	waiting bool  // the last call returned More: wait for the next piece
	ended   bool  // the last call returned an error, or broke the contract
}

func newPlayer[In any](dec codec.Decoder[In], sizes []int) *player[In] {
	return &player[In]{conn: newConn(dec), sizes: sizes}
}

// had is the offset behind what was there in the last call.
func (p *player[In]) had() int { return max(p.at, p.last) }

// next calls the decoder once. again says whether there was anything to call it with, and no error has ended the connection.
func (p *player[In]) next(transcript []byte) (again bool, err error) {
	for {
		skipped := min(p.skip, p.end-p.at)
		p.skip -= skipped
		p.at += skipped
		if !p.ended && !p.waiting && p.at < p.end && p.end-p.at >= p.need {
			break
		}
		if p.ended || len(p.sizes) == 0 || p.end == len(transcript) {
			return false, nil
		}
		p.end = min(p.end+p.sizes[0], len(transcript))
		p.sizes = p.sizes[1:]
		p.waiting = false
	}
	p.last = p.end
	n, _, more, failure, err := p.decode(transcript[p.at:p.end:p.end], &p.m)
	p.at += n
	p.waiting = more
	p.ended = failure != nil || err != nil
	return !p.ended, err
}

// repeat calls the decoder as often as one before.
func (p *player[In]) repeat(transcript []byte, calls int) error {
	for range calls {
		if _, err := p.next(transcript); err != nil {
			return err
		}
	}
	return nil
}

// guarded is next where parts of the transcript are inaccessible: fault is the offset in mem at which the decoder has touched
// one, or -1.
func (p *player[In]) guarded(mem *guarded, transcript []byte) (again bool, fault int, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			if fault = mem.offset(v); fault < 0 {
				err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
			}
		}
	}()
	again, err = p.next(transcript)
	return again, -1, err
}

// guarded is memory whose pages can be made inaccessible.
type guarded struct{ b []byte }

func newGuarded(pages int) (*guarded, error) {
	b, err := unix.Mmap(-1, 0, pages*os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return &guarded{b}, nil
}

func (g *guarded) free() { _ = unix.Munmap(g.b) } // it is ours

func (g *guarded) pages() int { return len(g.b) / os.Getpagesize() }

func (g *guarded) protect(first, count, prot int) error {
	page := os.Getpagesize()
	return os.NewSyscallError("mprotect", unix.Mprotect(g.b[first*page:(first+count)*page], prot))
}

// offset returns where a fault was, or -1 when the panic was of another kind.
func (g *guarded) offset(fault any) int {
	err, ok := fault.(runtime.Error)
	if !ok {
		return -1
	}
	at, ok := err.(interface{ Addr() uintptr })
	if !ok {
		return -1
	}
	base := reflect.ValueOf(g.b).Pointer()
	if at.Addr() < base || at.Addr() >= base+uintptr(len(g.b)) {
		return -1
	}
	return int(at.Addr() - base)
}
