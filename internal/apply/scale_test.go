//go:build !race

// It measures time and memory; the race detector multiplies both.

package apply_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/node"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// obedient is a host whose Asterisk loads the files in place and answers at once, so that only the portal's part of the time is measured.
type obedient struct {
	*node.Local

	live pbx.Live
	hang chan struct{} // Live answers once it is closed; nil: at once
}

func (o *obedient) Reload(context.Context, []pbx.Module) (pbx.Reload, error) {
	site, err := o.Inspect()
	if err != nil {
		return pbx.Reload{}, err
	}
	inventory, err := render.Read(site.Files)
	o.live = inventory.Live()
	return pbx.Reload{Results: results, Understood: true}, err
}

func (o *obedient) Live(_ context.Context, q pbx.LiveQuery) (pbx.Live, error) {
	if o.hang != nil {
		<-o.hang
	}
	live := o.live
	live.IDs, live.Contexts = maps.Clone(live.IDs), maps.Clone(live.Contexts)
	maps.DeleteFunc(live.IDs, func(typ string, _ []string) bool { return !slices.Contains(q.Types, typ) })
	if !slices.Contains(q.Contexts, pbx.Context) {
		live.Contexts = nil
		live.Steps = slices.DeleteFunc(slices.Clone(live.Steps), func(s pbx.Step) bool { return !q.Covers(s) })
	}
	return live, nil
}

// crowd is an installation with many users on such a host.
type crowd struct {
	store  *store.Store
	target *obedient
	engine *apply.Engine
	users  []pbx.User
}

func newCrowd(tb testing.TB, s *store.Store, n int) *crowd {
	tb.Helper()
	control, err := asterisk.NewControl(tb.TempDir() + "/none.ctl")
	if err != nil {
		tb.Fatal(err)
	}
	local, err := node.New(tb.TempDir(), control)
	if err != nil {
		tb.Fatal(err)
	}
	c := &crowd{store: s, target: &obedient{Local: local}}
	c.engine = apply.New(apply.Config{Store: c.store, Target: c.target, Now: time.Now})
	for i := range n {
		c.users = append(c.users, numbered(pbx.Number(10_000+i)))
	}
	for some := range slices.Chunk(c.users, 500) { // one transaction has a time limit
		c.inTx(tb, func(ctx context.Context, tx *store.Tx) error {
			var added []store.NewUser
			for _, u := range some {
				added = append(added, store.NewUser{User: u, Event: eventOf(ctx, pbx.ActionUserCreate, u)})
			}
			return tx.InsertUsers(ctx, added...)
		})
	}
	if run, err := c.engine.Apply(tb.Context(), apply.Request{TriggeredBy: "test"}); err != nil || run.Verification != pbx.Confirmed || run.Users != n {
		tb.Fatalf("%d users, %s, error %v", run.Users, run.Verification, err)
	}
	return c
}

func (c *crowd) inTx(tb testing.TB, work func(context.Context, *store.Tx) error) {
	tb.Helper()
	if err := c.store.InTx(tb.Context(), work); err != nil {
		tb.Fatal(err)
	}
}

// replace deletes the user in the middle, and adds one with the same number.
func (c *crowd) replace(tb testing.TB) {
	tb.Helper()
	c.replaceAt(tb, len(c.users)/2)
}

func (c *crowd) replaceAt(tb testing.TB, at int) {
	tb.Helper()
	old := c.users[at]
	c.users[at] = numbered(old.Extension.Number)
	c.inTx(tb, func(ctx context.Context, tx *store.Tx) error {
		if err := tx.DeleteUser(ctx, old, old.CreatedAt, eventOf(ctx, pbx.ActionUserDelete, old)); err != nil {
			return err
		}
		return tx.InsertUsers(ctx, store.NewUser{User: c.users[at], Event: eventOf(ctx, pbx.ActionUserCreate, c.users[at])})
	})
}

// plan makes a plan with one changed user.
func (c *crowd) plan(tb testing.TB, makePlan func(context.Context) (pbx.Plan, error)) {
	tb.Helper()
	plan, err := makePlan(tb.Context())
	if err != nil || len(plan.Changes) != 1 || plan.Behind != "" || len(plan.Drift) > 0 {
		tb.Fatalf("%d changes, behind %q, drift %v, error %v", len(plan.Changes), plan.Behind, plan.Drift, err)
	}
}

func numbered(n pbx.Number) pbx.User {
	now := time.Now().UTC().Truncate(time.Microsecond)
	id := uuid.NewString()
	return pbx.User{
		ID: pbx.UserID(id), TenantID: pbx.DefaultTenant, Name: fmt.Sprintf("User %d", n), Email: id + "@example.com", CreatedAt: now,
		Extension: pbx.Extension{ID: pbx.ExtensionID(uuid.NewString()), Number: n, Secret: pbx.NewSecret(), CreatedAt: now},
	}
}

