package httpapi_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestAnApplyReportsWhatWasDone(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.create("Anna", "anna@example.com")
	a := p.do("POST", "/apply", `{"triggered_by":" admin "}`, "Content-Type", "application/json; charset=UTF-8")
	if a.status != 200 || a.json["users_applied"] != 1.0 || a.json["extensions_generated"] != 1.0 || a.json["verification"] != "confirmed" ||
		a.json["outcome"] != "success" || len(a.json["files_written"].([]any)) != 2 || len(a.json["reload_results"].(map[string]any)) != 2 {
		t.Fatalf("%d %s", a.status, a.text)
	}
	l := p.do("GET", "/apply/logs/"+a.json["audit_log_id"].(string), "")
	if l.status != 200 || l.json["triggered_by"] != "admin" || l.json["error_details"] != nil {
		t.Errorf("%d %s", l.status, l.text)
	}
	p.asterisk.deaf = errors.New("Asterisk does not answer")
	a = p.do("POST", "/apply", `{"triggered_by":"admin"}`)
	if a.status != 202 || a.json["verification"] != "inconclusive" || len(a.json["differences"].([]any)) != 1 {
		t.Errorf("%d %s", a.status, a.text)
	}
}

func TestAnUnconfirmedApplyIsA202WithAllDetailsAlsoWhenRepeated(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.create("Anna", "anna@example.com")
	p.do("POST", "/apply", `{"triggered_by":"admin"}`)
	p.create("Ben", "ben@example.com")
	p.asterisk.deaf = errors.New("Asterisk does not answer")
	first := p.do("POST", "/apply", `{"triggered_by":"admin"}`, "Idempotency-Key", "once")
	id, _ := first.json["audit_log_id"].(string)
	if first.status != 202 || first.json["result"] != "not_confirmed" || first.json["verification"] != "inconclusive" || first.json["outcome"] != "failure" ||
		first.header.Get("Location") != "/apply/runs/"+id || first.header.Get("Preference-Applied") != "" || len(first.json["files_written"].([]any)) != 2 ||
		first.json["users_applied"] != 2.0 || !strings.Contains(first.json["message"].(string), "could not be verified that Asterisk runs them (Asterisk does not answer)") ||
		!strings.Contains(first.json["message"].(string), "pbxportal doctor") {
		t.Fatalf("%d %v %s", first.status, first.header, first.text)
	}
	if l := p.do("GET", "/apply/logs/"+id, ""); l.json["outcome"] != "failure" || l.json["error_details"] != first.json["message"] {
		t.Errorf("on record is %s", l.text)
	}
	if r := p.do("GET", "/apply/runs/"+id, ""); r.json["code"] != pbx.CodeNotConfirmed || r.json["result"] != "not_confirmed" {
		t.Errorf("its story is %s", r.text)
	}
	if again := p.do("POST", "/apply", `{"triggered_by":"admin"}`, "Idempotency-Key", "once"); again.status != 202 || again.text != first.text || again.header.Get("Location") != first.header.Get("Location") {
		t.Errorf("asked again: %d %s\nwant %s", again.status, again.text, first.text)
	}
	if h := p.do("GET", "/health", ""); h.json["files"] != "ahead of Asterisk" {
		t.Errorf("health says %s", h.text)
	}
	if m := p.do("GET", "/metrics", ""); !strings.Contains(m.text, `pbxportal_apply_results_total{result="not_confirmed"} 1`) || !strings.Contains(m.text, "pbxportal_files_ahead 1") {
		t.Error("the metrics do not tell of it")
	}
	if back := p.do("POST", "/apply/revisions/2/restore", `{"triggered_by":"admin"}`); back.status != 202 || back.json["result"] != "not_confirmed" {
		t.Errorf("going back: %d %s", back.status, back.text)
	}
	p.asterisk.deaf = nil
	if done, err := p.engine.CatchUp(t.Context()); !done || err != nil {
		t.Errorf("catching up: %v, error %v", done, err)
	}
	if h := p.do("GET", "/health", ""); h.json["files"] != "ok" {
		t.Errorf("afterwards health says %s", h.text)
	}
}

