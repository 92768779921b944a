package clients

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/protoring/protoring/examples/internal/runtest"
)

// debianPython is the interpreter that Debian's packages of modules are for; python3 may be another one.
const debianPython = "/usr/bin/python3"

// python returns an interpreter with a module, or the reason why there is none. CACHE_PYTHON names one, as that of a virtual environment.
func python(module string) (path string, reason error) {
	paths := []string{"python3", debianPython}
	if named := os.Getenv("CACHE_PYTHON"); named != "" {
		paths = []string{named}
	}
	for _, path := range paths {
		out, err := exec.Command(path, "-c", "import "+module).CombinedOutput()
		if err == nil {
			return path, nil
		}
		reason = fmt.Errorf("%s without %s (pip install it, and name the interpreter in CACHE_PYTHON): %w\n%s", path, module, err, out)
	}
	return "", reason
}

// Debian 12 has redis-py 4.3.4; RESP3 came with 5.0, redis.cache with 5.1. It is no package of the system, so that it skips in CI as well
// where .ci/run could not have it.
func TestRedisPy(t *testing.T) {
	path, reason := python("redis.cache")
	if reason != nil {
		t.Skip(reason)
	}
	for _, engine := range []string{"io_uring", "epoll"} {
		_, host, port := startCache(t, "-engine", engine)
		for _, protocol := range []string{"2", "3"} {
			require.Equal(t, "ok\n", runTool(t, "", path, "testdata/redis_py.py", host, port, protocol))
		}
	}
}

var memcacheAddr = regexp.MustCompile(`memcache=(\S+)`)

// startMemcache starts a cache that memcached's clients reach.
func startMemcache(t *testing.T, args ...string) (addr string) {
	p, _, _ := startCache(t, append([]string{"-memcache", "127.0.0.1:0"}, args...)...)
	require.Eventually(t, func() bool { return memcacheAddr.MatchString(p.Log()) }, 10*time.Second, time.Millisecond)
	return memcacheAddr.FindStringSubmatch(p.Log())[1]
}

func TestPyMemcache(t *testing.T) {
	path, reason := python("pymemcache")
	if reason != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI must have it: %v", reason)
		}
		t.Skip(reason)
	}
	for _, engine := range []string{"io_uring", "epoll"} {
		host, port, err := net.SplitHostPort(startMemcache(t, "-engine", engine))
		require.NoError(t, err)
		require.Equal(t, "ok\n", runTool(t, "", path, "testdata/pymemcache_py.py", host, port))
	}
}

// memcapable is libmemcached's own test of servers.
func TestMemcapable(t *testing.T) {
	path := runtest.Tool(t, "memcapable", "memccapable") // the second is Debian's name for it
	host, port, err := net.SplitHostPort(startMemcache(t))
	require.NoError(t, err)
	runTool(t, "", path, "-a", "-h", host, "-p", port)
}

// The programs of libmemcached-tools.
func TestMemcacheTools(t *testing.T) {
	addr := startMemcache(t)
	path := runtest.Tool(t, "memccat")
	file := t.TempDir() + "/file"
	require.NoError(t, os.WriteFile(file, []byte("of a file"), 0o600))
	for _, args := range [][]string{{"memccp", file}, {"memcexist", "file"}, {"memctouch", "file"}, {"memcping"}, {"memcstat"}} {
		tool := runtest.Tool(t, args[0])
		runTool(t, "", tool, append([]string{"--servers=" + addr}, args[1:]...)...)
	}
	require.Contains(t, runTool(t, "", path, "--servers="+addr, "file"), "of a file")
	runTool(t, "", runtest.Tool(t, "memcrm"), "--servers="+addr, "file")
	runTool(t, "", runtest.Tool(t, "memcflush"), "--servers="+addr)
}
