package store

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// UpdateUser changes the name, the address, whether the user is disabled, the call settings, the number, the secret and the further phones of a user to those of now, at a
// time, appends the audit event, and returns the user as stored, with a higher version. A number that the user no longer has was released then. The error has
// CodeChangedMeanwhile if another user than was is stored. The caller has checked that the address and the number are free, and that what the call settings
// refer to exists.
func (t *Tx) UpdateUser(ctx context.Context, was, now pbx.User, at time.Time, event pbx.AuditEvent) (pbx.User, error) {
	u, err := t.storedUser(ctx, was)
	if err != nil {
		return now, err
	}
	return t.writeUser(ctx, u, UserUpdate{was, now, event}, at)
}

// UserUpdate is a change of a user, with its audit event.
type UserUpdate struct {
	Was, Now pbx.User
	Event    pbx.AuditEvent
}

// UpdateUsers does what UpdateUser does for several users, in order, each of whom can get the number that another has now.
func (t *Tx) UpdateUsers(ctx context.Context, updates []UserUpdate, at time.Time) (all []pbx.User, err error) {
	stored := make([]storedUser, len(updates))
	for i, change := range updates {
		if stored[i], err = t.storedUser(ctx, change.Was); err != nil {
			return nil, err
		}
	}
	for i, change := range updates {
		for _, later := range stored[i+1:] {
			if later.Extension.Number == change.Now.Extension.Number {
				if err := t.Vacate(ctx, later.Extension); err != nil {
					return nil, err
				}
			}
		}
		u, err := t.writeUser(ctx, stored[i], change, at)
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

// Vacate gives an extension a number that nothing has, so that another can get its number before the caller writes or deletes the user in the same transaction.
// The hash stays in another form, so that the row counts as written by the portal.
func (t *Tx) Vacate(ctx context.Context, e pbx.Extension) error {
	taken := true
	unused := pbx.MaxNumber + 1
	for taken {
		unused--
		if err := t.tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM extensions WHERE number = $1) OR EXISTS (SELECT 1 FROM numbers WHERE number = $2)`,
			int(unused), strconv.Itoa(int(unused))).Scan(&taken); err != nil {
			return err
		}
	}
	_, err := t.tx.ExecContext(ctx, `UPDATE extensions SET number = $1, row_hash = ~row_hash WHERE id = $2`, int(unused), string(e.ID))
	return err
}

// storedUser returns the row of a user whom the caller read.
func (t *Tx) storedUser(ctx context.Context, was pbx.User) (storedUser, error) {
	u, ok, err := found(scanStored(t.tx.QueryRowContext(ctx, selectUser+`WHERE u.tenant_id = $1 AND u.id = $2`+t.dialect.lockRows, string(was.TenantID), string(was.ID)), &opener{}))
	if err == nil && ok {
		err = u.check()
	}
	if err == nil && (!ok || u.Version != was.Version) {
		err = pbx.ChangedMeanwhile(pbx.KindUser)
	}
	return u, err
}

// writeUser changes the row of a user.
func (t *Tx) writeUser(ctx context.Context, u storedUser, change UserUpdate, at time.Time) (_ pbx.User, err error) {
	was, now := change.Was, change.Now
	e := &now.Extension
	secret := string(u.opener.column)
	if e.Secret.Reveal() != was.Extension.Secret.Reveal() {
		if secret, err = t.secrets.in(string(e.ID), e.Secret); err != nil {
			return now, err
		}
	}
	for i := range u.devices { // to find those that change
		if d, ok := was.Device(u.devices[i].ID); ok {
			u.devices[i].Secret = d.Secret
		}
	}
	devices, err := t.putDevices(ctx, was.ID, u.devices, now.Devices)
	if err != nil {
		return now, err
	}
	stored := u.User
	stored.Name, stored.Email, stored.Disabled, stored.Calls, stored.Extension.Number = now.Name, now.Email, now.Disabled, now.Calls, e.Number
	hash := int64(0)
	if u.hash != 0 {
		hash = rowHash(stored, []byte(secret), devices)
	}
	for _, s := range []struct {
		statement string
		values    []any
	}{
		{
			`UPDATE users SET name = $1, email = nullif($2, ''), enabled = $3, calls = $4, version = version + 1, updated_at = $5 WHERE id = $6`,
			[]any{now.Name, now.Email, !now.Disabled, now.Calls.Stored(), at.UTC().Truncate(time.Microsecond), string(was.ID)},
		},
		{
			`UPDATE extensions SET number = $1, secret = $2, row_hash = nullif(CAST($3 AS bigint), 0) WHERE id = $4`,
			[]any{int(e.Number), secret, hash, string(e.ID)},
		},
	} {
		if _, err := t.tx.ExecContext(ctx, s.statement, s.values...); err != nil {
			return now, err
		}
	}
	if now.Calls != was.Calls {
		if err := t.putUserReferences(ctx, now); err != nil {
			return now, err
		}
	}
	if e.Number != was.Extension.Number {
		if err := t.release(ctx, was.Extension.Number, at); err != nil {
			return now, err
		}
	}
	if err := t.AppendEvent(ctx, change.Event); err != nil {
		return now, err
	}
	now, _, err = t.User(ctx, was.TenantID, was.ID)
	return now, err
}

// putUserReferences replaces what the call settings of a user refer to.
func (t *Tx) putUserReferences(ctx context.Context, u pbx.User) error {
	batch := &pgx.Batch{}
	if err := t.queue(ctx, batch, `DELETE FROM user_refs WHERE from_user = $1`, string(u.ID)); err != nil {
		return err
	}
	if err := t.queueUserReferences(ctx, batch, u); err != nil {
		return err
	}
	return t.send(ctx, batch)
}

// queueUserReferences adds the statements that insert what the call settings of a user refer to.
func (t *Tx) queueUserReferences(ctx context.Context, batch *pgx.Batch, u pbx.User) error {
	for _, r := range u.Calls.References() {
		if err := t.queue(ctx, batch, `INSERT INTO user_refs (from_user, field, `+refColumn(r.To)+`) VALUES ($1, $2, $3)`, string(u.ID), r.Field, r.To.ID); err != nil {
			return err
		}
	}
	return nil
}

// AddressOf returns the user who has an e-mail address, without regard to case; "" if no user has it.
func (t *Tx) AddressOf(ctx context.Context, email string) (pbx.UserID, error) {
	id, _, err := found(scanText(t.tx.QueryRowContext(ctx, `SELECT id FROM users WHERE lower(email) = `+t.dialect.lower("CAST($1 AS text)"), email)))
	return pbx.UserID(id), err
}
