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

// office is a portal beside a real Asterisk, with registered phones. The last user has none.
type office struct {
	*site
	users  []pbx.User
	phones []*phone.Phone // phones[0] calls
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{site: newSiteOf(t, render.Options{})}
	for _, name := range []string{"Caller", "Anna", "Berta", "Claus", "Switched off"} {
		o.users = append(o.users, o.create(t, name))
	}
	o.mustApply(t)
	for _, u := range o.users[:4] {
		o.phones = append(o.phones, o.registered(t, u))
	}
	return o
}

// set deploys these ring groups. A user who is called directly rings for a second.
func (o *office) set(t *testing.T, groups ...pbx.Item) {
	t.Helper()
	o.deploy(t, render.Options{RingTimeout: 1}, groups...)
}

// group returns a ring group of the users with these positions.
func (o *office) group(short int, g pbx.RingGroup, members ...int) pbx.Item {
	for _, i := range members {
		g.Members = append(g.Members, o.users[i].ID)
	}
	return ringGroup(short, g)
}

func (o *office) to(user int) pbx.Destination {
	return pbx.Destination{Kind: pbx.KindUser, ID: string(o.users[user].ID)}
}

// call is a call from the caller's phone.
type call struct {
	*office
	*phone.Call
	ctx context.Context //nolint:containedctx // bounds this one call
}

// call dials a number.
func (o *office) call(t *testing.T, number string) call {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	out, err := o.phones[0].Dial(ctx, number)
	if err != nil {
		t.Fatal(err)
	}
	return call{o, out, ctx}
}

// rings waits until the phones of these users ring, and returns their calls.
func (c call) rings(t *testing.T, users ...int) (in []*phone.Call) {
	t.Helper()
	for _, user := range users {
		i, err := c.phones[user].Incoming(c.ctx)
		if err != nil {
			t.Fatalf("the phone of %s: %v", c.users[user].Name, err)
		}
		if i.From().Number != "1000" {
			t.Errorf("the phone of %s shows the caller %s", c.users[user].Name, i.From())
		}
		in = append(in, i)
	}
	return in
}

// answered has a phone answer, and checks that the two hear each other, and that no other phone rings; then it hangs up.
func (c call) answered(t *testing.T, in *phone.Call) {
	t.Helper()
	if err := errors.Join(in.Accept(c.ctx), c.Answered(c.ctx)); err != nil {
		t.Fatal(err)
	}
	c.sounds(t, in)
	c.ended(t)
}

// sounds checks that sound passes in both directions.
func (c call) sounds(t *testing.T, in *phone.Call) {
	t.Helper()
	const hz = 440
	for _, ends := range [][2]*phone.Call{{in, c.Call}, {c.Call, in}} {
		played := make(chan error, 1)
		go func() { played <- ends[0].Play(c.ctx, phone.Tone{Hz: hz, Duration: 300 * time.Millisecond}.PCM()) }()
		heard, err := ends[1].Record(c.ctx, 300*time.Millisecond)
		if s := phone.Strength(heard, hz); err != nil || s < 0.3 {
			t.Errorf("the tone is heard with strength %.2f, error %v", s, err)
		}
		if err := <-played; err != nil {
			t.Error(err)
		}
	}
}

// ended hangs up, and checks that no phone rings any more.
func (c call) ended(t *testing.T) {
	t.Helper()
	if err := c.Hangup(c.ctx); err != nil {
		t.Error(err)
	}
	for i, p := range c.phones[1:] {
		none, cancel := context.WithTimeout(c.ctx, 20*time.Millisecond)
		if _, err := p.Incoming(none); err == nil {
			t.Errorf("the phone of %s rings after the call", c.users[1+i].Name)
		}
		cancel()
	}
}

// stopped checks that calls stopped ringing for a reason.
func (c call) stopped(t *testing.T, reason error, calls ...*phone.Call) {
	t.Helper()
	for _, in := range calls {
		select {
		case <-in.Done():
		case <-c.ctx.Done():
			t.Fatal("the phone goes on ringing")
		}
		if !errors.Is(in.Err(), reason) || errors.Is(in.Err(), phone.ErrAnsweredElsewhere) != (reason == phone.ErrAnsweredElsewhere) { //nolint:errorlint // which of the two is meant
			t.Errorf("the phone stopped ringing because: %v; want: %v", in.Err(), reason)
		}
	}
}

// refused waits until the call is refused with this status.
func (c call) refused(t *testing.T, status int) {
	t.Helper()
	if got := statusOf(t, c.Answered(c.ctx)); got != status {
		t.Errorf("the caller gets status %d, want %d", got, status)
	}
}

