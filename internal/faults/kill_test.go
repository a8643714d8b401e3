//go:build linux

package faults_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/phone"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// fewest is the number of kill points that a search must have visited on each engine, so that a broken search does not pass.
const fewest = 80

// most is more system calls than an apply can need.
const most = 400

// enough is the number of violations after which a search ends.
const enough = 10

// sparse returns the distance between the kill points of a search; make soak visits all of them.
func sparse() int {
	if testing.Short() {
		return 10
	}
	return labtest.Soak(8, 1)
}

// Rows 4 to 6 of the fault table: one user is replaced, and an apply is killed before its first, second, third … system call that changes
// something, until it completes undisturbed.
func TestRow04AnApplyKilledBeforeAnySystemCallLeavesNothingHalfDoneAtLength(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := newSite(t, labtest.Asterisk(t), url, 5)
		s.search(t, search{args: []string{"apply"}, every: sparse(), change: s.replace})
	})
}

// Row 7: the same for the recovery after an apply that died just before, and just after, the files were switched.
func TestRow07ARecoveryKilledBeforeAnySystemCallIsCompletedByTheNextAtLength(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		moment func(c call) bool
		method string // of the target, used if tracing is not permitted
	}{
		"before the flip": {func(c call) bool { return c.name == "renameat" && strings.HasSuffix(c.on, "/current") }, "flip"},
		"after the flip":  {func(c call) bool { return c.name == "write" && c.on == "asterisk" }, "reload"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, labtest.Asterisk(t), storetest.SQLite(t), 5)
			s.search(t, search{args: []string{"recover"}, every: sparse(), change: s.replace, prepare: func() {
				code, out, refused := s.trace(t, []string{"apply"}, func(_ int, c call) bool { return !tc.moment(c) })
				switch {
				case refused:
					s.open(t)
					s.panicAt(t, s.hook(hooks{tc.method: func() { panic("a fault") }}, nil))
					s.shut()
				case code != -1:
					t.Fatalf("the apply was not killed:\n%s", out)
				}
			}})
		})
	}
}

// phones is a site whose users have several phones and switches.
type phones struct {
	*site
	steady string            // the phone that no change concerns
	gone   string            // the phone that the change revokes
	number pbx.Number        // that the change gives a user
	has    asterisk.Switches // the switches of that user
}

