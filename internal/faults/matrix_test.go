//go:build linux

package faults_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/proc"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// leastRows is the minimum number of states in the matrix.
const leastRows = 60

// matrix counts the results of doctor and of the apply in each state.
type matrix struct {
	mu                             sync.Mutex
	rows, confirmed, disagreements int
}

// state is a row of the matrix: a state of a host.
type state struct {
	name  string
	works bool                        // an apply must be confirmed
	make  func(t *testing.T, s *site) // establishes the state, after a user was created; functions passed to later revert it
}

// In each state of a host, doctor reports that an apply can succeed if and only if the next apply is confirmed. make test takes every fourth state.
func TestDoctorPredictsWhetherAnApplyIsConfirmedAtLength(t *testing.T) {
	t.Parallel()
	m := &matrix{}
	t.Cleanup(func() {
		t.Logf("%d states, %d of which an apply is confirmed in; %d disagreements", m.rows, m.confirmed, m.disagreements)
		if least := labtest.Soak(leastRows/4, leastRows); m.rows < least || m.confirmed < least/4 || m.rows-m.confirmed < least/4 {
			t.Errorf("%d states, %d of which an apply is confirmed in: too few to be meaningful", m.rows, m.confirmed)
		}
	})
	t.Run("as root", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, matrixAsterisk(t), storetest.SQLite(t), 2)
		for name, group := range map[string]func(*testing.T, *site){"configuration": m.configuration, "files": m.files, "asterisk": m.asterisk, "sqlite": m.sqlite, "restarted": m.restarted} {
			t.Run(name, func(t *testing.T) { group(t, s) })
		}
		t.Run("postgres", func(t *testing.T) { m.postgres(t, s.asterisk) })
	})
	t.Run("as a user", func(t *testing.T) { t.Parallel(); m.rights(t) })
}

// matrixAsterisk is an Asterisk that runs with limited permissions, and answers queries for settings.
func matrixAsterisk(t *testing.T) *lab.Asterisk {
	t.Helper()
	return labtest.Asterisk(t, lab.AsteriskOptions{Ordinary: true, Modules: []string{"func_config.so"}})
}

// try puts a host into each of the states, one after another, and restores it in between.
func (m *matrix) try(t *testing.T, s *site, states []state) {
	t.Helper()
	for i, row := range states {
		if i%labtest.Soak(4, 1) != 0 {
			continue
		}
		ok := t.Run(row.name, func(t *testing.T) {
			saved := s.env
			s.env = map[string]string{}
			for name, value := range saved {
				s.env[name] = value
			}
			defer func() {
				s.env = saved
				for _, undo := range slices.Backward(s.undo) {
					undo()
				}
				s.undo = nil
			}()
			s.create(t) // both files change
			row.make(t, s)
			m.compare(t, row, func(args ...string) (int, string, string) { return s.run(t, args...) })
		})
		if code, r := s.apply(t, "--force"); code != 0 || r.Verification != "confirmed" {
			t.Fatalf("after %q (%t) the host is not in order again: exit code %d, %+v", row.name, ok, code, r)
		}
	}
}

// compare runs doctor, then an apply.
func (m *matrix) compare(t *testing.T, row state, run func(args ...string) (code int, stdout, stderr string)) {
	t.Helper()
	doctorCode, said, doctorErrs := run("doctor", "--json")
	var d struct {
		Findings []struct {
			Subject, Grade, Detail string
			Fix                    string `json:"cure"`
			Beside                 bool   `json:"beside_apply"`
		}
		Green bool `json:"apply_can_succeed"`
	}
	_ = json.Unmarshal([]byte(said), &d) // a command that refuses to start prints none, and is not green
	code, out, errs := run("apply", "--json")
	var r ran
	_ = json.Unmarshal([]byte(out), &r)
	confirmed := code == 0 && r.Verification == "confirmed"
	m.mu.Lock()
	m.rows++
	if confirmed {
		m.confirmed++
	}
	if d.Green != confirmed {
		m.disagreements++
	}
	m.mu.Unlock()
	var bad []string
	for _, f := range d.Findings {
		if f.Grade == "broken" {
			bad = append(bad, fmt.Sprintf("%s: %s → %s", f.Subject, f.Detail, f.Fix))
			if f.Fix == "" {
				t.Errorf("%s: %s: it has no fix", f.Subject, f.Detail)
			}
		}
	}
	if d.Green != confirmed || confirmed != row.works || doctorCode == 0 && !d.Green {
		t.Errorf("doctor (exit code %d) says that an apply can succeed: %t. The apply: exit code %d, %s %s %s. Expected: %t\ndoctor: %s%s\napply: %s%s", doctorCode, d.Green, code, r.Result, r.Verification,
			r.Error, row.works, strings.Join(bad, "\n        "), doctorErrs, errs, strings.Join(r.Differences, "; "))
	}
}

// later reverts a change of a state before the next one.
func (s *site) later(undo func()) { s.undo = append(s.undo, undo) }

func (s *site) path(name string) string { return filepath.Join(s.asterisk.ConfigDir, name) }

