package httpapi

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/synergycall/pbxportal/internal/audit"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// ListAuditEvents lists the events of the audit trail, newest first.
func (a *api) ListAuditEvents(ctx context.Context, r openapi.ListAuditEventsRequestObject) (openapi.ListAuditEventsResponseObject, error) {
	p := r.Params
	events, next, err := a.events(ctx, audit.Query{
		Actor: value(p.Actor), Action: value(p.Action), Object: value(p.Object), Since: value(p.Since), Until: value(p.Until),
		Cursor: value(p.Cursor), Limit: cmp.Or(value(p.Limit), usualPage),
	})
	return openapi.ListAuditEvents200JSONResponse{Events: events, NextCursor: unlessZero(next)}, err
}

// ListAuditEventsV1 lists the events of the audit trail, newest first.
func (a *api) ListAuditEventsV1(ctx context.Context, r openapi.ListAuditEventsV1RequestObject) (openapi.ListAuditEventsV1ResponseObject, error) {
	p := r.Params
	items, next, err := page("audit", p.Limit, p.Cursor, func(after string, limit int) ([]openapi.AuditEvent, string, error) {
		return a.events(ctx, audit.Query{
			Actor: value(p.Actor), Action: value(p.Action), Object: value(p.Object), Since: value(p.Since), Until: value(p.Until), Cursor: after, Limit: limit,
		})
	})
	return openapi.ListAuditEventsV1200JSONResponse{Items: items, NextCursor: next}, err
}

func (a *api) events(ctx context.Context, q audit.Query) ([]openapi.AuditEvent, string, error) {
	found, err := a.trail.List(ctx, q)
	events := make([]openapi.AuditEvent, len(found.Events))
	for i, e := range found.Events {
		events[i] = toAuditEvent(e.Event)
	}
	return events, found.Next, err
}

func toAuditEvent(e pbx.AuditEvent) openapi.AuditEvent {
	out := openapi.AuditEvent{
		Seq: e.Seq, At: e.At.UTC(), RequestID: e.Actor.RequestID, Action: e.Action, Result: openapi.AuditEventResult(e.Result),
		Before: toFacts(e.Before), After: toFacts(e.After),
	}
	out.Actor.Kind, out.Actor.ID, out.Actor.Name, out.Actor.From = openapi.AuditEventActorKind(e.Actor.Kind), e.Actor.ID, e.Actor.Name, e.Actor.From
	out.Object.Type, out.Object.ID, out.Object.Name = e.Object.Type, e.Object.ID, e.Object.Name
	return out
}

func toFacts(f pbx.Facts) *openapi.AuditFacts {
	if f == nil {
		return nil
	}
	facts := openapi.AuditFacts(f)
	return &facts
}

// exportAuditEvents streams the events of the audit trail, oldest first, as lines of JSON.
func (a *api) exportAuditEvents(w http.ResponseWriter, r *http.Request) {
	given := r.URL.Query() // not r.FormValue, which also reads the body of a form, of any length
	q := audit.Query{Actor: given.Get("actor"), Action: given.Get("action"), Object: given.Get("object")}
	for name, at := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		text := given.Get(name)
		if text == "" {
			continue
		}
		var err error
		if *at, err = parseTime(text); err != nil { // the checker refuses invalid ones: without its bound the response would be the whole trail
			a.fail(w, r, err)
			return
		}
	}
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("Content-Disposition", `attachment; filename="audit.jsonl"`)
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return
	}
	out := &lines{w: w}
	err := a.trail.Export(r.Context(), q, out)
	if err == nil {
		err = out.flush()
	}
	if err == nil {
		return
	}
	if !out.begun { // the last chance to send a status
		w.Header().Del("Content-Disposition")
		a.fail(w, r, err)
		return
	}
	a.log.ErrorContext(r.Context(), "cannot export the audit trail to its end", slog.String("request_id", exchangeOf(r).id), slog.Any("err", err))
	panic(http.ErrAbortHandler) // the only signal to the client that the response is incomplete
}

// lines sends a response in pieces of a suitable size.
type lines struct {
	w      http.ResponseWriter
	buffer []byte
	begun  bool // something was sent
}

// piece is the size of a piece.
const piece = 32 << 10

func (l *lines) Write(b []byte) (int, error) {
	l.buffer = append(l.buffer, b...)
	if len(l.buffer) < piece {
		return len(b), nil
	}
	return len(b), l.flush()
}

func (l *lines) flush() error {
	if len(l.buffer) > 0 {
		l.begun = true
	}
	_, err := l.w.Write(l.buffer)
	l.buffer = l.buffer[:0]
	return err
}
