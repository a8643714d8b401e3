package node_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/phone"
	"github.com/synergycall/pbxportal/internal/render"
)

// newOfficeWithCodes returns an office whose phones can dial feature codes. A user who is called directly rings for a second.
func newOfficeWithCodes(t *testing.T, groups ...pbx.Item) *office {
	t.Helper()
	o := newOffice(t)
	o.deploy(t, render.Options{RingTimeout: 1, FeatureCodes: true}, groups...)
	if reply, err := o.asterisk.Control().Run(t.Context(), "module load func_extstate.so"); err != nil {
		t.Fatal(reply, err)
	}
	return o
}

// dialCode has the phone of a user dial a feature code, and waits until Asterisk has confirmed it.
func (o *office) dialCode(t *testing.T, user int, code string) {
	t.Helper()
	c, err := o.phones[user].Dial(t.Context(), code)
	if err == nil {
		err = c.Answered(t.Context())
	}
	if err != nil {
		t.Fatalf("%s: %v", code, err)
	}
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: Asterisk does not hang up", code)
	}
	if heard := c.Heard(); heard.Packets == 0 {
		t.Errorf("%s is not confirmed by a sound: %+v", code, heard)
	}
}

// has checks the switches that Asterisk has of a user, and whether a lamp shows the user as busy.
func (o *office) has(t *testing.T, user int, want asterisk.Switches) {
	t.Helper()
	exten := fmt.Sprint(o.users[user].Extension.Number)
	all, err := o.asterisk.Control().Switches(t.Context())
	if err != nil || all[exten] != want {
		t.Errorf("user %s has %+v, %v; want %+v", exten, all[exten], err, want)
	}
	for began := time.Now(); ; <-time.After(20 * time.Millisecond) {
		reply, err := o.asterisk.Control().Run(t.Context(), "dialplan eval function EXTENSION_STATE("+exten+"@synergy-internal)")
		busy := strings.Contains(reply.Stdout, "Result: BUSY")
		if err == nil && busy == want.DoNotDisturb && strings.Contains(reply.Stdout, "Result: ") {
			return
		}
		if time.Since(began) > time.Second {
			t.Errorf("a lamp for %s: %s, %v; with do not disturb %t", exten, reply.Stdout, err, want.DoNotDisturb)
			return
		}
	}
}

func TestPhonesSwitchDoNotDisturbAndForwardsWithFeatureCodes(t *testing.T) {
	t.Parallel()
	o := newOfficeWithCodes(t)
	o.deploy(t, render.Options{RingTimeout: 1, FeatureCodes: true}, o.group(1, pbx.RingGroup{Strategy: pbx.RingAll, Seconds: 20}, 1, 2))

	o.has(t, 1, asterisk.Switches{})
	o.dialCode(t, 1, "*78")
	o.has(t, 1, asterisk.Switches{DoNotDisturb: true})
	o.call(t, "1001").refused(t, 486)
	c := o.call(t, "600")
	c.answered(t, c.rings(t, 2)[0])
	o.dialCode(t, 1, "*901002")
	o.has(t, 1, asterisk.Switches{DoNotDisturb: true, ForwardBusy: "1002"})
	c = o.call(t, "1001")
	c.answered(t, c.rings(t, 2)[0])
	o.dialCode(t, 1, "*91")
	o.dialCode(t, 1, "*79")
	o.has(t, 1, asterisk.Switches{})
	c = o.call(t, "1001")
	c.answered(t, c.rings(t, 1)[0])

	o.dialCode(t, 1, "*721003")
	c = o.call(t, "1001")
	c.answered(t, c.rings(t, 3)[0])
	c = o.call(t, "600") // groups ignore forwards
	c.answered(t, c.rings(t, 1, 2)[0])
	o.dialCode(t, 1, "*73")
	o.dialCode(t, 1, "*521002")
	c = o.call(t, "1001")
	c.stopped(t, phone.ErrCanceled, c.rings(t, 1)...)
	c.answered(t, c.rings(t, 2)[0])
	o.dialCode(t, 1, "*53")
	o.has(t, 1, asterisk.Switches{})

	// No phone can be reached: of the user whose phone is switched off.
	if err := o.asterisk.Control().SetSwitches(t.Context(), "1004", asterisk.Switches{}, asterisk.Switches{ForwardUnreachable: "600"}); err != nil {
		t.Fatal(err)
	}
	c = o.call(t, "1004")
	c.answered(t, c.rings(t, 1, 2)[1])
	o.dialCode(t, 2, "*62600")
	o.has(t, 2, asterisk.Switches{ForwardUnreachable: "600"})
	o.dialCode(t, 2, "*63")

	// The user's own number, what is no number, and a code that a call is forwarded to change nothing.
	for _, refused := range []string{"*721001", "*72" + strings.Repeat("1", 33), "*72a"} {
		out, err := o.phones[1].Dial(t.Context(), refused)
		if err != nil {
			t.Fatal(err)
		}
		if got := statusOf(t, out.Answered(t.Context())); got != 403 {
			t.Errorf("%s is answered with status %d, want 403", refused, got)
		}
	}
	o.has(t, 1, asterisk.Switches{})
	o.dialCode(t, 1, "*72*78")
	o.call(t, "1001").refused(t, 403)
	o.has(t, 0, asterisk.Switches{})
	o.dialCode(t, 1, "*73")

	// What is changed at the portal shows on lamps as well, and phones can change it back.
	if err := o.asterisk.Control().SetSwitches(t.Context(), "1001", asterisk.Switches{}, asterisk.Switches{DoNotDisturb: true}); err != nil {
		t.Fatal(err)
	}
	o.has(t, 1, asterisk.Switches{DoNotDisturb: true})
	o.call(t, "1001").refused(t, 486)
	o.dialCode(t, 1, "*79")
	o.has(t, 1, asterisk.Switches{})

	// Users who forward to each other.
	o.dialCode(t, 1, "*721002")
	o.dialCode(t, 2, "*721001")
	began := time.Now()
	c = o.call(t, "1001")
	c.refused(t, 603)
	if took := time.Since(began); took < 2*time.Second || took > 10*time.Second {
		t.Errorf("a circle ends after %s, want a tone of 3 s", took)
	}
	heard := c.Heard().PCM
	if low, high, other := phone.Strength(heard, 480), phone.Strength(heard, 620), phone.Strength(heard, 425); low < 0.25 || high < 0.25 || other > 0.1 {
		t.Errorf("the caller hears %s of sound, with 480 Hz at strength %.2f, 620 Hz at %.2f and 425 Hz at %.2f; want the first two", heard.Duration(), low, high, other)
	}
	o.quiet(t)
}
