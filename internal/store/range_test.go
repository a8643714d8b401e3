package store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// keptBySQLite and keptByPostgres return, as text, all that must survive the change of a constraint: the rows of users, and the columns, indexes,
// triggers and other constraints of their tables.
const (
	keptBySQLite = `SELECT group_concat(one, char(10)) FROM (
SELECT 'extension ' || id || number || user_id || secret || created_at || coalesce(row_hash, '') AS one FROM extensions
UNION ALL SELECT 'user ' || id || tenant_id || name || email || created_at FROM users
UNION ALL SELECT 'version ' || version || covered FROM users_version
UNION ALL SELECT 'freed ' || number || freed_at FROM freed_numbers
UNION ALL SELECT 'column ' || name || type || "notnull" || coalesce(dflt_value, '') || pk FROM pragma_table_info('extensions')
UNION ALL SELECT 'key ' || "table" || "from" || "to" || on_delete FROM pragma_foreign_key_list('extensions')
UNION ALL SELECT 'index ' || name || "unique" || origin FROM pragma_index_list('extensions')
UNION ALL SELECT type || name || tbl_name || sql FROM sqlite_schema WHERE sql IS NOT NULL AND type <> 'table' AND tbl_name IN ('users', 'extensions')
ORDER BY one)`
	keptByPostgres = `SELECT string_agg(one, E'\n' ORDER BY one) FROM (
SELECT 'extension ' || to_jsonb(x)::text AS one FROM extensions x
UNION ALL SELECT 'user ' || to_jsonb(x)::text FROM users x
UNION ALL SELECT 'version ' || to_jsonb(x)::text FROM users_version x
UNION ALL SELECT 'freed ' || to_jsonb(x)::text FROM freed_numbers x
UNION ALL SELECT 'column ' || column_name || data_type || is_nullable || coalesce(column_default, '') FROM information_schema.columns WHERE table_name = 'extensions'
UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE tablename IN ('users', 'extensions')
UNION ALL SELECT 'trigger ' || tgenabled::text || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN ('users'::regclass, 'extensions'::regclass)
UNION ALL SELECT 'constraint ' || conname || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid IN ('users'::regclass, 'extensions'::regclass) AND pg_get_constraintdef(oid) !~ '1000|999999') AS all_of_it`
)

func TestAnOlderDatabaseKeepsEveryUserTriggerAndIndexWhenTheRangeOfNumbersOpens(t *testing.T) {
	t.Parallel()
	storetest.EachEmpty(t, func(t *testing.T, url string) {
		engine, kept := "sqlite", keptBySQLite
		if !strings.HasPrefix(url, engine) {
			engine, kept = "postgres", keptByPostgres
		}
		storetest.Older(t, url, "migrations/"+engine, 17)
		s, err := store.Open(url)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.UseKeys(storetest.Keys(t), false)
		users := someUsers(3)
		if err := insert(t.Context(), s, users...); err != nil {
			t.Fatal(err)
		}
		if err := insert(t.Context(), s, newUser(999, "e@example.com")); err == nil {
			t.Fatal("the older database takes 999 already: this test shows nothing")
		}
		execute(t, url, `INSERT INTO users (id, tenant_id, name, email) VALUES ('c1111111-1111-4111-8111-111111111111', 'a0000000-0000-0000-0000-000000000000', 'C', 'c@example.com');
INSERT INTO extensions (id, number, user_id, secret) VALUES ('c2222222-2222-4222-8222-222222222222', 1900, 'c1111111-1111-4111-8111-111111111111', 'another program''s');
INSERT INTO freed_numbers (number, freed_at) VALUES (1500, '2026-11-23 12:00:00')`)
		if engine == "sqlite" { // another program that does not enable foreign keys can leave one without a user
			execute(t, url, `INSERT INTO extensions (id, number, user_id, secret) VALUES ('c3333333-3333-4333-8333-333333333333', 1950, 'c4444444-4444-4444-8444-444444444444', 'x')`)
		}
		before := ask(t, url, kept)

		storetest.Older(t, url, "migrations/"+engine, 19)
		if diff := cmp.Diff(before, ask(t, url, kept)); diff != "" || strings.Count(before, "\n") < 15 {
			t.Errorf("not as before:\n%s", diff)
		}
		if _, err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.UseKeys(storetest.Keys(t), false) // forgets the list
		listed(t, s, append(users, another(t, s)))
		if n, err := s.Uncovered(t.Context()); n != 1 || err != nil {
			t.Errorf("%d users have no hash, error %v, want the one of another program", n, err)
		}
		checkRange(t, s, url)

		execute(t, url, `UPDATE extensions SET secret = 'changed' WHERE number = 1000; DELETE FROM extensions WHERE number = 1001`)
		if n, err := s.Uncovered(t.Context()); n != 4 || err != nil { // and the two that checkRange wrote with SQL
			t.Errorf("after a change by another program %d users have no hash, error %v", n, err)
		}
	})
}

func TestTheRangeOfNumbersOpensInTheDatabaseOfThePythonPortal(t *testing.T) {
	t.Parallel()
	url := labtest.Postgres(t)
	pythonPortal(t, url)
	checkRange(t, storetest.Open(t, url), url)
}

// another returns the user that another program has written.
func another(t *testing.T, s *store.Store) pbx.User {
	t.Helper()
	u, _, err := s.User(t.Context(), pbx.DefaultTenant, "c1111111-1111-4111-8111-111111111111")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// checkRange checks that the database takes the numbers from 10 to 999999, from the portal and from another program, and no others.
func checkRange(t *testing.T, s *store.Store, url string) {
	t.Helper()
	for number, takes := range map[pbx.Number]bool{-10: false, 0: false, 9: false, 10: true, 20: true, 999: true, 2000: true, 250_000: true, 999_999: true, 1_000_000: false} {
		if err := insert(t.Context(), s, newUser(number, fmt.Sprintf("%d@range.example", number))); (err == nil) != takes {
			t.Errorf("%d: %v", number, err)
		}
	}
	for i, number := range []pbx.Number{9, 11, 999_998, 1_000_000} {
		err := storetest.Try(t, url, fmt.Sprintf(`INSERT INTO users (id, tenant_id, name, email)
VALUES ('d111111%[1]d-1111-4111-8111-111111111111', 'a0000000-0000-0000-0000-000000000000', 'D', 'd%[1]d@example.com');
INSERT INTO extensions (id, number, user_id, secret) VALUES ('d222222%[1]d-2222-4222-8222-222222222222', %[2]d, 'd111111%[1]d-1111-4111-8111-111111111111', 'x')`, i, number))
		if takes := number > 9 && number < 1_000_000; (err == nil) != takes {
			t.Errorf("%d of another program: %v", number, err)
		}
	}
}
