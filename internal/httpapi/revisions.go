package httpapi

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/synergycall/pbxportal/internal/directory"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// lookBack is how many revisions are searched for one whose files are still kept.
const lookBack = 50

// ListRevisions lists revisions, newest first.
func (a *api) ListRevisions(ctx context.Context, r openapi.ListRevisionsRequestObject) (openapi.ListRevisionsResponseObject, error) {
	revisions, next, err := a.revisions(ctx, value(r.Params.Cursor), cmp.Or(value(r.Params.Limit), usualPage))
	return openapi.ListRevisions200JSONResponse{Revisions: revisions, NextCursor: unlessZero(next)}, err
}

// ListRevisionsV1 lists revisions, newest first.
func (a *api) ListRevisionsV1(ctx context.Context, r openapi.ListRevisionsV1RequestObject) (openapi.ListRevisionsV1ResponseObject, error) {
	items, next, err := page("revisions", r.Params.Limit, r.Params.Cursor, func(after string, limit int) ([]openapi.RevisionSummary, string, error) {
		return a.revisions(ctx, after, limit)
	})
	return openapi.ListRevisionsV1200JSONResponse{Items: items, NextCursor: next}, err
}

// revisions returns the revisions before a number, and the number of the last of them if there are more.
func (a *api) revisions(ctx context.Context, after string, limit int) (page []openapi.RevisionSummary, next string, err error) {
	before, ok := revisionNumber(after)
	if after != "" && !ok {
		return nil, "", badCursor()
	}
	runs, err := a.engine.Revisions(ctx, before, limit+1)
	if err != nil {
		return nil, "", err
	}
	if len(runs) > limit {
		runs = runs[:limit]
		next = strconv.Itoa(runs[limit-1].Revision)
	}
	return each(runs, toRevisionSummary), next, nil
}

func toRevisionSummary(run pbx.Run) openapi.RevisionSummary {
	return openapi.RevisionSummary{
		Revision: run.Revision, RunID: string(run.Log.ID), TriggeredAt: run.Log.TriggeredAt.UTC(), TriggeredBy: run.Log.TriggeredBy,
		Actor: toApplyActor(run.Log.Actor), Comment: run.Comment,
		Outcome: openapi.Outcome(run.Log.Outcome), Result: openapi.Result(run.Result), Restored: unlessZero(run.Restored),
		Verification: openapi.Verification(run.Verification), Users: run.Users, Plan: toPlanSummary(run.Plan),
	}
}

// RestoreUsers makes the users those of a revision.
func (a *api) RestoreUsers(ctx context.Context, r openapi.RestoreUsersRequestObject) (openapi.RestoreUsersResponseObject, error) {
	number, err := parseRevision(r.Number)
	if err != nil {
		return nil, err
	}
	users, err := a.engine.RevisionUsers(ctx, number)
	if err != nil {
		return nil, err
	}
	done, err := a.directory.Restore(ctx, pbx.DefaultTenant, users)
	if err != nil {
		return nil, err
	}
	return openapi.RestoreUsers200JSONResponse(toRestored(done)), nil
}

func toRestored(r directory.Restored) openapi.RestoredUsers {
	return openapi.RestoredUsers{
		Deleted: each(r.Deleted, numberOf), Created: each(r.Created, numberOf), Changed: each(r.Changed, numberOf), NewSecrets: each(r.NewSecrets, toInt), Unknown: each(r.Unknown, toInt),
	}
}

// numberOf returns the extension number of a user.
func numberOf(u pbx.User) int { return int(u.Extension.Number) }

func toInt(n pbx.Number) int { return int(n) }

// GetRevision returns the apply that created a revision.
func (a *api) GetRevision(ctx context.Context, r openapi.GetRevisionRequestObject) (openapi.GetRevisionResponseObject, error) {
	number, err := parseRevision(r.Number)
	if err != nil {
		return nil, err
	}
	run, err := a.engine.Revision(ctx, number)
	if err != nil {
		return nil, err
	}
	return openapi.GetRevision200JSONResponse(toRun(run)), nil
}

