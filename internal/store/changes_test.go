package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// asWhole checks that the cached list, brought up to date, equals the one that a store without a cache reads.
func asWhole(t *testing.T, s, fresh *store.Store, what string) []pbx.User {
	t.Helper()
	fresh.UseKeys(storetest.Keys(t), false) // forgets the list
	want, wantErr := fresh.Users(t.Context(), pbx.DefaultTenant)
	got, err := s.Users(t.Context(), pbx.DefaultTenant)
	if diff := cmp.Diff(want, got, same); diff != "" || fmt.Sprint(err) != fmt.Sprint(wantErr) {
		t.Fatalf("after %s: error %v, want %v\n%s", what, err, wantErr, diff)
	}
	return got
}

const intoTenant = `INSERT INTO users (id, tenant_id, name, email) VALUES ('%[1]s', 'a0000000-0000-0000-0000-000000000000', 'New', '%[1]s@example.com');`

// changer makes random changes of users.
type changer struct {
	*rand.Rand

	url   string
	s     *store.Store
	users []pbx.User // before the change
	last  pbx.Number // the number of calls of free
}

func (c *changer) any() pbx.User { return c.users[c.IntN(len(c.users))] }

// free returns a number that no extension has had, also none of another tenant.
func (c *changer) free() pbx.Number {
	c.last++
	return 10_000 + c.last
}

