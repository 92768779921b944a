package compare

import (
	"bytes"
	"testing"

	"github.com/protoring/protoring/bench/load"
	"github.com/stretchr/testify/require"
)

func TestSelect(t *testing.T) {
	all, err := Select(nil)
	require.NoError(t, err)
	require.Equal(t, Cases, all)
	for _, c := range all {
		require.Contains(t, c.Servers, c.Reference)
		for _, name := range c.Servers {
			require.Contains(t, commands, name)
		}
	}
	some, err := Select([]string{"echo-1", "get-", "get-50x1"})
	require.NoError(t, err)
	var names []string
	for _, c := range some {
		names = append(names, c.Name)
	}
	require.Equal(t, []string{"echo-1", "get-50x1", "get-50x16"}, names)
	_, err = Select([]string{"nothing"})
	require.ErrorContains(t, err, `no case "nothing": there are echo-50x1, `)
}

func TestTable(t *testing.T) {
	rounds := func(ops ...float64) (rs []*load.Result) {
		for _, v := range ops {
			rs = append(rs, &load.Result{OpsPerSec: v, Server: &load.Server{CPUPerOp: 1e6 / v}})
		}
		return rs
	}
	cr := CaseReport{Case: Case{Name: "c", Proto: "echo", Reference: "b"}, Servers: []ServerReport{
		{Name: "a", Rounds: rounds(100, 300, 200), SyscallsPerOp: 0.5},
		{Name: "b", Rounds: rounds(100, 100, 400)},
		{Name: "d", Rounds: []*load.Result{{OpsPerSec: 7}}},
	}}
	var out bytes.Buffer
	require.NoError(t, cr.write(&out))
	require.Contains(t, out.String(), "1.00 [0.50–3.00]  ")        // the rate of a, round by round
	require.Contains(t, out.String(), "5000.00  1.00 [0.33–2.00]") // its CPU time
	require.Contains(t, out.String(), "0.500")
}
