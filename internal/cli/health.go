package cli

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/synergycall/pbxportal/internal/glance"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/store"
)

// What bounds the looks behind /health, for which strangers ask: how old what was seen may be, how long a caller waits for a look, and for
// how long what was seen is told when a look has not ended. The database is looked at anew for each caller: nobody may hear that it is well
// after it has failed.
const (
	healthAge       = time.Second
	keyAge          = 10 * time.Second
	healthPatience  = 900 * time.Millisecond // Asterisk is given less for its answer, so what takes longer waits for a console
	healthKnown     = 5 * time.Second
	consolePatience = 30 * time.Second // for a console, while an apply uses both
)

// vital is what a look at Asterisk saw.
type vital struct{ version, state string }

// healthLooks are the looks behind /health. Each is taken by one caller at a time, whoever else asks.
type healthLooks struct {
	database *glance.Shared[error]
	asterisk *glance.Shared[vital]
	key      *glance.Shared[error]
}

func (p *portal) newHealthLooks() healthLooks {
	return healthLooks{
		database: glance.New(time.Now, store.Patience, 2*time.Second, p.store.Ping),
		asterisk: glance.New(time.Now, consolePatience, healthPatience, func(ctx context.Context) (v vital) {
			v.version, v.state = p.node.State(ctx)
			return v
		}),
		key: glance.New(time.Now, store.Patience, healthPatience, func(context.Context) error { return p.keys.Refresh() }),
	}
}

// health tells how the parts are that the portal needs, all at once.
func (p *portal) health(ctx context.Context) (h pbx.Health) {
	var all errgroup.Group
	all.Go(func() error { h.Database, h.Looked.Database = p.looks.databaseState(ctx); return nil })
	all.Go(func() error { h.Version, h.Asterisk, h.Looked.Asterisk = p.looks.asteriskState(ctx); return nil })
	all.Go(func() error { h.Key, h.Looked.Key = p.looks.keyState(ctx); return nil })
	h.Audit, h.Looked.Audit = p.watch.State(), p.watch.At()
	_ = all.Wait() // none returns an error: what they found is in h
	return h
}

func (l healthLooks) databaseState(ctx context.Context) (error, time.Time) { //nolint:staticcheck // the error is what was seen
	seen, ok := l.database.Recent(ctx, 0)
	if !ok {
		return &pbx.Error{
			Kind: pbx.KindUnavailable, Code: pbx.CodeDatabaseAway,
			Msg: fmt.Sprintf("the database has not answered for %s: see whether it runs, then try again", rounded(l.database.Underway())),
		}, seen.At
	}
	return seen.What, seen.At
}

func (l healthLooks) asteriskState(ctx context.Context) (version, state string, at time.Time) {
	seen, ok := l.asterisk.Recent(ctx, healthAge)
	if !ok && (seen.At.IsZero() || time.Since(seen.At) > healthKnown) {
		return "", fmt.Sprintf("not known: both of the portal's consoles at Asterisk have been in use for %s, as they are during an apply: ask again when it has ended",
			rounded(l.asterisk.Underway())), seen.At
	}
	return seen.What.version, seen.What.state, seen.At
}

func (l healthLooks) keyState(ctx context.Context) (string, time.Time) {
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
