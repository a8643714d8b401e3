package live_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/live"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/phone"
	"github.com/synergycall/pbxportal/internal/render"
)

// patience bounds a test that has stopped making progress.
const patience = 40 * time.Second

// TestMain fails when a goroutine of ours is left after all tests: each of them ends what it began.
func TestMain(m *testing.M) {
	code := m.Run()
	dump := make([]byte, 4<<20)
	dump = dump[:runtime.Stack(dump, true)]
	for stack := range bytes.SplitSeq(dump, []byte("\n\n")) {
		if regexp.MustCompile(`internal/(live\.|asterisk\.\(\*AMI\))`).Match(stack) {
			fmt.Printf("a goroutine was left:\n%s\n", stack)
			code = 1
		}
	}
	os.Exit(code)
}

// office is a real Asterisk with extensions.
type office struct {
	t     testing.TB
	pbx   *lab.Asterisk
	users []pbx.User
}

// newOffice returns an Asterisk with n extensions from 1000 on, loaded as an apply does. more is added to the AOR of each.
func newOffice(t testing.TB, n int, more string) *office {
	t.Helper()
	o := &office{t: t, pbx: labtest.Asterisk(t, lab.AsteriskOptions{PJSIP: "[global](+)\ncontact_expiration_check_interval = 1"})}
	for i := range n {
		o.users = append(o.users, pbx.User{
			Name:      fmt.Sprintf("User %d", i),
			Extension: pbx.Extension{Number: pbx.FirstNumber + pbx.Number(i), Secret: pbx.NewSecret()},
		})
	}
	o.load(o.users, more)
	return o
}

// load makes Asterisk have these users.
func (o *office) load(users []pbx.User, more string) {
	o.t.Helper()
	o.write(users, func(text string) string {
		return strings.ReplaceAll(text, "remove_existing=yes", "remove_existing=yes\n"+more)
	})
}

// edit changes the files by hand.
func (o *office) edit(change func(text string) string) {
	o.t.Helper()
	o.write(o.users, change)
}

func (o *office) write(users []pbx.User, change func(text string) string) {
	o.t.Helper()
	o.deploy(render.Options{}, users, change)
}

// deploy loads users with these options.
func (o *office) deploy(options render.Options, users []pbx.User, change func(text string) string) {
	o.t.Helper()
	files, _, err := options.Config(users)
	if err != nil {
		o.t.Fatal(err)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(o.pbx.ConfigDir, f.Path), []byte(change(string(f.Content))), 0o600); err != nil {
			o.t.Fatal(err)
		}
	}
	if _, state := o.pbx.Control().ReloadPJSIP(o.t.Context()); state != asterisk.Reloaded {
		o.t.Fatal(state)
	}
	if _, state := o.pbx.Control().ReloadDialplan(o.t.Context()); state != asterisk.Reloaded {
		o.t.Fatal(state)
	}
}

// phone returns an unregistered phone of an extension.
func (o *office) phone(number pbx.Number, agent string) *phone.Phone {
	o.t.Helper()
	user := o.users[number-pbx.FirstNumber]
	p, err := phone.New(phone.Config{
		Server: o.pbx.SIPAddr, Number: fmt.Sprint(number), Secret: user.Extension.Secret.Reveal(), UserAgent: agent,
	})
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { _ = p.Close() })
	return p
}

// registered returns a registered phone of an extension.
func (o *office) registered(number pbx.Number) *phone.Phone {
	o.t.Helper()
	p := o.phone(number, "test phone")
	o.register(p, time.Minute)
	return p
}

func (o *office) register(p *phone.Phone, expires time.Duration) {
	o.t.Helper()
	if err := p.Register(within(o.t), expires); err != nil {
		o.t.Fatal(err)
	}
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// watcher returns a watcher that runs until the test ends, with a mirror of its events.
type watcher struct {
	*live.Watcher
	t    testing.TB
	log  *logBuffer
	stop func()
}

func watch(t testing.TB, target asterisk.AMITarget) *watcher {
	t.Helper()
	return watching(t, live.Config{AMI: target})
}

// watching is watch with other settings.
func watching(t testing.TB, c live.Config) *watcher {
	t.Helper()
	log := &logBuffer{}
	c.Now, c.Log = time.Now, slog.New(slog.NewTextHandler(log, nil))
	w := &watcher{live.New(c), t, log, nil}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Errorf("the watcher ended with %v", err)
		}
	})
	w.stop = func() { cancel(); running.Wait() }
	t.Cleanup(w.stop)
	return w
}

