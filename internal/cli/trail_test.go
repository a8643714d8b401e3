package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestTheAuditTrailIsListedExportedSignedAndVerified(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s["SUDO_USER"] = "anna"
	expect := func(out string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(out, part) {
				t.Errorf("%q is missing in:\n%s", part, out)
			}
		}
	}
	expect(s.must(t, "audit", "events", "--action", "user.create"), "There is no such event")
	expect(s.must(t, "audit", "verify"), "whole: 2 events") // the tables and the key that the first command made
	for _, email := range []string{"a@example.com", "b@example.com"} {
		s.must(t, "user", "add", "Anna Example", email)
	}
	secret := decode(t, s.must(t, "user", "show", "1001", "--json"))["extension"].(map[string]any)["secret"].(string)
	s.must(t, "user", "delete", "1000")
	expect(s.must(t, "audit", "events"), "user.create", "user.delete", "local ", "(sudo by anna)", "user Anna Example", "email: b@example.com", "number: 1000 →")
	if out := s.must(t, "audit", "events", "--action", "user.delete", "--since", "1h"); strings.Contains(out, "user.create") {
		t.Errorf("not what was asked for:\n%s", out)
	}
	events, _ := decode(t, s.must(t, "audit", "events", "--json", "--limit", "2"))["events"].([]any)
	if len(events) != 2 {
		t.Errorf("%v", events)
	}
	export := s.must(t, "audit", "export")
	if strings.Count(export, "\n") != 5 || strings.Contains(export, secret) {
		t.Errorf("the export:\n%s", export)
	}
	head := s.must(t, "audit", "head")
	if h := decode(t, head); h["seq"] != 5.0 {
		t.Errorf("the head: %s", head)
	}
	kept := filepath.Join(t.TempDir(), "heads")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(kept, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(head)
	expect(s.must(t, "audit", "verify", "--heads", kept), "whole: 5 events, 1 signed heads agree")

	// The database of another day: its chain is whole, and is not this one.
	other := newSettings(t)
	other.must(t, "user", "add", "Anna Example", "a@example.com")
	code, out, _ := other.run(t, "audit", "verify", "--heads", kept)
	expect(out, "BROKEN at event 4", "cut off")
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	code, out, _ = other.run(t, "audit", "verify", "--heads", kept, "--json")
	var report struct {
		Whole  bool
		Broken struct{ Seq int }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 1 || report.Whole || report.Broken.Seq != 4 {
		t.Errorf("exit code %d, %v: %s", code, err, out)
	}

	for _, tc := range []struct {
		args []string
		code int
		said string
	}{
		{[]string{"audit", "events", "--limit", "0"}, 2, "from 1 to 500"},
		{[]string{"audit", "events", "--since", "yesterday"}, 2, "--since must be a day"},
		{[]string{"audit", "export", "--until=-1h"}, 2, "--until must be a day"},
		{[]string{"audit", "verify", "--heads", filepath.Join(t.TempDir(), "none")}, 2, "cannot read the heads"},
	} {
		if code, _, errs := s.run(t, tc.args...); code != tc.code || !strings.Contains(errs, tc.said) {
			t.Errorf("%v: exit code %d, %s", tc.args, code, errs)
		}
	}
	write(strings.Replace(head, `"seq":5`, `"seq":6`, 1))
	if code, _, errs := s.run(t, "audit", "verify", "--heads", kept); code != 1 || !strings.Contains(errs, "its signature does not fit") {
		t.Errorf("a head that was changed: exit code %d, %s", code, errs)
	}
}

func TestAServerSignsAHeadWhenItStartsAndWhenItStops(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s.must(t, "user", "add", "Anna Example", "a@example.com")
	srv := s.serve(t)
	if health := srv.want(t, 200, "GET", "/health", ""); health["audit"] != "ok" {
		t.Errorf("%v", health)
	}
	s.must(t, "user", "add", "Ben Example", "b@example.com")
	if err := srv.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if result, err := srv.Wait(t.Context()); result.ExitCode != 0 || err != nil {
		t.Fatalf("exit code %d, error %v", result.ExitCode, err)
	}
	heads, err := os.ReadFile(filepath.Join(s["STATE_DIR"], "audit-heads.jsonl"))
	if err != nil || strings.Count(string(heads), "\n") != 2 {
		t.Errorf("error %v; heads:\n%s", err, heads)
	}
	if log := srv.logged(t); strings.Count(log, "head of the audit trail") != 2 {
		t.Errorf("the log:\n%s", log)
	}
	if out := s.must(t, "audit", "verify"); !strings.Contains(out, "whole: 6 events, 2 signed heads agree") { // with tables, key, the token of the server's client, and the link for the first account
		t.Error(out)
	}
}
