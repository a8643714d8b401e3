package httpapi

import (
	"context"

	"github.com/synergycall/pbxportal/internal/apply"
	"github.com/synergycall/pbxportal/internal/httpapi/openapi"
	"github.com/synergycall/pbxportal/internal/pbx"
)

// defaultLogs is how many apply logs a page holds when the caller does not say.
const defaultLogs = 50

// ListApplyLogs lists the records of applies, newest first.
func (a *api) ListApplyLogs(ctx context.Context, r openapi.ListApplyLogsRequestObject) (openapi.ListApplyLogsResponseObject, error) {
	limit := defaultLogs
	if r.Params.Limit != nil {
		limit = *r.Params.Limit
	}
	page, err := a.engine.Logs(ctx, apply.LogQuery{Before: value(r.Params.Cursor), Limit: limit})
	if err != nil {
		return nil, err
	}
	answer := openapi.ListApplyLogs200JSONResponse{Logs: make([]openapi.ApplyLog, len(page.Logs))}
	for i, l := range page.Logs {
		answer.Logs[i] = toLog(l)
	}
	if page.Next != "" {
		answer.NextCursor = &page.Next
	}
	return answer, nil
}

// GetApplyLog gives the record of one apply.
func (a *api) GetApplyLog(ctx context.Context, r openapi.GetApplyLogRequestObject) (openapi.GetApplyLogResponseObject, error) {
	l, err := a.engine.Log(ctx, pbx.RunID(r.ID))
	if err != nil {
		return nil, err
	}
	return openapi.GetApplyLog200JSONResponse(toLog(l)), nil
}

func toLog(l pbx.ApplyLog) openapi.ApplyLog {
	out := openapi.ApplyLog{
		ID: string(l.ID), TriggeredAt: l.TriggeredAt.UTC(), TriggeredBy: l.TriggeredBy, Outcome: openapi.Outcome(l.Outcome),
		FilesWritten:  list(l.FilesWritten),
		ReloadResults: openapi.ReloadResults{PjsipReload: toCommand(l.Reload.PJSIP), DialplanReload: toCommand(l.Reload.Dialplan)},
	}
	if l.ErrorDetails != "" {
		out.ErrorDetails = &l.ErrorDetails
	}
	return out
}

func toCommand(c *pbx.CommandResult) *openapi.CommandResult {
	if c == nil {
		return nil
	}
	return &openapi.CommandResult{ExitCode: c.ExitCode, Stdout: c.Stdout, Stderr: c.Stderr}
}

// list gives the slice, as [] in JSON where it is nil.
func list(texts []string) []string {
	if texts == nil {
		return []string{}
	}
	return texts
}
