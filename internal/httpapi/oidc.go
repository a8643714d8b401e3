package httpapi

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// OIDC says with which OpenID provider people may sign in instead of with a password.
type OIDC struct {
	Issuer       string
	ClientID     string
	ClientSecret pbx.Secret
	DefaultRole  pbx.Role // of an account that is made for whom only the provider knows; "": none is made
	ACR          []string // classes of a sign-in (acr) that had a second factor; nil: only the methods (amr) say so
}

const (
	providerPatience = 10 * time.Second // for an answer of the provider
	signInPatience   = 10 * time.Minute // for a person to sign in there
	callbackPath     = "/auth/oidc/callback"
)

// provider is the OpenID provider, as far as it is known. What it says of itself is asked for when it is needed first, so that the portal
// starts without it.
type provider struct {
	OIDC
	origin string // of the portal, as the provider knows it; "": that of the request
	client *http.Client
	now    func() time.Time

	turn  chan struct{} // whoever is in it may look at known
	known *oidc.Provider
}

func newProvider(c OIDC, origin string, now func() time.Time) *provider {
	return &provider{OIDC: c, origin: strings.TrimSuffix(origin, "/"), now: now, client: &http.Client{Timeout: providerPatience, Transport: brief{http.DefaultTransport}}, turn: make(chan struct{}, 1)}
}

// largestAnswer is more than a provider says: its description, its keys, or who somebody is.
const largestAnswer = 1 << 20

// brief reads no more of an answer than that.
type brief struct{ http.RoundTripper }

func (b brief) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, largestAnswer)
	}
	return resp, err
}

// ask gives what the provider says of itself. While it is silent only one request waits for it, and the others for that no longer than any
// request may take: strangers can send these, and must not fill the portal with them.
func (p *provider) ask(ctx context.Context) (*oidc.Provider, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("cannot ask the OpenID provider %s, of which others wait for an answer: %w", p.Issuer, ctx.Err())
	}
	if p.known != nil {
		return p.known, nil
	}
	// The keys of the provider are fetched with this context later on, too.
	known, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.client), p.Issuer)
	if err != nil {
		return nil, fmt.Errorf("cannot ask the OpenID provider %s: %w", p.Issuer, err)
	}
	p.known = known
	return known, nil
}

// config is how the portal presents itself to the provider.
func (p *provider) config(r *http.Request, known *oidc.Provider) *oauth2.Config {
	origin := p.origin
	if origin == "" { // the edge has seen to it that the name is ours
		origin = map[bool]string{true: "https://", false: "http://"}[exchangeOf(r).secure] + r.Host
	}
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret.Reveal(), Endpoint: known.Endpoint(), RedirectURL: origin + callbackPath,
		Scopes: []string{oidc.ScopeOpenID, "email", "profile"},
	}
}

// startOIDC sends a browser to the provider. What has to be there when it comes back stays with the browser, in a cookie that only this host
// gets: so nobody can have another person's browser end up in his own sign-in.
func (a *api) startOIDC(w http.ResponseWriter, r *http.Request) {
	if a.provider == nil {
		a.fail(w, r, errNoPath)
		return
	}
	known, err := a.provider.ask(r.Context())
	if err != nil {
		a.backFromOIDC(w, r, openapi.ProviderAway, err)
		return
	}
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	a.setOIDCCookie(w, r, state+"."+nonce+"."+verifier, int(signInPatience.Seconds()))
	redirect(w, a.provider.config(r, known).AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)))
}

