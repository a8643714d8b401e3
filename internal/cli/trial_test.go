package cli_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/proc"
)

func TestTheStartIsLoggedWithTheValuesThatHoldAndWithoutEmptyErrors(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	log := s.serve(t).logged(t)
	for _, want := range []string{"settings.keep_revisions=20", "settings.second_factor=offered", "settings.state_dir=" + s["STATE_DIR"], "settings.acme_email=", "settings.ami_secret_file="} {
		if !strings.Contains(log, want) {
			t.Errorf("%s is missing in:\n%s", want, log)
		}
	}
	if strings.Contains(log, "<nil>") || !strings.Contains(log, `msg="head of the audit trail"`) {
		t.Error(log)
	}
}

// The README's way as root, and then docs/install.md: what root has created is handed over by the lines of that page.
func TestAPortalThatWasTriedAsRootIsHandedOverToTheService(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^    ((?:chown -R|install -d) .*(?:/etc/asterisk/|/var/lib/pbxportal).*)$`).FindAllStringSubmatch(string(page), -1)
	if len(lines) != 6 {
		t.Fatalf("docs/install.md hands over with %q", lines)
	}
	if strings.Contains(string(page), "sudo -u") {
		t.Error("docs/install.md needs sudo, which a small Debian does not have")
	}
	dir, err := os.MkdirTemp("", "trial") //nolint:usetesting // the folders above t.TempDir are closed to other users
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err == nil {
		self = filepath.Join(dir, "portal")
		err = os.WriteFile(self, program, 0o755)
	}
	if err == nil {
		err = os.Mkdir(filepath.Join(dir, "asterisk"), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	env := append(bePortal(), "STATE_DIR="+filepath.Join(dir, "state"), "ASTERISK_CONFIG_DIR="+filepath.Join(dir, "asterisk"), "ASTERISK_CONTROL="+filepath.Join(dir, "none.ctl"))
	var as *proc.Credential
	run := func(argv ...string) {
		t.Helper()
		r, err := proc.Run(t.Context(), proc.Command{Argv: argv, Env: env, Dir: "/", Credential: as})
		if err != nil || r.ExitCode != 0 {
			t.Fatalf("%v: exit code %d, %v\n%s%s", argv, r.ExitCode, err, r.Stdout, r.Stderr)
		}
	}
	for _, args := range [][]string{{"install"}, {"user", "add", "Anna", "anna@example.com"}} {
		run(append([]string{self}, args...)...)
	}
	user := os.Getuid()
	if user == 0 {
		user = stranger
		as = &proc.Credential{UID: stranger, GID: stranger}
	}
	number := strconv.Itoa(user)
	for _, line := range lines {
		text := strings.NewReplacer("/var/lib/pbxportal", filepath.Join(dir, "state"), "/etc/asterisk", filepath.Join(dir, "asterisk"),
			"pbxportal:pbxportal", number, "pbxportal:asterisk", number, "-o pbxportal", "-o "+number, "-g pbxportal", "", "-g asterisk", "").Replace(line[1])
		before := as
		as = nil
		run(strings.Fields(text)...)
		as = before
	}
	for _, args := range [][]string{{"user", "list"}, {"audit", "verify"}, {"install"}, {"user", "add", "Bob", "bob@example.com"}} {
		run(append([]string{self}, args...)...)
	}
}
