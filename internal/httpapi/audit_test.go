package httpapi_test

import (
	"bytes"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestTheAuditTrailHasActorActionAndOrigin(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	created := p.do("POST", "/users", `{"name":"Anna","email":"anna@example.com"}`, "X-Request-Id", "my-request")
	id := fmt.Sprint(created.json["id"])
	if a := p.do("DELETE", "/users/"+id, ""); a.status != 200 {
		t.Fatal(a.text)
	}
	answer := p.do("GET", "/audit?object="+id, "")
	events, _ := answer.json["events"].([]any)
	if answer.status != 200 || len(events) != 2 {
		t.Fatalf("%d %s", answer.status, answer.text)
	}
	got, _ := events[1].(map[string]any)
	delete(got, "at")
	delete(got, "seq")
	actor, _ := got["actor"].(map[string]any)
	if actor["id"] == "" {
		t.Error("the token that created the user has no id")
	}
	delete(actor, "id")
	want := map[string]any{
		"actor": map[string]any{"kind": "token", "name": "tests", "from": "127.0.0.1"}, "request_id": "my-request",
		"action": "user.create", "object": map[string]any{"type": "user", "id": id, "name": "Anna"}, "before": nil, "result": "ok",
		"after": map[string]any{"tenant_id": string(pbx.DefaultTenant), "name": "Anna", "email": "anna@example.com", "number": "1000"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAuditEventsAreSelectedAndPaged(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	for i := range 5 {
		e := pbx.NewAuditEvent(t.Context(), time.Date(2026, 1, 23, 12+i, 0, 0, 0, time.UTC), "test.try", pbx.AuditObject{Type: "user", ID: fmt.Sprint(i + 1)})
		if err := p.store.AppendEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	// The token and the owner of this portal have left events before; the five have the numbers from 3 to 7.
	find := func(query string) (ids, next string) {
		t.Helper()
		a := p.do("GET", "/audit"+query, "")
		events, _ := a.json["events"].([]any)
		for _, e := range events {
			event, _ := e.(map[string]any)
			object, _ := event["object"].(map[string]any)
			ids += fmt.Sprint(object["id"])
		}
		next, _ = a.json["next_cursor"].(string)
		return ids, next
	}
	for query, want := range map[string]string{
		"?limit=2": "54", "?limit=2&cursor=6": "32", "?cursor=1": "", "?object=3": "3", "?actor=portal": "54321", "?actor=nobody": "",
		"?action=test.": "54321", "?action=test": "", "?action=test.try&limit=1": "5", "?since=2026-01-23T13:00:00Z&until=2026-01-23T15:00:00Z": "32",
		"?action=test.&since=2026-01-23T14:00:00%2B01:00": "5432",
	} {
		if got, _ := find(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	if _, next := find("?limit=2"); next != "6" {
		t.Errorf("the next cursor is %q", next)
	}
	for _, query := range []string{"?limit=0", "?limit=501", "?cursor=x", "?since=yesterday", "?actor=", "?what=x"} {
		if a := p.do("GET", "/audit"+query, ""); a.status != 400 {
			t.Errorf("%s: %d %s", query, a.status, a.text)
		}
	}
}

func TestTheAuditTrailIsExportedAsLines(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	if a := p.do("GET", "/audit/export?action=test.", ""); a.status != 200 || a.text != "" {
		t.Errorf("without events: %d %s", a.status, a.text)
	}
	for i := range 300 { // more than goes in one piece
		e := pbx.NewAuditEvent(t.Context(), time.Now(), "test.try", pbx.AuditObject{Type: "user", ID: fmt.Sprint(i), Name: strings.Repeat("n", 200)})
		if err := p.store.AppendEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	a := p.do("GET", "/audit/export?action=test.", "")
	if a.status != 200 || strings.Count(a.text, "\n") != 300 || !strings.HasPrefix(a.text, `{"event":{"action":"test.try",`) || a.header.Get("Content-Type") != "application/jsonl" {
		t.Errorf("%d, %d lines, %.200s", a.status, strings.Count(a.text, "\n"), a.text)
	}
	if a := p.do("GET", "/audit/export?object=7&since=2026-01-01T00:00:00Z", ""); strings.Count(a.text, "\n") != 1 {
		t.Errorf("a selection: %d %s", a.status, a.text)
	}
	if a := p.do("HEAD", "/audit/export", ""); a.status != 200 || a.text != "" {
		t.Errorf("HEAD: %d %s", a.status, a.text)
	}
	if a := p.do("GET", "/audit/export?since=x", ""); a.status != 400 {
		t.Errorf("a time that is none: %d %s", a.status, a.text)
	}
	if err := p.store.Close(); err != nil {
		t.Fatal(err)
	}
	if a := p.do("GET", "/audit/export", ""); a.status < 500 || a.json["code"] == nil {
		t.Errorf("without a database: %d %s", a.status, a.text)
	}
}

func TestATimeThatDoesNotExistIsRefusedWithWordsAndSelectsNothing(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	for _, text := range []string{
		"2026-02-30T00:00:00Z", "2026-01-01T00:00:60Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00%2B99:99", "2026-13-01T00:00:00Z",
		"yesterday", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01T00:00:00+01:00", "",
	} {
		for _, path := range []string{"/audit", "/audit/export"} {
			for _, name := range []string{"since", "until"} {
				a := p.do("GET", path+"?"+name+"="+text, "")
				faults, _ := a.json["errors"].([]any)
				if a.status != 400 || len(faults) != 1 {
					t.Errorf("%s with %s=%s: %d %.300s", path, name, text, a.status, a.text)
					continue
				}
				fault, _ := faults[0].(map[string]any)
				message, _ := fault["message"].(string)
				if fault["field"] != name || !strings.Contains(message, "such as 2026-01-15T00:00:00Z") || strings.Contains(message, "regular expression") {
					t.Errorf("%s with %s=%s: %v", path, name, text, fault)
				}
			}
		}
	}
	for _, text := range []string{"2026-02-28T23:59:59Z", "2028-02-29T00:00:00.123456Z", "2026-01-01T00:00:00%2B14:00", "2026-01-01T00:00:00-12:00"} {
		for _, path := range []string{"/audit", "/audit/export"} {
			if a := p.do("GET", path+"?since="+text, ""); a.status != 200 {
				t.Errorf("%s since %s: %d %s", path, text, a.status, a.text)
			}
		}
	}
}

// A form in the body of a GET request would be read at any length, and its fields would pass the checks of the query.
func TestTheBodyOfARequestForAnExportIsIgnored(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	all := p.request(here, "GET", "http://localhost/audit/export", "")
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	if err := errors.Join(form.WriteField("actor", "nobody"), form.WriteField("since", "yesterday"), form.Close()); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), "GET", "http://localhost/audit/export", &body)
	r.RemoteAddr = here
	r.Header.Set("Authorization", "Bearer "+p.token)
	r.Header.Set("Content-Type", form.FormDataContentType())
	rec := httptest.NewRecorder()
	p.handler.ServeHTTP(rec, r)
	if all.text == "" || rec.Code != 200 || rec.Body.String() != all.text {
		t.Errorf("with a form in the body: %d %q, want %q", rec.Code, rec.Body, all.text)
	}
}
