package httpapi_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/httpapi"
)

// rule is one thing that a scanner of web applications looks for in every answer, without attacking. It says what is wrong, "" when
// nothing is. The names are those under which scanners report it.
type rule struct {
	name string
	look func(a answer, r route, encrypted bool) string
}

func passiveRules() []rule {
	header := func(name, want string) func(answer, route, bool) string {
		return func(a answer, _ route, _ bool) string {
			if got := a.header.Values(name); len(got) != 1 || got[0] != want {
				return fmt.Sprintf("%s is %q", name, got)
			}
			return ""
		}
	}
	body := func(pattern string) func(answer, route, bool) string {
		re := regexp.MustCompile(pattern)
		return func(a answer, r route, _ bool) string {
			if a.status == 200 && (strings.HasPrefix(r.operation, "GET /docs/") || strings.HasPrefix(r.operation, "GET /openapi") || r.operation == "GET /metrics") { // published texts, and Go's own names of figures
				return ""
			}
			return re.FindString(a.text)
		}
	}
	beyond := func(path string, look func(answer, route, bool) string) func(answer, route, bool) string {
		return func(a answer, r route, encrypted bool) string {
			if a.status == 200 && strings.HasPrefix(strings.Replace(r.operation, "GET /api/v1/", "GET /", 1), "GET "+path) {
				return ""
			}
			return look(a, r, encrypted)
		}
	}
	directives := func(a answer) map[string]string {
		all := map[string]string{}
		for part := range strings.SplitSeq(a.header.Get("Content-Security-Policy"), ";") {
			name, sources, _ := strings.Cut(strings.TrimSpace(part), " ")
			all[name] = sources
		}
		return all
	}
	return []rule{
		{"Anti-clickjacking Header Missing", func(a answer, _ route, _ bool) string {
			if directives(a)["frame-ancestors"] != "'none'" {
				return "others may frame it"
			}
			return ""
		}},
		{"Content Security Policy Header Not Set", func(a answer, _ route, _ bool) string {
			if len(a.header.Values("Content-Security-Policy")) != 1 {
				return "there is not one policy"
			}
			return ""
		}},
		{"CSP: Wildcard Directive, unsafe-inline, unsafe-eval, no fallback", func(a answer, _ route, _ bool) string {
			all := directives(a)
			for _, name := range []string{"default-src", "base-uri", "form-action", "frame-ancestors"} { // the last three have no fallback
				if all[name] == "" {
					return name + " is missing"
				}
			}
			if all["default-src"] != "'none'" {
				return "default-src is not 'none'"
			}
			for name, sources := range all {
				for source := range strings.FieldsSeq(sources) {
					if !slices.Contains([]string{"'none'", "'self'", "data:"}, source) || source == "data:" && name != "img-src" {
						return name + " allows " + source
					}
				}
			}
			return ""
		}},
		{"X-Content-Type-Options Header Missing", header("X-Content-Type-Options", "nosniff")},
		{"Referrer-Policy Missing", header("Referrer-Policy", "no-referrer")},
		{"Insufficient Site Isolation Against Spectre: CORP", header("Cross-Origin-Resource-Policy", "same-origin")},
		{"Insufficient Site Isolation Against Spectre: COOP", header("Cross-Origin-Opener-Policy", "same-origin")},
		{"Insufficient Site Isolation Against Spectre: COEP", header("Cross-Origin-Embedder-Policy", "require-corp")},
		{"Permissions Policy Header Not Set", func(a answer, _ route, _ bool) string {
			for _, feature := range []string{"camera", "microphone", "geolocation", "payment", "usb"} {
				if !strings.Contains(a.header.Get("Permissions-Policy"), feature+"=()") {
					return feature + " is not given away"
				}
			}
			return ""
		}},
		{"Strict-Transport-Security Header Not Set", func(a answer, _ route, encrypted bool) string {
			if got := a.header.Get("Strict-Transport-Security"); got != map[bool]string{true: "max-age=63072000"}[encrypted] {
				return fmt.Sprintf("it is %q, encrypted %v", got, encrypted)
			}
			return ""
		}},
		{"Re-examine Cache-control Directives", func(a answer, r route, _ bool) string {
			want := "no-store"
			if a.status < 400 && (strings.HasPrefix(r.operation, "GET /docs") || strings.HasPrefix(r.operation, "GET /openapi")) {
				want = "no-cache"
			}
			if got := a.header.Values("Cache-Control"); len(got) != 1 || got[0] != want {
				return fmt.Sprintf("%q", got)
			}
			return ""
		}},
		{"Content-Type Header Missing, Charset Mismatch", func(a answer, _ route, _ bool) string {
			kind := a.header.Get("Content-Type")
			if a.text != "" && kind == "" || strings.HasPrefix(kind, "text/html") && kind != "text/html; charset=utf-8" {
				return fmt.Sprintf("%q", kind)
			}
			return ""
		}},
		{"Cross-Domain Misconfiguration", func(a answer, _ route, _ bool) string {
			for name := range a.header {
				if strings.HasPrefix(name, "Access-Control-") {
					return name
				}
			}
			return ""
		}},
		{"Server Leaks Information by Header", func(a answer, _ route, _ bool) string {
			for _, name := range []string{"Server", "X-Powered-By", "X-Aspnet-Version", "X-Debug-Token", "X-Backend-Server", "Via", "X-Runtime", "X-Generator"} {
				if a.header.Get(name) != "" {
					return name
				}
			}
			return ""
		}},
		{"Cookie Without HttpOnly, Secure or SameSite", func(a answer, _ route, encrypted bool) string {
			for _, line := range a.header.Values("Set-Cookie") {
				c, err := http.ParseSetCookie(line)
				site := http.SameSiteStrictMode
				if c != nil && strings.HasSuffix(c.Name, "-oidc") { // it has to come back from the provider's site
					site = http.SameSiteLaxMode
				}
				if err != nil || !c.HttpOnly || c.SameSite != site || c.Secure != encrypted || c.Path != "/" || c.Domain != "" || encrypted != strings.HasPrefix(c.Name, "__Host-") {
					return line
				}
			}
			return ""
		}},
		{"Session ID in URL Rewrite", func(a answer, _ route, _ bool) string {
			return regexp.MustCompile(`(?i)(jsessionid|phpsessid|[?&;](sid|session|token|code)=)`).FindString(a.header.Get("Location"))
		}},
		{"Application Error Disclosure", body(`goroutine \d|panic:|runtime error|\.go:\d|stack trace|\b(sqlite|pgx)\b|SQLSTATE|syntax error at|no such table|/internal/|/root/|/home/`)},
		{"Information Disclosure: Debug Error Messages", body(`(?i)internal server error|debug|traceback|exception in`)},
		{"Information Disclosure: Suspicious Comments", body(`(?i)<!--|\bTODO\b|\bFIXME\b|\bXXX\b`)},
		{"Private IP Disclosure", beyond("/audit", body(`\b(10\.\d+\.\d+\.\d+|192\.168\.\d+\.\d+|172\.(1[6-9]|2\d|3[01])\.\d+\.\d+|127\.\d+\.\d+\.\d+)\b`))}, // the audit trail says from where
		{"Timestamp Disclosure: Unix", body(`\b1[6-9]\d{8}\b`)},
		{"Hash Disclosure", body(`\$argon2|\$2[aby]\$|\$6\$|\bMD5:`)},
		{"PII or Secrets of Others", body(`password_hash|totp_secret|token_hash|BEGIN [A-Z ]*PRIVATE KEY`)},
		{"Directory Browsing", body(`(?i)index of /|directory listing`)},
		{"User Controllable Attribute (reflected input)", body(`<canary'"`)},
		{"X-Backend or Internal Redirect", func(a answer, _ route, _ bool) string {
			if to := a.header.Get("Location"); strings.Contains(to, "//") {
				return to
			}
			return ""
		}},
	}
}

