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

// Edge says who may reach the portal, by which names, and how often. The zero Edge is that of a portal on loopback.
type Edge struct {
	Hosts   []string       // the names and addresses, without port, the portal is asked for, beside those of loopback
	Origin  string         // scheme://host[:port] of the address people know, where a proxy asks us by another name; "" where none does
	Proxies []netip.Prefix // whose X-Forwarded-For and X-Forwarded-Proto are believed
	Limits  Limits
}

// edge is what every request passes before anything is looked up for it.
type edge struct {
	hosts   []string
	public  string // host[:port] of the address people know, "" where it is that of the request
	proxies []netip.Prefix
	origin  *http.CrossOriginProtection
	places  [kinds]*flying
	pace    *buckets // of all requests, but those from this machine
	doors   *buckets // of tries to sign in
	checks  []check

	connections *crowd // all that are open
	bodies      *crowd // requests of strangers whose bodies are on their way
	uploads     *crowd // the same of admitted callers, whose bodies may be larger
	readers     *crowd // requests whose answers are on their way
}

// check is one reason to refuse a request. The checks stand in a list so that a test can see what happens without one of them.
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
			return nil, fmt.Errorf("cannot read the portal's own address: %w", err)
		}
		e.hosts, e.public = append(e.hosts, plainHost(u.Host)), u.Host
		if err := e.origin.AddTrustedOrigin(u.Scheme + "://" + u.Host); err != nil {
			return nil, fmt.Errorf("cannot use the portal's own address: %w", err)
		}
	}
	e.checks = []check{{"host", e.host}, {"encryption", e.unencrypted}, {"pace", e.tooFast}, {"origin", e.crossOrigin}}
	return e, nil
}

// refuse gives the first reason to refuse a request, nil where there is none.
func (e *edge) refuse(r *http.Request) error {
	for _, c := range e.checks {
		if err := c.refuse(r); err != nil {
			return err
		}
	}
	return nil
}

// guard puts the edge before a handler.
func (a *api) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.edge.refuse(r); err != nil {
			a.fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// host refuses a request for a name that is not ours. A page whose name was made to point to this machine (DNS rebinding) would
// otherwise speak to the portal as if it were its own server.
func (e *edge) host(r *http.Request) error {
	if slices.Contains(e.hosts, plainHost(r.Host)) {
		return nil
	}
	return &refusal{
		http.StatusMisdirectedRequest, openapi.ProblemCodeHostNotAllowed,
		"the portal does not answer to this name: use the address it listens on, or add the name to ALLOWED_HOSTS",
	}
}

// unencrypted refuses a request that crossed a network for all to read. It came to an address beyond loopback, past the proxy that is
// meant to stand there, or through one that says it got it so.
func (e *edge) unencrypted(r *http.Request) error {
	x := exchangeOf(r)
	if x.secure || x.from.IsLoopback() || e.trusts(x.from) {
		return nil
	}
	return &refusal{
		http.StatusForbidden, openapi.ProblemCodeTLSNeeded,
		"this came unencrypted from another machine: use https; a proxy has to be in TRUSTED_PROXIES and say X-Forwarded-Proto: https",
	}
}

// crossOrigin refuses a change that a page of another site made the browser ask for. Programs that are no browser say nothing of an
// origin, and pass.
func (e *edge) crossOrigin(r *http.Request) error {
	if e.origin.Check(r) == nil {
		return nil
	}
	return &refusal{
		http.StatusForbidden, openapi.ProblemCodeCrossOrigin,
		"a page of another site made the browser ask for this: nothing was done. Open the portal itself; behind a proxy, have it pass the header Host on, or set PUBLIC_URL",
	}
}

// tooFast refuses more requests than one address may send. Requests from this machine pass: whoever is here needs no network to keep the
// machine busy, and a proxy that is not trusted would make all its clients one.
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

// tooManyTries refuses more tries to sign in than one address may make, from wherever it is.
func (e *edge) tooManyTries(r *http.Request) error {
	if wait := e.doors.take(exchangeOf(r).from); wait > 0 {
		return slowDown("too many tries to sign in from this address", wait)
	}
	return nil
}

// slowDown refuses a request that would be taken later.
func slowDown(detail string, wait time.Duration) error {
	return &pbx.Error{
		Kind: pbx.KindTooMany, Code: string(openapi.ProblemCodeTooManyRequests), RetryAfter: wait,
		Msg: detail + ": try again in " + seconds(wait) + " s",
	}
}

// seconds gives a time as Retry-After says it.
func seconds(wait time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(wait.Seconds()))))
}

// originOf finds out where a request came from and whether it came encrypted. What a proxy says of that is believed only where the proxy
// is trusted; of several addresses the last one counts that no trusted proxy has.
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

// address reads an address as proxies write it, with a port or without.
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

// lastToFirst goes through the parts of a header that is a list, beginning with its last. A proxy passes on what its client wrote before its
// own part, so nothing is done with the rest before it is asked for.
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

// plainHost gives a host without port, brackets, final dot and capitals.
func plainHost(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// The policies say what a browser may load for an answer: nothing for those of the API, the portal's own files for its pages.
const (
	apiPolicy = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
	webPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	// The page that shows the contract is a page of ours, and sends no forms.
	docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)

// setHeaders sets what every answer carries unless its handler says otherwise. An API needs nothing a browser could load.
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
	if x.secure { // without includeSubDomains: the portal speaks for its own name, and what lives below that may be somebody else's
		h.Set("Strict-Transport-Security", "max-age=63072000")
	}
}
