package auth_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// Nobody can fill the trail: neither a stranger with codes, nor somebody who is signed in and asks for what he may not.
func TestWhatWasRefusedIsToldOnceAMinuteWithItsNumber(t *testing.T) {
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
	redeem()
	d.move(time.Minute)
	redeem()
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
	twice := []string{"1", "3"}
	want := map[string][]string{
		auth.ActionLinkRefused + " " + pbx.CodeLinkInvalid: twice, auth.ActionLinkRefused + " " + pbx.CodeSetupCode: twice, auth.ActionRequestRefused + " POST /users": twice,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
