package node_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/routing"
)

// contacts returns the numbers as which phones are registered.
func (s *site) contacts(t *testing.T) (numbers []string) {
	t.Helper()
	contacts, err := s.asterisk.Control().Contacts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range contacts {
		numbers = append(numbers, c.AOR)
	}
	slices.Sort(numbers)
	return numbers
}

func (s *site) change(t *testing.T, u pbx.User, change func(*pbx.User)) pbx.User {
	t.Helper()
	now, err := s.directory.Change(t.Context(), pbx.DefaultTenant, u.ID, 0, func(u *pbx.User) error { change(u); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return now
}

func TestAPhoneStaysRegisteredWhenItsUserIsRenamedAndIsNamedInThePlanWhenItMustBeSetUpAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	anna, berta := s.create(t, "Anna"), s.create(t, "Berta")
	r := routing.New(s.store, time.Now)
	if _, err := r.Create(t.Context(), pbx.DefaultTenant, "Sales", &pbx.RingGroup{Members: []pbx.UserID{anna.ID}, Fallback: pbx.Destination{Kind: pbx.Hangup}}); err != nil {
		t.Fatal(err)
	}
	s.mustApply(t)
	phone, other := s.registered(t, anna), s.registered(t, berta)
	rings := func(number, name, from string) {
		t.Helper()
		out, err := other.Dial(t.Context(), number)
		if err != nil {
			t.Fatal(err)
		}
		in, err := phone.Incoming(t.Context())
		if err != nil || in.From().Name != "Berta" {
			t.Fatal(in, err)
		}
		if err := out.Hangup(t.Context()); err != nil {
			t.Error(err)
		}
		if out, err = phone.Dial(t.Context(), "1001"); err != nil {
			t.Fatal(err)
		}
		if in, err = other.Incoming(t.Context()); err != nil || in.From().Name != name || in.From().Number != from {
			t.Errorf("the called phone shows %+v, error %v; want %s %s", in.From(), err, name, from)
		}
		if err := out.Hangup(t.Context()); err != nil {
			t.Error(err)
		}
	}
	rings("1000", "Anna", "1000")

	s.change(t, anna, func(u *pbx.User) { u.Name = "Anna Schmidt" })
	run := s.mustApply(t)
	if c := run.Plan.UserChanges(); len(c) != 1 || c[0].Reregister || len(run.Plan.Effects) != 0 || run.Log.Reload.Dialplan != nil {
		t.Errorf("a renamed user: changes %+v, effects %v, reloads %+v", c, run.Plan.Effects, run.Log.Reload)
	}
	if got := s.contacts(t); !slices.Equal(got, []string{"1000", "1001"}) {
		t.Errorf("registered are %v", got)
	}
	rings("1000", "Anna Schmidt", "1000") // without another registration

	anna = s.change(t, anna, func(u *pbx.User) { u.Extension.Number = 1005 })
	run = s.mustApply(t)
	c := run.Plan.UserChanges()
	if len(c) != 1 || !c[0].Reregister || c[0].Was != 1000 || c[0].Number != 1005 || c[0].Name != "Anna Schmidt" ||
		!slices.Equal(run.Plan.Effects, []pbx.Effect{{Verb: pbx.ForgetRegistration, Number: 1000}, {Verb: pbx.MoveSwitches, Number: 1000, To: 1005, Reversible: true}}) {
		t.Errorf("a renumbered user: changes %+v, effects %v", c, run.Plan.Effects)
	}
	if got := s.contacts(t); !slices.Equal(got, []string{"1001"}) {
		t.Errorf("registered are %v", got)
	}
	if err := phone.Register(t.Context(), time.Minute); err == nil {
		t.Error("the phone registers with the number before")
	}
	phone = s.registered(t, anna) // with the same secret
	rings("1005", "Anna Schmidt", "1005")
	rings("600", "Anna Schmidt", "1005")
}

func TestRandomChangesReachARealAsteriskAndThePlanNamesNothingElse(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 14))
	users := []pbx.User{s.create(t, "Anna"), s.create(t, "Berta"), s.create(t, "Claus")}
	r := routing.New(s.store, time.Now)
	var groups []pbx.Item
	for n, u := range users[:2] {
		g, err := r.Create(t.Context(), pbx.DefaultTenant, fmt.Sprint("Group ", n), &pbx.RingGroup{Members: []pbx.UserID{u.ID}, Fallback: pbx.Destination{Kind: pbx.Hangup}})
		if err != nil {
			t.Fatal(err)
		}
		groups = append(groups, g)
	}
	s.mustApply(t)
	for step := range 6 {
		var what []string
		var owner string
		var replaced []pbx.Change // instead of a change: the files do not show that the disabled users of two numbers are the same
		if n := random.IntN(3); random.IntN(2) == 0 {
			users[n] = s.change(t, users[n], func(u *pbx.User) {
				switch random.IntN(3) {
				case 0:
					what, u.Name = []string{"name"}, fmt.Sprint("Name ", step)
				case 1:
					was, is := u.Extension.Number, pbx.Number(2000+step)
					if what, u.Extension.Number = []string{"number"}, is; u.Disabled {
						replaced = []pbx.Change{
							{Kind: pbx.Removed, Owner: pbx.Thing{Kind: pbx.KindUser, Key: fmt.Sprint(was)}, Number: was},
							{Kind: pbx.Added, Owner: pbx.Thing{Kind: pbx.KindUser, Key: fmt.Sprint(is)}, Number: is, Name: u.Name},
						}
					}
				case 2:
					what, u.Disabled = []string{"enabled"}, !u.Disabled
				}
			})
			owner = fmt.Sprint(users[n].Extension.Number)
		} else {
			n = random.IntN(2)
			var err error
			groups[n], err = r.Change(t.Context(), pbx.DefaultTenant, pbx.KindRingGroup, groups[n].ID, 0, func(i *pbx.Item) error {
				g := i.Body.(*pbx.RingGroup)
				g.Number, g.Seconds, g.SkipBusy, what = fmt.Sprint(700+step), 21+step, !g.SkipBusy, []string{"number", "seconds", "skip_busy"}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			owner = groups[n].Key()
		}
		run, err := s.apply(t, apply.Request{})
		if err != nil || run.Verification != pbx.Confirmed {
			t.Fatalf("%s of %s: %s, error %v", what, owner, run.Verification, err)
		}
		s.settled(t, "after a change")
		for _, c := range run.Plan.Changes {
			if i := slices.IndexFunc(replaced, func(r pbx.Change) bool { return cmp.Equal(c, r) }); i >= 0 {
				replaced = slices.Delete(replaced, i, i+1)
				continue
			}
			refers := what[0] == "number" && c.Owner.Kind == pbx.KindRingGroup && slices.Equal(c.What, []string{"members"})
			if refers && c.Owner.Key != owner {
				continue
			}
			if c.Owner.Key != owner || c.Kind != pbx.Changed || !slices.Equal(c.What, what) {
				t.Errorf("%v of %s: the plan has %+v", what, owner, c)
			}
		}
		if len(replaced) > 0 {
			t.Errorf("%v of %s: the plan lacks %+v", what, owner, replaced)
		}
	}
}
