package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

const selectUser = `
SELECT u.id, u.tenant_id, u.name, u.email, u.created_at, e.id, e.number, e.secret, e.created_at
FROM users u JOIN extensions e ON e.user_id = u.id `

// Users gives the tenant's users, ordered by extension number. It is one statement, and so one consistent picture.
func (s *Store) Users(ctx context.Context, tenant pbx.TenantID) ([]pbx.User, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	users, err := scanUsers(s.read.QueryContext(ctx, selectUser+`WHERE u.tenant_id = $1 ORDER BY e.number`, string(tenant)))
	return users, s.fault("list users", err)
}

// User gives one user; ok is false when the tenant has none of that id.
func (s *Store) User(ctx context.Context, tenant pbx.TenantID, id pbx.UserID) (u pbx.User, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	u, err = scanUser(s.read.QueryRowContext(ctx, selectUser+`WHERE u.tenant_id = $1 AND u.id = $2`, string(tenant), string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return u, false, nil
	}
	return u, err == nil, s.fault("read a user", err)
}

// User gives one user; ok is false when the tenant has none of that id.
func (t *Tx) User(ctx context.Context, tenant pbx.TenantID, id pbx.UserID) (u pbx.User, ok bool, err error) {
	u, err = scanUser(t.tx.QueryRowContext(ctx, selectUser+`WHERE u.tenant_id = $1 AND u.id = $2`, string(tenant), string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return u, false, nil
	}
	return u, err == nil, err
}

// EmailTaken reports whether any user has this address, without regard to case.
func (t *Tx) EmailTaken(ctx context.Context, email string) (taken bool, err error) {
	err = t.tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM users WHERE lower(email) = lower($1))`, email).Scan(&taken)
	return taken, err
}

// LowestFree gives the lowest number from first to last that nobody has and that was not freed after the given time; ok is false when
// there is none.
func (t *Tx) LowestFree(ctx context.Context, first, last pbx.Number, freed time.Time) (n pbx.Number, ok bool, err error) {
	// A free number is the first of the range, or stands behind one that is used or resting.
	const query = `
SELECT MIN(n) FROM (
    SELECT CAST($1 AS integer) AS n
    UNION ALL SELECT number + 1 FROM extensions WHERE number >= $1 AND number < $2
    UNION ALL SELECT number + 1 FROM freed_numbers WHERE number >= $1 AND number < $2
) AS candidates
WHERE NOT EXISTS (SELECT 1 FROM extensions WHERE number = n)
  AND NOT EXISTS (SELECT 1 FROM freed_numbers WHERE number = n AND freed_at > $3)`
	var lowest sql.NullInt64
	err = t.tx.QueryRowContext(ctx, query, int(first), int(last), freed).Scan(&lowest)
	return pbx.Number(lowest.Int64), lowest.Valid, err
}

// InUse counts the numbers from first to last that somebody has.
func (t *Tx) InUse(ctx context.Context, first, last pbx.Number) (n int, err error) {
	err = t.tx.QueryRowContext(ctx, `SELECT count(*) FROM extensions WHERE number BETWEEN $1 AND $2`, int(first), int(last)).Scan(&n)
	return n, err
}

// InsertUser adds a user with the extension.
func (t *Tx) InsertUser(ctx context.Context, u pbx.User) error {
	if _, err := t.tx.ExecContext(ctx,
		`INSERT INTO users (id, tenant_id, name, email, created_at) VALUES ($1, $2, $3, $4, $5)`,
		string(u.ID), string(u.TenantID), u.Name, u.Email, u.CreatedAt); err != nil {
		return err
	}
	e := u.Extension
	if _, err := t.tx.ExecContext(ctx, `DELETE FROM freed_numbers WHERE number = $1`, int(e.Number)); err != nil {
		return err
	}
	_, err := t.tx.ExecContext(ctx,
		`INSERT INTO extensions (id, number, user_id, secret, created_at) VALUES ($1, $2, $3, $4, $5)`,
		string(e.ID), int(e.Number), string(u.ID), e.Secret.Reveal(), e.CreatedAt)
	return err
}

// DeleteUser removes a user, and the extension with it, and notes when the number was freed.
func (t *Tx) DeleteUser(ctx context.Context, u pbx.User, now time.Time) error {
	if _, err := t.tx.ExecContext(ctx, `DELETE FROM users WHERE tenant_id = $1 AND id = $2`, string(u.TenantID), string(u.ID)); err != nil {
		return err
	}
	_, err := t.tx.ExecContext(ctx, `INSERT INTO freed_numbers (number, freed_at) VALUES ($1, $2)
ON CONFLICT (number) DO UPDATE SET freed_at = excluded.freed_at`, int(u.Extension.Number), now)
	return err
}

// scanUsers reads all rows of a query that selects selectUser's columns.
func scanUsers(rows *sql.Rows, err error) ([]pbx.User, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	users := []pbx.User{}
	for rows.Next() {
		u, err := scanUser(rows)
		if err != nil {
			return nil, err
		}
		users = append(users, u)
	}
	return users, rows.Err()
}

// scanUser reads one row with selectUser's columns.
func scanUser(row interface{ Scan(...any) error }) (pbx.User, error) {
	var u pbx.User
	var secret string
	err := row.Scan(&u.ID, &u.TenantID, &u.Name, &u.Email, &u.CreatedAt,
		&u.Extension.ID, &u.Extension.Number, &secret, &u.Extension.CreatedAt)
	u.CreatedAt, u.Extension.CreatedAt = u.CreatedAt.UTC(), u.Extension.CreatedAt.UTC()
	u.Extension.Secret = pbx.SecretFrom(secret)
	return u, err
}
