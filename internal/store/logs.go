package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// reloadJSON is how reload results stand in the column reload_results.
type reloadJSON struct {
	PJSIP    *commandJSON `json:"pjsip_reload,omitempty"`
	Dialplan *commandJSON `json:"dialplan_reload,omitempty"`
}

type commandJSON struct {
	ExitCode int    `json:"exit_code"`
	Stdout   string `json:"stdout"`
	Stderr   string `json:"stderr"`
}

// InsertLog adds an audit record.
func (s *Store) InsertLog(ctx context.Context, l pbx.ApplyLog) error {
	return s.writeLog(ctx, "write an audit record", l,
		`INSERT INTO apply_audit_logs (id, triggered_at, triggered_by, outcome, error_details, files_written, reload_results)
		 VALUES ($1, $2, $3, $4, $5, `+s.dialect.textsIn("$6")+`, `+s.dialect.jsonIn("$7")+`)`)
}

// UpdateLog completes an audit record.
func (s *Store) UpdateLog(ctx context.Context, l pbx.ApplyLog) error {
	return s.writeLog(ctx, "complete an audit record", l,
		`UPDATE apply_audit_logs SET triggered_at = $2, triggered_by = $3, outcome = $4, error_details = $5,
		 files_written = `+s.dialect.textsIn("$6")+`, reload_results = `+s.dialect.jsonIn("$7")+` WHERE id = $1`)
}

// writeLog runs a statement that takes the columns of a record in their order and must touch exactly one row.
func (s *Store) writeLog(ctx context.Context, what string, l pbx.ApplyLog, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	files, err := json.Marshal(append([]string{}, l.FilesWritten...))
	if err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	reload, err := json.Marshal(reloadJSON{(*commandJSON)(l.Reload.PJSIP), (*commandJSON)(l.Reload.Dialplan)})
	if err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	result, err := s.write.ExecContext(ctx, statement, string(l.ID), l.TriggeredAt, l.TriggeredBy, string(l.Outcome),
		sql.NullString{String: l.ErrorDetails, Valid: l.ErrorDetails != ""}, string(files), string(reload))
	if err != nil {
		return s.fault(what, err)
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return s.fault(what, fmt.Errorf("%d rows touched, want 1: %w", n, errors.Join(err)))
	}
	return nil
}

// Log gives one audit record; ok is false when there is none of that id.
func (s *Store) Log(ctx context.Context, id pbx.RunID) (l pbx.ApplyLog, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	l, err = scanLog(s.read.QueryRowContext(ctx, s.selectLog()+`WHERE id = $1`, string(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return l, false, nil
	}
	return l, err == nil, s.fault("read an audit record", err)
}

// Logs gives up to limit audit records, newest first, that come after the one with this time and id in that order. The zero time
// means from the newest.
func (s *Store) Logs(ctx context.Context, before time.Time, id pbx.RunID, limit int) (logs []pbx.ApplyLog, err error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	where, args := "", []any{limit}
	if !before.IsZero() {
		where = `WHERE triggered_at < $2 OR (triggered_at = $2 AND id < $3) `
		args = append(args, before, string(id))
	}
	rows, err := s.read.QueryContext(ctx, s.selectLog()+where+`ORDER BY triggered_at DESC, id DESC LIMIT $1`, args...)
	if err != nil {
		return nil, s.fault("list audit records", err)
	}
	defer rows.Close()
	for rows.Next() {
		l, err := scanLog(rows)
		if err != nil {
			return nil, s.fault("list audit records", err)
		}
		logs = append(logs, l)
	}
	return logs, s.fault("list audit records", rows.Err())
}

// selectLog is the beginning of every query for audit records.
func (s *Store) selectLog() string {
	return `SELECT id, triggered_at, triggered_by, outcome, coalesce(error_details, ''), ` +
		s.dialect.textsOut("files_written") + `, ` + s.dialect.jsonOut("reload_results") + ` FROM apply_audit_logs `
}

// scanLog reads one row with selectLog's columns. A reload_results of another shape (an earlier program's) reads as none: what it
// says is of use to people only, and stays in the table.
func scanLog(row interface{ Scan(...any) error }) (pbx.ApplyLog, error) {
	var l pbx.ApplyLog
	var files, reload sql.NullString
	if err := row.Scan(&l.ID, &l.TriggeredAt, &l.TriggeredBy, &l.Outcome, &l.ErrorDetails, &files, &reload); err != nil {
		return l, err
	}
	l.TriggeredAt = l.TriggeredAt.UTC()
	if files.Valid && files.String != "[]" {
		if err := json.Unmarshal([]byte(files.String), &l.FilesWritten); err != nil {
			return l, fmt.Errorf("files_written of %s: %w", l.ID, err)
		}
	}
	var r reloadJSON
	if reload.Valid && json.NewDecoder(strings.NewReader(reload.String)).Decode(&r) == nil {
		l.Reload = pbx.ReloadResults{PJSIP: (*pbx.CommandResult)(r.PJSIP), Dialplan: (*pbx.CommandResult)(r.Dialplan)}
	}
	return l, nil
}
