package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// readableSince is the migration since which users have all columns that are read.
const readableSince = 25

// damaged returns the error of users that are not stored as the portal wrote them. what names them; apart from number and id it must not contain
// any value of a row.
func damaged(what string) *pbx.Error {
	return &pbx.Error{
		Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseDamaged,
		Msg: fmt.Sprintf("the database is damaged: %s; nothing was changed: stop the portal, restore a backup, and start the portal; or examine the rows "+
			"in the database, correct them, and run pbxportal migrate --accept-users, which accepts them as they are", what),
	}
}

// rowHash returns the hash of a user, the extension and the further phones, with the secrets as stored, never 0. It detects disk corruption, not tampering by someone who
// can compute it.
func rowHash(u pbx.User, secret []byte, devices []storedDevice) int64 {
	e := &u.Extension
	f := newFrame()
	f.text("id", string(u.ID))
	f.text("tenant", string(u.TenantID))
	f.text("name", u.Name)
	f.text("email", u.Email)
	f.instant("created", u.CreatedAt)
	f.text("extension", string(e.ID))
	f.number("number", int64(e.Number))
	f.text("secret", string(secret))
	f.instant("extended", e.CreatedAt)
	if u.Disabled { // earlier programs, which had neither disabled users nor call settings, computed the same hash for all others
		f.text("disabled", "")
	}
	if calls := u.Calls.Stored(); calls != "" {
		f.text("calls", calls)
	}
	f.devices(devices)
	return f.sum()
}

// frame joins the columns of a row to the bytes that are hashed.
type frame []byte

func newFrame() frame { return make(frame, 0, 512) }

func (f *frame) text(name, value string) {
	*f = append(*f, name...)
	*f = binary.AppendUvarint(append(*f, 0), uint64(len(value)))
	*f = append(*f, value...)
}

func (f *frame) number(name string, n int64) {
	f.text(name, string(binary.BigEndian.AppendUint64(nil, uint64(n)))) //nolint:gosec // the same bits
}

func (f *frame) instant(name string, t time.Time) {
	var value [12]byte
	binary.BigEndian.PutUint64(value[:8], uint64(t.Unix()))       //nolint:gosec // the same bits
	binary.BigEndian.PutUint32(value[8:], uint32(t.Nanosecond())) //nolint:gosec // less than a second
	f.text(name, string(value[:]))
}

// sum returns the hash, never 0.
func (f *frame) sum() int64 {
	sum := sha256.Sum256(*f)
	return max(1, int64(binary.BigEndian.Uint64(sum[:8])>>1))
}

// storedUser is a user as read, with the secret as stored.
type storedUser struct {
	pbx.User

	devices []storedDevice
	opener  *opener
	hash    int64 // as stored; 0 if another program wrote the row
	covered int   // the number of rows with a hash, as counted in the same query
}

// scanStored scans a row of selectUser's columns. Plain types avoid reflection in both drivers.
func scanStored(r row, secrets *opener) (u storedUser, err error) {
	e := &u.Extension
	u.opener = secrets
	enabled, calls, updated, devices := false, "", (*time.Time)(nil), ""
	err = r.Scan((*string)(&u.ID), (*string)(&u.TenantID), &u.Name, &u.Email, &u.CreatedAt, (*string)(&e.ID), (*int)(&e.Number), secrets, &e.CreatedAt, &u.hash, &u.covered,
		&enabled, &calls, &u.Version, &updated, &devices)
	u.CreatedAt, e.CreatedAt, u.Disabled = u.CreatedAt.UTC(), e.CreatedAt.UTC(), !enabled
	if u.UpdatedAt = u.CreatedAt; updated != nil {
		u.UpdatedAt = updated.UTC()
	}
	settings, unread := pbx.CallSettingsFrom(calls)
	u.Calls = settings
	if malformed(err) || unread != nil {
		return u, damaged(fmt.Sprintf("a value in the row of extension %d has a form that is never written", e.Number)) // err may quote a secret
	}
	if err == nil && devices != "" {
		var ok bool
		if u.devices, ok = parseDevices(devices); !ok {
			return u, errDevices(e.Number)
		}
		for _, d := range u.devices {
			u.Devices = append(u.Devices, d.Device)
		}
	}
	return u, err
}

// ownHash returns the hash of the user as read.
func (u *storedUser) ownHash() int64 { return rowHash(u.User, u.opener.column, u.devices) }

// open opens the secrets, of which the opener holds that of the extension.
func (u *storedUser) open() (err error) {
	u.Extension.Secret, err = u.opener.out(string(u.Extension.ID), strconv.Itoa(int(u.Extension.Number)))
	if err == nil && u.devices != nil {
		err = u.opener.devicesOut(u)
	}
	return err
}

// malformed reports whether an error of a scan is due to a value that the column never has.
func malformed(err error) bool {
	_, pgx := errors.AsType[pgx.ScanArgError](err)
	return pgx || err != nil && strings.HasPrefix(err.Error(), "sql: Scan error")
}

// check returns an error if the row is not as the portal wrote it.
func (u *storedUser) check() error {
	if u.hash == 0 || u.hash == u.ownHash() {
		return nil
	}
	return damaged(fmt.Sprintf("the row of extension %d (user %q) is not as the portal wrote it", u.Extension.Number, u.ID))
}

// tally compares the rows of a list, in ascending order of number, with the stored totals.
type tally struct {
	rows, hashed, covered int
	extensions            int // as counted before the rows were read, with those without a user
	last                  pbx.Number
}

