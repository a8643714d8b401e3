package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// retryAfter is the Retry-After, in seconds, of an unavailable service.
const retryAfter = "2"

// statusClientGone is the status in the log and the metrics of a request whose client disconnected.
const statusClientGone = 499

// refusal is a failure at the HTTP level: the request never reached a service.
type refusal struct {
	status int
	code   openapi.ProblemCode
	detail string
}

func (e *refusal) Error() string { return e.detail }

var errNoPath = &refusal{http.StatusNotFound, openapi.ProblemCodePathNotFound, "this path does not exist: see /docs for the API. Behind a proxy the portal needs a host name of its own: it cannot be served below a path"}

// applyError is the error of an apply, with its progress.
type applyError struct {
	error
	run pbx.Run
}

func (e *applyError) Unwrap() error { return e.error }

// unhealthy is the error of a portal that cannot work, with the state of its parts.
type unhealthy struct {
	error
	asterisk, files string
	looked          openapi.HealthLooked
}

func (e *unhealthy) Unwrap() error { return e.error }

// statusOf maps a kind of failure to its HTTP status. The codes of a failed If-Match have a status of their own.
func statusOf(kind pbx.Kind, code string) int {
	switch kind {
	case pbx.KindInvalid:
		return http.StatusBadRequest
	case pbx.KindNotFound:
		return http.StatusNotFound
	case pbx.KindConflict:
		if code == pbx.CodePlanMoved || code == pbx.CodeChangedMeanwhile {
			return http.StatusPreconditionFailed
		}
		return http.StatusConflict
	case pbx.KindUnavailable:
		return http.StatusServiceUnavailable
	case pbx.KindNotSignedIn:
		return http.StatusUnauthorized
	case pbx.KindForbidden:
		return http.StatusForbidden
	case pbx.KindTooMany:
		return http.StatusTooManyRequests
	case pbx.KindApply, pbx.KindInternal:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

// fail responds with the problem for an error, and logs what the response omits.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) && errors.Is(r.Context().Err(), context.Canceled) {
		exchangeOf(r).status = statusClientGone // for the log; the response is for a client that is connected after all
		err = &refusal{http.StatusServiceUnavailable, openapi.ProblemCodeTimeout, "the request was interrupted: try again"}
	}
	if e, ok := errors.AsType[*pbx.Error](err); ok && e.RetryAfter > 0 {
		w.Header().Set("Retry-After", seconds(e.RetryAfter))
	}
	p := a.problem(r, err)
	a.metrics.refuse(p)
	if e, ok := errors.AsType[*applyError](err); ok && e.run.Log.ID != "" {
		w.Header().Set("Location", runPath(r.Context(), e.run.Log.ID))
		a.write(w, applyProblem(p, e.run))
		return
	}
	if e, ok := errors.AsType[*unhealthy](err); ok {
		a.write(w, openapi.HealthProblem{
			Type: p.Type, Title: p.Title, Status: p.Status, Detail: p.Detail, Code: p.Code, RequestID: p.RequestID, Errors: p.Errors,
			Database: p.Detail, Asterisk: e.asterisk, Files: e.files, Looked: e.looked,
		})
		return
	}
	a.write(w, p)
}

