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

	"github.com/synergycall/pbxportal/internal/pbx"
)

const module = "github.com/synergycall/pbxportal"

// row is a package's row in the import table.
type row struct {
	may []string // the packages of this module that it may import
	why string   // the reason, which the error for a forbidden import contains
}

// all means every package that has no other restriction: see onlyImporters.
const all = "*"

// table has the packages of this module that each package may import; docs/adr/0001 has the rationale. Packages below internal/ are named by their path
// there, all others by their path from the root.
var table = map[string]row{
	"contracts": {nil, "it contains the contract as a file, and depends on no code"},
	"deploy":    {nil, "it contains files that a host needs besides the program, and tests"},

	// The domain model and tools: independent of the rest.
	"pbx":     {nil, "every package uses the domain model, so it depends on none"},
	"regular": {nil, "it opens and reads files, whatever their purpose"},
	"config":  {[]string{"pbx", "regular"}, "settings are read before anything else exists"},
	"chain":   {[]string{"pbx"}, "it is pure: an event in, a link out, so that the trail can be verified without our database"},
	"filetx":  {[]string{"regular", "sums"}, "it switches several files atomically, whatever their content"},
	"sums":    {nil, "it hashes contents, whatever they are"},
	"glance":  {nil, "it shares a check between callers, whatever is checked"},
	"proc":    {nil, "it starts programs, whichever they are"},
	"keyring": {[]string{"regular"}, "it encrypts and decrypts, whatever the values are and wherever they are stored"},
	"phone":   {nil, "it is an ordinary telephone, and accesses the portal only through SIP"},

	// Adapters: databases, files, Asterisk.
	"store":    {[]string{"pbx", "chain", "keyring", "regular"}, "it contains queries and transactions; rules are above it"},
	"asterisk": {[]string{"proc", "regular"}, "it talks to Asterisk in plain values, so that it can be tested and fuzzed without our types"},
	"live":     {[]string{"pbx", "asterisk"}, "it keeps the live state of Asterisk in memory, and knows neither users nor files"},
	"node":     {[]string{"pbx", "filetx", "asterisk", "regular"}, "it is one Asterisk host, and implements apply.Target without depending on apply"},

	// Services: the purpose of the portal.
	"callflow":    {[]string{"pbx"}, "it is pure: a model and a call in, what happens out, so that the pages, plans and tests follow calls with the same function"},
	"render":      {[]string{"pbx"}, "it is pure: users in, bytes out, so that golden files cover it"},
	"directory":   {[]string{"pbx", "store", "callflow"}, "it contains the rules for users and extensions, and depends on neither HTTP nor Asterisk"},
	"routing":     {[]string{"pbx", "store", "callflow"}, "it contains the rules for things besides users, and depends on neither HTTP nor Asterisk"},
	"auth":        {[]string{"pbx", "store"}, "it authenticates and authorises; how a request carries its credentials is a matter of HTTP"},
	"audit":       {[]string{"pbx", "chain", "store", "regular"}, "it searches and verifies the trail; the package that makes a change writes its event"},
	"idempotency": {[]string{"pbx", "store"}, "it carries out a request once; what a request is, and how it is answered, is a matter of HTTP"},
	"apply":       {[]string{"pbx", "store", "render", "callflow", "glance", "sums"}, "it orchestrates an apply; it accesses hosts as a Target, and callers use plain Go"},

	// Front ends.
	"httpapi":         {[]string{"pbx", "audit", "auth", "directory", "routing", "callflow", "idempotency", "apply", "live", "glance", "httpapi/openapi", "contracts", "regular"}, "it translates the contract for the services; what it lacks belongs into a service"},
	"webui":           {nil, "it contains files for a browser, which calls the public API"},
	"httpapi/openapi": {nil, "it is generated from the contract alone"},
	"demo":            {[]string{"phone"}, "it uses the portal from outside, over HTTP and SIP"},
	"cli":             {[]string{all}, "it assembles the program from everything except test kits"},
	"cmd/pbxportal":   {[]string{"cli"}, "main passes the streams of the process to cli.Run and returns its exit code"},

	// Test kits, and the real servers that the demo shares with them.
	"lab":                   {[]string{"proc", "asterisk"}, "it runs real servers in their own folders, and does not depend on the portal"},
	"lab/labtest":           {[]string{"lab", "proc"}, "it provides tests with real servers"},
	"render/rendertest":     {[]string{"pbx"}, "it writes files of kinds that only tests have, and must not share a mistake with render"},
	"asterisk/asterisktest": {[]string{"asterisk"}, "it simulates an Asterisk"},
	"faults":                {nil, "it contains only tests, which use the portal from outside"},
	"httpapi/apitest":       {[]string{"contracts"}, "it checks responses against the contract, and must not share a mistake with the server"},
	"httpapi/clienttest":    {nil, "it is generated from the contract alone, as the clients of others are"},
	"store/storetest":       {[]string{"pbx", "store", "keyring", "lab/labtest"}, "it provides tests with a database of each engine"},
}

