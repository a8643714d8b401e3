package apply

import (
	"context"
	"strconv"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// The audit events of an apply: its start, stored before anything is changed, and its end, stored with the record of the result.

func (a *attempt) object() pbx.AuditObject { return pbx.AuditObject{Type: "apply", ID: string(a.id())} }

// started returns the event of the start of an apply: the actor and the request.
func (a *attempt) started(ctx context.Context, r Request) pbx.AuditEvent {
	event := pbx.NewAuditEvent(ctx, a.start, pbx.ActionApplyStarted, a.object())
	event.After = pbx.Facts{"triggered_by": r.TriggeredBy}
	for name, value := range map[string]string{"comment": r.Comment, "if_match": r.IfMatch, "on_failure": string(r.OnFailure), "idempotency_key": r.IdempotencyKey} {
		if value != "" {
			event.After[name] = value
		}
	}
	if r.Force {
		event.After["force"] = "true"
	}
	if r.DryRun {
		event.After["dry_run"] = "true"
	}
	if r.Restore != 0 {
		event.After["restore"] = strconv.Itoa(r.Restore)
	}
	return event
}

// ended returns the event of the end of an apply: the revision in place before and now.
func (a *attempt) ended(ctx context.Context) pbx.AuditEvent {
	event := pbx.NewAuditEvent(ctx, a.engine.now(), a.action, a.object())
	if a.run.Plan.Hash != "" {
		event.Before = pbx.Facts{"revision": strconv.Itoa(a.run.Plan.Revision)}
	}
	event.After, event.Result = runFacts(a.run)
	return event
}

// completed returns the event of completing the record of an interrupted apply.
func completed(ctx context.Context, now time.Time, run pbx.Run) pbx.AuditEvent {
	event := pbx.NewAuditEvent(ctx, now, pbx.ActionApplyComplete, pbx.AuditObject{Type: "apply", ID: string(run.Log.ID)})
	event.Before = pbx.Facts{"result": string(pbx.Interrupted)}
	event.After, event.Result = runFacts(run)
	return event
}

// runFacts returns the facts of an ended apply for the audit trail; everything else is in its record.
func runFacts(run pbx.Run) (pbx.Facts, pbx.AuditResult) {
	facts := pbx.Facts{
		"result": string(run.Result), "verification": string(run.Verification), "users": strconv.Itoa(run.Users),
		"triggered_by": run.Log.TriggeredBy,
	}
	if run.Revision != 0 {
		facts["revision"] = strconv.Itoa(run.Revision)
	}
	if run.Restored != 0 {
		facts["restored"] = strconv.Itoa(run.Restored)
	}
	if run.Log.Outcome == pbx.Success {
		return facts, pbx.AuditOK
	}
	if run.Code != "" {
		facts["code"] = run.Code
	}
	facts["error_details"] = run.Log.ErrorDetails
	return facts, pbx.AuditFailed
}
