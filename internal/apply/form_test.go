package apply_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render/rendertest"
)

// Numbers of revisions that a newer version of the portal left in the database: the files of the users in place, and optional files.
const (
	oneTrunk = iota + 50
	anotherRing
	twoTrunks
	usersOnly
)

// newForm returns a fixture with these revisions, of which oneTrunk is in place.
func newForm(t *testing.T) fixture {
	t.Helper()
	f := newFixture(t, &script{})
	f.apply(t, apply.Request{TriggeredBy: "test"})
	users := f.revisions[f.site.Current]
	for number, files := range map[int][]pbx.File{
		oneTrunk:    {rendertest.Trunks("one", "t-7"), rendertest.Callflow(20, "g17")},
		anotherRing: {rendertest.Trunks("one", "t-7"), rendertest.Callflow(30, "g17")},
		twoTrunks:   {rendertest.Trunks("one", "t-7", "t-8"), rendertest.Callflow(30, "g17", "g18")},
		usersOnly:   nil,
	} {
		lock, err := f.store.TryApplyLock(t.Context())
		if err != nil || lock == nil {
			t.Fatal(lock, err)
		}
		err = lock.SaveRun(t.Context(), pbx.Run{
			Log:      pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: time.Now(), TriggeredBy: "newer", Outcome: pbx.Success},
			Revision: number, Result: pbx.Applied, Verification: pbx.Confirmed, Files: slices.Concat(users, files),
		})
		lock.Release()
		if err != nil {
			t.Fatal(err)
		}
	}
	if run := f.restore(t, oneTrunk, ""); !slices.Equal(f.reloaded, pbx.AllModules()) || len(f.revisions[f.site.Current]) != 4 {
		t.Fatalf("%s, %d files, reloaded %v", run.Result, len(f.revisions[f.site.Current]), f.reloaded)
	}
	f.calls = nil
	return f
}

// restore deploys a revision, which Asterisk must confirm, or, if a contradiction is given, contradict with this text.
func (f fixture) restore(t *testing.T, number int, contradiction string) pbx.Run {
	t.Helper()
	run, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test", Restore: number})
	switch {
	case contradiction == "" && (err != nil || run.Verification != pbx.Confirmed):
		t.Fatalf("%s, %s, %q, error %v", run.Result, run.Verification, run.Differences, err)
	case contradiction != "" && (run.Verification != pbx.Contradicted || run.Result != pbx.RolledBack || !strings.Contains(strings.Join(run.Differences, "\n"), contradiction)):
		t.Errorf("%s, %s, %q, error %v; want it to say %q", run.Result, run.Verification, run.Differences, err, contradiction)
	}
	return run
}

func TestThePlanNamesThingsOfEveryKindAndTheirFiles(t *testing.T) {
	t.Parallel()
	f := newForm(t)
	run, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test", Restore: twoTrunks, DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []pbx.Change{
		{Kind: pbx.Changed, Owner: pbx.Thing{Kind: pbx.KindOther, Key: "g17"}, What: []string{"dialplan"}},
		{Kind: pbx.Added, Owner: pbx.Thing{Kind: pbx.KindOther, Key: "g18"}},
		{Kind: pbx.Added, Owner: pbx.Thing{Kind: pbx.KindOther, Key: "t-8"}},
	}
	if diff := cmp.Diff(want, run.Plan.Changes); diff != "" || len(run.Plan.UserChanges()) != 0 {
		t.Error(diff)
	}
	var paths []string
	for _, d := range run.Plan.Diffs {
		if d.Text != "" {
			paths = append(paths, d.Path)
		}
		if strings.Contains(d.Text, "=one") {
			t.Errorf("the diff shows a secret:\n%s", d.Text)
		}
	}
	if want := []string{pbx.TrunksPath, pbx.CallflowPath}; !slices.Equal(paths, want) {
		t.Errorf("the plan shows changes of %q, want %q", paths, want)
	}
}