func (t *tally) take(u *storedUser) error {
	if t.rows > 0 && u.Extension.Number <= t.last {
		return damaged(fmt.Sprintf("extension %d comes after %d: an index is damaged", u.Extension.Number, t.last))
	}
	t.rows++
	t.last, t.covered = u.Extension.Number, u.covered
	if u.hash != 0 {
		t.hashed++
	}
	return u.check()
}

func (t *tally) check() error {
	if t.hashed == t.covered {
		return nil
	}
	return damaged(fmt.Sprintf("%d users are found as the portal wrote them, and it wrote %d", t.hashed, t.covered))
}

// secretIn replaces the stored secret of an extension, and the hash of the row. It does nothing, and returns false, if the stored secret is not
// was; "" matches any. A damaged row is left unchanged.
func (t *Tx) secretIn(ctx context.Context, id, was, now string) (moved bool, err error) {
	u, ok, err := found(scanStored(t.tx.QueryRowContext(ctx, selectUser+`WHERE e.id = $1`+t.dialect.lockRows, id), &opener{}))
	if err == nil && ok {
		err = u.check()
	}
	if err != nil || !ok || was != "" && was != string(u.opener.column) {
		return false, err
	}
	if u.hash != 0 {
		u.hash = rowHash(u.User, []byte(now), u.devices)
	}
	return changed(t.tx.ExecContext(ctx, `UPDATE extensions SET secret = $1, row_hash = nullif(CAST($2 AS bigint), 0) WHERE id = $3`, now, u.hash, id))
}

// Uncovered returns the number of users without a hash: another program wrote or changed them. An error means that other rows of users, or rows of things,
// are damaged.
func (s *Store) Uncovered(ctx context.Context) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	if version, err := s.version(ctx); err != nil || version < readableSince {
		return 0, nil
	}
	_, seen, err := s.readUsers(ctx, func(string) bool { return false }, func(*storedUser) error { return nil })
	if err == nil {
		_, err = s.Items(ctx, pbx.DefaultTenant)
	}
	return seen.rows - seen.hashed, s.fault("examine the users", err)
}

// CoverUsers adds a hash to users and things without one, and returns the number of these users. If other rows are damaged it does nothing, unless
// accept, the audit event of accepting them, is given. Other writers need not wait until it has finished.
func (s *Store) CoverUsers(ctx context.Context, accept *pbx.AuditEvent) (n int, err error) {
	users, err := s.differing(ctx, accept != nil)
	if err != nil {
		return 0, s.fault("examine the users", err)
	}
	items, err := s.differingItems(ctx, accept != nil)
	if err != nil {
		return 0, s.fault("examine the objects", err)
	}
	if accept != nil {
		if err = s.InTx(ctx, func(ctx context.Context, tx *Tx) error { return tx.acceptCounts(ctx, *accept) }); err != nil {
			return 0, err
		}
	}
	for part := range slices.Chunk(users, batch) {
		if err == nil {
			err = s.InTx(ctx, func(ctx context.Context, tx *Tx) error { return tx.coverUsers(ctx, part, accept != nil) })
		}
	}
	for part := range slices.Chunk(items, batch) {
		if err == nil {
			err = s.InTx(ctx, func(ctx context.Context, tx *Tx) error { return tx.coverItems(ctx, part, accept != nil) })
		}
	}
	if err == nil && accept != nil {
		_, err = s.differing(ctx, false)
	}
	return len(users), err
}

// differing returns the numbers of users without a hash, in order; with accept also of those that are not as the portal wrote them, which are an error
// otherwise.
func (s *Store) differing(ctx context.Context, accept bool) (numbers []int, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	if !accept {
		_, _, err = s.readUsers(ctx, func(string) bool { numbers = nil; return false }, func(u *storedUser) error {
			if u.hash == 0 {
				numbers = append(numbers, int(u.Extension.Number))
			}
			return nil
		})
		return numbers, err
	}
	secrets := &opener{}
	err = s.dialect.each(ctx, s.read, allUsers, func(r row) error {
		u, err := scanStored(r, secrets)
		if err == nil && u.hash != u.ownHash() {
			numbers = append(numbers, int(u.Extension.Number))
		}
		return err
	})
	return numbers, err
}

// coverUsers gives users without a hash one; with accept also those that are not as the portal wrote them. Another transaction may have changed them
// since differing returned their numbers, which are in order.
func (t *Tx) coverUsers(ctx context.Context, numbers []int, accept bool) error {
	users, err := gather(ctx, t.tx, func(r row) (storedUser, error) { return scanStored(r, &opener{}) },
		selectUser+`WHERE e.number BETWEEN $1 AND $2`+t.dialect.lockRows, numbers[0], numbers[len(numbers)-1])
	if err != nil {
		return err
	}
	updates := &pgx.Batch{}
	for _, u := range users {
		if hash := u.ownHash(); hash != u.hash && (accept || u.hash == 0) {
			if err = t.queue(ctx, updates, `UPDATE extensions SET row_hash = $1 WHERE id = $2`, hash, string(u.Extension.ID)); err != nil {
				return err
			}
		}
	}
	return t.send(ctx, updates)
}

// acceptCounts makes the counts of rows with a hash what they are, and appends the audit event of accepting them.
func (t *Tx) acceptCounts(ctx context.Context, event pbx.AuditEvent) error {
	for _, statement := range []string{
		// A row without a user is in no list, and must not be counted.
		`UPDATE extensions SET row_hash = NULL WHERE row_hash IS NOT NULL AND user_id NOT IN (SELECT id FROM users)`,
		`UPDATE users_version SET covered = (SELECT count(*) FROM extensions WHERE row_hash IS NOT NULL)`,
		`UPDATE things_version SET covered = (SELECT count(*) FROM things WHERE row_hash IS NOT NULL)`,
	} {
		if _, err := t.tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return t.AppendEvent(ctx, event)
}
