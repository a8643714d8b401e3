// Package apply deploys the configuration in the database to a running Asterisk, as one atomic change, and verifies that it took effect. The whole
// process is one function, Engine.Apply, that reads from top to bottom; nothing else orchestrates. The package does not know where files are stored, how
// Asterisk is reached, or HTTP.
package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/synergycall/pbxportal/internal/glance"
	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store"
	"github.com/synergycall/pbxportal/internal/sums"
)

// timeout bounds a whole apply. Its steps have much shorter timeouts; this one keeps the lock from being held forever.
const timeout = 90 * time.Second

// DefaultKeep is the default number of revisions that are kept with their files.
const DefaultKeep = 20

// Config is the configuration of an Engine. All fields are required except Keep.
type Config struct {
	Store  *store.Store
	Target Target
	Now    func() time.Time // returns the current time
	Keep   int              // revisions kept with their files, on disk and in the database; 0: DefaultKeep
	Render render.Options   // how the files are written
}

// Engine plans and applies for one Asterisk. It is safe for concurrent use: one apply runs at a time, a concurrent one is refused.
type Engine struct {
	store   *store.Store
	target  Target
	now     func() time.Time
	keep    int
	options render.Options
	running sync.Mutex // held by the running apply of this process; guards held
	held    *store.ApplyLock
	watch   watchers
	draft   atomic.Pointer[render.Rendered] // the last draft rendered from the database; the next one reuses unchanged parts
	place   atomic.Pointer[inPlace]         // the files that were last found in place
	waiting atomic.Pointer[firstChange]     // the first change since the revision last verified
	sums    sums.Cache                      // of the files of plans

	standing *glance.Shared[pbx.Standing]
	compared *glance.Shared[comparison]
	other    atomic.Pointer[string] // how Run found Asterisk to differ from the files; nil: not at all

	hostFiles, hostRunning *glance.Shared[struct{}] // their results are in the database
}

// New returns an engine.
func New(c Config) *Engine {
	if c.Keep < 1 {
		c.Keep = DefaultKeep
	}
	e := &Engine{store: c.Store, target: c.Target, now: c.Now, keep: c.Keep, options: c.Render}
	e.standing = glance.New(c.Now, timeout, standingPatience, e.look)
	e.compared = glance.New(c.Now, timeout, planPatience, e.compareRunning)
	e.hostFiles = glance.New(c.Now, timeout, hostPatience, e.readHostFiles)
	e.hostRunning = glance.New(c.Now, timeout, hostPatience, e.askRunningHost)
	return e
}

// OnFailure is the policy for the case that Asterisk does not run the new files.
type OnFailure string

// Policies after a failure. Usual is to roll back when Asterisk contradicts, and to keep the new files when it is unreachable or does not answer.
const (
	Usual    OnFailure = ""
	Keep     OnFailure = "keep"
	RollBack OnFailure = "rollback"
)

// Request is a request for an apply.
type Request struct {
	TriggeredBy    string          // the claimed author, 1–255 characters; recorded in the audit trail
	Comment        string          // reason, up to 1000 characters
	IfMatch        string          // the hash of the reviewed plan; "" for any plan
	Force          bool            // apply although managed files were changed outside the portal; the changed files are saved first
	DryRun         bool            // do everything up to the first write
	OnFailure      OnFailure       // the policy for the case that Asterisk does not run the new files
	IdempotencyKey string          // a repeated request with the same key returns the first run; "": none
	Restore        int             // deploy this revision instead of the database; 0: the database
	Started        func(pbx.RunID) // is called with the id as soon as the run is recorded; may be nil
	Emit           func(pbx.Event) // is called with every event as it happens; may be nil
}

// Apply plans, writes a revision, activates it, has Asterisk reload it, and compares the running configuration with the intended one. If Asterisk
// contradicts, Apply rolls back to the last revision that Asterisk was seen to run. It is not cancelled when ctx ends.
//
// Errors: KindInvalid for the request; KindNotFound for a revision that does not exist; KindConflict while another apply runs on the same database or
// host, when the plan has changed (CodePlanMoved), when the host has an object with the number of a user (CodeNumberClash), or when managed files were
// changed outside the portal (CodeDrift); KindUnavailable when the database is unavailable before anything was changed; KindApply for every later
// failure, with a message that says what was done and what was not. CodeNotConfirmed says that everything was done and no command failed, but that it
// could not be verified yet that Asterisk runs it. The returned run is filled in up to the failure; its Log.ID is "" when none was recorded.
func (e *Engine) Apply(ctx context.Context, r Request) (pbx.Run, error) {
	r, err := r.clean()
	if err != nil {
		return pbx.Run{}, err
	}
	if earlier, err := e.earlier(ctx, r); earlier != nil || err != nil {
		return replay(earlier, err)
	}
	unlock, err := e.reserve(ctx)
	if err != nil {
		return pbx.Run{}, err
	}
	defer unlock()
	free, locked, lockErr := e.target.Lock()
	switch {
	case lockErr != nil: // reported once there is a record
	case !locked:
		return pbx.Run{}, busy()
	default:
		defer free()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()

	wanted := e.beginDraft(ctx, r.Restore, e.store.CheckedModel) // read and rendered while the record is written and the disk is examined
	defer func() { _, _ = wanted() }()                           // wait for it in any case
	recovered := e.beginRecovery(lockErr)                        // removes what an interrupted apply left, at the same time
	defer func() { _, _ = recovered() }()
	a := e.attempt(ctx, r)
	defer a.close()
	if err := a.save(ctx, a.started(ctx, r)); err != nil { // an apply without an audit record is not started
		return pbx.Run{}, err
	}
	if r.Started != nil {
		r.Started(a.id())
	}
	if lockErr != nil {
		return a.fail(ctx, pbx.Refused, pbx.CodeWriteFailed, lockFailed, lockErr)
	}
	if err := e.settle(ctx, a, recovered); err != nil { // what an earlier apply left unfinished
		return a.fail(ctx, pbx.Refused, codeOf(err), "could not recover from an interrupted apply; nothing was changed", err)
	}

	adopter := a.id()
	if r.DryRun {
		adopter = "" // a dry run adopts nothing
	}
	plan, err := e.plan(ctx, wanted, adopter)
	if err != nil {
		return a.fail(ctx, pbx.Refused, pbx.CodeOf(err), "nothing was changed", err)
	}
	a.planned(plan)
	if r.DryRun || r.IfMatch != "" || len(plan.Drift) > 0 || len(plan.Clashes) > 0 { // the apply may end here, and the explanation is needed
		plan.explain()
		a.run.Plan = plan.Plan
	}
	switch {
	case r.IfMatch != "" && r.IfMatch != plan.Hash:
		return a.refuse(ctx, pbx.CodePlanMoved, "the plan is not the one that was reviewed: users or files have changed since; nothing was changed. Review the plan again")
	case len(plan.Clashes) > 0:
		return a.refuse(ctx, pbx.CodeNumberClash, clashText(plan.Clashes))
	case len(externalFiles(plan.Drift)) > 0:
		return a.refuse(ctx, pbx.CodeDrift, "an external file is in a place where Asterisk reads it together with the portal's files ("+driftText(externalFiles(plan.Drift))+
			"); nothing was changed, and force does not help. Move it away, then apply again")
	case len(plan.Drift) > 0 && !r.Force && !plan.Edited():
		return a.refuse(ctx, pbx.CodeDrift, driftText(plan.Drift)+
			"; nothing was changed. Review the plan, then apply with force: Asterisk then runs what this database says")
	case len(plan.Drift) > 0 && !r.Force:
		return a.refuse(ctx, pbx.CodeDrift, "configuration drift: managed files were changed outside the portal ("+driftText(plan.Drift)+
			"); nothing was changed. Review the plan, then apply with force: the changed files are saved first")
	case r.DryRun:
		return a.end(ctx, pbx.DryRun, "dry run: nothing was written")
	}
	if !plan.Pending && len(plan.Drift) == 0 {
		plan.setHash()
		a.run.Plan.Hash = plan.Hash
		if plan.SyncCode, plan.Behind = e.behind(ctx, plan.site, false); plan.Behind == "" {
			a.run.Verification = pbx.Confirmed
			if pbx.ContentOf(plan.site.Seen, pbx.LibraryPath) != nil { // an earlier apply may have been interrupted
				e.settleSwitches(ctx, a)
			}
			return a.end(ctx, pbx.Unchanged, "Asterisk runs what the database says; nothing was done")
		}
		a.note(pbx.Event{Stage: "plan", Code: pbx.EventStraying, Detail: plan.Behind}, "the files are as they should be, but "+plan.Behind)
		a.doubted(plan.site.Current)
	}
	inPlace := plan.site.Files
	if plan.Edited() {
		if inPlace, err = e.target.Overwrite(e.saveEdit(ctx, &a.run)); err != nil {
			return a.fail(ctx, pbx.Refused, codeOf(err), "external changes could not be saved and overwritten; Asterisk was not reloaded", err)
		}
		a.note(pbx.Event{Stage: "reclaim", Code: pbx.EventReclaimed}, "overwrote external changes; they are saved with this record")
	}

	if plan.Pending || len(plan.Drift) > 0 {
		number := max(plan.site.Next, plan.last+1)
		recorded := a.staging(ctx, number, plan) // the number is recorded before its files can be in place
		err := e.target.Stage(number, plan.site.Current, a.id(), plan.files)
		gone := recorded() // why the database is unavailable
		held := e.held.Check(ctx)
		switch {
		case err != nil:
			return a.fail(ctx, pbx.Refused, pbx.CodeWriteFailed, "the files could not be written; the old ones are in place, Asterisk was not reloaded", err)
		case pbx.CodeOf(held) == pbx.CodeApplyRunning: // another portal may be applying by now
			return a.fail(ctx, pbx.Refused, pbx.CodeApplyRunning, "the files were not switched; the old ones are in place, Asterisk was not reloaded", held)
		case cmp.Or(gone, held) != nil:
			return a.fail(ctx, pbx.Refused, pbx.CodeDatabaseAway, "the database became unavailable before the files were switched; the old ones are in place, Asterisk was not reloaded", cmp.Or(gone, held))
		}
		paths, err := e.target.Activate(number, inPlace) // the commit point: Asterisk reads the old files before it, the new ones after it
		switch {
		case errors.Is(err, pbx.ErrEdited):
			return a.edited(ctx)
		case errors.Is(err, pbx.ErrInDoubt):
			return a.doubt(ctx, err)
		case err != nil:
			return a.fail(ctx, pbx.Refused, pbx.CodeWriteFailed, "the files could not be switched; the old ones are in place, Asterisk was not reloaded", err)
		}
		a.flipped(number, paths)
	}

	compared := a.compare(plan) // done while Asterisk reloads
	tidied := a.tidy(ctx, plan) // done while Asterisk reloads and answers
	reload, err := e.target.Reload(ctx, plan.modules())
	compared()
	a.reloaded(reload.Results, err)
	if err != nil {
		tidied()
		if r.OnFailure == RollBack && plan.site.LastVerified != 0 {
			return e.rollBack(ctx, a, plan, pbx.CodeReloadFailed, err)
		}
		return a.fail(ctx, pbx.FilesAhead, pbx.CodeReloadFailed, "the new files are in place, but Asterisk did not reload; a running portal keeps trying", err)
	}
	settled := func() {}
	if plan.good.LooksAtSwitches() {
		settled = e.beginSettling(ctx, a) // what an interrupted apply has left, while Asterisk answers
	}
	live, err := e.ask(ctx, plan.query, plan.declared, plan.inventory, plan.good)
	tidied()
	settled()
	a.verified(verify(plan.query, plan.want, live, reload.Understood, err))
	switch a.run.Verification {
	case pbx.Confirmed: // the only verdict that counts as success
	case pbx.Contradicted:
		why := errors.New(brief(a.run.Differences))
		if r.OnFailure == Keep || plan.site.LastVerified == 0 {
			return a.fail(ctx, pbx.FilesAhead, pbx.CodeContradicted, "the new files are in place and Asterisk was reloaded, but it runs something else ("+itsReason+"): "+
				"find the rejected file and line in Asterisk's log, fix the cause, and apply again", why)
		}
		return e.rollBack(ctx, a, plan, pbx.CodeRolledBack, why)
	case pbx.Inconclusive, pbx.NotVerified:
		return a.fail(ctx, pbx.NotConfirmed, pbx.CodeNotConfirmed, "the files are in place and no command failed, but it could not be verified that Asterisk runs them ("+itsReason+"): "+
			"removed or changed users may still work as before. Check with pbxportal doctor whether Asterisk is reachable, then apply again; a running portal keeps "+
			"reloading and checking, and records when Asterisk runs them", errors.New(brief(a.run.Differences)))
	}

	if lost := e.lost(ctx); lost != nil { // another portal may have deployed something else since
		return a.fail(ctx, pbx.FilesAhead, pbx.CodeApplyRunning, "the new files were put in place and Asterisk runs them, but this is not recorded", lost)
	}
	// Before the revision is marked as verified: if the portal is killed in between, the next apply still knows what changed, and does it again.
	e.carryOut(ctx, a, e.changesSinceVerified(ctx, plan.site, plan.inventory, plan.Changes))
	switches := plan.good.LooksAtSwitches() && e.prepareSwitches(ctx, a, a.current(plan), plan.switches)
	err = e.target.MarkVerified(a.current(plan))
	if a.run.Revision == 0 { // an earlier apply made the revision, and could not confirm it
		err = errors.Join(err, e.held.ConfirmRevision(ctx, a.current(plan)))
	}
	if err != nil {
		a.notNoted(err)
	}
	if err == nil && e.options.DigestRealm != "" && render.HoldsPasswords(plan.site.Seen) && !render.HoldsPasswords(plan.files) {
		_ = e.dropOlder(ctx, a.current(plan), e.saveEdit(ctx, &a.run)) // failures are reported by doctor and migrate
	}
	if err == nil && switches {
		e.settleSwitches(ctx, a)
	}
	return a.end(ctx, pbx.Applied, "done")
}

// rollBack returns to the revision that Asterisk was last seen to run, and verifies that it runs.
func (e *Engine) rollBack(ctx context.Context, a *attempt, plan *planned, code string, why error) (pbx.Run, error) {
	a.note(pbx.Event{Stage: "roll_back", Code: pbx.EventGoingBack, Revision: plan.site.LastVerified}, fmt.Sprintf("rolling back to revision %d", plan.site.LastVerified))
	broken := func(err error) (pbx.Run, error) {
		return a.fail(ctx, pbx.RollbackFailed, code, "Asterisk did not load the new files ("+why.Error()+"), and the rollback failed as well ("+itsReason+"): "+
			"check what Asterisk rejects in its log, and with pbxportal doctor whether it reads these files; fix the cause, then apply again", err)
	}
	if lost := e.lost(ctx); lost != nil {
		return a.fail(ctx, pbx.FilesAhead, pbx.CodeApplyRunning, "Asterisk did not load the new files ("+why.Error()+"), and they stay in place", lost)
	}
	a.doubted(plan.site.LastVerified) // before the files switch: Asterisk may no longer run this revision
	switch _, err := e.target.Activate(plan.site.LastVerified, plan.files); {
	case errors.Is(err, pbx.ErrEdited):
		return a.fail(ctx, pbx.FilesAhead, code, "Asterisk did not load the new files ("+itsReason+"), and they were changed by hand since: the change is in place, "+
			"nothing was restored. Review the plan, correct what Asterisk rejects, then apply with force: the changed files are saved first", why)
	case err != nil:
		return broken(err)
	}
	reload, err := e.target.Reload(ctx, pbx.AllModules())
	if err != nil {
		return broken(err)
	}
	want := plan.good.Live()
	query := plan.listQuery(want)
	live, err := e.ask(ctx, query, nil, plan.good)
	switch verdict, differences := verify(query, want, live, reload.Understood, err); verdict {
	case pbx.Confirmed:
	case pbx.Contradicted:
		return broken(errors.New(brief(differences)))
	case pbx.Inconclusive, pbx.NotVerified:
		return a.fail(ctx, pbx.RollbackFailed, code, fmt.Sprintf("Asterisk did not load the new files (%s); revision %d is in place again, but it could not be verified that Asterisk runs it ("+itsReason+"): "+
			"check with pbxportal doctor whether Asterisk is reachable, fix the cause, and apply again; a running portal keeps reloading and checking", why.Error(), plan.site.LastVerified), errors.New(brief(differences)))
	}
	err = e.lost(ctx)
	if err == nil {
		err = e.target.MarkVerified(plan.site.LastVerified)
	}
	if err != nil {
		a.notNoted(err)
	}
	return a.fail(ctx, pbx.RolledBack, code, fmt.Sprintf("Asterisk did not load the new files ("+itsReason+"); revision %d is in place and running again, as before: "+
		"find the rejected file and line in Asterisk's log, fix the cause, and apply again", plan.site.LastVerified), why)
}

// changesSinceVerified returns the given changes of this apply, and those from every revision that Asterisk may have run since the last verified one to
// the inventory: the effects of all of them are carried out.
func (e *Engine) changesSinceVerified(ctx context.Context, site pbx.HostState, inventory render.Inventory, changes []pbx.Change) []pbx.Change {
	if !site.Ahead() {
		return changes
	}
	for _, files := range [][]pbx.File{site.Seen, site.Files} {
		if there, err := render.Read(files); err == nil { // otherwise they are not the portal's, and define no phones
			changes = append(changes, render.Changes(there, inventory)...)
		}
	}
	for number := max(site.LastVerified+1, site.Current-e.keep); number < site.Current; number++ {
		if between, err := e.oldDraft(ctx, number); err == nil { // otherwise it never was in place, or is no longer kept
			changes = append(changes, render.Changes(between.inventory, inventory)...)
		}
	}
	return changes
}

// carryOut carries out the effects of changes, and notes the result.
func (e *Engine) carryOut(ctx context.Context, a *attempt, changes []pbx.Change) {
	done, err := e.target.Do(ctx, pbx.EffectsOf(changes))
	var forgotten []string
	for _, effect := range done {
		if effect.Verb == pbx.ForgetRegistration {
			forgotten = append(forgotten, pbx.DeviceName(effect.Number, effect.Suffix))
		}
	}
	switch {
	case err != nil:
		a.note(pbx.Event{Stage: "forget", Code: pbx.EventNotForgot, Detail: err.Error()}, "Asterisk could not be made to forget the phones of removed users; they expire within minutes: "+err.Error())
	case len(forgotten) > 0:
		a.note(pbx.Event{Stage: "forget", Code: pbx.EventForgot, Detail: fmt.Sprint(forgotten)}, fmt.Sprintf("Asterisk forgot the phones registered at %v", forgotten))
	}
}

// lockFailed is the message when the files of the host cannot be locked; the reason follows.
const lockFailed = "the files cannot be locked; nothing was changed"

// busy returns the error while another apply runs.
func busy() error {
	return &pbx.Error{
		Kind: pbx.KindConflict, Code: pbx.CodeApplyRunning,
		Msg: "another apply is running; nothing was done: wait for it to end, and apply again if your changes came after it began",
	}
}

// lock takes the locks of this process, of the database and of the host. Only the holder of all three applies.
func (e *Engine) lock(ctx context.Context) (unlock func(), err error) {
	release, err := e.reserve(ctx)
	if err != nil {
		return nil, err
	}
	free, held, err := e.target.Lock()
	switch {
	case err != nil:
		err = &pbx.Error{Kind: pbx.KindApply, Code: pbx.CodeWriteFailed, Msg: lockFailed + ": " + err.Error(), Err: err}
	case !held:
		err = busy()
	}
	if err != nil {
		release()
		return nil, err
	}
	return func() { free(); release() }, nil
}

// reserve takes the locks of this process and of the database, which is enough to record an apply.
func (e *Engine) reserve(ctx context.Context) (release func(), err error) {
	if !e.running.TryLock() {
		return nil, busy()
	}
	lock, err := e.store.TryApplyLock(ctx)
	if err == nil && lock == nil {
		err = busy()
	}
	if err != nil {
		e.running.Unlock()
		return nil, err
	}
	e.held = lock
	return func() {
		e.standing.Stale() // the state may have changed
		lock.Release()
		e.running.Unlock()
	}, nil
}

// lost returns an error if another portal may hold the apply lock by now. If the database does not answer, it returns nil: the lock of the host still
// excludes other applies on it.
func (e *Engine) lost(ctx context.Context) error {
	if err := e.held.Check(ctx); pbx.CodeOf(err) == pbx.CodeApplyRunning {
		return err
	}
	return nil
}

// codeOf returns the code of a failure before the switch: CodeWriteFailed, unless the error has a code of its own.
func codeOf(err error) string {
	if pbx.KindOf(err) == pbx.KindInternal {
		return pbx.CodeWriteFailed
	}
	return pbx.CodeOf(err)
}

// externalFiles returns the drift that consists of external files beside the portal's. They block every apply: an object that is in both makes Asterisk
// reject the whole PJSIP configuration.
func externalFiles(all []pbx.Drift) []pbx.Drift {
	return slices.DeleteFunc(slices.Clone(all), func(d pbx.Drift) bool { return d.Kind != pbx.External })
}

func driftText(all []pbx.Drift) string {
	var texts []string
	for _, d := range all {
		texts = append(texts, d.String())
	}
	return strings.Join(texts, ", ")
}
