// Package codectest checks a codec against the contract of package codec, in the way in which the runtime uses it.
//
//	func TestCodec(t *testing.T) {
//		codectest.Run(t, codectest.Config[mine.Message]{
//			New:         func() codec.Decoder[mine.Message] { return &mine.Decoder{} },
//			Describe:    func(m *mine.Message) string { return fmt.Sprintf("%q", m.Fields) },
//			Transcripts: [][]byte{[]byte("one\r\ntwo\r\nthr")},
//			Large:       [][]byte{oneMessageOf300KiB},
//		})
//	}
//
// A transcript is what one connection receives. Each is decoded all at once, cut in two at every byte, one byte at a time, and
// cut at random; messages, consumed bytes and error must be the same for all. The decoder is given memory that is at
// another address in each call and overwritten behind it, so a view that is kept is seen. It is called as by the runtime: after
// [codec.More] with a size not before that many bytes are there, and after More without a size through [codec.Resumer],
// where there is one. Messages are decoded into values that hold what an earlier message, perhaps of another connection,
// left there.
//
// The bytes that a decoder examines are counted, with the memory protection of the processor and no help of the decoder:
//
//   - For each of Config.Large the pages that it touches: delivered page by page, all at once, three pages and a byte at a
//     time, in random pieces, byte by byte over the first eight pages, and all but the last page at once and that byte by
//     byte. See [Examined].
//   - For messages that are made of Config.Transcripts by repeating one, two or four of their bytes, where the decoder takes that
//     (it is called for each byte and returns no message): the pages of one of eight pages, byte by byte, and the bytes
//     of one of 512 bytes, byte by byte and three at a time. So a decoder of lines, or of lists of words, needs no
//     Large. One that knows the size of a message from its start, or a number of elements, is not seen there: give a Large.
//
// More than four times what is delivered is a fault. This is what is not seen: old bytes that a call looks at again, up to 32 of
// them in a message of 512 bytes, and up to four pages in a larger one, since a few bytes of a page are enough to touch it;
// and in messages that cannot have five pages, what a call looks at again after it has looked at what is new.
package codectest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/protoring/protoring/codec"
)

// Config is what a decoder is checked with.
type Config[In any] struct {
	// New returns the decoder of a new connection. It is required.
	New func() codec.Decoder[In]
	// Describe returns all that m says, as text. It is called while m is valid and must not keep what m refers to. Nil means
	// fmt's %q, or %s with Stream, which suits codec.Frame.
	Describe func(m *In) string
	// Transcripts are what connections receive, cut and broken messages included. Up to a few KiB each: with every cut
	// tried, the time grows with the square of their size.
	Transcripts [][]byte
	// Large are transcripts of at least LargePages pages, for the bytes that are examined. Each should be one message
	// of the kind that costs most: the most elements, the longest line. Transcripts of more than some 512 KiB take long.
	// Without any, only messages that can be made of Transcripts are examined: those that go on when bytes are repeated.
	Large [][]byte
	// Stream says that messages are pieces of a stream and depend on the cuts: only their descriptions, joined, are compared.
	Stream bool
	// Seed is the seed of random cuts. Zero means a new one for each run; failures tell it.
	Seed uint64
}

const (
	maxTwoCuts = 4096  // cuts in two of one transcript; of longer ones a random choice
	maxByByte  = 16384 // bytes of a transcript that is also delivered one byte at a time
	randomCuts = 32    // random ways to cut each transcript
	largeCuts  = 8     // in place of randomCuts for each of Config.Large
	fuzzCuts   = 4     // in place of maxTwoCuts and of randomCuts when fuzzing
	fuzzByByte = 512   // in place of maxByByte when fuzzing
)

// Run checks a decoder and fails t with the first breach of the contract.
func Run[In any](t *testing.T, cfg Config[In]) {
	t.Helper()
	if err := Check(cfg); err != nil {
		t.Fatal(err)
	}
}

// Check checks a decoder and returns the first breach of the contract.
func Check[In any](cfg Config[In]) error {
	if cfg.New == nil || len(cfg.Transcripts)+len(cfg.Large) == 0 {
		return errors.New("codectest: Config.New and Config.Transcripts are required")
	}
	c := newChecker(cfg)
	for i, transcript := range cfg.Transcripts {
		if err := c.cuts(transcript, maxTwoCuts, maxByByte, randomCuts); err != nil {
			return fmt.Errorf("transcript %d: %w", i, err)
		}
	}
	for i, transcript := range cfg.Large {
		if err := c.cuts(transcript, 0, 0, largeCuts); err != nil {
			return fmt.Errorf("large transcript %d: %w", i, err)
		}
		if err := checkLarge(cfg.New, transcript, c.rand); err != nil {
			return fmt.Errorf("large transcript %d (seed %d): %w", i, c.cfg.Seed, err)
		}
	}
	if err := checkStretched(cfg.New, cfg.Transcripts); err != nil {
		return fmt.Errorf("a transcript made longer: %w", err)
	}
	return nil
}

