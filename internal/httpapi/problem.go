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

// retryAfter is how many seconds a client should wait before it tries again what was unavailable.
const retryAfter = "2"

// statusClientGone stands in the log and the metrics for a request whose client did not wait.
const statusClientGone = 499

// refusal is a failure that only HTTP knows: the request never came to a service.
type refusal struct {
	status int
	code   openapi.ProblemCode
	detail string
}

func (e *refusal) Error() string { return e.detail }

var errNoPath = &refusal{http.StatusNotFound, openapi.ProblemCodePathNotFound, "there is nothing at this path: see /docs for what there is. A proxy has to give the portal a host name of its own: it cannot be below a path"}

// applyError is an apply that ended with an error, and how far it came.
type applyError struct {
	error
	run pbx.Run
}

func (e *applyError) Unwrap() error { return e.error }

// unhealthy is a portal that cannot work, with the state of its parts.
type unhealthy struct {
	error
	asterisk, files string
	looked          openapi.HealthLooked
}

func (e *unhealthy) Unwrap() error { return e.error }

// statusOf is the one place that says which HTTP status a kind of failure has. One code has a status of its own, the one HTTP has for
// an If-Match that no longer holds.
func statusOf(kind pbx.Kind, code string) int {
	switch kind {
	case pbx.KindInvalid:
		return http.StatusBadRequest
	case pbx.KindNotFound:
		return http.StatusNotFound
	case pbx.KindConflict:
		if code == pbx.CodePlanMoved {
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

// fail answers a request with the problem that the error is, and logs what the answer does not say.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) && errors.Is(r.Context().Err(), context.Canceled) {
		exchangeOf(r).status = statusClientGone // in the log; the answer is for a caller who is there after all
		err = &refusal{http.StatusServiceUnavailable, openapi.ProblemCodeTimeout, "the request was broken off: try again"}
	}
	if e, ok := errors.AsType[*pbx.Error](err); ok && e.RetryAfter > 0 {
		w.Header().Set("Retry-After", seconds(e.RetryAfter))
	}
	p := a.problem(r, err)
	a.metrics.refuse(p)
	if e, ok := errors.AsType[*applyError](err); ok && e.run.Log.ID != "" {
		w.Header().Set("Location", runPath(e.run.Log.ID))
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

// problem puts an error into the words of the contract. What is not meant for the caller goes into the log.
func (a *api) problem(r *http.Request, err error) openapi.Problem {
	if e, ok := errors.AsType[*refusal](err); ok {
		return a.newProblem(r, e.status, e.code, e.detail)
	}
	e, ok := errors.AsType[*pbx.Error](err)
	if !ok && errors.Is(err, context.DeadlineExceeded) {
		e, ok = &pbx.Error{Kind: pbx.KindUnavailable, Code: string(openapi.ProblemCodeTimeout), Msg: "the answer was not ready in time: try again in a moment", Err: err}, true
	}
	if !ok || e.Kind == pbx.KindInternal {
		a.log.ErrorContext(r.Context(), "request failed", slog.String("request_id", exchangeOf(r).id), slog.Any("err", err))
		return a.internal(r)
	}
	status, code := statusOf(e.Kind, e.Code), cmp.Or(e.Code, pbx.CodeInDoubt) // none: an earlier apply, whose end is not on record
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
	return p
}

// internal is the answer to a fault of ours. It says nothing of the inside.
func (a *api) internal(r *http.Request) openapi.Problem {
	return a.newProblem(r, http.StatusInternalServerError, openapi.ProblemCodeInternal,
		"something went wrong inside the portal: its log says what, under this request id")
}

func (a *api) newProblem(r *http.Request, status int, code openapi.ProblemCode, detail string) openapi.Problem {
	return openapi.Problem{
		Type: "urn:pbxportal:problem:" + string(code), Title: title(code), Status: status, Detail: detail, Code: code,
		RequestID: exchangeOf(r).id,
	}
}

// title is the code as people write it.
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

// applyProblem adds to a problem how far the apply came.
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

// write sends a problem of any shape.
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

// send sends an answer whose body is ready.
func send(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client has gone
}
