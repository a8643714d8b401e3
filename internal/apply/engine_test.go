package apply_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store"
)

// script is a target that plays a part: by default a perfect Asterisk, which runs what was last written.
type script struct {
	calls     []string
	running   pbx.Live
	next      pbx.Live
	writeErr  error
	reloadErr error
	liveErr   error
	mumble    bool                    // the answer to the reload is neither yes nor no
	live      func(pbx.Live) pbx.Live // what Asterisk makes of the files
	onWrite   func(context.Context)
}

var results = pbx.ReloadResults{PJSIP: &pbx.CommandResult{Stdout: "reloaded"}, Dialplan: &pbx.CommandResult{Stdout: "reloaded"}}

func (s *script) Write(ctx context.Context, files []pbx.File) ([]string, error) {
	s.calls = append(s.calls, "write")
	if s.onWrite != nil {
		s.onWrite(ctx)
	}
	if s.writeErr != nil {
		return nil, s.writeErr
	}
	var written []string
	for _, f := range files {
		written = append(written, "/etc/asterisk/"+f.Path)
	}
	return written, ctx.Err()
}

func (s *script) Reload(ctx context.Context) (pbx.ReloadResults, bool, error) {
	s.calls = append(s.calls, "reload")
	if s.reloadErr != nil {
		return pbx.ReloadResults{PJSIP: &pbx.CommandResult{ExitCode: 1}}, true, s.reloadErr
	}
	s.running = s.next
	return results, !s.mumble, ctx.Err()
}

func (s *script) Live(ctx context.Context) (pbx.Live, error) {
	s.calls = append(s.calls, "live")
	if s.live != nil {
		return s.live(s.running), s.liveErr
	}
	return s.running, errors.Join(s.liveErr, ctx.Err())
}

type fixture struct {
	*script
	engine *apply.Engine
	store  *store.Store
}

