package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/synergycall/pbxportal/internal/audit"
	"github.com/synergycall/pbxportal/internal/chain"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// anna is the actor in these tests.
var anna = pbx.Actor{Kind: pbx.ActorPerson, ID: "7", Name: "Anna \"A\" Ö", From: "192.0.2.1", RequestID: "r-1"}

// trail returns the service over a store.
func trail(t *testing.T, s *store.Store) *audit.Trail {
	t.Helper()
	return audit.New(s, func() time.Time { return noon }, t.TempDir())
}

// fill adds n events with something in every column.
func fill(t *testing.T, s *store.Store, n int) {
	t.Helper()
	for i := range n {
		e := event(pbx.WithActor(t.Context(), anna), "user.create")
		e.At = noon.Add(time.Duration(i) * time.Second)
		e.Before, e.After = pbx.Facts{"name": fmt.Sprint(i), "<": "\n"}, pbx.Facts{}
		if err := s.AppendEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

// allow drops the triggers that protect the table.
func allow(t *testing.T, url string) {
	t.Helper()
	storetest.UnlockEvents(t, url)
}

func TestEventsAreReturnedAsAppended(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		want := []pbx.AuditEvent{
			{
				At: noon, Actor: anna, Action: "user.create", Object: pbx.AuditObject{Type: "user", ID: "1", Name: "Zoë\n"},
				After: pbx.Facts{"name": "Zoë \u2028<", "email": ""}, Result: pbx.AuditOK,
			},
			{At: noon.Add(time.Microsecond), Action: "session.sign_in", Before: pbx.Facts{}, Result: pbx.AuditDenied},
		}
		for i, e := range want {
			if err := s.AppendEvent(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			want[i].Seq = int64(i) + 1
		}
		entries, err := s.EventsAfter(t.Context(), store.EventQuery{}, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		var got []pbx.AuditEvent
		for _, e := range entries {
			got = append(got, e.Event)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if head, err := s.EventHead(t.Context()); err != nil || head != (chain.Head{Seq: 2, Hash: entries[1].Hash}) {
			t.Errorf("head %+v, error %v", head, err)
		}
	})
}

func TestEventsAreFoundByActorActionAndTime(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		for i, action := range []string{"user.create", "user.delete", "username.change", "apply.run"} {
			ctx := t.Context()
			if i == 1 {
				ctx = pbx.WithActor(ctx, anna)
			}
			e := event(ctx, action)
			e.At, e.Object.ID = noon.Add(time.Duration(i)*time.Hour), fmt.Sprint(i)
			if err := s.AppendEvent(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		for _, tc := range []struct {
			query  store.EventQuery
			before int64
			want   string
		}{
			{store.EventQuery{}, 0, "4 3 2 1"},
			{store.EventQuery{}, 3, "2 1"},
			{store.EventQuery{Action: "user."}, 0, "2 1"},
			{store.EventQuery{Action: "user.delete"}, 0, "2"},
			{store.EventQuery{Action: "user"}, 0, ""},
			{store.EventQuery{Actor: anna.ID}, 0, "2"},
			{store.EventQuery{Actor: anna.Name}, 0, "2"},
			{store.EventQuery{Actor: "portal", Object: "3"}, 0, "4"},
			{store.EventQuery{Object: "Zoë"}, 0, "4 3 2 1"},
			{store.EventQuery{Since: noon.Add(time.Hour), Until: noon.Add(3 * time.Hour)}, 0, "3 2"},
			{store.EventQuery{Since: noon.Add(time.Hour), Until: noon.Add(3 * time.Hour)}, 3, "2"},
			{store.EventQuery{Until: noon.Add(2 * time.Hour)}, 4, "2 1"},
			{store.EventQuery{Until: noon.Add(2 * time.Hour)}, 3, "2 1"},
			{store.EventQuery{Until: noon.Add(3 * time.Hour)}, 2, "1"},
			{store.EventQuery{Until: noon.Add(time.Hour), Action: "user."}, 4, "1"},
		} {
			entries, err := s.EventsBefore(t.Context(), tc.query, tc.before, 10)
			var seqs []string
			for _, e := range entries {
				seqs = append(seqs, fmt.Sprint(e.Event.Seq))
			}
			if got := strings.Join(seqs, " "); got != tc.want || err != nil {
				t.Errorf("%+v before %d: %q, error %v; want %q", tc.query, tc.before, got, err, tc.want)
			}
		}
		for _, tc := range []struct {
			query store.EventQuery
			after int64
			want  int64
		}{
			{store.EventQuery{Since: noon.Add(2 * time.Hour)}, 1, 3},
			{store.EventQuery{Since: noon.Add(2 * time.Hour)}, 3, 4},
			{store.EventQuery{Since: noon.Add(time.Hour)}, 3, 4},
			{store.EventQuery{Since: noon, Until: noon.Add(3 * time.Hour)}, 2, 3},
		} {
			if entries, err := s.EventsAfter(t.Context(), tc.query, tc.after, 10); err != nil || len(entries) == 0 || entries[0].Event.Seq != tc.want {
				t.Errorf("%+v after %d: %d, error %v; want %d first", tc.query, tc.after, len(entries), err, tc.want)
			}
		}
	})
}

func TestTheDatabaseRefusesToChangeOrRemoveAnEvent(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		fill(t, s, 3)
		statements := []string{
			`UPDATE audit_events SET actor_name = 'nobody' WHERE seq = 2`,
			`DELETE FROM audit_events WHERE seq = 3`,
			`DELETE FROM audit_events`,
			`INSERT INTO audit_events SELECT * FROM audit_events WHERE seq = 1`,
		}
		if strings.HasPrefix(url, "sqlite:") {
			statements = append(statements, `INSERT OR REPLACE INTO audit_events SELECT * FROM audit_events WHERE seq = 1`,
				`REPLACE INTO audit_events SELECT * FROM audit_events`)
		} else {
			statements = append(statements, `TRUNCATE audit_events`, `SET session_replication_role = replica; DELETE FROM audit_events`,
				`INSERT INTO audit_events SELECT * FROM audit_events ON CONFLICT (seq) DO UPDATE SET actor_name = 'nobody'`)
		}
		for _, statement := range statements {
			if err := storetest.Try(t, url, statement); err == nil {
				t.Errorf("%s: not refused", statement)
			}
		}
		if r, err := trail(t, s).Verify(t.Context(), nil); r.Events != 3 || r.Broken != nil || err != nil {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestTamperingWithAnyColumnOfAnyEventIsDetected(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		const events = 4
		fill(t, s, events)
		allow(t, url)
		run := func(statements string) {
			t.Helper()
			if err := storetest.Try(t, url, statements); err != nil {
				t.Fatalf("%s: %v", statements, err)
			}
		}
		run(`CREATE TABLE original AS SELECT * FROM audit_events`)
		later := `at + interval '1 microsecond'`
		if strings.HasPrefix(url, "sqlite:") {
			later = `replace(at, '.123456', '.123456001')`
		}
		columns := map[string][]string{
			"seq": {`seq + 100`}, "at": {later}, "before": {`'null'`, `'{}'`, `before || ' '`, `'{"name":"9"}'`, `'broken'`}, "after": {`'null'`, `'{"a":"b"}'`},
			"result": {`'failed'`, `'denied'`}, "prev": {`hash`}, "hash": {`prev`},
		}
		for _, text := range []string{"actor_kind", "actor_id", "actor_name", "source", "request_id", "action", "object_type", "object_id", "object_name"} {
			columns[text] = []string{text + ` || 'x'`, `''`, `upper(` + text + `) || ' '`}
		}
		for column, values := range columns {
			for _, value := range values {
				for seq := 1; seq <= events; seq++ {
					run(fmt.Sprintf(`UPDATE audit_events SET "%s" = %s WHERE seq = %d`, column, value, seq))
					r, err := trail(t, s).Verify(t.Context(), nil)
					switch {
					case err != nil:
						t.Errorf("%s = %s: %v", column, value, err)
					case r.Broken == nil:
						t.Errorf("event %d, %s = %s: not noticed", seq, column, value)
					case r.Broken.Seq != int64(seq):
						t.Errorf("event %d, %s = %s: noticed at event %d: %s", seq, column, value, r.Broken.Seq, r.Broken.Why)
					}
					run(`DELETE FROM audit_events; INSERT INTO audit_events SELECT * FROM original`)
				}
			}
		}
		if r, err := trail(t, s).Verify(t.Context(), nil); r.Events != events || r.Broken != nil || err != nil {
			t.Errorf("put back: %+v, %v", r, err)
		}
	})
}

func TestRemovingAndMovingEventsIsDetected(t *testing.T) {
	t.Parallel()
	const flip = `UPDATE audit_events SET seq = -seq WHERE seq IN (2, 3); UPDATE audit_events SET seq = 5 + seq WHERE seq < 0`
	for name, tc := range map[string]struct {
		statements string
		broken     int64
	}{
		"the first":          {`DELETE FROM audit_events WHERE seq = 1`, 1},
		"one in the middle":  {`DELETE FROM audit_events WHERE seq = 3`, 3},
		"all but the last":   {`DELETE FROM audit_events WHERE seq < 5`, 1},
		"two changed places": {flip, 2},
		"the tail":           {`DELETE FROM audit_events WHERE seq > 3`, 4},
		"everything":         {`DELETE FROM audit_events`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, url string) {
				s := storetest.Open(t, url)
				fill(t, s, 5)
				tr := trail(t, s)
				head, err := tr.Head(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				allow(t, url)
				statements := tc.statements
				if name == "two changed places" { // a number below 1 is refused even here
					check := `ALTER TABLE audit_events DROP CONSTRAINT audit_events_seq_check`
					if strings.HasPrefix(url, "sqlite:") {
						check = `PRAGMA ignore_check_constraints = ON`
					}
					statements = check + "; " + statements
				}
				if err := storetest.Try(t, url, statements); err != nil {
					t.Fatal(err)
				}
				r, err := tr.Verify(t.Context(), []audit.Head{head})
				if err != nil || r.Broken == nil || r.Broken.Seq != tc.broken {
					t.Errorf("%+v, error %v; want a break at %d", r.Broken, err, tc.broken)
				}
			})
		})
	}
}

// An attacker with write access to the database can compute hashes, too.
func TestARewrittenChainIsDetectedByAnExportedHead(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		fill(t, s, 5)
		tr := trail(t, s)
		var heads []audit.Head
		for range 2 {
			h, err := tr.Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			heads = append(heads, h)
			fill(t, s, 1)
		}
		if r, err := tr.Verify(t.Context(), heads); r.Events != 7 || r.Heads != 2 || r.Broken != nil || err != nil {
			t.Fatalf("before: %+v, %v", r, err)
		}
		allow(t, url)
		if err := storetest.Try(t, url, `DELETE FROM audit_events`); err != nil {
			t.Fatal(err)
		}
		fill(t, s, 2)
		for range 5 {
			if err := s.AppendEvent(t.Context(), event(t.Context(), "user.create")); err != nil {
				t.Fatal(err)
			}
		}
		if r, err := tr.Verify(t.Context(), nil); r.Events != 7 || r.Broken != nil || err != nil {
			t.Errorf("the chain by itself is whole: %+v, %v", r, err)
		}
		if r, err := tr.Verify(t.Context(), heads); err != nil || r.Broken == nil || r.Broken.Seq != 5 {
			t.Errorf("%+v, %v; want a break at the first head", r.Broken, err)
		}
	})
}

