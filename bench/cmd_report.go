package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/protoring/protoring/bench/result"
	"github.com/spf13/cobra"
)

func newReportCommand() *cobra.Command {
	var html, title string
	cmd := &cobra.Command{
		Use:   "report RESULTS.json... --html FILE",
		Short: "Make a report from results that were kept",
		Long: `Makes the report again from the data. With several files there is one report of all their cases; with none of --html, the tables are
printed.`,
		Example: `  bench report results.json --html report.html
  bench report monday.json tuesday.json --title "Two days" --html both.html`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("which results? give it the files that --json has written")}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := result.Read(args[0])
			if err != nil {
				return err
			}
			for _, name := range args[1:] {
				r, err := result.Read(name)
				if err != nil {
					return err
				}
				all.Kind = result.KindCompare
				for _, c := range r.Cases {
					c.Name = fmt.Sprintf("%s (%s)", c.Name, name)
					all.Cases = append(all.Cases, c)
				}
			}
			if title != "" {
				all.Title = title
			}
			if html == "" {
				return result.WriteText(os.Stdout, all)
			}
			return result.WriteFile(html, func(w io.Writer) error { return writeHTML(w, all) })
		},
	}
	cmd.Flags().StringVar(&html, "html", "", "write the report to this `file`")
	cmd.Flags().StringVar(&title, "title", "", "the report's title")
	return cmd
}

func newDiffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "diff OLD.json NEW.json",
		Short: "Say what has changed between two results, and what is noise",
		Long: `Compares two results of the same load, figure by figure, and says which changes are real: those that the spread of the rounds does not
explain. With fewer than three rounds on a side, parts of the measured time stand in for them, which see less. Cases and servers are matched by
their names; what only one side has is listed, and so is what makes the two hard to compare, such as another kernel.

Two runs at different times compare the machine with itself as well: bench compare alternates what it compares.`,
		Example: `  bench run --addr 127.0.0.1:9000 --rounds 5 --duration 3s --json before.json
  bench run --addr 127.0.0.1:9000 --rounds 5 --duration 3s --json after.json
  bench diff before.json after.json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usageError{fmt.Errorf("%d files: want two, the older results first", len(args))}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			var r [2]*result.Report
			for i, name := range args {
				var err error
				if r[i], err = result.Read(name); err != nil {
					return err
				}
			}
			d, err := result.Diff(r[0], r[1])
			if err != nil {
				return err
			}
			return d.WriteText(os.Stdout)
		},
	}
}
