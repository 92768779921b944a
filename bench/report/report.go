// Package report makes a page of a result: one HTML file that needs nothing else.
package report

import (
	"embed"
	"html/template"
	"io"

	"github.com/protoring/protoring/bench/result"
)

//go:embed assets
var assets embed.FS

// The charts are drawn by uPlot, https://github.com/leeoniya/uPlot, version 1.6.32, MIT licence, whose distribution is in assets as it is.
const (
	chartScript  = "assets/uPlot.iife.min.js"
	chartStyle   = "assets/uPlot.min.css"
	chartLicence = "assets/LICENSE.uPlot"
)

// WriteHTML writes a report as one HTML file with its scripts, styles and data in it.
func WriteHTML(w io.Writer, r *result.Report) error {
	p, err := newPage(r)
	if err != nil {
		return err
	}
	for name, to := range map[string]*string{chartLicence: &p.Licence, chartScript: (*string)(&p.Library), chartStyle: (*string)(&p.LibraryStyle),
		"assets/report.js": (*string)(&p.Script), "assets/report.css": (*string)(&p.Style)} {
		b, err := assets.ReadFile(name)
		if err != nil {
			return err
		}
		*to = string(b)
	}
	t, err := template.ParseFS(assets, "assets/report.html")
	if err != nil {
		return err
	}
	return t.Execute(w, p)
}
