package audit

import (
	"context"
	"errors"
	"sync"
	"time"
)

// tail is how many of the newest events each look follows.
const tail = 1000

// The times between two looks: each notes the newest event, and one a day writes a head down for good.
const (
	minute = time.Minute
	day    = 24 * time.Hour
)

// Watch keeps an eye on the trail while a server runs. The zero Watch has not looked yet.
type Watch struct {
	mu     sync.Mutex
	trail  *Trail    // guarded by mu; nil before the first look
	state  string    // guarded by mu; "" before the first look
	at     time.Time // guarded by mu; when the last look began
	listed bool      // guarded by mu; the last head that was due was written down
}

// State is "ok", or a sentence that says what is wrong, or why nothing was compared, and what to do. It asks nobody: it is what the last look found, and
// what transactions found since.
func (w *Watch) State() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.state {
	case "":
		return notCompared + ": the portal has not looked yet: ask again in a moment"
	case "ok":
		if known, wentBack := w.trail.store.Witnessed(); wentBack {
			return (&AlarmError{State: contradicted, Seq: known.Seq, Why: "the database went back behind what this portal itself stored"}).Say()
		}
	}
	return w.state
}

// At tells when the look began that State tells of; zero: there was none.
func (w *Watch) At() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

// Look compares the trail with what is known of it, follows the newest events, and writes a signed head down. report is told each head,
// which is worth keeping elsewhere, and what is wrong.
func (w *Watch) Look(ctx context.Context, t *Trail, report func(h Head, wrong error)) {
	w.look(ctx, t, true, report)
}

// look is Look; without list the newest event is noted alone, and report is told only what it was not told the last time.
func (w *Watch) look(ctx context.Context, t *Trail, list bool, report func(h Head, wrong error)) {
	w.mu.Lock()
	due := list || !w.listed
	w.mu.Unlock()
	at := t.now()
	h, written, err := t.WriteHead(ctx, due)
	state := "ok"
	if alarm, is := errors.AsType[*AlarmError](err); is {
		state = alarm.Say()
	} else if err != nil {
		state = notCompared + ": the database or the state folder could not be read or written: the portal's log says why"
	}
	w.mu.Lock()
	was := w.state
	w.trail, w.state, w.at, w.listed = t, state, at, w.listed && !due || err == nil
	w.mu.Unlock()
	switch {
	case err != nil && (list || was != state):
		report(Head{}, err)
	case written:
		report(h, nil)
	}
}

// Run looks once a minute, and has a head written down once a day, until ctx ends.
func (w *Watch) Run(ctx context.Context, t *Trail, report func(h Head, wrong error)) {
	tick := time.NewTicker(minute)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-tick.C:
			w.look(ctx, t, n%int(day/minute) == 0, report)
		case <-ctx.Done():
			return
		}
	}
}
