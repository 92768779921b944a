package redis

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A subscriber for whom more than the soft limit waits is dropped after a minute, unless it has read meanwhile.
func TestSoftLimit(t *testing.T) {
	h := newHub()
	var sub subscriber
	h.full[&sub] = 0
	sub.full = true
	sub.queued.Store(defaultLimits[pubsubClass].soft)
	h.dropFull()
	require.Empty(t, h.full)
	require.False(t, sub.full)

	sub.closed = true // so that nobody is asked to close it
	sub.full = true
	h.full[&sub] = 0
	sub.queued.Store(defaultLimits[pubsubClass].soft + 1)
	for range defaultLimits[pubsubClass].seconds {
		h.dropFull()
		require.Len(t, h.full, 1)
	}
	h.dropFull()
	require.Empty(t, h.full)
	require.Zero(t, h.dropped.Load())
}
