package cli_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// The journey that existing callers make, against a real Asterisk.
func TestTheJourneyOfACallerWorks(t *testing.T) {
	t.Parallel()
	srv := newSettings(t).beside(labtest.Asterisk(t)).serve(t)
	if list := srv.want(t, 200, "GET", "/users", ""); fmt.Sprint(list) != "map[users:[]]" {
		t.Errorf("an empty list is %v", list)
	}
	u := srv.want(t, 201, "POST", "/users", `{"name":"Anna Example","email":"anna@example.com"}`)
	extension, _ := u["extension"].(map[string]any)
	secret := fmt.Sprint(extension["secret"])
	if extension["number"] != 1000.0 || len(secret) != 22 || u["tenant_id"] != "a0000000-0000-0000-0000-000000000000" {
		t.Errorf("created %v", u)
	}
	srv.want(t, 409, "POST", "/users", `{"name":"Other","email":"ANNA@example.com"}`)
	srv.want(t, 400, "POST", "/users", `{"name":"","email":"x"}`)
	done := srv.want(t, 200, "POST", "/apply", `{"triggered_by":"anna"}`)
	if done["users_applied"] != 1.0 || done["extensions_generated"] != 1.0 || done["verification"] != "confirmed" {
		t.Errorf("applied %v", done)
	}
	logs, _ := srv.want(t, 200, "GET", "/apply/logs", "")["logs"].([]any)
	if len(logs) != 1 {
		t.Errorf("%d audit records", len(logs))
	}
	srv.want(t, 200, "GET", "/apply/logs/"+fmt.Sprint(done["audit_log_id"]), "")
	if health := srv.want(t, 200, "GET", "/health", ""); health["status"] != "ok" || health["database"] != "ok" || health["asterisk"] != "ok" {
		t.Errorf("health %v", health)
	}
	gone := srv.want(t, 200, "DELETE", "/users/"+fmt.Sprint(u["id"]), "")
	if gone["freed_extension"] != 1000.0 || gone["deleted_user_id"] != u["id"] {
		t.Errorf("deleted %v", gone)
	}
	srv.want(t, 404, "DELETE", "/users/"+fmt.Sprint(u["id"]), "")
	if log := srv.logged(t); strings.Contains(log, secret) || !strings.Contains(log, "request_id=") {
		t.Errorf("the log shows the secret, or no request:\n%s", log)
	}
}

func TestTwoProcessesAnd64ClientsShareThePoolWithoutAGap(t *testing.T) {
	t.Parallel()
	clients, most := 64, 1000
	if testing.Short() { // the race detector makes SQLite thirty times slower
		clients, most = 8, 100
	}
	storetest.Each(t, func(t *testing.T, url string) {
		s := newSettings(t)
		s["DATABASE_URL"] = url
		servers := []*server{s.serve(t), s.serve(t)}
		work := make(chan int)
		var all sync.WaitGroup
		for c := range clients {
			all.Go(func() {
				for i := range work {
					if got, err := servers[c%2].ask(t.Context(), "POST", "/users", newUserJSON(i)); err != nil || got.status != 201 {
						t.Errorf("user %d: %v %v", i, got, err)
					}
				}
			})
		}
		for i := range most {
			work <- i
		}
		close(work)
		all.Wait()
		users, _ := servers[1].want(t, 200, "GET", "/users", "")["users"].([]any)
		for i, u := range users {
			user, _ := u.(map[string]any)
			extension, _ := user["extension"].(map[string]any)
			if extension["number"] != float64(1000+i) {
				t.Fatalf("user %d has %v", i, extension["number"])
			}
		}
		if len(users) != most {
			t.Errorf("%d users", len(users))
		}
		if testing.Short() {
			return
		}
		problem := srvProblem(t, servers[0])
		if problem["code"] != "extension_pool_exhausted" {
			t.Errorf("the 1001st user: %v", problem)
		}
	})
}

func srvProblem(t *testing.T, srv *server) map[string]any {
	t.Helper()
	return srv.want(t, 409, "POST", "/users", `{"name":"One too many","email":"late@example.com"}`)
}

func TestWithoutItsDatabaseEveryCallSaysSoWithinSecondsAndRecoversByItself(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct{ fail, mend func(*lab.Postgres) error }{
		"stopped": {(*lab.Postgres).Kill, func(p *lab.Postgres) error { return p.Restart(context.Background()) }},
		"hung":    {(*lab.Postgres).Suspend, (*lab.Postgres).Resume},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, url := labtest.PostgresServer(t)
			s := newSettings(t).beside(labtest.Asterisk(t))
			s["DATABASE_URL"] = url
			srv := s.serve(t)
			u := srv.want(t, 201, "POST", "/users", newUserJSON(1))
			if err := fault.fail(db); err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			for _, call := range [][3]string{
				{"GET", "/users"},
				{"POST", "/users", newUserJSON(2)},
				{"GET", "/users/" + fmt.Sprint(u["id"])},
				{"DELETE", "/users/" + fmt.Sprint(u["id"])},
				{"POST", "/apply", `{"triggered_by":"test"}`},
				{"GET", "/apply/logs"},
				{"GET", "/health"},
			} {
				all.Go(func() {
					start := time.Now()
					got, err := srv.ask(t.Context(), call[0], call[1], call[2])
					if took := time.Since(start); err != nil || got.status != 503 || took > 8*time.Second {
						t.Errorf("%s %s: %v %v after %s, want 503 within seconds", call[0], call[1], got, err, took)
					}
				})
			}
			all.Wait()
			if err := fault.mend(db); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the server is well again", func() bool {
				got, err := srv.ask(t.Context(), "GET", "/health", "")
				return err == nil && got.status == 200
			})
			srv.want(t, 201, "POST", "/users", newUserJSON(3))
			srv.want(t, 200, "POST", "/apply", `{"triggered_by":"test"}`)
		})
	}
}

