package cli

import (
	"io"
	"strings"
	"text/tabwriter"

	"github.com/rivo/uniseg"
)

// table aligns columns by the terminal cells that their text takes: two for 李, none for a combining accent. tabwriter counts characters, so each cluster
// that is not a single ASCII character passes through it as as many placeholders as it takes cells, and is restored afterwards.
type table struct {
	*tabwriter.Writer
	out     io.Writer
	waiting []string // clusters to restore, in order
}

// The placeholders of a cluster; its text is restored at the first.
const (
	first   = '\uf8ff'
	further = '\uf8fe'
)

// newTable returns a table that Flush writes to w.
func newTable(w io.Writer) *table {
	t := &table{out: w}
	t.Writer = tabwriter.NewWriter(putBack{t}, 0, 0, 2, ' ', 0)
	return t
}

// Write takes lines with a tab after each cell.
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

// putBack writes the output of a tabwriter with the clusters restored.
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
