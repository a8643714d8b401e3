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

// OIDC configures sign-in with an OpenID provider.
type OIDC struct {
	Issuer       string
	ClientID     string
	ClientSecret pbx.Secret
	DefaultRole  pbx.Role // of new accounts for users known only to the provider; "": none are created
	ACR          []string // authentication context classes (acr) with a second factor; nil: only the methods (amr) count
}

const (
	providerPatience = 10 * time.Second // for a response of the provider
	signInPatience   = 10 * time.Minute // for a user to sign in there
	callbackPath     = "/auth/oidc/callback"
)

// provider is an OpenID provider. Its metadata is fetched on first use, so that the portal starts without it.
type provider struct {
	OIDC
	origin string // the portal's origin as registered with the provider; "": that of the request
	client *http.Client
	now    func() time.Time

	turn  chan struct{} // guards known
	known *oidc.Provider
}

func newProvider(c OIDC, origin string, now func() time.Time) *provider {
	return &provider{OIDC: c, origin: strings.TrimSuffix(origin, "/"), now: now, client: &http.Client{Timeout: providerPatience, Transport: brief{http.DefaultTransport}}, turn: make(chan struct{}, 1)}
}

// largestAnswer bounds a response of the provider: metadata, keys, user info.
const largestAnswer = 1 << 20

// brief limits the size of responses to largestAnswer.
type brief struct{ http.RoundTripper }

func (b brief) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, largestAnswer)
	}
	return resp, err
}

// ask returns the provider's metadata. While the provider does not respond, only one request waits for it, and the others wait for that one no
// longer than a request may take: unauthenticated clients can cause these requests.
func (p *provider) ask(ctx context.Context) (*oidc.Provider, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("cannot query the OpenID provider %s: another query is pending: %w", p.Issuer, ctx.Err())
	}
	if p.known != nil {
		return p.known, nil
	}
	// The provider's keys are fetched with this context later on, too.
	known, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.client), p.Issuer)
	if err != nil {
		return nil, fmt.Errorf("cannot query the OpenID provider %s: %w", p.Issuer, err)
	}
	p.known = known
	return known, nil
}

// config returns the OAuth2 configuration.
func (p *provider) config(r *http.Request, known *oidc.Provider) *oauth2.Config {
	origin := p.origin
	if origin == "" { // the edge has verified the host name
		origin = map[bool]string{true: "https://", false: "http://"}[exchangeOf(r).secure] + r.Host
	}
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret.Reveal(), Endpoint: known.Endpoint(), RedirectURL: origin + callbackPath,
		Scopes: []string{oidc.ScopeOpenID, "email", "profile"},
	}
}

// startOIDC redirects a browser to the provider. The state for its return is kept in a cookie that only this host receives, so that an attacker
// cannot complete a sign-in in another user's browser.
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

// finishOIDC signs in a browser that returns from the provider.
func (a *api) finishOIDC(w http.ResponseWriter, r *http.Request) {
	if a.provider == nil {
		a.fail(w, r, errNoPath)
		return
	}
	cookie := onlyCookie(r.Header, oidcCookieName(r))
	a.setOIDCCookie(w, r, "", -1) // single use
	query := r.URL.Query()
	kept := strings.SplitN(cookie, ".", 4)
	switch {
	case len(kept) != 3 || subtle.ConstantTimeCompare([]byte(kept[0]), []byte(query.Get("state"))) != 1:
		a.backFromOIDC(w, r, openapi.SignInAgain, errors.New("the sign-in was not started in this browser, or has expired"))
		return
	case query.Has("iss") && (len(query["iss"]) > 1 || query.Get("iss") != a.provider.Issuer):
		a.backFromOIDC(w, r, openapi.ProviderRefused, errors.New("the response is from another provider"))
		return
	case query.Get("code") == "":
		a.backFromOIDC(w, r, openapi.ProviderRefused, fmt.Errorf("the provider reports %q", short(query.Get("error"))))
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
	opened, err := a.auth.SignInFederated(r.Context(), person)
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
	redirect(w, backToPages(r))
}

// identify exchanges a code for the user's identity, and validates the provider's statements. The trouble is for the user, the error for the log.
func (p *provider) identify(ctx context.Context, r *http.Request, code, nonce, verifier string) (auth.FederatedLogin, openapi.SignInTrouble, error) {
	none := auth.FederatedLogin{}
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
		return none, openapi.ProviderRefused, fmt.Errorf("the ID token is invalid: %w", err)
	}
	said, err := p.claims(id, nonce, tokens.AccessToken)
	if err != nil {
		return none, openapi.ProviderRefused, fmt.Errorf("the ID token is invalid: %w", err)
	}
	person := said                // the source of the address and its verification
	if said.text("email") == "" { // some providers include it only in user info
		info, err := known.UserInfo(ctx, config.TokenSource(ctx, tokens))
		if err == nil && info.Subject != id.Subject {
			err = errors.New("the user info is of another subject")
		}
		if err == nil {
			person = claims{}
			err = info.Claims(&person)
		}
		if err != nil {
			return none, openapi.ProviderRefused, fmt.Errorf("cannot query the user info: %w", err)
		}
	}
	email := person.text("email")
	if email == "" || person["email_verified"] != true {
		return none, openapi.EmailUnverified, errors.New("the provider has not verified the e-mail address")
	}
	name, _, _ := strings.Cut(email, "@")
	return auth.FederatedLogin{
		Identity: pbx.Identity{Issuer: id.Issuer, Subject: id.Subject}, Email: email, Role: p.DefaultRole,
		Name: cmp.Or(person.text("name"), said.text("name"), name), Factor: p.factor(said),
	}, "", nil
}

