package callflow_test

import (
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/callflow"
	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestACallFollowsTheSwitchesOfUsers(t *testing.T) {
	t.Parallel()
	m := house(ring(pbx.RingHunt, hangup(), 0, 1))
	m.Users[0].Calls.WhenBusy = pbx.Destination{Kind: pbx.KindUser, ID: string(user(2))}
	for name, c := range map[string]struct {
		switches   pbx.Switches // of Anna
		script     []callflow.Outcome
		dial       string
		taken, why string
	}{
		"do not disturb is busy":             {pbx.Switches{DoNotDisturb: true}, nil, "1000", "ring:+1002:25=n hangup:19", "do_not_disturb when_busy"},
		"busy is forwarded before a setting": {pbx.Switches{DoNotDisturb: true, ForwardBusy: "1001"}, nil, "1000", "ring:+1001:25=n hangup:19", "do_not_disturb forward_busy"},
		"all calls are forwarded first":      {pbx.Switches{DoNotDisturb: true, ForwardBusy: "1002", ForwardAlways: "1001"}, nil, "1000", "ring:+1001:25=n hangup:19", "forward_always"},
		"to a group":                         {pbx.Switches{ForwardUnanswered: "600"}, nil, "1000", "ring:+1000:25=n ring:+1000:20=n ring:+1001:20=n hangup:19", "forward_unanswered"},
		"to no number":                       {pbx.Switches{ForwardUnreachable: "5"}, outcomes(callflow.CannotBeCalled), "1000", "ring:+1000:25=u gone:synergy-internal.5", "forward_unreachable"},
		"to a feature code":                  {pbx.Switches{ForwardAlways: "*78"}, nil, "1000", "hangup:21", "forward_always"},
		"in a circle":                        {pbx.Switches{ForwardAlways: "1000"}, nil, "1000", "loop", "forward_always"},
		"a group leaves out":                 {pbx.Switches{DoNotDisturb: true}, nil, "600", "ring:+1001:20=n hangup:19", "do_not_disturb"},
		"a group ignores forwards":           {pbx.Switches{ForwardAlways: "1002"}, nil, "600", "ring:+1000:20=n ring:+1001:20=n hangup:19", "strategy"},
		"a feature code":                     {pbx.Switches{}, nil, "*721001", "code:cfa=1001", "number"},
		"no feature code":                    {pbx.Switches{}, nil, "*72", "", "number"},
	} {
		r := callflow.Simulate(m, callflow.Request{Dial: c.dial, Script: c.script, Switches: map[pbx.UserID]pbx.Switches{user(0): c.switches}, FeatureCodes: true})
		fields := ""
		for _, w := range r.Why {
			fields += " " + w.Field
		}
		if r.Taken != c.taken || !strings.Contains(fields, c.why) {
			t.Errorf("%s: the call took %q because of%s", name, r.Taken, fields)
		}
	}
	m.Users[0].Disabled = true
	r := callflow.Simulate(m, callflow.Request{Dial: "1000", Switches: map[pbx.UserID]pbx.Switches{user(0): {ForwardAlways: "1001"}}})
	if r.Taken != "hangup:20" {
		t.Errorf("a disabled user forwards: %s", r.Taken)
	}
}
