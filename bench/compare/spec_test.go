package compare

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShipped(t *testing.T) {
	require.Equal(t, []string{"echo", "memcache", "resp"}, Shipped())
	servers, cases := 0, 0
	for _, name := range Shipped() {
		s, err := Open(name)
		require.NoError(t, err)
		require.NotEmpty(t, s.Title)
		servers, cases = servers+len(s.Servers), cases+len(s.Cases)
		var losing []string
		for _, c := range s.Cases {
			require.NotEmpty(t, c.Load.Proto, c.Name)
			require.Contains(t, c.Servers, c.Reference, c.Name)
			if c.Load.Conns <= 2 || c.Load.Conns >= 1000 || c.Load.Size >= 16<<10 {
				losing = append(losing, c.Name)
			}
		}
		want := 6 // 1, 2, 1000 and 5000 connections, 16 KiB, 1 MiB
		if name == "echo" {
			want++ // 64 KiB
		}
		require.Len(t, losing, want)
	}
	all, err := Open(All)
	require.NoError(t, err)
	require.Len(t, all.Servers, servers, "a name of a server is in two specs")
	require.Len(t, all.Cases, cases)
	names := map[string]bool{}
	for _, c := range all.Cases {
		require.NotContains(t, names, c.Name, "a name of a case is in two specs")
		names[c.Name] = true
	}
}

func TestOpenFaults(t *testing.T) {
	_, err := Open("nothing")
	require.EqualError(t, err, `no spec "nothing": there are echo, memcache, resp and all, or give the path of a file`)
	_, err = Open("./nothing.yaml")
	require.ErrorContains(t, err, "nothing.yaml: no such file")
	path := filepath.Join(t.TempDir(), "x.yaml")
	require.NoError(t, os.WriteFile(path, []byte("servers: 1\n"), 0o600))
	_, err = Open(path)
	require.ErrorContains(t, err, path+":1: ")
}

const valid = `title: T
servers:
  a:
    run: "{bin}/a -listen {host}:{port}"
    build: ["go build -o {bin}/a ."]
  b.1:
    run: b
    port: 9000
defaults:
  servers: [a, b.1]
  load: {proto: resp, depth: 4}
cases:
  - name: one
    load: {rate: 100}
  - name: two
    reference: b.1
`

func TestDecode(t *testing.T) {
	s, err := decode("x.yaml", []byte(valid))
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b.1"}, s.Cases[0].Servers)
	require.Equal(t, "a", s.Cases[0].Reference)
	require.Equal(t, Load{Proto: "resp", Rate: 100}, s.Cases[0].Load)
	require.Equal(t, Load{Proto: "resp", Depth: 4}, s.Cases[1].Load)
	require.Equal(t, "b.1", s.Cases[1].Reference)
}

