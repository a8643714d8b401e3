package cli_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/cli"
	"github.com/synergycall/pbxportal/internal/lab"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
)

func TestTheCommandsWorkWithoutAServer(t *testing.T) {
	t.Parallel()
	s := newSettings(t).beside(labtest.Asterisk(t))
	s.must(t, "migrate")
	expect := func(out string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("no %q in:\n%s", w, out)
			}
		}
	}
	expect(s.must(t, "user", "list"), "No users. Create one")
	expect(s.must(t, "audit", "list"), "Nothing has been applied yet")
	added := s.must(t, "user", "add", "Anna Example", "anna@example.com")
	expect(added, "1000", "anna@example.com", "pbxportal apply")
	secret := regexp.MustCompile(`Secret\s+(\S{22})\n`).FindStringSubmatch(added)
	if secret == nil {
		t.Fatalf("no secret in:\n%s", added)
	}
	s.must(t, "--json", "user", "add", "Ben", "ben@example.com")
	expect(s.must(t, "user", "list"), "NUMBER", "1000", "Anna Example", "1001", "Ben")
	if list := s.must(t, "user", "list"); strings.Contains(list, secret[1]) {
		t.Errorf("the list shows a secret:\n%s", list)
	}
	expect(s.must(t, "user", "list", "--find", "ANNA"), "Anna Example")
	expect(s.must(t, "user", "show", "1000"), secret[1])
	expect(s.must(t, "user", "show", "\u00a0１０００\u200e"), secret[1])
	id, _ := decode(t, s.must(t, "user", "show", "1001", "--json"))["id"].(string)
	expect(s.must(t, "user", "show", id), "Ben")
	expect(s.must(t, "plan"), "2 users. Nothing has been applied yet.", "1000", "Anna Example", "added", "Next: pbxportal apply")
	expect(s.must(t, "install"), "The generated files exist now", "#include pjsip.d/synergycall/*.conf")
	expect(s.must(t, "install"), "The files exist already")
	expect(s.must(t, "apply", "--dry-run"), "dry run: nothing was written")
	if out := s.must(t, "audit", "list"); !strings.Contains(out, "dry run  ") {
		t.Errorf("a dry run is shown as what it is not:\n%s", out)
	}
	expect(s.must(t, "audit", "list", "--json"), `"result": "dry_run"`)
	expect(s.must(t, "apply", "--by", "a test", "--comment", "the first"), "stage", "flip", "verify", "applied: Asterisk runs exactly the 2 users of this revision", "audit show")
	expect(s.must(t, "plan"), "Nothing to do: database, files and the live Asterisk agree.")
	expect(s.must(t, "apply"), "unchanged: Asterisk already runs exactly the 2 users of this revision; it was not reloaded")
	expect(s.must(t, "user", "delete", "1001"), "extension 1001 is free", "pbxportal apply")
	plan := s.must(t, "plan", "--diff")
	expect(plan, "-", "1001", "Ben", "removed; the phone can no longer register", "-exten => 1001,1,Dial(PJSIP/1001,25)", "password=[hidden]")
	if strings.Contains(plan, secret[1]) {
		t.Errorf("the plan shows a secret:\n%s", plan)
	}
	if code, _, errs := s.run(t, "apply", "--plan", "another"); code != 4 || !strings.Contains(errs, "Review the plan again") {
		t.Errorf("apply of another plan: exit code %d, %s", code, errs)
	}
	hash, _ := decode(t, s.must(t, "plan", "--json"))["hash"].(string)
	expect(s.must(t, "apply", "--plan", hash), "applied: Asterisk runs exactly the 1 user of this revision")
	expect(s.must(t, "revision", "list"), "→", "the first", "what was in place before the first apply")
	expect(s.must(t, "rollback"), "applied: Asterisk runs exactly the 2 users of this revision", "are live again. The database is unchanged")
	expect(s.must(t, "plan"), "-", "1001", "Next: pbxportal apply")
	expect(s.must(t, "revision", "diff", "2", "3"), "-exten => 1001,1,")
	expect(s.must(t, "recover"), "Nothing to recover.")
	report := decode(t, s.must(t, "apply", "--json"))
	if report["outcome"] != "success" || report["verification"] != "confirmed" || report["users_applied"] != 1.0 {
		t.Errorf("report %v", report)
	}
	logID, _ := report["audit_log_id"].(string)
	expect(s.must(t, "audit", "list"), "a test", "cli:", "success")
	expect(s.must(t, "audit", "show", logID), "success", "reloaded successfully", "generated_routing.conf", "1001 Ben: removed", "verify")
	if log := decode(t, s.must(t, "audit", "show", logID, "--json")); log["outcome"] != "success" {
		t.Errorf("record %v", log)
	}
	expect(s.must(t, "migrate"), "up to date")
	expect(s.must(t, "version"), "pbxportal", "go1.")
}

