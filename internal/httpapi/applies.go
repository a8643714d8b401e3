package httpapi

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// ApplyConfiguration deploys the configuration to Asterisk. An apply continues even if the caller disconnects.
func (a *api) ApplyConfiguration(ctx context.Context, r openapi.ApplyConfigurationRequestObject) (openapi.ApplyConfigurationResponseObject, error) {
	return a.apply(ctx, *r.Body, r.Params, 0)
}

// RestoreRevision restores an earlier revision.
func (a *api) RestoreRevision(ctx context.Context, r openapi.RestoreRevisionRequestObject) (openapi.RestoreRevisionResponseObject, error) {
	number, err := parseRevision(r.Number)
	if err != nil {
		return nil, err
	}
	return a.apply(ctx, *r.Body, openapi.ApplyConfigurationParams(r.Params), number)
}

// apply applies the database, or restores the revision restore. The caller waits for its end, or only for its beginning.
func (a *api) apply(ctx context.Context, body openapi.ApplyRequest, header openapi.ApplyConfigurationParams, restore int) (applyAnswer, error) {
	reviewed := strings.Trim(value(header.IfMatch), `"`)
	if plan := value(body.Plan); plan != "" && reviewed != "" && plan != reviewed {
		return applyAnswer{}, pbx.Invalid(pbx.FieldError{Field: "plan", Code: pbx.FieldDiffers, Message: "is not the hash in the header If-Match: send the same hash in both, or in one of them"})
	}
	request := apply.Request{
		TriggeredBy: body.TriggeredBy, Comment: value(body.Comment), IfMatch: cmp.Or(value(body.Plan), reviewed), Force: value(body.Force),
		DryRun: value(body.DryRun), OnFailure: apply.OnFailure(value(body.OnFailure)), IdempotencyKey: applyKey(ctx, value(header.IdempotencyKey)), Restore: restore,
	}
	if prefersAsync(value(header.Prefer)) {
		return a.begin(ctx, request)
	}
	run, err := a.run(ctx, request)
	switch {
	case err == nil:
		return applyAnswer{runPath(ctx, run.Log.ID), http.StatusOK, toResult(run)}, nil
	case pbx.CodeOf(err) == pbx.CodeNotConfirmed: // the files were applied, and the result is unknown
		a.log.WarnContext(ctx, "apply not confirmed", slog.String("run", string(run.Log.ID)), slog.Any("err", err))
		return applyAnswer{runPath(ctx, run.Log.ID), http.StatusAccepted, toResult(run)}, nil
	}
	return applyAnswer{}, &applyError{err, run}
}

// applyKey returns the idempotency key of an apply as the engine keeps it. Below /api/v1 the keys of different callers are independent; at the root all
// callers share them, as they always did there. No key of the root has a tab.
func applyKey(ctx context.Context, key string) string {
	if key == "" || exchangeIn(ctx).prefix == "" {
		return key
	}
	sum := sha256.Sum256([]byte(callerOf(ctx) + "\n" + key))
	return "v1\t" + hex.EncodeToString(sum[:])
}

// run applies and counts the result, unless a repeated request found it recorded already.
func (a *api) run(ctx context.Context, request apply.Request) (pbx.Run, error) {
	began, fresh := request.Started, false
	request.Started = func(id pbx.RunID) {
		fresh = true
		if began != nil {
			began(id)
		}
	}
	run, err := a.engine.Apply(ctx, request)
	if fresh {
		a.metrics.applied(run)
	}
	return run, err
}