// change makes one change, and returns its name.
func (c *changer) change(t *testing.T) string {
	t.Helper()
	sqlite := strings.HasPrefix(c.url, "sqlite")
	kinds := map[string]func(u pbx.User) error{
		"a created user": func(pbx.User) error {
			return insert(t.Context(), c.s, newUser(c.free(), uuid.NewString()+"@example.com"))
		},
		"a deleted user": func(u pbx.User) error {
			return c.s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				return tx.DeleteUser(ctx, u, noon, event(ctx, pbx.ActionUserDelete))
			})
		},
		"a replaced user": func(u pbx.User) error {
			return c.s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				err := tx.DeleteUser(ctx, u, noon, event(ctx, pbx.ActionUserDelete))
				return errors.Join(err, tx.InsertUsers(ctx, store.NewUser{User: newUser(u.Extension.Number, u.Email), Event: event(ctx, pbx.ActionUserCreate)}))
			})
		},
		"a rollback": func(u pbx.User) error {
			err := c.s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				return errors.Join(tx.DeleteUser(ctx, u, noon, event(ctx, pbx.ActionUserDelete)), errors.ErrUnsupported)
			})
			if !errors.Is(err, errors.ErrUnsupported) {
				return err
			}
			return nil
		},
		"a changed name": func(u pbx.User) error { return c.sql(t, `UPDATE users SET name = name || 'x' WHERE id = '%s'`, u.ID) },
		"a changed number": func(u pbx.User) error {
			return c.sql(t, `UPDATE extensions SET number = %d WHERE user_id = '%s'`, c.free(), u.ID)
		},
		"a changed secret": func(u pbx.User) error {
			return c.sql(t, `UPDATE extensions SET secret = 'other' WHERE user_id = '%s'`, u.ID)
		},
		"numbers exchanged": func(u pbx.User) error {
			return c.sql(t, `BEGIN; UPDATE extensions SET number = 500 WHERE number = %[1]d; UPDATE extensions SET number = %[1]d WHERE number = %[2]d;
UPDATE extensions SET number = %[2]d WHERE number = 500; COMMIT`, u.Extension.Number, c.any().Extension.Number)
		},
		"an extension that moves to a new user": func(u pbx.User) error {
			return c.sql(t, intoTenant+`UPDATE extensions SET user_id = '%[1]s' WHERE user_id = '%[2]s'`, uuid.NewString(), u.ID)
		},
		"a deleted extension":        func(u pbx.User) error { return c.sql(t, `DELETE FROM extensions WHERE user_id = '%s'`, u.ID) },
		"a user deleted with SQL":    func(u pbx.User) error { return c.sql(t, `DELETE FROM users WHERE id = '%s'`, u.ID) },
		"a statement without effect": func(pbx.User) error { return c.sql(t, `UPDATE users SET name = 'nobody' WHERE email = 'none'`) },
		"a user moved to another tenant": func(u pbx.User) error {
			return c.sql(t, `UPDATE users SET tenant_id = 'b0000000-0000-0000-0000-000000000000' WHERE id = '%s'`, u.ID)
		},
		"an added or removed phone": func(u pbx.User) error {
			now, err := u.WithDevice(newDevice("Desk"))
			if len(u.Devices) > 0 && c.IntN(2) == 0 {
				now, err = u.WithoutDevice(u.Devices[0].ID), nil
			}
			return errors.Join(err, update(t.Context(), c.s, u, now))
		},
		"a phone deleted with SQL": func(u pbx.User) error { return c.sql(t, `DELETE FROM devices WHERE user_id = '%s'`, u.ID) },
		"a rollback of another program": func(u pbx.User) error {
			return c.sql(t, `BEGIN; DELETE FROM extensions WHERE user_id = '%s'; ROLLBACK`, u.ID)
		},
		"a user of another program": func(pbx.User) error {
			return c.sql(t, intoTenant+`INSERT INTO extensions (id, number, user_id, secret) VALUES ('%[2]s', %[3]d, '%[1]s', 'open')`,
				uuid.NewString(), uuid.NewString(), c.free())
		},
		"several users of one statement": func(pbx.User) error {
			var rows []string
			statement := ""
			for range 1 + c.IntN(5) {
				id := uuid.NewString()
				statement += fmt.Sprintf(intoTenant, id)
				rows = append(rows, fmt.Sprintf("('%s', %d, '%s', 'open')", uuid.NewString(), c.free(), id))
			}
			return c.sql(t, "%s", statement+`INSERT INTO extensions (id, number, user_id, secret) VALUES `+strings.Join(rows, ", "))
		},
		"several created users": func(pbx.User) error {
			var users []pbx.User
			for range 1 + c.IntN(5) {
				users = append(users, newUser(c.free(), uuid.NewString()+"@example.com"))
			}
			return insert(t.Context(), c.s, users...)
		},
	}
	if sqlite { // without foreign keys, as the connections of sql are
		kinds["an extension before its user"] = func(pbx.User) error {
			id := uuid.NewString()
			if err := c.sql(t, `INSERT INTO extensions (id, number, user_id, secret) VALUES ('%s', %d, '%s', 'open')`, uuid.NewString(), c.free(), id); err != nil {
				return err
			}
			if _, err := c.s.Users(t.Context(), pbx.DefaultTenant); err != nil {
				return err
			}
			return c.sql(t, intoTenant, id)
		}
		kinds["a user with another id"] = func(u pbx.User) error {
			id := uuid.NewString()
			return c.sql(t, `BEGIN; UPDATE users SET id = '%[1]s' WHERE id = '%[2]s'; UPDATE extensions SET user_id = '%[1]s' WHERE user_id = '%[2]s'; COMMIT`, id, u.ID)
		}
	} else {
		kinds["an empty table"] = func(pbx.User) error { return c.sql(t, `TRUNCATE extensions`) }
	}
	names := make([]string, 0, len(kinds))
	for name := range kinds {
		names = append(names, name)
	}
	name := names[c.IntN(len(names))]
	if err := kinds[name](c.any()); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return name
}

func (c *changer) sql(t *testing.T, format string, args ...any) error {
	t.Helper()
	return storetest.Try(t, c.url, fmt.Sprintf(format, args...))
}

