package directory_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// secrets compares secrets, which cmp cannot look into.
var secrets = cmp.Comparer(func(a, b pbx.Secret) bool { return a.Reveal() == b.Reveal() })

// noted returns the newest event.
func noted(t *testing.T, s *store.Store) pbx.AuditEvent {
	t.Helper()
	entries, err := s.EventsAfter(t.Context(), store.EventQuery{}, 0, 1000)
	if err != nil || len(entries) == 0 {
		t.Fatalf("%d events, error %v", len(entries), err)
	}
	return entries[len(entries)-1].Event
}

func TestAUserIsChangedInExactlyTheFieldsThatAreNamedAndTheEventHasTheseAlone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		at := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
		fingerprint := func(secret pbx.Secret) (string, error) { return "print of " + secret.Reveal(), nil }
		d := directory.New(s, func() time.Time { at = at.Add(time.Second); return at }).WithFingerprints(fingerprint).WithQuarantine(time.Hour)
		u, err := d.Create(t.Context(), pbx.DefaultTenant, newUser(1))
		if err != nil {
			t.Fatal(err)
		}
		if u, err = d.Get(t.Context(), pbx.DefaultTenant, u.ID); u.Version != 1 || !u.UpdatedAt.Equal(u.CreatedAt) || err != nil {
			t.Fatalf("version %d, changed %s, error %v", u.Version, u.UpdatedAt, err)
		}
		for _, c := range []struct {
			patch         func(*pbx.User)
			before, after pbx.Facts
		}{
			{func(u *pbx.User) { u.Name = " Anna  Example" }, pbx.Facts{"name": "User 1"}, pbx.Facts{"name": "Anna Example"}},
			{func(u *pbx.User) { u.Email = "" }, pbx.Facts{"email": "user1@example.com"}, pbx.Facts{"email": ""}},
			{func(u *pbx.User) { u.Email = "anna@example.com" }, pbx.Facts{"email": ""}, pbx.Facts{"email": "anna@example.com"}},
			{func(u *pbx.User) { u.Extension.Number = 42 }, pbx.Facts{"number": "1000"}, pbx.Facts{"number": "42"}},
			{func(u *pbx.User) { u.Disabled = true }, pbx.Facts{"enabled": "true"}, pbx.Facts{"enabled": "false"}},
			{
				func(u *pbx.User) { u.Name, u.Disabled, u.Extension.Number = "B", false, 1000 },
				pbx.Facts{"name": "Anna Example", "enabled": "false", "number": "42"},
				pbx.Facts{"name": "B", "enabled": "true", "number": "1000"},
			},
		} {
			want := u
			c.patch(&want)
			want.Name = pbx.Normalize(want.Name)
			want.Version++
			got, err := d.Change(t.Context(), pbx.DefaultTenant, u.ID, u.Version, func(u *pbx.User) error {
				c.patch(u)
				u.ID, u.TenantID, u.Version, u.Extension.Secret = "", "", 99, pbx.SecretFrom("x") // not what a change is about
				return nil
			})
			want.UpdatedAt = at
			if diff := cmp.Diff(want, got, secrets); diff != "" || err != nil {
				t.Errorf("%v: %v\n%s", c.after, err, diff)
			}
			listed, err := d.List(t.Context(), pbx.DefaultTenant, directory.Query{})
			if diff := cmp.Diff([]pbx.User{got}, listed.Users, secrets); diff != "" || err != nil {
				t.Errorf("%v: the list: %v\n%s", c.after, err, diff)
			}
			if e := noted(t, s); e.Action != pbx.ActionUserChange || !cmp.Equal(e.Before, c.before) || !cmp.Equal(e.After, c.after) || e.Object.ID != string(u.ID) {
				t.Errorf("%v: the event is %s %v → %v", c.after, e.Action, e.Before, e.After)
			}
			u = got
		}
		if n, err := s.Uncovered(t.Context()); n != 0 || err != nil {
			t.Errorf("%d users have no hash, error %v", n, err)
		}
		same, err := d.Change(t.Context(), pbx.DefaultTenant, u.ID, 0, func(u *pbx.User) error { u.Name = "B "; return nil })
		if !cmp.Equal(u, same, secrets) || err != nil {
			t.Errorf("a change to what is there: version %d after %d, error %v", same.Version, u.Version, err)
		}
		fresh, err := d.NewSecret(t.Context(), pbx.DefaultTenant, u.ID, u.Version)
		if err != nil || fresh.Version <= u.Version || fresh.Extension.Secret == u.Extension.Secret {
			t.Errorf("a new secret: version %d after %d, error %v", fresh.Version, u.Version, err)
		}
		if e := noted(t, s); e.Action != pbx.ActionUserSecret || len(e.Before) != 1 || e.After["secret"] != "print of "+fresh.Extension.Secret.Reveal() {
			t.Errorf("the event of a new secret is %s %v → %v", e.Action, e.Before, e.After)
		}
		// 42 waits for its cool-down: nobody gets it unasked.
		other, err := d.Create(t.Context(), pbx.DefaultTenant, newUser(2))
		if err != nil || other.Extension.Number != 1001 {
			t.Fatalf("number %d, error %v", other.Extension.Number, err)
		}
		if other, err = d.Change(t.Context(), pbx.DefaultTenant, other.ID, 0, func(u *pbx.User) error { u.Extension.Number = 42; return nil }); err != nil || other.Extension.Number != 42 {
			t.Errorf("number %d, error %v", other.Extension.Number, err)
		}
		if next, err := d.Create(t.Context(), pbx.DefaultTenant, newUser(3)); err != nil || next.Extension.Number != 1002 {
			t.Errorf("the released number 1001 is given to the next user: %d, error %v", next.Extension.Number, err)
		}
	})
}

