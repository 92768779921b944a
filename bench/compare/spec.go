package compare

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/protoring/protoring/bench/result"
)

// A Spec says which servers are compared under which loads. It is a YAML file; those in the folder specs are shipped.
type Spec struct {
	Title    string             `yaml:"title"`
	Servers  map[string]*Server `yaml:"servers"`
	Defaults Defaults           `yaml:"defaults"`
	Cases    []Case             `yaml:"cases"`

	dir string // of the file
}

// A Server is a program that is put under load. Commands are words as a shell has them, but no shell runs them. What stands in braces is
// replaced: {bin} is a folder that is gone afterwards, for what is built; {cache} one that stays; {modcache} Go's cache of modules; {root}
// this repository; {dir} the spec's own folder; {host} and {port} where the server is to listen; {port2} and {port3} further ports, for
// another protocol or for statistics.
type Server struct {
	// Needs are programs without which the server is skipped.
	Needs []string `yaml:"needs"`
	// Build are commands that make the server. They run one after the other in an empty folder.
	Build []string `yaml:"build"`
	// Optional says that a build that fails is noted, and nothing more.
	Optional bool `yaml:"optional"`
	// Run is the command that starts the server.
	Run string `yaml:"run"`
	// Stats is the URL at which a server on protoring tells what it has counted itself, as in http://{host}:{port2}/stats.
	Stats string `yaml:"stats"`
	// Port is where a server listens that cannot be told. If zero, {port} tells it.
	Port int `yaml:"port"`
	// Version is a command whose first line says the server's version.
	Version string `yaml:"version"`
	// Module is the Go module in the server whose version counts.
	Module string `yaml:"module"`
	// ExampleOf names the peer whose own project wrote this server: the peer counts where it reaches nearly the same rate.
	ExampleOf string `yaml:"example_of"`
	// Generator is redis-benchmark if the server is put under that load, and not under that of this program.
	Generator string `yaml:"generator"`
	// Note is what a reader of the results must know.
	Note string `yaml:"note"`
}

// Defaults are what a case has that says nothing else.
type Defaults struct {
	Load      Load     `yaml:"load"`
	Servers   []string `yaml:"servers"`
	Reference string   `yaml:"reference"`
}

// A Case is one load that several servers are put under.
type Case struct {
	Name string `yaml:"name"`
	Load Load   `yaml:"load"`
	// Servers are by name.
	Servers []string `yaml:"servers"`
	// Reference is the server that ratios refer to.
	Reference string `yaml:"reference"`
}

// Load is result.Load as a spec has it. What is zero is that of the defaults, and after them that of `bench run`.
type Load struct {
	Proto   string  `yaml:"proto"`
	Conns   int     `yaml:"conns"`
	Depth   int     `yaml:"depth"`
	Rate    float64 `yaml:"rate"`
	Arrival string  `yaml:"arrival"`
	Size    int     `yaml:"size"`
	Keys    int     `yaml:"keys"`
	Dist    string  `yaml:"dist"`
	Mix     string  `yaml:"mix"`
	Churn   float64 `yaml:"churn"`
	Idle    int     `yaml:"idle"`
}

// or returns the load with what it does not say taken from the defaults.
func (l Load) or(d Load) Load {
	if l.Rate > 0 { // its depth is the most in flight, which is another thing than that of a closed loop
		d.Depth = 0
	}
	if l.Depth > 0 {
		d.Rate = 0
	}
	fill(&l.Proto, d.Proto)
	fill(&l.Conns, d.Conns)
	fill(&l.Depth, d.Depth)
	fill(&l.Rate, d.Rate)
	fill(&l.Arrival, d.Arrival)
	fill(&l.Size, d.Size)
	fill(&l.Keys, d.Keys)
	fill(&l.Dist, d.Dist)
	fill(&l.Mix, d.Mix)
	fill(&l.Churn, d.Churn)
	fill(&l.Idle, d.Idle)
	return l
}

// describe is the load in a report, until the load itself has said more.
func (l Load) describe() result.Load {
	return result.Load{Proto: l.Proto, Conns: l.Conns, Depth: l.Depth, Rate: l.Rate, Arrival: l.Arrival, Size: l.Size, Keys: l.Keys,
		Dist: l.Dist, Mix: l.Mix, Churn: l.Churn, Idle: l.Idle}
}