// newFixture makes an engine over a new database with two users and a target that follows the script.
func newFixture(t *testing.T, s *script) fixture {
	t.Helper()
	db, err := store.Open("sqlite:///" + filepath.Join(t.TempDir(), "portal.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := directory.New(db, time.Now)
	for i := range 2 {
		if _, err := d.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: "U", Email: fmt.Sprintf("u%d@example.com", i)}); err != nil {
			t.Fatal(err)
		}
	}
	users, err := db.Users(t.Context(), pbx.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	if _, s.next, err = render.Config(users); err != nil {
		t.Fatal(err)
	}
	return fixture{s, apply.New(db, s, time.Now), db}
}

// onlyLog gives the one audit record there must be.
func (f fixture) onlyLog(t *testing.T) pbx.ApplyLog {
	t.Helper()
	page, err := f.engine.Logs(t.Context(), apply.LogQuery{Limit: 10})
	if err != nil || len(page.Logs) != 1 {
		t.Fatalf("%d audit records, error %v; want 1", len(page.Logs), err)
	}
	return page.Logs[0]
}

func TestAnApplyEndsAsItsWeakestStageAllows(t *testing.T) {
	t.Parallel()
	drop := func(l pbx.Live) pbx.Live { l.Endpoints = l.Endpoints[1:]; return l }
	for name, tc := range map[string]struct {
		script       script
		calls        string
		code         string // of the error; "" for success
		verification pbx.Verification
		files        int
		said         string // must stand in the audit record
	}{
		"all goes well": {script{}, "write reload live", "", pbx.Confirmed, 2, ""},
		"the files cannot be written": {
			script{writeErr: errors.New("disk full")}, "write", pbx.CodeWriteFailed, pbx.NotVerified, 0, "the old ones are in place",
		},
		"Asterisk does not reload": {
			script{reloadErr: errors.New("cannot be reached")}, "write reload", pbx.CodeReloadFailed, pbx.NotVerified, 2, "the new files are in place",
		},
		"Asterisk gives no answer to compare": {
			script{liveErr: errors.New("garbage")}, "write reload live", "", pbx.Inconclusive, 2, "",
		},
		"the answer to the reload is neither yes nor no": {script{mumble: true}, "write reload live", "", pbx.Inconclusive, 2, ""},
		"Asterisk has hints of the administrator's": {
			script{live: func(l pbx.Live) pbx.Live {
				l.Steps = append([]pbx.Step{{Exten: "1000", Priority: -1, App: "hint", Args: "PJSIP/1000"}}, l.Steps...)
				return l
			}},
			"write reload live", "", pbx.Confirmed, 2, "",
		},
		"Asterisk lacks an endpoint": {script{live: drop}, "write reload live", pbx.CodeContradicted, pbx.Contradicted, 2, "endpoint 1000 is missing"},
		"Asterisk has an endpoint too many": {
			script{live: func(l pbx.Live) pbx.Live { l.Endpoints = append([]string{"1500", "trunk"}, l.Endpoints...); return l }},
			"write reload live", pbx.CodeContradicted, pbx.Contradicted, 2, "endpoint 1500 is loaded, but no user has it",
		},
		"Asterisk lacks an auth": {
			script{live: func(l pbx.Live) pbx.Live { l.Auths = nil; return l }},
			"write reload live", pbx.CodeContradicted, pbx.Contradicted, 2, "auth 1001 is missing",
		},
		"Asterisk lacks an AOR": {
			script{live: func(l pbx.Live) pbx.Live { l.AORs = l.AORs[:1]; return l }},
			"write reload live", pbx.CodeContradicted, pbx.Contradicted, 2, "AOR 1001 is missing",
		},
		"Asterisk dials something else": {
			script{live: func(l pbx.Live) pbx.Live {
				l.Steps = append([]pbx.Step{}, l.Steps...)
				l.Steps[0].Args = "PJSIP/1000,25"
				return l
			}},
			"write reload live", pbx.CodeContradicted, pbx.Contradicted, 2, "1001,1,Dial(PJSIP/1001,25) is loaded as 1001,1,Dial(PJSIP/1000,25)",
		},
		"Asterisk has a step too many": {
			script{live: func(l pbx.Live) pbx.Live {
				l.Steps = append([]pbx.Step{{Exten: "1000", Priority: 3, App: "Dial"}, {Exten: "2000", Priority: 1, App: "Echo"}}, l.Steps...)
				return l
			}},
			"write reload live", pbx.CodeContradicted, pbx.Contradicted, 2, "1000,3,Dial() is loaded, but belongs to no user",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, &tc.script)
			report, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: " test "})
			if tc.code == "" && err != nil || tc.code != "" && pbx.CodeOf(err) != tc.code {
				t.Fatalf("error %v, want code %q", err, tc.code)
			}
			if got := strings.Join(f.calls, " "); got != tc.calls {
				t.Errorf("asked the target to %s; want %s", got, tc.calls)
			}
			if report.Verification != tc.verification || report.Users != 2 {
				t.Errorf("verification %s of %d users; want %s of 2", report.Verification, report.Users, tc.verification)
			}
			log := f.onlyLog(t)
			if diff := cmp.Diff(report.Log, log); diff != "" {
				t.Errorf("the report and the audit record differ:\n%s", diff)
			}
			if (log.Outcome == pbx.Success) != (err == nil) || log.TriggeredBy != "test" || len(log.FilesWritten) != tc.files {
				t.Errorf("audit record %+v", log)
			}
			if !strings.Contains(log.ErrorDetails, tc.said) || err != nil && log.ErrorDetails == "" {
				t.Errorf("the audit record says %q; want %q in it", log.ErrorDetails, tc.said)
			}
		})
	}
}

func TestTheNextApplyAfterAFailureSucceeds(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{reloadErr: errors.New("down")})
	if _, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"}); err == nil {
		t.Fatal("no error")
	}
	f.reloadErr = nil
	if _, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"}); err != nil {
		t.Fatal(err)
	}
}

