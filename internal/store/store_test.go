package store_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 123456000, time.UTC)

func newUser(number pbx.Number, email string) pbx.User {
	return pbx.User{
		ID: pbx.UserID(uuid.NewString()), TenantID: pbx.DefaultTenant, Name: "Zoë \"Z\" O'Neil ; --", Email: email, CreatedAt: noon,
		Extension: pbx.Extension{ID: pbx.ExtensionID(uuid.NewString()), Number: number, Secret: pbx.NewSecret(), CreatedAt: noon},
	}
}

// event is the event of a change by a test.
func event(ctx context.Context, action string) pbx.AuditEvent {
	return pbx.NewAuditEvent(ctx, noon, action, pbx.AuditObject{Type: "user", ID: "1", Name: "Zoë"})
}

func insert(ctx context.Context, s *store.Store, users ...pbx.User) error {
	return s.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		var all []store.NewUser
		for _, u := range users {
			all = append(all, store.NewUser{User: u, Event: event(ctx, pbx.ActionUserCreate)})
		}
		return tx.InsertUsers(ctx, all...)
	})
}

// same compares secrets, which cmp cannot look into, and leaves out what every change of a user changes.
var same = cmp.Options{
	cmp.Comparer(func(a, b pbx.Secret) bool { return a.Reveal() == b.Reveal() }), cmpopts.IgnoreFields(pbx.User{}, "Version", "UpdatedAt"),
}

func TestUsersAreReturnedAsStoredInTheOrderOfTheirNumbers(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		a, b := newUser(1001, "a@example.com"), newUser(1000, "b@example.com")
		if err := insert(t.Context(), s, a, b); err != nil {
			t.Fatal(err)
		}
		got, err := s.Users(t.Context(), pbx.DefaultTenant)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]pbx.User{b, a}, got, same); diff != "" {
			t.Error(diff)
		}
		one, ok, err := s.User(t.Context(), pbx.DefaultTenant, a.ID)
		if diff := cmp.Diff(a, one, same); diff != "" || !ok || err != nil {
			t.Errorf("ok %v, error %v\n%s", ok, err, diff)
		}
		if _, ok, err := s.User(t.Context(), pbx.TenantID(uuid.NewString()), a.ID); ok || err != nil {
			t.Errorf("another tenant sees the user: ok %v, error %v", ok, err)
		}
		if got, err := s.Users(t.Context(), pbx.TenantID(uuid.NewString())); len(got) > 0 || err != nil {
			t.Errorf("another tenant sees %v, error %v", got, err)
		}
	})
}

func TestAFailedTransactionLeavesNothing(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		boom := errors.New("boom")
		err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.InsertUsers(ctx, store.NewUser{User: newUser(1000, "a@example.com"), Event: event(ctx, pbx.ActionUserCreate)}), boom)
		})
		if users, listErr := s.Users(t.Context(), pbx.DefaultTenant); !errors.Is(err, boom) || len(users) > 0 || listErr != nil {
			t.Errorf("error %v; %d users, %v", err, len(users), listErr)
		}
	})
}

func TestTheLowestFreeNumberIsFound(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		lowest := func(first, last pbx.Number) string {
			var text string
			err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				places, err := tx.Allocate(ctx, []string{"nobody@example.com"}, first, last, noon)
				use, countErr := tx.Usage(ctx, pbx.Pool{First: first, Last: last})
				text = fmt.Sprint(lowestOf(places.Taken, first, last, 1), use.Used)
				return errors.Join(err, countErr)
			})
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		steps := []struct {
			add  pbx.Number
			want string // of 1000–1004
		}{{0, "[1000] 0"}, {1001, "[1000] 1"}, {1000, "[1002] 2"}, {1003, "[1002] 3"}, {1004, "[1002] 4"}, {1002, "[] 5"}, {1005, "[] 5"}}
		for _, step := range steps {
			if step.add != 0 {
				if err := insert(t.Context(), s, newUser(step.add, fmt.Sprintf("%d@example.com", step.add))); err != nil {
					t.Fatal(err)
				}
			}
			if got := lowest(1000, 1004); got != step.want {
				t.Errorf("after adding %d: %s, want %s", step.add, got, step.want)
			}
		}
	})
}

