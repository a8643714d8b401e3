package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/audit"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// grow adds n events an hour apart, the first of them at a time.
func grow(t *testing.T, s *store.Store, first time.Time, n int) {
	t.Helper()
	const together = 200
	if n > together {
		grow(t, s, first, n-together)
		first, n = first.Add(time.Duration(n-together)*time.Hour), together
	}
	err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		for i := range n {
			e := pbx.NewAuditEvent(ctx, first.Add(time.Duration(i)*time.Hour), "user.create", pbx.AuditObject{Type: "user", ID: fmt.Sprint(i), Name: "Zoë <\u2028>"})
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

// whole wants a trail that verifies with the portal's own heads and with archives; -1 heads are any.
func (in *installation) whole(t *testing.T, events, heads, elsewhere int, archives ...string) {
	t.Helper()
	own, err := in.trail.OwnHeads()
	if err != nil {
		t.Fatal(err)
	}
	r, err := in.trail.Verify(t.Context(), own, archives...)
	if err != nil || r.Broken != nil || r.Events != int64(events) || heads >= 0 && (r.Heads != heads || r.Elsewhere != elsewhere) {
		t.Errorf("%d events, %d heads, %d elsewhere, %+v, %v; want %d, %d, %d", r.Events, r.Heads, r.Elsewhere, r.Broken, err, events, heads, elsewhere)
	}
}

// archive archives what is older than an hour after noon was for n hours.
func (in *installation) archive(t *testing.T, hours int, path string) audit.Archived {
	t.Helper()
	a, err := in.trail.Archive(pbx.WithActor(t.Context(), pbx.Actor{Kind: pbx.ActorLocal, Name: "anna"}), noon.Add(time.Duration(hours)*time.Hour), path)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestArchivedEventsLeaveTheDatabaseAndTheTrailStaysComplete(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		in, dir := install(t, url), t.TempDir()
		one, two := filepath.Join(dir, "one.jsonl"), filepath.Join(dir, "two.jsonl")
		grow(t, in.store, noon, 10)
		in.look(t) // a head of event 10, and the event that heads are signed: 11
		grow(t, in.store, noon.Add(10*time.Hour), 10)
		in.look(t) // a head of event 21
		// Each archive signs a head before: of 22 twice, which is one, and of 23.
		if a := in.archive(t, 0, one); a.Segment != nil {
			t.Errorf("there is nothing before: %+v", a)
		}
		if _, err := os.Lstat(one); !os.IsNotExist(err) {
			t.Errorf("nothing was archived, and there is a file: %v", err)
		}
		first := in.archive(t, 5, one).Segment
		if first == nil || first.First != 1 || first.Last.Seq != 5 {
			t.Fatalf("%+v", first)
		}
		in.whole(t, 17, 2, 0)
		in.look(t)
		second := in.archive(t, 14, two).Segment
		if second == nil || second.First != 6 || second.Last.Seq != 15 || second.Prev != first.Last.Hash {
			t.Fatalf("%+v", second)
		}
		in.look(t)
		// The heads are of 10, 21, 22 and 23; that of 10 was archived.
		in.whole(t, 8, 3, 1)
		in.whole(t, 8, 4, 0, one, two)
		in.start(t)
		in.look(t)
		grow(t, in.store, noon.Add(20*time.Hour), 1100) // the newest 1000 are followed alone
		in.look(t)
		if state := in.watch.State(); state != "ok" || len(in.wrong) > 0 {
			t.Errorf("the state is %q, told of %q", state, in.wrong)
		}
		for path, segment := range map[string]*store.Segment{one: first, two: second} {
			f, err := audit.CheckFile(t.Context(), path, nil)
			if err != nil || f.Broken != nil || f.First != segment.First || f.Last != segment.Last || f.Hash != segment.File {
				t.Errorf("%+v, %+v, %v", f, f.Broken, err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
				t.Errorf("%v, %v", info, err)
			}
		}
		events, err := in.store.EventsBefore(t.Context(), store.EventQuery{Action: pbx.ActionAuditArchive}, 0, 10)
		if err != nil || len(events) != 2 {
			t.Fatalf("%d events, %v", len(events), err)
		}
		if e := events[0].Event; e.Actor.Name != "anna" || e.After["first"] != "6" || e.After["last"] != "15" || e.After["hash"] != second.Last.Hash.String() ||
			e.After["file"] != "two.jsonl" || e.After["file_sha256"] != fmt.Sprintf("%x", second.File) {
			t.Errorf("%+v", e)
		}
		if names, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(names) != 2 {
			t.Errorf("%v, %v", names, err)
		}
	})
}

// Who owns the database can remove rows and write records. None of it looks like an archive that the portal made.
func TestEventsThatAreMissingWithoutAnArchiveThePortalSignedAreAnAlarmAtLength(t *testing.T) {
	t.Parallel()
	const record = `INSERT INTO audit_segments SELECT 9, 6, (SELECT prev FROM audit_events WHERE seq = 6), (SELECT hash FROM audit_events WHERE seq = 9), file_hash, at, key, signature FROM audit_segments`
	ways := map[string]string{
		"the record is gone":                   `DELETE FROM audit_segments`,
		"the record has another hash":          `UPDATE audit_segments SET hash = file_hash`,
		"the record has another file":          `UPDATE audit_segments SET file_hash = hash`,
		"the record has another key":           `UPDATE audit_segments SET key = hash`,
		"the record has another start":         `UPDATE audit_segments SET first_seq = 2`,
		"the record has another time":          `UPDATE audit_segments SET at = '2020-01-01 00:00:00'`,
		"the record's end was moved":           `UPDATE audit_segments SET last_seq = 7; UPDATE audit_segments SET hash = (SELECT hash FROM audit_events WHERE seq = 7); DELETE FROM audit_events WHERE seq <= 7`,
		"more was cut than the record says":    `DELETE FROM audit_events WHERE seq <= 8`,
		"a second record was added":            record + `; DELETE FROM audit_events WHERE seq <= 9`,
		"a record that does not go on":         strings.Replace(record, "9, 6,", "9, 7,", 1) + `; DELETE FROM audit_events WHERE seq <= 9`,
		"all but the newest is gone":           `DELETE FROM audit_events WHERE seq < (SELECT max(seq) FROM audit_events)`,
		"everything is gone":                   `DELETE FROM audit_events`,
		"everything is gone, and the record":   `DELETE FROM audit_events; DELETE FROM audit_segments`,
		"the first event after it was changed": `UPDATE audit_events SET action = 'x' WHERE seq = 6`,
	}
	eachInstallation(t, maps.Keys(ways), func(t *testing.T, in *installation, name string, restarted bool) {
		grow(t, in.store, noon, 12)
		in.look(t)
		in.archive(t, 5, filepath.Join(t.TempDir(), "file"))
		in.look(t)
		if state := in.watch.State(); state != "ok" {
			t.Fatalf("before: %s", state)
		}
		before := in.heads(t)
		storetest.Execute(t, in.url, ways[name])
		if restarted {
			in.start(t)
		}
		in.look(t)
		if state := in.watch.State(); !strings.HasPrefix(state, "contradicted: event ") && !strings.HasPrefix(state, "broken: event ") || in.heads(t) != before {
			t.Errorf("the state is %q", state)
		}
		own, err := in.trail.OwnHeads()
		if err != nil {
			t.Fatal(err)
		}
		if r, err := in.trail.Verify(t.Context(), own); err != nil || r.Broken == nil {
			t.Errorf("verify finds nothing: %+v, %v", r, err)
		}
		if _, err := in.trail.Archive(t.Context(), noon.Add(8*time.Hour), filepath.Join(t.TempDir(), "more")); err == nil || !strings.Contains(err.Error(), "nothing was archived") {
			t.Errorf("a trail that is not whole is archived: %v", err)
		}
		if _, err := in.trail.Begin(t.Context(), "looked into"); err != nil {
			t.Fatal(err)
		}
		in.look(t)
		if state := in.watch.State(); state != "ok" {
			t.Errorf("after a new series began: %s", state)
		}
	})
}

// A record signed with another key is not trusted: the portal accepts it once an administrator has begun a new series.
// Each check verifies only the newest 1000 events, and no head is of the first ones.
func TestOldEventsRemovedWithoutAnArchiveAreAnAlarmHoweverLongTheTrailIs(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		in := install(t, url)
		grow(t, in.store, noon, 1100)
		in.look(t)
		storetest.UnlockEvents(t, url)
		storetest.Execute(t, url, `DELETE FROM audit_events WHERE seq <= 5`)
		signed := in.heads(t)
		in.look(t)
		if state := in.watch.State(); !strings.Contains(state, "event 1 is missing: the oldest event is 6") || in.heads(t) != signed {
			t.Errorf("the state is %q", state)
		}
	})
}

