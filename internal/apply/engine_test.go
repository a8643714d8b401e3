package apply_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// changed is incremented after a test has changed its script while an engine uses it: simulated time is no ordering for the race detector.
var changed atomic.Int64

// script is a simulated target, by default with a perfect Asterisk, which runs the activated files after a reload.
type script struct {
	calls     []string
	site      pbx.HostState
	revisions map[int][]pbx.File
	running   []pbx.File
	reloaded  []pbx.Module // the modules of the last reload
	drift     []pbx.Drift
	declared  []pbx.HostObject // the objects that the administrator's files define
	doubted   int
	asked     int // the number of calls of Live
	deafFrom  int // the number of the first query without an answer; 0: none

	lockErr, recoverErr                               error
	inspectErr, stageErr, flipErr, reloadErr, liveErr error
	ambiguous                                         bool                    // the answer to the reload is ambiguous
	live                                              func(pbx.Live) pbx.Live // changes what Asterisk has loaded
	ignore                                            func(*pbx.LiveQuery)    // removes the parts of a query that Asterisk ignores
	onStage, onReload, onPrune                        func()
	onFlip                                            func(number int)

	switches    map[pbx.Number]pbx.Switches
	prepared    []pbx.Effect // that move or clear switches
	switchFault error
}

var results = pbx.ReloadResults{PJSIP: &pbx.CommandResult{Stdout: "reloaded"}, Dialplan: &pbx.CommandResult{Stdout: "reloaded"}}

func (s *script) Lock() (func(), bool, error) { return func() {}, s.lockErr == nil, s.lockErr }

func (s *script) Recover() ([]string, error) { return nil, s.recoverErr }

func (s *script) Inspect() (pbx.HostState, error) {
	changed.Load()
	site := s.site
	site.Files, site.Seen, site.Drift = s.revisions[site.Current], s.revisions[site.LastVerified], s.drift
	site.Next = len(s.revisions) + 1
	site.Doubted = s.doubted != 0 && s.doubted == site.Current
	return site, s.inspectErr
}

func (s *script) Declared(context.Context) ([]pbx.HostObject, error) { return s.declared, nil }

func (s *script) Adopt(number int, id pbx.RunID, missing []pbx.File) ([]pbx.File, error) {
	s.revisions = map[int][]pbx.File{number: missing}
	s.site.Current, s.site.LastVerified, s.site.RunID = number, number, id
	s.running = missing
	return missing, nil
}

func (s *script) Overwrite(save func(pbx.File) error) ([]pbx.File, error) {
	s.calls = append(s.calls, "reclaim")
	return s.revisions[s.site.Current], save(pbx.File{Path: "edited", Content: []byte("by hand")})
}

func (s *script) Stage(number, _ int, id pbx.RunID, files []pbx.File) error {
	s.calls = append(s.calls, "stage")
	if s.onStage != nil {
		s.onStage()
	}
	if s.stageErr != nil {
		return s.stageErr
	}
	s.revisions[number], s.site.RunID = files, id
	return nil
}

func (s *script) Activate(number int, _ []pbx.File) ([]string, error) {
	s.calls = append(s.calls, "flip")
	if s.onFlip != nil {
		s.onFlip(number)
	}
	if s.flipErr != nil {
		return nil, s.flipErr
	}
	s.site.Current = number
	return []string{"/etc/asterisk/" + pbx.PJSIPPath, "/etc/asterisk/" + pbx.DialplanPath}, nil
}

func (s *script) MarkVerified(number int) error {
	s.calls = append(s.calls, "accept")
	s.site.LastVerified, s.doubted = number, 0
	return nil
}

func (s *script) Doubt(number int) error {
	s.doubted = number
	return nil
}

func (s *script) Prune(int, func(pbx.File) error) error {
	if s.onPrune != nil {
		s.onPrune()
	}
	return nil
}

func (s *script) Reload(ctx context.Context, modules []pbx.Module) (pbx.Reload, error) {
	s.calls, s.reloaded = append(s.calls, "reload"), modules
	if s.onReload != nil {
		s.onReload()
	}
	if s.reloadErr != nil {
		return pbx.Reload{Results: pbx.ReloadResults{PJSIP: &pbx.CommandResult{ExitCode: 1}}, Understood: true}, s.reloadErr
	}
	var running []pbx.File
	for _, f := range pbx.GeneratedFiles() {
		from := s.running
		if slices.Contains(modules, f.Module) {
			from = s.revisions[s.site.Current]
		}
		running = append(running, pbx.File{Path: f.Path, Content: pbx.ContentOf(from, f.Path)})
	}
	s.running = running
	return pbx.Reload{Results: results, Understood: !s.ambiguous}, ctx.Err()
}

func (s *script) Live(ctx context.Context, q pbx.LiveQuery) (pbx.Live, error) {
	changed.Load()
	s.calls = append(s.calls, "live")
	if s.asked++; s.deafFrom > 0 && s.asked >= s.deafFrom {
		return pbx.Live{}, errors.New("garbage")
	}
	if s.ignore != nil {
		s.ignore(&q)
	}
	inventory, err := render.Read(s.running)
	live := inventory.Live()
	if s.live != nil {
		live = s.live(live)
	}
	maps.DeleteFunc(live.Hashes, func(name, _ string) bool { // objects that are not loaded have no hash
		kind, id, _ := strings.Cut(name, "/")
		return !slices.Contains(q.Contents, name) || !slices.Contains(live.IDs[kind], id)
	})
	maps.DeleteFunc(live.IDs, func(typ string, _ []string) bool { return !slices.Contains(q.Types, typ) }) // an answer contains what was queried
	maps.DeleteFunc(live.Contexts, func(name string, _ []string) bool { return !slices.Contains(q.Contexts, name) })
	live.Steps = slices.DeleteFunc(slices.Clone(live.Steps), func(s pbx.Step) bool { return !q.Covers(s) })
	return live, errors.Join(err, s.liveErr, ctx.Err())
}

func (s *script) Do(_ context.Context, effects []pbx.Effect) ([]pbx.Effect, error) {
	return effects, nil
}

func (s *script) Switches(context.Context) (map[pbx.Number]pbx.Switches, error) {
	return maps.Clone(s.switches), s.liveErr
}

func (s *script) SetSwitches(_ context.Context, number pbx.Number, _, to pbx.Switches) error {
	if s.switchFault == nil {
		s.switches = maps.Clone(s.switches)
		if s.switches == nil {
			s.switches = map[pbx.Number]pbx.Switches{}
		}
		s.switches[number] = to
	}
	return s.switchFault
}

