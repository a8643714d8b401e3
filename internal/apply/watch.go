package apply

import (
	"context"
	"slices"
	"sync"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// watchers holds the events of applies in progress in this process, for Follow. The zero value is ready to use.
type watchers struct {
	mu   sync.Mutex
	runs map[pbx.RunID]*eventLog // applies in progress
}

// eventLog holds the events of one apply so far.
type eventLog struct {
	events []pbx.Event
	more   chan struct{} // closed, and replaced, on every event
	ended  bool
}

// begin starts the events of a run.
func (w *watchers) begin(id pbx.RunID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.runs == nil {
		w.runs = map[pbx.RunID]*eventLog{}
	}
	w.runs[id] = &eventLog{more: make(chan struct{})}
}

// emit adds an event to a run.
func (w *watchers) emit(id pbx.RunID, event pbx.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.runs[id]; s != nil {
		s.events = append(s.events, event)
		close(s.more)
		s.more = make(chan struct{})
	}
}

// end ends the events of a run.
func (w *watchers) end(id pbx.RunID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.runs[id]; s != nil {
		s.ended = true
		close(s.more)
		delete(w.runs, id)
	}
}

// follows reports whether the run is in progress in this process.
func (w *watchers) follows(id pbx.RunID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.runs[id] != nil
}

// Follow calls emit with every event of a run, from its first, as it happens, and returns when the run, or ctx, has ended. For a run that has ended
// before, in this process or another, it emits the recorded events. KindNotFound when there is no such run.
func (e *Engine) Follow(ctx context.Context, id pbx.RunID, emit func(pbx.Event) error) error {
	e.watch.mu.Lock()
	s := e.watch.runs[id]
	e.watch.mu.Unlock()
	if s == nil {
		run, err := e.RunDetails(ctx, id)
		if err != nil {
			return err
		}
		for _, event := range run.Events {
			if err := emit(event); err != nil {
				return err
			}
		}
		return nil
	}
	for sent := 0; ; {
		e.watch.mu.Lock()
		fresh, more, ended := slices.Clone(s.events[sent:]), s.more, s.ended
		e.watch.mu.Unlock()
		for _, event := range fresh {
			if err := emit(event); err != nil {
				return err
			}
		}
		sent += len(fresh)
		if ended {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
