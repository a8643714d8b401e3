package arch_test

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// securityPage lists the test of each control.
const securityPage = "SECURITY.md"

// Each test, and each file of tests, that SECURITY.md names is there, each row of its tables of requirements and of classes names one or says why there is none,
// and all classes have a row.
func TestTheSecurityPageNamesTestsThatExist(t *testing.T) {
	t.Parallel()
	page := read(t, securityPage)
	exist := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || name != "." && strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		case strings.HasSuffix(name, "_test.go"):
			for _, found := range declared.FindAllStringSubmatch(read(t, name), -1) {
				exist[found[1]] = true
			}
			exist[filepath.Base(name)] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`((?:Test|Fuzz)\\w+|\\w+_test\\.go)`")
	for _, found := range names.FindAllStringSubmatch(page, -1) {
		if !exist[found[1]] {
			t.Errorf("%s names %s, which is not there", securityPage, found[1])
		}
	}
	for heading, rows := range map[string]int{"## Access control: ": 14, "## Other requirements": 8, "## Known attack classes": 19} {
		_, part, found := strings.Cut(page, "\n"+heading)
		part, _, _ = strings.Cut(part, "\n## ")
		count := 0
		for line := range strings.Lines(part) {
			if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| requirement") || strings.HasPrefix(line, "| class") {
				continue
			}
			count++
			cells := strings.Split(strings.TrimSpace(line), " | ")
			last := cells[len(cells)-1]
			if !names.MatchString(last) && !strings.Contains(last, "no test: ") && !strings.Contains(last, "a part of the walk") {
				t.Errorf("%s: a row names no test, and does not say why (no test: …): %s", securityPage, line)
			}
		}
		if !found || count < rows {
			t.Errorf("%s: the table under %q has %d rows, and needs %d at least", securityPage, heading, count, rows)
		}
	}
}