// claims are the claims of a token or user info, by their exact names: a struct would match Email_Verified as email_verified.
type claims map[string]any

// text returns a text claim, "" if there is none.
func (c claims) text(name string) string {
	text, _ := c[name].(string)
	return text
}

// clockSkew is how far the provider's clock may be ahead.
const clockSkew = 5 * time.Minute

// claims returns the claims of a token with verified signature, issuer, audience and expiry, after validating the rest (OpenID Connect Core
// 3.1.3.7): it was issued for this client, this sign-in and the accompanying access token, and names a subject.
func (p *provider) claims(id *oidc.IDToken, nonce, accessToken string) (claims, error) {
	said := claims{}
	if err := id.Claims(&said); err != nil {
		return nil, fmt.Errorf("cannot parse it: %w", err)
	}
	azp, named := said["azp"]
	switch {
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1:
		return nil, errors.New("it belongs to another sign-in")
	case named && azp != p.ClientID:
		return nil, errors.New("it was issued for another client (azp)")
	case !named && len(id.Audience) != 1:
		return nil, errors.New("it has several audiences and no authorized party (azp)")
	case said["iat"] == nil || id.IssuedAt.Sub(p.now()) > clockSkew:
		return nil, errors.New("it has no issue time, or one in the future: check the clocks of the portal and the provider")
	case id.Subject == "" || said.text("sub") != id.Subject || len(id.Subject) > maxSubject || strings.ContainsFunc(id.Subject, func(r rune) bool { return r < ' ' || r > '~' }):
		return nil, fmt.Errorf("it names no subject: sub must have 1 to %d characters of printable ASCII", maxSubject)
	}
	if id.AccessTokenHash == "" {
		return said, nil
	}
	return said, id.VerifyAccessToken(accessToken)
}

// maxSubject is the maximum length of a subject.
const maxSubject = 255

// factors are the authentication methods that go beyond knowledge (RFC 8176, and names used by large providers).
func factors() []string {
	return []string{"mfa", "mca", "otp", "hwk", "swk", "pop", "sc", "sms", "tel", "fpt", "face", "iris", "retina", "vbm", "rsa", "fido", "ngcmfa"}
}

// factor returns the provider's statement about the second factor, by the methods (amr), or the class (acr) if one is configured. Methods without a
// second factor mean none; if a class is configured, so does a missing statement.
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

// backToPages returns the address of the pages relative to the path of a request for /auth/oidc/…, for proxies that add a prefix.
func backToPages(r *http.Request) string {
	return strings.Repeat("../", strings.Count(exchangeOf(r).prefix, "/")) + "../../app/"
}

// backFromOIDC redirects a browser that was not signed in to the pages, with the reason. Details go to the log.
func (a *api) backFromOIDC(w http.ResponseWriter, r *http.Request, reason openapi.SignInTrouble, err error) {
	a.log.WarnContext(r.Context(), "sign-in with the OpenID provider failed", slog.String("request_id", exchangeOf(r).id), slog.String("reason", string(reason)), slog.Any("err", err))
	redirect(w, backToPages(r)+"?sign_in="+string(reason))
}

func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

func oidcCookieName(r *http.Request) string { return exchangeOf(r).cookie + "-oidc" }

// setOIDCCookie sets or removes the cookie that keeps the state of a sign-in. The browser must send it when it comes from the provider's site.
func (a *api) setOIDCCookie(w http.ResponseWriter, r *http.Request, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // loopback is unencrypted
		Name: oidcCookieName(r), Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, Secure: exchangeOf(r).secure, SameSite: http.SameSiteLaxMode,
	})
}
