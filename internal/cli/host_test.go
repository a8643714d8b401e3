package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPlanDoctorAndApplyNameWhatTheHostHasUnderTheNumberOfAUser(t *testing.T) {
	t.Parallel()
	s := newSettings(t) // no Asterisk is needed for objects in files
	own := func(name, text string) {
		if err := os.WriteFile(filepath.Join(s["ASTERISK_CONFIG_DIR"], name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	own("pjsip.conf", "[1000]\ntype = endpoint\n#include pjsip.d/synergycall/*.conf\n")
	own("extensions.conf", "[office]\nexten => 1001,1,Answer()\n#include extensions.d/synergycall/*.conf\n")
	s.must(t, "install")
	if out := s.must(t, "user", "add", "Anna", "anna@example.com"); !strings.Contains(out, "1001") {
		t.Fatalf("the first user is\n%s", out)
	}
	for _, command := range []string{"plan", "doctor"} {
		_, out, _ := s.run(t, command)
		for _, named := range []string{"endpoint 1000 (" + s["ASTERISK_CONFIG_DIR"] + "/pjsip.conf, line 1)", "extension 1001 in context office", "extensions.conf, line 2)"} {
			if !strings.Contains(out, named) {
				t.Errorf("%s does not name %q:\n%s", command, named, out)
			}
		}
		if strings.Contains(out, "CLASH") || strings.Contains(out, "broken   numbers of the host") {
			t.Errorf("%s finds a clash where there is none:\n%s", command, out)
		}
	}

	own("pjsip.conf", "[1001](!)\ntype = endpoint\n[1001](1001)\n[a\x1b[31m]\n#include pjsip.d/synergycall/*.conf\n")
	const clash = "endpoint 1001"
	if out := s.must(t, "plan"); !strings.Contains(out, "CLASH  "+clash) || !strings.Contains(out, "Next: rename or remove") {
		t.Errorf("plan says\n%s", out)
	}
	var plan struct{ Host []map[string]any }
	if err := json.Unmarshal([]byte(s.must(t, "--json", "plan")), &plan); err != nil || len(plan.Host) != 2 || plan.Host[0]["clash"] != true || plan.Host[0]["line"] != 3.0 || plan.Host[1]["clash"] != false {
		t.Errorf("as JSON the plan has %v, error %v", plan.Host, err)
	}
	if code, out, _ := s.run(t, "doctor"); code == 0 || !strings.Contains(out, "broken   numbers of the host: these clash with numbers of the portal: "+clash) || strings.Contains(out, "An apply can succeed") {
		t.Errorf("doctor: exit code %d\n%s", code, out)
	}
	for _, args := range [][]string{{"apply"}, {"apply", "--force"}, {"apply", "--dry-run"}} {
		if code, out, errs := s.run(t, args...); code != 4 || !strings.Contains(errs, clash) || !strings.Contains(out, "refused: nothing was changed") {
			t.Errorf("%v: exit code %d, said %q\n%s", args, code, errs, out)
		}
	}

	own("pjsip.conf", "#include pjsip.d/synergycall/*.conf\n")
	own("extensions.conf", "[synergy-internal](+)\nexten => 1500,1,Answer()\n#include extensions.d/synergycall/*.conf\n")
	if code, out, _ := s.run(t, "doctor"); code == 0 || !strings.Contains(out, "[synergy-internal](+) adds to the portal's context before it is defined ("+s["ASTERISK_CONFIG_DIR"]+"/extensions.conf, line 1)") {
		t.Errorf("doctor: exit code %d\n%s", code, out)
	}
	own("extensions.conf", "#include extensions.d/synergycall/*.conf\n[synergy-internal](+)\nexten => 1500,1,Answer()\n")
	if _, out, _ := s.run(t, "doctor"); strings.Contains(out, "(+)") || !strings.Contains(out, "extension 1500 in context synergy-internal") {
		t.Errorf("doctor says\n%s", out)
	}
}
