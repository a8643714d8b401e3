package auth

import (
	"context"
	"slices"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Principal is who is calling, as far as that was proved, and what he may do. The zero Principal is nobody and may do nothing.
type Principal struct {
	account     *pbx.Account
	session     pbx.Session
	token       *pbx.Token
	role        pbx.Role
	permissions []pbx.Permission
	until       time.Time
	anyone      bool
	demanded    bool // the portal demands a second factor of the account, and no provider answers for it
}

// Anyone gives the caller of a portal that asks nobody who he is. He may do everything, and has no account.
func Anyone() Principal {
	return Principal{anyone: true, role: pbx.Owner, permissions: pbx.Permissions()}
}

// ofAccount gives the principal of an open session. It holds no permission while the account lacks a second factor that is demanded of it, or
// the session waits for the one that it has.
func ofAccount(a pbx.Account, s pbx.Session, factor pbx.SecondFactor) Principal {
	p := Principal{account: &a, session: s, role: a.Role, permissions: a.Role.Permissions(), until: s.ExpiresAt}
	p.demanded = factor.DemandedOf(a.Role) && !s.Vouched
	if p.LacksFactor() || p.OwesFactor() {
		p.permissions = nil
	}
	return p
}

// ofToken gives the principal of a token that holds: its role's permissions, but for those outside its scopes.
func ofToken(t pbx.Token) Principal {
	return Principal{token: &t, role: t.Role, permissions: granted(t.Role, t.Scopes), until: t.ExpiresAt}
}

// granted gives what a role with scopes may do; nil scopes leave the role as it is.
func granted(role pbx.Role, scopes []pbx.Permission) []pbx.Permission {
	if scopes == nil {
		return role.Permissions()
	}
	return slices.DeleteFunc(role.Permissions(), func(p pbx.Permission) bool { return !slices.Contains(scopes, p) })
}

// Known reports whether it was proved who calls, or nobody wants to know.
func (p Principal) Known() bool { return p.account != nil || p.token != nil || p.anyone }

// May reports whether the caller holds the permission. Nobody holds none, not even Public: what is public is not asked here.
func (p Principal) May(wanted pbx.Permission) bool {
	switch {
	case !p.Known():
		return false
	case wanted == pbx.Public, wanted == pbx.SignedIn:
		return true
	}
	return slices.Contains(p.permissions, wanted)
}

// Account gives the account of a person who is signed in; ok is false for a token and for nobody.
func (p Principal) Account() (_ pbx.Account, ok bool) {
	if p.account == nil {
		return pbx.Account{}, false
	}
	return *p.account, true
}

// Token gives the token a program called with; ok is false for a person and for nobody.
func (p Principal) Token() (_ pbx.Token, ok bool) {
	if p.token == nil {
		return pbx.Token{}, false
	}
	return *p.token, true
}

// FactorDemanded reports whether the portal demands a second factor of the caller's account.
func (p Principal) FactorDemanded() bool { return p.demanded }

// LacksFactor reports whether the portal demands a second factor of the caller's account that this does not have.
func (p Principal) LacksFactor() bool { return p.demanded && !p.account.TOTP }

// OwesFactor reports whether the caller's session still waits for the account's second factor.
func (p Principal) OwesFactor() bool { return p.session.OwesFactor }

// Session names the session of a person, "" where there is none.
func (p Principal) Session() pbx.SessionID { return p.session.ID }

// Role gives the role of the account or token, "" for nobody.
func (p Principal) Role() pbx.Role { return p.role }

// Permissions lists what the caller may do.
func (p Principal) Permissions() []pbx.Permission { return slices.Clone(p.permissions) }

// ExpiresAt gives when the session or the token ends at the latest; zero: never.
func (p Principal) ExpiresAt() time.Time { return p.until }

// Actor gives the caller as the audit trail names him.
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

// WithPrincipal gives a context whose work is asked for by this caller.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalOf gives the caller of a context, nobody where none is named.
func PrincipalOf(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}
