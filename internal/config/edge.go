package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Hosts returns the names of ALLOWED_HOSTS, and those that follow from other settings: the listen address, and the names of certificates.
func (c Config) Hosts() []string {
	hosts := list(c.AllowedHosts)
	host, _, err := net.SplitHostPort(c.ListenAddr)
	if addr, bad := netip.ParseAddr(host); err == nil && host != "" && (bad != nil || !addr.IsUnspecified()) {
		hosts = append(hosts, host)
	}
	return append(hosts, list(c.ACMEHosts)...)
}

// Proxies returns TRUSTED_PROXIES as networks.
func (c Config) Proxies() ([]netip.Prefix, error) {
	var proxies []netip.Prefix
	for _, text := range list(c.TrustedProxies) {
		p, err := netip.ParsePrefix(text)
		if addr, bad := netip.ParseAddr(text); bad == nil {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("TRUSTED_PROXIES: %q is neither an address nor a network: use a value such as 192.0.2.1 or 10.0.0.0/8", text)
		}
		proxies = append(proxies, p.Masked())
	}
	return proxies, nil
}

// ACME returns the names to obtain certificates for, nil if ACME is not used.
func (c Config) ACME() []string { return list(c.ACMEHosts) }

// TLS reports whether the portal serves HTTPS itself.
func (c Config) TLS() bool { return c.TLSCert != "" || c.ACMEHosts != "" }

// edgeFaults returns the faults in the settings of this file.
func (c Config) edgeFaults() (faults []error) {
	if _, err := c.Proxies(); err != nil {
		faults = append(faults, err)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		faults = append(faults, errors.New("TLS_CERT and TLS_KEY belong together: set both, or none"))
	}
	if c.TLSCert != "" && c.ACMEHosts != "" {
		faults = append(faults, errors.New("TLS_CERT and ACME_HOSTS exclude each other: set only one of them"))
	}
	for _, s := range []struct {
		name, value string
		hosts       []string
	}{{"ALLOWED_HOSTS", c.AllowedHosts, list(c.AllowedHosts)}, {"ACME_HOSTS", c.ACMEHosts, list(c.ACMEHosts)}} {
		if i := slices.IndexFunc(s.hosts, func(h string) bool { return strings.ContainsAny(h, "*/@ ") }); i >= 0 {
			faults = append(faults, fmt.Errorf("%s: %q is not a host name: use a value such as pbx.example.com", s.name, s.hosts[i]))
		}
	}
	if u, err := url.Parse(c.PublicURL); c.PublicURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "") {
		faults = append(faults, errors.New("PUBLIC_URL is not the address of a server: use a value such as https://pbx.example.com, without a path: the portal needs a host name, or a port, of its own"))
	}
	return append(faults, c.oidcFaults()...)
}

// oidcFaults returns the faults in the settings of the OpenID provider.
func (c Config) oidcFaults() (faults []error) {
	if c.OIDCIssuer == "" {
		if c.OIDCClientID+c.OIDCClientSecret+c.OIDCClientSecretFile+c.OIDCDefaultRole+c.OIDCACR != "" {
			faults = append(faults, errors.New("OIDC_ISSUER is missing, although other settings of the OpenID provider are set: set it to the provider's address, or remove them"))
		}
		return faults
	}
	u, err := url.Parse(c.OIDCIssuer)
	host := ""
	if err == nil {
		host = u.Hostname()
	}
	if ip := net.ParseIP(host); err != nil || host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || host != "localhost" && !ip.IsLoopback()) {
		faults = append(faults, errors.New("OIDC_ISSUER is not the address of a provider: use a value such as https://id.example.com; http is allowed only on loopback"))
	}
	if c.OIDCClientID == "" {
		faults = append(faults, errors.New("OIDC_CLIENT_ID is missing: the provider assigns one when the portal is registered there"))
	}
	if c.OIDCClientSecret != "" && c.OIDCClientSecretFile != "" {
		faults = append(faults, errors.New("OIDC_CLIENT_SECRET and OIDC_CLIENT_SECRET_FILE exclude each other: set one of them"))
	}
	return faults
}

// OIDCClasses returns the acr values of a sign-in with a second factor.
func (c Config) OIDCClasses() []string { return list(c.OIDCACR) }

// ClientSecret returns OIDC_CLIENT_SECRET, or the content of OIDC_CLIENT_SECRET_FILE; "" if neither is set. A file must be readable only for its owner
// and group.
func (c Config) ClientSecret() (string, error) {
	if c.OIDCClientSecretFile == "" {
		return c.OIDCClientSecret, nil
	}
	return readSecret("OIDC_CLIENT_SECRET_FILE", c.OIDCClientSecretFile)
}

// hidden replaces a secret in the log.
func hidden(secret string) string {
	if secret == "" {
		return ""
	}
	return "[hidden]"
}

// list splits a setting at commas.
func list(text string) (parts []string) {
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
