package httpapi

import (
	"cmp"
	"context"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// ListDevices lists the phones of a user.
func (a *api) ListDevices(ctx context.Context, r openapi.ListDevicesRequestObject) (openapi.ListDevicesResponseObject, error) {
	u, err := a.directory.Get(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID))
	if err != nil {
		return nil, err
	}
	return openapi.ListDevices200JSONResponse{Body: DevicesJSON(u), Headers: openapi.ListDevices200ResponseHeaders{ETag: versionTag(u.Version)}}, nil
}

// CreateDevice adds a phone to a user.
func (a *api) CreateDevice(ctx context.Context, r openapi.CreateDeviceRequestObject) (openapi.CreateDeviceResponseObject, error) {
	u, d, err := a.directory.AddDevice(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID), versionOf(r.Params.IfMatch), r.Body.Name)
	if err != nil {
		return nil, err
	}
	return openapi.CreateDevice201JSONResponse{Body: toDeviceWithSecret(ctx, u, d), Headers: openapi.CreateDevice201ResponseHeaders{
		Location: "/api/v1/users/" + string(u.ID) + "/devices/" + string(d.ID), ETag: versionTag(u.Version),
	}}, nil
}

// UpdateDevice changes the fields of a phone that a merge patch names.
func (a *api) UpdateDevice(ctx context.Context, r openapi.UpdateDeviceRequestObject) (openapi.UpdateDeviceResponseObject, error) {
	u, d, err := a.directory.ChangeDevice(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID), pbx.DeviceID(r.DeviceID), versionOf(r.Params.IfMatch), func(d *pbx.Device) error {
		to, err := patched(openapi.NewDevice{Name: d.Name}, *cmp.Or(r.JSONBody, r.ApplicationMergePatchPlusJSONBody))
		d.Name = to.Name
		return err
	})
	if err != nil {
		return nil, err
	}
	return openapi.UpdateDevice200JSONResponse{Body: DeviceJSON(u, d), Headers: openapi.UpdateDevice200ResponseHeaders{ETag: versionTag(u.Version)}}, nil
}

// DeleteDevice removes a phone from a user.
func (a *api) DeleteDevice(ctx context.Context, r openapi.DeleteDeviceRequestObject) (openapi.DeleteDeviceResponseObject, error) {
	_, err := a.directory.RemoveDevice(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID), pbx.DeviceID(r.DeviceID), versionOf(r.Params.IfMatch))
	if err != nil {
		return nil, err
	}
	return openapi.DeleteDevice204Response{}, nil
}

// GetDeviceSecret returns the secret of a phone, which is recorded in the audit trail.
func (a *api) GetDeviceSecret(ctx context.Context, r openapi.GetDeviceSecretRequestObject) (openapi.GetDeviceSecretResponseObject, error) {
	secret, err := a.directory.RevealDevice(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID), pbx.DeviceID(r.DeviceID))
	if err != nil {
		return nil, err
	}
	return openapi.GetDeviceSecret200JSONResponse{Secret: secret.Reveal()}, nil
}

// RenewDeviceSecret gives a phone a new secret.
func (a *api) RenewDeviceSecret(ctx context.Context, r openapi.RenewDeviceSecretRequestObject) (openapi.RenewDeviceSecretResponseObject, error) {
	u, d, err := a.directory.NewDeviceSecret(ctx, pbx.DefaultTenant, pbx.UserID(r.UserID), pbx.DeviceID(r.DeviceID), versionOf(r.Params.IfMatch))
	if err != nil {
		return nil, err
	}
	return openapi.RenewDeviceSecret200JSONResponse{
		Body: toDeviceWithSecret(ctx, u, d), Headers: openapi.RenewDeviceSecret200ResponseHeaders{ETag: versionTag(u.Version)},
	}, nil
}

// DevicesJSON returns the phones of a user.
func DevicesJSON(u pbx.User) openapi.DevicePage {
	return openapi.DevicePage{Items: each(directory.DevicesOf(u), func(d pbx.Device) openapi.Device { return DeviceJSON(u, d) })}
}

// DeviceJSON returns a phone of a user.
func DeviceJSON(u pbx.User, d pbx.Device) openapi.Device {
	return openapi.Device{
		ID: string(d.ID), Suffix: d.Suffix, SIPUser: pbx.DeviceName(u.Extension.Number, d.Suffix), Name: d.Name, CreatedAt: d.CreatedAt.UTC(),
	}
}

// DeviceWithSecretJSON returns a phone of a user with its secret.
func DeviceWithSecretJSON(u pbx.User, d pbx.Device) openapi.DeviceWithSecret {
	v := DeviceJSON(u, d)
	return openapi.DeviceWithSecret{
		ID: v.ID, Suffix: v.Suffix, SIPUser: v.SIPUser, Name: v.Name, Secret: unlessZero(d.Secret.Reveal()), CreatedAt: v.CreatedAt,
	}
}

// toDeviceWithSecret includes the secret if the caller may see it.
func toDeviceWithSecret(ctx context.Context, u pbx.User, d pbx.Device) openapi.DeviceWithSecret {
	if !auth.PrincipalOf(ctx).May(pbx.SecretsRead) {
		d.Secret = pbx.Secret{}
	}
	return DeviceWithSecretJSON(u, d)
}
