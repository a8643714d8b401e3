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

func TestDoctorComparesReferencesAndNumbersWithUsersAndThings(t *testing.T) {
	t.Parallel()
	url := storetest.SQLite(t)
	s := newSettings(t)
	s["DATABASE_URL"] = url
	s.must(t, "user", "add", "Anna", "anna@example.com")
	s.must(t, "user", "add", "Bert", "bert@example.com")
	s.must(t, "ring-group", "add", "--name", "Sales", "--members", "1000,1001")
	doctor := func(what string, wants ...string) {
		t.Helper()
		_, out, _ := s.run(t, "doctor")
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s", what, want, out)
			}
		}
	}
	const good = "ok       references and numbers: those of all users and other objects"
	doctor("as made", good)
	storetest.Execute(t, url, `DELETE FROM thing_refs WHERE ordinal = 1; UPDATE numbers SET number = '4711' WHERE number = '600'`)
	doctor("changed", "broken   references and numbers: not as the users and other objects have them: a reference in members of the ring group g1 (", "the number 4711; the number 600",
		"→ run pbxportal migrate, which")
	if out := s.must(t, "migrate"); !strings.Contains(out, "Wrote 3 rows of references and numbers again") {
		t.Errorf("migrate: %s", out)
	}
	doctor("after migrate", good)
	storetest.Execute(t, url, `UPDATE things SET body = replace(body, '"600"', '"1001"')`)
	doctor("a number twice", "broken   references and numbers: the user with extension 1001 and the ring group g1 (", "have the same number 1001",
		"→ change one of them: pbxportal user set, ring-group set")
	s.must(t, "ring-group", "set", "Sales", "--number", "601")
	s.must(t, "migrate")
	doctor("after the change", good)
}
