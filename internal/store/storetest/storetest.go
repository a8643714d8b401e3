// Package storetest gives tests a new, empty database on each engine, so that one suite holds for both. A missing PostgreSQL is a
// failure, never a skip.
package storetest

import (
	"path/filepath"
	"testing"

	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/store"
)

// Each runs the test once on each engine, as a subtest named after it. The url names a database without tables.
func Each(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); test(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, labtest.Postgres(t)) })
}

// EachBench runs the benchmark once on each engine, as Each does a test.
func EachBench(b *testing.B, bench func(b *testing.B, url string)) {
	b.Helper()
	b.Run("sqlite", func(b *testing.B) { bench(b, SQLite(b)) })
	b.Run("postgres", func(b *testing.B) { bench(b, labtest.Postgres(b)) })
}

// SQLite gives the url of a database file that does not exist yet.
func SQLite(t testing.TB) string {
	t.Helper()
	return "sqlite:///" + filepath.Join(t.TempDir(), "state", "portal.db")
}

// Keys gives the keys that Open uses, the same each time.
func Keys(t testing.TB) *keyring.Ring {
	t.Helper()
	keys, err := keyring.Source{Value: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}.Load()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// Open opens the database and brings its tables up to date; it is closed when the test ends.
func Open(t testing.TB, url string) *store.Store {
	t.Helper()
	s, err := store.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	s.UseKeys(Keys(t), false)
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}
