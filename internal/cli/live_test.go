package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/phone"
)

// following lets the settings name the Manager Interface of an Asterisk.
func (s settings) following(a *lab.Asterisk) settings {
	s["AMI_ADDR"], s["AMI_USER"], s["AMI_SECRET"] = a.AMI.Addr, a.AMI.User, a.AMI.Secret
	return s
}

func TestStatusShowsThePhonesAndTheCalls(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	s := newSettings(t).beside(a).following(a)
	if out := s.must(t, "status"); !strings.Contains(out, "phones registered: 0, calls: 0") {
		t.Errorf("at first:\n%s", out)
	}
	var phones []*phone.Phone
	for i := range 2 {
		user := decode(t, s.must(t, "user", "add", fmt.Sprintf("User %d", i), fmt.Sprintf("user%d@example.com", i), "--json"))
		secret := user["extension"].(map[string]any)["secret"].(string)
		p, err := phone.New(phone.Config{Server: a.SIPAddr, Number: fmt.Sprint(1000 + i), Secret: secret, UserAgent: "Desk"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		phones = append(phones, p)
	}
	s.must(t, "apply")
	for _, p := range phones {
		if err := p.Register(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := phones[0].Dial(t.Context(), "1001"); err != nil {
		t.Fatal(err)
	}
	in, err := phones[1].Incoming(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Accept(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both phones and the call are shown", func() bool {
		out := s.must(t, "status")
		return strings.Contains(out, "phones registered: 2, calls: 1") && strings.Count(out, " reachable ") == 2 && strings.Contains(out, "1000 User 0") &&
			strings.Contains(out, "1001 User 1") && strings.Contains(out, "  up ") && strings.Contains(out, "Desk")
	})
	all := decode(t, s.must(t, "status", "--json"))
	registrations, _ := all["registrations"].([]any)
	calls, _ := all["calls"].([]any)
	if len(registrations) != 2 || len(calls) != 1 || registrations[0].(map[string]any)["address"] != phones[0].Addr().String() {
		t.Errorf("as JSON: %v", all)
	}
}

func TestStatusReportsWhyThereIsNoLiveState(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	if code, _, errs := newSettings(t).run(t, "status"); code != 2 || !strings.Contains(errs, "AMI_USER") {
		t.Errorf("not set up: exit code %d, %s", code, errs)
	}
	s := newSettings(t).following(a)
	s["AMI_SECRET"] = "topsecret"
	if code, _, errs := s.run(t, "status"); code != 1 || !strings.Contains(errs, "manager.conf") || strings.Contains(errs, "topsecret") {
		t.Errorf("refused: exit code %d, %s", code, errs)
	}
	s["AMI_ADDR"] = "127.0.0.1:1"
	if code, _, errs := s.run(t, "status"); code != 1 || !strings.Contains(errs, "no process listens") {
		t.Errorf("away: exit code %d, %s", code, errs)
	}
}

func TestDoctorSeesWhetherLiveStateWorksWithTheLeastRights(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	name := filepath.Join(a.ConfigDir, "manager.conf")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, "[wide]\nsecret=topsecret\nread=all\nwrite=system,reporting,originate\n[narrow]\nsecret=topsecret\nread=system\nwrite=reporting\n[older]\nsecret=topsecret\nread=system,call\nwrite=reporting\n"...)
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Control().Run(t.Context(), "manager reload"); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("topsecret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for about, tc := range map[string]struct {
		set  settings
		want []string
	}{
		"off":    {settings{}, []string{"ok       live state: off", "read = system,call,user", "write = reporting", "AMI_SECRET_FILE"}},
		"older":  {settings{"AMI_USER": "older", "AMI_SECRET": "topsecret"}, []string{"signed in as older", "with minimal permissions"}},
		"codes":  {settings{"AMI_USER": "older", "AMI_SECRET": "topsecret", "FEATURE_CODES": "on"}, []string{"warning  live state: ", "lacks read=user", "read = system,call,user"}},
		"least":  {settings{"AMI_USER": a.AMI.User, "AMI_SECRET": a.AMI.Secret}, []string{"ok       live state: signed in as portal at ", "with minimal permissions"}},
		"wide":   {settings{"AMI_USER": "wide", "AMI_SECRET_FILE": secret}, []string{"warning  live state: ", "more permissions than necessary: read=", "write=system,originate"}},
		"narrow": {settings{"AMI_USER": "narrow", "AMI_SECRET": "topsecret"}, []string{"warning  live state: ", "lacks read=call"}},
		"wrong":  {settings{"AMI_USER": "narrow", "AMI_SECRET": "topsecrets"}, []string{"warning  live state: the Asterisk Manager Interface refuses", "manager reload"}},
		"away":   {settings{"AMI_USER": "narrow", "AMI_SECRET": "topsecret", "AMI_ADDR": "127.0.0.1:1"}, []string{"warning  live state: no process listens"}},
	} {
		s := newSettings(t).beside(a)
		if tc.set["AMI_USER"] != "" {
			s["AMI_ADDR"] = a.AMI.Addr
		}
		for k, v := range tc.set {
			s[k] = v
		}
		_, out, errs := s.run(t, "doctor")
		for _, want := range tc.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: want %q in\n%s%s", about, want, out, errs)
			}
		}
		if strings.Contains(out+errs, "topsecret") || strings.Contains(out+errs, a.AMI.Secret) {
			t.Errorf("%s: a secret is shown:\n%s%s", about, out, errs)
		}
	}
}

func TestAServerFollowsAsteriskAndKeepsTheSecretToItself(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	srv := newSettings(t).beside(a).following(a).serve(t)
	eventually(t, "the server follows Asterisk", func() bool { return strings.Contains(srv.logged(t), `msg="following Asterisk" ami=portal@127.0.0.1:`) })
	if strings.Contains(srv.logged(t), a.AMI.Secret) {
		t.Errorf("the log shows the secret:\n%s", srv.logged(t))
	}
}
