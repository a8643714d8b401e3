package cli_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/keyring"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

func TestAfterLosingTheKeyNewSecretsAreIssued(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := newSettings(t).beside(labtest.Asterisk(t))
		s["DATABASE_URL"] = url
		old := map[string]string{}
		for number, name := range map[string]string{"1000": "anna", "1001": "ben"} {
			s.must(t, "user", "add", name, name+"@example.com")
			old[number] = ""
		}
		desk, _ := decode(t, s.must(t, "device", "add", "1000", "Desk", "--json"))["secret"].(string)
		for number := range old {
			old[number] = secretOf(t, s.must(t, "user", "show", number, "--json"))
		}
		s.must(t, "apply")
		if code, _, errs := s.run(t, "replace-lost-key", "--give-up", "00000000"); code != 2 || !strings.Contains(errs, "no key is lost") {
			t.Errorf("with the key in its place: exit code %d, %s", code, errs)
		}
		path := filepath.Join(s["STATE_DIR"], keyring.FileName)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"serve", "doctor", "apply"} {
			if _, out, errs := s.run(t, command); !strings.Contains(out+errs, "pbxportal replace-lost-key") {
				t.Errorf("%s does not name the way out: %s%s", command, out, errs)
			}
		}
		// Without the id of the key, and with another, nothing happens.
		code, _, said := s.run(t, "replace-lost-key")
		for _, want := range []string{"Nothing was changed", "Check again for", "new secret", "recovery code", "backups", "fingerprints"} {
			if code != 2 || !strings.Contains(said, want) {
				t.Errorf("exit code %d, want %q in: %s", code, want, said)
			}
		}
		if code, _, errs := s.run(t, "replace-lost-key", "--give-up", "00000000"); code != 2 || !strings.Contains(errs, "Nothing was changed") {
			t.Errorf("another key given up: exit code %d, %s", code, errs)
		}
		if _, err := os.Stat(path); err == nil {
			t.Error("asking what it would cost made a key")
		}
		args := regexp.MustCompile(`--give-up [0-9a-f]{8}`).FindString(said)
		out := s.must(t, append([]string{"replace-lost-key"}, strings.Fields(args)...)...)
		if !strings.Contains(out, "2 users (1000, 1001)") || !strings.Contains(out, "Dropped the files of 1 earlier applies") {
			t.Errorf("said %s", out)
		}
		for number, secret := range old {
			if now := secretOf(t, s.must(t, "user", "show", number, "--json")); now == secret {
				t.Errorf("%s has the secret that nobody could read", number)
			}
		}
		if now, _ := decode(t, s.must(t, "device", "show", "1000", "2", "--json"))["secret"].(string); len(now) != 22 || now == desk {
			t.Error("the further phone has the secret that nobody could read")
		}
		// The portal is whole again: it applies, Asterisk takes the new secrets, there is no way back to what is gone, and the trail holds.
		if out := decode(t, s.must(t, "apply", "--json")); out["outcome"] != "success" || out["verification"] != "confirmed" {
			t.Errorf("%v", out)
		}
		if code, _, errs := s.run(t, "rollback", "2"); code != 3 || !strings.Contains(errs, "kept") {
			t.Errorf("a revision whose bytes are gone: exit code %d, %s", code, errs)
		}
		s.must(t, "user", "add", "Carl", "carl@example.com")
		s.must(t, "rotate-key", "--forget")
		if out := s.must(t, "audit", "verify"); !strings.Contains(out, "intact") {
			t.Errorf("audit: %s", out)
		}
		var actions []string
		for line := range strings.Lines(s.must(t, "audit", "export")) {
			event, _ := decode(t, line)["event"].(map[string]any)
			if action, _ := event["action"].(string); strings.HasPrefix(action, "key.") || action == "user.secret" {
				actions = append(actions, action)
			}
		}
		if want := []string{"key.use", "key.lost", "user.secret", "user.secret", "key.rotate", "key.reseal", "key.forget"}; !slices.Equal(actions, want) {
			t.Errorf("the trail tells of %v, want %v", actions, want)
		}
	})
}

func TestAKeyOfOneHostIsNotAskedForOnAnotherInVain(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		one := newSettings(t)
		one["DATABASE_URL"] = url
		one.must(t, "migrate") // it has a key, and nothing is sealed yet
		other := newSettings(t)
		other["DATABASE_URL"] = url
		code, _, errs := other.run(t, "user", "add", "Anna", "anna@example.com")
		for _, want := range []string{"encrypted with key ", "there is no key", "another host"} {
			if code != 2 || !strings.Contains(errs, want) {
				t.Errorf("exit code %d, want %q in %s", code, want, errs)
			}
		}
		if _, err := os.Stat(filepath.Join(other["STATE_DIR"], keyring.FileName)); err == nil {
			t.Error("a second key was made")
		}
		key, err := os.ReadFile(filepath.Join(one["STATE_DIR"], keyring.FileName))
		if err != nil {
			t.Fatal(err)
		}
		// One that was made there in vain is replaced by the other's, as the message says.
		path := filepath.Join(other["STATE_DIR"], keyring.FileName)
		for _, tc := range []struct {
			text string
			code int
		}{{keyring.NewKey() + "\n", 2}, {string(key), 0}} {
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if code, _, errs := other.run(t, "user", "add", "Anna", "anna@example.com"); code != tc.code || code != 0 && !strings.Contains(errs, "replace this key file") {
				t.Errorf("exit code %d, want %d: %s", code, tc.code, errs)
			}
		}
		one.must(t, "user", "show", "1000")
	})
}

// Two hosts start for the first time at the same moment, repeatedly: one key is used, and the host with another one reports that and encrypts nothing.
func TestIfTwoHostsCreateAKeyAtOnceOneWins(t *testing.T) {
	t.Parallel()
	const rounds = 3
	for range rounds {
		url := labtest.Postgres(t)
		storetest.Open(t, url) // its tables are there, its key is not
		type end struct {
			code   int
			output string
			dir    string
		}
		ends := make(chan end)
		for i := range 2 {
			s := newSettings(t)
			s["DATABASE_URL"] = url
			go func() {
				env := []string{}
				for name, value := range s {
					env = append(env, name+"="+value)
				}
				code, output := portal(t, []string{"user", "add", "U", string(rune('a'+i)) + "@example.com"}, env...)
				ends <- end{code, output, s["STATE_DIR"]}
			}()
		}
		first, second := <-ends, <-ends
		if first.code != 0 {
			first, second = second, first
		}
		if first.code != 0 || second.code != 2 || !strings.Contains(second.output, "that of the host") && !strings.Contains(second.output, "another host") {
			t.Errorf("exit codes %d and %d\n%s\n%s", first.code, second.code, first.output, second.output)
		}
		winner := newSettings(t)
		winner["DATABASE_URL"], winner["STATE_DIR"] = url, first.dir
		if out := winner.must(t, "user", "list", "--json"); strings.Count(out, `"secret"`) != 1 {
			t.Errorf("sealed: %s", out)
		}
	}
}
