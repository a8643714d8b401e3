package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// readers are functions that open the file at a path, or read a stream, without a limit and without checking its type. Only internal/regular and the files
// in mayRead may use them.
var readers = []string{
	"os.ReadFile", "os.Open", "os.OpenFile", "os.OpenInRoot", "os.OpenRoot", "os.ReadDir", "os.DirFS", "filepath.Glob", "filepath.Walk", "filepath.WalkDir",
	"io.ReadAll", "tls.LoadX509KeyPair", "syscall.Open", "unix.Open", "unix.Openat",
}

// mayRead has the files that may use them, with the reason.
var mayRead = map[string]string{
	"internal/regular/regular.go": "it implements the safe functions",
	"internal/proc/attr_linux.go": "it reads /proc, which only the kernel writes",
	"internal/proc/proc.go":       "the log of a lab server is in its own folder",
	"internal/cli/demo.go":        "the log of the demo is in a new folder",
	"internal/filetx/fs.go":       "the files that it creates do not exist yet (O_EXCL), and it has just created the folder that it opens (O_DIRECTORY, O_NOFOLLOW)",
	"internal/keyring/source.go":  "the draft of a key file does not exist yet (O_EXCL)",
	"internal/store/lock.go":      "the file that it creates does not exist yet (O_EXCL)",
}

// A named pipe, a device or an endless file in place of one of ours must not hang the program.
func TestFilesAreReadOnlyThroughSafeReaders(t *testing.T) {
	t.Parallel()
	needed := map[string]bool{}
	for _, f := range sources(t) {
		if f.test || isKit(f.pkg) || f.pkg == "lab" {
			continue
		}
		for _, call := range careless(t, f.name, nil) {
			needed[f.name] = true
			if mayRead[f.name] == "" {
				t.Errorf("%s calls %s: use internal/regular, which reads only regular files, up to a limit, and never blocks (regular.Read, Open, Names, All)", f.name, call)
			}
		}
	}
	for name := range mayRead {
		if !needed[name] {
			t.Errorf("%s uses none of these functions: remove it from the list", name)
		}
	}
	const code = `package x
func f() { os.ReadFile("x"); g := os.Open; io.ReadAll(io.LimitReader(r, 5)); io.ReadAll(http.MaxBytesReader(w, r, 5)); io.ReadAll(r); os.Stat("x") }`
	if got := careless(t, "x.go", code); !slices.Equal(got, []string{"os.ReadFile", "os.Open", "io.ReadAll"}) {
		t.Errorf("the search is wrong: it found %q", got)
	}
}

// careless returns the readers that a file uses, except io.ReadAll of a limited stream; code is the content of the file, nil to read it.
func careless(t *testing.T, name string, code any) (found []string) {
	t.Helper()
	syntax, err := parser.ParseFile(token.NewFileSet(), name, code, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	bounded := map[ast.Node]bool{}
	ast.Inspect(syntax, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && selector(call.Fun) == "io.ReadAll" && len(call.Args) == 1 {
			if inner, ok := call.Args[0].(*ast.CallExpr); ok && slices.Contains([]string{"io.LimitReader", "http.MaxBytesReader"}, selector(inner.Fun)) {
				bounded[call.Fun] = true
			}
		}
		if e, ok := n.(ast.Expr); ok && !bounded[n] && slices.Contains(readers, selector(e)) {
			found = append(found, selector(e))
		}
		return true
	})
	return found
}

// selector returns the text of an expression pkg.Name, "" for any other.
func selector(e ast.Expr) string {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	pkg, ok := s.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return strings.Join([]string{pkg.Name, s.Sel.Name}, ".")
}
