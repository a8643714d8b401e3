package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/keyring"
)

func TestTheFirstStartMakesAKeyAndWithoutItNothingStartsAgain(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	secret := secretOf(t, s.must(t, "user", "add", "Anna", "anna@example.com", "--json"))
	path := filepath.Join(s["STATE_DIR"], keyring.FileName)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Fatalf("the key file: %v, error %v", info, err)
	}
	aside := filepath.Join(t.TempDir(), "copy")
	if err := os.Rename(path, aside); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"serve", "migrate", "plan", "user list", "user add B b@example.com"} {
		code, out, errs := s.run(t, strings.Fields(command)...)
		for _, want := range []string{"sealed with key ", path, "SECRET_KEY_FILE", "put it there again"} {
			if code != 2 || !strings.Contains(errs, want) {
				t.Errorf("%s: exit code %d, want %q in: %s%s", command, code, want, out, errs)
			}
		}
	}
	if code, out, _ := s.run(t, "doctor"); code != 1 || !strings.Contains(out, "broken   secrets at rest: sealed with key ") || !strings.Contains(out, "put it there again") {
		t.Errorf("doctor: exit code %d\n%s", code, out)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("another key was made")
	}
	if err := os.WriteFile(path, []byte(keyring.NewKey()), 0o600); err != nil { // somebody else's
		t.Fatal(err)
	}
	if code, _, errs := s.run(t, "user", "list"); code != 2 || !strings.Contains(errs, "which is not in the file "+path) {
		t.Errorf("with another key: exit code %d, %s", code, errs)
	}
	if err := os.Rename(aside, path); err != nil {
		t.Fatal(err)
	}
	if again := secretOf(t, s.must(t, "user", "show", "1000", "--json")); again != secret {
		t.Error("the key is back, and the secret is another")
	}
}

func TestAKeyIsTakenFromASettingAFileOrACredential(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	dir, key := t.TempDir(), keyring.NewKey()
	for _, name := range []string{"key", keyring.CredentialName} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s["SECRET_KEY"] = key
	secret := secretOf(t, s.must(t, "user", "add", "Anna", "anna@example.com", "--json"))
	for name, value := range map[string]string{"SECRET_KEY": key, "SECRET_KEY_FILE": filepath.Join(dir, "key"), "CREDENTIALS_DIRECTORY": dir} {
		delete(s, "SECRET_KEY")
		s[name] = value
		if again := secretOf(t, s.must(t, "user", "show", "1000", "--json")); again != secret {
			t.Errorf("%s: another secret", name)
		}
		delete(s, name)
	}
	if err := os.Chmod(filepath.Join(dir, "key"), 0o644); err != nil {
		t.Fatal(err)
	}
	s["SECRET_KEY_FILE"] = filepath.Join(dir, "key")
	if code, _, errs := s.run(t, "user", "list"); code != 2 || !strings.Contains(errs, "chmod 600") {
		t.Errorf("a key file for all to read: exit code %d, %s", code, errs)
	}
	if _, err := os.Stat(filepath.Join(s["STATE_DIR"], keyring.FileName)); err == nil {
		t.Error("a key was made beside the one that was given")
	}
}

func TestSecretsLieOpenForAnotherProgramAsLongAsThatIsSet(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s["SECRET_STORAGE"] = "plain"
	secret := secretOf(t, s.must(t, "user", "add", "Anna", "anna@example.com", "--json"))
	holds := func() bool {
		var all []byte
		for _, suffix := range []string{"", "-wal"} {
			content, err := os.ReadFile(strings.TrimPrefix(s["DATABASE_URL"], "sqlite:///") + suffix)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			all = append(all, content...)
		}
		return strings.Contains(string(all), secret)
	}
	if !holds() {
		t.Error("the secret does not lie open")
	}
	if _, out, _ := s.run(t, "doctor"); !strings.Contains(out, "warning  secrets at rest: SIP secrets lie open") {
		t.Errorf("doctor: %s", out)
	}
	delete(s, "SECRET_STORAGE")
	if out := s.must(t, "migrate"); !strings.Contains(out, "Sealed what lay open in 1 rows") {
		t.Errorf("migrate: %s", out)
	}
	if holds() {
		t.Error("the secret still stands in the file, perhaps where a row was before")
	}
	if again := secretOf(t, s.must(t, "user", "show", "1000", "--json")); again != secret {
		t.Error("the secret is another")
	}
	if out := s.must(t, "migrate"); !strings.Contains(out, "up to date") {
		t.Errorf("migrate again: %s", out)
	}
}

// secretOf gives the secret of a user that was printed as JSON.
func secretOf(t *testing.T, printed string) string {
	t.Helper()
	extension, _ := decode(t, printed)["extension"].(map[string]any)
	secret, _ := extension["secret"].(string)
	if len(secret) != 22 {
		t.Fatalf("no secret in %s", printed)
	}
	return secret
}
