package cli

import (
	"io"
	"strings"
	"text/tabwriter"

	"github.com/rivo/uniseg"
)

// table aligns columns by the cells of a terminal that their text takes: two for 李, none for a combining accent. tabwriter counts characters, so each cluster of
// them that is not a single ASCII character passes through it as as many stand-ins as it takes cells, and is put back behind it.
type table struct {
	*tabwriter.Writer
	out     io.Writer
	waiting []string // clusters to put back, in their order
}

// The stand-ins of a cluster; its text is put back at the first.
const (
	first   = '\uf8ff'
	further = '\uf8fe'
)

// newTable returns a table that is written to w by Flush.
func newTable(w io.Writer) *table {
	t := &table{out: w}
	t.Writer = tabwriter.NewWriter(putBack{t}, 0, 0, 2, ' ', 0)
	return t
}

// Write takes lines with a tab behind each cell.
func (t *table) Write(text []byte) (int, error) {
	var b strings.Builder
	for clusters := uniseg.NewGraphemes(string(text)); clusters.Next(); {
		cluster := clusters.Str()
		if len(cluster) == 1 || cluster == "\r\n" {
			b.WriteString(cluster)
			continue
		}
		t.waiting = append(t.waiting, cluster)
		b.WriteRune(first)
		for range max(1, clusters.Width()) - 1 {
			b.WriteRune(further)
		}
	}
	if _, err := t.Writer.Write([]byte(b.String())); err != nil {
		return 0, err
	}
	return len(text), nil
}

// putBack writes what a tabwriter gives out with the clusters in their places.
type putBack struct{ t *table }

// Write writes a part of the aligned text.
func (p putBack) Write(aligned []byte) (int, error) {
	var b strings.Builder
	for _, r := range string(aligned) {
		switch r {
		case first:
			b.WriteString(p.t.waiting[0])
			p.t.waiting = p.t.waiting[1:]
		case further:
		default:
			b.WriteRune(r)
		}
	}
	if _, err := io.WriteString(p.t.out, b.String()); err != nil {
		return 0, err
	}
	return len(aligned), nil
}
