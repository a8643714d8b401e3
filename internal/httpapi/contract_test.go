package httpapi_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/synergycall/pbxportal/contracts"
	"github.com/synergycall/pbxportal/internal/httpapi/apitest"
	"github.com/synergycall/pbxportal/internal/pbx"
)

func contract(t testing.TB) *openapi3.T {
	t.Helper()
	c, err := apitest.Contract()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// openContract returns a new copy of the contract that can be changed.
func openContract(t testing.TB) *openapi3.T {
	t.Helper()
	c, err := openapi3.NewLoader().LoadFromData(contracts.JSON)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// open lists, literally, what is open to anyone.
func open() []string {
	return []string{
		"GET /health", "GET /livez", "GET /readyz", "GET /docs", "GET /docs/{file}", "GET /openapi.yaml", "GET /openapi.json",
		"GET /setup", "POST /setup", "POST /session", "POST /invitations", "GET /auth/oidc/start", "GET /auth/oidc/callback",
	}
}

func TestTheContractIsValidOpenAPI(t *testing.T) {
	t.Parallel()
	c := contract(t)
	if err := c.Validate(t.Context(), openapi3.EnableExamplesValidation(), openapi3.EnableSchemaDefaultsValidation()); err != nil {
		t.Error(err)
	}
}

func TestTheContractSaysHowRequestsAreAuthenticated(t *testing.T) {
	t.Parallel()
	c := contract(t)
	var schemes []string
	for name := range c.Components.SecuritySchemes {
		schemes = append(schemes, name)
	}
	slices.Sort(schemes)
	if !slices.Equal(schemes, []string{"session", "token"}) || len(c.Security) != 2 {
		t.Fatalf("the schemes are %v, demanded are %v", schemes, c.Security)
	}
	for route, item := range c.Paths.Map() {
		for method, op := range item.Operations() {
			if public := slices.Contains(open(), method+" "+route); public != (op.Security != nil && len(*op.Security) == 0) || !public && op.Security != nil {
				t.Errorf("%s %s: open to anyone: %t, security: %v", method, route, public, op.Security)
			}
		}
	}
}

func TestEveryOperationDocumentsItsPurposePermissionAndResponses(t *testing.T) {
	t.Parallel()
	permissions := append(pbx.Permissions(), pbx.Public, pbx.SignedIn)
	seen := map[string]bool{}
	for route, item := range contract(t).Paths.Map() {
		for method, op := range item.Operations() {
			at := method + " " + route
			if op.OperationID == "" || seen[op.OperationID] || op.Summary == "" {
				t.Errorf("%s: operationId %q and summary %q must be there, the id once", at, op.OperationID, op.Summary)
			}
			seen[op.OperationID] = true
			permission, _ := op.Extensions["x-permission"].(string)
			if !slices.Contains(permissions, pbx.Permission(permission)) {
				t.Errorf("%s: x-permission %q is none of %v", at, permission, permissions)
			}
			if (permission == "public") != slices.Contains(open(), at) {
				t.Errorf("%s: x-permission is %q: only %v are open to anyone", at, permission, open())
			}
			if op.RequestBody != nil {
				media := op.RequestBody.Value.GetMediaType("application/json")
				if has := media.Schema.Value.AdditionalProperties.Has; has == nil || *has {
					t.Errorf("%s: the body lets unknown fields pass", at)
				}
				checkExamples(t, at+" request", media)
			}
			musts := []int{400, 403, 421, 429, 500}
			if permission != "public" {
				musts = append(musts, 401)
			}
			for _, must := range musts {
				if op.Responses.Status(must) == nil {
					t.Errorf("%s: no answer for %d: every operation can answer so, see how others say it", at, must)
				}
			}
			for status, resp := range op.Responses.Map() {
				if (status >= "400") != (resp.Value.Content["application/problem+json"] != nil) {
					t.Errorf("%s %s: failures, and only they, are problems", at, status)
				}
				if (status == "503" || status == "429") != (resp.Value.Headers["Retry-After"] != nil) {
					t.Errorf("%s %s: Retry-After belongs to 429 and 503", at, status)
				}
				for _, media := range resp.Value.Content {
					checkExamples(t, at+" "+status, media)
				}
			}
		}
	}
}

// checkExamples fails unless there is an example, and all are what the schema says, formats included.
func checkExamples(t *testing.T, at string, media *openapi3.MediaType) {
	t.Helper()
	if media.Example == nil && len(media.Examples) == 0 {
		t.Errorf("%s: no example", at)
	}
	values := map[string]any{}
	if media.Example != nil {
		values["example"] = media.Example
	}
	for name, e := range media.Examples {
		values[name] = e.Value.Value
	}
	for name, v := range values {
		if err := media.Schema.Value.VisitJSON(v, apitest.Formats()...); err != nil {
			t.Errorf("%s: example %s: %v", at, name, err)
		}
	}
}

func TestTheContractListsEveryCodeOfTheProgram(t *testing.T) {
	t.Parallel()
	c := contract(t)
	var listed []string
	for _, v := range c.Components.Schemas["ProblemCode"].Value.Enum {
		listed = append(listed, v.(string))
		if !strings.Contains(c.Info.Description, "| `"+v.(string)+"` |") {
			t.Errorf("the table of codes does not explain %s", v)
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), "../pbx/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Code") || len(spec.Values) != 1 {
			return true
		}
		code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil || !slices.Contains(listed, code) {
			t.Errorf("the contract does not list %s (%v)", code, err)
		}
		codes++
		return true
	})
	if codes < 10 {
		t.Errorf("found %d codes only: does this test still read them?", codes)
	}
}

// There are no uploads that could be executed, unpacked or stored elsewhere, and no operation takes a path or a URL.
func TestNoOperationTakesAFile(t *testing.T) {
	t.Parallel()
	for route, item := range contract(t).Paths.Map() {
		for method, op := range item.Operations() {
			if op.RequestBody == nil {
				continue
			}
			for kind, body := range op.RequestBody.Value.Content {
				if kind != "application/json" && kind != "application/merge-patch+json" {
					t.Errorf("%s %s takes %s", method, route, kind)
				}
				for name, property := range body.Schema.Value.Properties {
					if p := property.Value; p.Format == "binary" || p.Format == "byte" || p.Format == "uri" || strings.Contains(name, "file") || strings.Contains(name, "path") {
						t.Errorf("%s %s: the field %s could be a file, a path or a URL", method, route, name)
					}
				}
			}
		}
	}
}

// A pattern in a message helps only programmers.
func TestEveryPatternOfARequestHasAMessageInWords(t *testing.T) {
	t.Parallel()
	var check func(where string, r *openapi3.SchemaRef)
	check = func(where string, r *openapi3.SchemaRef) {
		if r == nil {
			return
		}
		if text, _ := r.Value.Extensions["x-fault"].(string); r.Value.Pattern != "" && text == "" {
			t.Errorf("%s has the pattern %s and no x-fault", where, r.Value.Pattern)
		}
		for name, property := range r.Value.Properties {
			check(where+"."+name, property)
		}
		check(where+"[]", r.Value.Items)
	}
	for path, item := range contract(t).Paths.Map() {
		for method, op := range item.Operations() {
			for _, p := range op.Parameters {
				check(method+" "+path+" "+p.Value.Name, p.Value.Schema)
			}
			if op.RequestBody != nil {
				check(method+" "+path, op.RequestBody.Value.GetMediaType("application/json").Schema)
			}
		}
	}
}
