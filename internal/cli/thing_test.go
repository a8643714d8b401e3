package cli_test

import (
	"strings"
	"testing"
)

func TestUsersAndRingGroupsAreChangedByWhatIsGivenAlone(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	for _, name := range []string{"Anna", "Bert", "Carl"} {
		s.must(t, "user", "add", name, name+"@example.com")
	}
	before := secretOf(t, s.must(t, "user", "show", "1000", "--json"))
	changed := decode(t, s.must(t, "user", "set", "1000", "--email", "", "--json"))
	if changed["name"] != "Anna" || changed["email"] != nil || changed["number"] != "1000" || changed["enabled"] != true || changed["version"] != 2.0 || changed["secret"] != nil {
		t.Errorf("%v", changed)
	}
	if out := s.must(t, "user", "set", "1000", "--number", "4321", "--name", "Anna Schmidt"); !strings.Contains(out, "must register as 4321 instead of 1000") {
		t.Errorf("a new number prints\n%s", out)
	}
	if out := s.must(t, "user", "set", "4321", "--name", "Anna Schmidt"); !strings.Contains(out, "Nothing changed.") {
		t.Errorf("no change prints\n%s", out)
	}
	if out := s.must(t, "user", "disable", "4321"); !strings.Contains(out, "disabled") {
		t.Errorf("disable prints\n%s", out)
	}
	if out := s.must(t, "user", "list"); !strings.Contains(out, "Anna Schmidt (disabled)") {
		t.Errorf("user list prints\n%s", out)
	}
	if out := s.must(t, "user", "list", "--json"); strings.Count(out, `"enabled": true`) != 2 || strings.Count(out, `"enabled": false`) != 1 {
		t.Errorf("user list prints\n%s", out)
	}
	if out := s.must(t, "user", "show", "4321"); !strings.Contains(out, "disabled") {
		t.Errorf("user show prints\n%s", out)
	}
	if out := s.must(t, "user", "add", "Dora"); !strings.Contains(out, "1000") { // without an e-mail address
		t.Errorf("user add prints\n%s", out)
	}
	if after := secretOf(t, s.must(t, "user", "show", "4321", "--json")); after != before {
		t.Errorf("the secret was %s and is %s", before, after)
	}
	renewed := decode(t, s.must(t, "user", "new-secret", "4321", "--json"))
	if secret := secretOf(t, s.must(t, "user", "show", "4321", "--json")); renewed["secret"] != secret || secret == before || renewed["enabled"] != false {
		t.Errorf("a new secret: %v, and the user has %s", renewed, secret)
	}

	s.must(t, "user", "set", "1001", "--ring-seconds", "40", "--when-unanswered", "4321", "--pickup-groups", "3,1", "--caller-name", "Desk")
	for _, row := range []string{"Calls ring        40 seconds\n", "When busy         hangup (default)", "When unanswered   4321\n", "When unreachable  4321\n", "Pickup groups     1 3", "Shown name        Desk\n"} {
		if out := s.must(t, "user", "show", "1001"); !strings.Contains(out, row) {
			t.Errorf("user show lacks %q\n%s", row, out)
		}
	}
	cleared := decode(t, s.must(t, "user", "set", "1001", "--ring-seconds=", "--when-unanswered=", "--pickup-groups=", "--caller-name=", "--json"))
	if calls, _ := cleared["calls"].(map[string]any); calls == nil || len(calls) != 0 {
		t.Errorf("cleared: %v", cleared)
	}

	group := decode(t, s.must(t, "ring-group", "add", "--name", "Sales", "--members", "4321,1001", "--json"))
	if group["number"] != "600" || group["strategy"] != "all" || group["seconds"] != 20.0 || group["skip_busy"] != true {
		t.Errorf("%v", group)
	}
	if out := s.must(t, "ring-group", "set", "600", "--fallback", "1002", "--no-skip-busy"); !strings.Contains(out, "4321,1001") || !strings.Contains(out, "Fallback      1002") {
		t.Errorf("set prints\n%s", out)
	}
	s.must(t, "ring-group", "add", "--name", "Night", "--members", "1001", "--fallback", "600", "--number", "7000", "--strategy", "hunt")
	if out := s.must(t, "ring-group", "list"); !strings.Contains(out, "Sales  all       4321,1001") || !strings.Contains(out, "Night  hunt      1001       20       600") {
		t.Errorf("list prints\n%s", out)
	}
	if shown := decode(t, s.must(t, "ring-group", "show", "sales", "--json")); shown["version"] != 2.0 || shown["skip_busy"] != false || shown["id"] != group["id"] {
		t.Errorf("%v", shown)
	}
	for args, want := range map[string]struct {
		code int
		text string
	}{
		"user set 1001 --number 600":                 {4, "taken"},
		"user set 1001 --number 0":                   {2, "number"},
		"user set 1001 --email bert@":                {2, "email"},
		"user set 1001 --ring-seconds 4":             {2, "ring_seconds"},
		"user set 1001 --call-limit none":            {2, "--call-limit must be a number"},
		"user set 1001 --when-busy 8888":             {3, "8888"},
		"user set 1001 --when-busy 1001":             {2, "circle"},
		"user set 1001 --pickup-groups 1,1":          {2, "pickup-groups"},
		"user set 1001 --record maybe":               {2, "record"},
		"user set 9999 --name x":                     {3, "user list"},
		"user delete 1002":                           {4, "Sales"},
		"ring-group delete sales":                    {4, "Night"},
		"ring-group show nothing":                    {3, "ring-group list"},
		"ring-group add --name x":                    {2, "members"},
		"ring-group add --name sales --members 1001": {4, "name"},
		"ring-group set 600 --members 1001,9999":     {3, "9999"},
		"ring-group set 600 --strategy any":          {2, "strategy"},
		"ring-group set 600 --seconds 4":             {2, "seconds"},
		"ring-group set 600 --fallback 8888":         {3, "8888"},
		"ring-group set 600 --fallback 7000":         {2, "fallback"},
	} {
		if code, out, errs := s.run(t, strings.Fields(args)...); code != want.code || !strings.Contains(errs, want.text) {
			t.Errorf("%s: exit code %d, want %d\n%s%s", args, code, want.code, out, errs)
		}
	}
	if out := s.must(t, "user", "delete", "4321"); !strings.Contains(out, `No longer listed in ring group "Sales" (members).`) {
		t.Errorf("the deletion of a member prints\n%s", out)
	}
	if gone := decode(t, s.must(t, "user", "delete", "1000", "--json")); gone["message"] != "user deleted; extension 1000 is free again, and the next apply removes it from Asterisk" {
		t.Errorf("the deletion of a user who is no member: %v", gone)
	}
	s.must(t, "ring-group", "delete", "7000")
	if out := s.must(t, "ring-group", "list", "--find", "night"); !strings.Contains(out, "No ring groups") {
		t.Errorf("after it was deleted\n%s", out)
	}
}