// register registers a phone, which a change then concerns or not.
func (p *phones) register(t *testing.T, name string, secret pbx.Secret) {
	t.Helper()
	soft, err := phone.New(phone.Config{Server: p.asterisk.SIPAddr, Number: name, Secret: secret.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = soft.Close() }()
	if err := soft.Register(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
}

// change adds a phone to a user, revokes one of another, and gives a third one, who has two phones and switches, another number.
func (p *phones) change(t *testing.T) {
	t.Helper()
	users := p.users(t) // by number: the first ones stay the same
	more, fewer, moved := users[1], users[2], users[len(users)-1]
	gone := fewer.Devices[0]
	p.gone = pbx.DeviceName(fewer.Extension.Number, gone.Suffix)
	p.register(t, p.gone, gone.Secret)
	p.register(t, pbx.DeviceName(moved.Extension.Number, moved.Devices[0].Suffix), moved.Devices[0].Secret)
	_, err := p.directory.RemoveDevice(t.Context(), pbx.DefaultTenant, fewer.ID, gone.ID, 0)
	if err == nil {
		_, _, err = p.directory.AddDevice(t.Context(), pbx.DefaultTenant, fewer.ID, 0, "The next one to be revoked")
	}
	if len(more.Devices) == pbx.MaxDevices-1 {
		for _, d := range more.Devices[1:] {
			if err == nil {
				_, err = p.directory.RemoveDevice(t.Context(), pbx.DefaultTenant, more.ID, d.ID, 0)
			}
		}
	} else if err == nil {
		_, _, err = p.directory.AddDevice(t.Context(), pbx.DefaultTenant, more.ID, 0, "Mobile")
	}
	p.number++
	if err == nil {
		_, err = p.directory.Change(t.Context(), pbx.DefaultTenant, moved.ID, 0, func(u *pbx.User) error { u.Extension.Number = p.number; return nil })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// check returns what is wrong after the change was applied.
func (p *phones) check(t *testing.T) (faults []string) {
	t.Helper()
	number := fmt.Sprint(p.number)
	if all, err := p.control.Switches(t.Context()); err != nil || len(all) != 1 || all[number] != p.has {
		faults = append(faults, fmt.Sprintf("Asterisk has the switches %+v, want those of %s; %v", all, number, err))
	}
	for exten, want := range map[string]string{number: "BUSY", fmt.Sprint(p.number - 1): "UNAVAILABLE"} {
		if answer, err := p.control.Run(t.Context(), "dialplan eval function EXTENSION_STATE("+exten+"@synergy-internal)"); err != nil || !strings.Contains(answer.Stdout, "Result: "+want) {
			faults = append(faults, fmt.Sprintf("the lamp of %s shows %s, want %s; %v", exten, answer.Stdout, want, err))
		}
	}
	contacts, err := p.control.Contacts(t.Context())
	if err != nil || len(contacts) != 1 || contacts[0].AOR != p.steady {
		faults = append(faults, fmt.Sprintf("registered are %+v, want %s alone: %s was revoked, and the phones of %s have another number; %v", contacts, p.steady, p.gone, number, err))
	}
	return faults
}

// The same with phones, which come and go and follow their user to another number, with the switches and the lamp of the user.
func TestAChangeOfPhonesAndNumbersIsMadeAsAWholeIfAnApplyIsKilledBeforeAnySystemCallAtLength(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	p := phones{site: lookAt(t, a, storetest.SQLite(t)), number: 2000, has: asterisk.Switches{DoNotDisturb: true, ForwardBusy: "1000", ForwardUnanswered: "+4930"}}
	p.options, p.env["FEATURE_CODES"] = render.Options{FeatureCodes: true}, "on"
	p.shut()
	p.open(t)
	for range 4 {
		u := p.create(t)
		if _, _, err := p.directory.AddDevice(t.Context(), pbx.DefaultTenant, u.ID, 0, "Mobile"); err != nil {
			t.Fatal(err)
		}
	}
	users := p.users(t)
	if _, err := p.directory.Change(t.Context(), pbx.DefaultTenant, users[3].ID, 0, func(u *pbx.User) error { u.Extension.Number = p.number; return nil }); err != nil {
		t.Fatal(err)
	}
	p.must(t, "apply")
	p.steady = pbx.DeviceName(users[0].Extension.Number, users[0].Devices[0].Suffix)
	p.register(t, p.steady, users[0].Devices[0].Secret)
	if reply, err := p.control.Run(t.Context(), "module load func_extstate.so"); err != nil {
		t.Fatal(reply, err)
	}
	if err := p.control.SetSwitches(t.Context(), fmt.Sprint(p.number), asterisk.Switches{}, p.has); err != nil {
		t.Fatal(err)
	}
	p.search(t, search{args: []string{"apply"}, every: labtest.Soak(24, 1), change: p.change, check: p.check})
}

// panicAt applies with an engine that panics in the given call.
func (s *site) panicAt(t *testing.T, engine *apply.Engine) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("there was no fault")
		}
	}()
	_, _ = engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
}

// search is a search for a kill point at which something is half done.
type search struct {
	args    []string // of the portal that is killed
	every   int      // the distance between the kill points
	change  func(*testing.T)
	prepare func()                    // before the portal runs; may be nil
	check   func(*testing.T) []string // returns what is wrong after the next apply; may be nil
}

// search changes something, prepares, and runs the portal, killing it at one point after another; each time it examines the result.
func (s *site) search(t *testing.T, search search) {
	t.Helper()
	start, points, violations := now(), map[string]int{}, 0
	kill, args := killer(s.byCall), search.args
	for n, ended := 1+rand.IntN(search.every), false; !ended && violations < enough; n += search.every {
		before := s.mustPair(t)
		search.change(t)
		after, _ := s.meant(t)
		known := len(s.logs(t))
		s.shut()
		if search.prepare != nil {
			search.prepare()
		}
		where, refused := kill(t, args, n)
		if refused { // a sandbox without ptrace: kill by time instead
			t.Log("processes may not be traced here; the points are moments instead of system calls")
			kill = s.byTime(t, args)
			where, _ = kill(t, args, n)
		}
		ended = where == ""
		s.open(t)
		found := s.examine(t, before, after, known)
		if search.check != nil {
			found = append(found, search.check(t)...)
		}
		for _, fault := range found {
			violations++
			t.Errorf("killed before %s (%d): %s", where, n, fault)
		}
		if !ended {
			name, _, _ := strings.Cut(where, " ")
			points[name]++
		}
	}
	total := 0
	for _, n := range points {
		total += n
	}
	t.Logf("%d kill points, %d violations, %s: %s", total, violations, now().Sub(start).Round(time.Second/10), tally(points))
	least := fewest
	if args[0] == "recover" {
		least = 15
	}
	if total < least/search.every {
		t.Errorf("only %d kill points, expected at least %d", total, least/search.every)
	}
}

func tally(counts map[string]int) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(all, ", ")
}

