package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// ListUsersV1 lists users.
func (a *api) ListUsersV1(ctx context.Context, r openapi.ListUsersV1RequestObject) (openapi.ListUsersV1ResponseObject, error) {
	p := r.Params
	sort := cmp.Or(value(p.Sort), string(directory.ByNumber))
	order, descending := strings.CutPrefix(sort, "-")
	number, _ := pbx.ParseNumber(value(p.Number))
	s := directory.Selection{
		Text: value(p.Q), Number: number, Email: value(p.Email), Order: directory.Order(order), Descending: descending,
		Limit: cmp.Or(value(p.Limit), defaultPage), Count: value(p.Total),
	}
	if p.Enabled != nil {
		disabled := !*p.Enabled
		s.Disabled = &disabled
	}
	after, err := position(p.Cursor, "users", sort)
	if err != nil {
		return nil, err
	}
	if after != "" {
		key, n, ok := placed(after)
		if !ok {
			return nil, badCursor()
		}
		s.After = directory.Position{Key: key, Number: pbx.Number(n)}
	}
	found, err := a.directory.Select(ctx, pbx.DefaultTenant, s)
	if err != nil {
		return nil, err
	}
	out := openapi.ListUsersV1200JSONResponse{Items: each(found.Users, toUserV1)}
	if found.Next.Number != 0 {
		out.NextCursor = next(place(found.Next.Key, int(found.Next.Number)), "users", sort)
	}
	if s.Count {
		out.Total = &found.Total
	}
	return out, nil
}

// CreateUserV1 adds a user.
func (a *api) CreateUserV1(ctx context.Context, r openapi.CreateUserV1RequestObject) (openapi.CreateUserV1ResponseObject, error) {
	number, _ := pbx.ParseNumber(value(r.Body.Number)) // the contract has checked its form
	added, err := a.directory.Add(ctx, pbx.DefaultTenant, pbx.NewUser{
		Name: r.Body.Name, Email: value(r.Body.Email), EmailOptional: true, Pool: pbx.ThingID(value(r.Body.Pool)), Number: number,
	})
	if err != nil {
		return nil, err
	}
	created := newCreatedUserV1(ctx, added.User)
	if added.Warning != "" {
		created.Body.Warnings = &[]string{added.Warning}
	}
	return created, nil
}

// createdUserV1 returns the response to the creation of a user as it is now.
func (a *api) createdUserV1(ctx context.Context, id string) (func(http.ResponseWriter) error, error) {
	u, err := a.directory.Get(ctx, pbx.DefaultTenant, pbx.UserID(id))
	return newCreatedUserV1(ctx, u).VisitCreateUserV1Response, err
}

func newCreatedUserV1(ctx context.Context, u pbx.User) openapi.CreateUserV1201JSONResponse {
	return openapi.CreateUserV1201JSONResponse{
		Body:    toUserWithSecret(ctx, u),
		Headers: openapi.CreateUserV1201ResponseHeaders{Location: "/api/v1/users/" + string(u.ID), ETag: versionTag(u.Version)},
	}
}

// GetUserV1 returns one user.
func (a *api) GetUserV1(ctx context.Context, r openapi.GetUserV1RequestObject) (openapi.GetUserV1ResponseObject, error) {
	u, err := a.directory.Get(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID))
	if err != nil {
		return nil, err
	}
	if has(r.Params.IfNoneMatch, u.Version) {
		return notModified(u.Version), nil
	}
	v, err := a.userV1(ctx, u)
	return openapi.GetUserV1200JSONResponse{Body: v, Headers: openapi.GetUserV1200ResponseHeaders{ETag: versionTag(u.Version)}}, err
}

