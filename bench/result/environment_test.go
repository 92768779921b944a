package result

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDescribeEnvironment(t *testing.T) {
	env := DescribeEnvironment()
	require.Regexp(t, `^Linux \d+\.\d+`, env.Kernel)
	require.Contains(t, env.Go, "go1.")
	require.Positive(t, env.CPUs)
	require.Positive(t, env.Memory)
}

func TestDescribeCPU(t *testing.T) {
	model, virtual := describeCPU("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nflags\t\t: fpu hypervisor\n\nmodel name\t: other\n")
	require.Equal(t, "Some CPU @ 3 GHz", model)
	require.Equal(t, "yes", virtual)
	_, virtual = describeCPU("flags\t\t: fpu vmx\n")
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
