package routing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/routing"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// portal is the services over one database.
type portal struct {
	*testing.T

	store   *store.Store
	routing *routing.Routing
	people  *directory.Directory
	now     time.Time
	users   []pbx.User
}

// open returns a portal with some users.
func open(t *testing.T, url string, users int) *portal {
	t.Helper()
	p := &portal{T: t, store: storetest.Open(t, url), now: time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)}
	clock := func() time.Time { p.now = p.now.Add(time.Second); return p.now }
	p.routing = routing.New(p.store, clock).WithQuarantine(time.Hour)
	p.people = directory.New(p.store, clock).WithQuarantine(time.Hour)
	for i := range users {
		u, err := p.people.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: fmt.Sprintf("User %d", i), Email: fmt.Sprintf("user%d@example.com", i)})
		if err != nil {
			t.Fatal(err)
		}
		p.users = append(p.users, u)
	}
	return p
}

// group returns a ring group of these users that hangs up in the end.
func (p *portal) group(members ...int) *pbx.RingGroup {
	g := &pbx.RingGroup{SkipBusy: true, Fallback: pbx.Destination{Kind: pbx.Hangup}}
	for _, m := range members {
		g.Members = append(g.Members, p.users[m].ID)
	}
	return g
}

// to returns the destination that is an item.
func to(i pbx.Item) pbx.Destination { return pbx.Destination{Kind: i.Kind, ID: string(i.ID)} }

func (p *portal) create(name string, g *pbx.RingGroup) pbx.Item {
	p.Helper()
	i, err := p.routing.Create(p.Context(), pbx.DefaultTenant, name, g)
	if err != nil {
		p.Fatal(err)
	}
	return i
}

func (p *portal) change(id pbx.ThingID, ifMatch int64, patch func(name *string, g *pbx.RingGroup)) (pbx.Item, error) {
	return p.routing.Change(p.Context(), pbx.DefaultTenant, pbx.KindRingGroup, id, ifMatch, func(i *pbx.Item) error {
		patch(&i.Name, i.Body.(*pbx.RingGroup))
		return nil
	})
}

func (p *portal) delete(i pbx.Item) error {
	_, err := p.routing.Delete(p.Context(), pbx.DefaultTenant, i.Kind, i.ID, 0)
	return err
}

func (p *portal) list(q routing.Query) routing.Page {
	p.Helper()
	page, err := p.routing.List(p.Context(), pbx.DefaultTenant, pbx.KindRingGroup, q)
	if err != nil {
		p.Fatal(err)
	}
	return page
}

// newest returns the newest event.
func (p *portal) newest() pbx.AuditEvent {
	p.Helper()
	entries, err := p.store.EventsAfter(p.Context(), store.EventQuery{}, 0, 10_000)
	if err != nil || len(entries) == 0 {
		p.Fatalf("%d events, error %v", len(entries), err)
	}
	return entries[len(entries)-1].Event
}