// onlyImporters has packages that only these packages may import, whatever others may import.
var onlyImporters = map[string]struct {
	importers []string
	why       string
}{
	"cli":             {[]string{"cmd/pbxportal"}, "the command line is the outermost layer"},
	"httpapi/openapi": {[]string{"httpapi", "cli"}, "generated types stay where they are answered and printed"},
}

// boundaries has packages outside this module that only some packages may import.
var boundaries = map[string]struct {
	may     []string
	inTests bool // all tests and test kits may import it, too
	why     string
}{
	"database/sql": {[]string{"store", "store/storetest"}, false, "SQL is in store: use its methods or add one"},
	"os/exec":      {[]string{"proc"}, false, "use proc: no shell, bounded output, and the whole process group ends with its context"},
	"net/http":     {[]string{"httpapi", "httpapi/openapi", "webui", "cli", "demo"}, true, "HTTP ends at httpapi; services have a Go API"},
	"testing":      {nil, true, "code for tests belongs into a test kit, not into the program"},
	"plugin":       {nil, false, "the program is one file"},
	"unsafe":       {nil, false, "no code needs it"},
	"C":            {nil, false, "the program is built without cgo and runs on any Linux"},
}

// goFile is a source file, as far as the rules depend on it.
type goFile struct {
	name    string // from the root
	pkg     string // the name used in the table
	imports []string
	doc     string
	clause  string // the package's name in its package clause
	test    bool
}

// external reports whether the file belongs to an external test package (x_test), which may import upwards.
func (f goFile) external() bool { return f.test && strings.HasSuffix(f.clause, "_test") }

func TestPackagesImportOnlyWhatTheTableAllows(t *testing.T) {
	t.Parallel()
	files := sources(t)
	for _, f := range files {
		if _, known := table[f.pkg]; !known && f.pkg != "." {
			t.Errorf("%s: package %s is not in the import table of arch_test.go: add it there, with the packages it may import and the reason", f.name, f.pkg)
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
			t.Errorf("the import table names %s, which is not a package with code: remove the row", name)
		}
		for _, may := range table[name].may {
			if _, known := table[may]; !known && may != all {
				t.Errorf("the import table lets %s import %s, which has no row of its own", name, may)
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
			t.Errorf("package %s has no doc comment: describe its responsibility and what is out of scope", pkg)
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
			t.Errorf("go.mod requires %s, which has no row in %s: add one with its purpose and its maintainer", name, page)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(accounted)) {
		if !slices.Contains(required, name) {
			t.Errorf("%s has a row for %s, which go.mod does not require: remove it", page, name)
		}
	}
}

// TestForbiddenImportsAreFound tests the rules themselves.
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
		{"code, as its row allows", code("apply"), module + "/internal/store", true},
		{"code, not in its row", code("render"), module + "/internal/store", false},
		{"code, upwards", code("pbx"), module + "/internal/apply", false},
		{"a test inside the package", inside("render"), module + "/internal/store", false},
		{"a test outside the package", outside("render"), module + "/internal/store", true},
		{"a test, a kit", inside("store"), module + "/internal/lab/labtest", true},
		{"code, a kit", code("node"), module + "/internal/asterisk/asterisktest", false},
		{"the command line, a kit", code("cli"), module + "/internal/lab/labtest", false},
		{"the command line, code", code("cli"), module + "/internal/node", true},
		{"the command line, generated code", code("cli"), module + "/internal/httpapi/openapi", true},
		{"a service, generated code", code("directory"), module + "/internal/httpapi/openapi", false},
		{"a test outside the package, generated code of another", outside("apply"), module + "/internal/httpapi/openapi", false},
		{"the owner of generated code", code("httpapi"), module + "/internal/httpapi/openapi", true},
		{"main, the command line", code("cmd/pbxportal"), module + "/internal/cli", true},
		{"another package, the command line", code("demo"), module + "/internal/cli", false},
		{"tests of the command line", outside("cli"), module + "/internal/cli", true},
		{"SQL outside the store", code("directory"), "database/sql", false},
		{"a package below database/sql", code("directory"), "database/sql/driver", false},
		{"SQL in the store", code("store"), "database/sql", true},
		{"processes outside proc", code("asterisk"), "os/exec", false},
		{"processes in a test", outside("asterisk"), "os/exec", false},
		{"HTTP in a service", code("directory"), "net/http", false},
		{"HTTP in a test", outside("directory"), "net/http/httptest", true},
		{"testing in a kit", code("store/storetest"), "testing", true},
		{"testing in the program", code("lab"), "testing", false},
		{"a name that only begins like a restricted one", code("pbx"), "unsafely", true},
		{"the rest of the standard library", code("pbx"), "strings", true},
	} {
		if fault := forbidden(c.file, c.imported); (fault == "") != c.ok {
			t.Errorf("%s: %s importing %s returned %q", c.name, c.file.pkg, c.imported, fault)
		}
	}
}

