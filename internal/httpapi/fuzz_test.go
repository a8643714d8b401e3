package httpapi_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/httpapi/apitest"
	"github.com/synergycall/pbxportal/internal/live"
)

// FuzzRequest sends whatever it can think of through the whole handler, as it would arrive. Whatever it is, the answer keeps to the contract
// and is no fault of ours; and without a token that holds it is nothing that a stranger must not have.
func FuzzRequest(f *testing.F) {
	for _, r := range routes(f) {
		f.Add(r.method, r.path, "Content-Type: application/json\r\n", r.body, true)
		f.Add(r.method, r.path, "Authorization: Bearer pbx_x_y\r\nCookie: pbxportal=x\r\n", r.body, false)
	}
	for _, c := range []struct{ method, target, header, body string }{
		{"GET", "/users?limit=5&cursor=1000&q=%ff", "X-Request-Id: <x>\r\n", ""},
		{"POST", "/apply", "Content-Type: application/json\r\nIf-Match: \"x\"\r\nIdempotency-Key: k\r\nPrefer: respond-async\r\n", `{"triggered_by":"a","dry_run":true}`},
		{"POST", "/users", "Content-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n", "5\r\n{\"a\":\r\n0\r\n\r\n"},
		{"GET", "http://evil.example/users", "Sec-Fetch-Site: cross-site\r\nOrigin: null\r\n", ""},
		{"OPTIONS", "*", "Access-Control-Request-Method: POST\r\n", ""},
		{"CONNECT", "localhost:80", "", ""},
		{"GET", "/docs/..%2f..%2fetc%2fpasswd", "Accept-Encoding: gzip\r\nRange: bytes=0-1\r\n", ""},
		{"HEAD", "//users/%00", "Expect: 100-continue\r\nX-Forwarded-For: ::1, ,\r\nX-Forwarded-Proto: https\r\n", ""},
		{"GET", "/app/%2e%2e/users", "Last-Event-ID: 99999999999999999999\r\n", ""},
	} {
		f.Add(c.method, c.target, c.header, c.body, true)
		f.Add(c.method, c.target, c.header, c.body, false)
	}
	over := live.New(live.Config{Now: time.Now, Log: slog.New(slog.DiscardHandler)}) // so that its streams have an end
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	_ = over.Run(ctx)
	p := newUnserved(f, func(c *httpapi.Config) { c.Live = over })
	contract := contract(f)
	f.Fuzz(func(t *testing.T, method, target, header, body string, signedIn bool) {
		text := method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n" + header + "\r\n" + body
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil { // the server would hang up
			return
		}
		r.RemoteAddr = here
		if r.ContentLength == 0 && body != "" && r.TransferEncoding == nil {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		}
		if r = r.WithContext(t.Context()); signedIn {
			r.Header.Set("Authorization", "Bearer "+p.token)
		}
		asked := &http.Request{Method: r.Method, URL: &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath}}
		rec := httptest.NewRecorder()
		p.handler.ServeHTTP(rec, r)
		p.handler.Wait()
		resp := rec.Result()
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusInternalServerError {
			t.Errorf("a fault of ours: %s\n%s", answer, p.log)
		}
		if err := apitest.Check(contract, asked, resp, answer); err != nil {
			t.Errorf("the contract is broken: %v\n%d %s", err, resp.StatusCode, answer)
		}
		if op := apitest.Find(contract, asked); !signedIn && resp.StatusCode < 400 && method != http.MethodOptions && (op == nil || op.Extensions["x-permission"] != "public") {
			t.Errorf("%s %s is open to anyone: %d %s", method, target, resp.StatusCode, answer)
		}
		if strings.Contains(string(answer), p.token) || strings.Contains(p.log.String(), p.token) {
			t.Error("the token is shown")
		}
		p.log.Reset()
	})
}

