package result_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/protoring/protoring/bench/result"
	"github.com/protoring/protoring/bench/result/resulttest"
	"github.com/stretchr/testify/require"
)

// within holds a text to a terminal's width.
func within(t *testing.T, text string) {
	t.Helper()
	for l := range strings.Lines(text) {
		require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(l, "\n")), 120, l)
	}
}

func text(t *testing.T, r *result.Report) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, result.WriteText(&out, r))
	within(t, out.String())
	return out.String()
}

// fields returns the words of the first line that begins with a word.
func fields(t *testing.T, text, first string) []string {
	t.Helper()
	for l := range strings.Lines(text) {
		if f := strings.Fields(l); len(f) > 0 && f[0] == first {
			return f
		}
	}
	require.Failf(t, "no line", "%s in:\n%s", first, text)
	return nil
}

func TestTextOfRun(t *testing.T) {
	r := resulttest.Run(1)
	out := text(t, r)
	l := r.Cases[0].Series[0].Rounds[0].Latency
	require.Equal(t, strings.Fields("latency "+result.Nanos(l.Mean)+" "+result.Nanos(float64(l.P50))), fields(t, out, "latency")[:5])
	require.Contains(t, out, "20,000 replies/s of 20,000 offered")
	require.Contains(t, out, "sent late by")
	require.Contains(t, out, "20,000 requests/s offered constant")
	r.Cases[0].Series[0].Rounds[0].Invalid = []string{"the schedule slipped"}
	r.Incomplete = "the server has gone"
	out = text(t, r)
	require.Contains(t, out, "INVALID: 127.0.0.1:6379: the schedule slipped")
	require.Contains(t, out, "INCOMPLETE: the server has gone")
}

func TestTextOfSweep(t *testing.T) {
	r := resulttest.Sweep(1)
	out := text(t, r)
	require.Equal(t, []string{"◀", "knee"}, fields(t, out, "200,000")[18:])
	require.Equal(t, 1, strings.Count(out, "◀ knee"))
	require.Contains(t, out, "follows 89.")
	require.Contains(t, out, "The knee is at 200,000 requests/s")
	many := text(t, resulttest.Sweep(1, resulttest.Servers()...))
	require.Equal(t, 4, strings.Count(many, "◀ knee"), "each server has its own")
	for i, percent := range []string{"83", "91", "85"} {
		r.Cases[i].Series[0].Rounds[0].Invalid = []string{"busy for " + percent + " % of the time"}
	}
	name := r.Cases[0].Series[0].Name
	rates := result.Count(r.Cases[0].Load.Rate) + "/s to " + result.Count(r.Cases[2].Load.Rate) + "/s"
	require.Contains(t, text(t, r), "\nAt "+rates+", invalid: "+name+": busy for 83–91 % of the time\n", "once")
	for i := range 3 {
		r.Cases[i].Series[0].Rounds[0].Invalid = nil
	}
	r.Cases = r.Cases[:3]
	require.Contains(t, text(t, r), "or beyond: that is the highest rate that was tried")
}

func TestTextOfComparison(t *testing.T) {
	r := resulttest.Compare(1, 5)
	out := text(t, r)
	require.Equal(t, 3, strings.Count(out, "CPU µs"))
	row := fields(t, out, "protoring-io_uring")
	require.Regexp(t, `^\d\.\d\d$`, row[1], "CPU per operation comes first")
	require.Regexp(t, `^\[0\.\d\d–\d\.\d\d\]$`, row[3])
	require.Equal(t, "1", fields(t, out, "gnet")[2], "the reference")
	require.Contains(t, out, "NOT MEASURED: netpoll: its program is not installed")
	require.Contains(t, out, "ERRORS: go-net: 3 connection reset, 1 wrong reply")
	// The widest there may be.
	for i := range r.Cases {
		for k := range r.Cases[i].Series {
			s := &r.Cases[i].Series[k]
			s.Name = strings.Repeat(string(rune('a'+k)), 30) + " " + s.Name
			for n, round := range s.Rounds {
				round.Achieved *= float64(10 + 20*k*n)
				round.Server.CPUPerOp *= float64(1 + 20*k*(n+1))
			}
		}
		r.Cases[i].Reference = r.Cases[i].Series[0].Name
	}
	text(t, r)
}

// TestTextIsTame has names that would move a terminal's cursor.
func TestTextIsTame(t *testing.T) {
	r := resulttest.Compare(1, 2)
	r.Title = "evil\x1b[2J\u009b title"
	r.Cases[0].Name = "a\rb"
	r.Cases[0].Series[0].Name = "x\x1b[31m"
	r.Cases[0].Series[0].Note = "bell\a"
	out := text(t, r)
	require.False(t, strings.ContainsAny(out, "\x1b\r\a\u009b"))
}

func TestTextOfLittle(t *testing.T) {
	for _, r := range []*result.Report{
		{}, {Kind: result.KindRun}, {Kind: result.KindSweep}, {Kind: result.KindCompare, Cases: []result.Case{{}}},
		{Kind: result.KindRun, Cases: []result.Case{{Series: []result.Series{{Name: "s", Rounds: []*result.Round{{}}}}}}},
		{Kind: result.KindSweep, Cases: []result.Case{{Series: []result.Series{{Name: "s", Rounds: []*result.Round{{}}}, {Name: "t", Skipped: "why"}}}}},
		{Kind: result.KindRun, Cases: []result.Case{{Series: []result.Series{{Name: "s"}}}}},
	} {
		text(t, r)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, bytes.ErrTooLarge }

func TestTextToNowhere(t *testing.T) {
	require.ErrorIs(t, result.WriteText(broken{}, resulttest.Run(1)), bytes.ErrTooLarge)
}
