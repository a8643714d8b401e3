package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/synergycall/pbxportal/internal/regular"
)

// lookAtFiles is the minimum interval between checks of the certificate files.
const lookAtFiles = time.Second

// certificate is a certificate in two files. It is reloaded when they change: certificates are renewed while the portal runs.
type certificate struct {
	cert, key string // the files
	log       *slog.Logger
	now       func() time.Time

	mu     sync.Mutex // guards the fields below
	holds  *tls.Certificate
	read   [2]os.FileInfo // the files as last read, successfully or not
	looked time.Time
}

// TLSFromFiles returns a TLS configuration with the certificate in two files, reloaded when it is replaced.
func TLSFromFiles(cert, key string, log *slog.Logger, now func() time.Time) (*tls.Config, error) {
	c := &certificate{cert: cert, key: key, log: log, now: now}
	if err := c.look(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

// get returns the certificate for a connection. While the files are being replaced, or do not match, the last valid one is used.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now().Sub(c.looked) >= lookAtFiles {
		if err := c.look(); err != nil {
			c.log.Warn("cannot reload the certificate; the previous one is used", slog.Any("err", err))
		}
	}
	return c.holds, nil
}

// look reloads the files if they have changed.
func (c *certificate) look() error {
	c.looked = c.now()
	var found [2]os.FileInfo
	same := true
	for i, name := range []string{c.cert, c.key} {
		var err error
		if found[i], err = os.Stat(name); err != nil {
			return fmt.Errorf("cannot find the certificate: %w", err)
		}
		before := c.read[i]
		same = same && before != nil && os.SameFile(before, found[i]) && before.ModTime().Equal(found[i].ModTime()) && before.Size() == found[i].Size()
	}
	if same {
		return nil
	}
	c.read = found
	holds, err := keyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("cannot use the certificate %s with the key %s: %w", c.cert, c.key, err)
	}
	c.holds = &holds
	return nil
}

// largestPEM is larger than a certificate chain or a key.
const largestPEM = 1 << 20

// keyPair reads a certificate and its key, which must be readable by its owner and group only, and writable by its owner only.
func keyPair(cert, key string) (tls.Certificate, error) {
	chain, _, err := regular.Read(cert, largestPEM)
	if err != nil {
		return tls.Certificate{}, err
	}
	secret, info, err := regular.Read(key, largestPEM)
	if err != nil {
		return tls.Certificate{}, err
	}
	if info.Mode().Perm()&0o027 != 0 {
		return tls.Certificate{}, fmt.Errorf("the key is readable by all users, or writable by others than its owner (mode %04o): chmod 0640 it", info.Mode().Perm())
	}
	return tls.X509KeyPair(chain, secret)
}

// certificates is autocert's cache. autocert's own DirCache reads files without a size limit.
type certificates struct{ autocert.DirCache }

// Get reads what Put wrote.
func (c certificates) Get(_ context.Context, name string) ([]byte, error) {
	content, _, err := regular.Read(filepath.Join(string(c.DirCache), filepath.Clean("/"+name)), largestPEM)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, autocert.ErrCacheMiss
	}
	return content, err
}

// ACME configures certificates by the protocol of Let's Encrypt.
type ACME struct {
	Hosts     []string     // host names
	Email     string       // contact of the ACME account; may be ""
	Directory string       // directory URL of the authority; "": Let's Encrypt
	Folder    string       // storage for keys and certificates
	Client    *http.Client // HTTP client for the authority; nil: the default
}

// TLSFromACME returns a TLS configuration with certificates that are obtained and renewed automatically. The authority verifies the names on port
// 443 (TLS-ALPN-01). Using it means agreeing to the authority's terms.
func TLSFromACME(a ACME) (*tls.Config, error) {
	if len(a.Hosts) == 0 {
		return nil, errors.New("cannot get certificates: no host names are given")
	}
	m := &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: certificates{autocert.DirCache(a.Folder)}, HostPolicy: autocert.HostWhitelist(a.Hosts...), Email: a.Email,
		Client: &acme.Client{DirectoryURL: a.Directory, HTTPClient: a.Client},
	}
	config := m.TLSConfig()
	config.MinVersion = tls.VersionTLS12
	return config, nil
}
