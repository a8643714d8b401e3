package httpapi_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/contracts"
)

func TestThePageLoadsNothingFromOutside(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	page := p.do("GET", "/docs", "")
	if page.status != 200 || !strings.HasPrefix(page.header.Get("Content-Type"), "text/html") {
		t.Fatalf("%d %v", page.status, page.header)
	}
	policy := page.header.Get("Content-Security-Policy")
	if strings.Contains(policy, "http") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("the page may load more than it needs: %s", policy)
	}
	refs := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page.text, -1)
	if len(refs) < 4 {
		t.Fatalf("found %v", refs)
	}
	texts := map[string]string{"page": page.text}
	for _, ref := range refs {
		if ref[1] == "data:," {
			continue
		}
		a := p.do("GET", "/"+ref[1], "")
		if a.status != 200 || a.text == "" {
			t.Errorf("%s: %d", ref[1], a.status)
		}
		texts[ref[1]] = a.text
	}
	for _, name := range []string{"page", "docs/init.js"} {
		if regexp.MustCompile(`(?i)(https?:)?//[a-z0-9]`).MatchString(texts[name]) {
			t.Errorf("%s names another host: %s", name, texts[name])
		}
	}
	for _, u := range regexp.MustCompile(`url\(["']?([a-z]*:?)`).FindAllStringSubmatch(texts["docs/swagger-ui.css"], -1) {
		if u[1] != "data:" {
			t.Errorf("the style sheet loads %s", u[0])
		}
	}
	if regexp.MustCompile(`(?i)<script>|<style|\son[a-z]+=|javascript:`).MatchString(page.text) {
		t.Error("the page has inline script or style, which its policy forbids")
	}
	if !strings.Contains(texts["docs/swagger-ui-bundle.js"], "SwaggerUIBundle") {
		t.Error("the script is not Swagger UI")
	}
}

func TestTheContractIsHandedOutAsItIs(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	a := p.do("GET", "/openapi.yaml", "")
	if a.text != string(contracts.API) {
		t.Error(cmp.Diff(string(contracts.API), a.text))
	}
	etag := a.header.Get("Etag")
	if a := p.do("GET", "/openapi.yaml", "", "If-None-Match", etag); a.status != 304 || a.text != "" {
		t.Errorf("%d, tag %q", a.status, etag)
	}
	j := p.do("GET", "/openapi.json", "", "Range", "bytes=1-2")
	fromJSON, err := openapi3.NewLoader().LoadFromData([]byte(j.text))
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	for _, x := range []struct {
		doc *openapi3.T
		to  *any
	}{{fromJSON, &got}, {contract(t), &want}} {
		b, err := x.doc.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, x.to); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestClientsThatCannotUnpackGetPlainFiles(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	plain := p.do("GET", "/docs/swagger-ui.css", "", "Accept-Encoding", "identity")
	packed := p.do("GET", "/docs/swagger-ui.css", "", "Accept-Encoding", "gzip")
	if plain.header.Get("Content-Encoding") != "" || packed.header.Get("Content-Encoding") != "gzip" || len(packed.text) >= len(plain.text) ||
		plain.header.Get("Etag") == packed.header.Get("Etag") {
		t.Errorf("%v\n%v", plain.header, packed.header)
	}
}
