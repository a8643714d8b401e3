package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// words has expressions that texts must not use, each with the terms of the field to use instead.
var words = []struct{ avoid, use string }{
	{`whoever|who ever`, "the caller, a user"},
	{`somebody|someone else`, "a user, another administrator, an external process"},
	{`nobody`, "no user, no caller"},
	{`mend(s|ed|ing)?`, "repair, fix"},
	{`cures?`, "fix, remedy"},
	{`puts? (back )?in order|made good|makes? good`, "recover, repair"},
	{`lies? at|stands? in|stood in|lies? open`, "is in, is stored in; of a secret: plaintext"},
	{`(is|are|was|were|goes|went) away`, "is unavailable, is unreachable"},
	{`tells?|told`, "reports, is notified, says"},
	{`stor(y|ies) of`, "details of"},
	{`he|his|him|himself`, "they, the caller"},
	{`those who wait`, "group commit"},
	{`taken over in place`, "migrated in place"},
	{`given out`, "allocated"},
	{`hostile names?`, "malicious input"},
	{`the same again`, "repeat"},
}

// notWords matches names, which are not texts: the system account nobody, and a field in the JSON of doctor.
var notWords = regexp.MustCompile(`(?i)\buser nobody\b|^ nobody$|^\s+cure:`)

// Texts are written in the field's own terms: documents, the contract, comments, messages, and the texts of the pages. Names of tests and code are not texts.
func TestTextsUseTheTermsOfTheField(t *testing.T) {
	t.Parallel()
	var all []string
	use := map[string]*regexp.Regexp{}
	for _, w := range words {
		all = append(all, w.avoid)
		use[w.use] = regexp.MustCompile(`(?i)\b(` + w.avoid + `)\b`)
	}
	avoid := regexp.MustCompile(`(?i)\b(` + strings.Join(all, "|") + `)\b`)
	files := 0
	for _, path := range textFiles(t) {
		files++
		for line, text := range textsOf(t, path) {
			text = mended.ReplaceAllString(text, "")
			for _, found := range avoid.FindAllString(notWords.ReplaceAllString(text, ""), -1) {
				for instead, rule := range use {
					if rule.MatchString(found) {
						t.Errorf("%s:%d: %q: write %s", path, line, found, instead)
					}
				}
			}
		}
	}
	if files < 2 {
		t.Errorf("only %d files were read", files)
	}
}

// mended matches the code of an event, which cannot change because clients compare it.
var mended = regexp.MustCompile(`\bmended$|^\s*mended:`)

// textFiles lists the files with texts for people.
func textFiles(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && (name == "node_modules" || name == "dist" || name == "testdata" || strings.HasPrefix(name, ".") && name != "."):
			return filepath.SkipDir
		case strings.HasSuffix(name, "_test.go"), strings.Contains(name, ".gen."):
		case slices.Contains([]string{".md", ".yaml", ".go", ".example", ".service", ".conf"}, filepath.Ext(name)), strings.HasPrefix(path, "web/src/") && slices.Contains([]string{".ts", ".svelte"}, filepath.Ext(name)):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// textsOf returns the texts of a file by line: the comments and string literals of a Go file, every line of any other.
func textsOf(t *testing.T, path string) map[int]string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[int]string{}
	if filepath.Ext(path) != ".go" {
		for i, line := range strings.Split(string(content), "\n") {
			texts[i+1] = line
		}
		return texts
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, content, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Comments {
		for _, c := range group.List {
			texts[set.Position(c.Pos()).Line] += " " + c.Text
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			texts[set.Position(lit.Pos()).Line] += " " + text
		}
		return true
	})
	return texts
}
