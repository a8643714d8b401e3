// Package glance lets one look at something serve all who ask for it: how Asterisk is, how the files stand, what an apply would do. However
// many ask, at most one look is under way, and one that hangs holds up neither its callers nor more than one goroutine.
package glance

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// Shared is a look that many callers share. It is safe for concurrent use.
type Shared[T any] struct {
	look     func(context.Context) T
	now      func() time.Time
	limit    time.Duration
	patience time.Duration

	mu    sync.Mutex // guards what follows
	last  Seen[T]
	begun int // the number of the newest look that has begun
	ended int // the number of the look that saw last
	least int // looks with a smaller number saw what may not be so any more
	way   *underway
}

// Seen is what a look saw.
type Seen[T any] struct {
	What T
	At   time.Time // when the look began; zero: nothing has been seen yet
}

// underway is a look that has begun and not ended.
type underway struct {
	began time.Time
	over  chan struct{}
	fault any // the panic it ended with; to be read once over is closed
}

// New makes a Shared around a look, whose context ends after limit. Callers of Recent wait for a look until it has been under way for as
// long as patience, and from then on not at all.
func New[T any](now func() time.Time, limit, patience time.Duration, look func(context.Context) T) *Shared[T] {
	return &Shared[T]{look: look, now: now, limit: limit, patience: patience}
}

// Recent gives what was seen no longer than age ago, and looks where that is needed. Where ok is false no look has ended in time: what is
// given was seen earlier, or never.
func (s *Shared[T]) Recent(ctx context.Context, age time.Duration) (seen Seen[T], ok bool) {
	asked := s.now()
	return s.get(ctx, s.patience, func() bool {
		return s.ended >= s.least && !s.last.At.IsZero() && asked.Sub(s.last.At) <= age
	})
}

// Fresh gives what was seen by a look that began after the caller asked; those who ask while one is under way share the next. ok is false
// when ctx ended before.
func (s *Shared[T]) Fresh(ctx context.Context) (seen Seen[T], ok bool) {
	s.mu.Lock()
	before := s.begun
	s.mu.Unlock()
	return s.get(ctx, 2*s.limit, func() bool { return s.ended > before })
}

// Stale says that something has changed: what was seen until now is not recent any more.
func (s *Shared[T]) Stale() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.least = s.begun + 1
}

// Underway tells how long the look that is under way has been; 0 where there is none.
func (s *Shared[T]) Underway() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.way == nil {
		return 0
	}
	return s.now().Sub(s.way.began)
}

// get looks until what was seen last is enough.
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

// beginLocked begins a look where none is under way. It outlives the caller that needed it first: others wait for it, too.
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
			if v := recover(); v != nil { // as if each of the callers had looked
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
