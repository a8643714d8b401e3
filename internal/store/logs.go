package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// reloadJSON is the form of the column reload_results.
type reloadJSON struct {
	PJSIP    *commandJSON `json:"pjsip_reload,omitempty"`
	Dialplan *commandJSON `json:"dialplan_reload,omitempty"`
}

type commandJSON struct {
	ExitCode int    `json:"exit_code"`
	Stdout   string `json:"stdout"`
	Stderr   string `json:"stderr"`
}

// saveLog writes an audit record, new or completed, if the number of the apply lock is still this one, and keeps it so until the transaction ends.
// It also returns the newest entry of the audit trail.
func (t *Tx) saveLog(ctx context.Context, l pbx.ApplyLog, number int64) (h scannedHead, err error) {
	files, err := storableJSON(append([]string{}, l.FilesWritten...))
	if err != nil {
		return h, err
	}
	reload, err := storableJSON(reloadJSON{(*commandJSON)(l.Reload.PJSIP), (*commandJSON)(l.Reload.Dialplan)})
	if err != nil {
		return h, err
	}
	err = t.tx.QueryRowContext(ctx, t.dialect.saveLogQuery(),
		string(l.ID), l.TriggeredAt, l.TriggeredBy, string(l.Outcome),
		sql.NullString{String: storable(l.ErrorDetails), Valid: l.ErrorDetails != ""}, files, reload, number).Scan(h.into()...)
	if errors.Is(err, sql.ErrNoRows) {
		err = errLockLost
	}
	return h, err
}

// saveLogQuery returns the statement that writes an entry of the apply log, if the lock still has the number $8, and returns the end of the audit trail.
func (d *dialect) saveLogQuery() string {
	return `INSERT INTO apply_audit_logs (id, triggered_at, triggered_by, outcome, error_details, files_written, reload_results)
SELECT $1, $2, $3, $4, $5, ` + d.textsIn("$6") + `, ` + d.jsonIn("$7") + ` FROM apply_fence WHERE number = $8` + d.lockRows + `
ON CONFLICT (id) DO UPDATE SET outcome = excluded.outcome, error_details = excluded.error_details,
    files_written = excluded.files_written, reload_results = excluded.reload_results
RETURNING (SELECT max(seq) FROM audit_events), (SELECT hash FROM audit_events ORDER BY seq DESC LIMIT 1)`
}

// storable returns a text, which may quote anything, in a form that both engines store: PostgreSQL refuses NUL and what is not UTF-8, and a record
// must not fail for what it quotes.
func storable(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "\ufffd")
}

// storableJSON returns a value as JSON that both engines store: jsonb of PostgreSQL refuses NUL.
func storableJSON(value any) (string, error) {
	text, err := json.Marshal(value)
	if err != nil || !bytes.Contains(text, []byte(`\u0000`)) {
		return string(text), err
	}
	return escape.ReplaceAllStringFunc(string(text), func(e string) string {
		if e == `\u0000` {
			return "\ufffd"
		}
		return e
	}), nil
}

// escape matches an escaped character in JSON.
var escape = regexp.MustCompile(`\\(?:u[0-9a-f]{4}|.)`)

// Log returns one audit record; ok is false if there is none with this id.
func (s *Store) Log(ctx context.Context, id pbx.RunID) (l pbx.ApplyLog, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	l, ok, err = found(scanLog(s.read.QueryRowContext(ctx, s.selectLog()+`WHERE l.id = $1`, string(id))))
	return l, ok, s.fault("read an audit record", err)
}

// Logs returns up to limit audit records, newest first, that follow the given time and id in that order. The zero time starts at the newest.
func (s *Store) Logs(ctx context.Context, before time.Time, id pbx.RunID, limit int) (logs []pbx.ApplyLog, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	where, args := "", []any{limit}
	if !before.IsZero() {
		where = `WHERE l.triggered_at < $2 OR (l.triggered_at = $2 AND l.id < $3) `
		args = append(args, before, string(id))
	}
	logs, err = gather(ctx, s.read, func(r row) (pbx.ApplyLog, error) { return scanLog(r) },
		s.selectLog()+where+`ORDER BY l.triggered_at DESC, l.id DESC LIMIT $1`, args...)
	return logs, s.fault("list audit records", err)
}

// selectLog is the beginning of every query for audit records. A record of the Python portal has no run and no authenticated actor.
func (s *Store) selectLog() string {
	return `SELECT ` + s.logColumns() + ` FROM apply_audit_logs l LEFT JOIN apply_runs r ON r.id = l.id `
}

// logColumns lists the columns of an audit record l and its run r.
func (s *Store) logColumns() string {
	return `l.id, l.triggered_at, l.triggered_by, l.outcome, coalesce(l.error_details, ''), ` +
		s.dialect.textsOut("l.files_written") + `, ` + s.dialect.jsonOut("l.reload_results") +
		`, coalesce(r.actor_kind, ''), coalesce(r.actor_id, ''), coalesce(r.actor_name, '')`
}

// scanLog scans a row that begins with logColumns; further columns go into more. A reload_results of another form (an earlier program's) reads as
// none: it is informational, and stays in the table.
func scanLog(r row, more ...any) (pbx.ApplyLog, error) {
	var l pbx.ApplyLog
	var files, reload sql.NullString
	columns := append([]any{
		&l.ID, &l.TriggeredAt, &l.TriggeredBy, &l.Outcome, &l.ErrorDetails, &files, &reload,
		(*string)(&l.Actor.Kind), &l.Actor.ID, &l.Actor.Name,
	}, more...)
	if err := r.Scan(columns...); err != nil {
		return l, err
	}
	l.TriggeredAt = l.TriggeredAt.UTC()
	if files.Valid && files.String != "[]" {
		if err := json.Unmarshal([]byte(files.String), &l.FilesWritten); err != nil {
			return l, fmt.Errorf("files_written of %s: %w", l.ID, err)
		}
	}
	l.Reload = pbx.ReloadResults{PJSIP: readCommand(reload.String, "pjsip_reload"), Dialplan: readCommand(reload.String, "dialplan_reload")}
	return l, nil
}

// readCommand reads one of the results of a reload, nil if it is missing or malformed.
func readCommand(text, key string) *pbx.CommandResult {
	var results map[string]json.RawMessage
	var r *commandJSON
	if json.Unmarshal([]byte(text), &results) != nil || json.Unmarshal(results[key], &r) != nil {
		return nil
	}
	return (*pbx.CommandResult)(r)
}