func TestTheExitCodeIdentifiesTheKindOfFailure(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s.must(t, "user", "add", "Anna", "anna@example.com")
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	noise, torn := filepath.Join(t.TempDir(), "noise.db"), filepath.Join(t.TempDir(), "torn.db")
	content, err := os.ReadFile(strings.TrimPrefix(s["DATABASE_URL"], "sqlite:///"))
	if err != nil || len(content) < 64<<10 {
		t.Fatalf("a database of %d bytes, error %v", len(content), err)
	}
	for i := range 20 << 12 { // the pages behind the first
		content[1<<12+i] = byte(i*7 + i>>8)
	}
	if err := errors.Join(os.WriteFile(noise, content[1<<12:], 0o600), os.WriteFile(torn, content, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		set  string // NAME=value that is changed for this call
		code int
		said string
	}{
		{[]string{"nonsense"}, "", 2, "pbxportal --help"},
		{[]string{"user", "add"}, "", 2, "name"},
		{[]string{"user", "add", "Anna", ""}, "", 2, "email must not be empty"},
		{[]string{"user", "add", "", "x"}, "", 2, "name must not be empty"},
		{[]string{"user", "add", "A\xff", "a@example.com"}, "", 2, "<name>: must be valid UTF-8"},
		{[]string{"user", "add", "A", "a\xff@example.com"}, "", 2, "email>]: must be valid UTF-8"},
		{[]string{"user", "list", "--find", "\xff"}, "", 2, "--find: must be valid UTF-8"},
		{[]string{"user", "list"}, "ASTERISK_CONFIG_DIR=/\xff", 2, "--asterisk-config-dir: must be valid UTF-8"},
		{[]string{"audit", "list", "--limit", "0"}, "", 2, "from 1 to 500"},
		{[]string{"user", "list"}, "LOG_LEVEL=LOUD", 2, "LOG_LEVEL"},
		{[]string{"user", "list"}, "DATABASE_URL=nonsense", 2, "DATABASE_URL"},
		{[]string{"serve"}, "LISTEN_ADDR=nonsense", 2, "LISTEN_ADDR"},
		{[]string{"serve"}, "LISTEN_ADDR=192.0.2.1:1", 2, "set LISTEN_ADDR to an address of this machine"},
		{[]string{"serve"}, "LISTEN_ADDR=127.0.0.1:99999", 2, "a port from 0 to 65535"},
		{[]string{"serve"}, "LISTEN_ADDR=" + busy.Addr().String(), 1, "another program uses the address: stop it"},
		{[]string{"serve"}, "LISTEN_ADDR=0.0.0.0:0", 2, "TRUSTED_PROXIES"},
		{[]string{"serve"}, "OIDC_CLIENT_ID=portal", 2, "OIDC_ISSUER"},
		{[]string{"user", "show", "1999"}, "", 3, "no user has extension 1999"},
		{[]string{"user", "delete", "a0000000-0000-0000-0000-00000000000f"}, "", 3, "there is no user"},
		{[]string{"audit", "show", "x"}, "", 3, "there is no apply log"},
		{[]string{"user", "add", "Other", "ANNA@example.com"}, "", 4, "taken"},
		{[]string{"user", "list"}, "DATABASE_URL=postgres://x:topsecret@127.0.0.1:1/x", 5, "the database does not respond"},
		{[]string{"user", "list"}, "DATABASE_URL=sqlite:////dev/null/portal.db", 5, "check the path in DATABASE_URL"},
		{[]string{"user", "list"}, "DATABASE_URL=sqlite:///" + t.TempDir(), 5, "is a folder, not a regular file"},
		{[]string{"user", "list"}, "DATABASE_URL=sqlite:///" + noise, 5, "restore a backup"},
		{[]string{"user", "list"}, "DATABASE_URL=sqlite:///" + torn, 5, "restore a backup"},
		{[]string{"user", "list"}, "STATE_DIR=/dev/null/state", 2, "whether STATE_DIR"},
		{[]string{"user", "list"}, "DATABASE_URL=postgresql://u:12/topsecret@h/db", 2, "percent-encode"},
		{[]string{"apply"}, "", 6, "the new files are in place"},
		{[]string{"apply", "--on-failure", "x"}, "", 2, "on-failure"},
		{[]string{"rollback", "77"}, "", 3, "there is no revision 77"},
		{[]string{"revision", "diff", "1", "77"}, "", 3, "there is no revision"},
		{[]string{"user", "list"}, "KEEP_REVISIONS=1", 2, "KEEP_REVISIONS"},
		{[]string{"user", "list"}, "KEEP_REVISIONS=0", 2, "KEEP_REVISIONS must be a number of at least 2"},
		{[]string{"user", "list", "--keep-revisions=many"}, "", 2, "KEEP_REVISIONS must be a number of at least 2"},
		{[]string{"user", "list"}, "NUMBER_QUARANTINE=-1h", 2, "NUMBER_QUARANTINE"},
		{[]string{"user", "list"}, "FEATURE_CODES=perhaps", 2, "neither on nor off"},
		{[]string{"user", "list"}, "RTP_TIMEOUT=2 minutes", 2, "--rtp-timeout: must be a number of seconds"},
		{[]string{"user", "list"}, "RTP_TIMEOUT=1", 2, "RTP_TIMEOUT must be a number of seconds from 5 to 86400, or 0 for never"},
		{[]string{"user", "list"}, "RING_TIMEOUT=0", 2, "RING_TIMEOUT must be a number of seconds from 5 to 600"},
		{[]string{"user", "list"}, "DIGEST_ALGORITHMS=MD4", 2, "DIGEST_ALGORITHMS"},
		{[]string{"status"}, "AMI_USER=portal", 2, "AMI_SECRET"},
		{[]string{"doctor"}, "", 1, ""},
		{nil, "", 0, ""},
		{[]string{"--help"}, "", 0, ""},
	} {
		changed := settings{}
		for k, v := range s {
			changed[k] = v
		}
		if name, value, ok := strings.Cut(tc.set, "="); ok {
			changed[name] = value
		}
		code, out, errs := changed.run(t, tc.args...)
		if code != tc.code || !strings.Contains(errs, tc.said) || strings.Contains(out+errs, "topsecret") {
			t.Errorf("%v %s: exit code %d, want %d; said %q, want %q\n%s", tc.args, tc.set, code, tc.code, errs, tc.said, out)
		}
	}
}

func TestTheHelpNamesEverySettingAndItsVariable(t *testing.T) {
	t.Parallel()
	help := newSettings(t).must(t, "--help")
	template, err := os.ReadFile("../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"DATABASE_URL", "LOG_LEVEL", "LISTEN_ADDR", "PUBLIC_URL", "ALLOWED_HOSTS", "TRUSTED_PROXIES", "TLS_CERT", "TLS_KEY", "ACME_HOSTS", "ACME_EMAIL", "ACME_DIRECTORY", "OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET", "OIDC_CLIENT_SECRET_FILE", "OIDC_DEFAULT_ROLE", "OIDC_ACR", "STATE_DIR", "ASTERISK_CONFIG_DIR", "ASTERISK_CONTROL", "AMI_ADDR", "AMI_USER", "AMI_SECRET", "AMI_SECRET_FILE", "SECRET_KEY", "SECRET_KEY_FILE", "SECRET_STORAGE", "SECRET_MODE", "DIGEST_ALGORITHMS", "REALM", "RING_TIMEOUT", "RTP_TIMEOUT", "RTP_TIMEOUT_HOLD", "FEATURE_CODES", "NUMBER_QUARANTINE", "KEEP_REVISIONS"} {
		if !strings.Contains(help, "$"+name) {
			t.Errorf("--help does not name %s", name)
		}
		if !bytes.Contains(template, []byte("\n#"+name+"=")) {
			t.Errorf(".env.example does not name %s", name)
		}
	}
}

func TestTheDefaultsOfTheTemplateCanBeSet(t *testing.T) {
	t.Parallel()
	template, err := os.ReadFile("../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".env"), regexp.MustCompile(`(?m)^#([A-Z_]+=)`).ReplaceAll(template, []byte("$1")), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, said := portalIn(t, dir, []string{"migrate"}, "STATE_DIR="+t.TempDir()); code != 0 {
		t.Errorf("exit code %d: %s", code, said)
	}
}

// Not parallel: it changes the current folder of the process.
func TestFlagsWinOverTheEnvironmentAndTheEnvironmentOverTheFile(t *testing.T) {
	t.Chdir(t.TempDir())
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	env := "# comment\nexport STATE_DIR=\"" + dir + "/from-file\"\nDATABASE_URL='sqlite:///${STATE_DIR}/x.db'\nLOG_LEVEL=info # calm\n"
	if err := os.WriteFile(".env", []byte(strings.ReplaceAll(env, "${STATE_DIR}", dir+"/from-file")), 0o600); err != nil {
		t.Fatal(err)
	}
	where := func(s settings, args ...string) string {
		database, _ := decode(t, s.must(t, append(args, "migrate", "--json")...))["database"].(string)
		return strings.TrimPrefix(database, "SQLite file "+dir)
	}
	fromEnv := settings{"DATABASE_URL": "sqlite:///" + dir + "/from-env.db"}
	for want, got := range map[string]string{
		"/from-file/x.db": where(settings{}),
		"/from-env.db":    where(fromEnv),
		"/from-flag.db":   where(fromEnv, "--database-url", "sqlite:///"+dir+"/from-flag.db"),
	} {
		if got != want {
			t.Errorf("the database is %s, want %s", got, want)
		}
	}
	if err := os.WriteFile(".env", []byte("DATABASE_URL=postgres://u:topsecret@h/d\n'broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := (settings{}).run(t, "user", "list"); code != 2 || strings.Contains(out+errs, "topsecret") {
		t.Errorf("a broken .env: exit code %d, said %s%s", code, out, errs)
	}
	for _, args := range [][]string{{"--help"}, {"user", "add", "--help"}, {"version"}, {"version", "--json"}, nil} {
		if code, out, errs := (settings{}).run(t, args...); code != 0 || out == "" || errs != "" {
			t.Errorf("%v beside a broken .env: exit code %d, said %s%s", args, code, out, errs)
		}
	}
}

func TestDoctorReportsEachProblemWithItsFix(t *testing.T) {
	t.Parallel()
	in := func(a *lab.Asterisk, name string) string { return filepath.Join(a.ConfigDir, name) }
	for name, tc := range map[string]struct {
		fault   func(*lab.Asterisk, settings) error
		code    int
		finding string // a pattern
	}{
		"all is well": {func(*lab.Asterisk, settings) error { return nil }, 0, `ok +modules: all`},
		"pjsip.conf lacks the include": {
			func(a *lab.Asterisk, _ settings) error {
				return os.WriteFile(in(a, "pjsip.conf"), []byte("[global]\ntype=global\n"), 0o600)
			},
			1, `broken +include in pjsip.conf.*\n.*#include pjsip.d/synergycall/\*.conf`,
		},
		"extensions.conf lacks the include": {
			func(a *lab.Asterisk, _ settings) error {
				return os.WriteFile(in(a, "extensions.conf"), []byte("; #include extensions.d/synergycall/*.conf\n"), 0o600)
			},
			1, `broken +include in extensions.conf.*\n.*#include extensions.d/synergycall/\*.conf`,
		},
		"extensions.conf is missing": {func(a *lab.Asterisk, _ settings) error { return os.Remove(in(a, "extensions.conf")) }, 1, `broken +include in extensions.conf: .*does not exist`},
		"pjsip.conf is a named pipe": {
			func(a *lab.Asterisk, _ settings) error {
				return errors.Join(os.Remove(in(a, "pjsip.conf")), unix.Mkfifo(in(a, "pjsip.conf"), 0o600))
			},
			1, `broken +include in pjsip.conf: .*is a named pipe.*\n.*create a readable file there, .*#include pjsip.d/synergycall/\*.conf`,
		},
		"the include names the file exactly": {
			func(a *lab.Asterisk, _ settings) error {
				return os.WriteFile(in(a, "pjsip.conf"), []byte("#include \""+in(a, "pjsip.d/synergycall/generated_endpoints.conf")+"\" ; ours\n"), 0o600)
			}, 0, `ok +include in pjsip.conf`,
		},
		"an editor's copy lies beside our file": {
			func(a *lab.Asterisk, _ settings) error {
				return os.WriteFile(in(a, "pjsip.d/synergycall/copy.conf"), nil, 0o600)
			},
			1, `broken +external changes: .*copy.conf is not the portal's`,
		},
		"texts in files may start programs": {
			func(a *lab.Asterisk, _ settings) error {
				return os.WriteFile(in(a, "asterisk.conf"), []byte("[options]\nexeCincludes => Yes ; hm\n;live_dangerously = yes\n[files]\nlive_dangerously = yes\n"), 0o600)
			}, 0, `warning +options in asterisk.conf: execincludes is on.*\n.*set execincludes = no.*\n *ok +external changes`,
		},
		"variables may start programs": {
			func(a *lab.Asterisk, _ settings) error {
				return os.WriteFile(in(a, "asterisk.conf"), []byte("[options](!)\nlive_dangerously=1\nexecincludes = no\n"), 0o600)
			}, 0, `warning +options in asterisk.conf: live_dangerously is on.*\n.*set live_dangerously = no`,
		},
		"Asterisk is not running": {func(a *lab.Asterisk, _ settings) error { return a.Kill() }, 1, `broken +Asterisk at .*\n.*astctlpermissions=0660`},
		"the include stands in a comment": {
			func(a *lab.Asterisk, _ settings) error {
				return os.WriteFile(in(a, "extensions.conf"), []byte(";--\n#include extensions.d/synergycall/*.conf\n--;\n"), 0o600)
			}, 1, `broken +include in extensions.conf`,
		},
		"the include stands in a file that is included": {
			func(a *lab.Asterisk, _ settings) error {
				return errors.Join(os.WriteFile(in(a, "extensions.conf"), []byte("#include\tinner.conf\n"), 0o600),
					os.WriteFile(in(a, "inner.conf"), []byte("#include <extensions.d/synergycall/generated_routing.conf>\n"), 0o600))
			}, 0, `ok +include in extensions.conf`,
		},
		"Asterisk reads another folder": {
			func(_ *lab.Asterisk, s settings) error {
				s["ASTERISK_CONFIG_DIR"] = t.TempDir()
				return nil
			}, 1, `broken +folder Asterisk reads: this Asterisk reads .*\n.*set ASTERISK_CONFIG_DIR=`,
		},
		"the database is not made yet": {
			func(_ *lab.Asterisk, s settings) error { s["DATABASE_URL"] = "sqlite:////nosuch/x.db"; return nil },
			0, `ok +database: .*which the first command creates`,
		},
		"the database is made": {
			func(_ *lab.Asterisk, s settings) error { s.must(t, "migrate"); return nil },
			0, `ok +database: SQLite file .*; a test write succeeded, and was rolled back`,
		},
		"the folder is not Asterisk's": {
			func(_ *lab.Asterisk, s settings) error { s["ASTERISK_CONFIG_DIR"] = "/nowhere"; return nil },
			1, `broken +configuration folder.*\n.*ASTERISK_CONFIG_DIR`,
		},
		"the database is away": {
			func(_ *lab.Asterisk, s settings) error {
				s["DATABASE_URL"] = "postgres://u:topsecret@127.0.0.1:1/d"
				return nil
			},
			1, `broken +database: PostgreSQL database "d" on 127.0.0.1:1.*\n.*DATABASE_URL`,
		},
		"others could reach the portal": {
			func(_ *lab.Asterisk, s settings) error { s["LISTEN_ADDR"] = "0.0.0.0:8000"; return nil },
			1, `broken +listen address.*\n.*TLS_CERT.*TRUSTED_PROXIES.*LISTEN_ADDR`,
		},
		"a module is missing": {
			func(a *lab.Asterisk, _ settings) error {
				if _, err := a.Control().Run(t.Context(), "module unload app_exec.so"); err != nil {
					t.Fatal(err)
				}
				reply, err := a.Control().Run(t.Context(), "module unload app_dial.so")
				return errors.Join(err, map[bool]error{false: errors.New(reply.Stderr)}[reply.ExitCode == 0])
			}, 1, `broken +modules: not loaded: app_dial.so, app_exec.so`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := labtest.Asterisk(t)
			s := newSettings(t).beside(a)
			if err := tc.fault(a, s); err != nil {
				t.Fatal(err)
			}
			code, out, errs := s.run(t, "doctor")
			if code != tc.code || !regexp.MustCompile(tc.finding).MatchString(out) || strings.Contains(out+errs, "topsecret") {
				t.Errorf("exit code %d, want %d; want a match of %s in:\n%s%s", code, tc.code, tc.finding, out, errs)
			}
			jsonCode, jsonOut, _ := s.run(t, "doctor", "--json")
			if _, err := os.Stat("/nosuch"); err == nil {
				t.Error("doctor made a folder")
			}
			if findings, _ := decode(t, jsonOut)["findings"].([]any); jsonCode != code || len(findings) < 4 {
				t.Errorf("as JSON: exit code %d, %s", jsonCode, jsonOut)
			}
		})
	}
}

func TestTheDemoEndsWithACallThatWasHeard(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	code := cli.Run(t.Context(), []string{"demo"}, func(string) (string, bool) { return "", false }, strings.NewReader(""), &out, &out)
	for _, want := range []string{"Ben heard 440 Hz", "Anna heard 880 Hz", "answered with 401", "All checks passed"} {
		if code != 0 || !strings.Contains(out.String(), want) {
			t.Fatalf("exit code %d; want %q in:\n%s", code, want, out.String())
		}
	}
}

func TestIfNoAsteriskCanBeDownloadedTheDemoReportsTheCauseAndFix(t *testing.T) {
	t.Parallel()
	code, log := portal(t, []string{"demo"}, "PATH="+t.TempDir(), "HOME="+t.TempDir(), "XDG_CACHE_HOME="+t.TempDir())
	for _, want := range []string{"apt-get", "ASTERISK_CONFIG_DIR", "ASTERISK_CONTROL", "pbxportal doctor"} {
		if code != 1 || !strings.Contains(log, want) {
			t.Errorf("exit code %d; want %q in:\n%s", code, want, log)
		}
	}
}
