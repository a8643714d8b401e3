package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/synergycall/pbxportal/internal/store/storetest"
)

func TestTheAuditTrailIsListedExportedSignedAndVerified(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s["SUDO_USER"] = "anna"
	s.must(t, "migrate")
	expect := func(out string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(out, part) {
				t.Errorf("%q is missing in:\n%s", part, out)
			}
		}
	}
	expect(s.must(t, "audit", "events", "--action", "user.create"), "No matching events")
	expect(s.must(t, "audit", "verify"), "intact: 2 events") // the tables and the key that the first command made
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
	expect(s.must(t, "audit", "verify", "--heads", kept), "intact: 5 events, 1 signed heads agree")

	// The database of another day: its chain is whole, and is not this one.
	other := newSettings(t)
	other.must(t, "user", "add", "Anna Example", "a@example.com")
	code, out, _ := other.run(t, "audit", "verify", "--heads", kept)
	expect(out, "BROKEN at event 4", "events were removed")
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
	if code, _, errs := s.run(t, "audit", "verify", "--heads", kept); code != 1 || !strings.Contains(errs, "its signature does not match") {
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
	if err != nil || strings.Count(string(heads), "\n") != 2 { // at the start, and at the stop with what came since
		t.Errorf("error %v; heads:\n%s", err, heads)
	}
	if log := srv.logged(t); strings.Count(log, "head of the audit trail") != 2 {
		t.Errorf("the log:\n%s", log)
	}
	if out := s.must(t, "audit", "verify"); !strings.Contains(out, "intact: 7 events, 2 signed heads agree") { // with tables, key, the token of the server's client, that heads are signed, and the link for the first account
		t.Error(out)
	}
}

