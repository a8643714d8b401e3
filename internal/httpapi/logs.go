package httpapi

import (
	"cmp"
	"context"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// usualPage is the default page size.
const usualPage = 50

// ListApplyLogs lists the records of applies, newest first.
func (a *api) ListApplyLogs(ctx context.Context, r openapi.ListApplyLogsRequestObject) (openapi.ListApplyLogsResponseObject, error) {
	logs, next, err := a.logs(ctx, value(r.Params.Cursor), cmp.Or(value(r.Params.Limit), usualPage))
	return openapi.ListApplyLogs200JSONResponse{Logs: logs, NextCursor: unlessZero(next)}, err
}

// ListApplyLogsV1 lists the records of applies, newest first.
func (a *api) ListApplyLogsV1(ctx context.Context, r openapi.ListApplyLogsV1RequestObject) (openapi.ListApplyLogsV1ResponseObject, error) {
	items, next, err := page("logs", r.Params.Limit, r.Params.Cursor, func(after string, limit int) ([]openapi.ApplyLog, string, error) {
		return a.logs(ctx, after, limit)
	})
	return openapi.ListApplyLogsV1200JSONResponse{Items: items, NextCursor: next}, err
}

func (a *api) logs(ctx context.Context, after string, limit int) ([]openapi.ApplyLog, string, error) {
	found, err := a.engine.Logs(ctx, apply.LogQuery{Before: after, Limit: limit})
	return each(found.Logs, toLog), found.Next, err
}

// GetApplyLog returns the record of one apply.
func (a *api) GetApplyLog(ctx context.Context, r openapi.GetApplyLogRequestObject) (openapi.GetApplyLogResponseObject, error) {
	l, err := a.engine.Log(ctx, pbx.RunID(r.ID))
	if err != nil {
		return nil, err
	}
	return openapi.GetApplyLog200JSONResponse(toLog(l)), nil
}

func toLog(l pbx.ApplyLog) openapi.ApplyLog {
	return openapi.ApplyLog{
		ID: string(l.ID), TriggeredAt: l.TriggeredAt.UTC(), TriggeredBy: l.TriggeredBy, Actor: toApplyActor(l.Actor), Outcome: openapi.Outcome(l.Outcome),
		FilesWritten:  list(l.FilesWritten),
		ReloadResults: openapi.ReloadResults{PjsipReload: toCommand(l.Reload.PJSIP), DialplanReload: toCommand(l.Reload.Dialplan)},
		ErrorDetails:  unlessZero(l.ErrorDetails),
	}
}

// toApplyActor returns the authenticated actor of an apply, nil if none is recorded.
func toApplyActor(a pbx.Actor) *openapi.ApplyActor {
	if a.Kind == "" {
		return nil
	}
	return &openapi.ApplyActor{Kind: openapi.ApplyActorKind(a.Kind), ID: a.ID, Name: a.Name}
}

func toCommand(c *pbx.CommandResult) *openapi.CommandResult {
	if c == nil {
		return nil
	}
	return &openapi.CommandResult{ExitCode: c.ExitCode, Stdout: c.Stdout, Stderr: c.Stderr}
}

// list returns the slice, encoded as [] if it is nil.
func list(texts []string) []string {
	if texts == nil {
		return []string{}
	}
	return texts
}
