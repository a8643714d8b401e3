package faults_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rows is the number of faults in the table of docs/promises.md.
const rows = 37

// Every fault of the table is produced by a test with its number, and the table names every such test.
func TestEveryRowOfTheFaultTableHasATest(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/promises.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?m)^func (TestRow(\d\d)\w+)\(`)
	tests := map[string]string{} // by row
	err = filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range named.FindAllStringSubmatch(string(text), -1) {
			tests[found[2]] += found[1] + " "
			if !strings.Contains(string(page), found[1]) {
				t.Errorf("docs/promises.md does not name %s, of %s", found[1], path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for row := range rows {
		number := fmt.Sprintf("%02d", row+1)
		line := regexp.MustCompile(fmt.Sprintf(`(?m)^\| %d \|.*TestRow%s\w+`, row+1, number)).FindString(string(page))
		if tests[number] == "" || line == "" {
			t.Errorf("row %s of the table in docs/promises.md must name a test TestRow%s…, and there are: %q", number, number, tests[number])
		}
	}
	if got := slices.Sorted(maps.Keys(tests)); len(got) > rows {
		t.Errorf("there are tests for rows the table does not have: %v", got)
	}
	all := strings.Join(slices.Collect(maps.Values(tests)), "")
	for _, name := range regexp.MustCompile(`TestRow\d\d\w+`).FindAllString(string(page), -1) {
		if !strings.Contains(all, name+" ") {
			t.Errorf("docs/promises.md names %s, which does not exist", name)
		}
	}
}