// GetRevisionDiff compares a revision with another, or with the one before it.
func (a *api) GetRevisionDiff(ctx context.Context, r openapi.GetRevisionDiffRequestObject) (openapi.GetRevisionDiffResponseObject, error) {
	number, err := parseRevision(r.Number)
	if err != nil {
		return nil, err
	}
	against := value(r.Params.Against)
	if against == 0 {
		if against, err = a.kept(ctx, number); err != nil {
			return nil, err
		}
	}
	diffs, err := a.engine.Diff(ctx, against, number)
	if err != nil {
		return nil, err
	}
	return openapi.GetRevisionDiff200JSONResponse{Revision: number, Against: against, Diffs: toDiffs(diffs)}, nil
}

// kept returns the newest revision before a number whose files are still kept.
func (a *api) kept(ctx context.Context, number int) (int, error) {
	if _, err := a.engine.Revision(ctx, number); err != nil {
		return 0, err
	}
	runs, err := a.engine.Revisions(ctx, number, lookBack)
	if err != nil {
		return 0, err
	}
	for _, run := range runs {
		revision, err := a.engine.Revision(ctx, run.Revision)
		if err != nil {
			return 0, err
		}
		if revision.Files != nil {
			return revision.Revision, nil
		}
	}
	return 0, noRevision(fmt.Sprintf("no revision before %d is kept: name one with against", number))
}

// GetRun returns the details of an apply run.
func (a *api) GetRun(ctx context.Context, r openapi.GetRunRequestObject) (openapi.GetRunResponseObject, error) {
	run, err := a.engine.RunDetails(ctx, pbx.RunID(r.ID))
	if err != nil {
		return nil, err
	}
	return openapi.GetRun200JSONResponse(toRun(run)), nil
}

// parseRevision parses a revision number in a path.
func parseRevision(text string) (int, error) {
	number, ok := revisionNumber(text)
	if !ok {
		return 0, noRevision(fmt.Sprintf("there is no revision %q: list the revisions to see them", short(text)))
	}
	return number, nil
}

// revisionNumber parses a revision number in canonical form.
func revisionNumber(text string) (number int, ok bool) {
	n, err := strconv.ParseInt(text, 10, 32)
	return int(n), err == nil && n > 0 && strconv.FormatInt(n, 10) == text
}

func noRevision(msg string) error {
	return &pbx.Error{Kind: pbx.KindNotFound, Code: pbx.CodeNoRevision, Msg: msg}
}

// toRun returns a run without the contents of its files, which contain secrets.
func toRun(run pbx.Run) openapi.Run {
	l := toLog(run.Log)
	return openapi.Run{
		ID: l.ID, TriggeredAt: l.TriggeredAt, TriggeredBy: l.TriggeredBy, Actor: l.Actor, Comment: run.Comment, Outcome: l.Outcome, ErrorDetails: l.ErrorDetails,
		Result: openapi.Result(run.Result), Revision: unlessZero(run.Revision), Restored: unlessZero(run.Restored),
		Verification: openapi.Verification(run.Verification), Differences: list(run.Differences), Users: run.Users,
		FilesWritten: l.FilesWritten, ReloadResults: l.ReloadResults, Plan: toPlan(run.Plan), Events: toEvents(run.Events),
		DurationMs: duration(run).Milliseconds(), Files: hashes(run.Files), Saved: hashes(run.Saved),
		Code: unlessZero(run.Code),
	}
}

func hashes(files []pbx.File) []openapi.FileHash {
	out := make([]openapi.FileHash, len(files))
	for i, f := range files {
		sum := sha256.Sum256(f.Content)
		out[i] = openapi.FileHash{Path: f.Path, Size: len(f.Content), Sha256: hex.EncodeToString(sum[:])}
	}
	return out
}
