package apply_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store"
)

// deploy renders the users of the database, as changed by change, with these ring groups, and deploys them as a revision.
func (f fixture) deploy(t *testing.T, r apply.Request, change func(*pbx.Model), groups ...pbx.RingGroup) (pbx.Run, error) {
	t.Helper()
	users, err := f.store.Users(t.Context(), pbx.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	m := pbx.Model{Users: slices.Clone(users)}
	for i := range groups {
		groups[i].Members = []pbx.UserID{users[0].ID, users[1].ID}
		m.Items = append(m.Items, pbx.Item{Meta: pbx.Meta{Kind: pbx.KindRingGroup, Short: i + 1, Name: "G"}, Body: &groups[i]})
	}
	if change != nil {
		change(&m)
	}
	rendered, err := render.Options{}.Next(render.Rendered{}, m)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := f.store.TryApplyLock(t.Context())
	if err != nil || lock == nil {
		t.Fatal(lock, err)
	}
	last, err := f.store.LastRevision(t.Context())
	if err == nil {
		err = lock.SaveRun(t.Context(), pbx.Run{
			Log:      pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: time.Now(), TriggeredBy: "before", Outcome: pbx.Success},
			Revision: last + 1, Result: pbx.Applied, Verification: pbx.Confirmed, Files: rendered.Files,
		})
	}
	lock.Release()
	if err != nil {
		t.Fatal(err)
	}
	r.TriggeredBy, r.Restore = "test", last+1
	return f.engine.Apply(t.Context(), r)
}

func ringGroup(number string, seconds int) pbx.RingGroup {
	return pbx.RingGroup{Number: number, Strategy: pbx.RingAll, Seconds: seconds, Fallback: pbx.Destination{Kind: pbx.Hangup}}
}

func TestARingGroupIsDeployedVerifiedAndRolledBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	f.apply(t, apply.Request{TriggeredBy: "test"})
	run, err := f.deploy(t, apply.Request{}, nil, ringGroup("600", 20))
	if err != nil || run.Verification != pbx.Confirmed || run.Plan.Users != 2 || run.Plan.Items != 1 {
		t.Fatalf("%s, %d users, %d items, error %v", run.Verification, run.Plan.Users, run.Plan.Items, err)
	}
	want := []pbx.Change{{Kind: pbx.Added, Owner: pbx.Thing{Kind: pbx.KindLibrary, Key: "4"}}, {Kind: pbx.Added, Owner: pbx.Thing{Kind: pbx.KindRingGroup, Key: "g1"}}}
	if diff := cmp.Diff(want, run.Plan.ThingChanges()); diff != "" || len(run.Plan.UserChanges()) != 0 {
		t.Errorf("%s\nof users: %v", diff, run.Plan.UserChanges())
	}
	if dialplan := []pbx.Module{pbx.Dialplan}; !slices.Equal(f.reloaded, dialplan) || len(f.revisions[f.site.Current]) != 4 {
		t.Errorf("reloaded %v, %d files; want the dialplan alone", f.reloaded, len(f.revisions[f.site.Current]))
	}
	run, err = f.deploy(t, apply.Request{}, nil, ringGroup("601", 30))
	want = []pbx.Change{{Kind: pbx.Changed, Owner: pbx.Thing{Kind: pbx.KindRingGroup, Key: "g1"}, What: []string{"number", "seconds"}}}
	if diff := cmp.Diff(want, run.Plan.Changes); diff != "" || err != nil {
		t.Errorf("error %v\n%s", err, diff)
	}
	good := f.site.Current
	for says, lose := range map[string]func(pbx.Step) bool{
		"602,1,Goto(sc-group,g1,1) is missing":                                       func(s pbx.Step) bool { return s.Exten == "602" },
		"g1@sc-group,1,Gosub(sc-lib-4,group,1(all,40,,1000-1001,sc-hangup.19)) is m": func(s pbx.Step) bool { return s.Context == "sc-group" },
		"sim-done@sc-lib-4,1,Set(DB(sc-sim/${SC_SIM}/end)=0${SC_STEP}) is missing":   func(s pbx.Step) bool { return s.Exten == "sim-done" && s.Priority == 1 }, // the last of the file
		"1000@sc-phones,1,Return(PJSIP/1000) is missing":                             func(s pbx.Step) bool { return s.Context == "sc-phones" && s.Exten == "1000" },
	} {
		f.live = func(l pbx.Live) pbx.Live {
			if slices.ContainsFunc(l.Steps, func(s pbx.Step) bool { return strings.Contains(s.Args, "(all,40,") }) {
				l.Steps = slices.DeleteFunc(slices.Clone(l.Steps), lose)
			}
			return l
		}
		run, _ = f.deploy(t, apply.Request{}, nil, ringGroup("602", 40))
		if run.Result != pbx.RolledBack || !strings.Contains(strings.Join(run.Differences, "\n"), says) || f.site.LastVerified != good {
			t.Errorf("%s, %q; want it to say %q", run.Result, run.Differences, says)
		}
	}
	f.live = func(l pbx.Live) pbx.Live {
		l.Steps = slices.DeleteFunc(slices.Clone(l.Steps), func(s pbx.Step) bool { return s.Exten == "version" })
		return l
	}
	if plan, err := f.engine.Plan(t.Context()); err != nil || !strings.Contains(plan.Behind, "version@sc-lib-4,1,NoOp(4) is missing") {
		t.Errorf("without the version of the library Asterisk is behind because %q, error %v", plan.Behind, err)
	}
	f.live = nil
	run, err = f.deploy(t, apply.Request{}, nil)
	if err != nil || len(f.revisions[f.site.Current]) != 2 || len(run.Plan.ThingChanges()) != 2 {
		t.Errorf("without groups: %d files, changes %v, error %v", len(f.revisions[f.site.Current]), run.Plan.Changes, err)
	}
}

