package codectest

import (
	"bytes"
	"fmt"
	"os"

	"github.com/protoring/protoring/codec"
)

const (
	maxStretched = 8  // transcripts that are made longer, of those that can be
	stretchFrom  = 48 // bytes at the start of a transcript in which there may be something to repeat
)

// stretchBy are the numbers of bytes that are repeated: one of a word, or a word and a space.
var stretchBy = []int{1, 2, 4}

// A stretch is a transcript of which a few bytes are repeated, so that a decoder is called again and again for one message.
type stretch struct {
	transcript []byte
	at, by     int
}

// of returns the transcript with so many bytes, or a few more.
func (s stretch) of(size int) []byte {
	times := (size + s.by - 1) / s.by
	return bytes.Join([][]byte{s.transcript[:s.at], bytes.Repeat(s.transcript[s.at:s.at+s.by], times), s.transcript[s.at+s.by:]}, nil)
}

// stretches finds what can be repeated: a word, or a list of them, while the message goes on. Whether it does the decoder tells, by
// being called for each byte that arrives without returning a message. One that names the size of a message is not, and
// needs no position.
func stretches[In any](newDecoder func() codec.Decoder[In], transcripts [][]byte) (all []stretch) {
	for _, t := range transcripts {
		if len(t) > smallSize {
			continue
		}
		if s, ok := stretchable(newDecoder, t); ok {
			all = append(all, s)
		}
	}
	for i := range min(len(all), maxStretched) { // from everywhere
		all[i] = all[i*len(all)/min(len(all), maxStretched)]
	}
	return all[:min(len(all), maxStretched)]
}

func stretchable[In any](newDecoder func() codec.Decoder[In], transcript []byte) (stretch, bool) {
	for _, by := range stretchBy {
		for at := 0; at+by <= min(len(transcript), stretchFrom); at++ {
			if s := (stretch{transcript, at, by}); waits(newDecoder, s.of(smallSize)) >= smallSize*3/4 {
				return s, true
			}
		}
	}
	return stretch{}, false
}

// waits returns the most calls without a message of a decoder that gets each byte by itself.
func waits[In any](newDecoder func() codec.Decoder[In], transcript []byte) (most int) {
	defer func() { _ = recover() }() // Check has told, or tells, of a panic with less
	p := newPlayer(newDecoder(), equal(len(transcript), 1))
	for calls := 0; ; calls++ {
		again, err := p.next(transcript)
		if !p.waiting {
			calls = -1 // it was one
		}
		most = max(most, calls)
		if !again || err != nil {
			return most
		}
	}
}

// checkStretched counts what a decoder examines of messages that it takes, made of transcripts.
func checkStretched[In any](newDecoder func() codec.Decoder[In], transcripts [][]byte) error {
	for _, s := range stretches(newDecoder, transcripts) {
		if err := checkSmall(newDecoder, s.of(smallSize)); err != nil {
			return s.tell(err)
		}
		long := s.of(finePages * os.Getpagesize())
		if waits(newDecoder, long) < len(long)*3/4 {
			continue // beyond a limit of the protocol
		}
		if err := checkFine(newDecoder, long); err != nil {
			return s.tell(err)
		}
	}
	return nil
}

func (s stretch) tell(err error) error {
	return fmt.Errorf("%.100q with %q repeated: %w", s.transcript, s.transcript[s.at:s.at+s.by], err)
}
