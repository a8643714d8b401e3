package cli_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
)

func TestSimulateSaysWhatHappensToACall(t *testing.T) {
	t.Parallel()
	s := newSettings(t)
	s.must(t, "user", "add", "Anna", "anna@example.com")
	s.must(t, "user", "add", "Ben", "ben@example.com")
	want := `1000 Anna calls 1001 Ben; 1001 Ben rings for 25 seconds without an answer; the call ends: no answer.

Steps
  1  1000 Anna calls 1001 Ben
  2  1001 Ben rings for 25 seconds without an answer
  3  the call ends: no answer

Why
  1001 Ben  number  1001 is the number of Ben.
  1001 Ben          A phone that is called directly rings for 25 seconds, as this installation is set.
`
	if got := s.must(t, "simulate", "--as", "1000", "--dial", "1001"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	got := s.must(t, "simulate", "--from", "0301234", "--to", "1001", "--keys", "busy,answer", "--at", "2026-11-29T20:00", "--ring-timeout", "40", "--json")
	for _, part := range []string{
		`"sentence": "Sunday, 29 November 2026, 20:00: a caller with the number 0301234 calls 1001 Ben; 1001 Ben is busy; the call ends: busy."`,
		`"taken": "ring:+1001:40=b hangup:17"`, `"outcome": "busy"`, `"cause": 17`, `"faults": []`,
	} {
		if !strings.Contains(got, part) {
			t.Errorf("%s is missing in\n%s", part, got)
		}
	}
	for _, wrong := range [][]string{{}, {"--dial", "1001", "--to", "1001"}, {"--as", "7", "--dial", "1001"}, {"--dial", "1001", "--at", "noon"}, {"--dial", "1001", "--keys", "maybe"}} {
		if code, out, errs := s.run(t, append([]string{"simulate"}, wrong...)...); code != 2 || out != "" || errs == "" {
			t.Errorf("%q: exit code %d, %s%s", wrong, code, out, errs)
		}
	}
}

func TestSimulateFollowsACallThroughThePlanOrThroughARevision(t *testing.T) {
	t.Parallel()
	s := newSettings(t).beside(labtest.Asterisk(t))
	s.must(t, "user", "add", "Anna", "anna@example.com")
	s.must(t, "user", "add", "Ben", "ben@example.com")
	s.must(t, "ring-group", "add", "--name", "Sales", "--members", "1000,1001", "--strategy", "hunt")
	revision := fmt.Sprint(decode(t, s.must(t, "apply", "--json"))["revision"])
	s.must(t, "ring-group", "set", "600", "--members", "1001", "--seconds", "40")
	s.must(t, "user", "set", "1000", "--name", "Anne")
	const (
		planned = "caller calls 600 Sales; 1001 Ben rings for 40 seconds without an answer; the call ends: no answer."
		live    = "caller calls 600 Sales; 1000 Anne and 1001 Ben ring one after the other for 20 seconds each without an answer; the call ends: no answer."
	)
	for _, c := range []struct {
		args []string
		want string
	}{{nil, planned}, {[]string{"--plan"}, planned}, {[]string{"--revision", revision}, live}} {
		out := s.must(t, append([]string{"simulate", "--dial", "600"}, c.args...)...)
		first, _, _ := strings.Cut(out, "\n")
		if !strings.HasSuffix(first, c.want) || strings.HasPrefix(first, "As revision "+revision+" has it: ") != (c.want == live) {
			t.Errorf("%q: %s", c.args, first)
		}
	}
	if got := decode(t, s.must(t, "simulate", "--dial", "600", "--revision", revision, "--json")); fmt.Sprint(got["revision"]) != revision {
		t.Errorf("%v", got)
	}
	srv := s.serve(t)
	for body, status := range map[string]int{
		`{"dial":"600","revision":` + revision + `}`: 200, `{"dial":"600","plan":true}`: 200, `{"dial":"600","revision":9}`: 404, `{"dial":"600","revision":0}`: 400,
		`{"dial":"600","revision":1,"plan":true}`: 400,
	} {
		if got := srv.want(t, status, "POST", "/api/v1/simulate", body); status == 200 && (fmt.Sprint(got["revision"]) == revision) != strings.Contains(body, "revision") {
			t.Errorf("%s: %v", body, got)
		}
	}
	s.must(t, "ring-group", "delete", "600")
	if out := s.must(t, "simulate", "--dial", "600", "--revision", revision); !strings.Contains(out, "1000 Anne and 1001 Ben ring one after the other") {
		t.Errorf("after the group was deleted: %s", out)
	}
	for args, want := range map[string]int{"--revision 9": 3, "--revision 0": 2, "--revision 1 --plan": 2} {
		if code, out, errs := s.run(t, append([]string{"simulate", "--dial", "600"}, strings.Fields(args)...)...); code != want || out != "" || errs == "" {
			t.Errorf("%s: exit code %d, %s%s", args, code, out, errs)
		}
	}
}

// Asterisk has the switches of users by number, and moves them with an apply: a plan and a revision have users with other numbers.
func TestSimulateKnowsTheSwitchesOfUsersAtTheirNumbers(t *testing.T) {
	t.Parallel()
	s := newSettings(t).beside(labtest.Asterisk(t))
	for _, name := range []string{"Anna", "Ben", "Carl"} {
		s.must(t, "user", "add", name)
	}
	s.must(t, "ring-group", "add", "--name", "Sales", "--members", "1000,1001")
	revision := fmt.Sprint(decode(t, s.must(t, "apply", "--json"))["revision"])
	s.must(t, "user", "switches", "1000", "--forward-always", "1002")
	s.must(t, "user", "hand-over", "1000", "--to", "1001", "--number", "1001", "--yes")
	for _, when := range []string{"before the apply", "after it"} {
		for args, want := range map[string]string{
			"--dial 1000": "calls 1000 Ben; 1000 Ben rings", "--dial 1001": "calls 1001 Anna; the call goes on to 1002 Carl",
			"--dial 1000 --revision " + revision: "; the call goes on to 1002 Carl", "--dial 1001 --revision " + revision: "; 1001 ",
		} {
			if out := s.must(t, append([]string{"simulate"}, strings.Fields(args)...)...); !strings.Contains(out, want) {
				t.Errorf("%s, %s: %s", when, args, out)
			}
		}
		s.must(t, "apply")
	}
}
