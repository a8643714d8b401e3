package cli_test

import (
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/store/storetest"
)

func TestUsersDamagedOnDiskAreRefusedByEveryCommandUntilTheyAreAccepted(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s["DATABASE_URL"] = storetest.SQLite(t)
	s.must(t, "user", "add", "Anna", "anna@example.com")
	s.must(t, "user", "add", "Bert", "bert@example.com")
	storetest.Execute(t, s["DATABASE_URL"], `UPDATE users SET name = 'Bernd' WHERE name = 'Bert'`) // by another program: it may
	if _, out, _ := s.run(t, "doctor"); !strings.Contains(out, "1 users were written by another program") {
		t.Errorf("doctor: %s", out)
	}
	if out := s.must(t, "migrate"); !strings.Contains(out, "Added hashes to 1 users") {
		t.Errorf("migrate: %s", out)
	}
	storetest.Execute(t, s["DATABASE_URL"], `DROP TRIGGER users_changed_user; DROP TRIGGER users_altered; UPDATE users SET name = 'Eve' WHERE name = 'Anna'`)
	for _, command := range []string{"user list", "plan", "apply", "migrate"} {
		code, out, errs := s.run(t, strings.Fields(command)...)
		for _, want := range []string{"extension 1000", "restore a backup", "migrate --accept-users"} {
			if code == 0 || !strings.Contains(errs, want) {
				t.Errorf("%s: exit code %d, want %q in: %s%s", command, code, want, out, errs)
			}
		}
	}
	if code, out, _ := s.run(t, "doctor"); code != 1 || !strings.Contains(out, "extension 1000") || !strings.Contains(out, "--accept-users") {
		t.Errorf("doctor: exit code %d\n%s", code, out)
	}
	s.must(t, "migrate", "--accept-users")
	if out := s.must(t, "user", "list"); !strings.Contains(out, "Eve") || !strings.Contains(out, "Bernd") {
		t.Errorf("the list: %s", out)
	}
	if out := s.must(t, "audit", "events", "--json"); !strings.Contains(out, "database.accept") {
		t.Errorf("no event: %s", out)
	}
}