func TestAChangeOfAnyKindInTheDialplanAloneReloadsOnlyTheDialplan(t *testing.T) {
	t.Parallel()
	f := newForm(t)
	f.restore(t, anotherRing, "")
	if want := []pbx.Module{pbx.Dialplan}; !slices.Equal(f.reloaded, want) || strings.Join(f.calls, " ") != "stage flip reload live accept" {
		t.Errorf("reloaded %v, calls %v", f.reloaded, f.calls)
	}
	f.restore(t, usersOnly, "")
	if !slices.Equal(f.reloaded, pbx.AllModules()) || len(f.revisions[f.site.Current]) != 2 {
		t.Errorf("without the optional files: reloaded %v, %d files", f.reloaded, len(f.revisions[f.site.Current]))
	}
}

// loss is a difference between Asterisk and the files.
type loss struct {
	change func(*pbx.Live)
	says   string
}

// losses returns a loss of every kind, for a trunk and a group.
func losses(trunk, group string) map[string]loss {
	all := map[string]loss{
		"a context":     {func(l *pbx.Live) { delete(l.Contexts, rendertest.Common) }, "context " + rendertest.Common + " is missing"},
		"an include":    {func(l *pbx.Live) { l.Contexts[rendertest.Groups] = nil }, rendertest.Groups + " does not include " + rendertest.Common},
		"a step":        {func(l *pbx.Live) { l.Steps = without(l.Steps, group, 2) }, group + "@" + rendertest.Groups + ",2 is missing"},
		"a hint":        {func(l *pbx.Live) { l.Steps = without(l.Steps, group, pbx.HintPriority) }, group + "@" + rendertest.Groups + ",-1 is missing"},
		"arguments":     {func(l *pbx.Live) { l.Steps = another(l.Steps, group) }, group + "@" + rendertest.Groups + ",1 is loaded as"},
		"a user's step": {func(l *pbx.Live) { l.Steps = without(l.Steps, "1000", 1) }, "1000,1,Dial(PJSIP/1000,25) is missing"},
	}
	for _, typ := range rendertest.Types() {
		text := strings.Replace(typ, "aor", "AOR", 1) + " " + trunk
		all["an object: "+typ] = loss{func(l *pbx.Live) {
			l.IDs[typ] = slices.DeleteFunc(slices.Clone(l.IDs[typ]), func(id string) bool { return id == trunk })
		}, text + " is missing"}
		all["a content: "+typ] = loss{func(l *pbx.Live) { l.Hashes[typ+"/"+trunk] = "another" }, text + " is loaded with another content"}
	}
	return all
}

func without(steps []pbx.Step, exten string, priority int) []pbx.Step {
	return slices.DeleteFunc(slices.Clone(steps), func(s pbx.Step) bool { return s.Exten == exten && s.Priority == priority })
}

func another(steps []pbx.Step, exten string) []pbx.Step {
	steps = slices.Clone(steps)
	for i := range steps {
		if steps[i].Exten == exten && steps[i].Priority == 1 {
			steps[i].Args += "x"
		}
	}
	return steps
}

// Each of these is detected only if the query asks for it.
func TestAnyMissingPartOfAChangeIsContradictedAndRolledBack(t *testing.T) {
	t.Parallel()
	f := newForm(t)
	good := f.site.Current
	all := losses("t-8", "g18")
	delete(all, "a user's step")                // an apply does not query it: it is not the last of its context, and did not change
	all["a context"] = loss{func(l *pbx.Live) { // an apply queries its last extension
		delete(l.Contexts, rendertest.Common)
		l.Steps = without(l.Steps, "busy", 1)
	}, "busy@" + rendertest.Common + ",1 is missing"}
	for name, l := range all {
		f.live = func(live pbx.Live) pbx.Live {
			if len(live.IDs["registration"]) == 2 {
				l.change(&live)
			}
			return live
		}
		f.restore(t, twoTrunks, l.says)
		if f.site.Current != good || f.site.LastVerified != good {
			t.Fatalf("%s: revision %d is in place, want %d", name, f.site.Current, good)
		}
	}
	f.live = nil
	f.restore(t, twoTrunks, "")
}

