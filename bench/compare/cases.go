package compare

import (
	"fmt"
	"slices"
	"strings"
)

// A Case is one load that several servers are put under.
type Case struct {
	Name      string   `json:"name"`
	Proto     string   `json:"proto"`
	Conns     int      `json:"conns"`
	Depth     int      `json:"depth"`
	Size      int      `json:"size"`
	Servers   []string `json:"servers"`
	Reference string   `json:"reference"` // the server that ratios refer to

	check bool // redis-benchmark is run as well
}

var (
	echoServers  = []string{"protoring-io_uring", "protoring-epoll", "gnet", "go-net"}
	cacheServers = []string{"cache-io_uring", "cache-epoll", "redis-server"}
)

// Cases are all that there are, in the order in which they run.
var Cases = []Case{
	echoCase("echo-50x1", 50, 1, 64),
	echoCase("echo-50x16", 50, 16, 64),
	echoCase("echo-1", 1, 1, 64),
	echoCase("echo-2", 2, 1, 64),
	echoCase("echo-1000", 1000, 1, 64),
	echoCase("echo-4000", 4000, 1, 64),
	echoCase("echo-16k", 50, 1, 16<<10),
	echoCase("echo-1m", 50, 1, 1<<20),
	cacheCase("get-50x1", "resp-get", 1),
	cacheCase("get-50x16", "resp-get", 16),
	cacheCase("set-50x1", "resp-set", 1),
	cacheCase("set-50x16", "resp-set", 16),
	{Name: "check-get-50x1", Proto: "resp-get", Conns: 50, Depth: 1, Size: 64, Servers: []string{"redis-server"}, Reference: "redis-server", check: true},
	{Name: "check-get-50x16", Proto: "resp-get", Conns: 50, Depth: 16, Size: 64, Servers: []string{"redis-server"}, Reference: "redis-server", check: true},
}

func echoCase(name string, conns, depth, size int) Case {
	return Case{Name: name, Proto: "echo", Conns: conns, Depth: depth, Size: size, Servers: echoServers, Reference: "gnet"}
}

func cacheCase(name, proto string, depth int) Case {
	return Case{Name: name, Proto: proto, Conns: 50, Depth: depth, Size: 64, Servers: cacheServers, Reference: "redis-server"}
}

// Select returns the cases with the names given, each of which may be the beginning of several ("echo", "get-"). Without a name it
// returns all.
func Select(names []string) ([]Case, error) {
	if len(names) == 0 {
		return Cases, nil
	}
	var chosen []Case
	for _, name := range names {
		match := func(c Case) bool { return c.Name == name }
		if !slices.ContainsFunc(Cases, match) {
			match = func(c Case) bool { return strings.HasPrefix(c.Name, name) }
		}
		if !slices.ContainsFunc(Cases, match) {
			return nil, fmt.Errorf("no case %q: there are %s", name, caseNames())
		}
		for _, c := range Cases {
			known := slices.ContainsFunc(chosen, func(k Case) bool { return k.Name == c.Name })
			if match(c) && !known {
				chosen = append(chosen, c)
			}
		}
	}
	return chosen, nil
}

func caseNames() string {
	var names []string
	for _, c := range Cases {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}

// commands start the servers. BIN is the folder of the programs that scripts/compare has built; HOST and PORT are where to listen.
var commands = map[string]string{
	"protoring-io_uring": "BIN/echo -listen HOST:PORT -loops 1 -engine io_uring",
	"protoring-epoll":    "BIN/echo -listen HOST:PORT -loops 1 -engine epoll",
	"gnet":               "BIN/gnet -listen HOST:PORT -loops 1",
	"go-net":             "BIN/net -listen HOST:PORT",
	"cache-io_uring":     "BIN/cache -listen HOST:PORT -loops 1 -engine io_uring",
	"cache-epoll":        "BIN/cache -listen HOST:PORT -loops 1 -engine epoll",
	"redis-server":       "redis-server --bind HOST --port PORT --save '' --appendonly no --protected-mode no",
}
