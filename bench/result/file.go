package result

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// Read returns the report in a file, with histograms that can be read. An error is a sentence that says what to do.
func Read(path string) (*Report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", path, reason(err))
	}
	var head struct {
		Version *int `json:"version"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("%s is not a whole result of bench: %w", path, err)
	}
	switch {
	case head.Version == nil:
		return nil, fmt.Errorf("%s is not a result of bench: it has no version", path)
	case *head.Version > Version:
		return nil, fmt.Errorf("%s has version %d of results and this bench reads %d: use a newer bench", path, *head.Version, Version)
	case *head.Version < Version:
		return nil, fmt.Errorf("%s has version %d of results and this bench reads %d: measure again, or use the bench of the commit that wrote it",
			path, *head.Version, Version)
	}
	r := new(Report)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s is not a result of bench: %w", path, err)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return r, nil
}

// check finds what would be in the way later.
func (r *Report) check() error {
	for _, c := range r.Cases {
		for _, s := range c.Series {
			for i, round := range s.Rounds {
				if round == nil {
					return fmt.Errorf("case %s, series %s: round %d is empty", c.Name, s.Name, i+1)
				}
				for _, l := range []*Latency{&round.Latency, round.Lag, round.Connects} {
					if l == nil {
						continue
					}
					if _, err := l.Histogram(); err != nil {
						return fmt.Errorf("case %s, series %s, round %d: %w", c.Name, s.Name, i+1, err)
					}
				}
			}
		}
	}
	return nil
}

// Write writes a report to a file, as [WriteFile] does.
func Write(path string, r *Report) error {
	return WriteFile(path, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "\t")
		return enc.Encode(r)
	})
}

// WriteFile makes a file of what write writes. The file is whole or, with an error, what it was before: a temporary file beside it takes
// the data and is renamed at the end. Where that cannot be, as for a pipe, or in a folder that one may not write to, the data goes
// straight into the file.
func WriteFile(path string, write func(io.Writer) error) error {
	_, missing := os.Stat(path)
	err := writeWhole(path, write)
	switch {
	case err == nil:
		return nil
	case missing == nil:
		return fmt.Errorf("%s was not written: %w; what was there has been kept", path, reason(err))
	}
	return fmt.Errorf("%s was not written: %w", path, reason(err))
}

func writeWhole(path string, write func(io.Writer) error) error {
	target := path
	if resolved, err := filepath.EvalSymlinks(path); err == nil { // a link stays one
		target = resolved
	}
	mode := fs.FileMode(0)
	if info, err := os.Stat(target); err == nil {
		if info.IsDir() {
			return errors.New("it is a directory")
		}
		if !info.Mode().IsRegular() {
			return direct(target, write)
		}
		mode = info.Mode().Perm()
	}
	name := filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+"."+strconv.Itoa(os.Getpid())+".tmp")
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if errors.Is(err, fs.ErrPermission) && mode != 0 {
		return direct(target, write)
	}
	if err != nil {
		return err
	}
	if err = fill(file, write); err == nil && mode != 0 {
		err = os.Chmod(name, mode)
	}
	if err == nil {
		err = os.Rename(name, target)
	}
	if err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

// direct writes to a file without another one beside it.
func direct(path string, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	return fill(file, write)
}

// fill writes and closes a file. Some file systems tell only at the end that they are full.
func fill(file *os.File, write func(io.Writer) error) error {
	w := bufio.NewWriter(file)
	err := write(w)
	if err == nil {
		err = w.Flush()
	}
	if info, serr := file.Stat(); err == nil && serr == nil && info.Mode().IsRegular() {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	return err
}

// reason leaves out of an error the operation and the file's name, which the sentence around it has.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err
	}
	return err
}