func (s *script) PrepareSwitches(_ context.Context, _ int, effects []pbx.Effect) error {
	s.prepared = effects
	return s.switchFault
}

func (s *script) SettleSwitches(context.Context) (changed []pbx.Number, err error) {
	for _, e := range s.prepared {
		changed = append(changed, e.Number)
	}
	s.prepared = nil
	return changed, s.switchFault
}

type fixture struct {
	*script
	engine    *apply.Engine
	store     *store.Store
	directory *directory.Directory
}

// newFixture returns an engine with a new database, in which the first of two users has been applied, and a target that follows the script.
func newFixture(t *testing.T, s *script) fixture {
	t.Helper()
	db := storetest.New(t)
	f := fixture{s, apply.New(apply.Config{Store: db, Target: s, Now: time.Now}), db, directory.New(db, time.Now)}
	part := *s
	*s = script{}
	f.create(t)
	f.apply(t, apply.Request{TriggeredBy: "before"})
	f.create(t)
	part.revisions, part.site, part.running = s.revisions, s.site, s.running
	*s = part
	return f
}

func (f fixture) create(t *testing.T) pbx.User {
	t.Helper()
	u, err := f.directory.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: "U", Email: fmt.Sprintf("%x@example.com", rand.Uint64())})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// apply applies; it must succeed.
