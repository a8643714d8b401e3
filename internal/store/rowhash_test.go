//go:build !race

// Nothing runs concurrently here.

package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// rawUsers reads what a list shows of a SQLite file without the store, and so without any comparison.
func rawUsers(ctx context.Context, path string) (all []string, err error) {
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(ctx, `SELECT u.id || u.tenant_id || u.name || u.email || u.created_at || e.id || e.number || e.secret || e.created_at
FROM users u JOIN extensions e ON e.user_id = u.id ORDER BY e.number`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var one sql.NullString
		if err := rows.Scan(&one); err != nil {
			return nil, err
		}
		all = append(all, one.String)
	}
	return all, rows.Err()
}

// pagesOf returns the offsets of all pages of a SQLite file with the rows of these tables and their indexes.
func pagesOf(t *testing.T, path string, content []byte, tables ...string) (offsets []int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	size := int(binary.BigEndian.Uint16(content[16:]))
	var walk func(page int)
	walk = func(page int) {
		at := (page - 1) * size
		offsets = append(offsets, at)
		kind := content[at]
		if kind != 2 && kind != 5 { // a leaf
			return
		}
		for i := range int(binary.BigEndian.Uint16(content[at+3:])) {
			cell := int(binary.BigEndian.Uint16(content[at+12+2*i:]))
			walk(int(binary.BigEndian.Uint32(content[at+cell:])))
		}
		walk(int(binary.BigEndian.Uint32(content[at+8:])))
	}
	for _, table := range tables {
		rows, err := db.QueryContext(t.Context(), `SELECT rootpage FROM sqlite_schema WHERE tbl_name = $1 AND rootpage > 0`, table)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			root := 0
			if err := rows.Scan(&root); err != nil {
				t.Fatal(err)
			}
			walk(root)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil { //nolint:sqlclosecheck // the next table has rows of its own
			t.Fatal(err)
		}
	}
	return offsets
}

// Each flip is tried on a new copy of a file with 200 users with plaintext secrets, so that no seal detects it. What the flip does to the rows is found by reading
// them without the store.
func TestNoFlippedBitChangesTheListUnnoticedAtLength(t *testing.T) {
	t.Parallel()
	url := storetest.SQLite(t)
	open := func() *store.Store {
		s, err := store.Open(url)
		if err != nil {
			t.Fatal(err)
		}
		s.UseKeys(storetest.Keys(t), true)
		return s
	}
	s := storetest.Open(t, url)
	s.UseKeys(storetest.Keys(t), true)
	users := someUsers(200)
	if err := insert(t.Context(), s, users...); err != nil {
		t.Fatal(err)
	}
	listed(t, s, users)
	if err := s.Close(); err != nil { // which folds the log into the file
		t.Fatal(err)
	}
	path := strings.TrimPrefix(url, "sqlite:///")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := rawUsers(t.Context(), path)
	if err != nil || len(rows) != len(users) {
		t.Fatalf("%d rows, error %v", len(rows), err)
	}
	pages := pagesOf(t, path, whole, "users", "extensions")
	random := rand.New(rand.NewPCG(200, 15))
	changed, refused, by := 0, 0, map[string]int{}
	flips := labtest.Soak(150, 5000)
	for i := range flips {
		at, bit := pages[i%len(pages)]+random.IntN(4096), byte(1)<<random.IntN(8)
		what := fmt.Sprintf("bit %#x at %d", bit, at)
		flipped := bytes.Clone(whole)
		flipped[at] ^= bit
		for _, beside := range []string{"-wal", "-shm"} {
			_ = os.Remove(path + beside)
		}
		if err := os.WriteFile(path, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		raw, err := rawUsers(t.Context(), path)
		damaged := err == nil && !cmp.Equal(rows, raw)
		if damaged {
			changed++
		}
		s := open()
		got, err := s.Users(t.Context(), pbx.DefaultTenant)
		switch {
		case err == nil && !cmp.Equal(users, got, same):
			t.Errorf("%s: another list, and nobody noticed", what)
		case err == nil && damaged:
			t.Logf("%s: the rows are read otherwise by another query, the list is as it was", what)
		case err != nil:
			refused++
			by[pbx.CodeOf(err)]++
			if code := pbx.CodeOf(err); code != pbx.CodeDatabaseDamaged && code != pbx.CodeDatabaseAway {
				t.Errorf("%s: %v", what, err)
			}
			_, whole := s.Intact(t.Context())
			if _, err := s.Uncovered(t.Context()); whole == nil && err == nil {
				t.Errorf("%s: the list is refused, and doctor finds nothing", what)
			}
		}
		_ = s.Close()
	}
	t.Logf("%d flips in %d pages: %d changed what a query without comparison reads; %d lists refused: %v", flips, len(pages), changed, refused, by)
	if changed == 0 || by[pbx.CodeDatabaseDamaged] == 0 {
		t.Error("no flip changed a row: the search proves nothing")
	}
}

// Triggers detect changes by statements, but not changes on the disk. PostgreSQL's superuser can change a row like a disk fault.
func TestARowChangedBehindTheDatabasesBackIsReportedAndAcceptedOnlyExplicitly(t *testing.T) {
	t.Parallel()
	for change, want := range map[string]string{
		`UPDATE users SET name = 'Eve' WHERE email = '3@example.com'`:                                                 "extension 1003 ",
		`UPDATE users SET tenant_id = (SELECT id FROM tenants WHERE name = 'Other') WHERE email = '3@example.com'`:    "extension 1003 ",
		`UPDATE extensions SET secret = 'evil' WHERE number = 1002`:                                                   "extension 1002 ",
		`UPDATE extensions SET number = 1999 WHERE number = 1001`:                                                     "extension 1999 ",
		`UPDATE extensions SET user_id = (SELECT id FROM users WHERE email = 'none@example.com') WHERE number = 1004`: "extension 1004 ",
		`UPDATE extensions SET row_hash = NULL WHERE number = 1001`:                                                   "4 users are found as the portal wrote them, and it wrote 5",
		`DELETE FROM users WHERE email = '3@example.com'`:                                                             "it wrote 5",
		`DELETE FROM users`:                    "it wrote 5",
		`UPDATE users_version SET covered = 4`: "it wrote 4",
		`UPDATE users SET id = '99999999-9999-4999-8999-999999999999' WHERE email = '3@example.com'`: "it wrote 5",
		`UPDATE extensions SET created_at = '1999-01-01 00:00:00' WHERE number = 1000`:               "extension 1000 ",
	} {
		t.Run(change, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, url string) {
				s := storetest.Open(t, url)
				s.UseKeys(storetest.Keys(t), true)
				users := someUsers(5)
				if err := insert(t.Context(), s, users...); err != nil {
					t.Fatal(err)
				}
				other := `INSERT INTO tenants (id, name) VALUES ('b0000000-0000-0000-0000-000000000000', 'Other');
INSERT INTO users (id, tenant_id, name, email) VALUES ('b1111111-1111-4111-8111-111111111111', 'b0000000-0000-0000-0000-000000000000', 'None', 'none@example.com')`
				execute(t, url, other)
				listed(t, s, users)
				behindItsBack(t, url, change)
				s.UseKeys(storetest.Keys(t), true) // forgets the list
				refused := func(what string, err error) {
					t.Helper()
					if pbx.CodeOf(err) != pbx.CodeDatabaseDamaged || pbx.KindOf(err) != pbx.KindUnavailable || !strings.Contains(fmt.Sprint(err), want) ||
						!strings.Contains(fmt.Sprint(err), "--accept-users") || strings.Contains(fmt.Sprint(err), "evil") {
						t.Errorf("%s: %v, want one that names %q", what, err, want)
					}
				}
				_, err := s.Users(t.Context(), pbx.DefaultTenant)
				refused("list", err)
				_, err = s.Uncovered(t.Context())
				refused("examine", err)
				if change != `DELETE FROM users` { // an empty list has no rows to hash
					_, err = s.CoverUsers(t.Context(), nil)
					refused("cover", err)
				}
				accept := event(t.Context(), pbx.ActionUsersAccept)
				if _, err = s.CoverUsers(t.Context(), &accept); err != nil {
					t.Fatal(err)
				}
				if _, err = s.Users(t.Context(), pbx.DefaultTenant); err != nil {
					t.Errorf("after it was accepted: %v", err)
				}
				if n, err := s.Uncovered(t.Context()); n != 0 || err != nil {
					t.Errorf("%d have no hash, error %v", n, err)
				}
			})
		})
	}
}

