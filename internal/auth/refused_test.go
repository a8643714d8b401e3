package auth_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// No caller can fill the trail: neither an anonymous one with codes, nor a signed-in one without permission.
func TestRefusalsAreRecordedAtOnceAndThenOnceAMinuteWithTheirNumber(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	redeem := func() {
		for range 3 {
			if _, err := d.Redeem(from(t, home), "WRONG", pbx.SecretFrom(password), ""); pbx.KindOf(err) != pbx.KindForbidden {
				t.Errorf("error %v", err)
			}
			if _, err := d.Setup(from(t, home), setup("WRONG")); pbx.KindOf(err) != pbx.KindForbidden {
				t.Errorf("error %v", err)
			}
			if err := d.Refused(pbx.WithActor(t.Context(), pbx.Actor{Kind: pbx.ActorToken, ID: "a"}), "POST /users", pbx.UsersWrite); err != nil {
				t.Error(err)
			}
		}
	}
	close := func() {
		d.move(time.Minute)
		if err := d.RecordRefused(t.Context()); err != nil {
			t.Error(err)
		}
	}
	redeem()
	close()
	redeem() // still the same: nothing is recorded at once
	close()
	close() // nothing came
	redeem()
	close()
	got := map[string][]string{}
	entries, err := d.store.EventsAfter(t.Context(), store.EventQuery{}, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		e := entry.Event
		if e.Result != pbx.AuditDenied {
			t.Errorf("%s is called %s", e.Action, e.Result)
		}
		got[e.Action+" "+e.Object.Name] = append(got[e.Action+" "+e.Object.Name], e.After["times"])
	}
	twice := []string{"1", "2", "3", "1", "2"}
	want := map[string][]string{
		auth.ActionLinkRefused + " " + pbx.CodeLinkInvalid: twice, auth.ActionLinkRefused + " " + pbx.CodeSetupCode: twice, auth.ActionRequestRefused + " POST /users": twice,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Refusals that could not be recorded are recorded completely later.
func TestWhatWasRefusedWhileTheDatabaseTookNoEventIsNotLost(t *testing.T) {
	t.Parallel()
	url := storetest.SQLite(t)
	d := doorOf(storetest.Open(t, url))
	storetest.Execute(t, url, `CREATE TRIGGER refuse BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'full'); END`)
	for range 3 {
		_, err := d.Redeem(from(t, home), "WRONG", pbx.SecretFrom(password), "")
		if err == nil {
			t.Error("no error")
		}
	}
	if err := d.RecordRefused(t.Context()); err == nil {
		t.Error("no error")
	}
	storetest.Execute(t, url, `DROP TRIGGER refuse`)
	for range 2 {
		if err := d.RecordRefused(t.Context()); err != nil {
			t.Error(err)
		}
	}
	entries, err := d.store.EventsAfter(t.Context(), store.EventQuery{}, 0, 100)
	if err != nil || len(entries) != 1 || entries[0].Event.After["times"] != "3" {
		t.Errorf("%+v, %v", entries, err)
	}
}

func TestTheFirstFailedSignInOfAnAccountFromANetworkIsRecordedAtOnceAndFurtherOnesAreCounted(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	for _, address := range []string{"192.0.2.1", "192.0.2.200", "198.51.100.1", "2001:db8::1", "2001:db8::2"} {
		for _, email := range []string{"Anna@Example.com", "anna@example.com"} {
			if got := d.try(t, address, email, password, ""); got != pbx.CodeSignInFailed {
				t.Errorf("%s: %s", address, got)
			}
		}
	}
	told := func() (events []string) {
		t.Helper()
		entries, err := d.store.EventsAfter(t.Context(), store.EventQuery{Action: auth.ActionSignInFailed}, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			e := entry.Event
			events = append(events, e.Actor.From+" "+e.Object.Name+" "+e.After["times"])
		}
		slices.Sort(events)
		return events
	}
	want := []string{"192.0.2.1 Anna@Example.com 1", "198.51.100.1 Anna@Example.com 1", "2001:db8::1 Anna@Example.com 1"}
	if diff := cmp.Diff(want, told()); diff != "" {
		t.Error(diff)
	}
	if err := d.RecordRefused(t.Context()); err != nil {
		t.Fatal(err)
	}
	want = append(want, "192.0.2.200 anna@example.com 3", "198.51.100.1 anna@example.com 1", "2001:db8::2 anna@example.com 3")
	slices.Sort(want)
	if diff := cmp.Diff(want, told()); diff != "" {
		t.Error(diff)
	}
}
