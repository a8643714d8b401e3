package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// selectDevices is the column with the further phones of a user in one text, by suffix. No value contains the separators, which are control characters.
const (
	selectDevices = `coalesce((SELECT string_agg(CAST(d.id AS text) || '` + unit + `' || CAST(d.suffix AS text) || '` + unit + `' || d.name || '` + unit + `' || d.secret || '` + unit +
		`' || CAST(d.created_at AS text), '` + record + `' ORDER BY d.suffix) FROM devices d WHERE d.user_id = u.id), '')`
	unit, record = "\x1f", "\x1e"
)

// storedDevice is a further phone as stored.
type storedDevice struct {
	pbx.Device

	secret string
}

// parseDevices parses the column of selectDevices; ok is false if a value has a form that is never written.
func parseDevices(text string) (all []storedDevice, ok bool) {
	if text == "" {
		return nil, true
	}
	for one := range strings.SplitSeq(text, record) {
		values := strings.Split(one, unit)
		if len(values) != 5 || len(values[1]) != 1 {
			return nil, false
		}
		at, err := time.Parse("2006-01-02 15:04:05.999999999", strings.TrimSuffix(values[4], "+00:00"))
		if err != nil {
			return nil, false
		}
		all = append(all, storedDevice{
			pbx.Device{ID: pbx.DeviceID(values[0]), Suffix: int(values[1][0] - '0'), Name: values[2], CreatedAt: at}, values[3],
		})
	}
	return all, true
}

// devicesOut returns the further phones of a user with their secrets.
func (o *opener) devicesOut(u *storedUser) error {
	for i, d := range u.devices {
		o.column = append(o.column[:0], d.secret...)
		secret, err := o.out(string(d.ID), pbx.DeviceName(u.Extension.Number, d.Suffix))
		if err != nil {
			return err
		}
		u.Devices[i].Secret = secret
	}
	return nil
}

// putDevices makes the further phones of a user, of which were are stored, those of now, and returns them as stored. The caller then writes the hash of
// the user, which this removes.
func (t *Tx) putDevices(ctx context.Context, user pbx.UserID, were []storedDevice, now []pbx.Device) (stored []storedDevice, err error) {
	for _, d := range were {
		if slices.ContainsFunc(now, func(other pbx.Device) bool { return other.ID == d.ID }) {
			continue
		}
		if _, err := t.tx.ExecContext(ctx, `DELETE FROM devices WHERE id = $1`, string(d.ID)); err != nil {
			return nil, err
		}
	}
	for _, d := range now {
		row := storedDevice{Device: d}
		row.CreatedAt = d.CreatedAt.Truncate(time.Microsecond)
		i := slices.IndexFunc(were, func(other storedDevice) bool { return other.ID == d.ID })
		if i >= 0 && were[i].Secret == d.Secret {
			row.secret = were[i].secret
		} else if row.secret, err = t.secrets.in(string(d.ID), d.Secret); err != nil {
			return nil, err
		}
		stored = append(stored, row)
		if i >= 0 && were[i].Name == d.Name && were[i].Secret == d.Secret {
			continue
		}
		if _, err := t.tx.ExecContext(ctx, `INSERT INTO devices (id, user_id, suffix, name, secret, created_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, secret = excluded.secret`, string(d.ID), string(user), d.Suffix, d.Name, row.secret, row.CreatedAt); err != nil {
			return nil, err
		}
	}
	return stored, nil
}

// deviceSecretIn does for a further phone what secretIn does for an extension.
func (t *Tx) deviceSecretIn(ctx context.Context, id, was, now string) (moved bool, err error) {
	u, ok, err := found(scanStored(t.tx.QueryRowContext(ctx, selectUser+`WHERE u.id = (SELECT user_id FROM devices WHERE id = $1)`+t.dialect.lockRows, id), &opener{}))
	if err == nil && ok {
		err = u.check()
	}
	i := slices.IndexFunc(u.devices, func(d storedDevice) bool { return string(d.ID) == id })
	if err != nil || i < 0 || was != "" && was != u.devices[i].secret {
		return false, err
	}
	if _, err = t.tx.ExecContext(ctx, `UPDATE devices SET secret = $1 WHERE id = $2`, now, id); err != nil {
		return false, err
	}
	if u.devices[i].secret = now; u.hash != 0 {
		u.hash = u.ownHash()
	}
	return changed(t.tx.ExecContext(ctx, `UPDATE extensions SET row_hash = nullif(CAST($1 AS bigint), 0) WHERE id = $2`, u.hash, string(u.Extension.ID)))
}

// devices adds the further phones to the bytes that are hashed.
func (f *frame) devices(all []storedDevice) {
	for _, d := range all {
		f.text("device", string(d.ID))
		f.number("suffix", int64(d.Suffix))
		f.text("name", d.Name)
		f.text("secret", d.secret)
		f.instant("created", d.CreatedAt)
	}
}

// errDevices is the error of further phones whose values have a form that is never written.
func errDevices(n pbx.Number) error {
	return damaged(fmt.Sprintf("a value in the row of a phone of extension %d has a form that is never written", n))
}
