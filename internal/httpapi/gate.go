package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// requirement is what a route requires of its callers.
type requirement struct {
	permission             pbx.Permission
	beforeSetup            bool     // available before set-up
	door                   bool     // a request is a sign-in attempt
	exemptFromSecondFactor bool     // available without a required second factor
	place                  kind     // the kind of its slot
	media                  []string // the media types of its body; nil: it has none
	owing                  bool     // available to a session that still owes the second factor
}

// gate authenticates and authorises every request before its handler. Access is denied unless the requirement is met.
type gate struct {
	auth     *auth.Auth
	edge     *edge
	insecure bool
	checks   []admission
}

// admission is one condition for a request to reach its handler. It returns the request as later conditions and the handler see it. The conditions
// are a list so that a test can omit each of them.
type admission struct {
	name  string
	admit func(requirement, *http.Request) (*http.Request, error)
}

func newGate(a *auth.Auth, e *edge, insecure bool) *gate {
	g := &gate{auth: a, edge: e, insecure: insecure}
	g.checks = []admission{{"tries", g.notTooManyTries}, {"set-up", g.setUp}, {"sign-in", g.signedIn}, {"account", g.sameAccount}, {"owed factor", g.owesNothing}, {"second factor", g.hasFactor}, {"permission", g.permitted}}
	return g
}

// admit returns the request as its handler sees it, or the reason for refusing it.
func (g *gate) admit(d requirement, r *http.Request) (*http.Request, error) {
	for _, c := range g.checks {
		next, err := c.admit(d, r)
		if err != nil {
			return nil, g.refused(d, r, err)
		}
		r = next
	}
	return r.WithContext(pbx.WithActor(r.Context(), actorOf(r))), nil
}

// actorOf returns the caller of a request, and adds the name to the log line.
func actorOf(r *http.Request) pbx.Actor {
	x, p := exchangeOf(r), auth.PrincipalOf(r.Context())
	actor := p.Actor(x.from.String(), x.id)
	x.actor = strings.TrimSpace(string(actor.Kind) + " " + actor.ID)
	return actor
}

// refused records the refusal of a known caller, and returns the reason. Others are only counted by the metrics.
func (g *gate) refused(d requirement, r *http.Request, reason error) error {
	if pbx.KindOf(reason) != pbx.KindForbidden || !auth.PrincipalOf(r.Context()).Known() {
		return reason
	}
	if err := g.auth.Refused(pbx.WithActor(r.Context(), actorOf(r)), r.Method+" "+exchangeOf(r).route, d.permission); err != nil {
		return err
	}
	return reason
}

func (g *gate) notTooManyTries(d requirement, r *http.Request) (*http.Request, error) {
	if !d.door {
		return r, nil
	}
	return r, g.edge.tooManyTries(r)
}

// lookOver is the interval at which the reader of a stream is authorised again.
const lookOver = 15 * time.Second

// watched returns a request for a stream that ends once its reader is no longer authorised: signed out, expired, disabled or revoked. While the
// database is unavailable the stream continues. The caller calls done after the response.
func (g *gate) watched(d requirement, r *http.Request) (_ *http.Request, done func()) {
	ctx, end := context.WithCancel(r.Context())
	r = r.WithContext(ctx)
	var watching sync.WaitGroup
	if !g.insecure && d.permission != pbx.Public {
		watching.Go(func() { g.watch(d, r, end) })
	}
	return r, func() { end(); watching.Wait() }
}

func (g *gate) watch(d requirement, r *http.Request, end func()) {
	tick := time.NewTicker(lookOver)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
		p, err := g.auth.Revalidate(r.Context(), credentialsOf(r))
		if pbx.KindOf(err) != pbx.KindUnavailable && !p.May(d.permission) {
			end()
		}
	}
}

// setUp closes public routes while there are no accounts, unless they are available before set-up. Other routes wait for authentication.
func (g *gate) setUp(d requirement, r *http.Request) (*http.Request, error) {
	if d.permission != pbx.Public || d.beforeSetup {
		return r, nil
	}
	return r, g.setupNeeded(r.Context())
}

// setupNeeded returns the error for an unauthenticated caller while there are no accounts, nil afterwards.
func (g *gate) setupNeeded(ctx context.Context) error {
	if g.insecure {
		return nil
	}
	needed, err := g.auth.SetupNeeded(ctx)
	if err == nil && needed {
		err = &pbx.Error{Kind: pbx.KindForbidden, Code: pbx.CodeSetupNeeded, Msg: "there are no accounts yet: follow the link that the portal printed when it started, or run pbxportal admin create"}
	}
	return err
}

// signedIn authenticates the caller. Before set-up there are no accounts, but tokens of the command line are valid.
func (g *gate) signedIn(d requirement, r *http.Request) (*http.Request, error) {
	if d.permission == pbx.Public {
		return r, nil
	}
	if g.insecure {
		return r.WithContext(auth.WithPrincipal(r.Context(), auth.Anyone())), nil
	}
	p, err := g.auth.Authenticate(r.Context(), credentialsOf(r))
	if pbx.KindOf(err) == pbx.KindNotSignedIn {
		if needed := g.setupNeeded(r.Context()); needed != nil {
			err = needed
		}
	}
	if err != nil {
		return nil, err
	}
	return r.WithContext(auth.WithPrincipal(r.Context(), p)), nil
}

// accountHeader names the account that a page shows as signed in. Cookies are shared by the whole browser: a sign-in in another tab changes the
// session of a page that still shows the previous account.
const accountHeader = "Expected-Account"