func (f fixture) apply(t *testing.T, r apply.Request) pbx.Run {
	t.Helper()
	run, err := f.engine.Apply(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// last returns the newest audit record.
func (f fixture) last(t *testing.T) pbx.ApplyLog {
	t.Helper()
	page, err := f.engine.Logs(t.Context(), apply.LogQuery{Limit: 1})
	if err != nil || len(page.Logs) != 1 {
		t.Fatalf("%d audit records, error %v", len(page.Logs), err)
	}
	return page.Logs[0]
}

func TestAnApplyEndsWithTheResultOfTheStageThatFailed(t *testing.T) {
	t.Parallel()
	// lose makes Asterisk lack something while it runs the new files; a rollback succeeds.
	lose := func(change func(*pbx.Live)) func(pbx.Live) pbx.Live {
		return func(l pbx.Live) pbx.Live {
			if len(l.IDs["endpoint"]) == 2 {
				change(&l)
			}
			return l
		}
	}
	const failed, back = "stage flip reload live flip reload live", "stage flip reload live flip reload live accept"
	for name, tc := range map[string]struct {
		script       script
		request      apply.Request
		calls        string
		code         string // of the error; "" for success
		result       pbx.Result
		verification pbx.Verification
		current      int    // the revision in place afterwards; before, it is 2
		said         string // a part of the audit record
	}{
		"success": {script{}, apply.Request{}, "stage flip reload live accept", "", pbx.Applied, pbx.Confirmed, 3, ""},
		"the files cannot be locked": {
			script{lockErr: errors.New("permission denied")},
			apply.Request{},
			"", pbx.CodeWriteFailed, pbx.Refused, pbx.NotVerified, 2,
			"the files cannot be locked; nothing was changed: permission denied",
		},
		"the recovery from an earlier apply fails": {
			script{recoverErr: errors.New("read-only")}, apply.Request{}, "", pbx.CodeWriteFailed, pbx.Refused, pbx.NotVerified, 2, "nothing was changed: read-only",
		},
		"the database becomes unavailable during the recovery": {
			script{recoverErr: &pbx.Error{Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway, Msg: "away"}},
			apply.Request{},
			"", pbx.CodeDatabaseAway, pbx.Refused, pbx.NotVerified, 2, "nothing was changed: away",
		},
		"the files cannot be written after a hand edit was overwritten": {
			script{drift: []pbx.Drift{{Kind: pbx.Edited, Path: "/x"}}, stageErr: errors.New("disk full")},
			apply.Request{Force: true},
			"reclaim stage", pbx.CodeWriteFailed, pbx.Refused, pbx.NotVerified, 2,
			"the old ones are in place, Asterisk was not reloaded; external changes were overwritten all the same; they are saved with this record: disk full",
		},
		"the files cannot be written": {
			script{stageErr: errors.New("disk full")}, apply.Request{}, "stage", pbx.CodeWriteFailed, pbx.Refused, pbx.NotVerified, 2, "the old ones are in place",
		},
		"the files cannot be switched": {
			script{flipErr: errors.New("input/output error")}, apply.Request{}, "stage flip", pbx.CodeWriteFailed, pbx.Refused, pbx.NotVerified, 2, "the old ones are in place",
		},
		"it is not known whether the files were switched": {
			script{flipErr: pbx.ErrInDoubt}, apply.Request{}, "stage flip", pbx.CodeInDoubt, pbx.Interrupted, pbx.NotVerified, 2, "interrupted",
		},
		"Asterisk does not reload": {
			script{reloadErr: errors.New("cannot be reached")},
			apply.Request{},
			"stage flip reload", pbx.CodeReloadFailed, pbx.FilesAhead, pbx.NotVerified, 3,
			"the new files are in place",
		},
		"Asterisk does not reload, and the policy is rollback": {
			script{reloadErr: errors.New("cannot be reached")},
			apply.Request{OnFailure: apply.RollBack},
			"stage flip reload flip reload", pbx.CodeReloadFailed,
			pbx.RollbackFailed, pbx.NotVerified, 2, "the rollback failed as well",
		},
		"Asterisk returns no answer that can be compared": {
			script{liveErr: errors.New("garbage")},
			apply.Request{},
			"stage flip reload live", pbx.CodeNotConfirmed, pbx.NotConfirmed, pbx.Inconclusive, 3,
			"the files are in place and no command failed, but it could not be verified that Asterisk runs them (garbage)",
		},
		"the answer to the reload is ambiguous": {
			script{ambiguous: true},
			apply.Request{},
			"stage flip reload live", pbx.CodeNotConfirmed, pbx.NotConfirmed, pbx.Inconclusive, 3,
			"the answer to the reload is not one Asterisk is known to give",
		},
		"Asterisk returns no hash": {
			script{live: func(l pbx.Live) pbx.Live { l.Hashes = nil; return l }},
			apply.Request{},
			"stage flip reload live", pbx.CodeNotConfirmed, pbx.NotConfirmed, pbx.Inconclusive, 3,
			"func_sorcery.so",
		},
		"Asterisk contradicts, and the rollback cannot be verified": {
			script{live: lose(func(l *pbx.Live) { l.IDs["endpoint"] = nil }), deafFrom: 2},
			apply.Request{},
			"stage flip reload live flip reload live", pbx.CodeRolledBack, pbx.RollbackFailed, pbx.Contradicted, 2,
			"revision 2 is in place again, but it could not be verified that Asterisk runs it",
		},
		"Asterisk lacks an endpoint": {
			script{live: lose(func(l *pbx.Live) { l.IDs["endpoint"] = l.IDs["endpoint"][1:] })},
			apply.Request{},
			back, pbx.CodeRolledBack, pbx.RolledBack, pbx.Contradicted, 2,
			"endpoint 1000 is missing",
		},
		"Asterisk lacks an endpoint, and the policy is keep": {
			script{live: lose(func(l *pbx.Live) { l.IDs["endpoint"] = l.IDs["endpoint"][1:] })},
			apply.Request{OnFailure: apply.Keep},
			"stage flip reload live",
			pbx.CodeContradicted, pbx.FilesAhead, pbx.Contradicted, 3, "endpoint 1000 is missing",
		},
		"Asterisk accepts neither the new files nor the old": {
			script{live: func(l pbx.Live) pbx.Live { l.IDs["endpoint"] = nil; return l }},
			apply.Request{},
			failed, pbx.CodeRolledBack, pbx.RollbackFailed, pbx.Contradicted, 2,
			"the rollback failed as well",
		},
		"Asterisk has an unexpected endpoint": {
			script{live: lose(func(l *pbx.Live) { l.IDs["endpoint"] = append([]string{"1500"}, l.IDs["endpoint"]...) })},
			apply.Request{},
			back,
			pbx.CodeRolledBack, pbx.RolledBack, pbx.Contradicted, 2, "endpoint 1500 is loaded, but no user has it",
		},
		"Asterisk lacks an auth": {
			script{live: lose(func(l *pbx.Live) { l.IDs["auth"] = nil })}, apply.Request{}, back, pbx.CodeRolledBack, pbx.RolledBack, pbx.Contradicted, 2, "auth 1001 is missing",
		},
		"Asterisk lacks an AOR": {
			script{live: lose(func(l *pbx.Live) { l.IDs["aor"] = l.IDs["aor"][:1] })}, apply.Request{}, back, pbx.CodeRolledBack, pbx.RolledBack, pbx.Contradicted, 2, "AOR 1001 is missing",
		},
		"Asterisk dials something else": {
			script{live: lose(func(l *pbx.Live) { l.Steps[0].Args = "PJSIP/1000,25" })},
			apply.Request{},
			back, pbx.CodeRolledBack, pbx.RolledBack, pbx.Contradicted, 2,
			"1001,1,Dial(PJSIP/1001,25) is loaded as 1001,1,Dial(PJSIP/1000,25)",
		},
		"Asterisk has objects and steps of the administrator's": {
			script{live: func(l pbx.Live) pbx.Live {
				l.Host = []pbx.HostObject{{Kind: pbx.KindExtension, Number: 1500, Context: pbx.Context}, {Kind: "endpoint", Number: 1600}}
				return l
			}},
			apply.Request{},
			"stage flip reload live accept", "", pbx.Applied, pbx.Confirmed, 3, "",
		},
		"the plan has changed": {
			script{}, apply.Request{IfMatch: "another"}, "", pbx.CodePlanMoved, pbx.Refused, pbx.NotVerified, 2, "Review the plan again",
		},
		"dry run": {script{}, apply.Request{DryRun: true}, "", "", pbx.DryRun, pbx.NotVerified, 2, ""},
		"a file was edited by hand": {
			script{drift: []pbx.Drift{{Kind: pbx.Edited, Path: "/x"}}}, apply.Request{}, "", pbx.CodeDrift, pbx.Refused, pbx.NotVerified, 2, "/x was edited by hand",
		},
		"a file was edited by hand, with force": {
			script{drift: []pbx.Drift{{Kind: pbx.Edited, Path: "/x"}}}, apply.Request{Force: true}, "reclaim stage flip reload live accept", "", pbx.Applied, pbx.Confirmed, 3, "",
		},
		"the revision in place is restored": {
			script{}, apply.Request{Restore: 2}, "live", "", pbx.Unchanged, pbx.Confirmed, 2, "",
		},
		"an unknown revision is restored": {
			script{}, apply.Request{Restore: 77}, "", pbx.CodeNoRevision, pbx.Refused, pbx.NotVerified, 2, "there is no revision 77",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, &tc.script)
			tc.request.TriggeredBy = " test "
			run, err := f.engine.Apply(t.Context(), tc.request)
			if tc.code == "" && err != nil || tc.code != "" && pbx.CodeOf(err) != tc.code {
				t.Fatalf("error %v, want code %q", err, tc.code)
			}
			if got := strings.Join(f.calls, " "); got != tc.calls {
				t.Errorf("calls %q; want %q", got, tc.calls)
			}
			if run.Result != tc.result || run.Verification != tc.verification || f.site.Current != tc.current {
				t.Errorf("result %s, verification %s, revision %d in place; want %s, %s, %d", run.Result, run.Verification, f.site.Current, tc.result, tc.verification, tc.current)
			}
			stored, err2 := f.engine.RunDetails(t.Context(), run.Log.ID)
			if diff := cmp.Diff(run, stored, cmpopts.EquateEmpty()); diff != "" || err2 != nil {
				t.Errorf("the answer and the record differ: %v\n%s", err2, diff)
			}
			log := f.last(t)
			if (log.Outcome == pbx.Success) != (err == nil) || log.TriggeredBy != "test" || (log.ErrorDetails == "") != (err == nil) {
				t.Errorf("audit record %+v", log)
			}
			if !strings.Contains(log.ErrorDetails, tc.said) {
				t.Errorf("the audit record says %q; want %q in it", log.ErrorDetails, tc.said)
			}
			if inPlace := f.site.Current; run.Revision != 0 && inPlace != run.Revision && inPlace != 2 {
				t.Errorf("revision %d is in place", inPlace)
			}
		})
	}
}

func TestAnApplyWithNothingToDoEndsUnchanged(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	f.apply(t, apply.Request{TriggeredBy: "test"})
	f.calls = nil
	if run := f.apply(t, apply.Request{TriggeredBy: "test"}); run.Result != pbx.Unchanged || strings.Join(f.calls, " ") != "live" || run.Revision != 0 {
		t.Errorf("result %s, revision %d, calls %v; want unchanged, without a reload", run.Result, run.Revision, f.calls)
	}
	f.live = func(l pbx.Live) pbx.Live { f.live = nil; l.IDs["endpoint"] = nil; return l } // as after a restart that went wrong
	f.calls = nil
	if run := f.apply(t, apply.Request{TriggeredBy: "test"}); run.Result != pbx.Applied || strings.Join(f.calls, " ") != "live reload live accept" {
		t.Errorf("with an Asterisk that runs something else: result %s, calls %v; want a reload of the files in place", run.Result, f.calls)
	}
}