// begin applies in the background, and returns once the run is recorded. An earlier failure is returned as an error.
func (a *api) begin(ctx context.Context, request apply.Request) (applyAnswer, error) {
	began, failed := make(chan pbx.RunID, 2), make(chan error, 1)
	request.Started = func(id pbx.RunID) { began <- id }
	a.running.Add(1)
	a.background.Go(func() {
		defer a.running.Add(-1)
		run, err := a.runSafely(context.WithoutCancel(ctx), request)
		if err != nil {
			a.log.ErrorContext(ctx, "apply failed", slog.String("run", string(run.Log.ID)), slog.String("code", pbx.CodeOf(err)), slog.Any("err", err))
		}
		if run.Log.ID == "" {
			failed <- err
			return
		}
		began <- run.Log.ID // of a repeated request, which reported no beginning
	})
	select {
	case id := <-began:
		return applyAnswer{runPath(ctx, id), http.StatusAccepted, openapi.ApplyAccepted{
			Message: "the apply was recorded and is in progress", RunID: string(id), Events: runPath(ctx, id) + "/events",
		}}, nil
	case err := <-failed:
		return applyAnswer{}, err
	case <-ctx.Done():
		return applyAnswer{}, ctx.Err()
	}
}

// runSafely is run outside of the server's panic recovery.
func (a *api) runSafely(ctx context.Context, request apply.Request) (run pbx.Run, err error) {
	defer func() {
		if v := recover(); v != nil {
			a.log.ErrorContext(ctx, "apply panicked", slog.String("err", fmt.Sprint(v)), slog.String("stack", string(debug.Stack())))
			err = errors.New("the apply panicked")
		}
	}()
	return a.run(ctx, request)
}

// prefersAsync reports whether a Prefer header asks not to wait.
func prefersAsync(prefer string) bool {
	for preference := range strings.SplitSeq(prefer, ",") {
		name, _, _ := strings.Cut(preference, ";")
		if strings.EqualFold(strings.TrimSpace(name), "respond-async") {
			return true
		}
	}
	return false
}

// applyAnswer is the response of all operations that apply.
type applyAnswer struct {
	path   string // of the run
	status int
	body   any // an ApplyResult or, with 202, ApplyAccepted of the contract
}

// VisitApplyConfigurationResponse writes the response.
func (r applyAnswer) VisitApplyConfigurationResponse(w http.ResponseWriter) error { return r.send(w) }

// VisitRestoreRevisionResponse writes the response.
func (r applyAnswer) VisitRestoreRevisionResponse(w http.ResponseWriter) error { return r.send(w) }

func (r applyAnswer) send(w http.ResponseWriter) error {
	body, err := json.Marshal(r.body)
	if err != nil {
		return err
	}
	w.Header().Set("Location", r.path)
	if _, began := r.body.(openapi.ApplyAccepted); began {
		w.Header().Set("Preference-Applied", "respond-async")
	}
	send(w, r.status, "application/json", append(body, '\n'))
	return nil
}

// runPath returns the path of a run, in the form of the request.
func runPath(ctx context.Context, id pbx.RunID) string {
	return exchangeIn(ctx).prefix + "/apply/runs/" + string(id)
}

func toResult(run pbx.Run) openapi.ApplyResult {
	l := toLog(run.Log)
	return openapi.ApplyResult{
		Message: resultMessage(run), AuditLogID: l.ID, Outcome: l.Outcome, FilesWritten: l.FilesWritten, ReloadResults: l.ReloadResults,
		UsersApplied: run.Users, ExtensionsGenerated: run.Users, // every user has exactly one extension
		Result: openapi.Result(run.Result), Revision: unlessZero(run.Revision), Verification: openapi.Verification(run.Verification),
		Differences: list(run.Differences), Events: toEvents(run.Events), Plan: toPlanSummary(run.Plan), DurationMs: duration(run).Milliseconds(),
	}
}

// resultMessage describes the result of an apply that did not fail.
func resultMessage(run pbx.Run) string {
	what := "the configuration was applied"
	if run.Restored != 0 {
		what = fmt.Sprintf("revision %d was restored", run.Restored)
	}
	switch {
	case run.Result == pbx.DryRun:
		return "dry run: nothing was written"
	case run.Result == pbx.Unchanged:
		return "nothing to do: Asterisk already runs this configuration"
	case run.Result == pbx.NotConfirmed && run.Verification == pbx.Confirmed: // a repeated request with the same key
		return run.Log.ErrorDetails + ". Asterisk has since been confirmed to run it"
	case run.Result == pbx.NotConfirmed:
		return run.Log.ErrorDetails
	default:
		return what + ", and Asterisk runs it"
	}
}
