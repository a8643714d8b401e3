package arch_test

import (
	"cmp"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/synergycall/pbxportal"

// row is a package's line in the import table.
type row struct {
	may []string // the packages of ours it may import
	why string   // why these and no others; what a forbidden import is answered with
}

// all stands for every package that allows it: see onlyImporter.
const all = "*"

// table says which package may import which of ours; docs/adr/0001 has the rationale. Folders below internal/ go by their
// path there, all others by their path from the root.
var table = map[string]row{
	"contracts": {nil, "it is the contract as a file, and depends on nobody's code"},
	"deploy":    {nil, "it holds what a host needs beside the program, as files, and tests alone"},

	// Words and tools: they know nothing of the rest.
	"pbx":     {nil, "everybody speaks its words, so it can depend on nobody"},
	"regular": {nil, "it looks at files and folders, and does not know what for"},
	"config":  {[]string{"pbx", "regular"}, "settings are read before anything else exists"},
	"chain":   {[]string{"pbx"}, "it is pure: an event in, a link out, so that anybody can check the trail without our database"},
	"filetx":  {[]string{"regular"}, "it switches several files at one moment, and does not know what is in them"},
	"glance":  {nil, "it lets many share one look, and does not know what is looked at"},
	"proc":    {nil, "it starts programs, and does not know which"},
	"keyring": {[]string{"regular"}, "it seals and opens, and does not know what is sealed or where that is kept"},
	"phone":   {nil, "it is a telephone like any other, and sees the portal only from outside, through SIP"},

	// Out: databases, files, Asterisk.
	"store":    {[]string{"pbx", "chain", "keyring", "regular"}, "it holds queries and transactions; rules live above it"},
	"asterisk": {[]string{"proc", "regular"}, "it speaks to Asterisk in plain values and can be tested and fuzzed without our types"},
	"live":     {[]string{"pbx", "asterisk"}, "it is what Asterisk says right now, kept in memory; it knows neither users nor files"},
	"node":     {[]string{"pbx", "filetx", "asterisk", "regular"}, "it is one Asterisk host, and satisfies apply.Target without knowing who asks"},

	// Does: what the portal is for.
	"render":    {[]string{"pbx"}, "it is pure: words in, bytes out, so that a golden file tells all"},
	"directory": {[]string{"pbx", "store"}, "it holds the rules for users and extensions, and knows neither HTTP nor Asterisk"},
	"auth":      {[]string{"pbx", "store"}, "it says who is calling and what he may do; how a request carries the proof is HTTP's business"},
	"audit":     {[]string{"pbx", "chain", "store", "regular"}, "it finds and proves; what happened is written by those who did it"},
	"apply":     {[]string{"pbx", "store", "render", "glance"}, "it tells the story of an apply; hosts reach it as a Target, callers as plain Go"},

	// In: those who ask.
	"httpapi":         {[]string{"pbx", "audit", "auth", "directory", "apply", "live", "glance", "httpapi/openapi", "contracts", "regular"}, "it translates the contract for the services; what it cannot get from them is missing there"},
	"webui":           {nil, "it is files for a browser, which asks the public API for all it shows"},
	"httpapi/openapi": {nil, "it is generated from the contract alone"},
	"demo":            {[]string{"phone"}, "it sees the portal as anybody does, over HTTP and SIP, and must not reach inside"},
	"cli":             {[]string{all}, "it puts the program together out of everything but generated code and test kits"},
	"cmd/pbxportal":   {[]string{"cli"}, "main passes the process's streams on and returns an exit code; a test can do the same with cli.Run"},

	// Test kits, and the laboratory of real servers that the demo shares with them.
	"lab":                   {[]string{"proc", "asterisk"}, "it runs real servers in a folder of their own and knows nothing of the portal"},
	"lab/labtest":           {[]string{"lab", "proc"}, "it hands a laboratory to a test"},
	"render/rendertest":     {[]string{"pbx"}, "it writes files of kinds that only tests have, and must not share a mistake with render"},
	"asterisk/asterisktest": {[]string{"asterisk"}, "it stands in for an Asterisk"},
	"faults":                {nil, "it holds tests alone, which break the portal from outside"},
	"httpapi/apitest":       {[]string{"contracts"}, "it holds answers against the contract, and must not share a mistake with the server"},
	"store/storetest":       {[]string{"pbx", "store", "keyring", "lab/labtest"}, "it hands a database of each kind to a test"},
}

// onlyImporter names packages that a single package may import, also where that one may import everything.
var onlyImporter = map[string]struct{ importer, why string }{
	"cli":             {"cmd/pbxportal", "the command line is the outermost layer"},
	"httpapi/openapi": {"httpapi", "generated types never leave the package that translates them"},
}

// doors names packages of others that only some of ours may import; others have to go through these.
var doors = map[string]struct {
	may     []string
	inTests bool // also all tests and test kits may
	why     string
}{
	"database/sql": {[]string{"store", "store/storetest"}, false, "SQL lives in store; use its methods or add one"},
	"os/exec":      {[]string{"proc"}, false, "use proc: no shell, a bounded output, a whole group that dies with its context"},
	"net/http":     {[]string{"httpapi", "httpapi/openapi", "webui", "cli", "demo"}, true, "HTTP stops at httpapi; services speak Go"},
	"testing":      {nil, true, "what tests need lies in a test kit and never in the program"},
	"plugin":       {nil, false, "the program is one file"},
	"unsafe":       {nil, false, "nothing here needs it"},
	"C":            {nil, false, "the program is built without cgo and runs on any Linux"},
}

// goFile is what the rules need to know of a source file.
type goFile struct {
	name    string // from the root
	pkg     string // the name used in the table
	imports []string
	doc     string
	clause  string // the package's name in its package clause
	test    bool
}

// external reports whether the file belongs to a test package of its own, which stands outside and may import upwards.
func (f goFile) external() bool { return f.test && strings.HasSuffix(f.clause, "_test") }

func TestPackagesImportOnlyWhatTheTableAllows(t *testing.T) {
	t.Parallel()
	files := sources(t)
	for _, f := range files {
		if _, known := table[f.pkg]; !known && f.pkg != "." {
			t.Errorf("%s: package %s is not in the import table of arch_test.go: add it there, with what it may import and why", f.name, f.pkg)
			continue
		}
		for _, imported := range f.imports {
			if fault := forbidden(f, imported); fault != "" {
				t.Errorf("%s: %s", f.name, fault)
			}
		}
	}
}

func TestTheTableNamesOnlyPackagesThatExist(t *testing.T) {
	t.Parallel()
	exist := map[string]bool{}
	for _, f := range sources(t) {
		exist[f.pkg] = exist[f.pkg] || !f.test
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if !exist[name] {
			t.Errorf("the import table names %s, which is no package with code: take the line out", name)
		}
		for _, may := range table[name].may {
			if _, known := table[may]; !known && may != all {
				t.Errorf("the import table lets %s import %s, which has no line of its own", name, may)
			}
		}
	}
}

func TestEveryPackageHasADocComment(t *testing.T) {
	t.Parallel()
	docs := map[string]string{}
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		docs[f.pkg] = cmp.Or(docs[f.pkg], f.doc)
		want := "Package " + f.clause + " "
		if f.clause == "main" {
			want = "Command " + path.Base(f.pkg) + " "
		}
		if f.doc != "" && !strings.HasPrefix(f.doc, want) {
			t.Errorf("%s: the doc of the package must start with %q", f.name, want)
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(docs)) {
		if docs[pkg] == "" {
			t.Errorf("package %s has no doc comment: say what it is for and what it refuses to do", pkg)
		}
	}
}

func TestEveryDependencyIsAccountedFor(t *testing.T) {
	t.Parallel()
	const page = "docs/adr/0007-dependencies.md"
	accounted := map[string]bool{}
	for line := range strings.Lines(read(t, page)) {
		if cell, found := strings.CutPrefix(line, "| `"); found {
			name, _, _ := strings.Cut(cell, "`")
			accounted[name] = true
		}
	}
	direct, required := requirements(read(t, "go.mod"))
	for _, name := range direct {
		if !accounted[name] {
			t.Errorf("go.mod requires %s, which has no row in %s: say what it saves and who keeps it", name, page)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(accounted)) {
		if !slices.Contains(required, name) {
			t.Errorf("%s has a row for %s, which go.mod does not require: take it out", page, name)
		}
	}
}

// TestForbiddenImportsAreFound keeps the rules themselves honest.
func TestForbiddenImportsAreFound(t *testing.T) {
	t.Parallel()
	code := func(pkg string) goFile { return goFile{pkg: pkg, clause: path.Base(pkg)} }
	inside := func(pkg string) goFile { return goFile{pkg: pkg, clause: path.Base(pkg), test: true} }
	outside := func(pkg string) goFile { return goFile{pkg: pkg, clause: path.Base(pkg) + "_test", test: true} }
	for _, c := range []struct {
		name     string
		file     goFile
		imported string
		ok       bool
	}{
		{"a line of the table allows", code("apply"), module + "/internal/store", true},
		{"and what it does not name is refused", code("render"), module + "/internal/store", false},
		{"also upwards", code("pbx"), module + "/internal/apply", false},
		{"also for a test inside the package", inside("render"), module + "/internal/store", false},
		{"but not for a test outside it", outside("render"), module + "/internal/store", true},
		{"a test takes a kit", inside("store"), module + "/internal/lab/labtest", true},
		{"code does not", code("node"), module + "/internal/asterisk/asterisktest", false},
		{"not even the command line", code("cli"), module + "/internal/lab/labtest", false},
		{"which may import the rest", code("cli"), module + "/internal/node", true},
		{"but not generated code", code("cli"), module + "/internal/httpapi/openapi", false},
		{"as nobody but its owner", outside("apply"), module + "/internal/httpapi/openapi", false},
		{"who may", code("httpapi"), module + "/internal/httpapi/openapi", true},
		{"main imports the command line", code("cmd/pbxportal"), module + "/internal/cli", true},
		{"nobody else", code("demo"), module + "/internal/cli", false},
		{"but its own tests", outside("cli"), module + "/internal/cli", true},
		{"SQL has a door", code("directory"), "database/sql", false},
		{"and what lies behind it too", code("directory"), "database/sql/driver", false},
		{"with a key for the store", code("store"), "database/sql", true},
		{"processes have one", code("asterisk"), "os/exec", false},
		{"for tests as well", outside("asterisk"), "os/exec", false},
		{"HTTP has one", code("directory"), "net/http", false},
		{"which is open for tests", outside("directory"), "net/http/httptest", true},
		{"a kit may use testing", code("store/storetest"), "testing", true},
		{"the program may not", code("lab"), "testing", false},
		{"a name that only begins like a door is free", code("pbx"), "unsafely", true},
		{"the rest of the standard library is free", code("pbx"), "strings", true},
	} {
		if fault := forbidden(c.file, c.imported); (fault == "") != c.ok {
			t.Errorf("%s: %s importing %s gave %q", c.name, c.file.pkg, c.imported, fault)
		}
	}
}

// forbidden says why the file must not import the package; it is empty where it may.
func forbidden(f goFile, imported string) string {
	for _, door := range slices.Sorted(maps.Keys(doors)) {
		if imported != door && !strings.HasPrefix(imported, door+"/") {
			continue
		}
		d := doors[door]
		if slices.Contains(d.may, f.pkg) || d.inTests && (f.test || isKit(f.pkg)) {
			return ""
		}
		return f.pkg + " must not import " + imported + ": " + d.why
	}

	if !ours(imported) {
		return ""
	}
	name := tableName(imported)
	if name == f.pkg { // the test outside a package imports the package
		return ""
	}
	// The tests of faults start the whole program in processes of their own.
	if only, found := onlyImporter[name]; found && only.importer != f.pkg && (f.pkg != "faults" || !f.test) {
		return f.pkg + " must not import " + name + ": " + only.why + "; only " + only.importer + " may"
	}
	kit := isKit(name)
	may := table[f.pkg].may
	switch {
	case f.external(), f.test && kit, slices.Contains(may, name), slices.Contains(may, all) && !kit:
		return ""
	case f.test:
		return "a test in package " + f.pkg + " must not import " + name + ": " + table[f.pkg].why + "; a test in package " + f.clause + "_test may"
	default:
		return f.pkg + " must not import " + name + ": " + table[f.pkg].why
	}
}

// TestNoShellAnywhere keeps what os/exec's door cannot: a list of arguments that is a shell's. Tests and test kits may use one.
func TestNoShellAnywhere(t *testing.T) {
	t.Parallel()
	for _, f := range sources(t) {
		if f.test || isKit(f.pkg) {
			continue
		}
		for _, found := range shells(t, f.name, nil) {
			t.Errorf("%s: %q is a shell: start the program itself, with a list of arguments (internal/proc)", f.name, found)
		}
	}
	code := "package x\n\nvar a, b, c = []string{\"/bin/sh\", \"-c\"}, \"bash\", \"sh -c 'x'\"\nvar d, e = `shell`, \"/usr/share/bash-completion\"\n"
	if got := shells(t, "x.go", code); !slices.Equal(got, []string{"/bin/sh", "bash", "sh -c 'x'"}) {
		t.Errorf("the search is not what it should be: it found %q", got)
	}
}

// shells returns texts in a file that start a shell; code is its content, nil to read it.
func shells(t *testing.T, name string, code any) (found []string) {
	t.Helper()
	syntax, err := parser.ParseFile(token.NewFileSet(), name, code, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"sh", "ash", "bash", "dash", "ksh", "zsh", "busybox"}
	ast.Inspect(syntax, func(n ast.Node) bool {
		literal, ok := n.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		text, err := strconv.Unquote(literal.Value)
		if words := strings.Fields(text); err == nil && len(words) > 0 && slices.Contains(names, path.Base(words[0])) {
			found = append(found, text)
		}
		return true
	})
	return found
}

// requirements lists the modules a go.mod requires: those our own code imports, and all of them.
func requirements(text string) (direct, required []string) {
	inside := false
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && fields[0] == "require" && fields[1] == "(":
			inside = true
			continue
		case len(fields) > 0 && fields[0] == ")":
			inside = false
		case len(fields) > 2 && fields[0] == "require":
			fields = fields[1:]
		case !inside:
			continue
		}
		if len(fields) < 2 {
			continue
		}
		required = append(required, fields[0])
		if !slices.Contains(fields, "indirect") {
			direct = append(direct, fields[0])
		}
	}
	return direct, required
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// isKit reports whether the package is a test kit, by its name.
func isKit(pkg string) bool { return strings.HasSuffix(pkg, "test") }

func ours(imported string) bool {
	return imported == module || strings.HasPrefix(imported, module+"/")
}

// tableName turns an import path of ours into the name the table uses.
func tableName(imported string) string {
	dir := strings.TrimPrefix(strings.TrimPrefix(imported, module), "/")
	return strings.TrimPrefix(cmp.Or(dir, "."), "internal/")
}

// sources parses every Go file of the module. It does so in this process, not through the go command: the test cache sees which
// files a test reads, but not which its children read, and would keep an old success after a new violation.
func sources(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skipDir(name)
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		f, err := parse(name)
		files = append(files, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// skipDir answers fs.SkipDir for folders that hold no package of this module.
func skipDir(name string) error {
	base := filepath.Base(name)
	switch {
	case name == ".":
		return nil
	case strings.HasPrefix(base, "."), strings.HasPrefix(base, "_"), base == "testdata", base == "vendor", base == "node_modules":
		return fs.SkipDir
	}
	_, err := os.Stat(filepath.Join(name, "go.mod"))
	switch {
	case err == nil: // another module
		return fs.SkipDir
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

func parse(name string) (goFile, error) {
	syntax, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return goFile{}, err
	}
	f := goFile{
		name: name, clause: syntax.Name.Name, doc: syntax.Doc.Text(),
		pkg:  tableName(path.Join(module, filepath.ToSlash(filepath.Dir(name)))),
		test: strings.HasSuffix(name, "_test.go"),
	}
	for _, spec := range syntax.Imports {
		f.imports = append(f.imports, importPath(spec))
	}
	return f, nil
}

func importPath(spec *ast.ImportSpec) string {
	imported, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return spec.Path.Value // the parser accepts no import that is not quoted
	}
	return imported
}