// killer runs the portal and kills it at point n; it returns that point, "" if the portal ended before.
type killer func(t *testing.T, args []string, n int) (where string, refused bool)

// byCall kills at the n-th system call that changes something.
func (s *site) byCall(t *testing.T, args []string, n int) (where string, refused bool) {
	t.Helper()
	calls := map[string]int{}
	code, out, refused := s.trace(t, args, func(i int, c call) bool {
		calls[c.String()]++
		if i == n {
			where = c.String()
		}
		return i != n
	})
	if n > most {
		t.Fatalf("it makes more than %d calls without ending: %s\n%s", most, tally(calls), out)
	}
	if where == "" && code != 0 && !refused {
		t.Errorf("undisturbed it ended with exit code %d:\n%s", code, out)
	}
	return where, refused
}

// examine checks the state after a killed portal, recovers as an administrator would, and checks again. before and after are the files of the two
// revisions, known is the number of applies recorded before.
func (s *site) examine(t *testing.T, before, after pair, known int) (faults []string) {
	t.Helper()
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }

	// (a) Asterisk would now read one complete revision.
	read, err := s.pair()
	switch {
	case err != nil:
		fault("the files cannot be read: %v", err)
	case read != before && read != after:
		fault("the files are neither the old nor the new ones")
	}

	// (b) Recovery succeeds, and a second one has nothing to do.
	var code int
	var out, errs string
	within(t.Context(), 5*time.Second, func() bool { // PostgreSQL notices the death of a client when its statement has ended
		code, out, errs = s.run(t, "recover")
		return code != 4
	})
	if code != 0 {
		fault("recover: exit code %d, %s%s", code, out, errs)
	}
	if code, out, errs = s.run(t, "recover"); code != 0 || out != "Nothing to recover.\n" {
		fault("a second recover: exit code %d, %s%s", code, out, errs)
	}
	if recovered, err := s.pair(); err != nil || recovered != read {
		fault("recovery changed what Asterisk reads: %v", err)
	}

	// (c) Files, live Asterisk and audit records agree.
	faults = append(faults, s.agree(t, read, before, after, known)...)

	// (d) No temporary files are left.
	if litter := s.litter(t); len(litter) > 0 {
		fault("left over: %v", litter)
	}

	// (e) The next apply establishes the intended state.
	code, last := s.apply(t)
	if code != 0 || last.Verification != "confirmed" {
		fault("the next apply: exit code %d, %+v", code, last)
	}
	_, live := s.meant(t)
	if diff := s.runs(t.Context(), live); diff != "" {
		fault("after the next apply Asterisk runs a different configuration:\n%s", diff)
	}
	if now, err := s.pair(); err != nil || now != after {
		fault("after the next apply the files are not those of the database: %v", err)
	}
	if state, err := s.engine.State(); err != nil || state.Current != state.LastVerified || len(state.Drift) > 0 {
		fault("after the next apply: %d is in place, %d was seen to run, drift %v, %v", state.Current, state.LastVerified, state.Drift, err)
	}
	return faults
}

