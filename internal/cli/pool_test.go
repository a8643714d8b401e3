package cli_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
)

func TestTheOrganisationIsShownWithTheOriginOfEachSetting(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s["RING_TIMEOUT"], s["NUMBER_QUARANTINE"] = "35", "2h"
	s.must(t, "user", "add", "Anna")
	out := s.must(t, "organisation", "show")
	for _, want := range []string{"Calls ring         35 seconds (inherited: environment)", "Cool-down          2h0m0s (environment)", "Codecs             ulaw,alaw (default)", "112"} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is not in\n%s", want, out)
		}
	}
	out = s.must(t, "organisation", "set", "--country", "ch", "--cool-down", "30", "--ring-seconds", "40", "--codecs", "g722, alaw", "--server-address", "PBX.example.com", "--prompt-language", "de")
	for _, want := range []string{"Country            CH\n", "1414", "Cool-down          30 days\n", "Codecs             g722,alaw\n", "Server address     pbx.example.com\n", "Calls ring         40 seconds", "Not applied yet"} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is not in\n%s", want, out)
		}
	}
	if out := s.must(t, "user", "show", "1000"); !strings.Contains(out, "40 seconds (inherited: organisation)") {
		t.Errorf("the user inherits it: %s", out)
	}
	if out := s.must(t, "organisation", "set", "--cool-down=", "--ring-seconds=", "--codecs="); !strings.Contains(out, "2h0m0s (environment)") || !strings.Contains(out, "35 seconds (inherited: environment)") {
		t.Errorf("removed settings: %s", out)
	}
	for args, want := range map[string]string{
		"--country ZZ": "country", "--codecs mp3": "codecs", "--srtp required": "phones.transport is tls", "--server-port x": "--server-port", "--cool-down soon": "--cool-down", "--cool-down 3days": "--cool-down", "--when-busy 4444": "4444",
	} {
		if code, _, errs := s.run(t, append([]string{"organisation", "set"}, strings.Fields(args)...)...); code == 0 || !strings.Contains(errs, want) {
			t.Errorf("%s: exit code %d, %s", args, code, errs)
		}
	}
}

func TestUsersGetNumbersOfPoolsOnTheCommandLine(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s.must(t, "migrate")
	s.must(t, "pool", "add", "--name", "Berlin", "--from", "2000", "--to", "2001", "--ring-seconds", "50")
	for _, want := range []string{"2000", "2001"} {
		if out := s.must(t, "user", "add", "Anna", "--pool", "berlin"); !strings.Contains(out, want) {
			t.Errorf("want %s: %s", want, out)
		}
	}
	if code, _, errs := s.run(t, "user", "add", "Anna", "--pool", "Berlin"); code != 4 || !strings.Contains(errs, `the pool "Berlin" (2000–2001)`) {
		t.Errorf("exit code %d, %s", code, errs)
	}
	out := s.must(t, "pool", "list")
	if lines := strings.Split(out, "\n"); !strings.HasPrefix(lines[0], "NAME") || strings.Contains(lines[0], "NUMBER") || !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Berlin") && strings.Contains(l, "2 of 2") }) {
		t.Errorf("list: %s", out)
	}
	if out := s.must(t, "pool", "set", "Berlin", "--to", "2999", "--cool-down", "1"); !strings.Contains(out, "2 of 1000") || !strings.Contains(out, "1 days") {
		t.Errorf("extended: %s", out)
	}
	if out := s.must(t, "user", "add", "Ben", "--number", "2500"); !strings.Contains(out, "2500") {
		t.Errorf("an explicit number: %s", out)
	}
	if out := s.must(t, "user", "show", "2500"); !strings.Contains(out, "50 seconds (inherited: pool)") {
		t.Errorf("the user inherits from the pool: %s", out)
	}
	for args, want := range map[string]string{
		"user add Eve --number 7000":              "must be in a pool of users",
		"user add Eve --number x":                 "--number",
		"user add Eve --pool nowhere":             "pool list",
		"user add Eve --pool Features":            "pool of users",
		"pool add --name A --from 1500 --to 2500": `must leave out the numbers of the pool`,
		"pool delete Users":                       "cannot be deleted",
		"pool set Users --from ten":               "--from",
	} {
		if code, _, errs := s.run(t, strings.Fields(args)...); code == 0 || !strings.Contains(errs, want) {
			t.Errorf("%s: exit code %d, %s", args, code, errs)
		}
	}
	if out := s.must(t, "pool", "delete", "Berlin"); !strings.Contains(out, "keep their numbers") {
		t.Errorf("deleted: %s", out)
	}
}

