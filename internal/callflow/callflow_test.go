package callflow_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/callflow"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// house returns three users, and ring groups on 600, 601 …: Anna 1000, Ben 1001, Clara 1002.
func house(groups ...pbx.RingGroup) pbx.Model {
	var m pbx.Model
	for i, name := range []string{"Anna", "Ben", "Clara"} {
		m.Users = append(m.Users, pbx.User{ID: user(i), Name: name, Extension: pbx.Extension{Number: pbx.Number(1000 + i)}})
	}
	for i, g := range groups {
		if g.Number == "" {
			g.Number = fmt.Sprint(600 + i)
		}
		m.Items = append(m.Items, pbx.Item{
			Body: &g, Meta: pbx.Meta{
				ID: pbx.ThingID(group(i).ID), Kind: pbx.KindRingGroup, Short: i + 1, Name: []string{"Sales", "Support", "Office", "Night", "Group"}[min(i, 4)],
			},
		})
	}
	return m
}

func user(i int) pbx.UserID { return pbx.UserID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i)) }

func group(i int) pbx.Ref {
	return pbx.Ref{Kind: pbx.KindRingGroup, ID: fmt.Sprintf("00000000-0000-4000-9000-%012d", i)}
}

func to(i int) pbx.Destination { return pbx.Destination(group(i)) }

func ring(strategy pbx.RingStrategy, fallback pbx.Destination, members ...int) pbx.RingGroup {
	g := pbx.RingGroup{Strategy: strategy, Seconds: 20, SkipBusy: true, Fallback: fallback}
	for _, m := range members {
		g.Members = append(g.Members, user(m))
	}
	return g
}

func hangup() pbx.Destination { return pbx.Destination{Kind: pbx.Hangup} }

func outcomes(all ...callflow.Status) (script []callflow.Outcome) {
	for _, s := range all {
		script = append(script, callflow.Outcome{Status: s})
	}
	return script
}

