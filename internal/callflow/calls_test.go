package callflow_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/callflow"
	"github.com/synergycall/pbxportal/internal/pbx"
)

func toUser(i int) pbx.Destination { return pbx.Destination{Kind: pbx.KindUser, ID: string(user(i))} }

// settled returns a house whose users have these call settings.
func settled(calls map[int]pbx.CallSettings, groups ...pbx.RingGroup) pbx.Model {
	m := house(groups...)
	for i, c := range calls {
		m.Users[i].Calls = c
	}
	return m
}

func TestACallFollowsTheCallSettingsOfUsers(t *testing.T) {
	t.Parallel()
	limited := settled(map[int]pbx.CallSettings{0: {CallLimit: 2, WhenBusy: toUser(1), RingSeconds: 40}}, ring(pbx.RingAll, hangup(), 0, 1))
	disabled := settled(map[int]pbx.CallSettings{0: {WhenUnanswered: to(0)}}, ring(pbx.RingAll, hangup(), 2))
	disabled.Users[0].Disabled = true
	anna := user(0)
	for name, c := range map[string]struct {
		model           pbx.Model
		request         callflow.Request
		taken, sentence string
	}{
		"a ring time of its own": {
			limited,
			callflow.Request{Dial: "1000", Busy: []pbx.UserID{anna}},
			"ring:+1000:40=n hangup:19",
			"A caller calls 1000 Anna; 1000 Anna rings for 40 seconds without an answer; the call ends: no answer.",
		},
		"at the limit": {
			limited,
			callflow.Request{Dial: "1000", Busy: []pbx.UserID{anna, anna}},
			"ring:+1001:25=n hangup:19",
			"A caller calls 1000 Anna; 1000 Anna is busy; the call goes on to 1001 Ben; 1001 Ben rings for 25 seconds without an answer; the call ends: no answer.",
		},
		"a call that the user makes does not count": {
			limited,
			callflow.Request{As: anna, Dial: "1000", Busy: []pbx.UserID{anna}},
			"ring:+1000:40=n hangup:19",
			"1000 Anna calls 1000 Anna; 1000 Anna rings for 40 seconds without an answer; the call ends: no answer.",
		},
		"a member at the limit": {
			limited,
			callflow.Request{Dial: "600", Busy: []pbx.UserID{anna, anna}},
			"ring:+1001:20=n hangup:19",
			"A caller calls 600 Sales; 1001 Ben rings for 20 seconds without an answer; the call ends: no answer.",
		},
		"a disabled user": {
			disabled,
			callflow.Request{Dial: "1000"},
			"ring:+1002:20=n hangup:19",
			"A caller calls 1000 Anna; the call goes on to 600 Sales; 1002 Clara rings for 20 seconds without an answer; the call ends: no answer.",
		},
		"unreachable as unanswered": {
			settled(map[int]pbx.CallSettings{0: {WhenUnanswered: toUser(1)}}),
			callflow.Request{Dial: "1000", Away: []pbx.UserID{anna}},
			"ring:+1000:25=u ring:+1001:25=n hangup:19",
			"A caller calls 1000 Anna; no phone rings; the call goes on to 1001 Ben; 1001 Ben rings for 25 seconds without an answer; the call ends: no answer.",
		},
		"unreachable otherwise": {
			settled(map[int]pbx.CallSettings{0: {WhenUnanswered: toUser(1), WhenUnreachable: hangup()}}),
			callflow.Request{Dial: "1000", Away: []pbx.UserID{anna}},
			"ring:+1000:25=u hangup:20", "A caller calls 1000 Anna; no phone rings; the call ends: unreachable.",
		},
	} {
		r := callflow.Simulate(c.model, c.request)
		if r.Taken != c.taken || r.Sentence != c.sentence {
			t.Errorf("%s: the call took %q, not %q:\n%s\n%s", name, r.Taken, c.taken, r.Sentence, c.sentence)
		}
	}
	var why []string
	for _, y := range callflow.Simulate(limited, callflow.Request{Dial: "1000", Busy: []pbx.UserID{anna, anna}}).Why {
		why = append(why, y.Field+": "+y.Text)
	}
	want := []string{
		"number: 1000 is the number of Anna.", "call_limit: 1000 Anna has as many calls as the limit of 2 allows.", "when_busy: 1000 Anna is busy, and the call goes on to 1001 Ben.",
		": A phone that is called directly rings for 25 seconds, as this installation is set.",
	}
	if diff := cmp.Diff(want, why); diff != "" {
		t.Error(diff)
	}
}

