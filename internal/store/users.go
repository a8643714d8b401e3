package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// selectUser is the beginning of every query for users. Each row also contains the number of rows with a hash, counted in the same snapshot.
const (
	selectUser = `
SELECT u.id, u.tenant_id, u.name, coalesce(u.email, ''), u.created_at, e.id, e.number, e.secret, e.created_at, coalesce(e.row_hash, 0),
    (SELECT covered FROM users_version), u.enabled, u.calls, u.version, u.updated_at, ` + selectDevices + `
FROM users u JOIN extensions e ON e.user_id = u.id `
	allUsers = selectUser + `ORDER BY e.number`
)

// list is a cached list of a tenant's users with its version in the table users_version.
type list struct {
	tenant  pbx.TenantID
	version string
	all     []pbx.User // of all tenants, ordered by number; only those of the tenant with their secrets
	users   []pbx.User // of the tenant
	strays  int        // the number of extensions without a user, which are in no list
	whole   bool       // all rows were read under this version, and compared with their hashes
}

// Users returns the tenant's users ordered by extension number, as of one moment. The slice is shared; callers must not modify it. The last list is
// cached. When the version in the database has changed, the users that changed since are read, or all of them if it is not recorded which did. Users
// that are read and are not as the portal wrote them are an error with CodeDatabaseDamaged.
func (s *Store) Users(ctx context.Context, tenant pbx.TenantID) ([]pbx.User, error) {
	return s.users(ctx, tenant, false)
}

// CheckedUsers returns what Users returns, and reads all users, of all tenants, since any of them changed: damage anywhere is an error, also where
// Users has the undamaged row in its cache. An apply reads the users with it.
func (s *Store) CheckedUsers(ctx context.Context, tenant pbx.TenantID) ([]pbx.User, error) {
	return s.users(ctx, tenant, true)
}

func (s *Store) users(ctx context.Context, tenant pbx.TenantID, whole bool) ([]pbx.User, error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	last := s.listed.Load()
	if last != nil && (last.tenant != tenant || whole && !last.whole) {
		last = nil
	}
	if last != nil && !whole {
		now, err := s.updated(ctx, last)
		switch {
		case err != nil && pbx.CodeOf(err) != pbx.CodeDatabaseDamaged: // reading all users finds out how many are damaged
			return nil, s.fault("list users", err)
		case err == nil && now != nil:
			if now != last {
				s.listed.Store(now)
			}
			return now.users, nil
		}
		last = nil
	}
	now := &list{tenant: tenant, all: []pbx.User{}, whole: true}
	known := false
	version, seen, err := s.readUsers(ctx, func(version string) bool {
		now.all = now.all[:0]
		known = last != nil && last.version == version
		return known
	}, func(u *storedUser) (err error) {
		if u.TenantID == tenant {
			err = u.open()
		}
		now.all = append(now.all, u.User)
		return err
	})
	switch {
	case err != nil:
		return nil, s.fault("list users", err)
	case known:
		return last.users, nil
	}
	now.version, now.strays = version, seen.extensions-seen.rows
	now.users = ofTenant(now.all, tenant)
	if cached := s.listed.Load(); cached != nil && cached.tenant == tenant && slices.EqualFunc(cached.users, now.users, pbx.User.Same) {
		now.users = cached.users // callers recognise by it that no user has changed
	}
	s.listed.Store(now)
	return now.users, nil
}

// ofTenant returns the users of the tenant: all itself if there are no others.
func ofTenant(all []pbx.User, tenant pbx.TenantID) []pbx.User {
	other := func(u pbx.User) bool { return u.TenantID != tenant }
	if !slices.ContainsFunc(all, other) {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), other)
}

// updated returns the list with the users that changed since: the list itself if none did, and nil if all users must be read.
func (s *Store) updated(ctx context.Context, last *list) (*list, error) {
	now := last
	for range attempts {
		var version string
		if err := s.read.QueryRowContext(ctx, `SELECT version FROM users_version`).Scan(&version); err != nil {
			return nil, err
		}
		if version == now.version { // nothing changed while the rows were read
			return now, nil
		}
		changed, err := s.changesSince(ctx, last.version)
		if err != nil || changed == nil {
			return nil, err
		}
		if now, err = s.withChanges(ctx, last, changed); err != nil || now == nil {
			return nil, err
		}
	}
	return nil, nil
}

