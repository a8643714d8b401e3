package store

import (
	"context"
	"encoding/json"

	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// SetKey records the sealing key of the installation, whichever it was before, with its audit event.
func (s *Store) SetKey(ctx context.Context, id string, event pbx.AuditEvent) error {
	return s.InTx(ctx, func(ctx context.Context, tx *Tx) error { return tx.setKey(ctx, id, event) })
}

// sealedBy ends a query for rows whose column was sealed with the key in the first parameter; it uses the second and third as well.
func sealedBy(column string) string { return `substr(` + column + `, 1, $2) = $1 LIMIT $3` }

func sealedByValues(key string) []any {
	return []any{keyring.Mark + key + ":", keyring.HeaderLength, batch}
}

// UsersSealedBy returns users whose secret is sealed with a key, without the secret: a limited number at a time, fewer than the limit when these
// are all.
func (t *Tx) UsersSealedBy(ctx context.Context, key string) ([]pbx.User, error) {
	return gather(ctx, t.tx, func(r row) (u pbx.User, err error) {
		e := &u.Extension
		err = r.Scan((*string)(&u.ID), (*string)(&u.TenantID), &u.Name, &u.Email, (*string)(&e.ID), (*int)(&e.Number))
		return u, err
	}, `SELECT u.id, u.tenant_id, u.name, coalesce(u.email, ''), e.id, e.number
FROM users u JOIN extensions e ON e.user_id = u.id WHERE `+sealedBy("e.secret"), sealedByValues(key)...)
}

// SetSecret replaces the secret of an extension, with its audit event.
func (t *Tx) SetSecret(ctx context.Context, id pbx.ExtensionID, secret pbx.Secret, event pbx.AuditEvent) error {
	sealed, err := t.secrets.in(string(id), secret)
	if err != nil {
		return err
	}
	if _, err = t.secretIn(ctx, string(id), "", sealed); err != nil {
		return err
	}
	return t.AppendEvent(ctx, event)
}

// DevicesSealedBy returns, as UsersSealedBy, users with one further phone each whose secret is sealed with a key.
func (t *Tx) DevicesSealedBy(ctx context.Context, key string) ([]pbx.User, error) {
	return gather(ctx, t.tx, func(r row) (u pbx.User, err error) {
		e, d := &u.Extension, pbx.Device{}
		err = r.Scan((*string)(&u.ID), (*string)(&u.TenantID), &u.Name, (*string)(&e.ID), (*int)(&e.Number), (*string)(&d.ID), &d.Suffix, &d.Name)
		u.Devices = []pbx.Device{d}
		return u, err
	}, `SELECT u.id, u.tenant_id, u.name, e.id, e.number, d.id, d.suffix, d.name
FROM devices d JOIN users u ON u.id = d.user_id JOIN extensions e ON e.user_id = u.id WHERE `+sealedBy("d.secret"), sealedByValues(key)...)
}

// SetDeviceSecret replaces the secret of a further phone, with its audit event.
func (t *Tx) SetDeviceSecret(ctx context.Context, id pbx.DeviceID, secret pbx.Secret, event pbx.AuditEvent) error {
	sealed, err := t.secrets.in(string(id), secret)
	if err != nil {
		return err
	}
	if _, err = t.deviceSecretIn(ctx, string(id), "", sealed); err != nil {
		return err
	}
	return t.AppendEvent(ctx, event)
}

// AccountsSealedBy returns accounts whose second factor is sealed with a key: a limited number at a time.
func (t *Tx) AccountsSealedBy(ctx context.Context, key string) ([]Credentials, error) {
	return gather(ctx, t.tx, func(r row) (Credentials, error) { return scanAccount(r) }, selectAccount+`WHERE `+sealedBy("a.totp_secret"), sealedByValues(key)...)
}

// DropRunsSealedBy drops the unreadable parts of runs that a key has sealed: the bytes of their files, and saved hand edits. The records themselves
// stay. It returns the number of runs.
func (s *Store) DropRunsSealedBy(ctx context.Context, key string) (n int, err error) {
	for {
		dropped := 0
		err = s.InTx(ctx, func(ctx context.Context, tx *Tx) (err error) {
			dropped, err = tx.dropRunsSealedBy(ctx, key)
			return err
		})
		if n += dropped; err != nil || dropped == 0 {
			return n, err
		}
	}
}

func (t *Tx) dropRunsSealedBy(ctx context.Context, key string) (n int, err error) {
	type run struct {
		id, story string
		lost      bool // the saved hand edits cannot be read
	}
	runs, err := gather(ctx, t.tx, func(r row) (one run, err error) {
		err = r.Scan(&one.id, &one.story, &one.lost)
		return one, err
	}, `SELECT id, `+t.dialect.jsonOut("story")+`, coalesce(sealed_with, '') = $1 FROM apply_runs WHERE sealed_with = $1 OR id IN
    (SELECT f.run_id FROM revision_files f JOIN file_contents c ON c.id = f.content_id WHERE c.sealed_with = $1) LIMIT $2`, key, batch)
	if err != nil {
		return 0, err
	}
	for _, r := range runs {
		if err := t.saveFiles(ctx, pbx.RunID(r.id), nil); err != nil {
			return 0, err
		}
		if !r.lost {
			continue
		}
		told, err := readStory(pbx.RunID(r.id), r.story)
		if err != nil {
			return 0, err
		}
		told.Sealed = nil
		text, err := json.Marshal(told)
		if err != nil {
			return 0, err
		}
		if _, err := t.tx.ExecContext(ctx, `UPDATE apply_runs SET sealed_with = '', story = `+t.dialect.jsonIn("$1")+` WHERE id = $2`,
			string(text), r.id); err != nil {
			return 0, err
		}
	}
	return len(runs), t.dropContents(ctx)
}
