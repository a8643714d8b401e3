package directory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// AddDevice adds a further phone to a user, with a new secret, and returns the user and the phone. ifMatch is the version that the caller read; 0 matches
// any. Errors: KindNotFound if the tenant has no user with that id; KindInvalid for the name; KindConflict if the user was changed meanwhile, or has
// pbx.MaxDevices phones.
func (d *Directory) AddDevice(ctx context.Context, tenant pbx.TenantID, id pbx.UserID, ifMatch int64, name string) (pbx.User, pbx.Device, error) {
	added := pbx.Device{ID: pbx.DeviceID(uuid.NewString()), Name: name, Secret: pbx.NewSecret(), CreatedAt: d.now().UTC().Truncate(time.Microsecond)}
	return d.changeDevice(ctx, tenant, id, added.ID, ifMatch, pbx.ActionDeviceCreate, func(u pbx.User) (pbx.User, error) { return u.WithDevice(added) })
}

// ChangeDevice changes the name of a further phone of a user, and returns both: patch gets the phone as stored. Errors: as AddDevice; KindNotFound also if
// the user has no such phone, and KindConflict for the first phone, which has no name.
func (d *Directory) ChangeDevice(ctx context.Context, tenant pbx.TenantID, id pbx.UserID, device pbx.DeviceID, ifMatch int64, patch func(*pbx.Device) error) (
	pbx.User, pbx.Device, error,
) {
	return d.changeDevice(ctx, tenant, id, device, ifMatch, pbx.ActionDeviceChange, func(u pbx.User) (pbx.User, error) {
		phone, err := furtherDevice(u, device)
		if err != nil {
			return u, err
		}
		patched := phone
		if err := patch(&patched); err != nil {
			return u, err
		}
		phone.Name = patched.Name
		return u.WithDevice(phone)
	})
}

// NewDeviceSecret gives a phone of a user a new secret, with which it must be set up before the next apply, and returns both. Errors: as ChangeDevice, but
// the first phone can be given one.
func (d *Directory) NewDeviceSecret(ctx context.Context, tenant pbx.TenantID, id pbx.UserID, device pbx.DeviceID, ifMatch int64) (pbx.User, pbx.Device, error) {
	return d.changeDevice(ctx, tenant, id, device, ifMatch, pbx.ActionDeviceSecret, func(u pbx.User) (pbx.User, error) {
		phone, err := DeviceOf(u, device)
		phone.Secret = pbx.NewSecret()
		switch {
		case err != nil:
		case phone.Suffix == pbx.FirstDevice:
			u.Extension.Secret = phone.Secret
		default:
			u, err = u.WithDevice(phone)
		}
		return u, err
	})
}

// RemoveDevice removes a further phone from a user, and returns the user. Errors: as ChangeDevice.
func (d *Directory) RemoveDevice(ctx context.Context, tenant pbx.TenantID, id pbx.UserID, device pbx.DeviceID, ifMatch int64) (pbx.User, error) {
	u, _, err := d.changeDevice(ctx, tenant, id, device, ifMatch, pbx.ActionDeviceDelete, func(u pbx.User) (pbx.User, error) {
		phone, err := furtherDevice(u, device)
		return u.WithoutDevice(phone.ID), err
	})
	return u, err
}

// RevealDevice returns the SIP secret of a phone of a user, and records in the same transaction that it was shown. KindNotFound if there is no such user or
// phone.
func (d *Directory) RevealDevice(ctx context.Context, tenant pbx.TenantID, id pbx.UserID, device pbx.DeviceID) (pbx.Secret, error) {
	var shown pbx.Secret
	err := d.withUser(ctx, tenant, id, pbx.ActionDeviceReveal, func(ctx context.Context, tx *store.Tx, u pbx.User, _ time.Time, event pbx.AuditEvent, facts pbx.Facts) error {
		phone, err := DeviceOf(u, device)
		if err != nil {
			return err
		}
		event.After = pbx.Facts{"phone": pbx.DeviceName(u.Extension.Number, phone.Suffix)}
		if secret, ok := facts[deviceFact("secret", phone.Suffix)]; ok {
			event.After["secret"] = secret
		}
		shown = phone.Secret
		return tx.AppendEvent(ctx, event)
	})
	if err != nil { // a secret is shown only if that is recorded
		return pbx.Secret{}, err
	}
	return shown, nil
}

// changeDevice changes a user by a function, and returns the user and the phone as stored.
func (d *Directory) changeDevice(ctx context.Context, tenant pbx.TenantID, id pbx.UserID, device pbx.DeviceID, ifMatch int64, action string,
	make func(pbx.User) (pbx.User, error),
) (pbx.User, pbx.Device, error) {
	u, err := d.change(ctx, tenant, id, ifMatch, action, func(_ context.Context, _ *store.Tx, u pbx.User) (pbx.User, error) { return make(u) })
	if err != nil {
		return pbx.User{}, pbx.Device{}, err
	}
	phone, _ := DeviceOf(u, device) // none if it was removed
	return u, phone, nil
}

// DevicesOf returns all phones of a user, by suffix: the first is that of the extension, with its id and without a name.
func DevicesOf(u pbx.User) []pbx.Device {
	first := pbx.Device{ID: pbx.DeviceID(u.Extension.ID), Suffix: pbx.FirstDevice, Secret: u.Extension.Secret, CreatedAt: u.Extension.CreatedAt}
	return append([]pbx.Device{first}, u.Devices...)
}

// DeviceOf returns one of the phones that DevicesOf returns. The error is one of KindNotFound.
func DeviceOf(u pbx.User, id pbx.DeviceID) (pbx.Device, error) {
	if canonical, ok := pbx.CanonicalID(id); ok {
		id = canonical
	}
	all := DevicesOf(u)
	if i := slices.IndexFunc(all, func(d pbx.Device) bool { return d.ID == id }); i >= 0 {
		return all[i], nil
	}
	return pbx.Device{}, &pbx.Error{
		Kind: pbx.KindNotFound, Code: pbx.CodeDeviceNotFound,
		Msg: fmt.Sprintf("%s has no phone %q: list the phones of the user to see which there are", u.Name, string(id)),
	}
}

// furtherDevice returns a phone that can be renamed and removed.
func furtherDevice(u pbx.User, id pbx.DeviceID) (pbx.Device, error) {
	phone, err := DeviceOf(u, id)
	if err == nil && phone.Suffix == pbx.FirstDevice {
		err = &pbx.Error{
			Kind: pbx.KindConflict, Code: pbx.CodeFirstDevice,
			Msg: fmt.Sprintf("the first phone of %s belongs to the extension: it has no name of its own and stays as long as the user; disable or delete the user to keep it from registering", u.Name),
		}
	}
	return phone, err
}

// deviceFact returns the name of a fact about a further phone in the audit trail, and of one about the first.
func deviceFact(name string, suffix int) string {
	if suffix == pbx.FirstDevice {
		return name
	}
	return fmt.Sprintf("%s_%d", name, suffix)
}