func fill[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

//go:embed specs/*.yaml
var shipped embed.FS

// All is the name of a spec with all cases of those that are shipped.
const All = "all"

// Shipped returns the names of the specs that are.
func Shipped() []string {
	files, _ := fs.Glob(shipped, "specs/*.yaml") // the pattern is right
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(path.Base(f), ".yaml"))
	}
	return names
}

// Open returns the spec with the name of one that is shipped, or the one in a file.
func Open(name string) (*Spec, error) {
	if name == All {
		return openAll()
	}
	if slices.Contains(Shipped(), name) {
		b, err := shipped.ReadFile("specs/" + name + ".yaml")
		if err != nil {
			return nil, err
		}
		return decode(name+".yaml", b)
	}
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(name, "./") {
		return nil, fmt.Errorf("no spec %q: there are %s and %s, or give the path of a file", name, strings.Join(Shipped(), ", "), All)
	}
	if err != nil {
		return nil, err
	}
	s, err := decode(name, b)
	if err != nil {
		return nil, err
	}
	s.dir, err = filepath.Abs(filepath.Dir(name))
	return s, err
}

func openAll() (*Spec, error) {
	all := &Spec{Title: "Servers side by side", Servers: map[string]*Server{}}
	for _, name := range Shipped() {
		s, err := Open(name)
		if err != nil {
			return nil, err
		}
		maps.Copy(all.Servers, s.Servers) // a test makes sure that no name is used twice
		all.Cases = append(all.Cases, s.Cases...)
	}
	return all, nil
}

// decode reads a spec and fills in the defaults. An error names the file, the line, and what is wrong there.
func decode(file string, b []byte) (s *Spec, err error) {
	// The library (goccy/go-yaml 1.19.2) panics on some texts that are no YAML, such as a tag without a value: "servers: !a, b]".
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("%s: this is no YAML that can be read; is there a tag, such as !x?", file)
		}
	}()
	s = &Spec{}
	err = yaml.NewDecoder(bytes.NewReader(b), yaml.Strict()).Decode(s)
	var y yaml.Error
	if errors.As(err, &y) {
		line := 0
		if t := y.GetToken(); t != nil {
			line = t.Position.Line
		}
		return nil, fmt.Errorf("%s:%d: %s", file, line, y.GetMessage())
	}
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: the spec is empty", file)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	tree, err := parser.ParseBytes(b, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	c := &checker{file: file, tree: tree, spec: s}
	c.check()
	return s, c.err
}

// A checker looks for what YAML cannot know to be wrong. It keeps the first fault.
type checker struct {
	file string
	tree *ast.File
	spec *Spec
	err  error
}

func (c *checker) failf(at, format string, args ...any) {
	if c.err != nil {
		return
	}
	line := 0
	for ; line == 0 && at != ""; at = at[:max(strings.LastIndexAny(at, ".["), 0)] { // what is not there itself is missing in what is
		p, err := yaml.PathString(at)
		if err != nil {
			continue
		}
		if node, err := p.FilterFile(c.tree); err == nil && node != nil && node.GetToken() != nil {
			line = node.GetToken().Position.Line
		}
	}
	c.err = fmt.Errorf("%s:%d: %s", c.file, max(line, 1), fmt.Sprintf(format, args...))
}

var (
	placeholder = regexp.MustCompile(`\{[A-Za-z_0-9]+\}`)
	forBuild    = []string{"{bin}", "{cache}", "{modcache}", "{root}", "{dir}"}
	forStats    = append([]string{"{host}"}, portNames[:]...)
	forRun      = append(slices.Clone(forStats), forBuild...)
	name        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
)

