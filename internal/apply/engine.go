// Package apply brings what the database says to a live Asterisk, as one change that happens or does not, and finds out whether it
// took effect. The whole story is one function, Engine.Apply, that reads from top to bottom; nothing else orchestrates. It does not
// know where files lie, how Asterisk is spoken to, or what HTTP is.
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
)

// timeout bounds a whole apply. Its parts have bounds of their own, far tighter; this one only keeps the lock from being held for ever.
const timeout = 90 * time.Second

// DefaultKeep is how many revisions are kept whole when nothing else is asked for.
const DefaultKeep = 20

// Config is what an engine needs. All fields are required but Keep.
type Config struct {
	Store  *store.Store
	Target Target
	Now    func() time.Time // tells the time
	Keep   int              // revisions kept whole, on disk and in the database; 0: DefaultKeep
	Style  render.Style     // how the files are written
}

// Engine plans and applies for one Asterisk. It is safe for concurrent use: one apply runs at a time, a second one is refused.
type Engine struct {
	store   *store.Store
	target  Target
	now     func() time.Time
	keep    int
	style   render.Style
	running sync.Mutex // held by the one apply of this process; guards held
	held    *store.ApplyLock
	watch   watchers
	draft   atomic.Pointer[render.Rendered] // the last that was made of the database; the next takes over what stays

	standing *glance.Shared[pbx.Standing]
	other    atomic.Pointer[string] // what Run saw Asterisk run instead of the files; nil: nothing

	hostFiles, hostRunning *glance.Shared[struct{}] // what they find is in the database
}

// New makes an engine.
func New(c Config) *Engine {
	if c.Keep < 1 {
		c.Keep = DefaultKeep
	}
	e := &Engine{store: c.Store, target: c.Target, now: c.Now, keep: c.Keep, style: c.Style}
	e.standing = glance.New(c.Now, timeout, standingPatience, e.look)
	e.hostFiles = glance.New(c.Now, timeout, hostPatience, e.readHostFiles)
	e.hostRunning = glance.New(c.Now, timeout, hostPatience, e.askRunningHost)
	return e
}

// OnFailure says what to leave behind when Asterisk does not take the new files.
type OnFailure string

// The ways to go on after a failure. The default is to go back when Asterisk contradicts, and to keep the new files when it cannot be
// reached or does not answer.
const (
	Usual    OnFailure = ""
	Keep     OnFailure = "keep"
	RollBack OnFailure = "rollback"
)

// Request asks for an apply.
type Request struct {
	TriggeredBy    string          // who or what asks, 1–255 characters; goes into the audit record
	Comment        string          // why, up to 1000 characters
	IfMatch        string          // the hash of the plan that was reviewed; "" for whatever the plan is now
	Force          bool            // apply over what others changed in the files; it is saved first
	DryRun         bool            // do everything up to the first write
	OnFailure      OnFailure       // what to leave behind when Asterisk does not take it
	IdempotencyKey string          // the same key gives the same run instead of a second one
	Restore        int             // put this revision live instead of the database; 0: the database
	Started        func(pbx.RunID) // is told the id as soon as the run is on record; may be nil
	Tell           func(pbx.Event) // is told what happens as it happens; may be nil
}

