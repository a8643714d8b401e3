package httpapi_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"

	"github.com/synergycall/pbxportal/internal/httpapi"
)

// certify writes a certificate of its own for a name, and its key, where they are wanted.
func certify(t *testing.T, name, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

// named returns the name in the current certificate.
func named(t *testing.T, c *tls.Config) string {
	t.Helper()
	got, err := c.GetCertificate(&tls.ClientHelloInfo{ServerName: "pbx.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	return got.Leaf.Subject.CommonName
}

func TestARenewedCertificateIsServedWithoutARestart(t *testing.T) {
	t.Parallel()
	dir, log, now := t.TempDir(), &logBuffer{}, time.Now()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certify(t, "first", cert, key)
	c, err := httpapi.TLSFromFiles(cert, key, slog.New(slog.NewTextHandler(log, nil)), func() time.Time { return now })
	if err != nil || named(t, c) != "first" {
		t.Fatal(err)
	}
	certify(t, "second", cert, filepath.Join(dir, "key2.pem")) // half of what is to come: the key is still the old one
	now = now.Add(2 * time.Second)
	if got := named(t, c); got != "first" || log.String() == "" {
		t.Errorf("with half of the next certificate %q is served; log %q", got, log)
	}
	if err := os.Rename(filepath.Join(dir, "key2.pem"), key); err != nil {
		t.Fatal(err)
	}
	if got := named(t, c); got != "first" {
		t.Errorf("the files were looked at again within a second: %q", got)
	}
	now = now.Add(2 * time.Second)
	if got := named(t, c); got != "second" {
		t.Errorf("%q is served", got)
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Second)
	if got := named(t, c); got != "second" {
		t.Errorf("after its file was removed, %q is served", got)
	}
}

func TestACertificateThatCannotBeUsedStopsTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certify(t, "first", cert, filepath.Join(dir, "other.pem"))
	certify(t, "second", filepath.Join(dir, "other.pem"), key)
	for name, file := range map[string]string{"another's key": key, "no key": filepath.Join(dir, "none.pem"), "a certificate": cert} {
		if _, err := httpapi.TLSFromFiles(cert, file, slog.New(slog.DiscardHandler), time.Now); err == nil {
			t.Errorf("%s is taken for the key", name)
		}
	}
}

// secureServer serves the API of a portal by HTTPS.
func secureServer(t *testing.T, p *portal, c *tls.Config) net.Addr {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := p.handler.Server("")
	server.TLSConfig, server.ErrorLog = c, slog.NewLogLogger(slog.DiscardHandler, 0)
	ended := make(chan error)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	return listener.Addr()
}

func TestOldProtocolsAreRefusedAndNewOnesAreAdvertised(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certify(t, "localhost", cert, key)
	c, err := httpapi.TLSFromFiles(cert, key, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	addr := secureServer(t, newUnserved(t), c).String()
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		client := &http.Client{Transport: &http.Transport{
			ForceAttemptHTTP2: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version},
		}}
		resp, err := client.Get("https://" + addr + "/health")
		if (err == nil) != (version >= tls.VersionTLS12) {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.Header.Get("Strict-Transport-Security") == "" || resp.ProtoMajor != 2 {
			t.Errorf("%s: %s %v", tls.VersionName(version), resp.Proto, resp.Header)
		}
		client.CloseIdleConnections()
	}
}

// Not parallel: an environment variable makes the authority validate without a delay.
func TestThePortalGetsItsCertificateFromAnAuthority(t *testing.T) {
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	quiet := slog.NewLogLogger(slog.DiscardHandler, 0)

	// Where names point to: all to this machine.
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	names := free.Addr().String()
	_ = free.Close()
	dns, err := challtestsrv.New(challtestsrv.Config{DNSAddrs: []string{names}, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	dns.SetDefaultDNSIPv4("127.0.0.1")
	dns.SetDefaultDNSIPv6("")
	go dns.Run()
	t.Cleanup(dns.Shutdown)

	// The portal, whose address the authority must know before the portal knows the authority.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := net.SplitHostPort(listener.Addr().String())
	port, _ := strconv.Atoi(text)

	// The authority: Let's Encrypt's own for tests.
	memory := db.NewMemoryStore()
	issuer := ca.New(quiet, memory, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	authority := wfe.New(quiet, memory, va.New(quiet, 1, port, true, names, memory), issuer, []string{"pebble.example"}, true, false, 1, 1)
	directory := httptest.NewTLSServer(authority.Handler())
	t.Cleanup(directory.Close)

	p := newUnserved(t, func(c *httpapi.Config) { c.Edge.Hosts = []string{"pbx.example.com"} })
	folder := filepath.Join(t.TempDir(), "acme")
	c, err := httpapi.TLSFromACME(httpapi.ACME{
		Hosts: []string{"pbx.example.com"}, Email: "admin@example.com", Directory: directory.URL + wfe.DirectoryPath, Folder: folder, Client: directory.Client(),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := p.handler.Server("")
	server.TLSConfig, server.ErrorLog = c, quiet
	ended := make(chan error)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})

	roots := x509.NewCertPool()
	roots.AddCert(issuer.GetRootCert(0).Cert)
	ask := func(name string) (*http.Response, error) {
		client := &http.Client{Transport: &http.Transport{
			DialTLSContext: (&tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12}}).DialContext,
		}}
		defer client.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+listener.Addr().String()+"/health", nil)
		if err != nil {
			return nil, err
		}
		r.Host = name
		return client.Do(r)
	}
	resp, err := ask("pbx.example.com")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	if kept, err := os.ReadDir(folder); err != nil || len(kept) < 2 {
		t.Errorf("kept for the next start: %v, %v", kept, err)
	} else if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others may look at the keys: %v, %v", info.Mode(), err)
	}
	if resp, err := ask("other.example.com"); err == nil {
		_ = resp.Body.Close()
		t.Error("a certificate was got for a name nobody set")
	}
}

func TestACMENeedsNames(t *testing.T) {
	t.Parallel()
	if _, err := httpapi.TLSFromACME(httpapi.ACME{}); err == nil {
		t.Error("no error")
	}
}