func TestAddressesAreComparedWithoutRegardToCase(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		if err := insert(t.Context(), s, newUser(1000, "Anna@Example.com")); err != nil {
			t.Fatal(err)
		}
		for email, want := range map[string]bool{"anna@example.COM": true, "Anna@Example.com": true, "ann@example.com": false} {
			err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				places, err := tx.Allocate(ctx, []string{email}, 1000, 1999, noon)
				if places.Addresses[0].Taken != want {
					t.Errorf("%s taken: %v", email, places.Addresses[0].Taken)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
}

func TestDeletingAUserDeletesTheExtension(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		u := newUser(1000, "a@example.com")
		err := errors.Join(insert(t.Context(), s, u), s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			return tx.DeleteUser(ctx, u, noon, event(ctx, pbx.ActionUserDelete))
		}), insert(t.Context(), s, newUser(1000, "a@example.com")))
		if err != nil {
			t.Error(err)
		}
	})
}

func TestTheSchemaRejectsRowsThatTheRulesForbid(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		for name, u := range map[string]pbx.User{
			"a number below the range": newUser(pbx.MinNumber-1, "a@example.com"),
			"a number above the range": newUser(pbx.MaxNumber+1, "b@example.com"),
			"an unknown tenant": func() pbx.User {
				u := newUser(1000, "c@example.com")
				u.TenantID = pbx.TenantID(uuid.NewString())
				return u
			}(),
		} {
			if err := insert(t.Context(), s, u); err == nil {
				t.Errorf("%s was stored", name)
			}
		}
		log := pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: noon, TriggeredBy: "test", Outcome: "maybe"}
		if err := storetest.SaveRun(t.Context(), s, pbx.Run{Log: log}); err == nil {
			t.Error("an unknown outcome was stored")
		}
	})
}

// A program that writes to the tables without the writers' lock must not cause two users to share a number.
func TestACollisionIsRetriedAndThenReported(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		if err := insert(t.Context(), s, newUser(1000, "a@example.com")); err != nil {
			t.Fatal(err)
		}
		runs := 0
		err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			runs++
			return tx.InsertUsers(ctx, store.NewUser{User: newUser(1000, fmt.Sprintf("%d@example.com", runs)), Event: event(ctx, pbx.ActionUserCreate)})
		})
		if runs != 6 || pbx.CodeOf(err) != pbx.CodeRetryExhausted || pbx.KindOf(err) != pbx.KindUnavailable {
			t.Errorf("%d runs, error %v", runs, err)
		}
		runs = 0
		err = s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			runs++
			return tx.InsertUsers(ctx, store.NewUser{User: newUser(pbx.Number(999+runs), fmt.Sprintf("%d@example.com", runs)), Event: event(ctx, pbx.ActionUserCreate)})
		})
		if runs != 2 || err != nil {
			t.Errorf("%d runs, error %v; want success at the second", runs, err)
		}
	})
}