// UpdateUserV1 changes the fields of a user that a merge patch names.
func (a *api) UpdateUserV1(ctx context.Context, r openapi.UpdateUserV1RequestObject) (openapi.UpdateUserV1ResponseObject, error) {
	u, err := a.directory.Change(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID), versionOf(r.Params.IfMatch), func(u *pbx.User) error {
		to, err := patched(newUserV1(*u, pbx.Settings{}, pbx.CallSettings{}), *cmp.Or(r.JSONBody, r.ApplicationMergePatchPlusJSONBody))
		if err != nil {
			return err
		}
		u.Name, u.Email, u.Disabled = to.Name, value(to.Email), !to.Enabled
		u.Extension.Number, _ = pbx.ParseNumber(to.Number)
		u.Calls, err = fromCallSettings(value(to.Calls))
		return err
	})
	if err != nil {
		return nil, err
	}
	v, err := a.userV1(ctx, u)
	return openapi.UpdateUserV1200JSONResponse{Body: v, Headers: openapi.UpdateUserV1200ResponseHeaders{ETag: versionTag(u.Version)}}, err
}

// DeleteUserV1 removes a user.
func (a *api) DeleteUserV1(ctx context.Context, r openapi.DeleteUserV1RequestObject) (openapi.DeleteUserV1ResponseObject, error) {
	if _, err := a.directory.DeleteVersion(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID), versionOf(r.Params.IfMatch)); err != nil {
		return nil, err
	}
	return openapi.DeleteUserV1204Response{}, nil
}

// GetUserSecretV1 returns the secret of one user, which is recorded in the audit trail.
func (a *api) GetUserSecretV1(ctx context.Context, r openapi.GetUserSecretV1RequestObject) (openapi.GetUserSecretV1ResponseObject, error) {
	secret, err := a.directory.Reveal(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID))
	if err != nil {
		return nil, err
	}
	return openapi.GetUserSecretV1200JSONResponse{Secret: secret.Reveal()}, nil
}

// RenewUserSecretV1 gives a user a new secret.
func (a *api) RenewUserSecretV1(ctx context.Context, r openapi.RenewUserSecretV1RequestObject) (openapi.RenewUserSecretV1ResponseObject, error) {
	u, err := a.directory.NewSecret(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID), versionOf(r.Params.IfMatch))
	if err != nil {
		return nil, err
	}
	return newRenewedSecret(ctx, u), nil
}

// renewedSecret returns the response to a request for a new secret, with the secret as it is now.
func (a *api) renewedSecret(ctx context.Context, id string) (func(http.ResponseWriter) error, error) {
	u, err := a.directory.Get(ctx, pbx.DefaultTenant, pbx.UserID(id))
	return newRenewedSecret(ctx, u).VisitRenewUserSecretV1Response, err
}

func newRenewedSecret(ctx context.Context, u pbx.User) openapi.RenewUserSecretV1200JSONResponse {
	return openapi.RenewUserSecretV1200JSONResponse{
		Body: toUserWithSecret(ctx, u), Headers: openapi.RenewUserSecretV1200ResponseHeaders{ETag: versionTag(u.Version)},
	}
}

func notModified(version int64) openapi.NotModifiedResponse {
	return openapi.NotModifiedResponse{Headers: openapi.NotModifiedResponseHeaders{ETag: versionTag(version)}}
}

// toUserV1 returns a user as in lists, without the call settings.
func toUserV1(u pbx.User) openapi.UserV1 {
	return openapi.UserV1{
		ID: string(u.ID), Name: u.Name, Email: unlessZero(u.Email), Number: strconv.Itoa(int(u.Extension.Number)), Enabled: !u.Disabled,
		Version: u.Version, CreatedAt: u.CreatedAt.UTC(), UpdatedAt: u.UpdatedAt.UTC(),
	}
}

// toUserWithSecret includes the secret if the caller may see it.
func toUserWithSecret(ctx context.Context, u pbx.User) openapi.UserWithSecret {
	withoutSecrets(ctx, &u)
	return newUserWithSecret(u)
}

func newUserWithSecret(u pbx.User) openapi.UserWithSecret {
	v := toUserV1(u)
	return openapi.UserWithSecret{
		ID: v.ID, Name: v.Name, Email: v.Email, Number: v.Number, Secret: unlessZero(u.Extension.Secret.Reveal()), Enabled: v.Enabled,
		Version: v.Version, CreatedAt: v.CreatedAt, UpdatedAt: v.UpdatedAt,
	}
}
