//go:build !race

// These tests drive a browser, which knows no race detector, and the program as it is built.

package webui_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/phone"
	"github.com/synergycall/pbxportal/internal/proc"
)

// suiteTime bounds one suite. On two cores the longest takes three minutes alone, and others run beside it.
const suiteTime = 15 * time.Minute

// root is the folder of the repository.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// suite runs one of the browser suites in web/e2e. What it needs and does not find is a failure, with the fix.
func suite(t *testing.T, name string, env ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), suiteTime)
	defer cancel()
	if _, err := os.Stat(filepath.Join(root(t), "web/node_modules/playwright-core")); err != nil {
		t.Fatal("the packages of web/ are not installed: run scripts/web browser, as make test does")
	}
	chromium := os.Getenv("CHROMIUM")
	if chromium == "" {
		found, err := proc.Find("chromium-headless-shell") // Chromium without windows, which takes a third less time
		if err != nil {
			t.Fatal("there is no Chromium: run scripts/web browser, as make test does, or set CHROMIUM to the path of one")
		}
		chromium = found
	}
	result, err := proc.Run(ctx, proc.Command{
		Argv: []string{filepath.Join(root(t), "scripts/web"), "node", "e2e/" + name + ".mjs"}, Dir: filepath.Join(root(t), "web"),
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

func TestThePagesAreAsTheyMustBeInARealBrowser(t *testing.T) {
	t.Parallel()
	suite(t, "paper")
}

func TestThePortalIsUsedInARealBrowserWithRealPhones(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	suite(t, "real", w.open(t)...)
}

// The first portal is set up without a fault, the second meets every one that can be met on the way.
func TestANewcomerGetsFromTheSetUpLinkToARegisteredPhone(t *testing.T) {
	t.Parallel()
	smooth, rough := newWorkshop(t), newWorkshop(t)
	env := smooth.open(t)
	for _, e := range rough.open(t) {
		env = append(env, "ROUGH_"+e)
	}
	suite(t, "newcomer", env...)
}

func TestThePageReportsOutagesAndHeals(t *testing.T) {
	t.Parallel()
	database, url := labtest.PostgresServer(t)
	w := newWorkshop(t, "DATABASE_URL="+url)
	w.database = database
	suite(t, "trouble", w.open(t)...)
}

func TestThePagesAreThereInASecondAndKeepUpWithTheHand(t *testing.T) { //nolint:paralleltest // it measures how long frames take
	suite(t, "speed", newWorkshop(t).open(t)...)
}

// workshop is what the browser cannot do itself: telephones, and a portal, an Asterisk, a database and a link that go and come back.
type workshop struct {
	binary, addr string
	env          []string
	dir          string
	asterisk     *lab.Asterisk
	link         *relay        // between the portal and Asterisk's Manager Interface
	database     *lab.Postgres // nil: the portal has SQLite

	mu     sync.Mutex // guards what follows
	portal *proc.Process
	phones map[string]*phone.Phone
	calls  []*phone.Call
}

// newWorkshop prepares a portal with the usual and these settings.
func newWorkshop(t *testing.T, settings ...string) *workshop {
	t.Helper()
	w := &workshop{binary: labtest.Program(t, root(t)), dir: t.TempDir(), phones: map[string]*phone.Phone{}}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = listener.Addr().String() // the same after each start
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	a := labtest.Asterisk(t)
	w.asterisk, w.link = a, newRelay(t, a.AMI.Addr)
	w.env = append([]string{
		"STATE_DIR=" + filepath.Join(w.dir, "state"), "LISTEN_ADDR=" + w.addr, "ASTERISK_CONFIG_DIR=" + a.ConfigDir, "ASTERISK_CONTROL=" + a.ControlSocket,
		"AMI_ADDR=" + w.link.addr, "AMI_USER=" + a.AMI.User, "AMI_SECRET=" + a.AMI.Secret,
	}, settings...)
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

// open starts the portal, and returns the environment of a suite.
func (w *workshop) open(t *testing.T) (env []string) {
	t.Helper()
	if err := w.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	control := httptest.NewServer(w.routes())
	t.Cleanup(control.Close)
	return []string{"PORTAL=" + w.url(), "CONTROL=" + control.URL, "SETUP=" + w.setupLink(t)}
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

func (w *workshop) kill() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.portal.Kill()
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

// routes are the calls of the suite, each a POST with a small JSON object. The answer says when the act began and when it was done, in
// milliseconds since 1970.
func (w *workshop) routes() http.Handler {
	mux := http.NewServeMux()
	route := func(name string, do func(context.Context, order) error) {
		mux.HandleFunc("POST /"+name, func(rw http.ResponseWriter, r *http.Request) {
			var o order
			err := json.NewDecoder(r.Body).Decode(&o)
			var began, done time.Time
			if err == nil {
				ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
				defer cancel()
				began = time.Now()
				err = do(ctx, o)
				done = time.Now()
			}
			if err != nil {
				http.Error(rw, err.Error(), http.StatusInternalServerError)
				return
			}
			_ = json.NewEncoder(rw).Encode(map[string]float64{"began": milliseconds(began), "done": milliseconds(done)}) // the suite has gone
		})
	}
	route("register", w.register)
	route("unregister", func(ctx context.Context, o order) error { return w.phone(o.Number).Unregister(ctx) })
	route("call", w.call)
	route("hang-up", w.hangUp)
	route("stop", func(ctx context.Context, _ order) error { return w.stop(ctx) })
	route("kill", func(context.Context, order) error { return w.kill() })
	route("start", func(ctx context.Context, _ order) error { return w.run(ctx) })
	route("asterisk/kill", func(context.Context, order) error { return w.asterisk.Kill() })
	route("asterisk/start", func(ctx context.Context, _ order) error { return w.asterisk.Restart(ctx) })
	route("database/kill", func(context.Context, order) error { return w.database.Kill() })
	route("database/start", func(ctx context.Context, _ order) error { return w.database.Restart(ctx) })
	route("link/cut", func(context.Context, order) error { return w.link.cut() })
	route("link/restore", func(ctx context.Context, _ order) error { return w.link.restore(ctx) })
	route("foreign/put", func(context.Context, order) error { return os.WriteFile(w.foreign(), []byte("; not ours\n"), 0o600) })
	route("foreign/take", func(context.Context, order) error { return os.Remove(w.foreign()) })
	return mux
}

func milliseconds(at time.Time) float64 { return float64(at.UnixMicro()) / 1000 }

// foreign is an external file among the generated ones.
func (w *workshop) foreign() string {
	return filepath.Join(w.asterisk.ConfigDir, "pjsip.d", "synergycall", "by-hand.conf")
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
		if p, err = phone.New(phone.Config{Server: w.asterisk.SIPAddr, Number: strconv.Itoa(o.Number), Secret: o.Secret, Name: "Desk phone"}); err != nil {
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

// relay passes on what comes, until it is cut.
type relay struct {
	addr, to string

	mu       sync.Mutex // guards what follows
	listener net.Listener
	open     map[net.Conn]bool
	work     sync.WaitGroup
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	r := &relay{addr: "127.0.0.1:0", to: to, open: map[net.Conn]bool{}}
	if err := r.restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.addr = r.listener.Addr().String() // the same after each cut
	t.Cleanup(func() {
		_ = r.cut() // it may be cut already
		r.work.Wait()
	})
	return r
}

// restore lets connections through again.
func (r *relay) restore(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", r.addr)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.listener = listener
	r.mu.Unlock()
	r.work.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return // cut
			}
			out, err := (&net.Dialer{}).Dial("tcp", r.to)
			if err != nil {
				_ = in.Close() // as if there had been no answer
				continue
			}
			r.mu.Lock()
			r.open[in], r.open[out] = true, true
			r.mu.Unlock()
			r.work.Go(func() { r.pass(in, out) })
			r.work.Go(func() { r.pass(out, in) })
		}
	})
	return nil
}

// pass copies one way, and ends both when either has ended.
func (r *relay) pass(from, to net.Conn) {
	_, _ = io.Copy(to, from) // its end is all there is to know
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range []net.Conn{from, to} {
		_ = c.Close()
		delete(r.open, c)
	}
}

// cut ends all connections, and refuses new ones.
func (r *relay) cut() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.open {
		_ = c.Close()
	}
	return r.listener.Close()
}
