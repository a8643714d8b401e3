package callflow_test

import (
	"slices"
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
		"two users": {settled(map[int]pbx.CallSettings{0: {WhenBusy: toUser(1)}, 1: {WhenUnreachable: toUser(0)}}), nil},
		"a user alone, beside two who go on to each other": {
			settled(map[int]pbx.CallSettings{0: {WhenBusy: toUser(1)}, 1: {WhenBusy: toUser(0), WhenUnanswered: toUser(1)}}),
			[]string{"circular: A call that is not answered would go in a circle without end: 1001 Ben → 1001 Ben. Let one of them go on to something else, or end the call."},
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

// A call comes to each of the users who cover for each other once, and ends with the cause of the last one.
func TestACallComesToUsersWhoGoOnToEachOtherOnce(t *testing.T) {
	t.Parallel()
	each := func(n int) pbx.CallSettings {
		return pbx.CallSettings{WhenBusy: toUser(n), WhenUnanswered: toUser(n), WhenUnreachable: toUser(n)}
	}
	two := settled(map[int]pbx.CallSettings{0: each(1), 1: each(0)})
	through := settled(map[int]pbx.CallSettings{0: {WhenUnanswered: to(0)}, 1: {WhenUnanswered: toUser(2)}, 2: each(1)}, ring(pbx.RingAll, toUser(1), 2))
	disabled := settled(map[int]pbx.CallSettings{0: each(1), 1: each(0)})
	disabled.Users[1].Disabled = true
	for _, c := range []struct {
		model pbx.Model
		dial  string
		keys  []callflow.Status
		taken string
	}{
		{two, "1000", nil, "ring:+1000:25=n ring:+1001:25=n hangup:19"},
		{two, "1001", []callflow.Status{callflow.NotAnswered, callflow.Engaged}, "ring:+1001:25=n ring:+1000:25=b hangup:17"},
		{two, "1001", []callflow.Status{callflow.Engaged, callflow.CannotBeCalled}, "ring:+1001:25=b ring:+1000:25=u hangup:20"},
		{two, "1001", []callflow.Status{callflow.Engaged, callflow.Answered}, "ring:+1001:25=b ring:+1000:25=a end"},
		{through, "1000", nil, "ring:+1000:25=n ring:+1002:20=n ring:+1001:25=n ring:+1002:25=n hangup:19"},
		{disabled, "1000", nil, "ring:+1000:25=n hangup:20"},
		{disabled, "1001", []callflow.Status{callflow.Engaged}, "ring:+1000:25=b hangup:17"},
	} {
		r := callflow.Simulate(c.model, callflow.Request{Dial: c.dial, Script: outcomes(c.keys...)})
		if r.Taken != c.taken || slices.ContainsFunc(callflow.Check(c.model), callflow.Fault.Refused) {
			t.Errorf("%s, %v: the call took %q, want %q; faults %v", c.dial, c.keys, r.Taken, c.taken, r.Faults)
		}
		if last := r.Why[len(r.Why)-1]; r.Steps[len(r.Steps)-1].Kind == callflow.StepHangup && !strings.Contains(last.Text, "does not go on to a user twice") {
			t.Errorf("%s, %v: it ends because: %s", c.dial, c.keys, last.Text)
		}
	}
	// More users than a call comes to one after the other do not go on to each other.
	for users, refused := range map[int]bool{10: false, 11: true} {
		var m pbx.Model
		for i := range users {
			m.Users = append(m.Users, pbx.User{ID: user(i), Name: "User", Extension: pbx.Extension{Number: pbx.Number(1000 + i)}, Calls: each((i + 1) % users)})
		}
		err := callflow.Through(m, pbx.Ref{Kind: pbx.KindUser, ID: string(user(users - 1))}, m.Users[users-1].Calls.References())
		if r := callflow.Simulate(m, callflow.Request{Dial: "1000"}); (err != nil) != refused || strings.HasSuffix(r.Taken, " loop") != refused {
			t.Errorf("%d users: %v; a call takes %s", users, err, r.Taken)
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
	if got, faults := callflow.Simulate(m, callflow.Request{Dial: "1000"}).Taken, callflow.Check(m); got != "ring:+1000:30=n ring:+1002:40=n hangup:19" || len(faults) != 0 {
		t.Errorf("%s, faults: %v", got, faults)
	}
}
