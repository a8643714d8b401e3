package apitest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/httpapi/apitest"
)

func TestAnAnswerThatBreaksTheContractIsNoticed(t *testing.T) {
	t.Parallel()
	contract, err := apitest.Contract()
	if err != nil {
		t.Fatal(err)
	}
	const (
		problem   = `{"type":"urn:pbxportal:problem:internal","title":"x","status":500,"detail":"x","code":"internal","request_id":"1"}`
		extension = `"extension":{"id":"51b4c1c5-6f44-4d0f-9d38-5a2b1f0c9e77","number":1000,"caller_name":"A","secret":"s","created_at":"2026-01-15T09:30:00Z"}`
		user      = `{"id":"2f9e5a1c-8d8e-4a53-9f5b-8a3b6f0f4c11","tenant_id":"a0000000-0000-0000-0000-000000000000","name":"A","email":"a@example.com",` + extension + `,"created_at":"2026-01-15T09:30:00Z"}`
	)
	for name, c := range map[string]struct {
		method, path string
		status       int
		media, body  string
		drop         string // a header
		fine         bool
	}{
		"as it should be":      {"GET", "/users/x", 200, "application/json", user, "", true},
		"no such status":       {"GET", "/users/x", 201, "application/json", user, "", false},
		"wrong media type":     {"GET", "/users/x", 200, "text/html", user, "", false},
		"plain failure":        {"GET", "/users/x", 500, "application/json", problem, "", false},
		"failure":              {"GET", "/users/x", 500, "application/problem+json", problem, "", true},
		"unlisted code":        {"GET", "/users/x", 500, "application/problem+json", strings.Replace(problem, `"internal"`, `"odd"`, 1), "", false},
		"field missing":        {"GET", "/users/x", 200, "application/json", strings.Replace(user, `"name":"A",`, "", 1), "", false},
		"field too many":       {"GET", "/users/x", 200, "application/json", strings.Replace(user, `"name"`, `"more":1,"name"`, 1), "", false},
		"id of another form":   {"GET", "/users/x", 200, "application/json", strings.Replace(user, "2f9e5a1c", "2F9E5A1C", 1), "", false},
		"time of another zone": {"GET", "/users/x", 200, "application/json", strings.Replace(user, "30:00Z", "30:00+01:00", 1), "", false},
		"number out of range":  {"GET", "/users/x", 200, "application/json", strings.Replace(user, "1000", "9", 1), "", false},
		"no Location":          {"POST", "/users", 201, "application/json", user, "Location", false},
		"no Retry-After":       {"GET", "/users", 503, "application/problem+json", problem, "Retry-After", false},
		"no request id":        {"GET", "/users/x", 200, "application/json", user, "X-Request-Id", false},
		"page for no path":     {"GET", "/nowhere", 200, "text/html", "", "", false},
		"method without list":  {"PUT", "/users", 405, "application/problem+json", problem, "Allow", false},
	} {
		r, err := http.NewRequest(c.method, c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp := &http.Response{StatusCode: c.status, Header: http.Header{"Content-Type": {c.media}}}
		for _, h := range []string{"X-Request-Id", "X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy", "Cache-Control", "Location", "Retry-After", "Allow", "Cross-Origin-Resource-Policy", "Permissions-Policy"} {
			resp.Header.Set(h, "1")
		}
		resp.Header.Del(c.drop)
		if err := apitest.Check(contract, r, resp, []byte(c.body)); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAStreamThatBreaksTheContractIsNoticed(t *testing.T) {
	t.Parallel()
	contract, err := apitest.Contract()
	if err != nil {
		t.Fatal(err)
	}
	const (
		first  = "id: 1\nevent: plan\ndata: {\"stage\":\"plan\",\"after_ms\":0,\"message\":\"x\"}\n\n"
		second = "id: 2\nevent: end\ndata: {\"stage\":\"end\",\"after_ms\":0,\"message\":\"x\"}\n\n"
		done   = "event: done\ndata: {\"result\":\"applied\",\"outcome\":\"success\"}\n\n"
	)
	for name, c := range map[string]struct {
		text string
		fine bool
	}{
		"as it should be":    {first + ": a sign of life\n\n" + second + done, true},
		"resumed":            {second + done, true},
		"cut":                {first + "id: 2\nevent: e", true},
		"event left out":     {first + strings.Replace(second, "id: 2", "id: 3", 1), false},
		"no id":              {strings.Replace(first, "id: 1\n", "", 1), false},
		"field missing":      {strings.Replace(first, `"after_ms":0,`, "", 1), false},
		"unknown result":     {first + strings.Replace(done, "applied", "odd", 1), false},
		"more after the end": {first + done + second, false},
	} {
		if err := apitest.CheckEvents(contract, c.text); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}