// There is no scanner in these tests, but its rules are: what one would note in passing, in every answer of every route, good and bad.
func TestAScannerHasNothingToNote(t *testing.T) {
	t.Parallel()
	p := newUnserved(t, func(c *httpapi.Config) {
		c.Edge.Proxies = []netip.Prefix{netip.MustParsePrefix("198.51.100.1/32")}
		c.Web = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = fmt.Fprint(w, "<!doctype html><title>pages</title>")
		})
	})
	p.request(here, "POST", "http://localhost/users", `{"name":"Anna","email":"anna@example.com"}`)
	rules, looked := passiveRules(), 0
	all := append(routes(t), route{operation: "GET /app/", method: "GET", path: "/app/"}, route{operation: "GET /", method: "GET", path: "/"},
		route{operation: "GET /nowhere", method: "GET", path: "/nowhere"}, route{operation: "PUT /users", method: "PUT", path: "/users"}, route{operation: "OPTIONS /users", method: "OPTIONS", path: "/users"})
	for _, r := range all {
		for _, c := range []struct {
			name, from, scheme, query, body string
			header                          []string
		}{
			{"good", here, "http", "", r.body, nil},
			{"encrypted", here, "https", "", r.body, nil},
			{"through a proxy", proxy, "http", "", r.body, []string{"X-Forwarded-Proto", "https", "X-Forwarded-For", "203.0.113.5"}},
			{"not signed in", here, "http", "", r.body, []string{"Authorization", "Bearer x"}},
			{"a broken query", here, "http", "?q=%3Ccanary'%22%3E&%3Ccanary'%22%3E=1", r.body, nil},
			{"a broken body", here, "http", "", `{"<canary'\"":`, nil},
			{"a body of another kind", here, "http", "", `{"x":"<canary'\""}`, nil},
			{"another site", here, "http", "", r.body, []string{"Sec-Fetch-Site", "cross-site"}},
			{"from another machine", there, "http", "", r.body, nil},
			{"a request id", here, "http", "", r.body, []string{"X-Request-Id", "<canary'\""}},
		} {
			a := p.request(c.from, r.method, c.scheme+"://localhost"+r.path+c.query, c.body, c.header...)
			for _, rule := range rules {
				looked++
				if said := rule.look(a, r, c.scheme == "https" || c.from == proxy); said != "" {
					t.Errorf("%s, %s: %s: %s (%d %.200s)", r.operation, c.name, rule.name, said, a.status, a.text)
				}
			}
		}
	}
	t.Logf("%d rules, %d looks at answers", len(rules), looked)
}