func TestAnArchiveOfAnotherKeyIsAcceptedAfterANewSeriesWasBegun(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		in, other := install(t, url), install(t, url)
		grow(t, in.store, noon, 10)
		in.look(t)
		if _, err := other.trail.Begin(t.Context(), "a second host"); err != nil {
			t.Fatal(err)
		}
		other.archive(t, 5, filepath.Join(t.TempDir(), "file"))
		in.look(t)
		if state := in.watch.State(); !strings.Contains(state, "not signed with this portal's key") {
			t.Errorf("the state is %q", state)
		}
		if _, err := in.trail.Begin(t.Context(), "the other host archives"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			in.look(t)
			if state := in.watch.State(); state != "ok" {
				t.Errorf("the state is %q", state)
			}
			if r, err := in.trail.Verify(t.Context(), nil); err != nil || r.Broken != nil {
				t.Errorf("%+v, %v", r.Broken, err)
			}
			in.start(t)
		}
	})
}

func TestAnEventInsertedIntoTheArchiveIsDetected(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		in := install(t, url)
		grow(t, in.store, noon, 10)
		in.archive(t, 5, filepath.Join(t.TempDir(), "file"))
		in.whole(t, 7, -1, 0)
		storetest.UnlockEvents(t, url)
		columns := `at, actor_kind, actor_id, actor_name, source, request_id, action, object_type, object_id, object_name, before, after, result, prev, hash`
		storetest.Execute(t, url, `INSERT INTO audit_events SELECT 5, `+columns+` FROM audit_events WHERE seq = 6`)
		if r, err := in.trail.Verify(t.Context(), nil); err != nil || r.Broken == nil || r.Broken.Seq != 5 {
			t.Errorf("%+v, %v", r.Broken, err)
		}
	})
}

