package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/httpapi/apitest"
)

// route is an operation of the contract as a request: parameters and body are the contract's examples.
type route struct {
	operation    string // the method and the path in the contract
	method, body string
	prefix, path string // path includes the prefix
	permission   string
}

// routes returns a request for every operation of the contract, under each of its prefixes.
func routes(t testing.TB) []route {
	t.Helper()
	var all []route
	for path, item := range contract(t).Paths.Map() {
		for method, op := range item.Operations() {
			r := route{operation: method + " " + path, method: method, path: path}
			r.permission, _ = op.Extensions["x-permission"].(string)
			for _, p := range append(openapi3.Parameters{}, append(item.Parameters, op.Parameters...)...) {
				if p.Value.In == openapi3.ParameterInPath {
					r.path = strings.ReplaceAll(r.path, "{"+p.Value.Name+"}", fmt.Sprint(p.Value.Example))
				}
			}
			if op.RequestBody != nil {
				r.body = example(t, op.RequestBody.Value.GetMediaType("application/json"))
			}
			path := r.path
			for _, r.prefix = range apitest.Prefixes(contract(t), item, op) {
				r.path = r.prefix + path
				all = append(all, r)
			}
		}
	}
	if len(all) < 15 {
		t.Fatalf("the contract has %d operations only: are they still found?", len(all))
	}
	return all
}

// example returns one of the examples of a body.
func example(t testing.TB, media *openapi3.MediaType) string {
	t.Helper()
	for _, e := range media.Examples {
		return marshal(t, e.Value.Value)
	}
	return marshal(t, media.Example)
}

