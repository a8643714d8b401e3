package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
)

// host is a machine with a file for the service's settings, and a folder in which commands are run.
type host struct {
	system, state string
	env           map[string]string
}

func newHost(t *testing.T, folder, system string) *host {
	t.Helper()
	t.Chdir(t.TempDir())
	h := &host{system: filepath.Join(t.TempDir(), "pbxportal.env"), state: t.TempDir()}
	h.env = map[string]string{"ASTERISK_CONFIG_DIR": t.TempDir(), "ASTERISK_CONTROL": filepath.Join(h.state, "none.ctl")}
	for path, text := range map[string]string{".env": folder, h.system: system} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(path, []byte(strings.NewReplacer("STATE_DIR", "STATE_DIR", "STATE", h.state).Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h *host) run(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	var out bytes.Buffer
	getenv := func(name string) (string, bool) { v, ok := h.env[name]; return v, ok }
	code = run(t.Context(), args, getenv, machine{[]string{h.system, h.system + ".old"}, h.state}, strings.NewReader(""), &out, &out)
	return code, out.String()
}

// runAsAnother runs a command that files which are closed to others are closed to, also where root runs the tests.
func (h *host) runAsAnother(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Root reads everything. The thread that stops being root for the file system ends with this goroutine.
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			if err := syscall.Setfsuid(65534); err != nil {
				t.Error(err)
			}
		}
		code, said = h.run(t, args...)
	}()
	<-done
	return code, said
}

// source returns the value of a setting and where config show says it is from.
func (h *host) source(t *testing.T, name string, args ...string) (value, source string) {
	t.Helper()
	code, said := h.run(t, append(args, "config", "show", "--json")...)
	var shown struct {
		Settings []struct{ Name, Value, Source string }
	}
	if err := json.Unmarshal([]byte(said), &shown); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, said)
	}
	for _, s := range shown.Settings {
		if s.Name == name {
			return s.Value, s.Source
		}
	}
	t.Fatalf("%s is not shown:\n%s", name, said)
	return "", ""
}

func TestAFlagOutweighsTheEnvironmentTheEnvironmentTheFolderAndTheFolderTheService(t *testing.T) { //nolint:paralleltest // it changes the current folder
	h := newHost(t, "REALM=folder\nLOG_LEVEL=ERROR\n", "REALM=service\nLOG_LEVEL=DEBUG\nSECOND_FACTOR=owners\nSECRET_KEY=topsecret\nAMI_USER=portal\nAMI_SECRET=topsecret\nDATABASE_URL=postgres://u:topsecret@h/db\n")
	is := func(what, name, value, source string, args ...string) {
		t.Helper()
		if v, s := h.source(t, name, args...); v != value || s != source {
			t.Errorf("%s: %s is %q from %q, want %q from %q", what, name, v, s, value, source)
		}
	}
	is("the service's alone", "SECOND_FACTOR", "owners", h.system)
	folder, err := filepath.Abs(".env")
	if err != nil {
		t.Fatal(err)
	}
	is("the folder's", "REALM", "folder", folder)
	is("none", "KEEP_REVISIONS", "20", "default")
	is("a password", "DATABASE_URL", "postgres://u:xxxxx@h/db", h.system)
	h.env["REALM"] = "environment"
	is("the environment's", "REALM", "environment", "environment")
	is("a flag's", "REALM", "flag", "flag --realm", "--realm=flag")
	other := filepath.Join(t.TempDir(), "other.env")
	if err := os.WriteFile(other, []byte("LOG_LEVEL=WARNING\nSTATE_DIR=kept\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	is("a chosen file", "LOG_LEVEL", "WARNING", other, "--config", other)
	is("of the service, with a chosen file", "SECOND_FACTOR", "offered", "default", "--config", other)
	is("a relative path in a file", "STATE_DIR", filepath.Join(filepath.Dir(other), "kept"), other, "--config", other)
	for _, args := range [][]string{{"config", "show"}, {"config", "show", "--json"}} {
		if code, said := h.run(t, args...); code != 0 || strings.Contains(said, "topsecret") || !strings.Contains(said, "[hidden]") {
			t.Errorf("exit code %d\n%s", code, said)
		}
	}
	if code, said := h.run(t, "--config", "none.env", "config", "show"); code != 2 || !strings.Contains(said, "none.env") {
		t.Errorf("a file that is not there: exit code %d\n%s", code, said)
	}
}

// What an earlier version kept in another file is found there.
func TestTheSettingsOfTheServiceAreFoundFromEveryFolder(t *testing.T) {
	h := newHost(t, "", "DATABASE_URL=sqlite:///portal.db\nSTATE_DIR=state\n")
	if err := os.Rename(h.system, h.system+".old"); err != nil {
		t.Fatal(err)
	}
	if code, said := h.run(t, "user", "add", "Anna", "anna@example.com"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, said)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(h.system), "portal.db")); err != nil {
		t.Errorf("a relative path is not from the folder of the file: %v", err)
	}
	t.Chdir(t.TempDir())
	if code, said := h.run(t, "user", "list"); code != 0 || !strings.Contains(said, "Anna") {
		t.Errorf("elsewhere: exit code %d\n%s", code, said)
	}
}

