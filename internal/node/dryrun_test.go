package node_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/callflow"
	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/phone"
	"github.com/synergycall/pbxportal/internal/render"
)

// dryRuns makes random models and calls, and follows the calls on a live Asterisk that runs the dialplan of the models.
type dryRuns struct {
	*lab.Asterisk

	rnd      *rand.Rand
	users    []pbx.User
	switches map[pbx.UserID]pbx.Switches // on Asterisk
	codes    bool                        // phones can dial feature codes
}

// followed is a call with what the live dialplan did.
type followed struct {
	model   pbx.Model
	request callflow.Request
	live    string
}

func newDryRuns(t *testing.T, a *lab.Asterisk) *dryRuns {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	d := &dryRuns{a, rand.New(rand.NewPCG(seed, 0)), nil, nil, false}
	for i, number := range []pbx.Number{10, 100, 1000, 1001, 1002, 10001, 99999, 999999} {
		d.users = append(d.users, pbx.User{
			ID: pbx.UserID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i)), Name: fmt.Sprint("User ", i),
			Extension: pbx.Extension{Number: number, Secret: pbx.NewSecret()},
		})
		for suffix := 2; suffix <= []int{1, 2, pbx.MaxDevices}[i%3]; suffix++ {
			d.users[i].Devices = append(d.users[i].Devices, pbx.Device{Suffix: suffix, Secret: pbx.NewSecret()})
		}
	}
	return d
}

// model returns a random model: users of whom some have several phones and some are disabled, and ring groups that go on to anything, also in circles.
func (d *dryRuns) model() pbx.Model {
	m := pbx.Model{Users: slices.Clone(d.users)}
	for i := range m.Users {
		m.Users[i].Disabled = d.rnd.IntN(5) == 0
		m.Users[i].Devices = slices.DeleteFunc(slices.Clone(m.Users[i].Devices), func(pbx.Device) bool { return d.rnd.IntN(3) == 0 })
	}
	groups := 1 + d.rnd.IntN(12)
	if d.rnd.IntN(3) > 0 {
		for i := range m.Users {
			m.Users[i].Calls = d.calls(m, groups)
		}
	}
	if d.rnd.IntN(2) == 0 {
		m.Levels.Organisation = d.calls(m, groups)
	}
	if d.rnd.IntN(2) == 0 {
		m.Levels.Pools = []pbx.PoolLevel{{First: 1000, Last: 10_001, Calls: d.calls(m, groups)}, {First: 10, Last: 100, Calls: d.calls(m, groups)}}
	}
	for i := range groups {
		g := &pbx.RingGroup{
			Number: fmt.Sprint(600 + i), Strategy: pbx.RingStrategies()[d.rnd.IntN(3)], Seconds: 5 + d.rnd.IntN(116), SkipBusy: d.rnd.IntN(2) == 0,
			Fallback: pbx.Destination{Kind: pbx.Hangup},
		}
		for _, u := range d.rnd.Perm(len(m.Users))[:1+d.rnd.IntN(len(m.Users))] {
			g.Members = append(g.Members, m.Users[u].ID)
		}
		switch next := d.rnd.IntN(4); {
		case next == 0:
			g.Fallback = pbx.Destination{Kind: pbx.KindUser, ID: string(m.Users[d.rnd.IntN(len(m.Users))].ID)}
		case next > 1:
			g.Fallback = pbx.Destination{Kind: pbx.KindRingGroup, ID: groupID(d.rnd.IntN(groups))}
		}
		m.Items = append(m.Items, groupItem(i, g))
	}
	return m
}

// calls returns random call settings, which send calls on to anything.
func (d *dryRuns) calls(m pbx.Model, groups int) (c pbx.CallSettings) {
	if d.rnd.IntN(2) == 0 {
		c.RingSeconds = 5 + d.rnd.IntN(116)
	}
	if d.rnd.IntN(2) == 0 {
		c.CallLimit = []pbx.CallLimit{pbx.NoCallLimit, 1, 2, 3}[d.rnd.IntN(4)]
	}
	for _, to := range []*pbx.Destination{&c.WhenBusy, &c.WhenUnanswered, &c.WhenUnreachable} {
		switch d.rnd.IntN(8) {
		case 0, 1:
			*to = pbx.Destination{Kind: pbx.KindUser, ID: string(m.Users[d.rnd.IntN(len(m.Users))].ID)}
		case 2, 3:
			*to = pbx.Destination{Kind: pbx.KindRingGroup, ID: groupID(d.rnd.IntN(groups))}
		case 4:
			*to = pbx.Destination{Kind: pbx.Hangup}
		}
	}
	return c
}

