package httpapi

import (
	"fmt"
	"iter"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// Edge configures access to the portal: its names, proxies and rate limits. The zero Edge is that of a portal on loopback.
type Edge struct {
	Hosts   []string       // host names and addresses of the portal, without port, in addition to those of loopback
	Origin  string         // scheme://host[:port] of the public address, if a proxy uses another name; "" otherwise
	Proxies []netip.Prefix // whose X-Forwarded-For and X-Forwarded-Proto are trusted
	Limits  Limits
}

// edge checks every request before anything is looked up for it.
type edge struct {
	hosts   []string
	public  string // host[:port] of the public address; "" if it is that of the request
	proxies []netip.Prefix
	origin  *http.CrossOriginProtection
	places  [kinds]*flying
	pace    *buckets // of all requests except those from this host
	doors   *buckets // of sign-in attempts
	checks  []check

	connections *crowd // all open connections
	bodies      *crowd // unauthenticated requests whose bodies are being received
	uploads     *crowd // the same of admitted callers, whose bodies may be larger
	readers     *crowd // requests whose responses are being sent
}

// check is one reason to refuse a request. The checks are a list so that a test can omit each of them.
type check struct {
	name   string
	refuse func(*http.Request) error
}

func newEdge(c Edge, now func() time.Time) (*edge, error) {
	l := c.Limits.orDefault()
	e := &edge{
		hosts: []string{"localhost", "127.0.0.1", "::1"}, proxies: c.Proxies, origin: http.NewCrossOriginProtection(),
		connections: newCrowd(4 * l.InFlight), bodies: newCrowd(2 * l.InFlight), uploads: newCrowd(max(1, l.InFlight/8)), readers: newCrowd(2 * l.InFlight),
		pace: newBuckets(l.Requests, now), doors: newBuckets(l.SignIns, now),
	}
	for kind := range e.places {
		e.places[kind] = newFlying(l.InFlight, l.InFlightEach)
	}
	for _, host := range c.Hosts {
		e.hosts = append(e.hosts, plainHost(host))
	}
	if c.Origin != "" {
		u, err := url.Parse(c.Origin)
		if err != nil {
			return nil, fmt.Errorf("cannot parse the portal's own address: %w", err)
		}
		e.hosts, e.public = append(e.hosts, plainHost(u.Host)), u.Host
		if err := e.origin.AddTrustedOrigin(u.Scheme + "://" + u.Host); err != nil {
			return nil, fmt.Errorf("cannot use the portal's own address: %w", err)
		}
	}
	e.checks = []check{{"host", e.host}, {"encryption", e.unencrypted}, {"pace", e.tooFast}, {"origin", e.crossOrigin}}
	return e, nil
}

// refuse returns the first reason to refuse a request, nil if there is none.
func (e *edge) refuse(r *http.Request) error {
	for _, c := range e.checks {
		if err := c.refuse(r); err != nil {
			return err
		}
	}
	return nil
}

// guard adds the edge in front of a handler.
func (a *api) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.edge.refuse(r); err != nil {
			a.fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// host refuses a request for an unknown host name. Otherwise a web page whose name resolves to this host (DNS rebinding) could use the portal as
// its own server.
func (e *edge) host(r *http.Request) error {
	if slices.Contains(e.hosts, plainHost(r.Host)) {
		return nil
	}
	return &refusal{
		http.StatusMisdirectedRequest, openapi.ProblemCodeHostNotAllowed,
		"this host name is not allowed: use the address the portal listens on, or add the name to ALLOWED_HOSTS",
	}
}

// unencrypted refuses a request that crossed a network unencrypted: to an address beyond loopback directly, or through a proxy that received it
// unencrypted.
func (e *edge) unencrypted(r *http.Request) error {
	x := exchangeOf(r)
	if x.secure || x.from.IsLoopback() || e.trusts(x.from) {
		return nil
	}
	return &refusal{
		http.StatusForbidden, openapi.ProblemCodeTLSNeeded,
		"this request came unencrypted from another host: use https; a proxy must be listed in TRUSTED_PROXIES and send X-Forwarded-Proto: https",
	}
}

// crossOrigin refuses a state-changing request that a page of another site caused. Clients other than browsers send no origin, and pass.
func (e *edge) crossOrigin(r *http.Request) error {
	if e.origin.Check(r) == nil {
		return nil
	}
	return &refusal{
		http.StatusForbidden, openapi.ProblemCodeCrossOrigin,
		"cross-origin request refused: nothing was done. Open the portal itself; behind a proxy, have it pass on the header Host, or set PUBLIC_URL",
	}
}

// tooFast rate-limits requests by address. Requests from this host pass: local users need no network to load the host, and the clients of an
// untrusted proxy would share one limit.
func (e *edge) tooFast(r *http.Request) error {
	from := exchangeOf(r).from
	if from.IsLoopback() {
		return nil
	}
	if wait := e.pace.take(from); wait > 0 {
		return slowDown("too many requests from this address", wait)
	}
	return nil
}

// tooManyTries rate-limits sign-in attempts by address, this host included.
func (e *edge) tooManyTries(r *http.Request) error {
	if wait := e.doors.take(exchangeOf(r).from); wait > 0 {
		return slowDown("too many sign-in attempts from this address", wait)
	}
	return nil
}

// slowDown refuses a request that can be repeated later.
func slowDown(detail string, wait time.Duration) error {
	return &pbx.Error{
		Kind: pbx.KindTooMany, Code: string(openapi.ProblemCodeTooManyRequests), RetryAfter: wait,
		Msg: detail + ": try again in " + seconds(wait) + " s",
	}
}

// seconds returns a duration in the form of Retry-After.
func seconds(wait time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(wait.Seconds()))))
}

