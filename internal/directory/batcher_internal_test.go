package directory

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// blocking is a batcher whose leader waits until goOn is closed. It records the batches.
type blocking struct {
	*batcher[int]
	goOn   chan struct{}
	served [][]int
	all    sync.WaitGroup
}

func newBlocking() *blocking { return &blocking{batcher: newBatcher[int](), goOn: make(chan struct{})} }

// come sends the requests first to last, each once the one before is queued.
func (s *blocking) come(ctx context.Context, t *testing.T, first, last int) {
	t.Helper()
	for i := first; i <= last; i++ {
		s.all.Go(func() {
			if err := s.do(ctx, i, s.serve); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		})
		synctest.Wait()
	}
}

func (s *blocking) serve(all []int) {
	s.served = append(s.served, slices.Clone(all)) // there is one leader at a time
	<-s.goOn
}

func TestQueuedRequestsAreProcessedTogetherInTheirOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newBlocking()
		s.come(t.Context(), t, 0, 2+maxBatch)
		close(s.goOn)
		s.all.Wait()
		if len(s.served) != 3 || len(s.served[0]) != 1 || len(s.served[1]) != maxBatch || len(s.served[2]) != 2 {
			t.Errorf("batches: %v", s.served)
		}
		if flat := slices.Concat(s.served...); !slices.IsSorted(flat) {
			t.Errorf("not in their order: %v", flat)
		}
	})
}

func TestAQueuedRequestThatIsCancelledIsNotProcessed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newBlocking()
		s.come(t.Context(), t, 0, 1)
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() { left <- s.do(ctx, 2, s.serve) }()
		synctest.Wait()
		s.come(t.Context(), t, 3, 3)
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if err := s.do(ctx, 4, s.serve); !errors.Is(err, context.Canceled) {
			t.Errorf("a request cancelled before: error %v", err)
		}
		close(s.goOn)
		s.all.Wait()
		if got := slices.Concat(s.served...); !slices.Equal(got, []int{0, 1, 3}) {
			t.Errorf("served: %v", got)
		}
	})
}

func TestARequestBeingProcessedIsNotCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newBlocking()
		s.come(t.Context(), t, 0, 0)
		ctx, leave := context.WithCancel(t.Context())
		s.come(ctx, t, 1, 2) // reports an error of theirs
		s.goOn <- struct{}{} // the first ends, and both are processed now
		synctest.Wait()
		leave()
		synctest.Wait()
		close(s.goOn)
		s.all.Wait()
		if len(s.served) != 2 || len(s.served[1]) != 2 {
			t.Errorf("served together: %v", s.served)
		}
	})
}

func TestAPanicOfTheLeaderReleasesTheOtherCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newBlocking()
		s.come(t.Context(), t, 0, 0)
		panicked := make(chan any, 1)
		go func() {
			defer func() { panicked <- recover() }()
			_ = s.do(t.Context(), 1, func([]int) { panic("boom") })
		}()
		synctest.Wait()
		s.come(t.Context(), t, 2, 3)
		close(s.goOn)
		s.all.Wait()
		if v := <-panicked; v != "boom" {
			t.Errorf("the panic became %v", v)
		}
		if err := s.do(t.Context(), 4, s.serve); err != nil || len(s.served) != 2 {
			t.Errorf("the next one: error %v, served %v", err, s.served)
		}
	})
}