func TestAnItemIsCreatedChangedAndDeletedWithItsNumberAndAnEventOfWhatDiffers(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := open(t, url, 3)
		i := p.create(" Sales ", p.group(0, 1))
		want := pbx.Item{
			Meta: pbx.Meta{
				ID: i.ID, TenantID: pbx.DefaultTenant, Kind: pbx.KindRingGroup, Short: 1, Name: "Sales", Version: 1, CreatedAt: p.now, UpdatedAt: p.now,
			},
			Body: &pbx.RingGroup{
				Number: "600", Strategy: pbx.RingAll, Members: []pbx.UserID{p.users[0].ID, p.users[1].ID}, Seconds: 20, SkipBusy: true, Fallback: pbx.Destination{Kind: pbx.Hangup},
			},
		}
		check := func(got pbx.Item, err error) {
			t.Helper()
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("error %v\n%s", err, diff)
			}
			read, err := p.routing.Get(t.Context(), pbx.DefaultTenant, pbx.KindRingGroup, i.ID)
			if diff := cmp.Diff(want, read); diff != "" || err != nil {
				t.Errorf("as read: error %v\n%s", err, diff)
			}
			if diff := cmp.Diff([]pbx.Item{want}, p.list(routing.Query{}).Items); diff != "" {
				t.Errorf("as listed:\n%s", diff)
			}
			m, err := p.store.Model(t.Context(), pbx.DefaultTenant)
			if diff := cmp.Diff([]pbx.Item{want}, m.Items); diff != "" || len(m.Users) != 3 || err != nil {
				t.Errorf("in the model of %d users: error %v\n%s", len(m.Users), err, diff)
			}
		}
		check(i, nil)
		if e := p.newest(); e.Action != "ring_group.create" || e.Before != nil || e.After["number"] != "600" || e.After["name"] != "Sales" || e.Object.Name != "Sales" {
			t.Errorf("the event of the creation is %+v", e)
		}
		body := want.Body.(*pbx.RingGroup)
		body.Seconds, body.Members = 30, []pbx.UserID{p.users[2].ID, p.users[0].ID}
		changed, err := p.change(i.ID, 1, func(_ *string, g *pbx.RingGroup) {
			g.Seconds, g.Members = 30, []pbx.UserID{p.users[2].ID, p.users[0].ID}
		})
		want.Version, want.UpdatedAt = 2, p.now
		check(changed, err)
		e := p.newest()
		if !cmp.Equal(e.Before, pbx.Facts{"seconds": "20", "members": fmt.Sprint(p.users[0].ID, " ", p.users[1].ID)}) ||
			!cmp.Equal(e.After, pbx.Facts{"seconds": "30", "members": fmt.Sprint(p.users[2].ID, " ", p.users[0].ID)}) || e.Action != "ring_group.change" {
			t.Errorf("the event of the change is %s %v → %v", e.Action, e.Before, e.After)
		}
		changed, err = p.change(i.ID, 2, func(name *string, _ *pbx.RingGroup) { *name = "Sales  " })
		check(changed, err)
		if p.newest().Seq != e.Seq {
			t.Error("a change to what is there has an event")
		}
		body.Number, want.Name, want.Version = "4711", "SALES", 3
		changed, err = p.change(i.ID, 0, func(name *string, g *pbx.RingGroup) { g.Number, *name = "4711", "SALES" })
		want.UpdatedAt = p.now
		check(changed, err)
		if second := p.create("Two", p.group(0)); second.Short != 2 || second.Body.Claims()[0].Number != "601" { // 600 was released a moment before
			t.Errorf("the second is %s with %v", second.Key(), second.Body.Claims())
		} else if err := p.delete(second); err != nil {
			t.Error(err)
		}
		if err := p.delete(want); err != nil {
			t.Error(err)
		}
		if e := p.newest(); e.Action != "ring_group.delete" || e.After != nil || e.Before["number"] != "4711" {
			t.Errorf("the event of the deletion is %+v", e)
		}
		if left := p.list(routing.Query{}); len(left.Items) != 0 {
			t.Errorf("left is %v", left.Items)
		}
		explicit := p.group(0)
		explicit.Number = "600"
		if again := p.create("Sales", explicit); again.Short != 3 { // short numbers are never used again, and an explicit number does not wait
			t.Errorf("the third is %s", again.Key())
		}
	})
}