// originOf returns the client address of a request and whether it came encrypted. Headers of a proxy are used only if the proxy is trusted; the
// client is the last address that is not a trusted proxy.
func (e *edge) originOf(r *http.Request) (from netip.Addr, secure bool) {
	from, ok := address(r.RemoteAddr)
	secure = r.TLS != nil
	if !ok || !e.trusts(from) {
		return from, secure
	}
	for proto := range lastToFirst(r.Header.Values("X-Forwarded-Proto")) {
		secure = secure || strings.EqualFold(proto, "https")
		break
	}
	for text := range lastToFirst(r.Header.Values("X-Forwarded-For")) {
		next, ok := address(text)
		if !ok {
			return from, secure
		}
		from = next
		if !e.trusts(from) {
			return from, secure
		}
	}
	return from, secure
}

// address parses an address as proxies write it, with or without a port.
func address(text string) (netip.Addr, bool) {
	if with, err := netip.ParseAddrPort(text); err == nil {
		return with.Addr().Unmap().WithZone(""), true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return addr.Unmap().WithZone(""), err == nil
}

func (e *edge) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(e.proxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// lastToFirst iterates over the elements of a list header, last first. A proxy appends to what its client sent, so earlier elements are parsed only
// on demand.
func lastToFirst(values []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, value := range slices.Backward(values) {
			for more := true; more; {
				i := strings.LastIndexByte(value, ',')
				if !yield(strings.TrimSpace(value[i+1:])) {
					return
				}
				if more = i >= 0; more {
					value = value[:i]
				}
			}
		}
	}
}

// plainHost returns a host in lower case without port, brackets and final dot.
func plainHost(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// Content security policies: API responses may load nothing, pages only the portal's own files.
const (
	apiPolicy = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
	webPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	// The API documentation is a page of the portal, and submits no forms.
	docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)

// setHeaders sets the headers that every response has unless its handler overrides them. API responses need nothing a browser could load.
func setHeaders(h http.Header, x *exchange) {
	h.Set("X-Request-Id", x.id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", apiPolicy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Embedder-Policy", "require-corp")
	h.Set("Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
	if x.secure { // without includeSubDomains: names below the portal's may belong to other services
		h.Set("Strict-Transport-Security", "max-age=63072000")
	}
}