func TestTheDatabaseDeletesEventsOnlyOfARecordedSegment(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		in := install(t, url)
		grow(t, in.store, noon, 10)
		in.archive(t, 5, filepath.Join(t.TempDir(), "file"))
		const record = `INSERT INTO audit_segments SELECT 8, 6, prev, (SELECT hash FROM audit_events WHERE seq = 8), hash, at, hash, hash FROM audit_events WHERE seq = 6`
		for _, statement := range []string{
			`DELETE FROM audit_events WHERE seq = 6`, `DELETE FROM audit_events`, `UPDATE audit_events SET action = 'x'`,
			`UPDATE audit_segments SET last_seq = 9`, `DELETE FROM audit_segments`, `INSERT INTO audit_segments SELECT * FROM audit_segments`,
			record, // no event records it
			strings.Replace(record, "8, 6,", "8, 7,", 1),
		} {
			if err := storetest.Try(t, url, statement); err == nil || !strings.Contains(err.Error(), "append-only") {
				t.Errorf("%s: %v", statement, err)
			}
		}
		in.whole(t, 7, -1, 0)
	})
}

// stop makes the database fail where an archive would go on, and returns back what ends that.
func stop(t *testing.T, url, table, does, when string) (again func()) {
	t.Helper()
	if strings.HasPrefix(url, "sqlite:") {
		row := map[string]string{"INSERT": "NEW", "DELETE": "OLD"}[does]
		storetest.Execute(t, url, `CREATE TRIGGER stop BEFORE `+does+` ON `+table+` WHEN `+strings.ReplaceAll(when, "row.", row+".")+` BEGIN SELECT RAISE(ABORT, 'stopped here'); END`)
		return func() { storetest.Execute(t, url, `DROP TRIGGER stop`) }
	}
	row := map[string]string{"INSERT": "NEW", "DELETE": "OLD"}[does]
	storetest.Execute(t, url, `CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stopped here'; END $$;
CREATE TRIGGER stop BEFORE `+does+` ON `+table+` FOR EACH ROW WHEN (`+strings.ReplaceAll(when, "row.", row+".")+`) EXECUTE FUNCTION stop()`)
	return func() { storetest.Execute(t, url, `DROP TRIGGER stop ON `+table+`; DROP FUNCTION stop()`) }
}

