package codectest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/protoring/protoring/codec"
)

// EncoderConfig is what an encoder is checked with.
type EncoderConfig[Out any] struct {
	// New returns the encoder of a new connection. It is required.
	New func() codec.Encoder[Out]
	// Messages are encoded one after the other. They are required.
	Messages []Out
}

// RunEncoder checks an encoder and fails t with the first breach of the contract.
func RunEncoder[Out any](t *testing.T, cfg EncoderConfig[Out]) {
	t.Helper()
	if err := CheckEncoder(cfg); err != nil {
		t.Fatal(err)
	}
}

// CheckEncoder checks that Encode appends to whatever it is given and touches nothing before, for any room behind it, that it
// does not keep the memory, and that Size, where there is one, is an upper bound.
func CheckEncoder[Out any](cfg EncoderConfig[Out]) error {
	var want, lent [][]byte
	first := cfg.New()
	for _, m := range cfg.Messages {
		got := first.Encode(nil, m)
		lent = append(lent, got)
		want = append(want, bytes.Clone(got))
	}
	for _, b := range lent {
		overwrite(b)
	}
	prefix := []byte("what was sent before\r\n")
	for _, room := range []int{0, 1, 7, -1, -2, 1 << 16} { // -1: exactly enough, -2: one byte less
		enc := cfg.New()
		sizer, _ := enc.(codec.Sizer[Out])
		for i, m := range cfg.Messages {
			free := room
			if room < 0 {
				free = max(0, len(want[i])+room+1)
			}
			mem := make([]byte, len(prefix)+free)
			overwrite(mem)
			dst := mem[:copy(mem, prefix)]
			got := enc.Encode(dst, m)
			switch {
			case len(got) < len(prefix) || !bytes.Equal(got[:len(prefix)], prefix) || !bytes.Equal(mem[:len(prefix)], prefix):
				return fmt.Errorf("message %d, %d bytes of room: what is before it was changed", i, free)
			case !bytes.Equal(got[len(prefix):], want[i]):
				return fmt.Errorf("message %d, %d bytes of room: encoded as %.200q, at first as %.200q",
					i, free, got[len(prefix):], want[i])
			case sizer != nil && sizer.Size(m) < len(want[i]):
				return fmt.Errorf("message %d: Size is %d, but it is encoded in %d bytes", i, sizer.Size(m), len(want[i]))
			}
			overwrite(got) // whoever keeps it encodes the next message wrongly
		}
	}
	return nil
}
