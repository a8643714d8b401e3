package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/rivo/uniseg"
)

func TestTablesAreAlignedWhateverTheCharactersTake(t *testing.T) {
	t.Parallel()
	names := []string{
		"Anna", "李小龙", "김철수", "Zoe\u0301", "Zoé", "👩‍👩‍👧 family", "ﾊﾝｶｸ", "ｆｕｌｌ", "Ω≈ç", "नमस्ते", "\uf8ff private", "", "🇩🇪", "Каб. № 5", "שלום",
	}
	var out bytes.Buffer
	w := newTable(&out)
	fmt.Fprintln(w, "NAME\tNUMBER\tEND")
	for i, name := range names {
		fmt.Fprintf(w, "%s\t%d\tx\n", name, 1000+i)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	head, _, _ := strings.Cut(lines[0], "NUMBER")
	for i, line := range lines[1:] {
		name, _, _ := strings.Cut(line, fmt.Sprint(1000+i))
		if before := uniseg.StringWidth(name); before != uniseg.StringWidth(head) || !strings.HasPrefix(line, names[i]) {
			t.Errorf("%q: the number begins in cell %d\n%s", names[i], before, out.String())
		}
	}
}