func TestAnArchiveThatWasInterruptedLosesNothingAndIsCompletedByTheNextRun(t *testing.T) {
	t.Parallel()
	const events = 620
	hours := events - 10
	for name, at := range map[string]struct {
		table, does, when string
		left              int    // events that are in the database meanwhile
		resumed           string // what the next run finds
	}{
		"before the event":   {"audit_events", "INSERT", "row.action = 'audit.archive'", events + 1, audit.ResumedExported},
		"before the record":  {"audit_segments", "INSERT", "row.last_seq > 0", events + 1, audit.ResumedExported},
		"before any removal": {"audit_events", "DELETE", "row.seq > 0", events + 2, audit.ResumedNoted},
		"between removals":   {"audit_events", "DELETE", "row.seq > 500", events + 2 - 500, audit.ResumedNoted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, url string) {
				in, path := install(t, url), filepath.Join(t.TempDir(), "file")
				grow(t, in.store, noon, events)
				again := stop(t, url, at.table, at.does, at.when)
				before := noon.Add(time.Duration(hours) * time.Hour)
				if _, err := in.trail.Archive(t.Context(), before, path); err == nil || !strings.Contains(err.Error(), "stopped here") {
					t.Fatalf("not interrupted: %v", err)
				}
				again()
				content, err := os.ReadFile(path)
				if err != nil || bytes.Count(content, []byte("\n")) != hours {
					t.Errorf("%d lines, %v", bytes.Count(content, []byte("\n")), err)
				}
				in.start(t)
				in.whole(t, at.left, -1, 0)
				if _, _, err := in.trail.Compare(t.Context()); err != nil {
					t.Error(err)
				}
				if at.resumed == audit.ResumedNoted {
					if _, err := in.trail.Archive(t.Context(), before, path+"-other"); err == nil {
						t.Error("another archive begins over one that is not complete")
					}
				}
				for _, resumed := range []string{at.resumed, audit.ResumedNoted} { // the second finds all done
					if a := in.archive(t, hours, path); a.Segment == nil || a.Resumed != resumed || a.Segment.Last.Seq != int64(hours) {
						t.Errorf("%+v, want %q", a, resumed)
					}
					in.whole(t, events+2-hours, -1, 0, path)
				}
				if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, content) {
					t.Errorf("the file changed: %v", err)
				}
			})
		})
	}
}

