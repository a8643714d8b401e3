package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// writes records the results of this process's writes to the database.
type writes struct {
	mu       sync.Mutex
	failed   error // guarded by mu; of the newest write, nil if it succeeded
	failures int   // guarded by mu; number of failed writes
}

// ended records the result of a write. Errors that say nothing about the database (a cancelled request, a violated rule, a conflict) are ignored.
func (w *writes) ended(ctx context.Context, err error) {
	failed := pbx.CodeOf(err) == pbx.CodeDatabaseAway || pbx.CodeOf(err) == pbx.CodeDatabaseFull
	if err != nil && (!failed || errors.Is(ctx.Err(), context.Canceled)) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = err
	if failed {
		w.failures++
	}
}

// WriteFailures returns the number of writes of this process that failed because of the database.
func (s *Store) WriteFailures() int {
	s.writes.mu.Lock()
	defer s.writes.mu.Unlock()
	return s.writes.failures
}

// Writable returns nil unless the newest write of this process failed because of the database. It then tries a write that is rolled back, and
// returns the error of that: on a full disk small writes still succeed, so "SELECT 1" proves nothing.
func (s *Store) Writable(ctx context.Context) error {
	s.writes.mu.Lock()
	failed := s.writes.failed
	s.writes.mu.Unlock()
	if failed == nil {
		return nil
	}
	return s.Probe(ctx)
}

// Ready returns nil if the database has the schema version that this program needs. Like Ping it creates nothing.
func (s *Store) Ready(ctx context.Context) error {
	if err := s.inPlace(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	needed, err := s.dialect.newest()
	if err != nil {
		return err
	}
	current, err := s.version(ctx)
	switch err = s.fault("read the version of the database", err); {
	case pbx.KindOf(err) == pbx.KindUnavailable:
		return err
	case err != nil: // reachable, but without this table
		return &pbx.Error{
			Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway, Err: err,
			Msg: "the database does not have the portal's tables: was it replaced? Restart the portal, or run pbxportal migrate",
		}
	case current > needed:
		return &pbx.Error{Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseNewer, Msg: refuseNewer(current, needed).Error()}
	case current < needed:
		return &pbx.Error{
			Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway,
			Msg: fmt.Sprintf("the database is at version %d, this program needs %d: was an older backup restored? Restart the portal, or run pbxportal migrate", current, needed),
		}
	}
	return nil
}

// newest returns the version of the newest migration of an engine.
func (d *dialect) newest() (version int64, err error) {
	files, err := fs.ReadDir(migrations, "migrations/"+d.migrations)
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("cannot read the embedded migrations: %w", err)
	}
	number, _, _ := strings.Cut(files[len(files)-1].Name(), "_") // sorted, and all numbers have the same length
	if version, err = strconv.ParseInt(number, 10, 64); err != nil {
		return 0, fmt.Errorf("cannot read the embedded migrations: %w", err)
	}
	return version, nil
}
