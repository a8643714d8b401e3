package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// selectUser is the beginning of every query for users. Each row also contains the number of rows with a hash, counted in the same snapshot.
const (
	selectUser = `
SELECT u.id, u.tenant_id, u.name, coalesce(u.email, ''), u.created_at, e.id, e.number, e.secret, e.created_at, coalesce(e.row_hash, 0),
    (SELECT covered FROM users_version), u.enabled, u.version, u.updated_at
FROM users u JOIN extensions e ON e.user_id = u.id `
	allUsers = selectUser + `ORDER BY e.number`
)

// list is a cached list of a tenant's users with its version in the table users_version.
type list struct {
	tenant  pbx.TenantID
	version string
	users   []pbx.User
}

// Users returns the tenant's users ordered by extension number, read in one snapshot. The slice is shared; callers must not modify it. The last
// list is cached, and read again when the version in the database has changed. Users that are not as the portal wrote them are an error with
// CodeDatabaseDamaged; all tenants are checked, as damage can move a row to another tenant.
func (s *Store) Users(ctx context.Context, tenant pbx.TenantID) ([]pbx.User, error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	now := list{tenant: tenant, users: []pbx.User{}}
	var known *list
	version, _, err := s.readUsers(ctx, func(version string) bool {
		if last := s.listed.Load(); last != nil && last.tenant == tenant && last.version == version {
			known = last
		}
		return known != nil
	}, func(u *storedUser) (err error) {
		if u.TenantID != tenant {
			return nil
		}
		u.Extension.Secret, err = u.opener.out(u.Extension.ID, u.Extension.Number)
		now.users = append(now.users, u.User)
		return err
	})
	if err == nil && known != nil {
		return known.users, nil
	}
	now.version = version
	if err != nil {
		return nil, s.fault("list users", err)
	}
	s.listed.Store(&now)
	return now.users, nil
}

// readUsers passes all users to take, ordered by number and compared with their hashes, and returns the version under which they may be cached; it
// reads none if known reports that this version is cached. The version is read first: if users change in between, they are cached under a version
// that the database never has again, and so are read once more.
func (s *Store) readUsers(ctx context.Context, known func(version string) bool, take func(*storedUser) error) (version string, seen tally, err error) {
	secrets := s.secrets.opener()
	for range attempts {
		before := version
		seen = tally{}
		if err = s.read.QueryRowContext(ctx, `SELECT version, covered FROM users_version`).Scan(&version, &seen.covered); err != nil || known(version) {
			return version, seen, err
		}
		err = s.dialect.each(ctx, s.read, allUsers, func(r row) error {
			u, err := scanStored(r, secrets)
			if err == nil {
				err = seen.take(&u)
			}
			if err == nil {
				err = take(&u)
			}
			return err
		})
		if err != nil {
			return version, seen, err
		}
		// Without rows the count is that of a moment before: the last user may have been deleted meanwhile.
		if err = seen.check(); err == nil || seen.rows > 0 || version == before {
			break
		}
	}
	return version, seen, err
}

// User returns one user; ok is false if the tenant has none with this id.
func (s *Store) User(ctx context.Context, tenant pbx.TenantID, id pbx.UserID) (u pbx.User, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	u, ok, err = found(scanUser(s.read.QueryRowContext(ctx, selectUser+`WHERE u.tenant_id = $1 AND u.id = $2`, string(tenant), string(id)), s.secrets.opener()))
	return u, ok, s.fault("read a user", err)
}

// User returns one user; ok is false if the tenant has none with this id.
func (t *Tx) User(ctx context.Context, tenant pbx.TenantID, id pbx.UserID) (u pbx.User, ok bool, err error) {
	return found(scanUser(t.tx.QueryRowContext(ctx, selectUser+`WHERE u.tenant_id = $1 AND u.id = $2`, string(tenant), string(id)), t.secrets.opener()))
}

// Users returns the tenant's users ordered by extension number.
func (t *Tx) Users(ctx context.Context, tenant pbx.TenantID) ([]pbx.User, error) {
	secrets := t.secrets.opener()
	return gather(ctx, t.tx, func(r row) (pbx.User, error) { return scanUser(r, secrets) }, selectUser+`WHERE u.tenant_id = $1 ORDER BY e.number`, string(tenant))
}

// Allocation holds the lookup results for a batch of new users: which addresses are taken, and the lowest free numbers.
type Allocation struct {
	Addresses []Address    // of the requested addresses, in the same order
	Free      []pbx.Number // ascending; as many as there are addresses, or fewer if the pool has fewer
}

// Address is the lookup result for an e-mail address.
type Address struct {
	Key   string // equal for addresses that count as the same, ignoring case
	Taken bool   // a user has it
}

// allocationQuery returns a row for each address, and with the first of them the taken numbers, in no order. Databases can find the gaps too, but
// take twice as long. Users with an address are counted, as PostgreSQL answers EXISTS by reading all users. The newest audit entry and the host's
// objects are included, so that writing the events needs no further query.
func (d *dialect) allocationQuery() string {
	return `
SELECT head.seq, head.hash, ` + d.lower("asked.text") + `, (SELECT count(*) FROM users WHERE lower(email) = ` + d.lower("asked.text") + `) > 0,
    CASE WHEN asked.i = 1 THEN (SELECT string_agg(number, ' ') FROM (
        ` + takenNumbers + `
    ) AS taken) END,
    CASE WHEN asked.i = 1 THEN (SELECT string_agg(objects, ' ') FROM host_objects) END
FROM ` + d.listIn("$4") + ` AS asked LEFT JOIN ` + head + ` AS head ON true ORDER BY asked.i`
}