// What stands against the trail is said by everything that speaks of it, with a way out that leaves its own event.
func TestATrailThatContradictsItsHeadsIsReportedByHealthDoctorAndVerifyUntilANewSeriesBegins(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	for _, email := range []string{"a@example.com", "b@example.com"} {
		s.must(t, "user", "add", "Anna Example", email)
	}
	stop := func(srv *server) {
		t.Helper()
		if err := srv.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if result, err := srv.Wait(t.Context()); result.ExitCode != 0 || err != nil {
			t.Fatalf("exit code %d, error %v", result.ExitCode, err)
		}
	}
	heads := func() string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(s["STATE_DIR"], "audit-heads.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	stop(s.serve(t))
	before := heads()
	storetest.UnlockEvents(t, s["DATABASE_URL"])
	storetest.Execute(t, s["DATABASE_URL"], `DELETE FROM audit_events WHERE seq > 4`)
	srv := s.serve(t)
	if health := srv.want(t, 200, "GET", "/health", ""); !strings.Contains(fmt.Sprint(health["audit"]), "contradicted: event ") ||
		!strings.Contains(fmt.Sprint(health["audit"]), "pbxportal audit begin --reason TEXT") {
		t.Errorf("%v", health)
	}
	code, out, _ := s.run(t, "audit", "verify")
	if code != 1 || !strings.Contains(out, "BROKEN at event 5") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, out, _ := s.run(t, "doctor"); code != 1 || !strings.Contains(out, "audit trail: contradicted: event ") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, out, errs := s.run(t, "audit", "head"); code == 0 || !strings.Contains(errs, "contradicted") || out != "" {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	stop(srv)
	if heads() != before {
		t.Errorf("a head was signed over a contradiction:\n%s", heads())
	}
	if code, _, errs := s.run(t, "audit", "begin", "--reason", " "); code != 2 || !strings.Contains(errs, "--reason must be") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	if out := s.must(t, "audit", "begin", "--reason", "a backup was put back"); !strings.Contains(out, "Acknowledged: the audit trail is contradicted") || !strings.Contains(out, "audit-heads-") {
		t.Error(out)
	}
	if out := s.must(t, "audit", "events", "--action", "audit.begin", "--json"); !strings.Contains(out, "a backup was put back") || !strings.Contains(out, "contradicted") {
		t.Error(out)
	}
	srv = s.serve(t)
	if health := srv.want(t, 200, "GET", "/health", ""); health["audit"] != "ok" {
		t.Errorf("%v", health)
	}
	if out := s.must(t, "audit", "verify"); !strings.Contains(out, "The audit trail is intact") {
		t.Error(out)
	}
}

// Guesses are counted in memory, and all are recorded when the server stops.
func TestFailedSignInsAreCountedAndNoneIsMissingAfterACleanStop(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	if code, _, errs := s.runWith(t, "viele kleine Igel singen", "admin", "create", "Olga", "olga@example.com", "--password-stdin"); code != 0 {
		t.Fatal(errs)
	}
	srv := s.serve(t)
	for range 4 {
		srv.want(t, 401, "POST", "/session", `{"email":"anna@example.com","password":"viele kleine Igel"}`)
	}
	if err := srv.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if result, err := srv.Wait(t.Context()); result.ExitCode != 0 || err != nil {
		t.Fatalf("exit code %d, error %v", result.ExitCode, err)
	}
	var listed struct {
		Events []struct{ After map[string]string }
	}
	if err := json.Unmarshal([]byte(s.must(t, "audit", "events", "--action", "session.sign_in_failed", "--json")), &listed); err != nil {
		t.Fatal(err)
	}
	if e := listed.Events; len(e) != 2 || e[0].After["times"] != "3" || e[1].After["times"] != "1" {
		t.Errorf("%+v", e)
	}
	if out := s.must(t, "audit", "verify"); !strings.Contains(out, "The audit trail is intact") {
		t.Error(out)
	}
}

func TestAnArchiveIsCreatedAndVerifiedWithAndWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	s, dir := newSettings(t), t.TempDir()
	file, other := filepath.Join(dir, "archive.jsonl"), filepath.Join(dir, "other")
	expect := func(out string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(out, part) {
				t.Errorf("%q is missing in:\n%s", part, out)
			}
		}
	}
	s.must(t, "user", "add", "Anna Example", "a@example.com")
	head := s.must(t, "audit", "head") // of event 3: tables, key, user
	kept := filepath.Join(dir, "heads")
	if err := os.WriteFile(kept, []byte(head), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, email := range []string{"b@example.com", "c@example.com", "d@example.com"} {
		s.must(t, "user", "add", "Ben Example", email)
	}
	expect(s.must(t, "audit", "archive", "--before", "2020-01-01", "--to", file), "There is no event before 2020-01-01T00:00:00Z")
	if _, err := os.Lstat(file); !os.IsNotExist(err) {
		t.Errorf("there is a file: %v", err)
	}
	expect(s.must(t, "audit", "archive", "--before", "0s", "--to", file), "Archived events 1–6 in "+file)
	expect(s.must(t, "audit", "archive", "--before", "2020-01-01", "--to", file), "was archived before; the rest of its events was removed", "events 1–6")
	expect(s.must(t, "audit", "verify"), "Events 1–6 were archived on ", "The audit trail is intact: 2 events")
	expect(s.must(t, "audit", "verify", "--heads", kept), "1 signed heads belong to archived events: verify them with --archive FILE")
	expect(s.must(t, "audit", "verify", "--heads", kept, "--archive", file), "The audit trail is intact: 2 events, 4 signed heads agree")
	expect(s.must(t, "audit", "verify", file, "--heads", kept), "The file is intact: events 1–6, 1 signed heads agree")
	if report := decode(t, s.must(t, "audit", "verify", file, "--json")); report["whole"] != true || report["last"] != 6.0 {
		t.Errorf("%v", report)
	}
	if report := decode(t, s.must(t, "audit", "verify", "--json")); report["whole"] != true || len(report["archived"].([]any)) != 1 {
		t.Errorf("%v", report)
	}
	expect(s.must(t, "audit", "events", "--action", "audit.archive"), "audit 1–6", "file: archive.jsonl")

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, []byte(strings.Replace(string(text), "Ben", "Bea", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		code int
		said string
	}{
		{[]string{"audit", "verify", other}, 1, "The file is BROKEN at event 4"},
		{[]string{"audit", "verify", "--archive", other}, 1, "BROKEN at event 4"},
		{[]string{"audit", "verify", file, "--archive", file}, 2, "use either FILE"},
		{[]string{"audit", "verify", filepath.Join(dir, "none")}, 1, "cannot read the exported events"},
		{[]string{"audit", "archive", "--before", "0s", "--to", other}, 1, "exists, and does not contain the oldest events"},
		{[]string{"audit", "archive", "--before", "0s", "--to", file}, 1, "nothing was archived: " + file + " is the complete archive of events 1–6"},
		{[]string{"audit", "archive", "--before", "yesterday", "--to", file}, 2, "--before must be a day"},
		{[]string{"audit", "archive", "--to", file}, 2, "--before"},
	} {
		if code, out, errs := s.run(t, tc.args...); code != tc.code || !strings.Contains(out+errs, tc.said) {
			t.Errorf("%v: exit code %d, %s%s", tc.args, code, out, errs)
		}
	}
	if health := s.serve(t).want(t, 200, "GET", "/health", ""); health["audit"] != "ok" {
		t.Errorf("%v", health)
	}
}
