package apply_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// events returns the events of a run in the audit trail, in order.
func (f fixture) events(t *testing.T, id pbx.RunID) []pbx.AuditEvent {
	t.Helper()
	entries, err := f.store.EventsAfter(t.Context(), store.EventQuery{}, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var events []pbx.AuditEvent
	for _, e := range entries {
		if e.Event.Object == (pbx.AuditObject{Type: "apply", ID: string(id)}) {
			e.Event.Seq, e.Event.At = 0, time.Time{}
			events = append(events, e.Event)
		}
	}
	return events
}

func TestTheAuditTrailHasTheStartAndTheEndOfAnApply(t *testing.T) {
	t.Parallel()
	anna := pbx.Actor{Kind: pbx.ActorPerson, ID: "7", Name: "Anna", From: "192.0.2.1", RequestID: "r"}
	for name, tc := range map[string]struct {
		script        script
		request       apply.Request
		action        string
		started       pbx.Facts
		before, after pbx.Facts
		result        pbx.AuditResult
		details       string // a part of the error details
	}{
		"that went well": {
			request: apply.Request{Comment: "why", IdempotencyKey: "k"}, action: pbx.ActionApplyRun, result: pbx.AuditOK,
			started: pbx.Facts{"comment": "why", "idempotency_key": "k"},
			before:  pbx.Facts{"revision": "2"}, after: pbx.Facts{"revision": "3", "result": "applied", "verification": "confirmed", "users": "2"},
		},
		"back to an earlier revision": {
			request: apply.Request{Restore: 2, OnFailure: apply.Keep}, action: pbx.ActionApplyRestore, result: pbx.AuditOK,
			started: pbx.Facts{"restore": "2", "on_failure": "keep"},
			before:  pbx.Facts{"revision": "2"}, after: pbx.Facts{"restored": "2", "result": "unchanged", "verification": "confirmed", "users": "1"},
		},
		"that was a dry run": {
			request: apply.Request{DryRun: true, Force: true}, action: pbx.ActionApplyRun, result: pbx.AuditOK,
			started: pbx.Facts{"dry_run": "true", "force": "true"},
			before:  pbx.Facts{"revision": "2"}, after: pbx.Facts{"result": "dry_run", "verification": "not_verified", "users": "2"},
		},
		"that was refused": {
			request: apply.Request{IfMatch: "other"}, action: pbx.ActionApplyRun, result: pbx.AuditFailed, details: "the plan is not the one",
			started: pbx.Facts{"if_match": "other"},
			before:  pbx.Facts{"revision": "2"}, after: pbx.Facts{"result": "refused", "verification": "not_verified", "users": "2", "code": pbx.CodePlanMoved},
		},
		"that could not even lock the files": {
			script: script{lockErr: errors.New("no folder")}, action: pbx.ActionApplyRun, result: pbx.AuditFailed, details: "no folder",
			started: pbx.Facts{}, after: pbx.Facts{"result": "refused", "verification": "not_verified", "users": "0", "code": pbx.CodeWriteFailed},
		},
		"that could not even be planned": {
			script: script{inspectErr: errors.New("no disk")}, action: pbx.ActionApplyRun, result: pbx.AuditFailed, details: "no disk",
			started: pbx.Facts{}, after: pbx.Facts{"result": "refused", "verification": "not_verified", "users": "0", "code": pbx.CodeWriteFailed},
		},
		"in doubt": {
			script: script{flipErr: pbx.ErrInDoubt}, action: pbx.ActionApplyRun, result: pbx.AuditFailed, details: "interrupted",
			started: pbx.Facts{}, before: pbx.Facts{"revision": "2"},
			after: pbx.Facts{"revision": "3", "result": "interrupted", "verification": "not_verified", "users": "2", "code": pbx.CodeInDoubt},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, &tc.script)
			var atStage []pbx.AuditEvent
			var id pbx.RunID
			f.onStage = func() { atStage = f.events(t, id) }
			tc.request.TriggeredBy = "test"
			tc.request.Started = func(run pbx.RunID) { id = run }
			run, _ := f.engine.Apply(pbx.WithActor(t.Context(), anna), tc.request)
			got := f.events(t, run.Log.ID)
			if len(got) != 2 {
				t.Fatalf("events %+v", got)
			}
			if details := got[1].After["error_details"]; !strings.Contains(details, tc.details) || (details == "") != (tc.details == "") {
				t.Errorf("error details %q", details)
			}
			delete(got[1].After, "error_details")
			tc.started["triggered_by"], tc.after["triggered_by"] = "test", "test"
			object := pbx.AuditObject{Type: "apply", ID: string(run.Log.ID)}
			want := []pbx.AuditEvent{
				{Actor: anna, Action: pbx.ActionApplyStarted, Object: object, After: tc.started, Result: pbx.AuditOK},
				{Actor: anna, Action: tc.action, Object: object, Before: tc.before, After: tc.after, Result: tc.result},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(strings.Join(f.calls, " "), "stage") && len(atStage) != 1 {
				t.Errorf("when the files were written %d events were stored, want that of the start", len(atStage))
			}
		})
	}
}

func TestTheAuditTrailHasTheAutomaticActionsOfThePortal(t *testing.T) {
	t.Parallel()
	f := newFixture(t, &script{reloadErr: errors.New("away")})
	open := pbx.Run{
		Log:    pbx.ApplyLog{ID: pbx.RunID(uuid.NewString()), TriggeredAt: time.Now().UTC(), TriggeredBy: "dead", Outcome: pbx.Failure, ErrorDetails: "interrupted"},
		Result: pbx.Interrupted, Verification: pbx.NotVerified,
	}
	if err := storetest.SaveRun(t.Context(), f.store, open); err != nil {
		t.Fatal(err)
	}
	if _, err := f.engine.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := f.events(t, open.Log.ID)
	if len(got) != 1 || got[0].Action != pbx.ActionApplyComplete || got[0].Actor.Kind != pbx.ActorPortal || got[0].Result != pbx.AuditFailed || got[0].After["result"] != "refused" {
		t.Errorf("an interrupted apply: %+v", got)
	}
	_, err := f.engine.Apply(t.Context(), apply.Request{TriggeredBy: "test"})
	if pbx.CodeOf(err) != pbx.CodeReloadFailed {
		t.Fatal(err)
	}
	f.reloadErr = nil
	if done, err := f.engine.CatchUp(t.Context()); !done || err != nil {
		t.Fatalf("done %v, error %v", done, err)
	}
	page, err := f.engine.Logs(t.Context(), apply.LogQuery{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	got = f.events(t, page.Logs[0].ID)
	if len(got) != 1 || got[0].Action != pbx.ActionApplyCatchUp || got[0].Actor.Kind != pbx.ActorPortal || got[0].Result != pbx.AuditOK {
		t.Errorf("catching up: %+v", got)
	}
}
