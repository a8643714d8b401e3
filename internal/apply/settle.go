package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
)

// Recover recovers from an apply that never ended because its process, the machine or the database stopped: files first, then the records. It returns
// what it did, and the external changes that it found and did not touch. KindConflict while an apply runs.
func (e *Engine) Recover(ctx context.Context) (did []string, err error) {
	unlock, err := e.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	a := e.attempt(ctx, Request{TriggeredBy: "portal"}) // only collects events
	defer a.close()
	if err := e.settle(ctx, a, e.target.Recover); err != nil {
		return nil, applyError(pbx.CodeWriteFailed, err)
	}
	for _, event := range a.run.Events {
		did = append(did, event.Message)
	}
	site, err := e.target.Inspect()
	for _, d := range site.Drift {
		did = append(did, d.String()+": "+d.Fix())
	}
	return did, err
}

// beginRecovery starts to remove what interrupted applies left in the files, unless these could not be locked. The function that it returns waits for the
// result.
func (e *Engine) beginRecovery(lockErr error) func() ([]string, error) {
	var did []string
	wait := async(func() (err error) {
		if lockErr == nil {
			did, err = e.target.Recover()
		}
		return err
	})
	return sync.OnceValues(func() ([]string, error) { err := wait(); return did, err })
}

// settle waits until what interrupted applies left in the files is removed, which changes nothing that Asterisk reads or that was edited externally, and
// completes their records: an apply succeeded if its revision is in place and Asterisk was seen to run it; any other failed.
func (e *Engine) settle(ctx context.Context, a *attempt, recovered func() ([]string, error)) error {
	did, err := recovered()
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

// complete completes the record of an interrupted apply according to the files in place.
func (e *Engine) complete(ctx context.Context, run pbx.Run, site pbx.HostState) error {
	// A damaged manifest names no run; the number of the revision then identifies it.
	inPlace := run.Revision != 0 && run.Revision == site.Current && (run.Log.ID == site.RunID || site.RunID == "")
	if inPlace && run.Files == nil && len(site.Drift) == 0 { // with drift, they may not be what the portal wrote
		run.Files = site.Files
	}
	switch {
	case inPlace && !site.Ahead():
		run.Result, run.Verification, run.Log.Outcome, run.Log.ErrorDetails = pbx.Applied, pbx.Confirmed, pbx.Success, ""
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

// CatchUp makes Asterisk reload the files in place if it was not yet seen to run them, and records that it runs them. done is true if there is nothing left
// to catch up with; the error is the reason to retry. KindConflict while an apply runs, or if managed files were changed outside the portal.
func (e *Engine) CatchUp(ctx context.Context) (done bool, err error) { return e.catchUp(ctx, 0) }

// catchUp is CatchUp. If attempts, the number of attempts so far including this one, is not 0, a failure is recorded.
func (e *Engine) catchUp(ctx context.Context, attempts int) (done bool, err error) {
	unlock, err := e.lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	site, err := e.target.Inspect()
	if err != nil || !site.Ahead() {
		return err == nil, err
	}
	if len(site.Drift) > 0 { // external changes are not deployed without a request
		return false, &pbx.Error{
			Kind: pbx.KindConflict, Code: pbx.CodeDrift,
			Msg: "Asterisk has not loaded the files yet, and they were changed outside the portal since (" + driftText(site.Drift) + "): review the plan, then apply with force",
		}
	}
	inventory, err := render.Read(site.Files)
	if err != nil {
		return false, err
	}
	a := e.attempt(ctx, Request{TriggeredBy: "portal", Comment: fmt.Sprintf("catching up: Asterisk had not loaded revision %d", site.Current)})
	defer a.close()
	a.action = pbx.ActionApplyCatchUp
	a.run.Users = len(inventory.Numbers())
	reload, err := e.target.Reload(ctx, pbx.AllModules())
	a.reloaded(reload.Results, err)
	if err != nil {
		return false, a.failedCatchUp(ctx, attempts, pbx.FilesAhead, pbx.CodeReloadFailed, err)
	}
	want := inventory.Live()
	seen := seenInventory(site)
	query := fullQuery(want, inventory, seen)
	live, err := e.ask(ctx, query, nil, inventory, seen)
	a.verified(verify(query, want, live, reload.Understood, err))
	switch a.run.Verification {
	case pbx.Confirmed: // the only verdict that counts as success
	case pbx.Contradicted:
		return false, a.failedCatchUp(ctx, attempts, pbx.FilesAhead, pbx.CodeContradicted, errors.New("Asterisk runs something else: "+brief(a.run.Differences)))
	case pbx.Inconclusive, pbx.NotVerified:
		return false, a.failedCatchUp(ctx, attempts, pbx.NotConfirmed, pbx.CodeNotConfirmed, errors.New("it could not be verified that Asterisk runs them: "+brief(a.run.Differences)))
	}
	if err := e.held.Check(ctx); err != nil {
		return false, err
	}
	e.carryOut(ctx, a, e.changesSinceVerified(ctx, site, inventory, nil)) // before the revision is marked as verified, as in Apply
	switches := false
	if seen.LooksAtSwitches() {
		e.settleSwitches(ctx, a)
		users, _ := e.store.Users(ctx, pbx.DefaultTenant) // without them, users with digests for secrets are not recognised by their new numbers
		came := e.cameLater(ctx, func() time.Time { return e.seenAt(ctx, site) })
		switches = e.prepareSwitches(ctx, a, site.Current, render.SwitchEffects(seen, inventory, users, came))
	}
	if err := e.target.MarkVerified(site.Current); err != nil {
		return false, err
	}
	if err := e.held.ConfirmRevision(ctx, site.Current); err != nil {
		return false, err
	}
	if switches {
		e.settleSwitches(ctx, a)
	}
	_, err = a.end(ctx, pbx.Applied, fmt.Sprintf("Asterisk runs revision %d now", site.Current))
	return err == nil, err
}

// failedCatchUp ends a failed attempt to catch up, and returns its reason. It records the failure unless attempts is 0.
func (a *attempt) failedCatchUp(ctx context.Context, attempts int, result pbx.Result, code string, reason error) error {
	if attempts > 0 {
		_, err := a.fail(ctx, result, code, fmt.Sprintf("Asterisk was asked to reload the files in place %d times, but it could not be verified that it runs them ("+itsReason+
			"); the portal keeps trying, and records when Asterisk runs them: check with pbxportal doctor whether Asterisk is reachable", attempts), reason)
		if pbx.CodeOf(err) != code {
			return err // the record could not be written
		}
	}
	return reason
}
