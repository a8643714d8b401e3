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
	for i, line := range lines[1:] {
		number := fmt.Sprint(1000 + i)
		at := strings.Index(line, number)
		if before := uniseg.StringWidth(line[:at]); before != uniseg.StringWidth(lines[0][:strings.Index(lines[0], "NUMBER")]) || !strings.HasPrefix(line, names[i]) {
			t.Errorf("%q: the number begins in cell %d\n%s", names[i], before, out.String())
		}
	}
}