// switched returns random switches of the users of a model, which forward calls to anything, and to nothing. A quarter of the models have none.
func (d *dryRuns) switched(m pbx.Model) map[pbx.UserID]pbx.Switches {
	all := map[pbx.UserID]pbx.Switches{}
	if d.rnd.IntN(4) == 0 {
		return all
	}
	for _, u := range m.Users {
		s := pbx.Switches{DoNotDisturb: d.rnd.IntN(3) == 0}
		for i, to := range []*string{&s.ForwardAlways, &s.ForwardBusy, &s.ForwardUnanswered, &s.ForwardUnreachable} {
			switch n := d.rnd.IntN(16); {
			case n > 5 || i == 0 && n > 4:
			case n == 0 || n == 4 || n == 5:
				*to = fmt.Sprint(m.Users[d.rnd.IntN(len(m.Users))].Extension.Number)
			case n == 1:
				*to = m.Items[d.rnd.IntN(len(m.Items))].Body.Claims()[0].Number
			default:
				*to = []string{"*78", "*721000", "5", "#", "+49301234", "12345678901234567890123456789012"}[d.rnd.IntN(6)]
			}
		}
		all[u.ID] = s
	}
	return all
}

// put sets the switches of the users of a model on Asterisk.
func (d *dryRuns) put(t *testing.T, m pbx.Model, to map[pbx.UserID]pbx.Switches) {
	t.Helper()
	for _, u := range m.Users {
		if err := d.Control().SetSwitches(t.Context(), fmt.Sprint(u.Extension.Number), asterisk.Switches(d.switches[u.ID]), asterisk.Switches(to[u.ID])); err != nil {
			t.Fatal(err)
		}
	}
	d.switches = to
}

// chain returns a model in which each of some ring groups goes on to the next, and the last one to a user.
func (d *dryRuns) chain(groups int) pbx.Model {
	m := pbx.Model{Users: d.users}
	for i := range groups {
		g := &pbx.RingGroup{
			Number: fmt.Sprint(600 + i), Strategy: pbx.RingAll, Seconds: 5, Members: []pbx.UserID{m.Users[0].ID},
			Fallback: pbx.Destination{Kind: pbx.KindRingGroup, ID: groupID(i + 1)},
		}
		if i == groups-1 {
			g.Fallback = pbx.Destination{Kind: pbx.KindUser, ID: string(m.Users[1].ID)}
		}
		m.Items = append(m.Items, groupItem(i, g))
	}
	return m
}

