package cli

import (
	"io"
	"text/tabwriter"
)

// newTable returns a writer that aligns columns.
func newTable(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }
