package cli_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/cli"
	"github.com/synergycall/pbxportal/internal/httpapi/apitest"
	"github.com/synergycall/pbxportal/internal/lab/labtest"
)

// Each command runs in the state that the commands before it left. In their arguments, {name} stands for a text that an earlier command printed.
func TestEveryCommandPrintsTheSchemaThatTheContractNamesForIt(t *testing.T) {
	t.Parallel()
	contract, err := apitest.Contract()
	if err != nil {
		t.Fatal(err)
	}
	a := labtest.Asterisk(t)
	s := newSettings(t).beside(a).following(a)
	dir := t.TempDir()
	texts := map[string]string{"{dir}": dir}
	ran := map[string]bool{}
	// exec runs a command whose words are the path of a command and its arguments, and returns what it printed.
	exec := func(code int, stdin, command string, args ...string) map[string]any {
		t.Helper()
		for i := range args {
			for name, text := range texts {
				args[i] = strings.ReplaceAll(args[i], name, text)
			}
		}
		got, out, errs := s.runWith(t, stdin, append(append(strings.Fields(command), args...), "--json")...)
		if got != code {
			t.Fatalf("%s %q: exit code %d, want %d\n%s%s", command, args, got, code, errs, out)
		}
		ran[command] = true
		if err := apitest.CheckPrinted(contract, command, []byte(out)); err != nil {
			t.Errorf("%s %q: %v\n%s", command, args, err, out)
		}
		return decode(t, out)
	}
	must := func(command string, args ...string) map[string]any { t.Helper(); return exec(0, "", command, args...) }

	must("version")
	must("config show")
	must("migrate")
	must("install")
	must("admin setup-link")
	must("user add", "Anna", "anna@example.com")
	must("user add", "Bert", "bert@example.com")
	must("user list")
	must("user show", "1000")
	must("user set", "1000", "--name", "Anne", "--call-limit", "2", "--when-unanswered", "1001", "--pickup-groups", "1,2", "--record", "always")
	must("user disable", "1001")
	must("user enable", "1001")
	must("user new-secret", "1000")
	must("device add", "1000", "Desk")
	must("device list", "1000")
	must("device show", "1000", "2")
	must("device set", "1000", "1000-2", "--name", "Mobile")
	must("device new-secret", "1000", "Mobile")
	must("device delete", "1000", "2")
	must("apply", "--dry-run")
	must("apply")
	must("ring-group add", "--name", "Sales", "--members", "1000,1001", "--fallback", "1000")
	must("ring-group list")
	must("ring-group show", "600")
	must("apply")
	must("user switches", "1000", "--forward-unreachable", "+49#")
	must("ring-group set", "600", "--strategy", "hunt")
	must("simulate", "--from", "0301234", "--dial", "600", "--keys", "no_answer,busy")
	must("plan")
	texts["{run}"], _ = must("apply")["audit_log_id"].(string)
	must("revision list")
	must("revision diff", "1", "2")
	must("audit list")
	must("audit show", "{run}")
	must("audit events")
	must("ring-group delete", "600")
	must("organisation show")
	must("organisation set", "--codecs", "g722,alaw", "--transport", "tls", "--srtp", "required")
	must("pool add", "--name", "Berlin", "--from", "2000", "--to", "2999", "--ring-seconds", "30")
	must("pool list")
	must("pool show", "berlin")
	must("pool set", "berlin", "--to", "2500")
	must("pool delete", "berlin")
	must("user set", "1000", "--when-unanswered", "")
	must("user hand-over", "1001", "--to-new", "Emil", "--dry-run")
	must("user hand-over", "1001", "--to", "1000", "--number", "1000", "--yes")
	must("user hand-over", "1001", "--to", "1000", "--number", "1000", "--yes")
	must("user leave", "1001", "--successor", "1000", "--dry-run")
	must("user delete", "1001")
	exec(4, "", "apply", "--plan", "stale")
	if err := os.WriteFile(filepath.Join(a.ConfigDir, "pjsip.d/synergycall/other.conf"), nil, 0o600); err != nil { // drift
		t.Fatal(err)
	}
	must("plan")
	exec(4, "", "apply")
	if err := os.Remove(filepath.Join(a.ConfigDir, "pjsip.d/synergycall/other.conf")); err != nil {
		t.Fatal(err)
	}
	must("rollback")
	must("user restore", "1")
	must("recover")
	must("status")
	exec(0, "", "doctor")
	exec(0, "correct horse battery", "admin create", "Olga Owner", "olga@example.com", "--password-stdin")
	exec(0, "another battery staple", "admin create", "Oscar Operator", "oscar@example.com", "--role", "operator", "--password-stdin")
	must("admin list", "--limit", "1")
	must("admin disable", "oscar@example.com")
	must("admin enable", "oscar@example.com")
	must("admin unlink", "oscar@example.com")
	texts["{user}"], _ = must("user add", "Paul")["id"].(string)
	must("admin link-user", "oscar@example.com", "{user}")
	must("admin list")
	must("admin unlink-user", "oscar@example.com")
	must("admin reset", "oscar@example.com")
	token, _ := must("token create", "ci", "--role", "auditor")["token"].(map[string]any)
	texts["{token}"], _ = token["id"].(string)
	must("token list")
	must("token revoke", "{token}")
	must("token list")
	must("admin after-restore")
	must("audit head")
	must("audit verify")
	must("audit archive", "--before", "0s", "--to", "{dir}/archive.jsonl")
	must("audit archive", "--before", "87600h", "--to", "{dir}/none.jsonl")
	must("audit verify")
	must("audit verify", "{dir}/archive.jsonl")
	if err := os.WriteFile(filepath.Join(dir, "broken.jsonl"), []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	exec(1, "", "audit verify", "{dir}/broken.jsonl")
	must("audit begin", "--reason", "reviewed")
	key, _ := must("rotate-key", "--forget")["key"].(string)
	if err := os.Remove(filepath.Join(s["STATE_DIR"], "secret.key")); err != nil {
		t.Fatal(err)
	}
	must("replace-lost-key", "--give-up", key)

	paths, err := cli.CommandPaths()
	if err != nil {
		t.Fatal(err)
	}
	schemas := apitest.Commands(contract)
	for _, path := range paths {
		schema, listed := schemas[path]
		switch {
		case !listed:
			t.Errorf("the contract does not have %q in x-commands: add it, with the schema that it prints", path)
		case (schema != "") != ran[path]:
			t.Errorf("%q, with the schema %q in the contract: it was tried: %v", path, schema, ran[path])
		}
	}
	for _, path := range slices.Sorted(maps.Keys(schemas)) {
		if !slices.Contains(paths, path) {
			t.Errorf("the contract has %q in x-commands, which is no command", path)
		}
	}
}
