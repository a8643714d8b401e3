package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnApplyWithoutAFolderLeavesARecordAndReportsItOnce(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s["ASTERISK_CONFIG_DIR"] = filepath.Join(t.TempDir(), "mistyped")
	code, out, errs := s.run(t, "--json", "apply", "--by", "me")
	var run map[string]any
	if err := json.Unmarshal([]byte(out), &run); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	id, _ := run["audit_log_id"].(string)
	if said, _ := run["error"].(string); code != 6 || id == "" || run["triggered_by"] != "me" || strings.HasPrefix(run["triggered_at"].(string), "0001") ||
		strings.Count(said, "does not exist") != 1 {
		t.Errorf("exit code %d, said %q\n%s", code, errs, out)
	}
	if log := s.must(t, "audit", "show", id); !strings.Contains(log, "the files cannot be locked; nothing was changed: the configuration folder") {
		t.Errorf("on record is\n%s", log)
	}
	if code, out, _ := s.run(t, "apply"); code != 6 || !strings.Contains(out, "pbxportal audit show ") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if _, err := os.Stat(s["ASTERISK_CONFIG_DIR"]); !os.IsNotExist(err) {
		t.Errorf("the folder was made: %v", err)
	}
}

func TestAnApplyThatNeverBeganHasNoTimeAndNoResult(t *testing.T) {
	t.Parallel()
	code, out, _ := newSettings(t).run(t, "--json", "apply", "--by", strings.Repeat("x", 256))
	var run map[string]any
	if err := json.Unmarshal([]byte(out), &run); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"audit_log_id", "triggered_at", "result", "verification"} {
		if value, ok := run[name]; ok {
			t.Errorf("%s is %v", name, value)
		}
	}
	if code != 2 || run["code"] != "invalid_input" || run["outcome"] != "failure" {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// A console that says nothing: no command failed, and nothing is proved.
func TestAnUnconfirmedApplyHasItsOwnExitCodeAndIsNotShownAsSuccess(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s["ASTERISK_CONTROL"] = "exec:true"
	code, out, errs := s.run(t, "--json", "apply", "--by", "me")
	var run map[string]any
	if err := json.Unmarshal([]byte(out), &run); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	id, _ := run["audit_log_id"].(string)
	if code != 7 || run["result"] != "not_confirmed" || run["outcome"] != "failure" || run["verification"] != "inconclusive" || run["code"] != "not_confirmed" ||
		!strings.Contains(errs, "could not be verified that Asterisk runs them") {
		t.Errorf("exit code %d, said %q\n%s", code, errs, out)
	}
	if log := s.must(t, "audit", "show", id); !strings.Contains(log, "failure") || !strings.Contains(log, "could not be verified that Asterisk runs them") {
		t.Errorf("on record is\n%s", log)
	}
	if code, out, _ := s.run(t, "apply"); code != 7 || !strings.Contains(out, "not confirmed: ") {
		t.Errorf("a second time: exit code %d\n%s", code, out)
	}
	if plan := s.must(t, "plan"); !strings.Contains(plan, "OUT OF SYNC  Asterisk was not yet seen to run revision") {
		t.Errorf("the plan says\n%s", plan)
	}
	if code, _, errs := s.run(t, "rollback"); code != 3 || !strings.Contains(errs, "no earlier revision that Asterisk was seen to run") {
		t.Errorf("rollback: exit code %d, %s", code, errs)
	}
}
