package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/audit"
	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/httpapi/apitest"
	"github.com/synergycall/pbxportal/internal/idempotency"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/routing"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// keep is how many revisions a portal of the tests keeps whole.
const keep = 3

// portal is the whole API over a database of its own, with a scripted Asterisk.
type portal struct {
	t         testing.TB
	url       string
	client    *http.Client
	handler   *httpapi.API
	engine    *apply.Engine
	store     *store.Store
	directory *directory.Directory
	auth      *auth.Auth
	token     string        // what its requests prove who they are with; "" for nothing
	ahead     *atomic.Int64 // how far the clock of sign-in and of idempotency keys goes ahead, in nanoseconds
	trail     *audit.Trail
	asterisk  *asterisk
	log       *logBuffer
	health    pbx.Health
}

func newPortal(t testing.TB, changes ...func(*httpapi.Config)) *portal {
	t.Helper()
	p := newUnserved(t, changes...)
	server := httptest.NewUnstartedServer(p.handler)
	server.Config = p.handler.Server("")
	server.Start()
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

// newUnserved makes a portal without a server; changes are made to what it is made of.
func newUnserved(t testing.TB, changes ...func(*httpapi.Config)) *portal {
	t.Helper()
	return newDemanding(t, pbx.FactorOffered, changes...)
}

// newDemanding is newUnserved for a portal that demands a second factor.
func newDemanding(t testing.TB, of pbx.SecondFactor, changes ...func(*httpapi.Config)) *portal {
	t.Helper()
	s := storetest.New(t)
	p := &portal{t: t, store: s, directory: directory.New(s, time.Now), log: &logBuffer{}, ahead: &atomic.Int64{}}
	clock := func() time.Time { return time.Now().Add(time.Duration(p.ahead.Load())) }
	p.auth, p.token = newAuth(t, s, of, clock)
	p.client = &http.Client{Transport: &bearer{p, apitest.Client(t).Transport}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	p.health = pbx.Health{Asterisk: "ok", Version: "22.10.1", Audit: "ok", Key: "ok"}
	p.health.Looked = pbx.Looked{Database: time.Now(), Asterisk: time.Now(), Audit: time.Now(), Key: time.Now()}
	p.asterisk = &asterisk{}
	p.engine = apply.New(apply.Config{Store: s, Target: p.asterisk, Now: time.Now, Keep: keep})
	p.trail = audit.New(s, time.Now, t.TempDir())
	c := httpapi.Config{
		Auth: p.auth, Directory: p.directory, Apply: p.engine, Audit: p.trail, Keys: idempotency.New(s, clock), Routing: routing.New(s, time.Now), Version: "1.2.3", Now: time.Now,
		Health: func(context.Context) pbx.Health {
			if p.health.Asterisk == "panic" {
				panic("the secret inside")
			}
			return p.health
		},
		Ready: func(context.Context) (time.Time, error) { return time.Now(), p.health.Database },
		Files: func(context.Context) pbx.Standing { // looked at anew for each who asks: what a test changes shows at once
			site, err := p.asterisk.Inspect()
			return pbx.Standing{Site: site, Err: err, At: time.Now()}
		},
		Log: slog.New(slog.NewJSONHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, change := range changes {
		change(&c)
	}
	contract, err := apitest.Contract() // the same one for all: reading it takes longer than most tests
	if err != nil {
		t.Fatal(err)
	}
	if p.handler, err = httpapi.NewFrom(c, contract); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.handler.Wait)
	return p
}

// newAuth creates the service of sign-in, with an account, so that set-up is over, and a token of an owner.
func newAuth(t testing.TB, s *store.Store, of pbx.SecondFactor, now func() time.Time) (a *auth.Auth, token string) {
	t.Helper()
	a = auth.New(auth.Config{Store: s, Now: now, SecondFactor: of, HashMemory: 64})
	if _, _, err := a.Invite(asLocal(t), pbx.NewAccount{Name: "Olga Owner", Email: "olga@example.com", Role: pbx.Owner}); err != nil {
		t.Fatal(err)
	}
	return a, grant(t, a, pbx.NewToken{Name: "tests", Role: pbx.Owner})
}

// emptyAuth returns an authentication service over a separate database without accounts.
func emptyAuth(t testing.TB) *auth.Auth {
	t.Helper()
	return auth.New(auth.Config{Store: storetest.New(t), Now: time.Now, HashMemory: 64})
}

// grant makes a token.
func grant(t testing.TB, a *auth.Auth, n pbx.NewToken) string {
	t.Helper()
	_, secret, err := a.CreateToken(asLocal(t), n)
	if err != nil {
		t.Fatal(err)
	}
	return secret.Reveal()
}

// asLocal returns the context of a user at the command line.
func asLocal(t testing.TB) context.Context {
	t.Helper()
	return pbx.WithActor(t.Context(), pbx.Actor{Kind: pbx.ActorLocal, Name: "root"})
}

// as returns the portal with another token, or with none.
func (p *portal) as(token string) *portal {
	other := *p
	other.token = token
	other.client = &http.Client{Transport: &bearer{&other, p.client.Transport.(*bearer).next}, CheckRedirect: p.client.CheckRedirect}
	return &other
}

// bearer sends a portal's token with every request that brings no other proof.
type bearer struct {
	p    *portal
	next http.RoundTripper
}

func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.p.token != "" && r.Header.Get("Authorization") == "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.p.token)
	}
	return b.next.RoundTrip(r)
}

// newConfig is what New needs, over services that are never called.
func newConfig(t testing.TB) httpapi.Config {
	t.Helper()
	s, err := store.Open("sqlite:///" + filepath.Join(t.TempDir(), "portal.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return httpapi.Config{
		Auth: emptyAuth(t), Directory: directory.New(s, time.Now), Apply: apply.New(apply.Config{Store: s, Target: &asterisk{}, Now: time.Now}), Audit: audit.New(s, time.Now, t.TempDir()), Keys: idempotency.New(s, time.Now), Routing: routing.New(s, time.Now), Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Health: func(context.Context) pbx.Health { return pbx.Health{} },
		Ready:  func(context.Context) (time.Time, error) { return time.Now(), nil },
	}
}

// answer is what came back: status, header, and the body as text and as JSON.
type answer struct {
	status int
	header http.Header
	text   string
	json   map[string]any
}

func (p *portal) do(method, path, body string, header ...string) answer {
	p.t.Helper()
	r, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := p.client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return newAnswer(resp, text)
}

func newAnswer(resp *http.Response, text []byte) answer {
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if strings.HasSuffix(resp.Header.Get("Content-Type"), "json") {
		_ = json.Unmarshal(text, &a.json)
	}
	return a
}

// local makes a request as it arrives from this machine.
func local(method, path, token string) *http.Request {
	r := httptest.NewRequest(method, "http://localhost"+path, nil)
	r.RemoteAddr = here
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// holding is a Health that says that it was asked, and waits until it may answer.
func holding(health func(context.Context) pbx.Health, entered chan<- struct{}, leave <-chan struct{}) func(context.Context) pbx.Health {
	return func(ctx context.Context) pbx.Health {
		entered <- struct{}{}
		<-leave
		return health(ctx)
	}
}

func (p *portal) create(name, email string) answer {
	p.t.Helper()
	body, _ := json.Marshal(map[string]string{"name": name, "email": email})
	a := p.do("POST", "/users", string(body))
	if a.status != http.StatusCreated {
		p.t.Fatalf("create %s: %d %s", email, a.status, a.text)
	}
	return a
}

// apply applies; it must succeed. fields are added to the body with triggered_by.
func (p *portal) apply(fields string, header ...string) answer {
	p.t.Helper()
	a := p.do("POST", "/apply", `{"triggered_by":"admin"`+fields+`}`, header...)
	if a.status != http.StatusOK {
		p.t.Fatalf("apply: %d %s", a.status, a.text)
	}
	return a
}

// holdApply begins an apply that waits halfway until release is called; ended returns its answer.
func (p *portal) holdApply(header ...string) (release func(), ended <-chan answer) {
	p.t.Helper()
	p.asterisk.hold, p.asterisk.entered = make(chan struct{}), make(chan struct{})
	answers := make(chan answer, 1)
	go func() { answers <- p.do("POST", "/apply", `{"triggered_by":"first"}`, header...) }()
	<-p.asterisk.entered
	return func() { close(p.asterisk.hold); p.asterisk.hold = nil }, answers
}

// lastRun returns the id of the newest apply.
func (p *portal) lastRun() string {
	p.t.Helper()
	logs, _ := p.do("GET", "/apply/logs?limit=1", "").json["logs"].([]any)
	if len(logs) != 1 {
		p.t.Fatal("there is no apply log")
	}
	return logs[0].(map[string]any)["id"].(string)
}

// at returns a nested value of an answer, by keys and indices joined by dots.
func (a answer) at(path string) any {
	var v any = a.json
	for key := range strings.SplitSeq(path, ".") {
		switch inside := v.(type) {
		case map[string]any:
			v = inside[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(inside) {
				return nil
			}
			v = inside[i]
		default:
			return nil
		}
	}
	return v
}

// length returns the length of an array in an answer.
func (a answer) length(path string) int {
	array, _ := a.at(path).([]any)
	return len(array)
}

// fields returns the names of the invalid fields.
func (a answer) fields() []string {
	var names []string
	list, _ := a.json["errors"].([]any)
	for _, e := range list {
		names = append(names, e.(map[string]any)["field"].(string))
	}
	return names
}

func (a answer) code() string {
	code, _ := a.json["code"].(string)
	return code
}

// asterisk is an apply.Target that keeps revisions in memory and runs what it loads, unless a fault is scripted.
type asterisk struct {
	mu        sync.Mutex // guards what follows, up to the faults
	revisions map[int][]pbx.File
	site      pbx.HostState
	running   []pbx.File
	doubted   int

	lookFault, writeFault, reloadFault, deaf error
	lockFault, flipFault                     error
	drift                                    []pbx.Drift
	declared                                 []pbx.HostObject
	forgets                                  bool
	hold                                     chan struct{} // when not nil, Stage waits for it
	entered                                  chan struct{}

	switches    map[pbx.Number]pbx.Switches
	prepared    []pbx.Effect // that move or clear switches
	switchFault error
}

func (a *asterisk) Lock() (func(), bool, error) { return func() {}, a.lockFault == nil, a.lockFault }

func (a *asterisk) Recover() ([]string, error) { return nil, nil }

func (a *asterisk) Inspect() (pbx.HostState, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	site := a.site
	site.Files, site.Seen, site.Drift, site.Next = a.revisions[site.Current], a.revisions[site.LastVerified], a.drift, len(a.revisions)+1
	site.Doubted = a.doubted != 0 && a.doubted == site.Current
	return site, a.lookFault
}

func (a *asterisk) Adopt(number int, id pbx.RunID, missing []pbx.File) ([]pbx.File, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.revisions, a.running = map[int][]pbx.File{number: missing}, missing
	a.site = pbx.HostState{Current: number, LastVerified: number, RunID: id}
	return missing, nil
}

func (a *asterisk) Overwrite(save func(pbx.File) error) ([]pbx.File, error) {
	defer func() { a.drift = nil }()
	return a.revisions[a.site.Current], save(pbx.File{Path: pbx.PJSIPPath, Content: []byte("password=by-hand")})
}

func (a *asterisk) Stage(number, _ int, id pbx.RunID, files []pbx.File) error {
	if hold := a.hold; hold != nil {
		close(a.entered)
		<-hold
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.writeFault == nil {
		a.revisions[number], a.site.RunID = files, id
	}
	return a.writeFault
}

func (a *asterisk) Activate(number int, _ []pbx.File) ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.flipFault != nil {
		return nil, a.flipFault
	}
	a.site.Current = number
	return []string{"/etc/asterisk/" + pbx.PJSIPPath, "/etc/asterisk/" + pbx.DialplanPath}, nil
}

func (a *asterisk) MarkVerified(number int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.site.LastVerified, a.doubted = number, 0
	return nil
}

func (a *asterisk) Doubt(number int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.doubted = number
	return nil
}

func (a *asterisk) Prune(int, func(pbx.File) error) error { return nil }

func (a *asterisk) Reload(context.Context, []pbx.Module) (pbx.Reload, error) {
	if a.reloadFault != nil {
		refused := &pbx.CommandResult{ExitCode: 1, Stderr: "Unable to connect to remote asterisk"}
		return pbx.Reload{Results: pbx.ReloadResults{PJSIP: refused}, Understood: true}, a.reloadFault
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running = a.revisions[a.site.Current]
	return pbx.Reload{Understood: true, Results: pbx.ReloadResults{
		PJSIP:    &pbx.CommandResult{Stdout: "Module 'res_pjsip.so' reloaded successfully."},
		Dialplan: &pbx.CommandResult{Stdout: "Dialplan reloaded."},
	}}, nil
}

func (a *asterisk) Declared(context.Context) ([]pbx.HostObject, error) { return a.declared, nil }

func (a *asterisk) Live(_ context.Context, q pbx.LiveQuery) (pbx.Live, error) {
	if a.deaf != nil || a.forgets {
		return pbx.Live{Contexts: map[string][]string{pbx.Context: nil}}, a.deaf
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	inventory, err := render.Read(a.running)
	live := inventory.Live()
	live.Steps = slices.DeleteFunc(live.Steps, func(s pbx.Step) bool {
		return !slices.Contains(q.Contexts, s.Context) && !slices.Contains(q.Extens, s.Place())
	})
	return live, err
}

func (a *asterisk) Do(_ context.Context, effects []pbx.Effect) ([]pbx.Effect, error) {
	return effects, nil
}

func (a *asterisk) Switches(context.Context) (map[pbx.Number]pbx.Switches, error) {
	return maps.Clone(a.switches), a.deaf
}

func (a *asterisk) SetSwitches(_ context.Context, number pbx.Number, _, to pbx.Switches) error {
	if a.switchFault == nil {
		a.switches = maps.Clone(a.switches)
		if a.switches == nil {
			a.switches = map[pbx.Number]pbx.Switches{}
		}
		a.switches[number] = to
	}
	return a.switchFault
}

func (a *asterisk) PrepareSwitches(_ context.Context, _ int, effects []pbx.Effect) error {
	a.prepared = effects
	return a.switchFault
}

func (a *asterisk) SettleSwitches(context.Context) (changed []pbx.Number, err error) {
	for _, e := range a.prepared {
		changed = append(changed, e.Number)
	}
	a.prepared = nil
	return changed, a.switchFault
}

var errInside = errors.New("the secret inside")

// logBuffer holds the log of a portal.
type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBuffer) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
