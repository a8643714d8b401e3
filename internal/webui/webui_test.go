package webui_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/webui"
)

func get(t *testing.T, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	site, err := webui.New()
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	site.ServeHTTP(w, r)
	return w
}

// asset returns the path of a file of the build that the page refers to.
func asset(t *testing.T) string {
	t.Helper()
	found := regexp.MustCompile(`src="(/app/assets/[^"]+\.js)"`).FindStringSubmatch(get(t, "/app/").Body.String())
	if found == nil {
		t.Fatal("the page names no script")
	}
	return found[1]
}

func TestEveryAddressOfThePagesGivesThePage(t *testing.T) {
	t.Parallel()
	page := get(t, "/app/").Body.String()
	for _, path := range []string{"/app/users", "/app/users/2f9e5a1c", "/app/apply/revisions/7", "/app/no/such/page"} {
		resp := get(t, path)
		if resp.Code != http.StatusOK || resp.Header().Get("Cache-Control") != "no-cache" || resp.Body.String() != page {
			t.Errorf("%s was answered with %d, %v", path, resp.Code, resp.Header())
		}
	}
}

func TestAFileOfAnotherBuildIsNotReplacedByThePage(t *testing.T) {
	t.Parallel()
	if resp := get(t, "/app/assets/index-00000000.js"); resp.Code != http.StatusNotFound {
		t.Errorf("an unknown asset was answered with %d: a browser would read the page as a script", resp.Code)
	}
}

func TestFilesWithAHashAreKeptForEver(t *testing.T) {
	t.Parallel()
	resp := get(t, asset(t))
	if got := resp.Header().Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
		t.Errorf("an asset has Cache-Control %q", got)
	}
	if got := resp.Header().Get("Content-Type"); got != "text/javascript; charset=utf-8" {
		t.Errorf("a script has Content-Type %q", got)
	}
}

func TestTheSmallestFormAClientCanReadIsSent(t *testing.T) {
	t.Parallel()
	path := asset(t)
	plain := get(t, path)
	text := plain.Body.String()
	for _, c := range []struct{ accepts, coding string }{
		{"gzip, deflate, br, zstd", "br"},
		{"br;q=0.5, gzip", "br"},
		{"gzip", "gzip"},
		{"gzip, br;q=0", "gzip"},
		{"identity", ""},
		{"br;q=nonsense", ""},
		{"brotli", ""},
	} {
		resp := get(t, path, "Accept-Encoding", c.accepts)
		if got := resp.Header().Get("Content-Encoding"); got != c.coding {
			t.Errorf("to %q an asset came as %q, want %q", c.accepts, got, c.coding)
		}
		if resp.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("to %q a cache was not told that the answer varies", c.accepts)
		}
		size := resp.Body.Len()
		if c.coding == "gzip" {
			z, err := gzip.NewReader(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if unpacked, err := io.ReadAll(z); err != nil || string(unpacked) != text {
				t.Errorf("the compressed asset is not the plain one: %v", err)
			}
		}
		if c.coding != "" && (size >= len(text) || resp.Header().Get("Etag") == plain.Header().Get("Etag")) {
			t.Errorf("as %s an asset has %d bytes and Etag %s; plain it has %d and %s", c.coding, size, resp.Header().Get("Etag"), len(text), plain.Header().Get("Etag"))
		}
	}
}

func TestWhatAClientHasIsNotSentAgain(t *testing.T) {
	t.Parallel()
	first := get(t, "/app/", "Accept-Encoding", "br")
	again := get(t, "/app/", "Accept-Encoding", "br", "If-None-Match", first.Header().Get("Etag"))
	if again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("the page a client has was answered with %d", again.Code)
	}
}

func TestThePageNamesNothingThatThePolicyForbids(t *testing.T) {
	t.Parallel()
	page := get(t, "/app/").Body.String()
	for _, sin := range []string{"<style", "style=", "onclick=", "onload=", "javascript:", "http://", "https://", "//cdn"} {
		if strings.Contains(page, sin) {
			t.Errorf("the page holds %q", sin)
		}
	}
	if found := regexp.MustCompile(`<script(?:\s[^>]*)?>[^<]`).FindString(page); found != "" {
		t.Errorf("the page holds an inline script: %s", found)
	}
}