// changes are the recorded changes since a list was read.
type changes struct {
	after      int64  // the number of the last change before them
	version    string // after them
	users      map[pbx.UserID]bool
	extensions int // the number of all extensions
}

// changesSince returns the changes since a version, and nil if they are not all recorded: there were too many, or the version is not one of this database,
// which may be an older copy now.
func (s *Store) changesSince(ctx context.Context, version string) (*changes, error) {
	c := changes{users: map[pbx.UserID]bool{}}
	var after, missing sql.NullInt64
	var users string
	// Without a FROM, so that PostgreSQL's estimate of the rows of users_version, which is wrong while it has many dead ones, does not matter.
	err := s.read.QueryRowContext(ctx, `
WITH known AS (SELECT max(change) AS change FROM user_changes WHERE version = $1)
SELECT (SELECT change FROM known), (SELECT version FROM users_version), (SELECT count(*) FROM extensions),
    (SELECT changes FROM users_version) - (SELECT change FROM known) - (SELECT count(*) FROM user_changes WHERE change > (SELECT change FROM known)),
    coalesce((SELECT string_agg(CAST(user_id AS text), ' ') FROM user_changes WHERE change > (SELECT change FROM known)), '')`, version).
		Scan(&after, &c.version, &c.extensions, &missing, &users)
	if err != nil || !after.Valid || missing.Int64 != 0 {
		return nil, err
	}
	c.after = after.Int64
	for id := range strings.FieldsSeq(users) {
		c.users[pbx.UserID(id)] = true
	}
	return &c, nil
}

// withChanges returns the list with the changed users as they are now, and nil if the result cannot be that of the database.
func (s *Store) withChanges(ctx context.Context, last *list, c *changes) (*list, error) {
	now := &list{tenant: last.tenant, version: c.version, strays: last.strays, all: make([]pbx.User, 0, len(last.all)+len(c.users))}
	rest, previous := last.all, pbx.Number(-1)
	ordered := true
	add := func(u *pbx.User) {
		ordered = ordered && previous < u.Extension.Number
		previous = u.Extension.Number
		now.all = append(now.all, *u)
	}
	keep := func(below pbx.Number) { // the unchanged users with lower numbers
		for len(rest) > 0 && rest[0].Extension.Number < below {
			if !c.users[rest[0].ID] {
				add(&rest[0])
			}
			rest = rest[1:]
		}
	}
	secrets := s.secrets.opener()
	err := s.dialect.each(ctx, s.read, selectUser+`WHERE u.id `+s.dialect.among(`SELECT user_id FROM user_changes WHERE change > $1`)+` ORDER BY e.number`,
		func(r row) error {
			u, err := scanStored(r, secrets)
			if err == nil {
				err = u.check()
			}
			if err == nil && u.TenantID == last.tenant {
				err = u.open()
			}
			keep(u.Extension.Number)
			add(&u.User)
			return err
		}, c.after)
	keep(math.MaxInt)
	if err != nil || !ordered || len(now.all)+now.strays != c.extensions {
		return nil, err
	}
	now.users = ofTenant(now.all, now.tenant)
	return now, nil
}

