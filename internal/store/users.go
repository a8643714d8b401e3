package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// selectUser leaves the tenant out: every query is for one, which its caller knows.
const selectUser = `
SELECT u.id, u.name, u.email, u.created_at, e.id, e.number, e.secret, e.created_at
FROM users u JOIN extensions e ON e.user_id = u.id `

// list is the users of a tenant as they were, or became, under a mark of the table users_version.
type list struct {
	tenant  pbx.TenantID
	version string
	users   []pbx.User
}

// Users gives the tenant's users, ordered by extension number, as one consistent picture. Others get the same slice: whoever wants
// to change something in it takes a copy. The last list is remembered, and read again when the database says that something changed.
func (s *Store) Users(ctx context.Context, tenant pbx.TenantID) ([]pbx.User, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	// The mark is read first. Should the users change before they are read, they are remembered under a mark that is never again that
	// of the database, and so they are read once more.
	now := list{tenant: tenant, users: []pbx.User{}}
	if err := s.read.QueryRowContext(ctx, `SELECT version FROM users_version`).Scan(&now.version); err != nil {
		return nil, s.fault("list users", err)
	}
	if last := s.listed.Load(); last != nil && last.tenant == tenant && last.version == now.version {
		return last.users, nil
	}
	secrets := s.secrets.opener()
	err := s.dialect.each(ctx, s.read, selectUser+`WHERE u.tenant_id = $1 ORDER BY e.number`, string(tenant), func(r row) error {
		u, err := scanUser(r, tenant, secrets)
		now.users = append(now.users, u)
		return err
	})
	if err != nil {
		return nil, s.fault("list users", err)
	}
	s.listed.Store(&now)
	return now.users, nil
}

// User gives one user; ok is false when the tenant has none of that id.
func (s *Store) User(ctx context.Context, tenant pbx.TenantID, id pbx.UserID) (u pbx.User, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	u, err = scanUser(s.read.QueryRowContext(ctx, selectUser+`WHERE u.tenant_id = $1 AND u.id = $2`, string(tenant), string(id)), tenant, s.secrets.opener())
	if errors.Is(err, sql.ErrNoRows) {
		return u, false, nil
	}
	return u, err == nil, s.fault("read a user", err)
}

// User gives one user; ok is false when the tenant has none of that id.
func (t *Tx) User(ctx context.Context, tenant pbx.TenantID, id pbx.UserID) (u pbx.User, ok bool, err error) {
	u, err = scanUser(t.tx.QueryRowContext(ctx, selectUser+`WHERE u.tenant_id = $1 AND u.id = $2`, string(tenant), string(id)), tenant, t.secrets.opener())
	if errors.Is(err, sql.ErrNoRows) {
		return u, false, nil
	}
	return u, err == nil, err
}

// Place is where a new user would go.
type Place struct {
	EmailTaken bool       // somebody has the address already, in whatever case
	Number     pbx.Number // the lowest free one; 0 when there is none
}

// Up to the first gap each taken number is as far from the first one as its place in the order; behind it none is. There is no join,
// for PostgreSQL might carry out one it planned while the tables were empty: a thousand numbers would be compared with each of a
// thousand. The newest link of the audit trail comes along, so that writing the event needs no question of its own.
const placeQuery = `
SELECT head.seq, head.hash, EXISTS (SELECT 1 FROM users WHERE lower(email) = lower($4)), (
    SELECT count(*) FROM (
        SELECT number - row_number() OVER (ORDER BY number) AS ahead FROM (
            SELECT number FROM extensions WHERE number BETWEEN $1 AND $2
            UNION SELECT number FROM freed_numbers WHERE number BETWEEN $1 AND $2 AND freed_at > $3
        ) AS taken
    ) AS ranked WHERE ahead = $1 - 1)
FROM (SELECT 1) AS one LEFT JOIN ` + head + ` AS head ON true`

