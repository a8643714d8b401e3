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
	// Host rehearses on the host with the files of a revision after parent, and returns why applying them would fail.
	Host func(ctx context.Context, number, parent int, files []pbx.File) error
	// Unready is set while the database is missing, or older than the program: it is then neither read nor written, and the files are those of no users.
	Unready bool
}

// Rehearse does what Apply does for a change, through the same code, and restores everything: it takes both locks, the one of the database twice, plans,
// tries the record of a run, rehearses on the host, and asks Asterisk what an apply asks after the reload. behind says what Asterisk runs instead of the
// files in place, which an apply corrects. The error is the one an apply would fail with.
func (e *Engine) Rehearse(ctx context.Context, r Rehearsal) (behind string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if r.Unready {
		return e.rehearseFiles(ctx, r)
	}
	giveBack, err := e.reserve(ctx)
	if err != nil {
		return "", err
	}
	defer giveBack()
	if again, err := e.store.TryApplyLock(ctx); again != nil || err != nil {
		if again != nil {
			again.Release()
			err = &pbx.Error{Kind: pbx.KindApply, Code: pbx.CodeInternal, Msg: "the lock of the database was taken twice, so two applies could run at once: check whether a connection pooler, or a disk without locks, is in between"}
		}
		return "", err
	}
	wanted := e.beginDraft(ctx)
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
	return e.rehearseLook(ctx, plan.site)
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
	return e.rehearseLook(ctx, site)
}

// drifted returns the error of an apply that finds configuration drift; nil when there is none.
func drifted(drift []pbx.Drift) error {
	if len(drift) == 0 {
		return nil
	}
	return &pbx.Error{Kind: pbx.KindConflict, Code: pbx.CodeDrift, Msg: driftText(drift) + ": " + drift[0].Fix()}
}

// rehearseLook asks Asterisk what an apply asks it after the reload: the lists of all objects, and the content of the last ones in place.
func (e *Engine) rehearseLook(ctx context.Context, site pbx.HostState) (behind string, err error) {
	question, want := pbx.WholeQuery(), pbx.Live{}
	inventory, err := render.Read(site.Files)
	ours := err == nil
	if ours {
		seen := seenBeside(site)
		question = wholeOf(false, inventory, seen)
		want, question.Contents, question.Ours = inventory.Live(), inventory.Last(), oursIn(nil, inventory, seen)
	}
	live, err := e.target.Live(ctx, question)
	verdict, differences := verify(question, want, live, true, err)
	switch {
	case verdict == pbx.Inconclusive:
		return "", errors.New("Asterisk gave no answer that could be compared: " + differences[0])
	case verdict == pbx.Contradicted && ours && site.Current != 0:
		return "Asterisk runs something else: " + differences[0], nil
	}
	return "", nil
}
