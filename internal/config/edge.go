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

// Hosts gives the names of ALLOWED_HOSTS, and what else the portal answers to by other settings: the address it listens on, and the
// names it gets certificates for.
func (c Config) Hosts() []string {
	hosts := list(c.AllowedHosts)
	host, _, err := net.SplitHostPort(c.ListenAddr)
	if addr, bad := netip.ParseAddr(host); err == nil && host != "" && (bad != nil || !addr.IsUnspecified()) {
		hosts = append(hosts, host)
	}
	return append(hosts, list(c.ACMEHosts)...)
}

// Proxies gives TRUSTED_PROXIES as networks.
func (c Config) Proxies() ([]netip.Prefix, error) {
	var proxies []netip.Prefix
	for _, text := range list(c.TrustedProxies) {
		p, err := netip.ParsePrefix(text)
		if addr, bad := netip.ParseAddr(text); bad == nil {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("TRUSTED_PROXIES: %q is neither an address nor a network: give something like 192.0.2.1 or 10.0.0.0/8", text)
		}
		proxies = append(proxies, p.Masked())
	}
	return proxies, nil
}

// ACME gives the names to get certificates for, nil when ACME is not used.
func (c Config) ACME() []string { return list(c.ACMEHosts) }

// TLS reports whether the portal serves HTTPS itself.
func (c Config) TLS() bool { return c.TLSCert != "" || c.ACMEHosts != "" }

// edgeFaults names what is wrong with the settings of this file.
func (c Config) edgeFaults() (faults []error) {
	if _, err := c.Proxies(); err != nil {
		faults = append(faults, err)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		faults = append(faults, errors.New("TLS_CERT and TLS_KEY belong together: set both, or none"))
	}
	if c.TLSCert != "" && c.ACMEHosts != "" {
		faults = append(faults, errors.New("TLS_CERT and ACME_HOSTS exclude each other: set the one where your certificate comes from"))
	}
	for _, s := range []struct {
		name, value string
		hosts       []string
	}{{"ALLOWED_HOSTS", c.AllowedHosts, list(c.AllowedHosts)}, {"ACME_HOSTS", c.ACMEHosts, list(c.ACMEHosts)}} {
		if i := slices.IndexFunc(s.hosts, func(h string) bool { return strings.ContainsAny(h, "*/@ ") }); i >= 0 {
			faults = append(faults, fmt.Errorf("%s: %q is no plain name: give something like pbx.example.com", s.name, s.hosts[i]))
		}
	}
	if u, err := url.Parse(c.PublicURL); c.PublicURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "") {
		faults = append(faults, errors.New("PUBLIC_URL is not the address of a server: give something like https://pbx.example.com, without a path: the portal needs a host name, or a port, of its own"))
	}
	return append(faults, c.oidcFaults()...)
}

// oidcFaults names what is wrong with the settings of the OpenID provider.
func (c Config) oidcFaults() (faults []error) {
	if c.OIDCIssuer == "" {
		if c.OIDCClientID+c.OIDCClientSecret+c.OIDCClientSecretFile+c.OIDCDefaultRole+c.OIDCACR != "" {
			faults = append(faults, errors.New("OIDC_ISSUER is missing, though other settings of the OpenID provider are there: set it to the provider's address, or remove them"))
		}
		return faults
	}
	u, err := url.Parse(c.OIDCIssuer)
	host := ""
	if err == nil {
		host = u.Hostname()
	}
	if ip := net.ParseIP(host); err != nil || host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || host != "localhost" && !ip.IsLoopback()) {
		faults = append(faults, errors.New("OIDC_ISSUER is not the address of a provider: give something like https://id.example.com; http is taken on loopback only"))
	}
	if c.OIDCClientID == "" {
		faults = append(faults, errors.New("OIDC_CLIENT_ID is missing: the provider gives one when the portal is registered there"))
	}
	if c.OIDCClientSecret != "" && c.OIDCClientSecretFile != "" {
		faults = append(faults, errors.New("OIDC_CLIENT_SECRET and OIDC_CLIENT_SECRET_FILE exclude each other: set one of them"))
	}
	return faults
}

// OIDCClasses gives the classes of a sign-in at the provider that had a second factor.
func (c Config) OIDCClasses() []string { return list(c.OIDCACR) }

// ClientSecret gives the secret of OIDC_CLIENT_SECRET, or what OIDC_CLIENT_SECRET_FILE holds; "" where neither is set. A file must be readable
// by nobody but its owner and group.
func (c Config) ClientSecret() (string, error) {
	if c.OIDCClientSecretFile == "" {
		return c.OIDCClientSecret, nil
	}
	return readSecret("OIDC_CLIENT_SECRET_FILE", c.OIDCClientSecretFile)
}

// hidden stands in the log for what must not be there.
func hidden(secret string) string {
	if secret == "" {
		return ""
	}
	return "[hidden]"
}

// list gives the parts of a setting that stand between commas.
func list(text string) (parts []string) {
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
