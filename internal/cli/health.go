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

// Bounds of the checks behind /health and /readyz, which are public: the maximum age of a result, the maximum wait of a caller, and how long the last
// result is reported while a check hangs.
const (
	healthAge       = time.Second
	keyAge          = 10 * time.Second
	healthPatience  = 900 * time.Millisecond // Asterisk gets less time to answer, so a longer check is waiting for a console
	healthKnown     = 5 * time.Second
	consolePatience = 30 * time.Second // for a console, while an apply uses both
)

// vital is the result of a check of Asterisk.
type vital struct{ version, state string }

// seenDatabase is the result of a check of the database.
type seenDatabase struct {
	ready error // nil: it answers, and its schema is that of this program
	write error // nil: the newest write succeeded, or one that was tried now
}

// healthLooks are the checks behind /health and /readyz. Each is run by one caller at a time, however many ask.
type healthLooks struct {
	failures func() int   // returns the number of failed writes
	known    atomic.Int64 // the failures that the checks of the database know of
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
			l.known.Store(int64(l.failures())) // including the write that was just tried
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

// health returns the state of all parts that the portal needs, checked concurrently.
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
	_ = all.Wait() // none returns an error: the results are in h
	return h
}

// ready reports whether the portal can serve requests: an error says why the database cannot be used.
func (p *portal) ready(ctx context.Context) (time.Time, error) {
	seen, at := p.looks.databaseState(ctx)
	return at, seen.ready
}

// databaseState returns the state of the database, at most a second old, or a new one if a write has failed since.
func (l *healthLooks) databaseState(ctx context.Context) (seenDatabase, time.Time) {
	if n := int64(l.failures()); l.known.Swap(n) != n {
		l.database.Stale()
	}
	seen, ok := l.database.Recent(ctx, healthAge)
	if !ok {
		return seenDatabase{ready: &pbx.Error{
			Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway,
			Msg: fmt.Sprintf("the database has not answered for %s: check whether it runs, then try again", rounded(l.database.Underway())),
		}}, seen.At
	}
	return seen.What, seen.At
}

func (l *healthLooks) asteriskState(ctx context.Context) (version, state string, at time.Time) {
	seen, ok := l.asterisk.Recent(ctx, healthAge)
	if !ok && (seen.At.IsZero() || time.Since(seen.At) > healthKnown) {
		return "", fmt.Sprintf("not known: both of the portal's consoles at Asterisk have been in use for %s, as during an apply: try again when it has ended",
			rounded(l.asterisk.Underway())), seen.At
	}
	return seen.What.version, seen.What.state, seen.At
}

func (l *healthLooks) keyState(ctx context.Context) (string, time.Time) {
	seen, ok := l.key.Recent(ctx, keyAge)
	switch {
	case !ok:
		return fmt.Sprintf("not known: checking the key file has not finished for %s: check its disk", rounded(l.key.Underway())), seen.At
	case seen.What != nil:
		return "the key file is missing or unreadable: restore it from its copy; pbxportal doctor shows details", seen.At
	}
	return "ok", seen.At
}

func rounded(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }
