package result_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/protoring/protoring/bench/result"
	"github.com/protoring/protoring/bench/result/resulttest"
	"github.com/stretchr/testify/require"
)

func TestReadAndWrite(t *testing.T) {
	for _, r := range []*result.Report{resulttest.Run(1), resulttest.Sweep(1), resulttest.Compare(1, 3)} {
		path := filepath.Join(t.TempDir(), "r.json")
		require.NoError(t, result.Write(path, r))
		got, err := result.Read(path)
		require.NoError(t, err)
		require.Equal(t, r, got)
		require.Equal(t, []string{"r.json"}, names(t, filepath.Dir(path)), "nothing else is left")
	}
}

func names(t *testing.T, dir string) (out []string) {
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		out = append(out, f.Name())
	}
	return out
}

func TestReadSaysWhatToDo(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"older":     {`{"version": 1, "cases": [{"case": {}}]}`, "has version 1 of results and this bench reads 2: measure again, or use the bench of the commit that wrote it"},
		"newer":     {`{"version": 3}`, "has version 3 of results and this bench reads 2: use a newer bench"},
		"another":   {`{"name": "x"}`, "is not a result of bench: it has no version"},
		"cut":       {`{"version": 2, "cas`, "is not a whole result of bench: unexpected end of JSON input"},
		"empty":     {``, "is not a whole result of bench"},
		"page":      {`<html>`, "is not a whole result of bench"},
		"types":     {`{"version": 2, "cases": {}}`, "is not a result of bench"},
		"null":      {`{"version": 2, "cases": [{"name": "c", "series": [{"name": "s", "rounds": [null]}]}]}`, "is damaged: case c, series s: round 1 is empty"},
		"histogram": {`{"version": 2, "cases": [{"name": "c", "series": [{"name": "s", "rounds": [{"latency": {"hdr": "AAAA"}}]}]}]}`, "is damaged: case c, series s, round 1: a histogram that cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "r.json")
			require.NoError(t, os.WriteFile(path, []byte(tt.text), 0o600))
			_, err := result.Read(path)
			require.ErrorContains(t, err, path+" "+tt.want)
			require.NotContains(t, err.Error(), "\n")
		})
	}
	_, err := result.Read("absent.json")
	require.EqualError(t, err, "absent.json cannot be read: no such file or directory")
}

// TestFullDisk ends in the middle, as a disk that is full does.
func TestFullDisk(t *testing.T) {
	full := func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Repeat("half ", 10_000))
		return errors.Join(err, &fs.PathError{Op: "write", Path: "somewhere", Err: syscall.ENOSPC})
	}
	path := filepath.Join(t.TempDir(), "r.json")
	require.EqualError(t, result.WriteFile(path, full), path+" was not written: no space left on device")
	require.Empty(t, names(t, filepath.Dir(path)), "no half file")

	require.NoError(t, os.WriteFile(path, []byte("older"), 0o640))
	require.EqualError(t, result.WriteFile(path, full), path+" was not written: no space left on device; what was there has been kept")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "older", string(b))
	require.Equal(t, []string{"r.json"}, names(t, filepath.Dir(path)))

	// A device is written to as it is. This one is always full.
	err = result.Write("/dev/full", resulttest.Run(1))
	require.ErrorContains(t, err, "/dev/full was not written: no space left on device")
}

func TestWriteFileKeepsWhatItIs(t *testing.T) {
	dir := t.TempDir()
	hello := func(w io.Writer) error { _, err := io.WriteString(w, "hello"); return err }
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Symlink("file", link))
	require.NoError(t, result.WriteFile(link, hello))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&fs.ModeSymlink, "a link stays one")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "hello", string(b))
	info, err = os.Stat(file)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm(), "its mode too")

	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	got := make(chan string, 1)
	go func() {
		b, err := os.ReadFile(pipe)
		got <- string(b) + errorText(err)
	}()
	require.NoError(t, result.WriteFile(pipe, hello))
	require.Equal(t, "hello", <-got)

	require.ErrorContains(t, result.WriteFile(dir, hello), "it is a directory")
	require.EqualError(t, result.WriteFile(filepath.Join(dir, "no", "file"), hello), filepath.Join(dir, "no", "file")+" was not written: no such file or directory")
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
