//go:build !race

// Nothing runs concurrently here, but for the model, which both engines isolate.

package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// newGroup returns a ring group that is not stored yet.
func newGroup(name, number string, members ...pbx.User) pbx.Item {
	g := &pbx.RingGroup{Number: number, Strategy: pbx.RingAll, Seconds: 20, Fallback: pbx.Destination{Kind: pbx.Hangup}}
	for _, u := range members {
		g.Members = append(g.Members, u.ID)
	}
	return pbx.Item{Meta: pbx.Meta{ID: pbx.ThingID(uuid.NewString()), TenantID: pbx.DefaultTenant, Kind: pbx.KindRingGroup, Name: name}, Body: g}
}

// put stores items.
func put(t *testing.T, s *store.Store, items ...*pbx.Item) {
	t.Helper()
	err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		for _, i := range items {
			stored, err := tx.PutItem(ctx, *i, noon, event(ctx, "ring_group.create"))
			if err != nil {
				return err
			}
			*i = stored
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func itemsOf(t *testing.T, s *store.Store) []pbx.Item {
	t.Helper()
	items, err := s.Items(t.Context(), pbx.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

// numbersOf returns who has which number, as the database has it.
func numbersOf(t *testing.T, url string) string {
	t.Helper()
	return ask(t, url, `SELECT coalesce(string_agg(one, ' '), '') FROM (SELECT n.number || '=' || coalesce(t.name, u.email, '-') AS one
FROM numbers n LEFT JOIN users u ON u.id = n.user_id LEFT JOIN things t ON t.id = n.thing_id ORDER BY n.number) AS ordered`)
}

func TestADatabaseWithoutThingsGetsThemWithEveryUserAsBefore(t *testing.T) {
	t.Parallel()
	storetest.EachEmpty(t, func(t *testing.T, url string) {
		engine := "postgres"
		if strings.HasPrefix(url, "sqlite") {
			engine = "sqlite"
		}
		storetest.Older(t, url, "migrations/"+engine, 19)
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
		execute(t, url, `INSERT INTO users (id, tenant_id, name, email) VALUES ('c1111111-1111-4111-8111-111111111111', 'a0000000-0000-0000-0000-000000000000', 'C', 'c@example.com');
INSERT INTO extensions (id, number, user_id, secret) VALUES ('c2222222-2222-4222-8222-222222222222', 42, 'c1111111-1111-4111-8111-111111111111', 'another program''s')`)
		if _, err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := s.Users(t.Context(), pbx.DefaultTenant)
		if diff := cmp.Diff(users, got[1:], same); diff != "" || err != nil {
			t.Errorf("error %v\n%s", err, diff)
		}
		for _, u := range got {
			if u.Version != 1 || u.Disabled || !u.UpdatedAt.Equal(u.CreatedAt) {
				t.Errorf("%d: version %d, disabled %t, changed %s", u.Extension.Number, u.Version, u.Disabled, u.UpdatedAt)
			}
		}
		if n, err := s.Uncovered(t.Context()); n != 1 || err != nil {
			t.Errorf("%d users have no hash, error %v, want the one of another program", n, err)
		}
		if got := numbersOf(t, url); got != "1000=0@example.com 1001=1@example.com 1002=2@example.com 42=c@example.com" {
			t.Errorf("the numbers are %s", got)
		}
		if items := itemsOf(t, s); len(items) != 0 {
			t.Errorf("there are things: %v", items)
		}
	})
}

func TestNumbersAndReferencesHoldAgainstTheStatementsOfAnotherProgram(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		users := someUsers(3)
		if err := insert(t.Context(), s, users...); err != nil {
			t.Fatal(err)
		}
		sales := newGroup("Sales", "600", users[0])
		put(t, s, &sales)
		for _, c := range []struct{ statement, numbers string }{
			{
				`INSERT INTO users (id, tenant_id, name, email) VALUES ('c1111111-1111-4111-8111-111111111111', 'a0000000-0000-0000-0000-000000000000', 'C', 'c');
INSERT INTO extensions (id, number, user_id, secret) VALUES ('c2222222-2222-4222-8222-222222222222', 42, 'c1111111-1111-4111-8111-111111111111', 'x')`,
				"1000=0@example.com 1001=1@example.com 1002=2@example.com 42=c 600=Sales",
			},
			{`UPDATE extensions SET number = 43 WHERE number = 42`, "1000=0@example.com 1001=1@example.com 1002=2@example.com 43=c 600=Sales"},
			{`UPDATE extensions SET secret = 'y' WHERE number = 43`, "1000=0@example.com 1001=1@example.com 1002=2@example.com 43=c 600=Sales"},
			{`DELETE FROM extensions WHERE number = 1002`, "1000=0@example.com 1001=1@example.com 43=c 600=Sales"},
			{
				fmt.Sprintf(`UPDATE extensions SET user_id = '%s' WHERE number = 43`, users[2].ID),
				"1000=0@example.com 1001=1@example.com 43=2@example.com 600=Sales",
			},
			{`DELETE FROM extensions WHERE number > 1000`, "1000=0@example.com 43=2@example.com 600=Sales"},
			{`INSERT INTO tenants (id, name) VALUES ('b0000000-0000-0000-0000-000000000000', 'B');
UPDATE users SET tenant_id = 'b0000000-0000-0000-0000-000000000000' WHERE email = '2@example.com'`, "1000=0@example.com 43=2@example.com 600=Sales"},
		} {
			execute(t, url, c.statement)
			if got := numbersOf(t, url); got != c.numbers {
				t.Errorf("%s: the numbers are %s", c.statement, got)
			}
		}
		if tenant := ask(t, url, `SELECT CAST(tenant_id AS text) FROM numbers WHERE number = '43'`); tenant != "b0000000-0000-0000-0000-000000000000" {
			t.Errorf("the number of a user in another tenant is in %s", tenant)
		}
		for _, statement := range []string{
			`INSERT INTO extensions (id, number, user_id, secret) VALUES ('c2222222-2222-4222-8222-222222222222', 600, 'c1111111-1111-4111-8111-111111111111', 'x')`,
			`UPDATE extensions SET number = 600 WHERE number = 1000`,
			`DELETE FROM users WHERE email = '0@example.com'`,
		} {
			if err := storetest.Try(t, url, statement); err == nil {
				t.Errorf("the database does this: %s", statement)
			}
		}
		version := ask(t, url, `SELECT CAST(version AS text) FROM things_version`)
		execute(t, url, `UPDATE things SET name = 'Another', name_key = 'another' WHERE kind = 'ring_group'`)
		items := itemsOf(t, s)
		if len(items) != 1 || items[0].Name != "Another" || items[0].Version != 2 || ask(t, url, `SELECT CAST(version AS text) FROM things_version`) == version {
			t.Errorf("a thing changed by another program: %v", items)
		}
		if _, err := s.CoverUsers(t.Context(), nil); err != nil || ask(t, url, `SELECT CAST(covered AS text) FROM things_version`) != "4" { // with the settings
			t.Errorf("it cannot be covered: %v", err)
		}
		execute(t, url, `DELETE FROM thing_refs; DELETE FROM things`)
		if items := itemsOf(t, s); len(items) != 0 {
			t.Errorf("left is %v", items)
		}
	})
}

func TestAThingChangedBehindTheDatabasesBackIsReportedAndAcceptedOnlyExplicitly(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		users := someUsers(2)
		if err := insert(t.Context(), s, users...); err != nil {
			t.Fatal(err)
		}
		var all []*pbx.Item
		for n := range 4 {
			i := newGroup(fmt.Sprintf("Group %d", n), fmt.Sprint(600+n), users...)
			all = append(all, &i)
		}
		put(t, s, all...)
		for _, c := range []struct{ change, want string }{
			{`UPDATE things SET name = 'Eve' WHERE kind = 'ring_group' AND short = 2`, "the row of g2 "},
			{`UPDATE things SET body = replace(body, '20', '21') WHERE kind = 'ring_group' AND short = 2`, "the row of g2 "},
			{`UPDATE things SET short = 9 WHERE kind = 'ring_group' AND short = 1`, "the row of g9 "},
			{`UPDATE things SET version = 9 WHERE kind = 'ring_group' AND short = 3`, "the row of g3 "},
			{`UPDATE things SET row_hash = NULL WHERE kind = 'ring_group' AND short = 3`, "6 objects are found as the portal wrote them, and it wrote 7"},
			{`DELETE FROM things WHERE kind = 'ring_group' AND short = 4`, "6 objects are found as the portal wrote them, and it wrote 7"},
			{`UPDATE things_version SET covered = 9`, "6 objects are found as the portal wrote them, and it wrote 9"},
		} {
			behind(t, url, c.change, "things")
			execute(t, url, `UPDATE things_version SET version = 'b0000000-0000-0000-0000-00000000000`+fmt.Sprint(len(c.want)%10)+`'`) // forgets the list
			fresh := storetest.Open(t, url)
			_, list := fresh.Items(t.Context(), pbx.DefaultTenant)
			_, model := fresh.Model(t.Context(), pbx.DefaultTenant)
			_, examined := fresh.Uncovered(t.Context())
			for what, err := range map[string]error{"list": list, "model": model, "examine": examined} {
				if pbx.CodeOf(err) != pbx.CodeDatabaseDamaged || !strings.Contains(fmt.Sprint(err), c.want) {
					t.Errorf("%s: %s: %v", c.change, what, err)
				}
			}
			accept := event(t.Context(), pbx.ActionUsersAccept)
			if _, err := fresh.CoverUsers(t.Context(), &accept); err != nil {
				t.Fatalf("%s: %v", c.change, err)
			}
			if _, err := fresh.Items(t.Context(), pbx.DefaultTenant); err != nil {
				t.Errorf("%s: after it was accepted: %v", c.change, err)
			}
		}
		behind(t, url, `UPDATE things SET body = '{"members":7}' WHERE kind = 'ring_group' AND short = 2`, "things")
		execute(t, url, `UPDATE things SET name = name`) // without a hash
		if _, err := storetest.Open(t, url).Items(t.Context(), pbx.DefaultTenant); pbx.CodeOf(err) != pbx.CodeDatabaseDamaged {
			t.Errorf("a body that cannot be read: %v", err)
		}
	})
}

