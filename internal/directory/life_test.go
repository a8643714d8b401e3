package directory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/routing"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// actions returns the actions of the events after an event.
func (p *past) actions(after int) (all []string) {
	p.t.Helper()
	entries, err := p.store.EventsAfter(p.t.Context(), store.EventQuery{}, int64(after), 1000)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Event.Action)
	}
	return all
}

// inShort returns consequences in short: who moves or leaves, what is released, and where the successor is now.
func inShort(c directory.Consequences) string {
	var all []string
	for _, m := range c.People {
		all = append(all, fmt.Sprintf("%d→%d", m.Was.Extension.Number, m.Now.Extension.Number))
	}
	for _, r := range c.Released {
		all = append(all, fmt.Sprintf("free %d", r.Number))
	}
	for _, r := range c.Replaced {
		all = append(all, fmt.Sprintf("%s %s %t", r.Name, r.Field, r.By != ""))
	}
	return strings.Join(all, ", ")
}

// numbers returns who has which number, and checks that every row has a hash.
func (p *past) numbers() string {
	p.t.Helper()
	if n, err := p.store.Uncovered(p.t.Context()); n != 0 || err != nil {
		p.t.Errorf("%d users have no hash, error %v", n, err)
	}
	if _, err := p.store.CheckedUsers(p.t.Context(), pbx.DefaultTenant); err != nil {
		p.t.Error(err)
	}
	var all []string
	for _, u := range p.list() {
		all = append(all, fmt.Sprintf("%d %s", u.Extension.Number, u.Name))
	}
	return strings.Join(all, ", ")
}

