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

// lookAtFiles is how often the files of a certificate are looked at, at most.
const lookAtFiles = time.Second

// certificate is what two files hold. It is read again when they have changed: certificates are renewed while the portal runs.
type certificate struct {
	cert, key string // the files
	log       *slog.Logger
	now       func() time.Time

	mu     sync.Mutex // guards what follows
	holds  *tls.Certificate
	read   [2]os.FileInfo // the files as they were when they were last read, well or not
	looked time.Time
}

// TLSFromFiles serves with the certificate of two files, and with the next one once it lies there.
func TLSFromFiles(cert, key string, log *slog.Logger, now func() time.Time) (*tls.Config, error) {
	c := &certificate{cert: cert, key: key, log: log, now: now}
	if err := c.look(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

// get gives the certificate for a connection. While the files are being replaced, or do not belong together, the last one that was
// good is used.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now().Sub(c.looked) >= lookAtFiles {
		if err := c.look(); err != nil {
			c.log.Warn("the certificate cannot be renewed; the one before is used", slog.Any("err", err))
		}
	}
	return c.holds, nil
}

// look reads the files if they are others than before.
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

// largestPEM is more than a chain of certificates, or a key, has.
const largestPEM = 1 << 20

// keyPair reads a certificate and its key, which nobody but its owner and group may read, and others may not write.
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
		return tls.Certificate{}, fmt.Errorf("the key can be read by everybody, or written by others than its owner (mode %04o): chmod 0640 it", info.Mode().Perm())
	}
	return tls.X509KeyPair(chain, secret)
}

// certificates is where autocert keeps what it got. Its own cache, which writes, would read whatever lies there.
type certificates struct{ autocert.DirCache }

// Get reads what Put wrote.
func (c certificates) Get(_ context.Context, name string) ([]byte, error) {
	content, _, err := regular.Read(filepath.Join(string(c.DirCache), filepath.Clean("/"+name)), largestPEM)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, autocert.ErrCacheMiss
	}
	return content, err
}

// ACME says where to get certificates from, by the protocol of Let's Encrypt.
type ACME struct {
	Hosts     []string     // what for
	Email     string       // whom the authority tells of trouble; may be ""
	Directory string       // of the authority; "": Let's Encrypt
	Folder    string       // where keys and certificates are kept
	Client    *http.Client // that speaks to the authority; nil: the usual one
}

// TLSFromACME serves with certificates that the portal gets and renews by itself. The authority looks whether the portal really has the
// names by asking for them on port 443 (TLS-ALPN-01). Using it means agreeing to the authority's terms.
func TLSFromACME(a ACME) (*tls.Config, error) {
	if len(a.Hosts) == 0 {
		return nil, errors.New("cannot get certificates: no names are given")
	}
	m := &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: certificates{autocert.DirCache(a.Folder)}, HostPolicy: autocert.HostWhitelist(a.Hosts...), Email: a.Email,
		Client: &acme.Client{DirectoryURL: a.Directory, HTTPClient: a.Client},
	}
	config := m.TLSConfig()
	config.MinVersion = tls.VersionTLS12
	return config, nil
}