func TestAnApplyBringsTheSettingsOfTheOrganisationAndThePoolsToAsterisk(t *testing.T) {
	t.Parallel()
	a := labtest.Asterisk(t)
	s := newSettings(t).beside(a)
	s.must(t, "user", "add", "Anna")
	s.must(t, "user", "add", "Ben")
	s.must(t, "apply")
	loaded := func(command string) string {
		t.Helper()
		reply, err := a.Control().Run(t.Context(), command)
		if err != nil {
			t.Fatal(err)
		}
		return reply.Stdout
	}
	before := loaded("pjsip show endpoint 1000")
	if out := s.must(t, "organisation", "show"); !strings.Contains(out, "(asterisk)") {
		t.Errorf("its transport is not proposed:\n%s", out)
	}
	s.must(t, "organisation", "set", "--name", "Example", "--country", "DE", "--time-zone", "Europe/Berlin", "--server-address", "pbx.example.com")
	if code, out, _ := s.run(t, "plan", "--exit-code"); code != 0 {
		t.Errorf("settings that the files do not depend on are to be applied:\n%s", out)
	}
	if code, _, errs := s.run(t, "organisation", "set", "--codecs", "ulaw,mp3"); code != 2 || !strings.Contains(errs, "Asterisk has no others") || !strings.Contains(errs, "g719, ") {
		t.Errorf("a codec that Asterisk does not have: exit code %d, %s", code, errs)
	}
	s.must(t, "organisation", "set", "--codecs", "g719,ulaw") // which Asterisk has, though it is not among those that are allowed without it
	s.must(t, "organisation", "set", "--codecs", "g722,alaw", "--transport", "tls", "--srtp", "offered", "--prompt-language", "de")
	s.must(t, "pool", "set", "Users", "--when-unanswered", "1001", "--call-limit", "2")
	s.must(t, "apply")
	endpoint := loaded("pjsip show endpoint 1000")
	for _, want := range []string{"(g722|alaw)", "sdes", `language                           : de`} {
		if !strings.Contains(endpoint, want) {
			t.Errorf("%s is not in\n%s", want, endpoint)
		}
	}
	if steps := loaded("dialplan show 1000@sc-user"); !strings.Contains(steps, "sc-user.1001") {
		t.Errorf("calls do not go on:\n%s", steps)
	}
	if steps := loaded("dialplan show 1001@sc-user"); strings.Contains(steps, "sc-user.1001") {
		t.Errorf("calls to the user that others go on to:\n%s", steps)
	}
	if out := s.must(t, "simulate", "--dial", "1000"); !strings.Contains(out, "goes on to 1001 Ben") {
		t.Errorf("simulated: %s", out)
	}
	if _, out, _ := s.run(t, "doctor"); !strings.Contains(out, "Asterisk has no such transport") {
		t.Errorf("doctor: %s", out)
	}
	s.must(t, "organisation", "set", "--codecs=", "--transport=", "--srtp=", "--prompt-language=")
	s.must(t, "pool", "set", "Users", "--when-unanswered=", "--call-limit=")
	s.must(t, "apply")
	if after := loaded("pjsip show endpoint 1000"); after != before {
		t.Errorf("back to the defaults:\n%s\nwas\n%s", after, before)
	}
}
