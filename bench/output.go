package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/protoring/protoring/bench/load"
	"github.com/protoring/protoring/bench/result"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// deliver writes a report wherever the flags say.
func (f *loadFlags) deliver(r *result.Report) error {
	if f.json == "-" {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "\t")
		if err := enc.Encode(r); err != nil {
			return fmt.Errorf("write the results: %w", err)
		}
	} else if err := result.WriteText(os.Stdout, r); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return f.files(r)
}

// files writes those that the flags name.
func (f *loadFlags) files(r *result.Report) error {
	if f.json != "" && f.json != "-" {
		if err := result.Write(f.json, r); err != nil {
			return err
		}
	}
	if f.hgrm != "" {
		err := result.WriteFile(f.hgrm, func(w io.Writer) error {
			h, err := result.Merge(r.Cases[0].Series[0].Rounds)
			if err != nil {
				return err
			}
			return result.WriteHgrm(w, h)
		})
		if err != nil {
			return err
		}
	}
	if f.html != "" {
		if err := result.WriteFile(f.html, func(w io.Writer) error { return writeHTML(w, r) }); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "The report is in %s.\n", f.html)
	}
	return nil
}

// A bar shows how far a load has come, on a terminal only.
type bar struct {
	p    *progressbar.ProgressBar
	what string // of several that follow each other
}

const (
	barWidth = 30
	barFrom  = 2 * time.Second // shorter loads have none
)

func (f *loadFlags) progress(total time.Duration, what string) *bar {
	if f.quiet || total < barFrom || !term.IsTerminal(int(os.Stderr.Fd())) {
		return &bar{}
	}
	if what != "" {
		what += ", "
	}
	return &bar{progressbar.NewOptions64(int64(total), progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetWidth(barWidth),
		progressbar.OptionSetDescription(what), progressbar.OptionSetPredictTime(false), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetElapsedTime(false)), what}
}

func (b *bar) show(p load.Progress) {
	if b.p == nil {
		return
	}
	phase := "warming up"
	if p.Measuring {
		phase = "measuring"
	}
	text := b.what + fmt.Sprintf("%s, %d of %d s, %d replies", phase, int(p.Elapsed.Seconds()), int(p.Total.Seconds()), p.Ops)
	if p.Errors > 0 {
		text += fmt.Sprintf(", %d errors", p.Errors)
	}
	b.p.Describe(text)
	_ = b.p.Set64(int64(min(p.Elapsed, p.Total))) // a terminal that is gone shows nothing
}

func (b *bar) end() {
	if b.p != nil {
		_ = b.p.Finish()
	}
}
