package httpapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/swaggest/swgui/v5/static"

	"github.com/synergycall/pbxportal/contracts"
	"github.com/synergycall/pbxportal/internal/regular"
)

var (
	//go:embed docs/index.html
	docsIndex []byte
	//go:embed docs/init.js
	docsInit []byte
)

// document is a file that is served unchanged.
type document struct {
	contentType string
	plain       func() ([]byte, error)
	gzipped     []byte // compressed; nil if it is not stored so
	etag        func() string
}

func newDocument(contentType string, plain func() ([]byte, error), gzipped []byte) *document {
	d := &document{contentType: contentType, plain: sync.OnceValues(plain), gzipped: gzipped}
	d.etag = sync.OnceValue(func() string {
		body := d.gzipped
		if body == nil {
			body, _ = d.plain() // serve reports a failure
		}
		sum := sha256.Sum256(body)
		return hex.EncodeToString(sum[:8])
	})
	return d
}

// registerDocuments registers the contract and the page that shows it. Nothing is unpacked before the first request.
func (a *api) registerDocuments(rt *router) {
	constant := func(b []byte) func() ([]byte, error) { return func() ([]byte, error) { return b, nil } }
	page := newDocument("text/html; charset=utf-8", constant(docsIndex), nil)
	files := map[string]*document{
		"init.js":              newDocument("text/javascript; charset=utf-8", constant(docsInit), nil),
		"swagger-ui.css":       packed("text/css; charset=utf-8", "swagger-ui.css.gz"),
		"swagger-ui-bundle.js": packed("text/javascript; charset=utf-8", "swagger-ui-bundle.js.gz"),
	}
	asYAML := newDocument("application/yaml", constant(contracts.API), nil)
	asJSON := newDocument("application/json", constant(contracts.JSON), nil)

	rt.HandleFunc("GET /openapi.yaml", func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, asYAML) })
	rt.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, asJSON) })
	rt.HandleFunc("GET /docs", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", docsPolicy)
		a.serve(w, r, page)
	})
	rt.HandleFunc("GET /docs/{file}", func(w http.ResponseWriter, r *http.Request) {
		d, ok := files[r.PathValue("file")]
		if !ok {
			a.fail(w, r, errNoPath)
			return
		}
		a.serve(w, r, d)
	})
}

// packed returns a file of Swagger UI, which its module stores compressed.
func packed(contentType, name string) *document {
	gzipped, err := static.FS.ReadFile(name)
	return newDocument(contentType, func() ([]byte, error) {
		if err != nil {
			return nil, fmt.Errorf("cannot find Swagger UI: %w", err)
		}
		unpacked, err := gzip.NewReader(bytes.NewReader(gzipped))
		if err != nil {
			return nil, fmt.Errorf("cannot unpack %s: %w", name, err)
		}
		return regular.All(unpacked, 16<<20)
	}, gzipped)
}

// serve sends a document, compressed if it is stored so and the client accepts it, or 304 if the client has it. Ranges are not supported: they have
// no use here.
func (a *api) serve(w http.ResponseWriter, r *http.Request, d *document) {
	body := d.gzipped
	var etag string
	h := w.Header()
	if d.gzipped != nil {
		h.Set("Vary", "Accept-Encoding")
	}
	if d.gzipped != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		etag = `"` + d.etag() + `-gzip"`
	} else {
		var err error
		if body, err = d.plain(); err != nil {
			a.fail(w, r, err)
			return
		}
		etag = `"` + d.etag() + `"`
	}
	h.Set("Cache-Control", "no-cache") // cache, but revalidate
	h.Set("Etag", etag)
	if strings.Contains(r.Header.Get("If-None-Match"), etag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	send(w, http.StatusOK, d.contentType, body)
}
