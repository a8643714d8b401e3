package cli_test

import (
	"encoding/base64"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pquerna/otp/totp"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

// The whole program is led through what it can do, failures too, and every place where a secret could have gone is searched for it: SIP
// secrets, and those of sign-in and of other programs. Permitted places are listed here, file by file; it can also be in the
// answers that are there to show it once, which are not kept.
func TestNoSecretIsFoundWhereNoneBelongs(t *testing.T) {
	t.Parallel()
	revisions := []string{}
	for _, n := range []string{"2", "3", "4", "5"} {
		revisions = append(revisions, "Asterisk's pjsip.d/synergycall/.portal/gen/00000"+n+"/"+filepath.Base(pbx.PJSIPPath)+": a SIP secret")
	}
	const manager = "Asterisk's manager.conf: the AMI secret"
	for mode, allowed := range map[string][]string{"password": append(revisions, manager), "digest": {manager}} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			storetest.Each(t, func(t *testing.T, url string) {
				found := secretsAfterEverything(t, url, mode)
				if diff := cmp.Diff(slices.Sorted(slices.Values(allowed)), found); diff != "" {
					t.Errorf("secrets are found where they may be (-) and where they are (+):\n%s", diff)
				}
			})
		})
	}
}

// The search itself must be able to find one.
func TestWhereSecretsLieOpenTheyAreFound(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, url string) {
		s := newSettings(t)
		s["DATABASE_URL"], s["SECRET_STORAGE"] = url, "plain"
		secrets := map[string]string{secretOf(t, s.must(t, "user", "add", "anna", "anna@example.com", "--json")): "a SIP secret"}
		found := placesOf(t, secrets, map[string]string{"the database": storetest.Everything(t, url), "elsewhere": "nothing"})
		if diff := cmp.Diff([]string{"the database: a SIP secret"}, found); diff != "" {
			t.Error(diff)
		}
	})
}

