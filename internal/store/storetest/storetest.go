// Package storetest provides tests with a new, empty database on each engine, so that one suite covers both. A missing PostgreSQL is a failure,
// never a skip.
package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"

	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// Each runs the test once on each engine, as a subtest named after it. The url names a database that has all its tables and no rows.
func Each(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); test(t, sqliteCopy(t)) })
	t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, postgresCopy(t)) })
}

// EachEmpty is Each with a database without tables.
func EachEmpty(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); test(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, labtest.Postgres(t)) })
}

// EachBench runs the benchmark once on each engine, as Each does with a test.
func EachBench(b *testing.B, bench func(b *testing.B, url string)) {
	b.Helper()
	b.Run("sqlite", func(b *testing.B) { bench(b, SQLite(b)) })
	b.Run("postgres", func(b *testing.B) { bench(b, labtest.Postgres(b)) })
}

// BenchLists measures list, and calls change before every fiftieth; both get the number of the list. p99-ms is the time of the slowest but one percent.
func BenchLists(b *testing.B, change, list func(n int)) {
	b.Helper()
	var took []time.Duration
	for n := 1; b.Loop(); n++ {
		if n%50 == 0 {
			b.StopTimer()
			change(n)
			b.StartTimer()
		}
		began := time.Now()
		list(n)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
}

// SQLite returns the URL of a database file that does not exist yet.
func SQLite(t testing.TB) string {
	t.Helper()
	return "sqlite:///" + filepath.Join(t.TempDir(), "state", "portal.db")
}

// Keys returns the keys that Open uses, always the same.
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

// New opens a SQLite database that has all its tables and no rows. It is closed when the test ends.
func New(t testing.TB) *store.Store {
	t.Helper()
	return Open(t, sqliteCopy(t))
}

// sqliteCopy returns the URL of a copy of a database that was migrated once in this process: migrating takes longer than most tests.
func sqliteCopy(t testing.TB) string {
	t.Helper()
	url := SQLite(t)
	path := strings.TrimPrefix(url, "sqlite:///")
	content, err := migratedSQLite()
	if err == nil {
		err = errors.Join(os.Mkdir(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// migratedSQLite returns the bytes of such a database.
var migratedSQLite = sync.OnceValues(func() (content []byte, err error) {
	dir, err := os.MkdirTemp("", "pbxportal-migrated-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "portal.db")
	if err := migrate("sqlite:///" + path); err != nil {
		return nil, err
	}
	return os.ReadFile(path) //nolint:gosec // written above; closing checkpointed its log
})

// postgresCopy is sqliteCopy for PostgreSQL.
func postgresCopy(t testing.TB) string {
	t.Helper()
	template, err := migratedPostgres()
	if err != nil {
		t.Fatal(err)
	}
	return labtest.PostgresCopy(t, template)
}

var migratedPostgres = sync.OnceValues(func() (url string, err error) {
	if url, err = labtest.PostgresTemplate(); err != nil {
		return "", err
	}
	return url, migrate(url)
})

func migrate(url string) error {
	s, err := store.Open(url)
	if err != nil {
		return err
	}
	_, err = s.Migrate(context.Background())
	return errors.Join(err, s.Close())
}

// SaveRun writes a run as an apply does that takes the lock for it; the lock must be free.
func SaveRun(ctx context.Context, s *store.Store, run pbx.Run, events ...pbx.AuditEvent) error {
	lock, err := s.TryApplyLock(ctx)
	if err != nil {
		return err
	}
	if lock == nil {
		return errors.New("the apply lock is held")
	}
	defer lock.Release()
	return lock.SaveRun(ctx, run, events...)
}

// Everything returns all that a copy of the database would contain: the bytes of a file, or all rows as text.
func Everything(t testing.TB, url string) string {
	t.Helper()
	var all strings.Builder
	if path, ok := strings.CutPrefix(url, "sqlite:///"); ok {
		for _, suffix := range []string{"", "-wal"} {
			content, err := os.ReadFile(path + suffix) //nolint:gosec // the database of the test
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			all.Write(content)
		}
		return all.String()
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	tables, err := conn.Query(t.Context(), `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(tables, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		var text string
		if err := conn.QueryRow(t.Context(), `SELECT coalesce(string_agg(x::text, E'\n'), '') FROM `+pgx.Identifier{name}.Sanitize()+` x`).Scan(&text); err != nil {
			t.Fatal(err)
		}
		all.WriteString(text)
	}
	return all.String()
}

// UnlockEvents removes the protection of audit events against changes, as the owner of a database can.
func UnlockEvents(t testing.TB, url string) {
	t.Helper()
	if strings.HasPrefix(url, "sqlite:") {
		Execute(t, url, `DROP TRIGGER audit_events_no_update; DROP TRIGGER audit_events_no_delete; DROP TRIGGER audit_events_no_replace;
DROP TRIGGER audit_segments_fit; DROP TRIGGER audit_segments_no_update; DROP TRIGGER audit_segments_no_delete`)
		return
	}
	Execute(t, url, `ALTER TABLE audit_events DISABLE TRIGGER USER; ALTER TABLE audit_segments DISABLE TRIGGER USER`)
}

// Execute runs statements directly on the database and returns the first column of the first row, if there is one.
func Execute(t testing.TB, url, statements string) string {
	t.Helper()
	if strings.HasPrefix(url, "sqlite:") {
		if err := Try(t, url, statements); err != nil {
			t.Fatal(err)
		}
		return ""
	}
	results, err := postgres(t, url, statements)
	if err != nil {
		t.Fatal(err)
	}
	if rows := results[len(results)-1].Rows; len(rows) > 0 {
		return string(rows[0][0])
	}
	return ""
}

// Ask returns the single text of a query, read from the database itself.
func Ask(t testing.TB, url, query string) (text string) {
	t.Helper()
	path, ok := strings.CutPrefix(url, "sqlite:///")
	if !ok {
		return Execute(t, url, query)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err = db.QueryRowContext(t.Context(), query).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

// Older migrates an empty database to an older version, with the migrations in a folder: those of internal/store, for its engine.
func Older(t testing.TB, url, folder string, version int64) {
	t.Helper()
	driver, dsn, dialect := "pgx", url, goose.DialectPostgres
	if path, ok := strings.CutPrefix(url, "sqlite:///"); ok {
		driver, dsn, dialect = "sqlite", "file:"+path, goose.DialectSQLite3
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	provider, err := goose.NewProvider(dialect, db, os.DirFS(folder), goose.WithDisableGlobalRegistry(true))
	if err == nil {
		_, err = provider.UpTo(t.Context(), version)
	}
	if err != nil {
		t.Fatal(err)
	}
	if is, err := provider.GetDBVersion(t.Context()); is != version || err != nil {
		t.Fatalf("the database has version %d, not %d: it was not empty; error %v", is, version, err)
	}
}

// Try runs statements directly on the database and returns the error.
func Try(t testing.TB, url, statements string) error {
	t.Helper()
	if path, ok := strings.CutPrefix(url, "sqlite:///"); ok {
		db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
		if err != nil {
			return err
		}
		_, err = db.ExecContext(t.Context(), statements)
		return errors.Join(err, db.Close())
	}
	_, err := postgres(t, url, statements)
	return err
}

// session is the connection of a test to a PostgreSQL database. Each connection costs the server a process, which takes longer than most statements.
type session struct {
	mu   sync.Mutex
	conn *pgx.Conn
}

// sessions has the session of each test with each database it used, by both.
var sessions sync.Map

// postgres runs statements on a PostgreSQL database, by the session of the test.
func postgres(t testing.TB, url, statements string) ([]*pgconn.Result, error) {
	t.Helper()
	type key struct {
		test testing.TB
		url  string
	}
	found, known := sessions.LoadOrStore(key{t, url}, &session{})
	s := found.(*session) //nolint:errcheck // stored above
	if !known {
		t.Cleanup(func() {
			sessions.Delete(key{t, url})
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.conn != nil {
				_ = s.conn.Close(context.WithoutCancel(t.Context()))
			}
		})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil || s.conn.Ping(t.Context()) != nil { // the test may have ended it
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			return nil, err
		}
		s.conn = conn
	}
	return s.conn.PgConn().Exec(t.Context(), statements).ReadAll()
}

// Fill fills a database with users, and with ring groups of one of them each, as another program could.
func Fill(t testing.TB, url string, users, groups int) {
	t.Helper()
	t.Helper()
	id := `CAST(md5('%s' || n) AS uuid)`
	if strings.HasPrefix(url, "sqlite") {
		id = `printf('a0000000-0000-4000-%%04d-%%012d', length('%s'), n)`
	}
	user, extension, group := fmt.Sprintf(id, "user"), fmt.Sprintf(id, "extension"), fmt.Sprintf(id, "group.")
	counted := func(n int) string {
		return fmt.Sprintf(`WITH RECURSIVE counted (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM counted WHERE n + 1 < %d) `, n)
	}
	Execute(t, url, `
INSERT INTO users (id, tenant_id, name, email) `+counted(users)+`SELECT `+user+`, 'a0000000-0000-0000-0000-000000000000', 'User ' || n, n || '@example.com' FROM counted;
INSERT INTO extensions (id, number, user_id, secret) `+counted(users)+`SELECT `+extension+`, 1000 + n, `+user+`, 'secret' FROM counted;
INSERT INTO things (id, tenant_id, kind, short, name, name_key, body, version, created_at, updated_at)
`+counted(groups)+`SELECT `+group+`, 'a0000000-0000-0000-0000-000000000000', 'ring_group', n + 1, 'Group ' || n, 'group ' || n,
    '{"number":"' || (100000 + n) || '","strategy":"all","members":["' || `+user+` || '"],"seconds":20,"skip_busy":true,"fallback":{"kind":"hangup"}}',
    1, '2026-11-30 08:00:00', '2026-11-30 08:00:00' FROM counted;
INSERT INTO thing_refs (from_id, field, ordinal, to_user) `+counted(groups)+`SELECT `+group+`, 'members', 0, `+user+` FROM counted;
INSERT INTO numbers (number, tenant_id, thing_id) `+counted(groups)+`SELECT CAST(100000 + n AS varchar(32)), 'a0000000-0000-0000-0000-000000000000', `+group+` FROM counted; ANALYZE`)
}
