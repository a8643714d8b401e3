package httpapi_test

import (
	"strings"
	"testing"
)

func TestEachOperationIsServedBelowTheVersionedPrefixAsWell(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	paths := map[string]map[string]bool{}
	for _, r := range routes(t) {
		if paths[r.operation] == nil {
			paths[r.operation] = map[string]bool{}
		}
		paths[r.operation][r.path] = true
	}
	for operation, at := range paths {
		_, route, _ := strings.Cut(operation, " ")
		method, _, _ := strings.Cut(operation, " ")
		other := contract(t).Paths.Value("/api/v1" + route) // documented beside it
		if alone := strings.HasPrefix(route, "/api/v1/") || other != nil && other.GetOperation(method) != nil || operation == "DELETE /users/{userId}"; len(at) == 2 == alone {
			t.Errorf("%s is served at %v", operation, at)
		}
	}
	p.create("Anna", "anna@example.com")
	applied := p.do("POST", "/api/v1/apply", `{"triggered_by":"admin"}`)
	if at := applied.header.Get("Location"); applied.status != 200 || !strings.HasPrefix(at, "/api/v1/apply/runs/") || p.do("GET", at, "").status != 200 {
		t.Errorf("%d %v %s", applied.status, applied.header, applied.text)
	}
	begun := p.do("POST", "/api/v1/apply", `{"triggered_by":"admin"}`, "Prefer", "respond-async")
	if at, _ := begun.json["events"].(string); !strings.HasPrefix(at, "/api/v1/apply/runs/") || p.do("GET", at, "").status != 200 {
		t.Errorf("%d %s", begun.status, begun.text)
	}
	invited := p.do("POST", "/api/v1/accounts", `{"name":"Emil","email":"emil@example.com","role":"auditor"}`)
	if at := invited.header.Get("Location"); !strings.HasPrefix(at, "/api/v1/accounts/") {
		t.Errorf("%d %v", invited.status, invited.header)
	}
	if a := p.do("GET", "/api/v1/apply/plan", "", "If-None-Match", p.do("GET", "/apply/plan", "").header.Get("Etag")); a.status != 304 {
		t.Errorf("the plan has another ETag below the prefix: %d %s", a.status, a.text)
	}
	if a := p.do("PUT", "/api/v1/apply", ""); a.status != 405 || a.header.Get("Allow") != "POST, OPTIONS" {
		t.Errorf("%d %v", a.status, a.header)
	}
	for _, path := range []string{"/api", "/api/v1", "/api/v1/", "/api/v2/health", "/api/v1/app/", "/api/v1/api/v1/health"} {
		if a := p.do("GET", path, ""); a.status != 404 || a.code() != "path_not_found" {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
	}
	if text := p.do("GET", "/metrics", "").text; strings.Contains(text, `route="/api/v1/apply"`) || !strings.Contains(text, `route="/apply"`) {
		t.Error("requests below the prefix are not counted as those of the operation")
	}
}
