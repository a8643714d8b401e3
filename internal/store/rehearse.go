package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/regular"
)

// Versions returns the newest migration applied to the database, 0 for none, and the newest that this program knows. Like Migrate it refuses a
// database that a newer program has changed.
func (s *Store) Versions(ctx context.Context) (has, known int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	if known, err = s.dialect.newest(); err != nil {
		return 0, 0, err
	}
	has, err = s.version(ctx)
	switch {
	case err == nil:
		return has, known, refuseNewer(has, known)
	case s.dialect.damaged(err):
		return 0, known, s.fault("read the version of the database", err)
	}
	return 0, known, s.Ping(ctx) // no tables yet, or no database
}

// TryMigrate checks whether Migrate could succeed, and changes nothing. For a missing SQLite file it creates a copy under another name, if its
// folder exists. In PostgreSQL it checks the privileges to create tables, and to alter existing ones, which only their owner has.
func (s *Store) TryMigrate(ctx context.Context) error {
	if s.dialect.path != "" {
		if _, err := os.Stat(s.dialect.path); err == nil {
			return nil // Probe creates a table in it
		}
		return tryFile(ctx, filepath.Dir(s.dialect.path))
	}
	return s.Try(ctx, func(ctx context.Context, tx *Tx) error {
		if _, err := tx.tx.ExecContext(ctx, `CREATE TABLE pbxportal_rehearsal (content integer)`); err != nil {
			return err
		}
		owner := ""
		err := tx.tx.QueryRowContext(ctx, `
SELECT coalesce(min(format('%s belongs to %s', c.relname, pg_get_userbyid(c.relowner))), '') FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND NOT pg_has_role(c.relowner, 'USAGE')`).Scan(&owner)
		if err == nil && owner != "" {
			return &pbx.Error{
				Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway,
				Msg: "the tables of the database are older than this program and cannot be brought up to date: the table " + owner +
					", and the role in DATABASE_URL is not a member of that role: run pbxportal migrate once as the owner, or give the tables to the portal's role (ALTER TABLE … OWNER TO)",
			}
		}
		return err
	})
}

// tryFile creates a SQLite file with all tables in a folder, under a temporary name, and removes it. If the folder is missing too, it checks
// whether it could be created.
func tryFile(ctx context.Context, dir string) (err error) {
	switch there, err := regular.Writable(dir); {
	case err != nil:
		return fileFault("the folder of the database", &os.PathError{Op: "write in", Path: there, Err: err})
	case there != dir:
		return nil
	}
	path := filepath.Join(dir, fmt.Sprintf(".rehearsal-%d.db", os.Getpid()))
	defer func() {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal", ".migrate-lock"} {
			if gone := os.Remove(path + suffix); gone != nil && !errors.Is(gone, os.ErrNotExist) {
				err = errors.Join(err, gone)
			}
		}
	}()
	s, err := Open("sqlite:///" + path)
	if err != nil {
		return err
	}
	_, err = s.Migrate(ctx)
	return errors.Join(err, s.Close())
}
