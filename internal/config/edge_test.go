package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/config"
)

func TestThePortalAnswersToTheNamesThatItsSettingsName(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string][]string{
		"127.0.0.1:8000": {"a.example", "b.example", "127.0.0.1", "acme.example"}, "0.0.0.0:443": {"a.example", "b.example", "acme.example"},
		":443": {"a.example", "b.example", "acme.example"}, "[::]:443": {"a.example", "b.example", "acme.example"},
		"pbx.example:443": {"a.example", "b.example", "pbx.example", "acme.example"}, "[2001:db8::1]:443": {"a.example", "b.example", "2001:db8::1", "acme.example"},
	} {
		c := config.Config{ListenAddr: addr, AllowedHosts: " a.example,,b.example ", ACMEHosts: "acme.example"}
		if diff := cmp.Diff(want, c.Hosts()); diff != "" {
			t.Errorf("%s: %s", addr, diff)
		}
	}
}

func TestProxiesAreAddressesOrNetworks(t *testing.T) {
	t.Parallel()
	got, err := config.Config{TrustedProxies: "192.0.2.1, 10.1.2.3/8,2001:db8::/32"}.Proxies()
	var texts []string
	for _, p := range got {
		texts = append(texts, p.String())
	}
	if diff := cmp.Diff([]string{"192.0.2.1/32", "10.0.0.0/8", "2001:db8::/32"}, texts); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestSettingsOfTheEdgeThatCannotBeMeantAreNamed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		want string
		c    config.Config
	}{
		{"TRUSTED_PROXIES", config.Config{TrustedProxies: "proxy.example.com"}},
		{"TLS_CERT and TLS_KEY belong together", config.Config{TLSCert: "cert.pem"}},
		{"TLS_CERT and TLS_KEY belong together", config.Config{TLSKey: "key.pem"}},
		{"exclude each other", config.Config{TLSCert: "cert.pem", TLSKey: "key.pem", ACMEHosts: "a.example"}},
		{`ALLOWED_HOSTS: "*"`, config.Config{AllowedHosts: "*"}},
		{`ALLOWED_HOSTS: "https://a.b"`, config.Config{AllowedHosts: "https://a.b"}},
		{`ACME_HOSTS: "*.a.example"`, config.Config{ACMEHosts: "*.a.example"}},
		{"PUBLIC_URL", config.Config{PublicURL: "pbx.example.com"}},
		{"PUBLIC_URL", config.Config{PublicURL: "https://pbx.example.com/portal"}},
		{"PUBLIC_URL", config.Config{PublicURL: "ftp://pbx.example.com"}},
		{"PUBLIC_URL", config.Config{PublicURL: "https://user:topsecret@pbx.example.com"}},
		{"OIDC_ISSUER is missing", config.Config{OIDCClientID: "portal"}},
		{"OIDC_ISSUER is missing", config.Config{OIDCDefaultRole: "auditor"}},
		{"OIDC_ISSUER is missing", config.Config{OIDCACR: "gold"}},
		{"OIDC_ISSUER is not", config.Config{OIDCIssuer: "http://id.example.com", OIDCClientID: "portal"}},
		{"OIDC_ISSUER is not", config.Config{OIDCIssuer: "id.example.com", OIDCClientID: "portal"}},
		{"OIDC_ISSUER is not", config.Config{OIDCIssuer: "https://user:topsecret@id.example.com", OIDCClientID: "portal"}},
		{"OIDC_CLIENT_ID is missing", config.Config{OIDCIssuer: "https://id.example.com"}},
		{"exclude each other", config.Config{OIDCIssuer: "https://id.example.com", OIDCClientID: "portal", OIDCClientSecret: "topsecret", OIDCClientSecretFile: "f"}},
	} {
		tc.c.StateDir = "/s"
		_, err := tc.c.Complete()
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%+v: %v, want %s", tc.c, err, tc.want)
		}
	}
	if _, err := (config.Config{StateDir: "/s", PublicURL: "https://pbx.example.com/", AllowedHosts: "pbx.example.com", TrustedProxies: "127.0.0.1", TLSCert: "c", TLSKey: "k"}).Complete(); err != nil {
		t.Error(err)
	}
}

func TestTheSecretOfTheProviderComesFromAFileOrASettingAndIsNotLogged(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("topsecret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []config.Config{{OIDCClientSecret: "topsecret"}, {OIDCClientSecretFile: file}} {
		if got, err := c.ClientSecret(); got != "topsecret" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if text := c.LogValue().String(); strings.Contains(text, "topsecret") {
			t.Errorf("the log shows it: %s", text)
		}
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := (config.Config{OIDCClientSecretFile: file}).ClientSecret(); got != "" || err == nil || !strings.Contains(err.Error(), "chmod 0640") {
		t.Errorf("a file for all to read: %q, %v", got, err)
	}
	if _, err := (config.Config{OIDCClientSecretFile: file + "x"}).ClientSecret(); err == nil || !strings.Contains(err.Error(), "OIDC_CLIENT_SECRET_FILE") {
		t.Error(err)
	}
}
