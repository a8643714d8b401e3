package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// TryApplyLock takes the lock that lets one apply run at a time on this database, across all processes. It never waits: held is
// false when somebody else has it. The lock goes with the process, however it ends. unlock must be called once if held.
func (s *Store) TryApplyLock(ctx context.Context) (unlock func(), held bool, err error) {
	if s.dialect.path != "" {
		return tryFileLock(s.dialect.path + ".apply-lock")
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return nil, false, s.fault("take the apply lock", err)
	}
	if err = conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", applyKey).Scan(&held); err != nil || !held {
		return nil, false, s.fault("take the apply lock", errors.Join(err, conn.Close()))
	}
	return func() { releaseConn(ctx, conn, applyKey) }, true, nil
}

// releaseConn gives an advisory lock back. Where that fails the connection is closed, and the lock goes with it.
func releaseConn(ctx context.Context, conn *sql.Conn, key int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", key); err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // the pool drops the connection
	}
	_ = conn.Close() // gives it back to the pool; an error means that it is closed already
}

// tryFileLock takes the flock of a file beside the database. SQLite itself has no lock that outlives a transaction.
func tryFileLock(path string) (unlock func(), held bool, err error) {
	f, err := openLockFile(path)
	if err != nil {
		return nil, false, err
	}
	switch err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, false, f.Close()
	case err != nil:
		return nil, false, fmt.Errorf("cannot lock %s: %w", path, errors.Join(err, f.Close()))
	}
	return func() { _ = f.Close() }, true, nil // closing releases; nothing was written that could be lost
}

func openLockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // beside the database
	if err != nil {
		return nil, fmt.Errorf("cannot open the lock file: %w", err)
	}
	return f, nil
}
