// Package apply brings what the database says to a live Asterisk, and finds out whether it took effect. The whole story is one
// function, Engine.Apply, that reads from top to bottom; nothing else orchestrates. It does not know where files lie, how Asterisk
// is spoken to, or what HTTP is.
package apply

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
	"github.com/synergycall/pbxportal/internal/store"
)

// timeout bounds a whole apply. Its parts have bounds of their own, far tighter; this one only keeps the lock from being held for ever.
const timeout = 90 * time.Second

// interrupted stands in the audit record of an apply from its start to its end; there it stays if the process dies.
const interrupted = "interrupted: this apply was started, and its end was never recorded; the portal was probably stopped in the middle. Apply again"

// Engine applies. It is safe for concurrent use: one apply runs at a time, a second one is refused.
type Engine struct {
	store   *store.Store
	target  Target
	now     func() time.Time
	running sync.Mutex // held by the one apply of this process
}

// New makes an engine for one Asterisk; now tells the time.
func New(s *store.Store, target Target, now func() time.Time) *Engine {
	return &Engine{store: s, target: target, now: now}
}

// Request asks for an apply.
type Request struct {
	TriggeredBy string // who or what asks, 1–255 characters; goes into the audit record
}

// Report tells how far an apply came. It is filled also beside an error.
type Report struct {
	Log          pbx.ApplyLog // the audit record; its ID is "" when there is none
	Users        int          // users in the snapshot that was applied
	Verification pbx.Verification
	Differences  []string // what Asterisk runs otherwise than meant; or why it could not be asked
	Duration     time.Duration
}

// Apply takes one consistent snapshot of the users, renders it, writes both files, has Asterisk reload, asks it what it now runs, and
// compares. It is not cut short by the end of ctx. Errors: KindInvalid for the request; KindConflict while another apply runs, here or
// in another process on the same database; KindUnavailable when the database is away before anything was touched; KindApply for all
// that goes wrong from then on, with a message that says what was done and what was not, and the Report filled.
func (e *Engine) Apply(ctx context.Context, r Request) (report Report, err error) {
	start := e.now()
	defer func() { report.Duration = e.now().Sub(start) }()
	report.Verification = pbx.NotVerified

	by, err := pbx.CleanTriggeredBy(r.TriggeredBy)
	if err != nil {
		return report, err
	}
	unlock, err := e.lock(ctx)
	if err != nil {
		return report, err
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()

	log := pbx.ApplyLog{
		ID: pbx.RunID(uuid.NewString()), TriggeredAt: start.UTC().Truncate(time.Microsecond), TriggeredBy: by,
		Outcome: pbx.Failure, ErrorDetails: interrupted,
	}
	if err := e.store.InsertLog(ctx, log); err != nil { // no audit record, no apply
		return report, err
	}
	report.Log = log

	users, err := e.store.Users(ctx, pbx.DefaultTenant)
	if err != nil {
		return e.fail(ctx, report, pbx.CodeDatabaseAway, "the users could not be read; nothing was written, Asterisk runs what it ran before", err)
	}
	report.Users = len(users)
	files, want, err := render.Config(users)
	if err != nil {
		return e.fail(ctx, report, pbx.CodeOf(err), "", err)
	}

	report.Log.FilesWritten, err = e.target.Write(ctx, files)
	if err != nil {
		return e.fail(ctx, report, pbx.CodeWriteFailed, "the files could not be written; the old ones are in place, Asterisk was not reloaded", err)
	}
	reload, understood, err := e.target.Reload(ctx)
	report.Log.Reload = reload
	if err != nil {
		return e.fail(ctx, report, pbx.CodeReloadFailed, "the new files are in place, but Asterisk did not reload", err)
	}

	live, err := e.target.Live(ctx)
	report.Verification, report.Differences = verify(want, live, understood, err)
	if report.Verification == pbx.Contradicted {
		return e.fail(ctx, report, pbx.CodeContradicted, "the new files are in place and Asterisk was reloaded, but it runs something else: "+
			"look into Asterisk's log for the file and line it refused, mend the cause, and apply again", errors.New(strings.Join(report.Differences, "; ")))
	}

	report.Log.Outcome, report.Log.ErrorDetails = pbx.Success, ""
	if err := e.store.UpdateLog(ctx, report.Log); err != nil {
		return report, &pbx.Error{
			Kind: pbx.KindApply, Code: pbx.CodeAuditFailed, Err: err,
			Msg: "the configuration was applied, but the audit record could not be completed and calls the apply interrupted: " +
				"see that the database answers, and apply again",
		}
	}
	return report, nil
}

// lock makes this apply the only one of the process and of the database.
func (e *Engine) lock(ctx context.Context) (unlock func(), err error) {
	busy := &pbx.Error{
		Kind: pbx.KindConflict, Code: pbx.CodeApplyRunning,
		Msg: "another apply is running; nothing was done: wait for it to end, and apply again if your changes came after it began",
	}
	if !e.running.TryLock() {
		return nil, busy
	}
	release, held, err := e.store.TryApplyLock(ctx)
	if err == nil && !held {
		err = busy
	}
	if err != nil {
		e.running.Unlock()
		return nil, err
	}
	return func() { release(); e.running.Unlock() }, nil
}

// fail ends an apply without success: it completes the audit record and gives the error for the caller. The message says what was
// done and what was not; an empty one leaves that to the cause.
func (e *Engine) fail(ctx context.Context, report Report, code, msg string, cause error) (Report, error) {
	said := cause.Error()
	if e, ok := errors.AsType[*pbx.Error](cause); ok {
		said = e.Msg // what it wraps is for the log
	}
	if msg != "" {
		said = msg + ": " + said
	}
	report.Log.Outcome, report.Log.ErrorDetails = pbx.Failure, said
	err := &pbx.Error{Kind: pbx.KindApply, Code: code, Msg: said, Err: cause}
	if auditErr := e.store.UpdateLog(ctx, report.Log); auditErr != nil {
		err.Msg += "; the audit record could not be completed either, and calls the apply interrupted"
		err.Err = errors.Join(cause, auditErr)
	}
	return report, err
}
