package apply

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// The distance between two looks at the files, the distances between two attempts to catch up, and how many there are in a row before
// the portal waits for the next apply.
const (
	look         = 10 * time.Second
	firstPause   = time.Second
	longestPause = time.Minute
	mostCatchUps = 200
)

// Run watches the files until ctx ends. What somebody else changes in them it only reports, once when it appears and once when it is over;
// when they are ahead of Asterisk it catches up, at growing distances. report is told what there is to log.
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

// guard is what Run keeps in mind from one look to the next.
type guard struct {
	engine *Engine
	report func(message string, err error)
	drift  []pbx.Drift   // what was reported, and is still so
	blind  bool          // it was reported that the files cannot be looked at
	behind int           // the revision Asterisk has not taken
	tries  int           // how often it was asked to take it
	rest   time.Duration // until it is asked again
}

// look looks once, does what there is to do, and says when to look again.
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
	if site.Current == site.Good || site.Current != g.behind {
		g.behind, g.tries, g.rest = site.Current, 0, 0
	}
	if site.Current == site.Good || len(site.Drift) > 0 || g.tries == mostCatchUps {
		return look
	}
	if g.rest <= 0 {
		g.tries++
		g.rest = min(firstPause<<min(g.tries, 6), longestPause)
		switch done, err := g.engine.CatchUp(ctx); {
		case done:
			g.report("Asterisk has caught up with the files", nil)
			return look
		case pbx.KindOf(err) != pbx.KindConflict:
			g.report("Asterisk has not taken the files yet", err)
		}
	}
	pause = min(g.rest, look)
	g.rest -= pause
	return pause
}

// compare reports what others changed since the last look, and what is no longer so.
func (g *guard) compare(drift []pbx.Drift) {
	for _, d := range drift {
		if !slices.Contains(g.drift, d) {
			g.report("somebody else changed what only the portal writes; an apply is refused until that is settled", errors.New(d.String()+": "+d.Cure()))
		}
	}
	for _, d := range g.drift {
		if !slices.Contains(drift, d) {
			g.report("settled: it is no longer so that "+d.String(), nil)
		}
	}
	g.drift = drift
}
