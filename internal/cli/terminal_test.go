package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// Comments of applies are written by other users and shown on an administrator's terminal.
func TestWhatOthersWroteDoesNotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s.must(t, "user", "add", "Anna", "anna@example.com")
	_, _, _ = s.run(t, "apply", "--comment", "red \x1b[31m title \x1b]0;owned\x07 backwards \u202e and \u009b31m done") // there is no Asterisk; the record is there
	logs, _ := decode(t, s.must(t, "audit", "list", "--json"))["logs"].([]any)
	newest, _ := logs[0].(map[string]any)
	id, _ := newest["id"].(string)
	for _, args := range [][]string{{"audit", "show", id}, {"audit", "list"}, {"audit", "events"}, {"revision", "list"}} {
		out := s.must(t, args...)
		if i := strings.IndexFunc(out, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }); i >= 0 {
			t.Errorf("%v prints %q", args, out[i:min(len(out), i+20)])
		}
		if args[1] == "show" && !strings.Contains(out, "red [31m title ]0;owned backwards and 31m done") {
			t.Errorf("what can be read of it is gone:\n%s", out)
		}
	}
}

// The rules for names keep such a name out; a database of the Python portal may hold one.
func TestTheNameOfAnAdoptedUserDoesNotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s.must(t, "user", "add", "Anna", "anna@example.com")
	storetest.Execute(t, s["DATABASE_URL"], "UPDATE users SET name = 'Anna' || char(27) || '[31m' || char(10) || 'red', email = 'a' || char(155) || '@example.com'")
	for _, args := range [][]string{{"user", "list"}, {"user", "show", "1000"}, {"plan"}, {"user", "delete", "1000"}} {
		_, out, errs := s.run(t, args...)
		if i := strings.IndexFunc(out+errs, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }); i >= 0 || !strings.Contains(out+errs, "31m red") {
			t.Errorf("%v prints %q", args, out+errs)
		}
	}
}

func TestDoctorReportsSettingsReadableByAllUsers(t *testing.T) {
	t.Parallel()
	s, dir := newSettings(t), t.TempDir()
	var env []string
	for name, value := range s {
		env = append(env, name+"="+value)
	}
	file := filepath.Join(dir, ".env")
	if err := os.WriteFile(file, []byte("AMI_USER=portal\nAMI_SECRET=hush\nOIDC_CLIENT_SECRET=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, found := range map[os.FileMode]bool{0o644: true, 0o640: false} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		_, out := portalIn(t, dir, []string{"doctor"}, env...)
		if strings.Contains(out, "warning  settings: from .env in this folder as well, which all users of this machine can read, with AMI_SECRET\n") != found || strings.Contains(out, "hush") {
			t.Errorf("mode %o:\n%s", mode, out)
		}
	}
}
