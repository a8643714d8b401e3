//go:build !race

// Nothing runs concurrently here.

package store_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// dump returns the rows that follow from users and things.
func dump(t *testing.T, url string) string {
	t.Helper()
	return ask(t, url, `SELECT coalesce(string_agg(one, '; '), '') FROM (
SELECT number || ' ' || CAST(tenant_id AS text) || ' ' || CAST(coalesce(user_id, thing_id) AS text) AS one FROM numbers
UNION ALL SELECT CAST(from_id AS text) || ' ' || field || ' ' || ordinal || ' ' || CAST(coalesce(to_user, to_thing) AS text) FROM thing_refs
UNION ALL SELECT CAST(from_user AS text) || ' ' || field || ' ' || CAST(coalesce(to_user, to_thing) AS text) FROM user_refs ORDER BY 1) AS ordered`)
}

func TestReferencesAndNumbersThatDifferFromUsersAndThingsAreNamedAndWrittenAgain(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		users := someUsers(3)
		if err := insert(t.Context(), s, users...); err != nil {
			t.Fatal(err)
		}
		one := newGroup("One", "600", users...)
		put(t, s, &one)
		two := newGroup("Two", "601", users[2])
		two.Body.(*pbx.RingGroup).Fallback = pbx.Destination{Kind: one.Kind, ID: string(one.ID)}
		put(t, s, &two)
		check := func(what string, rows, contradictions []string) {
			t.Helper()
			gotRows, gotContradictions, err := s.Discrepancies(t.Context())
			if diff := cmp.Diff([][]string{rows, contradictions}, [][]string{gotRows, gotContradictions}); diff != "" || err != nil {
				t.Errorf("%s: error %v\n%s", what, err, diff)
			}
		}
		err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			was, _, err := tx.User(ctx, pbx.DefaultTenant, users[0].ID)
			if err != nil {
				return err
			}
			now := was
			now.Calls.WhenBusy = pbx.Destination{Kind: one.Kind, ID: string(one.ID)}
			now.Calls.WhenUnanswered = pbx.Destination{Kind: pbx.KindUser, ID: string(users[1].ID)}
			_, err = tx.UpdateUser(ctx, was, now, noon, event(ctx, pbx.ActionUserChange))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		check("as stored", nil, nil)
		g1, g2 := `the ring group g1 ("`+string(one.ID)+`")`, `the ring group g2 ("`+string(two.ID)+`")`
		right := dump(t, url)
		for statement, want := range map[string][]string{
			`DELETE FROM thing_refs WHERE field = 'members' AND ordinal = 2`:                                                                 {"a reference in members of " + g1},
			`DELETE FROM thing_refs WHERE field = 'fallback'`:                                                                                {"a reference in fallback of " + g2},
			`UPDATE thing_refs SET to_user = '` + string(users[0].ID) + `' WHERE from_id = '` + string(two.ID) + `' AND to_user IS NOT NULL`: {"a reference in members of " + g2},
			`INSERT INTO thing_refs (from_id, field, ordinal, to_thing) VALUES ('` + string(one.ID) + `', 'fallback', 0, '` + string(two.ID) + `')`: {
				"a reference in fallback of " + g1,
			},
			`DELETE FROM numbers WHERE number IN ('600', '1001')`:                                          {"the number 1001", "the number 600"},
			`UPDATE numbers SET number = '699' WHERE number = '601'`:                                       {"the number 601", "the number 699"},
			`UPDATE numbers SET user_id = NULL, thing_id = '` + string(one.ID) + `' WHERE number = '1000'`: {"the number 1000"},
			`UPDATE numbers SET tenant_id = 'b0000000-0000-0000-0000-000000000000' WHERE number = '1000'`:  {"the number 1000", "the number 1000"},
			`UPDATE numbers SET number = 'x' WHERE number = '600'; UPDATE numbers SET number = '600' WHERE number = '601'; UPDATE numbers SET number = '601' WHERE number = 'x'`: {
				"the number 600", "the number 601",
			},
			`DELETE FROM user_refs WHERE field = 'calls.when_busy'`:                  {"a reference in calls.when_busy of the user with extension 1000"},
			`UPDATE user_refs SET to_user = from_user WHERE to_user IS NOT NULL`:     {"a reference in calls.when_unanswered of the user with extension 1000"},
			`UPDATE user_refs SET field = 'x' WHERE field = 'calls.when_unanswered'`: {"a reference in calls.when_unanswered of the user with extension 1000", "a reference in x of the user with extension 1000"},
			`DELETE FROM numbers; DELETE FROM thing_refs WHERE from_id = '` + string(two.ID) + `'`: {
				"a reference in fallback of " + g2, "a reference in members of " + g2, "the number 1000", "the number 1001", "the number 1002", "the number 600", "the number 601",
			},
		} {
			execute(t, url, statement)
			check(statement, want, nil)
			if n, err := s.Derive(t.Context()); n != len(want) || err != nil {
				t.Errorf("%s: %d rows were written again, error %v", statement, n, err)
			}
			check("afterwards", nil, nil)
		}
		if got := dump(t, url); got != right {
			t.Errorf("written again is\n%s\nwant\n%s", got, right)
		}
		// Bodies that contradict users or each other are for people to decide.
		change := func(from, to, name string) {
			execute(t, url, `UPDATE things SET body = replace(body, '`+from+`', '`+to+`') WHERE name = '`+name+`'`)
		}
		const nobody = "b9999999-9999-4999-8999-999999999999"
		change(string(users[0].ID), nobody, "One")
		check("a member who does not exist", []string{"a reference in members of " + g1}, []string{g1 + ` refers in members to the user "` + nobody + `", which does not exist`})
		change(nobody, string(users[0].ID), "One")
		change(`"kind":"ring_group"`, `"kind":"user"`, "Two")
		check("a group as a user", []string{"a reference in fallback of " + g2}, []string{g2 + ` refers in fallback to the user "` + string(one.ID) + `", which does not exist`})
		change(`"kind":"user"`, `"kind":"ring_group"`, "Two")
		number := func(n string) string { return `"number":"` + n + `"` } // the ids may contain the digits as well
		change(number("601"), number("600"), "Two")
		check("the number of another group", []string{"the number 601"}, []string{g1 + " and " + g2 + " have the same number 600"})
		change(number("600"), number("1002"), "Two")
		check("the number of a user", []string{"the number 601"}, []string{"the user with extension 1002 and " + g2 + " have the same number 1002"})
		change(number("1002"), number("602"), "Two")
		if n, err := s.Derive(t.Context()); n != 2 || err != nil || !strings.Contains(dump(t, url), "602 ") || strings.Contains(dump(t, url), "601 ") {
			t.Errorf("%d rows were written again, error %v: %s", n, err, dump(t, url))
		}
	})
}

