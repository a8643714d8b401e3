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

// demand is what a route asks of its callers.
type demand struct {
	permission  pbx.Permission
	beforeSetup bool // it is there before anybody has an account
	door        bool // a request is a try to sign in
	factorless  bool // it is there for who lacks the second factor that is demanded of him
	place       kind // where it is worked on
	owing       bool // it is there for a session that still waits for the account's second factor
}

// gate is what every request passes before its handler, whatever it asks for. What a route demands is not met until it is proved.
type gate struct {
	auth     *auth.Auth
	edge     *edge
	insecure bool
	checks   []admission
}

// admission is one condition for a request to come to its handler. It gives the request as those behind it see it. The conditions stand
// in a list so that a test can see what happens without one of them.
type admission struct {
	name  string
	admit func(demand, *http.Request) (*http.Request, error)
}

func newGate(a *auth.Auth, e *edge, insecure bool) *gate {
	g := &gate{auth: a, edge: e, insecure: insecure}
	g.checks = []admission{{"tries", g.notTooManyTries}, {"set-up", g.setUp}, {"sign-in", g.signedIn}, {"account", g.sameAccount}, {"owed factor", g.owesNothing}, {"second factor", g.hasFactor}, {"permission", g.permitted}}
	return g
}

// admit gives the request as its handler may see it, or the reason why it comes no further.
func (g *gate) admit(d demand, r *http.Request) (*http.Request, error) {
	for _, c := range g.checks {
		next, err := c.admit(d, r)
		if err != nil {
			return nil, g.refused(d, r, err)
		}
		r = next
	}
	return r.WithContext(pbx.WithActor(r.Context(), actorOf(r))), nil
}

// actorOf gives the caller of a request, and names him in the log.
func actorOf(r *http.Request) pbx.Actor {
	x, p := exchangeOf(r), auth.PrincipalOf(r.Context())
	actor := p.Actor(x.from.String(), x.id)
	x.actor = strings.TrimSpace(string(actor.Kind) + " " + actor.ID)
	return actor
}

// refused notes that somebody who is known was refused, and gives the reason. Of others there is nothing to say but how many they are,
// which the metrics do.
func (g *gate) refused(d demand, r *http.Request, reason error) error {
	if pbx.KindOf(reason) != pbx.KindForbidden || !auth.PrincipalOf(r.Context()).Known() {
		return reason
	}
	if err := g.auth.Refused(pbx.WithActor(r.Context(), actorOf(r)), r.Method+" "+exchangeOf(r).route, d.permission); err != nil {
		return err
	}
	return reason
}

func (g *gate) notTooManyTries(d demand, r *http.Request) (*http.Request, error) {
	if !d.door {
		return r, nil
	}
	return r, g.edge.tooManyTries(r)
}

// lookOver is the time between two looks at who reads an answer that goes on.
const lookOver = 15 * time.Second

// watched gives a request for an answer that may go on for hours, which ends once its reader would not be let in any more: he signed out,
// his session is over, he was disabled, or the token was revoked. While the database is away nobody knows, and the answer goes on. Done
// must be called behind the answer.
func (g *gate) watched(d demand, r *http.Request) (_ *http.Request, done func()) {
	ctx, end := context.WithCancel(r.Context())
	r = r.WithContext(ctx)
	var watching sync.WaitGroup
	if !g.insecure && d.permission != pbx.Public {
		watching.Go(func() { g.watch(d, r, end) })
	}
	return r, func() { end(); watching.Wait() }
}

func (g *gate) watch(d demand, r *http.Request, end func()) {
	tick := time.NewTicker(lookOver)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
		p, err := g.auth.Holds(r.Context(), proofOf(r))
		if pbx.KindOf(err) != pbx.KindUnavailable && !p.May(d.permission) {
			end()
		}
	}
}

// setUp closes what is open to anyone while nobody has an account. What is not open waits for its caller's sign-in.
func (g *gate) setUp(d demand, r *http.Request) (*http.Request, error) {
	if d.permission != pbx.Public || d.beforeSetup {
		return r, nil
	}
	return r, g.setupNeeded(r.Context())
}

// setupNeeded is the refusal of whoever is not known while nobody has an account, nil afterwards.
func (g *gate) setupNeeded(ctx context.Context) error {
	if g.insecure {
		return nil
	}
	needed, err := g.auth.SetupNeeded(ctx)
	if err == nil && needed {
		err = &pbx.Error{Kind: pbx.KindForbidden, Code: pbx.CodeSetupNeeded, Msg: "nobody has an account yet: follow the link that the portal printed when it started, or run pbxportal admin create"}
	}
	return err
}

