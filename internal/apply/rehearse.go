package apply

import (
	"context"
	"errors"
	"fmt"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
)

// Rehearsal holds what a rehearsal needs besides the engine.
type Rehearsal struct {
	// Host rehearses, on the host, the activation of these files as revision number after parent, and returns why it would fail.
	Host func(ctx context.Context, number, parent int, files []pbx.File) error
	// Unready is set if the database is missing, or older than the program: it is then neither read nor written, and the files have no users.
	Unready bool
}

// Rehearse executes the steps of Apply by the same code, and leaves no changes: it takes the locks, checks that the one of the database cannot be taken
// twice, writes the record of a run and undoes it, plans, rehearses on the host, and sends Asterisk the query that follows a reload. behind is the
// difference between Asterisk and the files in place, which an apply would remove. The error is the one with which an apply would fail.
func (e *Engine) Rehearse(ctx context.Context, r Rehearsal) (behind string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if r.Unready {
		return e.rehearseFiles(ctx, r)
	}
	release, err := e.reserve(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	if again, err := e.store.TryApplyLock(ctx); again != nil || err != nil {
		if again != nil {
			again.Release()
			err = &pbx.Error{Kind: pbx.KindApply, Code: pbx.CodeInternal, Msg: "the lock of the database was taken twice, so two applies could run at once: check whether a connection pooler, or a disk without locks, is in between"}
		}
		return "", err
	}
	wanted := e.beginDraft(ctx, 0, e.store.CheckedModel)
	defer func() { _, _ = wanted() }()
	a := e.attempt(ctx, Request{TriggeredBy: "doctor"})
	defer a.close()
	if err := e.held.TryRun(ctx, a.run, a.started(ctx, Request{TriggeredBy: "doctor"})); err != nil {
		return "", err
	}
	plan, err := e.plan(ctx, wanted, "")
	if err != nil {
		return "", err
	}
	if err := drifted(plan.Drift); err != nil {
		return "", err
	}
	if len(plan.Clashes) > 0 {
		return "", &pbx.Error{Kind: pbx.KindConflict, Code: pbx.CodeNumberClash, Msg: clashText(plan.Clashes)}
	}
	if err := r.Host(ctx, max(plan.site.Next, plan.last+1), plan.site.Current, plan.files); err != nil {
		return "", err
	}
	return e.rehearseQuery(ctx, plan.site)
}

// rehearseFiles is Rehearse without a database.
func (e *Engine) rehearseFiles(ctx context.Context, r Rehearsal) (behind string, err error) {
	site, err := e.target.Inspect()
	if err != nil {
		return "", applyError(pbx.CodeWriteFailed, err)
	}
	drift := site.Drift
	if known, err := e.knownRevision(ctx, site); err != nil || !known { // a new database has no runs
		drift = append(drift, pbx.Drift{Kind: pbx.Unknown, Path: fmt.Sprintf("revision %d", site.Current)})
	}
	if err := drifted(drift); err != nil {
		return "", err
	}
	files, _, err := e.options.Config(nil)
	if err != nil {
		return "", err
	}
	if err := r.Host(ctx, site.Next, site.Current, files); err != nil {
		return "", err
	}
	return e.rehearseQuery(ctx, site)
}

// drifted returns the error of an apply that finds configuration drift; nil when there is none.
func drifted(drift []pbx.Drift) error {
	if len(drift) == 0 {
		return nil
	}
	return &pbx.Error{Kind: pbx.KindConflict, Code: pbx.CodeDrift, Msg: driftText(drift) + ": " + drift[0].Fix()}
}

// rehearseQuery sends Asterisk a query as after a reload: for the names of all objects, and the content of the last ones in place.
func (e *Engine) rehearseQuery(ctx context.Context, site pbx.HostState) (behind string, err error) {
	query, want := pbx.WholeQuery(), pbx.Live{}
	inventory, err := render.Read(site.Files)
	ours := err == nil
	if ours {
		seen := seenInventory(site)
		query = listAll(false, inventory, seen)
		want, query.Contents, query.Ours = inventory.Live(), inventory.Last(), oursIn(nil, inventory, seen)
	}
	live, err := e.target.Live(ctx, query)
	verdict, differences := verify(query, want, live, true, err)
	switch {
	case verdict == pbx.Inconclusive:
		return "", errors.New("Asterisk gave no answer that could be compared: " + differences[0])
	case verdict == pbx.Contradicted && ours && site.Current != 0:
		return "Asterisk runs something else: " + differences[0], nil
	}
	return "", nil
}