func TestASuccessorTakesThePlaceOfAUserWhoLeaves(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPast(t, url)
		p.Directory = p.WithQuarantine(time.Hour)
		r := routing.New(p.store, time.Now)
		anna, ben, carl := p.users[0], p.users[1], p.users[2]
		members := func(name string, fallback pbx.Destination, members ...pbx.UserID) pbx.Item {
			t.Helper()
			i, err := r.Create(t.Context(), pbx.DefaultTenant, name, &pbx.RingGroup{Members: members, Fallback: fallback})
			if err != nil {
				t.Fatal(err)
			}
			return i
		}
		end := pbx.Destination{Kind: pbx.Hangup}
		sales, both := members("Sales", toUser(anna), carl.ID, anna.ID), members("Both", end, ben.ID, anna.ID)
		for _, s := range []struct {
			u     pbx.User
			calls pbx.CallSettings
		}{{ben, pbx.CallSettings{WhenBusy: toUser(anna), WhenUnanswered: toUser(anna), RingSeconds: 30}}, {carl, pbx.CallSettings{WhenBusy: toUser(anna)}}} {
			if _, err := p.set(s.u, s.calls); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := p.AddDevice(t.Context(), pbx.DefaultTenant, anna.ID, 0, "Mobile"); err != nil {
			t.Fatal(err)
		}
		if err := p.link(anna); err != nil {
			t.Fatal(err)
		}
		before := len(p.actions(0))
		for _, refused := range []struct {
			l    directory.Leaving
			says string
		}{
			{directory.Leaving{}, "or name a successor"},
			{directory.Leaving{Successor: anna.ID}, "successor: must be another user"},
			{directory.Leaving{Successor: "x"}, "successor: there is no such user"},
			{directory.Leaving{Successor: ben.ID, IfMatch: 1}, "changed since"},
		} {
			if _, err := p.Leave(t.Context(), pbx.DefaultTenant, anna.ID, refused.l); err == nil || !strings.Contains(err.Error(), refused.says) {
				t.Errorf("%+v: %v", refused.l, err)
			}
		}
		would, err := p.Leave(t.Context(), pbx.DefaultTenant, anna.ID, directory.Leaving{Successor: ben.ID, DryRun: true})
		if got := p.actions(before); err != nil || got != nil {
			t.Fatalf("a dry run left the events %v, error %v", got, err)
		}
		done, err := p.Leave(t.Context(), pbx.DefaultTenant, anna.ID, directory.Leaving{Successor: ben.ID})
		if err != nil || inShort(done) != inShort(would) {
			t.Fatalf("done %s, announced %s, error %v", inShort(done), inShort(would), err)
		}
		want := "1000→0, free 1000, Sales fallback true, Sales members true, Both members false, User 1 calls.when_busy false, User 1 calls.when_unanswered false, User 2 calls.when_busy true"
		if got := inShort(done); got != want || len(done.People[0].Was.Devices) != 1 || done.Account.Email != "anna@example.com" || time.Until(done.Released[0].FreeAt) < 59*time.Minute {
			t.Errorf("%s, want %s; %+v", got, want, done)
		}
		if got, want := p.actions(before), []string{"user.leave", "ring_group.change", "ring_group.change", "user.change", "user.change", "user.delete"}; !slices.Equal(got, want) {
			t.Errorf("the events are %v, want %v", got, want)
		}
		for name, want := range map[string]pbx.Body{
			"Sales": &pbx.RingGroup{Number: "600", Strategy: pbx.RingAll, Seconds: 20, Members: []pbx.UserID{carl.ID, ben.ID}, Fallback: toUser(ben)},
			"Both":  &pbx.RingGroup{Number: "601", Strategy: pbx.RingAll, Seconds: 20, Members: []pbx.UserID{ben.ID}, Fallback: end},
		} {
			id := map[string]pbx.ThingID{"Sales": sales.ID, "Both": both.ID}[name]
			if i, err := r.Get(t.Context(), pbx.DefaultTenant, pbx.KindRingGroup, id); err != nil || !cmp.Equal(i.Body, want) {
				t.Errorf("%s: %+v, error %v", name, i.Body, err)
			}
		}
		if got := p.list(); got[0].Calls != (pbx.CallSettings{RingSeconds: 30}) || got[1].Calls != (pbx.CallSettings{WhenBusy: toUser(ben)}) {
			t.Errorf("the call settings are %+v and %+v", got[0].Calls, got[1].Calls)
		}
		if got := p.numbers(); got != "1001 User 1, 1002 User 2" {
			t.Error(got)
		}
		// Calls to Ben now go on to Sales, and from there to Ben.
		if _, err := p.set(carl, pbx.CallSettings{WhenBusy: pbx.Destination{Kind: pbx.KindRingGroup, ID: string(sales.ID)}}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Leave(t.Context(), pbx.DefaultTenant, ben.ID, directory.Leaving{Successor: carl.ID}); err == nil || !strings.Contains(err.Error(), "successor: must be another user: ") {
			t.Errorf("a circle: %v", err)
		}
		// New users do not get the number before its cool-down.
		if u := p.create(9); u.Extension.Number != 1003 {
			t.Errorf("a new user got %d", u.Extension.Number)
		}
	})
}

// link links an account to a user.
func (p *past) link(u pbx.User) error {
	id := pbx.AccountID("51b4c1c5-6f44-4d0f-9d38-5a2b1f0c9e77")
	return p.store.InTx(p.t.Context(), func(ctx context.Context, tx *store.Tx) error {
		account := store.Credentials{Account: pbx.Account{ID: id, Name: "Anna", Email: "anna@example.com", Role: pbx.Owner, CreatedAt: time.Now()}}
		return errors.Join(tx.InsertAccount(ctx, account), tx.LinkAccount(ctx, id, u.ID))
	})
}