func TestRunsAndTheirAuditRecordsAreReturnedAsWritten(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		run := pbx.Run{
			Log:    pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: noon, TriggeredBy: "test", Outcome: pbx.Failure, ErrorDetails: "not yet"},
			Result: pbx.Interrupted, Verification: pbx.NotVerified, Comment: "why", IdempotencyKey: "key",
		}
		check := func() {
			t.Helper()
			if err := storetest.SaveRun(t.Context(), s, run); err != nil {
				t.Fatal(err)
			}
			for name, read := range map[string]func() (pbx.Run, bool, error){
				"by id":  func() (pbx.Run, bool, error) { return s.Run(t.Context(), run.Log.ID) },
				"by key": func() (pbx.Run, bool, error) { return s.RunByKey(t.Context(), "key") },
			} {
				got, ok, err := read()
				if diff := cmp.Diff(run, got); diff != "" || !ok || err != nil {
					t.Errorf("%s: ok %v, error %v\n%s", name, ok, err, diff)
				}
			}
			if got, ok, err := s.Log(t.Context(), run.Log.ID); !cmp.Equal(run.Log, got) || !ok || err != nil {
				t.Errorf("audit record %+v, ok %v, error %v", got, ok, err)
			}
		}
		check()
		if open, err := s.OpenRuns(t.Context()); len(open) != 1 || err != nil {
			t.Errorf("%d open runs, error %v; want 1", len(open), err)
		}
		run.Log.Outcome, run.Log.ErrorDetails = pbx.Success, ""
		run.Log.FilesWritten = []string{"/a b", `/c"d,e{}`}
		run.Log.Reload = pbx.ReloadResults{
			PJSIP:    &pbx.CommandResult{ExitCode: 1, Stdout: "out\n", Stderr: "é\t"},
			Dialplan: &pbx.CommandResult{ExitCode: -1},
		}
		run.Revision, run.Result, run.Verification, run.Users, run.Code = 7, pbx.Applied, pbx.Confirmed, 2, "x"
		run.Files = []pbx.File{{Path: pbx.PJSIPPath, Content: []byte("a\x00\xff")}, {Path: pbx.DialplanPath, Content: []byte("b")}}
		run.Plan = pbx.Plan{Hash: "h", Pending: true, Changes: []pbx.Change{{Kind: pbx.Added, Number: 1000, Name: "Anna", What: []string{"x"}}}}
		run.Events = []pbx.Event{{Stage: "plan", After: time.Millisecond, Message: "planned"}}
		run.Differences, run.Restored, run.Asked = []string{"d"}, 3, "hash"
		run.Saved = []pbx.File{{Path: "p", Content: []byte("hand edit")}}
		check()
		if open, err := s.OpenRuns(t.Context()); len(open) != 0 || err != nil {
			t.Errorf("%d open runs, error %v; want none", len(open), err)
		}
		if last, err := s.LastRevision(t.Context()); last != 7 || err != nil {
			t.Errorf("last revision %d, error %v", last, err)
		}
		second := run
		second.Log.ID, second.Revision = pbx.RunID(uuid.NewString()), 8
		if err := storetest.SaveRun(t.Context(), s, second); err == nil {
			t.Error("a second run under the same key was stored")
		}
		second.IdempotencyKey = ""
		if err := storetest.SaveRun(t.Context(), s, second); err != nil {
			t.Fatal(err)
		}
		lock, err := s.TryApplyLock(t.Context())
		if lock == nil || err != nil {
			t.Fatalf("lock %v, error %v", lock, err)
		}
		defer lock.Release()
		if err := lock.ForgetRevisions(t.Context(), 1, 8, 0); err != nil {
			t.Fatal(err)
		}
		if old, ok, err := s.Revision(t.Context(), 7); !ok || err != nil || old.Files != nil || old.Log.TriggeredBy != "test" {
			t.Errorf("a forgotten revision is %+v, ok %v, error %v", old, ok, err)
		}
		if list, err := s.Revisions(t.Context(), 0, 10); err != nil || len(list) != 2 || list[0].Revision != 8 || list[0].Files != nil {
			t.Errorf("revisions %+v, error %v", list, err)
		}
		if page, err := s.Revisions(t.Context(), 8, 10); err != nil || len(page) != 1 || page[0].Revision != 7 {
			t.Errorf("revisions before 8: %+v, error %v", page, err)
		}
	})
}