// readUsers passes all users to take, ordered by number and compared with their hashes, and returns the version under which they may be cached; it
// reads none if known, which is called before each attempt, reports that this version is cached. The version is read first: if users change in
// between, they are cached under a version that the database never has again, and so are read once more.
func (s *Store) readUsers(ctx context.Context, known func(version string) bool, take func(*storedUser) error) (version string, seen tally, err error) {
	secrets := s.secrets.opener()
	for range attempts {
		before := version
		seen = tally{}
		err = s.read.QueryRowContext(ctx, `SELECT version, covered, (SELECT count(*) FROM extensions) FROM users_version`).
			Scan(&version, &seen.covered, &seen.extensions)
		if err != nil || known(version) {
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

// Allocation holds the lookup results for a batch of new users: which addresses and numbers are taken.
type Allocation struct {
	Addresses []Address // of the requested addresses, in the same order
	Taken     Taken
	Version   string // of the settings, as KnownSettings returns it
}

// Address is the lookup result for an e-mail address.
type Address struct {
	Key   string // equal for addresses that count as the same, ignoring case
	Taken bool   // a user has it
}

// allocationQuery returns a row for each address, and with the first of them the taken numbers, in no order. Databases can find the gaps too, but
// take twice as long. Users with an address are counted, as PostgreSQL answers EXISTS by reading all users. The newest audit entry and the host's
// objects are included, so that writing the events needs no further query, and the version of the settings.
func (d *dialect) allocationQuery() string {
	return `
SELECT head.seq, head.hash, ` + d.lower("asked.text") + `, (SELECT count(*) FROM users WHERE lower(email) = ` + d.lower("asked.text") + `) > 0,
    CASE WHEN asked.i = 1 THEN (SELECT string_agg(number, ' ') FROM (
        ` + takenNumbers + `
    ) AS taken) END,
    CASE WHEN asked.i = 1 THEN (SELECT string_agg(objects, ' ') FROM host_objects) END,
    CASE WHEN asked.i = 1 THEN (SELECT version FROM things_version) END
FROM ` + d.listIn("$4") + ` AS asked LEFT JOIN ` + head + ` AS head ON true ORDER BY asked.i`
}

// Allocate looks up, in one query, which addresses are taken, and which numbers from first to last, as Tx.Taken does. It reserves nothing: the caller holds
// the writers' lock.
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
	p.Taken = Taken{}
	for rows.Next() {
		var h scannedHead
		var a Address
		var numbers, host, version sql.NullString
		if err = rows.Scan(append(h.into(), &a.Key, &a.Taken, &numbers, &host, &version)...); err != nil {
			return p, err
		}
		p.Version = cmp.Or(p.Version, version.String)
		if err = t.stands(h); err != nil {
			return p, err
		}
		p.Addresses = append(p.Addresses, a)
		objects, err := hostObjects(host.String)
		if err != nil {
			return p, err
		}
		p.Taken.add(strings.FieldsSeq(numbers.String), objects)
	}
	return p, rows.Err()
}

const (
	insertUser      = `INSERT INTO users (id, tenant_id, name, email, created_at) VALUES ($1, $2, $3, nullif($4, ''), $5)`
	insertExtension = `INSERT INTO extensions (user_id, id, number, secret, created_at, row_hash) VALUES ($1, $2, $3, $4, $5, $6)`

	// As these, for PostgreSQL: all rows in one statement, whose triggers run once. Each parameter is a column.
	insertUsers = `INSERT INTO users (id, tenant_id, name, email, created_at) SELECT id, tenant_id, name, nullif(email, ''), created_at
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamp[]) AS u (id, tenant_id, name, email, created_at)`
	insertExtensions = `INSERT INTO extensions (user_id, id, number, secret, created_at, row_hash)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::timestamp[], $6::bigint[])`

	addCovered  = `UPDATE users_version SET covered = covered + $1`
	setDisabled = `UPDATE users SET enabled = $1 WHERE id = $2`
	setCalls    = `UPDATE users SET calls = $1 WHERE id = $2`
	setVersion  = `UPDATE users SET version = $1 WHERE id = $2`
	deleteUser  = `DELETE FROM users WHERE tenant_id = $1 AND id = $2`
	insertFreed = `INSERT INTO freed_numbers (number, freed_at) VALUES ($1, $2) ON CONFLICT (number) DO UPDATE SET freed_at = excluded.freed_at`
)

// NewUser is a user to insert, with the extension, and the audit event of the creation.
type NewUser struct {
	User  pbx.User
	Event pbx.AuditEvent
}

// UnusedUserVersion returns a version that no user had before: higher than the number of all changes to users, of which each raises a version by one.
func (t *Tx) UnusedUserVersion(ctx context.Context) (version int64, err error) {
	err = t.tx.QueryRowContext(ctx, `SELECT changes + 1 FROM users_version`).Scan(&version)
	return version, err
}

// InsertUsers adds users, in one round trip. They are enabled, and have the version 1 if they have none.
func (t *Tx) InsertUsers(ctx context.Context, additions ...NewUser) error {
	if len(additions) == 0 {
		return nil
	}
	var events, users, extensions [][]any
	for _, a := range additions {
		entry, err := t.entry(ctx, a.Event)
		if err != nil {
			return err
		}
		t.appended(entry) // if it is not, the transaction has failed
		u, e := a.User, a.User.Extension
		u.CreatedAt, e.CreatedAt = u.CreatedAt.Truncate(time.Microsecond), e.CreatedAt.Truncate(time.Microsecond) // as PostgreSQL does
		u.Extension = e
		secret, err := t.secrets.in(string(e.ID), e.Secret)
		if err != nil {
			return err
		}
		events = append(events, eventValues(entry))
		users = append(users, []any{string(u.ID), string(u.TenantID), u.Name, u.Email, u.CreatedAt})
		extensions = append(extensions, []any{string(u.ID), string(e.ID), int64(e.Number), secret, e.CreatedAt, rowHash(u, []byte(secret), nil)})
	}
	batch := &pgx.Batch{}
	if err := t.insertAll(ctx, batch, insertEvent, insertEvents, events); err != nil {
		return err
	}
	if err := t.insertAll(ctx, batch, insertUser, insertUsers, users); err != nil {
		return err
	}
	for _, a := range additions { // what a restored user has and a new one has not; the hash of the row is inserted after it
		if a.User.Disabled {
			if err := t.queue(ctx, batch, setDisabled, false, string(a.User.ID)); err != nil {
				return err
			}
		}
		if calls := a.User.Calls.Stored(); calls != "" {
			if err := t.queue(ctx, batch, setCalls, calls, string(a.User.ID)); err != nil {
				return err
			}
		}
		if a.User.Version > 1 {
			if err := t.queue(ctx, batch, setVersion, a.User.Version, string(a.User.ID)); err != nil {
				return err
			}
		}
	}
	if err := t.insertAll(ctx, batch, insertExtension, insertExtensions, extensions); err != nil {
		return err
	}
	if err := t.queue(ctx, batch, addCovered, len(additions)); err != nil {
		return err
	}
	for _, a := range additions {
		if err := t.queueUserReferences(ctx, batch, a.User); err != nil {
			return err
		}
	}
	return t.send(ctx, batch)
}

// insertAll adds rows: with one statement for all of them to the batch for PostgreSQL, each parameter of which is a column, or at once, one by one.
func (t *Tx) insertAll(ctx context.Context, batch *pgx.Batch, one, together string, rows [][]any) error {
	if t.dialect.path == "" {
		batch.Queue(together, columns(rows)...)
		return nil
	}
	for _, values := range rows {
		if _, err := t.tx.ExecContext(ctx, one, values...); err != nil {
			return err
		}
	}
	return nil
}

// columns returns the columns of rows that have at least one row: a slice of the type of its values for each column.
func columns(rows [][]any) []any {
	all := make([]any, len(rows[0]))
	for i, first := range rows[0] {
		column := reflect.MakeSlice(reflect.SliceOf(reflect.TypeOf(first)), 0, len(rows))
		for _, row := range rows {
			column = reflect.Append(column, reflect.ValueOf(row[i]))
		}
		all[i] = column.Interface()
	}
	return all
}

// UsersWithCalls returns the tenant's users with call settings of their own, ordered by extension number.
func (t *Tx) UsersWithCalls(ctx context.Context, tenant pbx.TenantID) ([]pbx.User, error) {
	secrets := t.secrets.opener()
	return gather(ctx, t.tx, func(r row) (pbx.User, error) { return scanUser(r, secrets) },
		selectUser+`WHERE u.tenant_id = $1 AND u.calls <> '' ORDER BY e.number`, string(tenant))
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
	if _, err := t.tx.ExecContext(ctx, deleteUser, string(u.TenantID), string(u.ID)); err != nil {
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
		err = u.open()
	}
	return u.User, err
}