// cover returns a model in which calls come back to users whom they came to before, in every way, with the switches that it takes, and the calls.
func (d *dryRuns) cover() (m pbx.Model, to map[pbx.UserID]pbx.Switches, requests []callflow.Request) {
	m.Users = slices.Clone(d.users)
	user := func(i int) pbx.Destination { return pbx.Destination{Kind: pbx.KindUser, ID: string(m.Users[i].ID)} }
	always := func(i int) pbx.CallSettings {
		return pbx.CallSettings{WhenBusy: user(i), WhenUnanswered: user(i), WhenUnreachable: user(i)}
	}
	m.Users[0].Calls, m.Users[1].Calls = always(1), always(0)
	m.Users[2].Calls.WhenUnanswered = user(0)
	m.Users[3].Calls, m.Users[3].Disabled, m.Users[4].Calls = always(4), true, always(3)
	m.Users[5].Calls.WhenUnanswered = user(6)
	m.Users[7].Calls.WhenUnanswered = pbx.Destination{Kind: pbx.KindRingGroup, ID: groupID(0)}
	m.Items = []pbx.Item{groupItem(0, &pbx.RingGroup{Number: "600", Strategy: pbx.RingAll, Seconds: 5, Members: []pbx.UserID{m.Users[2].ID}, Fallback: user(7)})}
	to = map[pbx.UserID]pbx.Switches{m.Users[6].ID: {ForwardAlways: fmt.Sprint(m.Users[5].Extension.Number)}}
	for _, call := range []struct {
		user     int
		outcomes []callflow.Status
	}{
		{0, []callflow.Status{callflow.NotAnswered, callflow.NotAnswered}},
		{0, []callflow.Status{callflow.Engaged, callflow.Engaged}},
		{0, []callflow.Status{callflow.CannotBeCalled, callflow.CannotBeCalled}},
		{2, []callflow.Status{callflow.NotAnswered, callflow.NotAnswered, callflow.NotAnswered}},
		{3, []callflow.Status{callflow.NotAnswered}},
		{4, []callflow.Status{callflow.Engaged}},
		{5, []callflow.Status{callflow.NotAnswered}},
		{7, []callflow.Status{callflow.NotAnswered, callflow.NotAnswered}},
	} {
		r := callflow.Request{RingSeconds: 25, Switches: to, FeatureCodes: true, Dial: fmt.Sprint(m.Users[call.user].Extension.Number)}
		for _, o := range call.outcomes {
			r.Script = append(r.Script, callflow.Outcome{Status: o})
		}
		requests = append(requests, r)
	}
	return m, to, requests
}

func groupID(i int) string { return fmt.Sprintf("00000000-0000-4000-9000-%012d", i) }

func groupItem(i int, g *pbx.RingGroup) pbx.Item {
	return pbx.Item{Meta: pbx.Meta{ID: pbx.ThingID(groupID(i)), Kind: pbx.KindRingGroup, Short: i + 1, Name: fmt.Sprint("Group ", i)}, Body: g}
}

// request returns a random call.
func (d *dryRuns) request(m pbx.Model, ringSeconds int) callflow.Request {
	r := callflow.Request{RingSeconds: ringSeconds, Switches: d.switches, FeatureCodes: d.codes}
	for range d.rnd.IntN(12) {
		// An answer ends the call, so it is the least frequent.
		status := callflow.Statuses()[[]int{0, 1, 1, 1, 2, 2, 3, 3}[d.rnd.IntN(8)]]
		r.Script = append(r.Script, callflow.Outcome{Status: status})
	}
	some := func(one int) (ids []pbx.UserID) {
		for _, u := range m.Users {
			if d.rnd.IntN(one) == 0 {
				ids = append(ids, u.ID)
			}
		}
		return ids
	}
	if d.rnd.IntN(2) == 0 {
		r.Busy = append(some(2), some(3)...) // some of them in two calls
	}
	if d.rnd.IntN(3) == 0 {
		r.Away = some(2)
	}
	user, group := m.Users[d.rnd.IntN(len(m.Users))], m.Items[d.rnd.IntN(len(m.Items))]
	switch d.rnd.IntN(16) {
	case 0:
		r.Dial = []string{"5", "*78", "*79", "*73", "*72*+#1000", "*901001", "*521", "*62600", "*63"}[d.rnd.IntN(9)]
	case 1:
		r.To = pbx.Ref{Kind: pbx.KindUser, ID: string(user.ID)}
	case 2, 3, 4, 5, 6, 7:
		r.Dial = fmt.Sprint(user.Extension.Number)
	case 8, 9:
		r.To = pbx.Ref{Kind: group.Kind, ID: string(group.ID)}
	default:
		r.Dial = group.Body.Claims()[0].Number
	}
	return r
}