func TestACallIsFollowedToItsEnd(t *testing.T) {
	t.Parallel()
	disabled := house(ring(pbx.RingAll, hangup(), 0, 1))
	disabled.Users[1].Disabled = true
	both := ring(pbx.RingAll, hangup(), 0, 1)
	both.SkipBusy = false
	memory := ring(pbx.RingMemory, pbx.Destination{Kind: pbx.KindUser, ID: string(user(2))}, 0, 1)
	for name, c := range map[string]struct {
		model           pbx.Model
		request         callflow.Request
		taken, sentence string
	}{
		"a user who does not answer": {
			house(),
			callflow.Request{As: user(1), Dial: "1000"},
			"ring:+1000:25=n hangup:19",
			"1001 Ben calls 1000 Anna; 1000 Anna rings for 25 seconds without an answer; the call ends: no answer.",
		},
		"a user who answers": {
			house(),
			callflow.Request{From: "0301234", Dial: "1000", Script: outcomes(callflow.Answered), RingSeconds: 30},
			"ring:+1000:30=a end",
			"A caller with the number 0301234 calls 1000 Anna; 1000 Anna rings for 30 seconds, and 1000 Anna answers.",
		},
		"a user who is busy": {
			house(),
			callflow.Request{Dial: "1000", Script: outcomes(callflow.Engaged)},
			"ring:+1000:25=b hangup:17",
			"A caller calls 1000 Anna; 1000 Anna is busy; the call ends: busy.",
		},
		"a user whose phone is not registered": {
			house(),
			callflow.Request{Dial: "1000", Away: []pbx.UserID{user(0)}},
			"ring:+1000:25=u hangup:20",
			"A caller calls 1000 Anna; no phone rings; the call ends: unreachable.",
		},
		"a number that nothing has": {
			house(), callflow.Request{As: user(0), Dial: "999"}, "", "1000 Anna dials 999 and the call ends: not a number in use.",
		},
		"all members at once": {
			house(ring(pbx.RingAll, hangup(), 0, 1)),
			callflow.Request{As: user(2), To: group(0), Script: []callflow.Outcome{{callflow.Answered, user(1)}}},
			"ring:+1000+1001:20=a end",
			"1002 Clara calls 600 Sales; 1000 Anna and 1001 Ben ring together for 20 seconds, and 1001 Ben answers.",
		},
		"one member after the other, then another group": {
			house(ring(pbx.RingHunt, to(1), 0, 1), ring(pbx.RingAll, hangup(), 2)),
			callflow.Request{Dial: "600"},
			"ring:+1000:20=n ring:+1001:20=n ring:+1002:20=n hangup:19",
			"A caller calls 600 Sales; 1000 Anna and 1001 Ben ring one after the other for 20 seconds each without an answer; the call goes on to 601 Support; " +
				"1002 Clara rings for 20 seconds without an answer; the call ends: no answer.",
		},
		"one member more each time, then a user": {
			house(memory),
			callflow.Request{Dial: "600", Script: outcomes(callflow.Engaged, callflow.NotAnswered, callflow.CannotBeCalled)},
			"ring:+1000:20=b ring:+1000+1001:20=n ring:+1002:25=u hangup:20",
			"A caller calls 600 Sales; 1000 Anna and 1001 Ben ring, one more every 20 seconds without an answer; the call goes on to 1002 Clara; " +
				"1002 Clara cannot be reached; the call ends: unreachable.",
		},
		"a disabled member": {
			disabled,
			callflow.Request{Dial: "600"},
			"ring:+1000:20=n hangup:19",
			"A caller calls 600 Sales; 1000 Anna rings for 20 seconds without an answer; the call ends: no answer.",
		},
		"a disabled user": {disabled, callflow.Request{Dial: "1001"}, "hangup:20", "A caller calls 1001 Ben; the call ends: unreachable."},
		"members who are in a call or away": {
			house(ring(pbx.RingAll, hangup(), 0, 1)), callflow.Request{
				Dial: "600", Away: []pbx.UserID{user(0)}, Busy: []pbx.UserID{user(1)}, At: time.Date(2026, 11, 29, 20, 0, 0, 0, time.UTC),
			}, "ring:+1000:20=u hangup:19", "Sunday, 29 November 2026, 20:00: a caller calls 600 Sales; no phone rings; the call ends: no answer.",
		},
		"members who are all busy": {
			house(ring(pbx.RingAll, hangup(), 0, 1)),
			callflow.Request{Dial: "600", Script: outcomes(callflow.Engaged)},
			"ring:+1000+1001:20=b hangup:19",
			"A caller calls 600 Sales; 1000 Anna and 1001 Ben are busy; the call ends: no answer.",
		},
		"a member who calls the group": {
			house(ring(pbx.RingHunt, hangup(), 0, 1)),
			callflow.Request{As: user(0), Dial: "600"},
			"ring:+1001:20=n hangup:19",
			"1000 Anna calls 600 Sales; 1001 Ben rings for 20 seconds without an answer; the call ends: no answer.",
		},
		"a member who calls a group that rings members in a call, too": {
			house(both),
			callflow.Request{As: user(0), Dial: "600"},
			"ring:+1000+1001:20=n hangup:19",
			"1000 Anna calls 600 Sales; 1000 Anna and 1001 Ben ring together for 20 seconds without an answer; the call ends: no answer.",
		},
		"an unregistered member while the others ring": {
			house(ring(pbx.RingMemory, hangup(), 0, 1, 2)),
			callflow.Request{Dial: "600", Away: []pbx.UserID{user(0)}, Script: outcomes(callflow.Engaged, callflow.Answered)},
			"ring:+1000:20=u ring:+1000+1001:20=b ring:+1000+1001+1002:20=a end",
			"A caller calls 600 Sales; 1001 Ben and 1002 Clara ring, one more every 20 seconds, and 1001 Ben answers.",
		},
		"an answer of a phone that does not ring": {
			house(),
			callflow.Request{Dial: "1000", Script: []callflow.Outcome{{callflow.Answered, user(1)}}},
			"ring:+1000:25=n hangup:19",
			"A caller calls 1000 Anna; 1000 Anna rings for 25 seconds without an answer; the call ends: no answer.",
		},
	} {
		r := callflow.Simulate(c.model, c.request)
		if r.Taken != c.taken {
			t.Errorf("%s: the call took %q, not %q", name, r.Taken, c.taken)
		}
		if r.Sentence != c.sentence {
			t.Errorf("%s: it is told as\n%s\nnot as\n%s", name, r.Sentence, c.sentence)
		}
		if last := r.Steps[len(r.Steps)-1].Kind; last != callflow.StepAnswer && last != callflow.StepHangup {
			t.Errorf("%s: the last step is %s", name, last)
		}
	}
}