// problem converts an error to a Problem of the contract. Internal details go to the log.
func (a *api) problem(r *http.Request, err error) openapi.Problem {
	if e, ok := errors.AsType[*refusal](err); ok {
		return a.newProblem(r, e.status, e.code, e.detail)
	}
	e, ok := errors.AsType[*pbx.Error](err)
	if !ok && errors.Is(err, context.DeadlineExceeded) {
		e, ok = &pbx.Error{Kind: pbx.KindUnavailable, Code: string(openapi.ProblemCodeTimeout), Msg: "the request timed out: try again in a moment", Err: err}, true
	}
	if !ok || e.Kind == pbx.KindInternal {
		a.log.ErrorContext(r.Context(), "request failed", slog.String("request_id", exchangeOf(r).id), slog.Any("err", err))
		return a.internal(r)
	}
	status, code := statusOf(e.Kind, e.Code), cmp.Or(e.Code, pbx.CodeInDoubt) // none: an earlier apply without a recorded end
	if status >= http.StatusInternalServerError {
		level := slog.LevelError
		if e.Kind == pbx.KindUnavailable {
			level = slog.LevelWarn
		}
		a.log.LogAttrs(r.Context(), level, "request failed", slog.String("request_id", exchangeOf(r).id), slog.String("code", code), slog.Any("err", err))
	}
	p := a.newProblem(r, status, openapi.ProblemCode(code), e.Msg)
	if len(e.Fields) > 0 {
		fields := make([]openapi.FieldError, len(e.Fields))
		for i, f := range e.Fields {
			fields[i] = openapi.FieldError{Field: f.Field, Code: openapi.FieldCode(f.Code), Message: f.Message, Least: unlessZero(f.Least), Most: unlessZero(f.Most)}
		}
		p.Errors = &fields
	}
	if len(e.Uses) > 0 {
		uses := make([]openapi.Use, len(e.Uses))
		for i, u := range e.Uses {
			uses[i] = openapi.Use{Kind: string(u.Kind), ID: string(u.ID), Name: u.Name, Field: u.Field}
		}
		p.Uses = &uses
	}
	return p
}

// internal returns the problem for an internal fault, without details.
func (a *api) internal(r *http.Request) openapi.Problem {
	return a.newProblem(r, http.StatusInternalServerError, openapi.ProblemCodeInternal,
		"internal error: see the portal's log for this request id")
}

func (a *api) newProblem(r *http.Request, status int, code openapi.ProblemCode, detail string) openapi.Problem {
	return openapi.Problem{
		Type: "urn:pbxportal:problem:" + string(code), Title: title(code), Status: status, Detail: detail, Code: code,
		RequestID: exchangeOf(r).id,
	}
}

// title returns a code as text.
func title(code openapi.ProblemCode) string {
	switch code {
	case openapi.ProblemCodeInternal:
		return "Internal error"
	case openapi.ProblemCodeInvalidJSON:
		return "Invalid JSON"
	default:
		text := strings.ReplaceAll(string(code), "_", " ")
		return strings.ToUpper(text[:1]) + text[1:]
	}
}

// applyProblem extends a problem with the progress of the apply.
func applyProblem(p openapi.Problem, run pbx.Run) openapi.ApplyProblem {
	l := toLog(run.Log)
	result, verification, differences := openapi.Result(run.Result), openapi.Verification(run.Verification), list(run.Differences)
	events, drift, took := toEvents(run.Events), toDrift(run.Plan.Drift), duration(run).Milliseconds()
	return openapi.ApplyProblem{
		Type: p.Type, Title: p.Title, Status: p.Status, Detail: p.Detail, Code: p.Code, RequestID: p.RequestID, Errors: p.Errors,
		AuditLogID: &l.ID, Outcome: &l.Outcome, FilesWritten: &l.FilesWritten, ReloadResults: &l.ReloadResults,
		UsersApplied: &run.Users, Result: &result, Revision: unlessZero(run.Revision), Verification: &verification, Differences: &differences,
		Events: &events, Drift: &drift, DurationMs: &took,
	}
}

// write sends a problem of any type.
func (a *api) write(w http.ResponseWriter, problem any) {
	var status int
	switch p := problem.(type) {
	case openapi.Problem:
		status = p.Status
	case openapi.ApplyProblem:
		status = p.Status
	case openapi.HealthProblem:
		status = p.Status
	}
	body, err := json.Marshal(problem)
	if err != nil { // strings and numbers only
		panic(err)
	}
	switch again := w.Header().Get("Retry-After"); {
	case status == http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case again == "" && (status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests):
		w.Header().Set("Retry-After", retryAfter)
	}
	send(w, status, "application/problem+json", append(body, '\n'))
}

// send sends a response with a complete body.
func send(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client has disconnected
}