func TestTheNewestEventsCanBeCheckedAlone(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		tr := trail(t, s)
		if r, err := tr.VerifyTail(t.Context(), 3, 0); r.Events != 0 || r.Broken != nil || err != nil {
			t.Errorf("without events: %+v, %v", r, err)
		}
		fill(t, s, 6)
		allow(t, url)
		check := func(statement string, events, broken int64) {
			t.Helper()
			if err := storetest.Try(t, url, statement); err != nil {
				t.Fatal(err)
			}
			r, err := tr.VerifyTail(t.Context(), 3, 0)
			if got := r.Broken; err != nil || (got == nil) != (broken == 0) || got != nil && got.Seq != broken || got == nil && r.Events != events {
				t.Errorf("%s: %+v %+v, error %v; want %d whole, broken at %d", statement, r, r.Broken, err, events, broken)
			}
		}
		check(`UPDATE audit_events SET action = 'x' WHERE seq = 2`, 3, 0) // too early to be seen
		check(`UPDATE audit_events SET action = 'x' WHERE seq = 5`, 0, 5)
		check(`DELETE FROM audit_events WHERE seq = 5`, 0, 5)
		check(`UPDATE audit_events SET before = 'x' WHERE seq = 6`, 0, 5)
		var w audit.Watch
		w.Look(t.Context(), tr, func(h audit.Head, wrong error) {
			if wrong == nil {
				t.Errorf("%+v was signed", h)
			}
		})
		if !strings.HasPrefix(w.State(), "broken: event 2: ") {
			t.Errorf("the state is %q", w.State())
		}
	})
}

