package httpapi_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/webui"
)

// proxied is a portal behind a real proxy, as a browser sees it.
type proxied struct {
	t      *testing.T
	client *http.Client
	base   string // scheme://host:port
}

// documented returns the configuration of a proxy that docs/proxy.md shows.
func documented(t *testing.T, kind string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```" + kind + "\n(.*?)```").FindSubmatch(page)
	if found == nil {
		t.Fatalf("docs/proxy.md has no configuration of %s", kind)
	}
	return string(found[1])
}

// behind puts a proxy before a new portal. The configuration has the words of docs/proxy.md for the addresses and the certificate; a proxy is trusted where
// the page says so.
func behind(t *testing.T, start func(testing.TB, string, string), config, scheme string, trusted bool) proxied {
	t.Helper()
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	base := scheme + "://pbx.example.com:" + port
	pages, err := webui.New()
	if err != nil {
		t.Fatal(err)
	}
	p := newPortal(t, func(c *httpapi.Config) {
		c.Web = pages
		if trusted {
			c.Edge = httpapi.Edge{Origin: base, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
		}
	})
	p.otto()
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "certificate.pem"), filepath.Join(dir, "key.pem")
	certify(t, "pbx.example.com", certificate, key)
	config = strings.NewReplacer(
		"127.0.0.1:8000", strings.TrimPrefix(p.url, "http://"),
		"listen 443", "listen "+address, "<VirtualHost *:443>", "Listen "+address+"\n<VirtualHost *:"+port+">", "pbx.example.com {\n", base+" {\n\ttls "+certificate+" "+key+"\n",
		"/etc/ssl/certs/pbx.example.com.pem", certificate, "/etc/ssl/private/pbx.example.com.key", key,
	).Replace(config)
	start(t, config, address)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return proxied{t, &http.Client{
		Transport: transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, base}
}

// open sends a request as a page of the portal does.
func (p proxied) open(method, path, body string) answer {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.base+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Origin", p.base)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	resp, err := p.client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return newAnswer(resp, text)
}

// firstLine returns what a stream begins with; a proxy that holds it back may hold back the header as well.
func (p proxied) firstLine(path string, within time.Duration) (string, error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), within)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+path, nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	resp, err := p.client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	return bufio.NewReader(resp.Body).ReadString('\n')
}

func (p proxied) want(status int, method, path, body string) answer {
	p.t.Helper()
	a := p.open(method, path, body)
	if a.status != status {
		p.t.Fatalf("%s %s: %d %s", method, path, a.status, a.text)
	}
	return a
}

const ottosPassword = `{"email":"otto@example.com","password":"correct horse battery staple"}`

func TestBehindARealProxyPeopleSignInAndLiveDataArrivesAtOnce(t *testing.T) {
	t.Parallel()
	const bare = "server { listen 443; location / { proxy_pass http://127.0.0.1:8000; } }"
	for name, c := range map[string]struct {
		start          func(testing.TB, string, string)
		config, scheme string
		trusted        bool
	}{
		"nginx, bare proxy_pass":           {labtest.Nginx, bare, "http", false},
		"nginx, bare proxy_pass, HTTP 1.1": {labtest.Nginx, strings.Replace(bare, "proxy_pass", "proxy_http_version 1.1; proxy_pass", 1), "http", false},
		"nginx, gzip for everything":       {labtest.Nginx, "gzip on; gzip_types *; " + bare, "http", false},
		"nginx, as documented":             {labtest.Nginx, documented(t, "nginx"), "https", true},
		"Apache, as documented":            {labtest.Apache, documented(t, "apache"), "https", true},
		"Apache, compressing everything":   {labtest.Apache, strings.Replace(documented(t, "apache"), "SSLEngine on", "SSLEngine on\nSetOutputFilter DEFLATE", 1), "https", true},
		"Caddy, as documented":             {labtest.Caddy, documented(t, "caddyfile"), "https", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := behind(t, c.start, c.config, c.scheme, c.trusted)
			if to := p.want(307, "GET", "/", "").header.Get("Location"); to != "app/" {
				t.Errorf("the root leads to %q", to)
			}
			p.want(200, "GET", "/app/users", "")
			cookie := p.want(200, "POST", "/session", ottosPassword).header.Get("Set-Cookie")
			if secure := strings.HasPrefix(cookie, "__Host-pbxportal") && strings.Contains(cookie, "; Secure"); secure != (c.scheme == "https") {
				t.Errorf("through %s the cookie is %s", c.scheme, cookie)
			}
			p.want(200, "GET", "/session", "")
			if line, err := p.firstLine("/live/events", 5*time.Second); err != nil || !strings.HasPrefix(line, "id: ") { // a comment comes after 15 s
				t.Errorf("the stream begins with %q: %v", line, err)
			}
			p.want(204, "DELETE", "/session", "")
			p.want(401, "GET", "/session", "")
		})
	}
}

func TestBelowAPathPrefixThePortalReportsWhyItCannotBeServed(t *testing.T) {
	t.Parallel()
	for name, location := range map[string]string{
		"the proxy removes the path": "location /pbx/ { proxy_pass http://127.0.0.1:8000/; }",
		"the proxy keeps the path":   "location /pbx/ { proxy_pass http://127.0.0.1:8000; }",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := behind(t, labtest.Nginx, "server { listen 443; "+location+" }", "http", false)
			a := p.open("GET", "/pbx/", "")
			if to := a.header.Get("Location"); to != "" {
				next, err := url.Parse(p.base + "/pbx/")
				if err == nil {
					next, err = next.Parse(to)
				}
				if err != nil {
					t.Fatal(err)
				}
				a = p.open("GET", next.Path, "")
			}
			if !strings.Contains(a.text, "host name") {
				t.Errorf("%d %s", a.status, a.text)
			}
		})
	}
}