func TestAFailedApplyReportsItsStage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script  func(*asterisk)
		body    string // beside triggered_by
		code    string
		written int
		verdict string
		result  string
	}{
		"lock":   {func(a *asterisk) { a.lockFault = errors.New("no folder") }, "", pbx.CodeWriteFailed, 0, "not_verified", "refused"},
		"write":  {func(a *asterisk) { a.writeFault = errors.New("disk full") }, "", pbx.CodeWriteFailed, 0, "not_verified", "refused"},
		"reload": {func(a *asterisk) { a.reloadFault = errors.New("start it") }, "", pbx.CodeReloadFailed, 2, "not_verified", "files_ahead"},
		"live":   {func(a *asterisk) { a.forgets = true }, "", pbx.CodeRolledBack, 2, "contradicted", "rolled_back"},
		"kept":   {func(a *asterisk) { a.forgets = true }, `,"on_failure":"keep"`, pbx.CodeContradicted, 2, "contradicted", "files_ahead"},
		"way back": {
			func(a *asterisk) { a.reloadFault = errors.New("start it") }, `,"on_failure":"rollback"`, pbx.CodeReloadFailed, 2, "not_verified", "rollback_failed",
		},
		"doubt": {func(a *asterisk) { a.flipFault = pbx.ErrInDoubt }, "", pbx.CodeInDoubt, 0, "not_verified", "interrupted"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPortal(t)
			p.create("Anna", "anna@example.com")
			c.script(p.asterisk)
			a := p.do("POST", "/apply", `{"triggered_by":"admin"`+c.body+`}`, "Idempotency-Key", "once")
			if a.status != 500 || a.code() != c.code || a.json["result"] != c.result || a.length("events") == 0 || a.header.Get("Location") != "/apply/runs/"+a.json["audit_log_id"].(string) || a.json["verification"] != c.verdict || len(a.json["files_written"].([]any)) != c.written || a.json["outcome"] != "failure" {
				t.Fatalf("%d %s", a.status, a.text)
			}
			l := p.do("GET", "/apply/logs/"+a.json["audit_log_id"].(string), "")
			if l.status != 200 || l.json["outcome"] != "failure" || name != "doubt" && l.json["error_details"] != a.json["detail"] {
				t.Errorf("%d %s", l.status, l.text)
			}
			again := p.do("POST", "/apply", `{"triggered_by":"admin"`+c.body+`}`, "Idempotency-Key", "once")
			if again.status != 500 || again.code() != c.code || again.json["audit_log_id"] != a.json["audit_log_id"] {
				t.Errorf("asked again: %d %s", again.status, again.text)
			}
			if !strings.Contains(p.log.String(), c.code) {
				t.Error("the log does not tell of it")
			}
		})
	}
}

func TestASecondApplyGets409AtOnce(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.create("Anna", "anna@example.com")
	release, first := p.holdApply()
	for _, prefer := range []string{"", "respond-async"} {
		if a := p.do("POST", "/apply", `{"triggered_by":"second"}`, "Prefer", prefer); a.status != 409 || a.code() != pbx.CodeApplyRunning {
			t.Errorf("%d %s", a.status, a.text)
		}
	}
	release()
	if a := <-first; a.status != 200 {
		t.Errorf("%d %s", a.status, a.text)
	}
}