// withoutEvents makes the database refuse every event.
func withoutEvents(t *testing.T, url string) {
	t.Helper()
	refuse := `ALTER TABLE audit_events ADD CONSTRAINT refuse CHECK (false) NOT VALID`
	if strings.HasPrefix(url, "sqlite:") {
		refuse = `CREATE TRIGGER refuse BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'full'); END`
	}
	if err := storetest.Try(t, url, refuse); err != nil {
		t.Fatal(err)
	}
}

func TestThereIsNoChangeWithoutItsEvent(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		d := directory.New(s, time.Now)
		bob, err := d.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: "Bob", Email: "bob@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		withoutEvents(t, url)
		_, createErr := d.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: "Carl", Email: "carl@example.com"})
		_, deleteErr := d.Delete(t.Context(), pbx.DefaultTenant, bob.ID)
		run := pbx.Run{Log: pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: noon, TriggeredBy: "test", Outcome: pbx.Failure}}
		for what, err := range map[string]error{
			"creating": createErr, "deleting": deleteErr, "saving a run": storetest.SaveRun(t.Context(), s, run, event(t.Context(), "apply.started")),
			"an event alone": s.AppendEvent(t.Context(), event(t.Context(), "session.sign_in")),
		} {
			if err == nil {
				t.Errorf("%s: no error", what)
			}
		}
		users, err := s.Users(t.Context(), pbx.DefaultTenant)
		if diff := cmp.Diff([]pbx.User{bob}, users, same); diff != "" || err != nil {
			t.Errorf("error %v\n%s", err, diff)
		}
		if has, err := s.HasRun(t.Context(), run.Log.ID); has || err != nil {
			t.Errorf("the run is there: %v, %v", has, err)
		}
		if r, err := trail(t, s).Verify(t.Context(), nil); r.Events != 1 || r.Broken != nil || err != nil {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestThereIsNoEventWithoutItsChange(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		boom := errors.New("boom")
		err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.AppendEvent(ctx, event(ctx, "a")), tx.AppendEvent(ctx, event(ctx, "b")), boom)
		})
		if head, headErr := s.EventHead(t.Context()); !errors.Is(err, boom) || head.Seq != 0 || headErr != nil {
			t.Errorf("error %v; head %+v, %v", err, head, headErr)
		}
		err = s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error { // several in one transaction
			return errors.Join(tx.InsertUsers(ctx, store.NewUser{User: newUser(1000, "a@example.com"), Event: event(ctx, "a")}), tx.AppendEvent(ctx, event(ctx, "b")))
		})
		if r, verifyErr := trail(t, s).Verify(t.Context(), nil); err != nil || r.Events != 2 || r.Broken != nil || verifyErr != nil {
			t.Errorf("error %v; %+v, %v", err, r, verifyErr)
		}
	})
}