func TestANumberIsHandedOverAtOnceAndUsersCanExchangeTheirs(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		p := newPast(t, url)
		p.Directory = p.WithQuarantine(time.Hour)
		anna, ben := p.users[0], p.users[1]
		if _, _, err := p.AddDevice(t.Context(), pbx.DefaultTenant, ben.ID, 0, "Mobile"); err != nil {
			t.Fatal(err)
		}
		dora := pbx.NewUser{Name: "Dora", EmailOptional: true}
		for what, refused := range map[string]struct {
			h    directory.HandOver
			says string
		}{
			"to nobody":           {directory.HandOver{}, "to: give either"},
			"to two":              {directory.HandOver{To: ben.ID, New: &dora}, "to: give either"},
			"to the user":         {directory.HandOver{To: anna.ID}, "to: must be another user"},
			"the same number":     {directory.HandOver{To: ben.ID, Number: 1000}, "number: must be another number"},
			"a taken number":      {directory.HandOver{To: ben.ID, Number: 1002}, "the number 1002 is taken"},
			"an emergency number": {directory.HandOver{To: ben.ID, Number: 112}, "number: is an emergency number"},
			"leaves and stays":    {directory.HandOver{To: ben.ID, Number: 1005, Leaves: true}, "number: must be left out"},
			"without a name":      {directory.HandOver{New: &pbx.NewUser{EmailOptional: true}}, "name: "},
			"a taken address":     {directory.HandOver{New: &pbx.NewUser{Name: "Dora", Email: "USER2@example.com"}}, "is taken"},
			"an older version":    {directory.HandOver{To: ben.ID, IfMatch: 7}, "changed since"},
		} {
			if _, err := p.HandOver(t.Context(), pbx.DefaultTenant, anna.ID, refused.h); err == nil || !strings.Contains(err.Error(), refused.says) {
				t.Errorf("%s: %v", what, err)
			}
		}
		change := []string{"user.change"}
		for _, tc := range []struct {
			what        string
			of          pbx.UserID
			h           directory.HandOver
			short, then string
			events      []string
		}{
			{"exchange", anna.ID, directory.HandOver{To: ben.ID, Number: 1001}, "1000→1001, 1001→1000", "1000 User 1, 1001 User 0, 1002 User 2", append(change, change...)},
			{"to a new user", anna.ID, directory.HandOver{New: &dora}, "1001→1003, 0→1001", "1000 User 1, 1001 Dora, 1002 User 2, 1003 User 0", append(change, "user.create")},
			{"to another", anna.ID, directory.HandOver{To: ben.ID, Number: 20}, "1003→20, 1000→1003, free 1000", "20 User 0, 1001 Dora, 1002 User 2, 1003 User 1", append(change, change...)},
			{"of one who leaves", ben.ID, directory.HandOver{To: anna.ID, Leaves: true}, "1003→0, 20→1003, free 20", "1001 Dora, 1002 User 2, 1003 User 0", []string{"user.delete", "user.change"}},
			{"of one who leaves, to a new user", anna.ID, directory.HandOver{New: &pbx.NewUser{Name: "Emil", Email: "emil@example.com"}, Leaves: true}, "1003→0, 0→1003", "1001 Dora, 1002 User 2, 1003 Emil", []string{"user.create", "user.delete"}},
		} {
			before, was := len(p.actions(0)), p.numbers()
			tc.h.DryRun = true
			would, err := p.HandOver(t.Context(), pbx.DefaultTenant, tc.of, tc.h)
			if err != nil || p.numbers() != was || p.actions(before) != nil {
				t.Fatalf("%s: a dry run left %s, error %v", tc.what, p.numbers(), err)
			}
			tc.h.DryRun = false
			secrets := map[pbx.UserID]string{}
			for _, u := range p.list() {
				secrets[u.ID] = phonesSecrets(u)
			}
			done, err := p.HandOver(t.Context(), pbx.DefaultTenant, tc.of, tc.h)
			if err != nil || inShort(done) != tc.short || inShort(would) != tc.short {
				t.Fatalf("%s: %s, announced %s, want %s; error %v", tc.what, inShort(done), inShort(would), tc.short, err)
			}
			if got := p.numbers(); got != tc.then {
				t.Errorf("%s: %s, want %s", tc.what, got, tc.then)
			}
			if got, want := p.actions(before), append([]string{"user.hand_over"}, tc.events...); !slices.Equal(got, want) {
				t.Errorf("%s: events %v, want %v", tc.what, got, want)
			}
			for _, u := range p.list() {
				if had, ok := secrets[u.ID]; ok && had != phonesSecrets(u) {
					t.Errorf("%s: %s has other secrets", tc.what, u.Name)
				}
			}
		}
		if u := p.create(9); u.Extension.Number != 1004 { // 1000 waits for its cool-down
			t.Errorf("a new user got %d", u.Extension.Number)
		}
	})
}

func phonesSecrets(u pbx.User) (all string) {
	for _, d := range directory.DevicesOf(u) {
		all += d.Secret.Reveal() + " "
	}
	return all
}
