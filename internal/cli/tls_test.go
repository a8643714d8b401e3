package cli_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certify writes a self-signed certificate for localhost, and its key, and returns a pool that trusts it.
func certify(t *testing.T, cert, key string) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := errors.Join(os.WriteFile(cert, chain, 0o600), os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs}), 0o600)); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(chain)
	return roots
}

func TestBeyondLoopbackThePortalServesHTTPSOnly(t *testing.T) {
	t.Parallel()
	s, dir := newSettings(t), t.TempDir()
	s["LISTEN_ADDR"], s["TLS_CERT"], s["TLS_KEY"] = "0.0.0.0:0", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if code, _, said := s.run(t, "serve"); code != 2 || !strings.Contains(said, "cert.pem") {
		t.Errorf("without the files: exit code %d, %s", code, said)
	}
	roots := certify(t, s["TLS_CERT"], s["TLS_KEY"])
	srv := s.serve(t)
	_, port, _ := strings.Cut(strings.TrimPrefix(srv.url, "https://[::]"), ":")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}}}
	resp, err := client.Get("https://127.0.0.1:" + port + "/health")
	if err != nil {
		t.Fatalf("%v\n%s", err, srv.logged(t))
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	resp, err = http.Get("http://127.0.0.1:" + port + "/health")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		t.Error("it answers without encryption, too")
	}
}
