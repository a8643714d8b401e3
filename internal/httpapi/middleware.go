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

// exchange is what is known of one request on its way, from the outermost layer to the log line.
type exchange struct {
	id     string
	from   netip.Addr // where it came from, as far as that can be believed
	secure bool       // it came encrypted
	cookie string     // the name of the cookie with the token of a session
	actor  string     // whom it is done for, in the log; "" while that is not known
	route  string     // the path as the contract has it; "" for one it has not
	status int
	bytes  int64

	place  func()      // gives back the place it has; nil: it has none
	kept   bool        // the place is kept while the answer is sent
	unread bool        // a body may still be on its way
	conn   *connection // it came by

	userAgent string     // the browser or program it came from, as that named itself
	session   pbx.Secret // the token of the session a browser holds
}

type exchangeKey struct{}

// exchangeOf gives the exchange of a request that came through observe.
func exchangeOf(r *http.Request) *exchange { return exchangeIn(r.Context()) }

// exchangeIn gives the exchange of the request that a context is for.
func exchangeIn(ctx context.Context) *exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return &exchange{}
}

// observe is the outermost layer: it gives every request an id, every answer its security headers, and every exchange a log line
// and its place in the metrics; and it turns a panic into a plain 500.
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
			w.Header().Set("Insecure", "nobody is asked who he is")
		}
		defer func() {
			v := recover()
			if v != nil {
				a.panicked(rec, r, v)
			}
			x.giveBack()
			if rec.sent != nil {
				rec.sent()
			}
			a.record(r, x, a.now().Sub(start))
			if v != nil && (isAbort(v) || rec.cut) {
				panic(http.ErrAbortHandler) // the only way to tell the client that the answer is not whole
			}
		}()
		next.ServeHTTP(rec, r)
	})
}

// panicked answers for a handler that did not come to its end.
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

// isAbort reports the panic that means "drop the connection", and is no fault.
func isAbort(v any) bool {
	err, ok := v.(error)
	return ok && errors.Is(err, http.ErrAbortHandler)
}

// record writes the log line and the metrics of an exchange. The query is not logged: it holds what people look for.
func (a *api) record(r *http.Request, x *exchange, took time.Duration) {
	if x.status == 0 {
		x.status = http.StatusOK // what net/http sends when a handler writes nothing
	}
	a.metrics.served(x.route, r.Method, x.status, took)
	level := slog.LevelInfo
	if slices.Contains(probes(), x.route) || x.route == "/metrics" { // requested every few seconds, by machines
		level = slog.LevelDebug
	}
	a.log.LogAttrs(r.Context(), level, "request",
		slog.String("request_id", x.id), slog.String("from", x.from.String()), slog.String("actor", x.actor), slog.String("method", short(r.Method)), slog.String("path", short(r.URL.Path)),
		slog.String("route", x.route), slog.Int("status", x.status),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000), slog.Int64("bytes", x.bytes))
}

// short cuts a text the client made to what a log line should hold.
func short(text string) string {
	const most = 200
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

// requestID gives the id the request brought, if it can do no harm in a log, or a new one.
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

// recorder notes the status and the size of an answer on its way out. From its first word on, the answer goes at the client's pace: the
// request gives back its place, and joins those who wait for their clients.
type recorder struct {
	http.ResponseWriter
	api      *api
	control  *http.ResponseController
	exchange *exchange
	sent     func() // leaves those who wait; nil before the first word
	cut      bool   // the answer had begun when its handler panicked
}

const (
	writePatience = 30 * time.Second       // for a client to take each part of an answer
	part          = 64 << 10               // of an answer, in bytes
	restPatience  = 500 * time.Millisecond // for the rest of a body that nobody reads, so that the connection can be used again
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
		_ = rec.control.SetWriteDeadline(rec.api.now().Add(writePatience)) // what has no deadlines needs none
		wrote, err = rec.ResponseWriter.Write(piece)
		n += wrote
	}
	rec.exchange.bytes += int64(n)
	return n, err
}

// begin is called before each part of an answer.
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
	x.giveBack()
	rec.sent = rec.api.edge.readers.enter(x.from, func() { _ = rec.control.SetWriteDeadline(time.Unix(1, 0)) }, nil)
}

// take takes a place for a request. It is given back when the answer begins, or with it if it is kept.
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

// giveBack gives back the place of a request, if it has one.
func (x *exchange) giveBack() {
	if x.place != nil {
		x.place()
		x.place = nil
	}
}

// Unwrap is for http.ResponseController.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }
