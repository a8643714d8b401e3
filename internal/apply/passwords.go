package apply

import (
	"context"
	"errors"

	"github.com/synergycall/pbxportal/internal/pbx"
	"github.com/synergycall/pbxportal/internal/render"
)

// WithPasswords returns the numbers of the kept revisions whose files contain passwords although digests are configured. It returns none if passwords are
// configured.
func (e *Engine) WithPasswords(ctx context.Context) (numbers []int, err error) {
	if e.options.DigestRealm == "" {
		return nil, nil
	}
	last, err := e.store.LastRevision(ctx)
	if err != nil {
		return nil, err
	}
	runs, err := e.store.Revisions(ctx, last+1, 1000)
	for _, run := range runs {
		if err != nil {
			break
		}
		if run, _, err = e.store.Revision(ctx, run.Revision); render.HoldsPasswords(run.Files) {
			numbers = append(numbers, run.Revision)
		}
	}
	return numbers, err
}

// ForgetPasswords deletes the kept revisions that contain passwords, on disk and in the database, once Asterisk runs one that contains none. It returns how
// many it deleted. KindConflict while an apply runs, and if the revision in place still contains passwords.
func (e *Engine) ForgetPasswords(ctx context.Context) (int, error) {
	numbers, err := e.WithPasswords(ctx)
	if err != nil || len(numbers) == 0 {
		return 0, err
	}
	unlock, err := e.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	site, err := e.target.Inspect()
	if err != nil {
		return 0, applyError(pbx.CodeWriteFailed, err)
	}
	if site.Current != site.LastVerified || render.HoldsPasswords(site.Files) {
		return 0, &pbx.Error{
			Kind: pbx.KindConflict, Code: pbx.CodeRefused,
			Msg: "the files in place still hold passwords, and the revisions kept stay as well: apply, so that Asterisk runs digests, then try again",
		}
	}
	return len(numbers), e.dropOlder(ctx, site.Current, func(pbx.File) error {
		return errors.New("it was changed by hand: review it, then remove its folder")
	})
}

// dropOlder deletes all revisions except the running one: first on the disk, so that the database lists them until all are deleted.
func (e *Engine) dropOlder(ctx context.Context, running int, save func(pbx.File) error) error {
	if err := e.target.Prune(1, save); err != nil {
		return applyError(pbx.CodeWriteFailed, err)
	}
	if err := e.held.ForgetRevisions(ctx, 0, running, 0); err != nil {
		return err
	}
	return e.store.Clear(ctx)
}