func eventOf(ctx context.Context, action string, u pbx.User) pbx.AuditEvent {
	return pbx.NewAuditEvent(ctx, u.CreatedAt, action, pbx.AuditObject{Type: "user", ID: string(u.ID), Name: u.Name})
}

// BenchmarkPlanOf10000Users measures, each time after one of 10,000 users was replaced: users, reading the changed users alone; own, the whole plan with
// that, of an Asterisk that does not answer in time; plan, the plan with the comparison with an Asterisk that answers at once; and checked, reading all users,
// as an apply does. The metrics are medians in milliseconds.
func BenchmarkPlanOf10000Users(b *testing.B) {
	storetest.EachBench(b, func(b *testing.B, url string) {
		c := newCrowd(b, storetest.Open(b, url), 10_000)
		hang := make(chan struct{})
		defer close(hang)
		took := map[string][]float64{}
		measure := func(name string, work func()) {
			c.replace(b)
			start := time.Now()
			work()
			took[name] = append(took[name], time.Since(start).Seconds()*1000)
		}
		read := func(users func(context.Context, pbx.TenantID) ([]pbx.User, error)) {
			if all, err := users(b.Context(), pbx.DefaultTenant); err != nil || len(all) != len(c.users) {
				b.Fatalf("%d users, error %v", len(all), err)
			}
		}
		rounds := 0
		for b.Loop() {
			rounds++
			measure("users", func() { read(c.store.Users) })
			measure("checked", func() { read(c.store.CheckedUsers) })
			measure("plan", func() { c.plan(b, c.engine.Plan) })
		}
		c.target.hang = hang
		c.replace(b)
		c.plan(b, c.engine.QuickPlan) // waits for the answer; the next ones do not, as it is late already
		for range rounds {
			measure("own", func() { c.plan(b, c.engine.QuickPlan) })
		}
		b.ReportMetric(0, "ns/op") // means nothing here
		for name := range took {
			b.ReportMetric(median(took[name]), "ms/"+name)
		}
	})
}

// BenchmarkPlanOf10000UsersAnd1000Groups measures what BenchmarkPlanOf10000Users calls own, with 1,000 ring groups of five users: user, after one user was
// replaced, and group, after one group was changed.
func BenchmarkPlanOf10000UsersAnd1000Groups(b *testing.B) {
	storetest.EachBench(b, func(b *testing.B, url string) {
		c := newCrowd(b, storetest.Open(b, url), 10_000)
		f := &race{store: c.store}
		groups := f.createGroups(b, 1000)
		if run, err := c.engine.Apply(b.Context(), apply.Request{TriggeredBy: "test"}); err != nil || run.Verification != pbx.Confirmed || run.Plan.Items != len(groups) {
			b.Fatalf("%d groups, %s, error %v", run.Plan.Items, run.Verification, err)
		}
		hang := make(chan struct{})
		defer close(hang)
		c.target.hang = hang
		took := map[string][]float64{}
		plan := func(name string) {
			start := time.Now()
			plan, err := c.engine.QuickPlan(b.Context())
			took[name] = append(took[name], time.Since(start).Seconds()*1000)
			if err != nil || len(plan.Changes) != 2 {
				b.Fatalf("%d changes, error %v", len(plan.Changes), err)
			}
		}
		last := len(c.users) - 1 // in no group
		c.replaceAt(b, last)
		f.changeGroup(b, groups[0])
		plan("first") // waits for the answer; the next ones do not, as it is late already
		for b.Loop() {
			f.changeGroup(b, groups[0])
			plan("group")
			c.replaceAt(b, last)
			plan("user")
		}
		delete(took, "first")
		b.ReportMetric(0, "ns/op") // means nothing here
		for name := range took {
			b.ReportMetric(median(took[name]), "ms/"+name)
		}
	})
}

// The limit is 150 MB for 10,000 users.
func TestRenderingAndPlanningTakeBoundedMemoryAtLength(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	n := labtest.Soak(2_000, 10_000)
	var c *crowd
	first := labtest.HeapWhile(func() { c = newCrowd(t, storetest.New(t), n) })
	c.replace(t)
	changed := labtest.HeapWhile(func() { c.plan(t, c.engine.Plan) })
	t.Logf("%d users: %d MB for the first apply, %d MB for a plan of one changed user", n, first/1e6, changed/1e6)
	if most := 15_000_000 + int64(n)*13_500; first > most || changed > most {
		t.Errorf("%d users: %d and %d MB, more than %d", n, first/1e6, changed/1e6, most/1e6)
	}
}