// FuzzNoForgedProofOpensTheGate sends headers with forged credentials: TOKEN and SESSION in them are replaced by an API token and a session
// that hold, so that it begins near to them. In it comes with exactly one of these where it belongs, and with nothing else.
func FuzzNoForgedProofOpensTheGate(f *testing.F) {
	for _, seed := range []struct{ authorization, cookie, site string }{
		{"", "", ""},
		{"Bearer TOKEN", "", ""},
		{"bearer TOKEN", "pbxportal=x", "cross-site"},
		{"", "pbxportal=SESSION", ""},
		{"", "a=b; pbxportal=SESSION", "same-origin"},
		{"Bearer TOKENA", "", ""},
		{"Bearer TOKEN\nBearer TOKEN", "", ""},
		{"Basic TOKEN", "", ""},
		{"Bearer SESSION", "", ""},
		{"Bearer pbx_IDENTITY_" + strings.Repeat("A", 52), "", ""},
		{"Bearer  TOKEN", "pbxportal=SESSION", ""},
		{"", "pbxportal=SESSION; pbxportal=SESSION", ""},
		{"", "pbxportal=TOKEN", ""},
		{"", "__Host-pbxportal=SESSION", ""},
		{"", "pbxportal=\"SESSION\"", "none"},
		{"", "pbxportal=SESSION=", ""},
		{"", "pbxportal=" + strings.Repeat("A", 43), ""},
		{"", "pbxportal =SESSION\npbxportal=SESSION", ""},
	} {
		f.Add(seed.authorization, seed.cookie, seed.site, false)
		f.Add(seed.authorization, seed.cookie, seed.site, true)
	}
	p := newUnserved(f)
	session := p.session().Token.Reveal()
	now := time.Now().Add(time.Second) // and stands, so that the session does not end meanwhile
	p = newUnserved(f, func(c *httpapi.Config) {
		c.Auth = auth.New(auth.Config{Store: p.store, Now: func() time.Time { return now }, HashMemory: 64})
		c.Log = slog.New(slog.DiscardHandler)
	}).as(p.token)
	fill := strings.NewReplacer("TOKEN", p.token, "SESSION", session, "IDENTITY", strings.Split(p.token, "_")[1])
	f.Fuzz(func(t *testing.T, authorization, cookie, site string, secure bool) {
		name, url := "pbxportal", "http://localhost/session"
		if secure {
			name, url = "__Host-pbxportal", "https://localhost/session"
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		r.RemoteAddr = here
		authorizations, cookies := lines(fill.Replace(authorization)), lines(fill.Replace(cookie))
		r.Header["Authorization"], r.Header["Cookie"], r.Header["Sec-Fetch-Site"] = authorizations, cookies, lines(site)
		rec := httptest.NewRecorder()
		p.handler.ServeHTTP(rec, r)
		in := rec.Code == http.StatusOK
		byToken := len(authorizations) == 1 && strings.EqualFold(authorizations[0], "Bearer "+p.token) && strings.HasSuffix(authorizations[0], p.token)
		bySession := len(authorizations) == 0 && holdsCookie(cookies, name, session) && (site == "" || site == "same-origin" || site == "none")
		switch {
		case in && !byToken && !bySession:
			t.Errorf("%q and %q from %q were let in: %s", authorizations, cookies, site, rec.Body)
		case !in && (byToken || bySession && len(cookies) == 1 && cookies[0] == name+"="+session):
			t.Errorf("%q and %q from %q were not let in: %d %s", authorizations, cookies, site, rec.Code, rec.Body)
		case !in && rec.Code != http.StatusUnauthorized:
			t.Errorf("%q and %q from %q: %d %s", authorizations, cookies, site, rec.Code, rec.Body)
		}
	})
}

// lines returns the lines of a text, none for the empty one.
func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// holdsCookie reports whether headers have a cookie with this name and value, in quotes or not.
func holdsCookie(headers []string, name, value string) bool {
	for _, h := range headers {
		for c := range strings.SplitSeq(h, ";") {
			if n, v, _ := strings.Cut(strings.TrimSpace(c), "="); strings.TrimSpace(n) == name && strings.Trim(v, `"`) == value {
				return true
			}
		}
	}
	return false
}
