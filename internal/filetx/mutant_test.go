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
)

// site names the place in the program that an operation comes from: the call, and the calls of the two functions around it.
func site() string {
	var pcs [24]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	var found []string
	for {
		f, more := frames.Next()
		if i := strings.Index(f.Function, "filetx.(*Tree)."); i >= 0 && len(found) < 2 {
			found = append(found, fmt.Sprintf("%s (%s:%d)", f.Function[i+len("filetx.(*Tree)."):], filepath.Base(f.File), f.Line))
		}
		if !more {
			return strings.Join(found, " < ")
		}
	}
}

// A search that finds nothing may be blind. This one leaves out one sync of the program at a time and must find out.
func TestTheSearchNoticesWhenASyncIsLeftOut(t *testing.T) {
	t.Parallel()
	sites := map[string]int{}
	for i, tale := range tales {
		s := &search{t: t, random: rand.New(rand.NewPCG(2, uint64(i))), broad: 1, mutant: func(o operation) bool {
			if o.syncs() {
				sites[site()]++
			}
			return false
		}}
		s.run(tale)
	}
	caught, states := 0, 0
	for _, left := range slices.Sorted(maps.Keys(sites)) {
		verdict := "redundant"
		for i, tale := range tales {
			s := &search{t: t, random: rand.New(rand.NewPCG(3, uint64(i))), broad: 16, narrow: 2, every: 12}
			s.mutant = func(o operation) bool { return o.syncs() && site() == left }
			s.run(tale)
			states += s.states
			if len(s.violations) > 0 {
				verdict = fmt.Sprintf("caught, %d bad states, %s", len(s.violations), s.violations[0])
				caught++
				break
			}
		}
		t.Logf("without the sync in %s: %s", left, verdict)
	}
	t.Logf("%d of %d syncs are missed when they are left out; %d states", caught, len(sites), states)
}
