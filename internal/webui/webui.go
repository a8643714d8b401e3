// Package webui contains the web interface, as built from web/, and serves it below /app/. It consists only of static files, which use the same public
// API as programs, so this package depends on no service.
package webui

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

//go:embed all:dist
var dist embed.FS

// Base is the path of the web interface.
const Base = "/app/"

// The files of a build whose names contain a hash of their bytes: they never change, and a missing one belongs to another build.
const hashed = "assets/"

// index is the page that is served for all addresses below Base; its script shows the right content.
const index = "index.html"

// Site serves the web interface. It is created by New.
type Site struct {
	files map[string]*file // by the path below Base
}

// file is one file of the build, uncompressed and compressed.
type file struct {
	contentType string
	plain       []byte
	brotli      []byte                 // created by the build; nil for formats that are compressed already
	gzip        func() ([]byte, error) // created on demand: few browsers still ask for it
	etag        string
}

// New reads the built files. An error means that the program was built without them.
func New() (*Site, error) {
	s := &Site{files: map[string]*file{}}
	err := fs.WalkDir(dist, "dist", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(name) == ".br" {
			return err
		}
		f, err := newFile(name)
		s.files[strings.TrimPrefix(name, "dist/")] = f
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the pages: %w", err)
	}
	if s.files[index] == nil {
		return nil, errors.New("cannot serve pages: they are not built; run make web")
	}
	return s, nil
}

func newFile(name string) (*file, error) {
	plain, err := dist.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	sum := sha256.Sum256(plain)
	f := &file{contentType: contentType(name), plain: plain, etag: hex.EncodeToString(sum[:8])}
	switch f.brotli, err = dist.ReadFile(name + ".br"); {
	case errors.Is(err, fs.ErrNotExist):
		return f, nil
	case err != nil:
		return nil, fmt.Errorf("cannot read %s.br: %w", name, err)
	}
	f.gzip = sync.OnceValues(func() ([]byte, error) {
		var b bytes.Buffer
		z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
		if err != nil {
			return nil, fmt.Errorf("cannot compress: %w", err)
		}
		_, err = z.Write(plain)
		if err = errors.Join(err, z.Close()); err != nil {
			return nil, fmt.Errorf("cannot compress %s: %w", name, err)
		}
		return b.Bytes(), nil
	})
	return f, nil
}

// contentType returns the media type of a file. It does not use the tables of the machine, which vary.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".txt", ".md":
		return "text/plain; charset=utf-8"
	case ".woff2":
		return "font/woff2"
	}
	return "application/octet-stream"
}

// ServeHTTP answers a GET for a path below Base.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, Base)
	f := s.files[name]
	switch {
	case f != nil:
	case strings.HasPrefix(name, hashed):
		http.Error(w, "this file is of another version of the portal: reload the page", http.StatusNotFound)
		return
	default:
		name, f = index, s.files[index]
	}
	h := w.Header()
	h.Set("Cache-Control", "no-cache") // may be cached, must be revalidated
	if strings.HasPrefix(name, hashed) {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	f.serve(w, r)
}

// serve sends the file in the best encoding the client accepts, or 304 if the client has it.
func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	body, etag := f.plain, `"`+f.etag+`"`
	if f.brotli != nil {
		h.Set("Vary", "Accept-Encoding")
		switch accepted := r.Header.Get("Accept-Encoding"); {
		case takes(accepted, "br"):
			body, etag = f.brotli, `"`+f.etag+`-br"`
			h.Set("Content-Encoding", "br")
		case takes(accepted, "gzip"):
			if small, err := f.gzip(); err == nil { // uncompressed is as good an answer
				body, etag = small, `"`+f.etag+`-gzip"`
				h.Set("Content-Encoding", "gzip")
			}
		}
	}
	h.Set("Etag", etag)
	if strings.Contains(r.Header.Get("If-None-Match"), etag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", f.contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // an error means that the client has disconnected
	}
}

// takes reports whether an Accept-Encoding header accepts the coding.
func takes(accepted, coding string) bool {
	for part := range strings.SplitSeq(accepted, ",") {
		name, quality, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.TrimSpace(name) != coding {
			continue
		}
		_, q, _ := strings.Cut(quality, "q=")
		value, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
		return quality == "" || err == nil && value > 0
	}
	return false
}