// A writer creates a user with a group and deletes both again; a reader must never see the group without the user.
func TestAModelNeverHasAThingThatRefersToWhatIsNotInIt(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s, other := storetest.Open(t, url), storetest.Open(t, url)
		const rounds = 40
		var writer sync.WaitGroup
		done := make(chan struct{})
		writer.Go(func() {
			defer close(done)
			for n := range rounds {
				u := newUser(1000, fmt.Sprintf("%d@example.com", n))
				i := newGroup("Sales", "600", u)
				err := other.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
					err := tx.InsertUsers(ctx, store.NewUser{User: u, Event: event(ctx, pbx.ActionUserCreate)})
					if err == nil {
						i, err = tx.PutItem(ctx, i, noon, event(ctx, "ring_group.create"))
					}
					return err
				})
				if err == nil {
					err = other.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
						return errors.Join(tx.DeleteItem(ctx, i, noon, event(ctx, "ring_group.delete")), tx.DeleteUser(ctx, u, noon, event(ctx, pbx.ActionUserDelete)))
					})
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
		models, with := 0, 0
		for running := true; running; models++ {
			select {
			case <-done:
				running = false
			default:
			}
			m, err := s.Model(t.Context(), pbx.DefaultTenant)
			if err != nil {
				t.Error(err)
				break
			}
			with += len(m.Items)
			for _, i := range m.Items {
				for _, r := range i.Body.References() {
					if !slices.ContainsFunc(m.Users, func(u pbx.User) bool { return string(u.ID) == r.To.ID }) {
						t.Errorf("%s refers to a user who is not there", i.Key())
					}
				}
			}
		}
		writer.Wait()
		t.Logf("%d models, %d with a group", models, with)
		if with == 0 {
			t.Error("no model had a group: this shows nothing")
		}
	})
}

func TestNoQueryAboutOneThingOrNumberReadsATableFromItsBeginning(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		storetest.Open(t, url)
		storetest.Fill(t, url, 10_000, 1000)
		execute(t, url, `INSERT INTO user_refs (from_user, field, to_user) SELECT id, 'when_busy', id FROM users; ANALYZE user_refs`)
		for query, args := range store.ThingQueries() {
			for _, line := range planOf(t, url, query, args) {
				if strings.Contains(line, "things_version") || strings.Contains(line, "freed_numbers") || strings.HasPrefix(line, "SCAN uses") { // one row, and a few; what is found
					continue
				}
				if strings.Contains(line, "Seq Scan") || strings.HasPrefix(line, "SCAN ") && !strings.Contains(line, "INDEX ix_numbers_thing") {
					t.Errorf("%s\n%s", query, line)
				}
			}
		}
	})
}
