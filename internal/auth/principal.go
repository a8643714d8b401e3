package auth

import (
	"context"
	"slices"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Principal is an authenticated caller with its permissions. The zero Principal is anonymous and has none.
type Principal struct {
	account     *pbx.Account
	session     pbx.Session
	token       *pbx.Token
	role        pbx.Role
	permissions []pbx.Permission
	until       time.Time
	anyone      bool
	demanded    bool // policy requires a second factor for the account, and no provider answers for it
}

// Anyone returns the caller of a portal without authentication. It has every permission and no account.
func Anyone() Principal {
	return Principal{anyone: true, role: pbx.Owner, permissions: pbx.Permissions()}
}

// ofAccount returns the principal of a session. It has no permissions while the account lacks a required second factor, or the session still owes
// the account's second factor.
func ofAccount(a pbx.Account, s pbx.Session, factor pbx.SecondFactor) Principal {
	p := Principal{account: &a, session: s, role: a.Role, permissions: a.Role.Permissions(), until: s.ExpiresAt}
	p.demanded = factor.DemandedOf(a.Role) && !s.Vouched
	if p.MissingSecondFactor() || p.OwesFactor() {
		p.permissions = nil
	}
	return p
}

// ofToken returns the principal of a valid token: the permissions of its role that are in its scopes.
func ofToken(t pbx.Token) Principal {
	return Principal{token: &t, role: t.Role, permissions: granted(t.Role, t.Scopes), until: t.ExpiresAt}
}

// granted returns the permissions of a role limited to scopes; nil scopes do not limit it.
func granted(role pbx.Role, scopes []pbx.Permission) []pbx.Permission {
	if scopes == nil {
		return role.Permissions()
	}
	return slices.DeleteFunc(role.Permissions(), func(p pbx.Permission) bool { return !slices.Contains(scopes, p) })
}

// Known reports whether the caller is authenticated, or authentication is off.
func (p Principal) Known() bool { return p.account != nil || p.token != nil || p.anyone }

// May reports whether the caller holds the permission. An anonymous caller holds none, not even Public, which is not checked here.
func (p Principal) May(wanted pbx.Permission) bool {
	switch {
	case !p.Known():
		return false
	case wanted == pbx.Public, wanted == pbx.SignedIn:
		return true
	}
	return slices.Contains(p.permissions, wanted)
}

// Account returns the account of a signed-in user; ok is false for tokens and anonymous callers.
func (p Principal) Account() (_ pbx.Account, ok bool) {
	if p.account == nil {
		return pbx.Account{}, false
	}
	return *p.account, true
}

// Token returns the API token of the caller; ok is false for users and anonymous callers.
func (p Principal) Token() (_ pbx.Token, ok bool) {
	if p.token == nil {
		return pbx.Token{}, false
	}
	return *p.token, true
}

// FactorDemanded reports whether policy requires a second factor for the caller's account.
func (p Principal) FactorDemanded() bool { return p.demanded }

// MissingSecondFactor reports whether policy requires a second factor that the caller's account does not have.
func (p Principal) MissingSecondFactor() bool { return p.demanded && !p.account.TOTP }

// OwesFactor reports whether the caller's session still waits for the account's second factor.
func (p Principal) OwesFactor() bool { return p.session.OwesFactor }

// Session returns the id of the user's session, "" if there is none.
func (p Principal) Session() pbx.SessionID { return p.session.ID }

// Role returns the role of the account or token, "" for an anonymous caller.
func (p Principal) Role() pbx.Role { return p.role }

// Permissions returns the caller's permissions.
func (p Principal) Permissions() []pbx.Permission { return slices.Clone(p.permissions) }

// ExpiresAt returns when the session or token expires at the latest; zero means never.
func (p Principal) ExpiresAt() time.Time { return p.until }

// Actor returns the caller in the form of the audit trail.
func (p Principal) Actor(from, requestID string) pbx.Actor {
	a := pbx.Actor{Kind: pbx.ActorAnonymous, From: from, RequestID: requestID}
	switch {
	case p.account != nil:
		a.Kind, a.ID, a.Name = pbx.ActorPerson, string(p.account.ID), p.account.Name
	case p.token != nil:
		a.Kind, a.ID, a.Name = pbx.ActorToken, string(p.token.ID), p.token.Name
	}
	return a
}

type principalKey struct{}

// WithPrincipal returns a context that carries the caller.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalOf returns the caller in ctx, the zero Principal if there is none.
func PrincipalOf(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}
