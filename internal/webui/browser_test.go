//go:build !race

// These tests drive a browser, which knows no race detector, and the program as it is built.

package webui_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/phone"
	"github.com/synergycall/pbxportal/internal/proc"
)

// suiteTime bounds one suite. Each takes a minute or so on two cores.
const suiteTime = 8 * time.Minute

// root is the folder of the repository.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// suite runs one of the browser suites in web/e2e. What it needs and does not find is a failure, with the cure.
func suite(t *testing.T, name string, env ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), suiteTime)
	defer cancel()
	if _, err := os.Stat(filepath.Join(root(t), "web/node_modules/playwright-core")); err != nil {
		t.Fatal("the packages of web/ are not installed: run scripts/web browser, as make test does")
	}
	chromium := os.Getenv("CHROMIUM")
	if chromium == "" {
		found, err := proc.Find("chromium")
		if err != nil {
			t.Fatal("there is no Chromium: run scripts/web browser, as make test does, or say in CHROMIUM where one is")
		}
		chromium = found
	}
	result, err := proc.Run(ctx, proc.Command{
		Argv: []string{"node", "e2e/" + name + ".mjs"}, Dir: filepath.Join(root(t), "web"),
		Env:    append(env, "CHROMIUM="+chromium, "HOME="+t.TempDir(), "FAILURES="+os.Getenv("FAILURES"), "LC_ALL=C.UTF-8"),
		OnLine: func(line string) { t.Log(line) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if result.ExitCode != 0 {
		t.Errorf("the suite %s ended with exit code %d", name, result.ExitCode)
	}
}

// One after the other: each wants the machine for itself.
func TestThePagesAreAsTheyMustBeInARealBrowser(t *testing.T) { //nolint:paralleltest // it measures how long frames take
	suite(t, "paper")
}

func TestThePortalIsUsedInARealBrowserWithRealPhones(t *testing.T) { //nolint:paralleltest // see above
	w := newWorkshop(t)
	w.start(t)
	control := httptest.NewServer(w.routes())
	t.Cleanup(control.Close)
	suite(t, "real", "PORTAL="+w.url(), "CONTROL="+control.URL, "SETUP="+w.setupLink(t), "SIP="+w.sip)
}

// workshop is what the browser cannot do itself: telephones, and a portal that stops and starts.
type workshop struct {
	binary, addr, sip string
	env               []string
	dir               string

	mu     sync.Mutex // guards what follows
	portal *proc.Process
	phones map[string]*phone.Phone
	calls  []*phone.Call
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	w := &workshop{binary: filepath.Join(t.TempDir(), "pbxportal"), dir: t.TempDir(), phones: map[string]*phone.Phone{}}
	built, err := proc.Run(t.Context(), proc.Command{
		Argv: []string{"go", "build", "-trimpath", "-o", w.binary, "./cmd/pbxportal"}, Dir: root(t),
		Env: []string{"CGO_ENABLED=0", "HOME=" + os.Getenv("HOME"), "GOFLAGS=" + os.Getenv("GOFLAGS"), "GOPROXY=" + os.Getenv("GOPROXY")},
	})
	if err != nil || built.ExitCode != 0 {
		t.Fatalf("cannot build the program: %v\n%s", err, built.Stderr)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = listener.Addr().String() // the same after each start
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	a := labtest.Asterisk(t)
	w.sip = a.SIPAddr
	w.env = []string{
		"STATE_DIR=" + filepath.Join(w.dir, "state"), "LISTEN_ADDR=" + w.addr, "ASTERISK_CONFIG_DIR=" + a.ConfigDir, "ASTERISK_CONTROL=" + a.ControlSocket,
		"AMI_ADDR=" + a.AMI.Addr, "AMI_USER=" + a.AMI.User, "AMI_SECRET=" + a.AMI.Secret,
	}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, p := range w.phones {
			_ = p.Close() // the show is over
		}
		if w.portal != nil {
			_ = w.portal.Kill()
		}
	})
	return w
}

func (w *workshop) url() string { return "http://" + w.addr }

// start starts the portal and returns when it answers.
func (w *workshop) start(t *testing.T) {
	t.Helper()
	if err := w.run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (w *workshop) run(ctx context.Context) error {
	p, err := proc.Start(proc.Command{Argv: []string{w.binary, "serve"}, Env: w.env, Dir: w.dir}, filepath.Join(w.dir, "portal.log")) //nolint:contextcheck // it outlives the call that starts it
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.portal = p
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url()+"/health", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			return resp.Body.Close()
		}
		select {
		case <-tick.C:
		case <-p.Done():
			log, _ := os.ReadFile(filepath.Join(w.dir, "portal.log"))
			return fmt.Errorf("the portal ended:\n%s", log)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *workshop) stop(ctx context.Context) error {
	w.mu.Lock()
	p := w.portal
	w.mu.Unlock()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	_, err := p.Wait(ctx)
	return err
}

// setupLink asks the program for the link with which the first account is made.
func (w *workshop) setupLink(t *testing.T) string {
	t.Helper()
	result, err := proc.Run(t.Context(), proc.Command{Argv: []string{w.binary, "admin", "setup-link"}, Env: w.env, Dir: w.dir})
	if err != nil || result.ExitCode != 0 {
		t.Fatalf("cannot get a set-up link: %v\n%s%s", err, result.Stdout, result.Stderr)
	}
	found := regexp.MustCompile(`setup#(\S+)`).FindStringSubmatch(result.Stdout)
	if found == nil {
		t.Fatalf("there is no link in: %s", result.Stdout)
	}
	return w.url() + "/app/setup#" + found[1]
}

// routes are the calls of the suite, each a POST with a small JSON object.
func (w *workshop) routes() http.Handler {
	mux := http.NewServeMux()
	route := func(name string, do func(context.Context, order) error) {
		mux.HandleFunc("POST /"+name, func(rw http.ResponseWriter, r *http.Request) {
			var o order
			err := json.NewDecoder(r.Body).Decode(&o)
			if err == nil {
				ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
				defer cancel()
				err = do(ctx, o)
			}
			if err != nil {
				http.Error(rw, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	route("register", w.register)
	route("unregister", func(ctx context.Context, o order) error { return w.phone(o.Number).Unregister(ctx) })
	route("call", w.call)
	route("hang-up", w.hangUp)
	route("stop", func(ctx context.Context, _ order) error { return w.stop(ctx) })
	route("start", func(ctx context.Context, _ order) error { return w.run(ctx) })
	return mux
}

type order struct {
	Number int    `json:"number"`
	To     int    `json:"to"`
	Secret string `json:"secret"`
}

func (w *workshop) phone(number int) *phone.Phone {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.phones[strconv.Itoa(number)]
}

func (w *workshop) register(ctx context.Context, o order) error {
	p := w.phone(o.Number)
	if p == nil {
		var err error
		if p, err = phone.New(phone.Config{Server: w.sip, Number: strconv.Itoa(o.Number), Secret: o.Secret, Name: "Desk phone"}); err != nil {
			return err
		}
		w.mu.Lock()
		w.phones[strconv.Itoa(o.Number)] = p
		w.mu.Unlock()
	}
	return p.Register(ctx, 5*time.Minute)
}

// call lets one phone call another, which answers.
func (w *workshop) call(ctx context.Context, o order) error {
	from, to := w.phone(o.Number), w.phone(o.To)
	if from == nil || to == nil {
		return errors.New("one of the phones has not registered")
	}
	out, err := from.Dial(ctx, strconv.Itoa(o.To))
	if err != nil {
		return err
	}
	in, err := to.Incoming(ctx)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.calls = append(w.calls, out)
	w.mu.Unlock()
	return errors.Join(in.Accept(ctx), out.Answered(ctx))
}

func (w *workshop) hangUp(ctx context.Context, _ order) error {
	w.mu.Lock()
	calls := w.calls
	w.calls = nil
	w.mu.Unlock()
	var err error
	for _, c := range calls {
		err = errors.Join(err, c.Hangup(ctx))
	}
	return err
}