// Fuzz adds the transcripts and beginnings of them as seeds, and then checks that for any input and any cuts the decoder
// keeps the contract, does not panic, and decodes the same.
func Fuzz[In any](f *testing.F, cfg Config[In]) {
	f.Helper()
	for _, transcript := range cfg.Transcripts {
		f.Add(transcript, uint64(1))
		for cut := 1; cut < len(transcript); cut += 1 + len(transcript)/8 {
			f.Add(transcript[:cut], uint64(cut))
		}
	}
	f.Fuzz(func(t *testing.T, transcript []byte, seed uint64) {
		cfg := cfg
		cfg.Seed = seed | 1
		c := newChecker(cfg)
		if err := c.cuts(transcript, fuzzCuts, fuzzByByte, fuzzCuts); err != nil {
			t.Fatal(err)
		}
	})
}

// A checker runs transcripts. Its two Ins are reused for all connections, as a loop does.
type checker[In any] struct {
	cfg  Config[In]
	rand *rand.Rand
	ins  [2]In
}

func newChecker[In any](cfg Config[In]) *checker[In] {
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64() | 1
	}
	if cfg.Describe == nil {
		format := "%q"
		if cfg.Stream {
			format = "%s"
		}
		cfg.Describe = func(m *In) string { return fmt.Sprintf(format, *m) }
	}
	return &checker[In]{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, cfg.Seed))}
}

// cuts decodes transcript in many pieces and compares with the result of it as a whole.
func (c *checker[In]) cuts(transcript []byte, maxTwo, maxByByte, random int) error {
	want, err := c.run(slices.Values([]int{len(transcript)}), transcript)
	if err != nil {
		return fmt.Errorf("all at once: %w", err)
	}
	compare := func(how string, sizes func(yield func(int) bool)) error {
		got, err := c.run(sizes, transcript)
		if err == nil {
			err = got.differs(want, c.cfg.Stream)
		}
		if err != nil {
			return fmt.Errorf("%s (seed %d): %w", how, c.cfg.Seed, err)
		}
		return nil
	}
	if len(transcript) <= maxByByte {
		if err := compare("one byte at a time", pieces(func() int { return 1 })); err != nil {
			return err
		}
	}
	for i := range min(maxTwo, len(transcript)) {
		cut := i
		if len(transcript) > maxTwo {
			cut = c.rand.IntN(len(transcript))
		}
		if err := compare(fmt.Sprintf("cut in two at %d", cut), slices.Values([]int{cut, len(transcript) - cut})); err != nil {
			return err
		}
	}
	for i := range random {
		most := 1 + c.rand.IntN(1+len(transcript)/(1+i%8))
		most = max(most, len(transcript)/64) // not a thousand copies of a large transcript
		if err := compare(fmt.Sprintf("pieces of up to %d bytes", most), pieces(func() int { return 1 + c.rand.IntN(most) })); err != nil {
			return err
		}
	}
	return nil
}

// pieces is an endless sequence of sizes.
func pieces(next func() int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for yield(next()) {
		}
	}
}

// An outcome is what a transcript was decoded to.
type outcome struct {
	messages []string
	consumed int    // bytes of messages and skipped bytes
	failure  string // error of the decoder that ended the connection, or ""
}

// differs says how o is not what was wanted, or returns nil.
func (o *outcome) differs(want *outcome, stream bool) error {
	if stream {
		if got, want := strings.Join(o.messages, ""), strings.Join(want.messages, ""); got != want {
			return fmt.Errorf("messages joined are %.200q, all at once they are %.200q", got, want)
		}
	} else {
		for i, m := range o.messages {
			if i >= len(want.messages) {
				return fmt.Errorf("message %d is %.200s, all at once there is none", i, m)
			}
			if m != want.messages[i] {
				return fmt.Errorf("message %d is %.200s, all at once it is %.200s", i, m, want.messages[i])
			}
		}
		if n := len(o.messages); n < len(want.messages) {
			return fmt.Errorf("there is no message %d, all at once it is %.200s", n, want.messages[n])
		}
	}
	if o.failure != want.failure {
		return fmt.Errorf("the error is %q, all at once it is %q", o.failure, want.failure)
	}
	if o.consumed != want.consumed {
		return fmt.Errorf("%d bytes are consumed, all at once %d", o.consumed, want.consumed)
	}
	return nil
}