func TestThePlanListsAddedRemovedAndChangedUsers(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	f.apply(t, apply.Request{TriggeredBy: "test"})
	users, err := f.store.Users(t.Context(), pbx.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	before, err := f.engine.Plan(t.Context())
	if err != nil || before.Pending || before.Behind != "" || len(before.Changes) > 0 || before.Users != 2 {
		t.Errorf("with nothing to do the plan is %+v, error %v", before, err)
	}
	if _, err := f.directory.Delete(t.Context(), pbx.DefaultTenant, users[0].ID); err != nil {
		t.Fatal(err)
	}
	fresh := f.create(t) // takes the freed number: the same extension with another secret
	f.create(t)
	plan, err := f.engine.Plan(t.Context())
	want := []pbx.Change{
		{Kind: pbx.Changed, Owner: pbx.Thing{Kind: pbx.KindUser, Key: "1000"}, Number: 1000, Name: "U", What: []string{"secret"}, Reregister: true},
		{Kind: pbx.Added, Owner: pbx.Thing{Kind: pbx.KindUser, Key: "1002"}, Number: 1002, Name: "U"},
	}
	if diff := cmp.Diff(want, plan.Changes); diff != "" || err != nil || !plan.Pending || plan.Hash == before.Hash || plan.Revision != 3 {
		t.Errorf("plan %+v, error %v\n%s", plan, err, diff)
	}
	if diff := cmp.Diff([]pbx.Effect{{Verb: pbx.ForgetRegistration, Number: 1000}}, plan.Effects); diff != "" {
		t.Errorf("effects beside the reload:\n%s", diff)
	}
	for _, secret := range []string{users[0].Extension.Secret.Reveal(), users[1].Extension.Secret.Reveal(), fresh.Extension.Secret.Reveal()} {
		if strings.Contains(fmt.Sprint(plan), secret) {
			t.Errorf("the plan shows a secret:\n%+v", plan)
		}
	}
	if !strings.Contains(plan.Diffs[0].Text, "-password=[hidden]\n+password=[hidden, new]") || !strings.Contains(plan.Diffs[1].Text, "+exten => 1002,1,") {
		t.Errorf("diffs:\n%s\n%s", plan.Diffs[0].Text, plan.Diffs[1].Text)
	}
	again, err := f.engine.Plan(t.Context())
	if err != nil || again.Hash != plan.Hash {
		t.Errorf("the same plan has hashes %s and %s, error %v", plan.Hash, again.Hash, err)
	}
	if run := f.apply(t, apply.Request{TriggeredBy: "test", IfMatch: plan.Hash}); run.Result != pbx.Applied || !cmp.Equal(run.Plan.Changes, want) {
		t.Errorf("the applied changes differ from the reviewed ones: %+v", run)
	}
}

func TestOnlyModulesWithChangedFilesReloadUnlessAsteriskMayRunSomethingElse(t *testing.T) {
	t.Parallel()
	all, pjsip, dialplan := pbx.AllModules(), []pbx.Module{pbx.PJSIP}, []pbx.Module{pbx.Dialplan}
	for name, c := range map[string]struct {
		before  func(t *testing.T, f fixture)
		options render.Options
		want    []pbx.Module
	}{
		"a new user":                        {func(*testing.T, fixture) {}, render.Options{}, all},
		"another ring time":                 {sameUsers, render.Options{RingTimeout: 40}, dialplan},
		"another RTP time-out":              {sameUsers, render.Options{RTPTimeout: 40}, pjsip},
		"a file that was edited":            {func(t *testing.T, f fixture) { sameUsers(t, f); f.drift = []pbx.Drift{{Kind: pbx.Edited, Path: "x"}} }, render.Options{RingTimeout: 40}, all},
		"an apply that was not confirmed":   {func(t *testing.T, f fixture) { sameUsers(t, f); unconfirmed(t, f) }, render.Options{RingTimeout: 41}, all},
		"nothing, but Asterisk lost a user": {func(t *testing.T, f fixture) { sameUsers(t, f); f.running = empty(t) }, render.Options{}, all},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, &script{})
			c.before(t, f)
			f.engine = apply.New(apply.Config{Store: f.store, Target: f.script, Now: time.Now, Render: c.options})
			if run := f.apply(t, apply.Request{TriggeredBy: "test", Force: true}); run.Verification != pbx.Confirmed {
				t.Errorf("the apply is %s: %v", run.Verification, run.Differences)
			}
			if !slices.Equal(f.reloaded, c.want) {
				t.Errorf("%v were reloaded, want %v", f.reloaded, c.want)
			}
		})
	}
}

// sameUsers applies the users in the database.
func sameUsers(t *testing.T, f fixture) {
	t.Helper()
	f.apply(t, apply.Request{TriggeredBy: "before"})
}

// unconfirmed makes an apply that cannot be verified.
func unconfirmed(t *testing.T, f fixture) {
	t.Helper()
	f.create(t)
	f.liveErr = errors.New("garbage")
	if _, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "before"}); pbx.CodeOf(err) != pbx.CodeNotConfirmed {
		t.Fatal(err)
	}
	f.liveErr = nil
}

// empty returns the files without users.
func empty(t *testing.T) []pbx.File {
	t.Helper()
	files, _, err := render.Config(nil)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestTheNextApplyAfterAFailureSucceeds(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{reloadErr: errors.New("down")})
	if _, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"}); err == nil {
		t.Fatal("no error")
	}
	if plan, err := f.engine.Plan(t.Context()); err != nil || plan.Pending || !strings.Contains(plan.Behind, "not yet seen to run revision 3") {
		t.Errorf("plan %+v, error %v; want files ahead of Asterisk", plan, err)
	}
	f.reloadErr = nil
	if run := f.apply(t, apply.Request{TriggeredBy: "test"}); run.Result != pbx.Applied || f.site.LastVerified != 3 {
		t.Errorf("result %s, good revision %d", run.Result, f.site.LastVerified)
	}
	f.isPreviousAfterAnother(t, 3)
}

