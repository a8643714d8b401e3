package apply

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// interrupted is the error text in the audit record of an apply from its start to its end. It remains if the process dies.
const interrupted = "interrupted: this apply was started, and its end was never recorded; the portal was probably stopped in the middle. " +
	"The next apply finds out how far it came"

// attempt is an apply in progress and its record.
type attempt struct {
	engine *Engine
	start  time.Time
	run    pbx.Run
	follow func(pbx.Event) // may be nil
	saved  []pbx.File      // files of the run that are already in the database
	action string          // name of the action in the audit trail
	work   sync.WaitGroup  // background work that close waits for
}

// attempt returns the record of a new apply. The caller must call close.
func (e *Engine) attempt(ctx context.Context, r Request) *attempt {
	start, actor := e.now(), pbx.ActorOf(ctx)
	a := &attempt{engine: e, start: start, follow: r.Emit, run: pbx.Run{
		Log: pbx.ApplyLog{
			ID: pbx.RunID(uuid.NewString()), TriggeredAt: start.UTC().Truncate(time.Microsecond), TriggeredBy: r.TriggeredBy,
			Actor:   pbx.Actor{Kind: actor.Kind, ID: actor.ID, Name: actor.Name},
			Outcome: pbx.Failure, ErrorDetails: interrupted,
		},
		Result: pbx.Interrupted, Verification: pbx.NotVerified, Comment: r.Comment, IdempotencyKey: r.IdempotencyKey, Asked: r.asked(),
		Restored: r.Restore,
	}}
	a.action = pbx.ActionApplyRun
	if r.Restore != 0 {
		a.action = pbx.ActionApplyRestore
	}
	e.watch.begin(a.id())
	return a
}

func (a *attempt) id() pbx.RunID { return a.run.Log.ID }

// save writes the current run and these audit events to the database.
func (a *attempt) save(ctx context.Context, events ...pbx.AuditEvent) error {
	return a.engine.held.SaveRun(ctx, a.run, events...)
}

// note adds an event to the run and sends it to followers. event has the stage, the code and the code's parameters.
func (a *attempt) note(event pbx.Event, message string) {
	event.After, event.Message = a.engine.now().Sub(a.start), message
	a.run.Events = append(a.run.Events, event)
	a.engine.watch.emit(a.id(), event)
	if a.follow != nil {
		a.follow(event)
	}
}

func (a *attempt) planned(p *planned) {
	a.run.Plan, a.run.Users = p.Plan, p.Users
	a.note(pbx.Event{Stage: "plan", Code: pbx.EventPlanned, Users: p.Users, Revision: p.Revision}, fmt.Sprintf("%s, against revision %d", pbx.Users(p.Users), p.Revision))
}

// staging records, in the background, the revision that is being written: its number, by which recovery finds the run that made the files in place, its
// files, and the hash of the plan. recorded waits for the record.
func (a *attempt) staging(ctx context.Context, number int, p *planned) (recorded func() error) {
	a.run.Revision, a.run.Files = number, p.files
	a.note(pbx.Event{Stage: "stage", Code: pbx.EventStaged, Revision: number}, fmt.Sprintf("revision %d is written beside the files in place", number))
	return a.async(func() error {
		p.setHash()
		a.run.Plan.Hash = p.Hash
		err := a.save(ctx)
		if err == nil {
			a.saved, a.run.Files = p.files, nil
		}
		return err
	})
}

// async runs do in the background and returns a function that waits for its result. A panic in do is raised again in the goroutine that waits, so that a
// bug ends one apply and not the program.
func async(do func() error) (wait func() error) {
	type end struct {
		err   error
		panic any
	}
	done := make(chan end, 1)
	go func() {
		var e end
		defer func() {
			if v := recover(); v != nil {
				e.panic = fmt.Sprintf("%v\n\n%s", v, debug.Stack())
			}
			done <- e
		}()
		e.err = do()
	}()
	return func() error {
		e := <-done
		if e.panic != nil {
			panic(e.panic)
		}
		return e.err
	}
}

// async is like the function async; in addition, close waits for the work.
func (a *attempt) async(do func() error) (wait func() error) {
	a.work.Add(1)
	return async(func() error {
		defer a.work.Done()
		return do()
	})
}

