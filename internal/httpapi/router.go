package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// requestPatience bounds a request once its body has arrived, except for operations that take as long as an apply, which the engine bounds.
const requestPatience = 15 * time.Second

// longRunning are the operations without requestPatience.
func longRunning() []string {
	return []string{"applyConfiguration", "restoreRevision", "followRun", "followLive", "exportAuditEvents"}
}

// probes are the routes that monitoring polls every few seconds.
func probes() []string { return []string{"/health", "/livez", "/readyz"} }

// exemptFromSecondFactor are the operations available without a required second factor: those needed to set one up.
func exemptFromSecondFactor() []string {
	return []string{"getSession", "signOut", "changePassword", "startTOTP", "confirmTOTP"}
}

// owing are the operations available to a session that still owes the account's second factor.
func owing() []string { return []string{"proveFactor", "signOut"} }

// permissions are the values of x-permission in the contract.
func permissions() []pbx.Permission {
	return append(pbx.Permissions(), pbx.SignedIn, pbx.Public)
}

// permissionOf returns the permission that an operation requires: exactly one.
func permissionOf(op *openapi3.Operation) (pbx.Permission, error) {
	text, _ := op.Extensions["x-permission"].(string)
	if p := pbx.Permission(text); slices.Contains(permissions(), p) {
		return p, nil
	}
	return "", fmt.Errorf("x-permission %q is none of %v", text, permissions())
}

// router routes to the operations of the contract and to the pages. Registering an operation that is not in the contract, or has no permission
// there, is an error. The generated code registers its handlers here.
type router struct {
	api      *api
	contract *openapi3.T
	mux      *http.ServeMux
	err      error // all registration errors
}

var _ openapi.ServeMux = (*router)(nil)

func newRouter(a *api, contract *openapi3.T) *router {
	return &router{api: a, contract: contract, mux: http.NewServeMux()}
}

// HandleFunc registers the handler of one operation under "METHOD /path", both as in the contract, at each of its prefixes.
func (rt *router) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	method, route, _ := strings.Cut(pattern, " ")
	var op *openapi3.Operation
	item := rt.contract.Paths.Value(route)
	if item != nil {
		op = item.GetOperation(method)
	}
	if op == nil {
		rt.err = errors.Join(rt.err, fmt.Errorf("cannot register %q: the contract has no such operation", pattern))
		return
	}
	permission, err := permissionOf(op)
	if err != nil {
		rt.err = errors.Join(rt.err, fmt.Errorf("cannot register %q: %w", pattern, err))
		return
	}
	check := newChecker(op)
	long := slices.Contains(longRunning(), op.OperationID)
	d := requirement{
		permission: permission, beforeSetup: slices.Contains(item.GetOperation(method).Tags, "Documents") || slices.Contains(probes(), route) || route == "/setup", exemptFromSecondFactor: slices.Contains(exemptFromSecondFactor(), op.OperationID), owing: slices.Contains(owing(), op.OperationID),
		door: permission == pbx.Public && (method == http.MethodPost || strings.HasPrefix(route, "/auth/")),
	}
	switch {
	case slices.Contains(probes(), route):
		d.place = forHealth
	case d.door && strings.HasPrefix(route, "/auth/"):
		d.place = forProvider
	case d.door:
		d.place = forDoors
	case long && method == http.MethodGet:
		d.place = forStreams
	case permission != pbx.Public:
		d.place = forCallers
	}
	var most int64
	if check.body != nil {
		for media := range op.RequestBody.Value.Content {
			d.media = append(d.media, media)
		}
		most = maxBody
		if permission == pbx.Public {
			most = maxPublicBody
		}
	}
	if method == http.MethodPost && permission != pbx.Public {
		handler = rt.api.idempotent(op.OperationID, handler)
	}
	served := rt.api.compressed(op.OperationID, func(w http.ResponseWriter, r *http.Request) {
		if err := check.request(r); err != nil {
			rt.api.fail(w, r, err)
			return
		}
		handler(w, r)
	})
	for _, prefix := range prefixes(rt.contract, item, op) {
		rt.behindGate(method+" "+prefix+route, prefix, route, d, long, most, served)
	}
}