// signedIn finds out who is calling. Before set-up there are no accounts, but the command line may have made a token, which holds.
func (g *gate) signedIn(d demand, r *http.Request) (*http.Request, error) {
	if d.permission == pbx.Public {
		return r, nil
	}
	if g.insecure {
		return r.WithContext(auth.WithPrincipal(r.Context(), auth.Anyone())), nil
	}
	p, err := g.auth.Authenticate(r.Context(), proofOf(r))
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

// accountHeader names the account that a page shows as signed in. A cookie belongs to the whole browser: a sign-in in another tab changes
// it under a page that goes on showing the person before.
const accountHeader = "Expected-Account"

// sameAccount refuses a request that names another account than the one it is made with. A request that names none passes.
func (g *gate) sameAccount(d demand, r *http.Request) (*http.Request, error) {
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

// owesNothing refuses a session that still waits for the account's second factor.
func (g *gate) owesNothing(d demand, r *http.Request) (*http.Request, error) {
	if d.permission == pbx.Public || d.owing || !auth.PrincipalOf(r.Context()).OwesFactor() {
		return r, nil
	}
	return nil, auth.OTPRequired()
}

// hasFactor refuses a caller who lacks the second factor that the portal demands of him.
func (g *gate) hasFactor(d demand, r *http.Request) (*http.Request, error) {
	if d.permission == pbx.Public || d.factorless || !auth.PrincipalOf(r.Context()).LacksFactor() {
		return r, nil
	}
	return nil, auth.FactorNeeded()
}

// permitted refuses a caller who is known and may not.
func (g *gate) permitted(d demand, r *http.Request) (*http.Request, error) {
	p := auth.PrincipalOf(r.Context())
	if d.permission == pbx.Public || p.May(d.permission) {
		return r, nil
	}
	return nil, &pbx.Error{Kind: pbx.KindForbidden, Code: pbx.CodeForbidden, Msg: missing(d.permission, p)}
}

// missing says what a caller lacks, and who can give it.
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
	return fmt.Sprintf("this takes the permission %s, which %s does not have (%s have it): ask an owner or admin", wanted, who, strings.Join(have, ", "))
}

// proofOf gives what a request carries to prove who sent it. An Authorization header decides alone, also when it is of no use; a cookie is
// not looked at where the browser says that a page of another site made it ask, or more than one thing.
func proofOf(r *http.Request) auth.Proof {
	if given := r.Header.Values("Authorization"); len(given) > 0 {
		scheme, token, _ := strings.Cut(given[0], " ")
		if len(given) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" {
			token = "none" // which no token is
		}
		return auth.Proof{Bearer: token}
	}
	for i, site := range r.Header.Values("Sec-Fetch-Site") {
		if i > 0 || site != "same-origin" && site != "none" {
			return auth.Proof{}
		}
	}
	return auth.Proof{Session: sessionToken(r)}
}

// The names of the cookie that holds a session's token, before the port. A browser takes the first only over an encrypted connection, and from nobody but
// the very host; the second is for loopback.
const (
	secureCookie = "__Host-pbxportal"
	plainCookie  = "pbxportal"
)

// cookieName returns the name of the cookie with a session's token. Browsers send the cookies of a host name to all its ports, so the name holds the port:
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

// portOf returns the port of host:port, "" where there is none.
func portOf(host string) string {
	_, port, err := net.SplitHostPort(host)
	if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil {
		return ""
	}
	return port
}

// sessionToken gives the token of the session a browser holds, "" for none. Two cookies of the name are none: somebody put one beside ours.
func sessionToken(r *http.Request) string { return onlyCookie(r.Header, exchangeOf(r).cookie) }

// onlyCookie returns the value of the cookie with a name, "" where there is none or more than one. Whatever else stands in the header is
// passed over: a stranger can put a thousand cookies into it.
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

// sessionCookie is the cookie that hands a browser the token of its session, until then. Without a token it takes the cookie away.
func sessionCookie(ctx context.Context, token pbx.Secret, until time.Time) string {
	x := exchangeIn(ctx)
	c := http.Cookie{ //nolint:gosec // on loopback there is no encryption to insist on
		Name: x.cookie, Value: token.Reveal(), Path: "/", Expires: until, HttpOnly: true, Secure: x.secure, SameSite: http.SameSiteStrictMode,
	}
	if c.Value == "" {
		c.MaxAge = -1
	}
	return c.String()
}