func TestEveryDecisionNamesTheSettingThatCausedIt(t *testing.T) {
	t.Parallel()
	m := house(ring(pbx.RingHunt, to(1), 0, 1, 2), ring(pbx.RingAll, hangup(), 2))
	m.Users[0].Disabled = true
	r := callflow.Simulate(m, callflow.Request{Dial: "600", Busy: []pbx.UserID{user(1)}})
	var why []string
	for _, y := range r.Why {
		why = append(why, y.Thing.String()+": "+y.Field)
	}
	want := []string{
		"600 Sales: number", "1000 Anna: enabled", "600 Sales: skip_busy", "600 Sales: strategy", "600 Sales: seconds", "600 Sales: fallback",
		"601 Support: strategy", "601 Support: seconds", "601 Support: fallback",
	}
	if diff := cmp.Diff(want, why); diff != "" {
		t.Error(diff)
	}
}

func TestACallInACircleEnds(t *testing.T) {
	t.Parallel()
	m := house(ring(pbx.RingAll, to(1), 0), ring(pbx.RingAll, to(0), 1))
	r := callflow.Simulate(m, callflow.Request{Dial: "600"})
	if !strings.HasSuffix(r.Taken, " loop") || len(r.Faults) != 1 || r.Faults[0].Code != callflow.Circular {
		t.Errorf("it took %q, and the faults are %v", r.Taken, r.Faults)
	}
}

// Ten ring groups one after the other are the most that the dialplan enters.
func TestACallComesToAtMostTenThings(t *testing.T) {
	t.Parallel()
	for groups, want := range map[int]string{10: " hangup:19", 11: " loop"} {
		var m pbx.Model
		all := make([]pbx.RingGroup, groups)
		for i := range all {
			all[i] = ring(pbx.RingAll, to(i+1), 0)
		}
		all[groups-1].Fallback = hangup()
		m = house(all...)
		r := callflow.Simulate(m, callflow.Request{Dial: "600"})
		if !strings.HasSuffix(r.Taken, want) {
			t.Errorf("with %d groups the call took %q", groups, r.Taken)
		}
		refused := slices.ContainsFunc(callflow.Check(m), callflow.Fault.Refused)
		if refused != (groups > 10) {
			t.Errorf("%d groups in a row: refused is %t: %v", groups, refused, callflow.Check(m))
		}
	}
}

