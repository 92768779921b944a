package redis

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The quirks are Redis', whose KEYS alone takes a star for any key without a look.
func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", false}, {"*", "a", true}, {"**", "abc", true}, {"?", "", false}, {"?", "\xff", true},
		{"a*b*c", "a--b--c", true}, {"a*b*c", "a--c--b", false}, {"[a-c]x", "bx", true}, {"[c-a]x", "bx", true}, {"[^a-c]x", "bx", false},
		{"[]", "a", false}, {"[^]", "a", true}, {"[a", "a", true}, {"[\\]]", "]", true}, {"\\*", "*", true}, {"\\*", "a", false}, {"\\", "\\", true},
		{"a\\", "a\\", true}, {"a*", "a", true}, {"a**", "a", true}, {"a?", "a", false}, {"*a", "bab", false}, {"h[ae]llo", "hello", true},
	} {
		require.Equal(t, c.want, matches([]byte(c.pattern), []byte(c.name)), "%q %q", c.pattern, c.name)
	}
	require.True(t, matchesFold([]byte("TIME[o-O]*"), []byte("timeout")))
	require.False(t, matches([]byte("TIME*"), []byte("timeout")))
}

// Patterns that would take for ever, step by step, end soon.
func TestMatchesIsBounded(t *testing.T) {
	name := []byte(strings.Repeat("a", 16000))
	for _, pattern := range []string{
		strings.Repeat("a*", 100) + "b", strings.Repeat("*a", 5000) + "b", "*" + strings.Repeat("a", 8000) + "b", strings.Repeat("*", 1<<20) + "b",
		strings.Repeat("*?", 2000) + "b",
	} {
		began := time.Now()
		require.False(t, matches([]byte(pattern), name))
		require.Less(t, time.Since(began), 2*time.Second, "%.20s", pattern)
	}
}

func FuzzMatches(f *testing.F) {
	f.Add("a*[b-c]\\", "abc")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		matches([]byte(pattern), []byte(name))
		require.True(t, matches(append(quoted(name), '*'), []byte(name+"x")))
		if name != "" {
			require.True(t, matches(quoted(name), []byte(name)))
		}
	})
}

// quoted takes the meaning from each byte.
func quoted(name string) (pattern []byte) {
	for i := range len(name) {
		pattern = append(pattern, '\\', name[i])
	}
	return pattern
}
