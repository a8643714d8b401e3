package directory_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/routing"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// toUser returns the destination of a user.
func toUser(u pbx.User) pbx.Destination { return pbx.Destination{Kind: pbx.KindUser, ID: string(u.ID)} }

// set sets the call settings of a user.
func (p *past) set(u pbx.User, calls pbx.CallSettings) (pbx.User, error) {
	return p.Change(p.t.Context(), pbx.DefaultTenant, u.ID, 0, func(u *pbx.User) error { u.Calls = calls; return nil })
}

func TestCallSettingsAreStoredAndTheEventHasThoseThatChanged(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPast(t, url)
		anna, ben := p.users[0], p.users[1]
		calls := pbx.CallSettings{
			RingSeconds: 40, CallLimit: 2, WhenBusy: toUser(ben), CallerName: " Front   desk ", CallerNumber: "+4930123", PickupGroups: 1<<3 | 1<<63,
			Record: pbx.RecordOnDemand, Language: "pt_BR", DialClass: "local",
		}
		got, err := p.set(anna, calls)
		if calls.CallerName = "Front desk"; err != nil || got.Calls != calls || got.Version != anna.Version+1 {
			t.Fatalf("%+v, version %d, error %v", got.Calls, got.Version, err)
		}
		if listed := p.list()[0]; listed.Calls != calls {
			t.Errorf("the list has %+v", listed.Calls)
		}
		want := pbx.Facts{
			"calls.ring_seconds": "40", "calls.call_limit": "2", "calls.when_busy": `{"kind":"user","id":"` + string(ben.ID) + `"}`, "calls.caller_name": `"Front desk"`,
			"calls.caller_number": `"+4930123"`, "calls.pickup_groups": "[3,63]", "calls.record": `"on_demand"`, "calls.language": `"pt_BR"`, "calls.dial_class": `"local"`,
		}
		before := pbx.Facts{}
		for name := range want {
			before[name] = "null"
		}
		if e := noted(t, p.store); !cmp.Equal(e.After, want) || !cmp.Equal(e.Before, before) {
			t.Errorf("the event is %v → %v", e.Before, e.After)
		}
		calls.RingSeconds, calls.WhenBusy = 0, pbx.Destination{}
		if got, err = p.set(anna, calls); err != nil || got.Calls != calls {
			t.Fatalf("%+v, error %v", got.Calls, err)
		}
		if e := noted(t, p.store); len(e.Before) != 2 || e.After["calls.ring_seconds"] != "null" || e.After["calls.when_busy"] != "null" {
			t.Errorf("the event is %v → %v", e.Before, e.After)
		}
		if n, err := p.store.Uncovered(t.Context()); n != 0 || err != nil {
			t.Errorf("%d users have no hash, error %v", n, err)
		}
		if _, err := p.Delete(t.Context(), pbx.DefaultTenant, ben.ID); err != nil {
			t.Errorf("a user to whom no calls go on any more: %v", err)
		}
	})
}

func TestCallsDoNotGoOnToWhatDoesNotExistOrInACircleAndWhatTheyGoOnToIsNotDeleted(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPast(t, url)
		r := routing.New(p.store, time.Now)
		anna, ben, carl := p.users[0], p.users[1], p.users[2]
		group, err := r.Create(t.Context(), pbx.DefaultTenant, "Sales", &pbx.RingGroup{Members: []pbx.UserID{ben.ID}, Fallback: pbx.Destination{Kind: pbx.Hangup}})
		if err != nil {
			t.Fatal(err)
		}
		toGroup := pbx.Destination{Kind: pbx.KindRingGroup, ID: string(group.ID)}
		for _, set := range []struct {
			user pbx.User
			to   pbx.Destination
		}{{anna, toUser(ben)}, {ben, toGroup}} {
			if _, err := p.set(set.user, pbx.CallSettings{WhenUnanswered: set.to}); err != nil {
				t.Fatal(err)
			}
		}
		for name, c := range map[string]struct {
			calls pbx.CallSettings
			says  string
		}{
			"nobody":            {pbx.CallSettings{WhenBusy: pbx.Destination{Kind: pbx.KindUser, ID: "a0000000-0000-4000-8000-000000000001"}}, "calls.when_busy: there is no user"},
			"oneself":           {pbx.CallSettings{WhenUnreachable: toUser(carl)}, "calls.when_unreachable: must be another one: a call that is not answered would go in a circle"},
			"no id":             {pbx.CallSettings{WhenBusy: pbx.Destination{Kind: pbx.KindUser}}, "calls.when_busy.id: must be the id of a user"},
			"too long":          {pbx.CallSettings{RingSeconds: 121}, "calls.ring_seconds: must be from 5 to 120"},
			"too many":          {pbx.CallSettings{CallLimit: 11}, "calls.call_limit: must be from 1 to 10"},
			"no number":         {pbx.CallSettings{CallerNumber: "+49 30"}, "calls.caller_number: must be up to 32 digits"},
			"no language":       {pbx.CallSettings{Language: "german"}, "calls.language: must be a language such as de"},
			"no class":          {pbx.CallSettings{DialClass: "Local"}, "calls.dial_class: must be up to 40 lower-case"},
			"no policy":         {pbx.CallSettings{Record: "maybe"}, "calls.record: must be never, on_demand or always"},
			"a name in no line": {pbx.CallSettings{CallerName: "a\x00b"}, "calls.caller_name"},
		} {
			if _, err := p.set(carl, c.calls); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", name, err)
			}
		}
		// The circle goes through two users and the group, and each end of it is refused.
		if _, err := p.set(carl, pbx.CallSettings{WhenBusy: toUser(anna)}); err != nil {
			t.Fatal(err)
		}
		_, err = r.Change(t.Context(), pbx.DefaultTenant, group.Kind, group.ID, 0, func(i *pbx.Item) error {
			i.Body.(*pbx.RingGroup).Fallback = toUser(anna)
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), "fallback: must be another one") || !strings.Contains(err.Error(), "1000 User 0 → 1001 User 1 → 600 Sales") &&
			!strings.Contains(err.Error(), "600 Sales → 1000 User 0 → 1001 User 1") {
			t.Errorf("the group in a circle: %v", err)
		}
		for name, delete := range map[string]func() error{
			"a user":  func() error { _, err := p.Delete(t.Context(), pbx.DefaultTenant, anna.ID); return err },
			"a group": func() error { _, err := r.Delete(t.Context(), pbx.DefaultTenant, group.Kind, group.ID, 0); return err },
		} {
			if err := delete(); pbx.CodeOf(err) != pbx.CodeInUse || !strings.Contains(err.Error(), `user "User`) {
				t.Errorf("%s to which calls go on is deleted: %v", name, err)
			}
		}
		// Another program cannot delete it either.
		if err := storetest.Try(t, url, `DELETE FROM users WHERE id = '`+string(anna.ID)+`'`); err == nil {
			t.Error("another program deleted a user to whom calls go on")
		}
		p.remove(carl)
		p.remove(anna)
	})
}

