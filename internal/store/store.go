// Package store is the database, SQLite or PostgreSQL, behind one concrete type: users and extensions, accounts and their credentials, apply
// records with their revisions, and the audit trail. It is the only package with SQL. Constraints are in the schema; rules are in the services. The
// engines share the SQL text where possible; differences are in dialect.go.
//
// An unavailable database is always reported as a pbx.Error of KindUnavailable; other errors that a caller can expect are listed at each method.
package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/chain"
	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// QueryTimeout bounds one operation; after it the database counts as unavailable.
const QueryTimeout = 5 * time.Second

// attempts is how often a transaction is tried if writers that do not take the writers' lock interfere.
const attempts = 6

// Store is a database. It is safe for concurrent use.
type Store struct {
	read    *sql.DB
	write   *sql.DB // the same as read on PostgreSQL; one connection on SQLite
	dialect dialect
	secrets secrets
	listed  atomic.Pointer[list]        // the last result of Users
	items   itemCache                   // the last result of Items
	opened  atomic.Pointer[os.FileInfo] // the SQLite file, once Migrate has checked it
	// Used by SQLite only.
	compiled compiled
	// turn admits one writer of this process at a time. The engines would queue writers as well, but each on a connection of its own, leaving none
	// for readers.
	turn chan struct{}

	witness witness
	writes  writes
}

// Open returns the Store of a database URL: postgresql://…, postgres://…, postgresql+asyncpg://… or sqlite:///path. It checks the form of the URL
// and opens nothing: use Ping to check availability, and Migrate to create what is missing.
func Open(url string) (*Store, error) {
	read, write, d, err := open(url)
	if err != nil {
		return nil, err
	}
	return &Store{read: read, write: write, dialect: d, turn: make(chan struct{}, 1)}, nil
}

// Close closes all connections.
func (s *Store) Close() error {
	if s.read == s.write {
		return s.read.Close()
	}
	return errors.Join(s.read.Close(), s.write.Close())
}

// Describe returns the engine and location of the database, without a password.
func (s *Store) Describe() string { return s.dialect.describe }

// Missing returns what is missing if a migration would begin a new installation: the SQLite file, or any table of the portal or its predecessor in
// the PostgreSQL database. It returns "" otherwise, and if the server cannot be asked.
func (s *Store) Missing(ctx context.Context) string {
	if s.dialect.path != "" {
		if _, err := os.Lstat(s.dialect.path); errors.Is(err, fs.ErrNotExist) {
			return s.Describe() + " does not exist"
		}
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	empty := false
	err := s.read.QueryRowContext(ctx, `SELECT to_regclass('goose_db_version') IS NULL AND to_regclass('users') IS NULL`).Scan(&empty)
	if err != nil || !empty {
		return ""
	}
	return s.Describe() + " has no tables of the portal"
}

// Ping checks that the database responds. It creates nothing: a SQLite file that does not exist, or was replaced since it was opened, is an error.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.inPlace(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	var one int
	return s.fault("reach the database", s.read.QueryRowContext(ctx, "SELECT 1").Scan(&one))
}

// errRolledBack ends a trial transaction.
var errRolledBack = errors.New("only tried")

