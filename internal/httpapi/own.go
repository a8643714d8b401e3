package httpapi

import (
	"context"
	"slices"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// ChangePassword changes the password of the caller's account, and returns a new session.
func (a *api) ChangePassword(ctx context.Context, r openapi.ChangePasswordRequestObject) (openapi.ChangePasswordResponseObject, error) {
	opened, err := a.auth.ChangePassword(ctx, pbx.SecretFrom(r.Body.Current), pbx.SecretFrom(r.Body.New), exchangeIn(ctx).userAgent)
	if err != nil {
		return nil, err
	}
	return openapi.ChangePassword204Response{Headers: openapi.ChangePassword204ResponseHeaders{SetCookie: cookieOf(ctx, opened)}}, nil
}

// StartTOTP creates a second factor for the caller's account.
func (a *api) StartTOTP(ctx context.Context, r openapi.StartTOTPRequestObject) (openapi.StartTOTPResponseObject, error) {
	started, err := a.auth.StartTOTP(ctx, pbx.SecretFrom(r.Body.Password))
	if err != nil {
		return nil, err
	}
	return openapi.StartTOTP200JSONResponse{Secret: started.Secret.Reveal(), URI: started.URI.Reveal()}, nil
}

// ConfirmTOTP enables the second factor.
func (a *api) ConfirmTOTP(ctx context.Context, r openapi.ConfirmTOTPRequestObject) (openapi.ConfirmTOTPResponseObject, error) {
	codes, err := a.auth.ConfirmTOTP(ctx, r.Body.Otp)
	if err != nil {
		return nil, err
	}
	shown := make([]string, len(codes))
	for i, c := range codes {
		shown[i] = c.Reveal()
	}
	return openapi.ConfirmTOTP200JSONResponse{RecoveryCodes: shown}, nil
}

// StopTOTP disables the second factor.
func (a *api) StopTOTP(ctx context.Context, r openapi.StopTOTPRequestObject) (openapi.StopTOTPResponseObject, error) {
	if err := a.auth.StopTOTP(ctx, pbx.SecretFrom(r.Body.Password)); err != nil {
		return nil, err
	}
	return openapi.StopTOTP204Response{}, nil
}

// ListSessions lists the caller's own sessions.
func (a *api) ListSessions(ctx context.Context, _ openapi.ListSessionsRequestObject) (openapi.ListSessionsResponseObject, error) {
	sessions, err := a.auth.Sessions(ctx)
	return openapi.ListSessions200JSONResponse{Sessions: toSessions(ctx, sessions)}, err
}

// ListSessionsV1 lists the caller's own sessions.
func (a *api) ListSessionsV1(ctx context.Context, r openapi.ListSessionsV1RequestObject) (openapi.ListSessionsV1ResponseObject, error) {
	items, next, err := page("sessions", r.Params.Limit, r.Params.Cursor, func(after string, limit int) ([]openapi.AccountSession, string, error) {
		sessions, err := a.auth.Sessions(ctx) // few: their number is bounded
		begin := slices.IndexFunc(sessions, func(s pbx.Session) bool { return string(s.ID) == after }) + 1
		if err == nil && after != "" && begin == 0 {
			err = badCursor()
		}
		end := ""
		if sessions = sessions[begin:]; len(sessions) > limit {
			sessions = sessions[:limit]
			end = string(sessions[limit-1].ID)
		}
		return toSessions(ctx, sessions), end, err
	})
	return openapi.ListSessionsV1200JSONResponse{Items: items, NextCursor: next}, err
}

func toSessions(ctx context.Context, sessions []pbx.Session) []openapi.AccountSession {
	own := auth.PrincipalOf(ctx).Session()
	return each(sessions, func(s pbx.Session) openapi.AccountSession {
		return openapi.AccountSession{
			ID: string(s.ID), CreatedAt: s.CreatedAt, LastSeenAt: s.LastSeenAt, From: s.From, UserAgent: s.UserAgent, Current: s.ID == own,
		}
	})
}

// EndSession ends one of the caller's own sessions.
func (a *api) EndSession(ctx context.Context, r openapi.EndSessionRequestObject) (openapi.EndSessionResponseObject, error) {
	if err := a.auth.EndSession(ctx, pbx.SessionID(r.ID)); err != nil {
		return nil, err
	}
	return openapi.EndSession204Response{}, nil
}