func (c *checker) check() {
	s := c.spec
	if len(s.Servers) == 0 {
		c.failf("$", "the spec has no servers")
	}
	if len(s.Cases) == 0 {
		c.failf("$", "the spec has no cases")
	}
	for _, n := range slices.Sorted(maps.Keys(s.Servers)) {
		c.server(n, s.Servers[n])
	}
	c.load("$.defaults.load", s.Defaults.Load)
	c.servers("$.defaults", s.Defaults.Servers, s.Defaults.Reference)
	seen := map[string]bool{}
	for i := range s.Cases {
		k, at := &s.Cases[i], fmt.Sprintf("$.cases[%d]", i)
		switch {
		case !name.MatchString(k.Name):
			c.failf(at, "a case needs a name of letters, digits, dots and dashes; this one has %q", k.Name)
		case seen[k.Name]:
			c.failf(at+".name", "there are two cases %q", k.Name)
		}
		seen[k.Name] = true
		if len(k.Servers) == 0 {
			k.Servers = s.Defaults.Servers
		}
		fill(&k.Reference, s.Defaults.Reference)
		c.load(at+".load", k.Load)
		k.Load = k.Load.or(s.Defaults.Load)
		fill(&k.Load.Proto, "echo")
		if len(k.Servers) == 0 {
			c.failf(at, "case %s has no servers, and there are no defaults", k.Name)
			continue
		}
		fill(&k.Reference, k.Servers[0])
		c.servers(at, k.Servers, k.Reference)
		if !slices.Contains(k.Servers, k.Reference) {
			c.failf(at+".reference", "the reference %q of case %s is none of its servers", k.Reference, k.Name)
		}
		for _, n := range k.Servers {
			srv := s.Servers[n]
			if srv == nil || srv.Generator == "" {
				continue
			}
			if l := k.Load; l.Proto != "resp" || l.Rate > 0 || (l.Mix != "" && l.Mix != onlyGets && l.Mix != onlySets) {
				c.failf(at, "%s of case %s is put under load by redis-benchmark, which knows RESP, a depth, and a mix of 1:0 or 0:1 only", n, k.Name)
			}
		}
	}
}

func (c *checker) server(n string, srv *Server) {
	at := fmt.Sprintf("$.servers.'%s'", n)
	if !name.MatchString(n) {
		c.failf("$.servers", "a server needs a name of letters, digits, dots and dashes; one has %q", n)
		return
	}
	if srv == nil {
		c.failf("$.servers", "server %s has no command to run", n)
		return
	}
	c.command(at+".run", n, srv.Run, forRun)
	for i, b := range srv.Build {
		c.command(fmt.Sprintf("%s.build[%d]", at, i), n, b, forBuild)
	}
	if srv.Version != "" {
		c.command(at+".version", n, srv.Version, forBuild)
	}
	switch told := strings.Contains(srv.Run, "{port}"); {
	case srv.Port < 0 || srv.Port > 1<<16-1:
		c.failf(at+".port", "server %s has port %d: want 1 to 65535", n, srv.Port)
	case told && srv.Port != 0:
		c.failf(at+".port", "server %s is told its {port}, and has one as well", n)
	case !told && srv.Port == 0:
		c.failf(at+".run", "server %s is not told its {port}, and has none of its own", n)
	}
	if srv.Generator != "" && srv.Generator != redisBenchmark {
		c.failf(at+".generator", "server %s has generator %q: want %s, or none", n, srv.Generator, redisBenchmark)
	}
	c.stats(at+".stats", n, srv)
	if p := srv.ExampleOf; p != "" && (c.spec.Servers[p] == nil || p == n) {
		c.failf(at+".example_of", "server %s is an example of %q, which is no other server", n, p)
	}
}

func (c *checker) command(at, n, line string, known []string) {
	argv, err := words(line)
	switch {
	case err != nil:
		c.failf(at, "a command of server %s: %v", n, err)
	case len(argv) == 0:
		c.failf(at, "server %s has an empty command", n)
	}
	for _, p := range placeholder.FindAllString(line, -1) {
		if !slices.Contains(known, p) {
			c.failf(at, "a command of server %s has %s: known here are %s", n, p, strings.Join(known, ", "))
		}
	}
}