func TestFaultsOfUsersWhoseCallsGoOnAreNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		model pbx.Model
		want  []string
	}{
		"none": {settled(map[int]pbx.CallSettings{0: {WhenBusy: toUser(1)}, 1: {WhenUnanswered: to(0)}}, ring(pbx.RingAll, hangup(), 0)), nil},
		"missing": {
			settled(map[int]pbx.CallSettings{0: {WhenBusy: toUser(9)}}),
			[]string{"missing: 1000 Anna refers to a user that does not exist. Choose another one in the field calls.when_busy."},
		},
		"two users": {
			settled(map[int]pbx.CallSettings{0: {WhenBusy: toUser(1)}, 1: {WhenUnreachable: toUser(0)}}),
			[]string{"circular: A call that is not answered would go in a circle without end: 1000 Anna → 1001 Ben → 1000 Anna. Let one of them go on to something else, or end the call."},
		},
		"a user and a group": {
			settled(map[int]pbx.CallSettings{0: {WhenUnanswered: to(0)}}, ring(pbx.RingAll, toUser(0), 1)),
			[]string{"circular: A call that is not answered would go in a circle without end: 600 Sales → 1000 Anna → 600 Sales. Let one of them go on to something else, or end the call."},
		},
	} {
		var got []string
		for _, f := range callflow.Check(c.model) {
			got = append(got, string(f.Code)+": "+f.Text)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	// A group without a number is reached through a user, and rings where the user's calls go on to.
	m := settled(map[int]pbx.CallSettings{0: {WhenUnreachable: to(0)}}, ring(pbx.RingAll, hangup(), 0))
	m.Items[0].Body.SetNumber("number", "")
	if faults := callflow.Check(m); len(faults) != 0 {
		t.Errorf("%+v", faults)
	}
	// One circle is the fault of each field in it.
	m = settled(map[int]pbx.CallSettings{0: {WhenUnanswered: to(0)}}, ring(pbx.RingAll, toUser(0), 1))
	for self, field := range map[pbx.Ref]string{group(0): "fallback", {Kind: pbx.KindUser, ID: string(user(0))}: "calls.when_unanswered"} {
		references := m.Users[0].Calls.References()
		if self.Kind != pbx.KindUser {
			references = m.Items[0].Body.References()
		}
		err := callflow.Through(m, self, references)
		if f := pbx.FieldsOf(err); len(f) != 1 || f[0].Field != field || f[0].Code != pbx.FieldCircular || !strings.Contains(f[0].Message, "600 Sales → 1000 Anna → 600 Sales") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestAGroupWhoseCallsGoThroughAUserIsAffectedByWhatFollows(t *testing.T) {
	t.Parallel()
	before := settled(map[int]pbx.CallSettings{0: {WhenUnanswered: toUser(1)}}, ring(pbx.RingAll, toUser(0), 2))
	after := settled(map[int]pbx.CallSettings{0: {WhenUnanswered: toUser(1)}, 1: {RingSeconds: 60}}, ring(pbx.RingAll, toUser(0), 2))
	all := callflow.Compare(before, after, []pbx.Thing{{Kind: pbx.KindUser, Key: "1001"}}, 25, 10)
	if len(all) != 1 || all[0].Thing.Number != "600" || !strings.Contains(all[0].Is, "1001 Ben rings for 60 seconds") {
		t.Errorf("%+v", all)
	}
}

func TestACallFollowsWhatUsersInherit(t *testing.T) {
	t.Parallel()
	m := settled(map[int]pbx.CallSettings{1: {WhenUnanswered: hangup(), WhenUnreachable: hangup()}}, ring(pbx.RingAll, hangup(), 2))
	m.Levels = pbx.Levels{
		Organisation: pbx.CallSettings{RingSeconds: 30, WhenUnanswered: toUser(0), WhenBusy: to(0), CallLimit: 1},
		Pools:        []pbx.PoolLevel{{First: 1002, Last: 1999, Calls: pbx.CallSettings{RingSeconds: 40, CallLimit: pbx.NoCallLimit}}},
	}
	for _, c := range []struct {
		request         callflow.Request
		taken, sentence string
	}{
		{
			callflow.Request{Dial: "1000"}, // calls to Anna do not go on to Anna
			"ring:+1000:30=n hangup:19", "A caller calls 1000 Anna; 1000 Anna rings for 30 seconds without an answer; the call ends: no answer.",
		},
		{
			callflow.Request{Dial: "1001"},
			"ring:+1001:30=n hangup:19", "A caller calls 1001 Ben; 1001 Ben rings for 30 seconds without an answer; the call ends: no answer.",
		},
		{
			callflow.Request{Dial: "1002", Busy: []pbx.UserID{user(2), user(2), user(2)}},
			"ring:+1002:40=n ring:+1000:30=n hangup:19",
			"A caller calls 1002 Clara; 1002 Clara rings for 40 seconds without an answer; the call goes on to 1000 Anna; 1000 Anna rings for 30 seconds without an answer; the call ends: no answer.",
		},
		{
			callflow.Request{Dial: "1001", Busy: []pbx.UserID{user(1)}},
			"ring:+1002:20=n hangup:19",
			"A caller calls 1001 Ben; 1001 Ben is busy; the call goes on to 600 Sales; 1002 Clara rings for 20 seconds without an answer; the call ends: no answer.",
		},
	} {
		if got := callflow.Simulate(m, c.request); got.Taken != c.taken || got.Sentence != c.sentence {
			t.Errorf("%v: %s\n%s", c.request, got.Taken, got.Sentence)
		}
	}
	if faults := callflow.Check(m); len(faults) != 0 {
		t.Errorf("faults: %v", faults)
	}
	m.Users[0].Calls.WhenUnanswered = toUser(2) // who inherits that calls go on to Anna
	if faults := callflow.Check(m); len(faults) != 1 || faults[0].Code != callflow.Circular {
		t.Errorf("faults: %v", faults)
	}
}
