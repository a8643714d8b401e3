package httpapi

import (
	"context"
	"time"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// GetSetup reports whether the first account must be created.
func (a *api) GetSetup(ctx context.Context, _ openapi.GetSetupRequestObject) (openapi.GetSetupResponseObject, error) {
	needed, err := a.auth.SetupNeeded(ctx)
	if err != nil {
		return nil, err
	}
	return openapi.GetSetup200JSONResponse{Needed: needed && !a.gate.insecure, Oidc: a.provider != nil}, nil
}

// SetUp creates the first account, and signs it in.
func (a *api) SetUp(ctx context.Context, r openapi.SetUpRequestObject) (openapi.SetUpResponseObject, error) {
	opened, err := a.auth.Setup(ctx, auth.Setup{
		Code: r.Body.Code, Name: r.Body.Name, Email: r.Body.Email, Password: pbx.SecretFrom(r.Body.Password), UserAgent: exchangeIn(ctx).userAgent,
	})
	if err != nil {
		return nil, err
	}
	return openapi.SetUp201JSONResponse{Body: a.toSession(opened.Principal), Headers: openapi.SetUp201ResponseHeaders{SetCookie: cookieOf(ctx, opened)}}, nil
}

// SignIn opens a session, which replaces that of the request.
func (a *api) SignIn(ctx context.Context, r openapi.SignInRequestObject) (openapi.SignInResponseObject, error) {
	x := exchangeIn(ctx)
	opened, err := a.auth.SignIn(ctx, auth.SignIn{
		Email: r.Body.Email, Password: pbx.SecretFrom(r.Body.Password), OTP: value(r.Body.Otp), UserAgent: x.userAgent, Replaces: x.session.Reveal(),
	})
	if err != nil {
		return nil, err
	}
	return openapi.SignIn200JSONResponse{Body: a.toSession(opened.Principal), Headers: openapi.SignIn200ResponseHeaders{SetCookie: cookieOf(ctx, opened)}}, nil
}

// ProveFactor verifies the second factor that the caller's session still owes.
func (a *api) ProveFactor(ctx context.Context, r openapi.ProveFactorRequestObject) (openapi.ProveFactorResponseObject, error) {
	opened, err := a.auth.ProveFactor(ctx, r.Body.Otp, exchangeIn(ctx).userAgent)
	if err != nil {
		return nil, err
	}
	return openapi.ProveFactor200JSONResponse{Body: a.toSession(opened.Principal), Headers: openapi.ProveFactor200ResponseHeaders{SetCookie: cookieOf(ctx, opened)}}, nil
}

// GetSession returns the caller.
func (a *api) GetSession(ctx context.Context, _ openapi.GetSessionRequestObject) (openapi.GetSessionResponseObject, error) {
	return openapi.GetSession200JSONResponse(a.toSession(auth.PrincipalOf(ctx))), nil
}

// SignOut ends the caller's session.
func (a *api) SignOut(ctx context.Context, _ openapi.SignOutRequestObject) (openapi.SignOutResponseObject, error) {
	if err := a.auth.SignOut(ctx); err != nil {
		return nil, err
	}
	return openapi.SignOut204Response{Headers: openapi.SignOut204ResponseHeaders{SetCookie: sessionCookie(ctx, pbx.Secret{}, time.Time{})}}, nil
}

// AcceptInvitation sets the password of an invited or reset account, and signs it in.
func (a *api) AcceptInvitation(ctx context.Context, r openapi.AcceptInvitationRequestObject) (openapi.AcceptInvitationResponseObject, error) {
	opened, err := a.auth.Redeem(ctx, r.Body.Code, pbx.SecretFrom(r.Body.Password), exchangeIn(ctx).userAgent)
	if err != nil {
		return nil, err
	}
	return openapi.AcceptInvitation201JSONResponse{
		Body: a.toSession(opened.Principal), Headers: openapi.AcceptInvitation201ResponseHeaders{SetCookie: cookieOf(ctx, opened)},
	}, nil
}

// cookieOf returns the cookie of a new session.
func cookieOf(ctx context.Context, o auth.SessionGrant) string {
	return sessionCookie(ctx, o.Token, o.Principal.ExpiresAt())
}

func (a *api) toSession(p auth.Principal) openapi.Session {
	s := openapi.Session{Permissions: toPermissions(p.Permissions()), ExpiresAt: timeOrNull(p.ExpiresAt()), Insecure: a.gate.insecure}
	if account, ok := p.Account(); ok {
		s.Account = &openapi.SessionAccount{
			ID: string(account.ID), Name: account.Name, Email: account.Email, Role: openapi.Role(account.Role), TotpEnabled: account.TOTP, TotpDemanded: p.FactorDemanded(),
			Provider: unlessZero(account.Identity.Issuer),
		}
	}
	if token, ok := p.Token(); ok {
		s.Token = &openapi.SessionToken{ID: string(token.ID), Name: token.Name, Role: openapi.Role(token.Role)}
	}
	return s
}

func toPermissions(permissions []pbx.Permission) []openapi.Permission {
	out := make([]openapi.Permission, len(permissions))
	for i, p := range permissions {
		out[i] = openapi.Permission(p)
	}
	return out
}

// timeOrNull returns null for the zero time.
func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