// stats checks the URL of statistics: a port that the server is not told would be anybody's.
func (c *checker) stats(at, n string, srv *Server) {
	if srv.Stats == "" {
		return
	}
	if !strings.HasPrefix(srv.Stats, "http://") || strings.ContainsAny(srv.Stats, " \t\n") {
		c.failf(at, "server %s has statistics at %q: want a URL such as http://{host}:{port2}/stats", n, srv.Stats)
	}
	if srv.Generator != "" {
		c.failf(at, "server %s is put under load by %s, which reads no statistics", n, srv.Generator)
	}
	for _, p := range placeholder.FindAllString(srv.Stats, -1) {
		if !slices.Contains(forStats, p) {
			c.failf(at, "the statistics of server %s have %s: known here are %s", n, p, strings.Join(forStats, ", "))
		}
		if slices.Contains(portNames[:], p) && !strings.Contains(srv.Run, p) {
			c.failf(at, "server %s is not told the %s of its statistics", n, p)
		}
	}
}

func (c *checker) servers(at string, names []string, reference string) {
	for i, n := range names {
		if c.spec.Servers[n] == nil {
			c.failf(fmt.Sprintf("%s.servers[%d]", at, i), "there is no server %q", n)
		}
		if slices.Contains(names[:i], n) {
			c.failf(fmt.Sprintf("%s.servers[%d]", at, i), "server %q is named twice", n)
		}
	}
	if reference != "" && c.spec.Servers[reference] == nil {
		c.failf(at+".reference", "there is no server %q", reference)
	}
}

var mix = regexp.MustCompile(`^\d+:\d+$`)

// load checks what this package needs to know. The load itself knows its bounds.
func (c *checker) load(at string, l Load) {
	oneOf := func(what, value string, want ...string) {
		if value != "" && !slices.Contains(want, value) {
			c.failf(at+"."+what, "%s is %q: want one of %s", what, value, strings.Join(want, ", "))
		}
	}
	oneOf("proto", l.Proto, "echo", "resp", "memcache")
	oneOf("arrival", l.Arrival, "constant", "poisson")
	oneOf("dist", l.Dist, "uniform", "zipf")
	if l.Mix != "" && !mix.MatchString(l.Mix) {
		c.failf(at+".mix", "mix is %q: want gets:sets, as in 9:1", l.Mix)
	}
	for what, v := range map[string]float64{"conns": float64(l.Conns), "depth": float64(l.Depth), "rate": l.Rate, "size": float64(l.Size),
		"keys": float64(l.Keys), "churn": l.Churn, "idle": float64(l.Idle)} {
		if v < 0 {
			c.failf(at+"."+what, "%s is %v: want more", what, v)
		}
	}
}

// Select returns the cases with the names given, each of which may be the beginning of several ("echo", "get-"). Without a name it
// returns all.
func (s *Spec) Select(names []string) ([]Case, error) {
	if len(names) == 0 {
		return s.Cases, nil
	}
	var chosen []Case
	for _, n := range names {
		match := func(c Case) bool { return c.Name == n }
		if !slices.ContainsFunc(s.Cases, match) {
			match = func(c Case) bool { return strings.HasPrefix(c.Name, n) }
		}
		if !slices.ContainsFunc(s.Cases, match) {
			var all []string
			for _, c := range s.Cases {
				all = append(all, c.Name)
			}
			return nil, fmt.Errorf("no case %q: there are %s", n, strings.Join(all, ", "))
		}
		for _, c := range s.Cases {
			if match(c) && !slices.ContainsFunc(chosen, func(k Case) bool { return k.Name == c.Name }) {
				chosen = append(chosen, c)
			}
		}
	}
	return chosen, nil
}

// words splits a command as a shell does: at blanks, but for those in quotes.
func words(line string) ([]string, error) {
	var argv []string
	var word []byte
	inWord, quote := false, byte(0)
	for i := range len(line) {
		b := line[i]
		switch {
		case quote != 0 && b == quote:
			quote = 0
		case quote == 0 && (b == '\'' || b == '"'):
			quote, inWord = b, true
		case quote == 0 && (b == ' ' || b == '\t' || b == '\n'):
			if inWord {
				argv = append(argv, string(word))
			}
			word, inWord = word[:0], false
		default:
			word, inWord = append(word, b), true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote %c is not closed", quote)
	}
	if inWord {
		argv = append(argv, string(word))
	}
	return argv, nil
}