func TestAnyLostPartIsFoundByAPlanAndAfterAFailedReload(t *testing.T) {
	t.Parallel()
	f := newForm(t)
	all := losses("t-7", "g17")
	for name, l := range all {
		f.live = func(live pbx.Live) pbx.Live { l.change(&live); return live }
		plan, err := f.engine.Plan(t.Context())
		if err != nil || !strings.HasPrefix(name, "a content: ") && !strings.Contains(plan.Behind, l.says) { // a plan does not query contents
			t.Errorf("%s: in the plan, Asterisk is behind because %q, error %v", name, plan.Behind, err)
		}
	}
	f.live, f.reloadErr = nil, errors.New("cannot be reached")
	if run, _ := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test", Restore: anotherRing, OnFailure: apply.Keep}); run.Result != pbx.FilesAhead {
		t.Fatal(run.Result)
	}
	f.reloadErr = nil
	ahead := f.site.Current
	for name, l := range all {
		f.live = func(live pbx.Live) pbx.Live { l.change(&live); return live }
		run, _ := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test", Restore: anotherRing, OnFailure: apply.Keep})
		if run.Verification != pbx.Contradicted || !strings.Contains(strings.Join(run.Differences, "\n"), l.says) || f.site.Current != ahead {
			t.Errorf("%s: %s, %s, %q; want it to say %q", name, run.Result, run.Verification, run.Differences, l.says)
		}
	}
	f.live = nil
	f.restore(t, anotherRing, "")
}

func TestAnyLeftoverOfARemovedThingIsContradicted(t *testing.T) {
	t.Parallel()
	f := newForm(t)
	kept := map[string]func(*pbx.Live){
		"dialplan step busy@" + rendertest.Common + ",1 is loaded, but the portal no longer has it": func(l *pbx.Live) {
			l.Steps = append(slices.Clone(l.Steps), pbx.Step{Context: rendertest.Common, Exten: "busy", Priority: 1, App: "Hangup", Args: "17"})
		},
	}
	for _, typ := range rendertest.Types() {
		kept[strings.Replace(typ, "aor", "AOR", 1)+" t-7 is loaded, but the portal no longer has it"] = func(l *pbx.Live) {
			l.IDs = maps.Clone(l.IDs)
			l.IDs[typ] = append(slices.Clone(l.IDs[typ]), "t-7")
			l.Hashes[typ+"/t-7"] = "anything"
		}
	}
	for text, keep := range kept {
		f.live = func(live pbx.Live) pbx.Live {
			if len(live.IDs["registration"]) == 0 {
				keep(&live)
			}
			return live
		}
		f.restore(t, usersOnly, text)
	}
	f.live = nil
	f.restore(t, usersOnly, "")
}

// An Asterisk that does not answer one part of the query is never confirmed.
func TestAnAnswerThatLacksOnePartOfTheQueryConfirmsNothing(t *testing.T) {
	t.Parallel()
	f := newForm(t)
	lacking := map[string]func(*pbx.LiveQuery){
		"contexts":   func(q *pbx.LiveQuery) { q.Contexts = nil },
		"extensions": func(q *pbx.LiveQuery) { q.Extens = nil },
		"lists":      func(q *pbx.LiveQuery) { q.Types = nil },
	}
	for _, typ := range rendertest.Types() {
		lacking["contents of "+typ] = func(q *pbx.LiveQuery) {
			q.Contents = slices.DeleteFunc(slices.Clone(q.Contents), func(name string) bool { return strings.HasPrefix(name, typ+"/") })
		}
	}
	for name, lack := range lacking {
		f.ignore = lack
		run, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test", Restore: twoTrunks})
		if err == nil || run.Verification != pbx.Contradicted {
			t.Errorf("without %s: %s, %s", name, run.Result, run.Verification)
		}
		f.ignore = nil
		f.restore(t, oneTrunk, "")
	}
}