// Many at once would need more time than a transaction has, and all others would wait.
func TestUsersGetTheirHashesInPortionsAtLength(t *testing.T) {
	t.Parallel()
	users := labtest.Soak(1000, 10_000)
	storetest.Each(t, func(t *testing.T, url string) {
		s, other := storetest.Open(t, url), storetest.Open(t, url)
		storetest.Fill(t, url, users, 150)
		for _, accept := range []*pbx.AuditEvent{nil, new(event(t.Context(), pbx.ActionUsersAccept))} {
			done, some := make(chan error), false
			go func() {
				n, err := s.CoverUsers(t.Context(), accept)
				if n != users {
					t.Errorf("%d users got a hash", n)
				}
				done <- err
			}()
			for finished := false; !finished; {
				select {
				case err := <-done:
					if finished = true; err != nil {
						t.Error(err)
					}
				default:
					left, err := other.Uncovered(t.Context())
					if some = some || left > 0 && left < users; err != nil {
						t.Error(err)
					}
				}
			}
			if !some {
				t.Error("others see only all users with a hash, or none")
			}
			if n, err := s.Uncovered(t.Context()); n != 0 || err != nil {
				t.Errorf("%d users have no hash, error %v", n, err)
			}
			if n := ask(t, url, `SELECT CAST(covered AS text) FROM things_version`); n != "153" { // with the settings
				t.Errorf("%s things have a hash", n)
			}
			execute(t, url, `UPDATE extensions SET row_hash = NULL; UPDATE things SET row_hash = NULL`)
		}
	})
}
