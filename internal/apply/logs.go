package apply

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// LogQuery selects a page of audit records.
type LogQuery struct {
	Before string // the Next of an earlier LogPage; "" for the newest
	Limit  int    // maximum number of records
}

// LogPage is one page of audit records, newest first.
type LogPage struct {
	Logs []pbx.ApplyLog
	Next string // the Before of the next page; "" for the last page
}

// Logs returns a page of audit records, newest first. KindInvalid when Before is not a cursor.
func (e *Engine) Logs(ctx context.Context, q LogQuery) (LogPage, error) {
	before, id, err := parseCursor(q.Before)
	if err != nil {
		return LogPage{}, err
	}
	logs, err := e.store.Logs(ctx, before, id, q.Limit+1)
	if err != nil {
		return LogPage{}, err
	}
	page := LogPage{Logs: logs}
	if len(logs) > q.Limit {
		page.Logs = logs[:q.Limit]
		page.Next = cursor(page.Logs[q.Limit-1])
	}
	return page, nil
}

// Results returns the results of the applies of these records. They distinguish more than the outcomes success and failure: a dry run is a success, too.
func (e *Engine) Results(ctx context.Context, logs []pbx.ApplyLog) (map[pbx.RunID]pbx.Result, error) {
	ids := make([]pbx.RunID, len(logs))
	for i, l := range logs {
		ids[i] = l.ID
	}
	return e.store.Results(ctx, ids)
}

// Log returns one audit record; KindNotFound when there is none with this id.
func (e *Engine) Log(ctx context.Context, id pbx.RunID) (pbx.ApplyLog, error) {
	parsed, ok := pbx.CanonicalID(id)
	if !ok {
		return pbx.ApplyLog{}, noLog(id)
	}
	log, ok, err := e.store.Log(ctx, parsed)
	if err == nil && !ok {
		err = noLog(id)
	}
	return log, err
}

func noLog(id pbx.RunID) error {
	return &pbx.Error{
		Kind: pbx.KindNotFound, Code: pbx.CodeLogNotFound,
		Msg: fmt.Sprintf("there is no apply log %q: list the logs to see which there are", string(id)),
	}
}

// cursor returns the position after a record: its time in microseconds since 1970, and its id.
func cursor(l pbx.ApplyLog) string { return fmt.Sprintf("%d.%s", l.TriggeredAt.UnixMicro(), l.ID) }

func parseCursor(text string) (time.Time, pbx.RunID, error) {
	if text == "" {
		return time.Time{}, "", nil
	}
	micros, id, ok := strings.Cut(text, ".")
	n, err := strconv.ParseInt(micros, 10, 64)
	if parsed, isID := pbx.CanonicalID(id); !ok || err != nil || !isID || parsed != id {
		return time.Time{}, "", pbx.Invalid(pbx.FieldError{Field: "cursor", Code: pbx.FieldCursor, Message: "is not a cursor: use the next_cursor of an earlier answer, or none"})
	}
	return time.UnixMicro(n).UTC(), pbx.RunID(id), nil
}