func TestAChangeOfAUserThatBreaksARuleChangesNothingAndSaysWhy(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		d := directory.New(s, time.Now)
		var users []pbx.User
		for i := range 2 {
			u, err := d.Create(t.Context(), pbx.DefaultTenant, newUser(i))
			if err != nil {
				t.Fatal(err)
			}
			users = append(users, u)
		}
		if err := s.NoteHost(t.Context(), store.HostFiles, []pbx.HostObject{{Kind: "endpoint", Number: 1500, File: "pjsip.conf", Line: 7}}); err != nil {
			t.Fatal(err)
		}
		broken := errors.New("broken patch")
		for name, c := range map[string]struct {
			id        pbx.UserID
			ifMatch   int64
			patch     func(*pbx.User) error
			code, say string
		}{
			"an unknown user":    {"a0000000-0000-4000-8000-000000000001", 0, func(*pbx.User) error { return nil }, pbx.CodeUserNotFound, "no user"},
			"no id":              {"1000", 0, func(*pbx.User) error { return nil }, pbx.CodeUserNotFound, "no user"},
			"an older version":   {users[0].ID, 7, func(u *pbx.User) error { u.Name = "X"; return nil }, pbx.CodeChangedMeanwhile, "read it again"},
			"an empty name":      {users[0].ID, 0, func(u *pbx.User) error { u.Name = " "; return nil }, pbx.CodeInvalid, "name: must not be empty"},
			"no address":         {users[0].ID, 0, func(u *pbx.User) error { u.Email = "anna"; return nil }, pbx.CodeInvalid, "email: is not"},
			"a taken address":    {users[0].ID, 0, func(u *pbx.User) error { u.Email = "USER1@example.com"; return nil }, pbx.CodeEmailTaken, "another user"},
			"a number of a user": {users[0].ID, 0, func(u *pbx.User) error { u.Extension.Number = 1001; return nil }, pbx.CodeNumberTaken, `the user "User 1" has it`},
			"a number of the host": {
				users[0].ID, 0, func(u *pbx.User) error { u.Extension.Number = 1500; return nil }, pbx.CodeNumberTaken, "endpoint 1500 (pjsip.conf, line 7)",
			},
			"a number too short":  {users[0].ID, 0, func(u *pbx.User) error { u.Extension.Number = 9; return nil }, pbx.CodeInvalid, "number: must be a number of 10 to 999999"},
			"an emergency number": {users[0].ID, 0, func(u *pbx.User) error { u.Extension.Number = 112; return nil }, pbx.CodeInvalid, "emergency"},
			"a broken patch":      {users[0].ID, 0, func(u *pbx.User) error { u.Name = "X"; return broken }, pbx.CodeInternal, "broken patch"},
		} {
			_, err := d.Change(t.Context(), pbx.DefaultTenant, c.id, c.ifMatch, c.patch)
			if pbx.CodeOf(err) != c.code || !strings.Contains(fmt.Sprint(err), c.say) {
				t.Errorf("%s: %v", name, err)
			}
		}
		after, err := d.List(t.Context(), pbx.DefaultTenant, directory.Query{})
		if err != nil || after.Users[0].Name != "User 0" || after.Users[0].Version != 1 || noted(t, s).Action != pbx.ActionUserCreate {
			t.Errorf("something was changed: %v, error %v", after.Users[0], err)
		}
		own, err := d.Change(t.Context(), pbx.DefaultTenant, users[0].ID, 1, func(u *pbx.User) error { u.Email = "USER0@example.com"; return nil })
		if err != nil || own.Email != "USER0@example.com" {
			t.Errorf("the own address in capitals: %q, error %v", own.Email, err)
		}
	})
}

func TestOfTwoEditorsOfAUserOneGetsTheConflictAndNoneLosesAChange(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		dirs := open(t, url)
		u, err := dirs[0].Create(t.Context(), pbx.DefaultTenant, newUser(1))
		if err != nil {
			t.Fatal(err)
		}
		const rounds = 10
		var all sync.WaitGroup
		var mu sync.Mutex
		conflicts := 0
		for editor, d := range dirs {
			all.Go(func() {
				for i := 0; i < rounds; {
					read, err := d.Get(t.Context(), pbx.DefaultTenant, u.ID)
					if err == nil {
						_, err = d.Change(context.WithoutCancel(t.Context()), pbx.DefaultTenant, u.ID, read.Version, func(u *pbx.User) error {
							u.Name = read.Name + string(rune('a'+editor))
							return nil
						})
					}
					switch {
					case err == nil:
						i++
					case pbx.CodeOf(err) != pbx.CodeChangedMeanwhile:
						t.Error(err)
						return
					default:
						mu.Lock()
						conflicts++
						mu.Unlock()
					}
				}
			})
		}
		all.Wait()
		got, err := dirs[0].Get(t.Context(), pbx.DefaultTenant, u.ID)
		letters := strings.TrimPrefix(got.Name, "User 1")
		if err != nil || strings.Count(letters, "a") != rounds || strings.Count(letters, "b") != rounds || got.Version != 1+2*rounds {
			t.Errorf("version %d, changes %q, error %v", got.Version, letters, err)
		}
		t.Logf("%d conflicts", conflicts)
	})
}