// Allocate looks up, in one query, which addresses are taken, and the lowest numbers from first to last that no user, no item and not the host has and
// that were not released after the given time. It reserves nothing: the caller holds the writers' lock.
func (t *Tx) Allocate(ctx context.Context, emails []string, first, last pbx.Number, freed time.Time) (p Allocation, err error) {
	asked, err := json.Marshal(emails)
	if err != nil {
		return p, err
	}
	rows, err := t.tx.QueryContext(ctx, t.dialect.allocationQuery(), int(first), int(last), freed, string(asked))
	if err != nil {
		return p, err
	}
	defer rows.Close()
	taken := map[string]bool{}
	for rows.Next() {
		var h scannedHead
		var a Address
		var numbers, host sql.NullString
		if err = rows.Scan(append(h.into(), &a.Key, &a.Taken, &numbers, &host)...); err != nil {
			return p, err
		}
		if err = t.stands(h); err != nil {
			return p, err
		}
		p.Addresses = append(p.Addresses, a)
		for number := range strings.FieldsSeq(numbers.String) {
			taken[number] = true
		}
		objects, err := hostObjects(host.String)
		if err != nil {
			return p, err
		}
		for _, o := range objects {
			if o.Taken() {
				taken[strconv.Itoa(int(o.Number))] = true
			}
		}
	}
	for n := first; n <= last && len(p.Free) < len(emails); n++ {
		if !taken[strconv.Itoa(int(n))] {
			p.Free = append(p.Free, n)
		}
	}
	return p, rows.Err()
}

// InUse counts the numbers from first to last that users and items have, and those that only the host has.
func (t *Tx) InUse(ctx context.Context, first, last pbx.Number) (used, host int, err error) {
	numbers, err := t.numbersOf(ctx, ownNumbers, int(first), int(last))
	if err != nil {
		return 0, 0, err
	}
	arrays, err := gather(ctx, t.tx, scanText, `SELECT objects FROM host_objects`)
	if err != nil {
		return 0, 0, err
	}
	objects, err := hostObjects(strings.Join(arrays, " "))
	taken := map[pbx.Number]bool{}
	for _, o := range objects {
		if o.Taken() && o.Number >= first && o.Number <= last && !slices.Contains(numbers, o.Number) {
			taken[o.Number] = true
		}
	}
	return len(numbers), len(taken), err
}

const (
	insertUser      = `INSERT INTO users (id, tenant_id, name, email, created_at) VALUES ($1, $2, $3, nullif($4, ''), $5)`
	insertExtension = `INSERT INTO extensions (user_id, id, number, secret, created_at, row_hash) VALUES ($1, $2, $3, $4, $5, $6)`
	addCovered      = `UPDATE users_version SET covered = covered + $1`
)

// NewUser is a user to insert, with the extension, and the audit event of the creation.
type NewUser struct {
	User  pbx.User
	Event pbx.AuditEvent
}

// InsertUsers adds users, in one round trip. They are enabled.
func (t *Tx) InsertUsers(ctx context.Context, additions ...NewUser) error {
	batch := &pgx.Batch{}
	for _, a := range additions {
		entry, err := t.entry(ctx, a.Event)
		if err != nil {
			return err
		}
		t.appended(entry) // if it is not, the transaction has failed
		u, e := a.User, a.User.Extension
		u.CreatedAt, e.CreatedAt = u.CreatedAt.Truncate(time.Microsecond), e.CreatedAt.Truncate(time.Microsecond) // as PostgreSQL does
		u.Extension = e
		secret, err := t.secrets.in(e.ID, e.Secret)
		if err != nil {
			return err
		}
		for _, row := range []struct {
			insert string
			values []any
		}{
			{insertEvent, eventValues(entry)},
			{insertUser, []any{string(u.ID), string(u.TenantID), u.Name, u.Email, u.CreatedAt}},
			{insertExtension, []any{string(u.ID), string(e.ID), int(e.Number), secret, e.CreatedAt, rowHash(u, []byte(secret))}},
		} {
			if err := t.queue(ctx, batch, row.insert, row.values...); err != nil {
				return err
			}
		}
	}
	if err := t.queue(ctx, batch, addCovered, len(additions)); err != nil {
		return err
	}
	return t.send(ctx, batch)
}

// queue adds a statement to the batch for PostgreSQL; SQLite executes it at once.
func (t *Tx) queue(ctx context.Context, batch *pgx.Batch, statement string, values ...any) error {
	if t.dialect.path == "" {
		batch.Queue(statement, values...)
		return nil
	}
	_, err := t.tx.ExecContext(ctx, statement, values...)
	return err
}

// DeleteUser removes a user with the extension, records when the number was released, and appends the audit event.
func (t *Tx) DeleteUser(ctx context.Context, u pbx.User, now time.Time, event pbx.AuditEvent) error {
	if err := t.AppendEvent(ctx, event); err != nil {
		return err
	}
	if _, err := t.tx.ExecContext(ctx, `DELETE FROM users WHERE tenant_id = $1 AND id = $2`, string(u.TenantID), string(u.ID)); err != nil {
		return err
	}
	return t.release(ctx, u.Extension.Number, now)
}

// scanUser scans a row of selectUser's columns, compares it with its hash and opens the secret.
func scanUser(r row, secrets *opener) (pbx.User, error) {
	u, err := scanStored(r, secrets)
	if err == nil {
		err = u.check()
	}
	if err == nil {
		u.Extension.Secret, err = secrets.out(u.Extension.ID, u.Extension.Number)
	}
	return u.User, err
}