// agree compares the files in place, the live Asterisk and the audit records after a recovery.
func (s *site) agree(t *testing.T, read, before, after pair, known int) (faults []string) {
	t.Helper()
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	state, err := s.engine.State()
	if err != nil {
		fault("cannot inspect: %v", err)
	}
	if len(state.Drift) > 0 {
		fault("drift %v", state.Drift)
	}
	logs, fresh := s.logs(t), s.records(t, known)
	if len(fresh) > 1 {
		fault("%d new records of one apply", len(fresh))
	}
	if open, err := s.store.OpenRuns(t.Context()); err != nil || len(open) > 0 {
		fault("%d records are still open, %v", len(open), err)
	}
	for _, l := range logs {
		if (l.Outcome == pbx.Success) != (l.ErrorDetails == "") {
			fault("the record %s: outcome %s, details %q", l.ID, l.Outcome, l.ErrorDetails)
		}
	}
	old, fresher := said(t, before), said(t, after)
	runsOld, runsNew := s.runs(t.Context(), old), s.runs(t.Context(), fresher)
	pjsipFirst, dialplanFirst := fresher, old // they are reloaded at once, and either may come first
	pjsipFirst.Steps, dialplanFirst.Steps = old.Steps, fresher.Steps
	switch {
	case state.Current != state.LastVerified && (s.runs(t.Context(), pjsipFirst) == "" || s.runs(t.Context(), dialplanFirst) == ""):
		// and the record reports the difference
	case runsOld != "" && runsNew != "":
		fault("Asterisk runs neither the old nor the new revision:\n%s", runsNew)
	case read == before && runsOld != "":
		fault("the files are the old ones, but Asterisk runs the new")
	}
	switch {
	case before == after: // there was nothing to do
	case read == before && len(fresh) == 1:
		if r := fresh[0]; r.Result != pbx.Refused || r.Log.Outcome != pbx.Failure || r.Revision != 0 || state.Current != state.LastVerified {
			fault("the files are the old ones, but the record says %s, %s, revision %d", r.Result, r.Log.Outcome, r.Revision)
		}
	case read == after && len(fresh) != 1:
		fault("the files are the new ones, and there is no record of the apply that wrote them")
	case read == after:
		r := fresh[0]
		files, ok, err := s.store.Revision(t.Context(), state.Current)
		if err != nil || !ok || r.Revision != state.Current || state.RunID != r.Log.ID || pairOf(files.Files) != after {
			fault("the record of revision %d does not have the files in place: %v", state.Current, err)
		}
		live := state.Current == state.LastVerified
		if live != (r.Log.Outcome == pbx.Success) || live && runsNew != "" || !live && r.Result != pbx.FilesAhead {
			fault("the record says %s, %s; %d is in place, %d was seen to run; Asterisk:\n%s", r.Result, r.Log.Outcome, state.Current, state.LastVerified, runsNew)
		}
	}
	var listed struct{ Logs []struct{ ID pbx.RunID } }
	if err := json.Unmarshal([]byte(s.must(t, "audit", "list", "--json", "--limit", "500")), &listed); err != nil {
		fault("audit list: %v", err)
	}
	for i, l := range logs {
		if i < 500 && (len(listed.Logs) <= i || listed.Logs[i].ID != l.ID) {
			fault("audit list does not show the record %s", l.ID)
		}
	}
	return faults
}
