package load

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each reply passes, however it is cut, and fails when any of its bytes is another one.
func TestCheck(t *testing.T) {
	for _, name := range protocols {
		cfg, err := Config{Addr: "x", Proto: name, Size: 40}.withDefaults()
		require.NoError(t, err)
		p, err := newProtocol(cfg)
		require.NoError(t, err)
		slot := bytes.Clone(p.request)
		p.issue(slot, 7, 1<<40)
		reply := bytes.Clone(p.reply)
		if p.mark >= 0 {
			copy(reply[p.mark:], p.identity(slot))
			require.NotEqual(t, p.reply, reply)
		}
		for from := range reply {
			for to := from + 1; to <= len(reply); to++ {
				n, ok := p.check(reply[from:to], from, slot)
				require.True(t, ok)
				require.Equal(t, to-from, n)
			}
			n, ok := p.check(append(bytes.Clone(reply[from:]), "what follows"...), from, slot)
			require.True(t, ok)
			require.Equal(t, len(reply)-from, n)

			wrong := bytes.Clone(reply)
			wrong[from]++
			_, ok = p.check(wrong, 0, slot)
			require.False(t, ok)
			require.ErrorContains(t, p.wrong(wrong, 0, slot), "differs")
		}
	}
}
