//go:build !race

package filetx_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
)

// site identifies the place in the program that causes an operation: the call, and the call of the function around it.
func site() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	var found []string
	for {
		f, more := frames.Next()
		if i := strings.Index(f.Function, "filetx.(*Tree)."); i >= 0 {
			found = append(found, fmt.Sprintf("%s (%s:%d)", f.Function[i+len("filetx.(*Tree)."):], filepath.Base(f.File), f.Line))
		}
		if !more || len(found) == 2 || len(found) > 0 && strings.Contains(f.Function, "filetx_test.") {
			return strings.Join(found, " < ")
		}
	}
}

// The power-cut model must fail if the program lacks a sync: the test leaves out one at a time. Under the race detector it would take a minute,
// and nothing runs concurrently.
func TestThePowerCutModelDetectsAMissingSyncAtLength(t *testing.T) {
	t.Parallel()
	broad, narrow, kills, floor := labtest.Soak(4, 8), labtest.Soak(1, 2), labtest.Soak(40, 6), labtest.Soak(15, 17)
	sites := map[string]map[int]bool{} // the scenarios in which each sync occurs
	for i, scenario := range scenarios {
		if !scenario.included() {
			continue
		}
		s := &search{t: t, random: rand.New(rand.NewPCG(2, uint64(i))), broad: 2, kills: 4, narrow: 1, mutant: func(o operation) bool {
			if o.syncs() {
				name := site()
				if sites[name] == nil {
					sites[name] = map[int]bool{}
				}
				sites[name][i] = true
			}
			return false
		}}
		s.run(scenario)
	}
	caught, states := 0, 0
	for _, left := range slices.Sorted(maps.Keys(sites)) {
		verdict := "redundant"
		for _, i := range slices.Sorted(maps.Keys(sites[left])) {
			s := &search{t: t, random: rand.New(rand.NewPCG(3, uint64(i))), broad: broad, narrow: narrow, kills: kills, brief: true}
			s.mutant = func(o operation) bool { return o.syncs() && site() == left }
			s.run(scenarios[i])
			states += s.distinct
			if len(s.violations) > 0 {
				verdict = "noticed: " + s.violations[0]
				caught++
				break
			}
		}
		t.Logf("without the sync in %s: %s", left, verdict)
	}
	t.Logf("%d of %d syncs are missed when they are left out; %d distinct states", caught, len(sites), states)
	if caught < floor {
		t.Errorf("fewer than %d: the search has become blind", floor)
	}
}