// compare compares the plan with the previous files in the background; compared waits for it. The text of the differences is computed from the revisions on
// demand.
func (a *attempt) compare(p *planned) (compared func()) {
	wait := a.async(func() error {
		p.compare()
		a.engine.place.Store(&inPlace{p.files, p.inventory}) // the next apply compares with them
		return nil
	})
	return func() {
		_ = wait() // it returns no error
		a.run.Plan = p.Plan
	}
}

// tidy deletes old revisions, which contain secrets, in the background. What fails is retried by the next apply. The run must not be saved until tidied has
// returned.
func (a *attempt) tidy(ctx context.Context, p *planned) (tidied func()) {
	run, current := a.run, a.run.Revision
	wait := a.async(func() error {
		_ = a.engine.target.Prune(a.engine.keep, a.engine.saveEdit(ctx, &run))
		return a.engine.held.ForgetRevisions(ctx, a.engine.keep, current, p.site.LastVerified)
	})
	return func() {
		_ = wait()
		a.run.Saved = run.Saved
	}
}

func (a *attempt) flipped(number int, paths []string) {
	a.run.Log.FilesWritten = paths
	a.note(pbx.Event{Stage: "flip", Code: pbx.EventFlipped, Revision: number}, fmt.Sprintf("revision %d is in place, all files switched atomically", number))
}

func (a *attempt) reloaded(results pbx.ReloadResults, err error) {
	a.run.Log.Reload = results
	if err != nil {
		a.note(pbx.Event{Stage: "reload", Code: pbx.EventNotRead, Detail: err.Error()}, err.Error())
		return
	}
	a.note(pbx.Event{Stage: "reload", Code: pbx.EventAsked}, "Asterisk was asked to read the files")
}

func (a *attempt) verified(v pbx.Verification, differences []string) {
	a.run.Verification, a.run.Differences = v, differences
	switch v {
	case pbx.Confirmed:
		a.note(pbx.Event{Stage: "verify", Code: pbx.EventConfirmed, Users: a.run.Users}, "the live Asterisk runs exactly "+pbx.TheseUsers(a.run.Users))
	case pbx.Contradicted:
		a.note(pbx.Event{Stage: "verify", Code: pbx.EventContradicted, Detail: differences[0]}, fmt.Sprintf("the live Asterisk runs something else: %s", differences[0]))
	case pbx.Inconclusive:
		a.note(pbx.Event{Stage: "verify", Code: pbx.EventInconclusive, Detail: differences[0]}, fmt.Sprintf("Asterisk gave no answer that could be compared: %s", differences[0]))
	case pbx.NotVerified:
	}
}

// doubted records that it is no longer known whether Asterisk runs a revision, so that a running portal retries until it is known.
func (a *attempt) doubted(number int) {
	if err := a.engine.target.Doubt(number); err != nil {
		a.note(pbx.Event{Stage: "accept", Code: pbx.EventNotNoted, Detail: err.Error()}, "could not record that Asterisk may not run this revision: "+err.Error())
	}
}

// notNoted notes that it could not be recorded which revision Asterisk runs.
func (a *attempt) notNoted(err error) {
	a.note(pbx.Event{Stage: "accept", Code: pbx.EventNotNoted, Detail: err.Error()}, "could not record that Asterisk runs this revision: "+err.Error())
}

// current returns the revision in place after a switch, 0 if there was none.
func (a *attempt) current(p *planned) int {
	if a.run.Revision != 0 {
		return a.run.Revision
	}
	return p.site.Current
}

// saveEdit returns a function that stores external changes of managed files with a run in the database; they may be overwritten only after that.
func (e *Engine) saveEdit(ctx context.Context, run *pbx.Run) func(pbx.File) error {
	return func(f pbx.File) error {
		run.Saved = append(run.Saved, f)
		return e.held.SaveRun(ctx, *run)
	}
}

// edited ends an apply during which the files to be replaced were changed outside the portal.
func (a *attempt) edited(ctx context.Context) (pbx.Run, error) {
	return a.refuse(ctx, pbx.CodeDrift, "the files were changed by hand while this apply was running; the change is in place, Asterisk was not reloaded. "+
		"Review the plan, then apply with force: the changed files are saved first")
}

