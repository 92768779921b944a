package memcached

import (
	"net"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/examples/internal/runtest"
	"github.com/protoring/protoring/server"
)

var outcomes = regexp.MustCompile(`(?m)^ascii [\w ]+?\s+\[(\w+)\]`)

// The text protocol's tests of libmemcached pass.
func TestCapable(t *testing.T) {
	tool := runtest.Tool(t, "memcapable", "memccapable") // the second is Debian's name for it
	for _, engine := range []server.Engine{server.EngineAuto, server.EngineEpoll} {
		t.Run(engine.String(), func(t *testing.T) {
			_, port, err := net.SplitHostPort(start(t, 0, server.Config{Engine: engine}))
			require.NoError(t, err)
			cmd := exec.Command(tool, "-h", "127.0.0.1", "-p", port, "-a", "-t", "10")
			kill := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
			defer kill.Stop()
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			results := outcomes.FindAllSubmatch(out, -1)
			t.Logf("%d tests\n%s", len(results), out)
			require.Greater(t, len(results), 20, "%s", out)
			for _, r := range results {
				require.Equal(t, "pass", string(r[1]), "%s", out)
			}
		})
	}
}
