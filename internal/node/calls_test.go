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
	"github.com/synergycall/pbxportal/internal/render"
)

// settle deploys call settings of the users with these positions, and ring groups.
func (o *office) settle(t *testing.T, calls map[int]pbx.CallSettings, groups ...pbx.Item) pbx.Run {
	t.Helper()
	users, err := o.store.Users(t.Context(), pbx.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	users = slices.Clone(users)
	for i, c := range calls {
		users[i].Calls = c
	}
	return o.deployModel(t, render.Options{RingTimeout: 20}, pbx.Model{Users: users, Items: groups})
}

// talk has the phone of one user call another, who answers.
func (o *office) talk(t *testing.T, from, to int) *phone.Call {
	t.Helper()
	out, err := o.phones[from].Dial(t.Context(), fmt.Sprint(o.users[to].Extension.Number))
	if err != nil {
		t.Fatal(err)
	}
	in, err := o.phones[to].Incoming(t.Context())
	if err == nil {
		err = errors.Join(in.Accept(t.Context()), out.Answered(t.Context()))
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCallsToAUserRingForATimeEndAtALimitAndGoOn(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	settings := map[int]pbx.CallSettings{
		1: {RingSeconds: 2, WhenUnanswered: o.to(2)},
		2: {CallLimit: 1, WhenBusy: o.to(3), CallerName: "Front desk", CallerNumber: "4930123"},
		4: {WhenUnreachable: o.to(3)},
	}
	run := o.settle(t, settings)
	var changes []string
	for _, c := range run.Plan.UserChanges() {
		changes = append(changes, fmt.Sprint(c.Number, " ", strings.Join(c.What, " ")))
	}
	want := []string{
		"1000 calls.ring_seconds", "1001 calls.ring_seconds calls.when_unanswered calls.when_unreachable",
		"1002 name calls.caller_number calls.ring_seconds calls.call_limit calls.when_busy", "1003 calls.ring_seconds", "1004 calls.ring_seconds calls.when_unreachable",
	}
	if !slices.Equal(changes, want) {
		t.Errorf("the plan has %q, want %q", changes, want)
	}

	// Nobody answers in time.
	c := o.call(t, "1001")
	began := time.Now()
	in := c.rings(t, 1)
	c.stopped(t, phone.ErrCanceled, in...)
	if rang := time.Since(began); rang < time.Second || rang > 5*time.Second {
		t.Errorf("the phone rang for %s, want 2 s", rang)
	}
	c.answered(t, c.rings(t, 2)[0])

	// No phone is registered.
	c = o.call(t, "1004")
	c.answered(t, c.rings(t, 3)[0])

	// A call that the user makes does not count, and the phone that is called shows another name and number.
	out, err := o.phones[2].Dial(t.Context(), "1003")
	if err != nil {
		t.Fatal(err)
	}
	shown, err := o.phones[3].Incoming(t.Context())
	if err == nil {
		err = errors.Join(shown.Accept(t.Context()), out.Answered(t.Context()))
	}
	if err != nil {
		t.Fatal(err)
	}
	if from := shown.From(); from.Name != "Front desk" || from.Number != "4930123" {
		t.Errorf("the phone shows the caller %s", from)
	}
	c = o.call(t, "1002")
	in = c.rings(t, 2)
	c.ended(t)
	c.stopped(t, phone.ErrCanceled, in...)
	if err := out.Hangup(t.Context()); err != nil {
		t.Error(err)
	}

	// One that rings counts, and so does one that was answered, also one that came through a group.
	group := o.group(1, pbx.RingGroup{Strategy: pbx.RingAll, Seconds: 20, Fallback: pbx.Destination{Kind: pbx.Hangup}}, 2, 3)
	o.settle(t, settings, group)
	first := o.call(t, "1002")
	ringing := first.rings(t, 2)
	second := func(number string) {
		t.Helper()
		other, err := o.phones[1].Dial(t.Context(), number)
		if err != nil {
			t.Fatal(err)
		}
		elsewhere, err := o.phones[3].Incoming(t.Context())
		if err == nil {
			err = elsewhere.Reject(486)
		}
		if err != nil {
			t.Fatal(err)
		}
		status := 486
		if number == "600" {
			status = 480
		}
		if got := statusOf(t, other.Answered(t.Context())); got != status {
			t.Errorf("a second call to %s ends with status %d, want %d", number, got, status)
		}
	}
	second("1002")
	if err := errors.Join(ringing[0].Accept(first.ctx), first.Answered(first.ctx)); err != nil {
		t.Fatal(err)
	}
	second("1002")
	second("600")
	first.ended(t)
	first = o.call(t, "600")
	both := first.rings(t, 2, 3)
	if err := errors.Join(both[0].Accept(first.ctx), first.Answered(first.ctx)); err != nil {
		t.Fatal(err)
	}
	first.stopped(t, phone.ErrAnsweredElsewhere, both[1])
	second("1002")
	first.ended(t)

	// And a call counts no longer once it has ended, or another member has answered it.
	first = o.call(t, "600")
	both = first.rings(t, 2, 3)
	if err := errors.Join(both[1].Accept(first.ctx), first.Answered(first.ctx)); err != nil {
		t.Fatal(err)
	}
	first.stopped(t, phone.ErrAnsweredElsewhere, both[0])
	if err := o.talk(t, 1, 2).Hangup(t.Context()); err != nil {
		t.Error(err)
	}
	first.ended(t)

	// Without a destination for calls to a busy user, one that exceeds the limit ends as on a busy phone.
	o.settle(t, map[int]pbx.CallSettings{2: {CallLimit: 1}})
	first = o.call(t, "1002")
	ringing = first.rings(t, 2)
	other, err := o.phones[1].Call(t.Context(), "1002")
	if got := statusOf(t, err); got != 486 || other != nil {
		t.Errorf("a call that exceeds the limit ends with status %d, want 486", got)
	}
	first.ended(t)
	first.stopped(t, phone.ErrCanceled, ringing...)

	// Two users cover for each other: both ring once.
	o.settle(t, map[int]pbx.CallSettings{1: {RingSeconds: 1, WhenUnanswered: o.to(2)}, 2: {RingSeconds: 1, WhenUnanswered: o.to(1)}})
	c = o.call(t, "1001")
	for _, user := range []int{1, 2} {
		c.stopped(t, phone.ErrCanceled, c.rings(t, user)...)
	}
	c.refused(t, 480)
	o.quiet(t)
}

func TestAPhoneOfThePickupGroupAnswersTheCallOfAnother(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.settle(t, map[int]pbx.CallSettings{1: {PickupGroups: 1 << 7}, 3: {PickupGroups: 1<<7 | 1<<63}, 2: {PickupGroups: 1 << 5}})
	c := o.call(t, "1001")
	in := c.rings(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stranger, err := o.phones[2].Dial(ctx, "*8")
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Answered(ctx); err == nil {
		t.Error("a phone of another group answers the call")
	}
	picked, err := o.phones[3].Dial(ctx, "*8")
	if err == nil {
		err = errors.Join(picked.Answered(ctx), c.Answered(ctx))
	}
	if err != nil {
		t.Fatal(err)
	}
	c.stopped(t, phone.ErrCanceled, in...)
	c.sounds(t, picked)
	c.ended(t)
}

func TestCallsToADisabledUserGoOnToWhereThoseOfAnUnreachableOneGo(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	users, err := o.store.Users(t.Context(), pbx.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	users = slices.Clone(users)
	users[1].Disabled, users[1].Calls.WhenUnreachable = true, o.to(2)
	o.deployModel(t, render.Options{}, pbx.Model{Users: users})
	c := o.call(t, "1001")
	c.answered(t, c.rings(t, 2)[0])
}
