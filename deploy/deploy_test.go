package deploy_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// exposure is the worst score that systemd may give the unit, from 0 (nothing can be harmed) to 10.
const exposure = 1.5

func systemd(t *testing.T) lab.Systemd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // the first fetch over a slow line
	defer cancel()
	s, err := lab.FetchSystemd(ctx, lab.FetchOptions{Progress: func(line string) { t.Log(line) }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run returns the output of a systemd tool, and fails unless it succeeds.
func run(t *testing.T, s lab.Systemd, tool string, args ...string) string {
	t.Helper()
	result, err := s.Run(t.Context(), tool, args...)
	if err != nil {
		t.Fatal(err)
	}
	if result.ExitCode != 0 {
		t.Fatalf("%s %v: exit code %d\n%s%s", tool, args, result.ExitCode, result.Stdout, result.Stderr)
	}
	return result.Stdout + result.Stderr
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// put writes a file of a host that is only a folder.
func put(t *testing.T, root, name, text string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func TestSystemdFindsTheUnitWellProtected(t *testing.T) {
	t.Parallel()
	said := run(t, systemd(t), "systemd-analyze", "security", "--offline=true", "--no-pager", "pbxportal.service")
	found := regexp.MustCompile(`Overall exposure level for pbxportal.service: ([\d.]+)`).FindStringSubmatch(said)
	if found == nil {
		t.Fatalf("no score in:\n%s", said)
	}
	t.Logf("exposure %s", found[1])
	if score, err := strconv.ParseFloat(found[1], 64); err != nil || score > exposure {
		t.Errorf("the exposure is %s, and may be %v at most:\n%s", found[1], exposure, said)
	}
}

// A score is not enough: systemd would ignore an unknown line with a warning.
func TestSystemdUnderstandsEveryLineOfTheUnitAndOfTheWiderOne(t *testing.T) {
	t.Parallel()
	s := systemd(t)
	for name, dropIn := range map[string]string{
		"as it is":           "",
		"network.conf":       read(t, "network.conf"),
		"and with ports":     strings.NewReplacer("#Amb", "Amb", "#Cap", "Cap").Replace(read(t, "network.conf")),
		"a line of nonsense": "[Service]\nProtectEverything=yes\n",
	} {
		root := t.TempDir()
		if err := os.CopyFS(filepath.Join(root, "usr/lib/systemd"), os.DirFS(filepath.Join(s.Root, "usr/lib/systemd"))); err != nil {
			t.Fatal(err)
		}
		put(t, root, "usr/bin/pbxportal", "", 0o755)
		put(t, root, "usr/lib/systemd/system/pbxportal.service", read(t, "pbxportal.service"), 0o644)
		if dropIn != "" {
			put(t, root, "etc/systemd/system/pbxportal.service.d/network.conf", dropIn, 0o644)
		}
		said := run(t, s, "systemd-analyze", "--root="+root, "--man=no", "--generators=false", "verify", "pbxportal.service")
		if strings.Contains(dropIn, "ProtectEverything") != strings.Contains(said, "pbxportal") {
			t.Errorf("%s: systemd says %q", name, said)
		}
	}
}

// The unit may write exactly the state folder and the two folders of generated files, and these are made before it starts.
func TestTheUnitMayWriteWhatIsGeneratedAndNothingElse(t *testing.T) {
	t.Parallel()
	unit, page := read(t, "pbxportal.service"), read(t, "../docs/install.md")
	var want []string
	for _, file := range []string{pbx.PJSIPPath, pbx.DialplanPath} {
		want = append(want, filepath.Join("/etc/asterisk", filepath.Dir(file)))
	}
	var got []string
	for _, found := range regexp.MustCompile(`(?m)^ReadWritePaths=(.*)$`).FindAllStringSubmatch(unit, -1) {
		got = append(got, found[1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("ReadWritePaths are %q, and should be %q", got, want)
	}
	for _, dir := range want {
		if line := "    install -d -m 2750 -o pbxportal -g asterisk " + dir + "\n"; !strings.Contains(page, line) {
			t.Errorf("docs/install.md does not make the folder: %s", line)
		}
	}
}

func TestTheInstallationTakesEveryFileToItsPlace(t *testing.T) {
	t.Parallel()
	page := read(t, "../docs/install.md")
	files, err := filepath.Glob("*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if filepath.Ext(name) != ".go" && name != "testdata" && !regexp.MustCompile(`install .*-m 644 deploy/`+regexp.QuoteMeta(name)+` +/`).MatchString(page) {
			t.Errorf("docs/install.md does not install deploy/%s", name)
		}
	}
}

func TestTheUserIsCreatedAndJoinsAsterisksGroup(t *testing.T) {
	t.Parallel()
	s, root := systemd(t), t.TempDir()
	put(t, root, "etc/group", "root:x:0:\nasterisk:x:150:\n", 0o644)
	put(t, root, "etc/passwd", "root:x:0:0:root:/root:/bin/bash\n", 0o644)
	// Only root can create users; any user can check the file.
	args := []string{"--root=" + root}
	if os.Geteuid() != 0 {
		args = append(args, "--dry-run")
	}
	put(t, root, "usr/lib/sysusers.d/pbxportal.conf", read(t, "pbxportal.sysusers"), 0o644)
	run(t, s, "systemd-sysusers", append(args, "pbxportal.conf")...)
	if os.Geteuid() != 0 {
		return
	}
	if group := read(t, filepath.Join(root, "etc/group")); !strings.Contains(group, "asterisk:x:150:pbxportal\n") {
		t.Errorf("the portal's user is not in Asterisk's group:\n%s", group)
	}
}

// Asterisk rejects a file that includes a missing file, so the generated files come first.
func TestThePagesCreateTheGeneratedFilesBeforeAsteriskIncludesThem(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"../README.md", "../docs/install.md"} {
		page := read(t, name)
		created, included := strings.Index(page, "pbxportal install"), strings.Index(page, "#include pjsip.d/synergycall/*.conf")
		if created < 0 || included < created {
			t.Errorf("%s creates the files at %d, and includes them at %d", name, created, included)
		}
	}
}

func TestTheInstallationPageCoversWhatAsteriskNeedsBesideTheGeneratedFiles(t *testing.T) {
	t.Parallel()
	page := read(t, "../docs/install.md")
	for what, text := range map[string]string{
		"where Asterisk 22 comes from":             "**Asterisk 22.** Debian 12 and 13 do not include it",
		"a transport":                              "`[transport-udp]`, if `pjsip.conf` has no transport",
		"existing sections are extended":           "the first `[general]` of `manager.conf`",
		"the rights of the manager user":           `read = system,call,user\nwrite = reporting\n`,
		"commands as the service's user":           "runuser -u pbxportal -- pbxportal doctor",
		"what a restored backup makes valid again": "runuser -u pbxportal -- pbxportal admin after-restore",
	} {
		if !strings.Contains(page, text) {
			t.Errorf("docs/install.md lacks %s: %s", what, text)
		}
	}
}

// What a host does to the service is held against a live systemd below; that these lines stay is held here.
func TestTheUnitRestartsAfterAnyExitAndHasAMemoryLimit(t *testing.T) {
	t.Parallel()
	unit := read(t, "pbxportal.service")
	for _, line := range []string{"Restart=always", "StartLimitIntervalSec=0", "MemoryMax=1G", "Environment=GOMEMLIMIT=768MiB"} {
		if !strings.Contains(unit, "\n"+line+"\n") {
			t.Errorf("the unit lacks %s", line)
		}
	}
}
