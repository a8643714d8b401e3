package apply_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/node"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/routing"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// BenchmarkApplyAgainstABareReload compares, in turn and on the same Asterisk with 1000 users, a plan, a whole apply and a rollback with
// the two bare reloads that every apply needs. Before each except the rollback, one user is replaced; before a bare reload the new files
// are in place already. The metrics are medians: of the milliseconds of each, and of the quotients within a round.
func BenchmarkApplyAgainstABareReload(b *testing.B) {
	onBothEngines(b, func(b *testing.B, f *race) {
		took, quotients := map[string][]float64{}, map[string][]float64{}
		for b.Loop() {
			round := map[string]float64{}
			f.replaceUser(b)
			round["plan"] = f.plan(b)
			f.replaceUser(b)
			round["apply"], round["rollback"] = f.apply(b), f.rollBack(b)
			f.replaceUser(b)
			f.put(b)
			round["reload"] = f.reload(b)
			if done, err := f.engine.CatchUp(b.Context()); !done || err != nil { // the next round begins in sync
				b.Fatalf("caught up %v, error %v", done, err)
			}
			for name, ms := range round {
				took[name], quotients[name] = append(took[name], ms), append(quotients[name], ms/round["reload"])
			}
		}
		b.ReportMetric(0, "ns/op") // means nothing here
		for name := range took {
			b.ReportMetric(median(took[name]), "ms/"+name)
			if name != "reload" {
				b.ReportMetric(median(quotients[name]), name+"/reload")
			}
		}
	})
}

// BenchmarkApplyOfTheDialplanAlone measures applies that change only the dialplan at 1000 users and 100 ring groups, and the reload of the dialplan alone:
// of a change of one ring group, and of a change of a step of each user. The metrics are medians in milliseconds; own is the difference to the reload
// within a round, and plan is when the plan of the group's apply was made.
func BenchmarkApplyOfTheDialplanAlone(b *testing.B) {
	onBothEngines(b, func(b *testing.B, f *race) {
		var engines [2]*apply.Engine
		for i := range engines {
			engines[i] = apply.New(apply.Config{Store: f.store, Target: f.local, Now: time.Now, Keep: 1000, Render: render.Options{RingTimeout: 30 + i}})
		}
		groups := f.createGroups(b, 100)
		took := map[string][]float64{}
		for round := 0; b.Loop(); round++ {
			f.engine = engines[round%2]
			users := f.apply(b)
			reload := f.reloadDialplan(b)
			f.changeGroup(b, groups[round*37%len(groups)])
			group := f.apply(b)
			groupReload := f.reloadDialplan(b)
			if round >= len(engines) { // the first apply of each renders all users
				for name, ms := range map[string]float64{
					"users": users, "users_own": users - reload, "reload": reload, "group": group, "group_own": group - groupReload, "group_plan": f.last.Events[0].After.Seconds() * 1000,
				} {
					took[name] = append(took[name], ms)
				}
			}
		}
		b.ReportMetric(0, "ns/op") // means nothing here
		for name := range took {
			b.ReportMetric(median(took[name]), "ms/"+name)
		}
	})
}

// createGroups creates ring groups of five users each, and returns their ids.
func (f *race) createGroups(b *testing.B, n int) (ids []pbx.ThingID) {
	b.Helper()
	users := f.users(b)
	for i := range n {
		body := pbx.NewBody(pbx.KindRingGroup).(*pbx.RingGroup)
		body.Number, body.Fallback = fmt.Sprint(100_000+i), pbx.Destination{Kind: pbx.Hangup}
		for k := range 5 {
			body.Members = append(body.Members, users[(i*7+k*31)%len(users)].ID)
		}
		group, err := routing.New(f.store, time.Now).Create(b.Context(), pbx.DefaultTenant, fmt.Sprint("Group ", i), body)
		if err != nil {
			b.Fatal(err)
		}
		ids = append(ids, group.ID)
	}
	return ids
}

// changeGroup changes how long a ring group rings.
func (f *race) changeGroup(b *testing.B, id pbx.ThingID) {
	b.Helper()
	longer := func(i *pbx.Item) error {
		body := i.Body.(*pbx.RingGroup)
		body.Seconds = 21 + body.Seconds%2
		return nil
	}
	if _, err := routing.New(f.store, time.Now).Change(b.Context(), pbx.DefaultTenant, pbx.KindRingGroup, id, 0, longer); err != nil {
		b.Fatal(err)
	}
}

// reloadDialplan has Asterisk reload the dialplan, and returns the milliseconds. The last apply must have reloaded nothing else.
func (f *race) reloadDialplan(b *testing.B) float64 {
	b.Helper()
	if f.last.Log.Reload.PJSIP != nil || f.last.Log.Reload.Dialplan == nil || f.last.Result != pbx.Applied {
		b.Fatalf("%s, reloaded %v", f.last.Result, f.last.Log.Reload)
	}
	start := time.Now()
	_, state := f.asterisk.ReloadDialplan(b.Context())
	took := time.Since(start)
	if state != asterisk.Reloaded {
		b.Fatal(state)
	}
	return took.Seconds() * 1000
}

// logStages logs when each stage of an apply ended.
func logStages(b *testing.B, run pbx.Run, took time.Duration) {
	b.Helper()
	if testing.Verbose() {
		for _, e := range run.Events {
			b.Log(e.After, e.Stage)
		}
		b.Log(took)
	}
}