// finishOIDC takes a browser that comes back from the provider, and signs it in.
func (a *api) finishOIDC(w http.ResponseWriter, r *http.Request) {
	if a.provider == nil {
		a.fail(w, r, errNoPath)
		return
	}
	cookie := onlyCookie(r.Header, oidcCookieName(r))
	a.setOIDCCookie(w, r, "", -1) // it is good once
	query := r.URL.Query()
	kept := strings.SplitN(cookie, ".", 4)
	switch {
	case len(kept) != 3 || subtle.ConstantTimeCompare([]byte(kept[0]), []byte(query.Get("state"))) != 1:
		a.backFromOIDC(w, r, openapi.SignInAgain, errors.New("the browser did not begin here, or waited too long"))
		return
	case query.Has("iss") && (len(query["iss"]) > 1 || query.Get("iss") != a.provider.Issuer):
		a.backFromOIDC(w, r, openapi.ProviderRefused, errors.New("the answer is another provider's"))
		return
	case query.Get("code") == "":
		a.backFromOIDC(w, r, openapi.ProviderRefused, fmt.Errorf("the provider says %q", short(query.Get("error"))))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), providerPatience)
	defer cancel()
	person, reason, err := a.provider.identify(ctx, r, query.Get("code"), kept[1], kept[2])
	if err != nil {
		a.backFromOIDC(w, r, reason, err)
		return
	}
	person.UserAgent, person.Replaces = r.UserAgent(), sessionToken(r)
	opened, err := a.auth.SignInOutside(r.Context(), person)
	switch kind := pbx.KindOf(err); {
	case err == nil:
	case errors.Is(err, auth.ErrOtherIdentity):
		a.backFromOIDC(w, r, openapi.OtherIdentity, err)
		return
	case pbx.CodeOf(err) == pbx.CodeSecondFactor:
		a.backFromOIDC(w, r, openapi.PasswordAlone, err)
		return
	case kind == pbx.KindNotSignedIn, kind == pbx.KindInvalid:
		a.backFromOIDC(w, r, openapi.NoAccount, err)
		return
	default:
		a.fail(w, r, err)
		return
	}
	w.Header().Add("Set-Cookie", sessionCookie(r.Context(), opened.Token, opened.Principal.ExpiresAt()))
	redirect(w, backToPages)
}

// identify exchanges a code for who signed in, and checks all that the provider says. The reason is for the person, the error for the log.
func (p *provider) identify(ctx context.Context, r *http.Request, code, nonce, verifier string) (auth.Outside, openapi.SignInTrouble, error) {
	none := auth.Outside{}
	known, err := p.ask(ctx)
	if err != nil {
		return none, openapi.ProviderAway, err
	}
	ctx = oidc.ClientContext(ctx, p.client)
	config := p.config(r, known)
	tokens, err := config.Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return none, openapi.ProviderRefused, fmt.Errorf("cannot exchange the code: %w", err)
	}
	text, _ := tokens.Extra("id_token").(string)
	id, err := known.Verifier(&oidc.Config{ClientID: p.ClientID, Now: p.now}).Verify(ctx, text)
	if err != nil {
		return none, openapi.ProviderRefused, fmt.Errorf("the provider's word does not hold: %w", err)
	}
	said, err := p.claims(id, nonce, tokens.AccessToken)
	if err != nil {
		return none, openapi.ProviderRefused, fmt.Errorf("the provider's word does not hold: %w", err)
	}
	person := said                // who has which address; both from one source
	if said.text("email") == "" { // some say it only when asked
		info, err := known.UserInfo(ctx, config.TokenSource(ctx, tokens))
		if err == nil && info.Subject != id.Subject {
			err = errors.New("it speaks of somebody else")
		}
		if err == nil {
			person = claims{}
			err = info.Claims(&person)
		}
		if err != nil {
			return none, openapi.ProviderRefused, fmt.Errorf("cannot ask the provider who it was: %w", err)
		}
	}
	email := person.text("email")
	if email == "" || person["email_verified"] != true {
		return none, openapi.EmailUnverified, errors.New("the provider does not vouch for an e-mail address")
	}
	name, _, _ := strings.Cut(email, "@")
	return auth.Outside{
		Identity: pbx.Identity{Issuer: id.Issuer, Subject: id.Subject}, Email: email, Role: p.DefaultRole,
		Name: cmp.Or(person.text("name"), said.text("name"), name), Factor: p.factor(said),
	}, "", nil
}

// claims is what a provider says of a person, by the exact names of the claims: to a struct, Email_Verified would say the same as email_verified.
type claims map[string]any

