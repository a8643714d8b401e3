package audit

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// tail is how many events a start of the server, and then each day, looks back.
const tail = 1000

// day is the time between two heads that are written down.
const day = 24 * time.Hour

// Watch keeps an eye on the trail while a server runs. The zero Watch says that nothing is wrong.
type Watch struct{ state atomic.Pointer[string] }

// State is "ok", or a sentence that says what is wrong.
func (w *Watch) State() string {
	if s := w.state.Load(); s != nil {
		return *s
	}
	return "ok"
}

// Look checks the newest events, and writes a signed head down. report is told each head, which is worth keeping elsewhere, and what is
// wrong.
func (w *Watch) Look(ctx context.Context, t *Trail, report func(h Head, wrong error)) {
	switch r, err := t.VerifyTail(ctx, tail); {
	case err != nil:
		report(Head{}, err)
		return
	case r.Broken != nil:
		state := fmt.Sprintf("broken at event %d: run pbxportal audit verify", r.Broken.Seq)
		w.state.Store(&state)
		report(Head{}, fmt.Errorf("the audit trail is broken at event %d: %s", r.Broken.Seq, r.Broken.Why))
		return // nothing is signed that does not fit
	default:
		w.state.Store(nil)
	}
	switch h, written, err := t.WriteHead(ctx); {
	case err != nil:
		report(Head{}, err)
	case written:
		report(h, nil)
	}
}

// Run looks once a day, until ctx ends.
func (w *Watch) Run(ctx context.Context, t *Trail, report func(h Head, wrong error)) {
	tick := time.NewTicker(day)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.Look(ctx, t, report)
		case <-ctx.Done():
			return
		}
	}
}