func TestAListBroughtUpToDateEqualsAWholeOneAfterAnyChangesAtLength(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s, fresh := storetest.Open(t, url), storetest.Open(t, url)
		execute(t, url, `INSERT INTO tenants (id, name) VALUES ('b0000000-0000-0000-0000-000000000000', 'Other')`)
		c := &changer{Rand: rand.New(rand.NewPCG(rand.Uint64(), 20)), url: url, s: storetest.Open(t, url)}
		made := map[string]int{}
		for range labtest.Soak(60, 3000) {
			if c.users = asWhole(t, s, fresh, fmt.Sprint(made)); len(c.users) < 3 {
				for range 8 {
					if err := insert(t.Context(), c.s, newUser(c.free(), uuid.NewString()+"@example.com")); err != nil {
						t.Fatal(err)
					}
				}
				c.users = asWhole(t, s, fresh, "a new set of users")
			}
			for range 1 + c.IntN(2) {
				made[c.change(t)]++
				if c.users, _ = c.s.Users(t.Context(), pbx.DefaultTenant); len(c.users) == 0 {
					break
				}
			}
		}
		asWhole(t, s, fresh, fmt.Sprint(made))
		t.Log(made)
	})
}

// Each writer changes users of its own in transactions that overlap on PostgreSQL, without the writers' lock, and must find in the list what it committed.
func TestNoCommittedChangeIsMissingFromAListWhateverTheOrderOfCommits(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s, fresh := storetest.Open(t, url), storetest.Open(t, url)
		users := someUsers(20)
		if err := insert(t.Context(), s, users...); err != nil {
			t.Fatal(err)
		}
		begin := "BEGIN"
		if strings.HasPrefix(url, "sqlite") {
			begin = "BEGIN IMMEDIATE"
		}
		var all sync.WaitGroup
		for w := range 4 {
			all.Go(func() {
				for i := range 12 {
					own, end, want := users[5*w:5*w+5], "COMMIT", fmt.Sprint(i)
					a, b := own[i%5], own[(i+2)%5]
					if i%4 == 3 {
						end = "ROLLBACK"
					}
					statements := fmt.Sprintf(`%s; UPDATE users SET name = '%d' WHERE id = '%s'; UPDATE extensions SET secret = 's%d' WHERE user_id = '%s'; %s`,
						begin, i, a.ID, i, b.ID, end)
					if err := storetest.Try(t, url, statements); err != nil {
						t.Error(err)
						return
					}
					now, err := s.Users(t.Context(), pbx.DefaultTenant)
					if err != nil {
						t.Error(err)
						return
					}
					for _, u := range now {
						if end == "COMMIT" && (u.ID == a.ID && u.Name != want || u.ID == b.ID && u.Extension.Secret.Reveal() != "s"+want) {
							t.Errorf("writer %d: the list is older than what it committed: %s", w, u.Name)
						}
					}
				}
			})
		}
		all.Wait()
		asWhole(t, s, fresh, "all")
	})
}

func TestOnlyChangedUsersAreReadAgainForAListAndAllOfThemForAnApply(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		users := someUsers(5)
		if err := insert(t.Context(), s, users...); err != nil {
			t.Fatal(err)
		}
		listed(t, s, users)
		behindItsBack(t, url, `UPDATE users SET name = 'Eve' WHERE email = '3@example.com'`)
		execute(t, url, `UPDATE users SET name = 'Anna' WHERE email = '1@example.com'`)
		users[1].Name = "Anna"
		listed(t, s, users) // with the row that is undamaged in the cache
		for range 2 {
			if _, err := s.CheckedUsers(t.Context(), pbx.DefaultTenant); pbx.CodeOf(err) != pbx.CodeDatabaseDamaged || !strings.Contains(err.Error(), "1003") {
				t.Errorf("error %v, want one that names the damaged row", err)
			}
		}
		execute(t, url, `UPDATE users SET name = 'Eva' WHERE email = '3@example.com'`)
		users[3].Name = "Eva"
		listed(t, s, users)
		if got, err := s.CheckedUsers(t.Context(), pbx.DefaultTenant); !cmp.Equal(users, got, same) || err != nil {
			t.Errorf("error %v\n%s", err, cmp.Diff(users, got, same))
		}
	})
}