// forbidden returns the reason why the file must not import the package, "" if it may.
func forbidden(f goFile, imported string) string {
	for _, name := range slices.Sorted(maps.Keys(boundaries)) {
		if imported != name && !strings.HasPrefix(imported, name+"/") {
			continue
		}
		b := boundaries[name]
		if slices.Contains(b.may, f.pkg) || b.inTests && (f.test || isKit(f.pkg)) {
			return ""
		}
		return f.pkg + " must not import " + imported + ": " + b.why
	}

	if !ours(imported) {
		return ""
	}
	name := tableName(imported)
	if name == f.pkg { // the test outside a package imports the package
		return ""
	}
	// The tests of faults start the whole program in processes of their own.
	if only, found := onlyImporters[name]; found && !slices.Contains(only.importers, f.pkg) && (f.pkg != "faults" || !f.test) {
		return f.pkg + " must not import " + name + ": " + only.why + "; only " + strings.Join(only.importers, " and ") + " may"
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

// TestNoShellAnywhere finds shells among the arguments of programs, which the boundary of os/exec does not exclude. Tests and test kits may use one.
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
		t.Errorf("the search is wrong: it found %q", got)
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

// requirements returns the modules that a go.mod requires: those that our code imports, and all.
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

// tablesOfKinds are the declarations in which a kind of thing has its row; CONTRIBUTING.md lists them.
func tablesOfKinds() []string {
	return []string{"pbx kindsOfThings", "render itemKinds", "callflow kindOf", "httpapi createdThings", "cli commands"}
}

func TestAKindOfThingIsNamedOnlyInItsFilesAndInTheTablesOfKinds(t *testing.T) {
	t.Parallel()
	const most = 500
	recipe := read(t, "CONTRIBUTING.md")
	for _, kind := range pbx.Kinds() {
		name, lines, rows := strings.ReplaceAll(string(kind), "_", ""), 0, map[string]bool{}
		for _, f := range sources(t) {
			switch text := read(t, f.name); {
			case f.test || f.pkg == "." || strings.HasPrefix(text, "// Code generated") || strings.HasSuffix(f.name, ".gen.go"):
			case strings.HasPrefix(path.Base(f.name), name):
				lines += strings.Count(text, "\n")
				if !strings.Contains(recipe, "`"+strings.TrimPrefix(f.name, "internal/")+"`") && kind == pbx.KindRingGroup {
					t.Errorf("CONTRIBUTING.md does not name %s", f.name)
				}
			case strings.Contains(strings.ToLower(text), name):
				for _, where := range declarationsWith(t, f.name, text, name) {
					if where = f.pkg + " " + where; !slices.Contains(tablesOfKinds(), where) {
						t.Errorf("%s names the kind %s in %s: generic code follows from its rows in the tables of kinds (CONTRIBUTING.md)", f.name, kind, where)
					}
					rows[where] = true
				}
			}
		}
		if lines > most {
			t.Errorf("the files of the kind %s have %d lines, want at most %d: move to the code of all kinds what is not special to this one", kind, lines, most)
		}
		for _, table := range tablesOfKinds() {
			_, declaration, _ := strings.Cut(table, " ")
			if !rows[table] || !strings.Contains(recipe, "`"+declaration+"`") {
				t.Errorf("the kind %s has no row in %s, or CONTRIBUTING.md does not name that table", kind, table)
			}
		}
	}
}

// declarationsWith returns the names of the top-level declarations of a file in which a name occurs, in an identifier, a text or a comment, whatever its
// case; "" for a place outside all.
func declarationsWith(t *testing.T, file, text, name string) (all []string) {
	t.Helper()
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, file, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	lower := strings.ToLower(text)
	for at := 0; ; at++ {
		next := strings.Index(lower[at:], name)
		if next < 0 {
			return all
		}
		at += next
		where := ""
		for _, d := range syntax.Decls {
			if set.Position(d.Pos()).Offset > at || set.Position(d.End()).Offset <= at {
				continue
			}
			switch d := d.(type) {
			case *ast.FuncDecl:
				where = d.Name.Name
			case *ast.GenDecl:
				if s, ok := d.Specs[0].(*ast.TypeSpec); ok {
					where = s.Name.Name
				}
			}
		}
		all = append(all, where)
	}
}
