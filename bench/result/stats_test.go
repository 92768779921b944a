package result_test

import (
	"strings"
	"testing"

	"github.com/protoring/protoring/bench/result"
	"github.com/protoring/protoring/bench/result/resulttest"
	"github.com/stretchr/testify/require"
)

func TestStatsFigures(t *testing.T) {
	s := result.Series{Rounds: []*result.Round{{Achieved: 1000, Stats: &result.Stats{Engine: "io_uring", Seconds: 2, Total: map[string]int64{
		"Messages": 7, "Enters": 500, "SQEs": 2500, "CQEs": 5000, "Sends": 2000, "Rearms": 0, "Carried": 8 << 20, "NoBufs": 6, "Sleeps": 400, "Held": 300}}}}}
	shown := func() (out []string) {
		for _, f := range result.StatsFigures() {
			out = append(out, f.Name+" "+s.Spread(f.Of).Text(f.Write)+" "+f.Unit)
		}
		return out
	}
	require.Equal(t, []string{"requests 4.00 per enter", "SQEs 5.00 per enter", "CQEs 10.0 per enter", "sends 1.00 per request", "re-arms 0 per request",
		"carried 4.1 KiB per request", "ENOBUFS 3 /s", "sleeps 200 /s", "held 75 % of sleeps"}, shown())
	engine, ok := s.Stats()
	require.True(t, ok)
	require.Equal(t, "io_uring", engine)

	s.Rounds[0].Stats.Total["Rearms"] = 1 // in 2,000 requests, at the least
	s.Rounds[0].Achieved *= 2
	require.Contains(t, shown(), "re-arms < 0.001 per request")

	s.Rounds[0].Stats.Total = map[string]int64{}
	require.Equal(t, []string{"requests – per enter", "SQEs – per enter", "CQEs – per enter", "sends 0 per request", "re-arms 0 per request",
		"carried 0 B per request", "ENOBUFS 0 /s", "sleeps 0 /s", "held – of sleeps"}, shown(), "nothing is divided by nothing")
	s.Rounds[0].Stats = nil
	_, ok = s.Stats()
	require.False(t, ok)
	for _, f := range result.StatsFigures() {
		require.Zero(t, s.Spread(f.Of).N)
	}
}

func TestTextOfStats(t *testing.T) {
	const head = "What protoring itself has counted:"
	_, after, ok := strings.Cut(text(t, resulttest.Run(1)), head)
	require.True(t, ok)
	require.Equal(t, []string{"io_uring", "8.00", "8.00", "16.0", "1.00", "0.001", "3", "B", "2,000", "1,000", "75", "%"}, fields(t, after, "io_uring"))

	out := text(t, resulttest.Compare(1, 3))
	require.Equal(t, 3, strings.Count(out, head), "one table for each case")
	_, after, _ = strings.Cut(out, head)
	table, _, _ := strings.Cut(after, "echo-1000: ")
	require.Contains(t, table, "protoring-epoll")
	require.NotContains(t, table, "gnet", "which tells nothing")

	_, after, ok = strings.Cut(text(t, resulttest.Sweep(1)), head)
	require.True(t, ok)
	require.Equal(t, "8.00", fields(t, after, "26,000")[1])
	r := resulttest.Run(1)
	r.Cases[0].Series[0].Rounds[0].Stats = nil
	require.NotContains(t, text(t, r), head)
}

// TestTextOfRounds has the latencies, and what else is a distribution, of all rounds together.
func TestTextOfRounds(t *testing.T) {
	r := resulttest.Run(1)
	s := &r.Cases[0].Series[0]
	for seed := range uint64(4) {
		s.Rounds = append(s.Rounds, resulttest.Run(2 + seed).Cases[0].Series[0].Rounds...)
	}
	out := text(t, r)
	all, _, err := s.Merged()
	require.NoError(t, err)
	require.Equal(t, strings.Fields("latency "+result.Nanos(all.Mean)+" "+result.Nanos(float64(all.P50))), fields(t, out, "latency")[:5])
	require.Regexp(t, `(?s)over 5 rounds +p50 .+ to .+ p99 .+ to .+ replies/s (19,9..|20,000) to 20,0.. +CPU per reply .+ to .+`, strings.ReplaceAll(out, "\n", " "))
	require.Contains(t, out, "sent late by")
}