// Apply plans, writes a revision, makes it the one Asterisk reads, has it reloaded, and compares what Asterisk then runs with what
// was meant; if it contradicts, it goes back to the revision Asterisk was last seen to run. It is not cut short by the end of ctx.
//
// Errors: KindInvalid for the request; KindNotFound for a revision that is not there; KindConflict while another apply runs, here or
// anywhere on the same database or host, when the plan has moved (CodePlanMoved), when the host has an object with the number of a user
// (CodeNumberClash), or when others changed the files (CodeDrift);
// KindUnavailable when the database is away before anything was touched; KindApply for all that goes wrong from then on, with a
// message that says what was done and what was not. One of these, CodeNotConfirmed, says that everything was done and no command failed, but
// that Asterisk could not be seen to run it yet. The run is filled as far as it came; its Log.ID is "" when none was recorded.
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
	free, locked, unlockable := e.target.Lock()
	switch {
	case unlockable != nil: // is told of once there is a record
	case !locked:
		return pbx.Run{}, busy()
	default:
		defer free()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()

	wanted := func() (draft, error) { return e.oldDraft(ctx, r.Restore) }
	if r.Restore == 0 {
		wanted = e.beginDraft(ctx)         // is read and rendered while the record is written and the disk is looked at
		defer func() { _, _ = wanted() }() // also where nobody asks for it any more
	}
	a := e.attempt(ctx, r)
	defer a.close()
	if err := a.save(ctx, a.started(ctx, r)); err != nil { // no audit record, no apply
		return pbx.Run{}, err
	}
	if r.Started != nil {
		r.Started(a.id())
	}
	if unlockable != nil {
		return a.fail(ctx, pbx.Refused, pbx.CodeWriteFailed, unlocked, unlockable)
	}
	if err := e.settle(ctx, a); err != nil { // what an earlier apply left unfinished
		return a.fail(ctx, pbx.Refused, codeOf(err), "what an earlier apply left could not be put in order; nothing was touched", err)
	}

	adopter := a.id()
	if r.DryRun {
		adopter = "" // a rehearsal takes over nothing
	}
	plan, err := e.plan(ctx, wanted, adopter)
	if err != nil {
		return a.fail(ctx, pbx.Refused, pbx.CodeOf(err), "nothing was touched", err)
	}
	a.planned(plan)
	if r.DryRun || r.IfMatch != "" || len(plan.Drift) > 0 || len(plan.Clashes) > 0 { // it may end here, and somebody will want to know why
		plan.explain()
		a.run.Plan = plan.Plan
	}
	switch {
	case r.IfMatch != "" && r.IfMatch != plan.Hash:
		return a.refuse(ctx, pbx.CodePlanMoved, "the plan is not the one that was reviewed: somebody changed users or files since; nothing was touched. Look at the plan again")
	case len(plan.Clashes) > 0:
		return a.refuse(ctx, pbx.CodeNumberClash, clashText(plan.Clashes))
	case len(foreigners(plan.Drift)) > 0:
		return a.refuse(ctx, pbx.CodeDrift, "a file that is not the portal's lies where Asterisk reads it together with the portal's ("+driftText(foreigners(plan.Drift))+
			"); nothing was touched, and force does not help. Move it away, then apply again")
	case len(plan.Drift) > 0 && !r.Force && !plan.Edited():
		return a.refuse(ctx, pbx.CodeDrift, driftText(plan.Drift)+
			"; nothing was touched. Look at the plan, then apply with force: Asterisk then runs what this database says")
	case len(plan.Drift) > 0 && !r.Force:
		return a.refuse(ctx, pbx.CodeDrift, "somebody else changed what only the portal writes ("+driftText(plan.Drift)+
			"); nothing was touched. Look at the plan, then apply with force: what stands there is saved first")
	case r.DryRun:
		return a.end(ctx, pbx.DryRun, "nothing was written: this was a rehearsal")
	}
	if !plan.Pending && len(plan.Drift) == 0 {
		plan.name()
		a.run.Plan.Hash = plan.Hash
		if plan.BehindCode, plan.Behind = e.behind(ctx, plan.site, pbx.Question{All: true}); plan.Behind == "" {
			a.run.Verification = pbx.Confirmed
			return a.end(ctx, pbx.Unchanged, "Asterisk runs what the database says; nothing was done")
		}
		a.note(pbx.Event{Stage: "plan", Code: pbx.EventStraying, Detail: plan.Behind}, "the files are as they should be, but "+plan.Behind)
		a.doubted(plan.site.Current)
	}
	inPlace := plan.site.Files
	if plan.Edited() {
		if inPlace, err = e.target.Reclaim(a.saveEdit(ctx)); err != nil {
			return a.fail(ctx, pbx.Refused, codeOf(err), "what others changed could not be saved and taken back; Asterisk was not reloaded", err)
		}
		a.note(pbx.Event{Stage: "reclaim", Code: pbx.EventReclaimed}, "took back what others changed; it is saved with this record")
	}

	if plan.Pending || len(plan.Drift) > 0 {
		number := max(plan.site.Next, plan.last+1)
		recorded := a.staging(ctx, number, plan) // the record knows the number before the files can have it
		err := e.target.Stage(number, plan.site.Current, a.id(), plan.files)
		gone := recorded() // why the database is
		held := e.held.Check(ctx)
		switch {
		case err != nil:
			return a.fail(ctx, pbx.Refused, pbx.CodeWriteFailed, "the files could not be written; the old ones are in place, Asterisk was not reloaded", err)
		case pbx.CodeOf(held) == pbx.CodeApplyRunning: // another portal may be applying by now
			return a.fail(ctx, pbx.Refused, pbx.CodeApplyRunning, "the files were not switched; the old ones are in place, Asterisk was not reloaded", held)
		case cmp.Or(gone, held) != nil:
			return a.fail(ctx, pbx.Refused, pbx.CodeDatabaseAway, "the database went away before the files were switched; the old ones are in place, Asterisk was not reloaded", cmp.Or(gone, held))
		}
		paths, err := e.target.Flip(number, inPlace) // the commit point: before it the old pair of files, after it the new
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

	paperwork := a.meanwhile(ctx, plan) // Asterisk takes its time; ours is free
	reload, err := e.target.Reload(ctx, plan.modules())
	_ = paperwork() // what failed is tried again
	a.reloaded(reload.Results, err)
	if err != nil {
		if r.OnFailure == RollBack && plan.site.Good != 0 {
			return e.rollBack(ctx, a, plan, pbx.CodeReloadFailed, err)
		}
		return a.fail(ctx, pbx.FilesAhead, pbx.CodeReloadFailed, "the new files are in place, but Asterisk did not reload; a running portal keeps trying", err)
	}
	live, err := e.ask(ctx, plan.ask, plan.declared, plan.inventory, plan.good)
	a.verified(verify(plan.ask, plan.want, live, reload.Understood, err))
	switch a.run.Verification {
	case pbx.Confirmed: // and nothing else, is seen to run
	case pbx.Contradicted:
		why := errors.New(brief(a.run.Differences))
		if r.OnFailure == Keep || plan.site.Good == 0 {
			return a.fail(ctx, pbx.FilesAhead, pbx.CodeContradicted, "the new files are in place and Asterisk was reloaded, but it runs something else ("+itsReason+"): "+
				"look into Asterisk's log for the file and line it refused, mend the cause, and apply again", why)
		}
		return e.rollBack(ctx, a, plan, pbx.CodeRolledBack, why)
	case pbx.Inconclusive, pbx.NotVerified:
		return a.fail(ctx, pbx.NotConfirmed, pbx.CodeNotConfirmed, "the files are in place and no command failed, but Asterisk could not be seen to run them ("+itsReason+"): "+
			"what was removed or changed may still work as before. See with pbxportal doctor whether Asterisk can be asked, then apply again; a running portal keeps "+
			"reloading and asking, and records when Asterisk runs them", errors.New(brief(a.run.Differences)))
	}

	if lost := e.lost(ctx); lost != nil { // what another portal has put in place since is not this one's to vouch for
		return a.fail(ctx, pbx.FilesAhead, pbx.CodeApplyRunning, "the new files were put in place and Asterisk runs them, but that is not noted", lost)
	}
	err = e.target.Accept(a.current(plan))
	if a.run.Revision == 0 { // the revision is that of an earlier apply, which did not see it run
		err = errors.Join(err, e.held.ConfirmRevision(ctx, a.current(plan)))
	}
	if err != nil {
		a.unnoted(err)
	}
	if err == nil && e.style.DigestRealm != "" && render.HoldsPasswords(plan.site.Seen) && !render.HoldsPasswords(plan.files) {
		_ = e.dropOlder(ctx, a.current(plan), a.saveEdit(ctx)) // what fails doctor tells of, and migrate does
	}
	e.forget(ctx, a, e.unforgotten(ctx, plan.site, plan.inventory, plan.Changes))
	return a.end(ctx, pbx.Applied, "done")
}

// rollBack makes Asterisk run again what it was last seen to run, and sees whether it does.
func (e *Engine) rollBack(ctx context.Context, a *attempt, plan *planned, code string, why error) (pbx.Run, error) {
	a.note(pbx.Event{Stage: "roll_back", Code: pbx.EventGoingBack, Revision: plan.site.Good}, fmt.Sprintf("going back to revision %d", plan.site.Good))
	broken := func(err error) (pbx.Run, error) {
		return a.fail(ctx, pbx.RollbackFailed, code, "Asterisk did not take the new files ("+why.Error()+"), and going back did not work either ("+itsReason+"): "+
			"see in Asterisk's log what it refuses, and with pbxportal doctor whether it reads these files; mend that, then apply again", err)
	}
	if lost := e.lost(ctx); lost != nil {
		return a.fail(ctx, pbx.FilesAhead, pbx.CodeApplyRunning, "Asterisk did not take the new files ("+why.Error()+"), and they stay in place", lost)
	}
	a.doubted(plan.site.Good) // before anything can make the files look as if Asterisk ran them
	switch _, err := e.target.Flip(plan.site.Good, plan.files); {
	case errors.Is(err, pbx.ErrEdited):
		return a.fail(ctx, pbx.FilesAhead, code, "Asterisk did not take the new files ("+itsReason+"), and they were changed by hand since: the change is in place, "+
			"nothing was put back. Look at the plan, correct what Asterisk refuses, then apply with force: what stands there is saved first", why)
	case err != nil:
		return broken(err)
	}
	reload, err := e.target.Reload(ctx, pbx.AllModules())
	if err != nil {
		return broken(err)
	}
	want := plan.good.Live()
	question := plan.wholeQuestion(want)
	live, err := e.ask(ctx, question, nil, plan.good)
	switch verdict, differences := verify(question, want, live, reload.Understood, err); verdict {
	case pbx.Confirmed:
	case pbx.Contradicted:
		return broken(errors.New(brief(differences)))
	case pbx.Inconclusive, pbx.NotVerified:
		return a.fail(ctx, pbx.RollbackFailed, code, fmt.Sprintf("Asterisk did not take the new files (%s); revision %d is in place again, but Asterisk could not be seen to run it ("+itsReason+"): "+
			"see with pbxportal doctor whether Asterisk can be asked, fix the cause, and apply again; a running portal keeps reloading and asking", why.Error(), plan.site.Good), errors.New(brief(differences)))
	}
	err = e.lost(ctx)
	if err == nil {
		err = e.target.Accept(plan.site.Good)
	}
	if err != nil {
		a.unnoted(err)
	}
	return a.fail(ctx, pbx.RolledBack, code, fmt.Sprintf("Asterisk did not take the new files ("+itsReason+"); revision %d is in place and running again, as before: "+
		"look into Asterisk's log for the file and line it refused, mend the cause, and apply again", plan.site.Good), why)
}

// unforgotten gives the changes whose phones Asterisk must forget now that it was seen to run the inventory: those of this apply, and those of
// every revision that it may have run since it was last seen to run one.
func (e *Engine) unforgotten(ctx context.Context, site pbx.Site, inventory render.Inventory, changes []pbx.Change) []pbx.Change {
	if !site.Ahead() {
		return changes
	}
	for _, files := range [][]pbx.File{site.Seen, site.Files} {
		if there, err := render.Read(files); err == nil { // else they are not the portal's, and name no phone
			changes = append(changes, render.Changes(there, inventory)...)
		}
	}
	for number := max(site.Good+1, site.Current-e.keep); number < site.Current; number++ {
		if between, err := e.oldDraft(ctx, number); err == nil { // else it never was in place, or is no longer kept
			changes = append(changes, render.Changes(between.inventory, inventory)...)
		}
	}
	return changes
}

// forget makes Asterisk forget where the phones of removed users, and of those with a new secret, registered: else calls would go on
// to ring there.
func (e *Engine) forget(ctx context.Context, a *attempt, changes []pbx.Change) {
	var numbers []pbx.Number
	for _, c := range changes {
		if c.Reregister {
			numbers = append(numbers, c.Number)
		}
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	forgotten, err := e.target.Forget(ctx, numbers)
	switch {
	case err != nil:
		a.note(pbx.Event{Stage: "forget", Code: pbx.EventNotForgot, Detail: err.Error()}, "Asterisk could not be made to forget the phones of removed users; they expire within minutes: "+err.Error())
	case len(forgotten) > 0:
		a.note(pbx.Event{Stage: "forget", Code: pbx.EventForgot, Detail: fmt.Sprint(forgotten)}, fmt.Sprintf("Asterisk forgot the phones registered at %v", forgotten))
	}
}

// unlocked says that the files of the host cannot be locked; why follows.
const unlocked = "the files cannot be locked; nothing was touched"

// busy says that somebody else applies.
func busy() error {
	return &pbx.Error{
		Kind: pbx.KindConflict, Code: pbx.CodeApplyRunning,
		Msg: "another apply is running; nothing was done: wait for it to end, and apply again if your changes came after it began",
	}
}

// lock makes the caller the only one of this process, of this database and of this host who applies.
func (e *Engine) lock(ctx context.Context) (unlock func(), err error) {
	giveBack, err := e.reserve(ctx)
	if err != nil {
		return nil, err
	}
	free, held, err := e.target.Lock()
	switch {
	case err != nil:
		err = &pbx.Error{Kind: pbx.KindApply, Code: pbx.CodeWriteFailed, Msg: unlocked + ": " + err.Error(), Err: err}
	case !held:
		err = busy()
	}
	if err != nil {
		giveBack()
		return nil, err
	}
	return func() { free(); giveBack() }, nil
}

// reserve makes the caller the only one of this process and of this database who applies. That is enough to put an apply on record.
func (e *Engine) reserve(ctx context.Context) (giveBack func(), err error) {
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
		e.standing.Stale() // whatever was done, it may stand otherwise now
		lock.Release()
		e.running.Unlock()
	}, nil
}

// lost returns the error of a lock that another portal may have by now. A database that does not answer is no such proof: what follows is
// then decided by the files alone, as the host's own lock has it.
func (e *Engine) lost(ctx context.Context) error {
	if err := e.held.Check(ctx); pbx.CodeOf(err) == pbx.CodeApplyRunning {
		return err
	}
	return nil
}

// codeOf gives the code of a failure on the way to the files: that of the database where it is the database's.
func codeOf(err error) string {
	if pbx.KindOf(err) == pbx.KindInternal {
		return pbx.CodeWriteFailed
	}
	return pbx.CodeOf(err)
}

// foreigners are the files that are not ours and lie beside ours: an object that stands in both makes Asterisk refuse all of PJSIP.
func foreigners(all []pbx.Drift) []pbx.Drift {
	return slices.DeleteFunc(slices.Clone(all), func(d pbx.Drift) bool { return d.Kind != pbx.Foreign })
}

func driftText(all []pbx.Drift) string {
	var texts []string
	for _, d := range all {
		texts = append(texts, d.String())
	}
	return strings.Join(texts, ", ")
}