// request asks the handler of a portal directly, as if from an address, and holds the answer against the contract.
func (p *portal) request(from, method, url, body string, header ...string) answer {
	p.t.Helper()
	ctx := p.t.Context()
	if strings.HasSuffix(url, "/live/events") { // which has no end
		brief, leave := context.WithTimeout(ctx, 100*time.Millisecond)
		defer leave()
		ctx = brief
	}
	r := httptest.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	r.RemoteAddr = from
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	if body != "" && r.Header["Content-Type"] == nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if p.token != "" && r.Header.Get("Authorization") == "" {
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	rec := httptest.NewRecorder()
	p.handler.ServeHTTP(rec, r)
	resp := rec.Result()
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := apitest.Check(contract(p.t), r, resp, text); err != nil {
		p.t.Errorf("%s %s broke the contract: %v\nanswer: %d %s", method, url, err, resp.StatusCode, text)
	}
	return newAnswer(resp, text)
}

const (
	here  = "127.0.0.1:40000"    // this machine
	there = "192.0.2.66:40000"   // another one
	proxy = "198.51.100.1:40000" // a proxy, trusted where a test says so
)

func TestThePortalAnswersOnlyToItsOwnNames(t *testing.T) {
	t.Parallel()
	p := newUnserved(t, func(c *httpapi.Config) {
		c.Edge = httpapi.Edge{Hosts: []string{"Pbx.Example.com", "192.0.2.7", "2001:db8::7"}, Origin: "https://portal.example.org:8443"}
	})
	for host, ours := range map[string]bool{
		"localhost": true, "localhost:8000": true, "LocalHost.": true, "127.0.0.1:1": true, "[::1]:8000": true, "[::1]": true,
		"pbx.example.com": true, "PBX.example.com:443": true, "pbx.example.com.:443": true, "192.0.2.7": true, "[2001:db8::7]:8000": true,
		"portal.example.org": true, "portal.example.org:8443": true,
		"rebind.example.net": false, "localhost.example.net": false, "example.com": false, "a.pbx.example.com": false, "192.0.2.8": false,
		"127.0.0.1.example.net": false, "0.0.0.0": false, "[::]": false, "2130706433": false, "": false, "pbx.example.com:80:80": false, "localhost..": false,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/health", nil)
		r.Host, r.RemoteAddr = host, here
		rec := httptest.NewRecorder()
		p.handler.ServeHTTP(rec, r)
		if want := map[bool]int{true: http.StatusOK, false: http.StatusMisdirectedRequest}[ours]; rec.Code != want {
			t.Errorf("%q: %d %s", host, rec.Code, rec.Body)
		}
	}
}

func TestNoRouteAnswersToAnotherName(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	for _, r := range routes(t) {
		a := p.request(here, r.method, "http://rebind.example.net"+r.path, r.body)
		if a.status != 421 || a.code() != "host_not_allowed" || !strings.Contains(a.text, "ALLOWED_HOSTS") {
			t.Errorf("%s: %d %s", r.operation, a.status, a.text)
		}
	}
}

func TestNoRouteAcceptsACrossSiteChange(t *testing.T) {
	t.Parallel()
	p := newUnserved(t)
	for name, header := range map[string][]string{
		"another site":                      {"Sec-Fetch-Site", "cross-site"},
		"another port":                      {"Sec-Fetch-Site", "same-site", "Origin", "http://localhost:3000"},
		"an older browser":                  {"Origin", "http://evil.example"},
		"an older browser, another port":    {"Origin", "http://localhost:3000"},
		"a page without an origin":          {"Origin", "null"},
		"a browser that says something new": {"Sec-Fetch-Site", "sideways"},
	} {
		for _, r := range routes(t) {
			a := p.request(here, r.method, "http://localhost:8000"+r.path, r.body, header...)
			if changes := r.method != http.MethodGet; changes != (a.status == 403 && a.code() == "cross_origin") {
				t.Errorf("%s, %s: %d %s", r.operation, name, a.status, a.text)
			}
		}
	}
	if a := p.request(here, "GET", "http://localhost/users", ""); a.text != "{\"users\":[]}\n" {
		t.Errorf("something was created: %s", a.text)
	}
}

func TestThePortalsOwnPagesMayChangeThings(t *testing.T) {
	t.Parallel()
	p := newUnserved(t, func(c *httpapi.Config) { c.Edge.Origin = "https://pbx.example.com" })
	for i, c := range []struct {
		url    string
		header []string
	}{
		{"http://localhost:8000/users", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://localhost:8000"}},
		{"http://localhost:8000/users", []string{"Sec-Fetch-Site", "none"}},
		{"http://localhost:8000/users", []string{"Origin", "http://localhost:8000"}},
		{"http://localhost:8000/users", []string{"Origin", "https://pbx.example.com"}}, // behind a proxy that asks us by another name
		{"http://localhost:8000/users", nil},                                           // a program
	} {
		a := p.request(here, "POST", c.url, fmt.Sprintf(`{"name":"Anna","email":"anna%d@example.com"}`, i), c.header...)
		if a.status != 201 {
			t.Errorf("%v: %d %s", c.header, a.status, a.text)
		}
	}
}

func TestProxyHeadersAreAcceptedOnlyFromTrustedProxies(t *testing.T) {
	t.Parallel()
	p := newUnserved(t, func(c *httpapi.Config) {
		c.Edge.Proxies = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	})
	for name, c := range map[string]struct {
		peer   string
		header []string
		from   string
		secure bool
	}{
		"nobody between":                         {there, nil, "192.0.2.66", false},
		"a stranger who claims to be a proxy":    {there, []string{"X-Forwarded-For", "203.0.113.5", "X-Forwarded-Proto", "https"}, "192.0.2.66", false},
		"a stranger on this machine":             {here, []string{"X-Forwarded-For", "203.0.113.5", "X-Forwarded-Proto", "https"}, "127.0.0.1", false},
		"a proxy":                                {proxy, []string{"X-Forwarded-For", "203.0.113.5", "X-Forwarded-Proto", "https"}, "203.0.113.5", true},
		"a proxy that says nothing":              {proxy, nil, "198.51.100.1", false},
		"a proxy, unencrypted":                   {proxy, []string{"X-Forwarded-For", "203.0.113.5", "X-Forwarded-Proto", "http"}, "203.0.113.5", false},
		"a client who lies to a proxy":           {proxy, []string{"X-Forwarded-For", "127.0.0.1, 203.0.113.5", "X-Forwarded-Proto", "https"}, "203.0.113.5", true},
		"a client who lies in a line of its own": {proxy, []string{"X-Forwarded-For", "127.0.0.1", "X-Forwarded-For", "203.0.113.5"}, "203.0.113.5", false},
		"a client who lies of encryption":        {proxy, []string{"X-Forwarded-Proto", "https", "X-Forwarded-Proto", "http"}, "198.51.100.1", false},
		"two proxies":                            {proxy, []string{"X-Forwarded-For", "203.0.113.5, 198.51.100.9"}, "203.0.113.5", false},
		"proxies only":                           {proxy, []string{"X-Forwarded-For", "198.51.100.7, 198.51.100.9"}, "198.51.100.7", false},
		"nonsense":                               {proxy, []string{"X-Forwarded-For", "unknown"}, "198.51.100.1", false},
		"with a port":                            {proxy, []string{"X-Forwarded-For", "203.0.113.5:1234"}, "203.0.113.5", false},
		"IPv6":                                   {"[2001:db8::1]:1", []string{"X-Forwarded-For", "[2001:db9::5]:77"}, "2001:db9::5", false},
		"IPv4 within IPv6":                       {"[::ffff:198.51.100.1]:1", []string{"X-Forwarded-For", "::ffff:203.0.113.5"}, "203.0.113.5", false},
		"another header":                         {proxy, []string{"X-Real-Ip", "203.0.113.5", "Forwarded", "for=203.0.113.5;proto=https", "X-Remote-User", "admin"}, "198.51.100.1", false},
	} {
		p.log.Reset()
		a := p.request(c.peer, "GET", "http://localhost/users", "", c.header...)
		if !strings.Contains(p.log.String(), `"from":"`+c.from+`"`) || (a.header.Get("Strict-Transport-Security") != "") != c.secure {
			t.Errorf("%s: encrypted %q, log %s", name, a.header.Get("Strict-Transport-Security"), p.log)
		}
	}
}

func TestUnencryptedRemoteRequestsAreRefusedOnEveryRoute(t *testing.T) {
	t.Parallel()
	p := newUnserved(t, func(c *httpapi.Config) { c.Edge.Proxies = []netip.Prefix{netip.MustParsePrefix("198.51.100.1/32")} })
	for _, r := range routes(t) {
		for _, c := range []struct {
			from, scheme string
			header       []string
			refused      bool
		}{
			{there, "http", nil, true},
			{there, "http", []string{"X-Forwarded-Proto", "https", "X-Forwarded-For", "127.0.0.1"}, true},
			{there, "https", nil, false},
			{here, "http", nil, false},
			{proxy, "http", []string{"X-Forwarded-Proto", "http", "X-Forwarded-For", "192.0.2.66"}, true},
			{proxy, "http", []string{"X-Forwarded-For", "192.0.2.66"}, true},
			{proxy, "http", []string{"X-Forwarded-Proto", "https", "X-Forwarded-For", "192.0.2.66"}, false},
			{proxy, "http", nil, false}, // it looks whether we are well
		} {
			a := p.request(c.from, r.method, c.scheme+"://localhost"+r.path, r.body, c.header...)
			if (a.status == 403 && a.code() == "tls_needed") != c.refused {
				t.Errorf("%s from %s by %s with %v: %d %s", r.operation, c.from, c.scheme, c.header, a.status, a.text)
			}
		}
	}
}

func TestAnAddressThatAsksTooFastHasToWaitAndOthersHaveNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newUnserved(t, func(c *httpapi.Config) { c.Edge.Limits.Requests = httpapi.Pace{PerSecond: 0.5, Burst: 3} })
		defer p.store.Close()
		ask := func(from string) answer { return p.request(from, "GET", "https://localhost/docs", "") }
		for range 3 {
			if a := ask(there); a.status != 200 {
				t.Fatalf("%d %s", a.status, a.text)
			}
		}
		if a := ask("192.0.2.66:50000"); a.status != 429 || a.code() != "too_many_requests" || a.header.Get("Retry-After") != "2" {
			t.Errorf("%d %v %s", a.status, a.header, a.text)
		}
		for _, other := range []string{"192.0.2.67:40000", here, here, here, here, "[::1]:1", "[::1]:1", "[::1]:1", "[::1]:1"} {
			if a := ask(other); a.status != 200 {
				t.Errorf("%s: %d %s", other, a.status, a.text)
			}
		}
		for i := range 4 { // a host with one IPv6 address has 2⁶⁴
			if a := ask(fmt.Sprintf("[2001:db8::%d]:1", i+1)); (a.status == 200) != (i < 3) {
				t.Errorf("address %d of a network: %d %s", i, a.status, a.text)
			}
		}
		<-time.After(2 * time.Second)
		if a := ask(there); a.status != 200 {
			t.Errorf("after the time it was told: %d %s", a.status, a.text)
		}
		if a := ask(there); a.status != 429 {
			t.Errorf("and once more: %d %s", a.status, a.text)
		}
	})
}