// quiet checks that Asterisk reports nothing but that the phone that is switched off cannot be reached, and that both ends of a call ended it at the
// same moment.
func (o *office) quiet(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(o.asterisk.Log()) {
		if (strings.Contains(line, "ERROR") || strings.Contains(line, "WARNING")) && !strings.Contains(line, "ndpoint '1004'") &&
			!strings.Contains(line, "Session already DISCONNECTED") {
			t.Errorf("Asterisk complained: %s", line)
		}
	}
}

// A phone that stops because another one answered shows no missed call.
func TestARingGroupRingsItsMembersByItsStrategyUntilOneAnswers(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.set(t,
		o.group(1, pbx.RingGroup{Strategy: pbx.RingAll, Seconds: 20}, 1, 2, 3, 4),
		o.group(2, pbx.RingGroup{Strategy: pbx.RingHunt, Seconds: 1}, 1, 4, 2, 3),
		o.group(3, pbx.RingGroup{Strategy: pbx.RingMemory, Seconds: 1}, 1, 2, 3),
		o.group(4, pbx.RingGroup{Strategy: pbx.RingAll, Seconds: 1, Fallback: o.to(3)}, 1, 2),
		o.group(5, pbx.RingGroup{Strategy: pbx.RingAll, Seconds: 1, Fallback: pbx.Destination{Kind: pbx.KindRingGroup, ID: "g6"}}, 1),
		o.group(6, pbx.RingGroup{Strategy: pbx.RingAll, Seconds: 1}, 2),
		o.group(7, pbx.RingGroup{Strategy: pbx.RingAll, Seconds: 20, SkipBusy: true}, 1, 2),
		o.group(8, pbx.RingGroup{Strategy: pbx.RingAll, Seconds: 20}, 1, 2),
		o.group(9, pbx.RingGroup{Strategy: pbx.RingHunt, Seconds: 20, SkipBusy: true}, 0, 1),
	)

	// All at once: one answers, the others stop.
	c := o.call(t, "600")
	in := c.rings(t, 1, 2, 3)
	c.answered(t, in[1])
	c.stopped(t, phone.ErrAnsweredElsewhere, in[0], in[2])

	// The caller gives up.
	c = o.call(t, "600")
	in = c.rings(t, 1, 2, 3)
	c.ended(t)
	c.stopped(t, phone.ErrCanceled, in...)

	// One after the other: the phone that is switched off costs no time, one that is busy neither.
	c = o.call(t, "601")
	in = c.rings(t, 1)
	c.stopped(t, phone.ErrCanceled, in...)
	if err := c.rings(t, 2)[0].Reject(486); err != nil {
		t.Fatal(err)
	}
	c.answered(t, c.rings(t, 3)[0])

	// Memory hunt: the first goes on ringing when the second begins, and its phone shows no missed call in between.
	c = o.call(t, "602")
	in = c.rings(t, 1)
	again := c.rings(t, 1, 2)
	c.stopped(t, phone.ErrAnsweredElsewhere, in...)
	c.answered(t, again[0])
	c.stopped(t, phone.ErrAnsweredElsewhere, again[1])

	// No member answers: a user, another group, and the end.
	c = o.call(t, "603")
	in = c.rings(t, 1, 2)
	c.stopped(t, phone.ErrCanceled, in...)
	c.answered(t, c.rings(t, 3)[0])
	c = o.call(t, "604")
	c.rings(t, 1)
	c.rings(t, 2)
	c.refused(t, 480)
	c.ended(t)

	// A member in a call is skipped, if the group says so.
	talk, err := o.phones[3].Dial(t.Context(), "1001")
	if err != nil {
		t.Fatal(err)
	}
	other, err := o.phones[1].Incoming(t.Context())
	if err == nil {
		err = errors.Join(other.Accept(t.Context()), talk.Answered(t.Context()))
	}
	if err != nil {
		t.Fatal(err)
	}
	c = o.call(t, "606")
	c.answered(t, c.rings(t, 2)[0])
	c = o.call(t, "607")
	in = c.rings(t, 1, 2)
	c.answered(t, in[1])
	c.stopped(t, phone.ErrAnsweredElsewhere, in[0])
	if err := talk.Hangup(t.Context()); err != nil {
		t.Error(err)
	}

	// A member who calls the group is in a call, too: the next one rings at once.
	c = o.call(t, "608")
	c.answered(t, c.rings(t, 1)[0])

	// A user who is called directly, as before there were groups.
	c = o.call(t, "1003")
	if err := c.rings(t, 3)[0].Reject(486); err != nil {
		t.Fatal(err)
	}
	c.refused(t, 486)
	o.call(t, "1004").refused(t, 480)
	o.call(t, "699").refused(t, 404)
	o.quiet(t)
}

