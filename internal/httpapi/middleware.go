package httpapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// exchange holds the state of one request, from the outermost layer to the log line.
type exchange struct {
	id     string
	from   netip.Addr // the client's address, as far as it can be trusted
	secure bool       // the request came encrypted
	cookie string     // the name of the session cookie
	actor  string     // the caller in the log; "" while unknown
	prefix string     // what precedes the route in the path of the request
	route  string     // the path as in the contract; "" if it is not in it
	status int
	bytes  int64

	place  func()      // releases the slot of the request; nil: it has none
	kept   bool        // the slot is kept while the response is sent
	unread bool        // the body may not have been read to its end
	conn   *connection // that the request came on

	userAgent string     // the User-Agent header
	session   pbx.Secret // the session token of the browser
}

type exchangeKey struct{}

// exchangeOf returns the exchange of a request that has passed observe.
func exchangeOf(r *http.Request) *exchange { return exchangeIn(r.Context()) }

// exchangeIn returns the exchange of a request's context.
func exchangeIn(ctx context.Context) *exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return &exchange{}
}

// observe is the outermost middleware: it adds request ids, security headers, log lines and metrics, and turns a panic into a plain 500.
func (a *api) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := a.now()
		x := &exchange{id: requestID(r), conn: connectionOf(r.Context()), unread: r.ContentLength != 0}
		x.from, x.secure = a.edge.originOf(r)
		x.cookie = a.edge.cookieName(r.Host, x.secure)
		x.userAgent = r.UserAgent()
		r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
		x.session = pbx.SecretFrom(sessionToken(r))
		rec := &recorder{ResponseWriter: w, exchange: x, api: a, control: http.NewResponseController(w)}
		setHeaders(w.Header(), x)
		if a.gate.insecure {
			w.Header().Set("Insecure", "authentication is off")
		}
		defer func() {
			v := recover()
			if v != nil {
				a.panicked(rec, r, v)
			}
			x.releaseSlot()
			if rec.sent != nil {
				rec.sent()
			}
			a.record(r, x, a.now().Sub(start))
			if v != nil && (isAbort(v) || rec.cut) {
				panic(http.ErrAbortHandler) // the only signal to the client that the response is incomplete
			}
		}()
		next.ServeHTTP(rec, r)
	})
}

// panicked responds for a handler that panicked.
func (a *api) panicked(rec *recorder, r *http.Request, v any) {
	if isAbort(v) {
		return
	}
	a.log.ErrorContext(r.Context(), "request panicked", slog.String("request_id", rec.exchange.id), slog.String("err", fmt.Sprint(v)), slog.String("stack", string(debug.Stack())))
	if rec.exchange.status != 0 {
		rec.cut = true
		return
	}
	for _, name := range []string{"Content-Length", "Content-Encoding", "Etag", "Location"} {
		rec.Header().Del(name)
	}
	a.write(rec, a.internal(r))
}

// isAbort reports the panic that means "drop the connection", which is not a fault.
func isAbort(v any) bool {
	err, ok := v.(error)
	return ok && errors.Is(err, http.ErrAbortHandler)
}

// record writes the log line and the metrics of an exchange. The query is not logged: it contains search terms.
func (a *api) record(r *http.Request, x *exchange, took time.Duration) {
	if x.status == 0 {
		x.status = http.StatusOK // the default of net/http when a handler writes nothing
	}
	a.metrics.served(x.route, r.Method, x.status, took)
	level := slog.LevelInfo
	if slices.Contains(probes(), x.route) || x.route == "/metrics" { // requested every few seconds by monitoring
		level = slog.LevelDebug
	}
	a.log.LogAttrs(r.Context(), level, "request",
		slog.String("request_id", x.id), slog.String("from", x.from.String()), slog.String("actor", x.actor), slog.String("method", short(r.Method)), slog.String("path", short(r.URL.Path)),
		slog.String("route", x.route), slog.Int("status", x.status),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000), slog.Int64("bytes", x.bytes))
}

// short limits a client's text to the length for a log line.
func short(text string) string {
	const most = 200
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

// requestID returns the request's own id if it is safe to log, or a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if id == "" || len(id) > 64 {
		return rand.Text()
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '.' && c != '_' && c != '-' {
			return rand.Text()
		}
	}
	return id
}

// recorder records the status and size of a response. From its first write on, the response proceeds at the client's pace: the request releases its
// slot and joins the crowd of waiting requests.
type recorder struct {
	http.ResponseWriter
	api      *api
	control  *http.ResponseController
	exchange *exchange
	sent     func() // leaves the crowd; nil before the first write
	cut      bool   // the response had begun when its handler panicked
}

const (
	writePatience = 30 * time.Second       // for the client to accept each part of a response
	part          = 64 << 10               // of a response, in bytes
	restPatience  = 500 * time.Millisecond // for the rest of an unread body, so that the connection can be reused
)

func (rec *recorder) WriteHeader(status int) {
	if rec.exchange.status == 0 && status >= 200 {
		rec.exchange.status = status
	}
	rec.begin()
	rec.ResponseWriter.WriteHeader(status)
}

func (rec *recorder) Write(b []byte) (n int, err error) {
	if rec.exchange.status == 0 {
		rec.exchange.status = http.StatusOK
	}
	rec.begin()
	for first := true; first || len(b) > 0 && err == nil; first = false {
		piece := b[:min(len(b), part)]
		b = b[len(piece):]
		var wrote int
		_ = rec.control.SetWriteDeadline(rec.api.now().Add(writePatience)) // a writer without deadlines needs none
		wrote, err = rec.ResponseWriter.Write(piece)
		n += wrote
	}
	rec.exchange.bytes += int64(n)
	return n, err
}

// begin is called before each part of a response.
func (rec *recorder) begin() {
	if rec.sent != nil {
		return
	}
	x := rec.exchange
	if x.unread {
		_ = rec.control.SetReadDeadline(rec.api.now().Add(restPatience))
	}
	if x.kept {
		rec.sent = func() {}
		return
	}
	x.releaseSlot()
	rec.sent = rec.api.edge.readers.enter(x.from, func() { _ = rec.control.SetWriteDeadline(time.Unix(1, 0)) }, nil)
}

// take acquires a slot for a request. It is released when the response begins, or, if kept, when it ends.
func (a *api) take(x *exchange, k kind) error {
	places := a.edge.places[k]
	if !places.enter(x.from) {
		return slowDown("too many requests at the same time", time.Second)
	}
	count := &x.conn.working
	if x.kept = k == forStreams; x.kept {
		count = &x.conn.streaming
	}
	count.Add(1)
	x.place = func() {
		places.leave(x.from)
		count.Add(-1)
		x.conn.idle.Store(a.now().UnixNano())
	}
	return nil
}

// releaseSlot releases the slot of a request, if it has one.
func (x *exchange) releaseSlot() {
	if x.place != nil {
		x.place()
		x.place = nil
	}
}

// Unwrap is for http.ResponseController.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }
