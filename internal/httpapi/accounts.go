package httpapi

import (
	"cmp"
	"context"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// ListAccounts lists the accounts.
func (a *api) ListAccounts(ctx context.Context, r openapi.ListAccountsRequestObject) (openapi.ListAccountsResponseObject, error) {
	accounts, next, err := a.auth.AccountPage(ctx, pbx.AccountID(value(r.Params.Cursor)), cmp.Or(value(r.Params.Limit), listed))
	if err != nil {
		return nil, err
	}
	return openapi.ListAccounts200JSONResponse{Accounts: each(accounts, toAccount), NextCursor: (*string)(unlessZero(next))}, nil
}

// ListAccountsV1 lists the accounts.
func (a *api) ListAccountsV1(ctx context.Context, r openapi.ListAccountsV1RequestObject) (openapi.ListAccountsV1ResponseObject, error) {
	items, next, err := page("accounts", r.Params.Limit, r.Params.Cursor, func(after string, limit int) ([]openapi.Account, string, error) {
		accounts, end, err := a.auth.AccountPage(ctx, pbx.AccountID(after), limit)
		return each(accounts, toAccount), string(end), err
	})
	return openapi.ListAccountsV1200JSONResponse{Items: items, NextCursor: next}, err
}

// CreateAccount invites a user.
func (a *api) CreateAccount(ctx context.Context, r openapi.CreateAccountRequestObject) (openapi.CreateAccountResponseObject, error) {
	account, link, err := a.auth.Invite(ctx, pbx.NewAccount{Name: r.Body.Name, Email: r.Body.Email, Role: pbx.Role(r.Body.Role)})
	if err != nil {
		return nil, err
	}
	return openapi.CreateAccount201JSONResponse{
		Body:    openapi.Invitation{Account: toAccount(account), Link: toOneTimeLink(link)},
		Headers: openapi.CreateAccount201ResponseHeaders{Location: exchangeIn(ctx).prefix + "/accounts/" + string(account.ID)},
	}, nil
}

// UpdateAccount changes an account.
func (a *api) UpdateAccount(ctx context.Context, r openapi.UpdateAccountRequestObject) (openapi.UpdateAccountResponseObject, error) {
	account, err := a.auth.Update(ctx, pbx.AccountID(r.ID), auth.AccountChange{Name: r.Body.Name, Role: (*pbx.Role)(r.Body.Role), Disabled: r.Body.Disabled, User: (*pbx.UserID)(r.Body.UserID)})
	if err != nil {
		return nil, err
	}
	return openapi.UpdateAccount200JSONResponse(toAccount(account)), nil
}

// DeleteAccount removes an account.
func (a *api) DeleteAccount(ctx context.Context, r openapi.DeleteAccountRequestObject) (openapi.DeleteAccountResponseObject, error) {
	if err := a.auth.Delete(ctx, pbx.AccountID(r.ID)); err != nil {
		return nil, err
	}
	return openapi.DeleteAccount204Response{}, nil
}

// ResetAccount removes an account's credentials, and returns a link for a new password.
func (a *api) ResetAccount(ctx context.Context, r openapi.ResetAccountRequestObject) (openapi.ResetAccountResponseObject, error) {
	link, err := a.auth.Reset(ctx, pbx.AccountID(r.ID))
	if err != nil {
		return nil, err
	}
	return openapi.ResetAccount200JSONResponse{Link: toOneTimeLink(link)}, nil
}

// UnlinkAccount removes the provider identity of an account.
func (a *api) UnlinkAccount(ctx context.Context, r openapi.UnlinkAccountRequestObject) (openapi.UnlinkAccountResponseObject, error) {
	if _, err := a.auth.Unlink(ctx, pbx.AccountID(r.ID)); err != nil {
		return nil, err
	}
	return openapi.UnlinkAccount204Response{}, nil
}

func toAccount(a pbx.Account) openapi.Account {
	v := openapi.Account{
		ID: string(a.ID), Name: a.Name, Email: a.Email, Role: openapi.Role(a.Role), Disabled: a.Disabled, Invited: a.Invited, TotpEnabled: a.TOTP,
		Provider:  unlessZero(a.Identity.Issuer),
		CreatedAt: a.CreatedAt, LastSignInAt: timeOrNull(a.LastSignIn),
	}
	person := &openapi.LinkedUser{ID: string(a.Person.ID), Name: a.Person.Name, Number: numberText(a.Person.Number)}
	switch {
	case a.Person.Linked:
		v.User = person
	case a.Person.ID != "":
		v.ProposedUser = person
	}
	return v
}

func toOneTimeLink(l pbx.Link) openapi.OneTimeLink {
	return openapi.OneTimeLink{Code: l.Code.Reveal(), ExpiresAt: l.ExpiresAt}
}
