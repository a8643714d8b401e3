package apply

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// The distance between two looks at the files, and the distances between two attempts to catch up; after the longest of them, attempts that
// came to nothing are put on record, once in a row.
const (
	look         = 10 * time.Second
	firstPause   = time.Second
	longestPause = time.Minute
	looksToAsk   = 6 // Asterisk is asked whether it runs the files once in so many looks; at each while it does not
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
	since  time.Time     // when it was first found not to have taken it
	tries  int           // how often it was asked to take it
	noted  bool          // that it does not take it is on record
	rest   time.Duration // until it is asked again
	looks  int           // since it was asked whether it runs the files
	other  string        // what it was reported to run instead
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
		vain := 0
		if !g.noted && g.engine.now().Sub(g.since) >= longestPause {
			vain = g.tries
		}
		switch done, err := g.engine.catchUp(ctx, vain); {
		case done:
			g.report("Asterisk has caught up with the files", nil)
			return look
		case pbx.KindOf(err) != pbx.KindConflict:
			g.noted = g.noted || vain > 0
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

// ask finds out now and then whether Asterisk still runs the files in place, all of them: an apply asks only for what it changed.
func (g *guard) ask(ctx context.Context, site pbx.Site) {
	if g.looks++; g.looks < looksToAsk && g.other == "" || site.Current == 0 || site.Ahead() || len(site.Drift) > 0 {
		return
	}
	g.looks = 0
	_, other, err := g.engine.contradiction(ctx, site, pbx.Question{All: true, Patient: true})
	if err != nil { // Asterisk cannot be asked, which is told by whoever watches it
		return
	}
	if now, err := g.engine.target.Inspect(); err != nil || now.Current != site.Current {
		return // an apply came in between
	}
	switch {
	case other == g.other:
	case other != "":
		g.report("Asterisk does not run what the files say; an apply has it read them again", errors.New(other))
	default:
		g.report("settled: Asterisk runs what the files say", nil)
	}
	g.other = other
	g.engine.other.Store(nil)
	if other != "" {
		g.engine.other.Store(&other)
	}
}
