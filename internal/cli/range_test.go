package cli_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/store/storetest"
)

func TestAUserOutsideThePoolIsListedShownAndDeletedByNumber(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s["SECRET_STORAGE"] = "plain" // another program writes the same tables
	s.must(t, "user", "add", "Anna", "anna@example.com")
	for i, number := range []int{250_000, 20} {
		storetest.Execute(t, s["DATABASE_URL"], fmt.Sprintf(`
INSERT INTO users (id, tenant_id, name, email) VALUES ('%[1]d1111111-1111-4111-8111-111111111111', 'a0000000-0000-0000-0000-000000000000', 'Other', '%[1]d@example.com');
INSERT INTO extensions (id, number, user_id, secret) VALUES ('%[1]d2222222-2222-4222-8222-222222222222', %[2]d, '%[1]d1111111-1111-4111-8111-111111111111', 'AAAAAAAAAAAAAAAAAAAAAA')`, i, number))
	}
	list := s.must(t, "user", "list")
	if low, pool, high := strings.Index(list, "\n20 "), strings.Index(list, "\n1000 "), strings.Index(list, "\n250000 "); low < 0 || pool < low || high < pool {
		t.Errorf("the list is not in the order of numbers:\n%s", list)
	}
	if out := s.must(t, "user", "show", "250000"); !strings.Contains(out, "0@example.com") {
		t.Errorf("user show 250000 says\n%s", out)
	}
	if out := s.must(t, "plan"); !strings.Contains(out, "250000") {
		t.Errorf("plan says\n%s", out)
	}
	if code, _, said := s.run(t, "user", "show", "250001"); code != 3 || !strings.Contains(said, "no user has extension 250001: run pbxportal user list") {
		t.Errorf("user show 250001: exit code %d, %s", code, said)
	}
	if out := s.must(t, "user", "delete", "20"); !strings.Contains(out, "extension 20 is free") {
		t.Errorf("user delete 20 says\n%s", out)
	}
	if out := s.must(t, "user", "add", "Next", "next@example.com"); !strings.Contains(out, "1001") {
		t.Errorf("the next user is\n%s", out)
	}
}