func TestDecodeFaults(t *testing.T) {
	for _, c := range []struct{ old, now, want string }{
		{"title: T", "titel: T", `x.yaml:1: unknown field "titel"`},
		{"title: T", "title: [", `x.yaml:1: `},
		{"port: 9000", "prot: 9000", `x.yaml:8: unknown field "prot"`},
		{"port: 9000", "port: nine", `x.yaml:8: `},
		{"port: 9000", "port: 70000", `x.yaml:8: server b.1 has port 70000: want 1 to 65535`},
		{"\n    port: 9000", "", `x.yaml:7: server b.1 is not told its {port}, and has none of its own`},
		{"run: b\n", "run: b {port}\n", `x.yaml:8: server b.1 is told its {port}, and has one as well`},
		{"run: b\n", "run: b {prot}\n", `x.yaml:7: a command of server b.1 has {prot}: known here are {host}, {port}, {port2}, {port3}, {bin}`},
		{"run: b\n", "run: b 'x\n", `x.yaml:7: a command of server b.1: a quote ' is not closed`},
		{"    run: b\n", "", `x.yaml:7: server b.1 has an empty command`},
		{"-o {bin}/a .", "-o {bin}/a{port} .", `x.yaml:5: a command of server a has {port}: known here are {bin}, `},
		{"port: 9000", "port: 9000\n    example_of: c", `x.yaml:9: server b.1 is an example of "c", which is no other server`},
		{"port: 9000", "port: 9000\n    generator: wrk", `x.yaml:9: server b.1 has generator "wrk": want redis-benchmark, or none`},
		{"port: 9000", "port: 9000\n    stats: b:80", `x.yaml:9: server b.1 has statistics at "b:80": want a URL such as http://{host}:{port2}/stats`},
		{"port: 9000", "port: 9000\n    stats: http://{host}:{port2}/", `x.yaml:9: server b.1 is not told the {port2} of its statistics`},
		{"port: 9000", "port: 9000\n    stats: http://{host}:{port4}/", `x.yaml:9: the statistics of server b.1 have {port4}: known here are {host}, {port}, {port2}, {port3}`},
		{"port: 9000", "port: 9000\n    generator: redis-benchmark\n    stats: http://b/", `x.yaml:10: server b.1 is put under load by redis-benchmark, which reads no`},
		{"port: 9000", "port: 9000\n    generator: redis-benchmark", `x.yaml:14: b.1 of case one is put under load by redis-benchmark, which knows `},
		{"servers: [a, b.1]", "servers: [a, c]", `x.yaml:10: there is no server "c"`},
		{"servers: [a, b.1]", "servers: [a, a]", `x.yaml:10: server "a" is named twice`},
		{"proto: resp", "proto: http", `x.yaml:11: proto is "http": want one of echo, resp, memcache`},
		{"depth: 4", "dist: even", `x.yaml:11: dist is "even": want one of uniform, zipf`},
		{"depth: 4", "mix: 90%", `x.yaml:11: mix is "90%": want gets:sets, as in 9:1`},
		{"depth: 4", "depth: -4", `x.yaml:11: depth is -4: want more`},
		{"rate: 100", "rate: fast", `x.yaml:14: `},
		{"rate: 100", "rte: 100", `x.yaml:14: unknown field "rte"`},
		{"rate: 100", "rate: 100, arrival: now", `x.yaml:14: arrival is "now": want one of constant, poisson`},
		{"name: two", "name: one", `x.yaml:15: there are two cases "one"`},
		{"name: two", "name: a b", `x.yaml:15: a case needs a name of letters, digits, dots and dashes; this one has "a b"`},
		{"reference: b.1", "reference: c", `x.yaml:16: there is no server "c"`},
		{"reference: b.1", "servers: [a]\n    reference: b.1", `x.yaml:17: the reference "b.1" of case two is none of its servers`},
		{"  servers: [a, b.1]\n", "", `x.yaml:12: case one has no servers, and there are no defaults`},
	} {
		require.Equal(t, 1, strings.Count(valid, c.old), c.old)
		_, err := decode("x.yaml", []byte(strings.Replace(valid, c.old, c.now, 1)))
		require.ErrorContains(t, err, c.want)
		require.NotContains(t, err.Error(), "\n")
	}
	_, err := decode("x.yaml", []byte(strings.Replace(valid, "[a, b.1]", "!a, b.1]", 1)))
	require.EqualError(t, err, "x.yaml: this is no YAML that can be read; is there a tag, such as !x?")
	for _, text := range []string{"", "title: T\n", "servers: {}\ncases: []\n"} {
		_, err := decode("x.yaml", []byte(text))
		require.ErrorContains(t, err, "x.yaml")
	}
}

func TestSelect(t *testing.T) {
	s, err := Open("resp")
	require.NoError(t, err)
	some, err := s.Select([]string{"set-50x16", "get-5", "get-50x1"})
	require.NoError(t, err)
	var names []string
	for _, c := range some {
		names = append(names, c.Name)
	}
	require.Equal(t, []string{"set-50x16", "get-50x1", "get-50x16", "get-50x1-1m-keys", "get-50x16-1m-keys", "get-5000"}, names)
	_, err = s.Select([]string{"nothing"})
	require.ErrorContains(t, err, `no case "nothing": there are get-50x1, `)
	all, err := s.Select(nil)
	require.NoError(t, err)
	require.Equal(t, s.Cases, all)
}

func TestWords(t *testing.T) {
	argv, err := words(`a  --save '' "b c"d 'e "f' `)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "--save", "", "b cd", `e "f`}, argv)
	_, err = words(`a "b`)
	require.EqualError(t, err, `a quote " is not closed`)
}
