package node_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/phone"
)

// addPhone adds a phone to a user, and returns both.
func (s *site) addPhone(t *testing.T, u pbx.User, name string) (pbx.User, pbx.Device) {
	t.Helper()
	u, d, err := s.directory.AddDevice(t.Context(), pbx.DefaultTenant, u.ID, 0, name)
	if err != nil {
		t.Fatal(err)
	}
	return u, d
}

// phoneOf returns a phone that registers with these credentials.
func (s *site) phoneOf(t *testing.T, name, secret string) (*phone.Phone, error) {
	t.Helper()
	p, err := phone.New(phone.Config{Server: s.asterisk.SIPAddr, Number: name, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p, p.Register(t.Context(), 10*time.Minute)
}

func TestAllPhonesOfAPersonRingAndWhenOneAnswersTheOthersStopWithoutAMissedCall(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	caller, anna := s.create(t, "Caller"), s.create(t, "Anna")
	s.mustApply(t)
	plain := s.generated(t)
	anna, mobile := s.addPhone(t, anna, "Mobile")
	run := s.mustApply(t)
	if c := run.Plan.UserChanges(); len(c) != 1 || c[0].Number != anna.Extension.Number || !slices.Equal(c[0].What, []string{"phones"}) || c[0].Reregister || run.Plan.Effects != nil {
		t.Errorf("the plan has the changes %+v, the effects %+v", c, run.Plan.Effects)
	}
	s.settled(t, "with a further phone")
	from, desk := s.registered(t, caller), s.registered(t, anna)
	second, err := s.phoneOf(t, "1001-2", mobile.Secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	impostor, err := s.phoneOf(t, "1001", mobile.Secret.Reveal())
	if err == nil {
		t.Error("a phone registers with the secret of another phone")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 2 {
		both := []*phone.Phone{desk, second}
		call, err := from.Dial(ctx, "1001")
		if err != nil {
			t.Fatal(err)
		}
		answering, err := both[i].Incoming(ctx)
		other, otherErr := both[1-i].Incoming(ctx)
		if err = errors.Join(err, otherErr); err != nil {
			t.Fatal(err)
		}
		none, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		if _, err := impostor.Incoming(none); err == nil {
			t.Error("a phone rings that could not register")
		}
		cancel()
		if err := errors.Join(answering.Accept(ctx), call.Answered(ctx)); err != nil {
			t.Fatal(err)
		}
		<-other.Done()
		if !errors.Is(other.Err(), phone.ErrAnsweredElsewhere) {
			t.Errorf("the other phone stopped because: %v", other.Err())
		}
		if err := call.Hangup(ctx); err != nil {
			t.Error(err)
		}
	}
	// Calls from the further phone show the person's number and name.
	call, err := second.Dial(ctx, "1000")
	if err != nil {
		t.Fatal(err)
	}
	in, err := from.Incoming(ctx)
	if err != nil || in.From().Number != "1001" || in.From().Name != "Anna" {
		t.Errorf("the called phone shows %v, error %v", in, err)
	}
	if err := call.Hangup(ctx); err != nil {
		t.Error(err)
	}
	if err := func() error { _, err := s.phoneOf(t, "1001-2", anna.Extension.Secret.Reveal()); return err }(); err == nil {
		t.Error("a phone registers as the further one with the secret of the first")
	}

	// With a new secret the phone is forgotten; removed, it is refused.
	anna, mobile, err = s.directory.NewDeviceSecret(t.Context(), pbx.DefaultTenant, anna.ID, mobile.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.mustApply(t)
	if got := s.contacts(t); !slices.Equal(got, []string{"1000", "1001"}) {
		t.Errorf("after a new secret %q are registered", got)
	}
	if second, err = s.phoneOf(t, "1001-2", mobile.Secret.Reveal()); err != nil {
		t.Fatal(err)
	}
	if got := s.contacts(t); !slices.Equal(got, []string{"1000", "1001", "1001-2"}) {
		t.Errorf("%q are registered", got)
	}
	if _, err := s.directory.RemoveDevice(t.Context(), pbx.DefaultTenant, anna.ID, mobile.ID, 0); err != nil {
		t.Fatal(err)
	}
	run = s.mustApply(t)
	if want := []pbx.Effect{{Verb: pbx.ForgetRegistration, Number: 1001, Suffix: 2}}; !slices.Equal(run.Plan.Effects, want) {
		t.Errorf("effects %+v, want %+v", run.Plan.Effects, want)
	}
	if !slices.ContainsFunc(run.Events, func(e pbx.Event) bool { return e.Code == pbx.EventForgot && strings.Contains(e.Detail, "1001-2") }) {
		t.Errorf("the events do not say that the phone was forgotten: %+v", run.Events)
	}
	if got := s.contacts(t); !slices.Equal(got, []string{"1000", "1001"}) {
		t.Errorf("after the removal %q are registered", got)
	}
	if err := second.Register(t.Context(), time.Minute); err == nil {
		t.Error("the removed phone registers")
	}
	if s.generated(t) != plain {
		t.Error("without a further phone the files are not those of before")
	}
	s.settled(t, "without the further phone")
}

func TestAllPhonesOfAPersonWithAnotherNumberMustRegisterAgainAndNoneOfADisabledOneCan(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	anna, mobile := s.addPhone(t, s.create(t, "Anna"), "Mobile")
	s.mustApply(t)
	s.registered(t, anna)
	if _, err := s.phoneOf(t, "1000-2", mobile.Secret.Reveal()); err != nil {
		t.Fatal(err)
	}
	anna = s.change(t, anna, func(u *pbx.User) { u.Extension.Number = 1005 })
	run := s.mustApply(t)
	if c := run.Plan.UserChanges(); len(c) != 1 || c[0].Was != 1000 || !slices.Equal(c[0].What, []string{"number"}) || len(run.Plan.Effects) != 3 { // two phones, and the switches
		t.Errorf("the plan has the changes %+v, the effects %+v", c, run.Plan.Effects)
	}
	if got := s.contacts(t); len(got) > 0 {
		t.Errorf("%q are registered after the change of the number", got)
	}
	s.settled(t, "with another number")
	register := func() (errs [2]error) {
		_, errs[0] = s.phoneOf(t, "1005", anna.Extension.Secret.Reveal())
		_, errs[1] = s.phoneOf(t, "1005-2", mobile.Secret.Reveal())
		return errs
	}
	if errs := register(); errs != [2]error{} {
		t.Fatal(errs)
	}
	anna = s.change(t, anna, func(u *pbx.User) { u.Disabled = true })
	s.mustApply(t)
	if got := s.contacts(t); len(got) > 0 {
		t.Errorf("%q of a disabled user are registered", got)
	}
	if errs := register(); errs[0] == nil || errs[1] == nil {
		t.Errorf("phones of a disabled user register: %v", errs)
	}
	s.settled(t, "disabled")
	anna = s.change(t, anna, func(u *pbx.User) { u.Disabled = false })
	s.mustApply(t)
	if errs := register(); errs != [2]error{} {
		t.Error(errs)
	}
	s.settled(t, "enabled")
}

// A group that skips who is busy skips a person who is in a call on any phone.
func TestAPersonInACallOnAFurtherPhoneIsSkippedByAGroup(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	caller, anna := s.create(t, "Caller"), s.create(t, "Anna")
	berta := s.create(t, "Berta")
	anna, mobile := s.addPhone(t, anna, "Mobile")
	group := &pbx.RingGroup{Number: "600", Strategy: pbx.RingAll, Members: []pbx.UserID{anna.ID, berta.ID}, Seconds: 20, SkipBusy: true, Fallback: pbx.Destination{Kind: pbx.Hangup}}
	s.put(t, pbx.Item{Meta: pbx.Meta{Name: "Support"}, Body: group})
	s.mustApply(t)
	from, desk, third := s.registered(t, caller), s.registered(t, anna), s.registered(t, berta)
	second, err := s.phoneOf(t, "1001-2", mobile.Secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dial := func(p *phone.Phone, number string, ringing ...*phone.Phone) (*phone.Call, []*phone.Call) {
		t.Helper()
		out, err := p.Dial(ctx, number)
		if err != nil {
			t.Fatal(err)
		}
		var calls []*phone.Call
		for _, r := range ringing {
			in, err := r.Incoming(ctx)
			if err != nil {
				t.Fatalf("%s does not ring: %v", r.Number(), err)
			}
			calls = append(calls, in)
		}
		return out, calls
	}
	all, _ := dial(from, "600", desk, second, third)
	if err := all.Hangup(ctx); err != nil {
		t.Error(err)
	}
	talk, in := dial(second, "1000", from)
	if err := errors.Join(in[0].Accept(ctx), talk.Answered(ctx)); err != nil {
		t.Fatal(err)
	}
	other, err := s.phoneOf(t, fmt.Sprint(caller.Extension.Number), caller.Extension.Secret.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	only, in := dial(other, "600", third)
	for _, p := range []*phone.Phone{desk, second} {
		none, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		if _, err := p.Incoming(none); err == nil {
			t.Errorf("%s rings though the person is in a call", p.Number())
		}
		cancel()
	}
	if err := errors.Join(in[0].Reject(486), talk.Hangup(ctx)); err != nil {
		t.Error(err)
	}
	<-only.Done()
}
