package cli_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/proc"
)

// pathsRead lists every path that the portal reads, from the folder of a world.
var pathsRead = []string{
	"etc/pjsip.d/synergycall/generated_endpoints.conf", "etc/extensions.d/synergycall/generated_routing.conf",
	"etc/pjsip.d/synergycall", "etc/extensions.d/synergycall",
	"etc/pjsip.d/synergycall/.portal", "etc/pjsip.d/synergycall/.portal/lock", "etc/pjsip.d/synergycall/.portal/current",
	"etc/pjsip.d/synergycall/.portal/good", "etc/pjsip.d/synergycall/.portal/gen", "etc/pjsip.d/synergycall/.portal/failed",
	"etc/pjsip.d/synergycall/.portal/gen/000002", "etc/pjsip.d/synergycall/.portal/gen/000002/manifest.json",
	"etc/pjsip.d/synergycall/.portal/gen/000002/generated_endpoints.conf", "etc/pjsip.d/synergycall/.portal/gen/000001/generated_routing.conf",
	"etc/pjsip.conf", "etc/extensions.conf", "etc/asterisk.conf", "etc/sorcery.conf", "etc/more.d/more.conf", "etc",
	"state/secret.key", "state/secret.key.new-0123456789abcdef", "state/audit.key", "state/audit-heads.jsonl",
	"state/portal.db", "state/portal.db-wal", "state/portal.db-shm", "state/portal.db-journal", "state/portal.db.apply-lock", "state/portal.db.migrate-lock",
	"state", "oidc.secret", "ami.secret", "asterisk.ctl",
}

// what is put there.
var kinds = map[string]func(path, secret string) error{
	"named pipe":   func(path, _ string) error { return unix.Mkfifo(path, 0o600) },
	"socket":       func(path, _ string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) },
	"endless":      func(path, _ string) error { return device(path, 5, "/dev/zero") },
	"full":         func(path, _ string) error { return device(path, 7, "/dev/full") },
	"folder":       func(path, _ string) error { return os.Mkdir(path, 0o700) },
	"loop":         func(path, _ string) error { return os.Symlink(filepath.Base(path), path) },
	"foreign link": func(path, secret string) error { return os.Symlink(secret, path) },
	"dangling":     func(path, _ string) error { return os.Symlink("nowhere/at/all", path) },
	"sparse": func(path, _ string) error {
		return os.WriteFile(path, nil, 0o600)
	},
	"unreadable": func(path, _ string) error { return os.WriteFile(path, []byte("x\n"), 0) },
	"large":      func(path, _ string) error { return os.WriteFile(path, make([]byte, 80<<20), 0o600) },
}

// device makes a device with the number of one of the system, or a link to that where a test may not.
func device(path string, minor uint32, usual string) error {
	if unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, minor))) == nil {
		return nil
	}
	return os.Symlink(usual, path)
}

const inForeignFile = "thisIsNobodysBusiness"

// world is a host with a portal that has everything it can have, in one folder.
type world struct{ dir string }

func (w world) at(name string) string { return filepath.Join(w.dir, name) }

func (w world) settings() settings {
	return settings{
		"DATABASE_URL": "sqlite:///" + w.at("state/portal.db"), "STATE_DIR": w.at("state"), "LISTEN_ADDR": "127.0.0.1:0",
		"ASTERISK_CONFIG_DIR": w.at("etc"), "ASTERISK_CONTROL": w.at("asterisk.ctl"),
		"AMI_USER": "portal", "AMI_ADDR": "127.0.0.1:1", "AMI_SECRET_FILE": w.at("ami.secret"),
		"OIDC_ISSUER": "http://127.0.0.1:1", "OIDC_CLIENT_ID": "portal", "OIDC_CLIENT_SECRET_FILE": w.at("oidc.secret"),
	}
}

