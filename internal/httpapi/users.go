package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// CreateUser adds a user.
func (a *api) CreateUser(ctx context.Context, r openapi.CreateUserRequestObject) (openapi.CreateUserResponseObject, error) {
	u, err := a.directory.Create(ctx, pbx.DefaultTenant, pbx.NewUser{Name: r.Body.Name, Email: r.Body.Email})
	if err != nil {
		return nil, err
	}
	withoutSecrets(ctx, &u)
	return createdUser(u), nil
}

// createdUser returns the response to the creation of a user as it is now.
func (a *api) createdUser(ctx context.Context, id string) (func(http.ResponseWriter) error, error) {
	u, err := a.directory.Get(ctx, pbx.DefaultTenant, pbx.UserID(id))
	withoutSecrets(ctx, &u)
	return createdUser(u).VisitCreateUserResponse, err
}

// GetUser returns one user.
func (a *api) GetUser(ctx context.Context, r openapi.GetUserRequestObject) (openapi.GetUserResponseObject, error) {
	u, err := a.directory.Get(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID))
	if err != nil {
		return nil, err
	}
	withoutSecrets(ctx, &u)
	return foundUser(u), nil
}

// GetUserSecret returns the secret of one user, which is recorded in the audit trail.
func (a *api) GetUserSecret(ctx context.Context, r openapi.GetUserSecretRequestObject) (openapi.GetUserSecretResponseObject, error) {
	secret, err := a.directory.Reveal(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID))
	if err != nil {
		return nil, err
	}
	return openapi.GetUserSecret200JSONResponse{Secret: secret.Reveal()}, nil
}

// DeleteUser removes a user.
func (a *api) DeleteUser(ctx context.Context, r openapi.DeleteUserRequestObject) (openapi.DeleteUserResponseObject, error) {
	u, err := a.directory.Delete(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID))
	if err != nil {
		return nil, err
	}
	return openapi.DeleteUser200JSONResponse(toDeletedUser(u)), nil
}

func toDeletedUser(u directory.Deleted) openapi.DeletedUser {
	message := fmt.Sprintf("user deleted; extension %d is free again, and the next apply removes it from Asterisk", u.Extension.Number)
	if u.Left != nil {
		message += "; no longer listed in " + pbx.UseText(u.Left)
	}
	return openapi.DeletedUser{
		Message:       message,
		DeletedUserID: string(u.ID), FreedExtension: int(u.Extension.Number),
	}
}

// ListUsers lists users.
func (a *api) ListUsers(ctx context.Context, r openapi.ListUsersRequestObject) (openapi.ListUsersResponseObject, error) {
	after, err := parseCursor(r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	query := directory.Query{Text: value(r.Params.Q), After: after, Limit: value(r.Params.Limit)}
	page, err := a.directory.List(ctx, pbx.DefaultTenant, query)
	switch {
	case err != nil:
		return nil, err
	case !auth.PrincipalOf(ctx).May(pbx.SecretsRead) || r.Params.Secrets != nil && !*r.Params.Secrets:
		page.Users = slices.Clone(page.Users) // the slice is shared
		for i := range page.Users {
			page.Users[i].Extension.Secret = pbx.Secret{}
		}
	case query == directory.Query{}:
		return userList(a.encodeAll(page)), nil
	}
	return userList(appendUserList(nil, page)), nil
}

// cachedList is a list of all users with its JSON.
type cachedList struct {
	users []pbx.User
	json  []byte
}

// encodeAll returns the JSON of a list of all users, from the cache while the directory returns the same list.
func (a *api) encodeAll(p directory.Page) []byte {
	last := a.cachedList.Load()
	if last != nil && len(p.Users) > 0 && len(last.users) == len(p.Users) && &last.users[0] == &p.Users[0] {
		return last.json
	}
	now := cachedList{p.Users, appendUserList(nil, p)}
	a.cachedList.Store(&now)
	return now.json
}

// withoutSecrets removes the user's secret unless the caller may see it.
func withoutSecrets(ctx context.Context, u *pbx.User) {
	if !auth.PrincipalOf(ctx).May(pbx.SecretsRead) {
		u.Extension.Secret = pbx.Secret{}
	}
}

// parseCursor parses the cursor of a list of users, the number after which the page begins.
func parseCursor(text *string) (pbx.Number, error) {
	if text == nil {
		return 0, nil
	}
	n, ok := pbx.ParseNumber(*text)
	if !ok {
		return 0, badCursor()
	}
	return n, nil
}

// value returns the value of an optional field, the zero value for nil.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// unlessZero returns nil for the zero value, which the response omits or has as null.
func unlessZero[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// Responses with users use our own encoder, which makes a list of a thousand cheap.
type (
	createdUser pbx.User
	foundUser   pbx.User
	userList    []byte // JSON
)

// VisitCreateUserResponse writes the response.
func (u createdUser) VisitCreateUserResponse(w http.ResponseWriter) error {
	w.Header().Set("Location", "/users/"+string(u.ID))
	send(w, http.StatusCreated, "application/json", append(appendUser(nil, pbx.User(u)), '\n'))
	return nil
}

// VisitGetUserResponse writes the response.
func (u foundUser) VisitGetUserResponse(w http.ResponseWriter) error {
	send(w, http.StatusOK, "application/json", append(appendUser(nil, pbx.User(u)), '\n'))
	return nil
}

// VisitListUsersResponse writes the response.
func (l userList) VisitListUsersResponse(w http.ResponseWriter) error {
	send(w, http.StatusOK, "application/json", l)
	return nil
}
