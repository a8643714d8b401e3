package httpapi

import (
	"cmp"
	"context"
	"time"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// listed is the default page size of tokens and accounts.
const listed = 200

// ListTokens lists the API tokens that are not revoked.
func (a *api) ListTokens(ctx context.Context, r openapi.ListTokensRequestObject) (openapi.ListTokensResponseObject, error) {
	tokens, next, err := a.auth.Tokens(ctx, auth.TokenQuery{After: pbx.TokenID(value(r.Params.Cursor)), Limit: cmp.Or(value(r.Params.Limit), listed)})
	if err != nil {
		return nil, err
	}
	return openapi.ListTokens200JSONResponse{Tokens: each(tokens, toToken), NextCursor: (*string)(unlessZero(next))}, nil
}

// ListTokensV1 lists the API tokens that are not revoked.
func (a *api) ListTokensV1(ctx context.Context, r openapi.ListTokensV1RequestObject) (openapi.ListTokensV1ResponseObject, error) {
	items, next, err := page("tokens", r.Params.Limit, r.Params.Cursor, func(after string, limit int) ([]openapi.Token, string, error) {
		tokens, end, err := a.auth.Tokens(ctx, auth.TokenQuery{After: pbx.TokenID(after), Limit: limit})
		return each(tokens, toToken), string(end), err
	})
	return openapi.ListTokensV1200JSONResponse{Items: items, NextCursor: next}, err
}

// CreateToken creates an API token.
func (a *api) CreateToken(ctx context.Context, r openapi.CreateTokenRequestObject) (openapi.CreateTokenResponseObject, error) {
	n := pbx.NewToken{Name: r.Body.Name, Role: pbx.Role(r.Body.Role), Lives: time.Duration(value(r.Body.ExpiresInDays)) * 24 * time.Hour}
	if r.Body.Scopes != nil {
		n.Scopes = make([]pbx.Permission, len(*r.Body.Scopes))
		for i, s := range *r.Body.Scopes {
			n.Scopes[i] = pbx.Permission(s)
		}
	}
	t, secret, err := a.auth.CreateToken(ctx, n)
	if err != nil {
		return nil, err
	}
	return openapi.CreateToken201JSONResponse{Token: toToken(t), Secret: secret.Reveal()}, nil
}

// RevokeToken revokes an API token.
func (a *api) RevokeToken(ctx context.Context, r openapi.RevokeTokenRequestObject) (openapi.RevokeTokenResponseObject, error) {
	if _, err := a.auth.RevokeToken(ctx, pbx.TokenID(r.ID)); err != nil {
		return nil, err
	}
	return openapi.RevokeToken204Response{}, nil
}

func toToken(t pbx.Token) openapi.Token {
	out := openapi.Token{
		ID: string(t.ID), Name: t.Name, Role: openapi.Role(t.Role), CreatedAt: t.CreatedAt, ExpiresAt: timeOrNull(t.ExpiresAt),
		LastUsedAt: timeOrNull(t.LastUsedAt), CreatedBy: unlessZero(string(t.CreatedBy)), MadeWith: unlessZero(string(t.MadeWith)),
	}
	if t.Scopes != nil {
		scopes := toPermissions(t.Scopes)
		out.Scopes = &scopes
	}
	return out
}