func newWorld(t *testing.T) world {
	t.Helper()
	w := world{t.TempDir()}
	for name, text := range map[string]string{
		"etc/pjsip.conf":       "#include more.d/*.conf\n#include pjsip.d/synergycall/*.conf\n",
		"etc/extensions.conf":  "#include extensions.conf\n#include more.d/*.conf\n#include extensions.d/synergycall/*.conf\n",
		"etc/more.d/more.conf": "#include more.d/*.conf\n",
		"etc/asterisk.conf":    "[options]\n",
		"etc/sorcery.conf":     "[res_pjsip]\n",
		"oidc.secret":          "s3cret\n",
		"ami.secret":           "s3cret\n",
		"foreign":              inForeignFile + "\n",
	} {
		if err := os.MkdirAll(filepath.Dir(w.at(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(w.at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := w.settings()
	s.must(t, "user", "add", "Anna Example", "anna@example.com")
	s.must(t, "install")
	if code, _, errs := s.run(t, "apply"); code == 0 { // there is no Asterisk; the files are in place
		t.Fatalf("an apply without Asterisk ended well: %s", errs)
	}
	s.must(t, "audit", "head")
	if _, err := os.Stat(w.at("etc/pjsip.d/synergycall/.portal/gen/000002/generated_endpoints.conf")); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w world) copy(t *testing.T) world {
	t.Helper()
	c := world{filepath.Join(t.TempDir(), "w")}
	if r, err := proc.Run(t.Context(), proc.Command{Argv: []string{"cp", "-a", w.dir, c.dir}}); err != nil || r.ExitCode != 0 {
		t.Fatal(r, err)
	}
	return c
}

// put places a file of a kind at a path, and returns a function that restores the previous one.
func (w world) put(t *testing.T, name, kind string) (back func()) {
	t.Helper()
	path, aside := w.at(name), w.at("aside")
	there := os.Rename(path, aside) == nil
	err := kinds[kind](path, w.at("foreign"))
	if err == nil && kind == "sparse" {
		err = os.Truncate(path, 40<<30)
	}
	if err != nil {
		t.Fatalf("%s at %s: %v", kind, name, err)
	}
	return func() {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(aside, path); there && err != nil && !errors.Is(err, fs.ErrNotExist) { // its revision may be put aside by now
			t.Fatal(err)
		}
	}
}

// answers sends a request, and fails where no answer comes; any answer will do.
func (s *server) answers(t *testing.T, what, method, path, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it takes a moment; a loaded machine takes longer
	defer cancel()
	got, err := s.ask(ctx, method, path, body)
	if err != nil {
		t.Errorf("%s: %s %s has no answer: %v", what, method, path, err)
	}
	if strings.Contains(got.body, inForeignFile) {
		t.Errorf("%s: %s %s shows what the link leads to:\n%s", what, method, path, got.body)
	}
}

// A running server answers every request, and ends when it is asked to, whatever replaces its files.
func TestAServerAnswersAndEndsWhateverTakesThePlaceOfItsFilesAtLength(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	srv := w.settings().serve(t)
	every := []string{"named pipe", "endless", "foreign link", "folder", "socket", "full", "loop", "dangling", "sparse", "large"}
	done := 0
	for i, name := range labtest.Soak(pathsRead[:14], pathsRead) {
		for _, kind := range labtest.Soak([]string{every[i%3]}, every) {
			what := fmt.Sprintf("%s at %s", kind, name)
			back := w.put(t, name, kind)
			srv.answers(t, what, "GET", "/health", "")
			srv.answers(t, what, "GET", "/plan", "")
			srv.answers(t, what, "POST", "/apply", `{"triggered_by":"anna"}`)
			srv.answers(t, what, "GET", "/users", "")
			back()
			done++
		}
	}
	t.Logf("%d things, and 4 requests at each", done)
	srv.want(t, 200, "GET", "/users", "")

	w.put(t, pathsRead[0], "named pipe")
	for range 20 { // no caller waits for these any more
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, _ = srv.ask(ctx, "GET", "/health", "")
		cancel()
	}
	if err := srv.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := srv.Wait(ctx); err != nil {
		t.Errorf("the server does not end: %v\n%s", err, srv.logged(t))
	}
}

// within runs a command in this process, and fails where it does not end.
func (s settings) within(t *testing.T, what string, args ...string) (code int, output string) {
	t.Helper()
	type end struct {
		code   int
		output string
	}
	ended := make(chan end, 1)
	go func() {
		code, out, errs := s.run(t, args...)
		ended <- end{code, out + errs}
	}()
	select {
	case e := <-ended:
		return e.code, e.output
	case <-time.After(2 * time.Minute): // it takes a moment; a loaded machine takes longer
		t.Fatalf("%s: %v does not end", what, args)
		return 0, ""
	}
}

// Whatever lies where the portal reads, every command ends, in bounded memory and with words; what a link leads to is not shown; and with
// the right thing back in its place everything is there.
func TestNoPathThatIsNoRegularFileHangsAnythingOrLosesAnythingAtLength(t *testing.T) {
	t.Parallel()
	template := newWorld(t)
	commands := [][]string{{"plan", "--diff"}, {"apply"}, {"doctor"}, {"recover"}, {"apply", "--force"}, {"audit", "verify"}}
	every := []string{"named pipe", "socket", "endless", "full", "folder", "loop", "foreign link", "dangling", "sparse", "unreadable", "large"}
	done := 0
	for i, name := range pathsRead {
		chosen := labtest.Soak([]string{every[0], every[1+(i/2+7)%10]}[:1+i%2], every) // the second generated file is sparse
		for j, kind := range chosen {
			w := template.copy(t)
			s := w.settings()
			back := w.put(t, name, kind)
			for _, command := range labtest.Soak(commands[(i+j)%6:][:1], commands) {
				what := fmt.Sprintf("%s at %s", kind, name)
				code, output := s.within(t, what, command...)
				if code != 0 && strings.TrimSpace(output) == "" {
					t.Errorf("%s: %v ends with exit code %d and says nothing", what, command, code)
				}
				if strings.Contains(output, inForeignFile) {
					t.Errorf("%s: %v shows what the link leads to:\n%s", what, command, output)
				}
				if strings.Contains(output, "panic") {
					t.Errorf("%s: %v:\n%s", what, command, output)
				}
				done++
			}
			back()
			if code, output := s.within(t, "put back", "user", "list"); code != 0 || !strings.Contains(output, "anna@example.com") {
				t.Errorf("%s at %s, and then taken away: exit code %d\n%s", kind, name, code, output)
			}
			if text, err := os.ReadFile(w.at("foreign")); err != nil || string(text) != inForeignFile+"\n" {
				t.Errorf("%s at %s: the foreign file now holds %q %v", kind, name, text, err)
			}
			if err := os.RemoveAll(w.dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%d commands, %d MiB", done, m.Sys>>20)
	if m.Sys > 2<<30 {
		t.Errorf("the process took %d MiB", m.Sys>>20)
	}
}