func TestApplyLogsArePagedNewestFirst(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	if a := p.do("GET", "/apply/logs", ""); a.text != "{\"logs\":[]}\n" {
		t.Errorf("empty: %q", a.text)
	}
	for i := range 3 {
		p.do("POST", "/apply", fmt.Sprintf(`{"triggered_by":"run %d"}`, i))
	}
	first := p.do("GET", "/apply/logs?limit=2", "")
	next, _ := first.json["next_cursor"].(string)
	second := p.do("GET", "/apply/logs?limit=2&cursor="+next, "")
	var by []any
	for _, a := range []answer{first, second} {
		for _, l := range a.json["logs"].([]any) {
			by = append(by, l.(map[string]any)["triggered_by"])
		}
	}
	if diff := cmp.Diff([]any{"run 2", "run 1", "run 0"}, by); diff != "" || second.json["next_cursor"] != nil {
		t.Errorf("%s%s", diff, second.text)
	}
	for _, path := range []string{"/apply/logs/nonsense", "/apply/logs/6d0f5b0e-52c5-4f0c-9d55-0b6b1d2c7a90"} {
		if a := p.do("GET", path, ""); a.status != 404 || a.code() != pbx.CodeLogNotFound {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
	}
}

func TestAnApplyReportsAllItsEvents(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	created := p.create("Anna", "anna@example.com")
	a := p.apply(`,"comment":" Anna starts today "`)
	var stages []string
	for i := range a.length("events") {
		stages = append(stages, a.at(fmt.Sprintf("events.%d.stage", i)).(string))
	}
	if got, want := strings.Join(stages, " "), "plan stage flip reload verify end"; got != want || a.json["result"] != "applied" || a.json["revision"] != 2.0 ||
		a.at("plan.added") != 1.0 || a.at("plan.pending") != true || a.json["duration_ms"] != a.at("events.5.after_ms") {
		t.Errorf("stages %q, want %q: %s", got, want, a.text)
	}
	run := p.do("GET", a.header.Get("Location"), "")
	if run.status != 200 || run.json["id"] != a.json["audit_log_id"] || run.json["comment"] != "Anna starts today" || run.at("plan.changes.0.kind") != "added" ||
		run.length("files") != 2 || run.json["code"] != nil || run.json["restored"] != nil || run.length("events") != 6 {
		t.Errorf("%d %s", run.status, run.text)
	}
	if secret := created.at("extension.secret").(string); strings.Contains(a.text+run.text, secret) {
		t.Error("a secret is shown")
	}
	again := p.apply("")
	if again.json["result"] != "unchanged" || again.json["revision"] != nil || again.length("files_written") != 0 || again.json["verification"] != "confirmed" {
		t.Errorf("with nothing to do: %s", again.text)
	}
	for _, id := range []string{"nonsense", "6d0f5b0e-52c5-4f0c-9d55-0b6b1d2c7a90", "%00", strings.Repeat("x", 3000)} {
		for _, path := range []string{"", "/events"} {
			if a := p.do("GET", "/apply/runs/"+id+path, ""); a.status != 404 || a.code() != pbx.CodeLogNotFound {
				t.Errorf("%.50s%s: %d %s", id, path, a.status, a.text)
			}
		}
	}
}

func TestOnlyWhatWasReviewedIsApplied(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.apply("")
	p.create("Anna", "anna@example.com")
	plan := p.do("GET", "/apply/plan", "")
	etag, hash := plan.header.Get("Etag"), plan.json["hash"].(string)
	p.create("Bob", "bob@example.com")
	for name, a := range map[string]answer{
		"header": p.do("POST", "/apply", `{"triggered_by":"admin"}`, "If-Match", etag),
		"body":   p.do("POST", "/apply", `{"triggered_by":"admin","plan":"`+hash+`"}`),
		"both":   p.do("POST", "/apply", `{"triggered_by":"admin","plan":"`+hash+`"}`, "If-Match", etag, "Idempotency-Key", "k"),
		"again":  p.do("POST", "/apply", `{"triggered_by":"admin","plan":"`+hash+`"}`, "If-Match", etag, "Idempotency-Key", "k"),
	} {
		if a.status != 412 || a.code() != pbx.CodePlanMoved || a.json["result"] != "refused" || a.json["audit_log_id"] == nil {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
	if site, _ := p.asterisk.Inspect(); site.Current != 2 {
		t.Errorf("revision %d is in place", site.Current)
	}
	a := p.do("POST", "/apply", `{"triggered_by":"admin","plan":"`+hash+`"}`, "If-Match", `"other"`)
	if a.status != 400 || strings.Join(a.fields(), " ") != "plan" {
		t.Errorf("two hashes: %d %s", a.status, a.text)
	}
	plan = p.do("GET", "/apply/plan", "")
	if a := p.apply(`,"plan":"`+plan.json["hash"].(string)+`"`, "If-Match", plan.header.Get("Etag")); a.json["users_applied"] != 2.0 {
		t.Errorf("%s", a.text)
	}
}

func TestARehearsalTouchesNothing(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.create("Anna", "anna@example.com")
	p.apply("")
	p.create("Bob", "bob@example.com")
	before, _ := p.asterisk.Inspect()
	a := p.apply(`,"dry_run":true`)
	if a.json["result"] != "dry_run" || a.json["revision"] != nil || a.length("files_written") != 0 || a.at("plan.added") != 1.0 || len(a.json["reload_results"].(map[string]any)) != 0 {
		t.Errorf("%s", a.text)
	}
	after, _ := p.asterisk.Inspect()
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
	if a := p.do("GET", "/apply/revisions", ""); a.length("revisions") != 1 {
		t.Errorf("%s", a.text)
	}
}

func TestWhatOthersChangedIsReplacedOnlyByForceAndSaved(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.create("Anna", "anna@example.com")
	p.apply("")
	p.asterisk.drift = []pbx.Drift{{Kind: pbx.Edited, Path: pbx.PJSIPPath}}
	a := p.do("POST", "/apply", `{"triggered_by":"admin"}`)
	if a.status != 409 || a.code() != pbx.CodeDrift || a.at("drift.0.kind") != "edited" || a.at("drift.0.path") != pbx.PJSIPPath || a.json["audit_log_id"] == nil {
		t.Errorf("%d %s", a.status, a.text)
	}
	if plan := p.do("GET", "/apply/plan", ""); plan.at("drift.0.kind") != "edited" {
		t.Errorf("plan %s", plan.text)
	}
	forced := p.apply(`,"force":true`)
	run := p.do("GET", forced.header.Get("Location"), "")
	if forced.json["result"] != "applied" || run.at("saved.0.path") != pbx.PJSIPPath || run.at("saved.0.size") != 16.0 || strings.Contains(run.text, "by-hand") {
		t.Errorf("%s\n%s", forced.text, run.text)
	}
}

func TestANumberThatTheHostHasIsNamedByThePlanAndRefusedWhereAUserHasIt(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.create("Anna", "anna@example.com")
	p.asterisk.declared = []pbx.HostObject{
		{Kind: "aor", Number: 1000, File: "/etc/asterisk/pjsip.conf", Line: 7},
		{Kind: pbx.KindExtension, Number: 1000, Context: "office", File: "/etc/asterisk/extensions.conf", Line: 3},
	}
	plan := p.do("GET", "/apply/plan", "")
	if plan.at("host.0.kind") != "aor" || plan.at("host.0.clash") != true || plan.at("host.0.line") != 7.0 || plan.at("host.1.context") != "office" || plan.at("host.1.clash") != false {
		t.Errorf("the plan has %v", plan.json["host"])
	}
	for _, body := range []string{`{"triggered_by":"test"}`, `{"triggered_by":"test","force":true}`} {
		a := p.do("POST", "/apply", body)
		if a.status != 409 || a.code() != pbx.CodeNumberClash || a.json["audit_log_id"] == nil || !strings.Contains(a.at("detail").(string), "AOR 1000 (/etc/asterisk/pjsip.conf, line 7)") {
			t.Errorf("%s gave %d %v", body, a.status, a.json)
		}
	}
	p.asterisk.declared = p.asterisk.declared[1:]
	if a := p.do("POST", "/apply", `{"triggered_by":"test"}`); a.status != 200 {
		t.Errorf("without the clash: %d %v", a.status, a.json)
	}
}

func TestTheSameKeyGetsTheSameAnswerAndIsCountedOnce(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.create("Anna", "anna@example.com")
	first := p.apply("", "Idempotency-Key", "a key ~!")
	second := p.apply("", "Idempotency-Key", "a key ~!")
	if first.text != second.text || first.header.Get("Location") != second.header.Get("Location") {
		t.Errorf("first %s\nsecond %s", first.text, second.text)
	}
	a := p.do("POST", "/apply", `{"triggered_by":"somebody else"}`, "Idempotency-Key", "a key ~!")
	if a.status != 409 || a.code() != pbx.CodeKeyReused {
		t.Errorf("another request: %d %s", a.status, a.text)
	}
	for _, more := range []string{`,"dry_run":true`, `,"force":true`, `,"plan":"x"`, `,"on_failure":"keep"`} {
		if a := p.do("POST", "/apply", `{"triggered_by":"admin"`+more+`}`, "Idempotency-Key", "a key ~!"); a.status != 409 || a.code() != pbx.CodeKeyReused {
			t.Errorf("the same with %s: %d %s", more, a.status, a.text)
		}
	}
	if later := p.do("POST", "/apply", `{"triggered_by":"admin"}`, "Idempotency-Key", "a key ~!", "Prefer", "respond-async"); later.status != 202 || later.json["run_id"] != first.json["audit_log_id"] {
		t.Errorf("without waiting: %d %s", later.status, later.text)
	}
	if text := p.do("GET", "/metrics", "").text; !strings.Contains(text, "pbxportal_apply_results_total{result=\"applied\"} 1\n") || !strings.Contains(text, "pbxportal_apply_duration_seconds_count 1\n") {
		t.Error("the metrics do not say one apply")
	}
}

func TestAnAsynchronousApplyReturnsItsRun(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.create("Anna", "anna@example.com")
	release, answers := p.holdApply("Prefer", "wait=5, Respond-Async; x=1")
	a := <-answers // though the apply waits
	if id := a.json["run_id"]; a.status != 202 || a.header.Get("Location") != "/apply/runs/"+id.(string) || a.header.Get("Preference-Applied") != "respond-async" || a.json["events"] != a.header.Get("Location")+"/events" {
		t.Fatalf("%d %v %s", a.status, a.header, a.text)
	}
	if run := p.do("GET", a.header.Get("Location"), ""); run.status != 200 || run.json["result"] != "interrupted" {
		t.Errorf("while it runs: %d %s", run.status, run.text)
	}
	waited := make(chan struct{})
	go func() { p.handler.Wait(); close(waited) }()
	select {
	case <-waited:
		t.Error("the program would have ended in the middle of an apply")
	default:
	}
	release()
	<-waited
	if run := p.do("GET", a.header.Get("Location"), ""); run.json["result"] != "applied" || run.json["outcome"] != "success" {
		t.Errorf("afterwards: %s", run.text)
	}
}

func TestAFailedApplyWithoutAWaitingCallerIsLogged(t *testing.T) {
	t.Parallel()
	p := newPortal(t)
	p.create("Anna", "anna@example.com")
	p.asterisk.reloadFault = errors.New("start it")
	a := p.do("POST", "/apply", `{"triggered_by":"admin"}`, "Prefer", "respond-async")
	if a.status != 202 {
		t.Fatalf("%d %s", a.status, a.text)
	}
	p.handler.Wait()
	if run := p.do("GET", a.header.Get("Location"), ""); run.json["result"] != "files_ahead" || run.json["code"] != pbx.CodeReloadFailed {
		t.Errorf("%s", run.text)
	}
	if log := p.log.String(); !strings.Contains(log, `"apply failed"`) || !strings.Contains(log, a.json["run_id"].(string)) {
		t.Error("the log does not tell of it")
	}
	if a := p.do("POST", "/apply", `{"triggered_by":"admin"}`, "Prefer", "respond-asynchronously"); a.status != 500 {
		t.Errorf("another preference: %d %s", a.status, a.text)
	}
	if err := p.store.Close(); err != nil {
		t.Fatal(err)
	}
	if a := p.do("POST", "/apply", `{"triggered_by":"admin"}`, "Prefer", "respond-async"); a.status < 500 || a.json["run_id"] != nil {
		t.Errorf("without a database: %d %s", a.status, a.text)
	}
}