func TestFaultsOfTheGraphAreNamedInWords(t *testing.T) {
	t.Parallel()
	gone := pbx.Destination{Kind: pbx.KindUser, ID: string(user(9))}
	disabled := house(ring(pbx.RingAll, to(1), 0), ring(pbx.RingAll, hangup(), 0), ring(pbx.RingAll, to(0), 1), ring(pbx.RingAll, to(3), 0))
	disabled.Users[0].Disabled = true
	numberless := house(ring(pbx.RingAll, hangup(), 0), ring(pbx.RingAll, hangup(), 0))
	numberless.Items[1].Body.SetNumber("number", "")
	for name, c := range map[string]struct {
		model pbx.Model
		want  []string
	}{
		"none": {house(ring(pbx.RingAll, to(1), 0), ring(pbx.RingHunt, hangup(), 0)), nil},
		"to itself": {
			house(ring(pbx.RingAll, to(0), 0)),
			[]string{
				"circular: A call that is not answered would go in a circle without end: 600 Sales → 600 Sales. " +
					"Let one of them go on to something else, or end the call.",
			},
		},
		"a circle of three, and what leads into it": {
			house(ring(pbx.RingAll, to(1), 0), ring(pbx.RingAll, to(2), 0), ring(pbx.RingAll, to(3), 0), ring(pbx.RingAll, to(1), 0)),
			[]string{"circular: A call that is not answered would go in a circle without end: 601 Support → 602 Office → 603 Night → 601 Support. " +
				"Let one of them go on to something else, or end the call."},
		},
		"a missing user": {
			house(ring(pbx.RingAll, gone, 0, 8)),
			[]string{
				"missing: 600 Sales refers to a user that does not exist. Choose another one in the field fallback.",
				"missing: 600 Sales refers to a user that does not exist. Choose another one in the field members.",
			},
		},
		"nobody rings": {
			disabled,
			[]string{
				"circular: A call that is not answered would go in a circle without end: 603 Night → 603 Night. " +
					"Let one of them go on to something else, or end the call.",
				"dead_end: A call to 600 Sales makes no phone ring. Add a user who is enabled, or let the call go on to one.",
				"dead_end: A call to 601 Support makes no phone ring. Add a user who is enabled, or let the call go on to one.",
				"dead_end: A call to 603 Night makes no phone ring. Add a user who is enabled, or let the call go on to one.",
			},
		},
		"nothing leads there": {
			numberless,
			[]string{"unreachable: No call can reach Support: it has no number, and nothing leads to it. Give it a number, or delete it."},
		},
	} {
		var got []string
		for _, f := range callflow.Check(c.model) {
			got = append(got, string(f.Code)+": "+f.Text)
			if f.Refused() != (f.Code != callflow.DeadEnd && f.Code != callflow.Unreachable) {
				t.Errorf("%s: whether it is refused is wrong", f.Code)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// A model has a circle exactly if one of its items comes back to itself by following fallbacks.
func TestCirclesAreFoundInAnyModel(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		n := 1 + rnd.IntN(4)
		next := make([]int, n)
		var groups []pbx.RingGroup
		for i := range n {
			next[i] = rnd.IntN(n+1) - 1
			fallback := hangup()
			if next[i] >= 0 {
				fallback = to(next[i])
			}
			groups = append(groups, ring(pbx.RingAll, fallback, 0))
		}
		var circles [][]pbx.Ref
		for _, f := range callflow.Check(house(groups...)) {
			circles = append(circles, f.Things)
		}
		for i := range n {
			at, steps := next[i], 1
			for ; at >= 0 && at != i && steps <= n; steps++ {
				at = next[at]
			}
			named := slices.ContainsFunc(circles, func(c []pbx.Ref) bool { return slices.Contains(c, group(i)) })
			if (at == i) != named {
				t.Fatalf("seed %d: fallbacks %v: %d is in a circle: %t, and the circles are %v", seed, next, i, at == i, circles)
			}
		}
	}
}

func TestACallIsNamedByNumbersAndIDs(t *testing.T) {
	t.Parallel()
	m := house(ring(pbx.RingAll, hangup(), 0, 1))
	for name, c := range map[string]struct {
		call callflow.Call
		want callflow.Request
		bad  []string // the invalid fields
	}{
		"by number": {
			callflow.Call{As: "1002", Dial: "600", Keys: []string{"no_answer", "answer:1001", "answer"}, Away: []string{"1000"}, Busy: []string{"1001"}},
			callflow.Request{
				As: user(2), Dial: "600", Away: []pbx.UserID{user(0)}, Busy: []pbx.UserID{user(1)},
				Script: []callflow.Outcome{{callflow.NotAnswered, ""}, {callflow.Answered, user(1)}, {callflow.Answered, ""}},
			},
			nil,
		},
		"by id":   {callflow.Call{From: "+49301234", To: strings.ToUpper(group(0).ID)}, callflow.Request{From: "+49301234", To: group(0)}, nil},
		"a code":  {callflow.Call{Dial: "*78#"}, callflow.Request{Dial: "*78#"}, nil},
		"nothing": {callflow.Call{}, callflow.Request{}, []string{"dial"}},
		"both":    {callflow.Call{As: "1000", From: "1", To: "600", Dial: "600"}, callflow.Request{}, []string{"from", "dial"}},
		"unknown": {
			callflow.Call{As: "600", To: "9", Away: []string{"x", "y"}, Busy: []string{""}, Keys: []string{"answer:77"}},
			callflow.Request{},
			[]string{"as", "to", "keys", "away", "busy"},
		},
		"malformed": {callflow.Call{From: "a", Dial: "${EXTEN}", Keys: []string{"busy:1000"}}, callflow.Request{}, []string{"from", "dial", "keys"}},
	} {
		got, err := c.call.Request(m)
		var bad []string
		if e, ok := errors.AsType[*pbx.Error](err); ok {
			for _, f := range e.Fields {
				bad = append(bad, f.Field)
			}
		}
		if diff := cmp.Diff(c.bad, bad); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
		if diff := cmp.Diff(c.want, got); diff != "" && c.bad == nil {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// things returns ring groups and users by their keys.
func things(keys ...string) (all []pbx.Thing) {
	for _, k := range keys {
		kind := pbx.KindUser
		if strings.HasPrefix(k, "g") {
			kind = pbx.KindRingGroup
		}
		all = append(all, pbx.Thing{Kind: kind, Key: k})
	}
	return all
}

func TestAComparisonNamesWhatCallsDoDifferently(t *testing.T) {
	t.Parallel()
	before := house(ring(pbx.RingAll, hangup(), 0, 1), ring(pbx.RingAll, to(0), 2), ring(pbx.RingAll, hangup(), 2))
	after := house(ring(pbx.RingHunt, hangup(), 0, 1), ring(pbx.RingAll, to(0), 2), ring(pbx.RingAll, hangup(), 2), ring(pbx.RingAll, hangup(), 0))
	after.Items[2].Name = "Another name"
	after.Users[2].Name = "Another name"
	var got []string
	for _, d := range callflow.Compare(before, after, things("g1", "g3", "g4", "1002"), 25, 9) {
		got = append(got, d.Key+": "+d.String())
	}
	want := []string{
		"g1: 600 Sales was: 1000 Anna and 1001 Ben ring together for 20 seconds without an answer; the call ends: no answer; " +
			"becomes: 1000 Anna and 1001 Ben ring one after the other for 20 seconds each without an answer; the call ends: no answer.",
		"g2: 601 Support was: 1002 Clara rings for 20 seconds without an answer; the call goes on to 600 Sales; " +
			"1000 Anna and 1001 Ben ring together for 20 seconds without an answer; the call ends: no answer; " +
			"becomes: 1002 Another name rings for 20 seconds without an answer; the call goes on to 600 Sales; " +
			"1000 Anna and 1001 Ben ring one after the other for 20 seconds each without an answer; the call ends: no answer.",
		"g4: 603 Night is new: 1000 Anna rings for 20 seconds without an answer; the call ends: no answer.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	if got := callflow.Compare(before, after, things("g1"), 25, 9); len(got) != 2 || got[1].Key != "g2" {
		t.Errorf("what goes on to the group that changed: %v", got)
	}
	if got := callflow.Compare(before, after, things("g1", "g4"), 25, 2); len(got) != 2 {
		t.Errorf("more than were asked for: %v", got)
	}
	busy := house(ring(pbx.RingAll, hangup(), 0))
	busy.Items[0].Body.(*pbx.RingGroup).SkipBusy = false
	want = []string{
		"600 Sales, while all users are in a call was: no phone rings; the call ends: no answer; " +
			"becomes: 1000 Anna rings for 20 seconds without an answer; the call ends: no answer.",
		"601 Support is removed; it was: 1001 Ben rings for 20 seconds without an answer; the call ends: no answer.",
	}
	got = nil
	for _, d := range callflow.Compare(house(ring(pbx.RingAll, hangup(), 0), ring(pbx.RingAll, hangup(), 1)), busy, things("g1", "g2"), 25, 9) {
		got = append(got, d.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A plan at 10,000 users and 1,000 ring groups has 50 ms for all of it.
func BenchmarkCompareThousandGroups(b *testing.B) {
	var m pbx.Model
	for i := range 10_000 {
		m.Users = append(m.Users, pbx.User{ID: user(i), Name: "User", Extension: pbx.Extension{Number: pbx.Number(1000 + i)}})
	}
	for i := range 1000 {
		g := ring(pbx.RingHunt, hangup(), i, i+1, i+2, i+3, i+4, i+5, i+6, i+7)
		m.Items = append(m.Items, pbx.Item{Meta: pbx.Meta{ID: pbx.ThingID(group(i).ID), Kind: pbx.KindRingGroup, Short: i + 1, Name: "Group"}, Body: &g})
	}
	for b.Loop() {
		callflow.Compare(m, m, things("g1", "1500"), 25, 20)
	}
}