func TestRowsWrittenByAnotherProgramAreAcceptedAndCounted(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		s.UseKeys(storetest.Keys(t), true)
		users := someUsers(6)
		if err := insert(t.Context(), s, users...); err != nil {
			t.Fatal(err)
		}
		uncovered := func(want int) {
			t.Helper()
			if n, err := s.Uncovered(t.Context()); n != want || err != nil {
				t.Errorf("%d users have no hash, want %d; error %v", n, want, err)
			}
		}
		for i, change := range []string{
			`UPDATE users SET name = 'Anna' WHERE email = '0@example.com'`,
			`UPDATE extensions SET secret = 'another' WHERE number = 1001`,
			`UPDATE extensions SET number = 1900 WHERE number = 1002`,
			`INSERT INTO users (id, tenant_id, name, email) VALUES ('b1111111-1111-4111-8111-111111111111', 'a0000000-0000-0000-0000-000000000000', 'New', 'new@example.com');
INSERT INTO extensions (id, number, user_id, secret) VALUES ('b2222222-2222-4222-8222-222222222222', 1950, 'b1111111-1111-4111-8111-111111111111', 'open')`,
		} {
			uncovered(i)
			execute(t, url, change)
			uncovered(i + 1)
		}
		execute(t, url, `UPDATE extensions SET secret = 'once more' WHERE number = 1001`)
		uncovered(4)
		execute(t, url, `DELETE FROM users WHERE email IN ('0@example.com', '5@example.com')`) // one with, one without; SQLite leaves the extensions
		uncovered(3)
		if n, err := s.CoverUsers(t.Context(), nil); n != 3 || err != nil {
			t.Errorf("covered %d, error %v", n, err)
		}
		uncovered(0)
		got, err := s.Users(t.Context(), pbx.DefaultTenant)
		if err != nil || len(got) != 5 {
			t.Errorf("%d users, error %v", len(got), err)
		}
		execute(t, url, `DELETE FROM extensions`)
		listed(t, s, []pbx.User{})
	})
}
