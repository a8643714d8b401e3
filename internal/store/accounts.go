package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Credentials is an account with its stored credentials. None of them is sufficient to sign in.
type Credentials struct {
	pbx.Account

	PasswordHash string // argon2id; "" for an account without a password
	TOTPSecret   string // sealed; "" for none; set while TOTP is false if a factor waits for confirmation
	TOTPStep     int64  // of the last used code; all used steps are in totp_steps
}

const accountColumns = `a.id, a.name, a.email, a.role, a.disabled, a.password_hash, a.totp_secret, a.totp_on, a.totp_step, a.created_at, a.last_sign_in, a.oidc_issuer, a.oidc_subject`

const selectAccount = `SELECT ` + accountColumns + ` FROM accounts a `

// Accounts returns all accounts, ordered by name.
func (s *Store) Accounts(ctx context.Context) ([]pbx.Account, error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	accounts, err := gather(ctx, s.read, func(r row) (pbx.Account, error) {
		c, err := scanAccount(r)
		return c.Account, err
	}, selectAccount+`ORDER BY lower(a.name), lower(a.email)`)
	return accounts, s.fault("list accounts", err)
}

// AccountsAfter returns up to limit accounts, ordered by name, that follow the named one ("": from the first), with their persons. ok is false if that does not exist.
func (s *Store) AccountsAfter(ctx context.Context, after pbx.AccountID, limit int) (page []pbx.Account, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	where, args := ``, []any{limit}
	if after != "" {
		if _, ok, err = s.Account(ctx, after); err != nil || !ok {
			return nil, false, err
		}
		where = `WHERE (lower(a.name), lower(a.email)) > (SELECT lower(name), lower(email) FROM accounts WHERE id = $2) `
		args = append(args, string(after))
	}
	page, err = gather(ctx, s.read, func(r row) (pbx.Account, error) {
		c, err := scanAccount(r)
		return c.Account, err
	}, selectAccount+where+`ORDER BY lower(a.name), lower(a.email) LIMIT $1`, args...)
	if err == nil {
		err = setPersons(ctx, s.read, &s.dialect, page)
	}
	return page, true, s.fault("list accounts", err)
}

// HasAccounts reports whether there is any account.
func (s *Store) HasAccounts(ctx context.Context) (has bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	err = s.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM accounts)`).Scan(&has)
	return has, s.fault("look for accounts", err)
}

// HasAccounts reports whether there is any account.
func (t *Tx) HasAccounts(ctx context.Context) (has bool, err error) {
	err = t.tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM accounts)`).Scan(&has)
	return has, err
}

// AccountByEmail returns the account with an e-mail address, ignoring case; ok is false if there is none.
func (s *Store) AccountByEmail(ctx context.Context, email string) (c Credentials, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	c, ok, err = found(scanAccount(s.read.QueryRowContext(ctx, selectAccount+`WHERE lower(a.email) = `+s.dialect.lower("$1"), email)))
	return c, ok, s.fault("read an account", err)
}

// Account returns an account; ok is false if there is none with this id.
func (s *Store) Account(ctx context.Context, id pbx.AccountID) (c Credentials, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	c, ok, err = found(scanAccount(s.read.QueryRowContext(ctx, selectAccount+`WHERE a.id = $1`, string(id))))
	return c, ok, s.fault("read an account", err)
}

// AccountByEmail returns the account with an e-mail address, ignoring case; ok is false if there is none.
func (t *Tx) AccountByEmail(ctx context.Context, email string) (c Credentials, ok bool, err error) {
	return found(scanAccount(t.tx.QueryRowContext(ctx, selectAccount+`WHERE lower(a.email) = `+t.dialect.lower("$1"), email)))
}

// Account returns an account; ok is false if there is none with this id.
func (t *Tx) Account(ctx context.Context, id pbx.AccountID) (c Credentials, ok bool, err error) {
	return found(scanAccount(t.tx.QueryRowContext(ctx, selectAccount+`WHERE a.id = $1`, string(id))))
}

// AccountByIdentity returns the account that is linked to an OpenID identity; ok is false if there is none.
func (s *Store) AccountByIdentity(ctx context.Context, i pbx.Identity) (c Credentials, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	c, ok, err = found(scanAccount(s.read.QueryRowContext(ctx, selectAccount+byIdentity, i.Issuer, i.Subject)))
	return c, ok, s.fault("read an account", err)
}

// AccountByIdentity returns the account that is linked to an OpenID identity; ok is false if there is none.
func (t *Tx) AccountByIdentity(ctx context.Context, i pbx.Identity) (c Credentials, ok bool, err error) {
	return found(scanAccount(t.tx.QueryRowContext(ctx, selectAccount+byIdentity, i.Issuer, i.Subject)))
}

const byIdentity = `WHERE a.oidc_issuer = $1 AND a.oidc_subject = $2 AND a.oidc_subject <> ''`

