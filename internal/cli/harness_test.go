package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/cli"
	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/proc"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// TestMain makes the test binary the portal itself when it is asked to be, so that tests can start real processes of it.
func TestMain(m *testing.M) {
	if os.Getenv("PBXPORTAL_BE_THE_PORTAL") == "" {
		os.Exit(m.Run())
	}
	ctx, stop := cli.WithSignals(context.Background(), os.Stderr)
	code := cli.Run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// bePortal is the environment that asks it.
func bePortal() []string {
	return []string{"PBXPORTAL_BE_THE_PORTAL=1", "GORACE=" + os.Getenv("GORACE")}
}

// settings is the environment of a portal.
type settings map[string]string

// newSettings returns settings for a portal with a new SQLite database and no Asterisk.
func newSettings(t *testing.T) settings {
	t.Helper()
	return settings{
		"DATABASE_URL": storetest.SQLite(t), "STATE_DIR": t.TempDir(), "LISTEN_ADDR": "127.0.0.1:0",
		"ASTERISK_CONFIG_DIR": t.TempDir(), "ASTERISK_CONTROL": filepath.Join(t.TempDir(), "none.ctl"),
	}
}

// beside sets the settings of an Asterisk.
func (s settings) beside(a *lab.Asterisk) settings {
	s["ASTERISK_CONFIG_DIR"], s["ASTERISK_CONTROL"] = a.ConfigDir, a.ControlSocket
	return s
}

// run runs one command in this process.
func (s settings) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return s.runWith(t, "", args...)
}

// runWith runs one command in this process, with a text as its standard input.
func (s settings) runWith(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	getenv := func(name string) (string, bool) { v, ok := s[name]; return v, ok }
	code = cli.Run(t.Context(), args, getenv, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// must runs one command that must succeed, and returns its output.
func (s settings) must(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := s.run(t, args...)
	if code != 0 {
		t.Fatalf("%v: exit code %d\n%s%s", args, code, out, errs)
	}
	return out
}

// portal runs the portal in its own process until it ends, and returns the exit code and the output.
func portal(t *testing.T, args []string, env ...string) (code int, output string) {
	t.Helper()
	return portalIn(t, t.TempDir(), args, env...)
}

// portalIn does so in a folder.
func portalIn(t *testing.T, dir string, args []string, env ...string) (code int, output string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	result, err := proc.Run(t.Context(), proc.Command{
		Argv: append([]string{self}, args...), Env: append(bePortal(), env...), Dir: dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	return result.ExitCode, result.Stdout + result.Stderr
}

// server is a portal in a process of its own.
type server struct {
	*proc.Process
	url, log string
	token    string // which its requests carry
}

// process returns what starts a portal with these settings in a process of its own.
func (s settings) process(t *testing.T, args []string) (argv, env []string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	env = bePortal()
	for name, value := range s {
		env = append(env, name+"="+value)
	}
	return append([]string{self}, args...), env
}

// serve starts a server and waits until it says where it is.
func (s settings) serve(t *testing.T, args ...string) *server {
	t.Helper()
	argv, env := s.process(t, append([]string{"serve"}, args...))
	var err error
	srv := &server{log: filepath.Join(t.TempDir(), "portal.log"), token: strings.TrimSpace(s.must(t, "token", "create", "test", "--role", "admin"))}
	if srv.Process, err = proc.Start(proc.Command{Argv: argv, Env: env, Dir: t.TempDir()}, srv.log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Kill() })
	eventually(t, "the server says where it is", func() bool {
		found := regexp.MustCompile(`msg=serving (?:.* )?url=(\S+)`).FindStringSubmatch(srv.logged(t))
		if found != nil {
			srv.url = found[1]
		}
		select {
		case <-srv.Done():
			t.Fatalf("the server ended:\n%s", srv.logged(t))
		default:
		}
		return found != nil
	})
	return srv
}

func (s *server) logged(t *testing.T) string {
	t.Helper()
	log, err := os.ReadFile(s.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(log)
}

// answer is what a server said.
type answer struct {
	status int
	body   string
}

// ask sends a request; a body that is not "" is JSON.
func (s *server) ask(ctx context.Context, method, path, body string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(text)}, err
}

// want requires an answer with a status, and returns its JSON body.
func (s *server) want(t *testing.T, status int, method, path, body string) map[string]any {
	t.Helper()
	got, err := s.ask(t.Context(), method, path, body)
	if err != nil || got.status != status {
		t.Fatalf("%s %s: %v %v, want status %d", method, path, got, err, status)
	}
	return decode(t, got.body)
}

func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return v
}

// eventually waits until a thing the outside world does has happened.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !happened() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("it never came to pass that " + what)
		}
	}
}

func newUserJSON(i int) string {
	return fmt.Sprintf(`{"name":"User %d","email":"user%d@example.com"}`, i, i)
}