// isPreviousAfterAnother applies another user, and checks the revision to which a rollback would then return.
func (f fixture) isPreviousAfterAnother(t *testing.T, revision int) {
	t.Helper()
	f.create(t)
	f.apply(t, apply.Request{TriggeredBy: "test"})
	if previous, err := f.engine.Previous(t.Context()); previous != revision || err != nil {
		t.Errorf("a rollback would restore revision %d, error %v; want %d, which Asterisk was seen to run", previous, err, revision)
	}
}

func TestThePortalCatchesUpByItselfAndRecordsIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{reloadErr: errors.New("down")})
	_, _ = f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
	if done, err := f.engine.CatchUp(t.Context()); done || err == nil {
		t.Errorf("done %v, error %v; Asterisk is still down", done, err)
	}
	f.reloadErr = nil
	if done, err := f.engine.CatchUp(t.Context()); !done || err != nil || f.site.LastVerified != 3 {
		t.Errorf("done %v, error %v, good revision %d", done, err, f.site.LastVerified)
	}
	if log := f.last(t); log.TriggeredBy != "portal" || log.Outcome != pbx.Success {
		t.Errorf("on record is %+v", log)
	}
	f.calls = nil
	if done, err := f.engine.CatchUp(t.Context()); !done || err != nil || len(f.calls) > 0 {
		t.Errorf("with nothing to catch up: done %v, error %v, calls %v", done, err, f.calls)
	}
	f.isPreviousAfterAnother(t, 3)
}

func TestRow01ASecondApplyIsRefusedWhileOneRuns(t *testing.T) {
	t.Parallel()
	started, finish := make(chan struct{}), make(chan struct{})
	f := newFixture(t, &script{onStage: func() { close(started); <-finish }})
	other := apply.New(apply.Config{Store: f.store, Target: &script{}, Now: time.Now}) // as if in another process: only the database is shared
	first := make(chan error, 1)
	go func() {
		_, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "first"})
		first <- err
	}()
	<-started
	for name, engine := range map[string]*apply.Engine{"the same process": f.engine, "another process": other} {
		if _, err := engine.Apply(t.Context(), apply.Request{TriggeredBy: "second"}); pbx.CodeOf(err) != pbx.CodeApplyRunning {
			t.Errorf("in %s: error %v, want %s", name, err, pbx.CodeApplyRunning)
		}
	}
	close(finish)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if log := f.last(t); log.TriggeredBy != "first" {
		t.Errorf("audit record of %q", log.TriggeredBy)
	}
}

func TestAnApplyThatPanicsKeepsItsLockUntilItsBackgroundWorkHasEnded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	begun, ended := make(chan struct{}), atomic.Bool{}
	f.onPrune = func() {
		close(begun)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		<-ctx.Done() // the apply must wait for this
		ended.Store(true)
	}
	f.onReload = func() {
		<-begun
		panic("boom")
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
		t.Error("no panic")
	}()
	if !ended.Load() {
		t.Error("the lock was released while revisions were still being deleted")
	}
}

func TestTheFilesOfARevisionAreInTheDatabaseBeforeTheyAreSwitched(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	f.create(t)
	switched := 0
	f.onFlip = func(number int) {
		run, _, err := f.store.Revision(t.Context(), number)
		if switched = number; err != nil || len(run.Files) == 0 {
			t.Errorf("revision %d has the files %v, error %v", number, run.Files, err)
		}
	}
	if run := f.apply(t, apply.Request{TriggeredBy: "test"}); run.Revision != switched || len(run.Files) == 0 {
		t.Errorf("revision %d with the files %v is reported; %d was switched to", run.Revision, run.Files, switched)
	}
}

func TestOldRevisionsAreDeletedWhileAsteriskIsAsked(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	f.create(t)
	asked := make(chan struct{})
	ask := sync.OnceFunc(func() { close(asked) })
	f.live = func(live pbx.Live) pbx.Live {
		ask()
		return live
	}
	pruned := false
	f.onPrune = func() {
		select {
		case <-asked:
			pruned = true
		case <-time.After(10 * time.Second):
		}
	}
	if f.apply(t, apply.Request{TriggeredBy: "test"}); !pruned {
		t.Error("Asterisk was not asked before the old revisions were deleted")
	}
}

func TestADisconnectedCallerDoesNotAbortAnApply(t *testing.T) {
	t.Parallel()
	ctx, hangUp := context.WithCancel(t.Context())
	f := newFixture(t, &script{onStage: hangUp})
	run, err := f.engine.Apply(ctx, apply.Request{TriggeredBy: "test"})
	if err != nil || run.Verification != pbx.Confirmed {
		t.Errorf("verification %s, error %v", run.Verification, err)
	}
}

func TestRow06TheSameKeyReturnsTheSameRun(t *testing.T) {
	t.Parallel()
	started, finish := make(chan struct{}), make(chan struct{})
	f := newFixture(t, &script{onStage: func() { close(started); <-finish }})
	request := apply.Request{TriggeredBy: "test", IdempotencyKey: "k"}
	runs := make(chan pbx.Run, 2)
	ask := func() {
		run, err := f.engine.Apply(t.Context(), request)
		if err != nil {
			t.Error(err)
		}
		runs <- run
	}
	go ask()
	<-started
	go ask() // comes while the first runs, and waits for it
	close(finish)
	if a, b := <-runs, <-runs; a.Log.ID != b.Log.ID || a.Result != pbx.Applied || b.Result != pbx.Applied {
		t.Errorf("runs %s (%s) and %s (%s)", a.Log.ID, a.Result, b.Log.ID, b.Result)
	}
	if again := f.apply(t, request); again.Log.ID == "" || again.Result != pbx.Applied {
		t.Errorf("asked again: %+v", again)
	}
	if _, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "another", IdempotencyKey: "k"}); pbx.CodeOf(err) != pbx.CodeKeyReused {
		t.Errorf("another request under the same key: error %v", err)
	}
}

func TestAnIdempotencyKeyCoversTheWholeRequest(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	asked := apply.Request{TriggeredBy: "test", DryRun: true, IfMatch: "p", IdempotencyKey: "k"}
	first, err := f.engine.Apply(t.Context(), asked)
	if pbx.CodeOf(err) != pbx.CodePlanMoved {
		t.Fatalf("error %v", err)
	}
	for name, change := range map[string]func(*apply.Request){
		"no dry run":      func(r *apply.Request) { r.DryRun = false },
		"with force":      func(r *apply.Request) { r.Force = true },
		"another plan":    func(r *apply.Request) { r.IfMatch = "" },
		"another policy":  func(r *apply.Request) { r.OnFailure = apply.Keep },
		"a revision":      func(r *apply.Request) { r.Restore = 2 },
		"another comment": func(r *apply.Request) { r.Comment = "c" },
	} {
		other := asked
		change(&other)
		if run, err := f.engine.Apply(t.Context(), other); pbx.CodeOf(err) != pbx.CodeKeyReused || run.Log.ID != "" {
			t.Errorf("%s: run %q, error %v", name, run.Log.ID, err)
		}
	}
	if again, err := f.engine.Apply(t.Context(), asked); again.Log.ID != first.Log.ID || pbx.CodeOf(err) != pbx.CodePlanMoved {
		t.Errorf("repeated: run %q, error %v", again.Log.ID, err)
	}
}