func TestConcurrentWritersOnTwoStoresMakeOneChain(t *testing.T) {
	t.Parallel()
	clients, each := 64, 5
	if testing.Short() { // the race detector makes SQLite thirty times slower
		clients, each = 8, 5
	}
	storetest.Each(t, func(t *testing.T, url string) {
		stores := []*store.Store{storetest.Open(t, url), storetest.Open(t, url)}
		lock, err := stores[1].TryApplyLock(t.Context())
		if lock == nil || err != nil {
			t.Fatalf("lock %v, error %v", lock, err)
		}
		defer lock.Release()
		var all sync.WaitGroup
		for c := range clients {
			all.Go(func() {
				d := directory.New(stores[c%2], time.Now)
				for i := range each {
					u, err := d.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: "N", Email: fmt.Sprintf("%d-%d@example.com", c, i)})
					if err == nil && i == 0 {
						_, err = d.Delete(t.Context(), pbx.DefaultTenant, u.ID)
					}
					if err == nil && i == 1 {
						log := pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: noon, TriggeredBy: "test", Outcome: pbx.Failure}
						err = lock.SaveRun(t.Context(), pbx.Run{Log: log}, event(t.Context(), "apply.started"))
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		r, err := trail(t, stores[0]).Verify(t.Context(), nil)
		if want := int64(clients * (each + 2)); r.Events != want || r.Broken != nil || err != nil {
			t.Errorf("%+v, %+v, error %v; want %d events", r, r.Broken, err, want)
		}
	})
}

// While a record of an apply without events is written, others append events: what the record's transaction has read is not the newest then.
func TestEventsAppendedWhileAnApplyIsRecordedRaiseNoAlarm(t *testing.T) {
	t.Parallel()
	url := labtest.Postgres(t)
	s := storetest.Open(t, url)
	lock, err := s.TryApplyLock(t.Context())
	if lock == nil || err != nil {
		t.Fatalf("lock %v, error %v", lock, err)
	}
	defer lock.Release()
	other, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close(context.WithoutCancel(t.Context())) }()
	err = errors.Join(lock.Fence(t.Context()), s.AppendEvent(t.Context(), event(t.Context(), "a")))
	if _, beginErr := other.Exec(t.Context(), `BEGIN; SELECT number FROM apply_fence FOR UPDATE`); errors.Join(err, beginErr) != nil {
		t.Fatal(err, beginErr)
	}
	recorded := make(chan error, 1)
	go func() {
		log := pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: noon, TriggeredBy: "test", Outcome: pbx.Failure}
		recorded <- lock.SaveRun(t.Context(), pbx.Run{Log: log})
	}()
	const blocked = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
	for storetest.Execute(t, url, blocked) == "0" {
		if len(recorded) > 0 {
			t.Fatal("the record did not wait: ", <-recorded)
		}
	}
	appendErr := s.AppendEvent(t.Context(), event(t.Context(), "b"))
	_, endErr := other.Exec(t.Context(), `COMMIT`)
	if err := errors.Join(appendErr, endErr, <-recorded); err != nil {
		t.Fatal(err)
	}
	if known, wentBack := s.Witnessed(); known.Seq != 2 || wentBack {
		t.Errorf("event %d is the newest that is known; the database went back: %t", known.Seq, wentBack)
	}
}

