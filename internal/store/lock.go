package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/regular"
)

// ApplyLock is the lock that lets one apply run at a time on a database, across all processes. It goes with the process, however that
// ends.
type ApplyLock struct {
	conn    *sql.Conn // nil on SQLite
	release func()
}

// TryApplyLock takes the lock, or gives nil at once when somebody else has it.
func (s *Store) TryApplyLock(ctx context.Context) (*ApplyLock, error) {
	if s.dialect.path != "" {
		if err := s.inPlace(); err != nil {
			return nil, err
		}
		release, held, err := tryFileLock(s.dialect.path, ".apply-lock")
		if !held || err != nil {
			return nil, err
		}
		return &ApplyLock{release: release}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return nil, s.fault("take the apply lock", err)
	}
	held := false
	if err = conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", applyKey).Scan(&held); err != nil || !held {
		return nil, s.fault("take the apply lock", errors.Join(err, conn.Close()))
	}
	return &ApplyLock{conn, func() { releaseConn(ctx, conn, applyKey) }}, nil
}

// Release gives the lock back. It must be called once.
func (l *ApplyLock) Release() { l.release() }

// Still reports whether the lock is held: PostgreSQL drops it with the connection, and somebody else may have it then.
func (l *ApplyLock) Still(ctx context.Context) bool {
	if l.conn == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	var one int
	return l.conn.QueryRowContext(ctx, "SELECT 1").Scan(&one) == nil
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
func tryFileLock(database, suffix string) (unlock func(), held bool, err error) {
	f, err := openLockFile(database, suffix)
	if err != nil {
		return nil, false, err
	}
	switch err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, false, f.Close()
	case err != nil:
		return nil, false, fmt.Errorf("cannot lock %s: %w", f.Name(), errors.Join(err, f.Close()))
	}
	return func() { unlockFile(f) }, true, nil
}

// unlockFile gives a lock back. Closing alone would not do so at once: a process that is being started elsewhere holds a copy of the
// open file until it is what it shall be.
func unlockFile(f *os.File) {
	_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	_ = f.Close() // nothing was written that could be lost
}

// openLockFile opens the file of a lock beside the database, and makes it where it is missing.
func openLockFile(database, suffix string) (*os.File, error) {
	path := database + suffix
	err := makeFor(database, path)
	if err == nil {
		var f *os.File
		if f, _, err = regular.Open(path, os.O_RDWR|os.O_CREATE); err == nil {
			return f, nil
		}
	}
	return nil, fileFault("the lock file "+filepath.Base(path)+" beside the database", err)
}

// makeFor makes an empty file for its owner alone, where none is there. Root gives it to the owner of what it is like, or else of the
// folder: an administrator who runs a command first must not take it from the service.
func makeFor(like, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the administrator chose the folder
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	if os.Geteuid() == 0 {
		if err = giveTo(like, f); err != nil {
			return errors.Join(err, f.Close(), os.Remove(path))
		}
	}
	return f.Close()
}

func giveTo(like string, f *os.File) error {
	info, err := os.Stat(like)
	if err != nil {
		info, err = os.Stat(filepath.Dir(f.Name()))
	}
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}