// keep restores a file of the configuration folder when the test ends.
func (s *site) keep(t *testing.T, name string) {
	t.Helper()
	content, err := os.ReadFile(s.path(name))
	missing := errors.Is(err, os.ErrNotExist)
	if err != nil && !missing {
		t.Fatal(err)
	}
	s.later(func() {
		err := os.RemoveAll(s.path(name))
		if !missing {
			err = errors.Join(err, os.WriteFile(s.path(name), content, 0o644))
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// edited changes one of the administrator's files.
func edited(name string, change func(string) string) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		t.Helper()
		s.keep(t, name)
		s.edit(t, name, change)
	}
}

func replaced(old, by string) func(string) string {
	return func(text string) string { return strings.Replace(text, old, by, 1) }
}

func set(name, value string) func(*testing.T, *site) {
	return func(_ *testing.T, s *site) { s.env[name] = value }
}

func (m *matrix) configuration(t *testing.T, s *site) {
	const pjsip, dialplan = "#include pjsip.d/synergycall/*.conf", "#include extensions.d/synergycall/*.conf"
	withFile := func(name, text string, then func(*testing.T, *site)) func(*testing.T, *site) {
		return func(t *testing.T, s *site) {
			t.Helper()
			s.keep(t, name)
			if err := os.WriteFile(s.path(name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			then(t, s)
		}
	}
	aside := func(name string) func(*testing.T, *site) {
		return func(t *testing.T, s *site) {
			t.Helper()
			s.keep(t, name)
			if err := os.Remove(s.path(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.try(t, s, []state{
		{"everything is in order", true, func(*testing.T, *site) {}},
		{"pjsip.conf is missing", false, aside("pjsip.conf")},
		{"extensions.conf is missing", false, aside("extensions.conf")},
		{"pjsip.conf has no include", false, edited("pjsip.conf", replaced(pjsip, ""))},
		{"extensions.conf has no include", false, edited("extensions.conf", replaced(dialplan, ""))},
		{"the include is a comment", false, edited("extensions.conf", replaced(dialplan, "; "+dialplan))},
		{"the include is in a comment of several lines", false, edited("pjsip.conf", replaced(pjsip, ";--\n"+pjsip+"\n--;"))},
		{"a comment before the include is never closed", false, edited("pjsip.conf", above(";-- until later\n"))},
		{"the include names another folder", false, edited("pjsip.conf", replaced("pjsip.d/synergycall/*.conf", "pjsip.d/synergy-call/*.conf"))},
		{"the include names the file", true, edited("pjsip.conf", replaced(pjsip, `#include "pjsip.d/synergycall/generated_endpoints.conf"`))},
		{"the include names the file by its whole path", true, edited("extensions.conf", replaced(dialplan, "#include "+s.path(pbx.DialplanPath)))},
		{"the include is a tryinclude in capitals", true, edited("pjsip.conf", replaced(pjsip, "#TryInclude <pjsip.d/synergycall/*.conf>"))},
		{"the include is in an included file", true, withFile("inner.conf", pjsip+"\n", edited("pjsip.conf", replaced(pjsip, "#include inner.conf")))},
		{"the include is in a file that a pattern matches", true, withFile("pjsip.d/office.conf", pjsip+"\n", edited("pjsip.conf", replaced(pjsip, "#include pjsip.d/off*.conf")))},
		{"a syntax error in the first line of pjsip.conf", false, edited("pjsip.conf", before("[broken\n"))},
		{"a syntax error in the line before ours", false, edited("pjsip.conf", above("[broken\n"))},
		{"a syntax error in the line behind ours", false, edited("pjsip.conf", behind("[broken\n"))},
		{"a dialplan with a syntax error", false, edited("extensions.conf", before("[broken\n"))},
		{"pjsip.conf includes a file that is not there", false, edited("pjsip.conf", above("#include gone.conf\n"))},
		{"pjsip.conf tries to include a file that is not there", true, edited("pjsip.conf", above("#tryinclude gone.conf\n"))},
		{"extensions.conf includes a pattern that leads to no file", false, edited("extensions.conf", behind("#include gone.d/*.conf\n"))},
		{"an addition to our context is before the include", false, edited("extensions.conf", replaced("#include extensions.d", "["+pbx.Context+"](+)\nexten => 99,1,Hangup()\n#include extensions.d"))},
		{"an addition to our context is after the include", true, edited("extensions.conf", behind("["+pbx.Context+"](+)\nexten => *99,1,Hangup()\n"))},
		{"a section takes over from a template that is not there", false, edited("pjsip.conf", above("[trunk](no-such)\ntype=endpoint\n"))},
		{"a section takes over from a template", true, edited("pjsip.conf", above("[tpl](!)\ntype=aor\n[trunk](tpl)\nmax_contacts=1\n"))},
		{"a section adds to a user, and one takes over from a user", true, edited("pjsip.conf", behind("[1000](+)\nallow=g722\n[desk](1000)\ncontext=office\n"))},
		{"a section adds to a user who is gone", false, edited("pjsip.conf", behind("[1999](+)\nallow=g722\n"))},
		{"an object of the administrator's is there twice", false, edited("pjsip.conf", behind("[office]\ntype=aor\n[office]\ntype=aor\n"))},
		{"pjsip.conf includes our file twice", false, edited("pjsip.conf", behind(pjsip+"\n"))},
		{"a line of extensions.conf is in no section", false, edited("extensions.conf", before("exten => 1,1,NoOp()\n"))},
		{"a dialplan of the administrator's is beside ours", true, edited("extensions.conf", behind("[office]\nexten => 100,1,Answer()\n"))},
		{"an endpoint of the administrator's has a number that no user has", true, edited("pjsip.conf", behind("[1900]\ntype=endpoint\n"))},
		{"an endpoint of the administrator's has the number of a user", false, edited("pjsip.conf", behind("[1000]\ntype=endpoint\n"))},
		{"an endpoint of the administrator's has the number of a user, and its type from a file that is included in it", false, withFile("common.conf", "type=endpoint\n", edited("pjsip.conf",
			behind("[1900]\n#include common.conf\n[1000]\n#include common.conf\n")))},
		{"our context has patterns, includes, a switch and steps for some callers alone", true, edited("extensions.conf", behind("["+pbx.Context+"](+)\nexten => _1XXX,1,NoOp()\n same => n,NoOp()\n"+
			"exten => 1000/1001,1,NoOp()\nexten => _[1-2]X.,1,NoOp()\ninclude => office\nswitch => Loopback/x@office\nignorepat => 9\n[office]\nexten => _X.,1,NoOp()\nexten => 1000,1,NoOp()\n"))},
		{"our context has the number of a user from a file that is included in it", false, withFile("numbers.conf", "exten => 1000,1,NoOp()\n", edited("extensions.conf",
			behind("["+pbx.Context+"](+)\n#include numbers.conf\n")))},
		{"the configuration folder is missing", false, set("ASTERISK_CONFIG_DIR", "/nowhere")},
		{"the configuration folder is another", false, func(t *testing.T, s *site) {
			s.env["ASTERISK_CONFIG_DIR"] = t.TempDir()
			for _, name := range []string{"pjsip.conf", "extensions.conf"} {
				text, err := os.ReadFile(s.path(name))
				if err == nil {
					err = os.WriteFile(filepath.Join(s.env["ASTERISK_CONFIG_DIR"], name), text, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"the configuration folder is reached through a link", true, func(t *testing.T, s *site) {
			link := filepath.Join(t.TempDir(), "asterisk")
			if err := os.Symlink(s.asterisk.ConfigDir, link); err != nil {
				t.Fatal(err)
			}
			s.env["ASTERISK_CONFIG_DIR"] = link
		}},
		{"Asterisk knows the configuration folder by another name, as in a container", true, func(t *testing.T, s *site) {
			dir := t.TempDir()
			if err := unix.Mount(s.asterisk.ConfigDir, dir, "", unix.MS_BIND, ""); err != nil {
				if !errors.Is(err, unix.EPERM) {
					t.Fatal(err)
				}
				return // continue with the plain host
			}
			s.later(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			s.env["ASTERISK_CONFIG_DIR"] = dir
		}},
		{"the address to listen on is refused by serve", true, set("LISTEN_ADDR", "0.0.0.0:8000")},
	})
}

func (m *matrix) files(t *testing.T, s *site) {
	tree := "pjsip.d/synergycall/.portal/"
	write := func(name string) func(*testing.T, *site) {
		return func(t *testing.T, s *site) {
			t.Helper()
			s.keep(t, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(s.path(name)), 0o750), os.WriteFile(s.path(name), []byte("; not the portal's\n"), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
	}
	gone := func(name string) func(*testing.T, *site) {
		return func(t *testing.T, s *site) {
			t.Helper()
			if err := os.Remove(s.path(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	mounted := func(name string, then func(t *testing.T, dir string)) func(*testing.T, *site) {
		return func(t *testing.T, s *site) {
			t.Helper()
			dir := s.path(name)
			switch err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); {
			case err == nil:
				s.later(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
				then(t, dir)
			case errors.Is(err, unix.EPERM): // the portal cannot write its files
				s.chmodAll(t, s.path("pjsip.d/synergycall"), 0o500)
				s.later(func() { s.chmodAll(t, s.path("pjsip.d/synergycall"), 0o750) })
			default:
				t.Fatal(err)
			}
		}
	}
	readOnly := func(t *testing.T, dir string) {
		t.Helper()
		if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
	}
	// onDisk moves the endpoints and the revisions to a separate disk with the given KiB of free space.
	onDisk := func(free int) func(*testing.T, *site) {
		return func(t *testing.T, s *site) {
			t.Helper()
			dir, aside := s.path(filepath.Dir(pbx.PJSIPPath)), filepath.Join(t.TempDir(), "aside")
			if err := os.CopyFS(aside, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			if !mount(t, dir, 4096) {
				if free == 0 {
					s.env["ASTERISK_CONFIG_DIR"] = "/nowhere"
				}
				return
			}
			s.later(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			if err := os.CopyFS(dir, os.DirFS(aside)); err != nil {
				t.Fatal(err)
			}
			fill(t, dir, free)
		}
	}
	held := func(path func(*site) string) func(*testing.T, *site) {
		return func(t *testing.T, s *site) {
			t.Helper()
			f, err := os.OpenFile(path(s), os.O_RDWR|os.O_CREATE, 0o600)
			if err == nil {
				err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
			}
			if err != nil {
				t.Fatal(err)
			}
			s.later(func() { _ = f.Close() })
		}
	}
	m.try(t, s, []state{
		{"the endpoints were edited by hand", false, func(t *testing.T, s *site) { s.edit(t, pbx.PJSIPPath, behind("; by hand\n")) }},
		{"the dialplan was edited by hand", false, func(t *testing.T, s *site) { s.edit(t, pbx.DialplanPath, behind("; by hand\n")) }},
		{"a link was replaced by a copy", false, func(t *testing.T, s *site) {
			text := s.mustPair(t)[0]
			if err := errors.Join(os.Remove(s.path(pbx.PJSIPPath)), os.WriteFile(s.path(pbx.PJSIPPath), []byte(text), 0o644)); err != nil {
				t.Fatal(err)
			}
		}},
		{"a link is missing", false, gone(pbx.DialplanPath)},
		{"the pointer to the revision in place is missing", false, gone(tree + "current")},
		{"the pointer to the good revision is missing", true, gone(tree + "good")},
		{"an external file is beside ours", false, write("pjsip.d/synergycall/copy.conf")},
		{"an external file is beside our dialplan", false, write("extensions.d/synergycall/office.conf")},
		{"a hidden file is beside ours", true, write("pjsip.d/synergycall/.generated_endpoints.conf.swp")},
		{"an editor's backup is beside ours", true, write("pjsip.d/synergycall/generated_endpoints.conf~")},
		{"a link waits that an apply did not put in place", true, func(t *testing.T, s *site) {
			if err := os.Symlink("gen/000001", s.path(tree+".current-next")); err != nil {
				t.Fatal(err)
			}
		}},
		{"a rehearsal was killed", true, write(tree + "gen/.old-rehearsal/probe.conf")},
		{"a staging was killed", true, write(tree + "gen/.tmp-000099/generated_endpoints.conf")},
		{"the manifest of the revision in place is damaged", false, func(t *testing.T, s *site) {
			overwrite(t, s.path(tree+"current/manifest.json"), []byte("{"))
		}},
		{"the oldest revision is damaged", true, func(t *testing.T, s *site) {
			s.must(t, "apply")
			s.replace(t)
			oldest, err := filepath.Glob(s.path(tree + "gen/0*"))
			if err != nil || len(oldest) < 3 {
				t.Fatal(oldest, err)
			}
			overwrite(t, filepath.Join(oldest[0], "generated_endpoints.conf"), []byte("; damaged"))
		}},
		{"the folder of the endpoints is read-only", false, mounted("pjsip.d/synergycall", readOnly)},
		{"the whole configuration is read-only", false, mounted(".", readOnly)},
		{"the folder of the dialplan alone is read-only", true, func(t *testing.T, s *site) {
			dir := s.path("extensions.d/synergycall")
			if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
				if !errors.Is(err, unix.EPERM) {
					t.Fatal(err)
				}
				return
			}
			s.later(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			readOnly(t, dir)
		}},
		{"the disk of the generated files is full", false, onDisk(0)},
		{"the disk of the generated files is nearly full", true, onDisk(200)},
		{"another process applies on this host", false, held(func(s *site) string { return s.path(tree + "lock") })},
		{"another process applies on this database", false, held(func(s *site) string {
			return strings.TrimPrefix(s.env["DATABASE_URL"], "sqlite:///") + ".apply-lock"
		})},
		{"something else is in the place of the lock", false, func(t *testing.T, s *site) {
			lock := s.path(tree + "lock")
			if err := errors.Join(os.Remove(lock), os.Mkdir(lock, 0o700)); err != nil {
				t.Fatal(err)
			}
			s.later(func() { _ = os.Remove(lock) })
		}},
		{"the configuration folder was never used", true, func(t *testing.T, s *site) {
			s.shut()
			s.env["DATABASE_URL"] = storetest.SQLite(t)
			for _, name := range []string{tree, pbx.PJSIPPath, pbx.DialplanPath} {
				if err := os.RemoveAll(s.path(name)); err != nil {
					t.Fatal(err)
				}
			}
			s.later(func() { s.open(t) })
		}},
		{"there are no folders yet", true, func(t *testing.T, s *site) {
			s.shut()
			s.env["DATABASE_URL"] = storetest.SQLite(t)
			if err := errors.Join(os.RemoveAll(s.path("pjsip.d")), os.RemoveAll(s.path("extensions.d"))); err != nil {
				t.Fatal(err)
			}
			s.later(func() { s.open(t) })
		}},
	})
	disk := filepath.Join(s.asterisk.ConfigDir, filepath.Dir(pbx.PJSIPPath), ".portal")
	before, err := os.ReadDir(disk)
	if err != nil {
		t.Fatal(err)
	}
	s.must(t, "doctor")
	if after, err := os.ReadDir(disk); err != nil || len(after) != len(before) || len(s.litter(t)) != 0 {
		t.Errorf("doctor left something: %v, before %v; %v %v", after, before, s.litter(t), err)
	}
}

// user is the account of the portal in the rows about permissions; Asterisk runs there as root without CAP_DAC_OVERRIDE, in group 0.
const user = 65534

func (m *matrix) rights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can give files to others: the rows about rights are left out, and the others are enough")
		return
	}
	a := matrixAsterisk(t)
	s := lookAt(t, a, storetest.SQLite(t))
	self, _ := s.foreigner(t)
	s.shut()
	s.env["SECRET_KEY"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	s.env["LISTEN_ADDR"] = "127.0.0.1:0"
	both := []string{s.path("pjsip.d/synergycall"), s.path("extensions.d/synergycall")}
	tree, stateDir := filepath.Join(both[0], ".portal"), s.env["STATE_DIR"]
	as := func(gid uint32, umask, args string) (int, string, string) {
		result, err := proc.Run(t.Context(), proc.Command{
			Argv: append([]string{"/bin/sh", "-c", "umask " + umask + `; exec "$0" "$@"`, self}, strings.Fields(args)...), Env: s.environ(), Dir: "/", Credential: &proc.Credential{UID: user, GID: gid},
		})
		if err != nil {
			t.Fatal(err)
		}
		return result.ExitCode, result.Stdout, result.Stderr
	}
	shell := func(t *testing.T, script string) {
		t.Helper()
		if result, err := proc.Run(t.Context(), proc.Command{Argv: []string{"/bin/sh", "-ec", script}, Dir: "/"}); err != nil || result.ExitCode != 0 {
			t.Fatalf("%s: %v %+v", script, err, result)
		}
	}
	order := fmt.Sprintf("chown -R %[1]d:0 %[2]s && find %[2]s -type d -exec chmod 2750 {} + && find %[2]s -type f -exec chmod 640 {} + && "+
		"chmod 755 %[3]s %[3]s/pjsip.d %[3]s/extensions.d && chmod 644 %[3]s/*.conf && chmod 777 %[4]s && chmod 755 %[5]s && chown %[1]d:%[1]d %[5]s %[5]s/portal.db*",
		user, strings.Join(both, " "), a.ConfigDir, a.ControlSocket, stateDir)
	s.open(t)
	s.create(t)
	s.shut()
	shell(t, order)
	if code, out, errs := as(0, "022", "apply"); code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	at := func(name string) string { return filepath.Join(tree, name) }
	for i, row := range []struct {
		name   string
		works  bool
		script string // run as root, as by another tool
		gid    uint32 // of the portal; 0 is Asterisk's
		umask  string
		fixed  bool // doctor's fix, run as root, suffices
	}{
		{"rights as install.md has them", true, "true", 0, "022", false},
		{"the portal is not of Asterisk's group", true, "true", user, "022", false},
		{"umask 077 of a portal that is not of Asterisk's group", true, "true", user, "077", false},
		{"umask 077", true, "true", 0, "077", false},
		{"umask 0777 of a portal that is not of Asterisk's group", true, "true", user, "0777", false},
		{"chown -R of both folders to root", false, "chown -R 0:0 " + strings.Join(both, " "), 0, "022", true},
		{"chown -R of both folders to another account", false, "chown -R 12345:12345 " + strings.Join(both, " "), 0, "022", true},
		{"chown -R of both folders to the portal and its own group", false, fmt.Sprintf("chown -R %[1]d:%[1]d %s", user, strings.Join(both, " ")), user, "022", true},
		{"the folder of the revisions alone is root's", false, "chown 0:0 " + tree, 0, "022", true},
		{"all below the folder of the revisions is root's", false, "chown -R 0:0 " + at("*"), 0, "022", true},
		{"the revisions may not be written", false, "chmod 500 " + at("gen"), 0, "022", true},
		{"the lock is root's", false, "chown 0:0 " + at("lock") + " && chmod 600 " + at("lock"), 0, "022", true},
		{"the folder of the revisions is the portal's alone", false, "chmod 700 " + tree, 0, "022", true},
		{"the folder of the revisions is root's, who lets others write and keeps what is there", false, "chown 0:0 " + tree + " && chmod 1777 " + tree + " && chown -h 0:0 " + at("current"), 0, "022", true},
		{"the folder above ours cannot be traversed", false, "chmod 700 " + s.path("pjsip.d"), 0, "022", false},
		{"the folder of the dialplan may not be written, and need not be", true, "chown 0:0 " + both[1] + " && chmod 755 " + both[1], 0, "022", false},
		{"the folder of the dialplan may be passed by Asterisk, and not be listed", false, "chmod 2710 " + both[1], 0, "022", true},
		{"pjsip.conf is not for the portal to read", true, "chmod 600 " + s.path("pjsip.conf"), user, "022", false},
		{"the control socket is not for the portal", false, "chmod 700 " + a.ControlSocket, 0, "022", false},
		{"the database is root's", false, "chown 0:0 " + stateDir + "/portal.db && chmod 600 " + stateDir + "/portal.db", 0, "022", false},
		{"the files in place are the portal's alone, and the next are not", true, "chmod 600 " + at("current/*.conf"), 0, "022", false},
		{"the files in place are an empty mode", false, "chmod 0 " + at("current/generated_routing.conf"), 0, "022", true},
	} {
		if i%labtest.Soak(4, 1) != 0 {
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			s.open(t)
			s.create(t)
			s.shut()
			shell(t, row.script)
			defer func() {
				shell(t, order)
				if code, out, errs := as(0, "022", "apply --force"); code != 0 {
					t.Fatalf("the host is not in order again: exit code %d\n%s%s", code, out, errs)
				}
			}()
			run := func(args ...string) (int, string, string) { return as(row.gid, row.umask, strings.Join(args, " ")) }
			m.compare(t, state{name: row.name, works: row.works}, run)
			if !row.fixed {
				return
			}
			_, said, _ := run("doctor")
			fix := regexp.MustCompile(`as root: (.*?) \+(?:;.*)?\n`).FindStringSubmatch(said)
			if fix == nil {
				t.Fatalf("doctor has no command:\n%s", said)
			}
			shell(t, fix[1]+" +")
			if code, out, errs := run("apply", "--force"); code != 0 {
				t.Errorf("after doctor's fix, %s: exit code %d\n%s%s", fix[1], code, out, errs)
			}
		})
	}
}

func (m *matrix) asterisk(t *testing.T, s *site) {
	other := labtest.Asterisk(t)
	without := func(modules ...string) func(*testing.T, *site) {
		return func(t *testing.T, s *site) {
			t.Helper()
			for _, name := range modules {
				if reply, err := s.control.Run(t.Context(), "module unload "+name); err != nil || !strings.Contains(reply.Stdout, "Unloaded") {
					t.Fatalf("%v %+v", err, reply)
				}
			}
			s.later(func() {
				for _, name := range modules {
					if reply, err := s.control.Run(t.Context(), "module load "+name); err != nil || !strings.Contains(reply.Stdout, "Loaded") {
						t.Errorf("%v %+v", err, reply)
					}
				}
			})
		}
	}
	client := "exec:" + strings.Join(s.asterisk.Client(), " ")
	// answering makes Asterisk give the chosen answer to commands that match a shell pattern.
	answering := func(pattern, answer string) func(*testing.T, *site) {
		return func(t *testing.T, s *site) {
			t.Helper()
			script := filepath.Join(t.TempDir(), "asterisk")
			text := "#!/bin/sh\ncase \"$*\" in " + pattern + ") echo '" + answer + "';; *) exec " + strings.Join(s.asterisk.Client(), " ") + ` "$@";; esac` + "\n"
			if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
				t.Fatal(err)
			}
			s.env["ASTERISK_CONTROL"] = "exec:" + script
		}
	}
	if labtest.Soak(false, true) { // this takes as long as an apply waits
		// written makes a module of Asterisk load its configuration file; the undone commands remove its objects again.
		written := func(name, text, undone string, commands ...string) func(*testing.T, *site) {
			return func(t *testing.T, s *site) {
				t.Helper()
				s.keep(t, name)
				if err := os.WriteFile(s.path(name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				for _, command := range commands {
					if _, err := s.control.Run(t.Context(), command); err != nil {
						t.Fatal(err)
					}
				}
				s.later(func() {
					if err := os.WriteFile(s.path(name), nil, 0o644); err != nil {
						t.Error(err)
					}
					if _, err := s.control.Run(context.Background(), undone); err != nil {
						t.Error(err)
					}
				})
			}
		}
		ael := func(text string) func(*testing.T, *site) {
			return written("extensions.ael", text, "module unload pbx_ael.so", "module load res_ael_share.so", "module load pbx_ael.so")
		}
		wizard := func(name string) func(*testing.T, *site) {
			text := "[phone](!)\ntype=wizard\naccepts_registrations=yes\nhas_hint=yes\nhint_exten=1950\nhint_context=" + pbx.Context + "\nhint_application=Dial(PJSIP/x)\n[" + name + "](phone)\n"
			return written("pjsip_wizard.conf", text, "module reload res_pjsip.so", "module load res_pjsip_config_wizard.so", "module reload res_pjsip.so")
		}
		m.try(t, s, []state{
			{"Asterisk is busy with another reload", false, answering(`*reload*`, "A module reload request is already in progress; please be patient")},
			{"AEL has a number that no user has in our context", true, ael("context " + pbx.Context + " { 1900 => NoOp(); includes { office; } } context office { _X. => NoOp(); }\n")},
			{"AEL has the number of a user in our context", false, ael("context " + pbx.Context + " { 1000 => NoOp(); }\n")},
			{"Lua has our context", true, written("extensions.lua", "extensions = { ['"+pbx.Context+"'] = { ['1000'] = function() app.noop() end } }\n", "module unload pbx_lua.so", "module load pbx_lua.so")},
			{"a wizard has the number of a user", false, wizard("1000")},
			{"a wizard has a number that no user has", true, wizard("1900")},
		})
	}
	m.try(t, s, []state{
		{"Asterisk cannot name the content of objects: func_sorcery is not loaded", false, without("func_sorcery.so")},
		{"Asterisk cannot name the content of objects: func_strings is not loaded", false, without("func_strings.so")},
		{"Asterisk cannot be asked for a setting: func_config is not loaded", true, without("func_config.so")},
		{"nothing is dialled: app_dial is not loaded", true, without("app_dial.so")},
		{"no dialplan is read: pbx_config is not loaded", false, without("pbx_config.so")},
		{"Asterisk is asked through its own client", true, set("ASTERISK_CONTROL", client)},
		{"Asterisk has no PJSIP transport", true, answering(`*pjsip\ list\ transports*`, "No objects found.")},
		{"the control command is not there", false, set("ASTERISK_CONTROL", "exec:/nowhere/asterisk")},
		{"the control command says nothing", false, set("ASTERISK_CONTROL", "exec:true")},
		{"the control command fails", false, set("ASTERISK_CONTROL", "exec:false")},
		{"there is no socket", false, set("ASTERISK_CONTROL", "/nowhere/asterisk.ctl")},
		{"the socket is another Asterisk's", false, set("ASTERISK_CONTROL", other.ControlSocket)},
		{"Asterisk was made to forget an extension", true, func(t *testing.T, s *site) {
			if _, err := s.control.Run(t.Context(), fmt.Sprintf("dialplan remove extension %d@%s", s.users(t)[0].Extension.Number, pbx.Context)); err != nil {
				t.Fatal(err)
			}
		}},
		{"Asterisk is hung", false, func(t *testing.T, s *site) {
			if err := s.asterisk.Suspend(); err != nil {
				t.Fatal(err)
			}
			s.later(func() { _ = s.asterisk.Resume() })
		}},
		{"Asterisk is not running", false, func(t *testing.T, s *site) {
			if err := s.asterisk.Kill(); err != nil {
				t.Fatal(err)
			}
			s.later(func() {
				if err := s.asterisk.Restart(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}},
	})
}

// restarted returns the states that take effect when Asterisk starts.
func (m *matrix) restarted(t *testing.T, s *site) {
	if labtest.Soak(true, false) { // each takes as long as ten others: make test has none
		return
	}
	restarted := func(name string, change func(string) string) func(*testing.T, *site) {
		return func(t *testing.T, s *site) {
			t.Helper()
			content, err := os.ReadFile(s.path(name))
			missing := errors.Is(err, os.ErrNotExist)
			if err := os.WriteFile(s.path(name), []byte(change(string(content))), 0o644); err != nil {
				t.Fatal(err)
			}
			restart := func() {
				if err := s.asterisk.Restart(context.Background()); err != nil {
					t.Error(err)
				}
			}
			restart()
			s.later(func() {
				err := os.WriteFile(s.path(name), content, 0o644)
				if missing {
					err = os.Remove(s.path(name))
				}
				if err != nil {
					t.Error(err)
				}
				restart()
			})
		}
	}
	mapping := func(lines ...string) func(*testing.T, *site) {
		return restarted("sorcery.conf", func(string) string { return "[res_pjsip]\n" + strings.Join(lines, "\n") + "\n" })
	}
	m.try(t, s, []state{
		{"sorcery.conf looks for endpoints elsewhere", false, mapping("endpoint = config,office.conf,criteria=type=endpoint")},
		{"sorcery.conf looks for everything in pjsip.conf", true, mapping("endpoint=config,pjsip.conf,criteria=type=endpoint", "auth = config,pjsip.conf,criteria=type=auth", "aor=config,pjsip.conf,criteria=type=aor")},
		{"sorcery.conf names our file", true, func(t *testing.T, s *site) {
			edited("pjsip.conf", replaced("#include pjsip.d/synergycall/*.conf", ""))(t, s)
			mapping("endpoint=config,"+pbx.PJSIPPath+",criteria=type=endpoint", "auth=config,"+pbx.PJSIPPath+",criteria=type=auth", "aor=config,"+pbx.PJSIPPath+",criteria=type=aor")(t, s)
		}},
		{"sorcery.conf names our file for endpoints alone", false, func(t *testing.T, s *site) {
			edited("pjsip.conf", replaced("#include pjsip.d/synergycall/*.conf", ""))(t, s)
			mapping("endpoint=config,"+pbx.PJSIPPath+",criteria=type=endpoint", ";auth=config,"+pbx.PJSIPPath)(t, s)
		}},
	})
}

func (m *matrix) sqlite(t *testing.T, s *site) {
	database := func(name string) string { return strings.TrimPrefix(s.env["DATABASE_URL"], "sqlite:///") + name }
	// copied makes the portal use a copy of the database in a separate folder.
	copied := func(then func(t *testing.T, s *site, path string)) func(*testing.T, *site) {
		return func(t *testing.T, s *site) {
			t.Helper()
			s.shut()
			path := filepath.Join(t.TempDir(), "portal.db")
			content, err := os.ReadFile(database(""))
			if err == nil {
				err = os.WriteFile(path, content, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			s.env["DATABASE_URL"] = "sqlite:///" + path
			s.later(func() { s.open(t) })
			then(t, s, path)
		}
	}
	sql := func(statements string) func(*testing.T, *site) {
		return copied(func(t *testing.T, s *site, _ string) { storetest.Execute(t, s.env["DATABASE_URL"], statements) })
	}
	m.try(t, s, []state{
		{"the database is a copy", true, copied(func(*testing.T, *site, string) {})},
		{"the database is gone, and the revisions are there", false, copied(func(t *testing.T, _ *site, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		})},
		{"the database is a folder", false, copied(func(t *testing.T, _ *site, path string) {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		})},
		{"the database is a file of something else", false, copied(func(t *testing.T, _ *site, path string) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("noise"), 4000), 0o600); err != nil {
				t.Fatal(err)
			}
		})},
		{"the database knows nothing of the revision in place", false, sql(`DELETE FROM apply_runs; DELETE FROM apply_audit_logs`)},
		{"the database is newer than the program", false, sql(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`)},
		{"the name of a user was changed on the disk", false, sql(`DROP TRIGGER users_changed_user; DROP TRIGGER users_altered; UPDATE users SET name = name || 'x'`)},
		{"the database of another place is on a read-only disk", false, copied(func(t *testing.T, s *site, path string) {
			dir := filepath.Dir(path)
			switch err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); {
			case err == nil:
				s.later(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
				if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
					t.Fatal(err)
				}
			case errors.Is(err, unix.EPERM):
				if err := errors.Join(os.Chmod(path, 0o400), os.Chmod(dir, 0o500)); err != nil {
					t.Fatal(err)
				}
				s.later(func() { _ = os.Chmod(dir, 0o700) })
			default:
				t.Fatal(err)
			}
		})},
		{"the disk of the database is full", false, copied(func(t *testing.T, s *site, path string) { onFullDisk(t, s, path, 0) })},
		{"the disk of the database has little room", true, copied(func(t *testing.T, s *site, path string) { onFullDisk(t, s, path, 2000) })},
		{"the disk of the state folder is full, and the key is in the settings", true, copied(func(t *testing.T, s *site, _ string) {
			dir := t.TempDir()
			if mount(t, dir, 64) {
				fill(t, dir, 0)
			}
			s.env["STATE_DIR"] = dir
		})},
		{"the key is another", false, copied(func(_ *testing.T, s *site, _ string) {
			s.env["SECRET_KEY"] = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA="
		})},
		{"the key is gone", false, copied(func(_ *testing.T, s *site, _ string) { delete(s.env, "SECRET_KEY") })},
		{"the key file may not be a folder", false, copied(func(t *testing.T, s *site, _ string) {
			delete(s.env, "SECRET_KEY")
			s.env["SECRET_KEY_FILE"] = t.TempDir()
		})},
		{"the state folder is a file, and the key is in the settings", true, copied(func(t *testing.T, s *site, path string) { s.env["STATE_DIR"] = path })},
	})
	// On a host without files of the portal, with new or older databases.
	fresh := func(then func(t *testing.T, s *site)) func(*testing.T, *site) {
		return func(t *testing.T, s *site) {
			t.Helper()
			s.shut()
			s.env["DATABASE_URL"], s.env["STATE_DIR"] = storetest.SQLite(t), t.TempDir()
			for _, name := range []string{"pjsip.d/synergycall/.portal", pbx.PJSIPPath, pbx.DialplanPath} {
				if err := os.RemoveAll(s.path(name)); err != nil {
					t.Fatal(err)
				}
			}
			s.later(func() { s.open(t) })
			then(t, s)
		}
	}
	states := []state{
		{"nothing was ever begun", true, fresh(func(*testing.T, *site) {})},
		{"nothing was ever begun, and there is no key yet", true, fresh(func(_ *testing.T, s *site) { delete(s.env, "SECRET_KEY") })},
		{"nothing was ever begun, and a key cannot be made", false, fresh(func(t *testing.T, s *site) {
			delete(s.env, "SECRET_KEY")
			s.env["STATE_DIR"] = "/dev/null/state"
		})},
		{"a database cannot be made", false, fresh(func(_ *testing.T, s *site) { s.env["DATABASE_URL"] = "sqlite:////dev/null/portal.db" })},
		{"a database cannot be made: the disk is full", false, fresh(func(t *testing.T, s *site) {
			dir := t.TempDir()
			if !mount(t, dir, 256) {
				s.env["DATABASE_URL"] = "sqlite:////dev/null/portal.db"
				return
			}
			fill(t, dir, 8)
			s.env["DATABASE_URL"] = "sqlite:///" + filepath.Join(dir, "portal.db")
		})},
	}
	for version := range 15 {
		if version%4 != 1 {
			continue
		}
		states = append(states, state{fmt.Sprintf("the database is at version %d", version), true, fresh(func(t *testing.T, s *site) {
			storetest.Older(t, s.env["DATABASE_URL"], "../store/migrations/sqlite", int64(version))
		})})
	}
	m.try(t, s, states)
}

// onFullDisk moves a SQLite database to a separate disk with the given KiB of free space.
func onFullDisk(t *testing.T, s *site, path string, free int) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if !mount(t, dir, len(content)>>10+4096) {
		if free == 0 {
			s.env["DATABASE_URL"] = "sqlite:////dev/null/portal.db"
		}
		return
	}
	if err := os.WriteFile(filepath.Join(dir, "portal.db"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	fill(t, dir, free)
	s.env["DATABASE_URL"] = "sqlite:///" + filepath.Join(dir, "portal.db")
}

func (m *matrix) postgres(t *testing.T, a *lab.Asterisk) {
	url := labtest.Postgres(t)
	s := lookAt(t, a, url)
	s.create(t)
	s.must(t, "apply", "--force")
	role := func(name, grants string) func(*testing.T, *site) {
		return func(t *testing.T, s *site) {
			t.Helper()
			name := fmt.Sprintf("%s_%d", name, os.Getpid())
			storetest.Execute(t, url, fmt.Sprintf("CREATE ROLE %[1]s LOGIN PASSWORD 'x'; %[2]s", name, strings.ReplaceAll(grants, "ROLE", name)))
			s.later(func() { storetest.Execute(t, url, fmt.Sprintf("DROP OWNED BY %[1]s; DROP ROLE %[1]s", name)) })
			s.env["DATABASE_URL"] = regexp.MustCompile(`://[^@]*@`).ReplaceAllString(url, "://"+name+":x@")
		}
	}
	const all = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ROLE; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO ROLE;"
	altered := func(how, back string) func(*testing.T, *site) {
		return func(t *testing.T, s *site) {
			t.Helper()
			name := url[strings.LastIndex(url, "/")+1:]
			name, _, _ = strings.Cut(name, "?")
			storetest.Execute(t, url, "ALTER DATABASE "+name+" SET "+how)
			s.later(func() {
				storetest.Execute(t, url, "BEGIN READ WRITE; ALTER DATABASE "+name+" RESET "+back+"; COMMIT")
			})
		}
	}
	if labtest.Soak(false, true) { // each waits for a connection that is never free
		m.try(t, s, []state{
			{"the role may open no connection more", false, role("crowd", all+" ALTER USER ROLE CONNECTION LIMIT 0;")},
			{"the role may open one connection", false, role("single", all+" ALTER USER ROLE CONNECTION LIMIT 1;")},
		})
	}
	m.try(t, s, []state{
		{"everything is in order on PostgreSQL", true, func(*testing.T, *site) {}},
		{"PostgreSQL is read-only", false, altered("default_transaction_read_only = on", "default_transaction_read_only")},
		{"nothing listens where PostgreSQL should", false, set("DATABASE_URL", "postgres://u:x@127.0.0.1:1/d")},
		{"the database is not there", false, func(_ *testing.T, s *site) { s.env["DATABASE_URL"] = strings.Replace(url, "/test_", "/nosuch_", 1) }},
		{"the role may read and write everything, and owns nothing", true, role("writer", all)},
		{"the role may only read", false, role("reader", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO ROLE;")},
		{"the role may write all but the records of applies", false, role("clerk", all+" REVOKE INSERT ON apply_runs FROM ROLE;")},
		{"the role may write all but the audit trail", false, role("silent", all+" REVOKE INSERT ON audit_events FROM ROLE;")},
		{"the role may not read the users", false, role("blind", all+" REVOKE SELECT ON users FROM ROLE;")},
		{"the role may do nothing", false, role("nobody", "")},
		{"the role may open two connections", true, role("couple", all+" ALTER USER ROLE CONNECTION LIMIT 2;")},
		{"the role may open three connections", true, role("few", all+" ALTER USER ROLE CONNECTION LIMIT 3;")},
		{"idle transactions are ended after a second", true, role("idle", all+" ALTER USER ROLE SET idle_in_transaction_session_timeout = '1s';")},
		{"transactions are serializable", true, role("serial", all+" ALTER USER ROLE SET default_transaction_isolation = 'serializable';")},
		{"the session speaks another language, time zone and encoding", true, role("foreign", all+" ALTER USER ROLE SET DateStyle = 'German'; ALTER USER ROLE SET TimeZone = 'Asia/Kathmandu'; "+
			"ALTER USER ROLE SET client_encoding = 'LATIN1'; ALTER USER ROLE SET IntervalStyle = 'sql_standard'; ALTER USER ROLE SET bytea_output = 'escape'; "+
			"ALTER USER ROLE SET standard_conforming_strings = off; ALTER USER ROLE SET extra_float_digits = 0;")},
		{"the role looks in another schema first", false, role("elsewhere", all+" CREATE SCHEMA ROLE AUTHORIZATION ROLE;")},
		{"the role looks in another schema alone", false, role("lost", all+" CREATE SCHEMA ROLE AUTHORIZATION ROLE; ALTER USER ROLE SET search_path = ROLE;")},
		{"a pooler of transactions stands between", false, func(t *testing.T, s *site) {
			s.env["DATABASE_URL"] = labtest.Pgbouncer(t, url, "pool_mode = transaction")
		}},
		{"a pooler of sessions stands between", true, func(t *testing.T, s *site) { s.env["DATABASE_URL"] = labtest.Pgbouncer(t, url, "pool_mode = session") }},
		{"another process applies on this database", false, func(t *testing.T, s *site) {
			lock, err := s.store.TryApplyLock(t.Context())
			if err != nil || lock == nil {
				t.Fatal(lock, err)
			}
			s.later(lock.Release)
		}},
		{"the revision in place is another database's", false, func(t *testing.T, s *site) { s.env["DATABASE_URL"] = labtest.Postgres(t) }},
	})
}