func TestTheEventsOfAnApplyAreMissedIfTheDatabaseGoesBack(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		log := pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: noon, TriggeredBy: "test", Outcome: pbx.Failure}
		err := storetest.SaveRun(t.Context(), s, pbx.Run{Log: log}, event(t.Context(), "apply.started"))
		head, headErr := s.EventHead(t.Context())
		if known, _ := s.Witnessed(); err != nil || headErr != nil || head.Seq != 1 || known != head {
			t.Errorf("%+v is known, %+v is stored: %v %v", known, head, err, headErr)
		}
	})
}

func TestTheTrailHasUsersButNotTheirSecrets(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		d := directory.New(s, func() time.Time { return noon }).WithFingerprints(func(pbx.Secret) (string, error) { return "k:1234", nil })
		ctx := pbx.WithActor(t.Context(), anna)
		u, err := d.Create(ctx, pbx.DefaultTenant, pbx.NewUser{Name: "Bob", Email: "bob@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Delete(ctx, pbx.DefaultTenant, u.ID); err != nil {
			t.Fatal(err)
		}
		facts := pbx.Facts{"tenant_id": string(pbx.DefaultTenant), "name": "Bob", "email": "bob@example.com", "number": "1000", "secret": "k:1234"}
		object := pbx.AuditObject{Type: "user", ID: string(u.ID), Name: "Bob"}
		want := []pbx.AuditEvent{
			{Seq: 1, At: noon, Actor: anna, Action: pbx.ActionUserCreate, Object: object, After: facts, Result: pbx.AuditOK},
			{Seq: 2, At: noon, Actor: anna, Action: pbx.ActionUserDelete, Object: object, Before: facts, Result: pbx.AuditOK},
		}
		entries, err := s.EventsAfter(t.Context(), store.EventQuery{}, 0, 10)
		var got []pbx.AuditEvent
		var text strings.Builder
		for _, e := range entries {
			got = append(got, e.Event)
			text.Write(chain.Canonical(e.Event))
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("error %v\n%s", err, diff)
		}
		if strings.Contains(text.String(), u.Extension.Secret.Reveal()) {
			t.Error("the secret stands in the trail")
		}
	})
}