func TestAReleasedNumberIsReservedForTheGivenTime(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		a, b := newUser(1000, "a@example.com"), newUser(1001, "b@example.com")
		lowest := func(freed time.Time) (n pbx.Number) {
			err := s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				places, err := tx.Allocate(ctx, []string{""}, 1000, 1999, freed)
				n = lowestOf(places.Taken, pbx.FirstNumber, pbx.LastNumber, 1)[0]
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		err := errors.Join(insert(t.Context(), s, a, b), s.InTx(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.DeleteUser(ctx, a, noon, event(ctx, pbx.ActionUserDelete)),
				tx.DeleteUser(ctx, b, noon.Add(-time.Hour), event(ctx, pbx.ActionUserDelete)))
		}))
		if err != nil {
			t.Fatal(err)
		}
		for back, want := range map[time.Duration]pbx.Number{-time.Nanosecond: 1000, time.Minute: 1001, 2 * time.Hour: 1002} {
			if got := lowest(noon.Add(-back)); got != want {
				t.Errorf("numbers freed within %s rest: got %d, want %d", back, got, want)
			}
		}
		if released, err := s.ReleasedSince(t.Context(), noon.Add(-time.Minute)); err != nil || !released.Has(1000) || released.Has(1001) {
			t.Errorf("released within a minute: %v, error %v", released, err)
		}
	})
}

func TestAllProcessesOfADatabaseShareOneApplyLock(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		a, b := storetest.Open(t, url), storetest.Open(t, url) // two handles represent two processes
		lock, err := a.TryApplyLock(t.Context())
		if lock == nil || err != nil || lock.Check(t.Context()) != nil {
			t.Fatalf("lock %v, error %v", lock, err)
		}
		for _, s := range []*store.Store{a, b} {
			if second, err := s.TryApplyLock(t.Context()); second != nil || err != nil {
				t.Errorf("a second lock: %v, error %v", second, err)
			}
		}
		lock.Release()
		lock, err = b.TryApplyLock(t.Context())
		if lock == nil || err != nil {
			t.Fatalf("after its release: %v, error %v", lock, err)
		}
		lock.Release()
	})
}

func TestALockLostBeforeItsFirstWriteOverwritesNothingOfTheNextHolder(t *testing.T) {
	t.Parallel()
	url := storetest.SQLite(t)
	run := func() pbx.Run {
		return pbx.Run{Log: pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: noon, TriggeredBy: "t", Outcome: pbx.Failure}}
	}
	for name, write := range map[string]func(*store.ApplyLock) error{
		"a run":         func(l *store.ApplyLock) error { return l.SaveRun(t.Context(), run()) },
		"a fence alone": func(l *store.ApplyLock) error { return l.Fence(t.Context()) },
		"another write": func(l *store.ApplyLock) error { return l.ConfirmRevision(t.Context(), 1) },
	} {
		a, b := storetest.Open(t, url), storetest.Open(t, url)
		lost, err := a.TryApplyLock(t.Context())
		if lost == nil || err != nil {
			t.Fatalf("lock %v, error %v", lost, err)
		}
		if err := os.Remove(strings.TrimPrefix(url, "sqlite:///") + ".apply-lock"); err != nil {
			t.Fatal(err)
		}
		next, err := b.TryApplyLock(t.Context())
		if next == nil || err != nil {
			t.Fatalf("lock %v, error %v", next, err)
		}
		for range 2 { // with the first write the number is taken, and with the second held
			if err := errors.Join(next.Check(t.Context()), write(next)); err != nil {
				t.Errorf("%s of the next: %v", name, err)
			}
		}
		for _, err := range []error{lost.Check(t.Context()), write(lost), lost.SaveRun(t.Context(), run())} {
			if pbx.CodeOf(err) != pbx.CodeApplyRunning {
				t.Errorf("%s of the next, and the lost one is told %v", name, err)
			}
		}
		next.Release()
		lost.Release()
	}
}

