package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi"
	"github.com/synergycall/pbxportal/internal/httpapi/apitest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store"
)

// portal is the whole API over a database of its own, with a scripted Asterisk.
type portal struct {
	t         testing.TB
	url       string
	client    *http.Client
	handler   http.Handler
	store     *store.Store
	directory *directory.Directory
	asterisk  *asterisk
	log       *logBuffer
	health    pbx.Health
}

func newPortal(t testing.TB) *portal {
	t.Helper()
	s, err := store.Open("sqlite:///" + filepath.Join(t.TempDir(), "portal.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := &portal{t: t, store: s, directory: directory.New(s, time.Now), log: &logBuffer{}, client: apitest.Client(t)}
	p.health = pbx.Health{Asterisk: "ok", Version: "22.10.1"}
	p.asterisk = &asterisk{directory: p.directory}
	p.handler, err = httpapi.New(httpapi.Config{
		Directory: p.directory, Apply: apply.New(s, p.asterisk, time.Now), Version: "1.2.3", Now: time.Now,
		Health: func(context.Context) pbx.Health {
			if p.health.Asterisk == "panic" {
				panic("the secret inside")
			}
			return p.health
		},
		Log: slog.New(slog.NewJSONHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(p.handler)
	server.Config = httpapi.Server("", p.handler)
	server.Start()
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
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
		Directory: directory.New(s, time.Now), Apply: apply.New(s, &asterisk{}, time.Now), Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Health: func(context.Context) pbx.Health { return pbx.Health{} },
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
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if strings.HasSuffix(resp.Header.Get("Content-Type"), "json") {
		_ = json.Unmarshal(text, &a.json)
	}
	return a
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

// fields gives the names of the fields at fault.
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

// asterisk is an apply.Target that runs what it was told, unless a fault is scripted.
type asterisk struct {
	directory                     *directory.Directory
	writeFault, reloadFault, deaf error
	forgets                       bool
	hold                          chan struct{} // when not nil, Write waits for it
	entered                       chan struct{}
}

func (a *asterisk) Write(_ context.Context, files []pbx.File) (written []string, err error) {
	if a.hold != nil {
		close(a.entered)
		<-a.hold
	}
	if a.writeFault != nil {
		return nil, a.writeFault
	}
	for _, f := range files {
		written = append(written, "/etc/asterisk/"+f.Path)
	}
	return written, nil
}

func (a *asterisk) Reload(context.Context) (results pbx.ReloadResults, understood bool, err error) {
	if a.reloadFault != nil {
		return pbx.ReloadResults{PJSIP: &pbx.CommandResult{ExitCode: 1, Stderr: "Unable to connect to remote asterisk"}}, true, a.reloadFault
	}
	return pbx.ReloadResults{
		PJSIP:    &pbx.CommandResult{Stdout: "Module 'res_pjsip.so' reloaded successfully."},
		Dialplan: &pbx.CommandResult{Stdout: "Dialplan reloaded."},
	}, true, nil
}

func (a *asterisk) Live(ctx context.Context) (pbx.Live, error) {
	if a.deaf != nil || a.forgets {
		return pbx.Live{}, a.deaf
	}
	page, err := a.directory.List(ctx, pbx.DefaultTenant, directory.Query{})
	if err != nil {
		return pbx.Live{}, err
	}
	_, live, err := render.Config(page.Users)
	return live, err
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

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
