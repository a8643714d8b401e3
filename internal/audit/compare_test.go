package audit_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/audit"
	"github.com/synergycall/pbxportal/internal/chain"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// installation is a portal's database with its state folder.
type installation struct {
	url, dir string
	store    *store.Store
	trail    *audit.Trail
	watch    *audit.Watch
	signed   int      // heads reported by the watch
	wrong    []string // what it called wrong
}

func install(t *testing.T, url string) *installation {
	t.Helper()
	in := &installation{url: url, dir: filepath.Join(t.TempDir(), "state")}
	in.start(t)
	return in
}

// eachInstallation runs a test for each name on each engine: restarted or not, in turn, and at length both. One database serves all of an
// engine: it is emptied before each, by the role that owns it.
func eachInstallation(t *testing.T, names iter.Seq[string], test func(t *testing.T, in *installation, name string, restarted bool)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, url string) {
		storetest.Open(t, url)
		storetest.UnlockEvents(t, url)
		cases := 0
		for i, name := range slices.Sorted(names) {
			if testing.Short() && i%3 != 0 {
				continue
			}
			for _, restarted := range labtest.Soak([]bool{cases%2 == 1}, []bool{false, true}) {
				cases++
				t.Run(fmt.Sprintf("%s, restarted %v", name, restarted), func(t *testing.T) {
					storetest.Execute(t, url, `DELETE FROM audit_events; DELETE FROM audit_segments`)
					test(t, install(t, url), name, restarted)
				})
			}
		}
		t.Logf("%d cases", cases)
	})
}

// start is the start of another process on the same database and folder.
func (in *installation) start(t *testing.T) {
	t.Helper()
	in.store = storetest.Open(t, in.url)
	in.trail, in.watch = audit.New(in.store, clock, in.dir), new(audit.Watch)
}

func (in *installation) look(t *testing.T) {
	t.Helper()
	in.watch.Look(t.Context(), in.trail, func(_ audit.Head, wrong error) {
		if wrong != nil {
			in.wrong = append(in.wrong, wrong.Error())
			return
		}
		in.signed++
	})
}

// heads returns all that is signed in the state folder.
func (in *installation) heads(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	entries, err := os.ReadDir(in.dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".key") {
			text, err := os.ReadFile(filepath.Join(in.dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&all, "%s\n%s", e.Name(), text)
		}
	}
	return all.String()
}

