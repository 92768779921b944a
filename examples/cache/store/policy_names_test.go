package store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPolicyNames(t *testing.T) {
	for p := NoEviction; p <= VolatileTTL; p++ {
		got, err := ParsePolicy(p.String())
		require.NoError(t, err)
		require.Equal(t, p, got)
	}
	require.Equal(t, "allkeys-lru", AllKeysLRU.String())
	require.Equal(t, "Policy(200)", Policy(200).String())
	_, err := ParsePolicy("allkeys-magic")
	require.ErrorContains(t, err, "noeviction, allkeys-lru")
}