func TestADisabledUserCannotRegisterAndCallersHearThatTheUserIsUnavailable(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	users, err := o.store.Users(t.Context(), pbx.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	users = slices.Clone(users)
	users[1].Disabled = true
	for i, items := range [][]pbx.Item{nil, {o.group(1, pbx.RingGroup{Strategy: pbx.RingAll, Seconds: 20}, 1, 2)}} {
		run := o.deployModel(t, render.Options{}, pbx.Model{Users: users, Items: items})
		if c := run.Plan.UserChanges(); i == 0 && (len(c) != 1 || fmt.Sprint(c[0].Number, c[0].What, c[0].Reregister) != "1001 [enabled] true") {
			t.Errorf("the plan has %+v", c)
		}
		if err := o.phones[1].Register(t.Context(), time.Minute); err == nil {
			t.Error("the phone of a disabled user registers")
		}
		if got := statusOf(t, func() error { _, err := o.phones[1].Call(t.Context(), "1002"); return err }()); got != 401 && got != 403 {
			t.Errorf("a call from the phone of a disabled user ends with status %d", got)
		}
		o.call(t, "1001").refused(t, 480)
		if items != nil {
			c := o.call(t, "600")
			c.answered(t, c.rings(t, 2)[0])
		}
	}
	users[1].Disabled = false
	o.deployModel(t, render.Options{}, pbx.Model{Users: users, Items: []pbx.Item{o.group(1, pbx.RingGroup{Strategy: pbx.RingAll, Seconds: 20}, 1)}})
	if err := o.phones[1].Register(t.Context(), time.Minute); err != nil {
		t.Fatal("enabled again, with the same secret: ", err)
	}
	c := o.call(t, "600")
	c.answered(t, c.rings(t, 1)[0])
}

// A reload never moves a call: it goes on with what it began with (an object is one step, and all else is in the library).
func TestAReloadDuringACallDoesNotChangeTheCall(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	one := func(fallback pbx.Destination, members ...int) pbx.Item {
		return o.group(1, pbx.RingGroup{Strategy: pbx.RingAll, Seconds: 1, Fallback: fallback}, members...)
	}
	other := o.group(9, pbx.RingGroup{Strategy: pbx.RingAll, Seconds: 1}, 3)
	hunt := o.group(1, pbx.RingGroup{Strategy: pbx.RingHunt, Seconds: 1, Fallback: o.to(3)}, 1, 2)

	// The group is unchanged, or a member and the fallback change while it rings.
	for _, changed := range []pbx.Item{hunt, one(pbx.Destination{Kind: pbx.Hangup}, 3)} {
		o.set(t, hunt, other)
		c := o.call(t, "600")
		in := c.rings(t, 1)
		o.console(t, "dialplan reload")
		o.set(t, changed, other)
		c.stopped(t, phone.ErrCanceled, in...)
		in = c.rings(t, 2)
		c.stopped(t, phone.ErrCanceled, in...)
		c.answered(t, c.rings(t, 3)[0])
	}

	// The group is removed while it rings: its fallback is reached.
	o.set(t, one(o.to(2), 1), other)
	c := o.call(t, "600")
	in := c.rings(t, 1)
	o.set(t, other)
	c.stopped(t, phone.ErrCanceled, in...)
	c.answered(t, c.rings(t, 2)[0])

	// Its fallback is removed as well: the call ends as one to a number that does not exist.
	o.set(t, one(pbx.Destination{Kind: pbx.KindRingGroup, ID: "g8"}, 1), o.group(8, pbx.RingGroup{Strategy: pbx.RingAll, Seconds: 1}, 2), other)
	c = o.call(t, "600")
	c.rings(t, 1)
	o.set(t, other)
	c.refused(t, 404)

	// During a talk everything is removed, the library too.
	o.set(t, one(o.to(2), 1))
	c = o.call(t, "600")
	in = c.rings(t, 1)
	if err := errors.Join(in[0].Accept(c.ctx), c.Answered(c.ctx)); err != nil {
		t.Fatal(err)
	}
	c.sounds(t, in[0])
	o.set(t)
	c.sounds(t, in[0])
	c.ended(t)
	o.quiet(t)
}
