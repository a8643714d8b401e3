// Package httpapi is the HTTP API: it validates requests against the contract (contracts/api.yaml), calls the services, and converts their results
// and errors to responses of the contract. It has no rules about users, extensions or Asterisk, and accesses neither the database nor files.
package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/synergycall/pbxportal/contracts"
	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/audit"
	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/glance"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/idempotency"
	"github.com/synergycall/pbxportal/internal/live"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/routing"
)

// Config holds the dependencies of the API. All fields are required except Asterisk, Files, Live, Web, Edge, OIDC, Insecure and Version.
type Config struct {
	Auth      *auth.Auth
	Directory *directory.Directory
	Apply     *apply.Engine
	Audit     *audit.Trail
	Keys      *idempotency.Keys
	Routing   *routing.Routing
	Asterisk  func(context.Context) []pbx.Transport // the transports of Asterisk, none if it does not answer; nil: none
	Health    func(context.Context) pbx.Health
	Ready     func(context.Context) (time.Time, error) // checks the database, for /readyz: when, and why it cannot be used
	Files     func(context.Context) pbx.Standing       // the state of the files, for /health and /metrics; nil: as reported by the engine
	Live      *live.Watcher                            // nil: live state is off
	Log       *slog.Logger
	Now       func() time.Time // returns the current time
	Web       http.Handler     // the web interface, at /app/…; nil: none
	Edge      Edge             // access restrictions
	OIDC      OIDC             // the OpenID provider for sign-in; without an Issuer: none
	Insecure  bool             // authentication is off: for isolated test networks
	Version   string           // of this program, for /health and /metrics
}

// API is the handler of all operations of the contract.
type API struct {
	api     *api
	handler http.Handler
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

// Wait returns when all background applies have ended; the engine bounds their duration. Call it on shutdown, once the server accepts no more
// requests.
func (a *API) Wait() { a.api.background.Wait() }

// api holds the services for the handlers; its methods are the operations of the contract.
type api struct {
	directory *directory.Directory
	engine    *apply.Engine
	trail     *audit.Trail
	keys      *idempotency.Keys
	routing   *routing.Routing
	asterisk  func(context.Context) []pbx.Transport // may be nil
	health    func(context.Context) pbx.Health
	ready     func(context.Context) (time.Time, error)
	files     func(context.Context) pbx.Standing
	plans     *glance.Shared[planned] // plans, one computation at a time, shared by its callers
	livePlans *glance.Shared[planned] // those that wait for Asterisk
	live      *live.Watcher
	log       *slog.Logger
	now       func() time.Time
	version   string
	metrics   *metrics
	edge      *edge
	gate      *gate
	auth      *auth.Auth
	provider  *provider // nil: none
	gzip      func(http.Handler) http.HandlerFunc
	changes   *glance.Shared[marks] // what changed since the last event of the streams: one check a second for all of them

	cachedList atomic.Pointer[cachedList] // the last encoded list of all users
	background sync.WaitGroup             // applies whose callers did not wait
	running    atomic.Int32               // number of these
}

var _ openapi.StrictServerInterface = (*api)(nil)

// New returns the handler of all operations of the contract. An error means a programming error.
func New(c Config) (*API, error) {
	contract, err := openapi3.NewLoader().LoadFromData(contracts.JSON)
	if err != nil {
		return nil, fmt.Errorf("cannot read the contract: %w", err)
	}
	return newAPI(c, contract)
}

func newAPI(c Config, contract *openapi3.T) (_ *API, err error) {
	if c.Auth == nil || c.Directory == nil || c.Apply == nil || c.Audit == nil || c.Keys == nil || c.Routing == nil || c.Health == nil || c.Ready == nil || c.Log == nil || c.Now == nil {
		return nil, errors.New("cannot create the HTTP API: Auth, Directory, Apply, Audit, Keys, Routing, Health, Ready, Log and Now are required")
	}
	if c.Files == nil {
		c.Files = c.Apply.Standing
	}
	if c.Live == nil {
		c.Live = live.New(live.Config{Now: c.Now, Log: c.Log})
	}
	a := &api{
		auth: c.Auth, directory: c.Directory, engine: c.Apply, trail: c.Audit, keys: c.Keys, routing: c.Routing, asterisk: c.Asterisk, health: c.Health, ready: c.Ready, files: c.Files, live: c.Live, log: c.Log, now: c.Now, version: c.Version,
		metrics: newMetrics(c.Version), plans: newPlans(c.Now, c.Apply.QuickPlan), livePlans: newPlans(c.Now, c.Apply.Plan),
	}
	if a.edge, err = newEdge(c.Edge, c.Now); err != nil {
		return nil, err
	}
	a.gate = newGate(c.Auth, a.edge, c.Insecure)
	if a.gzip, err = newCompressor(); err != nil {
		return nil, err
	}
	a.changes = glance.New(c.Now, requestPatience, requestPatience, a.newMarker())
	if c.OIDC.Issuer != "" {
		a.provider = newProvider(c.OIDC, c.Edge.Origin, c.Now)
	}
	rt := newRouter(a, contract)
	openapi.HandlerWithOptions(
		openapi.NewStrictHandlerWithOptions(a, nil, openapi.StrictHTTPServerOptions{RequestErrorHandlerFunc: a.fail, ResponseErrorHandlerFunc: a.fail}),
		openapi.StdHTTPServerOptions{BaseRouter: rt, ErrorHandlerFunc: a.fail})
	rt.HandleFunc("GET /apply/runs/{id}/events", a.followRun)
	rt.HandleFunc("GET /audit/export", a.exportAuditEvents)
	rt.HandleFunc("GET /live/events", a.followLive)
	rt.HandleFunc("GET /metrics", a.serveMetrics)
	rt.HandleFunc("GET /auth/oidc/start", a.startOIDC)
	rt.HandleFunc("GET /auth/oidc/callback", a.finishOIDC)
	a.registerDocuments(rt)
	if c.Web != nil {
		rt.web(c.Web)
	}
	if rt.err != nil {
		return nil, rt.err
	}
	return &API{a, a.observe(a.guard(rt))}, nil
}

// farewell is how long an idle client has, while the portal stops, to read its response.
const farewell = 2 * time.Second

// Shutdown stops a server of the API. Work in progress, above all an apply, is finished and answered, until ctx ends; streams end with the last of
// it. Nothing else is waited for: incomplete bodies are dropped at once, and responses after farewell.
func (a *API) Shutdown(ctx context.Context, server *http.Server) error {
	a.api.edge.bodies.close()
	a.api.edge.uploads.close()
	begun := a.api.now()
	worked := begun // end of the last work, which streams may still report
	stopped := make(chan error, 1)
	go func() { stopped <- server.Shutdown(ctx) }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-stopped:
			return err
		case <-tick.C:
			now := a.api.now()
			if a.api.edge.places[forCallers].used() > 0 || a.api.running.Load() > 0 {
				worked = now
			}
			a.api.edge.connections.endAll(func(m *member) bool { return m.quiet(begun, worked, now) })
		}
	}
}
