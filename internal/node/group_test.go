package node_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/node"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store"
)

// ringGroup returns a ring group, number 600 for g1, whose fallback ends the call unless it says otherwise.
func ringGroup(short int, g pbx.RingGroup) pbx.Item {
	g.Number = fmt.Sprint(599 + short)
	if g.Fallback.Kind == "" {
		g.Fallback.Kind = pbx.Hangup
	}
	return pbx.Item{Meta: pbx.Meta{ID: pbx.ThingID(fmt.Sprint("g", short)), Kind: pbx.KindRingGroup, Short: short}, Body: &g}
}

// deploy deploys the users of the database with these items.
func (s *site) deploy(t *testing.T, options render.Options, items ...pbx.Item) pbx.Run {
	t.Helper()
	users, err := s.store.Users(t.Context(), pbx.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	return s.deployModel(t, options, pbx.Model{Users: users, Items: items})
}

// deployModel deploys a model by way of a revision in the database.
func (s *site) deployModel(t *testing.T, options render.Options, m pbx.Model) pbx.Run {
	t.Helper()
	r, err := options.Next(render.Rendered{}, m)
	if err != nil {
		t.Fatal(err)
	}
	last, err := s.store.LastRevision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.keepAll(t, last+1, r.Files)
	return s.restore(t, last+1)
}

// trace returns what a dry run from an extension records: the outcomes of script, with these users in a call.
func (s *site) trace(t *testing.T, exten, script string, busy ...string) string {
	t.Helper()
	traces, err := s.asterisk.Control().DryRuns(t.Context(), []asterisk.DryRun{{Context: pbx.Context, Exten: exten, Script: script, Busy: busy}})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(traces[0], " ")
}

func TestADryRunFollowsRingGroupsToTheirEndWithoutRingingAPhone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	anna, berta, claus := s.create(t, "Anna"), s.create(t, "Berta"), s.create(t, "Claus")
	all := []pbx.UserID{anna.ID, berta.ID, claus.ID}
	hangup, toAnna := pbx.Destination{Kind: pbx.Hangup}, pbx.Destination{Kind: pbx.KindUser, ID: string(anna.ID)}
	run := s.deploy(t, render.Options{},
		ringGroup(1, pbx.RingGroup{Strategy: pbx.RingAll, Members: all, Seconds: 20, SkipBusy: true, Fallback: hangup}),
		ringGroup(2, pbx.RingGroup{Strategy: pbx.RingHunt, Members: all, Seconds: 5, SkipBusy: true, Fallback: toAnna}),
		ringGroup(3, pbx.RingGroup{Strategy: pbx.RingMemory, Members: all, Seconds: 120, Fallback: pbx.Destination{Kind: pbx.KindRingGroup, ID: "g1"}}),
	)
	if run.Log.Reload.PJSIP == nil || len(run.Plan.Changes) == 0 {
		t.Errorf("reloads %+v, changes %v", run.Log.Reload, run.Plan.Changes)
	}
	for _, tc := range []struct{ exten, script, busy, want string }{
		{"1000", "", "", "ring:+1000:25=n hangup:19"},
		{"1000", "b", "", "ring:+1000:25=b hangup:17"},
		{"1000", "u", "", "ring:+1000:25=u hangup:20"},
		{"1000", "a", "", "ring:+1000:25=a end"},
		{"600", "n", "", "ring:+1000+1001+1002:20=n hangup:19"},
		{"600", "a", "1001", "ring:+1000+1002:20=a end"},
		{"600", "n", "1000-1001-1002", "hangup:19"},
		{"601", "bua", "", "ring:+1000:5=b ring:+1001:5=u ring:+1002:5=a end"},
		{"601", "", "1000-1002", "ring:+1001:5=n ring:+1000:25=n hangup:19"},
		{"602", "nnna", "", "ring:+1000:120=n ring:+1000+1001:120=n ring:+1000+1001+1002:120=n ring:+1000+1001+1002:20=a end"},
	} {
		if got := s.trace(t, tc.exten, tc.script, strings.FieldsFunc(tc.busy, func(r rune) bool { return r == '-' })...); got != tc.want {
			t.Errorf("%s with %q, in a call %s: %q, want %q", tc.exten, tc.script, tc.busy, got, tc.want)
		}
	}
	if log := s.asterisk.Log(); strings.Contains(log, "WARNING") || strings.Contains(log, "ERROR") {
		t.Errorf("Asterisk complained:\n%s", log)
	}
	live, err := s.node.Live(t.Context(), pbx.LiveQuery{Contexts: []string{"sc-lib-4", "sc-hangup", "sc-sim", "sc-group"}, Ours: map[string]bool{}})
	if err != nil || !slices.ContainsFunc(live.Steps, func(s pbx.Step) bool { return s.Exten == "version" }) {
		t.Errorf("Asterisk runs %d steps, error %v", len(live.Steps), err)
	}
	s.settled(t, "with ring groups")
}