// onBothEngines runs a benchmark on each database engine, with a race whose first apply, which brings all users, is done.
func onBothEngines(b *testing.B, run func(b *testing.B, f *race)) {
	b.Helper()
	for _, engine := range []struct {
		name string
		url  func(testing.TB) string
	}{{"sqlite", storetest.SQLite}, {"postgres", labtest.Postgres}} {
		b.Run(engine.name, func(b *testing.B) {
			f := newRace(b, storetest.Open(b, engine.url(b)))
			f.apply(b)
			run(b, f)
		})
	}
}

// race is a full pool, an Asterisk, and an engine for it.
type race struct {
	store     *store.Store
	directory *directory.Directory
	asterisk  *asterisk.Control
	engine    *apply.Engine
	local     *node.Local
	files     *apply.Engine // writes the files without a reload
	last      pbx.Run       // the last apply
	next      int
}

func newRace(b *testing.B, s *store.Store) *race {
	b.Helper()
	a := labtest.Asterisk(b)
	local, err := node.New(a.ConfigDir, a.Control())
	if err != nil {
		b.Fatal(err)
	}
	f := &race{store: s, directory: directory.New(s, time.Now), asterisk: a.Control(), local: local, engine: apply.New(apply.Config{Store: s, Target: local, Now: time.Now})}
	f.files = apply.New(apply.Config{Store: s, Target: deaf{local}, Now: time.Now})
	for range pbx.PoolSize {
		f.createUser(b)
	}
	return f
}

func (f *race) createUser(b *testing.B) {
	b.Helper()
	f.next++
	user := pbx.NewUser{Name: fmt.Sprintf("User %d", f.next), Email: fmt.Sprintf("user%d@example.com", f.next)}
	if _, err := f.directory.Create(b.Context(), pbx.DefaultTenant, user); err != nil {
		b.Fatal(err)
	}
}

// replaceUser deletes a user, another number each time, and adds one with the same number.
func (f *race) replaceUser(b *testing.B) {
	b.Helper()
	users := f.users(b)
	if _, err := f.directory.Delete(b.Context(), pbx.DefaultTenant, users[f.next*389%len(users)].ID); err != nil {
		b.Fatal(err)
	}
	f.createUser(b)
}

func (f *race) users(b *testing.B) []pbx.User {
	b.Helper()
	users, err := f.store.Users(b.Context(), pbx.DefaultTenant)
	if err != nil {
		b.Fatal(err)
	}
	return users
}

// plan makes a plan, and returns the milliseconds.
func (f *race) plan(b *testing.B) float64 {
	b.Helper()
	start := time.Now()
	plan, err := f.engine.Plan(b.Context())
	took := time.Since(start)
	if err != nil || !plan.Pending || len(plan.Changes) == 0 {
		b.Fatalf("pending %v, %d changes, error %v", plan.Pending, len(plan.Changes), err)
	}
	return took.Seconds() * 1000
}

// rollBack restores the previous revision, and returns the milliseconds.
func (f *race) rollBack(b *testing.B) float64 {
	b.Helper()
	previous, err := f.engine.Previous(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	run, err := f.engine.Apply(b.Context(), apply.Request{TriggeredBy: "benchmark", Restore: previous})
	took := time.Since(start)
	if err != nil || run.Verification != pbx.Confirmed || run.Result != pbx.Applied {
		b.Fatalf("%s, %s, error %v", run.Result, run.Verification, err)
	}
	return took.Seconds() * 1000
}

// apply runs a whole apply, and returns the milliseconds.
func (f *race) apply(b *testing.B) float64 {
	b.Helper()
	start := time.Now()
	run, err := f.engine.Apply(b.Context(), apply.Request{TriggeredBy: "benchmark"})
	took := time.Since(start)
	f.last = run
	if err != nil || run.Verification != pbx.Confirmed || run.Users != pbx.PoolSize {
		b.Fatalf("%d users, %s, error %v", run.Users, run.Verification, err)
	}
	logStages(b, run, took)
	return took.Seconds() * 1000
}

// put writes the users to the files, without a reload.
func (f *race) put(b *testing.B) {
	b.Helper()
	if run, _ := f.files.Apply(b.Context(), apply.Request{TriggeredBy: "benchmark"}); run.Result != pbx.FilesAhead {
		b.Fatalf("the files are not in place: %s", run.Result)
	}
}

// deaf is a host whose Asterisk does not reload.
type deaf struct{ *node.Local }

func (deaf) Reload(context.Context, []pbx.Module) (pbx.Reload, error) {
	return pbx.Reload{}, errors.New("no reload")
}

// reload makes Asterisk reload, and does nothing else. It returns the milliseconds.
func (f *race) reload(b *testing.B) float64 {
	b.Helper()
	start := time.Now()
	_, pjsip := f.asterisk.ReloadPJSIP(b.Context())
	_, dialplan := f.asterisk.ReloadDialplan(b.Context())
	took := time.Since(start)
	if pjsip != asterisk.Reloaded || dialplan != asterisk.Reloaded {
		b.Fatalf("PJSIP: %s, dialplan: %s", pjsip, dialplan)
	}
	return took.Seconds() * 1000
}

func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