// running starts a server and asks it for an apply that takes seconds, because Asterisk hangs; it returns when the apply is on record.
func running(t *testing.T) (a *lab.Asterisk, s settings, srv *server, answers <-chan answer) {
	t.Helper()
	a = labtest.Asterisk(t)
	s = newSettings(t).beside(a)
	srv = s.serve(t)
	s.must(t, "user", "add", "Anna", "anna@example.com")
	if err := a.Suspend(); err != nil {
		t.Fatal(err)
	}
	done := make(chan answer, 1)
	go func() {
		got, err := srv.ask(t.Context(), "POST", "/apply", `{"triggered_by":"test"}`)
		if err != nil {
			got.body = err.Error()
		}
		done <- got
	}()
	eventually(t, "the apply is on record", func() bool {
		return strings.Contains(s.must(t, "audit", "list"), "interrupted")
	})
	return a, s, srv, done
}

func TestAServerThatIsStoppedFinishesARunningApply(t *testing.T) {
	t.Parallel()
	_, s, srv, answers := running(t)
	if code, _, said := s.run(t, "apply"); code != 4 || !strings.Contains(said, "another apply is running") {
		t.Errorf("a second apply, in another process: exit code %d, %s", code, said)
	}
	if err := srv.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := <-answers; got.status != 500 || decode(t, got.body)["code"] != "reload_failed" {
		t.Errorf("the apply was answered with %v", got)
	}
	result, err := srv.Wait(t.Context())
	if err != nil || result.ExitCode != 0 {
		t.Errorf("the server ended with %d, %v\n%s", result.ExitCode, err, srv.logged(t))
	}
	if list := s.must(t, "audit", "list"); strings.Contains(list, "interrupted") {
		t.Errorf("the record was not completed:\n%s", list)
	}
}

func TestRow05AnApplyWhoseServerIsKilledStaysRecordedAndTheNextSucceeds(t *testing.T) {
	t.Parallel()
	a, s, srv, answers := running(t)
	eventually(t, "the files are switched", func() bool {
		text, err := os.ReadFile(filepath.Join(a.ConfigDir, "pjsip.d/synergycall/generated_endpoints.conf"))
		return err == nil && strings.Contains(string(text), "[1000]")
	})
	if err := errors.Join(srv.Kill(), a.Resume()); err != nil {
		t.Fatal(err)
	}
	<-answers
	if list := s.must(t, "audit", "list"); !strings.Contains(list, "failure") || !strings.Contains(list, "interrupted") {
		t.Errorf("on record is:\n%s", list)
	}
	if out := s.must(t, "apply"); !strings.Contains(out, "Asterisk runs exactly the 1 user of this revision") {
		t.Errorf("the next apply:\n%s", out)
	}
	if list := s.must(t, "audit", "list"); !strings.Contains(list, "interrupted after the files were switched") {
		t.Errorf("the record was not completed:\n%s", list)
	}
}

func TestRow19TheServerCatchesUpWithAnAsteriskThatWasDown(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	s := newSettings(t).beside(a)
	srv := s.serve(t)
	srv.want(t, 201, "POST", "/users", newUserJSON(1))
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	srv.want(t, 500, "POST", "/apply", `{"triggered_by":"test"}`)
	if plan := s.must(t, "plan"); !strings.Contains(plan, "OUT OF SYNC") || !strings.Contains(plan, "not yet seen to run") {
		t.Errorf("the plan does not say that Asterisk is behind:\n%s", plan)
	}
	if err := a.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the portal has caught up", func() bool {
		return strings.Contains(s.must(t, "audit", "list"), "portal") && strings.Contains(s.must(t, "plan"), "Nothing to do")
	})
}

// The answer 201 for a user who is gone after the next start would be a lie.
func TestAServerWhoseDatabaseFileIsRemovedAcknowledgesNothing(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	srv := s.serve(t)
	srv.want(t, 201, "POST", "/users", newUserJSON(1))
	if err := os.Remove(strings.TrimPrefix(s["DATABASE_URL"], "sqlite:///")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // also once the first has been refused
		for _, problem := range []map[string]any{srv.want(t, 503, "POST", "/users", newUserJSON(2)), srv.want(t, 503, "GET", "/health", "")} {
			if problem["code"] != pbx.CodeDatabaseAway || !strings.Contains(fmt.Sprint(problem["detail"]), "restart the portal") {
				t.Errorf("%v; want a database that is away, with the cure", problem)
			}
		}
	}
}
