package glance_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/synergycall/pbxportal/internal/glance"
)

func TestConcurrentRequestsShareOneInspectionAtMostOncePerSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var looks, at, most atomic.Int64
		s := glance.New(time.Now, time.Minute, 900*time.Millisecond, func(context.Context) int64 {
			most.Store(max(most.Load(), at.Add(1)))
			defer at.Add(-1)
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // a look that takes time, by the clock of the bubble
			return looks.Add(1)
		})
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				for start := time.Now(); time.Since(start) < 10*time.Second; {
					if _, ok := s.Recent(t.Context(), time.Second); !ok {
						t.Error("no look ended in time")
					}
					time.Sleep(7 * time.Millisecond) //nolint:forbidigo // likewise
				}
			})
		}
		all.Wait()
		if most.Load() != 1 || looks.Load() > 11 {
			t.Errorf("%d looks in 10 s, %d at once", looks.Load(), most.Load())
		}
	})
}

func TestAHungInspectionBlocksNoCallerForLongAndTheLastResultIsReturnedWithItsAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang, looks := make(chan struct{}), 0
		s := glance.New(time.Now, time.Hour, 900*time.Millisecond, func(context.Context) int {
			if looks++; looks > 1 {
				<-hang
			}
			return looks
		})
		first, ok := s.Recent(t.Context(), time.Second)
		if !ok || first.What != 1 {
			t.Fatal(first, ok)
		}
		time.Sleep(2 * time.Second) //nolint:forbidigo // the clock of the bubble
		for i := range 1000 {
			start := time.Now()
			seen, ok := s.Recent(t.Context(), time.Second)
			if took := time.Since(start); ok || seen != first || i > 0 && took != 0 || took > time.Second {
				t.Fatalf("caller %d: %v %v after %v", i, seen, ok, took)
			}
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, ok := s.Fresh(gone); ok {
			t.Error("a caller who has gone was waited for")
		}
		close(hang)
		synctest.Wait()
		if seen, ok := s.Fresh(t.Context()); !ok || looks != 3 || seen.What != 3 {
			t.Errorf("when it hangs no more: %v %v, %d looks", seen, ok, looks)
		}
		s.Stale()
		if seen, _ := s.Recent(t.Context(), time.Hour); seen.What != 4 {
			t.Errorf("what is stale was given: %v", seen)
		}
	})
}