func TestTwoFilesWithDifferentInstallationsAreRefusedAndOneCanBeChosen(t *testing.T) { //nolint:paralleltest // it changes the current folder
	for _, tc := range []struct { // STATE is a folder
		folder, system string
		ok             bool
	}{
		{"DATABASE_URL=sqlite:///STATE/a.db", "DATABASE_URL=sqlite:///STATE/b.db", false},
		{"DATABASE_URL=sqlite:///STATE/a.db", "STATE_DIR=STATE", false},
		{"STATE_DIR=STATE/a", "DATABASE_URL=postgres://u:topsecret@h/db", false},
		{"STATE_DIR=STATE/a\nDATABASE_URL=sqlite:///STATE/a.db", "STATE_DIR=STATE/b\nDATABASE_URL=sqlite:///STATE/a.db", false},
		{"DATABASE_URL=sqlite:///STATE/a.db", "DATABASE_URL=sqlite:///STATE/x/../a.db", true},
		{"STATE_DIR=STATE/a", "STATE_DIR=STATE/a/", true},
		{"REALM=a", "DATABASE_URL=sqlite:///STATE/b.db", true},
	} {
		h := newHost(t, tc.folder, tc.system)
		for _, args := range [][]string{{"user", "list"}, {"config", "show"}} {
			code, said := h.run(t, args...)
			if refused := code == 2 && strings.Contains(said, "name different") && strings.Contains(said, "--config FILE"); refused == tc.ok || strings.Contains(said, "topsecret") {
				t.Errorf("%q and %q: %v: exit code %d\n%s", tc.folder, tc.system, args, code, said)
			}
		}
		if left, _ := filepath.Glob(h.state + "/*"); !tc.ok && len(left) > 0 {
			t.Errorf("%q and %q left %q", tc.folder, tc.system, left)
		}
		if code, said := h.run(t, "--config", ".env", "config", "show"); code != 0 {
			t.Errorf("one of them alone: exit code %d\n%s", code, said)
		}
		h.env["STATE_DIR"], h.env["DATABASE_URL"] = h.state, "sqlite:///"+h.state+"/c.db"
		if code, said := h.run(t, "config", "show"); code != 0 {
			t.Errorf("both in the environment: exit code %d\n%s", code, said)
		}
	}
}

