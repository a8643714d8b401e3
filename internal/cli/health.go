package cli

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/synergycall/pbxportal/internal/glance"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// What bounds the looks behind /health and /readyz, which anyone may request: how old what was seen may be, how long a caller waits for a look, and for
// how long what was seen is reported when a look has not ended.
const (
	healthAge       = time.Second
	keyAge          = 10 * time.Second
	healthPatience  = 900 * time.Millisecond // Asterisk is given less for its answer, so what takes longer waits for a console
	healthKnown     = 5 * time.Second
	consolePatience = 30 * time.Second // for a console, while an apply uses both
)

// vital is what a look at Asterisk saw.
type vital struct{ version, state string }

// seenDatabase is what a look at the database saw.
type seenDatabase struct {
	ready error // nil: it answers, and its tables are those this program needs
	write error // nil: the newest write succeeded, or one that was tried now
}

// healthLooks are the looks behind /health and /readyz. Each is taken by one caller at a time, however many ask.
type healthLooks struct {
	failures func() int   // returns how many writes have failed
	known    atomic.Int64 // the failures that the looks at the database know of
	database *glance.Shared[seenDatabase]
	asterisk *glance.Shared[vital]
	key      *glance.Shared[error]
}

func (p *portal) newHealthLooks() *healthLooks {
	l := &healthLooks{failures: p.store.WriteFailures}
	l.database = glance.New(time.Now, store.QueryTimeout, 2*time.Second, func(ctx context.Context) (d seenDatabase) {
		if d.ready = p.store.Ready(ctx); d.ready != nil {
			return d
		}
		if d.write = p.store.Writable(ctx); d.write != nil {
			l.known.Store(int64(l.failures())) // the write that was just tried is among them
		}
		return d
	})
	l.asterisk = glance.New(time.Now, consolePatience, healthPatience, func(ctx context.Context) (v vital) {
		v.version, v.state = p.node.State(ctx)
		return v
	})
	l.key = glance.New(time.Now, store.QueryTimeout, healthPatience, func(context.Context) error { return p.keys.Refresh() })
	return l
}

// health tells how the parts are that the portal needs, all at once.
func (p *portal) health(ctx context.Context) (h pbx.Health) {
	var all errgroup.Group
	all.Go(func() error {
		var seen seenDatabase
		seen, h.Looked.Database = p.looks.databaseState(ctx)
		h.Database = cmp.Or(seen.ready, seen.write)
		return nil
	})
	all.Go(func() error { h.Version, h.Asterisk, h.Looked.Asterisk = p.looks.asteriskState(ctx); return nil })
	all.Go(func() error { h.Key, h.Looked.Key = p.looks.keyState(ctx); return nil })
	h.Audit, h.Looked.Audit = p.watch.State(), p.watch.At()
	_ = all.Wait() // none returns an error: what they found is in h
	return h
}

// ready reports whether the portal can answer requests: an error says why the database cannot be used.
func (p *portal) ready(ctx context.Context) (time.Time, error) {
	seen, at := p.looks.databaseState(ctx)
	return at, seen.ready
}

// databaseState returns what was seen of the database within the last second, or anew if a write has failed since.
func (l *healthLooks) databaseState(ctx context.Context) (seenDatabase, time.Time) {
	if n := int64(l.failures()); l.known.Swap(n) != n {
		l.database.Stale()
	}
	seen, ok := l.database.Recent(ctx, healthAge)
	if !ok {
		return seenDatabase{ready: &pbx.Error{
			Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway,
			Msg: fmt.Sprintf("the database has not answered for %s: see whether it runs, then try again", rounded(l.database.Underway())),
		}}, seen.At
	}
	return seen.What, seen.At
}

func (l *healthLooks) asteriskState(ctx context.Context) (version, state string, at time.Time) {
	seen, ok := l.asterisk.Recent(ctx, healthAge)
	if !ok && (seen.At.IsZero() || time.Since(seen.At) > healthKnown) {
		return "", fmt.Sprintf("not known: both of the portal's consoles at Asterisk have been in use for %s, as they are during an apply: ask again when it has ended",
			rounded(l.asterisk.Underway())), seen.At
	}
	return seen.What.version, seen.What.state, seen.At
}

func (l *healthLooks) keyState(ctx context.Context) (string, time.Time) {
	seen, ok := l.key.Recent(ctx, keyAge)
	switch {
	case !ok:
		return fmt.Sprintf("not known: the look at the key file has not ended for %s: see to its disk", rounded(l.key.Underway())), seen.At
	case seen.What != nil:
		return "the key file is gone or cannot be read: put it back from its copy; pbxportal doctor says more", seen.At
	}
	return "ok", seen.At
}

func rounded(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }
