package cli_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/store/storetest"
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
		for _, want := range []string{"encrypted with key ", path, "SECRET_KEY_FILE", "add it there again"} {
			if code != 2 || !strings.Contains(errs, want) {
				t.Errorf("%s: exit code %d, want %q in: %s%s", command, code, want, out, errs)
			}
		}
	}
	if code, out, _ := s.run(t, "doctor"); code != 1 || !strings.Contains(out, "broken   secrets at rest: encrypted with key ") || !strings.Contains(out, "add it there again") {
		t.Errorf("doctor: exit code %d\n%s", code, out)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("another key was made")
	}
	if err := os.WriteFile(path, []byte(keyring.NewKey()), 0o600); err != nil { // another user's
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
	if _, out, _ := s.run(t, "doctor"); !strings.Contains(out, "warning  secrets at rest: SIP secrets are stored in plaintext") {
		t.Errorf("doctor: %s", out)
	}
	delete(s, "SECRET_STORAGE")
	if out := s.must(t, "migrate"); !strings.Contains(out, "Encrypted plaintext secrets in 1 rows") {
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

func TestAKeyIsReplacedBesideARunningServer(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := newSettings(t)
		s["DATABASE_URL"] = url
		secret := secretOf(t, s.must(t, "user", "add", "Anna", "anna@example.com", "--json"))
		_, _, _ = s.run(t, "apply") // there is no Asterisk; the record and its bytes are there
		srv := s.serve(t)
		first, _ := decode(t, s.must(t, "rotate-key", "--json"))["key"].(string)
		get := func(when string) {
			t.Helper()
			users, _ := srv.want(t, http.StatusOK, http.MethodGet, "/users", "")["users"].([]any)
			user, _ := users[0].(map[string]any)
			if got := secretIn(t, user); got != secret {
				t.Errorf("%s the server gives another secret", when)
			}
		}
		get("after the first rotation")
		other := secretIn(t, srv.want(t, http.StatusCreated, http.MethodPost, "/users", newUserJSON(1)))
		out := s.must(t, "rotate-key", "--forget")
		keys, err := os.ReadFile(filepath.Join(s["STATE_DIR"], keyring.FileName))
		if err != nil || strings.Count(string(keys), "\n") != 1 || strings.Contains(out, first) {
			t.Errorf("error %v; said %s", err, out)
		}
		get("after the second")
		for number, want := range map[string]string{"1000": secret, "1001": other} {
			if got := secretOf(t, s.must(t, "user", "show", number, "--json")); got != want {
				t.Errorf("%s has another secret", number)
			}
		}
		if out := s.must(t, "revision", "list"); !strings.Contains(out, "1") {
			t.Errorf("revisions: %s", out)
		}
	})
}

func TestARotationThatWasCutOffIsFinishedAndNotBegunAgain(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s.must(t, "user", "add", "Anna", "anna@example.com")
	path := filepath.Join(s["STATE_DIR"], keyring.FileName)
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	both := keyring.NewKey() + "\n" + string(old) // what is there after the first step
	if err := os.WriteFile(path, []byte(both), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := s.must(t, "rotate-key"); !strings.Contains(out, "1 rows were re-encrypted") {
		t.Errorf("said %s", out)
	}
	if now, err := os.ReadFile(path); string(now) != both || err != nil {
		t.Errorf("the key file was changed, error %v", err)
	}
}

func TestExternallyProvidedKeysAreReplacedAtTheirSource(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s["SECRET_KEY"] = keyring.NewKey()
	s.must(t, "user", "add", "Anna", "anna@example.com")
	if code, _, errs := s.run(t, "rotate-key"); code != 2 || !strings.Contains(errs, "put a new key before the current one") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	s["SECRET_KEY"] = keyring.NewKey() + "," + s["SECRET_KEY"]
	if out := s.must(t, "rotate-key"); !strings.Contains(out, "1 rows were re-encrypted") {
		t.Errorf("said %s", out)
	}
	s["SECRET_KEY"], _, _ = strings.Cut(s["SECRET_KEY"], ",")
	s.must(t, "user", "show", "1000")
}

func TestSecretsAreOpenedForAnotherProgramOnPurposeOnly(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s.must(t, "user", "add", "Anna", "anna@example.com")
	s["SECRET_STORAGE"] = "plain"
	if out := s.must(t, "migrate"); !strings.Contains(out, "up to date") {
		t.Errorf("migrate: %s", out)
	}
	if out := s.must(t, "rotate-key"); !strings.Contains(out, "1 rows were decrypted") {
		t.Errorf("rotate-key: %s", out)
	}
}

// secretOf returns the secret of a user in JSON output.
func secretOf(t *testing.T, printed string) string {
	t.Helper()
	return secretIn(t, decode(t, printed))
}

func secretIn(t *testing.T, user map[string]any) string {
	t.Helper()
	extension, _ := user["extension"].(map[string]any)
	secret, _ := extension["secret"].(string)
	if len(secret) != 22 {
		t.Fatalf("no secret in %v", user)
	}
	return secret
}
