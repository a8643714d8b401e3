//go:build linux

package faults_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/asterisk"
	"github.com/synergycall/pbxportal/internal/cli"
	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/node"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store"
)

// TestMain lets the test binary run as the portal, so that tests can start and kill real processes of it.
func TestMain(m *testing.M) {
	if os.Getenv("PBXPORTAL_BE_THE_PORTAL") == "" {
		flag.Parse()
		os.Exit(m.Run())
	}
	if os.Getenv(traceMe) != "" {
		beTraced()
	}
	cli.AdmitGroup()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// site is a host with a portal and a real Asterisk, accessed from outside: through files, the command line, the database, and Asterisk's
// console.
type site struct {
	asterisk  *lab.Asterisk
	control   *asterisk.Control
	store     *store.Store
	directory *directory.Directory
	local     *node.Local
	engine    *apply.Engine // for inspection; the portal under test runs as a process, or through the command line
	env       map[string]string
	options   render.Options // of the portal under test
	modules   string         // original modules.conf
	gate      string         // see busy
	others    *sync.WaitGroup
	undo      []func() // see later
}

// newSite returns a site with the database of the URL and some applied users.
func newSite(t *testing.T, a *lab.Asterisk, url string, users int) *site {
	t.Helper()
	s := lookAt(t, a, url)
	for range users {
		s.create(t)
	}
	s.must(t, "apply")
	return s
}

// lookAt returns a site with the database of the URL.
func lookAt(t *testing.T, a *lab.Asterisk, url string) *site {
	t.Helper()
	var err error
	s := &site{asterisk: a, control: a.Control(), env: map[string]string{
		"DATABASE_URL": url, "STATE_DIR": t.TempDir(), "LISTEN_ADDR": "127.0.0.1:0", "ASTERISK_CONFIG_DIR": a.ConfigDir, "ASTERISK_CONTROL": a.ControlSocket,
		"SECRET_KEY": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", // several portals on one database share it
	}}
	if s.local, err = node.New(a.ConfigDir, s.control); err != nil {
		t.Fatal(err)
	}
	s.open(t)
	t.Cleanup(s.shut)
	return s
}

// open opens the database, for inspection and for changing users.
func (s *site) open(t *testing.T) {
	t.Helper()
	db, err := store.Open(s.env["DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys, err := keyring.Source{Value: s.env["SECRET_KEY"]}.Load()
	if err != nil {
		t.Fatal(err)
	}
	db.UseKeys(keys, false)
	s.store, s.directory = db, directory.New(db, now)
	s.engine = apply.New(apply.Config{Store: db, Target: s.local, Now: now, Render: s.options})
}

// shut closes the database, so that only the portal under test has it open.
func (s *site) shut() { _ = s.store.Close() }

func now() time.Time { return time.Now() }

// environ returns the environment of a process of the portal.
func (s *site) environ() []string {
	env := []string{"PBXPORTAL_BE_THE_PORTAL=1", "PATH=" + os.Getenv("PATH"), "HOME=/", "GORACE=" + os.Getenv("GORACE")}
	for name, value := range s.env {
		env = append(env, name+"="+value)
	}
	return env
}

// run runs one command of the portal.
func (s *site) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return s.runIn(t.Context(), args...)
}

func (s *site) runIn(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = cli.Run(ctx, args, func(name string) (string, bool) { v, ok := s.env[name]; return v, ok }, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// must runs one command that must succeed, and returns its output.
func (s *site) must(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := s.run(t, args...)
	if code != 0 {
		t.Fatalf("%v: exit code %d\n%s%s", args, code, out, errs)
	}
	return out
}

// ran is the output of apply --json.
type ran struct {
	ID           string   `json:"audit_log_id"`
	Outcome      string   `json:"outcome"`
	Result       string   `json:"result"`
	Revision     int      `json:"revision"`
	Verification string   `json:"verification"`
	Differences  []string `json:"differences"`
	Users        int      `json:"users_applied"`
	Code         string   `json:"code"`
	Error        string   `json:"error"`
	Reload       struct {
		PJSIP    *answer `json:"pjsip_reload"`
		Dialplan *answer `json:"dialplan_reload"`
	} `json:"reload_results"`
}

type answer struct {
	ExitCode int    `json:"exit_code"`
	Stdout   string `json:"stdout"`
	Stderr   string `json:"stderr"`
}

// apply runs an apply, and returns its exit code and output.
func (s *site) apply(t *testing.T, args ...string) (code int, r ran) {
	t.Helper()
	code, out, errs := s.run(t, append([]string{"apply", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &r); err != nil && code == 0 {
		t.Fatalf("%v in %s%s", err, out, errs)
	}
	if (code == 0) != (r.Outcome == "success") {
		t.Errorf("exit code %d, but outcome %q", code, r.Outcome)
	}
	return code, r
}

func (s *site) create(t *testing.T) pbx.User {
	t.Helper()
	name := fmt.Sprintf("User %016x", rand.Uint64())
	u, err := s.directory.Create(t.Context(), pbx.DefaultTenant, pbx.NewUser{Name: name, Email: strings.ReplaceAll(name, " ", "") + "@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (s *site) remove(t *testing.T, u pbx.User) {
	t.Helper()
	if _, err := s.directory.Delete(t.Context(), pbx.DefaultTenant, u.ID); err != nil {
		t.Fatal(err)
	}
}

func (s *site) users(t *testing.T) []pbx.User {
	t.Helper()
	users, err := s.store.Users(t.Context(), pbx.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	return users
}

// replace reassigns the number of a user to a new one: the smallest change that affects every object of an extension.
func (s *site) replace(t *testing.T) {
	t.Helper()
	users := s.users(t)
	s.remove(t, users[rand.IntN(len(users))])
	s.create(t)
}

// pair is the contents of both files, as read at the two fixed paths, and of the optional ones, "" for those that are not there.
type pair [5]string

func (s *site) pair() (p pair, err error) {
	for i, f := range pbx.GeneratedFiles() {
		text, err := os.ReadFile(filepath.Join(s.asterisk.ConfigDir, f.Path))
		if err != nil && !(f.Optional && errors.Is(err, fs.ErrNotExist)) {
			return p, err
		}
		p[i] = string(text)
	}
	return p, nil
}

// pairOf returns the contents of files of a revision.
func pairOf(files []pbx.File) (p pair) {
	for i, f := range pbx.GeneratedFiles() {
		p[i] = string(pbx.ContentOf(files, f.Path))
	}
	return p
}

func (s *site) mustPair(t *testing.T) pair {
	t.Helper()
	p, err := s.pair()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// meant returns the intended files, and the intended state of a live Asterisk, for the users in the database.
func (s *site) meant(t *testing.T) (pair, pbx.Live) {
	t.Helper()
	m, err := s.store.Model(t.Context(), pbx.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.options.Next(render.Rendered{}, m)
	if err != nil {
		t.Fatal(err)
	}
	return pairOf(r.Files), r.Inventory.Live()
}

// said parses a pair of files into the state of an Asterisk that has loaded them.
func said(t *testing.T, p pair) pbx.Live {
	t.Helper()
	var files []pbx.File
	for i, f := range pbx.GeneratedFiles() {
		if p[i] != "" {
			files = append(files, pbx.File{Path: f.Path, Content: []byte(p[i])})
		}
	}
	inventory, err := render.Read(files)
	if err != nil {
		t.Fatal(err)
	}
	return inventory.Live()
}

// runs returns the differences between the live Asterisk and the intended state, with the content of every object: "" for none.
func (s *site) runs(ctx context.Context, want pbx.Live) string {
	q := pbx.WholeQuery()
	for name := range want.Hashes {
		q.Contents = append(q.Contents, name)
	}
	for context := range want.Contexts {
		if !slices.Contains(q.Contexts, context) {
			q.Contexts = append(q.Contexts, context)
		}
	}
	live, err := s.local.Live(ctx, q)
	if err != nil {
		return err.Error()
	}
	want.Steps = slices.SortedFunc(slices.Values(want.Steps), byStep)
	slices.SortFunc(live.Steps, byStep)
	return cmp.Diff(want, live, cmpopts.EquateEmpty())
}

func byStep(a, b pbx.Step) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }

// litter returns the paths of files left in the portal's folders that should not be there.
func (s *site) litter(t *testing.T) (found []string) {
	t.Helper()
	for _, dir := range []string{filepath.Dir(pbx.PJSIPPath), filepath.Dir(pbx.DialplanPath)} {
		err := filepath.WalkDir(filepath.Join(s.asterisk.ConfigDir, dir), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if name := d.Name(); strings.HasPrefix(name, ".") && name != ".portal" {
				found = append(found, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// logs returns all audit records, newest first.
func (s *site) logs(t *testing.T) []pbx.ApplyLog {
	t.Helper()
	logs, err := s.store.Logs(t.Context(), time.Time{}, "", 100_000)
	if err != nil {
		t.Fatal(err)
	}
	return logs
}

// records returns the newest runs, without the given number of oldest ones.
func (s *site) records(t *testing.T, known int) []pbx.Run {
	t.Helper()
	var all []pbx.Run
	logs := s.logs(t)
	for _, l := range logs[:len(logs)-known] {
		run, ok, err := s.store.Run(t.Context(), l.ID)
		if err != nil || !ok {
			t.Fatalf("the record %s has no run details: %v", l.ID, err)
		}
		all = append(all, run)
	}
	return all
}

// eventually waits for an external condition.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	if !within(t.Context(), 20*time.Second, happened) {
		t.Fatal("timed out waiting until " + what)
	}
}

func within(ctx context.Context, limit time.Duration, happened func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !happened() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// wait waits for a fixed time, where there is no condition to wait for.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
