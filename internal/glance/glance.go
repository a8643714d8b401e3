// Package glance shares an expensive check between concurrent callers: the state of Asterisk, the state of the files, the plan of an apply. At most
// one check runs at a time, and one that hangs blocks neither its callers nor more than one goroutine.
package glance

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// Shared is a check shared by many callers. It is safe for concurrent use.
type Shared[T any] struct {
	look     func(context.Context) T
	now      func() time.Time
	limit    time.Duration
	patience time.Duration

	mu    sync.Mutex // guards the fields below
	last  Seen[T]
	begun int // the number of the newest check that has begun
	ended int // the number of the check with the latest result
	least int // checks with a smaller number are outdated
	way   *underway
}

// Seen is the result of a check.
type Seen[T any] struct {
	What T
	At   time.Time // when the check began; zero: there is no result yet
}

// underway is a check in progress.
type underway struct {
	began time.Time
	over  chan struct{}
	fault any // the panic it ended with; read only after over is closed
}

// New returns a Shared for a check, whose context ends after limit. Callers of Recent wait for a check until it has run for patience, and then no
// longer.
func New[T any](now func() time.Time, limit, patience time.Duration, look func(context.Context) T) *Shared[T] {
	return &Shared[T]{look: look, now: now, limit: limit, patience: patience}
}

// Recent returns a result no older than age, running a check if necessary. If ok is false, no check has ended in time: the result is older, or
// there is none.
func (s *Shared[T]) Recent(ctx context.Context, age time.Duration) (seen Seen[T], ok bool) {
	asked := s.now()
	return s.get(ctx, s.patience, func() bool {
		return s.ended >= s.least && !s.last.At.IsZero() && asked.Sub(s.last.At) <= age
	})
}

// Fresh returns the result of a check that began after the call; callers that arrive during a check share the next. ok is false if ctx ended first.
func (s *Shared[T]) Fresh(ctx context.Context) (seen Seen[T], ok bool) {
	return s.Within(ctx, 2*s.limit)
}

// Within returns what Fresh returns if the check ends within patience. Otherwise ok is false, and the result is the latest one, if there is any.
func (s *Shared[T]) Within(ctx context.Context, patience time.Duration) (seen Seen[T], ok bool) {
	s.mu.Lock()
	before := s.begun
	s.mu.Unlock()
	return s.get(ctx, patience, func() bool { return s.ended > before })
}

// Stale marks the results so far as outdated.
func (s *Shared[T]) Stale() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.least = s.begun + 1
}

// Underway returns how long the current check has been running; 0 if there is none.
func (s *Shared[T]) Underway() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.way == nil {
		return 0
	}
	return s.now().Sub(s.way.began)
}

// get runs checks until the last result is sufficient.
func (s *Shared[T]) get(ctx context.Context, patience time.Duration, enough func() bool) (Seen[T], bool) {
	for {
		s.mu.Lock()
		last, done := s.last, enough()
		var g *underway
		if !done {
			g = s.beginLocked(ctx)
		}
		s.mu.Unlock()
		if done {
			return last, true
		}
		timer := time.NewTimer(patience - s.now().Sub(g.began))
		select {
		case <-g.over:
			timer.Stop()
			if g.fault != nil {
				panic(g.fault)
			}
		case <-timer.C:
			return last, false
		case <-ctx.Done():
			timer.Stop()
			return last, false
		}
	}
}

// beginLocked begins a check if none is running. It outlives the caller that started it: others wait for it, too.
func (s *Shared[T]) beginLocked(ctx context.Context) *underway {
	if s.way != nil {
		return s.way
	}
	s.begun++
	number, g := s.begun, &underway{began: s.now(), over: make(chan struct{})}
	s.way = g
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limit)
	go func() {
		defer close(g.over)
		defer cancel()
		defer func() {
			if v := recover(); v != nil { // as if each caller had run the check
				g.fault = fmt.Sprintf("%v\n\n%s", v, debug.Stack())
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.way = nil
		}()
		what := s.look(ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.last, s.ended = Seen[T]{what, g.began}, number
	}()
	return g
}