func TestASecondApplyIsRefusedWhileOneRuns(t *testing.T) {
	t.Parallel()
	started, finish := make(chan struct{}), make(chan struct{})
	f := newFixture(t, &script{onWrite: func(context.Context) { close(started); <-finish }})
	other := apply.New(f.store, &script{}, time.Now) // as if in another process: only the database is shared
	first := make(chan error, 1)
	go func() {
		_, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "first"})
		first <- err
	}()
	<-started
	for name, engine := range map[string]*apply.Engine{"the same process": f.engine, "another process": other} {
		if _, err := engine.Apply(t.Context(), apply.Request{TriggeredBy: "second"}); pbx.CodeOf(err) != pbx.CodeApplyRunning {
			t.Errorf("in %s: error %v, want %s", name, err, pbx.CodeApplyRunning)
		}
	}
	close(finish)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if log := f.onlyLog(t); log.TriggeredBy != "first" {
		t.Errorf("audit record of %q", log.TriggeredBy)
	}
}

func TestACallerWhoHangsUpDoesNotCutAnApplyShort(t *testing.T) {
	t.Parallel()
	ctx, hangUp := context.WithCancel(t.Context())
	f := newFixture(t, &script{onWrite: func(context.Context) { hangUp() }})
	report, err := f.engine.Apply(ctx, apply.Request{TriggeredBy: "test"})
	if err != nil || report.Verification != pbx.Confirmed {
		t.Errorf("verification %s, error %v", report.Verification, err)
	}
}

func TestAnApplyWhoseProcessDiedHasAnAuditRecordThatSaysSo(t *testing.T) {
	t.Parallel()
	var during pbx.ApplyLog
	s := &script{}
	f := newFixture(t, s)
	s.onWrite = func(ctx context.Context) {
		page, err := f.engine.Logs(ctx, apply.LogQuery{Limit: 1})
		if err != nil || len(page.Logs) != 1 {
			t.Errorf("audit records %v, error %v", page.Logs, err)
			return
		}
		during = page.Logs[0] // what would stay if the process ended here
	}
	if _, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"}); err != nil {
		t.Fatal(err)
	}
	if during.Outcome != pbx.Failure || !strings.HasPrefix(during.ErrorDetails, "interrupted") {
		t.Errorf("during the apply the record was %+v", during)
	}
}

func TestWithoutAnAuditRecordNothingIsApplied(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	_ = f.store.Close()
	if _, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"}); err == nil || len(f.calls) > 0 {
		t.Errorf("error %v, calls %v", err, f.calls)
	}
}

func TestTheRequestMustSayWhoAsks(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	for _, by := range []string{"", "  ", "a\nb", strings.Repeat("x", 256)} {
		if _, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: by}); pbx.KindOf(err) != pbx.KindInvalid {
			t.Errorf("triggered_by %q: error %v", by, err)
		}
	}
}

func TestLogsArePagedNewestFirst(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{})
	for i := range 5 {
		if _, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	query := apply.LogQuery{Limit: 2}
	for {
		page, err := f.engine.Logs(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range page.Logs {
			got = append(got, l.TriggeredBy)
			if one, err := f.engine.Log(t.Context(), l.ID); err != nil || one.TriggeredBy != l.TriggeredBy {
				t.Errorf("Log(%s) = %+v, %v", l.ID, one, err)
			}
		}
		if query.Before = page.Next; page.Next == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"4", "3", "2", "1", "0"}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := f.engine.Logs(t.Context(), apply.LogQuery{Before: "x", Limit: 1}); pbx.KindOf(err) != pbx.KindInvalid {
		t.Errorf("error %v for a bad cursor", err)
	}
	for _, id := range []pbx.RunID{"", "x", "a0000000-0000-0000-0000-00000000000f"} {
		if _, err := f.engine.Log(t.Context(), id); pbx.KindOf(err) != pbx.KindNotFound {
			t.Errorf("Log(%q): error %v", id, err)
		}
	}
}
