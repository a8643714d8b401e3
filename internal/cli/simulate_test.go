package cli_test

import (
	"strings"
	"testing"
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
		`"sentence": "Sunday, 29 November 2026, 20:00: a caller with the number 0301234 calls 1001 Ben; 1001 Ben rings for 40 seconds but is busy; the call ends: busy."`,
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
