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
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
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
		s.search(t, []string{"apply"}, func() {})
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
			s.search(t, []string{"recover"}, func() {
				code, out, refused := s.trace(t, []string{"apply"}, func(_ int, c call) bool { return !tc.moment(c) })
				switch {
				case refused:
					s.open(t)
					s.panicAt(t, s.hook(hooks{tc.method: func() { panic("a fault") }}, nil))
					s.shut()
				case code != -1:
					t.Fatalf("the apply was not killed:\n%s", out)
				}
			})
		})
	}
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

// search replaces a user, prepares, and runs the portal, killing it at one point after another; each time it examines the result.
func (s *site) search(t *testing.T, args []string, prepare func()) {
	t.Helper()
	start, points, violations := now(), map[string]int{}, 0
	kill := killer(s.byCall)
	for n, ended := 1+rand.IntN(sparse()), false; !ended && violations < enough; n += sparse() {
		before := s.mustPair(t)
		s.replace(t)
		after, _ := s.meant(t)
		known := len(s.logs(t))
		s.shut()
		prepare()
		where, refused := kill(t, args, n)
		if refused { // a sandbox without ptrace: kill by time instead
			t.Log("processes may not be traced here; the points are moments instead of system calls")
			kill = s.byTime(t, args)
			where, _ = kill(t, args, n)
		}
		ended = where == ""
		s.open(t)
		for _, fault := range s.examine(t, before, after, known) {
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
	if total < least/sparse() {
		t.Errorf("only %d kill points, expected at least %d", total, least/sparse())
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
		if err != nil || !ok || r.Revision != state.Current || state.RunID != r.Log.ID || len(files.Files) != 2 ||
			(pair{string(files.Files[0].Content), string(files.Files[1].Content)}) != after {
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
