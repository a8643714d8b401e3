package auth

import (
	"strconv"
	"testing"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// Hours of guessing leave few events, however it is spread, are held in little memory, and not one refusal is missing from the numbers.
func TestAStrangerCannotFillTheAuditTrail(t *testing.T) {
	t.Parallel()
	const minutes = 2 * 60
	begin := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		perMinute int
		of        func(n int) (network, what string) // the refusal with this number
		most      int                                // events a minute
	}{
		"one address, one account":           {20, func(int) (string, string) { return "a", "anna" }, 1},
		"one address, always other accounts": {20, func(n int) (string, string) { return "a", strconv.Itoa(n) }, mostPerNetwork + 1},
		"one address, now and then":          {1, func(n int) (string, string) { return "a", strconv.Itoa(n / 2) }, 1},
		"many networks, one account":         {100, func(n int) (string, string) { return strconv.Itoa(n % 50), "anna" }, mostApart + 1},
		"always other networks":              {500, func(n int) (string, string) { return strconv.Itoa(n), "anna" }, mostApart + 1},
		"everything is always another":       {500, func(n int) (string, string) { return strconv.Itoa(n / 3), strconv.Itoa(n) }, mostApart + 1},
	} {
		tally, events, times, n, most := newTally(), 0, 0, 0, 0
		for minute := range minutes {
			for range tc.perMinute {
				network, what := tc.of(n)
				n++
				if _, first := tally.count(network, what, pbx.AuditEvent{Action: ActionSignInFailed, At: begin.Add(time.Duration(minute) * time.Minute)}); first {
					events++
					times++
				}
			}
			most = max(most, len(tally.entries))
			for _, e := range tally.take() {
				events++
				times += e.times
			}
		}
		t.Logf("%s: %d refused, %d events", name, n, events)
		if times != n {
			t.Errorf("%s: %d of %d are told", name, times, n)
		}
		if events > tc.most*(minutes+1) {
			t.Errorf("%s: %d events, more than %d a minute", name, events, tc.most)
		}
		if most > mostApart+mostApart {
			t.Errorf("%s: %d are remembered", name, most)
		}
	}
}
