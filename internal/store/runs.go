package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/synergycall/pbxportal/internal/pbx"
)

// storyJSON holds the parts of a run that are not searched for, in the form of the column story.
type storyJSON struct {
	Plan        pbx.Plan    `json:"plan"`
	Events      []pbx.Event `json:"events"`
	Differences []string    `json:"differences,omitempty"`
	Saved       []pbx.File  `json:"saved,omitempty"`
	Sealed      []byte      `json:"sealed,omitempty"` // Saved, if sealed
	Restored    int         `json:"restored,omitempty"`
	Asked       string      `json:"asked,omitempty"`
}

// readStory parses the column story.
func readStory(id pbx.RunID, text string) (told storyJSON, err error) {
	if err = json.Unmarshal([]byte(text), &told); err != nil {
		err = fmt.Errorf("run %s: cannot parse the column story: %w", id, err)
	}
	return told, err
}

// SaveRun writes a run with its audit record in one transaction, new or completed. Files written before stay if there are none now; those of a run
// without a revision are removed. Its audit events are appended in the same transaction. What contains passwords is sealed. Nothing is written once
// the lock is lost.
func (l *ApplyLock) SaveRun(ctx context.Context, r pbx.Run, events ...pbx.AuditEvent) error {
	return l.writeRun(ctx, r, events, true)
}

// TryRun writes what SaveRun writes and rolls it back. It returns the error that SaveRun would return.
func (l *ApplyLock) TryRun(ctx context.Context, r pbx.Run, events ...pbx.AuditEvent) error {
	return l.writeRun(ctx, r, events, false)
}

func (l *ApplyLock) writeRun(ctx context.Context, r pbx.Run, events []pbx.AuditEvent, keep bool) error {
	s := l.store
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	files, err := s.keepFiles(ctx, r.Files)
	if err != nil {
		return s.fault("write a run", err)
	}
	sealed, with, err := s.secrets.savedIn(r.Log.ID, r.Saved)
	if err != nil {
		return s.fault("write a run", err)
	}
	if sealed != nil {
		r.Saved = nil
	}
	story, err := storableJSON(storyJSON{r.Plan, r.Events, r.Differences, r.Saved, sealed, r.Restored, r.Asked})
	if err != nil {
		return fmt.Errorf("cannot write a run: %w", err)
	}
	return s.again(ctx, "write a run", func() error { return l.saveRun(ctx, r, files, story, with, events, keep) })
}

func (l *ApplyLock) saveRun(ctx context.Context, r pbx.Run, files []keptFile, story string, with sql.NullString, events []pbx.AuditEvent, keep bool) error {
	begin := l.store.begin
	if len(events) == 0 {
		begin = l.store.beginBeside
	}
	return l.inTx(ctx, begin, func(t *Tx) (bool, error) { // the record is written only if the number is still this one
		head, err := t.saveLog(ctx, r.Log, l.number)
		if err == nil && len(events) > 0 { // otherwise others may have appended meanwhile: it is not necessarily the newest entry
			err = t.stands(head)
		}
		if err != nil {
			return false, err
		}
		for _, e := range events {
			if err := t.AppendEvent(ctx, e); err != nil {
				return false, err
			}
		}
		_, err = t.tx.ExecContext(ctx, t.dialect.saveRunQuery(),
			string(r.Log.ID), sql.NullInt64{Int64: int64(r.Revision), Valid: r.Revision > 0}, string(r.Result), string(r.Verification), r.Comment,
			sql.NullString{String: r.IdempotencyKey, Valid: r.IdempotencyKey != ""}, r.Code, r.Users,
			story, with, string(r.Log.Actor.Kind), r.Log.Actor.ID, r.Log.Actor.Name)
		if err == nil && (len(files) > 0 || r.Revision == 0) {
			err = t.saveFiles(ctx, r.Log.ID, files)
		}
		return keep, err
	})
}

// saveRunQuery returns the statement that writes a run.
func (d *dialect) saveRunQuery() string {
	return `INSERT INTO apply_runs (id, revision, result, verification, comment, idempotency_key, code, users, story, sealed_with, actor_kind, actor_id, actor_name)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, ` + d.jsonIn("$9") + `, $10, $11, $12, $13)
ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, result = excluded.result, verification = excluded.verification,
    code = excluded.code, users = excluded.users, story = excluded.story, sealed_with = excluded.sealed_with`
}

const fromRuns = ` FROM apply_runs r JOIN apply_audit_logs l ON l.id = r.id `

// selectRun is the beginning of every query for runs.
func (s *Store) selectRun() string {
	return `SELECT ` + s.logColumns() + `, coalesce(r.revision, 0), r.result, r.verification, r.comment, coalesce(r.idempotency_key, ''),
    r.code, r.users, ` + s.dialect.jsonOut("r.story") + fromRuns
}

// Run returns a run with its files; ok is false if there is none with this id.
func (s *Store) Run(ctx context.Context, id pbx.RunID) (pbx.Run, bool, error) {
	return s.oneRun(ctx, `WHERE r.id = $1`, string(id))
}

