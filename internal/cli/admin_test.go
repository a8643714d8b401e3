package cli_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/auth"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store/storetest"
)

const longPassword = "viele kleine Igel singen"

func TestAnAccountIsCreatedListedAndLocked(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s.must(t, "migrate")
	if out := s.must(t, "admin", "list"); !strings.Contains(out, "admin create") {
		t.Errorf("without accounts it says %q", out)
	}
	for _, tc := range []struct {
		stdin string
		args  []string
		code  int
	}{
		{longPassword + "\n", []string{"Anna", "anna@example.com"}, 0},
		{longPassword + "\r\n", []string{"Anna", "ANNA@example.com"}, 4},
		{"short\n", []string{"Bert", "bert@example.com"}, 2},
		{"", []string{"Bert", "bert@example.com"}, 2},
		{"bert.example.com\n", []string{"Bert", "bert@example.com"}, 2},
		{longPassword, []string{"Bert", "bert", "--role", "root"}, 2},
		{longPassword, []string{"Bert", "bert@example.com", "--role", "auditor"}, 0},
	} {
		code, out, errs := s.runWith(t, tc.stdin, append([]string{"admin", "create", "--password-stdin"}, tc.args...)...)
		if code != tc.code || strings.Contains(out+errs, longPassword) {
			t.Errorf("%v: exit code %d, want %d\n%s%s", tc.args, code, tc.code, out, errs)
		}
	}
	if code, _, errs := s.runWith(t, longPassword, "admin", "create", "Clara", "clara@example.com"); code != 2 || !strings.Contains(errs, "--password-stdin") {
		t.Errorf("without a terminal: exit code %d, %s", code, errs)
	}
	for _, step := range []struct {
		args []string
		code int
		want string // of the list
	}{
		{[]string{"admin", "disable", "anna@example.com"}, 4, `Anna +anna@example\.com +owner +ok +never`},
		{[]string{"admin", "disable", "bert@example.com"}, 0, `Bert +bert@example\.com +auditor +disabled +never`},
		{[]string{"admin", "enable", "BERT@example.com"}, 0, `Bert +bert@example\.com +auditor +ok +never`},
		{[]string{"admin", "enable", "nobody@example.com"}, 3, `Anna`},
		{[]string{"admin", "reset", "nobody@example.com"}, 3, `Bert`},
		{[]string{"admin", "setup-link"}, 4, `Bert`},
	} {
		code, out, errs := s.run(t, step.args...)
		if list := s.must(t, "admin", "list"); code != step.code || !regexp.MustCompile(step.want).MatchString(list) {
			t.Errorf("%v: exit code %d, want %d\n%s%s%s", step.args, code, step.code, out, errs, list)
		}
	}
	var list struct {
		Accounts []map[string]any `json:"accounts"`
	}
	if err := json.Unmarshal([]byte(s.must(t, "admin", "list", "--json")), &list); err != nil || len(list.Accounts) != 2 || list.Accounts[0]["email"] != "anna@example.com" ||
		list.Accounts[0]["last_sign_in_at"] != nil {
		t.Errorf("%+v, error %v", list, err)
	}
}

