//go:build !race

package webui_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/proc"
)

// The portal demands a second factor of owners, and knows an OpenID provider, which knows three people.
func TestTheSignInWorksInARealBrowser(t *testing.T) {
	t.Parallel()
	w := newWorkshop(t)
	w.env = append(w.env, "SECOND_FACTOR=owners", "OIDC_ISSUER="+newProvider(t, w.url()+"/auth/oidc/callback"), "OIDC_CLIENT_ID=portal", "OIDC_CLIENT_SECRET=s3cret")
	if err := w.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	suite(t, "door", "PORTAL="+w.url(), "SETUP="+w.setupLink(t))
}

// newProvider builds and starts the OpenID provider of the tests, tools/provider, and returns its issuer.
func newProvider(t *testing.T, callback string) (issuer string) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "provider")
	built, err := proc.Run(t.Context(), proc.Command{Argv: []string{"go", "build", "-C", filepath.Join(root(t), "tools/provider"), "-o", program, "."}, Env: os.Environ()})
	if err != nil || built.ExitCode != 0 {
		t.Fatalf("cannot build the provider: %v\n%s", err, built.Stderr)
	}
	people := map[string]map[string]any{}
	for _, name := range []string{"olga", "ida", "nobody"} {
		people[name] = map[string]any{
			"ID": name, "Username": name, "Password": "verysecure", "FirstName": name, "LastName": "Example", "Email": name + "@example.com", "EmailVerified": true, "PreferredLanguage": "en",
		}
	}
	text, err := json.Marshal(people)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "people.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "provider.log")
	p, err := proc.Start(proc.Command{Argv: []string{program, filepath.Join(dir, "people.json"), "portal", "s3cret", callback}, Env: []string{}, Dir: dir}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		said, _ := os.ReadFile(log)
		if found := regexp.MustCompile(`(?m)^issuer (\S+)$`).FindSubmatch(said); found != nil {
			return string(found[1])
		}
		select {
		case <-tick.C:
		case <-p.Done():
			t.Fatalf("the provider has ended: %s", said)
		}
	}
}
