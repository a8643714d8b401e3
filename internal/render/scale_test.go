//go:build !race

// It measures time; the race detector multiplies it.

package render_test

import (
	"cmp"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synergycall/pbxportal/internal/lab/labtest"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
)

// many returns users with consecutive numbers of the same length.
func many(n int) []pbx.User {
	users := make([]pbx.User, n)
	for i := range users {
		users[i] = user(pbx.Number(10_000+i), fmt.Sprintf("User %d", i), "AAAAAAAAAAAAAAAAAAAAAA")
	}
	return users
}

// manyWithGroups returns users as many does, and a ring group of eight of them for each ten.
func manyWithGroups(n int) pbx.Model {
	m := pbx.Model{Users: many(n)}
	for short := 1; short <= n/10; short++ {
		g := pbx.RingGroup{Strategy: pbx.RingAll, Seconds: 20, Fallback: pbx.Destination{Kind: pbx.Hangup}}
		for i := range 8 {
			g.Members = append(g.Members, m.Users[(short*7+i*101)%n].ID)
		}
		m.Items = append(m.Items, ringGroup(short, fmt.Sprint(30_000+short), g))
	}
	return m
}

// exponent returns the slope of a line fitted to the logarithms of the times by size: 1 if the time is proportional to the size, 2 if it grows with its
// square.
func exponent(took map[int]time.Duration) float64 {
	var n, sx, sy, sxx, sxy float64
	for size, t := range took {
		x, y := math.Log(float64(size)), math.Log(float64(t))
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

func TestRenderingTimeIsProportionalToTheNumberOfUsersAndRingGroupsAtLength(t *testing.T) { //nolint:paralleltest // it measures time
	for name, tc := range map[string]struct {
		model func(int) pbx.Model
		most  float64 // exponent; the index of users that groups need does not fit into the processor's cache if it is large, and each look-up then takes longer
	}{
		"users alone":      {func(n int) pbx.Model { return pbx.Model{Users: many(n)} }, 1.1},
		"with ring groups": {manyWithGroups, 1.25},
	} {
		t.Run(name, func(t *testing.T) { timeIsProportional(t, tc.model, tc.most) })
	}
}

// timeIsProportional checks that the time for rendering a model grows with the number of its users to at most this power.
func timeIsProportional(t *testing.T, model func(int) pbx.Model, most float64) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // collections run on any thread; the heap is emptied before each measurement
	busy := func() time.Duration {                   // the processor time of this thread, without that of other programs
		var used unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
			t.Fatal(err)
		}
		return time.Duration(used.Nano())
	}
	took := map[int]time.Duration{}
	for range labtest.Soak(20, 100) { // the minimum: other programs can only add to the time, through shared caches
		for _, n := range []int{1_000, 2_500, 5_000, 10_000} {
			m := model(n)
			runtime.GC()
			start := busy()
			_, err := render.Options{}.Next(render.Rendered{}, m)
			took[n] = min(cmp.Or(took[n], math.MaxInt64), busy()-start)
			if err != nil {
				t.Fatal(err)
			}
		}
		if exponent(took) <= most {
			break
		}
	}
	t.Logf("exponent %.2f: %v", exponent(took), took)
	if exponent(took) > most {
		t.Errorf("the time grows faster than the number of users: exponent %.2f", exponent(took))
	}
}