func TestAResetPrintsALinkThatSetsAPassword(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s["PUBLIC_URL"] = "https://pbx.example.com"
	if code, out, errs := s.runWith(t, longPassword, "admin", "create", "--password-stdin", "Anna", "anna@example.com"); code != 0 {
		t.Fatal(out, errs)
	}
	code, out, errs := s.run(t, "admin", "reset", "anna@example.com")
	found := regexp.MustCompile(`^https://pbx\.example\.com/app/invite#([A-Z2-7]{26})\n$`).FindStringSubmatch(out)
	if code != 0 || found == nil || strings.Contains(errs, found[1]) {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	if list := s.must(t, "admin", "list"); !strings.Contains(list, "no password yet") {
		t.Error(list)
	}
	a := auth.New(auth.Config{Store: storetest.Open(t, s["DATABASE_URL"]), Now: time.Now})
	if _, err := a.Redeem(t.Context(), found[1], pbx.SecretFrom(longPassword), ""); err != nil {
		t.Error(err)
	}
}

func TestASetUpLinkIsPrintedWhileThereAreNoAccounts(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	out := s.must(t, "admin", "setup-link", "--json")
	link, _ := decode(t, out)["link"].(map[string]any)
	code, _ := link["code"].(string)
	if link["url"] != "http://127.0.0.1:0/app/setup#"+code || len(code) != 26 {
		t.Error(out)
	}
	a := auth.New(auth.Config{Store: storetest.Open(t, s["DATABASE_URL"]), Now: time.Now})
	if _, err := a.Setup(t.Context(), auth.Setup{Code: code, Name: "Anna", Email: "anna@example.com", Password: pbx.SecretFrom(longPassword)}); err != nil {
		t.Error(err)
	}
}

func TestATokenIsTheOnlyOutputAndIsValidUntilItIsRevoked(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s.must(t, "migrate")
	if out := s.must(t, "token", "list"); !strings.Contains(out, "token create") {
		t.Errorf("without tokens it says %q", out)
	}
	code, out, errs := s.run(t, "token", "create", "ci", "--role", "applier", "--scope", "apply:run", "--scope", "users:read", "--expires", "90d")
	found := regexp.MustCompile(`^pbx_([a-z2-7]{16})_[A-Z2-7]{52}\n$`).FindStringSubmatch(out)
	if code != 0 || found == nil || !strings.Contains(errs, "applier (users:read apply:run)") {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	for _, args := range [][]string{
		{"x"},
		{"x", "--role", "root"},
		{"", "--role", "admin"},
		{"x", "--role", "auditor", "--scope", "users:write"},
		{"x", "--role", "admin", "--expires", "90"},
		{"x", "--role", "admin", "--expires", "-1d"},
		{"x", "--role", "admin", "--expires", "9999999999d"},
		{"x", "--role", "admin", "--expires", "0d"},
	} {
		if code, out, errs := s.run(t, append([]string{"token", "create"}, args...)...); code != 2 || out != "" {
			t.Errorf("%v: exit code %d\n%s%s", args, code, out, errs)
		}
	}
	a := auth.New(auth.Config{Store: storetest.Open(t, s["DATABASE_URL"]), Now: time.Now})
	proof := auth.Credentials{Bearer: strings.TrimSpace(out)}
	if p, err := a.Authenticate(t.Context(), proof); err != nil || !p.May(pbx.ApplyRun) || p.May(pbx.ApplyRead) {
		t.Errorf("%+v, error %v", p, err)
	}
	if list := s.must(t, "token", "list"); !regexp.MustCompile(found[1] + ` +ci +applier \(users:read apply:run\) +valid until .* +20\d\d-`).MatchString(list) {
		t.Error(list)
	}
	s.must(t, "token", "revoke", found[1])
	if _, err := a.Authenticate(t.Context(), proof); err == nil {
		t.Error("it still holds")
	}
	if list := s.must(t, "token", "list"); !strings.Contains(list, "revoked 20") {
		t.Error(list)
	}
	for id, want := range map[string]int{found[1]: 3, "x": 3} {
		if code, _, _ := s.run(t, "token", "revoke", id); code != want {
			t.Errorf("revoking %q: exit code %d", id, code)
		}
	}
	made := decode(t, s.must(t, "token", "create", "all", "--role", "owner", "--json"))
	if secret, _ := made["secret"].(string); len(secret) != 73 {
		t.Errorf("%+v", made)
	}
}

func TestTheFirstStartPrintsALinkThatMakesTheFirstAccount(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	srv := s.serve(t)
	var found []string
	eventually(t, "the link is printed", func() bool {
		found = regexp.MustCompile(`(http://\S+)/app/setup#([A-Z2-7]{26})\n`).FindStringSubmatch(srv.logged(t))
		return found != nil
	})
	if found[1] != srv.url || strings.Count(srv.logged(t), found[2]) != 1 {
		t.Errorf("the link leads to %s, and stands there %d times", found[1], strings.Count(srv.logged(t), found[2]))
	}
	srv.token = ""
	body := `{"code":"` + found[2] + `","name":"Anna","email":"anna@example.com","password":"` + longPassword + `"}`
	srv.want(t, 201, "POST", "/setup", body)
	srv.want(t, 409, "POST", "/setup", body)
	srv.want(t, 200, "POST", "/session", `{"email":"anna@example.com","password":"`+longPassword+`"}`)
	if err := srv.Kill(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(storetest.Everything(t, s["DATABASE_URL"]), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Error("the password is hashed with less work than OWASP asks for")
	}
	if again := s.serve(t); strings.Contains(again.logged(t), "/app/setup#") || strings.Contains(srv.logged(t), longPassword) {
		t.Error("the next start prints a link, or the log holds the password")
	}
}
