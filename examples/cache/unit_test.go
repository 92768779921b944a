package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/examples/internal/runtest"
)

// systemd itself reads the unit, with this build in the place of the installed one. A directive that it does not know, or a call that
// it has no name for, is a line of output.
func TestUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd is not here")
	}
	unit, err := os.ReadFile("protoring-cache.service")
	require.NoError(t, err)
	installed := regexp.MustCompile(`(?m)^ExecStart=.*$`)
	require.True(t, installed.Match(unit))
	unit = installed.ReplaceAll(unit, []byte("ExecStart="+runtest.Build(t, ".")))
	path := filepath.Join(t.TempDir(), "protoring-cache.service")
	require.NoError(t, os.WriteFile(path, unit, 0o644))
	out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, string(out))
}