func TestADamagedRowOfAChangedUserIsReportedByAList(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		if err := insert(t.Context(), s, someUsers(3)...); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Users(t.Context(), pbx.DefaultTenant); err != nil {
			t.Fatal(err)
		}
		execute(t, url, `UPDATE users SET version = version + 1 WHERE email = '1@example.com'`)
		behindItsBack(t, url, `UPDATE users SET name = 'Eve' WHERE email = '1@example.com'`)
		if _, err := s.Users(t.Context(), pbx.DefaultTenant); pbx.CodeOf(err) != pbx.CodeDatabaseDamaged || !strings.Contains(err.Error(), "1001") {
			t.Errorf("error %v, want one that names the damaged row", err)
		}
	})
}

// SQLite calls no trigger for a row that REPLACE removes.
func TestAListNoticesAnExtensionThatAnotherProgramReplaced(t *testing.T) {
	t.Parallel()
	url := storetest.SQLite(t)
	s, fresh := storetest.Open(t, url), storetest.Open(t, url)
	if err := insert(t.Context(), s, someUsers(4)...); err != nil {
		t.Fatal(err)
	}
	execute(t, url, `UPDATE extensions SET secret = secret`) // so that no row has a hash, and a missing one is no damage
	id := uuid.NewString()
	execute(t, url, fmt.Sprintf(intoTenant, id))
	asWhole(t, s, fresh, "a user without an extension")
	execute(t, url, `REPLACE INTO extensions (id, number, user_id, secret) SELECT id, 1500, '`+id+`', secret FROM extensions WHERE number = 1001`)
	if users := asWhole(t, s, fresh, "REPLACE"); len(users) != 4 || users[3].ID != pbx.UserID(id) {
		t.Errorf("users %v", users)
	}
}

func TestAListIsReadWholeAfterMoreChangesThanAreRecorded(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s, fresh := storetest.Open(t, url), storetest.Open(t, url)
		if err := insert(t.Context(), s, someUsers(21)...); err != nil {
			t.Fatal(err)
		}
		asWhole(t, s, fresh, "the beginning")
		execute(t, url, `DELETE FROM extensions WHERE number = 1000; BEGIN;`+strings.Repeat(`UPDATE extensions SET secret = 'x';`, 52)+`COMMIT`)
		asWhole(t, s, fresh, "1041 changes")
		execute(t, url, `DELETE FROM extensions WHERE number = 1001`)
		asWhole(t, s, fresh, "one more")
	})
}

// Numbers of changes repeat after a backup is restored; versions do not.
func TestAListIsReadWholeAfterAnOlderCopyOfTheDatabaseWasRestored(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s, fresh := storetest.Open(t, url), storetest.Open(t, url)
		if err := insert(t.Context(), s, someUsers(4)...); err != nil {
			t.Fatal(err)
		}
		asWhole(t, s, fresh, "the beginning")
		var copied, restored strings.Builder
		for _, table := range []string{"extensions", "users", "user_changes", "users_version"} {
			fmt.Fprintf(&copied, `CREATE TABLE copy_%[1]s AS SELECT * FROM %[1]s;`, table)
			fmt.Fprintf(&restored, `DELETE FROM %s;`, table)
		}
		for _, table := range []string{"users", "extensions", "user_changes", "users_version"} {
			fmt.Fprintf(&restored, `INSERT INTO %[1]s SELECT * FROM copy_%[1]s;`, table)
		}
		execute(t, url, copied.String())
		execute(t, url, `UPDATE users SET name = 'Anna' WHERE email = '1@example.com'`)
		asWhole(t, s, fresh, "a change")
		behindItsBack(t, url, restored.String())
		asWhole(t, s, fresh, "the copy")
		execute(t, url, `UPDATE users SET name = 'Anna' WHERE email = '1@example.com'`)
		asWhole(t, s, fresh, "a change of the copy")
		behindItsBack(t, url, restored.String())
		execute(t, url, `UPDATE users SET name = 'Zoe' WHERE email = '2@example.com'; UPDATE users SET name = 'Ida' WHERE email = '3@example.com'`)
		asWhole(t, s, fresh, "another change of the copy")
	})
}

