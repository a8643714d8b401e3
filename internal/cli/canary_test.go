package cli_test

import (
	"encoding/hex"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// The whole program is led through what it can do, failures too, and every place where a secret could have gone is searched for it.
// Where one may be: in the answers of "user add" and "user show" and of GET /users, which are not kept here; and where the files hold
// passwords, in the generated file and in its revisions on disk, both below Asterisk's folder, which is not searched then.
func TestNoSecretIsFoundWhereNoneBelongs(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"password", "digest"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, url string) {
				for _, place := range searchForSecrets(t, url, mode, "sealed") {
					t.Errorf("%s holds a secret", place)
				}
			})
		})
	}
}

// The search itself must be able to find one.
func TestWhereSecretsLieOpenTheyAreFound(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		if found := searchForSecrets(t, url, "digest", "plain"); !slices.Contains(found, "the database") {
			t.Errorf("found in %v only", found)
		}
	})
}

// searchForSecrets gives the places where one was found.
func searchForSecrets(t *testing.T, url, mode, storage string) (found []string) {
	t.Helper()
	a := labtest.Asterisk(t)
	s := newSettings(t).beside(a)
	s["DATABASE_URL"], s["SECRET_MODE"], s["SECRET_STORAGE"], s["LOG_LEVEL"] = url, mode, storage, "DEBUG"
	var secrets []string
	for _, name := range []string{"anna", "bert"} {
		secrets = append(secrets, secretOf(t, s.must(t, "user", "add", name, name+"@example.com", "--json")))
	}
	said := map[string]string{}
	do := func(args ...string) {
		_, out, errs := s.run(t, args...)
		said[strings.Join(args, " ")] += out + errs
	}
	do("user", "list")
	do("plan", "--diff")
	do("apply")
	srv := s.serve(t)
	for _, path := range []string{"/metrics", "/health", "/plan", "/apply/logs", "/revisions", "/openapi.json"} {
		got, err := srv.ask(t.Context(), http.MethodGet, path, "")
		if err != nil {
			t.Fatal(err)
		}
		said["GET "+path] = got.body
	}
	generated := filepath.Join(a.ConfigDir, pbx.PJSIPPath)
	content, err := os.ReadFile(generated)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(generated, append(content, "; by hand\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	do("plan", "--diff", "--json")
	do("apply")            // refused
	do("apply", "--force") // and what was by hand is kept
	do("user", "delete", "1001")
	do("plan", "--diff")
	control := s["ASTERISK_CONTROL"]
	s["ASTERISK_CONTROL"] = filepath.Join(t.TempDir(), "none.ctl")
	do("apply")
	s["ASTERISK_CONTROL"] = control
	do("apply", "--json")
	do("rollback", "1", "--json")
	do("revision", "list")
	do("revision", "diff", "1", "2")
	do("audit", "list", "--json")
	do("doctor", "--json")
	do("rotate-key", "--forget")
	do("migrate")
	said["the server's log"] = srv.logged(t)
	said["the database"] = storetest.Everything(t, url)
	for _, dir := range []string{s["STATE_DIR"], a.ConfigDir} {
		if dir == a.ConfigDir && mode == "password" {
			continue
		}
		if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			said[path] = string(content)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	for place, text := range said {
		for _, secret := range secrets {
			if strings.Contains(text, secret) || strings.Contains(text, hex.EncodeToString([]byte(secret))) {
				found = append(found, place)
				break
			}
		}
		if strings.Contains(place, "log") && text == "" {
			t.Errorf("%s is empty", place)
		}
	}
	return found
}
