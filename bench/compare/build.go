package compare

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	buildTime   = 10 * time.Minute // for one command: the first build of a peer fetches what it needs
	versionTime = 10 * time.Second
	rootModule  = "module github.com/protoring/protoring"
	cacheName   = "protoring-bench"
)

// ports are where a server is to listen, by the names that a spec has for them. While it is built there are none yet.
type ports [3]string

var portNames = ports{"{port}", "{port2}", "{port3}"}

// place returns what stands in a command for the names in braces.
func (r *run) place(at ports) *strings.Replacer {
	pairs := []string{"{bin}", filepath.Join(r.dir, "bin"), "{cache}", r.cache, "{modcache}", r.modcache, "{root}", r.root,
		"{dir}", r.cfg.Spec.dir, "{host}", host}
	for i, name := range portNames {
		pairs = append(pairs, name, at[i])
	}
	return strings.NewReplacer(pairs...)
}

// argv returns the words of a command of a spec.
func (r *run) argv(line string, at ports) ([]string, error) {
	argv, err := words(line)
	if err != nil {
		return nil, err
	}
	place := r.place(at)
	for i := range argv {
		argv[i] = place.Replace(argv[i])
	}
	// It runs in a folder of its own, so a path is taken from here.
	if strings.Contains(argv[0], "/") {
		if argv[0], err = filepath.Abs(argv[0]); err != nil {
			return nil, err
		}
	}
	return argv, nil
}

// prepare finds the folders that commands of the cases' servers name.
func (r *run) prepare(cases []Case) error {
	var lines strings.Builder
	for _, c := range cases {
		for _, n := range c.Servers {
			srv := r.cfg.Spec.Servers[n]
			lines.WriteString(strings.Join(append([]string{srv.Run, srv.Version}, srv.Build...), "\n"))
		}
	}
	var err error
	if strings.Contains(lines.String(), "{root}") {
		if r.root, err = findRoot(); err != nil {
			return err
		}
	}
	if strings.Contains(lines.String(), "{cache}") {
		if r.cache, err = os.UserCacheDir(); err != nil {
			return fmt.Errorf("a folder for {cache}: %w", err)
		}
		r.cache = filepath.Join(r.cache, cacheName)
	}
	if strings.Contains(lines.String(), "{modcache}") {
		out, err := exec.Command("go", "env", "GOMODCACHE").Output()
		if err != nil {
			return fmt.Errorf("go env GOMODCACHE: %w", err)
		}
		r.modcache = strings.TrimSpace(string(out))
	}
	return os.Mkdir(filepath.Join(r.dir, "bin"), 0o700)
}

// findRoot returns the folder of this repository, in which the program is run.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if line, _, _ := strings.Cut(string(b), "\n"); err == nil && strings.TrimSpace(line) == rootModule {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("{root} is the repository of protoring: run this inside it, or give a spec of your own that needs none")
		}
	}
}

// A missing server is one that cannot run here.
type missing struct {
	reason string
	failed bool // it is an error, and not only a note
}

// provide makes a server if that was not done yet. It returns why there is none.
func (r *run) provide(ctx context.Context, n string) *missing {
	if m, done := r.missing[n]; done {
		return m
	}
	m := r.make(ctx, n)
	if ctx.Err() == nil {
		r.missing[n] = m
	}
	if m == nil {
		r.version(ctx, n)
	} else {
		r.logf("%s is skipped: %s", n, m.reason)
	}
	return m
}

func (r *run) make(ctx context.Context, n string) *missing {
	srv := r.cfg.Spec.Servers[n]
	for _, need := range srv.Needs {
		if _, err := exec.LookPath(need); err != nil {
			return &missing{reason: need + " is not installed"}
		}
	}
	if len(srv.Build) == 0 {
		return nil
	}
	all := strings.Join(srv.Build, "\n")
	err, done := r.built[all]
	if !done {
		r.logf("building %s", n)
		err = r.build(ctx, srv.Build)
		r.built[all] = err
	}
	if err != nil {
		return &missing{reason: "it cannot be built: " + err.Error(), failed: !srv.Optional}
	}
	return nil
}

func (r *run) build(ctx context.Context, lines []string) error {
	dir, err := os.MkdirTemp(r.dir, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, line := range lines {
		argv, err := r.argv(line, ports{})
		if err != nil {
			return err
		}
		if _, err := r.command(ctx, buildTime, dir, argv); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(argv[:min(len(argv), 2)], " "), err)
		}
	}
	return nil
}

// version notes the server's version, if that can be had.
func (r *run) version(ctx context.Context, n string) {
	srv := r.cfg.Spec.Servers[n]
	if srv.Version != "" {
		if argv, err := r.argv(srv.Version, ports{}); err == nil {
			if out, err := r.command(ctx, versionTime, r.dir, argv); err == nil {
				line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
				if _, crate, ok := strings.Cut(line, "#"); ok { // cargo's way to write it: registry#crate@version
					line = crate
				}
				r.versions[n] = line
			}
		}
		return
	}
	argv, err := r.argv(srv.Run, ports{})
	if srv.Module == "" || err != nil {
		return
	}
	info, err := buildinfo.ReadFile(argv[0])
	if err != nil {
		return
	}
	for _, d := range info.Deps {
		if d.Path == srv.Module {
			r.versions[n] = d.Path + " " + d.Version
		}
	}
}

// command runs a command to its end and returns what it prints. An error is the last line that the command says.
func (r *run) command(ctx context.Context, limit time.Duration, dir string, argv []string) ([]byte, error) {
	out, said, err := toItsEnd(ctx, limit, argv, func(cmd *exec.Cmd) {
		cmd.Dir = dir
		// Each module as it is on its own: a workspace would mix the versions that it asks for with those of others.
		cmd.Env = append(os.Environ(), "GOWORK=off")
	})
	if text := lastLine(said); err != nil && text != "" {
		err = errors.New(text)
	}
	return out, err
}

// lastLine returns the last line that is not empty, which is where programs say what went wrong; with the one before, where it goes on.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	last := len(lines) - 1
	from := last
	for from > 0 && (strings.HasPrefix(lines[from], "\t") || strings.HasPrefix(lines[from], "  ")) {
		from--
	}
	var words []string
	for _, l := range lines[from:] {
		words = append(words, strings.TrimSpace(l))
	}
	s := strings.Join(words, " ")
	if len(s) > logTail {
		s = s[:logTail] + "… (" + strconv.Itoa(len(s)) + " bytes)"
	}
	return s
}