// put stores a ring group in the database.
func (s *site) put(t *testing.T, i pbx.Item) pbx.Item {
	t.Helper()
	if i.ID == "" {
		i.ID, i.TenantID, i.Kind = pbx.ThingID(uuid.NewString()), pbx.DefaultTenant, pbx.KindRingGroup
	}
	now := time.Now()
	err := s.store.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) (err error) {
		i, err = tx.PutItem(ctx, i, now, pbx.NewAuditEvent(ctx, now, pbx.ActionUserChange, pbx.AuditObject{}))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestAnApplyDeploysTheRingGroupsAndUsersOfTheDatabaseAndARollbackRestoresThem(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	anna, berta := s.create(t, "Anna"), s.create(t, "Berta")
	s.mustApply(t)
	group := &pbx.RingGroup{Number: "600", Strategy: pbx.RingAll, Members: []pbx.UserID{anna.ID, berta.ID}, Seconds: 20, Fallback: pbx.Destination{Kind: pbx.KindUser, ID: string(berta.ID)}}
	item := s.put(t, pbx.Item{Meta: pbx.Meta{Name: "Support"}, Body: group})
	apply := func(what string, want ...string) pbx.Run {
		t.Helper()
		plan, err := s.engine.Plan(t.Context())
		if err != nil || plan.Users != 2 || plan.Items != 1 {
			t.Fatalf("%s: %d users, %d items, error %v", what, plan.Users, plan.Items, err)
		}
		var got []string
		for _, c := range plan.Changes {
			got = append(got, fmt.Sprintf("%s %s %q %v", c.Kind, c.Title(), c.Name, c.What))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: the plan has %q, want %q", what, got, want)
		}
		run := s.mustApply(t)
		s.settled(t, what)
		return run
	}
	first := apply("a group", `added library 4 "" []`, `added ring_group g1 "Support" []`)
	if first.Log.Reload.PJSIP != nil || first.Log.Reload.Dialplan == nil {
		t.Errorf("a group reloaded %+v, want the dialplan alone", first.Log.Reload)
	}
	group.Seconds, group.SkipBusy = 30, true
	s.put(t, item)
	apply("a changed group", `changed ring_group g1 "Support" [seconds skip_busy]`)
	for _, step := range []struct {
		what   string
		change func(*pbx.User)
		want   []string
	}{
		{"a renumbered user", func(u *pbx.User) { u.Extension.Number = 1005 }, []string{`changed ring_group g1 "Support" [members]`, `changed 1005 "Anna" [number]`}},
		{"a disabled user", func(u *pbx.User) { u.Disabled = true }, []string{`changed 1005 "Anna" [enabled]`}},
		{"an enabled user", func(u *pbx.User) { u.Disabled = false }, []string{`changed 1005 "Anna" [enabled]`}},
		{"a renamed user", func(u *pbx.User) { u.Name = "Anne" }, []string{`changed 1005 "Anne" [name]`}},
	} {
		if _, err := s.directory.Change(t.Context(), pbx.DefaultTenant, anna.ID, 0, func(u *pbx.User) error { step.change(u); return nil }); err != nil {
			t.Fatal(err)
		}
		apply(step.what, step.want...)
	}

	off := s.create(t, "Switched off")
	if _, err := s.directory.Change(t.Context(), pbx.DefaultTenant, off.ID, 0, func(u *pbx.User) error { u.Disabled = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if plan, err := s.engine.Plan(t.Context()); err != nil || len(plan.Changes) != 1 || plan.Changes[0].Name != "Switched off" {
		t.Errorf("a new user who is disabled: the plan has %+v, error %v", plan.Changes, err)
	}
	if _, err := s.directory.Delete(t.Context(), pbx.DefaultTenant, off.ID); err != nil {
		t.Fatal(err)
	}

	// Back to the first revision with a group, and forward again; then a hand edit of the library.
	s.restore(t, first.Revision)
	live, err := s.node.Live(t.Context(), pbx.LiveQuery{Contexts: []string{pbx.Context, "sc-group"}, Ours: map[string]bool{}})
	want := []string{"1001,1,Goto(sc-user,1001,1)", "1000,1,Goto(sc-user,1000,1)", "600,1,Goto(sc-group,g1,1)", "g1@sc-group,1,Gosub(sc-lib-4,group,1(all,20,,1000-1001,sc-user.1001))"}
	var got []string
	for _, step := range live.Steps {
		got = append(got, render.OurStep(step))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || err != nil {
		t.Errorf("Asterisk runs %q, want %q; error %v", got, want, err)
	}
	s.mustApply(t)
	s.rewrite(t, pbx.LibraryPath, func(text string) string { return strings.Replace(text, "Hangup(25)", "Hangup(16)", 1) })
	if plan, err := s.engine.Plan(t.Context()); err != nil || len(plan.Drift) != 1 || !strings.HasSuffix(plan.Drift[0].Path, pbx.LibraryPath) {
		t.Errorf("with a hand edit of the library: drift %v, error %v", plan.Drift, err)
	}
	if findings := s.node.Examine(t.Context()); !slices.ContainsFunc(findings, func(f node.Finding) bool { return strings.HasSuffix(f.Subject, pbx.LibraryPath) }) {
		t.Errorf("doctor does not look at the library: %+v", findings)
	}
}

// A name of a ring group never reaches the dialplan, not even as a comment.
func TestMaliciousNamesOfRingGroupsDoNotChangeWhatARealAsteriskLoads(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	anna := s.create(t, "Anna")
	const count = 5000
	rng := rand.New(rand.NewPCG(14, 10))
	model := func(name func() string) pbx.Model {
		m := pbx.Model{Users: []pbx.User{anna}, Items: make([]pbx.Item, 0, count)}
		for short := 1; short <= count; short++ {
			g := ringGroup(short, pbx.RingGroup{Strategy: pbx.RingAll, Members: []pbx.UserID{anna.ID}, Seconds: 20})
			g.Name = name()
			g.Body.SetNumber("number", fmt.Sprint(10_000+short))
			m.Items = append(m.Items, g)
		}
		return m
	}
	hostile, err := render.Options{}.Next(render.Rendered{}, model(func() string { return maliciousName(rng) }))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := render.Options{}.Next(render.Rendered{}, model(func() string { return "Support" }))
	if err != nil || !slices.EqualFunc(hostile.Files, plain.Files, func(a, b pbx.File) bool { return bytes.Equal(a.Content, b.Content) }) {
		t.Fatalf("the files depend on the names of ring groups; error %v", err)
	}
	last, err := s.store.LastRevision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.keepAll(t, last+1, hostile.Files)
	s.restore(t, last+1) // confirmed: Asterisk runs exactly these steps
	if log := s.asterisk.Log(); strings.Contains(log, "ERROR") || strings.Contains(log, "WARNING") {
		t.Errorf("Asterisk complained:\n%.2000s", log)
	}
	t.Logf("%d malicious names, 0 steps missing, added or changed", count)
}

// The file of the dialplan is in the order in which Asterisk adds extensions without a search.
func BenchmarkReloadOfTheDialplanOf10000UsersAnd1000RingGroups(b *testing.B) {
	a := labtest.Asterisk(b)
	m := pbx.Model{}
	for n := range 10_000 {
		number := pbx.Number(10_000 + n)
		m.Users = append(m.Users, pbx.User{ID: pbx.UserID(fmt.Sprint(number)), Name: "U", Extension: pbx.Extension{Number: number, Secret: pbx.NewSecret()}})
	}
	for short := 1; short <= 1000; short++ {
		g := pbx.RingGroup{Strategy: pbx.RingAll, Seconds: 20}
		for i := range 8 {
			g.Members = append(g.Members, m.Users[(short*7+i*1001)%len(m.Users)].ID)
		}
		item := ringGroup(short, g)
		item.Body.SetNumber("number", fmt.Sprint(20_000+short))
		m.Items = append(m.Items, item)
	}
	r, err := render.Options{}.Next(render.Rendered{}, m)
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range r.Files {
		if pbx.ModuleOf(f.Path) == pbx.Dialplan {
			if err := os.WriteFile(filepath.Join(a.ConfigDir, f.Path), f.Content, 0o600); err != nil {
				b.Fatal(err)
			}
		}
	}
	local, err := node.New(a.ConfigDir, a.Control())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if reload, err := local.Reload(b.Context(), []pbx.Module{pbx.Dialplan}); err != nil || !reload.Understood {
			b.Fatal(err)
		}
	}
}
