package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/synergycall/pbxportal/internal/chain"
	"github.com/synergycall/pbxportal/internal/pbx"
)

const (
	eventColumns = `seq, at, actor_kind, actor_id, actor_name, source, request_id, action, object_type, object_id, object_name,
    before, after, result, prev, hash`

	// insertEvent takes the values of eventValues.
	insertEvent = `INSERT INTO audit_events (` + eventColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`

	// insertEvents is insertEvent for PostgreSQL with all rows in one statement: each parameter is a column.
	insertEvents = `INSERT INTO audit_events (` + eventColumns + `) SELECT * FROM unnest($1::bigint[], $2::timestamp[], $3::text[], $4::text[], $5::text[],
    $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::bytea[], $16::bytea[])`

	// head selects the newest entry of the chain. Only a holder of the writers' lock may append to it.
	head = `(SELECT seq, hash FROM audit_events ORDER BY seq DESC LIMIT 1)`
)

// eventValues returns the values of insertEvent.
func eventValues(e chain.Entry) []any {
	v := e.Event
	return []any{
		v.Seq, v.At, string(v.Actor.Kind), v.Actor.ID, v.Actor.Name, v.Actor.From, v.Actor.RequestID, v.Action,
		v.Object.Type, v.Object.ID, v.Object.Name, chain.FactsText(v.Before), chain.FactsText(v.After), string(v.Result), e.Prev[:], e.Hash[:],
	}
}

// AppendEvent adds an event to the audit trail in a transaction of its own, for events without another change. A change appends its event in its
// own transaction (Tx.AppendEvent), so that there is no change without an event.
func (s *Store) AppendEvent(ctx context.Context, e pbx.AuditEvent) error {
	return s.InTx(ctx, func(ctx context.Context, tx *Tx) error { return tx.AppendEvent(ctx, e) })
}

// AppendEvent adds an event to the audit trail as part of the transaction.
func (t *Tx) AppendEvent(ctx context.Context, e pbx.AuditEvent) error {
	entry, err := t.entry(ctx, e)
	if err != nil {
		return err
	}
	if _, err = t.tx.ExecContext(ctx, insertEvent, eventValues(entry)...); err != nil {
		return err
	}
	t.appended(entry)
	return nil
}

// entry returns an event as the next entry of the chain. After inserting it the caller calls appended.
func (t *Tx) entry(ctx context.Context, e pbx.AuditEvent) (chain.Entry, error) {
	if t.head == nil {
		var h scannedHead
		err := t.tx.QueryRowContext(ctx, `SELECT seq, hash FROM `+head+` AS head`).Scan(h.into()...)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return chain.Entry{}, err
		}
		if err = t.stands(h); err != nil {
			return chain.Entry{}, err
		}
	}
	return chain.Append(*t.head, e), nil
}

func (t *Tx) appended(e chain.Entry) {
	t.head = &chain.Head{Seq: e.Event.Seq, Hash: e.Hash}
	if t.object == (pbx.AuditObject{}) {
		t.object = e.Event.Object
	}
}

// scannedHead holds the columns of head, which are null if there is no event.
type scannedHead struct {
	seq  sql.NullInt64
	hash []byte
}

func (h *scannedHead) into() []any { return []any{&h.seq, &h.hash} }

func (h *scannedHead) head() (*chain.Head, error) {
	if !h.seq.Valid {
		return &chain.Head{}, nil
	}
	if len(h.hash) != len(chain.Hash{}) {
		return nil, fmt.Errorf("the newest audit event, %d, was tampered with: its hash has %d bytes; run pbxportal audit verify", h.seq.Int64, len(h.hash))
	}
	return &chain.Head{Seq: h.seq.Int64, Hash: chain.Hash(h.hash)}, nil
}

// stands notes the newest entry that the transaction read under the writers' lock: it stays the newest until the transaction appends.
func (t *Tx) stands(h scannedHead) (err error) {
	if t.head, err = h.head(); err == nil {
		t.witness.compare(*t.head)
	}
	return err
}

// witness remembers the newest stored audit entry that this process has seen. A database with fewer entries was restored from a backup, or replaced
// by a replica that had not received everything.
type witness struct {
	mu    sync.Mutex
	known chain.Head // guarded by mu
	back  bool       // guarded by mu; the database is behind known, which stays unchanged
}

// compare compares the newest entry, read under the writers' lock, with the known one.
func (w *witness) compare(found chain.Head) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if found.Seq < w.known.Seq || found.Seq == w.known.Seq && found.Hash != w.known.Hash {
		w.back = true
	}
}

// stored notes a committed entry.
func (w *witness) stored(head chain.Head) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.back && head.Seq > w.known.Seq {
		w.known = head
	}
}

// Witnessed returns the newest stored audit entry that this process has seen, and whether a later transaction found the trail shorter or different.
func (s *Store) Witnessed() (known chain.Head, wentBack bool) {
	s.witness.mu.Lock()
	defer s.witness.mu.Unlock()
	return s.witness.known, s.witness.back
}

// ForgetWitnessed accepts the trail as it is.
func (s *Store) ForgetWitnessed() {
	s.witness.mu.Lock()
	defer s.witness.mu.Unlock()
	s.witness.known, s.witness.back = chain.Head{}, false
}

// EventHashes returns, in one query, the hashes of the existing events among these numbers. A malformed hash is returned as zeros.
func (s *Store) EventHashes(ctx context.Context, numbers []int64) (map[int64]chain.Hash, error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		texts[i] = strconv.FormatInt(n, 10)
	}
	list, err := json.Marshal(texts)
	if err != nil {
		return nil, fmt.Errorf("cannot look up audit events: %w", err)
	}
	hashes := make(map[int64]chain.Hash, len(numbers))
	_, err = gather(ctx, s.read, func(r row) (struct{}, error) {
		var seq int64
		var hash []byte
		err := r.Scan(&seq, &hash)
		if hashes[seq] = (chain.Hash{}); len(hash) == len(chain.Hash{}) {
			hashes[seq] = chain.Hash(hash)
		}
		return struct{}{}, err
	}, s.dialect.hashesQuery(), string(list))
	return hashes, s.fault("look up audit events", err)
}

// hashesQuery looks up events by number, each by the primary key.
func (d *dialect) hashesQuery() string {
	return `SELECT seq, hash FROM audit_events WHERE seq IN (SELECT CAST(text AS bigint) FROM ` + d.listIn("$1") + ` AS asked)`
}

// EventQuery selects audit events. The zero EventQuery selects all.
type EventQuery struct {
	Actor  string    // id or name of the actor
	Action string    // the action; "user." selects all actions with this prefix
	Object string    // id or name of the object
	Since  time.Time // inclusive; zero: from the first
	Until  time.Time // exclusive; zero: to the last
}

// UnreadableEventError reports a stored event in a form that the portal never writes.
type UnreadableEventError struct {
	Seq int64
	Err error
}

// Error names the event and the reason.
func (e *UnreadableEventError) Error() string {
	return fmt.Sprintf("audit event %d cannot be read: %v", e.Seq, e.Err)
}

// Unwrap returns the cause.
func (e *UnreadableEventError) Unwrap() error { return e.Err }

// EventsAfter returns up to limit audit events that match the query and follow the event seq, oldest first: in the order of the chain, or, for a
// query that selects some, of their times. If an event cannot be read, the events before it are returned with an UnreadableEventError.
func (s *Store) EventsAfter(ctx context.Context, q EventQuery, seq int64, limit int) ([]chain.Entry, error) {
	query, args := s.dialect.search(q, seq, limit, true)
	return s.events(ctx, query, args...)
}

// EventsBefore returns up to limit audit events that match the query and precede the event seq (0: from the newest), newest first, in the order of
// EventsAfter.
func (s *Store) EventsBefore(ctx context.Context, q EventQuery, seq int64, limit int) ([]chain.Entry, error) {
	query, args := s.dialect.search(q, seq, limit, false)
	return s.events(ctx, query, args...)
}

// search returns the statement that selects events. Ids and names are looked up separately, so that each branch reads one index in its order, and
// no further than needed.
func (d *dialect) search(q EventQuery, seq int64, limit int, oldestFirst bool) (query string, args []any) {
	args = []any{limit}
	param := func(arg any) string {
		args = append(args, arg)
		return "$" + strconv.Itoa(len(args))
	}
	beyond, direction := "<", " DESC"
	if oldestFirst {
		beyond, direction = ">", ""
	}
	if q == (EventQuery{}) {
		if seq == 0 && !oldestFirst {
			seq = math.MaxInt64
		}
		return `SELECT ` + eventColumns + ` FROM audit_events WHERE seq ` + beyond + ` ` + param(seq) + ` ORDER BY seq` + direction + ` LIMIT $1`, args
	}
	// A branch reads the events whose columns have these values, in the order of at and seq, and filters them by where.
	type branch struct {
		columns, values []string
		where           string
	}
	branches := []branch{{}}
	equal := func(column, value string) {
		for i, b := range branches {
			branches[i].columns, branches[i].values = append(slices.Clip(b.columns), column), append(slices.Clip(b.values), value)
		}
	}
	both := func(id, name, value string) { // matches by id, and matches by name alone
		p := param(value)
		byID, byName := branches, slices.Clone(branches)
		equal(id, p)
		branches = byName
		equal(name, p)
		for i := range branches {
			branches[i].where += ` AND ` + id + ` <> ` + p
		}
		branches = append(byID, branches...)
	}
	if q.Actor != "" && q.Object != "" {
		both(d.plain(`actor_id`), d.plain(`actor_name`), q.Actor)
	} else if q.Actor != "" {
		both(`actor_id`, `actor_name`, q.Actor)
	}
	action := `action`
	if strings.HasSuffix(q.Action, ".") {
		action = d.actionKind
	}
	if q.Object != "" {
		both(`object_id`, `object_name`, q.Object)
		action = d.plain(action)
	}
	if q.Action != "" {
		equal(action, param(q.Action))
	}

	type bound struct{ comparison, at, seq string }
	var lower, upper *bound
	if !q.Since.IsZero() {
		lower = &bound{`>=`, param(q.Since.UTC()), `0`}
	}
	if !q.Until.IsZero() {
		upper = &bound{`<`, param(q.Until.UTC()), `0`}
	}
	if seq != 0 {
		p := param(seq)
		at := `(SELECT at FROM audit_events WHERE seq = ` + p + `)`
		// Given two bounds on one side, the engine could scan from either and filter row by row: it gets the nearer one only.
		nearer := func(limit *bound, comparison string) *bound {
			if limit == nil {
				return &bound{beyond, at, p}
			}
			is := `CASE WHEN ` + limit.at + comparison + at + ` THEN `
			return &bound{beyond, is + limit.at + ` ELSE ` + at + ` END`, is + `0 ELSE ` + p + ` END`}
		}
		if oldestFirst {
			lower = nearer(lower, ` > `)
		} else {
			upper = nearer(upper, ` <= `)
		}
	}

	order := `at` + direction + `, seq` + direction
	selects := make([]string, len(branches))
	for i, b := range branches {
		conditions, ordered, from, to := []string{`true` + b.where}, order, lower, upper
		exact := len(b.columns) // number of columns that are compared by themselves
		if d.infinite != "" && q.Actor != "" && q.Object == "" && q.Action != "" {
			// Actor and action are in one index. An engine that estimates each by itself expects to find both soon in the index of one, and reads it to its
			// end if they never occur together. Only the common index has this order.
			exact--
			ordered = b.columns[exact] + direction + `, ` + order
			from, to = cmp.Or(from, &bound{`>=`, `'-` + d.infinite + `'`, `0`}), cmp.Or(to, &bound{`<`, `'` + d.infinite + `'`, `0`})
		}
		for k, column := range b.columns[:exact] {
			conditions = append(conditions, column+` = `+b.values[k])
		}
		for _, limit := range []*bound{from, to} {
			if limit != nil {
				columns, values := slices.Concat(b.columns[exact:], []string{`at`, `seq`}), slices.Concat(b.values[exact:], []string{limit.at, limit.seq})
				conditions = append(conditions, `(`+strings.Join(columns, `, `)+`) `+limit.comparison+` (`+strings.Join(values, `, `)+`)`)
			}
		}
		selects[i] = `SELECT * FROM (SELECT ` + eventColumns + ` FROM audit_events WHERE ` + strings.Join(conditions, ` AND `) +
			` ORDER BY ` + ordered + ` LIMIT $1) AS branch` + strconv.Itoa(i)
	}
	return strings.Join(selects, ` UNION ALL `) + ` ORDER BY ` + order + ` LIMIT $1`, args
}

// EventHead returns the newest entry of the chain; the zero Head if there is no event.
func (s *Store) EventHead(ctx context.Context) (chain.Head, error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	var h scannedHead
	err := s.read.QueryRowContext(ctx, `SELECT seq, hash FROM `+head+` AS head`).Scan(h.into()...)
	if errors.Is(err, sql.ErrNoRows) {
		return chain.Head{}, nil
	}
	if err != nil {
		return chain.Head{}, s.fault("read the newest audit event", err)
	}
	newest, err := h.head()
	if err != nil {
		return chain.Head{}, err
	}
	return *newest, nil
}

func (s *Store) events(ctx context.Context, query string, args ...any) (entries []chain.Entry, err error) {
	ctx, cancel := context.WithTimeout(ctx, QueryTimeout)
	defer cancel()
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, s.fault("list audit events", err)
	}
	defer rows.Close()
	for rows.Next() {
		e, err := scanEvent(rows)
		if err != nil {
			return entries, &UnreadableEventError{e.Event.Seq, err}
		}
		entries = append(entries, e)
	}
	return entries, s.fault("list audit events", rows.Err())
}

// scanEvent scans a row of eventColumns.
func scanEvent(r row) (e chain.Entry, err error) {
	v := &e.Event
	var before, after string
	var prev, hash []byte
	err = r.Scan(&v.Seq, &v.At, (*string)(&v.Actor.Kind), &v.Actor.ID, &v.Actor.Name, &v.Actor.From, &v.Actor.RequestID, &v.Action,
		&v.Object.Type, &v.Object.ID, &v.Object.Name, &before, &after, (*string)(&v.Result), &prev, &hash)
	if err != nil {
		return e, err
	}
	if len(prev) != len(e.Prev) || len(hash) != len(e.Hash) {
		return e, errors.New("its hashes do not have 32 bytes")
	}
	e.Prev, e.Hash, v.At = chain.Hash(prev), chain.Hash(hash), v.At.UTC()
	if v.Before, err = chain.ParseFacts(before); err != nil {
		return e, err
	}
	v.After, err = chain.ParseFacts(after)
	return e, err
}