// prefixes returns the prefixes under which an operation is served, from the servers that the contract names for it, or for its path, or for all.
func prefixes(contract *openapi3.T, item *openapi3.PathItem, op *openapi3.Operation) []string {
	servers := contract.Servers
	if len(item.Servers) > 0 {
		servers = item.Servers
	}
	if op.Servers != nil {
		servers = *op.Servers
	}
	all := make([]string, len(servers))
	for i, s := range servers {
		all[i] = strings.TrimSuffix(s.URL, "/")
	}
	return all
}

// web registers the pages. They are public, also before set-up: they get their data from the API.
func (rt *router) web(pages http.Handler) {
	d := requirement{permission: pbx.Public, beforeSetup: true}
	for pattern, route := range map[string]string{"GET /{$}": "/", "GET /app": "/app"} {
		rt.behindGate(pattern, "", route, d, false, 0, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "app/") // relative, for proxies that add a prefix
			w.WriteHeader(http.StatusTemporaryRedirect)
		})
	}
	rt.behindGate("GET "+webRoot, "", webRoot, d, false, 0, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", webPolicy)
		pages.ServeHTTP(w, r)
	})
}

// behindGate registers a handler behind the gate; most is the maximum size of its body, 0 for none. It is the only way to the mux. First the caller
// is authenticated; then the body is received, without a slot, as that proceeds at the client's pace; then the handler runs.
func (rt *router) behindGate(pattern, prefix, route string, d requirement, longRunning bool, most int64, handler http.HandlerFunc) {
	rt.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r)
		x.prefix, x.route = prefix, route
		if !longRunning {
			patience := requestPatience
			if most > 0 {
				patience += bodyPatience
			}
			ctx, cancel := context.WithTimeout(r.Context(), patience)
			defer cancel()
			r = r.WithContext(ctx)
		}
		admitted, err := rt.admit(d, r)
		if err == nil && most > 0 {
			err = rt.api.receive(w, admitted, d, most)
		}
		if err == nil {
			err = rt.api.take(x, d.place)
		}
		if err != nil {
			rt.api.fail(w, r, err)
			return
		}
		if longRunning && r.Method == http.MethodGet {
			watched, done := rt.api.gate.watched(d, admitted)
			defer done()
			admitted = watched
		}
		handler(w, admitted)
	})
}

// admit calls the gate.
func (rt *router) admit(d requirement, r *http.Request) (*http.Request, error) {
	place := forGate
	if d.permission == pbx.Public {
		place = d.place
	}
	x := exchangeOf(r)
	if err := rt.api.take(x, place); err != nil {
		return nil, err
	}
	defer x.releaseSlot()
	return rt.api.gate.admit(d, r)
}

// webRoot is the path of the pages.
const webRoot = "/app/"

// ServeHTTP serves one request. Paths are taken literally, without redirects to a cleaned form.
func (rt *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	none, pattern := rt.mux.Handler(r)
	tidy := r.URL.Path
	if strings.HasPrefix(tidy, webRoot) {
		tidy = strings.TrimSuffix(tidy, "/")
	}
	switch {
	case path.Clean(tidy) != tidy:
		rt.api.fail(w, r, errNoPath)
	case pattern == "":
		rt.refuse(w, r, none)
	default:
		rt.mux.ServeHTTP(w, r)
	}
}

// refuse responds to a request without an operation. The mux knows the methods of a path: it has put them into the Allow header of the response it
// would send.
func (rt *router) refuse(w http.ResponseWriter, r *http.Request, would http.Handler) {
	answer := answerHeader{}
	would.ServeHTTP(answer, r)
	allow := http.Header(answer).Get("Allow")
	switch {
	case allow == "":
		rt.api.fail(w, r, errNoPath)
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", allow+", OPTIONS")
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Allow", allow+", OPTIONS")
		rt.api.fail(w, r, &refusal{http.StatusMethodNotAllowed, openapi.ProblemCodeMethodNotAllowed, "this path takes " + allow + " only"})
	}
}

// answerHeader is a ResponseWriter that keeps only the header.
type answerHeader http.Header

func (h answerHeader) Header() http.Header         { return http.Header(h) }
func (h answerHeader) Write(b []byte) (int, error) { return len(b), nil }
func (h answerHeader) WriteHeader(int)             {}
