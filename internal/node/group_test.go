package node_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
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
	live, err := s.node.Live(t.Context(), pbx.LiveQuery{Contexts: []string{"sc-lib-1", "sc-hangup", "sc-sim", "sc-group"}, Ours: map[string]bool{}})
	if err != nil || !slices.ContainsFunc(live.Steps, func(s pbx.Step) bool { return s.Exten == "version" }) {
		t.Errorf("Asterisk runs %d steps, error %v", len(live.Steps), err)
	}
	s.settled(t, "with ring groups")
}
