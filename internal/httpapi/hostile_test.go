package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestMaliciousRequestsAreRefusedWithAllTheirErrors(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	long := strings.Repeat("x", 256)
	const valid, apply = `{"name":"Anna","email":"anna@example.com"}`, `{"triggered_by":"admin"}`
	big := `{"name":"` + strings.Repeat("x", 1<<20) + `","email":"a@example.com"}`
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		code                     string
		fields                   string // joined by spaces
	}{
		{name: "no fields", body: `{}`, status: 400, code: "invalid_input", fields: "email name"},
		{name: "null", body: `null`, status: 400, code: "invalid_input", fields: "body"},
		{name: "array", body: `[{"name":"A","email":"a@example.com"}]`, status: 400, code: "invalid_input", fields: "body"},
		{name: "string", body: `"name"`, status: 400, code: "invalid_input", fields: "body"},
		{name: "number", body: `12`, status: 400, code: "invalid_input", fields: "body"},
		{name: "null fields", body: `{"name":null,"email":null}`, status: 400, code: "invalid_input", fields: "email name"},
		{name: "wrong types", body: `{"name":5,"email":["a@example.com"]}`, status: 400, code: "invalid_input", fields: "email name"},
		{name: "type and rule at once", body: `{"name":5,"email":"nonsense"}`, status: 400, code: "invalid_input", fields: "email name"},
		{name: "everything at once", body: `{"name":" ","admin":true,"x":1}`, status: 400, code: "invalid_input", fields: "admin email name x"},
		{name: "query and body at once", path: "/users?dry_run=1", body: `{"name":""}`, status: 400, code: "invalid_input", fields: "dry_run email name"},
		{name: "unknown field", body: `{"name":"A","email":"a@example.com","id":"1"}`, status: 400, code: "invalid_input", fields: "id"},
		{name: "field in capitals", body: `{"NAME":"A","email":"a@example.com"}`, status: 400, code: "invalid_input", fields: "NAME name"},
		{name: "prototype", body: `{"name":"A","email":"a@example.com","__proto__":{}}`, status: 400, code: "invalid_input", fields: "__proto__"},
		{name: "empty key", body: `{"name":"A","email":"a@example.com","":1}`, status: 400, code: "invalid_input", fields: "(empty)"},
		{name: "blank name", body: `{"name":" \t ","email":"a@example.com"}`, status: 400, code: "invalid_input", fields: "name"},
		{name: "long name", body: `{"name":"` + long + `","email":"a@example.com"}`, status: 400, code: "invalid_input", fields: "name"},
		{name: "line break", body: `{"name":"A\nB","email":"a@example.com"}`, status: 400, code: "invalid_input", fields: "name"},
		{name: "NUL", body: `{"name":"A\u0000B","email":"a@example.com"}`, status: 400, code: "invalid_input", fields: "name"},
		{name: "line separator", body: `{"name":"A\u2028B","email":"a@example.com"}`, status: 400, code: "invalid_input", fields: "name"},
		{name: "nothing but a right-to-left override", body: `{"name":"\u202e","email":"a@example.com"}`, status: 400, code: "invalid_input", fields: "name"},
		{name: "bad e-mail", body: `{"name":"A","email":"a@b@c"}`, status: 400, code: "invalid_input", fields: "email"},
		{name: "e-mail with name", body: `{"name":"A","email":"A <a@example.com>"}`, status: 400, code: "invalid_input", fields: "email"},
		{name: "e-mail with line break", body: `{"name":"A","email":"a@example.com\nbcc:x@example.com"}`, status: 400, code: "invalid_input", fields: "email"},
		{name: "huge number", body: `{"name":1e999999,"email":"a@example.com"}`, status: 400, code: "invalid_input", fields: "name"},
		{name: "empty body", body: " ", status: 400, code: "invalid_json"},
		{name: "cut", body: `{"name":"A"`, status: 400, code: "invalid_json"},
		{name: "trailing comma", body: `{"name":"A","email":"a@example.com",}`, status: 400, code: "invalid_json"},
		{name: "trailing data", body: valid + `{}`, status: 400, code: "invalid_json"},
		{name: "trailing rubbish", body: valid + ` x`, status: 400, code: "invalid_json"},
		{name: "single quotes", body: `{'name':'A'}`, status: 400, code: "invalid_json"},
		{name: "comment", body: `{/*x*/"name":"A"}`, status: 400, code: "invalid_json"},
		{name: "NaN", body: `{"name":NaN}`, status: 400, code: "invalid_json"},
		{name: "byte order mark", body: "\ufeff" + valid, status: 400, code: "invalid_json"},
		{name: "double key", body: `{"name":"A","name":"B","email":"a@example.com"}`, status: 400, code: "invalid_json"},
		{name: "double key, escaped", body: `{"name":"A","n\u0061me":"B","email":"a@example.com"}`, status: 400, code: "invalid_json"},
		{name: "double key inside", body: `{"name":{"a":1,"a":2}}`, status: 400, code: "invalid_json"},
		{name: "raw control character", body: "{\"name\":\"A\x01\"}", status: 400, code: "invalid_json"},
		{name: "raw NUL", body: "{\"name\":\"A\x00\"}", status: 400, code: "invalid_json"},
		{name: "not UTF-8", body: "{\"name\":\"A\xff\",\"email\":\"a@example.com\"}", status: 400, code: "invalid_json"},
		{name: "overlong UTF-8", body: "{\"name\":\"A\xc0\xaf\",\"email\":\"a@example.com\"}", status: 400, code: "invalid_json"},
		{name: "UTF-16", body: "\xff\xfe{\x00}\x00", status: 400, code: "invalid_json"},
		{name: "lone high surrogate", body: `{"name":"A\ud800","email":"a@example.com"}`, status: 400, code: "invalid_json"},
		{name: "lone low surrogate", body: `{"name":"A\udc00","email":"a@example.com"}`, status: 400, code: "invalid_json"},
		{name: "swapped surrogates", body: `{"name":"\udc00\ud83d","email":"a@example.com"}`, status: 400, code: "invalid_json"},
		{name: "high surrogate and another escape", body: `{"name":"\ud83d\u0041","email":"a@example.com"}`, status: 400, code: "invalid_json"},
		{name: "deep", body: `{"name":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, status: 400, code: "invalid_json"},
		{name: "nesting bomb", body: strings.Repeat("[", 500_000), status: 400, code: "invalid_json"},
		{name: "nesting bomb of objects", body: strings.Repeat(`{"a":`, 100_000), status: 400, code: "invalid_json"},
		{name: "many fields", body: `{` + manyFields(126) + `}`, status: 400, code: "invalid_input", fields: "many"},
		{name: "too many fields", body: `{` + manyFields(128) + `}`, status: 400, code: "invalid_json"},
		{name: "too many elements", body: `{"name":[` + strings.Repeat("0,", 127) + `0]}`, status: 400, code: "invalid_json"},
		{name: "a long number", body: `{"name":` + strings.Repeat("9", 65) + `}`, status: 400, code: "invalid_json"},
		{name: "a short number that is large", body: `{"name":1e999999999}`, status: 400, code: "invalid_input", fields: "email name"},
		{name: "too many parameters", method: "GET", path: "/users?" + strings.Repeat("a&", 100), status: 400, code: "invalid_input", fields: "query"},
		{name: "many parameters", method: "GET", path: "/users?" + manyParameters(99), status: 400, code: "invalid_input", fields: "many"},
		{name: "too large", body: big, status: 413, code: "body_too_large"},
		{name: "as large as permitted without signing in", path: "/session", body: `{}` + strings.Repeat(" ", 16<<10-2), status: 400, code: "invalid_input", fields: "email password"},
		{name: "too large without signing in", path: "/session", body: `{}` + strings.Repeat(" ", 16<<10-1), status: 413, code: "body_too_large"},
		{name: "no type", body: valid, header: []string{"Content-Type", ""}, status: 415, code: "unsupported_media_type"},
		{name: "form", body: "name=A&email=a@example.com", header: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, code: "unsupported_media_type"},
		{name: "text", body: valid, header: []string{"Content-Type", "text/plain"}, status: 415, code: "unsupported_media_type"},
		{name: "JSON by another name", body: valid, header: []string{"Content-Type", "application/json-patch+json"}, status: 415, code: "unsupported_media_type"},
		{name: "other charset", body: valid, header: []string{"Content-Type", "application/json; charset=iso-8859-1"}, status: 415, code: "unsupported_media_type"},
		{name: "broken type", body: valid, header: []string{"Content-Type", "application/json; ="}, status: 415, code: "unsupported_media_type"},
		{name: "compressed", body: valid, header: []string{"Content-Encoding", "gzip"}, status: 415, code: "unsupported_media_type"},
		{name: "every field of an account", path: "/accounts", body: `{"name":"\u0001","email":"bad","role":"king","x":1}`, status: 400, code: "invalid_input", fields: "email name role x"},
		{name: "no field of an account", path: "/accounts", body: `{}`, status: 400, code: "invalid_input", fields: "email name role"},
		{name: "null fields of an account", path: "/accounts", body: `{"name":null,"email":null,"role":null}`, status: 400, code: "invalid_input", fields: "email name role"},
		{name: "every change of an account", method: "PATCH", path: "/accounts/x", body: `{"name":"\u0001","role":"king","disabled":"yes","x":1}`, status: 400, code: "invalid_input", fields: "disabled name role x"},
		{name: "no name in a change of an account", method: "PATCH", path: "/accounts/x", body: `{"role":"king"}`, status: 400, code: "invalid_input", fields: "role"},
		{name: "every field of the set-up", path: "/setup", body: `{"code":1,"name":"\u0001","email":"bad","password":"aaaaaaaaaaaa","x":1}`, status: 400, code: "invalid_input", fields: "code email name password x"},
		{name: "every field of a token", path: "/tokens", body: `{"name":"\u0001","role":"king","scopes":["users:read","all"],"expires_in_days":0,"x":1}`, status: 400, code: "invalid_input", fields: "expires_in_days name role scopes.1 x"},
		{name: "a token beyond its role", path: "/tokens", body: `{"name":"","role":"auditor","scopes":["users:write"],"x":1}`, status: 400, code: "invalid_input", fields: "name scopes x"},
		{name: "trigger missing", path: "/apply", body: `{}`, status: 400, code: "invalid_input", fields: "triggered_by"},
		{name: "trigger of the wrong type", path: "/apply", body: `{"triggered_by":{"a":1},"forced":true}`, status: 400, code: "invalid_input", fields: "forced triggered_by"},
		{name: "long trigger", path: "/apply", body: `{"triggered_by":"` + long + `"}`, status: 400, code: "invalid_input", fields: "triggered_by"},
		{name: "every field of an apply", path: "/apply", body: `{"triggered_by":"","comment":"` + strings.Repeat("ä", 1001) + `","plan":"","force":1,"dry_run":"yes","on_failure":"panic"}`, status: 400, code: "invalid_input", fields: "comment dry_run force on_failure plan triggered_by"},
		{name: "null fields of an apply", path: "/apply", body: `{"triggered_by":"a","comment":null,"plan":null,"force":null,"dry_run":null,"on_failure":null}`, status: 400, code: "invalid_input", fields: "comment dry_run force on_failure plan"},
		{name: "comment with NUL", path: "/apply", body: `{"triggered_by":"a","comment":"a\u0000b"}`, status: 400, code: "invalid_input", fields: "comment"},
		{name: "plan with quotes", path: "/apply", body: `{"triggered_by":"a","plan":"\"abc\""}`, status: 400, code: "invalid_input", fields: "plan"},
		{name: "long plan", path: "/apply", body: `{"triggered_by":"a","plan":"` + long + `"}`, status: 400, code: "invalid_input", fields: "plan"},
		{name: "restore in the body", path: "/apply", body: `{"triggered_by":"a","restore":1}`, status: 400, code: "invalid_input", fields: "restore"},
		{name: "key in the body", path: "/apply", body: `{"triggered_by":"a","idempotency_key":"k"}`, status: 400, code: "invalid_input", fields: "idempotency_key"},
		{name: "If-Match without quotes", path: "/apply", body: apply, header: []string{"If-Match", "abc"}, status: 400, code: "invalid_input", fields: "If-Match"},
		{name: "If-Match for anything", path: "/apply", body: apply, header: []string{"If-Match", "*"}, status: 400, code: "invalid_input", fields: "If-Match"},
		{name: "weak If-Match", path: "/apply", body: apply, header: []string{"If-Match", `W/"abc"`}, status: 400, code: "invalid_input", fields: "If-Match"},
		{name: "several in If-Match", path: "/apply", body: apply, header: []string{"If-Match", `"abc", "def"`}, status: 400, code: "invalid_input", fields: "If-Match"},
		{name: "empty If-Match", path: "/apply", body: apply, header: []string{"If-Match", ""}, status: 400, code: "invalid_input", fields: "If-Match"},
		{name: "long key", path: "/apply", body: apply, header: []string{"Idempotency-Key", long}, status: 400, code: "invalid_input", fields: "Idempotency-Key"},
		{name: "empty key", path: "/apply", body: apply, header: []string{"Idempotency-Key", ""}, status: 400, code: "invalid_input", fields: "Idempotency-Key"},
		{name: "key that is not ASCII", path: "/apply", body: apply, header: []string{"Idempotency-Key", "clé"}, status: 400, code: "invalid_input", fields: "Idempotency-Key"},
		{name: "key that is not UTF-8", path: "/apply", body: apply, header: []string{"Idempotency-Key", "a\xff"}, status: 400, code: "invalid_input", fields: "Idempotency-Key"},
		{name: "key with a tab", path: "/apply", body: apply, header: []string{"Idempotency-Key", "a\tb"}, status: 400, code: "invalid_input", fields: "Idempotency-Key"},
		{name: "headers and fields at once", path: "/apply?x=1", body: `{}`, header: []string{"Idempotency-Key", "é", "If-Match", "x", "Prefer", strings.Repeat("x", 1001)}, status: 400, code: "invalid_input", fields: "Idempotency-Key If-Match Prefer triggered_by x"},
		{name: "restore without a trigger", path: "/apply/revisions/1/restore", body: `{"dry_run":7}`, header: []string{"If-Match", "x"}, status: 400, code: "invalid_input", fields: "If-Match dry_run triggered_by"},
		{name: "restore by GET", method: "GET", path: "/apply/revisions/1/restore", status: 405, code: "method_not_allowed"},
		{name: "plan by POST", path: "/apply/plan", body: apply, status: 405, code: "method_not_allowed"},
		{name: "plan with a parameter", method: "GET", path: "/apply/plan?restore=1", status: 400, code: "invalid_input", fields: "restore"},
		{name: "long If-None-Match", method: "GET", path: "/apply/plan", header: []string{"If-None-Match", strings.Repeat("x", 1001)}, status: 400, code: "invalid_input", fields: "If-None-Match"},
		{name: "revision cursor", method: "GET", path: "/apply/revisions?cursor=0", status: 400, code: "invalid_input", fields: "cursor"},
		{name: "revision cursor of another form", method: "GET", path: "/apply/revisions?cursor=07", status: 400, code: "invalid_input", fields: "cursor"},
		{name: "revision cursor beyond 32 bits", method: "GET", path: "/apply/revisions?cursor=4294967297", status: 400, code: "invalid_input", fields: "cursor"},
		{name: "revision limit", method: "GET", path: "/apply/revisions?limit=501", status: 400, code: "invalid_input", fields: "limit"},
		{name: "against 0", method: "GET", path: "/apply/revisions/1/diff?against=0", status: 400, code: "invalid_input", fields: "against"},
		{name: "against a word", method: "GET", path: "/apply/revisions/1/diff?against=database", status: 400, code: "invalid_input", fields: "against"},
		{name: "last event in words", method: "GET", path: "/apply/runs/x/events", header: []string{"Last-Event-ID", "first"}, status: 400, code: "invalid_input", fields: "Last-Event-ID"},
		{name: "last event below 0", method: "GET", path: "/apply/runs/x/events", header: []string{"Last-Event-ID", "-1"}, status: 400, code: "invalid_input", fields: "Last-Event-ID"},
		{name: "last event beyond 64 bits", method: "GET", path: "/apply/runs/x/events", header: []string{"Last-Event-ID", "99999999999999999999"}, status: 400, code: "invalid_input", fields: "Last-Event-ID"},
		{name: "limit 0", method: "GET", path: "/users?limit=0", status: 400, code: "invalid_input", fields: "limit"},
		{name: "limit 501", method: "GET", path: "/users?limit=501", status: 400, code: "invalid_input", fields: "limit"},
		{name: "limit of another form", method: "GET", path: "/users?limit=%2B5", status: 400, code: "invalid_input", fields: "limit"},
		{name: "limit in words", method: "GET", path: "/users?limit=all", status: 400, code: "invalid_input", fields: "limit"},
		{name: "limit beyond 64 bits", method: "GET", path: "/users?limit=99999999999999999999", status: 400, code: "invalid_input", fields: "limit"},
		{name: "empty limit", method: "GET", path: "/users?limit=", status: 400, code: "invalid_input", fields: "limit"},
		{name: "two limits", method: "GET", path: "/users?limit=1&limit=2", status: 400, code: "invalid_input", fields: "limit"},
		{name: "bad cursor", method: "GET", path: "/users?cursor=9", status: 400, code: "invalid_input", fields: "cursor"},
		{name: "cursor with SQL", method: "GET", path: "/users?cursor=1000'--", status: 400, code: "invalid_input", fields: "cursor"},
		{name: "empty cursor", method: "GET", path: "/users?cursor=", status: 400, code: "invalid_input", fields: "cursor"},
		{name: "long q", method: "GET", path: "/users?q=" + long, status: 400, code: "invalid_input", fields: "q"},
		{name: "q not UTF-8", method: "GET", path: "/users?q=%ff", status: 400, code: "invalid_input", fields: "q"},
		{name: "q with NUL", method: "GET", path: "/users?q=%00", status: 400, code: "invalid_input", fields: "q"},
		{name: "unknown parameters", method: "GET", path: "/users?page=2&offset=3", status: 400, code: "invalid_input", fields: "offset page"},
		{name: "broken query", method: "GET", path: "/users?q=%zz", status: 400, code: "invalid_input", fields: "query"},
		{name: "semicolon", method: "GET", path: "/users?limit=1;cursor=2", status: 400, code: "invalid_input", fields: "query"},
		{name: "parameter where there is none", method: "GET", path: "/health?verbose=1", status: 400, code: "invalid_input", fields: "verbose"},
		{name: "log cursor", method: "GET", path: "/apply/logs?cursor=yesterday", status: 400, code: "invalid_input", fields: "cursor"},
		{name: "log limit", method: "GET", path: "/apply/logs?limit=-1", status: 400, code: "invalid_input", fields: "limit"},
		{name: "no such path", method: "GET", path: "/admin", status: 404, code: "path_not_found"},
		{name: "root", method: "GET", path: "/", status: 404, code: "path_not_found"},
		{name: "trailing slash", method: "GET", path: "/users/", status: 404, code: "path_not_found"},
		{name: "double slash", method: "GET", path: "//users", status: 404, code: "path_not_found"},
		{name: "way up", method: "GET", path: "/docs/../users", status: 404, code: "path_not_found"},
		{name: "way up, escaped", method: "GET", path: "/docs/..%2f..%2fetc%2fpasswd", status: 404, code: "path_not_found"},
		{name: "way up, escaped dots", method: "GET", path: "/docs/%2e%2e/users", status: 404, code: "path_not_found"},
		{name: "another file", method: "GET", path: "/docs/index.html", status: 404, code: "path_not_found"},
		{name: "put", method: "PUT", path: "/users", body: valid, status: 405, code: "method_not_allowed"},
		{name: "get apply", method: "GET", path: "/apply", status: 405, code: "method_not_allowed"},
		{name: "delete all", method: "DELETE", path: "/users", status: 405, code: "method_not_allowed"},
		{name: "trace", method: "TRACE", path: "/users", status: 405, code: "method_not_allowed"},
		{name: "invented method", method: "FROB", path: "/users", status: 405, code: "method_not_allowed"},
		{name: "post to health", method: "POST", path: "/health", body: `{}`, status: 405, code: "method_not_allowed"},
		{name: "method override", method: "GET", path: "/apply", header: []string{"X-HTTP-Method-Override", "POST"}, status: 405, code: "method_not_allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.method == "" {
				c.method = "POST"
			}
			if c.path == "" {
				c.path = "/users"
			}
			a := p.do(c.method, c.path, c.body, c.header...)
			if a.status != c.status || a.code() != c.code {
				t.Fatalf("%d %.500s", a.status, a.text)
			}
			switch got := a.fields(); {
			case c.fields == "many" && (len(got) != 51 || got[50] != "…"): // of all, the first 50, and the number of the others
				t.Errorf("%d fields: %.500s", len(got), a.text)
			case c.fields != "many" && strings.Join(got, " ") != c.fields:
				t.Errorf("fields %q, want %q: %.500s", got, c.fields, a.text)
			}
			if len(a.text) > 20_000 {
				t.Errorf("an answer of %d bytes", len(a.text))
			}
		})
	}
	if a := p.do("GET", "/users", ""); a.text != "{\"users\":[]}\n" {
		t.Errorf("something slipped through: %s", a.text)
	}
	if a := p.do("GET", "/apply/logs", ""); a.text != "{\"logs\":[]}\n" {
		t.Errorf("something slipped through: %s", a.text)
	}
}

func manyFields(n int) string {
	fields := make([]string, n)
	for i := range fields {
		fields[i] = fmt.Sprintf(`"f%d":0`, i)
	}
	return strings.Join(fields, ",")
}

func manyParameters(n int) string {
	parameters := make([]string, n)
	for i := range parameters {
		parameters[i] = fmt.Sprintf("p%d=0", i)
	}
	return strings.Join(parameters, "&")
}

func TestUnusualButValidRequestsAreAccepted(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	names := []string{
		"O'Brien; DROP TABLE users", "李小龙", "محمد", "👩‍👩‍👧 Family", strings.Repeat("😀", 255), `<script>alert("x")</script>`, "A\\ud800", strings.Repeat(" ", 300) + "Anna",
	}
	for i, name := range names {
		a := p.create(name, fmt.Sprintf("user%d@example.com", i))
		if a.json["name"] != strings.TrimSpace(name) {
			t.Errorf("%q came back as %q", name, a.json["name"])
		}
	}
	for i, body := range []string{
		`{"name":"\ud83d\ude00 \\ud800 \\\\","email":"esc0@example.com"}`, "\n\t {\"email\" : \"esc1@example.com\",\r\n\"name\":\"A\\/B\"} \n",
		`{"name":"` + strings.Repeat(" ", 1<<20-50) + `A","email":"esc2@example.com"}`,
	} {
		if a := p.do("POST", "/users", body, "Content-Type", `APPLICATION/json; Charset="utf-8"`, "Content-Encoding", "identity"); a.status != 201 {
			t.Errorf("%d: %d %.300s", i, a.status, a.text)
		}
	}
}

func TestADuplicateHeaderIsRefused(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	for _, name := range []string{"If-Match", "Idempotency-Key", "Prefer"} {
		r, err := http.NewRequest("POST", p.url+"/apply", strings.NewReader(`{"triggered_by":"admin"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Content-Type": {"application/json"}, name: {`"a"`, `"b"`}}
		resp, err := p.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 400 {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
}

func TestABodyIsMeasuredAlsoWithoutALength(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	r, err := http.NewRequest("POST", p.url+"/users", io.MultiReader(strings.NewReader(`{"name":"`), strings.NewReader(strings.Repeat("x", 2<<20))))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := p.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 413 {
		t.Error(resp.Status)
	}
}

func TestTheFaultOfABodyIsShownWithItsPlace(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	for body, want := range map[string]string{
		"{\n  \"name\": 'A'\n}":             "line 2, column 11: invalid character '\\''",
		"{\"näme\": \"ö\", ]":               "line 1, column 15: invalid character ']'",
		"{\"name\":\"A\xff\"}":              "line 1, column 11: not valid UTF-8",
		`{"name":"A\ud800"}`:                "line 1, column 11: an unpaired surrogate",
		"{\"name\":\"A\",\n\"name\":\"B\"}": `line 2, column 6: the key "name" occurs twice`,
		"\ufeff{\"name\":\"A\"}":            "line 1, column 1: a byte order mark (U+FEFF)",
		`{"name":`:                          "unexpected end of JSON input",
	} {
		a := p.do("POST", "/users", body)
		if detail, _ := a.json["detail"].(string); !strings.Contains(detail, want) {
			t.Errorf("%q: %s", body, detail)
		}
	}
}

func TestMethodsAPathHasAreListed(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	for path, want := range map[string]string{
		"/users": "GET, HEAD, POST, OPTIONS", "/apply": "POST, OPTIONS", "/users/x": "DELETE, GET, HEAD, OPTIONS", "/health": "GET, HEAD, OPTIONS",
	} {
		a := p.do("OPTIONS", path, "")
		if a.status != 204 || a.header.Get("Allow") != want {
			t.Errorf("OPTIONS %s: %d %q", path, a.status, a.header.Get("Allow"))
		}
		if got := a.header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("other origins are let in: %s", got)
		}
		a = p.do("PATCH", path, "")
		if a.status != 405 || a.header.Get("Allow") != want {
			t.Errorf("PATCH %s: %d %q", path, a.status, a.header.Get("Allow"))
		}
	}
	if a := p.do("OPTIONS", "/nowhere", ""); a.status != 404 {
		t.Errorf("%d %s", a.status, a.text)
	}
}

func TestARequestIDIsTakenOnlyIfItCanDoNoHarm(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	for id, keep := range map[string]bool{
		"abc-123._X": true, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false, "a b": false, "a\"b": false, "é": false, "<x>": false,
	} {
		if got := p.do("GET", "/health", "", "X-Request-Id", id).header.Get("X-Request-Id"); (got == id) != keep || got == "" {
			t.Errorf("%q became %q", id, got)
		}
	}
}

func TestRawNonsenseGetsNoAnswerOfOurs(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	for name, c := range map[string]struct{ text, status string }{
		"smuggling":       {"POST /users HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", "50"},
		"two lengths":     {"POST /users HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", "400"},
		"no host":         {"GET /users HTTP/1.1\r\n\r\n", "400"},
		"header too long": {"GET /users HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", "431"},
		"asterisk form":   {"GET * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "40"},
		"connect":         {"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\nConnection: close\r\n\r\n", "40"},
		"other host":      {"GET http://example.com/users/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "421"},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, c.text) // the server may hang up before it has read all
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 "+c.status) {
			t.Errorf("%s: %q %v", name, line, err)
		}
		_ = conn.Close()
	}
	if !slices.Contains([]int{200}, p.do("GET", "/health", "").status) {
		t.Error("the server no longer answers")
	}
}
