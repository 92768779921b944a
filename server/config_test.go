package server

import (
	"bufio"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/protoring/protoring/server/internal/engine"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// limitFiles sets the limit on open files until the test is over.
func limitFiles(t *testing.T, n uint64) {
	t.Helper()
	var was unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &was))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: was.Max}))
	t.Cleanup(func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &was)) })
}

// machineMemory is what /proc/meminfo says.
func machineMemory(t *testing.T) int {
	t.Helper()
	f, err := os.Open("/proc/meminfo")
	require.NoError(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int
		if n, _ := fmt.Sscanf(lines.Text(), "MemTotal: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	require.FailNow(t, "no MemTotal")
	return 0
}

// Every default of Config, and what others make of it.
func TestConfigDefaults(t *testing.T) {
	const files = 1000
	limitFiles(t, files)
	memory := min(machineMemory(t), cgroupMemory(os.DirFS("/"))) / 4
	defaults := func(loops, procs int) Config {
		c := Config{
			Loops:                     loops,
			Engine:                    EngineAuto,
			BufferAllocationIncrement: 1 << 20,
			MaxReceive:                min(64<<20, memory/2/loops),
			MaxMemory:                 memory,
			MaxConns:                  files - 64,
			DrainTimeout:              10 * time.Second,
			Spin:                      50 * time.Microsecond,
			StallTimeout:              time.Second,
			OnPanic:                   PanicCloses,
			Logger:                    slog.New(slog.DiscardHandler),
		}
		if procs <= loops {
			c.Spin = -1
		}
		return c
	}
	one := func(c Config) Config { c.Loops = 1; return c }
	cpus := runtime.NumCPU()
	for name, c := range map[string]struct {
		procs int
		cfg   Config
		loops int
		want  func(*Config)
	}{
		"zero":                      {8 * cpus, Config{}, cpus, func(*Config) {}},
		"fewer P than CPUs":         {1, Config{}, 1, func(*Config) {}},
		"as many P as loops":        {3, Config{Loops: 3}, 3, func(*Config) {}},
		"more P than loops":         {4, Config{Loops: 3}, 3, func(*Config) {}},
		"spin asked for, too few P": {1, one(Config{Spin: time.Second}), 1, func(*Config) {}},
		"spin asked for":            {2, one(Config{Spin: time.Second}), 1, func(c *Config) { c.Spin = time.Second }},
		"spin off":                  {2, one(Config{Spin: -1}), 1, func(c *Config) { c.Spin = -1 }},
		"times off": {2, one(Config{DrainTimeout: -1, StallTimeout: -1}), 1, func(c *Config) {
			c.DrainTimeout, c.StallTimeout = -1, -1
		}},
		"increment": {2, one(Config{BufferAllocationIncrement: 1 << 16, MaxMemory: 1 << 30}), 1, func(c *Config) {
			c.BufferAllocationIncrement, c.MaxReceive, c.MaxMemory = 1<<16, 64<<16, 1<<30
		}},
		"little memory": {9, Config{Loops: 4, MaxMemory: 80 << 20}, 4, func(c *Config) {
			c.MaxReceive, c.MaxMemory = 10<<20, 80<<20
		}},
		"an increment for each": {9, Config{Loops: 4, MaxMemory: 1 << 20}, 4, func(c *Config) {
			c.MaxReceive, c.MaxMemory = 1<<20, 1<<20
		}},
		"connections":               {2, one(Config{MaxConns: 5000}), 1, func(c *Config) { c.MaxConns = 5000 }},
		"more than there are slots": {2, one(Config{MaxConns: math.MaxInt}), 1, func(c *Config) { c.MaxConns = engine.MaxSlots }},
	} {
		t.Run(name, func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(c.procs))
			got, err := c.cfg.withDefaults()
			require.NoError(t, err)
			want := defaults(c.loops, c.procs)
			c.want(&want)
			require.Equal(t, want, got)
		})
	}
	limitFiles(t, 64)
	c, err := Config{}.withDefaults()
	require.NoError(t, err)
	require.Equal(t, 1, c.MaxConns, "at least one")
}

func TestListenConfigDefaults(t *testing.T) {
	c, err := ListenConfig{}.withDefaults()
	require.NoError(t, err)
	require.Equal(t, ListenConfig{
		MaxBufferLength:           32 << 20,
		MaxQueuedOutboundMessages: 128,
		MaxOutbound:               256 << 10,
		Accept:                    AcceptBalanced,
		KeepAlive:                 KeepAlive{Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 9},
		Backlog:                   65536,
		IdleTimeout:               -1,
		WriteTimeout:              60 * time.Second,
	}, c)
	asked := ListenConfig{MaxBufferLength: 1, MaxQueuedOutboundMessages: 2, MaxOutbound: 3, Accept: AcceptPerLoop, SharePort: true, Delay: true,
		KeepAlive: KeepAlive{Idle: -1, Interval: -1, Count: 4}, UserTimeout: 5, Backlog: 6, ReceiveBuffer: 7, SendBuffer: 8, IdleTimeout: 9, WriteTimeout: -1}
	c, err = asked.withDefaults()
	require.NoError(t, err)
	require.Equal(t, asked, c)
}

// The least limit of a cgroup and those above it, in both versions' files.
func TestCgroupMemory(t *testing.T) {
	const none = math.MaxInt
	type files map[string]string
	for name, c := range map[string]struct {
		files files
		want  int
	}{
		"no cgroups":            {files{}, none},
		"v2":                    {files{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1000\n"}, 1000},
		"v2, none":              {files{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, none},
		"v2, above":             {files{"proc/self/cgroup": "0::/a/b/c\n", "sys/fs/cgroup/a/b/c/memory.max": "max\n", "sys/fs/cgroup/a/b/memory.max": "2000\n", "sys/fs/cgroup/a/memory.max": "3000\n"}, 2000},
		"v2, a container":       {files{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "4000\n"}, 4000},
		"v2, outside":           {files{"proc/self/cgroup": "0::/../../x\n", "sys/x/memory.max": "1\n", "sys/fs/cgroup/memory.max": "4000\n"}, 4000},
		"v2, another's":         {files{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/b/memory.max": "1\n"}, none},
		"v1":                    {files{"proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/a/b\n0::/\n", "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "5000\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "1\n"}, 5000},
		"v1, none":              {files{"proc/self/cgroup": "4:memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n"}, 9223372036854771712},
		"v1, above":             {files{"proc/self/cgroup": "4:memory:/a/b\n", "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "9223372036854771712\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "6000\n"}, 6000},
		"v1, a container":       {files{"proc/self/cgroup": "4:memory:/docker/0123\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "7000\n"}, 7000},
		"v1, mounted with more": {files{"proc/self/cgroup": "4:cpu,memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "8000\n"}, 8000},
		"no numbers":            {files{"proc/self/cgroup": "4:memory:/a\n0::/a\nxyz\n\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "x\n", "sys/fs/cgroup/a/memory.max": "\n"}, none},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range c.files {
				file = filepath.Join(root, file)
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
				require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
			}
			require.Equal(t, c.want, cgroupMemory(os.DirFS(root)))
		})
	}
	require.LessOrEqual(t, physicalMemory(), machineMemory(t))
	if _, err := fs.Stat(os.DirFS("/"), "proc/self/cgroup"); err == nil {
		require.LessOrEqual(t, physicalMemory(), cgroupMemory(os.DirFS("/")))
	}
}