// What users inherit changes without a change of theirs: when another user takes the place of one to whom all calls go on, and when a pool is deleted.
func TestCallsOfUsersWhoInheritDoNotGoInACircle(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPast(t, url)
		r := routing.New(p.store, time.Now)
		anna, ben, carl := p.users[0], p.users[1], p.users[2]
		end := pbx.Destination{Kind: pbx.Hangup}
		group, err := r.Create(t.Context(), pbx.DefaultTenant, "Sales", &pbx.RingGroup{Members: []pbx.UserID{carl.ID}, Fallback: toUser(carl)})
		if err != nil {
			t.Fatal(err)
		}
		toGroup := pbx.Destination{Kind: pbx.KindRingGroup, ID: string(group.ID)}
		pool, err := r.Create(t.Context(), pbx.DefaultTenant, "Berlin", &pbx.Pool{First: 2000, Last: 2999, Calls: pbx.CallSettings{WhenUnanswered: end}})
		if err != nil {
			t.Fatal(err)
		}
		set := func(u pbx.User, to pbx.Destination, number pbx.Number) {
			t.Helper()
			if _, err := p.Change(t.Context(), pbx.DefaultTenant, u.ID, 0, func(u *pbx.User) error {
				u.Calls.WhenUnanswered, u.Extension.Number = to, number
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		all := func(to pbx.Destination) {
			t.Helper()
			if _, err := r.Change(t.Context(), pbx.DefaultTenant, pbx.KindOrganisation, pbx.OrganisationID, 0, func(i *pbx.Item) error {
				i.Body.(*pbx.Organisation).Calls.WhenUnanswered = to
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		refused := func(err error, kind pbx.Kind, says string) {
			t.Helper()
			if pbx.KindOf(err) != kind || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "in a circle without end: 600 Sales → ") {
				t.Errorf("%v, want %q", err, says)
			}
		}
		set(anna, end, 1000)
		set(ben, toGroup, 1001)
		all(toUser(anna))
		_, err = p.Leave(t.Context(), pbx.DefaultTenant, anna.ID, directory.Leaving{Successor: ben.ID})
		refused(err, pbx.KindInvalid, "successor: must be another user")
		set(carl, pbx.Destination{}, 2000) // does not go on, as all of the pool
		all(toGroup)
		_, err = r.Delete(t.Context(), pbx.DefaultTenant, pbx.KindPool, pool.ID, 0)
		refused(err, pbx.KindConflict, `the call settings of the pool "Berlin" are needed`)
		set(carl, end, 2000)
		if _, err := r.Delete(t.Context(), pbx.DefaultTenant, pbx.KindPool, pool.ID, 0); err != nil {
			t.Error(err)
		}
	})
}

func TestCallSettingsAreThoseOfTheRevisionThatIsRestored(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPast(t, url)
		anna, ben, carl := p.users[0], p.users[1], p.users[2]
		was := map[pbx.UserID]pbx.CallSettings{anna.ID: {RingSeconds: 30, WhenUnanswered: toUser(carl)}, carl.ID: {CallLimit: 1}, ben.ID: {}}
		for _, u := range []pbx.User{anna, carl} {
			if _, err := p.set(u, was[u.ID]); err != nil {
				t.Fatal(err)
			}
		}
		p.revision.At = time.Now()
		for _, u := range []pbx.User{anna, ben} {
			if _, err := p.set(u, pbx.CallSettings{RingSeconds: 99}); err != nil {
				t.Fatal(err)
			}
		}
		p.remove(carl)
		done := p.restore()
		for _, u := range p.list() {
			if u.Calls != was[u.ID] {
				t.Errorf("%s has %+v, want %+v", u.Name, u.Calls, was[u.ID])
			}
		}
		if len(done.Created) != 1 || len(done.Changed) != 2 {
			t.Errorf("%d created, %d changed", len(done.Created), len(done.Changed))
		}
		if again := p.restore(); len(again.Changed)+len(again.Created)+len(again.Deleted) != 0 {
			t.Errorf("restored again: %+v", again)
		}
	})
}
