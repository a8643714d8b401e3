package audit

import (
	"context"
	"errors"
	"sync"
	"time"
)

// tail is how many of the newest events each check verifies.
const tail = 1000

// The intervals of checks: each stores the newest head, and one a day adds it to the list.
const (
	minute = time.Minute
	day    = 24 * time.Hour
)

// Watch monitors the trail while a server runs. The zero Watch has not checked yet.
type Watch struct {
	mu     sync.Mutex
	trail  *Trail    // guarded by mu; nil before the first check
	state  string    // guarded by mu; "" before the first check
	at     time.Time // guarded by mu; when the last check began
	listed bool      // guarded by mu; the last due head was added to the list
}

// State returns "ok", or a sentence with the fault, or the reason why nothing was compared, and the remedy. It returns the result of the last
// check, and what transactions have found since, without a new check.
func (w *Watch) State() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.state {
	case "":
		return notCompared + ": the portal has not checked yet: try again in a moment"
	case "ok":
		if known, wentBack := w.trail.store.Witnessed(); wentBack {
			return (&AlarmError{State: contradicted, Seq: known.Seq, Why: "the database is older than what this portal itself stored"}).Say()
		}
	}
	return w.state
}

// At returns when the check began whose result State returns; zero if there was none.
func (w *Watch) At() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

// Look compares the trail with what is known of it, verifies the newest events, and stores a signed head. It passes each head, which is worth
// keeping elsewhere, and each fault to report.
func (w *Watch) Look(ctx context.Context, t *Trail, report func(h Head, wrong error)) {
	w.look(ctx, t, true, report)
}

// look is Look; without list only the newest head is stored, and report is called only with what has changed since the last time.
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
		state = notCompared + ": the database or the state folder could not be read or written: see the portal's log for the reason"
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

// Run checks once a minute, and adds a head to the list once a day, until ctx ends.
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