// Elsewhere than where its settings are found, a command must not make another installation and say that there are no users.
func TestNoDatabaseIsCreatedInsteadOfTheConfiguredOne(t *testing.T) { //nolint:paralleltest // it changes the current folder
	var looks [][]string
	for _, command := range []string{
		"user list", "plan", "rollback", "recover", "audit verify", "audit list", "audit head", "token list", "admin list", "rotate-key", "revision list", "user delete 1000", "user restore 2",
	} {
		looks = append(looks, strings.Fields(command))
	}
	creates := [][]string{{"user", "add", "A", "a@example.com"}, {"admin", "setup-link"}, {"token", "create", "t", "--role", "admin"}}
	for _, tc := range []struct {
		what    string
		prepare func(h *host) error
		refused [][]string
		allowed [][]string
	}{
		{"nothing is set, and nothing is there", func(*host) error { return nil }, slices.Concat(looks, [][]string{{"apply"}}), slices.Concat(creates, [][]string{{"migrate"}})},
		{"a database is named that is not there", func(h *host) error {
			h.env["DATABASE_URL"] = "sqlite:///" + h.state + "/typo.db"
			return nil
		}, looks[:6], creates[:1]},
		{"a state folder is named that is empty", func(h *host) error {
			h.env["STATE_DIR"] = h.state
			return nil
		}, looks[6:], creates[1:2]},
		{"the state of an installation whose database is elsewhere", func(h *host) error {
			h.env["STATE_DIR"] = h.state
			return os.WriteFile(filepath.Join(h.state, "secret.key"), nil, 0o600)
		}, slices.Concat(looks, creates, [][]string{{"apply"}}), [][]string{{"migrate"}}},
		{"settings that name another database", func(h *host) error {
			h.env["STATE_DIR"], h.env["DATABASE_URL"] = h.state, "sqlite:///"+h.state+"/typo.db"
			return os.WriteFile(h.system, []byte("DATABASE_URL=sqlite:///"+h.state+"/portal.db\n"), 0o600)
		}, slices.Concat(looks, creates, [][]string{{"apply"}}), [][]string{{"migrate"}}},
		{"settings that name another state folder", func(h *host) error {
			h.env["STATE_DIR"] = h.state
			return os.WriteFile(".env", []byte("STATE_DIR=elsewhere\n"), 0o600)
		}, slices.Concat(looks, creates, [][]string{{"apply"}}), [][]string{{"migrate"}}},
	} {
		for _, args := range tc.refused {
			h := newHost(t, "", "")
			if err := tc.prepare(h); err != nil {
				t.Fatal(err)
			}
			before, _ := filepath.Glob(h.state + "/*")
			if args[0] == "apply" {
				if _, said := h.run(t, "doctor"); !strings.Contains(said, "broken   database: ") {
					t.Errorf("%s: doctor finds nothing wrong with the database:\n%s", tc.what, said)
				}
			}
			code, said := h.run(t, args...)
			after, _ := filepath.Glob(h.state + "/*")
			if code != 2 || !strings.Contains(said, "does not exist") || !strings.Contains(said, "pbxportal migrate") || len(after) != len(before) {
				t.Errorf("%s: %v: exit code %d, left %q\n%s", tc.what, args, code, after, said)
			}
		}
		for _, args := range tc.allowed {
			h := newHost(t, "", "")
			if err := tc.prepare(h); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(tc.what, "the state of") { // an empty key file is none
				if err := os.Remove(filepath.Join(h.state, "secret.key")); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(h.state, "audit-heads.jsonl"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if code, said := h.run(t, args...); code != 0 {
				t.Errorf("%s: %v: exit code %d\n%s", tc.what, args, code, said)
			}
			if code, said := h.run(t, "user", "list"); code != 0 {
				t.Errorf("%s: afterwards: exit code %d\n%s", tc.what, code, said)
			}
		}
	}
}

// A person who may not read the service's settings must not get an installation of their own.
func TestSettingsThatMayNotBeReadAreNotTakenForNone(t *testing.T) { //nolint:paralleltest // it changes the current folder
	h := newHost(t, "", "REALM=x\n")
	err := errors.Join(os.Chmod(".", 0o755), os.Chmod(filepath.Dir(h.system), 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Dir(h.system), 0o700) })
	_, text := h.runAsAnother(t, "user", "list")
	if !strings.Contains(text, "runuser -u pbxportal") || !strings.Contains(text, "--config FILE") {
		t.Error(text)
	}
	h.env["STATE_DIR"] = h.state
	if code, said := h.run(t, "user", "add", "A", "a@example.com"); code != 0 {
		t.Errorf("an installation that is named: exit code %d\n%s", code, said)
	}
}

// runuser stays in the folder in which root called it, such as root's home.
func TestAnInaccessibleFolderHidesNoSettingsAndAnUnreadableFileIsReportedWithItsFix(t *testing.T) { //nolint:paralleltest // it changes the current folder
	h := newHost(t, "REALM=folder\n", "REALM=service\n")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	folder := filepath.Dir(h.system)
	must(errors.Join(os.Chmod(filepath.Dir(folder), 0o755), os.Chmod(folder, 0o755), os.Chmod(h.system, 0o644), os.Chmod(".", 0o755), os.Chmod(".env", 0)))
	if code, said := h.runAsAnother(t, "config", "show"); code != 2 || !strings.Contains(said, ".env: permission denied") || !strings.Contains(said, "in another folder") {
		t.Errorf("a file that may not be read: exit code %d\n%s", code, said)
	}
	must(os.Chmod(".", 0))
	t.Cleanup(func() { _ = os.Chmod(".", 0o700) })
	if code, said := h.runAsAnother(t, "config", "show"); code != 0 || !strings.Contains(said, "service") {
		t.Errorf("a folder that may not be entered: exit code %d\n%s", code, said)
	}
}

// An empty PostgreSQL database is one that was meant only where a command creates one, and the state folder is not that of another installation.
func TestReadOnlyCommandsCreateNoTablesInAnEmptyDatabase(t *testing.T) { //nolint:paralleltest // it changes the current folder
	h := newHost(t, "", "")
	h.env["STATE_DIR"], h.env["DATABASE_URL"] = h.state, labtest.Postgres(t)
	for _, args := range [][]string{{"user", "list"}, {"plan"}, {"audit", "list"}, {"token", "list"}} {
		if code, said := h.run(t, args...); code != 2 || !strings.Contains(said, "has no tables of the portal") || !strings.Contains(said, "pbxportal migrate") {
			t.Errorf("%v: exit code %d\n%s", args, code, said)
		}
	}
	if code, said := h.run(t, "user", "add", "Anna", "anna@example.com"); code != 0 {
		t.Errorf("exit code %d\n%s", code, said)
	}
	if code, said := h.run(t, "user", "list"); code != 0 {
		t.Errorf("exit code %d\n%s", code, said)
	}
	h.env["DATABASE_URL"] = labtest.Postgres(t)
	if code, said := h.run(t, "user", "add", "Anna", "anna@example.com"); code != 2 || !strings.Contains(said, "is that of an installation") {
		t.Errorf("beside the state of another database: exit code %d\n%s", code, said)
	}
}