func TestTheMemoryOfLimitsHasABound(t *testing.T) {
	t.Parallel()
	b := httpapi.NewBuckets(httpapi.Pace{PerSecond: 1, Burst: 2}, time.Now)
	addr := netip.MustParseAddr("10.0.0.0")
	for range 100_000 {
		b.Take(addr)
		addr = addr.Next()
	}
	if n := b.Remembered(); n > 8192 {
		t.Errorf("%d addresses are remembered", n)
	}
	last := addr.Prev()
	if wait := b.Take(last); wait > 0 {
		t.Errorf("the second of two has to wait for %s", wait)
	}
	if wait := b.Take(last); wait == 0 {
		t.Error("an address seen a moment ago was forgotten")
	}
}

func TestConcurrentRequestsOfAKindAreLimited(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	p := newPortal(t, func(c *httpapi.Config) {
		c.Edge.Limits.InFlight = 2
		c.Health = holding(c.Health, entered, leave)
	})
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() { p.do("GET", "/health", "") })
		<-entered
	}
	if a := p.do("GET", "/health", ""); a.status != 429 || a.code() != "too_many_requests" || a.header.Get("Retry-After") != "1" {
		t.Errorf("%d %s", a.status, a.text)
	}
	for _, path := range []string{"/users", "/docs", "/setup"} { // which have places of their own
		if a := p.do("GET", path, ""); a.status != 200 {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
	}
	close(leave)
	all.Wait()
	go func() { <-entered }()
	if a := p.do("GET", "/health", ""); a.status != 200 {
		t.Errorf("afterwards: %d %s", a.status, a.text)
	}
}

