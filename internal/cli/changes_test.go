package cli_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
)

// Every command that changes something is run once. The test fails until a new command is in one of the lists.
func TestEveryCommandThatChangesSomethingLeavesItsEvents(t *testing.T) {
	t.Parallel()
	known := []string{ // that change nothing
		"serve", "user list", "user show", "device list", "device show", "ring-group list", "ring-group show", "organisation show", "pool list", "pool show", "plan", "simulate", "revision list", "revision diff", "audit list", "audit show", "audit saved", "audit events", "audit export", "audit verify", "audit head",
		"admin list", "token list", "status", "doctor", "config show", "demo", "version",
		"recover",          // leaves an event where it completes the record of an apply, as the tests of the engine see
		"replace-lost-key", // in a test of its own: no other command works before it
		"admin unlink",     // leaves an event where the account belongs to a person of a provider, as the tests of auth see
	}
	s := newSettings(t).beside(labtest.Asterisk(t))
	s["FEATURE_CODES"] = "on"
	s.must(t, "migrate")
	events := func() (actions []string) {
		for line := range strings.SplitSeq(strings.TrimSpace(s.must(t, "audit", "export")), "\n") {
			if line != "" {
				event, _ := decode(t, line)["event"].(map[string]any)
				action, _ := event["action"].(string)
				actions = append(actions, action)
			}
		}
		return actions
	}
	change := func(command, stdin string, args []string, want ...string) (out string) {
		t.Helper()
		before := len(events())
		code, out, errs := s.runWith(t, stdin, append(strings.Fields(command), args...)...)
		if got := events()[before:]; code != 0 || !slices.Equal(got, want) {
			t.Errorf("%s: exit code %d, left the events %v, want %v\n%s%s", command, code, got, want, out, errs)
		}
		known = append(known, command)
		return out
	}
	fresh := s
	s = newSettings(t)
	s.must(t, "migrate") // makes tables and a key; the command that looks would do so itself
	if got := events(); !slices.Equal(got, []string{"database.migrate", "key.use"}) {
		t.Errorf("migrate left the events %v", got)
	}
	known, s = append(known, "migrate"), fresh
	change("install", "", nil, "apply.adopt")
	change("admin setup-link", "", nil, "link.setup")
	change("user add", "", []string{"Anna", "anna@example.com"}, "user.create")
	change("user set", "", []string{"1000", "--name", "Anna Schmidt", "--number", "1234", "--no-enabled", "--ring-seconds", "40", "--when-busy", "hangup"}, "user.change")
	change("user enable", "", []string{"1234"}, "user.change")
	change("user disable", "", []string{"1234"}, "user.change")
	s.must(t, "user", "set", "1234", "--number", "1000", "--enabled")
	change("user new-secret", "", []string{"1000"}, "user.secret")
	change("device add", "", []string{"1000", "Desk"}, "user.device_create")
	change("device set", "", []string{"1000", "1000-2", "--name", "Mobile"}, "user.device_change")
	change("device new-secret", "", []string{"1000", "2"}, "user.device_secret")
	change("device delete", "", []string{"1000", "mobile"}, "user.device_delete")
	change("ring-group add", "", []string{"--name", "Sales", "--members", "1000"}, "ring_group.create")
	change("ring-group set", "", []string{"600", "--seconds", "30", "--strategy", "hunt"}, "ring_group.change")
	change("ring-group delete", "", []string{"sales"}, "ring_group.delete")
	change("organisation set", "", []string{"--country", "DE", "--server-address", "pbx.example.com", "--ring-seconds", "30"}, "organisation.change")
	change("pool add", "", []string{"--name", "Berlin", "--from", "2000", "--to", "2999"}, "pool.create")
	change("pool set", "", []string{"berlin", "--order", "next", "--call-limit", "0"}, "pool.change")
	change("pool delete", "", []string{"Berlin"}, "pool.delete")
	change("apply", "", nil, "apply.started", "apply.run")
	change("user switches", "", []string{"1000", "--dnd", "on", "--forward-always", "1001"}, "user.switch")
	if out := change("user switches", "", []string{"1000"}); !strings.Contains(out, "Do not disturb") || !strings.Contains(out, "on") || !strings.Contains(out, "1001") {
		t.Errorf("the switches are shown as\n%s", out)
	}
	known = known[:len(known)-1]
	change("user switches", "", []string{"1000", "--dnd", "off", "--forward-always", "none"}, "user.switch")
	known = known[:len(known)-1]
	for _, wrong := range []string{"--dnd=perhaps", "--forward-busy=1000", "--forward-busy=a", "--forward-unanswered="} {
		if code, out, errs := s.run(t, "user", "switches", "1000", wrong); code == 0 != (wrong == "--forward-unanswered=") {
			t.Errorf("%s: exit code %d, %s%s", wrong, code, out, errs)
		}
	}
	s.must(t, "user", "add", "Emil")
	change("user hand-over", "", []string{"1001", "--to", "1000", "--number", "1000", "--yes"}, "user.hand_over", "user.change", "user.change")
	s.must(t, "user", "hand-over", "1000", "--to", "1001", "--number", "1001", "--yes")
	change("user leave", "", []string{"1001", "--yes"}, "user.leave", "user.delete")
	change("user delete", "", []string{"1000"}, "user.delete")
	s.must(t, "apply")
	change("rollback", "", []string{"2"}, "apply.started", "apply.restore")
	change("user restore", "", []string{"2"}, "user.create")
	change("admin create", "viele kleine Igel singen", []string{"Olga", "olga@example.com", "--password-stdin"}, "account.create")
	s.must(t, "token", "create", "spare", "--role", "owner")
	change("admin reset", "", []string{"olga@example.com"}, "account.reset")
	if code, out, errs := s.runWith(t, "viele kleine Igel singen", "admin", "create", "Emil", "emil@example.com", "--password-stdin"); code != 0 {
		t.Fatal(out, errs)
	}
	change("admin disable", "", []string{"olga@example.com"}, "account.update")
	change("admin enable", "", []string{"olga@example.com"}, "account.update")
	change("admin link-user", "", []string{"olga@example.com", "1000"}, "account.update")
	change("admin unlink-user", "", []string{"olga@example.com"}, "account.update")
	token := strings.Split(change("token create", "", []string{"ci", "--role", "auditor"}, "token.create"), "_")
	change("token revoke", "", token[1:2], "token.revoke")
	s.must(t, "rotate-key")
	change("rotate-key", "", []string{"--forget"}, "key.rotate", "key.reseal", "key.forget")
	change("audit begin", "", []string{"--reason", "a test"}, "audit.begin")
	s.must(t, "audit", "archive", "--before", "0s", "--to", filepath.Join(t.TempDir(), "archive")) // all but the newest
	if got := events(); !slices.Equal(got, []string{"audit.begin", "audit.archive"}) {
		t.Errorf("audit archive left the events %v", got)
	}
	known = append(known, "audit archive")
	change("admin after-restore", "", nil, "access.revoke_all")

	var all []string
	for _, found := range regexp.MustCompile(`(?m)^  ([a-z-]+(?: [a-z-]+)?)(?: <| \[|  )`).FindAllStringSubmatch(s.must(t, "--help"), -1) {
		all = append(all, found[1])
	}
	slices.Sort(all)
	slices.Sort(known)
	if diff := cmp.Diff(all, known); diff != "" {
		t.Errorf("commands there are (-) and those that are known here (+): %s", diff)
	}
}
