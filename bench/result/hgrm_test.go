package result_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/protoring/protoring/bench/result"
	"github.com/stretchr/testify/require"
)

// TestHgrm reads the file as HdrHistogram's plotter does: lines that do not begin with # are split at spaces, and those with four columns
// whose first and last are numbers are points, milliseconds by 1/(1-percentile).
func TestHgrm(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	h := result.NewHistogram()
	for range 100_000 {
		result.Record(h, int64(float64(time.Millisecond)*math.Exp(rng.NormFloat64())))
	}
	var out bytes.Buffer
	require.NoError(t, result.WriteHgrm(&out, h))
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	require.Equal(t, []string{"Value", "Percentile", "TotalCount", "1/(1-Percentile)"}, strings.Fields(lines[0]))
	require.Empty(t, lines[1])
	for i, want := range []string{`^#\[Mean    = +\d+\.\d+, StdDeviation   = +\d+\.\d+\]$`, `^#\[Max     = +\d+\.\d+, Total count    = +100000\]$`,
		`^#\[Buckets = +\d+, SubBuckets     = +\d+\]$`} {
		require.Regexp(t, want, lines[len(lines)-3+i])
	}
	spaces := regexp.MustCompile(` +`)
	points, lastX, lastY := 0, 0.0, 0.0
	for _, l := range lines[2 : len(lines)-3] {
		columns := spaces.Split(strings.TrimSpace(l), -1)
		require.Len(t, columns, 4, l)
		if columns[3] == "inf" { // no number to the plotter
			require.Equal(t, "1.000000", columns[1])
			continue
		}
		y, err := strconv.ParseFloat(columns[0], 64)
		require.NoError(t, err)
		x, err := strconv.ParseFloat(columns[3], 64)
		require.NoError(t, err)
		require.GreaterOrEqual(t, x, lastX)
		require.GreaterOrEqual(t, y, lastY)
		p, err := strconv.ParseFloat(columns[1], 64)
		require.NoError(t, err)
		if x < 1000 { // beyond, values lie far apart and the percentile has too few digits
			require.InDelta(t, float64(h.ValueAtQuantile(100*p))/float64(time.Millisecond), y, 0.02*y+0.001, l)
		}
		points, lastX, lastY = points+1, x, y
	}
	require.Greater(t, points, 40)
	require.Greater(t, lastX, 10_000.0, "it goes as far as there are values")

	out.Reset()
	require.NoError(t, result.WriteHgrm(&out, result.NewHistogram()))
	require.Contains(t, out.String(), "1/(1-Percentile)")
}
