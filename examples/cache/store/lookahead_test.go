package store

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/protoring/protoring/codec/resp"
)

// Each command is looked at once, and not again while it is decoded, however the bytes arrive.
func TestLookahead(t *testing.T) {
	get := []byte("*2\r\n$3\r\nGET\r\n$10\r\nkey:000000\r\n")
	const commands = 160
	all := bytes.Repeat(get, commands)
	for _, piece := range []int{len(all), len(all)/2 - 5, 1000, len(get)} {
		var a Lookahead
		var keys [16][]byte
		looks, peeked := 0, 0
		given := 0
		for at := 0; at < len(all); {
			if at+len(get) > given {
				given = min(given+piece, len(all))
				continue
			}
			b := all[at:given]
			if a.due(len(b)) {
				n, end := resp.PeekKeys(b, keys[:])
				a.done = len(b) - end
				looks++
				peeked += n
			}
			at += len(get)
		}
		assert.LessOrEqual(t, looks, commands/16+2*(len(all)/piece)+1, "pieces of %d", piece)
		if piece > lookaheadFrom {
			assert.InDelta(t, commands, peeked, float64(2*len(all)/piece+1), "pieces of %d", piece)
		} else {
			assert.Zero(t, looks)
		}
	}
}
