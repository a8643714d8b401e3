package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"slices"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/idempotency"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// keyHeader is the header with the idempotency key of a request.
const keyHeader = "Idempotency-Key"

// replayedHeader marks a response to a request that was carried out before.
const replayedHeader = "Idempotent-Replayed"

// ownKeys are the operations whose keys the engine keeps with their runs, which take longer than a request.
func ownKeys() []string { return []string{"applyConfiguration", "restoreRevision"} }

// idempotent returns a handler that carries out a request with an idempotency key once.
func (a *api) idempotent(operationID string, next http.HandlerFunc) http.HandlerFunc {
	if slices.Contains(ownKeys(), operationID) {
		return next
	}
	return func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get(keyHeader)
		if key == "" {
			next(w, r)
			return
		}
		request := idempotency.Request{Caller: callerOf(r.Context()), Key: key, Hash: requestHash(r)}
		answer, repeated, err := a.keys.Do(r.Context(), request, func(ctx context.Context) idempotency.Answer {
			held := heldAnswer{header: http.Header{}}
			next(&held, r.WithContext(ctx))
			return held.answer()
		}, func(ctx context.Context, err error) {
			a.log.WarnContext(ctx, "cannot keep the response to a request with an idempotency key", slog.String("request_id", exchangeOf(r).id), slog.Any("err", err))
		})
		switch {
		case err != nil:
			a.fail(w, r, err)
		case repeated == nil:
			sendAnswer(w, answer)
		case repeated.Answer != nil:
			w.Header().Set(replayedHeader, "true")
			sendAnswer(w, *repeated.Answer)
		default:
			a.answerAgain(w, r, operationID, repeated.Object)
		}
	}
}

// answerAgain responds to a request that was carried out before and whose response is not known, because the process ended before it was stored: with
// the object as it is now, where that was the response.
func (a *api) answerAgain(w http.ResponseWriter, r *http.Request, operationID string, of pbx.AuditObject) {
	var visit func(http.ResponseWriter) error
	var err error
	if made, ok := a.responses()[operationID]; ok {
		visit, err = made(r.Context(), of.ID)
	}
	switch {
	case err != nil && pbx.KindOf(err) != pbx.KindNotFound:
		a.fail(w, r, err)
	case visit == nil:
		a.fail(w, r, answerLost(of))
	default:
		w.Header().Set(replayedHeader, "true")
		if err := visit(w); err != nil {
			a.fail(w, r, err)
		}
	}
}

// responses has, of the operations that respond with an object, the response with the object of an id as it is now.
func (a *api) responses() map[string]func(ctx context.Context, id string) (func(http.ResponseWriter) error, error) {
	all := a.createdThings()
	all["createUser"], all["createUserV1"], all["renewUserSecretV1"] = a.createdUser, a.createdUserV1, a.renewedSecret
	return all
}

// answerLost returns the error of a repeated request whose response cannot be given again.
func answerLost(of pbx.AuditObject) error {
	did := ""
	if of.ID != "" {
		did = fmt.Sprintf(" It concerned the %s %s: GET /api/v1/audit?object=%[2]s shows what was done.", of.Type, of.ID)
	}
	return &pbx.Error{
		Kind: pbx.KindConflict, Code: pbx.CodeAnswerLost,
		Msg: "the request with this idempotency key was carried out, but its response is not available any more." + did +
			" What a response contains only once, such as a token or a link, must be created again, with a new key",
	}
}

// callerOf returns the account or token of a request. Where authentication is off, all are the same caller.
func callerOf(ctx context.Context) string {
	actor := auth.PrincipalOf(ctx).Actor("", "")
	return string(actor.Kind) + " " + actor.ID
}

// requestHash returns a hash of what makes a request another one.
func requestHash(r *http.Request) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %q %q %q\n", r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("If-Match"))
	_, _ = h.Write(bodyOf(r)) // a hash accepts everything
	return hex.EncodeToString(h.Sum(nil))
}

// heldAnswer is a ResponseWriter that keeps the response.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (h *heldAnswer) Header() http.Header { return h.header }

// WriteHeader implements http.ResponseWriter.
func (h *heldAnswer) WriteHeader(status int) {
	if h.status == 0 {
		h.status = status
	}
}

// Write implements http.ResponseWriter.
func (h *heldAnswer) Write(b []byte) (int, error) {
	h.WriteHeader(http.StatusOK)
	return h.body.Write(b)
}

func (h *heldAnswer) answer() idempotency.Answer {
	h.WriteHeader(http.StatusOK)
	return idempotency.Answer{Status: h.status, Header: h.header, Body: h.body.Bytes()}
}

func sendAnswer(w http.ResponseWriter, a idempotency.Answer) {
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // an error means that the client has disconnected
}