// Rules that never find anything may be blind: each must find an answer that is as it must not be.
func TestEachRuleOfTheScannerFindsSomething(t *testing.T) {
	t.Parallel()
	plain := func() answer { return newUnserved(t).request(here, "GET", "http://localhost/users", "") }
	good := plain()
	until := time.Unix(1700000000, 0)
	for _, rule := range passiveRules() {
		bad := good
		bad.header = http.Header{
			"Content-Security-Policy": {"default-src 'self'; script-src 'self' 'unsafe-inline' *"}, "Access-Control-Allow-Origin": {"*"}, "Server": {"nginx"},
			"Set-Cookie": {(&http.Cookie{Name: "session", Value: "x", Expires: until}).String()}, "Location": {"http://10.0.0.1/?token=x"}, "Cache-Control": {"public"}, "Content-Type": {"text/html"},
			"Strict-Transport-Security": {"max-age=1"},
		}
		if rule.name == "Content Security Policy Header Not Set" {
			bad.header.Del("Content-Security-Policy")
		}
		bad.text = "<!-- goroutine 1: Internal Server Error at 192.168.0.1, 1700000000, $argon2id$, password_hash, Index of / <canary'\""
		if rule.look(bad, route{path: "/users"}, true) == "" {
			t.Errorf("%s finds nothing", rule.name)
		}
		if said := rule.look(good, route{path: "/users"}, false); said != "" {
			t.Errorf("%s finds %s in a good answer", rule.name, said)
		}
	}
}
