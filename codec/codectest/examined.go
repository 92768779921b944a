package codectest

import (
	"fmt"
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
// decoder that starts over is too close to one that does not.
const LargePages = 64

// Examined counts the bytes that a decoder examines of a transcript that arrives in pieces of one page, in whole pages. It
// needs no cooperation of the decoder, and no timing: the transcript lies in pages of its own, and before each delivery all
// of them are made inaccessible. The address of a fault tells the page that the decoder looks at; that page is counted and
// allowed, and a new decoder gets all deliveries up to there again, until it comes through. A decoder that works in
// proportion to what arrives stays below three times the size of the transcript; one that starts over with each piece
// reaches half the square of its pages.
//
// The time is that of as many runs as pages are counted. A breach of the contract is an error. The count ends at
// ExaminedFactor times the size of the transcript, and a page.
func Examined[In any](newDecoder func() codec.Decoder[In], transcript []byte) (examined int, err error) {
	page := os.Getpagesize()
	if len(transcript) < LargePages*page {
		return 0, fmt.Errorf("codectest: a transcript of %d bytes, at least %d are needed to count what is examined",
			len(transcript), LargePages*page)
	}
	mem, err := unix.Mmap(-1, 0, (len(transcript)+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return 0, os.NewSyscallError("mmap", err)
	}
	defer unix.Munmap(mem)
	copy(mem, transcript)

	p := &pages[In]{mem: mem, size: len(transcript), page: page, new: newDecoder}
	var allowed []int // of the delivery that is counted
	for delivery := 0; delivery*page < len(transcript); {
		touched, err := p.replay(delivery, allowed)
		if err != nil {
			return 0, err
		}
		if touched < 0 {
			delivery++
			allowed = allowed[:0]
			continue
		}
		allowed = append(allowed, touched)
		examined += page
		if examined > ExaminedFactor*len(transcript) {
			break
		}
	}
	return examined, nil
}

// checkExamined returns an error when a decoder examines too much.
func checkExamined[In any](newDecoder func() codec.Decoder[In], transcript []byte) error {
	examined, err := Examined(newDecoder, transcript)
	if err == nil && examined > ExaminedFactor*len(transcript) {
		err = fmt.Errorf("more than %d times the %d bytes of the transcript are examined: is the position kept between calls?",
			ExaminedFactor, len(transcript))
	}
	return err
}

// pages is a transcript in pages that can be made inaccessible.
type pages[In any] struct {
	mem  []byte
	size int // bytes of the transcript
	page int // bytes of a page
	new  func() codec.Decoder[In]
}

// replay delivers page by page to a new decoder, the last one with only the allowed pages accessible. It returns the number
// of the first other page that the decoder touched then, or -1.
func (p *pages[In]) replay(last int, allowed []int) (touched int, err error) {
	c := newConn(p.new())
	var m In
	at := 0
	if err := p.protect(0, len(p.mem)/p.page, unix.PROT_READ); err != nil {
		return 0, err
	}
	for delivery := 0; delivery < last; delivery++ {
		var end bool
		if _, at, end, err = p.deliver(&c, &m, at, delivery); err != nil || end {
			return -1, err
		}
	}
	if err := p.protect(0, len(p.mem)/p.page, unix.PROT_NONE); err != nil {
		return 0, err
	}
	for _, i := range allowed {
		if err := p.protect(i, 1, unix.PROT_READ); err != nil {
			return 0, err
		}
	}
	touched, _, _, err = p.deliver(&c, &m, at, last)
	return touched, err
}

// deliver lets the decoder have all bytes up to the end of a page, from offset at on. A fault ends it.
func (p *pages[In]) deliver(c *conn[In], m *In, at, delivery int) (touched, next int, end bool, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		touched = p.faulted(fault)
		if touched < 0 {
			err = fmt.Errorf("panic: %v\n%s", fault, debug.Stack())
		}
	}()
	have := min((delivery+1)*p.page, p.size)
	for {
		skipped := min(c.skip, have-at)
		c.skip -= skipped
		at += skipped
		if at == have || have-at < c.need {
			return -1, at, false, nil
		}
		n, _, more, failure, err := c.decode(p.mem[at:have:have], m)
		if err != nil || failure != nil {
			return -1, at, true, err
		}
		if more {
			return -1, at, false, nil
		}
		at += n
	}
}

// faulted returns the page in which a fault was, or -1 when the panic was of another kind.
func (p *pages[In]) faulted(fault any) int {
	err, ok := fault.(runtime.Error)
	if !ok {
		return -1
	}
	at, ok := err.(interface{ Addr() uintptr })
	if !ok {
		return -1
	}
	base := reflect.ValueOf(p.mem).Pointer()
	if at.Addr() < base || at.Addr() >= base+uintptr(len(p.mem)) {
		return -1
	}
	return int(at.Addr()-base) / p.page
}

func (p *pages[In]) protect(first, count, prot int) error {
	err := unix.Mprotect(p.mem[first*p.page:(first+count)*p.page], prot)
	return os.NewSyscallError("mprotect", err)
}