func TestARequestWaitsForTheApplyOfAnotherPortalWithTheSameKey(t *testing.T) {
	t.Parallel()
	started, finish := make(chan struct{}), make(chan struct{})
	f := newFixture(t, &script{onStage: func() { close(started); <-finish }})
	other := apply.New(apply.Config{Store: f.store, Target: &script{}, Now: time.Now}) // as if in another process: only the database is shared
	request := apply.Request{TriggeredBy: "test", IdempotencyKey: "k"}
	type end struct {
		run pbx.Run
		err error
	}
	ends := make(chan end, 2)
	ask := func(engine *apply.Engine) {
		run, err := engine.Apply(t.Context(), request)
		ends <- end{run, err}
	}
	go ask(f.engine)
	<-started
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := other.Apply(short, request); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while the apply runs: error %v; want that of the caller's deadline", err)
	}
	go ask(other)
	close(finish)
	a, b := <-ends, <-ends
	if a.err != nil || b.err != nil || a.run.Log.ID != b.run.Log.ID || b.run.Result != pbx.Applied {
		t.Errorf("runs %s (%v) and %s (%v)", a.run.Log.ID, a.err, b.run.Log.ID, b.err)
	}
}

func TestTheIdempotencyKeyOfAnInterruptedApplyReturnsItsRecordAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	open := pbx.Run{
		Log:    pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: time.Now().UTC(), TriggeredBy: "test", Outcome: pbx.Failure, ErrorDetails: "interrupted"},
		Result: pbx.Interrupted, Verification: pbx.NotVerified, IdempotencyKey: "k", // without a hash, as older records are
	}
	if err := storetest.SaveRun(t.Context(), f.store, open); err != nil {
		t.Fatal(err)
	}
	run, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test", Force: true, IdempotencyKey: "k"})
	if err == nil || run.Log.ID != open.Log.ID || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("run %q, error %v", run.Log.ID, err)
	}
}

func TestTheEventsOfAnApplyCanBeFollowedDuringAndAfterIt(t *testing.T) {
	t.Parallel()
	s := &script{}
	f := newFixture(t, s)
	var seen []string
	followed := make(chan error, 1)
	s.onStage = func() {
		id := f.last(t).ID
		go func() {
			followed <- f.engine.Follow(t.Context(), id, func(e pbx.Event) error { seen = append(seen, e.Stage); return nil })
		}()
	}
	run := f.apply(t, apply.Request{TriggeredBy: "test"})
	if err := <-followed; err != nil {
		t.Fatal(err)
	}
	var recorded []string
	for _, e := range run.Events {
		recorded = append(recorded, e.Stage)
	}
	want := []string{"plan", "stage", "flip", "reload", "verify", "end"}
	if !cmp.Equal(want, recorded) || !cmp.Equal(want, seen) {
		t.Errorf("recorded %v, followed %v; want %v", recorded, seen, want)
	}
	seen = nil
	if err := f.engine.Follow(t.Context(), run.Log.ID, func(e pbx.Event) error { seen = append(seen, e.Stage); return nil }); err != nil || !cmp.Equal(want, seen) {
		t.Errorf("afterwards: %v, error %v", seen, err)
	}
}

func TestTheRecordOfAnInterruptedApplyIsCompletedFromTheFilesInPlace(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		die    func(f fixture, open *pbx.Run) // the state at the interruption
		result pbx.Result
		said   string
	}{
		"before the files were switched": {func(fixture, *pbx.Run) {}, pbx.Refused, "before the files were switched"},
		"after the files were switched": {func(f fixture, open *pbx.Run) {
			open.Revision = 9
			f.site.Current, f.site.RunID, f.revisions[9] = 9, open.Log.ID, f.revisions[2]
		}, pbx.FilesAhead, "the new files are in place"},
		"after Asterisk was seen to run them": {func(f fixture, open *pbx.Run) {
			open.Revision = 9
			f.site.Current, f.site.LastVerified, f.site.RunID, f.revisions[9] = 9, 9, open.Log.ID, f.revisions[2]
		}, pbx.Applied, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, &script{})
			open := pbx.Run{
				Log:    pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: time.Now().UTC(), TriggeredBy: "dead", Outcome: pbx.Failure, ErrorDetails: "interrupted"},
				Result: pbx.Interrupted, Verification: pbx.NotVerified,
			}
			tc.die(f, &open)
			if err := storetest.SaveRun(t.Context(), f.store, open); err != nil {
				t.Fatal(err)
			}
			if did, err := f.engine.Recover(t.Context()); err != nil || len(did) != 1 {
				t.Errorf("did %v, error %v", did, err)
			}
			run, err := f.engine.RunDetails(t.Context(), open.Log.ID)
			if err != nil || run.Result != tc.result || !strings.Contains(run.Log.ErrorDetails, tc.said) {
				t.Errorf("result %s, %s, error %v", run.Result, run.Log.ErrorDetails, err)
			}
			if did, err := f.engine.Recover(t.Context()); err != nil || len(did) != 0 {
				t.Errorf("a second time it did %v, error %v", did, err)
			}
		})
	}
}

func TestRow17AnApplyInDoubtStaysOpenUntilRecovery(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		survives bool // the switch
		result   pbx.Result
	}{"the new files are there": {true, pbx.FilesAhead}, "the old files are there": {false, pbx.Refused}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, &script{flipErr: pbx.ErrInDoubt})
			run, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
			if pbx.CodeOf(err) != pbx.CodeInDoubt || strings.Contains(strings.Join(f.calls, " "), "reload") {
				t.Errorf("error %v, calls %v", err, f.calls)
			}
			if open, err := f.store.OpenRuns(t.Context()); err != nil || len(open) != 1 || open[0].Log.ID != run.Log.ID {
				t.Errorf("open are %v, %v", open, err)
			}
			if tc.survives {
				f.site.Current = run.Revision
			}
			if _, err := f.engine.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			story, err := f.engine.RunDetails(t.Context(), run.Log.ID)
			if err != nil || story.Result != tc.result || story.Log.Outcome != pbx.Failure {
				t.Errorf("on record is %s, %s, %v", story.Result, story.Log.ErrorDetails, err)
			}
			f.flipErr = nil
			if again := f.apply(t, apply.Request{TriggeredBy: "test"}); again.Verification != pbx.Confirmed {
				t.Errorf("the next apply: %s", again.Verification)
			}
		})
	}
}