// text gives a claim that is a text, "" where there is none.
func (c claims) text(name string) string {
	text, _ := c[name].(string)
	return text
}

// clockSkew is how far the provider's clock may be ahead of ours.
const clockSkew = 5 * time.Minute

// claims gives what a token says whose signature, issuer, audience and end hold, once the rest holds as well (OpenID Connect Core 3.1.3.7): it
// was made for us, for this sign-in, for the access token that came with it, and it names a person.
func (p *provider) claims(id *oidc.IDToken, nonce, accessToken string) (claims, error) {
	said := claims{}
	if err := id.Claims(&said); err != nil {
		return nil, fmt.Errorf("cannot read it: %w", err)
	}
	azp, named := said["azp"]
	switch {
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1:
		return nil, errors.New("it is about another sign-in")
	case named && azp != p.ClientID:
		return nil, errors.New("it was made for another client (azp)")
	case !named && len(id.Audience) != 1:
		return nil, errors.New("it is for several, and does not say for whom it was made (azp)")
	case said["iat"] == nil || id.IssuedAt.Sub(p.now()) > clockSkew:
		return nil, errors.New("it does not say when it was made, or that lies in the future: look at the clocks of both")
	case id.Subject == "" || said.text("sub") != id.Subject || len(id.Subject) > maxSubject || strings.ContainsFunc(id.Subject, func(r rune) bool { return r < ' ' || r > '~' }):
		return nil, fmt.Errorf("it names no person: sub must have 1 to %d characters of printable ASCII", maxSubject)
	}
	if id.AccessTokenHash == "" {
		return said, nil
	}
	return said, id.VerifyAccessToken(accessToken)
}

// maxSubject is how long the name of a person may be at a provider.
const maxSubject = 255

// factors are the methods that prove more than that somebody knows something (RFC 8176, and the names that large providers use).
func factors() []string {
	return []string{"mfa", "mca", "otp", "hwk", "swk", "pop", "sc", "sms", "tel", "fpt", "face", "iris", "retina", "vbm", "rsa", "fido", "ngcmfa"}
}

// factor says what a provider says of the second factor, by the methods that it names (amr) or the class (acr) where one is configured. One
// that names methods which are none of a second factor had none; where a class is configured, so had one that says nothing.
func (p *provider) factor(said claims) auth.Factor {
	var methods []any
	switch m := said["amr"].(type) {
	case string:
		methods = []any{m}
	case []any:
		methods = m
	}
	acr := said.text("acr")
	switch {
	case acr != "" && slices.Contains(p.ACR, acr), slices.ContainsFunc(methods, func(m any) bool { return slices.Contains(factors(), fmt.Sprint(m)) }):
		return auth.FactorProved
	case len(methods) > 0, len(p.ACR) > 0:
		return auth.FactorNone
	}
	return auth.FactorUnsaid
}

// backToPages is where a browser goes from below /auth/oidc/, relative for proxies that add a prefix.
const backToPages = "../../app/"

// backFromOIDC sends a browser that was not signed in back to the pages, which say why. The log says more.
func (a *api) backFromOIDC(w http.ResponseWriter, r *http.Request, reason openapi.SignInTrouble, err error) {
	a.log.WarnContext(r.Context(), "nobody was signed in by the OpenID provider", slog.String("request_id", exchangeOf(r).id), slog.String("reason", string(reason)), slog.Any("err", err))
	redirect(w, backToPages+"?sign_in="+string(reason))
}

func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

func oidcCookieName(r *http.Request) string { return exchangeOf(r).cookie + "-oidc" }

// setOIDCCookie sets or takes away the cookie that waits for a browser's return. It has to come along from the provider's site.
func (a *api) setOIDCCookie(w http.ResponseWriter, r *http.Request, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // on loopback there is no encryption to insist on
		Name: oidcCookieName(r), Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, Secure: exchangeOf(r).secure, SameSite: http.SameSiteLaxMode,
	})
}