// sameAccount refuses a request whose session is not of the account in accountHeader. A request without the header passes.
func (g *gate) sameAccount(d requirement, r *http.Request) (*http.Request, error) {
	expected := r.Header.Values(accountHeader)
	if d.permission == pbx.Public || len(expected) == 0 {
		return r, nil
	}
	account, ok := auth.PrincipalOf(r.Context()).Account()
	if ok && len(expected) == 1 && expected[0] == string(account.ID) {
		return r, nil
	}
	return nil, &pbx.Error{
		Kind: pbx.KindNotSignedIn, Code: pbx.CodeOtherAccount,
		Msg: "another account than the one in the header " + accountHeader + " is signed in; nothing was done: load the page again to go on as that account",
	}
}

// owesNothing refuses a session that still owes the account's second factor.
func (g *gate) owesNothing(d requirement, r *http.Request) (*http.Request, error) {
	if d.permission == pbx.Public || d.owing || !auth.PrincipalOf(r.Context()).OwesFactor() {
		return r, nil
	}
	return nil, auth.OTPRequired()
}

// hasFactor refuses a caller without a required second factor.
func (g *gate) hasFactor(d requirement, r *http.Request) (*http.Request, error) {
	if d.permission == pbx.Public || d.exemptFromSecondFactor || !auth.PrincipalOf(r.Context()).MissingSecondFactor() {
		return r, nil
	}
	return nil, auth.FactorNeeded()
}

// permitted refuses an authenticated caller without the permission.
func (g *gate) permitted(d requirement, r *http.Request) (*http.Request, error) {
	p := auth.PrincipalOf(r.Context())
	if d.permission == pbx.Public || p.May(d.permission) {
		return r, nil
	}
	return nil, &pbx.Error{Kind: pbx.KindForbidden, Code: pbx.CodeForbidden, Msg: missing(d.permission, p)}
}

// missing describes the permission that a caller lacks, and who can grant it.
func missing(wanted pbx.Permission, p auth.Principal) string {
	var have []string
	for _, role := range pbx.Roles() {
		if role.May(wanted) {
			have = append(have, string(role))
		}
	}
	who := "your role " + string(p.Role())
	if t, ok := p.Token(); ok {
		who = "the token " + t.Name
	}
	return fmt.Sprintf("this requires the permission %s, which %s does not have (%s have it): ask an owner or admin", wanted, who, strings.Join(have, ", "))
}

// credentialsOf returns the credentials of a request. An Authorization header takes precedence, even if it is invalid; a cookie is ignored if the
// browser reports a request caused by another site, or reports it ambiguously.
func credentialsOf(r *http.Request) auth.Credentials {
	if given := r.Header.Values("Authorization"); len(given) > 0 {
		scheme, token, _ := strings.Cut(given[0], " ")
		if len(given) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" {
			token = "none" // matches no token
		}
		return auth.Credentials{Bearer: token}
	}
	for i, site := range r.Header.Values("Sec-Fetch-Site") {
		if i > 0 || site != "same-origin" && site != "none" {
			return auth.Credentials{}
		}
	}
	return auth.Credentials{Session: sessionToken(r)}
}

// The names of the session cookie, without the port. A browser accepts the first only over an encrypted connection and from this very host; the
// second is for loopback.
const (
	secureCookie = "__Host-pbxportal"
	plainCookie  = "pbxportal"
)

// cookieName returns the name of the session cookie. Browsers send the cookies of a host name to all its ports, so the name contains the port:
// several portals on one host do not end each other's sessions.
func (e *edge) cookieName(host string, secure bool) string {
	name := plainCookie
	if secure {
		name = secureCookie
	}
	port := portOf(cmp.Or(e.public, host))
	if port == "" || port == "80" || port == "443" {
		return name
	}
	return name + "-" + port
}

// portOf returns the port of host:port, "" if there is none.
func portOf(host string) string {
	_, port, err := net.SplitHostPort(host)
	if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil {
		return ""
	}
	return port
}

// sessionToken returns the session token of the browser, "" for none. Two cookies of the name count as none: one of them was injected.
func sessionToken(r *http.Request) string { return onlyCookie(r.Header, exchangeOf(r).cookie) }

// onlyCookie returns the value of the cookie with a name, "" if there is none or more than one. Other cookies are skipped without parsing: a client
// can send a thousand.
func onlyCookie(header http.Header, name string) string {
	found := ""
	for _, line := range header.Values("Cookie") {
		for part := range strings.SplitSeq(line, ";") {
			if n, _, _ := strings.Cut(part, "="); strings.TrimSpace(n) != name {
				continue
			}
			if found != "" {
				return ""
			}
			found = part
		}
	}
	cookies, err := http.ParseCookie(found)
	if err != nil {
		return ""
	}
	return cookies[0].Value
}

// sessionCookie returns the cookie that stores a session token in the browser until it expires. Without a token it removes the cookie.
func sessionCookie(ctx context.Context, token pbx.Secret, until time.Time) string {
	x := exchangeIn(ctx)
	c := http.Cookie{ //nolint:gosec // loopback is unencrypted
		Name: x.cookie, Value: token.Reveal(), Path: "/", Expires: until, HttpOnly: true, Secure: x.secure, SameSite: http.SameSiteStrictMode,
	}
	if c.Value == "" {
		c.MaxAge = -1
	}
	return c.String()
}
