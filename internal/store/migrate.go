package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Released files are never edited: existing databases have applied them as they are.
//
//go:embed migrations
var migrations embed.FS

// migrationPatience is how long a start waits for another process that migrates; migrationTime is how long a migration may take: an index over
// millions of audit events takes minutes.
const (
	migrationPatience = time.Minute
	migrationTime     = time.Hour
)

// Migrate brings the schema to this program's version and returns the versions it applied, none if it was current. It refuses a database behind a
// pooler through which locks do not work (Pooled), one whose tables are in another schema (Placed), and one that a newer program has changed.
// Concurrent calls of any number of processes are safe. It adopts the tables of the Python portal as they are. It creates a missing SQLite file
// (mode 0600) and its folder (mode 0700).
func (s *Store) Migrate(ctx context.Context) (applied []int64, err error) {
	if s.dialect.path != "" {
		if err := s.makeSQLite(); err != nil {
			return nil, err
		}
	}
	if err := s.Pooled(ctx); err != nil {
		return nil, err
	}
	if err := s.Placed(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, migrationTime)
	defer cancel()
	target, err := s.dialect.newest()
	if err != nil {
		return nil, err
	}
	// Usually there is nothing to do, which costs one query and no lock.
	switch current, err := s.version(ctx); {
	case err == nil && current >= target:
		return nil, refuseNewer(current, target)
	case err != nil && s.dialect.damaged(err): // the tables exist, in whatever state
		return nil, s.fault("read the version of the database", err)
	}
	if err = s.Ping(ctx); err != nil { // rather than wait a minute for an unreachable database
		return nil, err
	}
	waiting, stop := context.WithTimeout(ctx, migrationPatience)
	defer stop()
	unlock, err := s.lockMigrations(waiting)
	if err != nil {
		return nil, err
	}
	defer unlock()
	files, err := fs.Sub(migrations, "migrations/"+s.dialect.migrations)
	if err != nil {
		return nil, fmt.Errorf("cannot read the embedded migrations: %w", err)
	}
	db := s.write
	if s.dialect.migrating != nil {
		db = s.dialect.migrating()
		defer func() { err = errors.Join(err, db.Close()) }()
	}
	provider, err := goose.NewProvider(s.dialect.goose, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("cannot read the embedded migrations: %w", err)
	}
	current, err := provider.GetDBVersion(ctx)
	if err != nil {
		return nil, s.fault("read the version of the database", err)
	}
	if err = refuseNewer(current, target); err != nil {
		return nil, err
	}
	results, err := provider.Up(ctx)
	for _, r := range results {
		applied = append(applied, r.Source.Version)
	}
	if err != nil {
		return applied, s.fault("migrate the database", err)
	}
	return applied, s.checkColumns(ctx)
}

// version returns the newest applied migration; an error also means that there is none.
func (s *Store) version(ctx context.Context) (v int64, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT max(version_id) FROM goose_db_version`).Scan(&v)
	return v, err
}

func refuseNewer(current, target int64) error {
	if current <= target {
		return nil
	}
	return &pbx.Error{
		Kind: pbx.KindConflict, Code: pbx.CodeDatabaseNewer,
		Msg: fmt.Sprintf("the database is at version %d, made by a newer program; this one knows versions up to %d: start the newer "+
			"program, or point DATABASE_URL at another database", current, target),
	}
}

// checkColumns selects every column that the program uses, so that an unrelated table of the same name is found at the start and not by the first
// request.
func (s *Store) checkColumns(ctx context.Context) error {
	for table, query := range map[string]string{
		"tenants":                    `SELECT id, name, created_at FROM tenants LIMIT 0`,
		"users and extensions":       selectUser + `LIMIT 0`,
		"audit_events":               `SELECT ` + eventColumns + ` FROM audit_events LIMIT 0`,
		"audit_segments":             selectSegments + `LIMIT 0`,
		"apply_audit_logs (reading)": s.selectLog() + `LIMIT 0`,
	} {
		rows, err := s.read.QueryContext(ctx, query)
		if err == nil {
			err = errors.Join(rows.Err(), rows.Close()) //nolint:sqlclosecheck // closed here, before the next table
		}
		if err != nil {
			return s.fault("use the table "+table+" of this database: is it the portal's?", err)
		}
	}
	return nil
}

// lockMigrations waits until no other process migrates this database.
func (s *Store) lockMigrations(ctx context.Context) (unlock func(), err error) {
	if s.dialect.path != "" {
		return waitFileLock(ctx, s.dialect.path, ".migrate-lock")
	}
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return nil, s.fault("take the migration lock", err)
	}
	if _, err = conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", migrationKey); err != nil {
		return nil, s.fault("take the migration lock", errors.Join(err, conn.Close()))
	}
	return func() { releaseConn(ctx, conn, migrationKey) }, nil
}

// waitFileLock takes the flock of a file, polling every 20 ms while another process holds it.
func waitFileLock(ctx context.Context, database, suffix string) (unlock func(), err error) {
	f, err := openLockFile(database, suffix)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { unlockFile(f) }, nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return nil, fmt.Errorf("cannot lock %s: %w", f.Name(), errors.Join(err, f.Close()))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("another process has been migrating the database for too long: %w", errors.Join(ctx.Err(), f.Close()))
		}
	}
}