// Place looks, in one question, whether anybody has the address, and for the lowest number from first to last that nobody has and that
// was not freed after the given time.
func (t *Tx) Place(ctx context.Context, email string, first, last pbx.Number, freed time.Time) (p Place, err error) {
	unbroken := 0
	var h scannedHead
	into := append(h.into(), &p.EmailTaken, &unbroken)
	if err = t.tx.QueryRowContext(ctx, placeQuery, int(first), int(last), freed, email).Scan(into...); err != nil {
		return p, err
	}
	if t.head, err = h.head(); err != nil {
		return p, err
	}
	if n := first + pbx.Number(unbroken); n <= last {
		p.Number = n
	}
	return p, nil
}

// InUse counts the numbers from first to last that somebody has.
func (t *Tx) InUse(ctx context.Context, first, last pbx.Number) (n int, err error) {
	err = t.tx.QueryRowContext(ctx, `SELECT count(*) FROM extensions WHERE number BETWEEN $1 AND $2`, int(first), int(last)).Scan(&n)
	return n, err
}

const (
	insertUser      = `INSERT INTO users (id, tenant_id, name, email, created_at) VALUES ($1, $2, $3, $4, $5)`
	insertExtension = `INSERT INTO extensions (user_id, id, number, secret, created_at) VALUES ($1, $2, $3, $4, $5)`
)

// InsertUser adds a user with the extension, and the event that tells of it.
func (t *Tx) InsertUser(ctx context.Context, u pbx.User, event pbx.AuditEvent) error {
	const all = `WITH e AS (` + insertEvent + `),
u AS (INSERT INTO users (id, tenant_id, name, email, created_at) VALUES ($17, $18, $19, $20, $21))
INSERT INTO extensions (user_id, id, number, secret, created_at) VALUES ($17, $22, $23, $24, $25)`
	entry, err := t.entry(ctx, event)
	if err != nil {
		return err
	}
	defer t.appended(entry) // where it was not, the transaction has failed
	ofUser := []any{string(u.ID), string(u.TenantID), u.Name, u.Email, u.CreatedAt}
	e := u.Extension
	secret, err := t.secrets.in(e.ID, e.Secret)
	if err != nil {
		return err
	}
	ofExtension := []any{string(e.ID), int(e.Number), secret, e.CreatedAt}
	if t.dialect.path == "" { // one statement is one wait for the server
		_, err := t.tx.ExecContext(ctx, all, slices.Concat(eventValues(entry), ofUser, ofExtension)...)
		return err
	}
	if _, err := t.tx.ExecContext(ctx, insertEvent, eventValues(entry)...); err != nil {
		return err
	}
	if _, err := t.tx.ExecContext(ctx, insertUser, ofUser...); err != nil {
		return err
	}
	_, err = t.tx.ExecContext(ctx, insertExtension, slices.Concat(ofUser[:1], ofExtension)...)
	return err
}

// DeleteUser removes a user, and the extension with it, notes when the number was freed, and adds the event that tells of it.
func (t *Tx) DeleteUser(ctx context.Context, u pbx.User, now time.Time, event pbx.AuditEvent) error {
	if err := t.AppendEvent(ctx, event); err != nil {
		return err
	}
	if _, err := t.tx.ExecContext(ctx, `DELETE FROM users WHERE tenant_id = $1 AND id = $2`, string(u.TenantID), string(u.ID)); err != nil {
		return err
	}
	_, err := t.tx.ExecContext(ctx, `INSERT INTO freed_numbers (number, freed_at) VALUES ($1, $2)
ON CONFLICT (number) DO UPDATE SET freed_at = excluded.freed_at`, int(u.Extension.Number), now)
	return err
}

// scanUser reads one row with selectUser's columns. Plain types spare both drivers the way through reflection.
func scanUser(r row, tenant pbx.TenantID, secrets *opener) (pbx.User, error) {
	u := pbx.User{TenantID: tenant}
	e := &u.Extension
	if err := r.Scan((*string)(&u.ID), &u.Name, &u.Email, &u.CreatedAt, (*string)(&e.ID), (*int)(&e.Number), secrets, &e.CreatedAt); err != nil {
		return u, err
	}
	u.CreatedAt, e.CreatedAt = u.CreatedAt.UTC(), e.CreatedAt.UTC()
	var err error
	e.Secret, err = secrets.out(e.ID, e.Number)
	return u, err
}
