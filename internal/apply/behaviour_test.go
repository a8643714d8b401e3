package apply_test

import (
	"slices"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/routing"
)

func TestAPlanSaysHowCallsBehaveDifferently(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	users, err := f.store.Users(t.Context(), pbx.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	says := func(want ...string) {
		t.Helper()
		plan, err := f.engine.Plan(t.Context())
		if err != nil || !slices.Equal(plan.Behaviour, want) {
			t.Errorf("%v\n%q\nwant\n%q", err, plan.Behaviour, want)
		}
	}
	anna, ben := users[0].ID, users[1].ID
	name, other := "1000 "+users[0].Name, "1001 "+users[1].Name
	f.apply(t, apply.Request{TriggeredBy: "test"})
	says()
	r := routing.New(f.store, time.Now)
	sales, err := r.Create(t.Context(), pbx.DefaultTenant, "Sales", &pbx.RingGroup{
		Strategy: pbx.RingAll, Members: []pbx.UserID{anna, ben}, Fallback: pbx.Destination{Kind: pbx.Hangup},
	})
	if err != nil {
		t.Fatal(err)
	}
	together := name + " and " + other + " ring together for 20 seconds without an answer; the call ends: no answer"
	says("600 Sales is new: " + together + ".")
	f.apply(t, apply.Request{TriggeredBy: "test"})
	says()
	_, err = r.Change(t.Context(), pbx.DefaultTenant, sales.Kind, sales.ID, 0, func(i *pbx.Item) error {
		i.Name, i.Body.(*pbx.RingGroup).Fallback = "Shop", pbx.Destination{Kind: pbx.KindUser, ID: string(ben)}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	says("600 Shop was: " + together + "; becomes: " + name + " and " + other + " ring together for 20 seconds without an answer; the call goes on to " + other + "; " +
		other + " rings for 25 seconds without an answer; the call ends: no answer.")
	f.apply(t, apply.Request{TriggeredBy: "test"})
	says()
}