// InsertAccount adds an account.
func (t *Tx) InsertAccount(ctx context.Context, c Credentials) error {
	_, err := t.tx.ExecContext(ctx, `INSERT INTO accounts
(id, name, email, role, disabled, password_hash, totp_secret, totp_on, totp_step, created_at, last_sign_in, oidc_issuer, oidc_subject)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		string(c.ID), c.Name, c.Email, string(c.Role), c.Disabled, c.PasswordHash, c.TOTPSecret, c.TOTP, c.TOTPStep, c.CreatedAt, orNull(c.LastSignIn),
		c.Identity.Issuer, c.Identity.Subject)
	return err
}

// UpdateAccount writes all fields of an account except its id, address and creation time.
func (t *Tx) UpdateAccount(ctx context.Context, c Credentials) error {
	_, err := t.tx.ExecContext(ctx, `UPDATE accounts
SET name = $2, role = $3, disabled = $4, password_hash = $5, totp_secret = $6, totp_on = $7, totp_step = $8, last_sign_in = $9,
    oidc_issuer = $10, oidc_subject = $11 WHERE id = $1`,
		string(c.ID), c.Name, string(c.Role), c.Disabled, c.PasswordHash, c.TOTPSecret, c.TOTP, c.TOTPStep, orNull(c.LastSignIn),
		c.Identity.Issuer, c.Identity.Subject)
	return err
}

// DeleteAccount removes an account with its sessions, links and recovery codes.
func (t *Tx) DeleteAccount(ctx context.Context, id pbx.AccountID) error {
	_, err := t.tx.ExecContext(ctx, `DELETE FROM accounts WHERE id = $1`, string(id))
	return err
}

// HasOtherOwner reports whether another account is an owner who can sign in.
func (t *Tx) HasOtherOwner(ctx context.Context, but pbx.AccountID) (has bool, err error) {
	err = t.tx.QueryRowContext(ctx, `SELECT EXISTS
(SELECT 1 FROM accounts WHERE id <> $1 AND role = $2 AND NOT disabled AND password_hash <> '')`, string(but), string(pbx.Owner)).Scan(&has)
	return has, err
}

// ReplaceRecoveryCodes replaces the stored recovery code hashes of an account.
func (t *Tx) ReplaceRecoveryCodes(ctx context.Context, id pbx.AccountID, hashes [][]byte) error {
	if _, err := t.tx.ExecContext(ctx, `DELETE FROM recovery_codes WHERE account_id = $1`, string(id)); err != nil {
		return err
	}
	for _, hash := range hashes {
		if _, err := t.tx.ExecContext(ctx, `INSERT INTO recovery_codes (account_id, hash) VALUES ($1, $2)`, string(id), hash); err != nil {
			return err
		}
	}
	return nil
}

// UseRecoveryCode removes a recovery code of an account, and reports whether it existed.
func (t *Tx) UseRecoveryCode(ctx context.Context, id pbx.AccountID, hash []byte) (had bool, err error) {
	return changed(t.tx.ExecContext(ctx, `DELETE FROM recovery_codes WHERE account_id = $1 AND hash = $2`, string(id), hash))
}

// UseTOTPStep marks a step of an account's second factor as used; fresh is false if it was used before.
func (t *Tx) UseTOTPStep(ctx context.Context, id pbx.AccountID, step int64) (fresh bool, err error) {
	return changed(t.tx.ExecContext(ctx, `INSERT INTO totp_steps (account_id, step) VALUES ($1, $2) ON CONFLICT DO NOTHING`, string(id), step))
}

// ForgetTOTPSteps removes the used steps of an account's second factor: a new secret has other codes.
func (t *Tx) ForgetTOTPSteps(ctx context.Context, id pbx.AccountID) error {
	_, err := t.tx.ExecContext(ctx, `DELETE FROM totp_steps WHERE account_id = $1`, string(id))
	return err
}

// scanAccount scans a row that begins with accountColumns; further columns go into more.
func scanAccount(r row, more ...any) (Credentials, error) {
	var c Credentials
	var seen sql.NullTime
	columns := append([]any{
		(*string)(&c.ID), &c.Name, &c.Email, (*string)(&c.Role), &c.Disabled, &c.PasswordHash, &c.TOTPSecret, &c.TOTP, &c.TOTPStep,
		&c.CreatedAt, &seen, &c.Identity.Issuer, &c.Identity.Subject,
	}, more...)
	err := r.Scan(columns...)
	c.CreatedAt, c.LastSignIn, c.Invited = c.CreatedAt.UTC(), orZero(seen), c.PasswordHash == ""
	return c, err
}

// found reports a missing row as ok = false instead of an error.
func found[T any](v T, err error) (_ T, ok bool, _ error) {
	if errors.Is(err, sql.ErrNoRows) {
		var none T
		return none, false, nil
	}
	return v, err == nil, err
}

// changed reports whether a statement changed any row.
func changed(result sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// orNull returns NULL for the zero time.
func orNull(t time.Time) sql.NullTime { return sql.NullTime{Time: t, Valid: !t.IsZero()} }

// orZero returns the zero time for NULL.
func orZero(t sql.NullTime) time.Time {
	if !t.Valid {
		return time.Time{}
	}
	return t.Time.UTC()
}