func TestRow03ALockWhoseConnectionEndedIsNoLongerHeld(t *testing.T) {
	t.Parallel()
	url := labtest.Postgres(t)
	s := storetest.Open(t, url)
	lock, err := s.TryApplyLock(t.Context())
	if lock == nil || err != nil {
		t.Fatalf("lock %v, error %v", lock, err)
	}
	execute(t, url, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'`)
	if err := lock.Check(t.Context()); pbx.CodeOf(err) != pbx.CodeApplyRunning {
		t.Errorf("the lock is said to be held: %v", err)
	}
	lock.Release()
}

func TestManyProcessesCanMigrateConcurrently(t *testing.T) {
	t.Parallel()
	storetest.EachEmpty(t, func(t *testing.T, url string) {
		var applied, failed sync.Map
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				s, err := store.Open(url)
				if err == nil {
					defer s.Close()
					var versions []int64
					if versions, err = s.Migrate(t.Context()); len(versions) > 0 {
						applied.Store(i, versions)
					}
				}
				if err != nil {
					failed.Store(i, err)
				}
			})
		}
		all.Wait()
		failed.Range(func(_, err any) bool { t.Error(err); return true })
		count := 0
		applied.Range(func(_, _ any) bool { count++; return true })
		if count != 1 {
			t.Errorf("%d processes applied migrations, want 1", count)
		}
	})
}

