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