// write writes the dialplan of a model, with a library of its own if there is one, and has Asterisk load it.
func (d *dryRuns) write(t *testing.T, m pbx.Model, ringSeconds int, library string) {
	t.Helper()
	files, err := render.Options{RingTimeout: ringSeconds, FeatureCodes: d.codes}.Next(render.Rendered{}, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files.Files {
		content := f.Content
		if f.Path == pbx.LibraryPath && library != "" {
			content = []byte(library)
		}
		if pbx.ModuleOf(f.Path) == pbx.Dialplan {
			if err := os.WriteFile(filepath.Join(d.ConfigDir, f.Path), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if reply, state := d.Control().ReloadDialplan(t.Context()); state != asterisk.Reloaded {
		t.Fatal(state, reply)
	}
}

// follow follows calls on Asterisk.
func (d *dryRuns) follow(t *testing.T, m pbx.Model, requests []callflow.Request) (all []followed) {
	t.Helper()
	numbers := map[pbx.UserID]string{}
	for _, u := range m.Users {
		numbers[u.ID] = fmt.Sprint(u.Extension.Number)
	}
	var runs []asterisk.DryRun
	for _, r := range requests {
		run := asterisk.DryRun{Context: pbx.Context, Exten: r.Dial}
		switch r.To.Kind { //nolint:exhaustive // other kinds are not called
		case pbx.KindUser:
			run.Context, run.Exten = "sc-user", numbers[pbx.UserID(r.To.ID)]
		case pbx.KindRingGroup:
			i := slices.IndexFunc(m.Items, func(i pbx.Item) bool { return string(i.ID) == r.To.ID })
			run.Context, run.Exten = "sc-group", m.Items[i].Key()
		}
		outcomes := r.Script
		if r.Away != nil { // a dry run does not know them: where only phones ring that are away, the script says so
			outcomes = nil
			for _, s := range callflow.Simulate(m, r).Steps {
				if s.Kind == callflow.StepRing {
					outcomes = append(outcomes, callflow.Outcome{Status: s.Outcome})
				}
			}
		}
		for _, o := range outcomes {
			run.Script += map[callflow.Status]string{
				callflow.Answered: "a", callflow.NotAnswered: "n", callflow.Engaged: "b", callflow.CannotBeCalled: "u",
			}[o.Status]
		}
		for _, b := range r.Busy {
			run.Busy = append(run.Busy, numbers[b])
		}
		runs = append(runs, run)
	}
	traces, err := d.Control().WithTimeout(time.Minute).DryRuns(t.Context(), runs)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range requests {
		all = append(all, followed{m, r, strings.Join(traces[i], " ")})
	}
	return all
}

// callsPerModel is how many calls are followed through each model.
const callsPerModel = 25

// A mistake in Simulate, in the files or in the library shows as a difference: the trace names every phone, every outcome and every cause.
func TestDryRunsOnAsteriskTakeWhatIsSimulatedAndRingNoPhoneAtLength(t *testing.T) {
	t.Parallel()
	d := newDryRuns(t, labtest.Asterisk(t))
	reached := d.phones(t)
	var all []followed
	for i := range labtest.Soak(60, 800) {
		m, ringSeconds := d.model(), 5+d.rnd.IntN(60)
		if i < 2 {
			m = d.chain(10 - i)
		}
		d.codes = d.rnd.IntN(2) == 0
		to, requests := d.switched(m), []callflow.Request(nil)
		if i == 2 {
			m, to, requests = d.cover()
			d.codes, ringSeconds = true, 25
		}
		d.put(t, m, to)
		d.write(t, m, ringSeconds, "")
		for len(requests) < callsPerModel {
			requests = append(requests, d.request(m, ringSeconds))
		}
		all = append(all, d.follow(t, m, requests)...)
	}
	different := 0
	for _, f := range all {
		if got := callflow.Simulate(f.model, f.request).Taken; got != f.live {
			if different++; different < 10 {
				t.Errorf("%+v: simulated %q, Asterisk took %q", f.request, got, f.live)
			}
		}
	}
	t.Logf("%d calls, %d different", len(all), different)
	for name, wrong := range wrongSimulators() {
		i := slices.IndexFunc(all, func(f followed) bool { return wrong(f.model, f.request) != f.live })
		if i < 0 || i > 500 {
			t.Errorf("that %s was not noticed in 500 calls", name)
		}
	}
	if n := len(reached); n > 0 {
		t.Errorf("%d calls reached phones during dry runs", n)
	}
	// A call that is no dry run is counted.
	d.put(t, d.chain(1), nil)
	d.write(t, d.chain(1), 5, "")
	if _, err := d.Control().Run(t.Context(), "channel originate Local/10@sc-user/n application Wait 1"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-reached:
	case <-time.After(20 * time.Second):
		t.Error("a call does not reach the phone")
	}
}

// phones registers a phone for each user. The channel has the numbers of phones that a call reached.
func (d *dryRuns) phones(t *testing.T) <-chan string {
	t.Helper()
	files, _, err := render.Config(d.users)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(d.ConfigDir, f.Path), f.Content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if reply, state := d.Control().ReloadPJSIP(t.Context()); state != asterisk.Reloaded {
		t.Fatal(state, reply)
	}
	reached := make(chan string, 100)
	for _, u := range d.users {
		for _, device := range append([]pbx.Device{{Secret: u.Extension.Secret}}, u.Devices...) {
			p, err := phone.New(phone.Config{Server: d.SIPAddr, Number: pbx.DeviceName(u.Extension.Number, device.Suffix), Secret: device.Secret.Reveal()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = p.Close() })
			if err := p.Register(t.Context(), 10*time.Minute); err != nil {
				t.Fatal(err)
			}
			go func() {
				for {
					call, err := p.Incoming(t.Context())
					if err != nil {
						return
					}
					reached <- p.Number()
					_ = call.Reject(486)
				}
			}()
		}
	}
	return reached
}

// wrongSimulators returns functions that follow a call with one mistake, by the mistake.
func wrongSimulators() map[string]func(pbx.Model, callflow.Request) string {
	groups := func(change func(*pbx.RingGroup)) func(pbx.Model, callflow.Request) string {
		return func(m pbx.Model, r callflow.Request) string {
			m.Items = slices.Clone(m.Items)
			for i := range m.Items {
				g := *m.Items[i].Body.(*pbx.RingGroup)
				change(&g)
				m.Items[i].Body = &g
			}
			return callflow.Simulate(m, r).Taken
		}
	}
	strategy := func(from, to pbx.RingStrategy) func(pbx.Model, callflow.Request) string {
		return groups(func(g *pbx.RingGroup) {
			if g.Strategy == from {
				g.Strategy = to
			}
		})
	}
	request := func(change func(*callflow.Request)) func(pbx.Model, callflow.Request) string {
		return func(m pbx.Model, r callflow.Request) string {
			r.Script = slices.Clone(r.Script)
			change(&r)
			return callflow.Simulate(m, r).Taken
		}
	}
	status := func(from, to callflow.Status) func(pbx.Model, callflow.Request) string {
		return request(func(r *callflow.Request) {
			for i := range r.Script {
				if r.Script[i].Status == from {
					r.Script[i].Status = to
				}
			}
		})
	}
	users := func(change func(*pbx.CallSettings)) func(pbx.Model, callflow.Request) string {
		return func(m pbx.Model, r callflow.Request) string {
			m.Users = slices.Clone(m.Users)
			for i := range m.Users {
				change(&m.Users[i].Calls)
			}
			return callflow.Simulate(m, r).Taken
		}
	}
	switches := func(change func(*pbx.Switches)) func(pbx.Model, callflow.Request) string {
		return request(func(r *callflow.Request) {
			all := map[pbx.UserID]pbx.Switches{}
			for u, s := range r.Switches {
				change(&s)
				all[u] = s
			}
			r.Switches = all
		})
	}
	return map[string]func(pbx.Model, callflow.Request) string{
		"users are disturbed":                    switches(func(s *pbx.Switches) { s.DoNotDisturb = false }),
		"users do not forward all calls":         switches(func(s *pbx.Switches) { s.ForwardAlways = "" }),
		"users do not forward when busy":         switches(func(s *pbx.Switches) { s.ForwardBusy = "" }),
		"users do not forward without an answer": switches(func(s *pbx.Switches) { s.ForwardUnanswered = "" }),
		"users do not forward when unreachable":  switches(func(s *pbx.Switches) { s.ForwardUnreachable = "" }),
		"do not disturb comes before forwards": switches(func(s *pbx.Switches) {
			if s.DoNotDisturb {
				s.ForwardAlways = ""
			}
		}),
		"no feature code exists":               request(func(r *callflow.Request) { r.FeatureCodes = false }),
		"no user has a limit":                  users(func(c *pbx.CallSettings) { c.CallLimit = 0 }),
		"the limit counts one call more":       users(func(c *pbx.CallSettings) { c.CallLimit = max(c.CallLimit-1, 0) }),
		"users do not go on when busy":         users(func(c *pbx.CallSettings) { c.WhenBusy = pbx.Destination{} }),
		"users do not go on without an answer": users(func(c *pbx.CallSettings) { c.WhenUnanswered = pbx.Destination{Kind: pbx.Hangup} }),
		"users do not go on when unreachable":  users(func(c *pbx.CallSettings) { c.WhenUnreachable = pbx.Destination{Kind: pbx.Hangup} }),
		"users ring for the default time":      users(func(c *pbx.CallSettings) { c.RingSeconds = 0 }),
		"groups ring users who are busy":       groups(func(g *pbx.RingGroup) { g.SkipBusy = false }),
		"groups always skip who is busy":       groups(func(g *pbx.RingGroup) { g.SkipBusy = true }),
		"hunting accumulates":                  strategy(pbx.RingHunt, pbx.RingMemory),
		"memory forgets":                       strategy(pbx.RingMemory, pbx.RingHunt),
		"all ring one after the other":         strategy(pbx.RingAll, pbx.RingHunt),
		"members ring in another order":        groups(func(g *pbx.RingGroup) { g.Members = slices.Clone(g.Members); slices.Reverse(g.Members) }),
		"the last member is left out":          groups(func(g *pbx.RingGroup) { g.Members = g.Members[:len(g.Members)-1] }),
		"no group goes on":                     groups(func(g *pbx.RingGroup) { g.Fallback = pbx.Destination{Kind: pbx.Hangup} }),
		"groups ring for the default time":     groups(func(g *pbx.RingGroup) { g.Seconds = pbx.DefaultRingGroupSeconds }),
		"users ring for another time":          request(func(r *callflow.Request) { r.RingSeconds++ }),
		"no user answers":                      request(func(r *callflow.Request) { r.Script = nil }),
		"the first outcome is used twice": request(func(r *callflow.Request) {
			if len(r.Script) > 0 {
				r.Script = slices.Insert(r.Script, 0, r.Script[0])
			}
		}),
		"busy counts as not answered":        status(callflow.Engaged, callflow.NotAnswered),
		"unreachable counts as busy":         status(callflow.CannotBeCalled, callflow.Engaged),
		"not answered counts as unreachable": status(callflow.NotAnswered, callflow.CannotBeCalled),
		"no user is in a call":               request(func(r *callflow.Request) { r.Busy = nil }),
		"every phone is registered":          request(func(r *callflow.Request) { r.Away = nil }),
		"only the first phone of a user rings": func(m pbx.Model, r callflow.Request) string {
			m.Users = slices.Clone(m.Users)
			for i := range m.Users {
				m.Users[i].Devices = nil
			}
			return callflow.Simulate(m, r).Taken
		},
		"disabled users ring": func(m pbx.Model, r callflow.Request) string {
			m.Users = slices.Clone(m.Users)
			for i := range m.Users {
				m.Users[i].Disabled = false
			}
			return callflow.Simulate(m, r).Taken
		},
		"a call comes to any number of things": func(m pbx.Model, r callflow.Request) string {
			return strings.ReplaceAll(callflow.Simulate(m, r).Taken, " loop", "")
		},
		"a call ends with another cause": func(m pbx.Model, r callflow.Request) string {
			return strings.ReplaceAll(callflow.Simulate(m, r).Taken, "hangup:17", "hangup:16")
		},
	}
}

// Every routine of the dialplan library matters to some call.
func TestAMistakeInTheDialplanLibraryShowsInDryRuns(t *testing.T) {
	t.Parallel()
	d := newDryRuns(t, labtest.Asterisk(t))
	library, err := os.ReadFile("../render/library.conf")
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []struct{ from, to string }{
		{`SC_HOPS}>10]`, `SC_HOPS}>9]`},
		{`SC_HOPS}>10]`, `SC_HOPS}>11]`},
		{`exten => user,1,Gosub(hop,1)`, `exten => user,1,NoOp()`},
		{`exten => group,1,Gosub(hop,1)`, `exten => group,1,NoOp()`},
		{`trace,1(loop)`, `trace,1(end)`},
		{`SC_TO_EXTEN=${CUT(ARG1,.,2)}`, `SC_TO_EXTEN=${CUT(ARG1,.,1)}`},
		{`(sc-phones,${ARG1},1)}=0]?add-end`, `(sc-phones,${ARG1},1)}=1]?add-end`},
		{`?INUSE:NOT_INUSE`, `?NOT_INUSE:INUSE`},
		{`".*-${ARG1}-"]`, `".*${ARG1}.*-"]`},
		{`"${ARG2}"="b"]`, `"${ARG2}"=""]`},
		{`"${SC_TO_ASK}"=""]`, `"${SC_TO_ASK}"!=""]`},
		{`Set(SC_ADDED=1)`, `Set(SC_ADDED=)`},
		{`Set(SC_RUNG=${SC_RUNG}+${STRREPLACE(SC_PHONES,PJSIP/)})`, `Set(SC_RUNG=+${ARG1})`},
		{`${STRREPLACE(SC_PHONES,PJSIP/)}`, `${ARG1}`},
		{`"${SC_DEVICES}"=""]`, `"${SC_DEVICES}"="x"]`},
		{`"${SC_SIM}"!=""]?sim-ring`, `"${SC_SIM}"=""]?sim-ring`},
		{`="b"]?user-busy`, `="n"]?user-busy`},
		{`="n"]?user-late`, `="u"]?user-late`},
		{`cfb,${ARG3})`, `cfb,${ARG4})`},
		{`cfn,${ARG4})`, `cfn,${ARG5})`},
		{`Set(SC_LEFT=${ARG4})`, `Set(SC_LEFT=${CUT(ARG4,-,2-)})`},
		{`"${ARG1}"="all" | `, `"${ARG1}"="hunt" | `},
		{` | "${SC_ADDED}"=""]`, `]`},
		{`="memory"]?group-next`, `="hunt"]?group-next`},
		{`"${ARG1}"!="all"]?group-end`, `"${ARG1}"="all"]?group-end`},
		{`Gosub(ring,1(${ARG2},i))`, `Gosub(ring,1(20,i))`},
		{`group-end,1,Gosub(to,1(${ARG5},19))`, `group-end,1,Gosub(to,1(sc-hangup.19,19))`},
		{`group-end,1,Gosub(to,1(${ARG5},19))`, `group-end,1,Gosub(to,1(${ARG5},17))`},
		{`"${SC_TO_CONTEXT}"="sc-user"]?${SC_TO_EXTEN}`, `"${SC_TO_CONTEXT}"="sc-user"]?x`},
		{`"${SC_TRIED}-" : ".*-${SC_TO_USER}-"`, `"${SC_TRIED}-" : "-${SC_TO_USER}-"`},
		{`Set(__SC_TRIED=${SC_TRIED}-${ARG1})
 same => n,Set(SC_DEVICES=)`, `Set(SC_DEVICES=)`},
		{`user-disabled,1,Set(__SC_TRIED=${SC_TRIED}-${ARG1})`, `user-disabled,1,NoOp()`},
		{`to,1(${SC_FORWARD},19))
 same => n,Set(__SC_TRIED`, `to,1(${SC_FORWARD},17))
 same => n,Set(__SC_TRIED`},
		{`to,1(${SC_FORWARD},17))`, `to,1(${SC_FORWARD},19))`},
		{`to,1(${SC_FORWARD},20))`, `to,1(${SC_FORWARD},19))`},
		{`to,1(${SC_FORWARD},19))
exten => user-disabled`, `to,1(${SC_FORWARD},17))
exten => user-disabled`},
		{`to,1(${ARG5},20))`, `to,1(${ARG5},19))`},
		{`=""]?n:${SC_SCRIPT:0:1}`, `=""]?b:${SC_SCRIPT:0:1}`},
		{`Set(SC_SCRIPT=${SC_SCRIPT:1})`, `Set(SC_SCRIPT=${SC_SCRIPT})`},
		{`"${SC_OUTCOME}"="a"]`, `"${SC_OUTCOME}"="b"]`},
		{`Set(SC_RESULT=${SC_OUTCOME})`, `Set(SC_RESULT=n)`},
		{`trace,1(hangup:${EXTEN})`, `trace,1(hangup:19)`},
		{`(sc-limit,${ARG1},1)}=0]`, `(sc-limit,${ARG1},1)}=1]`},
		{`Set(SC_LIMIT=${GOSUB_RETVAL})`, `Set(SC_LIMIT=2)`},
		{`-${ARG1}=([0-9]+)-`, `${ARG1}=([0-9]+)-`},
		{`"${SC_SIM}"!=""]?Set(SC_COUNT`, `"${SC_SIM}"=""]?Set(SC_COUNT`},
		{`>=${SC_LIMIT}]?`, `>${SC_LIMIT}]?`},
		{`Set(SC_FULL=1)`, `Set(SC_FULL=)`},
		{` same => n,Gosub(full,1(${ARG1}))
`, ``},
		{` same => n,GotoIf($["${SC_FULL}"="1"]?add-end,1)
`, ``},
		{`"${SC_FULL}"="1"]?user-busy,1)`, `"${SC_FULL}"="1"]?user-late,1)`},
		{`Set(SC_CALLS=${CUT(SC_JOB,|,5)})`, `Set(SC_CALLS=${CUT(SC_JOB,|,4)})`},
		{`-${ARG1})}"="BUSY"]?1)}`, `-${ARG1})}"="INUSE"]?1)}`},
		{`FILTER(0-9*#+,${DB(sc/${ARG1}/${ARG2})})`, `FILTER(0-9,${DB(sc/${ARG1}/${ARG2})})`},
		{`"${SC_FORWARD}"=""]?forward-none`, `"${SC_FORWARD}"="x"]?forward-none`},
		{`?sc-user:synergy-internal)}`, `?synergy-internal:sc-user)}`},
		{`Set(SC_FORWARD=${ARG3})`, `Set(SC_FORWARD=)`},
		{`(sc-phones,${ARG1},1)}=0]?user-disabled`, `(sc-phones,${ARG1},1)}=2]?user-disabled`},
		{`forward,1(${ARG1},cfa)`, `forward,1(${ARG1},cfx)`},
		{`forward,1(${ARG1},cfb,${ARG3})`, `forward,1(${ARG1},cfx,${ARG3})`},
		{`forward,1(${ARG1},cfn,${ARG4})`, `forward,1(${ARG1},cfx,${ARG4})`},
		{`forward,1(${ARG1},cfu,${ARG5})`, `forward,1(${ARG1},cfx,${ARG5})`},
		{`to,1(${ARG5},20))`, `to,1(${ARG3},20))`},
		{`"${SC_HOPS}"!="" | `, ``},
		{`${LEN(${ARG2})}!=${ARG3}`, `${LEN(${ARG2})}=${ARG3}`},
		{`trace,1(hangup:21)`, `trace,1(hangup:17)`},
		{`trace,1(code:${ARG1}=${ARG2})`, `trace,1(code:${ARG1})`},
	} {
		if strings.Count(string(library), change.from) != 1 {
			t.Errorf("the library does not have %q once", change.from)
			continue
		}
		wrong := strings.Replace(string(library), change.from, change.to, 1)
		noticed, calls := false, 0
		for i := 0; !noticed && i < 100; i++ { // some matter to few calls
			// First a chain, in which a call ends even if it is not counted what it came to, then what is rare in random models.
			m, to, requests := d.chain(10), map[pbx.UserID]pbx.Switches(nil), []callflow.Request{{Dial: "600"}, {Dial: "601"}}
			switch d.codes = i > 0; i {
			case 0:
			case 1:
				m, to, requests = d.cover()
			default:
				m, requests = d.model(), nil
				to = d.switched(m)
			}
			d.put(t, m, to)
			if i > 1 {
				for range 10 {
					requests = append(requests, d.request(m, 25))
				}
			}
			d.write(t, m, 25, wrong)
			for _, f := range d.follow(t, m, requests) {
				calls++
				noticed = noticed || callflow.Simulate(f.model, f.request).Taken != f.live
			}
		}
		if !noticed {
			t.Errorf("%s instead of %s was not noticed in %d calls", change.to, change.from, calls)
		}
	}
}
