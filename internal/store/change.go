package store

import (
	"context"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// UpdateUser changes the name, the address, whether the user is disabled, the number and the secret of a user to those of now, at a time, appends the
// audit event, and returns the user as stored, with a higher version. A number that the user no longer has was released then. The error has
// CodeChangedMeanwhile if another user than was is stored. The caller has checked that the address and the number are free.
func (t *Tx) UpdateUser(ctx context.Context, was, now pbx.User, at time.Time, event pbx.AuditEvent) (pbx.User, error) {
	e := &now.Extension
	u, ok, err := found(scanStored(t.tx.QueryRowContext(ctx, selectUser+`WHERE u.tenant_id = $1 AND u.id = $2`+t.dialect.lockRows, string(was.TenantID), string(was.ID)), &opener{}))
	if err == nil && ok {
		err = u.check()
	}
	if err == nil && (!ok || u.Version != was.Version) {
		err = pbx.ChangedMeanwhile(pbx.KindUser)
	}
	if err != nil {
		return now, err
	}
	secret := string(u.opener.column)
	if e.Secret.Reveal() != was.Extension.Secret.Reveal() {
		if secret, err = t.secrets.in(e.ID, e.Secret); err != nil {
			return now, err
		}
	}
	stored := u.User
	stored.Name, stored.Email, stored.Disabled, stored.Extension.Number = now.Name, now.Email, now.Disabled, e.Number
	hash := int64(0)
	if u.hash != 0 {
		hash = rowHash(stored, []byte(secret))
	}
	for _, change := range []struct {
		statement string
		values    []any
	}{
		{
			`UPDATE users SET name = $1, email = nullif($2, ''), enabled = $3, version = version + 1, updated_at = $4 WHERE id = $5`,
			[]any{now.Name, now.Email, !now.Disabled, at.UTC().Truncate(time.Microsecond), string(was.ID)},
		},
		{
			`UPDATE extensions SET number = $1, secret = $2, row_hash = nullif(CAST($3 AS bigint), 0) WHERE id = $4`,
			[]any{int(e.Number), secret, hash, string(e.ID)},
		},
	} {
		if _, err := t.tx.ExecContext(ctx, change.statement, change.values...); err != nil {
			return now, err
		}
	}
	if e.Number != was.Extension.Number {
		if err := t.release(ctx, was.Extension.Number, at); err != nil {
			return now, err
		}
	}
	if err := t.AppendEvent(ctx, event); err != nil {
		return now, err
	}
	now, _, err = t.User(ctx, was.TenantID, was.ID)
	return now, err
}

// AddressOf returns the user who has an e-mail address, without regard to case; "" if no user has it.
func (t *Tx) AddressOf(ctx context.Context, email string) (pbx.UserID, error) {
	id, _, err := found(scanText(t.tx.QueryRowContext(ctx, `SELECT id FROM users WHERE lower(email) = `+t.dialect.lower("CAST($1 AS text)"), email)))
	return pbx.UserID(id), err
}
