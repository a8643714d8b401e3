package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// away fails the test unless the error is that of an unavailable database, with these words.
func away(t *testing.T, what string, err error, words ...string) {
	t.Helper()
	e, _ := errors.AsType[*pbx.Error](err)
	if e == nil || e.Kind != pbx.KindUnavailable || e.Code != pbx.CodeDatabaseAway {
		t.Errorf("%s: %v; want a database that is away", what, err)
		return
	}
	for _, word := range words {
		if !strings.Contains(e.Msg, word) {
			t.Errorf("%s: %q does not say %q", what, e.Msg, word)
		}
	}
}

func TestNoWriteIsAcknowledgedOnceTheSQLiteFileIsGone(t *testing.T) {
	t.Parallel()
	for name, before := range map[string][]pbx.User{"after a write": {newUser(1000, "a@example.com")}, "before the first write": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := storetest.SQLite(t)
			path := strings.TrimPrefix(url, "sqlite:///")
			s := storetest.Open(t, url)
			if before == nil { // a server that found its tables in place
				s = storetest.Open(t, url)
			}
			if err := insert(t.Context(), s, before...); before != nil && err != nil {
				t.Fatal(err)
			}
			lock, err := s.TryApplyLock(t.Context())
			if lock == nil || err != nil {
				t.Fatalf("lock %v, error %v", lock, err)
			}
			defer lock.Release()
			kept := filepath.Join(t.TempDir(), "kept.db")
			if err := os.Rename(path, kept); err != nil {
				t.Fatal(err)
			}
			_, migrateErr := s.Migrate(t.Context())
			for what, err := range map[string]error{
				"ping": s.Ping(t.Context()), "write": insert(t.Context(), s, newUser(1001, "b@example.com")), "migrate": migrateErr,
				"confirm": lock.ConfirmRevision(t.Context(), 1), "forget": lock.ForgetRevisions(t.Context(), 2, 0, 0), "check": lock.Check(t.Context()),
			} {
				away(t, what, err, "removed or replaced", "backup", "restart")
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("an empty file was made in its place")
			}

			// Another process makes a new one.
			if err := insert(t.Context(), storetest.Open(t, url), newUser(1000, "new@example.com")); err != nil {
				t.Fatal(err)
			}
			away(t, "write beside a new file", insert(t.Context(), s, newUser(1001, "b@example.com")), "removed or replaced")
			away(t, "ping beside a new file", s.Ping(t.Context()), "removed or replaced")

			// The very file comes back.
			if err := os.Rename(kept, path); err != nil {
				t.Fatal(err)
			}
			if err := s.Ping(t.Context()); err != nil {
				t.Errorf("ping of the file that came back: %v", err)
			}
		})
	}
}

// A new connection after the removal of the file must not create an empty one either.
func TestReadOnlyCommandsCreateNoDatabase(t *testing.T) {
	t.Parallel()
	url := storetest.SQLite(t)
	path := strings.TrimPrefix(url, "sqlite:///")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.AtRest(t.Context()); err == nil {
		t.Error("something was read of a database that is not there")
	}
	away(t, "write", insert(t.Context(), s, newUser(1000, "a@example.com")))
	if _, err := os.Stat(path); err == nil {
		t.Error("a database without tables was made")
	}
}

func TestCopiesCompactionAndOtherProcessesAreNotReportedAsALostFile(t *testing.T) {
	t.Parallel()
	url := storetest.SQLite(t)
	s, other := storetest.Open(t, url), storetest.Open(t, url)
	for i, do := range []string{`VACUUM`, `VACUUM INTO '` + filepath.Join(t.TempDir(), "copy.db") + `'`, `PRAGMA wal_checkpoint(TRUNCATE)`} {
		execute(t, url, do)
		for j, each := range []*store.Store{s, other} {
			if err := insert(t.Context(), each, newUser(pbx.Number(1000+2*i+j), string(rune('a'+2*i+j))+"@example.com")); err != nil {
				t.Errorf("after %s: %v", do, err)
			}
			if err := each.Ping(t.Context()); err != nil {
				t.Errorf("after %s: %v", do, err)
			}
		}
	}
}