// connected is watch and waiting for the link.
func connected(t testing.TB, target asterisk.AMITarget) *watcher {
	t.Helper()
	w := watch(t, target)
	w.until("the link is there", func(s live.Snapshot) bool { return s.Link.State == live.Connected })
	return w
}

// until waits for a condition of the state, and returns that state.
func (w *watcher) until(what string, seen func(live.Snapshot) bool) live.Snapshot {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for after := uint64(0); ; {
		s := w.Snapshot()
		if seen(s) {
			return s
		}
		u, err := w.Next(ctx, after)
		if err != nil {
			w.t.Fatalf("it was never seen that %s: %v\nlast seen: %+v\n%s", what, err, s, w.log)
		}
		after = u.ID
	}
}

// registration returns the only registration of a number; the zero value if there is none, or more than one.
func registration(s live.Snapshot, number pbx.Number) (found live.Registration) {
	n := 0
	for _, r := range s.Registrations {
		if r.Number == number {
			found, n = r, n+1
		}
	}
	if n != 1 {
		return live.Registration{}
	}
	return found
}

// mirror keeps what a listener knows who hears nothing but updates.
type mirror struct {
	after     uint64
	snapshots int
	events    []string
	state     live.Snapshot
}

// hear takes one update.
func (m *mirror) hear(t testing.TB, w *live.Watcher) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	u, err := w.Next(ctx, m.after)
	if err != nil {
		return err
	}
	if u.ID <= m.after {
		t.Errorf("after %d comes %d", m.after, u.ID)
	}
	if u.Snapshot != nil {
		m.snapshots++
		m.state = *u.Snapshot
	}
	for _, e := range u.Events {
		if e.ID <= m.after {
			t.Errorf("after %d comes the event %d", m.after, e.ID)
		}
		m.after = e.ID
		m.take(e)
	}
	m.after = u.ID
	return nil
}

func (m *mirror) take(e live.Event) {
	s := &m.state
	switch {
	case e.Registration != nil:
		m.events = append(m.events, fmt.Sprintf("%d %s", e.Registration.Number, e.Registration.State))
		s.Registrations = slices.DeleteFunc(slices.Clone(s.Registrations), func(r live.Registration) bool {
			return r.Number == e.Registration.Number && r.Address == e.Registration.Address
		})
		if e.Registration.State != live.Gone {
			s.Registrations = append(s.Registrations, *e.Registration)
		}
	case e.Call != nil:
		m.events = append(m.events, fmt.Sprintf("%s→%s %s", e.Call.From.Number, e.Call.To.Number, e.Call.State))
		s.Calls = slices.DeleteFunc(slices.Clone(s.Calls), func(c live.Call) bool { return c.ID == e.Call.ID })
		if e.Call.State != live.Ended {
			s.Calls = append(s.Calls, *e.Call)
		}
	case e.Link != nil:
		m.events = append(m.events, string(e.Link.State))
		s.Link = *e.Link
	}
}

// same compares what the mirror knows with what is, as soon as nothing is unheard.
func (m *mirror) same(t testing.TB, w *live.Watcher) {
	t.Helper()
	for range 100 {
		quiet, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := w.Next(quiet, m.after); err == nil {
			if err := m.hear(t, w); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want := w.Snapshot()
		sorted := func(s live.Snapshot) live.Snapshot {
			slices.SortFunc(s.Registrations, func(a, b live.Registration) int {
				return strings.Compare(fmt.Sprint(a.Number, a.Address), fmt.Sprint(b.Number, b.Address))
			})
			slices.SortFunc(s.Calls, func(a, b live.Call) int { return strings.Compare(a.ID, b.ID) })
			s.History = nil
			return s
		}
		if diff := cmp.Diff(sorted(want), sorted(m.state), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("the listener knows something else (-is +heard):\n%s", diff)
		}
		return
	}
	t.Error("it never becomes quiet")
}

// cable is a TCP connection that can be cut.
type cable struct {
	addr string
	to   string

	mu    sync.Mutex // guards what follows
	cut   bool
	conns []net.Conn
}

// newCable leads to an address until the test ends.
func newCable(t testing.TB, to string) *cable {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{addr: listener.Addr().String(), to: to}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { c.serve(near) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		c.pull()
		running.Wait()
	})
	return c
}

func (c *cable) serve(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer far.Close()
	c.mu.Lock()
	if c.cut {
		c.mu.Unlock()
		return
	}
	c.conns = append(c.conns, near, far)
	c.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
	both.Go(func() { _, _ = io.Copy(near, far); _ = near.Close() })
	both.Wait()
}

// pull cuts what goes through, and lets nothing through until plug.
func (c *cable) pull() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

func (c *cable) plug() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = false
}

// logBuffer holds a log.
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