func TestAUserHasAVersionThatEachVisibleChangeRaisesOnce(t *testing.T) {
	t.Parallel()
	storetest.EachEmpty(t, func(t *testing.T, url string) {
		engine, again := "sqlite", "PRAGMA recursive_triggers = ON;"
		if !strings.HasPrefix(url, engine) {
			engine, again = "postgres", ""
		}
		storetest.Older(t, url, "migrations/"+engine, 19)
		s, err := store.Open(url)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.UseKeys(storetest.Keys(t), false)
		users := someUsers(2)
		if err = insert(t.Context(), s, users[0]); err != nil {
			t.Fatal(err)
		}
		if _, err = s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err = insert(t.Context(), s, users[1]); err != nil {
			t.Fatal(err)
		}
		listed(t, s, users)
		is := func(what, want string) {
			t.Helper()
			got := ask(t, url, `SELECT string_agg(CAST(version AS text)
    || CASE WHEN updated_at IS NULL THEN ' never' WHEN updated_at > '2031-01-01' THEN ' then' ELSE '' END, ', ')
FROM (SELECT * FROM users ORDER BY email) AS sorted`)
			if n, err := s.Uncovered(t.Context()); got+fmt.Sprintf(", %d uncovered", n) != want || err != nil {
				t.Errorf("after %s: %s, %d uncovered, error %v; want %s", what, got, n, err, want)
			}
		}
		is("migration", "1 never, 1 never, 0 uncovered")
		for _, c := range []struct{ statement, want string }{
			{`UPDATE users SET name = name`, "1 never, 1 never, 0 uncovered"},
			{`UPDATE users SET version = version + 1 WHERE email = '1@example.com'`, "1 never, 2 never, 0 uncovered"},
			{`UPDATE users SET name = 'Anna' WHERE email = '1@example.com'`, "1 never, 3, 1 uncovered"},
			{again + `UPDATE users SET email = '2@example.com' WHERE email = '1@example.com'`, "1 never, 4, 1 uncovered"},
			{`UPDATE users SET name = 'A', version = version + 1, updated_at = '2031-05-06 07:08:09' WHERE email = '2@example.com'`, "1 never, 5 then, 1 uncovered"},
			{`UPDATE users SET name = 'B', version = 1 WHERE email = '2@example.com'`, "1 never, 6, 1 uncovered"},
			{`UPDATE extensions SET secret = 'x' WHERE number = 1000`, "2, 6, 2 uncovered"},
			{again + `UPDATE extensions SET number = 1005 WHERE number = 1000`, "3, 6, 2 uncovered"},
			{`UPDATE extensions SET number = number`, "3, 6, 2 uncovered"},
			{`DELETE FROM extensions WHERE number = 1005`, "4, 6, 1 uncovered"},
		} {
			execute(t, url, c.statement)
			is(c.statement, c.want)
		}
		if _, err = s.CoverUsers(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		is("CoverUsers", "4, 6, 0 uncovered")
		if users, err := s.Users(t.Context(), pbx.DefaultTenant); err != nil || len(users) != 1 || users[0].Name != "B" {
			t.Errorf("users %v, error %v", users, err)
		}
		for _, open := range []bool{true, false} { // the same secret, encrypted or not, is no change
			s.UseKeys(storetest.Keys(t), open)
			if did, err := s.Reseal(t.Context()); err != nil || did.Rows != 1 {
				t.Fatalf("%d rows, error %v", did.Rows, err)
			}
			is("sealing", "4, 6, 0 uncovered")
		}
	})
}
