package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
)

// Revision returns a revision, with its files if they are still kept. KindNotFound when there is none with this number.
func (e *Engine) Revision(ctx context.Context, number int) (pbx.Run, error) {
	run, ok, err := e.store.Revision(ctx, number)
	if err == nil && !ok {
		err = &pbx.Error{
			Kind: pbx.KindNotFound, Code: pbx.CodeNoRevision,
			Msg: fmt.Sprintf("there is no revision %d: list the revisions to see which there are", number),
		}
	}
	return run, err
}

// RevisionUsers returns the users of a revision, or, for one that restored an earlier revision, of that. KindNotFound when there is none with this
// number, or its files are no longer kept.
func (e *Engine) RevisionUsers(ctx context.Context, number int) (pbx.RevisionUsers, error) {
	d, err := e.oldDraft(ctx, number)
	if err != nil {
		return pbx.RevisionUsers{}, err
	}
	origin, err := e.Revision(ctx, number)
	for err == nil && origin.Restored != 0 {
		origin, err = e.Revision(ctx, origin.Restored)
	}
	return pbx.RevisionUsers{Revision: number, At: origin.Log.TriggeredAt, Secrets: d.inventory.Secrets(), Phones: d.inventory.PhoneSecrets()}, err
}

// RunDetails returns the details of a run. KindNotFound when there is none with this id.
func (e *Engine) RunDetails(ctx context.Context, id pbx.RunID) (pbx.Run, error) {
	parsed, ok := pbx.CanonicalID(id)
	if !ok {
		return pbx.Run{}, noLog(id)
	}
	run, ok, err := e.store.Run(ctx, parsed)
	if err == nil && !ok {
		err = noLog(id)
	}
	return run, err
}

// Revisions returns up to limit revisions below before (0: from the newest), newest first, without their files.
func (e *Engine) Revisions(ctx context.Context, before, limit int) ([]pbx.Run, error) {
	return e.store.Revisions(ctx, before, limit)
}

// Diff returns how the files changed between two revisions, without secrets. KindNotFound when one does not exist or is no longer kept.
func (e *Engine) Diff(ctx context.Context, from, to int) ([]pbx.FileDiff, error) {
	var files [2][]pbx.File
	for i, number := range []int{from, to} {
		d, err := e.oldDraft(ctx, number)
		if err != nil {
			return nil, err
		}
		files[i] = d.files
	}
	return render.Diff(fmt.Sprintf("revision %d", from), files[0], fmt.Sprintf("revision %d", to), files[1]), nil
}

// Previous returns the number of the newest revision before the one in place that Asterisk was seen to run: the target of a rollback without a number.
// KindNotFound when there is none.
func (e *Engine) Previous(ctx context.Context) (int, error) {
	site, err := e.target.Inspect()
	if err != nil {
		return 0, applyError(pbx.CodeWriteFailed, err)
	}
	runs, err := e.store.Revisions(ctx, site.Current, 100)
	if err != nil {
		return 0, err
	}
	for _, run := range runs {
		if run.Verification == pbx.Confirmed { // by its apply, or later
			return run.Revision, nil
		}
	}
	return 0, &pbx.Error{
		Kind: pbx.KindNotFound, Code: pbx.CodeNoRevision,
		Msg: "there is no earlier revision that Asterisk was seen to run: list the revisions, and choose the one to roll back to",
	}
}

// State returns the state of the files, without a query to Asterisk: the revision in place, and whether Asterisk was seen to run it.
func (e *Engine) State() (pbx.HostState, error) { return e.target.Inspect() }

// Limits of a request.
const (
	maxComment = 1000
	maxKey     = 255
)

// clean returns the request with its texts trimmed, or an Error of KindInvalid that names every field that breaks a rule.
func (r Request) clean() (Request, error) {
	by, err := pbx.CleanTriggeredBy(r.TriggeredBy)
	var fields []pbx.FieldError
	if err != nil {
		fields = pbx.FieldsOf(err)
	}
	r.TriggeredBy, r.Comment = by, pbx.Normalize(r.Comment)
	if utf8.RuneCountInString(r.Comment) > maxComment || !utf8.ValidString(r.Comment) || strings.ContainsRune(r.Comment, 0) {
		fields = append(fields, pbx.FieldError{Field: "comment", Code: pbx.FieldTooLong, Most: maxComment, Message: fmt.Sprintf("must be text of at most %d characters", maxComment)})
	}
	if len(r.IdempotencyKey) > maxKey {
		fields = append(fields, pbx.FieldError{Field: "idempotency_key", Code: pbx.FieldTooLong, Most: maxKey, Message: fmt.Sprintf("must have at most %d characters", maxKey)})
	}
	switch r.OnFailure {
	case Usual, Keep, RollBack:
	default:
		fields = append(fields, pbx.FieldError{Field: "on_failure", Code: pbx.FieldChoice, Message: "must be keep or rollback"})
	}
	if r.Restore < 0 {
		fields = append(fields, pbx.FieldError{Field: "revision", Code: pbx.FieldMalformed, Message: "must be the number of a revision"})
	}
	return r, pbx.Invalid(fields...)
}

// asked returns a hash of the request, which distinguishes requests with the same key; "" without a key.
func (r Request) asked() string {
	if r.IdempotencyKey == "" {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d %q %t %t %q", r.TriggeredBy, r.Comment, r.Restore, r.IfMatch, r.Force, r.DryRun, r.OnFailure))
	return hex.EncodeToString(sum[:16])
}

// earlier returns the run of an earlier request with the same key, nil when there is none. It waits for a run that is still in progress, here or in
// another process, for as long as an apply can take.
func (e *Engine) earlier(ctx context.Context, r Request) (*pbx.Run, error) {
	if r.IdempotencyKey == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for idle := false; ; {
		run, ok, err := e.store.RunByKey(ctx, r.IdempotencyKey)
		switch {
		case err != nil || !ok:
			return nil, err
		case run.Log.TriggeredBy != r.TriggeredBy || run.Comment != r.Comment || run.Restored != r.Restore ||
			run.Asked != "" && run.Asked != r.asked(): // a record from before this field has none
			return nil, &pbx.Error{
				Kind: pbx.KindConflict, Code: pbx.CodeKeyReused,
				Msg: "this idempotency key was used for a different request: use a new key for a new apply",
			}
		case run.Result != pbx.Interrupted || idle:
			return &run, nil
		case !e.watch.follows(run.Log.ID):
			if idle, err = e.idle(ctx); err != nil {
				return nil, err
			}
			if idle { // it has ended by now: its record is read once more
				continue
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// idle reports whether no apply is running on this database, in any process.
func (e *Engine) idle(ctx context.Context) (bool, error) {
	lock, err := e.store.TryApplyLock(ctx)
	if lock == nil || err != nil {
		return false, err
	}
	lock.Release()
	return true, nil
}

// replay returns the response of an earlier run.
func replay(run *pbx.Run, err error) (pbx.Run, error) {
	switch {
	case err != nil:
		return pbx.Run{}, err
	case run.Log.Outcome == pbx.Success:
		return *run, nil
	}
	kind := pbx.KindApply
	switch run.Code {
	case pbx.CodePlanMoved, pbx.CodeDrift:
		kind = pbx.KindConflict
	case pbx.CodeNoRevision, pbx.CodeForgotten:
		kind = pbx.KindNotFound
	case pbx.CodeDatabaseAway, pbx.CodeDatabaseFull:
		kind = pbx.KindUnavailable
	}
	return *run, &pbx.Error{Kind: kind, Code: run.Code, Msg: run.Log.ErrorDetails}
}