// A complete archive takes no more events: a second run with its file, in a script for instance, must not look like an archive of the newer ones.
func TestASecondArchiveToTheSameFileIsRefusedWhileThereAreNewerEventsToArchive(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		in, path := install(t, url), filepath.Join(t.TempDir(), "file")
		grow(t, in.store, noon, 20)
		in.archive(t, 5, path)
		in.archive(t, 5, path) // nothing more is that old
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = in.trail.Archive(t.Context(), noon.Add(10*time.Hour), path)
		if err == nil || !strings.Contains(err.Error(), "nothing was archived: "+path+" is the complete archive of events 1–5") || !strings.Contains(err.Error(), "new file") {
			t.Errorf("it says %v", err)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
			t.Errorf("the file changed: %v", err)
		}
		if a := in.archive(t, 10, path+"-2"); a.Segment == nil || a.Segment.First != 6 || a.Segment.Last.Seq != 10 {
			t.Errorf("a new file: %+v", a)
		}
		in.whole(t, 20+2+1-10, -1, 0, path, path+"-2")
	})
}

func TestAnArchiveOverwritesNothing(t *testing.T) {
	t.Parallel()
	in, dir := install(t, storetest.SQLite(t)), t.TempDir()
	grow(t, in.store, noon, 10)
	var export bytes.Buffer
	if err := in.trail.Export(t.Context(), audit.Query{}, &export); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(export.String(), "\n")
	files := map[string]string{
		"empty": "", "something else": "x\n", "with newer events": export.String(), "of later events": strings.Join(lines[1:4], ""),
		"changed": strings.Replace(strings.Join(lines[:4], ""), "user.create", "user.delete", 1), "cut in a line": export.String()[:len(lines[0])+9],
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "a link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(slices.Collect(maps.Keys(files)), "a link", ".", "no/folder") {
		if _, err := in.trail.Archive(t.Context(), noon.Add(5*time.Hour), filepath.Join(dir, name)); err == nil {
			t.Errorf("%s: was archived to", name)
		}
		if content, is := files[name]; is {
			if now, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(now) != content {
				t.Errorf("%s: %q, %v", name, now, err)
			}
		}
	}
	in.whole(t, 11, -1, 0)
}

// Any byte of an archive that changes, and any line that is gone, is found by the file alone, or by the record in the database.
func TestAnArchiveThatWasChangedIsFoundOut(t *testing.T) {
	t.Parallel()
	in, path := install(t, storetest.SQLite(t)), filepath.Join(t.TempDir(), "file")
	grow(t, in.store, noon, 10)
	in.archive(t, 5, path)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changes := 0
	check := func(changed []byte) {
		t.Helper()
		changes++
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := in.trail.Verify(t.Context(), nil, path); err == nil && r.Broken == nil {
			t.Errorf("change %d was not noticed", changes)
		}
	}
	for at := 0; at < len(content); at += 7 {
		changed := slices.Clone(content)
		changed[at] ^= 1
		check(changed)
	}
	lines := bytes.SplitAfter(content, []byte("\n"))
	for i := range len(lines) - 1 {
		check(slices.Concat(slices.Concat(lines[:i]...), slices.Concat(lines[i+1:]...)))
	}
	check(append(slices.Clone(content), lines[len(lines)-2]...))
	t.Logf("%d changes", changes)
}

func TestATrailThatIsArchivedWhileItIsCheckedRaisesNoAlarm(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		in, beside, dir := install(t, url), install(t, url), t.TempDir()
		beside.dir = in.dir
		beside.start(t)
		const events = 1200
		grow(t, in.store, noon, events)
		in.look(t)
		ctx, cancel := context.WithCancel(t.Context())
		looks := 0
		var done sync.WaitGroup
		for _, check := range []func() error{
			func() error { _, _, err := beside.trail.Compare(t.Context()); return err },
			func() error {
				r, err := beside.trail.Verify(t.Context(), nil)
				if err == nil && r.Broken != nil {
					err = fmt.Errorf("broken at %d: %s", r.Broken.Seq, r.Broken.Why)
				}
				looks++
				return err
			},
		} {
			done.Go(func() {
				for ctx.Err() == nil {
					if err := check(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for i := 1; i <= 3; i++ {
			in.archive(t, i*events/3-100, filepath.Join(dir, fmt.Sprint(i)))
		}
		cancel()
		done.Wait()
		t.Logf("%d verifications beside 3 archives", looks)
	})
}