func TestConcurrentStreamsAreLimited(t *testing.T) {
	t.Parallel()
	p := newPortal(t, func(c *httpapi.Config) { c.Edge.Limits.InFlight = 2 })
	p.create("Anna", "anna@example.com")
	release, first := p.holdApply()
	streams := []*events{p.follow(t.Context(), p.lastRun()), p.follow(t.Context(), p.lastRun())}
	for _, s := range streams {
		s.until("plan")
	}
	if a := p.do("GET", "/live/events", ""); a.status != 429 || a.code() != "too_many_requests" {
		t.Errorf("a third stream: %d %s", a.status, a.text)
	}
	if a := p.do("GET", "/users", ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.text)
	}
	release()
	if a := <-first; a.status != 200 {
		t.Errorf("%d %s", a.status, a.text)
	}
	for _, s := range streams {
		s.until("done")
		_ = s.resp.Body.Close()
	}
}

func TestOneAddressCannotTakeAllThePlaces(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	p := newUnserved(t, func(c *httpapi.Config) {
		c.Edge.Limits.InFlight = 8
		c.Health = holding(c.Health, entered, leave)
	})
	var all sync.WaitGroup
	ask := func(from string) {
		all.Go(func() {
			if a := p.request(from, "GET", "https://localhost/health", ""); a.status != 200 {
				t.Errorf("%s: %d %s", from, a.status, a.text)
			}
		})
		<-entered
	}
	ask(there)
	ask(there)
	if a := p.request(there, "GET", "https://localhost/health", ""); a.status != 429 {
		t.Errorf("a third: %d %s", a.status, a.text)
	}
	ask(here)
	ask("192.0.2.67:1")
	close(leave)
	all.Wait()
	ask(there)
	all.Wait()
}