func TestRow29FilesOfARevisionUnknownToTheDatabaseAreOverwrittenOnlyWithForce(t *testing.T) {
	t.Parallel()
	s := &script{}
	newFixture(t, s) // the database that is lost
	db := storetest.New(t)
	engine := apply.New(apply.Config{Store: db, Target: s, Now: time.Now})
	if _, err := engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"}); pbx.CodeOf(err) != pbx.CodeDrift || strings.Contains(err.Error(), "saved") {
		t.Errorf("error %v, want drift, and no word of an edit to be saved", err)
	}
	run, err := engine.Apply(t.Context(), apply.Request{TriggeredBy: "test", Force: true})
	if err != nil || run.Revision != 3 {
		t.Errorf("with force: revision %d, error %v; want 3, above what is on disk", run.Revision, err)
	}
	if slices.ContainsFunc(run.Events, func(e pbx.Event) bool { return e.Code == pbx.EventReclaimed }) {
		t.Errorf("it reports that it overwrote external changes, but there were none: %v", run.Events)
	}
}

func TestAnApplyWithoutAnAuditRecordIsNotStarted(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	_ = f.store.Close()
	if _, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"}); err == nil || len(f.calls) > 0 {
		t.Errorf("error %v, calls %v", err, f.calls)
	}
}

func TestAnInvalidRequestIsRefusedWithEveryInvalidFieldNamed(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	for _, by := range []string{"", "  ", "a\nb", strings.Repeat("x", 256)} {
		if _, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: by}); pbx.KindOf(err) != pbx.KindInvalid {
			t.Errorf("triggered_by %q: error %v", by, err)
		}
	}
	_, err := f.engine.Apply(t.Context(), apply.Request{Comment: strings.Repeat("x", 1001), OnFailure: "x", IdempotencyKey: strings.Repeat("x", 256), Restore: -1})
	if len(pbx.FieldsOf(err)) != 5 {
		t.Errorf("error %v; want five fields", err)
	}
}

func TestRevisionsAreKeptComparedAndDeleted(t *testing.T) {
	t.Parallel()
	s := &script{}
	f := newFixture(t, s)
	engine := apply.New(apply.Config{Store: f.store, Target: s, Now: time.Now, Keep: 2})
	if _, err := engine.Previous(t.Context()); pbx.CodeOf(err) != pbx.CodeNoRevision {
		t.Errorf("before the first revision: error %v", err)
	}
	for range 2 {
		if _, err := engine.Apply(t.Context(), apply.Request{TriggeredBy: "test", Comment: "because"}); err != nil {
			t.Fatal(err)
		}
		f.create(t)
	}
	list, err := engine.Revisions(t.Context(), 0, 10)
	if err != nil || len(list) != 3 || list[0].Revision != 4 || list[0].Comment != "because" {
		t.Errorf("revisions %+v, error %v", list, err)
	}
	diffs, err := engine.Diff(t.Context(), 3, 4)
	if err != nil || !strings.Contains(diffs[1].Text, "+exten => 1002,1,Dial(PJSIP/1002,25)") {
		t.Errorf("diff %v, error %v", diffs, err)
	}
	if _, err := engine.Diff(t.Context(), 2, 4); pbx.CodeOf(err) != pbx.CodeForgotten {
		t.Errorf("a forgotten revision: error %v", err)
	}
	if _, err := engine.Apply(t.Context(), apply.Request{TriggeredBy: "test", Restore: 2}); pbx.CodeOf(err) != pbx.CodeForgotten {
		t.Errorf("a forgotten revision was restored: error %v", err)
	}
}

func TestLogsArePagedNewestFirst(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	for i := range 3 {
		f.apply(t, apply.Request{TriggeredBy: fmt.Sprint(i)})
	}
	var got []string
	query := apply.LogQuery{Limit: 2}
	for {
		page, err := f.engine.Logs(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range page.Logs {
			got = append(got, l.TriggeredBy)
			if one, err := f.engine.Log(t.Context(), l.ID); err != nil || one.TriggeredBy != l.TriggeredBy {
				t.Errorf("Log(%s) = %+v, %v", l.ID, one, err)
			}
		}
		if query.Before = page.Next; page.Next == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"2", "1", "0", "before"}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := f.engine.Logs(t.Context(), apply.LogQuery{Before: "x", Limit: 1}); pbx.KindOf(err) != pbx.KindInvalid {
		t.Errorf("error %v for a bad cursor", err)
	}
	for _, id := range []pbx.RunID{"", "x", "a0000000-0000-0000-0000-00000000000f"} {
		if _, err := f.engine.Log(t.Context(), id); pbx.KindOf(err) != pbx.KindNotFound {
			t.Errorf("Log(%q): error %v", id, err)
		}
	}
}

func TestAnAsteriskThatStillLacksObjectsIsNotReportedInSync(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	f.create(t)
	f.apply(t, apply.Request{TriggeredBy: "test"})
	f.live = func(l pbx.Live) pbx.Live { l.IDs["auth"] = l.IDs["auth"][1:]; return l } // not the last of the file, and unchanged by the apply
	run, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
	if err == nil || run.Verification != pbx.Contradicted {
		t.Errorf("%s, %s, error %v", run.Result, run.Verification, err)
	}
}

// ahead reports whether the files are ahead of Asterisk.
func (f fixture) ahead() bool {
	site, err := f.Inspect()
	return err != nil || site.Ahead()
}

func TestARollbackChoosesOnlyConfirmedRevisions(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{}) // revision 2 is confirmed
	f.liveErr = errors.New("garbage")
	for range 3 {
		if run, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"}); pbx.CodeOf(err) != pbx.CodeNotConfirmed {
			t.Fatalf("%s, error %v", run.Result, err)
		}
		f.create(t)
	}
	if previous, err := f.engine.Previous(t.Context()); previous != 2 || err != nil {
		t.Errorf("a rollback would restore revision %d, error %v; want 2, the only one Asterisk was seen to run", previous, err)
	}
	f.liveErr, f.live = nil, func(l pbx.Live) pbx.Live {
		if len(l.IDs["endpoint"]) > 1 {
			l.IDs["endpoint"] = nil
		}
		return l
	}
	if run, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"}); run.Result != pbx.RolledBack || f.site.Current != 2 || f.ahead() {
		t.Errorf("automatic rollback: %s to revision %d, error %v", run.Result, f.site.Current, err)
	}
}

