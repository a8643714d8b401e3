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

// interrupted stands in the audit record of an apply from its start to its end; there it stays if the process dies.
const interrupted = "interrupted: this apply was started, and its end was never recorded; the portal was probably stopped in the middle. " +
	"The next apply finds out how far it came"

// attempt is one apply on its way: it writes down what happens.
type attempt struct {
	engine *Engine
	start  time.Time
	run    pbx.Run
	follow func(pbx.Event) // may be nil
	saved  []pbx.File      // the files of the run that are in the database already
	action string          // what the audit trail calls it
	work   sync.WaitGroup  // what runs beside it and writes under its lock
}

// attempt begins to write down an apply; close ends it.
func (e *Engine) attempt(ctx context.Context, r Request) *attempt {
	start, actor := e.now(), pbx.ActorOf(ctx)
	a := &attempt{engine: e, start: start, follow: r.Tell, run: pbx.Run{
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

// save writes the run as it is now to the database, and with it the events that tell of it.
func (a *attempt) save(ctx context.Context, events ...pbx.AuditEvent) error {
	return a.engine.held.SaveRun(ctx, a.run, events...)
}

// note writes down that something happened, and tells those who follow. The event has its stage, its code and what the code speaks of.
func (a *attempt) note(event pbx.Event, message string) {
	event.After, event.Message = a.engine.now().Sub(a.start), message
	a.run.Events = append(a.run.Events, event)
	a.engine.watch.tell(a.id(), event)
	if a.follow != nil {
		a.follow(event)
	}
}

func (a *attempt) planned(p *planned) {
	a.run.Plan, a.run.Users = p.Plan, p.Users
	a.note(pbx.Event{Stage: "plan", Code: pbx.EventPlanned, Users: p.Users, Revision: p.Revision}, fmt.Sprintf("%s, against revision %d", pbx.Users(p.Users), p.Revision))
}

// staging puts the number of the revision that is being written, and the name of the plan, into the record, and meanwhile lets it be
// written: recovery tells by the number which run the files in place belong to. The caller waits for the record with what it gets.
func (a *attempt) staging(ctx context.Context, number int, p *planned) (recorded func() error) {
	a.run.Revision = number
	a.note(pbx.Event{Stage: "stage", Code: pbx.EventStaged, Revision: number}, fmt.Sprintf("revision %d is written beside the files in place", number))
	return a.async(func() error {
		p.name()
		a.run.Plan.Hash = p.Hash
		return a.save(ctx)
	})
}

// async begins to do something, and gives what waits for its end. A panic comes to whoever waits, as if it had been done right there: so a
// fault of ours ends one apply, and not the program.
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

// async is the function of that name, for work that close waits for.
func (a *attempt) async(do func() error) (wait func() error) {
	a.work.Add(1)
	return async(func() error {
		defer a.work.Done()
		return do()
	})
}

// meanwhile does, while Asterisk reloads, what nobody waits for: comparing user by user, the bytes for the database, and dropping old
// revisions, which hold secrets. What fails is tried again at the end, or by the next apply.
func (a *attempt) meanwhile(ctx context.Context, p *planned) (wait func() error) {
	return a.async(func() error {
		p.compare() // the text of the differences follows from the revisions, for whoever asks
		a.run.Plan = p.Plan
		if a.run.Revision != 0 {
			a.run.Files = p.files
			if a.save(ctx) == nil {
				a.saved, a.run.Files = p.files, nil
			}
		}
		_ = a.engine.target.Prune(a.engine.keep, a.saveEdit(ctx))
		return a.engine.held.ForgetRevisions(ctx, a.engine.keep, a.run.Revision, p.site.Good)
	})
}

func (a *attempt) flipped(number int, paths []string) {
	a.run.Log.FilesWritten = paths
	a.note(pbx.Event{Stage: "flip", Code: pbx.EventFlipped, Revision: number}, fmt.Sprintf("revision %d is in place, both files at one moment", number))
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

// doubted notes that it is no longer known whether Asterisk runs a revision, so that a running portal goes on until it is seen to.
func (a *attempt) doubted(number int) {
	if err := a.engine.target.Doubt(number); err != nil {
		a.note(pbx.Event{Stage: "accept", Code: pbx.EventNotNoted, Detail: err.Error()}, "it could not be noted that Asterisk may not run this revision: "+err.Error())
	}
}

// unnoted tells that it could not be noted what Asterisk was seen to run.
func (a *attempt) unnoted(err error) {
	a.note(pbx.Event{Stage: "accept", Code: pbx.EventNotNoted, Detail: err.Error()}, "it could not be noted that Asterisk runs this revision: "+err.Error())
}

// current is the revision in place after a flip, if there was one.
func (a *attempt) current(p *planned) int {
	if a.run.Revision != 0 {
		return a.run.Revision
	}
	return p.site.Current
}

// saveEdit keeps what others put in the place of our files; only once it is in the database may it be replaced.
func (a *attempt) saveEdit(ctx context.Context) func(pbx.File) error {
	return func(f pbx.File) error {
		a.run.Saved = append(a.run.Saved, f)
		return a.save(ctx)
	}
}

// edited ends an apply in whose middle others changed the files it was about to replace.
func (a *attempt) edited(ctx context.Context) (pbx.Run, error) {
	return a.refuse(ctx, pbx.CodeDrift, "the files were changed by hand while this apply was running; the change is in place, Asterisk was not reloaded. "+
		"Look at the plan, then apply with force: what stands there is saved first")
}

// end completes the record of an apply that did what it should.
func (a *attempt) end(ctx context.Context, result pbx.Result, message string) (pbx.Run, error) {
	a.note(pbx.Event{Stage: "end", Code: pbx.EventEnded}, message)
	a.run.Result, a.run.Log.Outcome, a.run.Log.ErrorDetails = result, pbx.Success, ""
	if err := a.save(ctx, a.ended(ctx)); err != nil {
		a.run.Result, a.run.Log.Outcome, a.run.Log.ErrorDetails = pbx.Interrupted, pbx.Failure, interrupted // as the record has it
		message = "the apply ended well, but its record could not be completed: it is completed by itself once the database answers"
		if pbx.CodeOf(err) == pbx.CodeApplyRunning {
			message = "the apply ended well, but had lost the lock of the database by then, and its record is left to the portal that applies next: look at the record, and apply again"
		}
		return a.run, &pbx.Error{Kind: pbx.KindApply, Code: pbx.CodeAuditFailed, Err: err, Msg: message}
	}
	return a.whole(), nil
}

// refuse ends an apply that must not be carried out as things are.
func (a *attempt) refuse(ctx context.Context, code, message string) (pbx.Run, error) {
	run, err := a.fail(ctx, pbx.Refused, code, message, nil)
	if e, ok := errors.AsType[*pbx.Error](err); ok {
		e.Kind = pbx.KindConflict
	}
	return run, err
}

// itsReason stands in a message of fail where the text of the reason goes: before the cure. Without it the reason, with a cure of its own,
// comes last.
const itsReason = "\x00"

// fail ends an apply without success: it completes the audit record and gives the error for the caller. The message says what was
// done and what was not.
func (a *attempt) fail(ctx context.Context, result pbx.Result, code, message string, reason error) (pbx.Run, error) {
	if result == pbx.Refused && a.run.Reclaimed() { // so it is not as if nothing had been done
		message += "; what others had changed is taken back all the same, and saved with this record"
	}
	text := ""
	if e, ok := errors.AsType[*pbx.Error](reason); ok {
		text = e.Msg // what it wraps is for the log
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
		a.run.Revision, a.run.Files = 0, nil // what was staged came to nothing; the number is free again
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
		if result == pbx.NotConfirmed { // which is told only with its record
			err.Code = pbx.CodeAuditFailed
		}
	}
	return a.whole(), err
}

// whole is the run with its files, also if they went to the database earlier.
func (a *attempt) whole() pbx.Run {
	run := a.run
	if run.Files == nil && run.Revision != 0 {
		run.Files = a.saved
	}
	return run
}

// doubt ends an apply of which it cannot be known whether its files survive a power cut. Its record stays open: the next start or
// apply finds out, and completes it.
func (a *attempt) doubt(ctx context.Context, cause error) (pbx.Run, error) {
	a.note(pbx.Event{Stage: "flip", Code: pbx.EventDoubt, Detail: cause.Error()}, cause.Error())
	event := a.ended(ctx)
	event.After["code"] = pbx.CodeInDoubt
	_ = a.save(ctx, event) // the run is on record as it is, open
	return a.run, &pbx.Error{
		Kind: pbx.KindApply, Code: pbx.CodeInDoubt, Err: cause,
		Msg: "the disk failed while the files were switched; what Asterisk reads is whole, old or new, but which will be there after a power cut " +
			"is not known: see to the disk, then apply again",
	}
}

// close waits for what still runs beside the apply, as it does after a panic, and tells those who follow that there is no more.
func (a *attempt) close() {
	a.work.Wait()
	a.engine.watch.end(a.id())
}