func TestAThingIsFoundByItsNumberBeforeAnotherWithThatNameAndNeverByAGuess(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s.must(t, "user", "add", "Anna", "anna@example.com")
	for _, name := range []string{"601", "Second", "café", "cafe", "cafè"} { // 600 is named 601
		s.must(t, "ring-group", "add", "--members", "1000", "--name", name)
	}
	for _, name := range []string{"Desk", "desk", "2"} {
		s.must(t, "device", "add", "1000", name)
	}
	for key, user := range map[string]string{"1": "1000", "2": "1000-2", "1000-3": "1000-3", "1000": "1000"} {
		if shown := decode(t, s.must(t, "device", "show", "1000", key, "--json")); shown["sip_user"] != user {
			t.Errorf("the phone %s is %v, want %s", key, shown["sip_user"], user)
		}
	}
	for key, number := range map[string]string{"600": "600", "601": "601", "second": "601", "café": "602", "CAFE": "603", "cafè": "604"} {
		if shown := decode(t, s.must(t, "ring-group", "show", key, "--json")); shown["number"] != number {
			t.Errorf("%s is %v, want %s", key, shown["number"], number)
		}
	}
	for command, want := range map[string]string{
		"ring-group delete cafê":            "3 ring groups have a name like",
		"ring-group show night":             `there is no ring group "night": run pbxportal ring-group list`,
		"ring-group set 600 --members Anna": `there is no user "Anna": give the extension number or the id`,
		"ring-group set 600 --number=":      "number must not be empty",
		"ring-group set 600 --strategy any": "strategy must be all, hunt or memory",
		"ring-group set 600 --strategy=":    "strategy must not be empty",
		"ring-group set 600 --seconds=0":    "seconds must not be empty",
		"pool set Users --order=":           "order must not be empty",
		"device delete 1000 DESK":           `2 phones of Anna are called "DESK": give the SIP user name`,
		"ring-group set 600 --fallback 600": "fallback must be another one: a call that is not answered would go in a circle",
	} {
		if code, _, errs := s.run(t, strings.Fields(command)...); code == 0 || !strings.Contains(errs, want) {
			t.Errorf("%s: exit code %d, %s", command, code, errs)
		}
	}
	if code, _, errs := s.run(t, "device", "new-secret", "1000", ""); code != 3 || !strings.Contains(errs, `no phone ""`) {
		t.Errorf("a new secret for no phone: exit code %d, %s", code, errs)
	}
}