func TestAnApplyEndsUnchangedOnlyIfAsteriskWasVerified(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	f.apply(t, apply.Request{TriggeredBy: "test"})
	f.liveErr = errors.New("garbage")
	run, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
	if pbx.CodeOf(err) != pbx.CodeNotConfirmed || run.Result != pbx.NotConfirmed || !f.ahead() {
		t.Errorf("with nothing to do and no answer: %s, error %v", run.Result, err)
	}
	f.liveErr = nil
	if done, err := f.engine.CatchUp(t.Context()); !done || err != nil || f.ahead() {
		t.Errorf("done %t, error %v", done, err)
	}
}

// The old files are in place again, but Asterisk was not seen to run them: a plan must not report that it does.
func TestAnUnverifiedRollbackLeavesTheFilesAheadUntilAsteriskIsVerified(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{deafFrom: 2, live: func(l pbx.Live) pbx.Live {
		if len(l.IDs["endpoint"]) == 2 {
			l.IDs["endpoint"] = nil
		}
		return l
	}})
	run, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
	if run.Result != pbx.RollbackFailed || !strings.Contains(err.Error(), "could not be verified that Asterisk runs it") || f.site.Current != 2 || !f.ahead() {
		t.Errorf("%s, revision %d in place, error %v", run.Result, f.site.Current, err)
	}
	if plan, err := f.engine.Plan(t.Context()); err != nil || plan.SyncCode != pbx.NotSeen {
		t.Errorf("the plan says %q, error %v", plan.Behind, err)
	}
	f.deafFrom = 0
	if done, err := f.engine.CatchUp(t.Context()); !done || err != nil || f.ahead() {
		t.Errorf("done %t, error %v", done, err)
	}
}

// An Asterisk that was not seen to run the last revisions may run any of them: an old secret in one of them is detected, and once the apply is
// confirmed, the registration of every user of any of these revisions is deleted.
func TestAfterUnconfirmedRevisionsEverythingIsVerifiedAndEveryFormerRegistrationDeleted(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	users, err := f.store.Users(t.Context(), pbx.DefaultTenant) // 1000 and 1001; the second was not applied yet
	if err != nil {
		t.Fatal(err)
	}
	f.liveErr = errors.New("garbage")
	notConfirmed := func() {
		t.Helper()
		if run, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"}); pbx.CodeOf(err) != pbx.CodeNotConfirmed {
			t.Fatalf("%s, error %v", run.Result, err)
		}
	}
	notConfirmed() // adds 1001
	if _, err := f.directory.Delete(t.Context(), pbx.DefaultTenant, users[1].ID); err != nil {
		t.Fatal(err)
	}
	notConfirmed() // removes it
	f.create(t)    // reuses the number
	f.liveErr = nil
	f.live = func(l pbx.Live) pbx.Live {
		inventory, err := render.Read(f.revisions[3])
		if err != nil {
			t.Error(err)
		}
		l.Hashes["auth/1001"] = inventory.Live().Hashes["auth/1001"]
		return l
	}
	if run, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test", OnFailure: apply.Keep}); err == nil || run.Verification != pbx.Contradicted {
		t.Errorf("a former secret was not noticed: %s, %s", run.Result, run.Verification)
	}
	f.live = nil
	run := f.apply(t, apply.Request{TriggeredBy: "test"})
	if !slices.ContainsFunc(run.Events, func(e pbx.Event) bool { return e.Code == pbx.EventForgot && strings.Contains(e.Detail, "1001") }) {
		t.Errorf("the registration of 1001 was not deleted: %+v", run.Events)
	}
}

func TestAQuickPlanDoesNotWaitForASlowAsteriskAndHasTheTimeOfItsComparison(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	f.apply(t, apply.Request{TriggeredBy: "test"})
	first, err := f.engine.QuickPlan(t.Context())
	if err != nil || first.Behind != "" || first.AskedAt.IsZero() {
		t.Fatalf("while Asterisk answers, the plan is %+v, error %v", first, err)
	}
	f.create(t)
	answer := make(chan struct{})
	f.live = func(live pbx.Live) pbx.Live {
		<-answer
		return pbx.Live{Contexts: map[string][]string{pbx.Context: nil}}
	}
	quick, err := f.engine.QuickPlan(t.Context())
	if err != nil || !quick.Pending || quick.Behind != "" || !quick.AskedAt.Equal(first.AskedAt) {
		t.Errorf("while Asterisk is busy, the plan is %+v, error %v; want the earlier comparison with its time", quick, err)
	}
	waiting := make(chan pbx.Plan, 1)
	go func() {
		plan, err := f.engine.Plan(t.Context())
		if err != nil {
			t.Error(err)
		}
		waiting <- plan
	}()
	close(answer)
	if plan := <-waiting; plan.SyncCode != pbx.Differs || !plan.AskedAt.After(first.AskedAt) {
		t.Errorf("after the answer, the plan is %+v; want that Asterisk runs something else", plan)
	}
}

func TestAPlanSaysSinceWhenChangesWait(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	since := func() time.Time {
		t.Helper()
		plan, err := f.engine.QuickPlan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return plan.WaitingSince
	}
	f.apply(t, apply.Request{TriggeredBy: "test"})
	if at := since(); !at.IsZero() {
		t.Errorf("after an apply, changes wait since %v", at)
	}
	before := time.Now()
	f.create(t)
	between := time.Now()
	f.create(t)
	if at := since(); at.Before(before.Truncate(time.Microsecond)) || at.After(between) {
		t.Errorf("changes wait since %v; want the time of the first, between %v and %v", at, before, between)
	}
}

func TestAQuickPlanBeforeTheFirstAnswerOfAsteriskIsNotInSync(t *testing.T) {
	t.Parallel()
	answer := make(chan struct{})
	s := &script{live: func(live pbx.Live) pbx.Live {
		<-answer
		return live
	}}
	engine := apply.New(apply.Config{Store: storetest.New(t), Target: s, Now: time.Now})
	plan, err := engine.QuickPlan(t.Context())
	close(answer)
	if err != nil || plan.Revision != 0 || plan.SyncCode != pbx.NotAsked || !plan.AskedAt.IsZero() {
		t.Errorf("plan %+v, error %v; want that Asterisk has not answered", plan, err)
	}
}
