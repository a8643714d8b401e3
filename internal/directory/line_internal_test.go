package directory

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// standing is a line whose first served stays at its turn until go on is closed, and which notes who was served together.
type standing struct {
	*line[int]
	goOn   chan struct{}
	served [][]int
	all    sync.WaitGroup
}

func newStanding() *standing { return &standing{line: newLine[int](), goOn: make(chan struct{})} }

// come has one after the other join the line, each once the one before stands there.
func (s *standing) come(ctx context.Context, t *testing.T, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		s.all.Go(func() {
			if err := s.join(ctx, i, s.serve); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		})
		synctest.Wait()
	}
}

func (s *standing) serve(all []int) {
	s.served = append(s.served, slices.Clone(all)) // one at a time has the turn
	<-s.goOn
}

func TestWhoWaitsTogetherIsServedTogetherInTheOrderOfComing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStanding()
		s.come(t.Context(), t, 0, 2+most)
		close(s.goOn)
		s.all.Wait()
		if len(s.served) != 3 || len(s.served[0]) != 1 || len(s.served[1]) != most || len(s.served[2]) != 2 {
			t.Errorf("served together: %v", s.served)
		}
		if flat := slices.Concat(s.served...); !slices.IsSorted(flat) {
			t.Errorf("not in the order of coming: %v", flat)
		}
	})
}

func TestWhoLeavesTheLineBeforeItsTurnIsNotServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStanding()
		s.come(t.Context(), t, 0, 1)
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() { left <- s.join(ctx, 2, s.serve) }()
		synctest.Wait()
		s.come(t.Context(), t, 3, 3)
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if err := s.join(ctx, 4, s.serve); !errors.Is(err, context.Canceled) {
			t.Errorf("one who was gone before: error %v", err)
		}
		close(s.goOn)
		s.all.Wait()
		if got := slices.Concat(s.served...); !slices.Equal(got, []int{0, 1, 3}) {
			t.Errorf("served: %v", got)
		}
	})
}

func TestWhoIsBeingServedStaysToTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStanding()
		s.come(t.Context(), t, 0, 0)
		ctx, leave := context.WithCancel(t.Context())
		s.come(ctx, t, 1, 2) // an error would be theirs
		s.goOn <- struct{}{} // lets the first go: both are served now
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

func TestAPanicKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStanding()
		s.come(t.Context(), t, 0, 0)
		panicked := make(chan any, 1)
		go func() {
			defer func() { panicked <- recover() }()
			_ = s.join(t.Context(), 1, func([]int) { panic("boom") })
		}()
		synctest.Wait()
		s.come(t.Context(), t, 2, 3)
		close(s.goOn)
		s.all.Wait()
		if v := <-panicked; v != "boom" {
			t.Errorf("the panic became %v", v)
		}
		if err := s.join(t.Context(), 4, s.serve); err != nil || len(s.served) != 2 {
			t.Errorf("the next one: error %v, served %v", err, s.served)
		}
	})
}
