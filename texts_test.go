package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// catalogues are the texts of the pages, by language.
var catalogues = []string{"web/src/lib/i18n/en.ts", "web/src/lib/i18n/de.ts"}

// The pages translate every message of the portal that has a code: an unknown code in a catalogue would show
// English on German pages.
func TestEveryCodeHasATextInEveryLanguageOfThePages(t *testing.T) {
	t.Parallel()
	codes := map[string][]string{
		"failure, field or event": constants(t, `^(Code|Field|Event)[A-Z]`, "internal/pbx/*.go"),
		"enum of the contract":    enums(t, "ProblemCode", "FieldCode", "EventCode", "BehindCode", "SignInTrouble"),
		"action":                  actions(t),
		"reason to lag":           {string(pbx.NotSeen), string(pbx.NotAsked), string(pbx.NotOurs), string(pbx.Differs)},
	}
	for _, name := range catalogues {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for what, all := range codes {
			if len(all) < 4 {
				t.Fatalf("only %d of the kind %s were found", len(all), what)
			}
			for _, code := range all {
				if !regexp.MustCompile(`(?m)^ +'?` + regexp.QuoteMeta(code) + `'?: `).Match(text) {
					t.Errorf("%s has no text for the %s %s", name, what, code)
				}
			}
		}
	}
}

// The contract lists the codes that the program knows, and no others: so a page that covers the one covers the other.
func TestTheContractListsTheCodesOfFieldsAndEvents(t *testing.T) {
	t.Parallel()
	for prefix, enum := range map[string]string{"Field": "FieldCode", "Event": "EventCode"} {
		known, listed := constants(t, "^"+prefix+"[A-Z]", "internal/pbx/*.go"), enums(t, enum)
		slices.Sort(known)
		slices.Sort(listed)
		if !slices.Equal(known, listed) {
			t.Errorf("%s in the contract has %q, the program %q", enum, listed, known)
		}
	}
}

// The contract documents the meaning of every action of the audit trail.
func TestTheContractNamesEveryActionOfTheAuditTrail(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("contracts/api.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "operationId: listAuditEvents")
	table, _, _ = strings.Cut(table, "operationId: exportAuditEvents")
	var listed []string
	for _, m := range regexp.MustCompile("(?m)^ +\\| `([a-z_.]+)` \\| ").FindAllStringSubmatch(table, -1) {
		listed = append(listed, m[1])
	}
	known := actions(t)
	slices.Sort(known)
	slices.Sort(listed)
	if !slices.Equal(known, listed) {
		t.Errorf("the contract lists the actions %q, the program has %q", listed, known)
	}
}

// The page where a token is made offers of each role what the role may do.
func TestThePagesKnowWhatEachRoleMayDo(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("web/src/lib/roles.ts")
	if err != nil {
		t.Fatal(err)
	}
	lists := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)(\w+)(?:: Permission\[\] =|:) \[([^\]]*)\]`).FindAllStringSubmatch(string(text), -1) {
		for p := range strings.SplitSeq(m[2], ", ") {
			lists[m[1]] = append(lists[m[1]], strings.Trim(p, "'"))
		}
	}
	lists["owner"], lists["admin"] = lists["every"], lists["every"]
	for _, role := range pbx.Roles() {
		var may []string
		for _, p := range role.Permissions() {
			may = append(may, string(p))
		}
		if !slices.Equal(lists[string(role)], may) {
			t.Errorf("the pages say that %s may do %q, the program %q", role, lists[string(role)], may)
		}
	}
}

// actions returns the actions of the audit trail.
func actions(t *testing.T) []string {
	t.Helper()
	all := constants(t, `^Action[A-Z]`, "internal/pbx/*.go", "internal/auth/*.go")
	for _, kind := range append(pbx.Kinds(), pbx.SettingKinds()...) {
		for _, verb := range []string{".create", ".change", ".delete"} {
			if kind != pbx.KindOrganisation || verb == ".change" { // there is one from the beginning
				all = append(all, string(kind)+verb)
			}
		}
	}
	return all
}

// constants returns the values of the constants whose names match.
func constants(t *testing.T, names string, patterns ...string) (values []string) {
	t.Helper()
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				spec, ok := n.(*ast.ValueSpec)
				if !ok || len(spec.Names) != len(spec.Values) {
					return true
				}
				for i, ident := range spec.Names {
					lit, ok := spec.Values[i].(*ast.BasicLit)
					if !ok || lit.Kind != token.STRING || !regexp.MustCompile(names).MatchString(ident.Name) {
						continue
					}
					value, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					values = append(values, value)
				}
				return true
			})
		}
	}
	return values
}

// enums returns the values of some enumerations of the contract.
func enums(t *testing.T, names ...string) (words []string) {
	t.Helper()
	text, err := os.ReadFile("contracts/api.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		_, rest, ok := strings.Cut(string(text), "\n    "+name+":\n")
		if !ok {
			t.Fatalf("the contract has no %s", name)
		}
		if end := regexp.MustCompile(`(?m)^    [A-Z]`).FindStringIndex(rest); end != nil { // the next schema
			rest = rest[:end[0]]
		}
		_, list, _ := strings.Cut(rest, "enum:")
		for _, m := range regexp.MustCompile(`(?m)^ +- ([a-z_0-9]+)$|[\[ ]([a-z_0-9]+)[,\]]`).FindAllStringSubmatch(list, -1) {
			words = append(words, m[1]+m[2])
		}
	}
	return words
}
