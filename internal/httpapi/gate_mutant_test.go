//go:build !race

package httpapi_test

import "testing"

// A walk that finds nothing may be blind. This one leaves out one check of the program at a time and must find out. Under the race
// detector it would take a minute, in which nothing happens at once.
func TestTheWalkDetectsAMissingCheck(t *testing.T) {
	t.Parallel()
	checks := newUnserved(t).handler.Checks()
	if len(checks) < 9 {
		t.Errorf("there are %v only: are they still in the lists?", checks)
	}
	for _, name := range checks {
		wrong, _ := walk(t, name)
		if len(wrong) == 0 {
			t.Errorf("nobody would notice if the check %q were gone", name)
			continue
		}
		t.Logf("without the check %q: %s", name, wrong[0])
	}
}