// Results returns the results of runs by id. A record of the Python portal has no run.
func (s *Store) Results(ctx context.Context, ids []pbx.RunID) (map[pbx.RunID]pbx.Result, error) {
	results := map[pbx.RunID]pbx.Result{}
	if len(ids) == 0 {
		return results, nil
	}
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	places, args := make([]string, len(ids)), make([]any, len(ids))
	for i, id := range ids {
		places[i], args[i] = fmt.Sprintf("$%d", i+1), string(id)
	}
	//nolint:gosec // the placeholders are constants
	rows, err := s.read.QueryContext(ctx, `SELECT id, result FROM apply_runs WHERE id IN (`+strings.Join(places, ", ")+`)`, args...)
	if err != nil {
		return nil, s.fault("list results", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id pbx.RunID
		var result pbx.Result
		if err := rows.Scan((*string)(&id), (*string)(&result)); err != nil {
			return nil, s.fault("list results", err)
		}
		results[id] = result
	}
	return results, s.fault("list results", rows.Err())
}

// HasRun reports whether there is a run with this id.
func (s *Store) HasRun(ctx context.Context, id pbx.RunID) (has bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	err = s.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM apply_runs WHERE id = $1)`, string(id)).Scan(&has)
	return has, s.fault("look for a run", err)
}

// RunByKey returns the run that was requested with this idempotency key.
func (s *Store) RunByKey(ctx context.Context, key string) (pbx.Run, bool, error) {
	return s.oneRun(ctx, `WHERE r.idempotency_key = $1`, key)
}

// Revision returns the run that created the revision of this number, with its files.
func (s *Store) Revision(ctx context.Context, number int) (pbx.Run, bool, error) {
	return s.oneRun(ctx, `WHERE r.revision = $1`, number)
}

// LastRevision returns the number of the newest revision, 0 if there is none.
func (s *Store) LastRevision(ctx context.Context) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	err = s.read.QueryRowContext(ctx, `SELECT coalesce(max(revision), 0) FROM apply_runs`).Scan(&n)
	return n, s.fault("read the newest revision", err)
}

// OpenRuns returns the runs without a recorded end, oldest first, with their files.
func (s *Store) OpenRuns(ctx context.Context) ([]pbx.Run, error) {
	runs, err := s.runs(ctx, `WHERE r.result = $1 ORDER BY l.triggered_at`, string(pbx.Interrupted))
	for i := range runs {
		if err == nil {
			runs[i].Files, err = s.filesOf(ctx, runs[i].Log.ID)
		}
	}
	return runs, s.fault("list runs", err)
}

// Revisions returns up to limit revisions below before (0: from the newest), newest first, without their files.
func (s *Store) Revisions(ctx context.Context, before, limit int) ([]pbx.Run, error) {
	if before <= 0 {
		before = 1 << 30
	}
	return s.runs(ctx, `WHERE r.revision < $1 ORDER BY r.revision DESC LIMIT $2`, before, limit)
}

// ConfirmRevision records that Asterisk was seen to run a revision.
func (l *ApplyLock) ConfirmRevision(ctx context.Context, revision int) error {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	return l.alter(ctx, "note that a revision runs", func(t *Tx) error {
		_, err := t.tx.ExecContext(ctx, `UPDATE apply_runs SET verification = $1 WHERE revision = $2`, string(pbx.Confirmed), revision)
		return err
	})
}

// ForgetRevisions drops the file contents of all revisions except the newest keep and the two named ones; their records stay.
func (l *ApplyLock) ForgetRevisions(ctx context.Context, keep, a, b int) error {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	if err := l.Check(ctx); err != nil {
		return err
	}
	last, err := l.store.LastRevision(ctx)
	if err != nil {
		return err
	}
	const old = ` FROM revision_files WHERE run_id IN (SELECT id FROM apply_runs WHERE revision <= $1 AND revision <> $2 AND revision <> $3)`
	stale := false // a transaction that deletes nothing would write to the disk as well
	err = l.store.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1`+old+`) OR EXISTS (SELECT 1 FROM file_contents WHERE `+unused+`)`,
		last-keep, a, b).Scan(&stale)
	if err != nil || !stale {
		return l.store.fault("look for old revisions", err)
	}
	return l.alter(ctx, "forget old revisions", func(t *Tx) error {
		_, err := t.tx.ExecContext(ctx, `DELETE`+old, last-keep, a, b)
		if err == nil {
			err = t.dropContents(ctx)
		}
		return err
	})
}

func (s *Store) oneRun(ctx context.Context, where string, arg any) (pbx.Run, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	r, ok, err := found(s.scanRun(s.read.QueryRowContext(ctx, s.selectRun()+where, arg)))
	if ok && err == nil {
		r.Files, err = s.filesOf(ctx, r.Log.ID)
	}
	return r, ok, s.fault("read a run", err)
}

func (s *Store) runs(ctx context.Context, where string, args ...any) (runs []pbx.Run, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	runs, err = gather(ctx, s.read, s.scanRun, s.selectRun()+where, args...)
	return runs, s.fault("list runs", err)
}

// scanRun scans a row of selectRun's columns.
func (s *Store) scanRun(from row) (pbx.Run, error) {
	var r pbx.Run
	var story string
	l, err := scanLog(from, &r.Revision, &r.Result, &r.Verification, &r.Comment, &r.IdempotencyKey, &r.Code, &r.Users, &story)
	if err != nil {
		return r, err
	}
	r.Log = l
	told, err := readStory(r.Log.ID, story)
	if err != nil {
		return r, err
	}
	if told.Sealed != nil {
		if told.Saved, err = s.secrets.savedOut(r.Log.ID, told.Sealed); err != nil {
			return r, err
		}
	}
	r.Plan, r.Events, r.Differences, r.Saved = told.Plan, told.Events, told.Differences, told.Saved
	r.Restored, r.Asked = told.Restored, told.Asked
	return r, nil
}
