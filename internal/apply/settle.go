package apply

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
)

// Recover puts in order what an apply left that never ended, because its process, the machine or the database did: files first, then
// the records. It says what it did, and what others changed in the files, which it leaves as it is. KindConflict while an apply runs.
func (e *Engine) Recover(ctx context.Context) (did []string, err error) {
	unlock, err := e.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	a := e.attempt(Request{TriggeredBy: "portal"}) // for its notes alone
	defer a.close()
	if err := e.settle(ctx, a); err != nil {
		return nil, applyError(pbx.CodeWriteFailed, err)
	}
	for _, event := range a.run.Events {
		did = append(did, event.Message)
	}
	site, err := e.target.Inspect()
	for _, d := range site.Drift {
		did = append(did, d.String()+": "+d.Cure())
	}
	return did, err
}

// settle removes what interrupted applies left in the files, which changes nothing that Asterisk reads and nothing that others edited, and
// completes their records: an apply whose revision is in place went through, any other came to nothing.
func (e *Engine) settle(ctx context.Context, a *attempt) error {
	did, err := e.target.Recover()
	if err != nil {
		return err
	}
	for _, what := range did {
		a.note(pbx.Event{Stage: "recover", Code: pbx.EventMended, Detail: what}, what)
	}
	open, err := e.store.OpenRuns(ctx)
	open = slices.DeleteFunc(open, func(run pbx.Run) bool { return run.Log.ID == a.id() })
	if err != nil || len(open) == 0 {
		return inside(err)
	}
	site, err := e.target.Inspect()
	if err != nil {
		return err
	}
	for _, run := range open {
		if err := e.complete(ctx, run, site); err != nil {
			return inside(err)
		}
		a.note(pbx.Event{Stage: "recover", Code: pbx.EventCompleted}, fmt.Sprintf("completed the record of the apply of %s, which was interrupted", run.Log.TriggeredAt.Format(time.RFC3339)))
	}
	return nil
}

// complete ends the record of an apply that was interrupted, by what is in place.
func (e *Engine) complete(ctx context.Context, run pbx.Run, site pbx.Site) error {
	// A manifest that was damaged names no run; the number is the same only for this one.
	inPlace := run.Revision != 0 && run.Revision == site.Current && (run.Log.ID == site.RunID || site.RunID == "")
	if inPlace && run.Files == nil && len(site.Drift) == 0 { // else they may not be what the portal wrote
		run.Files = site.Files
	}
	switch {
	case inPlace && site.Good == site.Current:
		run.Result, run.Log.Outcome, run.Log.ErrorDetails = pbx.Applied, pbx.Success, ""
		run.Events = append(run.Events, pbx.Event{Stage: "recover", Code: pbx.EventLate, Message: "the record was completed later; Asterisk had been seen to run this revision"})
	case inPlace:
		run.Result = pbx.FilesAhead
		run.Log.ErrorDetails = "interrupted after the files were switched: the new files are in place; the portal reloads Asterisk and records when it runs them"
	default:
		run.Result, run.Revision, run.Files = pbx.Refused, 0, nil
		run.Log.ErrorDetails = "interrupted before the files were switched: the old files stayed in place, Asterisk was not reloaded. Apply again"
	}
	return e.held.SaveRun(ctx, run, completed(ctx, e.now(), run))
}

// CatchUp has Asterisk read the files in place when it was not yet seen to run them, and records it when it does. done is true when
// there is nothing to catch up with any more; an error says why it must be tried again. KindConflict while an apply runs, or when others
// changed the files.
func (e *Engine) CatchUp(ctx context.Context) (done bool, err error) {
	unlock, err := e.lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	site, err := e.target.Inspect()
	if err != nil || site.Current == site.Good {
		return err == nil, err
	}
	if len(site.Drift) > 0 { // somebody else's work is not put live unasked
		return false, &pbx.Error{
			Kind: pbx.KindConflict, Code: pbx.CodeDrift,
			Msg: "Asterisk has not taken the files yet, and somebody else changed them since (" + driftText(site.Drift) + "): look at the plan, then apply with force",
		}
	}
	inventory, err := render.Read(site.Files)
	if err != nil {
		return false, err
	}
	a := e.attempt(Request{TriggeredBy: "portal", Comment: fmt.Sprintf("catching up: Asterisk had not taken revision %d", site.Current)})
	defer a.close()
	a.action = pbx.ActionApplyCatchUp
	a.run.Users = len(inventory.Numbers())
	reload, err := e.target.Reload(ctx)
	a.reloaded(reload.Results, err)
	if err != nil {
		return false, err
	}
	want := inventory.Live()
	question := pbx.Question{All: true}
	live, err := e.target.Live(ctx, question)
	a.verified(verify(question, want, live, reload.Understood, err))
	if a.run.Verification != pbx.Confirmed {
		return false, fmt.Errorf("verification %s: %v", a.run.Verification, a.run.Differences)
	}
	if err := e.held.Check(ctx); err != nil {
		return false, err
	}
	if err := e.target.Accept(site.Current); err != nil {
		return false, err
	}
	if err := e.held.ConfirmRevision(ctx, site.Current); err != nil {
		return false, err
	}
	if seen, err := render.Read(site.Seen); err == nil {
		e.forget(ctx, a, render.Changes(seen, inventory))
	}
	_, err = a.end(ctx, pbx.Applied, fmt.Sprintf("Asterisk runs revision %d now", site.Current))
	return err == nil, err
}