// Probe checks whether the database can be written, with a write of some 200 KB that is rolled back; a database without tables passes. Other
// writers wait for it, and SQLite caches less from then on: it is for one-shot commands, and for use after a failed write.
func (s *Store) Probe(ctx context.Context) error {
	if _, err := s.version(ctx); err != nil && !s.dialect.damaged(err) {
		return nil // no tables yet: see TryMigrate
	}
	err := s.Try(ctx, func(ctx context.Context, tx *Tx) error {
		for _, statement := range s.dialect.probe {
			if _, err := tx.tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.writes.ended(ctx, nil)
	}
	return err
}

// Try runs fn as InTx does, and then undoes what it changed.
func (s *Store) Try(ctx context.Context, fn func(context.Context, *Tx) error) error {
	err := s.InTx(ctx, func(ctx context.Context, tx *Tx) error {
		return cmp.Or(fn(ctx, tx), errRolledBack)
	})
	if errors.Is(err, errRolledBack) {
		return nil
	}
	return err
}

// Tx is a transaction that holds the writers' lock: until it ends no other transaction, in this process or another, changes users or extensions.
type Tx struct {
	tx      querier
	dialect *dialect
	secrets *secrets
	head    *chain.Head // the newest entry of the audit trail, once it was read
	witness *witness
	items   *itemCache      // of the store
	object  pbx.AuditObject // of the first event

	commit   func(context.Context) error
	rollback func() // no effect after a commit
}

// querier is the part of a transaction that its methods need.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// gather reads all rows of a result with scan. With an error it returns the rows before it.
func gather[T any](ctx context.Context, from querier, scan func(row) (T, error), query string, args ...any) ([]T, error) {
	all := []T{}
	rows, err := from.QueryContext(ctx, query, args...)
	if err != nil {
		return all, err
	}
	defer rows.Close()
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return all, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// InTx runs fn in a transaction that holds the writers' lock, and commits if fn returns nil. If writers that do not take the lock interfere
// (another program on the same tables), fn runs again, up to 5 times, and then the error is a pbx.Error with CodeRetryExhausted; fn must be
// repeatable.
func (s *Store) InTx(ctx context.Context, fn func(context.Context, *Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return s.fault("wait for other writers", ctx.Err())
	}
	return s.again(ctx, "change the database", func() error { return s.once(ctx, fn) })
}

// again runs a transaction, and repeats it on conflicts.
func (s *Store) again(ctx context.Context, tried string, transaction func() error) (err error) {
	defer func() { s.writes.ended(ctx, err) }()
	for attempt := range attempts {
		if attempt > 0 && !pause(ctx, attempt) {
			break
		}
		if err = transaction(); err == nil || !s.dialect.collision(err) {
			return s.fault(tried, err)
		}
	}
	return &pbx.Error{
		Kind: pbx.KindUnavailable, Code: pbx.CodeRetryExhausted,
		Msg: "the same rows were changed concurrently, repeatedly; nothing was changed: try again", Err: err,
	}
}

// once runs fn in one transaction.
func (s *Store) once(ctx context.Context, fn func(context.Context, *Tx) error) error {
	tx, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.rollback() // no effect after a commit
	if err = fn(ctx, tx); err != nil {
		return err
	}
	claim := ClaimOf(ctx)
	if claim != nil {
		if err = tx.Claim(ctx, claim, tx.object); err != nil {
			return err
		}
	}
	if err = tx.commit(ctx); err != nil {
		return err
	}
	if claim != nil {
		claim.Committed()
	}
	if tx.head != nil {
		s.witness.stored(*tx.head)
	}
	return nil
}

// begin begins a transaction that holds the writers' lock. The caller calls rollback when done.
func (s *Store) begin(ctx context.Context) (*Tx, error) {
	if s.dialect.lockWriters != "" {
		return s.beginPostgres(ctx)
	}
	return s.beginBeside(ctx)
}

// beginBeside begins a transaction that does not touch users, extensions and the audit trail. On SQLite it is still the only writer.
func (s *Store) beginBeside(ctx context.Context) (*Tx, error) {
	if err := s.inPlace(); err != nil {
		return nil, err
	}
	var statements map[string]*sql.Stmt
	if s.dialect.lockWriters == "" {
		statements = s.compiled.prepare(ctx, s.write, s.dialect.frequent())
	}
	tx, err := s.write.BeginTx(ctx, nil)
	for err != nil && ctx.Err() == nil && sqliteBusy(err) {
		tx, err = s.write.BeginTx(ctx, nil)
	}
	if err != nil {
		return nil, err
	}
	return &Tx{
		tx: swift{tx, statements}, dialect: &s.dialect, secrets: &s.secrets, witness: &s.witness, items: &s.items,
		commit:   func(context.Context) error { return tx.Commit() },
		rollback: func() { _ = tx.Rollback() }, // a failed one closes the connection, which rolls back too
	}, nil
}

// pause waits a random time that doubles with each attempt, from 2 ms; it returns false if ctx ended first.
func pause(ctx context.Context, attempt int) bool {
	t := time.NewTimer(time.Millisecond * time.Duration(1+rand.IntN(1<<attempt))) //nolint:gosec // retry jitter, not security relevant
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// fault maps a driver error to a pbx.Error: KindUnavailable if the database is unavailable, otherwise an internal error with the operation. A
// pbx.Error passes unchanged.
func (s *Store) fault(tried string, err error) error {
	switch {
	case err == nil:
		return nil
	case pbx.KindOf(err) != pbx.KindInternal:
		return err
	case s.dialect.remedy(err) != nil:
		e := s.dialect.remedy(err)
		e.Err = fmt.Errorf("cannot %s: %w", tried, err)
		if s.dialect.full(err) {
			e.Code = pbx.CodeDatabaseFull
		}
		return e
	case isKeyFile(err):
		return &pbx.Error{
			Kind: pbx.KindUnavailable, Code: pbx.CodeInternal, Err: fmt.Errorf("cannot %s: %w", tried, err),
			Msg: "the key file, which encrypts secrets, is missing or cannot be read; nothing was changed: restore it from its copy, then try again",
		}
	case s.dialect.full(err):
		return full(tried, err)
	case s.dialect.away(err):
		return away(tried, err)
	case s.dialect.damaged(err):
		return &pbx.Error{
			Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway, Err: fmt.Errorf("cannot %s: %w", tried, err),
			Msg: "the database is damaged, or is no database; nothing was changed: stop the portal, restore a backup, and start the portal",
		}
	case s.dialect.faulty(err):
		return &pbx.Error{
			Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway, Err: fmt.Errorf("cannot %s: %w", tried, err),
			Msg: "the database reports an internal error; nothing was changed: check its log, then try again",
		}
	}
	return fmt.Errorf("cannot %s: %w", tried, err)
}

// away returns the error of an unreachable database.
func away(tried string, err error) error {
	return &pbx.Error{
		Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway,
		Msg: "the database does not respond; nothing was changed: try again in a moment", Err: fmt.Errorf("cannot %s: %w", tried, err),
	}
}

// full returns the error of a database that cannot be written.
func full(tried string, err error) error {
	return &pbx.Error{
		Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseFull, Err: fmt.Errorf("cannot %s: %w", tried, err),
		Msg: "the database cannot be written, its disk is full or read-only; nothing was changed: free space, then try again",
	}
}

// fileFault returns the error, with the remedy, of a file or folder that cannot be opened or created.
func fileFault(what string, err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EROFS):
		return full("open "+what, err)
	case errors.Is(err, fs.ErrPermission):
		return &pbx.Error{
			Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway, Err: err,
			Msg: fmt.Sprintf("the portal may not open %s; nothing was changed: make the user the portal runs as the owner of it and its folder (chown), then try again", what),
		}
	}
	return &pbx.Error{
		Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway, Err: err,
		Msg: fmt.Sprintf("the portal cannot open %s; nothing was changed: check the path in DATABASE_URL, or STATE_DIR if that is not set", what),
	}
}

func isKeyFile(err error) bool {
	_, is := errors.AsType[*keyring.FileError](err)
	return is
}