func TestANumberOfARingGroupThatTheHostUsesIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	for object, clashes := range map[pbx.HostObject]bool{
		{Kind: pbx.KindExtension, Number: 600, Context: pbx.Context}: true,
		{Kind: pbx.KindExtension, Number: 600, Context: "sales"}:     false,
		{Kind: "endpoint", Number: 600}:                              false, // a ring group has none
		{Kind: pbx.KindExtension, Number: 601, Context: pbx.Context}: false,
	} {
		f.declared = []pbx.HostObject{object}
		run, err := f.deploy(t, apply.Request{DryRun: true}, nil, ringGroup("600", 20))
		if (pbx.CodeOf(err) == pbx.CodeNumberClash) != clashes || !slices.Contains(run.Plan.Host, object) {
			t.Errorf("%v: error %v, the host has %v", object, err, run.Plan.Host)
		}
	}
}

func TestARenumberedUserIsOneChangeThatNamesThePhoneToSetUpAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	f.apply(t, apply.Request{TriggeredBy: "test"})
	run, err := f.deploy(t, apply.Request{DryRun: true}, func(m *pbx.Model) {
		first := m.Users[0]
		first.Extension.Number, first.Name = 1005, "V"
		m.Users = append(m.Users[1:], first)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []pbx.Change{{
		Kind: pbx.Changed, Owner: pbx.Thing{Kind: pbx.KindUser, Key: "1005"}, Number: 1005, Was: 1000, Name: "V", What: []string{"number", "name"}, Reregister: true,
	}}
	if diff := cmp.Diff(want, run.Plan.Changes); diff != "" {
		t.Error(diff)
	}
	if want := []pbx.Effect{{Verb: pbx.ForgetRegistration, Number: 1000}}; !slices.Equal(run.Plan.Effects, want) {
		t.Errorf("effects %v, want %v", run.Plan.Effects, want)
	}
	run, err = f.deploy(t, apply.Request{DryRun: true}, func(m *pbx.Model) { // another user, with a secret of its own
		first := m.Users[0]
		first.Extension.Number, first.Extension.Secret = 1005, pbx.NewSecret()
		m.Users = append(m.Users[1:], first)
	})
	if c := run.Plan.Changes; err != nil || len(c) != 2 || c[0].Kind != pbx.Removed || c[1].Kind != pbx.Added {
		t.Errorf("changes %v, error %v", run.Plan.Changes, err)
	}
}

func TestAPlanNamesARingGroupThatTheDatabaseNoLongerHas(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	group := ringGroup("600", 20)
	group.Members = []pbx.UserID{f.create(t).ID}
	i := pbx.Item{Meta: pbx.Meta{ID: pbx.ThingID(uuid.NewString()), TenantID: pbx.DefaultTenant, Kind: pbx.KindRingGroup, Name: "Sales"}, Body: &group}
	in := func(do func(ctx context.Context, tx *store.Tx, now time.Time) error) {
		t.Helper()
		if err := f.store.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error { return do(ctx, tx, time.Now()) }); err != nil {
			t.Fatal(err)
		}
	}
	in(func(ctx context.Context, tx *store.Tx, now time.Time) (err error) {
		i, err = tx.PutItem(ctx, i, now, pbx.ItemEvent(ctx, now, i, nil, i.Facts()))
		return err
	})
	f.apply(t, apply.Request{TriggeredBy: "test"})
	in(func(ctx context.Context, tx *store.Tx, now time.Time) error {
		return tx.DeleteItem(ctx, i, now, pbx.ItemEvent(ctx, now, i, i.Facts(), nil))
	})
	plan, err := f.engine.Plan(t.Context())
	want := pbx.Change{Kind: pbx.Removed, Owner: pbx.Thing{Kind: pbx.KindRingGroup, Key: i.Key()}, Name: "Sales"}
	if err != nil || !slices.ContainsFunc(plan.Changes, func(c pbx.Change) bool { return cmp.Equal(c, want) }) {
		t.Errorf("the plan has %+v, error %v", plan.Changes, err)
	}
	if len(plan.Behaviour) != 1 || !strings.HasPrefix(plan.Behaviour[0], "600 Sales is removed") {
		t.Errorf("calls: %q", plan.Behaviour)
	}
	if run := f.apply(t, apply.Request{TriggeredBy: "test"}); !slices.ContainsFunc(run.Plan.Changes, func(c pbx.Change) bool { return cmp.Equal(c, want) }) {
		t.Errorf("the apply has %+v", run.Plan.Changes)
	}
}