func TestAnItemThatBreaksARuleIsRefusedWithTheFieldAndNothingIsStored(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := open(t, url, 2)
		sales := p.create("Sales", p.group(0))
		office := p.group(1)
		office.Fallback = to(sales)
		second := p.create("Office", office)
		if err := p.store.NoteHost(t.Context(), store.HostRunning, []pbx.HostObject{
			{Kind: pbx.KindExtension, Context: pbx.Context, Number: 602}, {Kind: pbx.KindExtension, Context: "other", Number: 603},
		}); err != nil {
			t.Fatal(err)
		}
		const nobody = "a0000000-0000-4000-8000-000000000009"
		before := p.newest().Seq
		for name, c := range map[string]struct {
			name             string
			alter            func(g *pbx.RingGroup)
			code, field, say string
		}{
			"no name":             {" ", func(*pbx.RingGroup) {}, pbx.CodeInvalid, "name", "must not be empty"},
			"a taken name":        {"SALES", func(*pbx.RingGroup) {}, pbx.CodeNameTaken, "name", "different one"},
			"an unknown member":   {"New", func(g *pbx.RingGroup) { g.Members = append(g.Members, nobody) }, pbx.CodeInvalid, "members", "there is no user"},
			"a group as a member": {"New", func(g *pbx.RingGroup) { g.Members = []pbx.UserID{pbx.UserID(sales.ID)} }, pbx.CodeInvalid, "members", "there is no user"},
			"no member":           {"New", func(g *pbx.RingGroup) { g.Members = nil }, pbx.CodeInvalid, "members", "1 to 50"},
			"an unknown fallback": {
				"New", func(g *pbx.RingGroup) { g.Fallback = pbx.Destination{Kind: pbx.KindRingGroup, ID: nobody} }, pbx.CodeInvalid, "fallback", "there is no ring group",
			},
			"a user as a group": {"New", func(g *pbx.RingGroup) {
				g.Fallback = pbx.Destination{Kind: pbx.KindRingGroup, ID: string(p.users[0].ID)}
			}, pbx.CodeInvalid, "fallback", "no ring group"},
			"a number of a user":   {"New", func(g *pbx.RingGroup) { g.Number = "1000" }, pbx.CodeNumberTaken, "number", `the user "User 0" has it`},
			"a number of a group":  {"New", func(g *pbx.RingGroup) { g.Number = "600" }, pbx.CodeNumberTaken, "number", `the ring group "Sales" has it`},
			"a number of the host": {"New", func(g *pbx.RingGroup) { g.Number = "602" }, pbx.CodeNumberTaken, "number", "extension 602"},
			"an emergency number":  {"New", func(g *pbx.RingGroup) { g.Number = "112" }, pbx.CodeInvalid, "number", "emergency"},
		} {
			g := p.group(0)
			c.alter(g)
			_, created := p.routing.Create(t.Context(), pbx.DefaultTenant, c.name, g)
			_, changed := p.change(second.ID, 0, func(name *string, g *pbx.RingGroup) { *name = c.name; c.alter(g) })
			for what, err := range map[string]error{"create": created, "change": changed} {
				fields := pbx.FieldsOf(err)
				if pbx.CodeOf(err) != c.code || len(fields) != 1 || fields[0].Field != c.field || !strings.Contains(err.Error(), c.say) {
					t.Errorf("%s: %s: %v", name, what, err)
				}
			}
		}
		// Sales → Office → Sales would never end.
		_, err := p.change(sales.ID, 0, func(_ *string, g *pbx.RingGroup) { g.Fallback = to(second) })
		if f := pbx.FieldsOf(err); pbx.CodeOf(err) != pbx.CodeInvalid || len(f) != 1 || f[0].Field != "fallback" || !strings.Contains(err.Error(), "Sales → 601 Office → 600 Sales") {
			t.Errorf("a circle: %v", err)
		}
		if _, err = p.change(sales.ID, 0, func(_ *string, g *pbx.RingGroup) { g.Fallback = to(sales) }); pbx.CodeOf(err) != pbx.CodeInvalid {
			t.Errorf("a group that falls back to itself: %v", err)
		}
		if _, err = p.change(sales.ID, 0, func(_ *string, g *pbx.RingGroup) { g.Number = "" }); pbx.CodeOf(err) != pbx.CodeInvalid || !strings.Contains(err.Error(), "number") {
			t.Errorf("without a number: %v", err)
		}
		if _, err = p.change(sales.ID, 7, func(name *string, _ *pbx.RingGroup) { *name = "X" }); pbx.CodeOf(err) != pbx.CodeChangedMeanwhile {
			t.Errorf("an older version: %v", err)
		}
		if _, err = p.routing.Delete(t.Context(), pbx.DefaultTenant, sales.Kind, sales.ID, 7); pbx.CodeOf(err) != pbx.CodeChangedMeanwhile {
			t.Errorf("an older version to delete: %v", err)
		}
		uses := []pbx.Use{{Kind: pbx.KindRingGroup, Name: "Office", Field: "fallback", ID: second.ID}}
		if e, _ := errors.AsType[*pbx.Error](p.delete(sales)); e == nil || e.Code != pbx.CodeInUse || !cmp.Equal(e.Uses, uses) || !strings.Contains(e.Msg, `"Office" (fallback)`) {
			t.Errorf("a group in use: %v", e)
		}
		for _, id := range []pbx.ThingID{nobody, "600", pbx.ThingID(p.users[0].ID)} {
			_, err := p.routing.Get(t.Context(), pbx.DefaultTenant, pbx.KindRingGroup, id)
			_, deleted := p.routing.Delete(t.Context(), pbx.DefaultTenant, pbx.KindRingGroup, id, 0)
			if pbx.CodeOf(err) != pbx.CodeThingNotFound || pbx.CodeOf(deleted) != pbx.CodeThingNotFound {
				t.Errorf("%s: %v, %v", id, err, deleted)
			}
		}
		if page := p.list(routing.Query{}); p.newest().Seq != before || len(page.Items) != 2 || page.Items[0].Version+page.Items[1].Version != 2 {
			t.Errorf("something was stored: %v", page.Items)
		}
		next := p.create("Next", p.group(0))
		if next.Body.Claims()[0].Number != "603" { // the host has 602
			t.Errorf("the next number is %v", next.Body.Claims())
		}
		for i := range 10 { // a call comes to at most ten objects one after the other
			g := p.group(0)
			g.Fallback = to(next)
			longer, err := p.routing.Create(t.Context(), pbx.DefaultTenant, fmt.Sprint("Chain ", i), g)
			if f := pbx.FieldsOf(err); (i == 9) != (len(f) == 1 && f[0].Field == "fallback" && strings.Contains(f[0].Message, "11 objects")) {
				t.Fatalf("chain of %d: %v", i+2, err)
			}
			if err == nil {
				next = longer
			}
		}
	})
}

