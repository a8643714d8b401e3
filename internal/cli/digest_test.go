package cli_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/phone"
)

func TestWithDigestsPhonesCallEachOtherAndAsteriskHasNoPassword(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	s := newSettings(t).beside(a)
	secrets := map[string]string{}
	for _, number := range []string{"1000", "1001"} {
		secrets[number] = secretOf(t, s.must(t, "user", "add", "User "+number, number+"@example.com", "--json"))
	}
	s.must(t, "apply") // with passwords
	s["SECRET_MODE"] = "digest"
	if plan := s.must(t, "plan", "--json"); strings.Count(plan, `"settings"`) != 2 || strings.Contains(plan, `"secret"`) {
		t.Errorf("the plan for the other mode: %s", plan)
	}
	s.must(t, "apply")

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	plug := func(number, secret, algorithm string) *phone.Phone {
		p, err := phone.New(phone.Config{Server: a.SIPAddr, Number: number, Secret: secret, Algorithm: algorithm, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
	caller, callee := plug("1000", secrets["1000"], "SHA-256"), plug("1001", secrets["1001"], "MD5")
	for _, p := range []*phone.Phone{caller, callee} {
		if err := p.Register(ctx, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if err := plug("1000", "guessed", "").Register(ctx, time.Minute); err == nil {
		t.Error("a phone registered with a wrong secret")
	}
	out, err := caller.Dial(ctx, "1001")
	if err != nil {
		t.Fatal(err)
	}
	in, err := callee.Incoming(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Accept(ctx); err != nil {
		t.Fatal(err)
	}
	if err := out.Answered(ctx); err != nil {
		t.Error(err)
	}
	if err := out.Hangup(ctx); err != nil {
		t.Error(err)
	}

	file, err := os.ReadFile(filepath.Join(a.ConfigDir, pbx.PJSIPPath))
	if err != nil {
		t.Fatal(err)
	}
	said := string(file)
	for _, command := range []string{"pjsip show auth 1000", "pjsip show auth 1001", "pjsip show endpoint 1000", "dialplan eval function AST_SORCERY(res_pjsip,auth,1000,password)"} {
		reply, err := a.Control().Run(ctx, command)
		if err != nil {
			t.Fatal(err)
		}
		said += reply.Stdout
	}
	if !strings.Contains(said, "password_digest") {
		t.Errorf("there is no digest to be seen:\n%s", said)
	}
	for number, secret := range secrets {
		if strings.Contains(said, secret) {
			t.Errorf("the password of %s can be read", number)
		}
	}
}

// A password that is read from a kept revision is as good as one that is read from the file in place.
func TestAfterTheSwitchToDigestsNoKeptRevisionHoldsAPassword(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	s := newSettings(t).beside(a)
	var secrets []string
	for _, number := range []string{"1000", "1001", "1002"} {
		secrets = append(secrets, secretOf(t, s.must(t, "user", "add", "User "+number, number+"@example.com", "--json")))
		s.must(t, "apply") // with passwords: three revisions
	}
	lying := func() (files []string) {
		t.Helper()
		for _, root := range []string{a.ConfigDir, s["STATE_DIR"]} {
			err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() {
					return err
				}
				content, err := os.ReadFile(path)
				for _, secret := range secrets {
					if strings.Contains(string(content), secret) {
						files = append(files, path)
					}
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return files
	}
	if len(lying()) < 6 {
		t.Fatalf("passwords lie in %v; the search finds too little", lying())
	}
	s["SECRET_MODE"] = "digest"
	if _, out, _ := s.run(t, "doctor"); !strings.Contains(out, "still hold passwords") || !strings.Contains(out, "pbxportal migrate") {
		t.Errorf("doctor does not tell of the passwords:\n%s", out)
	}
	if code, _, errs := s.run(t, "migrate"); code == 0 || !strings.Contains(errs, "apply") {
		t.Errorf("before Asterisk runs digests they were forgotten: %d, %s", code, errs)
	}
	s.must(t, "apply")
	if files := lying(); len(files) > 0 {
		t.Errorf("passwords still lie in %v", files)
	}
	if _, out, _ := s.run(t, "doctor"); strings.Contains(out, "still hold passwords") {
		t.Errorf("doctor:\n%s", out)
	}
	if code, _, errs := s.run(t, "rollback", "2"); code == 0 || !strings.Contains(errs, "no longer kept") {
		t.Errorf("back to a revision with passwords: %d, %s", code, errs)
	}

	// And after a way back to passwords, and to digests again.
	s["SECRET_MODE"] = "password"
	s.must(t, "apply")
	s.must(t, "user", "add", "One more", "more@example.com")
	s.must(t, "apply")
	s["SECRET_MODE"] = "digest"
	s.must(t, "apply")
	s.must(t, "migrate")
	if files := lying(); len(files) > 0 {
		t.Errorf("passwords lie in %v", files)
	}
}