// end completes the record of an apply that succeeded.
func (a *attempt) end(ctx context.Context, result pbx.Result, message string) (pbx.Run, error) {
	a.note(pbx.Event{Stage: "end", Code: pbx.EventEnded}, message)
	a.run.Result, a.run.Log.Outcome, a.run.Log.ErrorDetails = result, pbx.Success, ""
	if err := a.save(ctx, a.ended(ctx)); err != nil {
		a.run.Result, a.run.Log.Outcome, a.run.Log.ErrorDetails = pbx.Interrupted, pbx.Failure, interrupted // as it is in the record
		message = "the apply ended well, but its record could not be completed: it is completed automatically once the database answers"
		if pbx.CodeOf(err) == pbx.CodeApplyRunning {
			message = "the apply ended well, but had lost its lock in the database by then, and its record is left to the portal that applies next: check the record, then apply again"
		}
		return a.run, &pbx.Error{Kind: pbx.KindApply, Code: pbx.CodeAuditFailed, Err: err, Msg: message}
	}
	return a.whole(), nil
}

// refuse ends an apply that must not be carried out in the current state.
func (a *attempt) refuse(ctx context.Context, code, message string) (pbx.Run, error) {
	run, err := a.fail(ctx, pbx.Refused, code, message, nil)
	if e, ok := errors.AsType[*pbx.Error](err); ok {
		e.Kind = pbx.KindConflict
	}
	return run, err
}

// itsReason is a placeholder for the text of the reason in a message of fail, so that the fix comes last. To a message without it the reason is appended.
const itsReason = "\x00"

// fail ends an apply without success: it completes the audit record and returns the error for the caller. message says what was done and what was not.
func (a *attempt) fail(ctx context.Context, result pbx.Result, code, message string, reason error) (pbx.Run, error) {
	if result == pbx.Refused && a.run.Reclaimed() { // the apply did change something
		message += "; external changes were overwritten all the same; they are saved with this record"
	}
	text := ""
	if e, ok := errors.AsType[*pbx.Error](reason); ok {
		text = e.Msg // the wrapped error is only logged
	} else if reason != nil {
		text = reason.Error()
	}
	if strings.Contains(message, itsReason) {
		message = strings.Replace(message, itsReason, text, 1)
	} else if text != "" {
		message += ": " + text
	}
	a.note(pbx.Event{Stage: "end", Code: pbx.EventFailed, Detail: text}, message)
	if result == pbx.Refused {
		a.run.Revision, a.run.Files = 0, nil // the staged revision was discarded; its number is free again
	}
	a.run.Result, a.run.Code = result, code
	a.run.Log.Outcome, a.run.Log.ErrorDetails = pbx.Failure, message
	err := &pbx.Error{Kind: pbx.KindApply, Code: code, Msg: message, Err: reason}
	if e, ok := errors.AsType[*pbx.Error](reason); ok && (e.Kind == pbx.KindNotFound || e.Kind == pbx.KindUnavailable) && result == pbx.Refused {
		err.Kind = e.Kind
	}
	if saveErr := a.save(ctx, a.ended(ctx)); saveErr != nil {
		err.Msg += "; the record of this could not be completed, and calls the apply interrupted until the database answers and the next apply completes it"
		err.Err = errors.Join(reason, saveErr)
		if result == pbx.NotConfirmed { // which is reported only with its record
			err.Code = pbx.CodeAuditFailed
		}
	}
	return a.whole(), err
}

// whole returns the run with its files, including those stored earlier.
func (a *attempt) whole() pbx.Run {
	run := a.run
	if run.Files == nil && run.Revision != 0 {
		run.Files = a.saved
	}
	return run
}

// doubt ends an apply whose files may not survive a power cut. Its record stays open and is completed by the next start or apply.
func (a *attempt) doubt(ctx context.Context, cause error) (pbx.Run, error) {
	a.note(pbx.Event{Stage: "flip", Code: pbx.EventDoubt, Detail: cause.Error()}, cause.Error())
	event := a.ended(ctx)
	event.After["code"] = pbx.CodeInDoubt
	_ = a.save(ctx, event) // the run is recorded as it is, open
	return a.whole(), &pbx.Error{
		Kind: pbx.KindApply, Code: pbx.CodeInDoubt, Err: cause,
		Msg: "the disk failed while the files were switched; Asterisk reads one complete version, old or new, but which one survives a power cut " +
			"is not known: check the disk, then apply again",
	}
}

// close waits for background work, which after a panic may still be running, and ends the streams of followers.
func (a *attempt) close() {
	a.work.Wait()
	a.engine.watch.end(a.id())
}