func TestAUserWhoIsDeletedLeavesGroupsAndIsKeptWhereOneNeedsTheUser(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := open(t, url, 3)
		both, last := p.create("Both", p.group(0, 1)), p.create("Last", p.group(1))
		falls := p.group(2)
		falls.Fallback = pbx.Destination{Kind: pbx.KindUser, ID: string(p.users[0].ID)}
		fallback := p.create("Falls", falls)
		_, err := p.people.Delete(t.Context(), pbx.DefaultTenant, p.users[1].ID)
		if e, _ := errors.AsType[*pbx.Error](err); e == nil || e.Code != pbx.CodeInUse || !cmp.Equal(e.Uses, []pbx.Use{{Kind: last.Kind, Name: "Last", Field: "members", ID: last.ID}}) {
			t.Fatalf("the last member: %v", err)
		}
		_, err = p.people.Delete(t.Context(), pbx.DefaultTenant, p.users[0].ID)
		if e, _ := errors.AsType[*pbx.Error](err); e == nil || e.Code != pbx.CodeInUse || !cmp.Equal(e.Uses, []pbx.Use{{Kind: last.Kind, Name: "Falls", Field: "fallback", ID: fallback.ID}}) {
			t.Fatalf("a fallback: %v", err)
		}
		if got, err := p.routing.Get(t.Context(), pbx.DefaultTenant, both.Kind, both.ID); got.Version != 1 || err != nil {
			t.Fatalf("a refused deletion changed a group: version %d, error %v", got.Version, err)
		}
		if err := p.delete(last); err != nil {
			t.Fatal(err)
		}
		seq := p.newest().Seq
		if _, err = p.people.Delete(t.Context(), pbx.DefaultTenant, p.users[1].ID); err != nil {
			t.Fatal(err)
		}
		got, err := p.routing.Get(t.Context(), pbx.DefaultTenant, both.Kind, both.ID)
		if g := got.Body.(*pbx.RingGroup); got.Version != 2 || !slices.Equal(g.Members, []pbx.UserID{p.users[0].ID}) || err != nil {
			t.Errorf("version %d with %v, error %v", got.Version, g.Members, err)
		}
		entries, err := p.store.EventsAfter(t.Context(), store.EventQuery{}, seq, 10)
		if err != nil || len(entries) != 2 || entries[0].Event.Action != "ring_group.change" || entries[1].Event.Action != pbx.ActionUserDelete ||
			entries[0].Event.After["members"] != string(p.users[0].ID) {
			t.Errorf("the events are %+v, error %v", entries, err)
		}
	})
}

