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
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/regular"
)

// ApplyLock lets one apply at a time run on a database, across all processes. It is released when the process ends, and when the connection to
// PostgreSQL ends, which may go unnoticed. So each holder has a number, greater than all before: what an apply writes goes through its lock, and is
// refused once another portal has taken a number. The number is taken in the transaction of the first write: a transaction of its own would cost
// each apply another disk write.
type ApplyLock struct {
	store   *Store
	conn    *sql.Conn // nil on SQLite
	number  int64
	first   sync.Mutex // held by a write until the number is taken
	taken   atomic.Bool
	backend int // the server process that holds the lock; 0 on SQLite
	release func()
}

// TryApplyLock takes the lock, or returns nil at once if another process holds it.
func (s *Store) TryApplyLock(ctx context.Context) (*ApplyLock, error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	lock, err := s.tryLock(ctx)
	if lock == nil || err != nil {
		return nil, s.fault("take the apply lock", err)
	}
	// If this lock is lost and another holder takes this number meanwhile, it is not taken a second time.
	on := querier(s.read)
	if lock.conn != nil {
		on = lock.conn
	}
	if err := on.QueryRowContext(ctx, `SELECT number + 1 FROM apply_fence`).Scan(&lock.number); err != nil {
		lock.release()
		return nil, s.fault("take the apply lock", err)
	}
	return lock, nil
}

// Fence takes the number of the lock at once, for a caller that writes nothing through it: pending writes of an apply that has lost the lock are
// refused from then on.
func (l *ApplyLock) Fence(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	return l.alter(ctx, "take the apply lock", func(*Tx) error { return nil })
}

// own takes the lock's number within a transaction, or, once it is taken, checks that it still is the newest.
func (l *ApplyLock) own(ctx context.Context, t *Tx) error {
	query, was := `SELECT number FROM apply_fence WHERE number = $1`+t.dialect.lockRows, l.number
	if !l.taken.Load() {
		query, was = `UPDATE apply_fence SET number = number + 1 WHERE number = $1 RETURNING number`, l.number-1
	}
	number := int64(0)
	err := t.tx.QueryRowContext(ctx, query, was).Scan(&number)
	if errors.Is(err, sql.ErrNoRows) {
		return errLockLost
	}
	return err
}

// tryLock takes the lock of the engine; it returns nil if it is held.
func (s *Store) tryLock(ctx context.Context) (*ApplyLock, error) {
	if s.dialect.path != "" {
		if err := s.inPlace(); err != nil {
			return nil, err
		}
		release, held, err := tryFileLock(s.dialect.path, ".apply-lock")
		if !held || err != nil {
			return nil, err
		}
		return &ApplyLock{store: s, release: release}, nil
	}
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return nil, err
	}
	lock, held := &ApplyLock{store: s, conn: conn, release: func() {
		releaseConn(ctx, conn, applyKey)
		s.dialect.hold(-1)
	}}, false
	err = conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1), pg_backend_pid()", applyKey).Scan(&held, &lock.backend)
	if err != nil || !held {
		return nil, errors.Join(err, conn.Close())
	}
	s.dialect.hold(1)
	return lock, nil
}

// Release releases the lock. It must be called once.
func (l *ApplyLock) Release() { l.release() }

// errLockLost means that the lock was lost, and the write refused.
var errLockLost = &pbx.Error{
	Kind: pbx.KindConflict, Code: pbx.CodeApplyRunning,
	Msg: "this apply has lost its lock in the database, and another portal may have taken it; nothing more was written: check the database, then apply again",
}

// Check returns nil while the lock is held, and otherwise an error with the reason: PostgreSQL releases it with the connection, and another portal
// may have taken it since.
func (l *ApplyLock) Check(ctx context.Context) error {
	if err := l.store.inPlace(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	on, query := querier(l.store.read), `SELECT number, 0 FROM apply_fence`
	if l.conn != nil {
		on, query = l.conn, `SELECT number, pg_backend_pid() FROM apply_fence`
	}
	number, want, backend := int64(0), l.number, 0
	if !l.taken.Load() {
		want--
	}
	err := on.QueryRowContext(ctx, query).Scan(&number, &backend)
	switch {
	case err == nil && number == want && backend == l.backend:
		return nil
	case err != nil:
		if away := l.store.Ping(ctx); away != nil {
			return away
		}
	}
	return errLockLost
}

// alter changes runs in a transaction while the lock is held.
func (l *ApplyLock) alter(ctx context.Context, tried string, change func(*Tx) error) error {
	return l.store.again(ctx, tried, func() error {
		return l.inTx(ctx, l.store.beginBeside, func(t *Tx) (bool, error) {
			if l.taken.Load() {
				if err := l.own(ctx, t); err != nil {
					return false, err
				}
			}
			return true, change(t)
		})
	})
}

// inTx runs fn in a transaction, and commits if it returns true and no error. The first one takes the number of the lock; others wait for it.
func (l *ApplyLock) inTx(ctx context.Context, begin func(context.Context) (*Tx, error), fn func(*Tx) (keep bool, err error)) error {
	if !l.taken.Load() {
		l.first.Lock()
		defer l.first.Unlock()
	}
	t, err := begin(ctx)
	if err != nil {
		return err
	}
	defer t.rollback() // no effect after a commit
	if !l.taken.Load() {
		if err := l.own(ctx, t); err != nil {
			return err
		}
	}
	keep, err := fn(t)
	if err != nil || !keep {
		return err
	}
	if err = t.commit(ctx); err != nil {
		return err
	}
	l.taken.Store(true)
	if t.head != nil {
		l.store.witness.stored(*t.head)
	}
	return nil
}

// releaseConn releases an advisory lock. If that fails, it closes the connection, which releases the lock.
func releaseConn(ctx context.Context, conn *sql.Conn, key int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", key); err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // the pool drops the connection
	}
	_ = conn.Close() // returns it to the pool; an error means that it is closed already
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

// unlockFile releases a lock. Closing alone would not do so at once: a child process between fork and exec holds a copy of the descriptor.
func unlockFile(f *os.File) {
	_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	_ = f.Close() // nothing was written
}

// openLockFile opens a lock file beside the database, and creates it if it is missing.
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

// makeFor creates an empty file, accessible to its owner only, if it does not exist. When run as root it takes the owner of like, or of the folder:
// an administrator's first command must not lock out the service.
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
