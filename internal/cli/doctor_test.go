package cli_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/asterisk/asterisktest"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
)

func TestDoctorReportsThatThereAreNoAccountsYet(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s.must(t, "migrate")
	const none, every = "there are no accounts yet", "every owner and admin has one"
	if _, out, _ := s.run(t, "doctor"); !strings.Contains(out, none) || !strings.Contains(out, "pbxportal admin setup-link") || strings.Contains(out, every) {
		t.Errorf("without accounts:\n%s", out)
	}
	s.runWith(t, "a long password 1\n", "admin", "create", "Ann", "ann@example.com", "--role", "auditor", "--password-stdin")
	if _, out, _ := s.run(t, "doctor"); strings.Contains(out, none) != !strings.Contains(s.must(t, "admin", "list"), "ann@example.com") {
		t.Errorf("with an account:\n%s", out)
	}
}

func TestDoctorNamesTheOptionThatAnOlderAsteriskDoesNotKnow(t *testing.T) {
	t.Parallel()
	old := asterisktest.New(t, func(command string, out io.Writer, done <-chan struct{}) {
		switch command {
		case "module show":
			_, _ = io.WriteString(out, modules())
		case "core show version":
			_, _ = io.WriteString(out, "Asterisk 22.0.0 built by nobody @ buildd on a x86_64 running Linux on 2024-10-16 12:00:00 UTC\n")
		case "module reload pbxportal_rehearsal.so":
			_, _ = io.WriteString(out, "No such module 'pbxportal_rehearsal.so'\n")
		case "core show settings":
			_, _ = io.WriteString(out, "  Configuration directory:     /nowhere\n")
		default:
			asterisktest.Loaded(asterisktest.Objects{Context: pbx.Context})(command, out, done)
		}
	})
	for _, tc := range []struct {
		mode string
		says bool
	}{{"password", false}, {"digest", true}} {
		s := newSettings(t)
		s["ASTERISK_CONTROL"], s["SECRET_MODE"] = old.Socket, tc.mode
		for name, folder := range map[string]string{"pjsip.conf": "pjsip.d", "extensions.conf": "extensions.d"} {
			if err := os.WriteFile(filepath.Join(s["ASTERISK_CONFIG_DIR"], name), []byte("#include "+folder+"/synergycall/*.conf\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s.must(t, "user", "add", "Anna", "anna@example.com")
		_, out, _ := s.run(t, "doctor")
		const want = "the portal writes the option password_digest, which Asterisk 22.0.0 does not know: it came with Asterisk 22.2"
		if strings.Contains(out, want) != tc.says || strings.Contains(out, "rehearsal of an apply: locks, record") == tc.says || strings.Contains(out, "not started") {
			t.Errorf("SECRET_MODE=%s:\n%s", tc.mode, out)
		}
	}
}

// modules is what an Asterisk says that has loaded all that doctor asks for.
func modules() string {
	text := "Module                         Description                              Use Count  Status      Support Level\n"
	all := strings.Fields(`res_pjsip.so res_sorcery_config.so pbx_config.so func_sorcery.so func_strings.so chan_pjsip.so res_pjsip_session.so res_pjsip_registrar.so
res_pjsip_authenticator_digest.so res_pjsip_endpoint_identifier_user.so res_pjsip_sdp_rtp.so res_rtp_asterisk.so app_dial.so app_exec.so`)
	for _, name := range all {
		text += name + strings.Repeat(" ", 40-len(name)) + "Some module                              0          Running              core\n"
	}
	return fmt.Sprintf("%s%d modules loaded\n", text, len(all))
}

func TestThePlanHasItsOwnExitCodeIfThereIsSomethingToApply(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	s := newSettings(t).beside(a)
	s.must(t, "migrate")
	plan := func(want int, when string) {
		t.Helper()
		for _, args := range [][]string{{"plan", "--exit-code"}, {"plan", "--exit-code", "--json"}} {
			if code, out, errs := s.run(t, args...); code != want || out == "" || errs != "" {
				t.Errorf("%s, %v: exit code %d, want %d: %s%s", when, args, code, want, out, errs)
			}
		}
		if code, _, _ := s.run(t, "plan"); code != 0 {
			t.Errorf("%s: without --exit-code: exit code %d", when, code)
		}
	}
	plan(8, "before the first apply")
	s.must(t, "apply")
	plan(0, "after an apply")
	s.must(t, "user", "add", "Anna", "anna@example.com")
	plan(8, "with a new user")
	s.must(t, "apply")
	plan(0, "after the next")
	file := filepath.Join(a.ConfigDir, pbx.DialplanPath)
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, append(text, "; by hand\n"...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	plan(8, "after an edit by hand")
	s.must(t, "apply", "--force")
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	plan(8, "while Asterisk is not running")
}

func TestInstallFailsWhereFilesOfAnEarlierInstallAreGoneOrChanged(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s.must(t, "install")
	s.must(t, "install") // done before
	file := filepath.Join(s["ASTERISK_CONFIG_DIR"], pbx.DialplanPath)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := s.run(t, "install"); code != 4 || !strings.Contains(errs, file+" is missing") || !strings.Contains(errs, "apply with force") {
		t.Errorf("a file is gone: exit code %d: %s%s", code, out, errs)
	}
	if err := os.WriteFile(file, []byte("; mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := s.run(t, "install", "--json"); code != 4 || !strings.Contains(errs, "was replaced") {
		t.Errorf("another is in its place: exit code %d: %s%s", code, out, errs)
	}
}

func TestDoctorSaysEachFixOnceAndCountsInTheSingular(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s["SECOND_FACTOR"] = "offered"
	s.runWith(t, "correct horse battery\n", "admin", "create", "Ann", "ann@example.com", "--role", "owner", "--password-stdin")
	for _, f := range pbx.GeneratedFiles() {
		name := filepath.Join(s["ASTERISK_CONFIG_DIR"], f.Path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	const line = "#include extensions.d/synergycall/*.conf"
	includes := func(text string) string {
		if err := os.WriteFile(filepath.Join(s["ASTERISK_CONFIG_DIR"], "extensions.conf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, out, _ := s.run(t, "doctor")
		return out
	}
	if out := includes(""); strings.Count(out, line) != 1 || !strings.Contains(out, "→ as above") || !strings.Contains(out, "1 account that can change everything has none") {
		t.Errorf("without the line:\n%s", out)
	}
	if out := includes(line + "\n"); strings.Count(out, line) != 1 || strings.Count(out, "include in extensions.conf") != 1 {
		t.Errorf("with the line:\n%s", out)
	}
}