func TestOfTwoEditorsOfAnItemOneGetsTheConflictAndNoneLosesAChange(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := open(t, url, 1)
		i := p.create("Sales", p.group(0))
		const rounds = 10
		var all sync.WaitGroup
		for _, letter := range []string{"a", "b"} {
			r := routing.New(storetest.Open(t, url), time.Now) // as another process
			all.Go(func() {
				for n := 0; n < rounds; {
					read, err := r.Get(t.Context(), pbx.DefaultTenant, i.Kind, i.ID)
					if err == nil {
						_, err = r.Change(t.Context(), pbx.DefaultTenant, i.Kind, i.ID, read.Version, func(i *pbx.Item) error { i.Name = read.Name + letter; return nil })
					}
					if err == nil {
						n++
					} else if pbx.CodeOf(err) != pbx.CodeChangedMeanwhile {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		got, err := p.routing.Get(t.Context(), pbx.DefaultTenant, i.Kind, i.ID)
		letters := strings.TrimPrefix(got.Name, "Sales")
		if err != nil || strings.Count(letters, "a") != rounds || strings.Count(letters, "b") != rounds || got.Version != 1+2*rounds {
			t.Errorf("version %d, changes %q, error %v", got.Version, letters, err)
		}
	})
}

func TestTheNumbersOfThePoolAreEachGivenOnceAlsoToManyAtOnce(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := open(t, url, 1)
		const first, last = 600, 699
		var all sync.WaitGroup
		var mu sync.Mutex
		seen := map[string]bool{}
		for w := range 4 {
			r := routing.New(p.store, time.Now)
			all.Go(func() {
				for n := range (last - first + 1) / 4 {
					i, err := r.Create(context.WithoutCancel(t.Context()), pbx.DefaultTenant, fmt.Sprintf("Group %d.%d", w, n), p.group(0))
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					seen[i.Body.Claims()[0].Number] = true
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if len(seen) != 100 || !seen["600"] || !seen["699"] {
			t.Errorf("%d numbers", len(seen))
		}
		if _, err := p.routing.Create(t.Context(), pbx.DefaultTenant, "One more", p.group(0)); pbx.CodeOf(err) != pbx.CodeNumbersUsedUp || !strings.Contains(err.Error(), "600–699") {
			t.Errorf("without a free number: %v", err)
		}
	})
}

func TestAListIsSearchedSortedFilteredAndPagedWithoutGapOrRepetition(t *testing.T) {
	t.Parallel()
	p := open(t, storetest.SQLite(t), 3)
	names := []string{"Zürich", "ärzte", "Sales", "Öffnung", "sales 2", "Support"}
	for n, name := range names {
		g := p.group(n % 3)
		g.Number = fmt.Sprint([]int{42, 600, 4711, 43, 123456, 601}[n])
		if n == 5 {
			g.Strategy = pbx.RingHunt
		}
		p.create(name, g)
	}
	for name, c := range map[string]struct {
		q    routing.Query
		want []string
	}{
		"all":           {routing.Query{}, []string{"ärzte", "Öffnung", "Sales", "sales 2", "Support", "Zürich"}},
		"by number":     {routing.Query{Sort: routing.ByNumber}, []string{"Zürich", "Öffnung", "ärzte", "Support", "Sales", "sales 2"}},
		"backwards":     {routing.Query{Sort: routing.ByNumber, Descending: true}, []string{"sales 2", "Sales", "Support", "ärzte", "Öffnung", "Zürich"}},
		"by age":        {routing.Query{Sort: routing.ByShort}, names},
		"a word":        {routing.Query{Text: "SALE"}, []string{"Sales", "sales 2"}},
		"without marks": {routing.Query{Text: "zurich"}, []string{"Zürich"}},
		"a number":      {routing.Query{Text: "47"}, []string{"Sales"}},
		"a field":       {routing.Query{Match: pbx.Facts{"strategy": "hunt"}}, []string{"Support"}},
		"no such field": {routing.Query{Match: pbx.Facts{"color": ""}}, nil},
		"of a user":     {routing.Query{To: string(p.users[0].ID)}, []string{"Öffnung", "Zürich"}},
	} {
		for _, limit := range []int{0, 1, 2, 5, 6} {
			q, got := c.q, []string(nil)
			for q.Limit = limit; ; {
				page := p.list(q)
				for _, i := range page.Items {
					got = append(got, i.Name)
				}
				if page.Total != len(c.want) {
					t.Errorf("%s: a total of %d", name, page.Total)
				}
				if q.After = page.Next; q.After.Short == 0 {
					break
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s, in pages of %d: %q", name, limit, got)
			}
		}
	}
	first := p.list(routing.Query{Limit: 2})
	if err := p.delete(first.Items[1]); err != nil {
		t.Fatal(err)
	}
	if next := p.list(routing.Query{Limit: 2, After: first.Next}); len(next.Items) != 2 || next.Items[0].Name != "Sales" {
		t.Errorf("behind an item that was deleted: %v", next.Items)
	}
	if _, err := p.routing.List(t.Context(), pbx.DefaultTenant, pbx.KindRingGroup, routing.Query{Sort: "color"}); pbx.KindOf(err) != pbx.KindInvalid {
		t.Error(err)
	}
}