// rewrite replaces the trail, as the owner of the database can: edit returns the new events, and the links are
// made to fit.
func (in *installation) rewrite(t *testing.T, edit func([]pbx.AuditEvent) []pbx.AuditEvent) {
	t.Helper()
	other := storetest.Open(t, in.url)
	entries, err := other.EventsAfter(t.Context(), store.EventQuery{}, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var events []pbx.AuditEvent
	for _, e := range entries {
		events = append(events, e.Event)
	}
	storetest.Execute(t, in.url, `DELETE FROM audit_events`)
	err = other.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		for _, e := range edit(events) {
			if err := tx.AppendEvent(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// others makes events of another story.
func others(n int) []pbx.AuditEvent {
	var events []pbx.AuditEvent
	for i := range n {
		events = append(events, pbx.AuditEvent{At: noon, Action: "user.delete", Object: pbx.AuditObject{Type: "user", ID: fmt.Sprint("other", i)}, Result: pbx.AuditOK})
	}
	return events
}

func edited(at int) func([]pbx.AuditEvent) []pbx.AuditEvent {
	return func(events []pbx.AuditEvent) []pbx.AuditEvent {
		events[(at+len(events))%len(events)].Actor.Name = "nobody"
		return events
	}
}

func cut(n, more int) func([]pbx.AuditEvent) []pbx.AuditEvent {
	return func(events []pbx.AuditEvent) []pbx.AuditEvent { return append(events[:len(events)-n], others(more)...) }
}

// rewritten lists the ways in which a trail is made another one whose links fit.
func rewritten() map[string]func([]pbx.AuditEvent) []pbx.AuditEvent {
	return map[string]func([]pbx.AuditEvent) []pbx.AuditEvent{
		"the first event edited":                       edited(0),
		"an event in the middle edited":                edited(5),
		"the newest event edited":                      edited(-1),
		"one taken out":                                func(e []pbx.AuditEvent) []pbx.AuditEvent { return append(e[:4], e[5:]...) },
		"one put in":                                   func(e []pbx.AuditEvent) []pbx.AuditEvent { return append(others(1), e...) },
		"two swapped":                                  func(e []pbx.AuditEvent) []pbx.AuditEvent { e[2], e[3] = e[3], e[2]; return e },
		"forked at the newest event":                   cut(1, 1),
		"forked earlier, and as long as it was":        cut(5, 5),
		"forked earlier, and longer":                   cut(5, 50),
		"cut by one":                                   cut(1, 0),
		"cut by many: an older backup":                 cut(7, 0),
		"an older backup that goes on":                 cut(7, 3),
		"emptied":                                      func([]pbx.AuditEvent) []pbx.AuditEvent { return nil },
		"emptied and begun anew":                       func([]pbx.AuditEvent) []pbx.AuditEvent { return others(2) },
		"the trail of another installation, shorter":   func([]pbx.AuditEvent) []pbx.AuditEvent { return others(8) },
		"the trail of another installation, as long":   func(e []pbx.AuditEvent) []pbx.AuditEvent { return others(len(e)) },
		"the trail of another installation, much more": func([]pbx.AuditEvent) []pbx.AuditEvent { return others(1200) },
	}
}

// Who owns the database can rewrite it with links that fit. What was signed before exposes that, and nothing is signed over it, neither
// by a server that runs nor by one that starts, until a person begins a new series.
func TestNoHeadIsSignedOverATrailThatContradictsAnEarlierOneAtLength(t *testing.T) {
	t.Parallel()
	ways := rewritten()
	eachInstallation(t, maps.Keys(ways), func(t *testing.T, in *installation, name string, restarted bool) {
		add(t, in.store, 10)
		in.look(t)
		in.look(t) // with the event that heads are signed
		add(t, in.store, 2)
		if _, _, err := in.trail.WriteHead(t.Context(), false); err != nil { // as each minute
			t.Fatal(err)
		}
		if in.signed != 2 || in.watch.State() != "ok" {
			t.Fatalf("before: %d heads, %s, %v", in.signed, in.watch.State(), in.wrong)
		}
		before := in.heads(t)
		in.rewrite(t, ways[name])
		if restarted {
			in.start(t)
		}
		in.look(t)
		_, headErr := in.trail.Head(t.Context())
		_, _, noteErr := in.trail.WriteHead(t.Context(), false)
		if in.signed != 2 || headErr == nil || noteErr == nil || in.heads(t) != before {
			t.Errorf("a head was signed: %d, %v, %v", in.signed, headErr, noteErr)
		}
		if state := in.watch.State(); !strings.HasPrefix(state, "contradicted: event ") || !strings.Contains(state, "pbxportal audit begin") || len(in.wrong) == 0 {
			t.Errorf("the state is %q, told of %q", state, in.wrong)
		}
		begun, err := in.trail.Begin(t.Context(), "a copy was put back")
		if err != nil || !strings.Contains(begun.Alarm, "contradicted") || len(begun.Kept) != 2 {
			t.Fatalf("%+v, %v", begun, err)
		}
		for range 2 {
			in.look(t)
			if in.watch.State() != "ok" {
				t.Errorf("after a new series began: %s", in.watch.State())
			}
			in.start(t)
		}
	})
}

// What is not compared is not called ok.
func TestWithoutItsOwnHeadsThePortalDoesNotVerifyASignedTrailAtLength(t *testing.T) {
	t.Parallel()
	ways := map[string]struct {
		files []string // that are taken away
		put   map[string]string
	}{
		"the folder was emptied":         {files: []string{"audit.key", "audit-heads.jsonl", "audit-newest.json"}},
		"the heads are gone":             {files: []string{"audit-heads.jsonl", "audit-newest.json"}},
		"the key is gone":                {files: []string{"audit.key"}},
		"the key is another":             {put: map[string]string{"audit.key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}},
		"the key is none":                {put: map[string]string{"audit.key": "x"}},
		"the list is none":               {put: map[string]string{"audit-heads.jsonl": "x\n"}},
		"what was noted is none":         {put: map[string]string{"audit-newest.json": "{}\n"}},
		"the list is a head of no key":   {put: map[string]string{"audit-heads.jsonl": `{"seq":1}` + "\n"}},
		"the list and the key are empty": {put: map[string]string{"audit-heads.jsonl": "", "audit-newest.json": "", "audit.key": ""}},
	}
	eachInstallation(t, maps.Keys(ways), func(t *testing.T, in *installation, name string, restarted bool) {
		tc := ways[name]
		add(t, in.store, 4)
		in.look(t)
		for _, file := range tc.files {
			if err := os.Remove(filepath.Join(in.dir, file)); err != nil {
				t.Fatal(err)
			}
		}
		for file, text := range tc.put {
			if err := os.WriteFile(filepath.Join(in.dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		before := in.heads(t)
		if restarted {
			in.start(t)
		}
		in.look(t)
		if state := in.watch.State(); in.signed != 1 || !strings.HasPrefix(state, "not compared: ") || in.heads(t) != before {
			t.Errorf("the state is %q, %d heads signed\n%s", state, in.signed, in.heads(t))
		}
	})
}

// A portal knows what it stored itself, to the last event: a replica that took over without the newest is found out by the next change,
// without any look at the folder.
func TestADatabaseThatWentBackBehindWhatThePortalStoredIsNoticedAtTheNextChange(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		in := install(t, url)
		storetest.UnlockEvents(t, url)
		in.look(t)
		add(t, in.store, 10) // none of them is noted in the folder yet
		in.rewrite(t, cut(4, 0))
		add(t, in.store, 1)
		if state := in.watch.State(); !strings.HasPrefix(state, "contradicted: the database is older than what this portal itself stored") {
			t.Errorf("the state is %q", state)
		}
		add(t, in.store, 20) // grown beyond
		in.look(t)
		if state := in.watch.State(); !strings.HasPrefix(state, "contradicted: event 11 ") || in.signed != 1 {
			t.Errorf("the state is %q, %d signed", state, in.signed)
		}
		// An administrator verifies it at the command line, while the server runs.
		if _, err := audit.New(storetest.Open(t, url), clock, in.dir).Begin(t.Context(), "a replica took over"); err != nil {
			t.Fatal(err)
		}
		in.look(t)
		if state := in.watch.State(); state != "ok" {
			t.Errorf("the state is %q", state)
		}
	})
}

func TestTwoPortalsOnOneDatabaseDoNotTakeEachOthersEventsForAContradiction(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		one := install(t, url)
		same := install(t, url)
		same.dir = one.dir
		same.start(t)
		elsewhere := install(t, url)
		for range 5 {
			for _, in := range []*installation{one, same} {
				add(t, in.store, 3)
				in.look(t)
				if state := in.watch.State(); state != "ok" {
					t.Errorf("the state is %q", state)
				}
			}
		}
		elsewhere.look(t) // it has never seen a head, and the trail says that there are some
		if state := elsewhere.watch.State(); !strings.HasPrefix(state, "not compared: ") {
			t.Errorf("the state is %q", state)
		}
		if _, err := elsewhere.trail.Begin(t.Context(), "a second host"); err != nil {
			t.Fatal(err)
		}
		for _, in := range []*installation{one, same, elsewhere} {
			in.look(t)
			if state := in.watch.State(); state != "ok" {
				t.Errorf("the state is %q", state)
			}
		}
		storetest.UnlockEvents(t, url)
		one.rewrite(t, edited(3))
		for _, in := range []*installation{one, same, elsewhere} {
			in.look(t)
			if state := in.watch.State(); !strings.HasPrefix(state, "contradicted: ") {
				t.Errorf("the state is %q", state)
			}
		}
	})
}

func TestAHeadThatWasNotWrittenToItsEndIsNoAlarm(t *testing.T) {
	t.Parallel()
	tr, s, dir := newTrail(t, 3)
	if _, _, err := tr.WriteHead(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "audit-heads.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = f.WriteString(`{"seq":4,"ha`); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	add(t, s, 1)
	if _, written, err := tr.WriteHead(t.Context(), true); !written || err != nil {
		t.Errorf("%v, %v", written, err)
	}
	own, err := tr.OwnHeads()
	if len(own) != 2 || err != nil || own[1].Head == (chain.Head{}) {
		t.Errorf("%+v, %v", own, err)
	}
}

// Acknowledged contradictions do not affect later events, and earlier events are not verified either.
func TestABreakThatWasAcknowledgedDoesNotHideTheNextOne(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		in := install(t, url)
		add(t, in.store, 6)
		in.look(t)
		storetest.UnlockEvents(t, url)
		storetest.Execute(t, url, `UPDATE audit_events SET action = 'x' WHERE seq = 3`)
		in.look(t)
		if state := in.watch.State(); !strings.HasPrefix(state, "broken: event 3: ") {
			t.Errorf("the state is %q", state)
		}
		if _, err := in.trail.Begin(t.Context(), "looked into"); err != nil {
			t.Fatal(err)
		}
		in.look(t)
		if state := in.watch.State(); state != "ok" {
			t.Errorf("the state is %q", state)
		}
		if r, err := in.trail.Verify(t.Context(), nil); err != nil || r.Broken == nil || r.Broken.Seq != 3 {
			t.Errorf("a full verification still says so: %+v, %v", r.Broken, err)
		}
		add(t, in.store, 3)
		storetest.Execute(t, url, `UPDATE audit_events SET action = 'x' WHERE seq = 10`)
		in.look(t)
		if state := in.watch.State(); !strings.HasPrefix(state, "broken: event 10: ") {
			t.Errorf("the state is %q", state)
		}
	})
}

// The series that began before the clock was set back is the newest by time.
func TestANewSeriesOfHeadsBeginsAlsoAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		in := install(t, url)
		grow(t, in.store, noon, 3)
		in.look(t)
		in.trail = audit.New(in.store, func() time.Time { return noon.Add(-time.Hour) }, in.dir)
		begun, err := in.trail.Begin(t.Context(), "the clock was wrong")
		newest, headErr := in.store.EventHead(t.Context())
		if err != nil || headErr != nil || begun.Head.Head != newest {
			t.Errorf("the series begins with %+v, the newest event is %+v: %v %v", begun.Head.Head, newest, err, headErr)
		}
		if in.look(t); in.wrong != nil {
			t.Error(in.wrong)
		}
	})
}
