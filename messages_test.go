package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// speaking are the files in which every sentence can reach a person who plans, applies, goes back, recovers, reads the records or calls the
// doctor, by the part of docs/messages.md in which it stands. Of some only the errors for callers do.
var speaking = []struct {
	part, files string
	errorsOnly  bool
}{
	{"Plan, apply, rollback, recover", "internal/apply/*.go", false},
	{"External changes", "internal/pbx/plan.go", false},
	{"The files on disk", "internal/node/files.go", false},
	{"Asterisk", "internal/asterisk/asterisk.go internal/asterisk/reload.go internal/node/node.go internal/node/asterisk.go", false},
	{"The database", "internal/store/dialect.go internal/store/store.go internal/store/ready.go internal/store/rowhash.go internal/store/migrate.go internal/store/session.go internal/store/pooler.go", true},
	{"The command line", "internal/cli/apply.go internal/cli/audit.go", false},
	{"The doctor", "internal/node/examine.go internal/node/rehearse.go", false},
	{"The state of the parts in /health", "internal/httpapi/health.go internal/cli/health.go", false},
}

// machinery matches what looks like a sentence and is none: what is said to, or by, Asterisk, and the heads of tables.
var machinery = regexp.MustCompile(`^(module reload |core show |cli quit |dialplan show |pjsip list |Module '|No such command|Disconnected from|[A-Z ]+$)`)

// messagesPage is the list of all messages with cause and fix.
const messagesPage = "docs/messages.md"

// Every message is documented: each sentence of the files with texts for users has a line on the page, with its cause
// and what to do next, and the page has no line for a sentence that is gone. UPDATE_GOLDEN=1 writes the lines anew, keeps what is
// known of those that stay, and leaves what is to be filled in empty.
func TestEveryMessageHasItsCauseAndItsFixOnThePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(messagesPage)
	if err != nil && os.Getenv("UPDATE_GOLDEN") == "" {
		t.Fatal(err)
	}
	known := map[string]string{} // the rest of the line, by the message
	for line := range strings.Lines(string(page)) {
		if rest, ok := strings.CutPrefix(line, "| "); ok {
			message, rest, _ := strings.Cut(rest, " | ")
			known[message] = rest
		}
	}
	head, _, _ := strings.Cut(string(page), "\n## ")
	text := strings.TrimRight(head, "\n") + "\n"
	for _, part := range speaking {
		text += "\n## " + part.part + "\n\n| message | what happened | what to do |\n|---|---|---|\n"
		for _, message := range sentencesOf(t, part.files, part.errorsOnly) {
			rest, ok := known[message]
			if !ok {
				rest = " |  |\n"
			}
			text += "| " + message + " | " + rest
			if fields := strings.Split(strings.TrimSuffix(rest, " |\n"), " | "); len(fields) != 2 || strings.TrimSpace(fields[0]) == "" || strings.TrimSpace(fields[1]) == "" {
				t.Errorf("%s has no cause or no fix for: %s", messagesPage, message)
			}
		}
	}
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(messagesPage, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text != string(page) {
		t.Errorf("%s is not what the program says: run make golden, and fill in what is empty", messagesPage)
	}
}

// sentencesOf returns the sentences of some files, sorted, in the form of a table cell.
func sentencesOf(t *testing.T, patterns string, errorsOnly bool) []string {
	t.Helper()
	found := map[string]bool{}
	for pattern := range strings.FieldsSeq(patterns) {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("no file is named %s: %v", pattern, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			said := []ast.Node{file}
			if errorsOnly {
				said = messagesIn(file)
			}
			for _, n := range said {
				for _, s := range literals(n) {
					if !machinery.MatchString(s) {
						found[s] = true
					}
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// messagesIn returns the Msg values of the errors for callers in a file.
func messagesIn(file *ast.File) (all []ast.Node) {
	ast.Inspect(file, func(n ast.Node) bool {
		if pair, ok := n.(*ast.KeyValueExpr); ok {
			if key, ok := pair.Key.(*ast.Ident); ok && key.Name == "Msg" {
				all = append(all, pair.Value)
			}
		}
		return true
	})
	return all
}

// literals returns the texts that are sentences: at least three words. Values inserted at run time are shown as ….
func literals(in ast.Node) (all []string) {
	ast.Inspect(in, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec, *ast.Field: // the tag of a field is the help text of the command line
			return false
		case *ast.BinaryExpr:
			all = append(all, sentence(n)...)
			return n.Op != token.ADD
		case *ast.BasicLit:
			all = append(all, sentence(n)...)
		}
		return true
	})
	return all
}

// sentence returns the text of an expression in the form of the page, if it has at least three words.
func sentence(e ast.Expr) []string {
	text := strings.Join(strings.Fields(textOf(e)), " ")
	for strings.Contains(text, "……") {
		text = strings.ReplaceAll(text, "……", "…")
	}
	if !threeWords.MatchString(text) {
		return nil
	}
	return []string{strings.ReplaceAll(text, "|", `\|`)}
}

var (
	threeWords = regexp.MustCompile(`[A-Za-z]{2,}\S* +\S*[A-Za-z]{2,}\S* +\S*[A-Za-z…]+`)
	verb       = regexp.MustCompile(`%[-+#0-9.]*[a-zA-Z]`)
)

// textOf returns the text of an expression as far as it is constant.
func textOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return verb.ReplaceAllString(strings.ReplaceAll(s, "%%", "%"), "…")
		}
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return textOf(e.X) + textOf(e.Y)
		}
	case *ast.ParenExpr:
		return textOf(e.X)
	}
	return "…"
}