// secretsAfterEverything does everything in which secrets take part, and returns the places where some were found, and which.
func secretsAfterEverything(t *testing.T, url, mode string) (found []string) {
	t.Helper()
	a := labtest.Asterisk(t)
	s := newSettings(t).beside(a).following(a)
	s["DATABASE_URL"], s["SECRET_MODE"], s["SECRET_STORAGE"], s["LOG_LEVEL"] = url, mode, "sealed", "DEBUG"
	s["OIDC_ISSUER"], s["OIDC_CLIENT_ID"], s["OIDC_CLIENT_SECRET"] = "http://127.0.0.1:1", "portal", "the-provider-knows-me-by-this"
	secrets := map[string]string{s["AMI_SECRET"]: "the AMI secret", s["OIDC_CLIENT_SECRET"]: "the OIDC client secret"} // and what they are
	for _, name := range []string{"anna", "bert"} {
		secrets[secretOf(t, s.must(t, "user", "add", name, name+"@example.com", "--json"))] = "a SIP secret"
	}
	said := map[string]string{}
	do := func(code int, args ...string) {
		t.Helper()
		got, out, errs := s.run(t, args...)
		for strings.Contains(out+errs, "another apply is running") { // the server may be catching up just then: what the message says to do
			got, out, errs = s.run(t, args...)
		}
		if got != code {
			t.Errorf("%v: exit code %d, want %d\n%s%s", args, got, code, out, errs)
		}
		said[strings.Join(args, " ")] += out + errs
	}
	do(0, "user", "list")
	do(0, "plan", "--diff")
	do(0, "apply")
	srv := s.serve(t)
	secrets[srv.token] = "an API token"
	for _, path := range []string{
		"/metrics", "/health", "/apply/plan", "/apply/logs", "/apply/revisions", "/apply/revisions/2", "/audit", "/audit/export", "/live",
		"/extensions/1000/status", "/accounts", "/tokens", "/session", "/setup",
	} {
		got, err := srv.ask(t.Context(), http.MethodGet, path, "")
		if err != nil || got.status != http.StatusOK || got.body == "" {
			t.Errorf("GET %s: %v, error %v", path, got, err)
		}
		said["GET "+path] = got.body
	}
	for secret, what := range s.signInEverywhere(t, srv, said) {
		secrets[secret] = what
	}
	generated := filepath.Join(a.ConfigDir, pbx.PJSIPPath)
	content, err := os.ReadFile(generated)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(generated, append(content, "; by hand\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	do(0, "plan", "--diff", "--json")
	do(4, "apply")            // refused
	do(0, "apply", "--force") // and what was by hand is kept
	do(0, "user", "delete", "1001")
	do(0, "plan", "--diff")
	control := s["ASTERISK_CONTROL"]
	s["ASTERISK_CONTROL"] = filepath.Join(t.TempDir(), "none.ctl")
	do(6, "apply")
	s["ASTERISK_CONTROL"] = control
	do(0, "apply", "--json")
	do(0, "rollback", "3", "--json")
	do(0, "revision", "list")
	do(0, "revision", "diff", "3", "4")
	do(0, "audit", "list", "--json")
	do(0, "audit", "export")
	do(0, "audit", "verify")
	do(0, "admin", "list", "--json")
	do(0, "token", "list", "--json")
	do(0, "status", "--json")
	do(0, "doctor", "--json")
	do(0, "rotate-key", "--forget")
	do(0, "migrate")
	said["the server's log"] = srv.logged(t)
	said["the database"] = storetest.Everything(t, url)
	for name, dir := range map[string]string{"the state folder's ": s["STATE_DIR"], "Asterisk's ": a.ConfigDir} {
		if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			said[name+strings.TrimPrefix(path, dir+"/")] = string(content)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	return placesOf(t, secrets, said)
}

// placesOf returns which of the secrets are in which of the texts, in whatever form.
func placesOf(t *testing.T, secrets, texts map[string]string) (found []string) {
	t.Helper()
	for place, text := range texts {
		for secret, what := range secrets {
			if len(secret) < 8 {
				t.Errorf("%s is %q", what, secret)
			}
			raw := []byte(secret)
			for _, form := range []string{secret, hex.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw)} {
				if strings.Contains(text, form) && !slices.Contains(found, place+": "+what) {
					found = append(found, place+": "+what)
				}
			}
		}
		if strings.Contains(place, "log") && text == "" {
			t.Errorf("%s is empty", place)
		}
	}
	slices.Sort(found)
	return found
}

// signInEverywhere creates an account, signs in with all that goes with it, also wrongly, keeps what was answered where no secret belongs, and
// returns the secrets with their descriptions.
func (s settings) signInEverywhere(t *testing.T, srv *server, said map[string]string) map[string]string {
	t.Helper()
	const password, wrong = "viele kleine Igel singen", "zwei grosse Hunde lachen"
	secrets := map[string]string{password: "a password", wrong: "a wrong password"}
	if code, out, errs := s.runWith(t, password, "admin", "create", "Olga", "olga@example.com", "--password-stdin"); code != 0 {
		t.Fatalf("exit code %d, %s%s", code, out, errs)
	} else {
		said["admin create"] = out + errs
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ask := func(status int, method, path, body string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, srv.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		resp, err := browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != status {
			t.Fatalf("%s %s: %d %s, error %v, want status %d", method, path, resp.StatusCode, text, err, status)
		}
		for _, c := range jar.Cookies(r.URL) {
			secrets[c.Value] = "the cookie of a session"
		}
		return string(text)
	}
	keep := func(status int, method, path, body string) {
		t.Helper()
		said[method+" "+path] += ask(status, method, path, body)
	}
	signIn := func(password, otp string) string {
		return `{"email":"olga@example.com","password":"` + password + `","otp":"` + otp + `"}`
	}
	keep(http.StatusUnauthorized, http.MethodPost, "/session", signIn(wrong, ""))
	keep(http.StatusOK, http.MethodPost, "/session", signIn(password, ""))
	factor, _ := decode(t, ask(http.StatusOK, http.MethodPost, "/account/totp", `{"password":"`+password+`"}`))["secret"].(string)
	secrets[factor] = "the secret of a second factor"
	code, err := totp.GenerateCode(factor, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	recovery, _ := decode(t, ask(http.StatusOK, http.MethodPost, "/account/totp/confirm", `{"otp":"`+code+`"}`))["recovery_codes"].([]any)
	if len(recovery) != 10 {
		t.Errorf("%d recovery codes", len(recovery))
	}
	for _, code := range recovery {
		code, _ := code.(string)
		secrets[code], secrets[strings.ReplaceAll(code, "-", "")] = "a recovery code", "a recovery code"
	}
	first, _ := recovery[0].(string)
	keep(http.StatusUnauthorized, http.MethodPost, "/session", signIn(password, ""))
	keep(http.StatusOK, http.MethodPost, "/session", signIn(password, first))
	keep(http.StatusUnauthorized, http.MethodPost, "/session", signIn(password, first)) // it was used
	invited := decode(t, ask(http.StatusCreated, http.MethodPost, "/accounts", `{"name":"Emil","email":"emil@example.com","role":"auditor"}`))
	link, _ := invited["link"].(map[string]any)
	invitation, _ := link["code"].(string)
	secrets[invitation] = "the code of an invitation"
	token, _ := decode(t, ask(http.StatusCreated, http.MethodPost, "/tokens", `{"name":"backup","role":"auditor"}`))["secret"].(string)
	secrets[token] = "an API token"
	for _, path := range []string{"/session", "/account/sessions", "/accounts", "/tokens", "/audit", "/audit/export", "/metrics", "/openapi.json"} {
		keep(http.StatusOK, http.MethodGet, path, "")
	}
	keep(http.StatusSeeOther, http.MethodGet, "/auth/oidc/start", "") // the provider is unavailable
	keep(http.StatusForbidden, http.MethodPost, "/invitations", `{"code":"WRONG`+invitation+`","password":"`+wrong+`"}`)
	keep(http.StatusCreated, http.MethodPost, "/invitations", `{"code":"`+invitation+`","password":"`+password+`s"}`)
	keep(http.StatusNoContent, http.MethodDelete, "/session", "")
	return secrets
}