func TestADatabaseOfANewerProgramIsRefused(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		execute(t, url, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`)
		_, err := s.Migrate(t.Context())
		if pbx.CodeOf(err) != pbx.CodeDatabaseNewer || !strings.Contains(err.Error(), "9999") {
			t.Errorf("error %v", err)
		}
	})
}

func TestTheDatabaseOfThePythonPortalIsAdoptedWithNothingLost(t *testing.T) {
	t.Parallel()
	url := labtest.Postgres(t)
	pythonPortal(t, url)
	// The columns row_hash, which is empty until CoverUsers, version, updated_at, enabled and calls are new.
	const everything = `SELECT string_agg(t::text, E'\n' ORDER BY t::text) FROM (
		SELECT 'tenant', to_jsonb(x) FROM tenants x UNION ALL SELECT 'user', to_jsonb(x) - 'version' - 'updated_at' - 'enabled' - 'calls' FROM users x
		UNION ALL SELECT 'extension', to_jsonb(x) - 'row_hash' FROM extensions x UNION ALL SELECT 'log', to_jsonb(x) FROM apply_audit_logs x
		UNION ALL SELECT 'alembic', to_jsonb(x) FROM alembic_version x) t`
	before := execute(t, url, everything)
	s := storetest.Open(t, strings.Replace(url, "postgres", "postgresql+asyncpg", 1))
	if diff := cmp.Diff(before, execute(t, url, everything)); diff != "" || before == "" {
		t.Fatalf("rows changed:\n%s", diff)
	}
	users, err := s.Users(t.Context(), pbx.DefaultTenant)
	if err != nil || len(users) != 3 || users[0].Email != "Anna@Example.com" || users[2].Extension.Secret.Reveal() != "old;secret" ||
		!users[0].CreatedAt.Equal(time.Date(2025, 2, 3, 4, 5, 6, 789012000, time.UTC)) {
		t.Errorf("users %+v, error %v", users, err)
	}
	logs, err := s.Logs(t.Context(), time.Time{}, "", 10)
	if err != nil || len(logs) != 2 || logs[0].ErrorDetails != "disk full" || logs[1].Reload.PJSIP.Stdout != "ok" || len(logs[1].FilesWritten) != 2 {
		t.Errorf("logs %+v, error %v", logs, err)
	}
	if err := insert(t.Context(), s, newUser(1002, "new@example.com")); err != nil {
		t.Errorf("the adopted database does not take a new user: %v", err)
	}
}

// pythonPortal creates the tables of the Python portal, with their rows.
func pythonPortal(t *testing.T, url string) {
	t.Helper()
	dump, err := os.ReadFile("testdata/mvp.sql")
	if err != nil {
		t.Fatal(err)
	}
	execute(t, url, string(dump))
}

func TestAForeignDatabaseIsRefusedBeforeAnythingIsServed(t *testing.T) {
	t.Parallel()
	url := labtest.Postgres(t)
	execute(t, url, `CREATE TABLE users (id int, tenant_id uuid, email text)`)
	s, err := store.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Migrate(t.Context()); err == nil {
		t.Error("a table users of another program was taken for ours")
	}
}

func TestAProbeLeavesNothingAndBlocksNoWriter(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s, other := storetest.Open(t, url), storetest.Open(t, url)
		tables := `SELECT string_agg(table_name, ',' ORDER BY table_name) FROM information_schema.tables WHERE table_schema = 'public'`
		if strings.HasPrefix(url, "sqlite") {
			tables = `SELECT group_concat(name) FROM (SELECT name FROM sqlite_master ORDER BY name)`
		}
		before := ask(t, url, tables)
		for i := range 3 {
			if err := s.Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
			for j, each := range []*store.Store{s, other} {
				if err := insert(t.Context(), each, newUser(pbx.Number(1000+2*i+j), fmt.Sprintf("%d.%d@example.com", i, j))); err != nil {
					t.Error(err)
				}
			}
		}
		if after := ask(t, url, tables); after != before {
			t.Errorf("the tables were %s, and are %s", before, after)
		}
	})
}

func TestAFailedWriteIsReportedUntilOneSucceeds(t *testing.T) {
	t.Parallel()
	url := labtest.Postgres(t)
	s := storetest.Open(t, url)
	good := func(when string, failures int) {
		t.Helper()
		if err := errors.Join(s.Ready(t.Context()), s.Writable(t.Context())); err != nil || s.WriteFailures() != failures {
			t.Errorf("%s: %v, %d failures", when, err, s.WriteFailures())
		}
	}
	good("at first", 0)
	// A disk that has room for what is in place already, and for nothing new.
	execute(t, url, `CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER no_room BEFORE INSERT ON users EXECUTE FUNCTION no_room(); CREATE TRIGGER no_room BEFORE INSERT ON apply_audit_logs EXECUTE FUNCTION no_room()`)
	good("before anything was written", 0)
	if err := insert(t.Context(), s, newUser(1000, "a@example.com")); pbx.CodeOf(err) != pbx.CodeDatabaseFull {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Writable(t.Context()); pbx.CodeOf(err) != pbx.CodeDatabaseFull {
			t.Errorf("after a write that failed: %v", err)
		}
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("the database answers: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	failures := s.WriteFailures()
	if err := insert(gone, s, newUser(1000, "a@example.com")); err == nil || s.WriteFailures() != failures {
		t.Errorf("%v: a caller who has gone is no fault of the database", err)
	}
	execute(t, url, `DROP FUNCTION no_room CASCADE`)
	good("with room again", failures)
}

func TestADatabaseWithOtherTablesIsNotReady(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ statement, code, says string }{
			{`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`, pbx.CodeDatabaseNewer, "newer program"},
			{`DELETE FROM goose_db_version WHERE version_id > 3`, pbx.CodeDatabaseAway, "pbxportal migrate"},
			{`DROP TABLE goose_db_version`, pbx.CodeDatabaseAway, "pbxportal migrate"},
		} {
			execute(t, url, c.statement)
			if err := s.Ready(t.Context()); pbx.KindOf(err) != pbx.KindUnavailable || pbx.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("after %s: %v", c.statement, err)
			}
		}
	})
}

func TestADatabaseRoleGetsAListOfItsMissingPermissions(t *testing.T) {
	t.Parallel()
	address := labtest.Postgres(t)
	storetest.Open(t, address)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	role := "stranger_to_" + strings.TrimPrefix(u.Path, "/")
	execute(t, address, `CREATE ROLE `+role+` LOGIN PASSWORD 'topsecret'; GRANT ALL ON ALL TABLES IN SCHEMA public TO `+role+`;
DELETE FROM goose_db_version WHERE version_id > 14`)
	defer execute(t, address, `DROP OWNED BY `+role+`; DROP ROLE `+role)
	u.User = url.UserPassword(role, "topsecret")
	s, err := store.Open(u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = s.Migrate(t.Context())
	away(t, "a migration", err, "owner", "DATABASE_URL") // whose the tables must be
}

func TestAnUnreachableDatabaseIsReportedAsUnavailable(t *testing.T) {
	t.Parallel()
	s, err := store.Open("postgresql://nobody:topsecret@127.0.0.1:1/none")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, listErr := s.Users(t.Context(), pbx.DefaultTenant)
	_, migrateErr := s.Migrate(t.Context())
	_, lockErr := s.TryApplyLock(t.Context())
	for what, err := range map[string]error{
		"ping": s.Ping(t.Context()), "list": listErr, "migrate": migrateErr, "lock": lockErr, "write": insert(t.Context(), s, newUser(1000, "a@b.co")),
	} {
		if pbx.KindOf(err) != pbx.KindUnavailable {
			t.Errorf("%s: %v", what, err)
		}
		if strings.Contains(fmt.Sprint(err), "topsecret") {
			t.Errorf("%s: the error shows the password: %v", what, err)
		}
	}
}

func TestAnInvalidURLIsRefusedWithTheExpectedFormAndWithoutThePassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"", "x", "mysql://u:topsecret@h/d", "sqlite://relative", "postgres://u:topsecret%zz@h/d", "postgres://u:topsecret@h:port/d",
		"postgresql://u:12/topsecret@h/db", "postgresql://u:12?topsecret@h/db", "postgresql://u:12#topsecret@h/db", "postgresql://u:12/topsecret?x=y@h/db", "postgresql://u:a@b/topsecret@h/db",
	} {
		_, err := store.Open(url)
		if err == nil || strings.Contains(err.Error(), "topsecret") || !strings.Contains(err.Error(), "DATABASE_URL") {
			t.Errorf("%q: error %v", url, err)
		}
	}
	for _, url := range []string{"postgresql://u:12%2Ftopsecret@h/db", "postgresql://u:top@secret@h/db", "postgresql://h/db?user=a%40b&password=topsecret"} {
		s, err := store.Open(url)
		if err != nil || s.Describe() != `PostgreSQL database "db" on h:5432` {
			t.Errorf("%q: error %v", url, err)
			continue
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestTheSQLiteFileIsForItsOwnerOnly(t *testing.T) {
	t.Parallel()
	url := storetest.SQLite(t)
	s := storetest.Open(t, url)
	if err := insert(t.Context(), s, newUser(1000, "a@example.com")); err != nil {
		t.Fatal(err)
	}
	path := strings.TrimPrefix(url, "sqlite:///")
	for _, file := range []string{path, path + "-wal", path + "-shm"} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, error %v; want mode 0600", file, info, err)
		}
	}
}

// execute runs statements that bypass the store, and returns the first column of the first row, if there is one.
func execute(t *testing.T, url, statements string) string {
	t.Helper()
	return storetest.Execute(t, url, statements)
}

func TestAListOfUsersIsNeverOlderThanTheLastChangeOfAnyProcess(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s, other := storetest.Open(t, url), storetest.Open(t, url)
		a, b := newUser(1000, "a@example.com"), newUser(1001, "b@example.com")
		if err := insert(t.Context(), other, a); err != nil {
			t.Fatal(err)
		}
		listed(t, s, []pbx.User{a})
		if err := insert(t.Context(), other, b); err != nil {
			t.Fatal(err)
		}
		listed(t, s, []pbx.User{a, b})
		listed(t, s, []pbx.User{a, b}) // from the cache

		// By another program, which knows nothing of us.
		execute(t, url, `UPDATE users SET name = 'Anna' WHERE email = 'a@example.com'`)
		a.Name = "Anna"
		listed(t, s, []pbx.User{a, b})
		execute(t, url, `UPDATE extensions SET secret = 'another' WHERE number = 1001`)
		b.Extension.Secret = pbx.SecretFrom("another")
		listed(t, s, []pbx.User{a, b})
		execute(t, url, `UPDATE extensions SET number = 1999 WHERE number = 1000`)
		a.Extension.Number = 1999
		listed(t, s, []pbx.User{b, a})
		execute(t, url, `DELETE FROM users WHERE email = 'b@example.com'`)
		listed(t, s, []pbx.User{a})
		execute(t, url, `DELETE FROM extensions`)
		listed(t, s, []pbx.User{})
	})
}

func TestAListHasEveryUserWhoseCreationWasAcknowledged(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s, other := storetest.Open(t, url), storetest.Open(t, url)
		var all sync.WaitGroup
		for w := range 4 {
			all.Go(func() {
				writer := []*store.Store{s, other}[w%2]
				for i := range 25 {
					u := newUser(pbx.Number(1000+25*w+i), fmt.Sprintf("%d-%d@example.com", w, i))
					if err := insert(t.Context(), writer, u); err != nil {
						t.Error(err)
						return
					}
					users, err := s.Users(t.Context(), pbx.DefaultTenant)
					if err != nil || !slices.ContainsFunc(users, func(one pbx.User) bool { return one.ID == u.ID }) {
						t.Errorf("the list lacks user %d, who was acknowledged; error %v", u.Extension.Number, err)
					}
				}
			})
		}
		all.Wait()
	})
}

// A wrapper of Asterisk's console can print any bytes, and a record quotes them.
func TestARunIsRecordedWhateverBytesItQuotes(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := storetest.Open(t, url)
		const any, stored = "Gr\xfc\x00\\u0000 \\\x00\x1b", "Gr\ufffd\ufffd\\u0000 \\\ufffd\x1b"
		run := func(text string) pbx.Run {
			return pbx.Run{
				Log: pbx.ApplyLog{
					ID: pbx.RunID(uuid.NewString()), TriggeredAt: noon, TriggeredBy: "test", Outcome: pbx.Failure, ErrorDetails: text, FilesWritten: []string{text},
					Reload: pbx.ReloadResults{PJSIP: &pbx.CommandResult{ExitCode: 1, Stdout: text, Stderr: text}},
				},
				Result: pbx.NotConfirmed, Verification: pbx.Inconclusive,
				Plan: pbx.Plan{Behind: text}, Events: []pbx.Event{{Stage: "verify", Message: text, Detail: text}}, Differences: []string{text},
			}
		}
		saved, want := run(any), run(stored)
		want.Log.ID = saved.Log.ID
		event := event(t.Context(), pbx.ActionApplyRun)
		event.After = pbx.Facts{"error_details": any}
		if err := storetest.SaveRun(t.Context(), s, saved, event); err != nil {
			t.Fatal(err)
		}
		got, ok, err := s.Run(t.Context(), saved.Log.ID)
		if diff := cmp.Diff(want, got); diff != "" || !ok || err != nil {
			t.Errorf("ok %v, error %v\n%s", ok, err, diff)
		}
	})
}

// behindItsBack executes a statement on the tables of users without triggers and foreign keys.
func behindItsBack(t *testing.T, url, change string) {
	t.Helper()
	behind(t, url, change, "users", "extensions")
}

// behind executes a statement without the triggers and foreign keys of these tables.
func behind(t *testing.T, url, change string, tables ...string) {
	t.Helper()
	if strings.HasPrefix(url, "sqlite") {
		of := ` FROM sqlite_schema WHERE type = 'trigger' AND tbl_name IN ('` + strings.Join(tables, "', '") + `')`
		triggers := ask(t, url, `SELECT group_concat(sql || ';', '')`+of)
		names := ask(t, url, `SELECT group_concat('DROP TRIGGER ' || name || ';', '')`+of)
		execute(t, url, names+change+`; `+triggers)
		return
	}
	disable, enable := "", ""
	for _, table := range tables {
		disable += `ALTER TABLE ` + table + ` DISABLE TRIGGER ALL; `
		enable += `; ALTER TABLE ` + table + ` ENABLE TRIGGER ALL`
	}
	execute(t, url, disable+change+enable)
}
