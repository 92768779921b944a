package result

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestDescribeEnvironment(t *testing.T) {
	env := DescribeEnvironment()
	require.Regexp(t, `^Linux \d+\.\d+`, env.Kernel)
	require.Contains(t, env.Go, "go1.")
	require.Positive(t, env.CPUs)
	require.Positive(t, env.Memory)
}

func TestCommandLine(t *testing.T) {
	require.Equal(t, `bench run --addr '[::1]:80' --title 'It'\''s $5' --pin 1,2 ''`,
		CommandLine([]string{"/tmp/x/bench", "run", "--addr", "[::1]:80", "--title", "It's $5", "--pin", "1,2", ""}))
}

func TestBoundTo(t *testing.T) {
	if _, err := exec.LookPath("taskset"); err != nil || runtime.NumCPU() < 2 {
		t.Skip("it takes taskset and two CPUs")
	}
	var all unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &all))
	cpu := 0
	for !all.IsSet(cpu) {
		cpu++
	}
	cmd := exec.Command("taskset", "-c", strconv.Itoa(cpu), "cat")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = io.WriteString(in, "x") // what comes back comes from cat, which taskset has become
	require.NoError(t, err)
	_, err = io.ReadFull(out, make([]byte, 1))
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(cpu), BoundTo(cmd.Process.Pid))
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
	require.Empty(t, BoundTo(cmd.Process.Pid), "it has ended")
}

func TestDescribeCPU(t *testing.T) {
	model, n, virtual := describeCPU("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nflags\t\t: fpu hypervisor\n\nprocessor\t: 1\nmodel name\t: other\n")
	require.Equal(t, "Some CPU @ 3 GHz", model)
	require.Equal(t, 2, n)
	require.Equal(t, "yes", virtual)
	_, _, virtual = describeCPU("flags\t\t: fpu vmx\n")
	require.Empty(t, virtual)
}

func TestMitigations(t *testing.T) {
	dir := t.TempDir()
	require.Empty(t, mitigations(filepath.Join(dir, "absent")))
	for name, text := range map[string]string{"a": "Not affected\n", "b": "Vulnerable\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	require.Equal(t, "none of 2", mitigations(dir))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "c"), []byte("Mitigation: Retpolines; IBPB\n"), 0o600))
	require.Equal(t, "c: Retpolines; IBPB", mitigations(dir))
}
