package apply

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// The interval between two checks of the files, and the backoff between two attempts to catch up. If no attempt has succeeded for longestPause, that is
// recorded once.
const (
	look         = 10 * time.Second
	firstPause   = time.Second
	longestPause = time.Minute
	looksToAsk   = 6 // Asterisk is checked at every sixth check of the files, and at each while it does not run them
)

// Run watches the files until ctx ends. External changes are only reported, once when they appear and once when they are gone. When the files are ahead
// of Asterisk, Run catches up, with backoff. report is called with everything to log.
func (e *Engine) Run(ctx context.Context, report func(message string, err error)) error {
	g := guard{engine: e, report: report}
	for pause := look; ; pause = g.look(ctx) {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// guard is the state of Run between two checks.
type guard struct {
	engine *Engine
	report func(message string, err error)
	drift  []pbx.Drift   // reported and still present
	blind  bool          // it was reported that the files cannot be read
	behind int           // the revision that Asterisk does not run
	since  time.Time     // when this was first found
	tries  int           // number of attempts
	noted  bool          // recorded that Asterisk does not run it
	rest   time.Duration // until the next attempt
	looks  int           // number of checks of the files since Asterisk was last checked
	other  string        // the last reported difference between Asterisk and the files; "": none
}

// look checks once, acts on the result, and returns the pause until the next check.
func (g *guard) look(ctx context.Context) (pause time.Duration) {
	site, err := g.engine.target.Inspect()
	if blind := err != nil; blind != g.blind {
		g.blind = blind
		if blind {
			g.report("the files cannot be looked at", err)
		} else {
			g.report("the files can be looked at again", nil)
		}
	}
	if err != nil {
		return look
	}
	g.compare(site.Drift)
	if !site.Ahead() || site.Current != g.behind {
		g.behind, g.since, g.tries, g.noted, g.rest = site.Current, g.engine.now(), 0, false, 0
	}
	if !site.Ahead() || len(site.Drift) > 0 {
		g.ask(ctx, site)
		return look
	}
	if g.rest <= 0 {
		g.tries++
		g.rest = min(firstPause<<min(g.tries, 6), longestPause)
		attempts := 0
		if !g.noted && g.engine.now().Sub(g.since) >= longestPause {
			attempts = g.tries
		}
		switch done, err := g.engine.catchUp(ctx, attempts); {
		case done:
			g.report("Asterisk has caught up with the files", nil)
			return look
		case pbx.KindOf(err) != pbx.KindConflict:
			g.noted = g.noted || attempts > 0
			g.report("Asterisk has not loaded the files yet", err)
		}
	}
	pause = min(g.rest, look)
	g.rest -= pause
	return pause
}

// compare reports new external changes, and those that are no longer present.
func (g *guard) compare(drift []pbx.Drift) {
	for _, d := range drift {
		if !slices.Contains(g.drift, d) {
			g.report("configuration drift: managed files were changed outside the portal; an apply is refused until this is resolved", errors.New(d.String()+": "+d.Fix()))
		}
	}
	for _, d := range g.drift {
		if !slices.Contains(drift, d) {
			g.report("resolved: no longer present: "+d.String(), nil)
		}
	}
	g.drift = drift
}

// ask checks, at intervals, whether Asterisk still runs all files in place: an apply verifies only what it changed.
func (g *guard) ask(ctx context.Context, site pbx.HostState) {
	if g.looks++; g.looks < looksToAsk && g.other == "" || site.Current == 0 || site.Ahead() || len(site.Drift) > 0 {
		return
	}
	g.looks = 0
	_, other, err := g.engine.contradiction(ctx, site, true)
	if err != nil { // an unreachable Asterisk is reported elsewhere
		return
	}
	if now, err := g.engine.target.Inspect(); err != nil || now.Current != site.Current {
		return // an apply ran in between
	}
	switch {
	case other == g.other:
	case other != "":
		g.report("Asterisk does not run what the files say; an apply has it read them again", errors.New(other))
	default:
		g.report("resolved: Asterisk runs what the files say", nil)
	}
	g.other = other
	g.engine.other.Store(nil)
	if other != "" {
		g.engine.other.Store(&other)
	}
}
